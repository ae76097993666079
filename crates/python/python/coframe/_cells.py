"""Cells: small mutable shared things, with the names that ``multiprocessing`` gives them.

Each is created or opened by name in a store, or without a name in a session of this process. All pickle as
their handle and open themselves at their first use, as frames do, in any process of this user on this machine.
"""

from __future__ import annotations

import ctypes
import functools
import operator
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar, cast, overload

from . import _coframe, _numpy, _packages
from ._errors import ArgumentTypeError, InvalidError, NotFoundError
from ._lifetime import Lifetime, new_name, told_of_session
from ._store import Store, native_of, session_of

N = TypeVar("N")
#: How often a cell is opened or made before the reason why it cannot be made is believed.
_ATTEMPTS = 3
StoreLike = Store | str | os.PathLike[str] | None

_CODES = {
    **{code: f"i{8 * ctypes.sizeof(kind)}" for code, kind in zip("bhilq", (ctypes.c_byte, ctypes.c_short, ctypes.c_int, ctypes.c_long, ctypes.c_longlong), strict=True)},
    **{code: f"u{8 * ctypes.sizeof(kind)}" for code, kind in zip("BHILQ", (ctypes.c_ubyte, ctypes.c_ushort, ctypes.c_uint, ctypes.c_ulong, ctypes.c_ulonglong), strict=True)},
    "f": "f32",
    "d": "f64",
}


def _kind(typecode: Any) -> str:
    """Rust's name of a type: of a typecode of ``array``, a type of ``ctypes``, a dtype of numpy or its name."""
    code = getattr(typecode, "_type_", typecode)
    if isinstance(code, str) and code in _CODES:
        return _CODES[code]
    name = getattr(typecode, "name", None) or getattr(typecode, "__name__", None) or str(typecode)
    known = {"int": "i", "uint": "u", "float": "f"}
    word = name.rstrip("0123456789")
    kind = known.get(word, "") + name[len(word) :]
    if word in known and kind in set(_CODES.values()):
        return kind
    wrong = InvalidError if isinstance(typecode, str) else ArgumentTypeError
    raise wrong(f"the type {typecode!r}: expected a typecode such as \"i\" or \"d\", a type of ctypes, or a numpy dtype")


class Cell(Generic[N]):
    """What all cells have in common."""

    def __init__(self, make: Callable[[str, _coframe.Store | None, str], N], name: str | None, store: StoreLike) -> None:
        self._make = make
        self._lifetime: Lifetime | None = None
        self._native: N | None
        #: Whether this object made the cell, and may set what it holds at first.
        self._made = True
        if name is not None:
            self._native, self._made = self._open_or_make(native_of(store), name)
        else:
            session, name = session_of(store), new_name(type(self).__name__.lower())
            self._native = make("create", session, name)
            self._lifetime = Lifetime(functools.partial(self._remove, session, name))
        self._text: str = self._native.handle  # type: ignore[attr-defined]

    def _open_or_make(self, store: _coframe.Store, name: str) -> tuple[N, bool]:
        """The cell of a name, and whether it was made here: whichever process makes it first."""
        for _ in range(_ATTEMPTS):
            try:
                return self._make("open", store, name), False
            except NotFoundError:
                pass
            try:
                return self._make("create", store, name), True
            except InvalidError as error:
                refused = error
        # Another process made it each time, and it was gone again; or it cannot be made at all.
        raise refused

    @staticmethod
    def _remove(store: _coframe.Store, name: str) -> bool:
        return store.remove_cell(name)

    def _open(self) -> N:
        if self._native is None:
            with told_of_session(self._text):
                self._native = self._make("handle", None, self._text)
        return self._native

    @property
    def handle(self) -> str:
        """The text that names this cell."""
        if self._lifetime is not None:
            self._lifetime.pin()
        return self._text

    def __reduce__(self) -> tuple[Any, ...]:
        return (_again, (type(self), self.handle, self._arguments()))

    def _arguments(self) -> tuple[Any, ...]:
        """What :meth:`_maker` needs to open the cell again."""
        return ()

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<coframe.{type(self).__name__} {self._text}>"


