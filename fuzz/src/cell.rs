//! The file of a cell, edited.
//!
//! An input is a kind, a length, and edits of four bytes each: an offset, an operation and its operand. It applies to a
//! new cell, because a header has the namespaces of its machine. The bytes of the C library's mutex stay: only the
//! library that wrote them can use them.

use std::{fs, ops::Range, time::Duration};

use coframe::{
    Error, Store,
    sync::{Array, AtomicArray, Barrier, Counter, Event, Flag, Latest, Mutex, Semaphore},
};

use crate::scratch::{self, check_error};

const NAME: &str = "c";
const MUTEX: Range<usize> = 256..304;
const KINDS: u8 = 9;

fn check<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(check_error).ok()
}

/// Applies edits to a file's bytes outside of `except`.
pub(crate) fn edit(bytes: &mut [u8], edits: &[u8], except: &Range<usize>) {
    for edit in edits.chunks_exact(4) {
        let at = usize::from(u16::from_le_bytes([edit[0], edit[1]])) % bytes.len().max(1);
        if except.contains(&at) || bytes.is_empty() {
            continue;
        }
        match edit[2] % 4 {
            0 => bytes[at] = edit[3],
            1 => bytes[at] ^= edit[3] | 1,
            operation => {
                // A whole word of 8 bytes: a power of two, or near the largest number.
                let word = if operation == 2 { 1_u64 << (edit[3] % 64) } else { u64::MAX - u64::from(edit[3]) };
                let at = at & !7;
                for (place, byte) in (at..).zip(word.to_le_bytes()) {
                    if let Some(old) = bytes.get_mut(place).filter(|_| !except.contains(&place)) {
                        *old = byte;
                    }
                }
            }
        }
    }
}

/// Creates a cell, edits its file, and opens it as every kind.
pub fn cell(bytes: &[u8]) {
    let [kind, cut, edits @ ..] = bytes else { return };
    scratch::with(|scratch| {
        let store = &scratch.store;
        let _ = store.remove_cell(NAME);
        create(store, kind % KINDS).expect("a new cell");
        let path = scratch.inside("c.cell");
        let mut file = fs::read(&path).unwrap();
        let has_lock = !matches!(kind % KINDS, 0 | 1 | 4 | 5);
        edit(&mut file, edits, if has_lock { &MUTEX } else { &(0..0) });
        if *cut > 0 {
            let len = file.len() * usize::from(*cut) / 256;
            file.truncate(len);
        }
        fs::write(&path, &file).unwrap();
        // Of the same kind, and of the next one.
        use_as(store, kind % KINDS);
        use_as(store, (kind % KINDS + 1) % KINDS);
        check(store.cells());
        assert!(store.remove_cell(NAME).expect("a name of a cell"));
    });
}

fn create(store: &Store, kind: u8) -> coframe::Result<()> {
    match kind {
        0 => Counter::<i64>::create(store, NAME).map(drop),
        1 => Flag::create(store, NAME).map(drop),
        2 => Mutex::create(store, NAME, [1_u64; 4]).map(drop),
        3 => Array::<u32>::create(store, NAME, 10).map(drop),
        4 => AtomicArray::<i64>::create(store, NAME, 10).map(drop),
        5 => Event::create(store, NAME).map(drop),
        6 => Barrier::create(store, NAME, 3).map(drop),
        7 => Semaphore::create(store, NAME, 3).map(drop),
        _ => Latest::create(store, NAME, [1.0_f64; 4]).map(drop),
    }
}

fn use_as(store: &Store, kind: u8) {
    match kind {
        0 => drop(check(Counter::<i64>::open(store, NAME)).map(|it| (it.add(1), it.get()))),
        1 => drop(check(Flag::open(store, NAME)).map(|it| (it.swap(true), it.get()))),
        2 => {
            if let Some(it) = check(Mutex::<[u64; 4]>::open(store, NAME)) {
                drop(check(it.try_lock()));
                drop(check(it.try_lock_for(Duration::ZERO)));
                let _ = it.is_poisoned();
            }
        }
        3 => {
            if let Some(it) = check(Array::<u32>::open(store, NAME)) {
                drop(check(it.claim(1..3)));
                drop(check(it.claim_part(1, 2)));
                if let Some(guard) = check(it.try_lock()).flatten() {
                    assert_eq!(guard.iter().count(), it.len());
                }
            }
        }
        4 => {
            if let Some(it) = check(AtomicArray::<i64>::open(store, NAME)) {
                assert_eq!(it.to_vec().len(), it.len());
                let _ = (it.get(it.len()), it.add(it.len().saturating_sub(1), 1));
            }
        }
        5 => {
            if let Some(it) = check(Event::open(store, NAME)) {
                it.set();
                let _ = (it.is_set(), it.pulses(), check(it.wait_timeout(Duration::ZERO)));
                it.pulse();
            }
        }
        6 => {
            if let Some(it) = check(Barrier::open(store, NAME)) {
                let _ = (it.parties(), check(it.waiting()), it.is_broken());
                check(it.wait_timeout(Duration::from_micros(1)));
                check(it.abort());
                check(it.reset());
            }
        }
        7 => {
            if let Some(it) = check(Semaphore::open(store, NAME)) {
                let _ = (it.permits(), check(it.available()), check(it.release()));
                drop(check(it.try_acquire()));
                check(it.add_permit());
            }
        }
        _ => {
            if let Some(it) = check(Latest::<[f64; 4]>::open(store, NAME)) {
                let _ = it.read();
            }
        }
    }
}
