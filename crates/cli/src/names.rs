//! `NAME` and `NAME@VERSION` on the command line, and patterns over names.

use std::{fmt, str::FromStr};

use coframe::{Frame, Name, Store};

use crate::failure::{Failure, Result};

/// The number of columns that an error lists.
const COLUMNS: usize = 30;

/// A frame that the user named: its latest version, or one version of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: Name,
    pub(crate) version: Option<u64>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, version) = match text.split_once('@') {
            Some((name, version)) => {
                let number = version.parse().map_err(|_| format!("`{version}` is not a version; write NAME@3"))?;
                (name, Some(number))
            }
            None => (text, None),
        };
        let name = name.parse().map_err(|error: coframe::Error| error.to_string())?;
        Ok(Self { name, version })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.version {
            Some(version) => write!(f, "{}@{version}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

impl Target {
    pub(crate) fn open(&self, store: &Store) -> Result<Frame> {
        Ok(match self.version {
            Some(version) => store.open_version(self.name.as_str(), version)?,
            None => store.open(self.name.as_str())?,
        })
    }
}

/// Selects the columns that the user named, in that order; all columns if the user named none.
pub(crate) fn select(frame: Frame, columns: &[String]) -> Result<Frame> {
    if columns.is_empty() {
        return Ok(frame);
    }
    let has = |name: &str| frame.schema().fields().iter().any(|field| field.name() == name);
    let Some(unknown) = columns.iter().find(|name| !has(name)) else { return Ok(frame.select(columns)?) };
    let all: Vec<&str> = frame.schema().fields().iter().map(|field| field.name().as_str()).collect();
    let more = if all.len() > COLUMNS {
        format!(" and {} more (coframe show {})", all.len() - COLUMNS, frame.name())
    } else {
        String::new()
    };
    let listed = all[..all.len().min(COLUMNS)].join("`, `");
    Err(Failure::missing(format_args!("`{}` has no column `{unknown}`; it has `{listed}`{more}", frame.name())))
}

/// Returns the names of a store that match a name or a pattern with `*`, `?` or `[...]`. An empty result is not an
/// error here.
pub(crate) fn matching(names: &[Name], pattern: &str) -> Result<Vec<Name>> {
    let pattern = glob::Pattern::new(pattern)
        .map_err(|error| Failure::usage(format_args!("`{pattern}` is neither a name nor a pattern: {error}")))?;
    Ok(names.iter().filter(|name| pattern.matches(name.as_str())).cloned().collect())
}

/// Returns whether a text is a pattern.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn a_name_may_carry_a_version() {
        let target: Target = "flights@12".parse().unwrap();
        assert_eq!((target.name.as_str(), target.version), ("flights", Some(12)));
        assert_eq!("flights".parse::<Target>().unwrap().version, None);
        assert_eq!(target.to_string(), "flights@12");
        for wrong in ["flights@", "flights@x", "../x", "a@b@1", ""] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong} was accepted");
        }
    }
}
