//! Names of frames: the only strings of a user that become part of a path.

use std::{borrow::Borrow, fmt, str::FromStr};

use crate::error::{Error, Result, excerpt};

/// Longest name in bytes, so that `name@version.arrow` and its temporary symlink fit a directory entry (255 bytes).
const MAX_LEN: usize = 180;

const RULE: &str = "a name has 1 to 180 bytes of ASCII letters, digits, `-`, `_` and `.`, \
                    and starts with a letter, a digit or `_`";

/// A checked frame name.
///
/// One to 180 ASCII letters, digits, `-`, `_` and `.`; the first is a letter, a digit or `_`. A checked name is safe
/// as a file name: no separator, no hidden file, no `@` (which ends the name on disk).
///
/// ```
/// use std::collections::BTreeMap;
///
/// use coframe::Name;
///
/// let name: Name = "trades-2026.q1".parse()?;
/// assert_eq!(name.as_str(), "trades-2026.q1");
/// assert!(Name::try_from("../etc/passwd").is_err());
///
/// // A map of names is searched by strings.
/// let versions = BTreeMap::from([(name, 7)]);
/// assert_eq!(versions.get("trades-2026.q1"), Some(&7));
/// # Ok::<(), coframe::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

impl Name {
    /// Checks a name that a caller passed.
    pub(crate) fn new(name: impl AsRef<str>) -> Result<Self> {
        name.as_ref().parse()
    }

    /// The name as a string.
    ///
    /// ```
    /// assert_eq!("flights".parse::<coframe::Name>()?.as_str(), "flights");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The symlink that points to the latest version.
    pub(crate) fn link(&self) -> String {
        format!("{self}.arrow")
    }

    /// The file of one version.
    pub(crate) fn file(&self, version: u64) -> String {
        format!("{self}@{version}.arrow")
    }

    /// Reads `name@n.arrow`, which is the only form that a symlink's target may have.
    pub(crate) fn parse_file(file: &str) -> Option<(Self, u64)> {
        let (name, version) = file.strip_suffix(".arrow")?.split_once('@')?;
        let canonical = version.bytes().all(|b| b.is_ascii_digit()) && !version.starts_with('0');
        let version = canonical.then(|| version.parse().ok()).flatten()?;
        Some((name.parse().ok()?, version))
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let first = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if text.len() <= MAX_LEN && text.bytes().next().is_some_and(first) && text.bytes().all(allowed) {
            return Ok(Self(text.into()));
        }
        Err(Error::invalid(format_args!("`{}` is not a frame name", excerpt(text)), RULE))
    }
}

impl TryFrom<&str> for Name {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self> {
        text.parse()
    }
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// Names compare and hash as their strings do.
impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

/// The name of a type without its modules, so that it is the same in two programs.
#[cfg(any(feature = "sync", feature = "map"))]
pub(crate) fn short_type_name(full: &str) -> String {
    let mut short = String::new();
    let mut word = String::new();
    for c in full.chars() {
        match c {
            ':' => word.clear(),
            c if c.is_alphanumeric() || c == '_' => word.push(c),
            c => {
                short.push_str(&std::mem::take(&mut word));
                short.push(c);
            }
        }
    }
    short.push_str(&word);
    short
}

#[cfg(test)]
mod tests {
    use super::Name;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", "a/b", "../x", ".hidden", "a@1", "a b", "ä", "a\n", "a\0", &"x".repeat(181)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_string_becomes_a_name_only_by_the_check_and_finds_it_in_a_map() {
        let name = Name::try_from("trades".to_owned()).unwrap();
        assert!(Name::try_from("a/b".to_owned()).is_err() && Name::try_from("a/b").is_err());
        let map = std::collections::HashMap::from([(name.clone(), 1)]);
        assert_eq!(map.get("trades"), Some(&1));
        assert_eq!((name.as_ref(), String::from(name.clone())), ("trades", "trades".to_owned()));
    }

    #[test]
    fn only_the_exact_form_of_a_version_file_is_read() {
        let (name, version) = Name::parse_file("flights@7.arrow").unwrap();
        assert_eq!((name.as_str(), version), ("flights", 7));
        for bad in ["flights.arrow", "flights@.arrow", "flights@07.arrow", "flights@7", "a@b@7.arrow", "x@+7.arrow"] {
            assert!(Name::parse_file(bad).is_none(), "{bad:?} was accepted");
        }
    }

    #[test]
    fn a_bad_name_is_explained() {
        let message = "../x".parse::<Name>().unwrap_err().to_string();
        assert!(message.starts_with("`../x` is not a frame name: a name has 1 to 180 bytes"), "{message}");
    }

    #[cfg(any(feature = "sync", feature = "map"))]
    #[test]
    fn a_types_name_is_the_same_in_every_program() {
        use super::short_type_name as short;
        assert_eq!(short("f64"), "f64");
        assert_eq!(short("demo::geometry::Point"), "Point");
        assert_eq!(short("[demo::Pair<core::num::Wrapping<u8>, a::b::C>; 3]"), "[Pair<Wrapping<u8>, C>; 3]");
    }
}
