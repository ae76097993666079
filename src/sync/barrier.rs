//! Barriers: points that a number of participants reach together.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    alive::Incarnation,
    futex::{changed, wait_until},
    guard,
    layout::{CHANGES, CellKind, DATA},
    participants::{self, Participants},
    region::{CellLayout, Region, name_taken},
};
use crate::{
    error::{Error, Kind, Result},
    interrupt::{Looks, uninterrupted},
    store::Store,
};

/// Why the barrier is broken (an [`End`]), or 0.
const BROKEN: usize = DATA + 4;

/// How long a participant spins for the others before it sleeps.
const MOMENT: Duration = Duration::from_micros(20);

/// How a round ended. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Opened,
    Died,
    Late,
    Aborted,
    Reset,
}

impl End {
    const ALL: [Self; 5] = [Self::Opened, Self::Died, Self::Late, Self::Aborted, Self::Reset];
    /// Bits of a seat's word that it takes.
    const BITS: u32 = 3;

    fn code(self) -> u32 {
        match self {
            Self::Opened => 1,
            Self::Died => 2,
            Self::Late => 3,
            Self::Aborted => 4,
            Self::Reset => 5,
        }
    }

    fn from_code(code: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|end| end.code() == code)
    }

    fn why(self) -> &'static str {
        match self {
            Self::Opened => "its round ended, and how is no longer recorded",
            Self::Died => "a participant died while it waited",
            Self::Late => "a participant came too late: the time limit of another one passed",
            Self::Aborted => "a participant left it, or aborted it",
            Self::Reset => "it was reset while participants waited",
        }
    }
}

/// A point that a number of participants reach together.
///
/// A participant that dies while it waits breaks the barrier, as does one whose time limit passes: every participant gets
/// an error ([`is_barrier_broken`](Error::is_barrier_broken)) until [`reset`](Self::reset). One that dies before it arrives cannot be
/// known: pass a time limit. Each participant learns how its own round ended, whatever happens to the barrier before it
/// runs again.
///
/// Participants must be in one pid namespace; in another one, opening is an error
/// ([`is_unsupported`](Error::is_unsupported)).
///
/// ```
/// use coframe::{Store, sync::Barrier};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let barrier = Barrier::create(&store, "loaded", 2)?;
/// let mut places = std::thread::scope(|scope| {
///     let other = scope.spawn(|| barrier.arrive(None));
///     Ok::<_, coframe::Error>([barrier.arrive(None)?, other.join().unwrap()?])
/// })?;
/// places.sort();
/// assert_eq!(places, [0, 1]); // the one with 0 does what only one should do
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Barrier {
    region: Region,
}

fn shape(parties: usize) -> CellLayout {
    let bytes = participants::bytes(participants::seats(parties));
    CellLayout { kind: CellKind::Barrier, count: parties, size: 16, bytes, type_name: "()" }
}

