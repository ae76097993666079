"""A dict that processes share."""

from __future__ import annotations

import pickle
from collections.abc import Callable, ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from typing import Any, TypeVar

from . import _coframe
from ._cells import Cell, StoreLike
from ._keys import key_of, text_of

R = TypeVar("R")
_State = _coframe.DictSnapshot | _coframe.DictTransaction


class _Read(Mapping[Any, Any]):
    """One state of a dict: a snapshot, or what a transaction has made."""

    _state: _State

    def __getitem__(self, key: Any) -> Any:
        value = self._state.get(text_of(key))
        if value is None:
            raise KeyError(key)
        return pickle.loads(value)

    def __contains__(self, key: object) -> bool:
        return self._state.contains(text_of(key))

    def __len__(self) -> int:
        return len(self._state)

    def __iter__(self) -> Iterator[Any]:
        return (key_of(key) for key, _ in _entries(self._state, None, None, values=False))

    def items(self) -> ItemsView[Any, Any]:
        """The entries, in the order of keys."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values, in the order of keys."""
        return _Values(self)

    def range(self, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """The entries with ``start <= key < stop`` in the order of keys; ``None`` means unbounded."""
        return _loaded(_range(self._state, start, stop))


class DictSnapshot(_Read):
    """A :class:`Dict` as it was at one moment, made by :meth:`Dict.snapshot`.

    Writers do not wait for it. While it is open, the memory of what they replace is not used again, so close it, use it in
    ``with``, or drop it. It belongs to its process: it does not pickle, and a forked child cannot read it.
    """

    def __init__(self, state: _coframe.DictSnapshot) -> None:
        self._state: _coframe.DictSnapshot = state

    def close(self) -> None:
        """Frees the memory that it keeps."""
        self._state.close()

    def __enter__(self) -> DictSnapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DictTransaction(_Read, MutableMapping[Any, Any]):
    """What the function of :meth:`Dict.transaction` gets: the dict, with the changes that it has made so far."""

    def __init__(self, state: _coframe.DictTransaction) -> None:
        self._state: _coframe.DictTransaction = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self._state.put(text_of(key), pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def __delitem__(self, key: Any) -> None:
        if not self._state.delete(text_of(key)):
            raise KeyError(key)

    def clear(self) -> None:
        """Removes all entries."""
        self._state.clear()


class Dict(Cell[_coframe.Dict], MutableMapping[Any, Any]):
    """A dict that processes share: what ``Manager().dict()`` is, without a process that serves it.

    Keys are str, bytes, numbers, ``None``, dates, datetimes, UUIDs, members of enums that can be imported, and tuples of them,
    of up to about 400 characters. They come back as they are, except that keys which are equal are one key: 1 for 1.0 and
    True, the value for a member of an IntEnum or StrEnum, and UTC for the zone of a datetime. Their order is: ``None``,
    numbers, str, bytes, dates, datetimes without and with a zone, UUIDs, enums, tuples; each sorted as in Python, and enums by
    their names.

    Values are whatever pickles, and are copied in and out: change what ``d[k]`` gave, and set it again, or use
    :meth:`apply`. ``pop``, ``popitem``, ``setdefault``, ``clear``, ``apply`` and ``transaction`` are atomic, whichever processes
    write at the same time; ``update`` is one change for each key.

    While another process writes, or is inside of :meth:`apply` or :meth:`transaction`, writers wait. Ctrl-C ends their
    wait.
    """

    def __init__(self, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        # Names of sessions are new, so making and opening are one.
        return lambda how, store, name: _coframe.Dict("handle" if how == "handle" else "open_or_create", store, name)

    @staticmethod
    def _remove(store: _coframe.Store, name: str) -> bool:
        return store.remove_dict(name)

    def __getitem__(self, key: Any) -> Any:
        value = self._open().get(text_of(key))
        if value is None:
            raise KeyError(key)
        return pickle.loads(value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._open().put(text_of(key), pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def __delitem__(self, key: Any) -> None:
        if not self._open().delete(text_of(key)):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._open().contains(text_of(key))

    def __len__(self) -> int:
        return len(self._open())

    def __iter__(self) -> Iterator[Any]:
        """The keys as they are now. Values are not read."""
        return (key_of(key) for key, _ in _entries(self._open().snapshot(), None, None, values=False))

    def items(self) -> ItemsView[Any, Any]:
        """The entries; each iteration sees those of one moment."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values; each iteration sees those of one moment."""
        return _Values(self)

    def snapshot(self) -> DictSnapshot:
        """Returns the current state of the dict, to be read while others write."""
        return DictSnapshot(self._open().snapshot())

    def range(self, start: Any = None, stop: Any = None) -> Iterator[tuple[Any, Any]]:
        """The entries with ``start <= key < stop`` as they are now, in the order of keys; ``None`` means unbounded."""
        return _loaded(_range(self._open().snapshot(), start, stop))

    def transaction(self, change: Callable[[DictTransaction], R]) -> R:
        """Calls ``change`` with the dict, and returns what it returns. Its changes are made atomically, or, if it raises, not
        at all.

        Others wait to write meanwhile. Read and write through the argument alone: a change of the dict itself in there raises
        :class:`InvalidError`.
        """
        result: R = self._open().transaction(lambda state: change(DictTransaction(state)))
        return result

    def pop(self, key: Any, *default: Any) -> Any:
        """Removes a key and returns its value, atomically. Raises KeyError if the key does not exist and there is no default."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {len(default) + 1}")
        value = self._open().remove(text_of(key))
        if value is not None:
            return pickle.loads(value)
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self) -> tuple[Any, Any]:
        """Removes the first entry and returns it, atomically."""
        first = self._open().pop_first()
        if first is not None:
            return key_of(first[0]), pickle.loads(first[1])
        raise KeyError("popitem(): the dict is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Returns the value of a key. Sets it to ``default`` first if the key is missing, atomically."""
        new = pickle.dumps(default, pickle.HIGHEST_PROTOCOL)
        value = self._open().update(text_of(key), lambda old: new if old is None else old)
        return default if value is None else pickle.loads(value)

    def copy(self) -> dict[Any, Any]:
        """Returns the entries of one moment as a ``dict``."""
        return dict(_loaded(_entries(self._open().snapshot(), None, None, values=True)))

    def clear(self) -> None:
        """Removes all entries atomically."""
        self._open().clear()

    def apply(self, key: Any, change: Callable[[Any], Any], default: Any = None) -> Any:
        """Sets a key to the result of ``change`` on its value (on ``default`` if it is missing), atomically."""

        def bytes_of(old: bytes | None) -> bytes:
            new = change(default if old is None else pickle.loads(old))
            return pickle.dumps(new, pickle.HIGHEST_PROTOCOL)

        value = self._open().update(text_of(key), bytes_of)
        return None if value is None else pickle.loads(value)


class _Items(ItemsView[Any, Any]):
    _mapping: Dict | _Read

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._mapping.range()


class _Values(ValuesView[Any]):
    _mapping: Dict | _Read

    def __iter__(self) -> Iterator[Any]:
        return (value for _, value in self._mapping.range())

    def __contains__(self, value: object) -> bool:
        return any(value is each or value == each for each in self)


def _range(state: _State, start: Any, stop: Any) -> Iterator[tuple[str, bytes | None]]:
    # Keys that cannot be are refused by the call, and not by the first item.
    bounds = [None if bound is None else text_of(bound) for bound in (start, stop)]
    return _entries(state, *bounds, values=True)


def _entries(state: _State, start: str | None, stop: str | None, *, values: bool) -> Iterator[tuple[str, bytes | None]]:
    """Entries of one state, page by page: some tens are in memory at once."""
    is_after = False
    while page := state.page(start, is_after, stop, values):
        yield from page
        start, is_after = page[-1][0], True


def _loaded(entries: Iterator[tuple[str, bytes | None]]) -> Iterator[tuple[Any, Any]]:
    return ((key_of(key), pickle.loads(value)) for key, value in entries if value is not None)
