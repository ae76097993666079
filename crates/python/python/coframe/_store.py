"""Stores and sessions."""

from __future__ import annotations

import builtins
import itertools
import operator
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Literal

from . import _coframe, _kept, _tables
from ._errors import ArgumentTypeError, ClosedError, InvalidError
from ._frame import Frame
from ._lifetime import guard, own_session, remove_left
from ._places import LastStore, default_path

Layout = Literal["keep", "view", "offset"]
Mode = Literal["overwrite", "create"]


@dataclass(frozen=True)
class FrameInfo:
    """One name of a store."""

    name: str
    version: int
    num_rows: int
    num_columns: int
    size_bytes: int
    created: datetime | None
    #: Older versions that still exist, because they are kept or in use.
    superseded: list[int]


@dataclass(frozen=True)
class Swept:
    """What a sweep removed."""

    #: Superseded versions, and files of publishers that died.
    segments: int
    #: Sessions whose owner died.
    sessions: int
    nbytes: int
    #: What could not be swept, and why; the sweep skipped it.
    problems: list[str]


@dataclass(frozen=True)
class Usage:
    """What a store holds and how much room is left, in bytes."""

    frames: int
    segments: int
    cells: int
    dicts: int
    #: Of all segments.
    nbytes: int
    #: Of the files of cells and dicts.
    shared_bytes: int
    #: Of the file system, free for this user and in all.
    free: int
    total: int


@dataclass(frozen=True)
class User:
    """A process that maps a frame now."""

    pid: int
    command: str
    version: int
    #: Its share of the resident pages in bytes; ``None`` where the kernel does not report it.
    pss: int | None


class Store:
    """A directory that holds frames under names: ``$COFRAME_STORE``, else ``/dev/shm/coframe-<uid>``, or a path.

    It is created (mode 0700) if it is missing. Use it in ``with`` or call :meth:`close`, which changes nothing on disk.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self._native: _coframe.Store | None = _coframe.Store(None if path is None else os.fspath(path))

    def _open(self) -> _coframe.Store:
        if self._native is None:
            raise ClosedError("the store was closed: open it again")
        return self._native

    @property
    def path(self) -> str:
        """The directory of the store; of a session, that of the store that it is a part of."""
        return self._open().path

    def close(self) -> None:
        """Closes the directory. Frames are unchanged, including open ones."""
        self._native = None

    def __enter__(self) -> Store:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def publish(
        self,
        table: Any,
        name: str,
        *,
        keep: int = 0,
        layout: Layout = "keep",
        mode: Mode | int = "overwrite",
        batch_rows: int | None = None,
        statistics: bool = False,
        metadata: Mapping[str, str] | None = None,
    ) -> Frame:
        """Publishes a table atomically as the latest version of a name, and returns the frame.

        Copies the table's bytes once. ``keep``: number of old versions to keep even when unused. ``layout``:
        strings as the table has them ("keep"), as views for Polars ("view"), or as offsets ("offset"). ``mode``:
        "overwrite" replaces any latest version, "create" publishes only if the name does not exist, and a number only if it is the
        latest version; otherwise :class:`coframe.ConflictError` is raised. ``batch_rows``: rows of a record batch.
        ``statistics``: record the least and the greatest value of each column and record batch (:meth:`Frame.statistics`).
        """
        native = self._open()
        _check_text("name", name)
        _check_text("layout", layout)
        _check_number("keep", keep, "a number of versions", 2**32)
        condition = _condition(mode)
        if batch_rows is not None:
            _check_number("batch_rows", batch_rows, "a number of rows")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise ArgumentTypeError(f"metadata={metadata!r:.100}: expected a dict of str")
        exporter, rest, noted = _tables.source(table)
        pairs = [(str(key), str(value)) for key, value in (metadata or {}).items()]
        for text in itertools.chain(*pairs):
            _check_text("metadata", text)
        if reserved := next((key for key, _ in pairs if key.startswith("coframe.")), None):
            raise InvalidError(f"metadata={{{reserved!r}: ..}}: keys that start with `coframe.` are reserved for the package; choose another")
        pairs += noted
        frame = native.publish(
            name,
            exporter,
            rest,
            layout=layout,
            keep=keep,
            metadata=pairs,
            mode=condition,
            batch_rows=batch_rows,
            statistics=bool(statistics),
        )
        return Frame._of(frame)

    def import_file(
        self, path: str | os.PathLike[str], name: str, *, keep: int = 0, layout: Layout = "keep"
    ) -> Frame:
        """Publishes an Arrow IPC file (Feather 2) or stream of any writer, compressed or not. Every value is checked."""
        return Frame._of(self._open().import_file(name, os.fspath(path), layout, keep))

    def open(self, name: str, *, version: int | None = None, columns: builtins.list[str] | None = None) -> Frame:
        """Opens the latest version of a name, or one version; in microseconds, whatever the size.

        ``columns``: only these, as ``frame[columns]`` has them.
        """
        _check_text("name", name)
        if version is not None:
            _check_number("version", version, "a version")
        frame = Frame._of(self._open().open(name, version))
        return frame if columns is None else frame[builtins.list(columns)]

    def list(self) -> builtins.list[FrameInfo]:
        """The names with their latest versions, in order."""
        return [
            FrameInfo(name, version, rows, columns, size, _time(created), superseded)
            for name, version, rows, columns, size, created, superseded in self._open().list()
        ]

    def versions(self, name: str) -> builtins.list[int]:
        """The versions of a name that can be opened, ascending."""
        _check_text("name", name)
        return self._open().versions(name)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._open().exists(name)

    def remove(self, name: str) -> bool:
        """Removes a name with all its versions; returns ``False`` if it did not exist. Processes that have it open keep
        it."""
        _check_text("name", name)
        return self._open().remove(name)

    def wait(self, name: str, newer_than: int = 0, timeout: float | None = None) -> int | None:
        """Blocks until the latest version of a name is above ``newer_than``, and returns it; ``None`` on a timeout."""
        _check_text("name", name)
        _check_number("newer_than", newer_than, "a version")
        return self._open().wait(name, newer_than, timeout)

    def sweep(self) -> Swept:
        """Removes what dead processes left and superseded versions that no process uses. Every publish does so for its
        name."""
        return Swept(*self._open().sweep())

    def usage(self) -> Usage:
        """What the store holds and how much room is left."""
        numbers, sizes = self._open().usage()
        return Usage(*numbers, *sizes)

    def users(self, name: str) -> builtins.list[User]:
        """The processes that map a version of a name now, as far as this user can see."""
        _check_text("name", name)
        return [User(*user) for user in self._open().users(name)]

    def verify(self, name: str) -> Frame:
        """Checks every value of the latest version of a name, and returns it."""
        _check_text("name", name)
        return Frame._of(self._open().verify(name))

    def session(self) -> Session:
        """Starts a session: frames that are removed when this process dies, or at the end of a ``with``."""
        return Session(self)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_store_later, (self.path,))

    def __repr__(self) -> str:
        return f"<coframe.{type(self).__name__} {self._where() or 'closed'}>"

    def _where(self) -> str | None:
        return None if self._native is None else self.path


def _check_text(what: str, value: Any) -> None:
    if not isinstance(value, str):
        raise ArgumentTypeError(f"{what}={value!r:.100}: expected a str")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"{what}={value!r:.100}: expected a str that UTF-8 can encode: {error}") from error


def _condition(mode: Mode | int) -> tuple[int | None] | None:
    """``mode`` as Rust's ``Option<Option<u64>>``: no condition, the name is free, or its latest version."""
    if isinstance(mode, str):
        if mode not in ("overwrite", "create"):
            raise InvalidError(f'mode={mode!r:.100}: expected "overwrite", "create" or a version')
        return None if mode == "overwrite" else (None,)
    _check_number("mode", mode, '"overwrite", "create" or a version')
    return (operator.index(mode),)


