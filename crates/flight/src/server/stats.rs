//! Counts of what a server has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts since a server started; returned by [`Server::stats`](crate::Server::stats).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Calls that the server accepted.
    pub calls: u64,
    /// Calls with a missing or wrong token.
    pub denied: u64,
    /// Ranges of segments that were asked for: at least one for each pull.
    pub ranges: u64,
    /// Ranges that start at the first byte, so the number of pulls that started here.
    pub pulls: u64,
    /// Pullers that were referred to another machine.
    pub referrals: u64,
    /// Ranges that were sent from a mirror that was still being fetched.
    pub relays: u64,
    /// Streams of `DoGet`.
    pub gets: u64,
    /// Frames that were published by `DoPut`.
    pub puts: u64,
    /// Bytes of answers that were given to their connections.
    pub bytes: u64,
    /// Connections that were closed at once, because of [`max_connections`](crate::ServerOptions::max_connections).
    pub refused: u64,
    /// Connections that were closed because their client read nothing for [`idle`](crate::ServerOptions::idle).
    pub stalled: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(super) calls: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) ranges: AtomicU64,
    pub(super) pulls: AtomicU64,
    pub(super) referrals: AtomicU64,
    pub(super) relays: AtomicU64,
    pub(super) gets: AtomicU64,
    pub(super) puts: AtomicU64,
    pub(super) bytes: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    pub(super) fn sent(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> ServerStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerStats {
            calls: of(&self.calls),
            denied: of(&self.denied),
            ranges: of(&self.ranges),
            pulls: of(&self.pulls),
            referrals: of(&self.referrals),
            relays: of(&self.relays),
            gets: of(&self.gets),
            puts: of(&self.puts),
            bytes: of(&self.bytes),
            refused: 0,
            stalled: 0,
        }
    }
}
