"""Maps of frames that stay for the next task.

A worker that unpickles the same frame for each task would map it anew each time, and its first read of every page would
be a page fault. So from the second time on its map is kept until the process has not opened the frame for a second. A kept
map holds no lock: versions are removed as ever, and the memory of a removed one is free after that second.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict

from ._coframe import Frame as Native
from ._coframe import release_maps

#: Seconds that a map stays after its last use.
_STAYS = 1.0
#: How often maps are looked through.
_EVERY = 0.5
#: So many segments are remembered as opened once.
_MOST = 16

_seen: OrderedDict[str, None] = OrderedDict()
_is_watched = False


def opened(handle: str) -> Native:
    """The frame of a handle."""
    segment = handle.partition("&rows=")[0].partition("&columns=")[0]
    again = segment in _seen
    _seen[segment] = None
    # Another thread may have emptied it meanwhile.
    while len(_seen) > _MOST:
        _seen.pop(next(iter(_seen), ""), None)
    if _is_watched:
        # Maps of removed segments make room before another one is made.
        release_maps(_STAYS)
    frame = Native.from_handle(handle, again)
    if again and not _is_watched:
        _watch()
    return frame


def _watch() -> None:
    global _is_watched
    _is_watched = True
    try:
        threading.Thread(target=_release, name="coframe-maps", daemon=True).start()
    except RuntimeError:
        # The interpreter ends, or the process has too many threads.
        _is_watched = False
        release_maps(0.0)


def _release() -> None:
    global _is_watched
    while True:
        time.sleep(_EVERY)
        if release_maps(_STAYS):
            continue
        _is_watched = False
        # A thread that has opened a frame meanwhile relied on this one.
        if not release_maps(_STAYS):
            return
        _is_watched = True


def _after_fork() -> None:
    # The thread is the parent's.
    global _is_watched
    _is_watched = False
    _seen.clear()
    release_maps(0.0)


os.register_at_fork(after_in_child=_after_fork)
