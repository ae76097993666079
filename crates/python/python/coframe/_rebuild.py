"""DataFrames of pandas out: the columns of a frame and its recipe, on the mapped bytes where numpy has the type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from . import _objects, _packages
from ._errors import UnsupportedError
from ._recipe import Recipe

#: Makes an array that may be written to of one on the mapped bytes.
Own = Callable[[Any], Any]


class Wanted(NamedTuple):
    """How a DataFrame shall be."""

    #: Whether columns of Arrow's types are of ArrowDtype.
    arrow: bool
    own: Own


def data_frame(recipe: Recipe, table: Any, rows: tuple[int, int], wanted: Wanted) -> Any:
    """A DataFrame of the columns that a table has; ``rows`` are those of the published frame that it holds."""
    pd = _packages.need("pandas", "Frame.to_pandas")
    known = {name: position for position, name in enumerate(recipe["names"])}
    # An index is never written to.
    index = _index(recipe, table, rows, wanted._replace(own=as_it_is))
    positions = [known[name] for name in table.column_names if name in known]
    columns = {}
    for position in positions:
        name = recipe["names"][position]
        values = _values(f"column `{name}`", recipe["parts"][position], table.column(name), wanted)
        # An array of objects would be looked through for a better dtype.
        columns[position] = pd.Series(values, index=index, dtype=object, copy=False) if values.dtype == object else values
    df = pd.DataFrame(columns, index=index, copy=False)
    labels = recipe["columns"]
    df.columns = labels if positions == list(range(len(labels))) else labels.take(positions)
    df.attrs = recipe["attrs"]
    return df if recipe["duplicates"] else df.set_flags(allows_duplicate_labels=False)


def cut(recipe: Recipe, rows: tuple[int, int]) -> Recipe:
    """The recipe of some rows, to be published as a separate frame."""
    index = recipe["index"]
    return recipe if index is None else {**recipe, "index": _rows_of(index, rows)}


def _rows_of(index: Any, rows: tuple[int, int]) -> Any:
    """Some rows of a range index. One that is cut has another ``stop``, even if nothing is cut off."""
    return index if rows == (0, len(index)) else index[rows[0] : rows[1]]


def _index(recipe: Recipe, table: Any, rows: tuple[int, int], wanted: Wanted) -> Any:
    pd = _packages.need("pandas", "a DataFrame of pandas")

    if recipe["index"] is not None:
        return _rows_of(recipe["index"], rows)
    columns = recipe["level columns"]
    if not set(columns) <= set(table.column_names):
        # A program chose columns without those of the index.
        return pd.RangeIndex(table.num_rows)
    names = recipe["names of levels"]
    levels = [
        _level(part, table.column(column), name, wanted)
        for part, column, name in zip(recipe["levels"], columns, names, strict=True)
    ]
    if len(levels) == 1 and not recipe.get("is multi"):
        return levels[0]
    if (kept := recipe["kept levels"]) is None or wanted.arrow:
        return pd.MultiIndex.from_arrays(levels, names=names)
    codes = [level.get_indexer(values) for level, values in zip(kept, levels, strict=True)]
    return pd.MultiIndex(kept, codes, names=names, verify_integrity=False)


def _level(part: tuple[Any, ...], column: Any, name: Any, wanted: Wanted) -> Any:
    pd = _packages.need("pandas", "a DataFrame of pandas")

    freq = part[2] if part[0] in ("numpy", "dtype") else None
    values = _values(f"level `{name}` of the index", part, column, wanted)
    index = pd.Index(values, dtype=values.dtype, name=name, copy=False, tupleize_cols=False)
    if freq is not None and isinstance(index, (pd.DatetimeIndex, pd.TimedeltaIndex)):
        index.freq = freq
    return index


def _values(what: str, part: tuple[Any, ...], column: Any, wanted: Wanted) -> Any:
    """The values of a column as an array of numpy or pandas."""
    pd = _packages.need("pandas", "a DataFrame of pandas")

    if wanted.arrow and _is_arrows(part):
        return pd.array(column, dtype=pd.ArrowDtype(column.type))
    if part[0] == "objects":
        return _objects.restored(part[:3], column)
    if part[0] == "categories":
        return _categorical(what, part, column, wanted)
    if part[0] == "numpy":
        return _numbers(part[1], column, wanted)
    return _extension(part[1], column, wanted)


def _is_arrows(part: tuple[Any, ...]) -> bool:
    """Whether Arrow has the values of a column, rather than stand-ins."""
    pd = _packages.need("pandas", "a DataFrame of pandas")

    if part[0] == "objects":
        return True
    if part[0] == "categories":
        return isinstance(part[2], pd.StringDtype) or getattr(part[2], "kind", "O") in "iufbMm"
    return part[0] == "numpy" or isinstance(part[1], (pd.StringDtype, pd.ArrowDtype, pd.DatetimeTZDtype)) or hasattr(part[1], "numpy_dtype")


def _numbers(dtype: Any, column: Any, wanted: Wanted) -> Any:
    import numpy as np

    chunks = column.chunks
    if not len(column):
        return np.empty(0, dtype=dtype)
    found = chunks[0].to_numpy(zero_copy_only=False) if len(chunks) == 1 else column.to_numpy()
    return wanted.own(found if found.dtype == dtype else found.astype(dtype))


def _extension(dtype: Any, column: Any, wanted: Wanted) -> Any:
    pd = _packages.need("pandas", "a DataFrame of pandas")

    column = _storage(column)
    if isinstance(dtype, pd.ArrowDtype):
        # Pickle forgets whether a map's keys are sorted.
        if str(column.type).replace(", keys_sorted", "") != str(dtype.pyarrow_dtype):
            column = column.cast(dtype.pyarrow_dtype)
        return pd.array(column, dtype=pd.ArrowDtype(column.type))
    if isinstance(dtype, (pd.Float32Dtype, pd.Float64Dtype)):
        return _nullable_floats(column)
    found = dtype.__from_arrow__(column)
    shared = isinstance(dtype, (pd.PeriodDtype, pd.IntervalDtype, pd.DatetimeTZDtype))
    return found.copy() if wanted.own is not as_it_is and shared else found


def _nullable_floats(column: Any) -> Any:
    """Of pandas' nullable type, which can hold a NaN next to nulls. Its own conversion makes nulls of them."""
    pd = _packages.need("pandas", "a DataFrame of pandas")

    values, nulls = column.to_numpy(), column.is_null().to_numpy()
    # Without nulls, the values are those on the mapped bytes.
    return pd.arrays.FloatingArray(values if values.flags.writeable else values.copy(), nulls)


