"""The frames that this process used last, with the categoricals that Polars has read of them.

Polars reads each key of a categorical once. A worker that opens the same frame for each task reads them for the first task.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

from ._coframe import Frame as Native

#: So many frames stay open at most.
_MOST = 4


class Recent(NamedTuple):
    """A frame, and its categoricals by the positions of their columns."""

    native: Native
    categoricals: dict[int, Any]


_frames: OrderedDict[str, Recent] = OrderedDict()


def opened(handle: str, open_: Callable[[str], Native], is_kept: bool) -> Recent:
    """The frame of a handle: one that was used lately, or one that is opened now, and kept open if ``is_kept``."""
    _forget_removed()
    found = _frames.pop(handle, None) or Recent(open_(handle), {})
    if is_kept:
        _keep(handle, found)
    return found


def categoricals(handle: str, native: Native, own: dict[int, Any]) -> dict[int, Any]:
    """The categoricals of an open frame: those read lately, or ``own``, which is kept if the frame has any."""
    if not any(kind.startswith("Dictionary(") for kind in native.types):
        return own
    _forget_removed()
    found = _frames.pop(handle, None) or Recent(native, own)
    _keep(handle, found)
    return found.categoricals


def _keep(handle: str, frame: Recent) -> None:
    _frames[handle] = frame
    while len(_frames) > _MOST:
        _frames.popitem(last=False)


def _forget_removed() -> None:
    """Frees the memory of frames whose owner has removed them."""
    for handle, frame in list(_frames.items()):
        if frame.native.private() is None:
            _frames.pop(handle, None)
