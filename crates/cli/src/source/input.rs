//! One file, pipe or standard input: its start is inspected, then it is read from its first byte.

use std::{
    fs::{File, Metadata},
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;

use super::gzip::{GZIP, Unpacked};
use crate::failure::{Failure, Result};

/// UTF-8's byte order mark, which spreadsheets write in front of CSV.
const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
const BUFFER: usize = 1 << 18;

/// Counts the bytes that were read from the files. Drawn only on a terminal.
pub(crate) type Progress = ProgressBar;

pub(super) struct Input {
    /// Its name in errors.
    pub(super) label: String,
    path: Option<PathBuf>,
    /// Whether it is a pipe that was copied to a temporary file, which cannot be opened again by its path.
    is_spooled: bool,
    from: From,
}

enum From {
    File(File),
    /// A file that is closed until it is read, so that any number of files needs one descriptor.
    Closed(Identity),
    /// An input that can be read only once (standard input, a named pipe, `<(...)`), and what was read of it in
    /// advance.
    Pipe {
        ahead: Vec<u8>,
        rest: Box<dyn Read + Send>,
    },
}

/// Identifies a file, to notice that it was changed or replaced between two openings.
#[derive(PartialEq)]
struct Identity {
    file: (u64, u64),
    len: u64,
    modified: (i64, i64),
}

impl Identity {
    fn new(metadata: &Metadata) -> Self {
        Self {
            file: (metadata.dev(), metadata.ino()),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            let from = From::Pipe { ahead: Vec::new(), rest: Box::new(io::stdin()) };
            return Ok(Self { label: "standard input".to_owned(), path: None, is_spooled: false, from });
        }
        let label = format!("`{}`", path.display());
        let could_not = |error| Failure::failed(format_args!("could not open {label}: {error}"));
        let file = File::open(path).map_err(could_not)?;
        let metadata = file.metadata().map_err(could_not)?;
        if metadata.is_dir() {
            let next = "name its files, for example with a pattern in quotes: 'DIR/*.parquet'";
            return Err(Failure::failed(format_args!("{label} is a directory; {next}")));
        }
        if metadata.is_file() {
            return Ok(Self { label, path: Some(path.to_owned()), is_spooled: false, from: From::File(file) });
        }
        // The name of a pipe determines neither its format nor the frame's name, unless it has an extension.
        let path = path.extension().map(|_| path.to_owned());
        Ok(Self { label, path, is_spooled: false, from: From::Pipe { ahead: Vec::new(), rest: Box::new(file) } })
    }

    pub(super) fn error(&self, action: &str, error: impl std::fmt::Display) -> Failure {
        Failure::failed(format_args!("could not {action} {}: {error}", self.label))
    }

    /// Closes the file until it is needed again.
    pub(super) fn close(&mut self) -> Result {
        if let From::File(file) = &self.from
            && !self.is_spooled
        {
            let metadata = file.metadata().map_err(|error| self.error("read", error))?;
            self.from = From::Closed(Identity::new(&metadata));
        }
        Ok(())
    }

    /// Opens the file again if it was closed.
    fn reopen(&mut self) -> Result {
        let (From::Closed(before), Some(path)) = (&self.from, &self.path) else { return Ok(()) };
        let opened = File::open(path).and_then(|file| Ok((Identity::new(&file.metadata()?), file)));
        let (now, file) = opened.map_err(|error| self.error("open", error))?;
        if now != *before {
            return Err(Failure::failed(format_args!(
                "{} changed while it was read; publish it again once it is complete",
                self.label
            )));
        }
        self.from = From::File(file);
        Ok(())
    }

    pub(super) fn len(&self) -> Option<u64> {
        match &self.from {
            From::File(file) => file.metadata().ok().filter(Metadata::is_file).map(|metadata| metadata.len()),
            From::Closed(identity) => Some(identity.len),
            From::Pipe { .. } => None,
        }
    }

    /// Returns the extension of the file's name; the one before `.gz` if it has both.
    pub(super) fn extension(&self) -> Option<String> {
        let path = self.path.as_deref()?;
        let inner = path.extension().filter(|last| last.eq_ignore_ascii_case("gz")).and_then(|_| path.file_stem());
        let extension = Path::new(inner.unwrap_or(path.as_os_str())).extension()?;
        Some(extension.to_string_lossy().into_owned())
    }

    /// Returns the file's name without its extensions.
    pub(super) fn stem(&self) -> Option<String> {
        let name = self.path.as_deref()?.file_name()?.to_string_lossy().into_owned();
        let packed = name
            .len()
            .checked_sub(3)
            .filter(|at| name.is_char_boundary(*at) && name[*at..].eq_ignore_ascii_case(".gz"));
        let name = packed.map_or(name.as_str(), |at| &name[..at]);
        Some(name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned())
    }

    /// Returns the first bytes, which are read again later.
    pub(super) fn peek(&mut self, bytes: usize) -> Result<Vec<u8>> {
        self.reopen()?;
        let read = match &mut self.from {
            From::File(file) => {
                // Before and after, because readers that were created from it earlier share its position.
                let mut start = Vec::new();
                let mut read = |file: &mut File| {
                    file.rewind()?;
                    file.by_ref().take(bytes as u64).read_to_end(&mut start)?;
                    file.rewind()
                };
                read(file).map(|()| start)
            }
            From::Pipe { ahead, rest } => {
                let missing = bytes.saturating_sub(ahead.len()) as u64;
                rest.take(missing).read_to_end(ahead).map(|_| ahead[..bytes.min(ahead.len())].to_vec())
            }
            From::Closed(_) => Ok(Vec::new()),
        };
        read.map_err(|error| self.error("read", error))
    }

    /// Returns a file that can be sought in. A pipe is first copied to an unnamed temporary file.
    pub(super) fn file(&mut self) -> Result<File> {
        self.reopen()?;
        if let From::Pipe { ahead, rest } = &mut self.from {
            let spool = || -> io::Result<File> {
                let mut file = tempfile::tempfile()?;
                io::copy(&mut Cursor::new(std::mem::take(ahead)).chain(rest), &mut file)?;
                file.rewind()?;
                Ok(file)
            };
            let file = spool().map_err(|error| self.error("copy to a temporary file", error))?;
            self.is_spooled = true;
            self.from = From::File(file);
        }
        match &self.from {
            From::File(file) => file.try_clone().map_err(|error| self.error("open", error)),
            From::Closed(_) | From::Pipe { .. } => Err(self.error("read", "it cannot be opened twice")),
        }
    }

    /// Calls a function with the text from its start. Afterwards the input is as before.
    pub(super) fn look<T>(&mut self, look: impl FnOnce(&mut (dyn BufRead + Send)) -> T) -> Result<T> {
        let gzip = self.peek(2)? == GZIP;
        let found = match &mut self.from {
            From::File(file) => buffered(&*file, gzip).and_then(|mut text| {
                let found = look(&mut text);
                (&*file).rewind().map(|()| found)
            }),
            From::Pipe { ahead, rest } => {
                let mut tee = Tee { ahead, at: 0, rest };
                buffered(&mut tee, gzip).map(|mut text| look(&mut text))
            }
            From::Closed(_) => Err(io::Error::other("it is closed")),
        };
        found.map_err(|error| damaged(&self.label, &error))
    }

    /// Returns the text from its start, unpacked.
    pub(super) fn text(mut self, progress: &Progress) -> Result<Box<dyn BufRead + Send>> {
        let gzip = self.peek(2)? == GZIP;
        let label = self.label.clone();
        buffered(self.bytes(progress)?, gzip).map_err(|error| damaged(&label, &error))
    }

    /// Returns all bytes from the first; they are counted.
    pub(super) fn bytes(mut self, progress: &Progress) -> Result<Box<dyn Read + Send>> {
        self.reopen()?;
        Ok(match self.from {
            From::File(file) => Box::new(progress.wrap_read(file)),
            From::Pipe { ahead, rest } => Box::new(progress.wrap_read(Cursor::new(ahead).chain(rest))),
            From::Closed(_) => {
                return Err(Failure::failed(format_args!("could not read {}: it is closed", self.label)));
            }
        })
    }
}

/// Returns the error of a file of which a part could not be read or unpacked.
pub(super) fn damaged(label: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format_args!("could not read {label}: {error}; get an undamaged copy of it"))
}

