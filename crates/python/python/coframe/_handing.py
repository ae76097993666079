"""Frames handed to other libraries: what those raise becomes an exception of this package that names the column."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from ._errors import Error, UnsupportedError

if TYPE_CHECKING:
    from ._coframe import Frame as Native

R = TypeVar("R")


def handed(library: str, native: Native, make: Callable[[Native], R]) -> R:
    """What ``make`` makes of a frame. On an error it is called for each column, to find the one that it cannot take."""
    try:
        return make(native)
    except BaseException as error:
        if not _is_of_a_library(error):
            raise
        which = next((f"column `{name}`" for name in native.columns if _fails(native, name, make)), f"the frame `{native.name}`")
        # What follows the first line is advice for users of that library.
        reason = next(iter(str(error).splitlines()), "")
        raise UnsupportedError(
            f"{library} cannot take {which}: {type(error).__name__}: {reason}; leave it out, or take the frame in another way"
        ) from error


def _is_of_a_library(error: BaseException) -> bool:
    if isinstance(error, (Error, MemoryError)):
        return False
    # A panic of Polars is not an `Exception`.
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def _fails(native: Native, name: str, make: Callable[[Native], R]) -> bool:
    try:
        make(native.select([name]))
    except BaseException as error:
        if not _is_of_a_library(error):
            raise
        return True
    return False
