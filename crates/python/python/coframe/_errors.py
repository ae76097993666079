"""What goes wrong: a tree of exceptions that mirrors the predicates of the Rust library, with the same messages."""

from __future__ import annotations

import errno as _errno
import threading as _threading


class Error(Exception):
    """Base of all exceptions of this package."""


class NotFoundError(Error, FileNotFoundError):
    """The frame, version, column or cell does not exist."""


class ColumnNotFoundError(NotFoundError, KeyError):
    """The frame does not have this column."""


class SupersededError(Error, FileNotFoundError):
    """The version existed; another one has replaced it, or it was removed."""


class ConflictError(Error):
    """The latest version is not the one that the ``mode`` of a publish requires, or the name exists."""


class NoSpaceError(Error, OSError):
    """The store's file system is full."""

    errno = _errno.ENOSPC


class CorruptError(Error, ValueError):
    """The bytes of a file violate the format."""


class UnsupportedError(Error, NotImplementedError):
    """The input is valid, but this build does not support it: a type, a file system, a format version."""


class UntrustedError(Error, PermissionError):
    """A directory is refused because another user owns it or can write to it, or an origin because it is not allowed."""


class BusyError(Error, TimeoutError):
    """A lock was not free in time; trying again may help."""


class WouldCopyError(Error, ValueError):
    """Something would be copied, and the caller forbade it."""


class InvalidError(Error, ValueError):
    """An argument cannot be used: a bad name, a table of another shape, a range out of bounds."""


class ArgumentTypeError(Error, TypeError):
    """An argument has a type that cannot be used."""


class ClosedError(InvalidError):
    """The store, the session or the shared frame was closed before."""


class PoisonedError(Error, RuntimeError):
    """A process died while it held the lock of a cell, and the value has not been repaired since."""


class BrokenError(Error, _threading.BrokenBarrierError):
    """A barrier is broken: a participant died while it waited, or its timeout passed."""


class SystemCallError(Error, OSError):
    """A call of the operating system failed."""


class RemoteError(Error, ConnectionError):
    """A call to another machine failed."""


class MissingPackageError(Error, ImportError):
    """Another package is needed for this."""


def one_line(thing: object) -> str:
    """The text of a thing, on one line, for a message."""
    return " ".join(str(thing).split())


for _class in list(vars().values()):
    if isinstance(_class, type) and issubclass(_class, Error):
        _class.__module__ = "coframe"
