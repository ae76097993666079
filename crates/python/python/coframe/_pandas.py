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
    table = _with_own_rows(native, arrow_table(native, views))
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


def _with_own_rows(native: Native, table: Any) -> Any:
    """A range index is not stored but described, for all rows: the description of a part is that of its rows."""
    text = native.schema_metadata.get("pandas")
    rows = re.search(r"&rows=(\d+)\.\.(\d+)", native.handle)
    if text is None or rows is None:
        return table
    description = json.loads(text)
    for index in description.get("index_columns", []):
        if isinstance(index, dict) and index.get("kind") == "range":
            first, step = index["start"], index["step"]
            index["start"], index["stop"] = (first + int(row) * step for row in rows.groups())
    return table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(description).encode()})
