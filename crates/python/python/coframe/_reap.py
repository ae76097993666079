"""The program of the reaper, which :mod:`coframe._reaper` starts with a bare interpreter.

    python -I -S -E _reap.py OWNER STORE EXTENSION

Its standard input is a pidfd of the process OWNER. It waits until that process has ended, then removes the sessions of
dead processes from STORE, and ends. It imports nothing of the package before that, and is small for it: 2.6 MB.
"""

from __future__ import annotations

import posix
import select
import sys
import time

# Not from `typing`, which would make this process larger; type checkers know the name.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Pauses between attempts, in seconds. A dead process may keep its lock for a moment: the kernel frees it with the last
#: reference to the memory of the process, which a reader of its /proc files has as well.
_PAUSES = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0, 5.0)


def main(owner: int, store: str, extension: str) -> None:
    """Leaves the owner's family, waits for its end and cleans up."""
    _close_inherited()
    starter = posix.getpid()
    if posix.fork() != 0:
        posix._exit(0)
    # No terminal, and no signal that is sent to the group of the owner. No directory that could not be unmounted.
    posix.setsid()
    posix.chdir("/")
    with open("/proc/self/comm", "w") as name:
        name.write("coframe-reaper")
    while posix.getppid() == starter:
        time.sleep(0.001)
    if posix.getppid() == owner:
        # The owner adopts orphans (prctl PR_SET_CHILD_SUBREAPER): this process would be a child that it waits for.
        return
    poll = select.poll()
    poll.register(0, select.POLLIN)
    poll.poll()
    _end_dead_sessions(store, extension)


def _close_inherited() -> None:
    """Closes what the owner was given to inherit: others may wait for the end of such a pipe."""
    for descriptor in map(int, posix.listdir("/proc/self/fd")):
        if descriptor > 2:
            try:
                posix.close(descriptor)
            except OSError:
                # The one that the directory was read with.
                pass


def _end_dead_sessions(store: str, extension: str) -> None:
    native = None
    for pause in _PAUSES:
        time.sleep(pause)
        try:
            if not posix.listdir(f"{store}/sessions"):
                return
        except FileNotFoundError:
            return
        if native is None:
            native = _load(extension)
        try:
            native.end_dead_sessions(store)
        except Exception:
            # Another process kept the store locked.
            continue


def _load(extension: str) -> Any:
    from importlib.machinery import ExtensionFileLoader, ModuleSpec
    from importlib.util import module_from_spec

    loader = ExtensionFileLoader("coframe._coframe", extension)
    module = module_from_spec(ModuleSpec("coframe._coframe", loader, origin=extension))
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
