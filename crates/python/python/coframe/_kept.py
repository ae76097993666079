"""What this process keeps in shared memory under names that it made up."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ._errors import NotFoundError


@dataclass(frozen=True)
class Shared:
    """A frame that :func:`coframe.share` or ``partial`` put into shared memory."""

    name: str
    nbytes: int
    #: Whether it stays when no reference is left, because its handle was pickled or read.
    pinned: bool
    _kept: Kept = field(repr=False, compare=False)

    def close(self) -> None:
        """Removes it. Processes that have it open keep their memory."""
        self._kept.close()


@dataclass(eq=False)
class Kept:
    """A name of a session, from its publication to its removal."""

    name: str
    nbytes: int
    #: The session that has the name.
    session: Any
    remove: Callable[[], object]
    process: int = field(default_factory=os.getpid)
    pinned: bool = False

    def __post_init__(self) -> None:
        _names[self.name] = self

    def close(self) -> None:
        if self.process == os.getpid():
            # Its session or store may have been removed already, and the name with it.
            with contextlib.suppress(NotFoundError):
                self.remove()
        self.drop()

    def drop(self) -> None:
        """The name is gone."""
        _names.pop(self.name, None)

    def warn(self) -> None:
        """For a frame whose last reference is gone, and which stays all the same."""
        if self.name in _names and self.process == os.getpid():
            warnings.warn(
                f"the shared frame `{self.name}` ({self.nbytes / 1e6:.1f} MB) stays in memory until this process ends, since it "
                "was pickled; keep it and call .close(), use `with`, or see coframe.shared()",
                ResourceWarning,
                stacklevel=3,
                source=self,
            )


_names: dict[str, Kept] = {}


def shared() -> list[Shared]:
    """What this process keeps in shared memory: frames of :func:`coframe.share` and ``partial``, the oldest first.

    ``sum(one.nbytes for one in coframe.shared())`` is its size; :func:`close_shared` removes all.
    """
    return [Shared(kept.name, kept.nbytes, kept.pinned, kept) for kept in _own()]


def close_shared() -> int:
    """Removes all that :func:`shared` lists, and returns how many frames that were.

    Frames that were never pickled are removed with their last reference, and everything is removed when this process ends,
    even if it is killed. This is for notebooks and long loops that lost frames which they had pickled. Processes that have a
    frame open keep its memory; those that open its handle later get a :class:`coframe.NotFoundError`.
    """
    kept = _own()
    for one in kept:
        one.close()
    return len(kept)


def forget(session: Any) -> None:
    """A session has ended with all of its names; ``None``: every one of this process."""
    for kept in _own():
        if session is None or kept.session is session:
            kept.drop()


def _own() -> list[Kept]:
    # A forked child has a copy of what its parent keeps.
    return [kept for kept in list(_names.values()) if kept.process == os.getpid()]
