//! What a dead owner of a lock leaves: whether the values may be inconsistent, and why.

use std::sync::atomic::Ordering;

use super::{layout::BODY, memory::Memory};
use crate::error::Result;

/// In `POISON`: a process that died before it had written its id.
pub(super) const UNKNOWN: u32 = u32::MAX;
/// In `POISON`, on top of a process's id, which has 22 bits: a thread of it panicked.
pub(super) const PANICKED: u32 = 1 << 31;

pub(super) fn poison_memory(memory: &Memory, dead: u32) {
    // An owner that died before it had written its id is not known.
    let dead = if dead == 0 { UNKNOWN } else { dead };
    memory.lock().poison().store(dead, Ordering::Relaxed);
}

/// Initialises the lock again, after its last processes ended in namespaces that this process cannot see.
pub(super) fn recover(memory: &Memory) -> Result<()> {
    let owner = memory.lock().owner();
    // The first word of the C library's mutex is 0 while it is free.
    if owner.load(Ordering::Relaxed) != 0 || memory.word32(BODY).load(Ordering::Relaxed) != 0 {
        poison_memory(memory, owner.load(Ordering::Relaxed));
        owner.store(0, Ordering::Relaxed);
    }
    memory.lock().mutex().initialise()
}
