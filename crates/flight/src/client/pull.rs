//! A pull: the segment of another machine becomes a mirror in the local store.

use std::{
    cell::RefCell,
    ops::Range,
    time::{Duration, Instant},
};

use coframe::{Frame, MirrorOptions, MirrorWriter, Name, Store, excerpt};
use tonic::Status;

use super::{PullOptions, Remote, answer};
use crate::{
    error::{Error, Kind, Result},
    wire::{self, SegmentEnd, SegmentRequest, SourceAnswer, SourceRequest, Stat},
};

/// Bytes that one call asks for.
const RANGE: u64 = 1 << 30;
/// Bytes that are read at a time, to compare them.
const PIECE: usize = 1 << 20;
/// Shortest and longest pause between two attempts.
pub(super) const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// A part of a range that came without the checksum of the origin: before its connection broke, or from another machine.
struct Unchecked {
    offset: u64,
    len: u64,
    crc: u32,
}

/// How far a pull is.
pub(super) struct Progress<'a> {
    pub(super) stat: &'a Stat,
    pub(super) writer: MirrorWriter,
    unchecked: Vec<Unchecked>,
}

impl Progress<'_> {
    /// Bytes that have not arrived.
    pub(super) fn missing(&self) -> u64 {
        self.writer.missing().into_iter().map(|part| part.end - part.start).sum()
    }

    /// The parts that have arrived.
    fn there(&self) -> Vec<Range<u64>> {
        let (mut parts, mut start) = (Vec::new(), 0);
        let end = self.stat.bytes..self.stat.bytes;
        for gap in self.writer.missing().into_iter().chain([end]) {
            if start < gap.start {
                parts.push(start..gap.start);
            }
            start = gap.end;
        }
        parts
    }

    /// The checksum of bytes that have arrived.
    fn checksum(&self, offset: u64, len: u64, buffer: &mut [u8]) -> Result<u32> {
        let (mut crc, mut done) = (crc32fast::Hasher::new(), 0);
        while done < len {
            let most = usize::try_from(len - done).map_or(buffer.len(), |left| left.min(buffer.len()));
            let read = self.writer.read_at(buffer.get_mut(..most).unwrap_or_default(), offset + done)?;
            if read == 0 {
                break;
            }
            crc.update(buffer.get(..read).unwrap_or_default());
            done += read as u64;
        }
        Ok(crc.finalize())
    }
}

impl Remote {
    /// Opens the latest version of a remote frame as a frame of `store`. If `store` does not have its segment, pulls it first.
    ///
    /// Of all processes of this machine that want the segment at the same time, one pulls it and the others wait. The
    /// mirror has the bytes and the id of the remote segment, and the next version number of `store`. It is validated in full
    /// before it gets its name. If the puller is killed or its connection fails, the next pull of the segment within ten
    /// minutes continues where it stopped.
    ///
    /// # Errors
    ///
    /// * [`is_not_found`](Error::is_not_found), [`is_denied`](Error::is_denied).
    /// * [`is_full`](Error::is_full), before the first byte, if the segment does not fit.
    /// * [`is_unreachable`](Error::is_unreachable) if the connection broke and could not be restored within
    ///   [`retry`](crate::RemoteOptions::retry).
    /// * [`is_corrupt`](Error::is_corrupt) if bytes changed on the way, or if the segment is not valid.
    ///
    /// After an error `store` has no new version. A hidden file with the bytes so far may remain for the next pull.
    pub fn open(&self, store: &Store, name: impl AsRef<str>) -> Result<Frame> {
        self.pull_with(store, name, &PullOptions::new())
    }

    /// Like [`open`](Self::open), but for the version in `options`, or under another name in `store`.
    pub fn pull_with(&self, store: &Store, name: impl AsRef<str>, options: &PullOptions) -> Result<Frame> {
        let stat = self.stat_version(name, options.version)?;
        let label = self.label(&stat);
        let id = stat.id.ok_or_else(|| {
            Error::invalid(&label, "coframe did not write the file, so it has no segment id; publish it there again")
        })?;
        let name = match &options.name {
            Some(name) => name.clone(),
            None => stat.name.parse::<Name>()?,
        };
        let _entered = tracing::info_span!("pull", %name, version = stat.version, url = self.url).entered();
        if let Some(frame) = local(store, &name, id)? {
            return Ok(frame);
        }
        let turn = store.mirror_turn(id, Duration::MAX)?;
        if let Some(frame) = local(store, &name, id)? {
            return Ok(frame);
        }
        let writer = turn.resume(&name, &MirrorOptions::new().length(stat.bytes).origin(&self.url))?;
        let mut progress = Progress { stat: &stat, writer, unchecked: Vec::new() };
        if let Err(error) = self.transfer(store, &mut progress) {
            // What has arrived may be of use to the next pull.
            if !error.is_unreachable() && !error.is_timeout() && !error.is_denied() {
                progress.writer.discard();
            }
            return Err(error);
        }
        let frame = progress.writer.publish()?;
        tracing::info!(bytes = stat.bytes, "pulled");
        Ok(frame)
    }

