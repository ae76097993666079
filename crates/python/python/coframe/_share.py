"""Sharing a table with workers in one line."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from . import _kept, _parts
from ._coframe import Frame as _Native
from ._coframe import Store as _Store
from ._errors import NoSpaceError
from ._frame import Frame
from ._lifetime import Lifetime, new_name
from ._parcel import Parcel
from ._store import Layout, Store, session_of
from ._tables import source

P = ParamSpec("P")
R = TypeVar("R")


class SharedFrame(Frame):
    """An unnamed frame in a session of this process.

    Freed with its last reference, unless it was pickled: a worker may still have to open it then, so it is kept until
    :meth:`close`, the end of its ``with``, or the end of this process.
    """

    __slots__ = ()

    def close(self) -> None:
        """Removes the frame. Workers that have it open, and arrays made from it, keep their memory."""
        if self._native is not None:
            # Its hash stays what it was.
            self._identity()
        if self._lifetime is not None:
            self._lifetime.end()
        self._native, self._freed, self._known = None, True, {}

    def __enter__(self) -> SharedFrame:
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def share(table: Any, *, store: Store | str | os.PathLike[str] | None = None, layout: Layout = "keep") -> SharedFrame:
    """Puts a table into shared memory for the workers of this process: ``pool.map(partial(f, coframe.share(df)), items)``.

    It is stored in a session of this process in the store, or in ``store`` if that is a session.

    ``f`` gets the frame and calls ``.to_polars()``, ``.to_pandas()`` or the like; :func:`partial` gives it the table directly.
    """
    exporter, rest, metadata = source(table)

    def publish(session: _Store, name: str) -> _Native:
        return session.publish(name, exporter, rest, layout=layout, keep=0, metadata=metadata, mode=None, batch_rows=None)

    return _shared(session_of(store), publish)


def share_object(thing: Any) -> tuple[SharedFrame, int]:
    """Shares what pickle makes of an object, as :func:`coframe.sharing` does, and what a reader must know besides its handle."""
    parcel = Parcel(thing)
    lengths: list[int] = []

    def publish(session: _Store, name: str) -> _Native:
        published = parcel.publish(session, name)
        lengths.append(published.index_length)
        return published.native

    return _shared(session_of(None), publish), lengths[-1]


def _shared(session: _Store, publish: Callable[[_Store, str], _Native]) -> SharedFrame:
    name = new_name("share")
    try:
        native = publish(session, name)
    except NoSpaceError as error:
        kept = _kept.shared()
        if not kept:
            raise
        size = sum(one.nbytes for one in kept) / 1e6
        raise NoSpaceError(f"{error}; this process keeps {len(kept)} shared frames of {size:.1f} MB: see coframe.shared()") from error
    remove = functools.partial(session.remove, name)
    frame = SharedFrame._of(native, Lifetime(remove, _kept.Kept(name, native.bytes, session, remove)))
    assert isinstance(frame, SharedFrame)
    return frame


def accepts_frames(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that is written for tables: each frame among its arguments arrives as the table it was.

    ``pool.map(partial(f, coframe.share(df)), items)`` then gives ``f`` a DataFrame of the kind that ``df`` is.
    """

    @functools.wraps(function)
    def with_tables(*args: P.args, **kwargs: P.kwargs) -> R:
        return function(*map(_parts.restored, args), **{name: _parts.restored(value) for name, value in kwargs.items()})

    return with_tables


class partial(Generic[R]):
    """As ``functools.partial``, with the tables and large arrays among the arguments in shared memory.

    ``with coframe.partial(f, df) as shared: pool.map(shared, items)``: workers call ``f`` with a DataFrame of the same kind,
    on the shared bytes. ``f`` may change a pandas DataFrame or an array, as after pickling: pages are copied when they are written to,
    and no other process sees the change.

    Shared are DataFrames of Polars and pandas, LazyFrames (collected), Tables of pyarrow, and Series and numpy arrays of 64 KiB
    or more; also inside of lists, tuples and dicts of up to 10 000 items. A DataFrame of pandas that Arrow cannot hold, such as
    one with a sparse column, is shared as its pickle from 64 KiB on, and pickled below. Frames stay in memory until
    :meth:`close`, the end of a ``with``, or the end of this process, because a worker may open them at any time. The rest is
    pickled, also a Series or an array that Arrow cannot hold; pickling more than 10 MB gives a ``UserWarning``.
    """

    def __init__(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> None:
        self.func = function
        self._own: list[SharedFrame] = []
        self._is_warned = False
        # With the table, so that no other object gets its id.
        seen: dict[int, tuple[Any, SharedFrame]] = {}

        def share_once(table: Any) -> SharedFrame:
            if id(table) not in seen:
                self._own.append(share(table))
                seen[id(table)] = table, self._own[-1]
            return seen[id(table)][1]

        objects: dict[int, tuple[Any, tuple[SharedFrame, int]]] = {}

        def share_object_once(thing: Any) -> tuple[SharedFrame, int]:
            if id(thing) not in objects:
                objects[id(thing)] = thing, share_object(thing)
                self._own.append(objects[id(thing)][1][0])
            return objects[id(thing)][1]

        sharer = _parts.Sharer(share_once, share_object_once)
        try:
            self.args = tuple(_parts.shared(value, sharer) for value in args)
            self.keywords = {name: _parts.shared(value, sharer) for name, value in kwargs.items()}
        except BaseException:
            self.close()
            raise
        self._tables: tuple[tuple[Any, ...], dict[str, Any]] | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        if self._tables is None:
            # Once for all calls of this object, as multiprocessing unpickles a table once for all tasks of a chunk.
            keywords = {name: _parts.restored_inside(value) for name, value in self.keywords.items()}
            self._tables = tuple(map(_parts.restored_inside, self.args)), keywords
        ready, keywords = self._tables
        own = {name: _parts.restored(value) for name, value in kwargs.items()}
        return self.func(*ready, *map(_parts.restored, args), **{**keywords, **own})

    def close(self) -> None:
        """Removes what this object shared, after its last result has arrived. Workers keep the memory that they opened."""
        self._tables = None
        for frame in self._own:
            frame.close()

    def __enter__(self) -> partial[R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        # What is shared stays so, and unpickling opens nothing.
        self._warn_if_large()
        return (partial, (self.func, *self.args), {"keywords": self.keywords})

    def _warn_if_large(self) -> None:
        pickled: dict[Any, Any] = {**dict(enumerate(self.args)), **self.keywords}
        weights = {name: _parts.weight(value) for name, value in pickled.items()}
        if not self._is_warned and sum(weights.values()) > _parts.LARGE:
            self._is_warned = True
            which = max(weights, key=lambda name: weights[name])
            warnings.warn(
                f"coframe.partial pickles {sum(weights.values()) / 1e6:.1f} MB for each task that it cannot share; most is argument "
                f"{which!r}, of type {type(pickled[which]).__qualname__}: pass a table or an array of numbers",
                stacklevel=3,
            )

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.keywords = state["keywords"]

    def __repr__(self) -> str:
        return f"coframe.partial({self.func!r}, *{self.args!r}, **{self.keywords!r})"
