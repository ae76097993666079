//! Encodes keys and values as bytes.

use std::marker::PhantomData;

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
        let unfit = |why: &dyn std::fmt::Display| Error::invalid(format_args!("a key of `{}`", type_name::<K>()), why);
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
        memcomparable::from_slice::<K>(&bytes).map_err(unfit)?;
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
        memcomparable::from_slice(bytes).map_err(|e| undecodable::<K>(&label(), "key", &e))
    }

    pub(super) fn value_of(label: impl FnOnce() -> String, bytes: &[u8]) -> Result<V> {
        postcard::from_bytes(bytes).map_err(|e| undecodable::<V>(&label(), "value", &e))
    }
}

fn undecodable<T>(label: &str, which: &str, why: &dyn std::fmt::Display) -> Error {
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