def _storage(column: Any) -> Any:
    """The column without the types that pandas registers with pyarrow, which another process may not have."""
    pa = _packages.need("pyarrow", "a DataFrame of pandas")

    if not isinstance(column.type, pa.BaseExtensionType):
        return column
    return pa.chunked_array([chunk.storage for chunk in column.chunks], type=column.type.storage_type)


def _categorical(what: str, part: tuple[Any, ...], column: Any, wanted: Wanted) -> Any:
    import numpy as np
    pd = _packages.need("pandas", "a DataFrame of pandas")

    _, ordered, dtype, name, kept = part
    if column.num_chunks > 1:
        column = column.unify_dictionaries()
    dictionary = column.chunk(0).dictionary if column.num_chunks else None
    if kept is None and dictionary is None:
        raise UnsupportedError(f"{what} has no rows here, and more than 256 categories, which are with the rows: take a part with rows")
    if kept is None and dictionary is not None:
        values = dtype.__from_arrow__(dictionary) if hasattr(dtype, "__from_arrow__") else dictionary.to_numpy(zero_copy_only=False)
        kept = pd.Index(values, dtype=dtype, name=name, copy=False)
    codes = [_codes(chunk.indices) for chunk in column.chunks]
    joined = codes[0] if len(codes) == 1 else np.concatenate(codes) if codes else np.empty(0, "int8")
    return pd.Categorical.from_codes(wanted.own(joined), dtype=pd.CategoricalDtype(kept, ordered), validate=False)


def _codes(keys: Any) -> Any:
    if keys.null_count:
        keys = (keys if str(keys.type).startswith("int") else keys.cast("int64")).fill_null(-1)
    return keys.to_numpy(zero_copy_only=False)


def as_it_is(array: Any) -> Any:
    """For a DataFrame that is only read."""
    return array
