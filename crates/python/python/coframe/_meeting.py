"""Cells at which processes wait for each other: events, conditions, barriers and semaphores."""

from __future__ import annotations

import math
import operator
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from . import _coframe
from ._cells import Cell, Enter, Lock, RLock, StoreLike
from ._errors import InvalidError
from ._waiters import Waiters

R = TypeVar("R")
#: Seconds after which a waiter checks again without a notification, in case the process that changed something was killed
#: before it notified.
_RECHECK = 1.0


def retried(event: _coframe.Event, attempt: Callable[[], R | None], timeout: float | None) -> R | None:
    """What ``attempt`` returns, which is called again after each pulse of an event; ``None`` on a timeout."""
    end = math.inf if timeout is None else time.monotonic() + timeout
    while True:
        since = event.pulses()
        if (result := attempt()) is not None:
            return result
        rest = end - time.monotonic()
        if rest <= 0:
            return None
        event.wait_pulse(since, min(rest, _RECHECK))


class Event(Cell[_coframe.Event]):
    """A flag that processes wait for, like ``multiprocessing.Event``."""

    def __init__(self, *, name: str | None = None, store: StoreLike = None) -> None:
        super().__init__(self._maker(), name, store)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return _coframe.Event

    def set(self) -> None:
        """Sets the event, and wakes every process that waits."""
        self._open().set()

    def clear(self) -> None:
        """Clears the event: from now on processes wait again."""
        self._open().clear()

    def is_set(self) -> bool:
        """Whether the event is set."""
        return self._open().is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the event is set; ``False`` on a timeout. Ctrl-C ends the wait."""
        return self._open().wait(timeout)


class Condition(Cell[_coframe.Event]):
    """A lock with notifications, like ``multiprocessing.Condition``.

    ``lock`` is a :class:`Lock` or :class:`RLock`, by default a new ``RLock``. A process that is killed while it waits takes no
    notification. One that was notified, and is killed before it continues, takes its notification with it. When the holder of
    the lock dies, the others get :class:`coframe.PoisonedError`.
    """

    def __init__(self, lock: Lock | RLock | None = None, *, name: str | None = None, store: StoreLike = None) -> None:
        if lock is None:
            lock = RLock(name=None if name is None else f"{name}.lock", store=store)
        self._lock: Lock | RLock = lock
        self._waiters = Waiters(name, store)
        super().__init__(self._maker(), name, store)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return _coframe.Event

    def _arguments(self) -> tuple[Any, ...]:
        return (self._lock, self._waiters)

    def _restore(self, lock: Lock | RLock, waiters: Waiters) -> None:
        self._lock, self._waiters = lock, waiters

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes the lock; ``False`` on a timeout. Ctrl-C ends the wait."""
        return self._lock.acquire(block, timeout)

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()

    def recover(self) -> None:
        """Takes the lock even if its owner died while it held it: see :meth:`Lock.recover`."""
        self._lock.recover()

    def _entered(self) -> Any:
        return self._lock._open()

    __enter__ = Enter()

    def __exit__(self, kind: object = None, *_: object) -> None:
        # A wait that was interrupted may end without the lock.
        if kind is None or self._lock._open().is_held():
            self.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Releases the lock, waits for a notification, and takes the lock again; ``False`` on a timeout."""
        event, lock = self._open(), self._lock._open()
        if not lock.is_held():
            raise RuntimeError("cannot wait on a condition whose lock this thread does not hold")
        place, since = self._waiters.enter(), event.pulses()
        depth = lock.release_all()
        notified = False
        try:
            notified = self._notified(place, since, timeout)
        finally:
            try:
                lock.acquire_again(depth)
            finally:
                if place is not None:
                    notified = self._waiters.leave(place)
        return notified

    def _notified(self, place: int | None, since: int, timeout: float | None) -> bool:
        event = self._open()
        if place is None:
            return event.wait_pulse(since, timeout)
        return retried(event, lambda: self._waiters.is_notified(place) or None, timeout) is not None

    def wait_for(self, predicate: Callable[[], R], timeout: float | None = None) -> R:
        """Waits until ``predicate`` is true, which is called with the lock held; returns its last result."""
        end = math.inf if timeout is None else time.monotonic() + timeout
        while not (result := predicate()):
            rest = end - time.monotonic()
            if rest <= 0:
                break
            self.wait(min(rest, _RECHECK))
        return result

    def notify(self, n: int = 1) -> None:
        """Wakes the first ``n`` waiters. If there are more than 256, those beyond the first 256 are woken too."""
        if not self._lock._open().is_held():
            raise RuntimeError("cannot notify a condition whose lock this thread does not hold")
        if n > 0:
            self._waiters.notify(n)
            self._open().pulse()

    def notify_all(self) -> None:
        """Wakes all waiters."""
        self.notify(sys.maxsize)


class Barrier(Cell[_coframe.Barrier]):
    """A point that a number of processes reach together, like ``multiprocessing.Barrier``.

    When one of them dies while it waits, it breaks for all. ``action`` is called in each round by the process that arrives
    last, before the others go on; if it raises, the barrier breaks. It is pickled with the barrier. ``timeout`` is the
    default of :meth:`wait`.
    """

    def __init__(
        self,
        parties: int,
        action: Callable[[], object] | None = None,
        timeout: float | None = None,
        *,
        name: str | None = None,
        store: StoreLike = None,
    ) -> None:
        if operator.index(parties) < 1:
            raise InvalidError(f"a barrier for {parties} parties: expected at least one")
        if action is not None and not callable(action):
            raise TypeError(f"the action of a barrier is a {type(action).__name__}: expected a function, or None")
        self._action, self._timeout = action, timeout
        super().__init__(self._maker(action, timeout, parties), name, store)
        if self.parties != parties:
            raise InvalidError(f"the barrier `{name}` is for {self.parties} parties: expected {parties}")

    @staticmethod
    def _maker(*arguments: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        # An existing one knows how many it is for.
        parties = arguments[2] if len(arguments) > 2 else 1
        return lambda how, store, name: _coframe.Barrier(how, store, name, parties)

    def _arguments(self) -> tuple[Any, ...]:
        return self._action, self._timeout

    def _restore(self, action: Callable[[], object] | None, timeout: float | None) -> None:
        self._action, self._timeout = action, timeout

    @property
    def parties(self) -> int:
        """The number of participants that it waits for."""
        return self._open().parties

    @property
    def n_waiting(self) -> int:
        """The number of participants that wait now."""
        return self._open().waiting()

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken."""
        return self._open().is_broken()

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the others, and returns an index from 0 to ``parties - 1``, a different one for each.

        :class:`coframe.BrokenError`, a ``threading.BrokenBarrierError``, if the barrier is broken, reset or aborted. Ctrl-C,
        a timeout or an exception of the action breaks it for all.
        """
        return self._open().wait(self._timeout if timeout is None else timeout, self._action)

    def reset(self) -> None:
        """Makes a broken barrier usable again. Those that wait now get the error."""
        self._open().reset()

    def abort(self) -> None:
        """Breaks the barrier: those that wait, and those that come, get the error until :meth:`reset`."""
        self._open().abort()


class Semaphore(Cell[_coframe.Semaphore]):
    """A number of permits, like ``multiprocessing.Semaphore``.

    The permits that a process took and did not release return when it ends, even if it is killed. Any process may call
    :meth:`release`: it returns a permit of this process, else one of another process, and adds one if all are free.
    An added permit belongs to no process. So ``Semaphore(0)`` is a signal: each ``release`` lets one ``acquire`` through.
    """

    _bounded = False

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
        """Returns the number of free permits."""
        return self._open().available()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Takes a permit; ``False`` on a timeout. Ctrl-C ends the wait."""
        return self._open().acquire(timeout if block else 0.0)

    def release(self) -> None:
        """Returns a permit, or adds one."""
        if not self._open().release(self._bounded):
            raise ValueError("the semaphore was released more often than it was acquired")

    def _entered(self) -> Any:
        return self._open()

    __enter__ = Enter()

    def __exit__(self, *_: object) -> None:
        self.release()


class BoundedSemaphore(Semaphore):
    """A :class:`Semaphore` whose :meth:`release` is a ``ValueError`` when all permits are free."""

    _bounded = True

