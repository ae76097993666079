//! Processes that take part in a cell: those that wait at a barrier, have a permit, or hold a claim.

use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    alive::Incarnation,
    layout::{CLAIM, CLAIMS, CellKind, DATA},
    memory::Memory,
};

/// A table with an entry for each participant: the id of its process (4 bytes; 0 in a free entry), a word that the kind
/// defines (4 bytes), and the start of the process (8 bytes). It is read and written under the cell's lock.
pub(super) struct Participants<'a> {
    memory: &'a Memory,
    start: usize,
    entry: usize,
    pub(super) len: usize,
}

/// Offset of a table that follows the words of a kind.
const START: usize = DATA + 64;
/// Bytes of an entry that is only a mark.
const MARK: usize = 16;
/// Entries for the participants of a barrier: one for each of this round, and one for each that has not yet read how an
/// earlier round ended.
pub(super) fn seats(parties: usize) -> usize {
    parties.saturating_mul(2)
}

/// Bytes of a cell that ends with this number of marks.
pub(super) fn bytes(len: usize) -> usize {
    len.saturating_mul(MARK).saturating_add(START)
}

impl<'a> Participants<'a> {
    /// Returns the table of a kind of cell with this number of elements; `None` for kinds without a table.
    pub(super) fn for_kind(memory: &'a Memory, kind: CellKind, count: usize) -> Option<Self> {
        let (start, entry, len) = match kind {
            CellKind::Array => (DATA, CLAIM, CLAIMS),
            CellKind::Barrier => (START, MARK, seats(count)),
            CellKind::Semaphore => (START, MARK, count),
            _ => return None,
        };
        Some(Self { memory, start, entry, len })
    }

    pub(super) fn claims(memory: &'a Memory) -> Self {
        Self { memory, start: DATA, entry: CLAIM, len: CLAIMS }
    }

    pub(super) fn marks(memory: &'a Memory, len: usize) -> Self {
        Self { memory, start: START, entry: MARK, len }
    }

    pub(super) fn offset(&self, index: usize) -> usize {
        self.start + index * self.entry
    }

    pub(super) fn get(&self, index: usize) -> Option<Incarnation> {
        let offset = self.offset(index);
        let pid = self.memory.word32(offset).load(Ordering::Relaxed);
        (pid != 0).then(|| Incarnation { pid, started: self.memory.word64(offset + 8).load(Ordering::Relaxed) })
    }

    /// Returns the word of an entry, which its kind defines.
    pub(super) fn word(&self, index: usize) -> &AtomicU32 {
        self.memory.word32(self.offset(index) + 4)
    }

    pub(super) fn set(&self, index: usize, mark: Incarnation) {
        let offset = self.offset(index);
        self.memory.word64(offset + 8).store(mark.started, Ordering::Relaxed);
        // Last: an entry counts once it has a process. Its acquire is the cell's lock, which every reader holds: one that
        // takes the lock over from a writer that died in between sees both stores in this order.
        self.memory.word32(offset).store(mark.pid, Ordering::Release);
    }

    pub(super) fn clear(&self, index: usize) {
        // Acquired with the cell's lock, as in `set`.
        self.memory.word32(self.offset(index)).store(0, Ordering::Release);
    }

    pub(super) fn free(&self) -> Option<usize> {
        (0..self.len).find(|index| self.get(*index).is_none())
    }

    pub(super) fn occupied(&self) -> impl Iterator<Item = (usize, Incarnation)> + '_ {
        (0..self.len).filter_map(|index| Some((index, self.get(index)?)))
    }

    /// Gives each mark a start that no process has, so that it counts as that of a dead process.
    pub(super) fn give_up(&self) {
        for (index, mark) in self.occupied() {
            self.set(index, Incarnation { started: u64::MAX, ..mark });
        }
    }
}
