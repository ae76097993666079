"""Tables and arrays that cross process borders as handles, in unchanged programs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from . import _hooks, _reducers, _unpickle, _witness
from ._coframe import Store as NativeStore
from ._errors import ArgumentTypeError, InvalidError
from ._lifetime import guard, new_name
from ._parcel import Parcel

if TYPE_CHECKING:
    from ._coframe import Frame as Native
    from ._coframe import Session as NativeSession
    from ._store import Store

Message = tuple[Any, tuple[Any, ...]]
#: Of :func:`reducers`.
Table = TypeVar("Table", bound=_reducers.Reducers)


class Settings(NamedTuple):
    """What the processes of a program have in common. Sent to those that are not forked."""

    #: The store and the session in it.
    path: str
    session: str
    owner: int
    min_bytes: int
    types: tuple[tuple[str, str], ...] | None
    budget: int
    verbose: bool
    cloudpickle: bool


class _Known(NamedTuple):
    """An object that was shared and still lives."""

    thing: weakref.ref[Any]
    name: str
    message: Message
    unchanged: _witness.Unchanged
    #: Its only message so far takes the name away.
    is_once: bool


class Sharer:
    """Shares objects as one process of a program."""

    def __init__(self, settings: Settings, store: NativeStore) -> None:
        self.settings = settings
        self._store = store
        self._known: dict[int, _Known] = {}
        self._is_guarded = False
        self._lock = threading.RLock()

    def guard(self) -> None:
        """Has the session end with its owner, however that ends: before something is in it, or another process may fill it.

        Not sooner, for it takes some 10 ms, and many programs share nothing.
        """
        if not self._is_guarded and self.settings.owner == os.getpid():
            self._is_guarded = True
            guard(self._store)

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = threading.RLock()

    def message(self, thing: Any, always_named: bool) -> Message | None:
        """How an object is rebuilt on shared memory; ``None`` for one that is to be pickled.

        ``always_named``: the message may be read more than once.
        """
        wanted = self.settings.types
        if wanted is not None and (type(thing).__module__, type(thing).__qualname__) not in wanted:
            return None
        try:
            size = _reducers.size(thing)
            if size < self.settings.min_bytes:
                return None
            with self._lock:
                return self._again(thing) or self._first(thing, size, always_named)
        except Exception as error:
            self._note(thing, f"{type(error).__name__}: {error}")
            return None

    def _again(self, thing: Any) -> Message | None:
        """The message of an object that was shared before, and was not changed."""
        known = self._known.get(id(thing))
        if known is None or known.is_once or known.thing() is not thing:
            return None
        if not self._store.exists(known.name) or not known.unchanged(thing):
            return None
        return known.message

    def _used(self) -> int:
        """Bytes of what is shared now; frames and sessions of others in the store do not count."""
        used = 0
        # The layout is that of FORMAT.md, section 1. Nothing is in a session that has ended.
        with contextlib.suppress(FileNotFoundError), os.scandir(os.path.join(self.settings.path, "sessions", self.settings.session)) as entries:
            for entry in entries:
                # The reader of a result may remove it meanwhile.
                with contextlib.suppress(FileNotFoundError):
                    used += 512 * entry.stat(follow_symlinks=False).st_blocks
        return used

    def _first(self, thing: Any, size: int, always_named: bool) -> Message | None:
        if self._used() + size > self.settings.budget:
            self._note(thing, f"the budget of {self.settings.budget} bytes is used up")
            return None
        self.guard()
        known = self._known.get(id(thing))
        is_known = known is not None and known.thing() is thing
        # What another process than the owner sends is a result as a rule: its reader takes it over. What is sent again
        # stays, for there may be more readers.
        is_once = self.settings.owner != os.getpid() and not always_named and not is_known
        name = new_name("sharing")
        _, args, unchanged = self._published(thing, name)
        once = (self.settings.path, self.settings.session) if is_once else None
        message = (_unpickle.received, (*args, once))
        self._remember(thing, name, message, unchanged, is_once)
        return message

    def _published(self, thing: Any, name: str) -> tuple[Native, tuple[Any, ...], _witness.Unchanged]:
        package = type(thing).__module__.partition(".")[0]
        if package == "polars":
            return self._published_polars(thing, name)
        parcel = Parcel(thing)
        published = parcel.publish(self._store, name)
        unchanged = _witness.always if package == "pyarrow" else _witness.of_parcel(thing, parcel, published.buffers)
        return published.native, (published.native.handle, "parcel", published.index_length), unchanged

    def _published_polars(self, thing: Any, name: str) -> tuple[Native, tuple[Any, ...], _witness.Unchanged]:
        from . import _tables

        is_series = type(thing).__name__ == "Series"
        exporter, rest, metadata = _tables.source(thing.alias("values").to_frame() if is_series else thing)
        native = self._store.publish(
            name, exporter, rest, layout="keep", keep=0, metadata=metadata, mode=None, batch_rows=None
        )
        return native, (native.handle, "polars", thing.name if is_series else None), _witness.of_polars(thing)

    def adopt(self, thing: Any, name: str, message: Message, unchanged: _witness.Unchanged) -> None:
        """Notes an object that arrived in a message, so that it is not written again to be sent on."""
        with self._lock:
            self._remember(thing, name, message, unchanged, False)

    def _remember(self, thing: Any, name: str, message: Message, unchanged: _witness.Unchanged, is_once: bool) -> None:
        key = id(thing)
        known = self._known
        # A later object may get the same id.
        forget = weakref.ref(thing, lambda dead: known.pop(key, None) if key in known and known[key].thing is dead else None)
        # An object whose message is read once is not compared, so nothing of it is kept.
        known[key] = _Known(forget, name, message, _witness.always if is_once else unchanged, is_once)

    def _note(self, thing: Any, why: str) -> None:
        if self.settings.verbose:
            print(f"coframe.sharing: a {type(thing).__module__}.{type(thing).__qualname__} is pickled: {why}", file=sys.stderr)


#: The sharers of this process, the innermost last.
_sharers: list[Sharer] = []
#: The bytes from which on the innermost one shares.
_least = 0


def reducers(table: type[Table], protocol: int, always_named: bool = False) -> Table:
    """A table with what picklers of this protocol call for the classes that are shared."""

    def reduce(thing: Any) -> Any:
        message = _sharers[-1].message(thing, always_named) if _sharers else None
        return thing.__reduce_ex__(protocol) if message is None else message

    def reduce_array(thing: Any) -> Any:
        # Programs send many small arrays, and each costs what is done here.
        return thing.__reduce_ex__(protocol) if thing.nbytes < _least else reduce(thing)

    return table(reduce, reduce_array)


def join(settings: tuple[Any, ...]) -> None:
    """Shares as part of the program that started this process."""
    found = Settings(*settings)
    begin(Sharer(found, NativeStore.open_session(found.path, found.session)))


def begin(sharer: Sharer) -> None:
    """Shares with these settings until :func:`end`."""
    _sharers.append(sharer)
    _use_innermost()


def end(sharer: Sharer) -> None:
    """Pickles again as before."""
    if sharer in _sharers:
        _sharers.remove(sharer)
    _use_innermost()


def _use_innermost() -> None:
    global _least
    if not _sharers:
        _unpickle.adopt = None
        _hooks.remove()
        return
    sharer = _sharers[-1]
    _least, _unpickle.adopt = sharer.settings.min_bytes, sharer.adopt
    _hooks.install(reducers, sharer.settings, sharer.guard, join)


def _before_fork() -> None:
    _hooks.add_imported()
    for sharer in _sharers:
        sharer.guard()


def _after_fork() -> None:
    for sharer in _sharers:
        sharer.after_fork()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork)


class sharing:
    """Shares tables and arrays with other processes instead of pickling them, in a ``with``.

    ``with coframe.sharing(): pool.map(functools.partial(f, df), items)``: each DataFrame and Series of pandas and Polars,
    Table and RecordBatch of pyarrow and array of numpy of at least ``min_bytes`` is written to shared memory once, however
    often it is sent, and crosses as a handle: through multiprocessing, concurrent.futures and joblib, and through Dask and
    Ray on one machine, as arguments and as results, inside of other objects too. Workers get an object that is equal to the
    pickled one, and may change it. Everything else is pickled as before. ``python -m coframe PROGRAM`` runs a program so.

    An object that was changed since it was sent is written again. The memory is freed at the end of the ``with``; a
    message that is read later raises :class:`coframe.NotFoundError` at the first use of the object.

    ``types``: the classes to share; by default all of the above. ``budget``: bytes that may be used; by default half of what
    is free. ``cloudpickle=True`` also changes what ``cloudpickle.dumps`` returns: such a pickle can be read only until the end
    of the ``with``, so a program must not store it. ``verbose=True`` prints why an object is pickled.
    """

    def __init__(
        self,
        min_bytes: int = 1 << 20,
        *,
        types: Iterable[type] | None = None,
        budget: int | None = None,
        store: Store | str | os.PathLike[str] | None = None,
        cloudpickle: bool = False,
        verbose: bool = False,
    ) -> None:
        _check_bytes("min_bytes", min_bytes)
        if budget is not None:
            _check_bytes("budget", budget)
        self._types = None if types is None else tuple(map(_named, types))
        self._min_bytes, self._budget, self._in = min_bytes, budget, store
        self._cloudpickle, self._verbose = cloudpickle, verbose
        self._sharer: Sharer | None = None
        self._session: NativeSession | None = None

    def __enter__(self) -> sharing:
        if self._session is not None:
            raise InvalidError("this sharing() is on already; create another one for a `with` inside of it")
        self._session = session = _root(self._in).session()
        store = session.store()
        assert store is not None
        free = store.usage()[1][2]
        budget = min(free, _available()) // 2 if self._budget is None else self._budget
        settings = Settings(
            path=store.path,
            session=str(session.id()),
            owner=os.getpid(),
            min_bytes=self._min_bytes,
            types=self._types,
            budget=budget,
            verbose=self._verbose,
            cloudpickle=self._cloudpickle,
        )
        self._sharer = Sharer(settings, store)
        begin(self._sharer)
        return self

    def __exit__(self, *_: object) -> None:
        if self._sharer is not None:
            end(self._sharer)
        if self._session is not None:
            self._session.end()
        self._sharer = self._session = None


def _root(store: Any) -> NativeStore:
    # Without the module of stores, whose import takes longer than all the rest.
    if store is None or isinstance(store, (str, os.PathLike)):
        return NativeStore(None if store is None else os.fspath(store))
    from ._store import native_of

    return native_of(store)


def _check_bytes(what: str, value: Any) -> None:
    if not isinstance(value, int):
        raise ArgumentTypeError(f"{what}={value!r:.100}: expected a number of bytes as an int")
    if value < 0:
        raise InvalidError(f"{what}={value}: expected at least 0 bytes")


def _named(cls: Any) -> tuple[str, str]:
    if not isinstance(cls, type) or not _reducers.is_known(cls):
        known = ", ".join(f"{package}.{name}" for package, names in _reducers.CLASSES.items() for name in sorted(names))
        raise ArgumentTypeError(f"types: {cls!r:.100} is not shared; expected some of {known}")
    return cls.__module__, cls.__qualname__


def _available() -> int:
    """The bytes of memory that programs can get, according to the kernel."""
    try:
        with open("/proc/meminfo") as text:
            return next(int(line.split()[1]) * 1024 for line in text if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return sys.maxsize
