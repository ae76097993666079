//! The atomics of `steps`. `ci/loom` has those of a model checker in this place.

pub(super) use std::sync::atomic::{AtomicU64, fence};