    pub(super) fn label(&self, stat: &Stat) -> String {
        format!("`{}@{}` of {}", excerpt(&stat.name), stat.version, self.url)
    }

    /// Fetches all bytes, from another machine if the origin refers to it, and compares them with the origin's checksums.
    fn transfer(&self, store: &Store, progress: &mut Progress<'_>) -> Result<()> {
        self.check_earlier(progress)?;
        check_room(store, &self.label(progress.stat), progress.stat.bytes, progress.missing())?;
        if let Some(peer) = self.source(progress.stat) {
            if let Err(error) = peer.fetch_as_peer(progress) {
                tracing::warn!(%error, "the pull goes on at the origin");
            }
            if let Err(error) = self.check_rest(progress) {
                if !error.is_corrupt() {
                    return Err(error);
                }
                tracing::warn!(%error, "another machine sent other bytes; the pull starts again at the origin");
                progress.writer.restart()?;
            }
            progress.unchecked.clear();
        }
        self.fetch(progress)?;
        self.check_rest(progress)
    }

    /// Compares the bytes of an interrupted pull with those of the origin. Starts again if they differ.
    fn check_earlier(&self, progress: &mut Progress<'_>) -> Result<()> {
        let mut buffer = Vec::new();
        for part in progress.there() {
            buffer.resize(PIECE, 0);
            let mut offset = part.start;
            while offset < part.end {
                let len = RANGE.min(part.end - offset);
                let crc = progress.checksum(offset, len, &mut buffer)?;
                progress.unchecked.push(Unchecked { offset, len, crc });
                offset += len;
            }
        }
        let is_resumed = !progress.unchecked.is_empty();
        match self.check_rest(progress) {
            Err(error) if error.is_corrupt() => {
                tracing::warn!(%error, "the pull starts again");
                progress.writer.restart()?;
            }
            checked => checked?,
        }
        progress.unchecked.clear();
        if is_resumed {
            tracing::info!(missing = progress.missing(), "a pull goes on where an earlier one stopped");
        }
        Ok(())
    }

    /// Connects to the machine to which the origin refers, if it is a configured peer and answers.
    fn source(&self, stat: &Stat) -> Option<Self> {
        if self.options.peers.is_empty() && self.options.serves.is_none() {
            return None;
        }
        let Stat { name, version, id, .. } = stat.clone();
        let request = SourceRequest { name, version, id, url: self.options.serves.clone() };
        // An origin without this action serves the frame itself.
        let answer: SourceAnswer = self.ask(wire::SOURCE, &request, "find a source").ok()?;
        let url = answer.url.filter(|url| self.options.peers.contains(url))?;
        self.peer(&url).inspect_err(|error| tracing::warn!(%error, "a source does not answer")).ok()
    }

    /// Fetches bytes from a machine that is not the origin, for as long as it sends them.
    fn fetch_as_peer(&self, progress: &mut Progress<'_>) -> Result<()> {
        let parts = progress.writer.missing();
        let progress = RefCell::new(progress);
        self.block(async {
            for mut part in parts {
                while part.start < part.end {
                    self.range(&progress, &mut part, None).await?;
                }
            }
            Ok(())
        })
    }

