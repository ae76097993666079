//! Standard output: whether its reader has closed it, and its colours.

use std::{
    io::{self, IsTerminal, Write},
    sync::atomic::{AtomicBool, Ordering},
};

static PIPE_CLOSED: AtomicBool = AtomicBool::new(false);

/// Standard output, which records that its reader has closed it, because writers in between wrap that error in their
/// own.
pub(crate) struct Output(io::StdoutLock<'static>);

pub(crate) fn stdout() -> io::BufWriter<Output> {
    io::BufWriter::with_capacity(1 << 16, Output(io::stdout().lock()))
}

pub(crate) fn pipe_is_closed() -> bool {
    PIPE_CLOSED.load(Ordering::Relaxed)
}

impl Output {
    fn noted<T>(result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            PIPE_CLOSED.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::noted(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::noted(self.0.flush())
    }
}

/// Returns standard output for writers that may be sent to another thread.
pub(crate) fn shared_stdout() -> io::BufWriter<SharedOutput> {
    io::BufWriter::with_capacity(1 << 16, SharedOutput(io::stdout()))
}

pub(crate) struct SharedOutput(io::Stdout);

impl Write for SharedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Output::noted(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Output::noted(self.0.flush())
    }
}

/// Returns whether standard output is a terminal that may show colours.
pub(crate) fn has_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[derive(Clone, Copy)]
pub(crate) enum Style {
    Bold = 1,
    Red = 31,
    Green = 32,
    Yellow = 33,
}
