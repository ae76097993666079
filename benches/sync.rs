//! Compares cells with atomics of a single process and with a bare robust mutex.
//!
//! ```text
//! cargo bench --bench sync
//! ```

mod common;

use std::{
    hint::black_box,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use coframe::{
    Store,
    sync::{Array, AtomicArray, Counter, Latest, Mutex},
};
use common::{ns, scratch, verdict};

fn main() {
    let (store, _directory) = scratch();
    alone(&store);
    contended(&store);
}

fn alone(store: &Store) {
    let atomic = AtomicI64::new(0);
    let plain = ns(10_000_000, || atomic.fetch_add(1, Ordering::AcqRel));
    let counter: Counter = Counter::create(store, "counter").expect("a counter");
    let shared = ns(10_000_000, || counter.add(1));
    println!("add: {plain:.1} ns to an atomic, {shared:.1} ns to a counter");
    verdict("counter against an atomic", shared / plain, "x", "at most 1.5x", shared <= 1.5 * plain);

    let lock = Mutex::create(store, "lock", ()).expect("a lock");
    let time = ns(5_000_000, || drop(lock.lock().expect("it is free")));
    verdict("lock and unlock without contention", time, " ns", "under 50 ns", time < 50.0);
    let value = Mutex::create(store, "value", 0_u64).expect("a value");
    println!("     update of a value: {:.1} ns", ns(5_000_000, || value.update(|x| *x += 1).expect("it is free")));

    let snapshot = Latest::create(store, "snapshot", [0_u64; 8]).expect("a snapshot");
    let time = ns(10_000_000, || snapshot.read());
    verdict("read of a snapshot of 64 bytes", time, " ns", "under 20 ns", time < 20.0);
    let mut writer = snapshot.writer().expect("no other");
    println!("     write of it: {:.1} ns", ns(10_000_000, || writer.write(black_box(&[1; 8]))));

    let floats: AtomicArray<f64> = AtomicArray::create(store, "floats", 64).expect("an array");
    println!("     add to an element of f64: {:.1} ns", ns(10_000_000, || floats.add(black_box(7), 1.0)));
    let array: Array<f64> = Array::create(store, "array", 1024).expect("an array");
    println!("     claim and release of a part: {:.0} ns", ns(100_000, || drop(array.claim_part(0, 4))));
}

/// How often the contended locks are measured.
const PAIRS: usize = 15;

/// A robust mutex and a number, as in a C program.
#[repr(C)]
struct Bare {
    mutex: libc::pthread_mutex_t,
    number: u64,
}

#[expect(clippy::inline_always, reason = "a call would be measured too")]
#[inline(always)]
fn add(value: &Mutex<u64>) {
    value.update(|x| *x += 1).expect("sound");
}

#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn add_bare(bare: *mut Bare) {
    // The mutex is the first field.
    let mutex = bare.cast::<libc::pthread_mutex_t>();
    // SAFETY: initialised before the first call.
    unsafe { libc::pthread_mutex_lock(mutex) };
    // SAFETY: under the lock.
    unsafe { (*bare).number += 1 };
    // SAFETY: held.
    unsafe { libc::pthread_mutex_unlock(mutex) };
}

/// Runs `add` in this process and in a forked child, and returns its calls per second in both.
fn rate(total: &AtomicU64, mut add: impl FnMut()) -> f64 {
    const TIME: Duration = Duration::from_millis(700);
    let mut run = || {
        let (start, mut count) = (Instant::now(), 0_u64);
        while start.elapsed() < TIME {
            (0..1000).for_each(|_| add());
            count += 1000;
        }
        total.fetch_add(count, Ordering::Relaxed);
    };
    total.store(0, Ordering::Relaxed);
    // SAFETY: the process has one thread; the child uses only shared memory and ends with `_exit`.
    let child = unsafe { libc::fork() };
    run();
    if child == 0 {
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    // SAFETY: waits for the child.
    unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    total.load(Ordering::Relaxed) as f64 / TIME.as_secs_f64()
}

/// Memory that a forked child shares.
fn shared<T>() -> &'static mut T {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new anonymous mapping.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<T>(), protection, flags, -1, 0) };
    assert_ne!(memory, libc::MAP_FAILED);
    // SAFETY: page-aligned zeros, which are a value of the types used here, mapped for ever.
    unsafe { &mut *memory.cast::<T>() }
}

fn contended(store: &Store) {
    let total = shared::<AtomicU64>();
    let bare = std::ptr::from_mut(shared::<Bare>());
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    let attributes = attributes.as_mut_ptr();
    // SAFETY: initialises the attributes.
    unsafe { libc::pthread_mutexattr_init(attributes) };
    // SAFETY: initialised above.
    unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) };
    // SAFETY: as above.
    unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) };
    // The mutex is the first field.
    let mutex = bare.cast::<libc::pthread_mutex_t>();
    // SAFETY: `mutex` is valid and no other process has it yet.
    unsafe { libc::pthread_mutex_init(mutex, attributes) };
    let value = Mutex::create(store, "contended", 0_u64).expect("a value");
    let (with_bare, with_value) = (ns(5_000_000, || add_bare(bare)), ns(5_000_000, || add(&value)));
    println!("lock + add + unlock: {with_bare:.1} ns with a bare mutex, {with_value:.1} ns with a value");
    let ratio = with_value / with_bare;
    verdict("value against a bare mutex, alone", ratio, "x", "at most 1.5x", ratio <= 1.5);
    // The rates of one second differ from those of the next one by as much as three times: both alternate.
    let (mut plain, mut found, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..PAIRS {
        let (bare, ours) = (rate(total, || add_bare(bare)), rate(total, || add(&value)));
        plain.push(bare / 1e6);
        found.push(ours / 1e6);
        ratios.push(ours / bare);
    }
    for list in [&mut plain, &mut found, &mut ratios] {
        list.sort_by(f64::total_cmp);
    }
    println!(
        "2 processes, million lock + add + unlock a second, medians of {PAIRS}: {:.1} with a bare mutex, {:.1} with a value",
        plain[PAIRS / 2],
        found[PAIRS / 2]
    );
    println!("     ratios: {:.2} to {:.2}", ratios[0], ratios[PAIRS - 1]);
    let ratio = ratios[PAIRS / 2];
    verdict("contended value against a bare mutex", ratio, "x", "at least 0.8x", ratio >= 0.8);
}
