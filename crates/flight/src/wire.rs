//! What crosses the wire besides Arrow's own messages: tickets, and the requests and answers of actions, as JSON.
//! docs/WIRE.md is normative.

use std::collections::BTreeMap;

use coframe::{Frame, Name};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tonic::Status;

use crate::error;

/// Longest ticket, descriptor or request of an action, in bytes.
pub(crate) const MAX_REQUEST: usize = 64 << 10;

/// Most bytes of one chunk of a segment.
pub(crate) const CHUNK: usize = 1 << 20;

/// Actions.
pub(crate) const SEGMENT: &str = "segment";
pub(crate) const SOURCE: &str = "source";
pub(crate) const STAT: &str = "stat";
pub(crate) const WAIT: &str = "wait";
pub(crate) const REMOVE: &str = "remove";

/// Which bytes strings and lists have in the answer to `DoGet`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// As in the segment.
    #[default]
    Keep,
    /// Without views: for readers that do not know them. The server casts.
    Classic,
}

/// What `DoGet` reads: a version of a frame, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ticket {
    pub(crate) name: String,
    /// The latest if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub(crate) id: Option<u128>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) columns: Option<Vec<String>>,
    /// First row, and the row after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<(usize, usize)>,
    #[serde(default, skip_serializing_if = "is_keep")]
    pub(crate) layout: Layout,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_keep(layout: &Layout) -> bool {
    *layout == Layout::Keep
}

/// A frame of a remote store; returned by [`Remote::list`](crate::Remote::list) and [`Remote::stat`](crate::Remote::stat).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stat {
    /// The name.
    pub name: String,
    /// The version in the remote store.
    pub version: u64,
    /// The id of the segment; `None` for a file that coframe did not write, which cannot be pulled.
    #[serde(with = "hex")]
    pub id: Option<u128>,
    /// Bytes of the segment.
    pub bytes: u64,
    /// The number of rows.
    pub rows: u64,
    /// The number of columns.
    pub columns: u64,
    /// When it was published, in milliseconds since 1970; `None` if coframe did not write the file.
    #[serde(default)]
    pub created: Option<u64>,
    /// The metadata that the publisher attached.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl Stat {
    pub(crate) fn of(frame: &Frame) -> Self {
        let since = |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).ok();
        let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Self {
            name: frame.name().to_string(),
            version: frame.version(),
            id: frame.segment_id(),
            bytes: wide(frame.size_bytes()),
            rows: wide(frame.num_rows()),
            columns: wide(frame.num_columns()),
            created: frame.created().and_then(since).and_then(|age| u64::try_from(age.as_millis()).ok()),
            metadata: frame.metadata().clone(),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StatRequest {
    pub(crate) name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SegmentRequest {
    pub(crate) name: String,
    /// If `None`: any version with the id, or a mirror that is being fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
    #[serde(with = "hex")]
    pub(crate) id: Option<u128>,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// Whether the answer ends with a checksum.
    #[serde(default = "yes")]
    pub(crate) crc: bool,
    /// Whether the answer has the bytes.
    #[serde(default = "yes")]
    pub(crate) data: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceRequest {
    pub(crate) name: String,
    pub(crate) version: u64,
    #[serde(with = "hex")]
    pub(crate) id: Option<u128>,
    /// Where the caller's server can be reached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SourceAnswer {
    pub(crate) url: Option<String>,
}

/// The last result of a range.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SegmentEnd {
    /// CRC-32 of the range, as 8 hexadecimal digits.
    pub(crate) crc32: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WaitRequest {
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) after: u64,
    pub(crate) timeout_ms: u64,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WaitAnswer {
    pub(crate) version: Option<u64>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveRequest {
    pub(crate) name: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RemoveAnswer {
    pub(crate) removed: bool,
}

/// What the first message of `DoPut` may carry.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PutMetadata {
    #[serde(default)]
    pub(crate) metadata: BTreeMap<String, String>,
}

/// The answer to `DoPut`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PutAnswer {
    pub(crate) name: String,
    pub(crate) version: u64,
    #[serde(with = "hex")]
    pub(crate) id: Option<u128>,
}

/// Reads a request, which any program may have sent.
pub(crate) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Status> {
    if bytes.len() > MAX_REQUEST {
        let found = bytes.len();
        return Err(Status::invalid_argument(format!("the {what} has {found} bytes, expected {MAX_REQUEST} at most")));
    }
    serde_json::from_slice(bytes).map_err(|e| {
        Status::invalid_argument(error::text(format_args!("the {what} is not the JSON of docs/WIRE.md: {e}")))
    })
}

/// A name that came from elsewhere, checked.
pub(crate) fn name(text: &str) -> Result<Name, Status> {
    text.parse().map_err(|e| error::status(&e))
}

pub(crate) fn json(value: &impl Serialize) -> Result<bytes::Bytes, Status> {
    serde_json::to_vec(value).map(Into::into).map_err(|e| Status::internal(e.to_string()))
}

/// 32 hexadecimal digits, or null.
mod hex {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    #[expect(clippy::ref_option, reason = "serde passes it so")]
    pub(super) fn serialize<S: Serializer>(id: &Option<u128>, serializer: S) -> Result<S::Ok, S::Error> {
        id.map(|id| format!("{id:032x}")).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u128>, D::Error> {
        let Some(text) = Option::<String>::deserialize(deserializer)? else { return Ok(None) };
        let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = is_id.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        id.map(Some).ok_or_else(|| de::Error::custom("expected an id of 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Layout, Ticket, parse};

    #[test]
    fn a_ticket_survives_its_json() {
        let ticket = Ticket {
            name: "flights".into(),
            version: Some(7),
            id: Some(0xfeed),
            columns: Some(vec!["a \"b\"".into()]),
            rows: Some((3, 9)),
            layout: Layout::Classic,
        };
        let json = serde_json::to_vec(&ticket).unwrap();
        assert_eq!(parse::<Ticket>("ticket", &json).unwrap(), ticket);
        let plain = parse::<Ticket>("ticket", br#"{"name":"x"}"#).unwrap();
        assert_eq!(serde_json::to_string(&plain).unwrap(), r#"{"name":"x"}"#);
    }

    #[test]
    fn a_ticket_with_an_unknown_key_or_too_many_bytes_is_refused() {
        for bad in [r#"{"name":"x","column":["a"]}"#, r#"{"version":1}"#, r#"{"name":"x","id":"7"}"#, "x", ""] {
            assert!(parse::<Ticket>("ticket", bad.as_bytes()).is_err(), "{bad}");
        }
        let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000));
        assert!(parse::<Ticket>("ticket", long.as_bytes()).unwrap_err().message().contains("65536"));
    }
}
