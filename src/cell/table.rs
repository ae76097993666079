//! A table of processes: who waits at a barrier, who has a permit.

use std::sync::atomic::Ordering;

use super::{alive::Mark, guard::DATA, region::Region};

/// Places for the marks of processes, under the cell's lock.
pub(super) struct Table<'a> {
    pub(super) region: &'a Region,
    pub(super) len: usize,
}

impl Table<'_> {
    /// Where the table begins; two words of the cell's own stand before it.
    const START: usize = DATA + 64;
    const ENTRY: usize = 16;

    pub(super) fn bytes(len: usize) -> usize {
        Self::START + len * Self::ENTRY
    }

    pub(super) fn get(&self, index: usize) -> Option<Mark> {
        let (memory, place) = (self.region.memory(), Self::START + index * Self::ENTRY);
        let pid = memory.word32(place).load(Ordering::Relaxed);
        (pid != 0).then(|| Mark { pid, started: memory.word64(place + 8).load(Ordering::Relaxed) })
    }

    pub(super) fn set(&self, index: usize, mark: Option<Mark>) {
        let (memory, place) = (self.region.memory(), Self::START + index * Self::ENTRY);
        if let Some(mark) = mark {
            memory.word64(place + 8).store(mark.started, Ordering::Relaxed);
        }
        // Last: an entry counts once it has a process.
        memory.word32(place).store(mark.map_or(0, |mark| mark.pid), Ordering::Relaxed);
    }

    pub(super) fn free(&self) -> Option<usize> {
        (0..self.len).find(|index| self.get(*index).is_none())
    }

    pub(super) fn taken(&self) -> impl Iterator<Item = (usize, Mark)> + '_ {
        (0..self.len).filter_map(|index| Some((index, self.get(index)?)))
    }
}
