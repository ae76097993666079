"""DataFrames of pandas in: a table of Arrow, and a recipe of what Arrow does not carry.

The columns of the table are for every reader of Arrow. The recipe has the labels, dtypes, names and attributes, from which
:mod:`coframe._rebuild` makes the DataFrame that pickle would have made. It is a pickle itself, stored in the frame's
own metadata, which an imported file cannot bring along.
"""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Iterable
from typing import Any

from . import _objects, _packages
from ._errors import UnsupportedError, one_line

#: Key in the metadata of a frame that came from pandas.
RECIPE = "coframe.python.pandas"
#: Written into each recipe. A reader refuses others.
FORMAT = 1
#: The recipe also has the categories of a column with at most this many, for parts of a frame without rows.
FEW = 256

Recipe = dict[str, Any]


def table_of(df: Any) -> tuple[Any, str]:
    """The DataFrame as a table of pyarrow, and the text of its recipe."""
    pa = _packages.need("pyarrow", "publishing a DataFrame of pandas")
    pd = _packages.need("pandas", "publishing a DataFrame of pandas")
    if type(df) is not pd.DataFrame:
        kind = f"{type(df).__module__}.{type(df).__qualname__}"
        raise UnsupportedError(f"a DataFrame of the derived class {kind} would come back as one of pandas: pass pandas.DataFrame(df)")
    names = _names(df.columns)
    plain = df.copy(deep=False)
    if not _is_json(df.attrs):
        # The recipe has them. pyarrow would warn that it leaves them out.
        plain.attrs = {}
    parts = []
    objects = set()
    for position, name in enumerate(names):
        part, stand_in = _part(f"column `{name}`", df.iloc[:, position])
        parts.append(part)
        if stand_in is not None:
            plain.isetitem(position, stand_in)
            if part[0] == "objects":
                objects.add(name)
    levels = _plain_index(pd, df.index, plain)
    if not _is_unique(df.columns) or not _has_words_for(df.columns):
        plain.columns = pd.Index(names, dtype=object)
    table = _table(pa, plain, names)
    table = _as_objects(table, objects)
    # pyarrow spells some labels differently.
    names = table.column_names[: len(names)]
    _check_known(names, df, parts, table)
    recipe: Recipe = {
        "format": FORMAT,
        "columns": df.columns,
        "names": names,
        "parts": parts,
        "index": df.index if isinstance(df.index, pd.RangeIndex) else None,
        "levels": levels,
        "is multi": isinstance(df.index, pd.MultiIndex),
        "names of levels": list(df.index.names),
        "kept levels": _kept_levels(pd, df.index),
        "level columns": table.column_names[len(names) :],
        "attrs": df.attrs,
        "duplicates": df.flags.allows_duplicate_labels,
    }
    return table, text_of(recipe)


def text_of(recipe: Recipe) -> str:
    """A recipe as it is stored in metadata."""
    try:
        return base64.b85encode(pickle.dumps(recipe, protocol=5)).decode()
    except Exception as error:
        raise UnsupportedError(f"the labels or `attrs` of the DataFrame cannot be pickled: {error}; remove what is in them") from error


def recipe_of(text: str) -> Recipe:
    """A recipe of a frame whose metadata this user wrote."""
    try:
        recipe: Recipe = pickle.loads(base64.b85decode(text))
    except Exception as error:
        raise UnsupportedError(
            f"this version of pandas cannot read how the DataFrame was made ({type(error).__name__}: {error}); take .to_arrow(), "
            "or open it with the version that published it"
        ) from error
    if not isinstance(recipe, dict) or recipe.get("format") != FORMAT:
        raise UnsupportedError("the DataFrame was published by another version of coframe, in another way; take .to_arrow()")
    return recipe


