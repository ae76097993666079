"""Whether an object is still what it was when it was shared.

An object that is sent again is published again only if it was changed meanwhile. What decides:

* pyarrow: its tables are immutable, so the object itself.
* Polars: names and types of the columns, and the addresses of their values. A clone, kept next to the object, makes Polars
  write changed values elsewhere.
* pandas with copy-on-write (always from pandas 3): the pickle without its buffers, byte for byte, and the addresses of the
  buffers. A shallow copy, kept next to the object, makes pandas move a block before it writes to it. Where something else
  than pandas may have written to the values (see :mod:`coframe._exposed`), all bytes are compared.
* what arrived in a message and is sent on: the pickle without its buffers, and that no page of them was written to.
* everything else, such as a numpy array: all bytes are compared with those that were published.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import _coframe, _exposed, _packages, _pages
from ._parcel import Opened, Parcel

#: Compares an object with what was published.
Unchanged = Callable[[Any], bool]
#: Returns the buffers of a parcel as they were published.
Published = Callable[[], list[Any]]

#: Bytes that are compared at once, so that what comes of it stays in the cache.
_CHUNK = 1 << 20
#: Bytes of a buffer of which a witness keeps a copy.
_SMALL = 1 << 10


def always(_: Any) -> bool:
    """For what is immutable."""
    return True


def of_polars(table: Any) -> Unchanged:
    """For a DataFrame or Series of Polars."""
    kept = table.clone()
    look = _look(kept)
    # The clone lives as long as the function, so no other values get these addresses.
    return lambda now: kept is not None and _look(now) == look


def _look(table: Any) -> tuple[Any, ...]:
    columns = table.get_columns() if hasattr(table, "get_columns") else [table]
    addresses = [_coframe.addresses(_plain(column).to_frame()) for column in columns]
    return [(column.name, column.dtype) for column in columns], addresses, getattr(table, "height", None)


def _plain(column: Any) -> Any:
    """A column of categories as its numbers, since Polars exports the categories at another address each time."""
    return column.to_physical() if type(column.dtype).__name__ in ("Categorical", "Enum") else column


def of_parcel(thing: Any, parcel: Parcel, published: Published) -> Unchanged:
    """For an object that was published as a parcel, which lets go of its buffers here."""
    sent = _Sent(parcel, published)
    parcel.release()
    if _copies_on_write(thing):
        return _of_pandas(thing, sent)
    return lambda now: sent.is_same(Parcel(now), set())


def of_received(opened: Opened) -> Unchanged:
    """For an object that arrived as a parcel, on a private map: the kernel knows which pages were written to."""
    parcel = Parcel(opened.thing)
    # Not `opened`: its object would live as long as the witness.
    text, on_map, buffers = parcel.text, opened.places(), opened.buffers
    # What pickle copied in addition to the map, such as labels.
    others = [None if place in on_map else buffer.copy() for place, buffer in zip(parcel.addresses(), parcel.buffers, strict=True)]
    places = parcel.addresses()
    parcel.release()

    def unchanged(now: Any) -> bool:
        found = Parcel(now)
        if found.text != text or len(found.buffers) != len(others):
            return False
        every = zip(found.addresses(), places, found.buffers, others, strict=True)
        same = all(one == before if other is None else _are_equal(buffer, other) for one, before, buffer, other in every)
        return same and _pages.are_unwritten(buffers)

    return unchanged


def _of_pandas(thing: Any, sent: _Sent) -> Unchanged:
    kept = thing.copy(deep=False)
    # While `kept` lives, no other values get these addresses. Those of other buffers may be of copies for the pickle.
    guarded = _exposed.guarded(kept)
    trusted = {place for place in sent.addresses if place[0] in guarded}
    exposed = _exposed.is_exposed(thing)
    writes = _exposed.writes()

    def unchanged(now: Any) -> bool:
        nonlocal writes
        before = _exposed.writes()
        is_guarded = kept is not None and not exposed and writes == before and not _exposed.is_exposed(now)
        if not sent.is_same(Parcel(now), trusted if is_guarded else set()):
            return False
        writes = before
        return True

    return unchanged


def _copies_on_write(thing: Any) -> bool:
    if not _packages.is_a(thing, "pandas", "DataFrame", "Series"):
        return False
    pd = _packages.need("pandas", "sharing a DataFrame")
    return int(pd.__version__.split(".")[0]) >= 3 or pd.options.mode.copy_on_write is True


class _Sent:
    """A parcel as it was published."""

    def __init__(self, parcel: Parcel, published: Published) -> None:
        self.addresses = parcel.addresses()
        self._text = parcel.text
        self._published = published
        #: Small buffers, such as labels. Reading the published ones costs more.
        self._small = {at: buffer.tobytes() for at, buffer in enumerate(parcel.buffers) if buffer.nbytes <= _SMALL}

    def is_same(self, parcel: Parcel, trusted: set[tuple[int, int]]) -> bool:
        """Whether another parcel has the same. Buffers at trusted addresses are not read."""
        if parcel.text != self._text or len(parcel.buffers) != len(self.addresses):
            return False
        small = self._small
        if any(parcel.buffers[at].tobytes() != before for at, before in small.items()):
            return False
        others = [at for at, place in enumerate(parcel.addresses()) if at not in small and place not in trusted]
        before = self._published() if others else []
        return all(_are_equal(parcel.buffers[at], before[at]) for at in others)


def _are_equal(one: Any, other: Any) -> bool:
    if one.nbytes != other.nbytes:
        return False
    steps = range(0, one.nbytes, _CHUNK)
    return all(bool((one[start : start + _CHUNK] == other[start : start + _CHUNK]).all()) for start in steps)
