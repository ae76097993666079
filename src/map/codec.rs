//! Encodes keys and values as bytes.

use std::{fmt::Display, marker::PhantomData};

use bytes::Buf;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::lmdb::MAX_KEY;
use crate::{
    error::{Error, Result, refusal},
    name::short_type_name,
};

const FORMAT: u32 = 1;

/// The metadata of a dict: rule B2.
#[derive(Serialize, Deserialize)]
struct Meta {
    format: u32,
    key: String,
    value: String,
}

/// Turns keys and values of a dict into bytes and back. `label` is the dict's name in errors.
pub(super) struct Codec<K, V> {
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned> Codec<K, V> {
    /// Returns the description of a new dict.
    pub(super) fn meta() -> Result<Vec<u8>> {
        let meta = Meta { format: FORMAT, key: type_name::<K>(), value: type_name::<V>() };
        postcard::to_stdvec(&meta).map_err(|e| Error::invalid("the types of a dict", e))
    }

    /// Compares the metadata of a dict with the types that it is opened with.
    pub(super) fn check(label: &str, meta: Option<&[u8]>) -> Result<()> {
        let meta: Option<Meta> = meta.and_then(|bytes| postcard::from_bytes(bytes).ok());
        let Some(meta) = meta else {
            return Err(Error::corrupt(label, "B2-meta", "it does not record its types"));
        };
        if meta.format != FORMAT {
            let found = format_args!("{label}, which has dict format {} where this build reads {FORMAT},", meta.format);
            return Err(Error::unsupported(found, "upgrade coframe, or remove the dict"));
        }
        let (key, value) = (type_name::<K>(), type_name::<V>());
        if meta.key != key || meta.value != value {
            let found = format_args!("{label}, which is a dict of `{}` to `{}`", meta.key, meta.value);
            return Err(Error::invalid(found, format_args!("expected one of `{key}` to `{value}`")));
        }
        Ok(())
    }

    /// Returns bytes that sort as the keys do.
    pub(super) fn key<Q: Serialize + ?Sized>(key: &Q) -> Result<Vec<u8>> {
        let unfit = |why: &dyn Display| Error::invalid(format_args!("a key of `{}`", type_name::<K>()), why);
        let bytes = memcomparable::to_vec(&key).map_err(|e| unfit(&e))?;
        match bytes.len() {
            0 => Err(unfit(&"it has no content; expected a type with more than one value")),
            1..=MAX_KEY => Ok(bytes),
            len => Err(unfit(&format_args!(
                "it takes {len} bytes, a key may take {MAX_KEY} (text takes 9 bytes for each 8); use a shorter one, \
                 and keep the whole of it in the value"
            ))),
        }
    }

    /// Returns the bytes of a key that will be stored. They must decode as `K`: a borrowed form may serialise
    /// differently, as a slice does if `K` is an array.
    pub(super) fn stored_key<Q: Serialize + ?Sized>(key: &Q) -> Result<Vec<u8>> {
        let bytes = Self::key(key)?;
        let what = || format!("a key of `{}`", type_name::<K>());
        let unfit =
            |e| Error::invalid(what(), format_args!("it cannot be read back ({e}); give it as that type itself"));
        decoded::<K>(&bytes).map_err(unfit)?;
        Ok(bytes)
    }

    /// Returns the bytes of a value that will be stored, after checking that they can be read back.
    pub(super) fn value(value: &V) -> Result<Vec<u8>> {
        let what = || format!("a value of `{}`", type_name::<V>());
        let bytes = postcard::to_stdvec(value).map_err(|error| {
            let why = refusal(value).unwrap_or_else(|| error.to_string());
            Error::invalid(what(), format_args!("it cannot be serialised: {why}"))
        })?;
        let lost = |e| {
            let next = "types that are recognised by their content, such as JSON values, cannot be stored in a dict: store their text";
            Error::invalid(what(), format_args!("it cannot be read back ({e}); {next}"))
        };
        postcard::from_bytes::<V>(&bytes).map_err(lost)?;
        Ok(bytes)
    }

    pub(super) fn key_of(label: impl FnOnce() -> String, bytes: &[u8]) -> Result<K> {
        decoded(bytes).map_err(|e| undecodable::<K>(&label(), "key", &e))
    }

    pub(super) fn value_of(label: impl FnOnce() -> String, bytes: &[u8]) -> Result<V> {
        postcard::from_bytes(bytes).map_err(|e| undecodable::<V>(&label(), "value", &e))
    }
}

/// A key from bytes, which another program may have written.
fn decoded<K: DeserializeOwned>(bytes: &[u8]) -> std::result::Result<K, String> {
    let mut deserializer = memcomparable::Deserializer::new(Padded { rest: bytes, is_cut: false });
    let key = K::deserialize(&mut deserializer);
    match deserializer.into_inner() {
        Padded { is_cut: true, .. } => Err("it is cut short".to_owned()),
        Padded { rest: [], .. } => key.map_err(|e| e.to_string()),
        Padded { rest, .. } => Err(key.map_or_else(|e| e.to_string(), |_| format!("{} bytes follow it", rest.len()))),
    }
}

/// The bytes of a key, and zeros after their end, where memcomparable would panic. A zero ends a sequence and a string.
struct Padded<'a> {
    rest: &'a [u8],
    /// Whether zeros were read.
    is_cut: bool,
}

impl Buf for Padded<'_> {
    fn remaining(&self) -> usize {
        usize::MAX
    }

    fn chunk(&self) -> &[u8] {
        if self.rest.is_empty() { &[0; 16] } else { self.rest }
    }

    fn advance(&mut self, count: usize) {
        self.is_cut |= count > self.rest.len();
        self.rest = self.rest.get(count..).unwrap_or_default();
    }
}

fn undecodable<T>(label: &str, which: &str, why: &dyn Display) -> Error {
    let name = type_name::<T>();
    let detail = format!(
        "a {which} is no `{name}` ({why}): it was written with another definition of that type; `put` \
         overwrites it, `delete` removes it"
    );
    Error::corrupt(label, "B3-entries", detail)
}

fn type_name<T>() -> String {
    short_type_name(std::any::type_name::<T>())
}

#[cfg(test)]
mod tests {
    use super::{Codec, decoded};

    #[test]
    fn a_key_that_is_cut_short_or_too_long_is_an_error_at_every_length() {
        type Key = (i32, Option<Vec<u8>>, String, u128);
        let key: Key = (7, Some(vec![1, 2]), "a string of several chunks".to_owned(), 9);
        let mut bytes = Codec::<Key, u64>::stored_key(&key).unwrap();
        assert_eq!(decoded::<Key>(&bytes).unwrap(), key);
        for end in 0..bytes.len() {
            let error = decoded::<Key>(&bytes[..end]).unwrap_err();
            assert!(error == "it is cut short" || error.contains("encoding"), "{end}: {error}");
        }
        bytes.push(0);
        assert_eq!(decoded::<Key>(&bytes).unwrap_err(), "1 bytes follow it");
    }
}
