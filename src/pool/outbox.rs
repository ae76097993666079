//! Keeps a worker's reports until they are sent.

use std::{
    io::Write,
    os::unix::net::UnixStream,
    sync::{Mutex, MutexGuard, PoisonError, TryLockError},
};

use super::board::Board;
use crate::error::{Error, Result};

/// Reports that wait until they are sent: here, and on the board in case this process is killed.
pub(super) struct Outbox {
    pub(super) board: Board,
    sending: Mutex<Sending>,
}

struct Sending {
    socket: UnixStream,
    /// What is in the board's mailbox.
    pending: Vec<u8>,
}

impl Outbox {
    pub(super) fn new(board: Board, socket: UnixStream) -> Self {
        Self { board, sending: Mutex::new(Sending { socket, pending: Vec::new() }) }
    }

    fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, message: &[u8], now: bool) -> Result<()> {
        let mut sending = self.sending();
        if !self.board.gather(message) {
            self.flush_locked(&mut sending)?;
            if !self.board.gather(message) {
                // It is too large for the mailbox: straight into the socket.
                return sending.socket.write_all(message).map_err(|e| lost(&e));
            }
        }
        sending.pending.extend_from_slice(message);
        if now { self.flush_locked(&mut sending) } else { Ok(()) }
    }

    pub(super) fn flush(&self) -> Result<()> {
        self.flush_locked(&mut self.sending())
    }

    /// Sends waiting reports, unless another thread is sending.
    pub(super) fn flush_if_free(&self) -> Result<()> {
        match self.sending.try_lock() {
            Ok(mut sending) => self.flush_locked(&mut sending),
            Err(TryLockError::Poisoned(poisoned)) => self.flush_locked(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Ok(()),
        }
    }

    fn flush_locked(&self, sending: &mut Sending) -> Result<()> {
        if sending.pending.is_empty() {
            return Ok(());
        }
        let Sending { socket, pending } = sending;
        socket.write_all(pending).map_err(|e| lost(&e))?;
        // A death between these two lines sends a report twice; the pool recognises it by its number.
        self.board.clear();
        pending.clear();
        Ok(())
    }
}

pub(super) fn lost(error: &std::io::Error) -> Error {
    Error::os("talk to the pool over", "its socket", std::io::Error::new(error.kind(), error.to_string()))
}