/// Returns the unpacked bytes, without a leading byte order mark.
fn buffered<'a>(reader: impl Read + Send + 'a, gzip: bool) -> io::Result<Box<dyn BufRead + Send + 'a>> {
    if gzip {
        return unmarked(BufReader::with_capacity(BUFFER, Unpacked::new(reader)));
    }
    unmarked(BufReader::with_capacity(BUFFER, reader))
}

fn unmarked<'a>(mut text: impl BufRead + Send + 'a) -> io::Result<Box<dyn BufRead + Send + 'a>> {
    let mut start = Vec::new();
    text.by_ref().take(MARK.len() as u64).read_to_end(&mut start)?;
    if start == MARK {
        return Ok(Box::new(text));
    }
    Ok(Box::new(Cursor::new(start).chain(text)))
}

/// Reads what was read in advance, then the pipe, and keeps the bytes of the pipe.
struct Tee<'a> {
    ahead: &'a mut Vec<u8>,
    at: usize,
    rest: &'a mut (dyn Read + Send),
}

impl Read for Tee<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = if self.at < self.ahead.len() {
            let rest = &self.ahead[self.at..];
            let len = rest.len().min(buffer.len());
            buffer[..len].copy_from_slice(&rest[..len]);
            len
        } else {
            let len = self.rest.read(buffer)?;
            self.ahead.extend_from_slice(&buffer[..len]);
            len
        };
        self.at += read;
        Ok(read)
    }
}

/// A file that counts how far it was read, for readers that seek.
pub(super) struct Counted {
    pub(super) file: File,
    pub(super) progress: Progress,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.progress.inc(read as u64);
        Ok(read)
    }
}

impl Seek for Counted {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}
