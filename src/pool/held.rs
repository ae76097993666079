//! Frames in an argument, which can be opened until its task is over.

use std::sync::Arc;

use serde::Serialize;

use super::codec::encode;
use crate::{
    frame::{Sent, collect_sent},
    segment::Mapping,
};

/// Keeps a frame from being swept.
pub(super) enum Held {
    Sent(Sent),
    Mapped(#[expect(dead_code, reason = "it is held, and dropped, and nothing else")] Arc<Mapping>),
}

/// Encodes an argument. Returns it with the frames in it, which can be opened while they are held.
pub(super) fn encode_held<A: Serialize>(argument: &A) -> Result<(Vec<u8>, Vec<Held>), String> {
    let mut bytes = Vec::new();
    let (encoded, sent) = collect_sent(|| encode(argument, &mut bytes));
    encoded?;
    // A frame that is sent is open here. The frame of a handle may be gone already; then the task fails.
    let hold = |sent| match sent {
        Sent::Handle(handle) => handle.hold().ok().flatten().map(Held::Mapped),
        sent => Some(Held::Sent(sent)),
    };
    Ok((bytes, sent.into_iter().filter_map(hold).collect()))
}
