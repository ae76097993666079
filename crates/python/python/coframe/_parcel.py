"""Objects as frames of their bytes: what pickle writes, with the large buffers apart from it.

Pickle's protocol 5 hands over the buffers of arrays instead of copying them. They are published as one frame, and a
reader unpickles the object on its own private map of that frame. So the object is what pickle would have made, it may be
written to, and only the pages that are written are copied.

The frame has one column of 64-bit words. Its first record batch is the *head*: the pickle and the small buffers. Each
large buffer is a separate record batch, which the store writes from where the buffer is.
"""

from __future__ import annotations

import copyreg
import io
import pickle
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _packages
from ._coframe import Columns
from ._errors import NotFoundError, UnsupportedError

if TYPE_CHECKING:
    from ._coframe import Frame as Native
    from ._coframe import Store as NativeStore

_WORD = 8
#: The store joins batches of fewer rows, which copies them: such buffers go into the head.
_LARGE = _WORD << 20
#: A record batch has at most 2^31 - 1 rows (FORMAT.md, rule S5).
_LARGEST = _WORD * (2**31 - 1)
#: As in a segment: enough for every type of numpy.
_ALIGNMENT = 64


class Place(NamedTuple):
    """Where a buffer is in a frame."""

    batch: int
    offset: int
    length: int


def _with_chunks(thing: Any) -> Any:
    """How an array of pandas on Arrow's memory is rebuilt from all its chunks, which pandas joins, and so copies."""
    chunks = thing._pa_array
    if not chunks.num_chunks or not hasattr(type(thing), "__setstate__"):
        return thing.__reduce_ex__(5)
    return copyreg.__newobj__, (type(thing),), {**vars(thing), "_cache": {}}  # type: ignore[attr-defined]


def _reducers() -> dict[type, Any]:
    """The reducers of a parcel: a table, since pickle calls a method of the pickler for every object that it writes."""
    on_arrow = getattr(getattr(sys.modules.get("pandas"), "arrays", None), "ArrowExtensionArray", None)
    return {**copyreg.dispatch_table, **dict.fromkeys(_family(on_arrow), _with_chunks)}


def _family(cls: Any) -> set[type]:
    """A class and all that are derived from it; no class without one."""
    return set() if cls is None else {cls}.union(*map(_family, cls.__subclasses__()))


class Parcel:
    """An object, pickled, with its buffers still where they are."""

    def __init__(self, thing: Any) -> None:
        """Raises what pickle raises for an object that it cannot write."""
        buffers: list[pickle.PickleBuffer] = []
        file = io.BytesIO()
        pickler = pickle.Pickler(file, protocol=5, buffer_callback=buffers.append)
        pickler.dispatch_table = _reducers()
        pickler.dump(thing)
        self.text = file.getvalue()
        np = _packages.need("numpy", "sharing an object")
        self.buffers = [np.asarray(buffer.raw()) for buffer in buffers]

    def addresses(self) -> list[tuple[int, int]]:
        """Address and length of each buffer."""
        return list(map(_place, self.buffers))

    def release(self) -> None:
        """Lets go of the buffers."""
        self.buffers = []

    def publish(self, store: NativeStore, name: str) -> Published:
        """Publishes it."""
        np = _packages.need("numpy", "sharing an object")
        large = [buffer for buffer in self.buffers if _is_large(buffer)]
        if any(buffer.nbytes > _LARGEST for buffer in large):
            raise UnsupportedError(f"a buffer has more than {_LARGEST} bytes; expected no more in one array, so split it")
        places = _places(self.buffers, len(self.text))
        index = pickle.dumps((len(self.text), [tuple(place) for place in places]), protocol=5)
        small = [buffer for buffer in self.buffers if not _is_large(buffer)]
        head = _joined(np, [np.frombuffer(index, dtype="u1"), np.frombuffer(self.text, dtype="u1"), *small])
        exporters = [Columns([("words", "uint64", words, None, None)]) for words in (head, *map(_words, large))]
        rest = iter(exporters[1:]) if large else None
        metadata = [("coframe.python", "pickle")]
        native = store.publish(name, exporters[0], rest, layout="keep", keep=0, metadata=metadata, mode=None, batch_rows=None)
        return Published(native, len(index), places)


