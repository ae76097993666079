"""Names that cross to Arrow with a table: those of columns, and keys of metadata."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._errors import InvalidError

#: Key in the metadata of a frame that came from Python: the kind of table that it was. Its user's keys are others.
KIND = "coframe.python"


def refuse_nuls(names: Iterable[Any]) -> None:
    """The C data interface, which tables cross by, ends a name at its first NUL; Polars ends the process."""
    for name in names:
        if "\0" in str(name):
            raise InvalidError(f"the name `{repr(str(name))[1:-1]:.100}` of a column or field has a NUL in it: rename it")
