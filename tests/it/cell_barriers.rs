//! Barriers: how rounds end, for participants that wait, that are slow, and that die.

use std::{
    thread,
    time::{Duration, Instant},
};

use coframe::sync::{Barrier, Event, Semaphore};

use crate::common::{Scratch, alone, fork, kill, scratch, wait};

/// Waits until a number of participants wait.
fn wait_for(barrier: &Barrier, waiting: usize) {
    while barrier.waiting().unwrap() != waiting {
        thread::yield_now();
    }
}

/// Forks a participant, and stops it once it waits.
fn stopped_participant(barrier: &Barrier, work: impl FnOnce()) -> i32 {
    let before = barrier.waiting().unwrap();
    let child = fork(work);
    wait_for(barrier, before + 1);
    // It may hold the lock of the barrier for a moment: not while this process asks.
    signal(child, libc::SIGSTOP);
    let mut status = 0;
    // SAFETY: waits for a child of this process.
    unsafe { libc::waitpid(child, &raw mut status, libc::WUNTRACED) };
    assert!(libc::WIFSTOPPED(status));
    child
}

fn signal(pid: i32, signal: libc::c_int) {
    // SAFETY: kill(2) of a child of this process that was not waited for.
    unsafe { libc::kill(pid, signal) };
}

#[test]
fn each_participant_of_a_round_gets_its_own_position() {
    let Scratch { ref store, .. } = scratch();
    let barrier = Barrier::create(store, "b", 4).unwrap();
    for _ in 0..50 {
        let mut places = thread::scope(|scope| {
            let all = [0; 4].map(|_| scope.spawn(|| barrier.arrive(Some(Duration::from_secs(30))).unwrap()));
            all.map(|participant| participant.join().unwrap())
        });
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3]);
    }
    assert_eq!((barrier.waiting().unwrap(), barrier.is_broken()), (0, false));
    assert_eq!(Barrier::create(store, "one", 1).unwrap().arrive(None).unwrap(), 0);
}

#[test]
fn a_reset_is_an_error_in_all_participants_that_wait() {
    let Scratch { ref store, .. } = scratch();
    let barrier = Barrier::create(store, "b", 3).unwrap();
    thread::scope(|scope| {
        let waiting = [0; 2].map(|_| scope.spawn(|| barrier.wait()));
        wait_for(&barrier, 2);
        barrier.reset().unwrap();
        for participant in waiting {
            let error = participant.join().unwrap().unwrap_err();
            assert!(error.is_barrier_broken() && error.to_string().contains("it was reset"), "{error}");
        }
        assert!(!barrier.is_broken());
        let waiting = [0; 2].map(|_| scope.spawn(|| barrier.wait()));
        assert!(barrier.wait().is_ok() && waiting.into_iter().all(|participant| participant.join().unwrap().is_ok()));
    });
}

#[test]
fn an_abort_is_an_error_in_all_participants_until_a_reset() {
    let Scratch { ref store, .. } = scratch();
    let barrier = Barrier::create(store, "b", 2).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| barrier.wait());
        wait_for(&barrier, 1);
        barrier.abort().unwrap();
        assert!(waiting.join().unwrap().unwrap_err().is_barrier_broken());
    });
    assert!(barrier.is_broken() && barrier.wait().unwrap_err().is_barrier_broken());
    barrier.reset().unwrap();
    assert!(!barrier.is_broken());
}

#[test]
fn a_slow_participant_learns_how_its_own_round_ended() {
    alone("cell_barriers::a_slow_participant_learns_how_its_own_round_ended", |Scratch { store, .. }| {
        let barrier = Barrier::create(store, "b", 2).unwrap();
        // The round opens, and the barrier breaks before the participant runs again.
        let slow = stopped_participant(&barrier, || assert!(barrier.wait().is_ok()));
        barrier.wait().unwrap();
        barrier.abort().unwrap();
        signal(slow, libc::SIGCONT);
        assert!(wait(slow));
        barrier.reset().unwrap();
        // The round breaks, and the barrier is whole before the participant runs again, for many rounds.
        let slow = stopped_participant(&barrier, || assert!(barrier.wait().unwrap_err().is_barrier_broken()));
        barrier.abort().unwrap();
        barrier.reset().unwrap();
        for _ in 0..20 {
            thread::scope(|scope| {
                let other = scope.spawn(|| barrier.wait().unwrap());
                assert_ne!(barrier.wait().unwrap(), other.join().unwrap());
            });
        }
        signal(slow, libc::SIGCONT);
        assert!(wait(slow));
    });
}

#[test]
fn a_participant_that_dies_while_it_waits_breaks_the_barrier_and_gives_its_permits_back() {
    alone(
        "cell_barriers::a_participant_that_dies_while_it_waits_breaks_the_barrier_and_gives_its_permits_back",
        |Scratch { store, .. }| {
            let barrier = Barrier::create(store, "b", 3).unwrap();
            let semaphore = Semaphore::create(store, "s", 1).unwrap();
            let ready = Event::create(store, "e").unwrap();
            let dead = fork(|| {
                let _permit = semaphore.acquire().unwrap();
                ready.set();
                let _ = barrier.wait();
            });
            ready.wait().unwrap();
            assert!(semaphore.try_acquire_for(Duration::from_millis(20)).unwrap().is_none());
            std::thread::sleep(Duration::from_millis(20));
            kill(dead);
            wait(dead);
            let start = Instant::now();
            let error = barrier.wait().unwrap_err();
            assert!(error.is_barrier_broken(), "{error}");
            assert!(barrier.wait().unwrap_err().is_barrier_broken());
            drop(semaphore.acquire().unwrap());
            assert!(start.elapsed() < Duration::from_secs(20));
            barrier.reset().unwrap();
            assert!(barrier.wait_timeout(Duration::from_millis(20)).unwrap_err().is_barrier_broken());
        },
    );
}

#[test]
fn the_last_participant_finds_the_others_that_died() {
    alone("cell_barriers::the_last_participant_finds_the_others_that_died", |Scratch { store, .. }| {
        let barrier = Barrier::create(store, "b", 2).unwrap();
        for is_reaped in [true, false] {
            let dead = fork(|| drop(barrier.wait()));
            std::thread::sleep(Duration::from_millis(50));
            kill(dead);
            if is_reaped {
                wait(dead);
            } else {
                std::thread::sleep(Duration::from_millis(50));
            }
            let error = barrier.wait_timeout(Duration::from_secs(5)).unwrap_err();
            assert!(error.is_barrier_broken(), "{error}");
            barrier.reset().unwrap();
        }
        // The next round is for those who live, threads among them.
        let other = fork(|| assert!(barrier.wait().is_ok()));
        barrier.wait_timeout(Duration::from_secs(5)).unwrap();
        assert!(wait(other));
        std::thread::scope(|scope| {
            let other = scope.spawn(|| barrier.wait().unwrap());
            assert_ne!(barrier.wait_timeout(Duration::from_secs(5)).unwrap(), other.join().unwrap());
        });
    });
}
