//! What processes report as done, in a file next to the store: what no later death may undo.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use crate::Result;

/// One report. The process writes it after the call has returned.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// This version of this name was published, or mirrored, with this token.
    Frame { name: String, version: u64, token: u64 },
    /// This version of this name in the store of mirrors has this token.
    Mirror { name: String, version: u64, token: u64 },
    /// Something that happened, which the driver only counts.
    Event(String),
    /// A number under a lock, in a cell or in a map has reached this value, and only grows.
    Number { what: String, value: u64 },
}

impl Report {
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.strip_suffix(';')?.split(' ').collect();
        Some(match *words {
            ["frame", name, version, token] => {
                Self::Frame { name: name.to_owned(), version: version.parse().ok()?, token: token.parse().ok()? }
            }
            ["mirror", name, version, token] => {
                Self::Mirror { name: name.to_owned(), version: version.parse().ok()?, token: token.parse().ok()? }
            }
            ["event", what] => Self::Event(what.to_owned()),
            ["number", what, value] => Self::Number { what: what.to_owned(), value: value.parse().ok()? },
            _ => return None,
        })
    }
}

/// Reports of this process. Each is one `write` to a file in append mode.
pub(crate) struct Writer(File);

impl Writer {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self(OpenOptions::new().append(true).create(true).open(path)?))
    }

    pub(crate) fn frame(&mut self, name: &str, version: u64, token: u64) -> Result<()> {
        self.write(&format!("frame {name} {version} {token}"))
    }

    pub(crate) fn mirror(&mut self, name: &str, version: u64, token: u64) -> Result<()> {
        self.write(&format!("mirror {name} {version} {token}"))
    }

    pub(crate) fn event(&mut self, what: &str) -> Result<()> {
        self.write(&format!("event {what}"))
    }

    pub(crate) fn number(&mut self, what: &str, value: u64) -> Result<()> {
        self.write(&format!("number {what} {value}"))
    }

    /// A line starts with its end of line: a process that is killed inside of a write damages its own line only.
    fn write(&mut self, line: &str) -> Result<()> {
        Ok(self.0.write_all(format!("\n{line};").as_bytes())?)
    }
}

/// Reads what was reported since the last call. Only while no process writes.
pub(crate) struct Reader(File);

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Ok(Self(OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    pub(crate) fn read(&mut self) -> Result<Vec<Report>> {
        let mut text = String::new();
        self.0.seek(SeekFrom::Start(0))?;
        self.0.read_to_string(&mut text)?;
        self.0.set_len(0)?;
        Ok(text.lines().filter_map(Report::parse).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    #[test]
    fn a_report_that_was_cut_short_is_left_out() {
        let frame = Report::Frame { name: "a".to_owned(), version: 17, token: 5 };
        assert_eq!(Report::parse("frame a 17 5;"), Some(frame));
        let mirror = Report::Mirror { name: "a".to_owned(), version: 17, token: 5 };
        assert_eq!(Report::parse("mirror a 17 5;"), Some(mirror));
        for cut in ["frame a 17 5", "frame a 1", "", "frame a 17 x;", "mirror a 17;", "event pu", "number x;"] {
            assert_eq!(Report::parse(cut), None, "{cut}");
        }
    }
}
