//! The rounds of a barrier: which participants have arrived, and how each round ended.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::{
    error::{Error, Kind, Result},
    sync::{
        alive::Incarnation,
        futex::changed,
        guard,
        layout::{CHANGES, DATA},
        participants::{self, Participants},
        region::Region,
    },
};

/// Why the barrier is broken (an [`End`]), or 0.
const BROKEN: usize = DATA + 4;

/// How a round ended. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Opened,
    Died,
    Late,
    Aborted,
    Reset,
}

impl End {
    const ALL: [Self; 5] = [Self::Opened, Self::Died, Self::Late, Self::Aborted, Self::Reset];
    /// Number of bits that it takes in a seat's word.
    pub(super) const BITS: u32 = 3;

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
            Self::Opened => "its round ended, but its result is no longer recorded",
            Self::Died => "a participant died while it waited",
            Self::Late => "a participant came too late: the time limit of another one passed",
            Self::Aborted => "a participant left it, or aborted it",
            Self::Reset => "it was reset while participants waited",
        }
    }
}

/// The table of a barrier: the seats of this round, and those of earlier ones whose participants have not left.
#[derive(Clone, Copy)]
pub(super) struct Rounds<'a> {
    pub(super) region: &'a Region,
}

impl<'a> Rounds<'a> {
    /// Returns the number of participants.
    pub(super) fn parties(self) -> usize {
        self.region.count()
    }

    /// Returns how the barrier broke, if it is broken.
    pub(super) fn how_broken(self) -> Option<End> {
        // Pairs with the releases of `break_it` and `repair`.
        End::from_code(self.region.memory().word32(BROKEN).load(Ordering::Acquire))
    }

    /// Makes the barrier usable again. Call it under the lock.
    pub(super) fn repair(self) {
        // Acquired by `how_broken`.
        self.region.memory().word32(BROKEN).store(0, Ordering::Release);
    }

    /// Returns the error of a barrier that ended its round in this way.
    pub(super) fn broken(self, end: End) -> Error {
        Kind::Broken { what: self.region.label(), why: end.why().to_owned() }.into()
    }

    /// Runs under the lock of the barrier's table.
    pub(super) fn locked<R>(self, call: impl FnOnce() -> R) -> Result<R> {
        // A death under the lock leaves complete entries, which are checked one by one: nothing is inconsistent.
        let held = guard::lock::<u8>(self.region, DATA, None, true)?;
        let result = call();
        drop(held);
        Ok(result)
    }

    pub(super) fn participants(self) -> Participants<'a> {
        Participants::marks(self.region.memory(), participants::seats(self.parties()))
    }

    /// Returns the number of the round: how many rounds have ended.
    pub(super) fn round(self) -> &'a AtomicU32 {
        self.region.memory().word32(CHANGES)
    }

    /// Returns the seats of this round. Call it under the lock.
    pub(super) fn waiting_seats(self) -> impl Iterator<Item = (usize, Incarnation)> {
        let participants = self.participants();
        let seats: Vec<_> =
            participants.occupied().filter(|(index, _)| ending(participants.word(*index)).is_none()).collect();
        seats.into_iter()
    }

    /// Ends the round for all that wait. Call it under the lock.
    pub(super) fn end_round(self, end: End) {
        for (index, _) in self.waiting_seats() {
            self.participants().word(index).fetch_or(end.code(), Ordering::Relaxed);
        }
        changed(self.region.memory());
    }

    /// Breaks the barrier, and ends the round for all that wait. Call it under the lock.
    pub(super) fn break_it(self, end: End) {
        // Acquired by `how_broken`.
        self.region.memory().word32(BROKEN).store(end.code(), Ordering::Release);
        self.end_round(end);
    }

    /// Returns whether a process with a waiting participant has died. If only the thread that waited has ended, it
    /// counts as alive.
    pub(super) fn any_died(self) -> bool {
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

    /// Returns whether this round has ended.
    pub(super) fn is_over(self, round: u32) -> bool {
        // Pairs with the release of `changed`, before which `end_round` marks every seat.
        self.round().load(Ordering::Acquire) != round
    }

    /// Breaks the barrier if a participant of this round has died.
    pub(super) fn end_if_any_died(self, round: u32) -> Result<()> {
        if !self.any_died() {
            return Ok(());
        }
        // Checked again under the lock, because the table may already be that of the next round.
        self.locked(|| {
            if !self.is_over(round) && self.any_died() {
                self.break_it(End::Died);
            }
        })
    }
}

/// Returns how the round of a seat ended; `None` while it continues.
pub(super) fn ending(word: &AtomicU32) -> Option<End> {
    End::from_code(word.load(Ordering::Relaxed) & ((1 << End::BITS) - 1))
}

/// Returns how many rounds ago a seat was taken.
pub(super) fn age(word: &AtomicU32, round: u32) -> u32 {
    round.wrapping_sub(word.load(Ordering::Relaxed) >> End::BITS) & (u32::MAX >> End::BITS)
}
