"""The places where other libraries ask how an object is pickled, and where their processes start.

Each hook is installed when :func:`coframe.sharing` starts, or when its library is imported later, and is removed at
the end. None changes what ``pickle`` itself does, since programs write its pickles to files.
"""

from __future__ import annotations

import copyreg
import functools
import io
import os
import sys
from collections import ChainMap
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from ._reducers import CLASSES, LazyReducers, Reducers

#: That of `pickle`, which is not imported for a number: few programs need it at their start.
_DEFAULT_PROTOCOL = 5 if sys.version_info >= (3, 14) else 4

#: Undoes a hook.
Undo = Callable[[], None]
#: Called with the module that has the hook's place.
Hook = Callable[[Any], Undo]

_undo: dict[str, Undo] = {}
_adding: list[Callable[[], None]] = []
_wanted: dict[str, Hook] = {}
_settings: Any = None
#: Called before a process starts.
_prepare: Any = None
#: Called with the settings in a process that starts.
_join: Any = None


def install(
    reducers: Callable[..., Any], settings: Any, prepare: Callable[[], None], join: Callable[[tuple[Any, ...]], None]
) -> None:
    """Installs the hooks that are not installed yet.

    From now on, this process calls ``prepare`` before it starts another, which calls ``join`` with the settings.
    """
    global _settings, _prepare, _join
    _settings, _prepare, _join = settings, prepare, join
    plain, newest = reducers(Reducers, _DEFAULT_PROTOCOL), reducers(Reducers, 5)
    cloud, kept = reducers(LazyReducers, 5), reducers(Reducers, 5, always_named=True)
    hooks: dict[str, Hook] = {
        "multiprocessing.reduction": lambda module: _multiprocessing(module.ForkingPickler, plain),
        "multiprocessing.spawn": _start_data,
        "distributed.protocol.pickle": lambda module: _dask(module, kept),
        "joblib.pool": lambda module: _joblib_pool(module, newest),
        "ray.cloudpickle.cloudpickle": lambda module: _pickler_class(module.Pickler, kept),
    }
    for loky in ("loky", "joblib.externals.loky"):
        hooks[f"{loky}.backend.reduction"] = lambda module: _loky(module, cloud)
        hooks[f"{loky}.backend.spawn"] = _start_data
    hooks.update(dict.fromkeys(CLASSES, _imported))
    if settings.cloudpickle:
        for name in ("cloudpickle.cloudpickle", "joblib.externals.cloudpickle.cloudpickle"):
            hooks[name] = lambda module: _pickler_class(module.Pickler, kept)
    for name, hook in hooks.items():
        _wanted.setdefault(name, hook)
        if name in sys.modules and name not in _undo:
            _undo[name] = hook(sys.modules[name])
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


def remove() -> None:
    """Removes all hooks."""
    _wanted.clear()
    if _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)
    while _undo:
        _undo.popitem()[1]()


def _multiprocessing(pickler: Any, reducers: Reducers) -> Undo:
    """Its table is copied for each message, by a process that was woken for it: anything but a plain dict costs some us."""

    def add() -> None:
        for cls, reduce in reducers.current().items():
            # A reducer of the program goes first.
            pickler._extra_reducers.setdefault(cls, reduce)

    def undo() -> None:
        _adding.remove(add)
        for cls, reduce in reducers.items():
            if pickler._extra_reducers.get(cls) is reduce:
                del pickler._extra_reducers[cls]

    add()
    _adding.append(add)
    return undo


def add_imported() -> None:
    """Adds the classes that are imported by now to tables that are not asked for them."""
    for add in _adding:
        add()


def _imported(module: Any) -> Undo:
    add_imported()
    return lambda: None


def _loky(module: Any, reducers: LazyReducers) -> Undo:
    """An attribute of a module is read without a call, so the table is told when it is copied."""
    reducers.update(module._dispatch_table)
    module._dispatch_table = reducers
    return lambda: setattr(module, "_dispatch_table", reducers.others())