def _names(labels: Iterable[Any]) -> list[str]:
    """The labels as texts: the names of the columns in Arrow.

    Repeated texts get a number, as in ``pandas.read_csv``: ``x``, ``x.1``, ``x.2``. The recipe has the labels.
    """
    texts = [str(label) for label in labels]
    taken = set(texts)
    if len(taken) == len(texts):
        return texts
    names = []
    times: dict[str, int] = {}
    for text in texts:
        number, name = times.get(text, 0), text
        while number and (name := f"{text}.{number}") in taken:
            number += 1
        taken.add(name)
        times[text] = number + 1
        names.append(name)
    return names


def _is_json(attrs: Any) -> bool:
    try:
        json.dumps(attrs)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_unique(labels: Any) -> bool:
    """Whether labels are unique. Those of another byte order have no answer in pandas, and count as repeated."""
    try:
        return bool(labels.is_unique)
    except ValueError:
        return False


def _has_words_for(labels: Any) -> bool:
    """Whether pyarrow describes labels in words that it can read again, and without a warning."""
    pd = _packages.need("pandas", "a DataFrame of pandas")
    if labels.dtype == object:
        return _finds_all(labels) if isinstance(labels, pd.MultiIndex) else all(type(label) is str for label in labels)
    return isinstance(labels.dtype, pd.StringDtype) or not pd.api.types.is_extension_array_dtype(labels.dtype)


def _finds_all(labels: Any) -> bool:
    """Whether pandas finds a column by each label, as pyarrow does. It finds no NaN in the levels of a MultiIndex."""
    try:
        for label in labels:
            labels.get_loc(label)
    except (KeyError, TypeError, ValueError):
        return False
    return True


def _part(what: str, column: Any) -> tuple[tuple[Any, ...], Any]:
    """How to rebuild a column or level, and what goes to Arrow in its place, if something must."""
    pd = _packages.need("pandas", "a DataFrame of pandas")

    dtype = column.dtype
    if dtype == object:
        part, array = _objects.stored(what, column.to_numpy())
        # pyarrow makes the same of a level of texts, and describes it as what it was.
        stand_in = None if part[2] == "texts" and isinstance(column, pd.Index) else pd.array(array, dtype=pd.ArrowDtype(array.type))
        return part, None if stand_in is None else _like(column, stand_in)
    if isinstance(dtype, pd.CategoricalDtype):
        return _categories(what, column)
    if isinstance(dtype, pd.SparseDtype):
        raise UnsupportedError(f"{what} holds what Arrow has no type for ({dtype}); make it dense, or leave it out")
    if pd.api.types.is_extension_array_dtype(dtype):
        return ("dtype", dtype), None
    return ("numpy", dtype), None


def _like(column: Any, array: Any) -> Any:
    pd = _packages.need("pandas", "a DataFrame of pandas")

    return pd.Series(array, index=column.index) if isinstance(column, pd.Series) else pd.Index(array, name=column.name)


def _categories(what: str, column: Any) -> tuple[tuple[Any, ...], Any]:
    """Categories are an index: in Arrow's dictionary where it has them as they are, else in the recipe, and texts in Arrow."""
    pd = _packages.need("pandas", "a DataFrame of pandas")

    dtype = column.dtype
    categories = dtype.categories
    in_arrow = isinstance(categories.dtype, pd.StringDtype) or getattr(categories.dtype, "kind", "O") in "iufbMm"
    in_arrow = in_arrow and not isinstance(categories.dtype, (pd.DatetimeTZDtype, pd.ArrowDtype))
    kept = categories if not in_arrow or len(categories) <= FEW or not len(column) else None
    part = ("categories", dtype.ordered, categories.dtype, categories.name, kept)
    if in_arrow:
        return part, None
    texts = [str(one) for one in categories]
    if len(set(texts)) < len(texts):
        texts = [f"{position}: {text}" for position, text in enumerate(texts)]
    plain = pd.Categorical.from_codes(_codes(column), categories=pd.Index(texts, dtype=object), ordered=dtype.ordered)
    return part, _like(column, plain)


