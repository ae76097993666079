//! The action `segment`: bytes of a segment, or of a mirror that is still being fetched.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use coframe::{Frame, PartialMirror};
use tokio::sync::mpsc;
use tonic::Status;

use super::{
    Shared,
    body::{Messages, Pieces, action_result},
    gate::blocking,
    stats::count,
};
use crate::{
    error,
    wire::{self, CHUNK, SegmentEnd, SegmentRequest},
};

/// How long a mirror that is being fetched may receive nothing.
const STALL: Duration = Duration::from_secs(15);
/// Pause between checks of its length.
const LOOK: Duration = Duration::from_millis(2);
/// Most bytes of a chunk of a mirror that is being fetched. The next machine can pass on a chunk once it has all of it.
const RELAYED: usize = 256 << 10;
/// Checksums that are kept, of 32 bytes each.
const CHECKSUMS: usize = 256;

/// Checksums of ranges, kept because every puller of a broadcast asks for the same ones.
#[derive(Default)]
pub(super) struct Checksums(Mutex<VecDeque<(Range, u32)>>);

/// The segment id, and the offsets of a range.
type Range = (u128, usize, usize);

impl Checksums {
    fn find(&self, range: Range) -> Option<u32> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().find(|(known, _)| *known == range).map(|(_, crc)| *crc)
    }

    fn keep(&self, range: Range, crc: u32) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.iter().any(|(known, _)| *known == range) {
            return;
        }
        if known.len() >= CHECKSUMS {
            known.pop_front();
        }
        known.push_back((range, crc));
    }
}

/// Where the bytes are.
enum Found {
    Frame(Frame),
    Partial(PartialMirror),
}

/// The bytes of a range, and their checksum.
pub(super) async fn answer(shared: &Arc<Shared>, request: SegmentRequest) -> Result<Messages, Status> {
    let span = tracing::info_span!("segment", name = %error::text(&request.name), offset = request.offset);
    let finding = (shared.clone(), request.name.clone(), request.version, request.id);
    let found = blocking(move || {
        let _entered = span.entered();
        let (shared, name, version, id) = finding;
        match (version, id) {
            (None, Some(id)) => by_id(&shared, &name, id),
            (None, None) => Err(Status::invalid_argument("the request has neither a version nor an id")),
            (version, id) => shared.open(&name, version, id).map(Found::Frame),
        }
    });
    match found.await? {
        Found::Frame(frame) => of_frame(shared, frame, request).await,
        Found::Partial(_) if !request.data => {
            Err(Status::unavailable("the mirror is still being fetched, so it has no checksum; ask its origin"))
        }
        Found::Partial(partial) => {
            count(&shared.counters.relays);
            let (sender, receiver) = mpsc::channel(2);
            tokio::spawn(relay(partial, request, sender));
            Ok(Messages::Later(receiver))
        }
    }
}

/// The segment under any version of the name, or a mirror of it that a process of this machine is fetching.
fn by_id(shared: &Shared, name: &str, id: u128) -> Result<Found, Status> {
    let (name, of_store) = (wire::name(name)?, |e: coframe::Error| error::status(&e));
    let complete = || {
        let mut versions = shared.store.versions(&name).map_err(of_store)?;
        versions.reverse();
        let mut frames = versions.into_iter().filter_map(|version| shared.store.open_version(&name, version).ok());
        Ok::<_, Status>(frames.find(|frame| frame.segment_id() == Some(id)))
    };
    if let Some(frame) = complete()? {
        return Ok(Found::Frame(frame));
    }
    if let Some(partial) = shared.store.partial_mirror(id).map_err(of_store)? {
        return Ok(Found::Partial(partial));
    }
    // It may have got its name between the two checks.
    let missing = || Status::not_found(format!("no version of `{name}` here has the segment {id:032x}"));
    complete()?.map(Found::Frame).ok_or_else(missing)
}

