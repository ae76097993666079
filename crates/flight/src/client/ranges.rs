//! Several ranges of a segment at a time, each over a separate connection.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    ops::Range,
    time::{Duration, Instant},
};

use futures::future::try_join_all;

use super::{
    Remote,
    pull::{PAUSES, Progress},
};
use crate::{
    error::{Error, Kind, Result},
    wire::CHUNK,
};

/// What the connections of a pull have in common. All of them are polled by the thread that pulls.
struct Fetch<'a, 'b> {
    progress: RefCell<&'a mut Progress<'b>>,
    /// Parts that no connection fetches yet.
    parts: RefCell<VecDeque<Range<u64>>>,
    /// Connections that fetch, or wait to try again.
    active: Cell<usize>,
}

impl Fetch<'_, '_> {
    /// Leaves a part to the other connections. False if the caller is the last one.
    fn leave(&self, part: &Range<u64>) -> bool {
        if self.active.get() < 2 {
            return false;
        }
        self.active.set(self.active.get() - 1);
        self.parts.borrow_mut().push_front(part.clone());
        true
    }

    /// The connection is still broken after all attempts.
    fn given_up(&self, error: &Error) -> Error {
        let progress = self.progress.borrow();
        let bytes = progress.stat.bytes;
        let done = bytes.saturating_sub(progress.missing());
        let text = format!(
            "{error}; {done} of {bytes} bytes had arrived; pull it again within ten minutes to go on from there"
        );
        Error::new(Kind::Unreachable, text)
    }
}

/// How long a connection has been broken.
struct Broken {
    since: Option<Instant>,
    pause: Duration,
}

impl Broken {
    fn none() -> Self {
        Self { since: None, pause: PAUSES.0 }
    }

    /// The pause before the next attempt; `None` if it has been broken for too long.
    fn next(&mut self, most: Duration) -> Option<Duration> {
        if self.since.get_or_insert_with(Instant::now).elapsed() >= most {
            return None;
        }
        let pause = self.pause;
        self.pause = (pause * 2).min(PAUSES.1);
        Some(pause)
    }
}

impl Remote {
    /// Fetches the missing bytes from the origin, in as many ranges at a time as the options allow. After a broken connection,
    /// its range continues with its first missing byte.
    pub(super) fn fetch(&self, progress: &mut Progress<'_>) -> Result<()> {
        let parts = split(progress.writer.missing(), self.options.ranges);
        let connections = parts.len().min(self.options.ranges);
        let fetch = Fetch {
            progress: RefCell::new(progress),
            parts: RefCell::new(parts.into()),
            active: Cell::new(connections),
        };
        let all = (0..connections).map(|number| self.fetch_parts(&fetch, number));
        self.block(async { try_join_all(all).await.map(|_| ()) })
    }

    /// Fetches parts over one connection until none is left. The first connection is that of this remote.
    async fn fetch_parts(&self, fetch: &Fetch<'_, '_>, number: usize) -> Result<()> {
        let mut remote = (number == 0).then(|| self.clone());
        let (mut has_received, mut broken) = (false, Broken::none());
        loop {
            let Some(mut part) = fetch.parts.borrow_mut().pop_front() else { break };
            while part.start < part.end {
                let before = part.start;
                let Err(error) = self.fetch_range(fetch, &mut remote, &mut part).await else {
                    (has_received, broken) = (true, Broken::none());
                    continue;
                };
                let is_gone = error.is_unreachable() || error.is_timeout();
                // The server is at its limit of streams.
                let is_busy = error.is_full() && !error.is_local() && self.options.ranges > 1;
                if part.start > before {
                    (has_received, broken) = (true, Broken::none());
                }
                // Perhaps the server allows fewer connections or streams, or a network between does.
                if !has_received && (is_gone || is_busy) {
                    if fetch.leave(&part) {
                        let text = "a further connection is refused, so the pull goes on with fewer ranges at a time";
                        tracing::warn!(%error, number, "{text}");
                        return Ok(());
                    }
                    // The others have ended, and with them their streams.
                    remote = Some(self.clone());
                }
                if !is_gone && !is_busy {
                    return Err(error);
                }
                let Some(pause) = broken.next(self.options.retry) else { return Err(fetch.given_up(&error)) };
                tracing::warn!(%error, missing = fetch.progress.borrow().missing(), "a pull goes on");
                tokio::time::sleep(pause).await;
            }
        }
        fetch.active.set(fetch.active.get() - 1);
        Ok(())
    }

    /// Fetches one range over the connection of `remote`, and connects first if it has none.
    async fn fetch_range(&self, fetch: &Fetch<'_, '_>, remote: &mut Option<Self>, part: &mut Range<u64>) -> Result<()> {
        let connected = match remote.take() {
            Some(connected) => connected,
            None => Self::dial(self.runtime.clone(), &self.url, &self.options).await?,
        };
        let version = fetch.progress.borrow().stat.version;
        remote.insert(connected).range(&fetch.progress, part, Some(version)).await
    }
}

/// Cuts what is missing into about `ranges` parts of the same size, of whole chunks. What an earlier pull left in as many
/// parts stays as it is, so that their number does not grow with every pull.
fn split(missing: Vec<Range<u64>>, ranges: usize) -> Vec<Range<u64>> {
    if missing.len() >= ranges {
        return missing;
    }
    let bytes: u64 = missing.iter().map(|part| part.end - part.start).sum();
    let most = bytes.div_ceil(ranges as u64).next_multiple_of(CHUNK as u64).max(CHUNK as u64);
    let mut parts = Vec::new();
    for mut part in missing {
        while part.start < part.end {
            let end = part.end.min(part.start + most);
            parts.push(part.start..end);
            part.start = end;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::{CHUNK, split};

    /// Cuts ranges in MiB, and returns them so.
    fn cut(missing: &[(f64, f64)], ranges: usize) -> Vec<(f64, f64)> {
        let mib = CHUNK as f64;
        let missing = missing.iter().map(|(start, end)| (start * mib) as u64..(end * mib) as u64).collect();
        split(missing, ranges).into_iter().map(|part| (part.start as f64 / mib, part.end as f64 / mib)).collect()
    }

    #[test]
    fn parts_cover_what_is_missing_in_whole_chunks() {
        assert_eq!(cut(&[(0.0, 10.0)], 1), [(0.0, 10.0)]);
        assert_eq!(cut(&[(0.0, 10.0)], 2), [(0.0, 5.0), (5.0, 10.0)]);
        assert_eq!(cut(&[(0.0, 2.5)], 7), [(0.0, 1.0), (1.0, 2.0), (2.0, 2.5)]);
        assert_eq!(cut(&[(0.0, 0.5)], 4), [(0.0, 0.5)]);
        assert_eq!(cut(&[], 4), []);
        // Two gaps, and then as many gaps as ranges.
        assert_eq!(cut(&[(0.5, 3.5), (9.0, 10.0)], 4), [(0.5, 1.5), (1.5, 2.5), (2.5, 3.5), (9.0, 10.0)]);
        let gaps: Vec<_> = (0..4).map(|n| (f64::from(n) * 100.0, f64::from(n) * 100.0 + 50.0)).collect();
        assert_eq!(cut(&gaps, 4), gaps);
    }
}
