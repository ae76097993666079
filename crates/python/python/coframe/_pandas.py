"""Frames as tables of pyarrow and DataFrames of pandas, on the mapped bytes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Literal

from . import _packages
from ._errors import InvalidError
from ._numpy import Classic

if TYPE_CHECKING:
    from ._coframe import Frame as Native

Dtypes = Literal["arrow", "numpy"]


def arrow_table(native: Native, views: bool) -> Any:
    """A ``pa.Table``."""
    pa = _packages.need("pyarrow", "Frame.arrow")
    return pa.table(native if views else Classic(native))


def data_frame(native: Native, dtypes: Dtypes, views: bool) -> Any:
    """A ``pd.DataFrame`` with the index that it was published with."""
    pd = _packages.need("pandas", "Frame.pandas")
    _packages.need("pyarrow", "Frame.pandas")
    if dtypes not in ("arrow", "numpy"):
        raise InvalidError(f'the dtypes {dtypes!r}: expected "arrow" or "numpy"')
    table = arrow_table(native, views)
    description = _description(native)
    if description is not None:
        if not table.num_columns and (index := _range(description)) is not None:
            # Without columns pyarrow loses the rows.
            return pd.DataFrame(index=pd.RangeIndex(index["start"], index["stop"], index["step"], name=index["name"]))
        table = _described(table, description)
    if dtypes == "arrow":
        return table.to_pandas(types_mapper=pd.ArrowDtype)
    # A block for each column: joined blocks would be a copy of all.
    return table.to_pandas(split_blocks=True)


def index_columns(native: Native) -> list[str]:
    """The columns that hold the index of a DataFrame of pandas, in a frame that came from one."""
    text = native.schema_metadata.get("pandas")
    if text is None:
        return []
    return [column for column in json.loads(text).get("index_columns", []) if isinstance(column, str)]


def series(native: Native, name: str, dtypes: Dtypes, views: bool) -> Any:
    """A column as a ``pd.Series``; ``native`` has it and the columns of the index."""
    df = data_frame(native, dtypes, views)
    text = native.schema_metadata.get("pandas")
    levels = [] if text is None else json.loads(text).get("index_columns", [])
    if name in levels and not len(df.columns):
        return df.index.get_level_values(levels.index(name)).to_series(index=df.index)
    # By its position: labels that are no texts have others as the names of columns.
    return df.iloc[:, 0]


def with_own_index(native: Native) -> Any:
    """The frame as an exporter whose range index, if it has one, is that of its rows."""
    description = _description(native)
    return native if description is None or not native.columns else _described(arrow_table(native, views=True), description)


def _description(native: Native) -> dict[str, Any] | None:
    """What pandas notes about a part of a frame, where that is other than for the frame.

    A range index is not stored but described, for all rows: the description of a part is that of its rows.
    """
    text = native.schema_metadata.get("pandas")
    rows = re.search(r"&rows=(\d+)\.\.(\d+)", native.handle)
    if text is None or rows is None:
        return None
    description: dict[str, Any] = json.loads(text)
    if (index := _range(description)) is not None:
        first, step = index["start"], index["step"]
        index["start"], index["stop"] = (first + int(row) * step for row in rows.groups())
    return description


def _range(description: dict[str, Any]) -> dict[str, Any] | None:
    indexes = description.get("index_columns", [])
    return next((index for index in indexes if isinstance(index, dict) and index.get("kind") == "range"), None)


def _described(table: Any, description: dict[str, Any]) -> Any:
    return table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(description).encode()})