def _again(kind: type[Cell[Any]], handle: str, arguments: tuple[Any, ...]) -> Cell[Any]:
    """An unpickled cell: opened at its first use, so that unpickling never raises."""
    cell = kind.__new__(kind)
    cell._make, cell._native, cell._text, cell._lifetime = kind._maker(*arguments), None, handle, None
    cell._restore(*arguments) if hasattr(cell, "_restore") else None
    return cell


class _Enter:
    """``__enter__`` of a cell that is acquired.

    ``with`` calls what the native part has, and nothing in between: a signal handler could raise there, after the cell
    was acquired and before ``with`` knows of it.
    """

    @overload
    def __get__(self, cell: None, kind: type) -> _Enter: ...

    @overload
    def __get__(self, cell: _Lockable | Semaphore, kind: type) -> Callable[[], bool]: ...

    def __get__(self, cell: _Lockable | Semaphore | None, kind: type) -> _Enter | Callable[[], bool]:
        return self if cell is None else cell._open().acquire

    def __call__(self, cell: _Lockable | Semaphore) -> bool:
        return cell._open().acquire()


class Counter(Cell[_coframe.Counter]):
    """A number that any process adds to, without a lock. ``value`` is for the one that makes it: an existing one stays."""

    def __init__(self, value: int = 0, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)
        if value and self._made:
            # Added, since others may have added to it already.
            self.add(value)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return _coframe.Counter

    def add(self, n: int = 1) -> int:
        """Adds, and returns the sum."""
        return self._open().add(n)

    @property
    def value(self) -> int:
        """The current value."""
        return self._open().get()

    @value.setter
    def value(self, n: int) -> None:
        self._open().set(n)

    def __int__(self) -> int:
        return self.value

    def __iadd__(self, n: int) -> Counter:
        self.add(n)
        return self


class _Lockable(Cell[_coframe.LockedCell]):
    """A cell with a lock. The thread that acquires it releases it, and does not acquire it twice.

    A thread that ends while it holds the lock releases it silently. The death of a process is reported to the next
    owner.
    """

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes the lock; ``False`` when the time is over. Ctrl-C ends the wait.

        :class:`coframe.PoisonedError` when its last owner died inside: see :meth:`recover`.
        """
        return self._open().acquire(timeout if block else 0.0)

    def release(self) -> None:
        """Gives the lock back."""
        if not self._open().release():
            raise ValueError("this thread does not hold the lock")

    def recover(self) -> None:
        """Takes the lock though its owner died inside, and calls what it guards sound again. Ctrl-C ends the wait."""
        self._open().recover()

    __enter__ = _Enter()

    def __exit__(self, *_: object) -> None:
        self.release()

    def get_lock(self) -> _Lockable:
        """The lock, for ``with value.get_lock():``."""
        return self


class Lock(_Lockable):
    """A lock between processes. When its owner dies, the next one gets it with a :class:`coframe.PoisonedError`."""

    def __init__(self, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return lambda how, store, name: _coframe.LockedCell("lock", how, store, name)


class Value(_Lockable):
    """A number under a lock: ``with value.get_lock(): value.value += 1``.

    ``value`` is for the one that makes it: an existing one stays.
    """

    def __init__(self, typecode: Any, value: Any = 0, *, name: str | None = None, store: StoreLike = None) -> None:
        self._kind = _kind(typecode)
        super().__init__(self._maker(self._kind, value), name, store)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        kind, value = (*arguments, None)[:2]
        return lambda how, store, name: _coframe.LockedCell(kind, how, store, name, value)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._kind,)

    def _restore(self, kind: str) -> None:
        self._kind = kind

    @property
    def value(self) -> Any:
        """The number, under the lock that this thread holds, or one for this moment."""
        return self._open().get()

    @value.setter
    def value(self, value: Any) -> None:
        self._open().set(value)


class Array(_Lockable):
    """Numbers under a lock. :meth:`to_numpy` is the array itself, writable, in shared memory.

    ``size_or_values``: how many, all zero, or the numbers. An existing one of a name must have as many, and keeps its own.
    """

    def __init__(
        self, typecode: Any, size_or_values: int | Iterable[Any], *, name: str | None = None, store: StoreLike = None
    ) -> None:
        self._kind = _kind(typecode)
        # Numpy's integers are sizes as well; its arrays of one integer, which have an index too, are values.
        is_size = hasattr(size_or_values, "__index__") and not hasattr(size_or_values, "__len__")
        values = None if is_size else list(cast("Iterable[Any]", size_or_values))
        size = len(values) if values is not None else operator.index(cast("int", size_or_values))
        if size < 0:
            raise InvalidError(f"an array of {size} numbers: expected none or more")
        super().__init__(self._maker(self._kind, size), name, store)
        if len(self) != size:
            raise InvalidError(f"the array `{name}` has {len(self)} numbers: expected {size}")
        if values and self._made:
            self._open().set(values)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        # An existing one knows how many numbers it has.
        kind, size = (*arguments, 0)[:2]
        return lambda how, store, name: _coframe.LockedCell(kind, how, store, name, None, size)

    def _arguments(self) -> tuple[Any, ...]:
        return (self._kind,)

    def _restore(self, kind: str) -> None:
        self._kind = kind

    def to_numpy(self) -> Any:
        """The numbers as a numpy array: writable, in shared memory, and alive for as long as anything made from it.

        It takes no lock: hold it (``with array:``), or agree with the other processes who writes where.
        """
        np = _packages.need("numpy", "Array.to_numpy")
        kind, size = self._kind[0], int(self._kind[1:]) // 8
        return np.asarray(self._open().elements(f"{'|' if size == 1 else '<'}{kind}{size}"))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        array = self.to_numpy()
        return _numpy.as_asked(array, dtype, copy, f"the array `{self._text}`")

    def __len__(self) -> int:
        return len(self._open())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._open().get())

    def __getitem__(self, key: int | slice) -> Any:
        """A number or, of a range, a list; under the lock."""
        values = self._under_lock(lambda array: array[key].tolist())
        return values

    def __setitem__(self, key: int | slice, value: Any) -> None:
        self._under_lock(lambda array: array.__setitem__(key, value))

    def _under_lock(self, call: Callable[[Any], Any]) -> Any:
        if self._open().is_held():
            return call(self.to_numpy())
        with self:
            return call(self.to_numpy())


class Event(Cell[_coframe.Event]):
    """A flag that processes wait for."""

    def __init__(self, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return _coframe.Event

    def set(self) -> None:
        """Wakes all who wait."""
        self._open().set()

    def clear(self) -> None:
        """From now on others wait again."""
        self._open().clear()

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._open().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; ``False`` when the time is over. Ctrl-C ends the wait."""
        return self._open().wait(timeout)


