"""How long unnamed things live: in a session of this process."""

from __future__ import annotations

import atexit
import itertools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from . import _coframe, _reaper
from ._errors import Error, NotFoundError

if TYPE_CHECKING:
    from . import _kept

#: Taken again by a signal handler that runs while its thread waits inside.
_lock = threading.RLock()
_counter = itertools.count(1)
#: The session of a process in a store, by its directory: another store may have the same path later. A
#: forked child finds its parent's here, and leaves them alone.
_sessions: dict[tuple[int, int, int], _coframe.Session] = {}


def own_session(native: _coframe.Store) -> _coframe.Store:
    """This process's own session in a store, which the first call starts."""
    remove_left()
    directory = os.stat(native.path)
    key = (os.getpid(), directory.st_dev, directory.st_ino)
    with _lock:
        if (found := _living(key)) is not None:
            return found
        session = native.session()
        # A signal handler may have started one meanwhile, which has names already.
        if (found := _living(key)) is None:
            _sessions[key] = session
            found = session.store()
        guard(native)
    assert found is not None
    return found


def guard(store: _coframe.Store) -> None:
    """Has the sessions of this process in a store end with it, however it ends."""
    _end_after_children()
    _reaper.watch(store.path)


def _living(key: tuple[int, int, int]) -> _coframe.Store | None:
    session = _sessions.get(key)
    return None if session is None else session.store()


@contextmanager
def explain_session(handle: str) -> Iterator[None]:
    """Reports why the target of a handle is missing, if its session has ended."""
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


def is_of_another_process(handle: str) -> bool:
    """Whether what a handle names is in a session, and not shared by this process."""
    return "session=" in handle and f"share-{os.getpid()}-" not in handle


#: The finalizer of ``multiprocessing`` that ends the sessions of a process. A forked child finds its parent's.
_finalizers: dict[int, Any] = {}


def _end_after_children() -> None:
    """Leaves the end of the sessions to ``multiprocessing`` where a program has it.

    At exit it joins the children of the process, which may still open what was shared, and runs finalizers of a low
    priority after that. In its own forked children nothing else runs at exit.
    """
    util = sys.modules.get("multiprocessing.util")
    if util is not None and os.getpid() not in _finalizers:
        _finalizers[os.getpid()] = util.Finalize(None, _end_sessions, exitpriority=-100)


@atexit.register
def _at_exit() -> None:
    finalizer = _finalizers.get(os.getpid())
    # `multiprocessing` was imported first, so its turn comes later.
    if finalizer is None or not finalizer.still_active():
        _end_sessions()


def _end_sessions() -> None:
    """Ends the sessions of this process, and those that its workers left when they were killed."""
    own = [key for key in list(_sessions) if key[0] == os.getpid()]
    for key in own:
        session = _sessions.pop(key)
        store = session.store()
        # Imported by the first frame that is kept.
        if (kept := sys.modules.get(f"{__package__}._kept")) is not None:
            kept.forget(None)
        session.end()
        if store is not None:
            # What cannot be removed now is removed by the reaper, or by the next sweep.
            with suppress(Error):
                _coframe.end_dead_sessions(store.path, timeout=0.1)


def _after_fork() -> None:
    global _lock
    # Another thread of the parent may have held it.
    _lock = threading.RLock()
    # The parent's to remove.
    _left.clear()


os.register_at_fork(after_in_child=_after_fork)


class Lifetime:
    """Removes a name of a session when the last part of its frame is gone, unless its handle may be elsewhere."""

    __slots__ = ("_kept", "_pinned", "_process", "_remove")

    def __init__(self, remove: Callable[[], object], kept: _kept.Kept | None = None) -> None:
        """``kept``: what :func:`coframe.shared` lists until the name is removed."""
        self._remove: Callable[[], object] | None = remove
        self._process = os.getpid()
        self._pinned = False
        self._kept = kept

    def pin(self) -> None:
        """From now on only :meth:`end` and the end of the session remove it."""
        self._pinned = True
        if self._kept is not None:
            self._kept.pinned = True

    def end(self) -> None:
        """Removes the name; again after a call that was interrupted. In a forked child it does nothing."""
        remove = self._remove
        if remove is not None and self._process == os.getpid():
            remove()
        if self._kept is not None:
            self._kept.drop()
        self._remove = None

    def __del__(self) -> None:
        # At the end of the interpreter the session takes all of its names away.
        if self._pinned and os is not None and self._kept is not None:
            self._kept.warn()
        if not self._pinned and os is not None:
            try:
                self.end()
            except Exception:
                pass
            except BaseException:
                # Ctrl-C, which the interpreter reports and forgets.
                if self._remove is not None:
                    _left.append(self._remove if self._kept is None else self._kept.close)
                raise


#: What interrupted finalizers have left.
_left: list[Callable[[], object]] = []


def remove_left() -> None:
    """Removes what interrupted finalizers have left."""
    while _left:
        remove = _left[-1]
        try:
            remove()
        except Error:
            pass
        with suppress(ValueError):
            _left.remove(remove)