def _pickler_class(pickler: Any, reducers: Reducers) -> Undo:
    """For a pickler whose class has the table."""
    table = pickler.dispatch_table
    pickler.dispatch_table = ChainMap(reducers, table)
    return functools.partial(setattr, pickler, "dispatch_table", table)


def _joblib_pool(module: Any, shared: Reducers) -> Undo:
    """The pickler of joblib's backend "multiprocessing". joblib's reducers, which map arrays, go first."""
    original = module.CustomizablePickler

    def init(self: Any, writer: Any, reducers: Any = None, *args: Any, **kwargs: Any) -> None:
        original.__init__(self, writer, {**shared.current(), **(reducers or {})}, *args, **kwargs)

    module.CustomizablePickler = type(original.__name__, (original,), {"__init__": init})
    return functools.partial(setattr, module, "CustomizablePickler", original)


def _dask(module: Any, reducers: Reducers) -> Undo:
    """Dask pickles with ``pickle`` and ``cloudpickle`` by their names in this module."""
    names = {"pickle": module.pickle, "cloudpickle": module.cloudpickle}
    own = {name: _Pickling(original, reducers) for name, original in names.items()}
    pickler = module._DaskPickler
    pickler.dispatch_table = ChainMap(reducers, copyreg.dispatch_table)
    for name, one in own.items():
        setattr(module, name, one)

    def undo() -> None:
        del pickler.dispatch_table
        for name, original in names.items():
            setattr(module, name, original)

    return undo


class _Pickling(ModuleType):
    """A module like ``pickle``, whose ``dumps`` uses a table of reducers."""

    def __init__(self, original: Any, reducers: Reducers) -> None:
        super().__init__(original.__name__)
        self._original = original
        base = original.Pickler
        # That of `pickle` has a descriptor by this name instead of a table.
        table = getattr(base, "dispatch_table", None)
        others = table if isinstance(table, ChainMap) else copyreg.dispatch_table
        self._pickler = type("Pickler", (base,), {"dispatch_table": ChainMap(reducers, others)})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._original, name)

    def dumps(self, thing: Any, protocol: int | None = None, **options: Any) -> bytes:
        """As that of ``pickle``."""
        file = io.BytesIO()
        self._pickler(file, protocol=protocol, **options).dump(thing)
        return file.getvalue()


# Processes that are not forked.


def _start_data(module: Any) -> Undo:
    """Has a new process share as well: it unpickles what its parent prepares before it does anything else."""
    original = module.get_preparation_data

    @functools.wraps(original)
    def get_preparation_data(*args: Any, **kwargs: Any) -> Any:
        data = original(*args, **kwargs)
        if _settings is not None:
            # A package may have been half imported when its hook was installed.
            add_imported()
            _prepare()
            data["coframe"] = _Start(tuple(_settings))
        return data

    module.get_preparation_data = get_preparation_data
    return functools.partial(setattr, module, "get_preparation_data", original)


class _Start:
    """Unpickled it is ``None``, and the process shares. It needs nothing that must be imported, and never fails."""

    def __init__(self, settings: tuple[Any, ...]) -> None:
        self._settings = settings

    def __reduce__(self) -> tuple[Any, ...]:
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        return exec, (_START.format(root=root, module=_join.__module__, name=_join.__name__, settings=self._settings),)


_START = """
import sys
sys.path.append({root!r})
try:
    from {module} import {name}
    {name}({settings!r})
except Exception:
    pass
finally:
    sys.path.remove({root!r})
"""


# Libraries that are imported later.


class _Finder:
    """Calls the hook of a module when it has been imported. Not of `importlib.abc`, which takes 8 ms to import."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name not in _wanted:
            return None
        others = (finder for finder in sys.meta_path if finder is not self and hasattr(finder, "find_spec"))
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target)) is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment]
        return spec


class _Loader:
    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        name = module.__name__
        if name in _wanted and name not in _undo:
            _undo[name] = _wanted[name](module)


_FINDER = _Finder()
