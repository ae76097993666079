"""The waiters of a condition: a table in shared memory, which is changed under the condition's lock."""

from __future__ import annotations

import os

from ._cells import StoreLike
from ._values import AtomicArray

#: How many waiters the table has room for. More than these are woken by each notification.
_PLACES = 256
#: The low bits of the time when a process started that are stored with its id: an id is used again.
_START = 0xFFFF_FFFF


class Waiters:
    """The waiters, in the order in which they came.

    The first word counts those that ever waited. Each place is two words: twice the number of its waiter, plus one when it was
    notified, or 0 for a free place; and the process of the waiter.
    """

    def __init__(self, name: str | None, store: StoreLike) -> None:
        self._words = AtomicArray("Q", 1 + 2 * _PLACES, name=None if name is None else f"{name}.waiters", store=store)

    def enter(self) -> int | None:
        """Returns a place for the calling thread; ``None`` if all are taken. Call it under the lock."""
        words = self._words._open()
        found = words.list()
        free = next((place for place in range(1, len(found), 2) if found[place] == 0), None)
        if free is None:
            free = next((place for place in range(1, len(found), 2) if not _is_alive(found[place + 1])), None)
        if free is not None:
            number = found[0] + 1
            words.change("set", 0, number)
            words.change("set", free + 1, _mark(os.getpid()))
            words.change("set", free, 2 * number)
        return free

    def is_notified(self, place: int) -> bool:
        """Whether the waiter at a place may continue."""
        return bool(self._words._open().get(place) & 1)

    def leave(self, place: int) -> bool:
        """Frees a place; whether its waiter was notified."""
        notified = self.is_notified(place)
        self._words._open().change("set", place, 0)
        return notified

    def notify(self, count: int) -> None:
        """Notifies the first waiters, and skips those that died. Call it under the lock."""
        words = self._words._open()
        found = words.list()
        waiting = sorted((found[place], place) for place in range(1, len(found), 2) if found[place] and not found[place] & 1)
        for number, place in waiting:
            if count <= 0:
                break
            if _is_alive(found[place + 1]):
                words.change("set", place, number + 1)
                count -= 1
            else:
                words.change("set", place, 0)


def _mark(pid: int) -> int:
    return pid << 32 | (_start(pid) or 0)


def _is_alive(mark: int) -> bool:
    pid = mark >> 32
    return pid == os.getpid() or _start(pid) in (mark & _START, 0)


def _start(pid: int) -> int | None:
    """When a process started, by the clock of the kernel: ``None`` if it has ended, 0 if that cannot be found out."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    except OSError:
        return 0
    return None if fields[0] in b"ZX" else int(fields[19]) & _START
