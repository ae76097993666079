"""A dict that processes share."""

from __future__ import annotations

import ast
import pickle
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

from . import _coframe
from ._cells import Cell, StoreLike
from ._errors import InvalidError

_PLAIN = (str, bytes, int, float, bool, type(None))


class Dict(Cell[_coframe.Dict], MutableMapping[Any, Any]):
    """A dict that processes share: what ``Manager().dict()`` is, without a process that serves it.

    Keys are texts, bytes, numbers, ``None``, and tuples of them, of up to about 400 characters as Python writes them;
    values are whatever pickles, and are copied in and out: change what ``d[k]`` gave, and set it again, or use
    :meth:`change`. The order is that of the keys' texts.
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
        return (ast.literal_eval(key) for key, _ in self._open().entries())

    def copy(self) -> dict[Any, Any]:
        """A dict of one moment."""
        return {ast.literal_eval(key): pickle.loads(value) for key, value in self._open().entries()}

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


def _text(key: Any) -> str:
    if not _is_plain(key):
        raise InvalidError(
            f"a key of type {type(key).__name__}: expected a text, bytes, a number, None, or a tuple of them"
        )
    return repr(_same(key))


def _is_plain(key: Any) -> bool:
    return all(map(_is_plain, key)) if type(key) is tuple else type(key) in _PLAIN and key == key


def _same(key: Any) -> Any:
    """One form for keys that a dict takes as equal: 1, 1.0 and True."""
    if type(key) is tuple:
        return tuple(map(_same, key))
    if isinstance(key, bool) or (isinstance(key, float) and key.is_integer()):
        return int(key)
    return key
