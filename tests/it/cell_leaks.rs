//! Guards that safe code leaks.

use std::{fs, time::Duration};

use coframe::{
    Store,
    sync::{Array, Latest, Mutex},
};

use crate::common::{Scratch, alone};

/// Whether this process still maps a cell's file. Maps show the name of a file that was opened by it, not of one that was
/// created.
fn is_mapped(cell: &str) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().any(|line| line.ends_with(&format!("/{cell}.cell")))
}

/// Makes cells of each kind that has a guard, leaks the guards, and drops the cells.
fn leak(store: &Store) {
    drop(Mutex::create(store, "value", [1_u64; 4]).unwrap());
    let value = Mutex::<[u64; 4]>::open(store, "value").unwrap();
    std::mem::forget(value.lock().unwrap());
    drop(Array::<u32>::create(store, "array", 2000).unwrap());
    let array = Array::<u32>::open(store, "array").unwrap();
    std::mem::forget(array.lock().unwrap());
    drop(Latest::create(store, "snapshot", 1_u64).unwrap());
    let snapshot = Latest::<u64>::open(store, "snapshot").unwrap();
    std::mem::forget(snapshot.writer().unwrap());
}

#[test]
fn a_leaked_guard_keeps_the_memory_of_its_dropped_cell() {
    alone("cell_leaks::a_leaked_guard_keeps_the_memory_of_its_dropped_cell", |Scratch { store, .. }| {
        let other = Mutex::create(store, "other", 7_u64).unwrap();
        // Twice, in a thread that ends and in one that goes on.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                leak(store);
                assert_eq!(other.get().unwrap(), 7);
            });
        });
        for cell in ["value", "array", "snapshot"] {
            assert!(is_mapped(cell), "{cell}");
        }
        // The kernel found the mutexes when their thread ended, and reports each.
        assert!(Mutex::<[u64; 4]>::open(store, "value").unwrap().lock().unwrap_err().is_poisoned());
        assert!(Array::<u32>::open(store, "array").unwrap().lock().unwrap_err().is_poisoned());
        drop(Latest::<u64>::open(store, "snapshot").unwrap().writer().unwrap());

        for cell in ["value", "array", "snapshot"] {
            store.remove_cell(cell).unwrap();
        }
        leak(store);
        assert_eq!(other.get().unwrap(), 7);
        drop(other.lock().unwrap());
        // Another thread still waits for what was leaked.
        let value = Mutex::<[u64; 4]>::open(store, "value").unwrap();
        std::thread::scope(|scope| {
            let busy = || value.try_lock_for(Duration::from_millis(20)).unwrap().is_none();
            assert!(scope.spawn(busy).join().unwrap());
        });
    });
}

#[test]
fn a_cell_whose_guards_were_dropped_is_unmapped() {
    alone("cell_leaks::a_cell_whose_guards_were_dropped_is_unmapped", |Scratch { store, .. }| {
        drop(Mutex::create(store, "value", 1_u64).unwrap());
        drop(Array::<u32>::create(store, "array", 2000).unwrap());
        drop(Latest::create(store, "snapshot", 1_u64).unwrap());
        let value = Mutex::<u64>::open(store, "value").unwrap();
        drop(value.lock().unwrap());
        value.set(2).unwrap();
        let array = Array::<u32>::open(store, "array").unwrap();
        drop(array.lock().unwrap());
        drop(array.claim(0..10).unwrap());
        let snapshot = Latest::<u64>::open(store, "snapshot").unwrap();
        drop(snapshot.writer().unwrap());
        assert!(is_mapped("value") && is_mapped("array") && is_mapped("snapshot"));
        drop((value, array, snapshot));
        assert!(!is_mapped("value") && !is_mapped("array") && !is_mapped("snapshot"));
    });
}
