//! Barriers: how rounds end, for participants that wait, that are slow, and that die.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
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
fn the_last_participant_runs_the_action_before_the_others_go_on() {
    let Scratch { ref store, .. } = scratch();
    let (barrier, runs) = (Barrier::create(store, "b", 3).unwrap(), AtomicUsize::new(0));
    let action = || {
        thread::sleep(Duration::from_millis(5));
        // Not under the barrier's lock, which this takes.
        assert_eq!(barrier.waiting()?, 3);
        runs.fetch_add(1, Ordering::SeqCst);
        Ok::<_, coframe::Error>(())
    };
    for round in 1..=20 {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    barrier.arrive_with(Some(Duration::from_secs(30)), action).unwrap();
                    assert_eq!(runs.load(Ordering::SeqCst), round);
                });
            }
        });
    }
    let alone = Barrier::create(store, "one", 1).unwrap();
    assert_eq!(alone.arrive_with(None, || Err(std::io::Error::other("no"))).unwrap_err().to_string(), "no");
    assert!(alone.is_broken());
}

#[test]
fn a_participant_that_arrives_during_the_action_belongs_to_the_next_round() {
    let Scratch { ref store, .. } = scratch();
    let barrier = Barrier::create(store, "b", 2).unwrap();
    let (started, goes_on) = (Event::create(store, "started").unwrap(), Event::create(store, "goes-on").unwrap());
    thread::scope(|scope| {
        let first = [(); 2].map(|()| {
            scope.spawn(|| {
                barrier.arrive_with(None, || {
                    started.set();
                    goes_on.wait()
                })
            })
        });
        started.wait().unwrap();
        let early = scope.spawn(|| barrier.arrive(Some(Duration::from_secs(30))));
        thread::sleep(Duration::from_millis(50));
        assert!(!early.is_finished() && barrier.waiting().unwrap() == 2);
        goes_on.set();
        for participant in first {
            participant.join().unwrap().unwrap();
        }
        let late = barrier.arrive(Some(Duration::from_secs(30))).unwrap();
        assert_eq!(early.join().unwrap().unwrap() + late, 1);
    });
}

#[test]
fn an_action_that_fails_panics_or_dies_breaks_the_barrier() {
    alone("cell_barriers::an_action_that_fails_panics_or_dies_breaks_the_barrier", |Scratch { store, .. }| {
        let barrier = Barrier::create(store, "b", 2).unwrap();
        let failing = || Err(std::io::Error::other("full"));
        let panicking = || -> std::io::Result<()> { panic!("seeded") };
        let dying = || -> std::io::Result<()> {
            kill(std::process::id() as i32);
            loop {
                thread::sleep(Duration::from_secs(1));
            }
        };
        let actions: [&dyn Fn() -> std::io::Result<()>; 3] = [&failing, &panicking, &dying];
        for action in actions {
            let last = fork(|| {
                wait_for(&barrier, 1);
                assert_eq!(barrier.arrive_with(None, action).unwrap_err().to_string(), "full");
            });
            let error = barrier.wait().unwrap_err();
            assert!(error.is_barrier_broken() && barrier.is_broken(), "{error}");
            wait(last);
            barrier.reset().unwrap();
            assert_eq!(barrier.waiting().unwrap(), 0);
        }
    });
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