class Barrier(Cell[_coframe.Barrier]):
    """A point that a number of processes reach together. When one of them dies, it breaks for all."""

    def __init__(self, parties: int, *, name: str | None = None, store: StoreLike = None) -> None:
        if operator.index(parties) < 1:
            raise InvalidError(f"a barrier for {parties} parties: expected at least one")
        super().__init__(self._maker(parties), name, store)
        if self.parties != parties:
            raise InvalidError(f"the barrier `{name}` is for {self.parties} parties: expected {parties}")

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        # An existing one knows how many it is for.
        parties = arguments[0] if arguments else 1
        return lambda how, store, name: _coframe.Barrier(how, store, name, parties)

    @property
    def parties(self) -> int:
        """How many it waits for."""
        return self._open().parties

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the others; ``True`` for the one who came last. Ctrl-C, or too late, breaks it for all."""
        return self._open().wait(timeout)

    def reset(self) -> None:
        """Makes a broken barrier whole again."""
        self._open().reset()


class Semaphore(Cell[_coframe.Semaphore]):
    """A number of permits. Those of a process that dies come back."""

    def __init__(self, value: int = 1, *, name: str | None = None, store: StoreLike = None) -> None:
        if operator.index(value) < 0:
            raise InvalidError(f"a semaphore of {value} permits: expected none or more")
        super().__init__(self._maker(value), name, store)

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        # An existing one knows how many it has.
        permits = arguments[0] if arguments else 1
        return lambda how, store, name: _coframe.Semaphore(how, store, name, permits)

    def get_value(self) -> int:
        """How many permits are free."""
        return self._open().available()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes a permit; ``False`` when the time is over. Ctrl-C ends the wait."""
        return self._open().acquire(timeout if block else 0.0)

    def release(self) -> None:
        """Gives back a permit that this object took."""
        if not self._open().release():
            raise ValueError("no permit was taken here")

    __enter__ = _Enter()

    def __exit__(self, *_: object) -> None:
        self.release()