impl Barrier {
    /// Creates a barrier for a number of participants, threads or processes, at least one. Errors as
    /// [`Counter::create`](super::Counter::create).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let barrier = coframe::sync::Barrier::create(&store, "start", 2)?;
    /// assert_eq!(barrier.parties(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(store: &Store, name: &str, parties: usize) -> Result<Self> {
        let region =
            Region::create(store, name, shape(parties.max(1)), |memory| guard::initialise::<u8>(memory, DATA, &[]))?;
        region.map(|region| Self { region }).ok_or_else(|| name_taken(store, name))
    }

    /// Opens a barrier. Errors as [`Counter::open`](super::Counter::open).
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, shape).map(|region| Self { region })
    }

    /// How many participants it waits for.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.region.count()
    }

    /// How many participants wait now. Those that died count until a participant notices.
    pub fn waiting(&self) -> Result<usize> {
        self.locked(|| self.waiting_seats().count())
    }

    /// Whether it is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        // Pairs with the releases of `break_it` and `reset`.
        self.region.memory().word32(BROKEN).load(Ordering::Acquire) != 0
    }

    /// Blocks until all participants have arrived. True for the one that arrived last.
    pub fn wait(&self) -> Result<bool> {
        self.arrive(None).map(|place| place + 1 == self.parties())
    }

    /// Blocks until all participants have arrived, or until the time limit passes, which breaks the barrier.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let barrier = coframe::sync::Barrier::create(&store, "start", 2)?;
    /// let error = barrier.wait_timeout(std::time::Duration::from_millis(1)).unwrap_err(); // alone
    /// assert!(error.is_barrier_broken() && barrier.is_broken());
    /// barrier.reset()?;
    /// assert!(!barrier.is_broken());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(&self, limit: Duration) -> Result<bool> {
        self.arrive(Some(limit)).map(|place| place + 1 == self.parties())
    }

    /// Blocks as [`wait`](Self::wait), or with a time limit as [`wait_timeout`](Self::wait_timeout). Returns the order of
    /// arrival, from 0 to one less than the number of participants: each place once in a round.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let barrier = coframe::sync::Barrier::create(&store, "start", 2)?;
    /// let mut places = std::thread::scope(|s| {
    ///     let other = s.spawn(|| barrier.arrive(None));
    ///     Ok::<_, coframe::Error>([barrier.arrive(None)?, other.join().unwrap()?])
    /// })?;
    /// places.sort();
    /// assert_eq!(places, [0, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arrive(&self, limit: Option<Duration>) -> Result<usize> {
        // 1. Under the lock: take a seat in the table, marked with the number of the round. The last participant checks
        //    that the others are alive, writes `Opened` into their seats, counts the round and wakes them: done.
        // 2. Without the lock: yield for a moment, then sleep on the number of the round (`Seat::wait`).
        // 3. Now and then: end the round for all if a participant has died.
        // 4. Time limit or interrupt: end the round for all, unless it has ended.
        // 5. Under the lock: read from the own seat how the round ended, and free the seat (`Seat::leave`).
        let mark = Incarnation::own();
        let Some(mut seat) = self.locked(|| self.take_seat(mark))?? else {
            return Ok(self.parties().saturating_sub(1));
        };
        let interrupted = seat.wait(limit);
        let end = seat.leave()?;
        match (end, interrupted) {
            (Some(End::Opened), _) => Ok(seat.place),
            // This wait was what ended the round.
            (Some(End::Aborted), Some(error)) => Err(error),
            (end, _) => Err(self.broken(end.unwrap_or(End::Opened))),
        }
    }

    /// Breaks the barrier: its participants get an error until it is [`reset`](Self::reset).
    pub fn abort(&self) -> Result<()> {
        self.locked(|| self.break_it(End::Aborted))
    }

    /// Makes a broken barrier usable again. Participants that wait now get an error.
    pub fn reset(&self) -> Result<()> {
        self.locked(|| {
            if self.waiting_seats().next().is_some() {
                self.end_round(End::Reset);
            }
            // Acquired by `is_broken` and `take_seat`.
            self.region.memory().word32(BROKEN).store(0, Ordering::Release);
        })
    }

    fn broken(&self, end: End) -> Error {
        Kind::Broken { what: self.region.label(), why: end.why().to_owned() }.into()
    }

    /// Runs under the lock of the barrier's table.
    fn locked<R>(&self, call: impl FnOnce() -> R) -> Result<R> {
        // A death inside leaves whole entries, which are checked one by one: nothing is inconsistent.
        let held = guard::lock::<u8>(&self.region, DATA, None, true)?;
        let result = call();
        drop(held);
        Ok(result)
    }

    fn participants(&self) -> Participants<'_> {
        Participants::marks(self.region.memory(), participants::seats(self.parties()))
    }

    /// The number of the round, which counts those that ended.
    fn round(&self) -> &AtomicU32 {
        self.region.memory().word32(CHANGES)
    }

    /// Seats of this round. Under the lock.
    fn waiting_seats(&self) -> impl Iterator<Item = (usize, Incarnation)> + '_ {
        let participants = self.participants();
        let seats: Vec<_> =
            participants.occupied().filter(|(index, _)| ending(participants.word(*index)).is_none()).collect();
        seats.into_iter()
    }

    /// Arrives: a seat where the caller waits, or `None` for the last one, which opened the barrier. Under the lock.
    fn take_seat(&self, mark: Incarnation) -> Result<Option<Seat<'_>>> {
        // Pairs with the releases of `break_it` and `reset`.
        if let Some(end) = End::from_code(self.region.memory().word32(BROKEN).load(Ordering::Acquire)) {
            return Err(self.broken(end));
        }
        let place = self.waiting_seats().count();
        if place + 1 >= self.parties() {
            if self.someone_died() {
                self.break_it(End::Died);
                return Err(self.broken(End::Died));
            }
            self.end_round(End::Opened);
            return Ok(None);
        }
        // Pairs with the release of `changed`, although the lock orders it as well.
        let (participants, round) = (self.participants(), self.round().load(Ordering::Acquire));
        // Where every seat is taken, one of an earlier round is given up: its participant has not run for longer than
        // as many others have.
        let oldest = || {
            let ended = participants.occupied().filter(|(index, _)| ending(participants.word(*index)).is_some());
            ended.max_by_key(|(index, _)| age(participants.word(*index), round)).map(|(index, _)| index)
        };
        let index = participants.free().or_else(oldest).ok_or_else(|| self.broken(End::Aborted))?;
        participants.word(index).store(round << End::BITS, Ordering::Relaxed);
        participants.set(index, mark);
        Ok(Some(Seat { barrier: self, index, mark, round, place, has_left: false }))
    }

    /// Ends the round for all that wait. Under the lock.
    fn end_round(&self, end: End) {
        for (index, _) in self.waiting_seats() {
            self.participants().word(index).fetch_or(end.code(), Ordering::Relaxed);
        }
        changed(self.region.memory());
    }

    fn break_it(&self, end: End) {
        // Acquired by `is_broken` and `take_seat`.
        self.region.memory().word32(BROKEN).store(end.code(), Ordering::Release);
        self.end_round(end);
    }

    /// Whether a participant that waits has died. A living process with a dead thread looks alive: threads take care of each
    /// other.
    fn someone_died(&self) -> bool {
        let mut alive = None;
        self.waiting_seats().any(|(_, mark)| {
            // Threads of one process are checked once.
            if alive == Some(mark) {
                return false;
            }
            alive = Some(mark);
            !mark.is_alive()
        })
    }
}

