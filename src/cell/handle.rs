//! The text that names a cell.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    error::{Error, Result},
    name::Name,
    store::Store,
};

const SCHEME: &str = "coframe-cell:";

/// Names a cell, and opens it in another process: one line of text, as a frame's [`Handle`](crate::Handle).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellHandle {
    store: PathBuf,
    session: Option<String>,
    name: Name,
    id: u128,
}

impl CellHandle {
    pub(super) fn new(store: &Store, name: Name, id: u128) -> Self {
        Self { store: store.path().to_owned(), session: store.session_id().map(str::to_owned), name, id }
    }

    /// The name of the cell.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The store or session that the cell is in.
    pub(super) fn open_store(&self) -> Result<Store> {
        match &self.session {
            Some(session) => Store::of_session(&self.store, session),
            None => Store::existing(&self.store),
        }
    }

    /// Whether a cell that was opened by its name is the one that this names.
    pub(super) fn check(&self, found: &Self) -> Result<()> {
        if self.id == found.id {
            return Ok(());
        }
        let what = format!("the handle of the cell `{}`", self.name);
        Err(crate::error::Kind::Superseded { what, now: "another cell was made under its name".to_owned() }.into())
    }
}

impl fmt::Display for CellHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        crate::frame::escape(self.store.as_os_str().as_encoded_bytes(), f)?;
        write!(f, "/{}?id={:032x}", self.name, self.id)?;
        self.session.as_ref().map_or(Ok(()), |session| write!(f, "&session={session}"))
    }
}

impl FromStr for CellHandle {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (place, query) = text.strip_prefix(SCHEME)?.split_once('?')?;
            let (store, name) = place.rsplit_once('/')?;
            let store: PathBuf = crate::frame::unescape_path(store)?;
            let (id, session) = match query.strip_prefix("id=")?.split_once("&session=") {
                Some((id, session)) if crate::frame::is_session(session) => (id, Some(session.to_owned())),
                Some(_) => return None,
                None => (query.strip_prefix("id=")?, None),
            };
            let handle = Self { store, session, name: name.parse().ok()?, id: u128::from_str_radix(id, 16).ok()? };
            handle.store.is_absolute().then_some(handle)
        };
        parse().ok_or_else(|| {
            let expected = "expected coframe-cell:<store path>/<name>?id=<id>, as a cell's `handle` writes it";
            Error::invalid(format_args!("`{}` is not a cell's handle", text.escape_debug()), expected)
        })
    }
}

impl Serialize for CellHandle {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CellHandle {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
