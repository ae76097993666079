"""Share dataframes between processes: written once, opened everywhere, copied nowhere.

    import coframe

    coframe.publish(df, "flights")                  # one copy, published atomically
    df = coframe.open("flights").to_polars()           # in any process, whatever the size, on the shared bytes
    with coframe.partial(f, df) as shared:          # f gets a DataFrame, and nothing is pickled
        pool.map(shared, items)

A :class:`Store` is a directory, in memory by default, that holds frames under names. A :class:`Frame` is an immutable
table, or a part of one. A :class:`Session` is a part of a store whose frames die with the process that owns it.
"""

from __future__ import annotations

import builtins
import importlib
import os
from typing import TYPE_CHECKING, Any

from ._coframe import __version__

if TYPE_CHECKING:
    from ._cells import Counter, Flag, Lock, RLock
    from ._dict import Dict, DictSnapshot, DictTransaction
    from ._errors import (
        ArgumentTypeError,
        BrokenError,
        BusyError,
        ClosedError,
        ColumnNotFoundError,
        ConflictError,
        CorruptError,
        Error,
        InvalidError,
        MissingPackageError,
        NoSpaceError,
        NotFoundError,
        PoisonedError,
        RemoteError,
        SupersededError,
        SystemCallError,
        UnsupportedError,
        UntrustedError,
        WouldCopyError,
    )
    from ._explain import ColumnExplain, Explain
    from ._frame import Column, Frame, Schema
    from ._kept import Shared, close_shared, shared
    from ._meeting import Barrier, BoundedSemaphore, Condition, Event, Semaphore
    from ._queue import Queue
    from ._remote import Remote, RemoteFrame, Server, allow_origin, connect, prefetch, serve, set_origin
    from ._share import SharedFrame, accepts_frames, partial, share
    from ._sharing import sharing
    from ._store import FrameInfo, Layout, Mode, Session, Store, Swept, Usage, User
    from ._values import Array, AtomicArray, Latest, Value

#: The names of this package by their modules, which are imported when a name is first used: `python -m coframe` and the
#: workers of a program need few of them.
_NAMES = {
    "_cells": ("Counter", "Flag", "Lock", "RLock"),
    "_dict": ("Dict", "DictSnapshot", "DictTransaction"),
    "_errors": ("ArgumentTypeError", "BrokenError", "BusyError", "ClosedError", "ColumnNotFoundError", "ConflictError", "CorruptError", "Error", "InvalidError", "MissingPackageError", "NoSpaceError", "NotFoundError", "PoisonedError", "RemoteError", "SupersededError", "SystemCallError", "UnsupportedError", "UntrustedError", "WouldCopyError"),
    "_explain": ("ColumnExplain", "Explain"),
    "_frame": ("Column", "Frame", "Schema"),
    "_kept": ("Shared", "close_shared", "shared"),
    "_meeting": ("Barrier", "BoundedSemaphore", "Condition", "Event", "Semaphore"),
    "_queue": ("Queue",),
    "_remote": ("Remote", "RemoteFrame", "Server", "allow_origin", "connect", "prefetch", "serve", "set_origin"),
    "_share": ("SharedFrame", "accepts_frames", "partial", "share"),
    "_sharing": ("sharing",),
    "_store": ("FrameInfo", "Layout", "Mode", "Session", "Store", "Swept", "Usage", "User"),
    "_values": ("Array", "AtomicArray", "Latest", "Value"),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    return found


def __dir__() -> builtins.list[str]:
    return sorted({*globals(), *__all__})


def publish(
    table: Any,
    name: str,
    *,
    store: Store | str | os.PathLike[str] | None = None,
    keep: int = 0,
    layout: Layout = "keep",
    mode: Mode | int = "overwrite",
    batch_rows: int | None = None,
    statistics: bool = False,
    metadata: dict[str, str] | None = None,
) -> Frame:
    """Publishes a table as the latest version of a name. See :meth:`Store.publish`.

    Takes a DataFrame or LazyFrame of Polars, a DataFrame of pandas, a table, batch or reader of pyarrow, a relation of
    DuckDB, a dict of numpy arrays, or anything with ``__arrow_c_stream__`` or ``__arrow_c_array__``.
    """
    from ._store import store_of

    return store_of(store).publish(
        table,
        name,
        keep=keep,
        layout=layout,
        mode=mode,
        batch_rows=batch_rows,
        statistics=statistics,
        metadata=metadata,
    )


def open(  # noqa: A001
    name: str,
    *,
    version: int | None = None,
    columns: builtins.list[str] | None = None,
    store: Store | str | os.PathLike[str] | None = None,
) -> Frame:
    """Opens the latest version of a name. See :meth:`Store.open`."""
    from ._store import existing

    found = existing(store)
    if found is None:
        from ._errors import NotFoundError

        raise NotFoundError(f"frame `{name}` not found, because the store does not exist; publish it first, or name another store")
    return found.open(name, version=version, columns=columns)


def list(store: Store | str | os.PathLike[str] | None = None) -> builtins.list[FrameInfo]:  # noqa: A001
    """Returns the names of a store with their latest versions, in order."""
    from ._store import existing

    found = existing(store)
    return [] if found is None else found.list()


def remove(name: str, *, store: Store | str | os.PathLike[str] | None = None) -> bool:
    """Removes a name with all its versions. See :meth:`Store.remove`."""
    from ._store import existing

    found = existing(store)
    return False if found is None else found.remove(name)


def wait(
    name: str,
    newer_than: int = 0,
    timeout: float | None = None,
    *,
    store: Store | str | os.PathLike[str] | None = None,
) -> int | None:
    """Blocks until a newer version of a name exists. See :meth:`Store.wait`."""
    from ._store import store_of

    return store_of(store).wait(name, newer_than, timeout)


def sweep(store: Store | str | os.PathLike[str] | None = None) -> Swept:
    """Removes what dead processes left and superseded versions that no process uses."""
    from ._store import Swept, existing

    found = existing(store)
    return Swept(0, 0, 0, []) if found is None else found.sweep()


__all__ = [
    "ArgumentTypeError",
    "Array",
    "AtomicArray",
    "Barrier",
    "BoundedSemaphore",
    "BrokenError",
    "BusyError",
    "ClosedError",
    "Column",
    "ColumnExplain",
    "ColumnNotFoundError",
    "Condition",
    "ConflictError",
    "CorruptError",
    "Counter",
    "Dict",
    "DictSnapshot",
    "DictTransaction",
    "Error",
    "Event",
    "Explain",
    "Flag",
    "Frame",
    "FrameInfo",
    "InvalidError",
    "Latest",
    "Lock",
    "MissingPackageError",
    "NoSpaceError",
    "NotFoundError",
    "PoisonedError",
    "Queue",
    "RLock",
    "Remote",
    "RemoteError",
    "RemoteFrame",
    "Schema",
    "Semaphore",
    "Server",
    "Session",
    "Shared",
    "SharedFrame",
    "Store",
    "SupersededError",
    "Swept",
    "SystemCallError",
    "UnsupportedError",
    "UntrustedError",
    "Usage",
    "User",
    "Value",
    "WouldCopyError",
    "__version__",
    "accepts_frames",
    "allow_origin",
    "close_shared",
    "connect",
    "list",
    "open",
    "partial",
    "prefetch",
    "publish",
    "remove",
    "serve",
    "set_origin",
    "share",
    "shared",
    "sharing",
    "sweep",
    "wait",
]