def _codes(column: Any) -> Any:
    return column.cat.codes.to_numpy() if hasattr(column, "cat") else column.codes


def _plain_index(pd: Any, index: Any, plain: Any) -> list[tuple[Any, ...]] | None:
    """How to rebuild the levels of an index, which ``plain`` gets in a form that pyarrow stores under these names."""
    if isinstance(index, pd.RangeIndex):
        plain.index = index.rename(index.name if isinstance(index.name, str) else None)
        return None
    levels = [index.get_level_values(position) for position in range(index.nlevels)]
    parts, arrays = [], []
    for position, level in enumerate(levels):
        part, stand_in = _part(f"level {position} of the index", level)
        # The frequency belongs to the whole index, and defines how to continue it.
        parts.append((*part, getattr(index, "freq", None)) if part[0] in ("numpy", "dtype") else part)
        arrays.append(level if stand_in is None else stand_in)
    names = [name if isinstance(name, str) else None for name in index.names]
    if all(array is level for array, level in zip(arrays, levels, strict=True)):
        plain.index = index.set_names(names)
    else:
        plain.index = pd.MultiIndex.from_arrays(arrays, names=names) if len(arrays) > 1 else arrays[0].rename(names[0])
    return parts


def _kept_levels(pd: Any, index: Any) -> list[Any] | None:
    """The levels of a MultiIndex, in their order and with those that no row uses, where they are few."""
    if not isinstance(index, pd.MultiIndex):
        return None
    few = all(len(level) <= FEW and level.is_unique and not isinstance(level, pd.IntervalIndex) for level in index.levels)
    return list(index.levels) if few else None


def _table(pa: Any, plain: Any, names: list[str]) -> Any:
    try:
        # Without `preserve_index`, pyarrow leaves out each level of a MultiIndex that counts up: 0, 1, 2.
        return pa.Table.from_pandas(plain, preserve_index=True if type(plain.index).__name__ == "MultiIndex" else None)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        # pyarrow's own exceptions are among these, and some of pandas and Python come through it.
        column = next((name for position, name in enumerate(names) if not _converts(pa, plain.iloc[:, position])), None)
        which = f"column `{column}`" if column is not None else "the index of the DataFrame"
        reason = one_line(error.args[0] if error.args and isinstance(error, pa.ArrowException) else error)
        raise UnsupportedError(
            f"{which} holds what Arrow has no type for ({reason}); give it one type, or leave it out"
        ) from error


def _converts(pa: Any, column: Any) -> bool:
    try:
        pa.Table.from_pandas(column.to_frame("column"), preserve_index=False)
    except (TypeError, ValueError, OverflowError, NotImplementedError):
        return False
    return True


def _as_objects(table: Any, objects: set[str]) -> Any:
    """For other readers of pandas' own metadata: columns that were objects, though their stand-ins were Arrow's."""
    if not objects:
        return table
    metadata = json.loads(table.schema.metadata[b"pandas"])
    for column in metadata["columns"]:
        if column["name"] in objects:
            column["numpy_type"], column["metadata"] = "object", None
    return table.replace_schema_metadata({**table.schema.metadata, b"pandas": json.dumps(metadata).encode()})


def _check_known(names: list[str], df: Any, parts: list[tuple[Any, ...]], table: Any) -> None:
    """Refuses a dtype of another package that does not read what it wrote."""
    for position, (name, part) in enumerate(zip(names, parts, strict=True)):
        if part[0] != "dtype" or type(part[1]).__module__.split(".")[0] == "pandas":
            continue
        array = df.iloc[:, position].array
        try:
            found = part[1].__from_arrow__(table.column(position))
            same = found.dtype == array.dtype and bool(found.equals(array))
        except Exception as error:
            raise UnsupportedError(f"column `{name}` of dtype {part[1]} does not come back from Arrow: {error}") from error
        if not same:
            raise UnsupportedError(f"column `{name}` of dtype {part[1]} comes back from Arrow with other values; convert it, or leave it out")
