//! A gate: a robust mutex in a small file, taken before a lock that has no timeout (FORMAT.md, rule B5).

use std::{fs::File, marker::PhantomData, sync::atomic::Ordering};

use super::{
    guard,
    home::Home,
    memory::{Acquired, Memory},
};
use crate::{
    error::{self, Error, Result},
    fork::{count_forks, generation, process},
};

const MAGIC: u64 = u64::from_le_bytes(*b"coframeG");
const FORMAT: u32 = 2;
mod offset {
    pub(super) const MAGIC: usize = 0;
    pub(super) const FORMAT: usize = 8;
    /// The process that holds the gate, or 0.
    pub(super) const OWNER: usize = 12;
    /// The namespaces in which the mutex is valid: two words.
    pub(super) const HOME: usize = 16;
    pub(super) const MUTEX: usize = 64;
}
/// The length of a gate's file.
pub(crate) const GATE_BYTES: usize = 128;

/// An open gate. It guards nothing in memory, so a death or a panic under it leaves nothing to repair.
pub(crate) struct Gate {
    memory: Memory,
    home: Home,
}

impl Gate {
    /// Creates a gate in a file of `GATE_BYTES` zeros that no other process can open yet.
    pub(crate) fn initialise(file: &File) -> Result<()> {
        let memory = Memory::map(file, GATE_BYTES)?;
        memory.word64(offset::MAGIC).store(MAGIC, Ordering::Relaxed);
        memory.word32(offset::FORMAT).store(FORMAT, Ordering::Relaxed);
        memory.mutex(offset::MUTEX).initialise()?;
        Home::create(file, &memory, offset::HOME).map(drop)
    }

    /// Opens a gate of `bytes` bytes. Errors use `label` for the object that it protects.
    pub(crate) fn open(file: &File, len: usize, label: impl Fn() -> String) -> Result<Self> {
        let broken = |detail: &str| Error::corrupt(format_args!("the gate of {}", label()), "B5-gate", detail);
        if len < GATE_BYTES {
            return Err(broken("it was cut short"));
        }
        let memory = Memory::map(file, GATE_BYTES)?;
        if memory.word64(offset::MAGIC).load(Ordering::Relaxed) != MAGIC {
            return Err(broken("it does not start like a gate"));
        }
        let format = memory.word32(offset::FORMAT).load(Ordering::Relaxed);
        if format != FORMAT {
            let found =
                format_args!("the gate of {}, which has format {format}, and this build reads {FORMAT},", label());
            return Err(Error::unsupported(found, "upgrade coframe, or remove the dict"));
        }
        count_forks();
        let home = Home::join(file, &memory, offset::HOME, || memory.mutex(offset::MUTEX).initialise())?;
        home.check(&memory, label)?;
        Ok(Self { memory, home })
    }

    /// Acquires the gate; blocks while another thread or process holds it. Returns `None` if this thread holds it
    /// already.
    pub(crate) fn enter(&self, label: impl Fn() -> String) -> Result<Option<Inside<'_>>> {
        self.home.check(&self.memory, &label)?;
        let owner = self.memory.word32(offset::OWNER);
        let what = || match owner.load(Ordering::Relaxed) {
            0 => label(),
            pid => format!("{}, which {} changes,", label(), error::process(&pid)),
        };
        match guard::take_asking(self.memory.mutex(offset::MUTEX), None, || {}, what)? {
            Acquired::Own => Ok(None),
            // A wait without a timeout cannot end like this.
            Acquired::Busy => Err(Error::invalid(label(), "it stayed locked")),
            Acquired::Clean | Acquired::AfterDeath => {
                owner.store(process(), Ordering::Relaxed);
                Ok(Some(Inside { gate: self, generation: generation(), thread: PhantomData }))
            }
        }
    }
}

/// Holds the gate until it is dropped. In a forked child, dropping it does nothing.
pub(crate) struct Inside<'a> {
    gate: &'a Gate,
    generation: u32,
    /// A pthread mutex belongs to a thread, so this is not `Send`.
    thread: PhantomData<*const ()>,
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        if self.generation == generation() {
            self.gate.memory.word32(offset::OWNER).store(0, Ordering::Relaxed);
            self.gate.memory.mutex(offset::MUTEX).unlock();
        }
    }
}
