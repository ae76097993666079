"""Where the default store is, and stores that stay open between calls."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

S = TypeVar("S")


def default_path() -> str:
    """The path of the default store."""
    return os.environ.get("COFRAME_STORE") or f"/dev/shm/coframe-{os.geteuid()}"


class LastStore(Generic[S]):
    """Keeps the store that was opened last, because opening one takes as long as opening a frame."""

    def __init__(self, store: Callable[[str], S]) -> None:
        self._store = store
        #: What the directory was, with its owner and mode, which a store checks when it is opened.
        self._last: tuple[tuple[str, int, int, int, int], S] | None = None

    def open(self, path: str) -> S | None:
        """The store at a path; ``None`` if it does not exist, and it is not created."""
        try:
            found = os.stat(path)
        except OSError:
            return self._store(path) if os.path.lexists(path) else None
        directory = (path, found.st_dev, found.st_ino, found.st_uid, found.st_mode)
        if self._last is None or self._last[0] != directory:
            self._last = directory, self._store(path)
        return self._last[1]
