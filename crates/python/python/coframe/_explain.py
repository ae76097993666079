"""What a frame shares, and what reading it in each library copies."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import _polars
from ._errors import ColumnNotFoundError

if TYPE_CHECKING:
    from ._coframe import Frame as Native

_CAST = "views are cast to large strings and binaries; views=True shares them"


@dataclass(frozen=True)
class ColumnExplain:
    """One column: what is shared, and why something is not."""

    name: str
    #: Its Arrow type.
    type: str
    #: Bytes of its buffers that are in the mapping.
    shared: int
    #: Bytes that opening copied, and why.
    copied: int
    reason: str | None
    #: Why each library cannot share it; ``None`` where everything is shared.
    polars: str | None
    arrow: str | None
    numpy: str | None

    @property
    def pandas(self) -> str | None:
        """As ``arrow``: columns of ArrowDtype are on the same bytes."""
        return self.arrow


@dataclass(frozen=True)
class Explain:
    """The columns of a frame, in order. Printed, it is a table for people."""

    columns: list[ColumnExplain] = field(default_factory=list)

    @property
    def copied(self) -> int:
        """Bytes that opening copied in all columns."""
        return sum(column.copied for column in self.columns)

    def __getitem__(self, name: str) -> ColumnExplain:
        for column in self.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.columns)
        raise ColumnNotFoundError(f"column `{name}` not found in the frame; it has {known}")

    def __str__(self) -> str:
        width = max([6, *(len(column.name) for column in self.columns)])
        lines = [f"{'column':{width}} {'shared bytes':>14} {'copied bytes':>14}  why"]
        for column in self.columns:
            lines.append(f"{column.name:{width}} {column.shared:>14} {column.copied:>14}  {'; '.join(_why(column)) or '-'}")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def _why(column: ColumnExplain) -> list[str]:
    reasons = [column.reason] if column.reason else []
    # What numpy cannot share is many, and known: it is asked for column by column.
    notes = {"polars": column.polars, "arrow, pandas": column.arrow}
    return reasons + [f"{library}: {note}" for library, note in notes.items() if note]


def explain(native: Native) -> Explain:
    """Reads the dictionaries, no rows."""
    polars = _polars.work(native)
    return Explain(
        [
            ColumnExplain(name, kind, shared, copied, reason, polars.get(name), _CAST if views else None, numpy)
            for name, kind, shared, copied, reason, views, numpy in native.explain()
        ]
    )
