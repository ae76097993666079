//! Single tasks of a pool: many of them, awaited, interrupted.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::Thread,
    time::{Duration, Instant},
};

use coframe::{Handle, interruptible};

use crate::{
    common::{Scratch, alone, fork, scratch, wait},
    pool::builder,
    store::numbers,
};

fn same(x: u32) -> u32 {
    x
}

fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

#[test]
fn the_frame_of_a_handle_can_be_opened_until_its_task_is_over() {
    fn rows(handle: Handle) -> usize {
        handle.open().unwrap().num_rows()
    }
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let busy = pool.submit(sleep, &300).unwrap();
    let frame = scratch.store.publish("x", &numbers(&[1, 2])).unwrap();
    let task = pool.submit(rows, &frame.handle()).unwrap();
    drop(frame);
    scratch.store.publish("x", &numbers(&[3])).unwrap();
    assert_eq!(scratch.store.versions("x").unwrap().len(), 2);
    busy.wait().unwrap();
    assert_eq!(task.wait().unwrap(), 2);
}

#[test]
fn a_submit_takes_no_longer_behind_many_tasks_than_behind_few() {
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let _busy = pool.submit(sleep, &600_000).unwrap();
    let mut tasks = Vec::new();
    let mut submit = |count: u32| {
        let start = Instant::now();
        tasks.extend((0..count).map(|i| pool.submit(same, &i).unwrap()));
        start.elapsed()
    };
    submit(100);
    // 20 times as many take 20 times as long, and 400 times where each looks through those before it.
    let (few, many) = (submit(2_000), submit(40_000));
    assert!(many < few * 100, "{few:?} for 2 000 tasks, {many:?} for 40 000");
}

#[test]
fn waits_for_results_can_be_interrupted_and_resumed() {
    let scratch = scratch();
    let pool = builder(&scratch).workers(1).build().unwrap();
    let soon = |milliseconds| {
        let deadline = Instant::now() + Duration::from_millis(milliseconds);
        move || Instant::now() > deadline
    };
    let ended = interruptible(soon(50), || pool.map(sleep, [600_000]));
    assert_eq!(ended.unwrap_err().to_string(), "the wait for a result of a pool was interrupted by its caller");
    // That task goes on unseen, in the only worker.
    pool_of(&scratch, |pool| {
        let mut results = pool.map_iter(sleep, [300]).unwrap();
        assert!(interruptible(soon(50), || results.next().unwrap()).unwrap_err().is_interrupted());
        results.next().unwrap().unwrap();
        assert!(results.next().is_none());
        let mut results = pool.map_unordered(sleep, [300]).unwrap();
        assert!(interruptible(soon(50), || results.next().unwrap()).unwrap_err().is_interrupted());
        assert_eq!(results.next().unwrap().unwrap().0, 0);
        let task = pool.submit(sleep, &300).unwrap();
        let Err(task) = interruptible(soon(50), || task.wait_timeout(Duration::MAX)) else { panic!("it ended") };
        task.wait().unwrap();
        let task = pool.submit(sleep, &600_000).unwrap();
        assert!(interruptible(soon(50), || task.wait()).unwrap_err().is_interrupted());
    });
    let workers = pool.worker_ids();
    assert!(interruptible(soon(50), || pool.join()).unwrap_err().is_interrupted());
    assert!(workers.into_iter().all(|pid| !crate::common::is_alive(pid)));
    let hanging = builder(&scratch).initializer(sleep, &600_000);
    assert!(interruptible(soon(300), || hanging.build()).unwrap_err().is_interrupted());
}

fn pool_of(scratch: &Scratch, work: impl FnOnce(&coframe::Pool)) {
    work(&builder(scratch).workers(1).build().unwrap());
}

#[test]
fn a_forked_child_is_refused_what_needs_the_thread_of_a_pool() {
    alone("pool_tasks::a_forked_child_is_refused_what_needs_the_thread_of_a_pool", |scratch| {
        type Use = fn(coframe::Pool) -> coframe::Result<()>;
        let uses: [Use; 3] = [coframe::Pool::join, coframe::Pool::terminate, |pool| pool.map(same, [1]).map(drop)];
        for used in uses {
            let mut pool = Some(builder(scratch).workers(1).build().unwrap());
            let refused = |error: coframe::Error| {
                let text = error.to_string();
                assert!(
                    error.is_invalid_argument() && text.contains("of the parent process, in a forked child"),
                    "{text}"
                );
            };
            let mut task = Some(pool.as_ref().unwrap().submit(sleep, &200).unwrap());
            let mut other = Some(pool.as_ref().unwrap().submit(sleep, &1).unwrap());
            let mut third = Some(pool.as_ref().unwrap().submit(sleep, &1).unwrap());
            assert!(wait(fork(|| {
                refused(task.take().unwrap().wait().unwrap_err());
                refused(block_on(other.take().unwrap()).unwrap_err());
                third.take().unwrap().cancel();
                let pool = pool.take().unwrap();
                pool.close();
                assert!(pool.worker_ids().is_empty());
                refused(used(pool).unwrap_err());
            })));
            let lent = pool.as_ref().unwrap();
            let mut results = Some(lent.map_iter(same, [1, 2]).unwrap());
            assert_eq!(results.as_mut().unwrap().next().unwrap().unwrap(), 1);
            assert!(wait(fork(|| refused(results.take().unwrap().next().unwrap().unwrap_err()))));
            // The parent's are as they were.
            assert_eq!(results.as_mut().unwrap().next().unwrap().unwrap(), 2);
            drop(results);
            task.take().unwrap().wait().unwrap();
            block_on(other.take().unwrap()).unwrap();
            third.take().unwrap().wait().unwrap();
            pool.take().unwrap().join().unwrap();
        }
    });
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<F: Future>(future: F) -> F::Output {
    let (mut future, waker) = (pin!(future), Waker::from(Arc::new(Unpark(std::thread::current()))));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn a_task_is_awaited_by_any_executor() {
    fn odd(x: u32) -> Result<u32, String> {
        std::thread::sleep(Duration::from_millis(20));
        if x % 2 == 1 { Ok(x) } else { Err("even".into()) }
    }
    let scratch = scratch();
    let pool = builder(&scratch).build().unwrap();
    let sum = block_on(async {
        let (one, three) = (pool.try_submit(odd, &1)?, pool.try_submit(odd, &3)?);
        Ok::<_, coframe::Error>(one.await? + three.await?)
    });
    assert_eq!(sum.unwrap(), 4);
    assert!(block_on(pool.try_submit(odd, &2).unwrap()).unwrap_err().is_task_failure());
    // Polled once more, it is an error; and what is not awaited to the end is dropped.
    let mut task = pool.submit(same, &7).unwrap();
    let mut poll = || Pin::new(&mut task).poll(&mut Context::from_waker(Waker::noop()));
    let first = loop {
        if let Poll::Ready(result) = poll() {
            break result;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(first.unwrap(), 7);
    assert!(matches!(poll(), Poll::Ready(Err(error)) if error.is_invalid_argument()));
    // The end of the pool wakes it too.
    let task = pool.submit(sleep, &600_000).unwrap();
    let ended = std::thread::spawn(move || block_on(task));
    std::thread::sleep(Duration::from_millis(50));
    drop(pool);
    assert!(ended.join().unwrap().unwrap_err().is_cancelled());
}