async fn of_frame(shared: &Arc<Shared>, frame: Frame, request: SegmentRequest) -> Result<Messages, Status> {
    let SegmentRequest { offset, len, crc, data, .. } = request;
    let (bytes, id) = (frame.segment_bytes(), frame.segment_id());
    let outside = || {
        let text = format!("the range {offset}+{len} of a segment of {} bytes", bytes.len());
        Status::out_of_range(text)
    };
    let start = usize::try_from(offset).ok().filter(|start| *start <= bytes.len()).ok_or_else(outside)?;
    let len = usize::try_from(len).map_err(|_| outside())?.min(bytes.len() - start);
    let range = bytes.slice(start..start + len);
    let key = id.map(|id| (id, start, len));
    if !data {
        let known = key.and_then(|key| shared.checksums.find(key));
        let checksum = match known {
            Some(checksum) => checksum,
            None => blocking(move || Ok(crc32fast::hash(&range))).await?,
        };
        if let Some(key) = key {
            shared.checksums.keep(key, checksum);
        }
        return Ok(Messages::once(end(checksum)?));
    }
    count(&shared.counters.ranges);
    if offset == 0 {
        count(&shared.counters.pulls);
    }
    let mut checksum = crc.then(crc32fast::Hasher::new);
    let (mut at, mut is_over, shared) = (0, false, shared.clone());
    Ok(Messages::now(std::iter::from_fn(move || {
        if at < range.len() {
            let chunk = range.slice(at..(at + CHUNK).min(range.len()));
            at += chunk.len();
            if let Some(checksum) = &mut checksum {
                checksum.update(&chunk);
            }
            return Some(action_result(chunk));
        }
        if std::mem::replace(&mut is_over, true) {
            return None;
        }
        let checksum = checksum.take()?.finalize();
        if let Some(key) = key {
            shared.checksums.keep(key, checksum);
        }
        Some(end(checksum))
    })))
}

fn end(checksum: u32) -> Result<Pieces, Status> {
    action_result(wire::json(&SegmentEnd { crc32: format!("{checksum:08x}") })?)
}

/// Sends a range as it arrives, until it is complete, or its transfer ends.
async fn relay(partial: PartialMirror, request: SegmentRequest, sender: mpsc::Sender<Result<Pieces, Status>>) {
    let mut checksum = request.crc.then(crc32fast::Hasher::new);
    let Some(last) = request.offset.checked_add(request.len) else {
        let _ = sender.send(Err(Status::out_of_range("the end of the range is above 2^64"))).await;
        return;
    };
    let (mut at, mut changed) = (request.offset, Instant::now());
    while at < last {
        let message = match arrived(&partial, at, last) {
            Ok(bytes) if !bytes.is_empty() => {
                (at, changed) = (at + bytes.len() as u64, Instant::now());
                if let Some(checksum) = &mut checksum {
                    checksum.update(&bytes);
                }
                action_result(bytes)
            }
            Ok(_) if changed.elapsed() < STALL => {
                // Ends when the caller has left.
                if sender.is_closed() {
                    return;
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Ok(_) => Err(Status::unavailable("the mirror here receives nothing; ask its origin")),
            Err(status) => Err(status),
        };
        let is_error = message.is_err();
        if sender.send(message).await.is_err() || is_error {
            return;
        }
    }
    if let Some(checksum) = checksum {
        let _ = sender.send(end(checksum.finalize())).await;
    }
}

/// Bytes from this offset that have arrived; none if there are none yet.
fn arrived(partial: &PartialMirror, at: u64, last: u64) -> Result<Bytes, Status> {
    let of_store = |e: coframe::Error| error::status(&e);
    // Before its length: bytes that came before the end are sent.
    let is_over = partial.is_over().map_err(of_store)?;
    let there = partial.len().map_err(of_store)?.min(last).saturating_sub(at);
    if there == 0 {
        let given_up = Status::unavailable("the transfer of the mirror here was given up; ask its origin");
        return if is_over { Err(given_up) } else { Ok(Bytes::new()) };
    }
    let mut bytes = vec![0; usize::try_from(there).map_or(RELAYED, |there| there.min(RELAYED))];
    let length = tokio::task::block_in_place(|| partial.read_at(&mut bytes, at)).map_err(of_store)?;
    bytes.truncate(length);
    Ok(bytes.into())
}
