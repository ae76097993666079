//! Small mutable shared objects, called cells. (Frames are immutable.)
//!
//! A cell is a file in a store or session, which every process that opens it maps. It is created atomically, its kind,
//! type and size are checked when it is opened, and it exists until [`remove_cell`](crate::Store::remove_cell) or the
//! end of its session. Every cell serialises as its handle, so it can be an argument of a [pool](mod@crate::pool)'s
//! tasks.
//!
//! | Python's `multiprocessing` | here | when its holder dies |
//! | --- | --- | --- |
//! | `Value("q")` as a counter | [`Counter`] | nothing is held |
//! | `Value("b")` as a switch | [`Flag`] | nothing is held |
//! | `Value`, `Manager().Namespace()` | [`Mutex`] (or a dict) | the next owner gets it, and an error |
//! | `Array` | [`Array`]: locked, or claimed in parts | the next owner gets it, and an error |
//! | `Array` of numbers | [`AtomicArray`] | nothing is held |
//! | `Lock` | [`Mutex<()>`](Mutex) | the next owner gets it, and an error |
//! | `RLock` | none: locking a [`Mutex`] twice in a thread is an error; pass the guard on | |
//! | `Condition` | a [`Mutex`], and [`Event::pulse`] | the next owner gets it, and an error |
//! | `Event` | [`Event`] | nothing is held |
//! | `Barrier` | [`Barrier`] | the barrier breaks, for all |
//! | `Semaphore`, `BoundedSemaphore` | [`Semaphore`] | its permits are returned |
//! | a `Value` that is read far more than written | [`Latest`] | readers keep reading the latest complete value |
//! | `Manager().dict()` | `coframe::SharedMap` | the transaction is rolled back |
//! | `Manager().list()` | `coframe::SharedMap` with numbers as keys | the transaction is rolled back |
//! | `Queue`, `JoinableQueue`, `Pipe` | a pool's arguments and results; `coframe::SharedMap`: `insert`,
//! `first_key_value` and `remove` in a transaction | |
//! | `Pool`, `Process` | `coframe::Pool` | the task is an error, or runs again |
//! | `SharedMemory` with a table in it | a frame; `Store::import_shared_memory` and back | frames stay complete |
//! | `ShareableList` | [`Array`], a frame | |
//!
//! To choose one: for a number that many processes change, use a [`Counter`]. For many numbers that change one by one,
//! use an [`AtomicArray`]. For values that must change together, use a [`Mutex`], or an [`Array`] in claimed parts. For
//! one writer and many readers, use [`Latest`]. For keys, strings, or an amount of data that is not known in advance,
//! use `coframe::SharedMap`. For data that never changes, publish a frame.
//!
//! Types are plain data (`bytemuck::Pod`): numbers, arrays of them, and `repr(C)` structs without padding. The name of
//! the type is compared without its modules, so two programs can share one. Guards do nothing in a forked child.
//!
//! Processes that share a cell with a lock must use the same C library: the lock is its robust mutex.

mod alive;
mod array;
mod barrier;
mod claims;
mod counter;
mod event;
mod flag;
mod futex;
#[cfg(feature = "map")]
mod gate;
mod guard;
mod handle;
mod home;
mod latest;
mod layout;
mod memory;
mod mutex;
mod participants;
mod region;
mod robust;
mod semaphore;
mod slots;
mod space;

use crate::fork;

pub use array::{Array, AtomicArray, Element};
pub use barrier::Barrier;
pub use bytemuck::Pod;
pub use claims::Claim;
pub use counter::{Count, Counter};
pub use event::Event;
pub use flag::Flag;
#[cfg(feature = "map")]
pub(crate) use gate::{GATE_BYTES, Gate};
pub use guard::Guard;
pub use handle::CellHandle;
pub use latest::{Latest, LatestWriter};
pub use mutex::{Mutex, MutexGuard};
pub use semaphore::{Permit, Semaphore};

/// Returns the number of forks between the first process and this one. This is a load, not a system call.
///
/// A guard does nothing in a child that was forked while its parent held it. Code that keeps guards for its callers, such as
/// a binding for another language, can record this number with each guard: the guards with another number are copies of the
/// parent's. A child that was made with the system call `clone`, past the C library, is not counted.
///
/// ```
/// let taken_at = coframe::sync::forks();
/// let is_mine = || coframe::sync::forks() == taken_at;
/// assert!(is_mine(), "this process was not forked since");
/// ```
#[must_use]
pub fn forks() -> u32 {
    fork::count_forks();
    fork::generation()
}

/// Implements the handles of a kind of cell, as text and by serde.
macro_rules! handles {
    ($type:ident $(<$param:ident: $bound:ident>)?) => {
        impl $(<$param: $bound>)? $type $(<$param>)? {
            /// Returns the handle of the cell, which opens it in another process.
            #[must_use]
            pub fn handle(&self) -> super::CellHandle {
                self.region.handle().clone()
            }

            /// Opens the cell of a handle.
            ///
            /// # Errors
            ///
            /// Those of `open`, also if the session of the cell has ended, and
            /// [`is_superseded`](crate::Error::is_superseded) if another cell was created under its name.
            pub fn from_handle(handle: &super::CellHandle) -> crate::error::Result<Self> {
                let cell = Self::open(&handle.0.open_store("cell")?, handle.name().as_str())?;
                handle.0.check(&cell.region.handle().0, "cell").map(|()| cell)
            }
        }

        impl $(<$param: $bound>)? serde::Serialize for $type $(<$param>)? {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.region.handle().serialize(serializer)
            }
        }

        impl<'de $(, $param: $bound)?> serde::Deserialize<'de> for $type $(<$param>)? {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let handle = super::CellHandle::deserialize(deserializer)?;
                Self::from_handle(&handle).map_err(|error| {
                    #[cfg(feature = "pool")]
                    crate::frame::note_opening_error(format!("{error:?}"));
                    serde::de::Error::custom(format_args!("{error:?}"))
                })
            }
        }
    };
}
use handles;