super::handles!(Barrier);

/// How the round of a seat ended; `None` while it goes on.
fn ending(word: &AtomicU32) -> Option<End> {
    End::from_code(word.load(Ordering::Relaxed) & ((1 << End::BITS) - 1))
}

/// How many rounds ago a seat was taken.
fn age(word: &AtomicU32, round: u32) -> u32 {
    round.wrapping_sub(word.load(Ordering::Relaxed) >> End::BITS) & (u32::MAX >> End::BITS)
}

/// A participant that waits. However it leaves, by a panic in the caller's own code too, no seat of it stays in the round.
struct Seat<'a> {
    barrier: &'a Barrier,
    index: usize,
    mark: Incarnation,
    /// The round when it arrived.
    round: u32,
    place: usize,
    has_left: bool,
}

impl Seat<'_> {
    fn is_over(&self) -> bool {
        // Pairs with the release of `changed`, before which `end_round` marks every seat.
        self.barrier.round().load(Ordering::Acquire) != self.round
    }

    /// Blocks until the round is over, or the time limit passes or the caller ends the wait: both end the round, if no
    /// other participant has.
    fn wait(&self, limit: Option<Duration>) -> Option<Error> {
        let (barrier, word) = (self.barrier, self.barrier.round());
        // The others may arrive in a moment: that is shorter than to sleep and be woken.
        let start = Instant::now();
        while !self.is_over() && start.elapsed() < MOMENT {
            thread::yield_now();
        }
        let (mut looks, mut interrupted) = (Looks::new(), None);
        let arrived = || {
            if self.is_over() {
                return true;
            }
            if barrier.someone_died() {
                // Checked again under the lock: the table may be that of the next round by now.
                interrupted = self.end_if_someone_died().err();
            }
            if interrupted.is_none() {
                interrupted = looks.check(|| format!("the others at {}", barrier.region.label())).err();
            }
            interrupted.is_some() || self.is_over()
        };
        let is_late = !wait_until(word, limit.map(|limit| limit.saturating_sub(start.elapsed())), arrived);
        if interrupted.is_some() {
            self.end(End::Aborted);
        } else if is_late {
            self.end(End::Late);
        }
        interrupted
    }

    fn end_if_someone_died(&self) -> Result<()> {
        self.barrier.locked(|| {
            if !self.is_over() && self.barrier.someone_died() {
                self.barrier.break_it(End::Died);
            }
        })
    }

    /// Ends the round, if it is not over.
    fn end(&self, end: End) {
        // A lock that cannot be had leaves the seat to `leave`.
        let _ = uninterrupted(|| self.barrier.locked(|| (!self.is_over()).then(|| self.barrier.break_it(end))));
    }

    /// Gives the seat up; returns how its round ended, or `None` where another participant needed the seat.
    fn leave(&mut self) -> Result<Option<End>> {
        self.has_left = true;
        let (barrier, participants) = (self.barrier, self.barrier.participants());
        uninterrupted(|| {
            barrier.locked(|| {
                let word = participants.word(self.index);
                if participants.get(self.index) != Some(self.mark)
                    || word.load(Ordering::Relaxed) >> End::BITS != self.round()
                {
                    return None;
                }
                let end = ending(word);
                if end.is_none() {
                    barrier.break_it(End::Aborted);
                }
                participants.clear(self.index);
                end.or(Some(End::Aborted))
            })
        })
    }

    /// The round, as far as a seat records it.
    fn round(&self) -> u32 {
        self.round & (u32::MAX >> End::BITS)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            let _ = self.leave();
        }
    }
}
