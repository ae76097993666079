//! Refers later pullers of a segment to other machines, so that they do not share the network card of one machine.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Mutex, PoisonError},
};

/// Segments whose pullers are remembered at most.
const SEGMENTS: usize = 256;
/// Pullers of a segment that are remembered at most.
const PULLERS: usize = 4096;
/// Most bytes of a URL.
pub(super) const MAX_URL: usize = 256;

/// The machines that fetch or have a segment: a chain, in which each fetches from the one before it.
#[derive(Default)]
pub(super) struct Sources(Mutex<Known>);

#[derive(Default)]
struct Known {
    chains: HashMap<u128, Chain>,
    /// Segments in the order in which they came.
    order: VecDeque<u128>,
}

#[derive(Default)]
struct Chain {
    urls: HashSet<String>,
    last: Option<String>,
}

impl Sources {
    /// The URL from which the next puller fetches the segment; `None` for this server. If the puller has a server, the puller
    /// after it is referred there.
    ///
    /// A puller that is in the chain already gets `None`, because one behind it may be waiting for its bytes.
    pub(super) fn next(&self, id: u128, puller: Option<String>) -> Option<String> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.chains.contains_key(&id) {
            if known.order.len() >= SEGMENTS
                && let Some(oldest) = known.order.pop_front()
            {
                known.chains.remove(&oldest);
            }
            known.order.push_back(id);
        }
        let chain = known.chains.entry(id).or_default();
        let Some(puller) = puller else { return chain.last.clone() };
        if chain.urls.contains(&puller) || chain.urls.len() >= PULLERS {
            return None;
        }
        chain.urls.insert(puller.clone());
        chain.last.replace(puller)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_puller_is_sent_to_the_one_before_it_and_none_behind_itself() {
        let sources = Sources::default();
        let next = |id, url: &str| sources.next(id, Some(url.to_owned()));
        assert_eq!(next(1, "a"), None);
        assert_eq!(next(1, "b").as_deref(), Some("a"));
        assert_eq!(next(1, "c").as_deref(), Some("b"));
        assert_eq!(sources.next(1, None).as_deref(), Some("c"));
        // It failed and came back: `c` may wait for it.
        assert_eq!(next(1, "b"), None);
        assert_eq!(next(1, "d").as_deref(), Some("c"));
        assert_eq!(next(2, "a"), None);
    }

    #[test]
    fn memory_is_bounded() {
        let sources = Sources::default();
        for n in 0..10_000 {
            sources.next(n, Some("a".into()));
            sources.next(9_999, Some(n.to_string()));
        }
        let known = sources.0.lock().unwrap();
        assert!(known.chains.len() <= SEGMENTS && known.order.len() <= SEGMENTS);
        assert!(known.chains.values().all(|chain| chain.urls.len() <= PULLERS));
    }

    /// The seconds until all of `nodes` have a segment, by steps of one chunk: a node sends one chunk at a time, to the
    /// one after it, and as soon as it has it.
    fn simulated(nodes: usize, chunks: usize, chunk: f64, delay: f64) -> f64 {
        let mut before = vec![0.0; chunks];
        for _ in 0..nodes {
            let mut sent = 0.0_f64;
            for at in &mut before {
                sent = sent.max(*at) + chunk;
                *at = sent + delay;
            }
        }
        before.last().copied().unwrap_or_default()
    }

    #[test]
    fn a_broadcast_takes_the_time_of_the_model_in_docs_design() {
        // 10 GB in chunks of 256 KiB at 1.25 GB/s, with half a millisecond from one machine to the next.
        let (bytes, chunk, speed, delay) = (10e9, 262_144.0, 1.25e9, 0.5e-3);
        let model = |nodes: f64| bytes / speed + (nodes - 1.0) * (chunk / speed) + nodes * delay;
        for nodes in [1, 8, 100, 1000] {
            let found = simulated(nodes, (bytes / chunk) as usize, chunk / speed, delay);
            let expected = model(nodes as f64);
            assert!((found / expected - 1.0).abs() < 0.01, "{nodes}: {found} s, expected {expected} s");
        }
        // 1 000 machines in 1.09 times the 8 s of one, where the card of the origin alone would take 8 000 s.
        let ratio = simulated(1000, (bytes / chunk) as usize, chunk / speed, delay) / (bytes / speed);
        assert!((1.08..1.10).contains(&ratio), "{ratio}");
    }
}
