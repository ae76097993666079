"""Cells: small mutable shared objects, with the names that ``multiprocessing`` gives them.

Each is created or opened by name in a store, or without a name in a session of this process. All pickle as
their handle and open themselves at their first use, as frames do, in any process of this user on this machine.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from . import _coframe
from ._errors import InvalidError, NotFoundError
from ._lifetime import Lifetime, explain_session, new_name
from ._store import Store, native_of, session_of

N = TypeVar("N")
#: How often a cell is opened or made before the reason why it cannot be made is believed.
_ATTEMPTS = 3
StoreLike = Store | str | os.PathLike[str] | None


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
            with explain_session(self._text):
                made = self._make("handle", None, self._text)
            # Another thread may have opened it meanwhile. A semaphore's permits are in the object
            # that took them.
            if self._native is None:
                self._native = made
        return self._native

    @property
    def handle(self) -> str:
        """The str that opens this cell in another process."""
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


class Enter:
    """``__enter__`` of a cell that is acquired.

    ``with`` calls what the native part has, and nothing in between: a signal handler could raise there, after the cell
    was acquired and before ``with`` knows of it.
    """

    @overload
    def __get__(self, cell: None, kind: type) -> Enter: ...

    @overload
    def __get__(self, cell: Any, kind: type) -> Callable[[], bool]: ...

    def __get__(self, cell: Any, kind: type) -> Enter | Callable[[], bool]:
        return self if cell is None else self._acquire(cell)

    def __call__(self, cell: Any) -> bool:
        return self._acquire(cell)()

    @staticmethod
    def _acquire(cell: Any) -> Callable[[], bool]:
        acquire: Callable[[], bool] = cell._entered().acquire
        return acquire


class Counter(Cell[_coframe.Counter]):
    """A number that any process adds to, without a lock. ``value`` initialises a new one and is ignored if it exists."""

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


class Flag(Cell[_coframe.Flag]):
    """A switch that any process sets and reads, without a lock. To wait for it, use an :class:`Event`."""

    def __init__(self, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return _coframe.Flag

    @property
    def value(self) -> bool:
        """Whether the flag is set."""
        return self._open().get()

    @value.setter
    def value(self, on: bool) -> None:
        self._open().swap(bool(on))

    def swap(self, on: bool) -> bool:
        """Sets or clears the flag, and returns its previous value: if several processes set it, one of them gets ``False``."""
        return self._open().swap(bool(on))

    def __bool__(self) -> bool:
        return self.value


class Lockable(Cell[_coframe.LockedCell]):
    """A cell with a lock. The thread that acquires it releases it.

    A thread that ends while it holds the lock releases it silently. The death of a process is reported to the next
    owner.
    """

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes the lock; ``False`` on a timeout. Ctrl-C ends the wait.

        Raises :class:`coframe.PoisonedError` if its last owner died while it held the lock: see :meth:`recover`.
        """
        return self._lock().acquire(timeout if block else 0.0)

    def release(self) -> None:
        """Releases the lock."""
        if not self._lock().release():
            raise ValueError(
                "this thread does not hold the lock: release it in the thread that acquired it, or use a BoundedSemaphore(1), "
                "which any thread or process releases"
            )

    def recover(self) -> None:
        """Takes the lock even if its owner died while it held it, and declares its values consistent. Ctrl-C ends the wait."""
        self._lock().recover()

    def _lock(self) -> _coframe.LockedCell:
        """The cell that has the lock."""
        return self._open()

    def _entered(self) -> Any:
        return self._lock()

    __enter__ = Enter()

    def __exit__(self, *_: object) -> None:
        self.release()


class Lock(Lockable):
    """A lock between processes, like ``multiprocessing.Lock``, that only the thread which acquired it releases.

    The kernel releases it when that thread dies, so it belongs to the thread. Where another thread or process must release it,
    use a ``BoundedSemaphore(1)``. When its owner dies, the next one gets it with a :class:`coframe.PoisonedError`. Acquiring it
    twice in a thread is an error: see :class:`RLock`.
    """

    _native_kind = "lock"

    def __init__(self, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)

    @classmethod
    def _maker(cls, *_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return lambda how, store, name: _coframe.LockedCell(cls._native_kind, how, store, name)


class RLock(Lock):
    """A :class:`Lock` that the thread which holds it may acquire again, like ``multiprocessing.RLock``."""

    _native_kind = "rlock"