def _check_number(what: str, value: Any, expected: str, end: int = 2**64) -> None:
    if not hasattr(value, "__index__"):
        raise ArgumentTypeError(f"{what}={value!r:.100}: expected {expected}")
    if not 0 <= operator.index(value) < end:
        raise InvalidError(f"{what}={value!r:.100}: expected {expected}")


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, timezone.utc)


class _LaterStore(Store):
    """A store that was unpickled: opened at its first use, so that unpickling never raises."""

    def __init__(self, path: str) -> None:
        self._native = None
        self._later: str | None = path

    def _open(self) -> _coframe.Store:
        if self._native is None and self._later is not None:
            self._native = _coframe.Store(self._later)
        return super()._open()

    def close(self) -> None:
        self._later = None
        super().close()

    def __repr__(self) -> str:
        return f"<coframe.Store {self._where() or self._later or 'closed'}>"


def _store_later(path: str) -> Store:
    return _LaterStore(path)


class Session(Store):
    """A part of a store whose frames are removed when this process dies, or at the end of a ``with``."""

    def __init__(self, store: Store | str | os.PathLike[str] | None = None) -> None:
        native = native_of(store)
        self._session = native.session()
        self._native = self._session.store()
        guard(native)

    def close(self) -> None:
        """Ends the session and removes its names. Frames that are open stay readable. Does nothing in a forked child."""
        if self._native is not None:
            _kept.forget(self._native)
        self._native = None
        self._session.end()

    def _open(self) -> _coframe.Store:
        if self._native is None:
            raise ClosedError("the session has ended: start a new one")
        return self._native

    def __enter__(self) -> Session:
        self._open()
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a session cannot be pickled: it belongs to one process; send its frames instead")


def store_of(store: Store | str | os.PathLike[str] | None) -> Store:
    """A store, the one at a path, or the default one."""
    return store if isinstance(store, Store) else Store(store)


def existing(store: Store | str | os.PathLike[str] | None) -> Store | None:
    """As :func:`store_of`, for reading only: ``None`` if the store does not exist, and it is not created."""
    return store if isinstance(store, Store) else _last.open(os.fspath(store or default_path()))


_last = LastStore(Store)


def native_of(store: Store | str | os.PathLike[str] | None) -> _coframe.Store:
    """The native part of :func:`store_of`."""
    return store_of(store)._open()


def session_of(store: Store | str | os.PathLike[str] | None) -> _coframe.Store:
    """A session itself, or this process's own session in a store, which the first call starts."""
    remove_left()
    native = native_of(store)
    return native if isinstance(store, Session) else own_session(native)
