//! The seat of a participant, from its arrival until it has seen how its round ended.

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use super::rounds::{End, Rounds, age, ending};
use crate::{
    error::{Error, Result},
    interrupt::{Looks, uninterrupted},
    sync::{alive::Incarnation, futex::wait_until},
};

/// How long a participant spins for the others before it sleeps.
const MOMENT: Duration = Duration::from_micros(20);

/// What a participant finds when it arrives.
pub(super) enum Arrival<'a> {
    /// It was the last, and the others go on.
    Opened,
    /// It waits, or runs the action if it is the last.
    Seated(Seat<'a>),
    /// All have arrived, and the last one runs its action: the next round has not begun.
    Full { round: u32 },
}

/// Arrives. Under the lock.
pub(super) fn arrive(rounds: Rounds<'_>, mark: Incarnation, has_action: bool) -> Result<Arrival<'_>> {
    if let Some(end) = rounds.how_broken() {
        return Err(rounds.broken(end));
    }
    let place = rounds.waiting_seats().count();
    if place >= rounds.parties() {
        return Ok(Arrival::Full { round: rounds.round().load(Ordering::Acquire) });
    }
    let is_last = place + 1 == rounds.parties();
    if is_last && rounds.someone_died() {
        rounds.break_it(End::Died);
        return Err(rounds.broken(End::Died));
    }
    if is_last && !has_action {
        rounds.end_round(End::Opened);
        return Ok(Arrival::Opened);
    }
    // Pairs with the release of `changed`, although the lock orders it as well.
    let (participants, round) = (rounds.participants(), rounds.round().load(Ordering::Acquire));
    // Where every seat is taken, one of an earlier round is given up: its participant has not run for longer than
    // as many others have.
    let oldest = || {
        let ended = participants.occupied().filter(|(index, _)| ending(participants.word(*index)).is_some());
        ended.max_by_key(|(index, _)| age(participants.word(*index), round)).map(|(index, _)| index)
    };
    let index = participants.free().or_else(oldest).ok_or_else(|| rounds.broken(End::Aborted))?;
    participants.word(index).store(round << End::BITS, Ordering::Relaxed);
    participants.set(index, mark);
    Ok(Arrival::Seated(Seat { rounds, index, mark, round, place, has_left: false }))
}

/// A participant that waits. However it leaves, by a panic in the caller's own code too, no seat of it stays in the round.
pub(super) struct Seat<'a> {
    rounds: Rounds<'a>,
    index: usize,
    mark: Incarnation,
    /// The round when it arrived.
    round: u32,
    /// The order of arrival, from 0.
    pub(super) place: usize,
    has_left: bool,
}

impl Seat<'_> {
    /// Blocks until the round is over, or the time limit passes or the caller ends the wait: both end the round, if no
    /// other participant has.
    pub(super) fn wait(&self, limit: Option<Duration>) -> Option<Error> {
        let rounds = self.rounds;
        // The others may arrive in a moment: that is shorter than to sleep and be woken.
        let start = Instant::now();
        while !rounds.is_over(self.round) && start.elapsed() < MOMENT {
            thread::yield_now();
        }
        let (mut looks, mut interrupted) = (Looks::new(), None);
        let arrived = || {
            if rounds.is_over(self.round) {
                return true;
            }
            interrupted = rounds.end_if_someone_died(self.round).err();
            if interrupted.is_none() {
                interrupted = looks.check(|| format!("the others at {}", rounds.region.label())).err();
            }
            interrupted.is_some() || rounds.is_over(self.round)
        };
        let is_late = !wait_until(rounds.round(), limit.map(|limit| limit.saturating_sub(start.elapsed())), arrived);
        if interrupted.is_some() {
            self.end(End::Aborted);
        } else if is_late {
            self.end(End::Late);
        }
        interrupted
    }

    /// Ends the round, if it is not over.
    fn end(&self, end: End) {
        // A lock that cannot be had leaves the seat to `leave`.
        let rounds = self.rounds;
        let _ = uninterrupted(|| rounds.locked(|| (!rounds.is_over(self.round)).then(|| rounds.break_it(end))));
    }

    /// Gives the seat up, and ends the round in this way if it has not ended. Returns how it ended, or `None` where another
    /// participant needed the seat.
    pub(super) fn leave(&mut self, unless_over: End) -> Result<Option<End>> {
        self.has_left = true;
        let (rounds, participants) = (self.rounds, self.rounds.participants());
        uninterrupted(|| {
            rounds.locked(|| {
                let word = participants.word(self.index);
                if participants.get(self.index) != Some(self.mark)
                    || word.load(Ordering::Relaxed) >> End::BITS != self.recorded_round()
                {
                    return None;
                }
                if ending(word).is_none() {
                    match unless_over {
                        End::Opened if rounds.someone_died() => rounds.break_it(End::Died),
                        End::Opened => rounds.end_round(End::Opened),
                        end => rounds.break_it(end),
                    }
                }
                let end = ending(word);
                participants.clear(self.index);
                end
            })
        })
    }

    /// The round, as far as a seat records it.
    fn recorded_round(&self) -> u32 {
        self.round & (u32::MAX >> End::BITS)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if !self.has_left {
            let _ = self.leave(End::Aborted);
        }
    }
}
