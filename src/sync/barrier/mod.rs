//! Barriers: points that a number of participants reach together.

mod rounds;
mod seat;

use std::time::{Duration, Instant};

use self::{
    rounds::{End, Rounds},
    seat::{Arrival, Seat},
};
use super::{
    alive::Incarnation,
    futex::{Deadline, wait_until},
    guard,
    layout::{CellKind, DATA},
    participants,
    region::{CellLayout, Region, name_taken},
};
use crate::{
    error::{Error, Result},
    interrupt::Looks,
    store::Store,
};

/// A point that a number of participants reach together.
///
/// A participant that dies while it waits breaks the barrier, as does one whose time limit passes: every participant
/// gets an error ([`is_barrier_broken`](Error::is_barrier_broken)) until [`reset`](Self::reset). The barrier cannot
/// detect a participant that dies before it arrives; pass a time limit. Each participant learns how its own round
/// ended, whatever happens to the barrier before it runs again.
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
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # coframe::sync::Barrier::create(&store, "loaded", 3)?;
    /// let barrier = coframe::sync::Barrier::open(&store, "loaded")?; // in another process
    /// assert_eq!(barrier.parties(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(store: &Store, name: &str) -> Result<Self> {
        Region::open(store, name, shape).map(|region| Self { region })
    }

    /// Returns the number of participants that it waits for.
    #[must_use]
    pub fn parties(&self) -> usize {
        self.region.count()
    }

    /// Returns the number of participants that wait now. Dead ones count until a participant notices.
    pub fn waiting(&self) -> Result<usize> {
        self.rounds().locked(|| self.rounds().waiting_seats().count())
    }

    /// Returns whether the barrier is broken.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.rounds().how_broken().is_some()
    }

    /// Blocks until all participants have arrived. Returns true for the one that arrived last.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let barrier = coframe::sync::Barrier::create(&store, "loaded", 2)?;
    /// let last = std::thread::scope(|scope| {
    ///     let other = scope.spawn(|| barrier.wait());
    ///     Ok::<_, coframe::Error>([barrier.wait()?, other.join().unwrap()?])
    /// })?;
    /// assert_ne!(last[0], last[1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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

    /// Blocks as [`wait`](Self::wait), or with a time limit as [`wait_timeout`](Self::wait_timeout). Returns the order
    /// of arrival, from 0 to one less than the number of participants. Each number occurs once in a round.
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
        self.meet(limit, None::<fn() -> Result<()>>)
    }

    /// Arrives as [`arrive`](Self::arrive) does. If this participant is the last, it runs the action before the others
    /// continue.
    ///
    /// Meanwhile the barrier is not locked, and the time limits of the others continue. An action that fails or panics
    /// breaks the barrier, and its error is returned. The barrier also breaks if the process that runs the action ends.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let barrier = coframe::sync::Barrier::create(&store, "round", 2)?;
    /// # let rounds: coframe::sync::Counter = coframe::sync::Counter::create(&store, "rounds")?;
    /// let count = || {
    ///     rounds.add(1);
    ///     Ok::<_, coframe::Error>(())
    /// };
    /// std::thread::scope(|s| {
    ///     let other = s.spawn(|| barrier.arrive_with(None, count));
    ///     barrier.arrive_with(None, count)?;
    ///     other.join().unwrap()
    /// })?;
    /// assert_eq!(rounds.get(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn arrive_with<E: From<Error>>(
        &self,
        limit: Option<Duration>,
        action: impl FnOnce() -> Result<(), E>,
    ) -> Result<usize, E> {
        self.meet(limit, Some(action))
    }

    fn meet<E: From<Error>>(
        &self,
        limit: Option<Duration>,
        action: Option<impl FnOnce() -> Result<(), E>>,
    ) -> Result<usize, E> {
        // 1. Under the lock: take a seat in the table, marked with the number of the round. The last participant checks
        //    that the others are alive, writes `Opened` into their seats, counts the round and wakes them: done. With an
        //    action it takes a seat too, and does this after the action.
        // 2. Without the lock: yield for a moment, then sleep on the number of the round (`Seat::wait`).
        // 3. Now and then: end the round for all if a participant has died.
        // 4. Time limit or interrupt: end the round for all, unless it has ended.
        // 5. Under the lock: read from the own seat how the round ended, and free the seat (`Seat::leave`).
        let start = Instant::now();
        let Some(mut seat) = self.enter(limit, action.is_some())? else {
            return Ok(self.parties().saturating_sub(1));
        };
        let (end, interrupted) = match action {
            Some(action) if seat.place + 1 == self.parties() => {
                action()?; // Otherwise the seat is dropped, which breaks the barrier.
                (seat.leave(End::Opened)?, None)
            }
            _ => {
                let interrupted = seat.wait(limit.map(|limit| limit.saturating_sub(start.elapsed())));
                (seat.leave(End::Aborted)?, interrupted)
            }
        };
        match (end, interrupted) {
            (Some(End::Opened), _) => Ok(seat.place),
            // This wait was what ended the round.
            (Some(End::Aborted), Some(error)) => Err(error.into()),
            (end, _) => Err(self.rounds().broken(end.unwrap_or(End::Opened)).into()),
        }
    }

    /// Takes a seat. Returns `None` for the last participant without an action, which opened the barrier. Waits while
    /// the action of a complete round runs.
    fn enter(&self, limit: Option<Duration>, has_action: bool) -> Result<Option<Seat<'_>>> {
        let (mark, rounds, deadline) = (Incarnation::own(), self.rounds(), Deadline::new(limit));
        loop {
            let round = match rounds.locked(|| seat::arrive(rounds, mark, has_action))?? {
                Arrival::Opened => return Ok(None),
                Arrival::Seated(seat) => return Ok(Some(seat)),
                Arrival::Full { round } => round,
            };
            let (mut looks, mut interrupted) = (Looks::new(), None);
            let has_ended = wait_until(rounds.round(), deadline.rest().or(Some(Duration::ZERO)), || {
                interrupted = rounds.end_if_any_died(round).err();
                if interrupted.is_none() {
                    interrupted = looks.check(|| format!("the others at {}", self.region.label())).err();
                }
                interrupted.is_some() || rounds.is_over(round)
            });
            if let Some(error) = interrupted {
                return Err(error);
            }
            if !has_ended {
                rounds.locked(|| rounds.break_it(End::Late))?;
            }
        }
    }

    fn rounds(&self) -> Rounds<'_> {
        Rounds { region: &self.region }
    }

    /// Breaks the barrier: its participants get an error until it is [`reset`](Self::reset).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let barrier = coframe::sync::Barrier::create(&store, "loaded", 2)?;
    /// barrier.abort()?;
    /// assert!(barrier.wait().unwrap_err().is_barrier_broken());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn abort(&self) -> Result<()> {
        self.rounds().locked(|| self.rounds().break_it(End::Aborted))
    }

    /// Makes a broken barrier usable again. Participants that wait now get an error.
    pub fn reset(&self) -> Result<()> {
        let rounds = self.rounds();
        rounds.locked(|| {
            if rounds.waiting_seats().next().is_some() {
                rounds.end_round(End::Reset);
            }
            rounds.repair();
        })
    }
}

super::handles!(Barrier);
