//! Encodes arguments and results as bytes.

use std::fmt::Debug;

use serde::{Serialize, de::DeserializeOwned};

use super::wire::LIMIT;
use crate::{error::refusal, frame::take_opening_error};

/// Returns postcard's error, or what `Frame` reported while it was opened, which that error lacks.
fn opening_error(error: &postcard::Error) -> String {
    take_opening_error().unwrap_or_else(|| error.to_string())
}

/// Appends a value in the wire's encoding.
pub(super) fn encode<T: Serialize>(value: &T, out: &mut Vec<u8>) -> Result<(), String> {
    let start = out.len();
    let mut limited = Limited { out, end: start + LIMIT, is_over: false };
    let mut serializer = postcard::Serializer { output: &mut limited };
    let result = value.serialize(&mut serializer);
    let is_over = limited.is_over;
    result.map_err(|error| {
        out.truncate(start);
        let limit = LIMIT >> 20;
        if is_over {
            return format!("{limit} MiB are the limit; publish what is large as a frame and send that");
        }
        let why = refusal(value).unwrap_or_else(|| error.to_string());
        format!("it does not serialise ({why})")
    })
}

/// Accepts no more bytes than a message may have.
struct Limited<'a> {
    out: &'a mut Vec<u8>,
    end: usize,
    is_over: bool,
}

impl postcard::ser_flavors::Flavor for &mut Limited<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.is_over = self.out.len() + bytes.len() > self.end;
        if self.is_over {
            return Err(postcard::Error::SerializeBufferFull);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// Reads a value in the wire's encoding.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // An error that an earlier call left does not belong to this one.
    take_opening_error();
    postcard::from_bytes(bytes).map_err(|e| opening_error(&e))
}

/// Returns the Debug text of an encoded argument, if it is short.
pub(super) fn describe<A: DeserializeOwned + Debug>(argument: &[u8]) -> Option<String> {
    const SHORT: usize = 120;
    // A long encoding has a long Debug text, which is not created only to be dropped.
    if argument.len() > 4 * SHORT {
        return None;
    }
    let text = format!("{:?}", postcard::from_bytes::<A>(argument).ok()?);
    (text.len() <= SHORT).then_some(text)
}
