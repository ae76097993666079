"""The reaper: a small process that frees the sessions of this one when it is killed.

What a process shares is freed by that process, when it ends. One that is killed (SIGKILL, SIGTERM, the OOM killer) or
leaves by ``os._exit`` runs no code at its end. So the first session of a process in a store starts a reaper, which
waits for the end of the process and then removes its sessions.

``COFRAME_REAPER=0`` in the environment starts none; then what a killed process shared stays until the next sweep.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings

from . import _coframe

_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_reap.py")
#: The process and the store (by its directory) of each reaper that was started. A forked child finds its parent's here.
_started: set[tuple[int, int, int]] = set()


def watch(store: str) -> None:
    """Starts the reaper of this process for a store, unless it runs already. Takes some 10 ms, once."""
    directory = os.stat(store)
    key = (os.getpid(), directory.st_dev, directory.st_ino)
    if key in _started or not _is_wanted():
        return
    _started.add(key)
    try:
        _start(store)
    except OSError as error:
        warnings.warn(
            f"the reaper of coframe cannot be started: {error}. Memory that this process shares is freed when it ends, "
            "but if it is killed only by the next sweep. COFRAME_REAPER=0 starts no reaper and silences this warning",
            RuntimeWarning,
            stacklevel=2,
        )


def _is_wanted() -> bool:
    if os.environ.get("COFRAME_REAPER", "") == "0":
        return False
    # The kernel ends all processes of a container with its first one: a reaper could do nothing.
    if os.getpid() == 1:
        return False
    # Another program that has Python inside of it would be started a second time.
    if not sys.executable or getattr(sys, "frozen", False):
        return False
    return os.path.basename(os.path.realpath(sys.executable)).startswith("python")


def _start(store: str) -> None:
    assert _coframe.__file__ is not None
    arguments = [sys.executable, "-I", "-S", "-E", _PROGRAM, str(os.getpid()), store, _coframe.__file__]
    # Of the process itself, so that it means this process and no later one with its number.
    owner = os.pidfd_open(os.getpid())
    try:
        # Not `fork`, which would copy the page tables of this process and run while other threads hold locks.
        starter = os.posix_spawn(
            sys.executable,
            arguments,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, owner, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
                (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            ],
            # All are blocked for good: it ends by itself once its owner has ended, and must not end before.
            setsigmask=signal.valid_signals(),
        )
    finally:
        os.close(owner)
    _wait(starter)


def _wait(starter: int) -> None:
    """Waits for the process that starts the reaper, so that ``os.wait`` in this one cannot find it."""
    try:
        status = os.waitpid(starter, 0)[1]
    except ChildProcessError:
        # Another thread waited for it, or SIGCHLD is ignored.
        return
    except BaseException:
        # An exception of a signal handler. The child ends in a moment.
        _wait(starter)
        raise
    if status != 0:
        raise OSError(f"`{sys.executable} {_PROGRAM}` ended with {os.waitstatus_to_exitcode(status)}")
