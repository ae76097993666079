//! The output of workers, which is passed on in complete lines.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use super::printer::{Output, Printer};

/// A line longer than this is passed on in parts.
const LONGEST: usize = 1 << 20;

/// One output (standard output or error) of one worker.
pub(super) struct Lines {
    pipe: Option<File>,
    to: Output,
    printer: Printer,
    rest: Vec<u8>,
    /// Lines from before the worker's hello, such as those of a test harness.
    discard: bool,
}

impl Lines {
    pub(super) fn new(pipe: OwnedFd, to: Output, discard: bool, printer: Printer) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&pipe, true)?;
        Ok(Self { pipe: Some(pipe.into()), to, printer, rest: Vec::new(), discard })
    }

    /// Returns the descriptor to poll, until the end of the output; none while the printer has no room.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| self.printer.has_room()).map(AsFd::as_fd)
    }

    /// Passes on the complete lines.
    pub(super) fn pass_on(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        let mut bytes = [0; 16 * 1024];
        loop {
            match pipe.read(&mut bytes) {
                Ok(0) => {
                    self.pipe = None;
                    break;
                }
                Ok(len) => self.rest.extend_from_slice(bytes.get(..len).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.pipe = None;
                    break;
                }
            }
            if self.rest.len() > LONGEST {
                break;
            }
        }
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        let whole = if self.rest.len() > LONGEST { self.rest.len() } else { whole };
        self.write(whole);
    }

    /// Drops what has arrived so far.
    pub(super) fn discard_so_far(&mut self) {
        if self.discard {
            self.pass_on();
            self.rest.clear();
            self.discard = false;
        }
    }

    /// Passes on everything that is left of a worker that has ended, and completes its last line.
    pub(super) fn finish(&mut self) {
        self.pass_on();
        if !self.rest.is_empty() {
            self.rest.push(b'\n');
            self.write(self.rest.len());
        }
    }

    fn write(&mut self, len: usize) {
        let bytes: Vec<u8> = self.rest.drain(..len).collect();
        if bytes.is_empty() || self.discard {
            return;
        }
        self.printer.print(self.to, bytes);
    }
}
