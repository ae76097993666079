"""How long things without a name of their own live: in a session of this process."""

from __future__ import annotations

import atexit
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from . import _coframe
from ._errors import Error, NotFoundError

if TYPE_CHECKING:
    from ._store import Store

#: Taken again by a signal handler that runs while its thread waits inside.
_lock = threading.RLock()
_counter = itertools.count(1)
#: The session of a process in a store, which is known by its directory: another one may stand at the same path later. A
#: forked child finds its parent's here, and leaves them alone.
_sessions: dict[tuple[int, int, int], _coframe.Session] = {}


def session_of(store: Store | str | os.PathLike[str] | None) -> _coframe.Store:
    """A session itself, or this process's own session in a store, begun at the first call."""
    from ._store import Session, native_of

    _remove_left()
    native = native_of(store)
    if isinstance(store, Session):
        return native
    directory = os.stat(native.path)
    key = (os.getpid(), directory.st_dev, directory.st_ino)
    with _lock:
        if (found := _living(key)) is not None:
            return found
        session = native.session()
        # One that a signal handler has begun meanwhile has names already.
        if (found := _living(key)) is None:
            _sessions[key] = session
            found = session.store()
    assert found is not None
    return found


def _living(key: tuple[int, int, int]) -> _coframe.Store | None:
    session = _sessions.get(key)
    return None if session is None else session.store()


@contextmanager
def told_of_session(handle: str) -> Iterator[None]:
    """Says why what a handle names is not there, where its session has ended."""
    try:
        yield
    except NotFoundError as error:
        if "session=" not in handle:
            raise
        why = "it was in a session, which ends with its process: that process has ended, or freed it; publish what must outlive it"
        raise NotFoundError(f"{error}: {why}") from error


def new_name(kind: str) -> str:
    """A name that no process has used: a forked child may use a session of its parent."""
    return f"{kind}-{os.getpid()}-{next(_counter)}"


@atexit.register
def _end_sessions() -> None:
    for (process, *_), session in list(_sessions.items()):
        if process == os.getpid():
            session.end()


def _after_fork() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.RLock()
    # The parent's to remove.
    _left.clear()


os.register_at_fork(after_in_child=_after_fork)


class Lifetime:
    """Removes a name of a session when the last part of its frame is gone, unless somebody else may have its handle."""

    __slots__ = ("_pinned", "_process", "_remove")

    def __init__(self, remove: Callable[[], object]) -> None:
        self._remove: Callable[[], object] | None = remove
        self._process = os.getpid()
        self._pinned = False

    def pin(self) -> None:
        """From now on only :meth:`end` and the end of the session remove it."""
        self._pinned = True

    def end(self) -> None:
        """Removes the name; again after a call that was interrupted. In a forked child it does nothing."""
        remove = self._remove
        if remove is not None and self._process == os.getpid():
            remove()
        self._remove = None

    def __del__(self) -> None:
        # At the end of the interpreter the session takes all of its names away.
        if not self._pinned and os is not None:
            try:
                self.end()
            except Exception:
                pass
            except BaseException:
                # Ctrl-C, which the interpreter reports and forgets.
                if self._remove is not None:
                    _left.append(self._remove)
                raise


#: What interrupted finalizers have left.
_left: list[Callable[[], object]] = []


def _remove_left() -> None:
    while _left:
        remove = _left[-1]
        try:
            remove()
        except Error:
            pass
        with suppress(ValueError):
            _left.remove(remove)
