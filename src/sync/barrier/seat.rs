//! The seat of a participant, from its arrival until it has read how its round ended.

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
    /// This participant was the last, and the others continue.
    Opened,
    /// This participant waits, or runs the action if it is the last.
    Seated(Seat<'a>),
    /// All have arrived, and the last one runs its action: the next round has not started.
    Full { round: u32 },
}

/// Takes a seat. Call it under the lock.
pub(super) fn arrive(rounds: Rounds<'_>, mark: Incarnation, has_action: bool) -> Result<Arrival<'_>> {
    if let Some(end) = rounds.how_broken() {
        return Err(rounds.broken(end));
    }
    let place = rounds.waiting_seats().count();
    if place >= rounds.parties() {
        return Ok(Arrival::Full { round: rounds.round().load(Ordering::Acquire) });
    }
    let is_last = place + 1 == rounds.parties();
    if is_last && rounds.any_died() {
        rounds.break_it(End::Died);
        return Err(rounds.broken(End::Died));
    }
    if is_last && !has_action {
        rounds.end_round(End::Opened);
        return Ok(Arrival::Opened);
    }
    // Pairs with the release of `changed`, although the lock orders it as well.
    let (participants, round) = (rounds.participants(), rounds.round().load(Ordering::Acquire));
    // If no seat is free, the participant takes that of the oldest round that ended: at least as many participants as
    // there are seats have arrived since its participant last ran.
    let oldest = || {
        let ended = participants.occupied().filter(|(index, _)| ending(participants.word(*index)).is_some());
        ended.max_by_key(|(index, _)| age(participants.word(*index), round)).map(|(index, _)| index)
    };
    let index = participants.free().or_else(oldest).ok_or_else(|| rounds.broken(End::Aborted))?;
    participants.word(index).store(round << End::BITS, Ordering::Relaxed);
    participants.set(index, mark);
    Ok(Arrival::Seated(Seat { rounds, index, mark, round, place, has_left: false }))
}

/// A participant that waits. If the caller's code panics, dropping it frees the seat.
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
    /// Blocks until the round ends, the time limit passes, or the caller ends the wait. In the last two cases it ends
    /// the round, unless another participant has.
    pub(super) fn wait(&self, limit: Option<Duration>) -> Option<Error> {
        let rounds = self.rounds;
        // The others may arrive in a moment, which is shorter than to sleep and be woken.
        let start = Instant::now();
        while !rounds.is_over(self.round) && start.elapsed() < MOMENT {
            thread::yield_now();
        }
        let (mut looks, mut interrupted) = (Looks::new(), None);
        let arrived = || {
            if rounds.is_over(self.round) {
                return true;
            }
            interrupted = rounds.end_if_any_died(self.round).err();
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

    /// Ends the round, unless it has ended.
    fn end(&self, end: End) {
        // If the lock cannot be taken, `leave` frees the seat.
        let rounds = self.rounds;
        let _ = uninterrupted(|| rounds.locked(|| (!rounds.is_over(self.round)).then(|| rounds.break_it(end))));
    }

    /// Frees the seat, and ends the round in this way if it has not ended. Returns how the round ended, or `None` if
    /// another participant needed the seat.
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
                        End::Opened if rounds.any_died() => rounds.break_it(End::Died),
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

    /// Returns the number of the round, as far as a seat records it.
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
