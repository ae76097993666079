//! Owners of locks, permits and snapshots, who die holding them.

use std::time::Duration;

use coframe::{
    Store,
    sync::{Counter, Latest, Mutex, Semaphore},
};

use super::{Context, Role};
use crate::{Result, ensure, random::Random};

pub(crate) const LOCK: &str = "lock";
pub(crate) const LATEST: &str = "latest";
pub(crate) const COUNT: &str = "count";
pub(crate) const PERMITS: &str = "permits";

/// All numbers are the same, except while the lock's owner changes them.
pub(crate) type Locked = [u64; 16];
pub(crate) type Copied = [u64; 64];

/// No wait takes as long: the driver stops a process for a fraction of a second.
const LIMIT: Duration = Duration::from_secs(20);

pub(super) struct Cells {
    lock: Mutex<Locked>,
    latest: Latest<Copied>,
    count: Counter<u64>,
    permits: Semaphore,
    seen: u64,
}

impl Cells {
    pub(super) fn open(store: &Store) -> Result<Self> {
        let (lock, latest) = (Mutex::open(store, LOCK)?, Latest::open(store, LATEST)?);
        let (count, permits) = (Counter::open(store, COUNT)?, Semaphore::open(store, PERMITS)?);
        Ok(Self { lock, latest, count, permits, seen: 0 })
    }
}

impl Role for Cells {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        match context.random.below(6) {
            0..2 => {
                let value = raise(&self.lock, &mut context.random)?;
                context.ledger.number(LOCK, value)
            }
            2 => {
                let value = self.count.add(1);
                context.ledger.number(COUNT, value)
            }
            3 => {
                let permit = self.permits.try_acquire_for(LIMIT)?;
                ensure!(permit.is_some(), "no permit within {LIMIT:?}: a dead process keeps one");
                pause(&mut context.random);
                Ok(())
            }
            4 => {
                let Some(value) = self.write_latest(&mut context.random)? else { return Ok(()) };
                context.ledger.number(LATEST, value)
            }
            _ => churn(context),
        }?;
        let value = read_latest(&self.latest)?;
        ensure!(value >= self.seen, "the latest value went from {} back to {value}", self.seen);
        self.seen = value;
        Ok(())
    }
}

impl Cells {
    /// Becomes the writer and writes a few values; `None` if another process is the writer.
    fn write_latest(&self, random: &mut Random) -> Result<Option<u64>> {
        let mut writer = match self.latest.writer() {
            Err(error) if error.is_busy() => return Ok(None),
            writer => writer?,
        };
        let mut value = read_latest(&self.latest)?;
        for _ in 0..=random.below(20) {
            value += 1;
            writer.write(&[value; 64]);
        }
        pause(random);
        Ok(Some(value))
    }
}

/// Raises all numbers under the lock, one by one; repairs them first if the last owner died in the middle.
pub(crate) fn raise(lock: &Mutex<Locked>, random: &mut Random) -> Result<u64> {
    let mut guard = match lock.try_lock_for(LIMIT) {
        Err(error) if error.is_poisoned() => lock.lock_poisoned()?,
        guard => guard?.ok_or_else(|| format!("the lock was not free within {LIMIT:?}"))?,
    };
    if guard.is_poisoned() {
        let most = guard.iter().copied().max().unwrap_or(0);
        *guard = [most; 16];
        guard.clear_poison();
    }
    ensure!(guard.iter().all(|value| *value == guard[0]), "torn under a lock without poison: {:?}", *guard);
    let value = guard[0] + 1;
    for (place, number) in guard.iter_mut().enumerate() {
        *number = value;
        if place == 8 {
            pause(random);
        }
    }
    Ok(value)
}

pub(crate) fn read_latest(latest: &Latest<Copied>) -> Result<u64> {
    let copy = latest.read();
    ensure!(copy.iter().all(|value| *value == copy[0]), "a torn latest value: {copy:?}");
    Ok(copy[0])
}

/// Sometimes sleeps, holding what it holds, so that a death there is likely.
fn pause(random: &mut Random) {
    if random.one_in(4) {
        std::thread::sleep(Duration::from_micros(random.below(500)));
    }
}

/// A cell that processes create, use and remove all the time.
fn churn(context: &mut Context) -> Result<()> {
    let cell = Mutex::<u64>::open_or_create(&context.store, "churn", 0)?;
    if let Ok(Some(mut value)) = cell.try_lock_for(Duration::from_millis(10)) {
        *value += 1;
    }
    context.store.remove_cell("churn")?;
    Ok(())
}
