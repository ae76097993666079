//! What goes over the socket between a pool and one of its workers.
//!
//! A frame of the wire is its length (4 bytes, little-endian), a kind (1 byte) and a body. Both ends are the same
//! executable, so nothing here is a public format.

use std::io::{self, Read, Write};

use crate::error::{Error, Result};

/// No argument or result may be larger. Publish large data as a frame and send its handle.
pub(super) const LIMIT: usize = 256 << 20;

/// The kind of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// To the worker: session, limits, initializer.
    Setup,
    /// To the worker: a function and a chunk of arguments.
    Work,
    /// To the worker: the argument that all tasks of a call have in common.
    Common,
    /// To the worker: the call of a common argument is over.
    Forget,
    /// To the worker: the pool holds the frames of all results before this number.
    Release,
    /// To the worker: no more tasks will come.
    Leave,
    /// To the pool: the identity of the worker.
    Hello,
    /// To the pool: the initializer is done.
    Ready,
    /// To the pool: the initializer failed, with its outcome.
    Unready,
    /// To the pool: the outcome of one task.
    Done,
}

impl Message {
    const ALL: [Self; 10] = [
        Self::Setup,
        Self::Work,
        Self::Common,
        Self::Forget,
        Self::Release,
        Self::Leave,
        Self::Hello,
        Self::Ready,
        Self::Unready,
        Self::Done,
    ];

    fn code(self) -> u8 {
        Self::ALL.iter().position(|kind| *kind == self).and_then(|at| u8::try_from(at + 1).ok()).unwrap_or(0)
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).checked_sub(1)?).copied()
    }
}

/// Appends a message whose body `write` appends.
pub(super) fn put(out: &mut Vec<u8>, message: Message, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(message.code());
    write(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&len.to_le_bytes());
    }
}

/// Appends bytes with their length before them.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A body that is being read.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len).ok_or_else(garbled)?;
        self.0 = tail;
        Ok(head)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().unwrap_or_default()))
    }

    pub(super) fn u8(&mut self) -> Result<u8> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().unwrap_or_default()))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.u32()?).map_err(|_| garbled())?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<String> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_| garbled())
    }
}

/// Returns the error of a message that this executable did not write.
pub(super) fn garbled() -> Error {
    Error::invalid("a message between a pool and its worker", "it is garbled: something else wrote to their socket")
}

/// Messages as they arrive, in pieces.
#[derive(Default)]
pub(super) struct Inbox {
    /// Space, of which `start..end` has what arrived and was not returned. It stays as long as it is, so that a read need
    /// not write zeros first.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Inbox {
    /// Reads once; returns how many bytes arrived, 0 at the end.
    pub(super) fn read(&mut self, from: &mut impl Read) -> io::Result<usize> {
        const STEP: usize = 128 * 1024;
        self.make_room(STEP);
        let read = loop {
            match from.read(self.bytes.get_mut(self.end..).unwrap_or_default()) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.end += read.as_ref().copied().unwrap_or(0);
        read
    }

    /// Moves what arrived to the start, and has at least `room` bytes of space behind it.
    fn make_room(&mut self, room: usize) {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let least = self.end + room;
        if self.end == 0 && self.bytes.len() > 2 * room {
            // The memory of one large message is not kept for ever.
            self.bytes.truncate(room);
            self.bytes.shrink_to_fit();
        }
        if self.bytes.len() < least {
            self.bytes.resize(least, 0);
        }
    }

    /// Adds bytes that arrived in another way.
    pub(super) fn append(&mut self, bytes: &[u8]) {
        self.make_room(0);
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
    }

    /// Drops a message that arrived only in part.
    pub(super) fn forget_rest(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Returns the next complete message.
    pub(super) fn next(&mut self) -> Result<Option<(Message, Body<'_>)>> {
        let rest = self.bytes.get(self.start..self.end).unwrap_or_default();
        let Some((len, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| garbled())?;
        let Some(body) = rest.get(..len) else { return Ok(None) };
        self.start += 4 + len;
        let (code, body) = body.split_first().ok_or_else(garbled)?;
        Ok(Some((Message::from_code(*code).ok_or_else(garbled)?, Body(body))))
    }
}

/// Messages that the socket has not accepted yet.
#[derive(Default)]
pub(super) struct Unsent {
    bytes: Vec<u8>,
    start: usize,
}

impl Unsent {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends a message, as [`put`] does.
    pub(super) fn put(&mut self, message: Message, write: impl FnOnce(&mut Vec<u8>)) {
        put(&mut self.bytes, message, write);
    }

    /// Writes what the socket accepts now.
    pub(super) fn write(&mut self, socket: &mut impl Write) -> io::Result<()> {
        let result = loop {
            let rest = self.bytes.get(self.start..).unwrap_or_default();
            if rest.is_empty() {
                break Ok(());
            }
            match socket.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.start += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) => break Err(e),
            }
        };
        // All of it, or it will never be.
        *self = Self::default();
        result
    }
}

#[cfg(test)]
mod tests {
    use super::{Inbox, Message, put, put_bytes};

    #[test]
    fn messages_survive_arriving_byte_by_byte() {
        let mut out = Vec::new();
        put(&mut out, Message::Work, |out| put_bytes(out, b"abc"));
        put(&mut out, Message::Ready, |_| {});
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for byte in out {
            assert_eq!(inbox.read(&mut [byte].as_slice()).unwrap(), 1);
            while let Some((message, mut body)) = inbox.next().unwrap() {
                seen.push((message, body.bytes().unwrap_or_default().to_vec()));
            }
        }
        assert_eq!(seen, [(Message::Work, b"abc".to_vec()), (Message::Ready, Vec::new())]);
    }

    #[test]
    fn garbage_is_an_error() {
        let mut inbox = Inbox::default();
        inbox.append(&[1, 0, 0, 0, 99]);
        assert!(inbox.next().is_err());
        let mut inbox = Inbox::default();
        inbox.append(&[0, 0, 0, 0]);
        assert!(inbox.next().is_err());
    }
}
