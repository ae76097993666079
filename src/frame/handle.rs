//! Handles: strings that identify a frame.

use std::{
    fmt::{self, Write},
    ops::Range,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use serde::{Deserialize, Deserializer, de};

use crate::{
    error::{Error, Result, excerpt},
    handle_text::{escape, is_session, unescape, unescape_path},
    name::Name,
};

const SCHEME: &str = "coframe:";
const EXPECTED: &str = "expected coframe:<store path>/<name>@<version>?id=<segment id>, as `Frame::handle` writes it";

/// Identifies a frame, or a part of one, and opens it in another process: about 100 bytes of ASCII on one line.
///
/// Survives argv, environment variables, JSON and every serde format (it serialises as its text). A handle does not
/// keep the frame: [`Handle::open`] documents how long it works.
///
/// ```
/// use coframe::{Handle, Store};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let store = Store::open_at(dir.path().join("store"))?;
/// let frame = store.publish("flights", &polars::df!("x" => [1, 2, 3])?)?;
///
/// let text = frame.slice(..2)?.handle().to_string();
/// let handle: Handle = text.parse()?;
/// assert_eq!(handle.open()?.num_rows(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    pub(crate) store: PathBuf,
    pub(crate) session: Option<String>,
    pub(crate) name: Name,
    pub(crate) version: u64,
    /// The random id in the segment's footer; zero for a file that coframe did not write.
    pub(crate) segment: u128,
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) rows: Option<Range<usize>>,
}

impl Handle {
    /// The directory of the store.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(frame.handle().store(), store.path().canonicalize()?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn store(&self) -> &Path {
        &self.store
    }

    /// The name of the frame.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The version that the handle opens. It never opens another one.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let handle = frame.handle();
    /// assert_eq!((handle.name().as_str(), handle.version()), ("flights", 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The id of the segment, which is the same in every mirror; `None` for a file that coframe did not write.
    #[must_use]
    pub fn segment_id(&self) -> Option<u128> {
        (self.segment != 0).then_some(self.segment)
    }

    /// The columns of the part that the handle names, in order; `None`: all.
    #[must_use]
    pub fn columns(&self) -> Option<&[String]> {
        self.columns.as_deref()
    }

    /// The rows of the part that the handle names; `None`: all.
    #[must_use]
    pub fn rows(&self) -> Option<Range<usize>> {
        self.rows.clone()
    }
}

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        escape(self.store.as_os_str().as_bytes(), f)?;
        write!(f, "/{}@{}?id={:032x}", self.name, self.version, self.segment)?;
        if let Some(session) = &self.session {
            write!(f, "&session={session}")?;
        }
        if let Some(rows) = &self.rows {
            write!(f, "&rows={}..{}", rows.start, rows.end)?;
        }
        if let Some(columns) = &self.columns {
            f.write_str("&columns=")?;
            // A comma before each name, so that no columns and one column without a name differ.
            for column in columns {
                f.write_char(',')?;
                escape(column.as_bytes(), f)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Handle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::invalid(format_args!("`{}` is not a handle", excerpt(text)), EXPECTED))
    }
}

fn parse(text: &str) -> Option<Handle> {
    let (place, query) = text.strip_prefix(SCHEME)?.split_once('?')?;
    let (store, frame) = place.rsplit_once('/')?;
    let (name, version) = frame.split_once('@')?;
    let mut handle = Handle {
        store: unescape_path(store)?,
        session: None,
        name: name.parse().ok()?,
        version: version.parse().ok()?,
        segment: 0,
        columns: None,
        rows: None,
    };
    let mut has_id = false;
    for pair in query.split('&') {
        match pair.split_once('=')? {
            ("id", id) => (handle.segment, has_id) = (u128::from_str_radix(id, 16).ok()?, true),
            // A session's directory has a generated name of hexadecimal digits; nothing else may become a path.
            ("session", id) if is_session(id) => handle.session = Some(id.to_owned()),
            ("rows", range) => {
                let (start, end) = range.split_once("..")?;
                handle.rows = Some(start.parse().ok()?..end.parse().ok()?);
            }
            ("columns", "") => handle.columns = Some(Vec::new()),
            ("columns", names) => {
                let name = |name: &str| String::from_utf8(unescape(name)?).ok();
                let names = names.strip_prefix(',')?.split(',');
                handle.columns = Some(names.map(name).collect::<Option<_>>()?);
            }
            _ => return None,
        }
    }
    (has_id && handle.store.is_absolute()).then_some(handle)
}

impl<'de> Deserialize<'de> for Handle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Handle;

    fn handle() -> Handle {
        Handle {
            store: "/dev/shm/a b%/ü".into(),
            session: Some("0123456789abcdef0123456789abcdef".into()),
            name: "trades-1.x".parse().unwrap(),
            version: 7,
            segment: 0xfeed,
            columns: Some(vec!["a,b".into(), "c&d=e".into(), String::new(), "ü\n".into()]),
            rows: Some(3..9),
        }
    }

    #[test]
    fn equal_handles_are_one_key_of_a_map() {
        let mut map = std::collections::HashMap::from([(handle(), 1)]);
        map.insert(handle().to_string().parse().unwrap(), 2);
        map.insert(Handle { version: 8, ..handle() }, 3);
        assert_eq!((map.len(), map.get(&handle())), (2, Some(&2)));
    }

    #[test]
    fn a_handle_survives_its_text_and_json() {
        let handle = handle();
        let text = handle.to_string();
        assert!(text.bytes().all(|b| b.is_ascii_graphic()), "{text}");
        assert_eq!(text.parse::<Handle>().unwrap(), handle);
        let json = serde_json::to_string(&handle).unwrap();
        assert_eq!(serde_json::from_str::<Handle>(&json).unwrap(), handle);
    }

    #[test]
    fn a_handle_cannot_leave_its_store() {
        let text = handle().to_string();
        for (from, to) in
            [("trades-1.x@", "..%2Fx@"), ("0123456789abcdef0123456789abcdef", "../../x"), ("coframe:/", "coframe:")]
        {
            let bad = text.replace(from, to);
            assert_ne!(bad, text);
            assert!(bad.parse::<Handle>().is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_string_that_is_not_a_handle_is_explained() {
        let message = "flights".parse::<Handle>().unwrap_err().to_string();
        assert!(message.starts_with("`flights` is not a handle: expected coframe:<store path>/"), "{message}");
    }
}
