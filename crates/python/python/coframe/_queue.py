"""A queue between processes."""

from __future__ import annotations

import operator
import pickle
import queue
import struct
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, TypeVar

from . import _coframe
from ._cells import Cell, StoreLike
from ._dict import Dict
from ._errors import ClosedError
from ._meeting import retried

T = TypeVar("T")
#: Key of the state of a queue in its dict, and that state: the bound (0: none), the numbers of the next item to take and to
#: put, how many items were put and not done yet, and whether it was shut down.
_STATE = "state"
_WORDS = struct.Struct("<5Q")


class Queue(Cell[_coframe.Event], Generic[T]):
    """A queue that processes share, as ``multiprocessing.Queue`` and ``JoinableQueue``, without a thread or a process.

    Items are pickled by :meth:`put` and are whatever pickles; a frame crosses as its handle. They are stored in a shared dict,
    so they are stored when ``put`` returns, they outlive the process that put them, and a process that is killed puts or takes
    an item atomically. An item that a process took before it was killed is gone. ``maxsize`` bounds the number of
    items, and an existing queue of a name keeps its own; 0 means unbounded.

    A queue without a name ends with the process that created it.
    """

    def __init__(self, maxsize: int = 0, *, name: str | None = None, store: StoreLike = None) -> None:
        bound = max(operator.index(maxsize), 0)
        self._items = Dict(name=name, store=store)
        super().__init__(_coframe.Event, name, store)
        self._is_closed = False

        def start(items: _coframe.DictTransaction) -> None:
            if items.get(_STATE) is None:
                items.put(_STATE, _WORDS.pack(bound, 0, 0, 0, 0))

        self._items._open().transaction(start)

    @staticmethod
    def _maker(*_: Any) -> Callable[[str, _coframe.Store | None, str], Any]:
        return _coframe.Event

    def _arguments(self) -> tuple[Any, ...]:
        return (self._items,)

    def _restore(self, items: Dict) -> None:
        self._items, self._is_closed = items, False

    def put(self, obj: T, block: bool = True, timeout: float | None = None) -> None:
        """Puts an item at the end; waits for room in a queue with a bound. Ctrl-C ends the wait.

        Raises :class:`queue.Full` if no room is free in time, :class:`coframe.ClosedError` if the queue was closed or shut down.
        """
        self._check_open()
        # A copy, since a pickler gives a view.
        item = bytes(ForkingPickler.dumps(obj, pickle.HIGHEST_PROTOCOL))

        def add(items: _coframe.DictTransaction) -> bool:
            bound, first, end, open_, is_shut = _state(items)
            if is_shut:
                raise ClosedError("the queue was shut down: it takes no more items")
            if bound and end - first >= bound:
                return False
            items.put(_key(end), item)
            items.put(_STATE, _WORDS.pack(bound, first, end + 1, open_ + 1, is_shut))
            return True

        if not self._retried(add, block, timeout):
            raise queue.Full

    def get(self, block: bool = True, timeout: float | None = None) -> T:
        """Takes the first item; waits for one. Ctrl-C ends the wait.

        Raises :class:`queue.Empty` if none arrives in time, :class:`coframe.ClosedError` if the queue was closed, or was shut down
        and is empty.
        """
        self._check_open()

        def take(items: _coframe.DictTransaction) -> bytes | None:
            bound, first, end, open_, is_shut = _state(items)
            if first == end:
                if is_shut:
                    raise ClosedError("the queue was shut down, and is empty")
                return None
            key = _key(first)
            item = items.get(key)
            items.delete(key)
            items.put(_STATE, _WORDS.pack(bound, first + 1, end, open_, is_shut))
            return item

        item = self._retried(take, block, timeout)
        if item is None:
            raise queue.Empty
        value: T = pickle.loads(item)
        return value

    def put_nowait(self, obj: T) -> None:
        """Puts an item if there is room now."""
        self.put(obj, block=False)

    def get_nowait(self) -> T:
        """Takes an item if there is one now."""
        return self.get(block=False)

    def qsize(self) -> int:
        """The number of items."""
        _, first, end, _, _ = self._now()
        return end - first

    def empty(self) -> bool:
        """Whether it is empty now."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Whether it has as many items as its bound allows now."""
        bound, first, end, _, _ = self._now()
        return bound > 0 and end - first >= bound

    def task_done(self) -> None:
        """Reports that an item which was taken is done; :meth:`join` waits for all. One too many is a ``ValueError``."""

        def done(items: _coframe.DictTransaction) -> None:
            bound, first, end, open_, is_shut = _state(items)
            if open_ == 0:
                raise ValueError("task_done() called more often than items were put")
            items.put(_STATE, _WORDS.pack(bound, first, end, open_ - 1, is_shut))

        self._items._open().transaction(done)
        self._open().pulse()

    def join(self) -> None:
        """Waits until each item that was put is done. Ctrl-C ends the wait."""
        retried(self._open(), lambda: self._now()[3] == 0 or None, None)

    def close(self) -> None:
        """Ends the use of the queue by this object, as in ``multiprocessing``. Other processes go on; see :meth:`shutdown`."""
        self._is_closed = True

    def join_thread(self) -> None:
        """Returns at once: items are in the queue when :meth:`put` returns. For programs that use ``multiprocessing``'s."""

    def cancel_join_thread(self) -> None:
        """Does nothing: see :meth:`join_thread`."""

    def shutdown(self, immediate: bool = False) -> None:
        """Ends the queue for every process, as ``queue.Queue.shutdown``: ``put`` is an error, and ``get`` one when it is empty.

        ``immediate=True`` removes the items.
        """

        def shut(items: _coframe.DictTransaction) -> None:
            bound, first, end, open_, _ = _state(items)
            if immediate:
                for number in range(first, end):
                    items.delete(_key(number))
                open_, first = open_ - (end - first), end
            items.put(_STATE, _WORDS.pack(bound, first, end, open_, 1))

        self._items._open().transaction(shut)
        self._open().pulse()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClosedError("this queue was closed")

    def _now(self) -> tuple[int, int, int, int, int]:
        items = self._items._open().snapshot()
        try:
            return _state(items)
        finally:
            items.close()

    def _retried(self, change: Callable[[_coframe.DictTransaction], Any], block: bool, timeout: float | None) -> Any:
        items = self._items._open()
        done = retried(self._open(), lambda: items.transaction(change) or None, timeout if block else 0.0)
        if done is not None:
            self._open().pulse()
        return done


def _state(items: Any) -> tuple[int, int, int, int, int]:
    words: tuple[int, int, int, int, int] = _WORDS.unpack(items.get(_STATE))
    return words


def _key(number: int) -> str:
    return f"item {number:016x}"
