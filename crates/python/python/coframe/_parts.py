"""What ``partial`` shares of its arguments: tables, series and arrays, also inside of lists, tuples and dicts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from . import _packages
from ._errors import InvalidError, UnsupportedError
from ._frame import Frame
from ._parcel import Mapped

#: Arrays and series of fewer bytes are pickled: that is quicker than to open a frame.
MIN_BYTES = 1 << 16
#: Lists, tuples and dicts of more items are not searched.
MAX_ITEMS = 10_000
#: A pickle of more bytes is warned of.
LARGE = 10_000_000


class Sharer(NamedTuple):
    """How a table becomes a frame."""

    table: Callable[[Any], Frame]
    #: For what Arrow cannot hold: the pickle as a frame, and what is needed to open it.
    pickle: Callable[[Any], tuple[Frame, int]]


class Part:
    """A frame instead of an argument that is not a table, and how to make the argument of it."""

    def __init__(self, frame: Frame, kind: str, about: tuple[Any, ...] = ()) -> None:
        self.frame = frame
        self.kind = kind
        self.about = about

    def restored(self) -> Any:
        """The argument. It may be changed, as after pickling."""
        if self.kind == "pickle":
            return Mapped(self.frame._open(), *self.about).open().thing
        if self.kind == "array":
            dtype, shape, is_transposed = self.about
            array = self.frame["values"].to_numpy(writable=True).view(dtype).reshape(shape)
            return array.T if is_transposed else array
        table = self.frame.to_table(writable=True)
        if self.kind == "lazy":
            return table.lazy()
        if self.kind == "pandas":
            series = table.iloc[:, 0]
            (series.name, series.attrs) = self.about
            return series
        return table.to_series()

    def __reduce__(self) -> tuple[Any, ...]:
        return (Part, (self.frame, self.kind, self.about))

    def __repr__(self) -> str:
        return f"<{self.kind} of {self.frame!r}>"


def shared(argument: Any, share: Sharer) -> Any:
    """The argument with each table, series and array in shared memory. What cannot be shared, or is small, stays as it is.

    A table that is an argument itself, and not of pandas, is an error when it cannot be shared.
    """
    if _packages.is_table(argument):
        return _table(argument, share)
    return _inner(argument, share, ())


def _table(thing: Any, share: Sharer) -> Any:
    try:
        return share.table(thing)
    except (UnsupportedError, InvalidError):
        if not _packages.is_a(thing, "pandas", "DataFrame"):
            raise
        if int(thing.memory_usage(deep=False).sum()) < MIN_BYTES:
            return thing
        frame, index_length = share.pickle(thing)
        return Part(frame, "pickle", (index_length,))


def _inner(thing: Any, share: Sharer, outer: tuple[int, ...]) -> Any:
    kind = type(thing)
    if kind in (list, tuple, dict) and len(thing) <= MAX_ITEMS and id(thing) not in outer:
        inside = (*outer, id(thing))
        if kind is dict:
            found = {key: _inner(value, share, inside) for key, value in thing.items()}
            return found if any(found[key] is not thing[key] for key in found) else thing
        items = [_inner(item, share, inside) for item in thing]
        return kind(items) if any(one is not other for one, other in zip(items, thing, strict=True)) else thing
    try:
        return _table(thing, share) if _packages.is_table(thing) else _part(thing, share.table)
    except (UnsupportedError, InvalidError):
        # It is pickled, as by functools.partial.
        return thing


def _part(thing: Any, share: Callable[[Any], Frame]) -> Any:
    polars, pandas, numpy = (sys.modules.get(package) for package in ("polars", "pandas", "numpy"))
    if polars is not None and type(thing) is getattr(polars, "LazyFrame", None):
        return Part(share(thing), "lazy")
    if polars is not None and type(thing) is getattr(polars, "Series", None) and thing.estimated_size() >= MIN_BYTES:
        return Part(share(thing.to_frame()), "polars")
    if pandas is not None and type(thing) is getattr(pandas, "Series", None) and thing.memory_usage(deep=False) >= MIN_BYTES:
        plain = thing.copy(deep=False)
        plain.attrs = {}
        return Part(share(plain.to_frame("values")), "pandas", (thing.name, thing.attrs))
    if numpy is not None and type(thing) is getattr(numpy, "ndarray", None) and thing.nbytes >= MIN_BYTES and not thing.dtype.hasobject:
        is_transposed = thing.flags.f_contiguous and not thing.flags.c_contiguous
        straight = numpy.ascontiguousarray(thing.T if is_transposed else thing)
        values = straight.reshape(-1).view(numpy.uint8)
        return Part(share({"values": values}), "array", (thing.dtype, straight.shape, is_transposed))
    return thing


def restored(argument: Any) -> Any:
    """The argument as it was, with each frame inside of it as the table that it was."""
    kind = type(argument)
    if isinstance(argument, Frame):
        return argument.to_table(writable=True)
    if kind is Part:
        return argument.restored()
    return argument


def restored_inside(argument: Any, outer: tuple[int, ...] = ()) -> Any:
    """As :func:`restored`, also inside of lists, tuples and dicts that :func:`shared` made."""
    kind = type(argument)
    if kind in (list, tuple, dict) and len(argument) <= MAX_ITEMS and id(argument) not in outer:
        inside = (*outer, id(argument))
        if kind is dict:
            found = {key: restored_inside(value, inside) for key, value in argument.items()}
            return found if any(found[key] is not argument[key] for key in found) else argument
        items = [restored_inside(item, inside) for item in argument]
        return kind(items) if any(one is not other for one, other in zip(items, argument, strict=True)) else argument
    return restored(argument)


def weight(thing: Any, outer: tuple[int, ...] = ()) -> int:
    """About how many bytes a thing is when it is pickled; of what is not known, its own size."""
    kind = type(thing)
    if isinstance(thing, (Frame, Part)):
        return 0
    if kind in (list, tuple, dict) and len(thing) <= MAX_ITEMS and id(thing) not in outer:
        items = thing.values() if kind is dict else thing
        return sum(weight(item, (*outer, id(thing))) for item in items)
    for name in ("nbytes", "estimated_size", "memory_usage"):
        size = getattr(thing, name, None)
        if isinstance(thing, type) or size is None:
            continue
        try:
            found = size() if callable(size) else size
            return int(found.sum() if hasattr(found, "sum") else found)
        except Exception:
            continue
    return sys.getsizeof(thing) if kind in (bytes, bytearray, str) else 0