class Published(NamedTuple):
    """A parcel in shared memory."""

    native: Native
    #: What a reader must know in addition to the handle.
    index_length: int
    places: list[Place]

    def buffers(self) -> list[Any]:
        """The buffers as they were published, as read-only arrays of bytes."""
        np = _packages.need("numpy", "comparing an object")
        batches = [np.asarray(part).view("u1") for part in _batches(self.native)]
        start = _aligned(self.index_length)
        return [_at(batches, start, place) for place in self.places]


class Opened(NamedTuple):
    """An object on a private map."""

    thing: Any
    #: The buffers on the map, which they keep alive.
    buffers: list[Any]

    def places(self) -> set[tuple[int, int]]:
        """Address and length of each buffer."""
        return set(map(_place, self.buffers))


class Mapped:
    """A frame with an object in it, of which each call makes another."""

    def __init__(self, native: Native, index_length: int) -> None:
        np = _packages.need("numpy", "opening a shared object")
        if not native.sealed:
            raise UnsupportedError(f"the frame `{native.name}` was imported; expected one that a process of this user wrote")
        self.native = native
        shared = [np.asarray(part).view("u1") for part in _batches(native)]
        text_length, places = pickle.loads(shared[0][:index_length])
        start = _aligned(index_length)
        self._batches = list(map(_place, shared))
        self._text = shared[0][start : start + text_length].tobytes()
        self._places = [Place(batch, offset + (0 if batch else start), length) for batch, offset, length in places]

    def open(self) -> Opened:
        """The object, on a private map of its own."""
        np = _packages.need("numpy", "opening a shared object")
        private = self.native.private()
        if private is None:
            raise NotFoundError(f"the frame `{self.native.name}` was removed")
        parts = [private.at(*place) for place in self._batches]
        if None in parts:
            raise UnsupportedError(f"the frame `{self.native.name}` has buffers that are not in its segment")
        batches = [np.asarray(_Part(self, part)) for part in parts]
        buffers = [batches[batch][offset : offset + length] for batch, offset, length in self._places]
        return Opened(pickle.loads(self._text, buffers=buffers), buffers)


class _Part:
    """A part of a private map, for numpy, whose arrays keep the frame open."""

    def __init__(self, mapped: Mapped, values: Any) -> None:
        self.__array_interface__ = values.__array_interface__
        self._kept = mapped, values


#: The frames on whose maps this process has objects, by their handles.
_mapped: weakref.WeakValueDictionary[tuple[str, int], Mapped] = weakref.WeakValueDictionary()


def mapped(handle: str, index_length: int, opened: Callable[[str], Native]) -> Mapped:
    """The frame of a handle with an object in it: one that is open, or one that is opened now."""
    found = _mapped.get((handle, index_length))
    if found is None:
        found = _mapped[handle, index_length] = Mapped(opened(handle), index_length)
    return found


def _place(buffer: Any) -> tuple[int, int]:
    return buffer.__array_interface__["data"][0], buffer.nbytes


def _batches(native: Native) -> list[Any]:
    # What comes with them is why numpy cannot have several as one array.
    return native.values(0)[0]


def _at(batches: list[Any], start: int, place: Place) -> Any:
    offset = place.offset + (start if place.batch == 0 else 0)
    return batches[place.batch][offset : offset + place.length]


def _is_large(buffer: Any) -> bool:
    return bool(buffer.nbytes >= _LARGE)


def _places(buffers: list[Any], text_length: int) -> list[Place]:
    """Where each buffer comes to be; offsets in the head count from the pickle."""
    places = []
    batch = 0
    offset = _aligned(text_length)
    for buffer in buffers:
        if _is_large(buffer):
            batch += 1
            places.append(Place(batch, 0, buffer.nbytes))
        else:
            places.append(Place(0, offset, buffer.nbytes))
            offset += _aligned(buffer.nbytes)
    return places


def _aligned(length: int) -> int:
    return -(-length // _ALIGNMENT) * _ALIGNMENT


def _joined(np: Any, parts: list[Any]) -> Any:
    """The parts one after the other, each aligned, as words."""
    joined = np.zeros(sum(_aligned(part.nbytes) for part in parts), dtype="u1")
    offset = 0
    for part in parts:
        joined[offset : offset + part.nbytes] = part
        offset += _aligned(part.nbytes)
    return joined.view("u8")


def _words(buffer: Any) -> Any:
    """A large buffer as words: itself, or a copy if its length or address is not that of words."""
    np = _packages.need("numpy", "sharing an object")
    if buffer.nbytes % _WORD == 0 and buffer.__array_interface__["data"][0] % _WORD == 0:
        return buffer.view("u8")
    return _joined(np, [buffer])
