//! Decodes chunks in several threads, and returns them in their order.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use coframe::arrow::array::RecordBatch;

use super::{
    chunks::{Chunk, Chunks},
    reading::{Reading, Wrong},
};
use crate::failure::{Failure, Result};

/// The number of threads at most: more of them wait for the thread that reads and publishes.
const THREADS: usize = 4;
/// The chunks that each thread has at most.
const AHEAD: usize = 2;

type Decoded = (Chunk, std::result::Result<RecordBatch, Wrong>);

pub(super) struct Threads {
    reading: Arc<Reading>,
    chunks: Chunks,
    /// Empty if no thread can be started; chunks are then decoded where they are read.
    all: Vec<Decoding>,
    sent: usize,
    received: usize,
    /// The end of the text, which is reported after all chunks before it.
    end: Option<Result<()>>,
}

struct Decoding {
    chunks: Sender<Chunk>,
    decoded: Receiver<Decoded>,
    thread: Option<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn new(reading: &Arc<Reading>, chunks: Chunks) -> Self {
        let number = thread::available_parallelism().map_or(1, usize::from).min(THREADS);
        let all = (0..number).map_while(|_| Decoding::start(reading.clone()).ok()).collect();
        Self { reading: reading.clone(), chunks, all, sent: 0, received: 0, end: None }
    }

    /// Returns the next chunk and its rows; `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Decoded>> {
        if self.all.is_empty() {
            let chunk = self.chunks.next()?;
            return Ok(chunk.map(|chunk| {
                let batch = self.reading.decode(&mut self.reading.decoder(), &chunk);
                (chunk, batch)
            }));
        }
        let threads = self.all.len();
        while self.end.is_none() && self.sent - self.received < threads * AHEAD {
            match self.chunks.next() {
                Ok(Some(chunk)) => {
                    // A thread that has panicked is noticed when its chunk is due.
                    let _ = self.all[self.sent % threads].chunks.send(chunk);
                    self.sent += 1;
                }
                Ok(None) => self.end = Some(Ok(())),
                Err(failure) => self.end = Some(Err(failure)),
            }
        }
        if self.received == self.sent {
            return self.end.take().unwrap_or(Ok(())).map(|()| None);
        }
        let decoding = &mut self.all[self.received % threads];
        self.received += 1;
        decoding.decoded.recv().map(Some).map_err(|_| decoding.failure())
    }

    /// Takes back a chunk, whose memory is used again.
    pub(super) fn reuse(&mut self, chunk: Chunk) {
        self.chunks.reuse(chunk);
    }
}

impl Decoding {
    fn start(reading: Arc<Reading>) -> std::io::Result<Self> {
        let (chunks, to_decode) = channel::<Chunk>();
        let (to_return, decoded) = channel();
        let decode = move || {
            let mut decoder = reading.decoder();
            for chunk in to_decode {
                let batch = reading.decode(&mut decoder, &chunk);
                // An error is the last result that is asked for.
                let is_last = batch.is_err();
                if to_return.send((chunk, batch)).is_err() || is_last {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("ndjson".to_owned()).spawn(decode)?;
        Ok(Self { chunks, decoded, thread: Some(thread) })
    }

    /// Returns the failure of a thread that has ended early.
    fn failure(&mut self) -> Failure {
        let panic = self.thread.take().and_then(|thread| thread.join().err());
        panic.map_or_else(|| Failure::failed("a thread ended early"), |panic| Failure::from_panic(panic.as_ref()))
    }
}
