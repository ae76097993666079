//! Turns: one process of a machine at a time mirrors a segment.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use coframe::Store;

use crate::common::{Reaper, child, role, scratch, variable};

#[test]
fn one_at_a_time_has_the_turn_and_its_file_ends_with_it() {
    let here = scratch();
    let turn = here.store.mirror_turn(7, Duration::ZERO).unwrap();
    let other = here.store.mirror_turn(8, Duration::ZERO).unwrap();
    assert!(here.store.mirror_turn(7, Duration::from_millis(20)).unwrap_err().is_busy());
    // A sweep leaves the file of a turn that is held.
    here.store.sweep().unwrap();
    assert_eq!(here.files().len(), 2);
    drop((turn, other));
    assert_eq!(here.files(), [""; 0]);

    let (store, counter) = (&here.store, std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let _turn = store.mirror_turn(7, Duration::MAX).unwrap();
                    assert_eq!(counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst), 0);
                    counter.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(here.files(), [""; 0]);
}

#[test]
fn a_turn_ends_with_its_process() {
    const TEST: &str = "turns::a_turn_ends_with_its_process";
    if role().is_some() {
        let _turn = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap().mirror_turn(7, Duration::ZERO).unwrap();
        println!("taken");
        std::thread::sleep(Duration::from_hours(1));
    }
    let here = scratch();
    let mut command = child(TEST, "turn");
    let mut holder = Reaper(command.env("COFRAME_TEST_STORE", here.path()).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("taken")));
    let error = here.store.mirror_turn(7, Duration::ZERO).unwrap_err();
    assert!(error.is_busy() && error.to_string().contains(&holder.0.id().to_string()), "{error}");
    drop(holder);
    assert_eq!(here.files().len(), 1);
    here.store.sweep().unwrap();
    assert_eq!(here.files(), [""; 0]);
    drop(here.store.mirror_turn(7, Duration::ZERO).unwrap());
}
