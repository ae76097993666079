//! A pull: the segment of another machine becomes a mirror here.

use std::time::{Duration, Instant};

use coframe::{Frame, MirrorOptions, MirrorWriter, Name, Store};
use tonic::Status;

use super::{PullOptions, Remote, answer};
use crate::{
    error::{Error, Kind, Result},
    wire::{self, SegmentEnd, SegmentRequest, Stat},
};

/// Bytes that one call asks for.
const RANGE: u64 = 1 << 30;
/// Pauses between attempts to go on.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(2));

/// A part of a range that arrived before its connection broke, and so without the checksum of the server.
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
    /// The latest version of a frame there, as a frame of the store here: opened if its segment is here, else pulled.
    ///
    /// Of all processes of this machine that want the segment at the same time, one pulls it and the others wait. The
    /// mirror has the bytes and the id of the segment there, is validated in full before it gets its name, and a version of
    /// the store here.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found), [`is_denied`](Error::is_denied); [`is_full`](Error::is_full), before the
    /// first byte, if the segment does not fit; [`is_unreachable`](Error::is_unreachable) if the connection broke and
    /// stayed so; [`is_corrupt`](Error::is_corrupt). Nothing is visible then, and no file stays.
    pub fn open(&self, store: &Store, name: impl AsRef<str>) -> Result<Frame> {
        self.pull_with(store, name, &PullOptions::new())
    }

    /// As [`open`](Self::open), of another version or under another name here.
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
        if let Some(frame) = local(store, &name, id)? {
            return Ok(frame);
        }
        let _turn = store.mirror_turn(id, Duration::MAX)?;
        if let Some(frame) = local(store, &name, id)? {
            return Ok(frame);
        }
        check_room(store, &label, stat.bytes)?;
        let writer = store.mirror_with(&name, &MirrorOptions::new().length(stat.bytes).segment_id(id))?;
        let mut progress = Progress { stat: &stat, writer, unchecked: Vec::new() };
        self.fetch(&mut progress)?;
        self.check_rest(&progress)?;
        tracing::info!(%name, bytes = stat.bytes, url = self.url, "pulled");
        Ok(progress.writer.publish()?)
    }

    fn label(&self, stat: &Stat) -> String {
        format!("`{}@{}` of {}", stat.name, stat.version, self.url)
    }

    /// Asks for the bytes, and again from where a connection broke.
    fn fetch(&self, progress: &mut Progress<'_>) -> Result<()> {
        let mut broken: Option<Instant> = None;
        let mut pause = PAUSES.0;
        while progress.writer.written() < progress.stat.bytes {
            let before = progress.writer.written();
            let Err(error) = self.range(progress) else { continue };
            let done = progress.writer.written();
            if !error.is_unreachable() && !error.is_timeout() {
                return Err(error);
            }
            if done > before {
                (broken, pause) = (None, PAUSES.0);
            }
            if broken.get_or_insert_with(Instant::now).elapsed() >= self.options.retry {
                let bytes = progress.stat.bytes;
                let text = format!("{error}; {done} of {bytes} bytes had arrived; nothing was kept, so pull it again");
                return Err(Error::new(Kind::Unreachable, text));
            }
            tracing::warn!(%error, done, "a pull goes on");
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSES.1);
        }
        Ok(())
    }

    /// One range, as far as it comes.
    fn range(&self, progress: &mut Progress<'_>) -> Result<()> {
        let offset = progress.writer.written();
        let len = RANGE.min(progress.stat.bytes - offset);
        let request = self.segment_request(progress.stat, offset, len);
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
                if self.options.checksums {
                    crc.update(&result.body);
                }
                if let Err(error) = progress.writer.write(&result.body) {
                    failed = Some(error);
                    return Ok(None);
                }
            }
            if !self.options.checksums {
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
        match ended {
            Ok(Some(end)) => check_crc(&what, offset, arrived, crc, &end),
            Ok(None) => Ok(()),
            Err(error) => {
                if self.options.checksums && arrived > 0 {
                    progress.unchecked.push(Unchecked { offset, len: arrived, crc });
                }
                Err(error)
            }
        }
    }

    /// Compares what arrived over broken connections with what the server has.
    fn check_rest(&self, progress: &Progress<'_>) -> Result<()> {
        for Unchecked { offset, len, crc } in &progress.unchecked {
            let request = SegmentRequest { data: false, ..self.segment_request(progress.stat, *offset, *len) };
            let what = format!("compare bytes of {}", self.label(progress.stat));
            let end: SegmentEnd = self.ask(wire::SEGMENT, &request, &what)?;
            check_crc(&what, *offset, *len, *crc, &end)?;
        }
        Ok(())
    }

    fn segment_request(&self, stat: &Stat, offset: u64, len: u64) -> SegmentRequest {
        let Stat { name, version, id, .. } = stat;
        let crc = self.options.checksums;
        SegmentRequest { name: name.clone(), version: *version, id: *id, offset, len, crc, data: true }
    }
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

/// The version of the name here that has this segment.
fn local(store: &Store, name: &Name, id: u128) -> Result<Option<Frame>> {
    let mut versions = store.versions(name)?;
    versions.reverse();
    // A version that is swept meanwhile is not here.
    let frames = versions.into_iter().filter_map(|version| store.open_version(name, version).ok());
    Ok(frames.into_iter().find(|frame| frame.segment_id() == Some(id)))
}

fn check_room(store: &Store, label: &str, bytes: u64) -> Result<()> {
    if store.usage()?.free >= bytes {
        return Ok(());
    }
    store.sweep()?;
    let free = store.usage()?.free;
    if free >= bytes {
        return Ok(());
    }
    let path = store.path().display();
    let next = "remove frames, or use another directory; in a container, /dev/shm has 64 MB unless --shm-size is set";
    Err(Error::new(Kind::Full, format_args!("{label} has {bytes} bytes, and `{path}` has {free} free: {next}")))
}
