//! `Frame::prefault`: map the pages of columns before they are read.

use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use arrow::array::{Array, ArrayData};

use super::Frame;
use crate::error::{Error, Result};

/// Bytes that a thread maps with one call. Small enough that threads share the work, large enough that a call costs
/// nothing next to its pages.
const PIECE: usize = 8 << 20;
/// More threads than this wait for each other in the kernel.
const THREADS: usize = 8;

impl Frame {
    /// Maps the pages of these columns now, so that the first read of them causes no page faults. Returns the number of
    /// bytes.
    ///
    /// A fresh map has no pages: the first read of each costs a fault, which takes longer than to read a page of 4 KiB. This
    /// call asks the kernel for many pages at once (`MADV_POPULATE_READ`), with several threads if the columns have more
    /// than 8 MB. It takes as long as the faults of a scan on one core, so it helps if other cores are idle, or if it runs
    /// before the values are needed. Rows outside of this frame are left out where their bytes are separate.
    ///
    /// On a file system on disk this also reads the file.
    ///
    /// # Errors
    ///
    /// A column that the frame does not have; a kernel that cannot map the pages (before Linux 5.14 it cannot at all).
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let frame = store.publish("x", &polars::df!("x" => [1_i64, 2], "y" => [3_i64, 4])?)?;
    /// assert_eq!(frame.prefault(["x"])?, 16);
    /// assert!(frame.prefault(["z"]).unwrap_err().is_not_found());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn prefault<I>(&self, columns: I) -> Result<usize>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let names: Vec<_> = columns.into_iter().collect();
        let mut buffers = BTreeSet::new();
        for position in self.positions(&names)? {
            for array in self.pieces().filter_map(|piece| self.array(&piece, position)) {
                collect_buffers(&array.to_data(), &mut buffers);
            }
        }
        let ranges = self.joined(buffers);
        self.populate(&ranges)?;
        Ok(ranges.iter().map(Range::len).sum())
    }

    /// The parts of the segment that have these buffers (address and length), in order and without overlaps.
    fn joined(&self, buffers: BTreeSet<(usize, usize)>) -> Vec<Range<usize>> {
        let bytes = self.mapping().bytes();
        let start = bytes.as_ptr().addr();
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (address, len) in buffers {
            // What a decoder copied is not in the segment.
            let Some(from) = address.checked_sub(start).filter(|from| *from < bytes.len()) else { continue };
            let to = from.saturating_add(len).min(bytes.len());
            match ranges.last_mut() {
                Some(last) if from <= last.end => last.end = last.end.max(to),
                _ => ranges.push(from..to),
            }
        }
        ranges
    }

    fn populate(&self, ranges: &[Range<usize>]) -> Result<()> {
        let pieces: Vec<Range<usize>> = ranges
            .iter()
            .flat_map(|range| range.clone().step_by(PIECE).map(|from| from..range.end.min(from.saturating_add(PIECE))))
            .collect();
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Err(error) = self.mapping().populate(piece) {
                    *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    return;
                }
            }
        };
        let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let others = cpus.min(THREADS).min(pieces.len()).saturating_sub(1);
        thread::scope(|scope| {
            for _ in 0..others {
                // Without another thread this one does all of the work.
                let _ = thread::Builder::new().spawn_scoped(scope, work);
            }
            work();
        });
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(Error::os("map the pages of", self.path(), error)),
            None => Ok(()),
        }
    }
}

/// Address and length of every buffer, each once.
pub(crate) fn collect_buffers(data: &ArrayData, buffers: &mut BTreeSet<(usize, usize)>) {
    let nulls = data.nulls().map(arrow::buffer::NullBuffer::buffer);
    for buffer in data.buffers().iter().chain(nulls) {
        buffers.insert((buffer.as_ptr().addr(), buffer.len()));
    }
    data.child_data().iter().for_each(|child| collect_buffers(child, buffers));
}