    /// Fetches one range from the start of `part`, or as much of it as arrives, and moves this start. Without a version, from a
    /// machine that is not the origin.
    pub(super) async fn range(
        &self,
        progress: &RefCell<&mut Progress<'_>>,
        part: &mut Range<u64>,
        version: Option<u64>,
    ) -> Result<()> {
        let offset = part.start;
        let last = part.end.min(offset.saturating_add(RANGE));
        let is_origin = version.is_some();
        let stat = progress.borrow().stat;
        let mut request = segment_request(stat, offset, last - offset);
        (request.version, request.crc) = (version, is_origin && self.options.checksums);
        let computes = self.options.checksums || !is_origin;
        let mut crc = crc32fast::Hasher::new();
        let what = format!("cannot pull {}", self.label(stat));
        let mut failed = None;
        let receiving = async {
            let mut stream = self.action(wire::SEGMENT, &request).await?;
            while part.start < last {
                let Some(result) = self.next(&mut stream).await? else {
                    return Err(Status::unavailable("the stream ended early"));
                };
                let length = result.body.len() as u64;
                if length == 0 || length > last - part.start {
                    return Err(Status::data_loss("the server sent other bytes than those of the range"));
                }
                if computes {
                    crc.update(&result.body);
                }
                if let Err(error) = progress.borrow_mut().writer.write_at(&result.body, part.start) {
                    failed = Some(error);
                    return Ok(None);
                }
                part.start += length;
            }
            if !request.crc {
                return Ok(None);
            }
            match self.next(&mut stream).await? {
                Some(result) => answer::<SegmentEnd>(&result.body).map(Some),
                None => Err(Status::unavailable("the stream ended before its checksum")),
            }
        };
        let ended = receiving.await;
        if let Some(error) = failed {
            return Err(error.into());
        }
        let (crc, len) = (crc.finalize(), part.start - offset);
        if let Ok(Some(end)) = &ended {
            return check_crc(&what, offset, len, crc, end);
        }
        if computes && len > 0 {
            progress.borrow_mut().unchecked.push(Unchecked { offset, len, crc });
        }
        ended.map(|_| ()).map_err(|status| Error::remote(what, &status))
    }

    /// Compares the bytes that arrived without a checksum with those of the origin, to which `self` is connected.
    fn check_rest(&self, progress: &Progress<'_>) -> Result<()> {
        for Unchecked { offset, len, crc } in &progress.unchecked {
            let request = SegmentRequest { data: false, ..segment_request(progress.stat, *offset, *len) };
            let what = format!("compare bytes of {}", self.label(progress.stat));
            let end: SegmentEnd = self.persist(|| self.ask(wire::SEGMENT, &request, &what))?;
            check_crc(&what, *offset, *len, *crc, &end)?;
        }
        Ok(())
    }

    /// Calls again while the server cannot be reached, as long as `retry` allows.
    fn persist<T>(&self, mut call: impl FnMut() -> Result<T>) -> Result<T> {
        let (start, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            let done = call();
            let is_gone = done.as_ref().is_err_and(|error| error.is_unreachable() || error.is_timeout());
            if !is_gone || start.elapsed() >= self.options.retry {
                return done;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

fn segment_request(stat: &Stat, offset: u64, len: u64) -> SegmentRequest {
    let Stat { name, version, id, .. } = stat;
    SegmentRequest { name: name.clone(), version: Some(*version), id: *id, offset, len, crc: true, data: true }
}

fn check_crc(what: &str, offset: u64, len: u64, found: u32, end: &SegmentEnd) -> Result<()> {
    let found = format!("{found:08x}");
    if found == end.crc32 {
        return Ok(());
    }
    let text = format!(
        "{what}: bytes {offset} to {} changed on the way (checksum {found}, expected {}); pull it again",
        offset + len,
        excerpt(&end.crc32)
    );
    Err(Error::new(Kind::Corrupt, text))
}

/// The version of a name in the local store that has this segment.
pub(super) fn local(store: &Store, name: &Name, id: u128) -> Result<Option<Frame>> {
    let mut versions = store.versions(name)?;
    versions.reverse();
    // A version may be swept meanwhile.
    let frames = versions.into_iter().filter_map(|version| store.open_version(name, version).ok());
    Ok(frames.into_iter().find(|frame| frame.segment_id() == Some(id)))
}

/// Whether the bytes that are missing fit.
fn check_room(store: &Store, label: &str, bytes: u64, missing: u64) -> Result<()> {
    if store.usage()?.free >= missing {
        return Ok(());
    }
    store.sweep()?;
    let free = store.usage()?.free;
    if free >= missing {
        return Ok(());
    }
    let path = store.path().display();
    let next = "remove frames, or use another directory; in a container, /dev/shm has 64 MB unless --shm-size is set";
    Err(Error::new(Kind::Full, format_args!("{label} has {bytes} bytes, and `{path}` has {free} free: {next}")))
}
