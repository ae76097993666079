//! One file, or standard input: opened once, looked at, then read.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use flate2::read::MultiGzDecoder;
use indicatif::ProgressBar;

use crate::failure::{Failure, Result};

pub(super) const GZIP: [u8; 2] = [0x1F, 0x8B];
/// UTF-8's byte order mark, which spreadsheets write in front of CSV.
const MARK: [u8; 3] = [0xEF, 0xBB, 0xBF];
const BUFFER: usize = 1 << 18;

/// How far reading has come: bytes of files, as they lie on disk. Drawn only where somebody watches.
pub(crate) type Progress = ProgressBar;

pub(super) struct Input {
    /// Names it in errors.
    pub(super) label: String,
    path: Option<PathBuf>,
    /// Bytes of a row in memory, where rows were looked at.
    pub(super) row_bytes: usize,
    from: From,
}

enum From {
    File(File),
    /// A pipe, and what was read of it ahead.
    Pipe {
        ahead: Vec<u8>,
    },
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self {
                label: "standard input".to_owned(),
                path: None,
                row_bytes: 0,
                from: From::Pipe { ahead: Vec::new() },
            });
        }
        let label = format!("`{}`", path.display());
        let file =
            File::open(path).map_err(|error| Failure::failed(format_args!("could not open {label}: {error}")))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            let next = "name its files, for example with a pattern in quotes: 'DIR/*.parquet'";
            return Err(Failure::failed(format_args!("{label} is a directory; {next}")));
        }
        Ok(Self { label, path: Some(path.to_owned()), row_bytes: 0, from: From::File(file) })
    }

    pub(super) fn error(&self, action: &str, error: impl std::fmt::Display) -> Failure {
        Failure::failed(format_args!("could not {action} {}: {error}", self.label))
    }

    pub(super) fn len(&self) -> Option<u64> {
        match &self.from {
            From::File(file) => file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len()),
            From::Pipe { .. } => None,
        }
    }

    /// The extension of the file's name; that before `.gz` where there is one.
    pub(super) fn extension(&self) -> Option<String> {
        let path = self.path.as_deref()?;
        let inner = path.extension().filter(|extension| *extension == "gz").and_then(|_| path.file_stem());
        let extension = Path::new(inner.unwrap_or(path.as_os_str())).extension()?;
        Some(extension.to_string_lossy().into_owned())
    }

    /// The file's name without its extensions.
    pub(super) fn stem(&self) -> Option<String> {
        let name = self.path.as_deref()?.file_name()?.to_string_lossy().into_owned();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        Some(name.rsplit_once('.').map_or(name, |(stem, _)| stem).to_owned())
    }

    /// The first bytes, which stay to be read.
    pub(super) fn peek(&mut self, bytes: usize) -> Result<Vec<u8>> {
        let read = match &mut self.from {
            From::File(file) => {
                // Before and after, since readers that were made of it before share its position. A pipe that has a path
                // (`<(...)`, a FIFO) cannot be read twice.
                let mut start = Vec::new();
                let mut read = |file: &mut File| {
                    file.rewind()?;
                    file.by_ref().take(bytes as u64).read_to_end(&mut start)?;
                    file.rewind()
                };
                read(file).map(|()| start)
            }
            From::Pipe { ahead } => {
                let missing = bytes.saturating_sub(ahead.len()) as u64;
                io::stdin().lock().take(missing).read_to_end(ahead).map(|_| ahead[..bytes.min(ahead.len())].to_vec())
            }
        };
        read.map_err(|error| match error.raw_os_error() {
            Some(29) => self.error("read", "it is a pipe; pass it on standard input, as `-`"),
            _ => self.error("read", error),
        })
    }

    /// A file that can be sought in: a pipe is copied to an unnamed temporary file first.
    pub(super) fn file(&mut self) -> Result<File> {
        if let From::Pipe { ahead } = &mut self.from {
            let mut spool = || -> io::Result<File> {
                let mut file = tempfile::tempfile()?;
                io::copy(&mut Cursor::new(std::mem::take(ahead)).chain(io::stdin().lock()), &mut file)?;
                file.rewind()?;
                Ok(file)
            };
            let file = spool().map_err(|error| self.error("copy to a temporary file", error))?;
            self.from = From::File(file);
        }
        match &self.from {
            From::File(file) => file.try_clone().map_err(|error| self.error("open", error)),
            From::Pipe { .. } => Err(self.error("read", "it is a pipe")),
        }
    }

    /// Runs a look at the first part of the text; afterwards the input is as before.
    pub(super) fn look<T>(&mut self, look: impl FnOnce(&mut dyn BufRead) -> T) -> Result<T> {
        let gzip = self.peek(2)? == GZIP;
        let found = match &mut self.from {
            From::File(file) => buffered(&*file, gzip).and_then(|mut text| {
                let found = look(&mut text);
                (&*file).rewind().map(|()| found)
            }),
            From::Pipe { ahead } => {
                let mut stdin = io::stdin().lock();
                let mut tee = Tee { ahead, at: 0, rest: &mut stdin };
                buffered(&mut tee, gzip).map(|mut text| look(&mut text))
            }
        };
        found.map_err(|error| damaged(&self.label, &error))
    }

    /// The text from its start, unpacked.
    pub(super) fn text(mut self, progress: &Progress) -> Result<Box<dyn BufRead>> {
        let gzip = self.peek(2)? == GZIP;
        let label = self.label.clone();
        buffered(self.bytes(progress), gzip).map_err(|error| damaged(&label, &error))
    }

    /// All bytes from the first; counted.
    pub(super) fn bytes(self, progress: &Progress) -> Box<dyn Read> {
        match self.from {
            From::File(file) => Box::new(progress.wrap_read(file)),
            From::Pipe { ahead } => Box::new(progress.wrap_read(Cursor::new(ahead).chain(io::stdin().lock()))),
        }
    }
}

/// A file of which a part could not be read or unpacked.
pub(super) fn damaged(label: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::failed(format_args!("could not read {label}: {error}; get an undamaged copy of it"))
}

/// The bytes unpacked, and behind a byte order mark where there is one.
fn buffered<'a>(reader: impl Read + 'a, gzip: bool) -> io::Result<Box<dyn BufRead + 'a>> {
    if gzip {
        return unmarked(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(reader)));
    }
    unmarked(BufReader::with_capacity(BUFFER, reader))
}

fn unmarked<'a>(mut text: impl BufRead + 'a) -> io::Result<Box<dyn BufRead + 'a>> {
    let mut start = Vec::new();
    text.by_ref().take(MARK.len() as u64).read_to_end(&mut start)?;
    if start == MARK {
        return Ok(Box::new(text));
    }
    Ok(Box::new(Cursor::new(start).chain(text)))
}

/// Reads what was read ahead, then the pipe, and keeps what comes from it.
struct Tee<'a> {
    ahead: &'a mut Vec<u8>,
    at: usize,
    rest: &'a mut dyn Read,
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

/// A file that tells how far it was read, for readers that seek.
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
