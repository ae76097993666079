//! The string that identifies a cell or a dict: its store, its name and its id.

use std::{fmt, path::PathBuf};

use super::{SESSIONS, Store};
use crate::{
    error::{Error, Kind, Result, excerpt},
    handle_text::{escape, is_session, unescape_path},
    name::Name,
};

/// The store and the name of a cell or dict, and its id, which distinguishes it from others of the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Address {
    store: PathBuf,
    session: Option<String>,
    name: Name,
    id: u128,
}

impl Address {
    pub(crate) fn new(store: &Store, name: Name, id: u128) -> Self {
        let session = store.shared.session.clone();
        Self { store: store.path().to_owned(), session, name, id }
    }

    pub(crate) fn name(&self) -> &Name {
        &self.name
    }

    #[cfg(feature = "map")]
    pub(crate) fn id(&self) -> u128 {
        self.id
    }

    /// The store or session that it is in. `kind`: "cell".
    pub(crate) fn open_store(&self, kind: &str) -> Result<Store> {
        let opened = match &self.session {
            Some(session) => Store::open_existing(&self.store).and_then(|store| store.in_session(session)),
            None => Store::open_existing(&self.store),
        };
        opened.map_err(|error| {
            if !error.is_missing_path() {
                return error;
            }
            // The session ended, or the store was removed, and its cells and dicts with it.
            let store = self.session.iter().fold(self.store.clone(), |store, id| store.join(SESSIONS).join(id));
            Kind::NotFound { what: format!("{kind} `{}`", self.name), store }.into()
        })
    }

    /// Checks that the object that was opened by its name is the one of this address. `kind`: "cell".
    pub(crate) fn check(&self, found: &Self, kind: &str) -> Result<()> {
        if self.id == found.id {
            return Ok(());
        }
        let what = format!("the handle of the {kind} `{}`", self.name);
        Err(Kind::Superseded { what, now: format!("another {kind} was made under its name") }.into())
    }

    pub(crate) fn write(&self, scheme: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(scheme)?;
        escape(self.store.as_os_str().as_encoded_bytes(), f)?;
        write!(f, "/{}?id={:032x}", self.name, self.id)?;
        self.session.as_ref().map_or(Ok(()), |session| write!(f, "&session={session}"))
    }

    pub(crate) fn parse(scheme: &str, text: &str) -> Result<Self> {
        let parse = || {
            let (place, query) = text.strip_prefix(scheme)?.split_once('?')?;
            let (store, name) = place.rsplit_once('/')?;
            let store: PathBuf = unescape_path(store)?;
            let (id, session) = match query.strip_prefix("id=")?.split_once("&session=") {
                Some((id, session)) if is_session(session) => (id, Some(session.to_owned())),
                Some(_) => return None,
                None => (query.strip_prefix("id=")?, None),
            };
            let address = Self { store, session, name: name.parse().ok()?, id: u128::from_str_radix(id, 16).ok()? };
            address.store.is_absolute().then_some(address)
        };
        parse().ok_or_else(|| {
            let expected = format!("expected {scheme}<store path>/<name>?id=<id>, as its `handle` writes it");
            Error::invalid(format_args!("`{}` is not such a handle", excerpt(text)), expected)
        })
    }
}

/// A handle: a public type around an [`Address`], one line of text in every format.
macro_rules! address_handle {
    ($type:ident, $scheme:literal) => {
        impl $type {
            /// The name of the cell or dict.
            #[must_use]
            pub fn name(&self) -> &$crate::name::Name {
                self.0.name()
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.write($scheme, f)
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;

            fn from_str(text: &str) -> $crate::error::Result<Self> {
                $crate::store::Address::parse($scheme, text).map(Self)
            }
        }

        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use address_handle;
