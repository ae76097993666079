"""Which objects the picklers of other libraries hand to :func:`coframe.sharing`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

#: The classes that are shared, by package: instances of derived classes are pickled as before.
CLASSES = {
    "numpy": {"ndarray"},
    "pandas": {"DataFrame", "Series"},
    "polars": {"DataFrame", "Series"},
    "pyarrow": {"RecordBatch", "Table"},
}

_NAMES = frozenset().union(*CLASSES.values())

#: What pickle calls with an object, to know how it is rebuilt.
Reducer = Callable[[Any], Any]


def is_known(cls: Any) -> bool:
    """Whether objects of a class are shared. Imports nothing."""
    # Asked for every class that pickle meets; few have one of these names.
    if cls.__name__ not in _NAMES:
        return False
    package = cls.__module__.partition(".")[0] if isinstance(getattr(cls, "__module__", None), str) else ""
    return cls.__name__ in CLASSES.get(package, ())


class Reducers(dict[Any, Any]):
    """A table of reducers with those of the shared classes, which need not be imported before the table is used.

    A class is added when it is looked up, and every imported one by :meth:`current`.
    """

    def __init__(self, reduce: Reducer, reduce_array: Reducer) -> None:
        super().__init__()
        self._reduce = reduce
        self._reduce_array = reduce_array
        #: Packages whose classes are not in the table yet.
        self._wanted = list(CLASSES)

    def __missing__(self, cls: Any) -> Reducer:
        if not is_known(cls):
            raise KeyError(cls)
        return self._add(cls)

    def _add(self, cls: Any) -> Reducer:
        reduce = self._reduce_array if cls.__name__ == "ndarray" else self._reduce
        self[cls] = reduce
        return reduce

    def current(self) -> Reducers:
        """The table with all classes that are imported by now, for a pickler that copies it."""
        for package in self._wanted:
            if package in sys.modules:
                self._wanted = [package for package in self._wanted if not self._has_all_of(package)]
                break
        return self

    def _has_all_of(self, package: str) -> bool:
        """Adds the classes of a package, which while it is being imported does not have all of them."""
        module = sys.modules.get(package)
        classes = [getattr(module, name, None) for name in CLASSES[package]]
        for cls in classes:
            if cls is not None and cls not in self:
                self._add(cls)
        return None not in classes


class LazyReducers(Reducers):
    """A table that is :meth:`current` whenever it is copied, for a library that gives no other moment."""

    def __iter__(self) -> Iterator[Any]:
        # With this method here, `dict.update` asks for `keys` instead of reading the entries itself.
        return iter(self.keys())

    def keys(self) -> Any:
        """The classes in the table, with all that are imported by now."""
        self.current()
        return super().keys()

    def others(self) -> dict[Any, Any]:
        """The table without what was added."""
        own = (self._reduce, self._reduce_array)
        return {cls: reduce for cls, reduce in self.items() if reduce not in own}


def size(thing: Any) -> int:
    """The bytes of an object that could be shared, as well as it is known without reading them."""
    package = type(thing).__module__.partition(".")[0]
    if package == "pandas":
        with contextlib.suppress(AttributeError, TypeError):
            return sum(getattr(array, "_codes", array).nbytes for array in thing._mgr.arrays if array.dtype != object)
        return int(thing.memory_usage(index=False, deep=False).sum())
    if package == "polars":
        return int(thing.estimated_size())
    if package == "numpy" and thing.dtype.hasobject:
        return 0
    return int(thing.nbytes)
