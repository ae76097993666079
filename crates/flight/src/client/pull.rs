//! A pull: the segment of another machine becomes a mirror in the local store.

use std::time::{Duration, Instant};

use coframe::{Frame, MirrorOptions, MirrorWriter, Name, Store};
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
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// A part of a range that came without the checksum of the origin: before its connection broke, or from another machine.
struct Unchecked {
    offset: u64,
    len: u64,
    crc: u32,
}

/// How far a pull is.
struct Progress<'a> {
    stat: &'a Stat,
    writer: MirrorWriter,
    unchecked: Vec<Unchecked>,
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

    fn label(&self, stat: &Stat) -> String {
        format!("`{}@{}` of {}", stat.name, stat.version, self.url)
    }

    /// Fetches all bytes, from another machine if the origin refers to it, and compares them with the origin's checksums.
    fn transfer(&self, store: &Store, progress: &mut Progress<'_>) -> Result<()> {
        self.check_earlier(progress)?;
        check_room(store, &self.label(progress.stat), progress.stat.bytes, progress.writer.written())?;
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
        let there = progress.writer.written();
        let mut buffer = if there > 0 { vec![0; PIECE] } else { Vec::new() };
        let mut offset = 0;
        while offset < there {
            let (len, mut crc) = (RANGE.min(there - offset), crc32fast::Hasher::new());
            let mut done = 0;
            while done < len {
                let most = usize::try_from(len - done).map_or(PIECE, |left| left.min(PIECE));
                let read = progress.writer.read_at(buffer.get_mut(..most).unwrap_or_default(), offset + done)?;
                if read == 0 {
                    break;
                }
                crc.update(buffer.get(..read).unwrap_or_default());
                done += read as u64;
            }
            progress.unchecked.push(Unchecked { offset, len, crc: crc.finalize() });
            offset += len;
        }
        match self.check_rest(progress) {
            Err(error) if error.is_corrupt() => {
                tracing::warn!(%error, "the pull starts again");
                progress.writer.restart()?;
            }
            checked => checked?,
        }
        progress.unchecked.clear();
        if there > 0 {
            tracing::info!(bytes = progress.writer.written(), "a pull goes on where an earlier one stopped");
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
        while progress.writer.written() < progress.stat.bytes {
            self.range(progress, None)?;
        }
        Ok(())
    }

    /// Fetches the missing bytes from the origin. After a broken connection it continues with the first missing byte.
    fn fetch(&self, progress: &mut Progress<'_>) -> Result<()> {
        let mut broken: Option<Instant> = None;
        let mut pause = PAUSES.0;
        while progress.writer.written() < progress.stat.bytes {
            let before = progress.writer.written();
            let Err(error) = self.range(progress, Some(progress.stat.version)) else { continue };
            let done = progress.writer.written();
            if !error.is_unreachable() && !error.is_timeout() {
                return Err(error);
            }
            if done > before {
                (broken, pause) = (None, PAUSES.0);
            }
            if broken.get_or_insert_with(Instant::now).elapsed() >= self.options.retry {
                let bytes = progress.stat.bytes;
                let text = format!(
                    "{error}; {done} of {bytes} bytes had arrived; pull it again within ten minutes to go on from there"
                );
                return Err(Error::new(Kind::Unreachable, text));
            }
            tracing::warn!(%error, done, "a pull goes on");
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
        Ok(())
    }

    /// Fetches one range, or as much of it as arrives. Without a version, from a machine that is not the origin.
    fn range(&self, progress: &mut Progress<'_>, version: Option<u64>) -> Result<()> {
        let offset = progress.writer.written();
        let len = RANGE.min(progress.stat.bytes - offset);
        let is_origin = version.is_some();
        let mut request = segment_request(progress.stat, offset, len);
        (request.version, request.crc) = (version, is_origin && self.options.checksums);
        let computes = self.options.checksums || !is_origin;
        let mut crc = crc32fast::Hasher::new();
        let what = format!("cannot pull {}", self.label(progress.stat));
        let mut failed = None;
        let ended = self.block_on(what.clone(), async {
            let mut stream = self.action(wire::SEGMENT, &request).await?;
            while progress.writer.written() < offset + len {
                let Some(result) = self.next(&mut stream).await? else {
                    return Err(Status::unavailable("the stream ended early"));
                };
                let left = offset + len - progress.writer.written();
                if result.body.is_empty() || result.body.len() as u64 > left {
                    return Err(Status::data_loss("the server sent other bytes than those of the range"));
                }
                if computes {
                    crc.update(&result.body);
                }
                if let Err(error) = progress.writer.write(&result.body) {
                    failed = Some(error);
                    return Ok(None);
                }
            }
            if !request.crc {
                return Ok(None);
            }
            match self.next(&mut stream).await? {
                Some(result) => answer::<SegmentEnd>(&result.body).map(Some),
                None => Err(Status::unavailable("the stream ended before its checksum")),
            }
        });
        if let Some(error) = failed {
            return Err(error.into());
        }
        let crc = crc.finalize();
        let arrived = progress.writer.written() - offset;
        if let Ok(Some(end)) = &ended {
            return check_crc(&what, offset, arrived, crc, end);
        }
        if computes && arrived > 0 {
            progress.unchecked.push(Unchecked { offset, len: arrived, crc });
        }
        ended.map(|_| ())
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
        end.crc32.escape_debug()
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
fn check_room(store: &Store, label: &str, bytes: u64, there: u64) -> Result<()> {
    let missing = bytes.saturating_sub(there);
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
