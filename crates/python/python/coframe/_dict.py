"""A dict that processes share."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, ItemsView, Iterator, MutableMapping, ValuesView
from typing import Any

from . import _coframe
from ._cells import Cell, StoreLike
from ._errors import InvalidError

_INFINITY = float("inf")
_PLAIN = (str, bytes, int, float, bool, type(None))


class Dict(Cell[_coframe.Dict], MutableMapping[Any, Any]):
    """A dict that processes share: what ``Manager().dict()`` is, without a process that serves it.

    Keys are texts, bytes, numbers, ``None``, and tuples of them, of up to about 400 characters as Python writes them;
    values are whatever pickles, and are copied in and out: change what ``d[k]`` gave, and set it again, or use
    :meth:`change`. The order is that of the keys' texts. ``pop``, ``popitem``, ``setdefault``, ``clear`` and ``change`` are one
    step each, whoever else writes; ``update`` is a step for each key.

    Inside of :meth:`change`, and while another process is there, others wait to write; Ctrl-C ends their wait.
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
        value = self._open().get(_text(key))
        if value is None:
            raise KeyError(key)
        return pickle.loads(value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._open().insert(_text(key), pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def __delitem__(self, key: Any) -> None:
        if self._open().remove(_text(key)) is None:
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return self._open().contains(_text(key))

    def __len__(self) -> int:
        return len(self._open())

    def __iter__(self) -> Iterator[Any]:
        """The keys as they are now."""
        return (_key(key) for key, _ in self._open().entries())

    def items(self) -> ItemsView[Any, Any]:
        """The entries; each time that they are gone through, those of one moment."""
        return _Items(self)

    def values(self) -> ValuesView[Any]:
        """The values; each time that they are gone through, those of one moment."""
        return _Values(self)

    def pop(self, key: Any, *default: Any) -> Any:
        """Takes a key away and returns its value, in one step; without a default, a key that is not there is a KeyError."""
        if len(default) > 1:
            raise TypeError(f"pop expected at most 2 arguments, got {len(default) + 1}")
        value = self._open().remove(_text(key))
        if value is not None:
            return pickle.loads(value)
        if default:
            return default[0]
        raise KeyError(key)

    def popitem(self) -> tuple[Any, Any]:
        """Takes the first entry away and returns it, in one step."""
        first = self._open().pop_first()
        if first is not None:
            return _key(first[0]), pickle.loads(first[1])
        raise KeyError("popitem(): the dict is empty")

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """The value of a key, which is set to ``default`` first where there is none, in one step."""
        new = pickle.dumps(default, pickle.HIGHEST_PROTOCOL)
        value = self._open().update(_text(key), lambda old: new if old is None else old)
        return default if value is None else pickle.loads(value)

    def copy(self) -> dict[Any, Any]:
        """A dict of one moment."""
        return {_key(key): pickle.loads(value) for key, value in self._open().entries()}

    def clear(self) -> None:
        """Takes all entries away, in one step."""
        self._open().clear()

    def change(self, key: Any, change: Callable[[Any], Any], default: Any = None) -> Any:
        """Sets a key to what ``change`` makes of its value (of ``default`` where there is none), in one step."""

        def bytes_of(old: bytes | None) -> bytes:
            new = change(default if old is None else pickle.loads(old))
            return pickle.dumps(new, pickle.HIGHEST_PROTOCOL)

        value = self._open().update(_text(key), bytes_of)
        return None if value is None else pickle.loads(value)


class _Items(ItemsView[Any, Any]):
    _mapping: Dict

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return iter(self._mapping.copy().items())


class _Values(ValuesView[Any]):
    _mapping: Dict

    def __iter__(self) -> Iterator[Any]:
        return iter(self._mapping.copy().values())

    def __contains__(self, value: object) -> bool:
        return value in self._mapping.copy().values()


def _text(key: Any) -> str:
    plain = _plain(key)
    try:
        return _written(plain)
    except ValueError as error:
        # Python writes integers of up to some thousand digits.
        raise InvalidError(f"a key that is too long: {error}") from error


def _plain(key: Any) -> Any:
    """One form for keys that a dict takes as equal: 1, 1.0, True and numpy's own numbers."""
    if type(key) is tuple:
        return tuple(map(_plain, key))
    if type(key).__module__ == "numpy" and hasattr(key, "item"):
        key = key.item()
    if isinstance(key, bool) or (type(key) is float and key.is_integer()):
        return int(key)
    if type(key) in _PLAIN and key == key:
        return key
    raise InvalidError(
        f"a key of type {type(key).__name__}: expected a text, bytes, a number, None, or a tuple of them"
        if type(key) not in _PLAIN
        else "a key that is no number (nan): it is not equal to itself, so it would never be found"
    )


def _written(key: Any) -> str:
    if type(key) is tuple:
        return f"({', '.join(map(_written, key))}{',' if len(key) == 1 else ''})"
    # What Python writes as `inf` is a name, which `literal_eval` does not read; this is the same number.
    if type(key) is float and key in (_INFINITY, -_INFINITY):
        return "1e999" if key > 0 else "-1e999"
    return repr(key)


def _key(text: str) -> Any:
    return ast.literal_eval(text)
