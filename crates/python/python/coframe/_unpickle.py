"""Shared objects as they arrive in messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from . import _recent, _witness
from ._coframe import Frame as Native
from ._coframe import Store as NativeStore
from ._errors import Error, NotFoundError
from ._lifetime import explain_session
from ._parcel import mapped
from ._unavailable import Unavailable

#: Called with an object that arrived, and what :func:`coframe.sharing` notes of objects that it sends, so that the object
#: can be sent on.
adopt: Callable[[Any, str, Any, _witness.Unchanged], None] | None = None


def received(handle: str, kind: str, detail: Any, once: tuple[str, str] | None = None) -> Any:
    """What a message holds. Never raises for an object that cannot be opened: it raises at its first use.

    ``once``: the path and id of the session in which the name is removed, since nothing else will read it.
    """
    try:
        native, thing, witness = _open(handle, kind, detail, once is None)
        # Only what this process sent itself: a scheduler in it passes messages on. Others do so rarely, and pay nothing.
        unchanged = witness() if adopt is not None and native.name.startswith(f"sharing-{os.getpid()}-") else None
    except Exception as error:
        return Unavailable(_explained(error))
    if once is not None:
        _remove(native, once)
    elif adopt is not None and unchanged is not None:
        adopt(thing, native.name, (received, (handle, kind, detail, None)), unchanged)
    return thing


def _open(handle: str, kind: str, detail: Any, cached: bool) -> tuple[Native, Any, Callable[[], _witness.Unchanged]]:
    """The frame, the object in it, and how to find out later whether the object was changed."""
    if kind == "parcel":
        frame = mapped(handle, detail, _native)
        opened = frame.open()
        return frame.native, opened.thing, lambda: _witness.of_received(opened)
    # Imported by the first process that needs it: a program that shares nothing does not wait for it.
    from . import _polars

    native, known = _recent.opened(handle, _native, cached)
    df = _polars.data_frame(native, known)
    thing = df if detail is None else df.to_series().alias(detail)
    return native, thing, lambda: _witness.of_polars(thing)


def _native(handle: str) -> Native:
    with explain_session(handle):
        return Native.from_handle(handle)


def _remove(native: Native, session: tuple[str, str]) -> None:
    try:
        NativeStore.open_session(*session).remove(native.name)
    except Error:
        # The session has ended, or will with its owner.
        return


def _explained(error: Exception) -> Exception:
    if isinstance(error, NotFoundError):
        return NotFoundError(f"a shared table in this message was removed before it was read: {error}; keep `sharing()` on until then")
    return error
