"""Frames as tables of pyarrow and DataFrames of pandas, on the mapped bytes."""

from __future__ import annotations

import importlib
import json
import re
from typing import TYPE_CHECKING, Any, Literal

from . import _packages, _rebuild, _recipe
from ._errors import InvalidError
from ._numpy import Classic, large_integers, refuse_list_views_in_runs
from ._writable import Writable

if TYPE_CHECKING:
    from ._coframe import Frame as Native

Dtypes = Literal["arrow", "numpy"]


def arrow_table(native: Native, views: bool) -> Any:
    """A ``pa.Table``."""
    pa = _packages.need("pyarrow", "Frame.to_arrow")
    # Arrow's stream, as arrow-rs exports it, loses the fact that the keys of a map are sorted.
    if (batches := native.with_sorted_keys(not views)) is not None:
        return pa.Table.from_batches([pa.record_batch(batch) for batch in batches])
    return pa.table(native if views else Classic(native))


def data_frame(native: Native, dtypes: Dtypes, views: bool, writable: bool = False) -> Any:
    """A ``pd.DataFrame`` with the index that it was published with."""
    pd = _packages.need("pandas", "Frame.to_pandas")
    _packages.need("pyarrow", "Frame.to_pandas")
    if dtypes not in ("arrow", "numpy"):
        raise InvalidError(f'the dtypes {dtypes!r}: expected "arrow" or "numpy"')
    # Registers pandas' own types with pyarrow, which pandas does at the first use of one.
    importlib.import_module("pandas.core.arrays.arrow.extension_types")
    table = arrow_table(native, views)
    if (recipe := recipe_of(native)) is not None:
        own = Writable(native) if writable and dtypes == "numpy" else _rebuild.as_it_is
        return _rebuild.data_frame(recipe, table, _rows(native), _rebuild.Wanted(dtypes == "arrow", own))
    description = _description(native)
    if description is not None:
        if not table.num_columns and (index := _range(description)) is not None:
            # Without columns pyarrow loses the rows.
            return pd.DataFrame(index=pd.RangeIndex(index["start"], index["stop"], index["step"], name=index["name"]))
        table = _described(table, description)
    if dtypes == "arrow":
        return table.to_pandas(types_mapper=pd.ArrowDtype)
    refuse_list_views_in_runs(native)
    # A block for each column: joined blocks would be a copy of all.
    df = table.to_pandas(split_blocks=True)
    _keep_integers(pd, table, df, index_columns(native))
    return df.copy() if writable else df


def _keep_integers(pd: Any, table: Any, df: Any, index: list[str]) -> None:
    """Makes objects of integers and nulls that floats, which pandas would make of them, do not hold."""
    columns = [name for name in table.column_names if name not in index]
    for position, name in enumerate(columns):
        column = table.column(name)
        if str(column.type) in ("int64", "uint64") and (values := large_integers(column)) is not None:
            df.isetitem(position, pd.Series(values, index=df.index, dtype=object))


def recipe_of(native: Native) -> _recipe.Recipe | None:
    """How the DataFrame was that a frame was published from, if it was one and a process of this user published it."""
    text = native.metadata.get(_recipe.RECIPE)
    return None if text is None or not native.sealed else _recipe.recipe_of(text)


def again(native: Native) -> list[tuple[str, str]]:
    """The metadata with which a frame is published again, as the same kind of DataFrame."""
    recipe = recipe_of(native)
    return [] if recipe is None else [(_recipe.RECIPE, _recipe.text_of(_rebuild.cut(recipe, _rows(native))))]


def _rows(native: Native) -> tuple[int, int]:
    """The rows of the whole frame that a part of it has."""
    found = re.search(r"&rows=(\d+)\.\.(\d+)", native.handle)
    return (0, native.rows) if found is None else (int(found[1]), int(found[2]))


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
    # By its position: labels other than texts have different names as columns.
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
