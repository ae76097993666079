"""Columns of Python objects: stored where Arrow gives back the same objects, and refused where it does not."""

from __future__ import annotations

import datetime as dt
import decimal
import marshal
import math
from typing import Any

from . import _packages
from ._errors import UnsupportedError, one_line

#: How a column of objects is stored: "objects", the stand-in for its nulls, and one of "texts", "values" and "arrays".
Part = tuple[str, Any, str]


def stored(what: str, values: Any) -> tuple[Part, Any]:
    """How an array of objects is stored so that each comes back as it is, and the Arrow array of them."""
    pa = _packages.need("pyarrow", "publishing a DataFrame of pandas")
    null, filled = _one_null(what, values)
    how, array = _in_arrow(pa, what, filled)
    return ("objects", null, how), array


def restored(part: Part, column: Any) -> Any:
    """The objects of an Arrow column, as an array of numpy."""
    import numpy as np

    _, null, how = part
    if how == "texts":
        found = column.to_numpy(zero_copy_only=False) if len(column) else []
    elif how == "arrays":
        found = [one for chunk in column.chunks for one in _arrays(np, chunk)]
    else:
        found = column.to_pylist()
    objects = np.empty(len(found), dtype=object)
    # Not `objects[:] = found`, which makes a matrix of lists of one length.
    for row, value in enumerate(found):
        objects[row] = null if value is None else value
    return objects


def _one_null(what: str, values: Any) -> tuple[Any, Any]:
    """The value that replaces nulls, and the values with ``None`` instead."""
    pd = _packages.need("pandas", "a DataFrame of pandas")

    types = set(map(type, values))
    nulls = [null for null in (None, pd.NA, pd.NaT) if type(null) in types]
    others = types - {type(null) for null in nulls}
    if float in others and len(others) > 1 and all(math.isnan(value) for value in values if type(value) is float):
        nulls.append(math.nan)
    if len(nulls) > 1:
        found = " and ".join(map(repr, nulls))
        raise UnsupportedError(f"{what} holds several kinds of nulls, {found}, of which Arrow has one; give it one kind of nulls")
    if not nulls or nulls[0] is None:
        return None, values
    filled = values.copy()
    for row, value in enumerate(values):
        if type(value) is type(nulls[0]):
            filled[row] = None
    return nulls[0], filled


def _in_arrow(pa: Any, what: str, values: Any) -> tuple[str, Any]:
    """How Arrow gives these values back, objects for objects, and the array."""
    import numpy as np

    try:
        array = pa.array(values, from_pandas=False)
    except (TypeError, ValueError, OverflowError, NotImplementedError) as error:
        reason = one_line(error.args[0] if error.args else error)
        raise UnsupportedError(f"{what} holds what Arrow has no type for ({reason}); give it one type, or leave it out") from error
    types = set(map(type, values)) - {type(None)}
    if types <= {str} or types <= {bytes}:
        return "texts", array
    how = "arrays" if types == {np.ndarray} else "values"
    found = _arrays(np, array) if how == "arrays" else array.to_pylist()
    if _are_surely_same(array, values, found):
        return how, array
    for row, (value, after) in enumerate(zip(values, found, strict=True)):
        if not _same(value, after):
            raise UnsupportedError(
                f"{what} holds Python objects that Arrow changes: row {row} is the {type(value).__name__} {one_line(repr(value)):.100}, and would "
                f"come back as the {type(after).__name__} {one_line(repr(after)):.100}; give the column a dtype, or leave it out"
            )
    return how, array


def _arrays(np: Any, column: Any) -> list[Any]:
    """A copy of each list as an array, with nulls as ``None``."""
    if not hasattr(column.type, "value_type"):
        return [None] * len(column)
    return [None if one.values is None else np.array(one.values.to_numpy(zero_copy_only=False)) for one in column]


def _are_surely_same(array: Any, values: Any, found: list[Any]) -> bool:
    """Whether all values are the same as others, in one go; ``False`` may mean that only :func:`_same` can decide.

    marshal writes type and value of Python's own types, and in its first format nothing else. Bytes are ambiguous.
    """
    if "binary" in str(array.type):
        return False
    try:
        return marshal.dumps(list(values), 0) == marshal.dumps(found, 0)
    except ValueError:
        return False


#: Types of which Arrow gives back an equal value; times of pandas and numpy are others.
_LEAVES = (str, bytes, bool, int, dt.date, dt.timedelta, type(None))


def _same(value: Any, found: Any) -> bool:
    """Whether a value is the same as another in type and digits, however deep."""
    kind = type(value)
    if kind is not type(found):
        return False
    if kind in _LEAVES:
        return bool(value == found)
    if kind is float:
        return value == found and math.copysign(1, value) == math.copysign(1, found) or value != value and found != found
    if kind in (dt.datetime, dt.time):
        return value == found and value.fold == found.fold and repr(value.tzinfo) == repr(found.tzinfo)
    if kind is decimal.Decimal:
        return bool(value.as_tuple() == found.as_tuple())
    if kind is list:
        return len(value) == len(found) and all(map(_same, value, found))
    if kind is dict:
        return list(map(type, value)) == list(map(type, found)) and list(value) == list(found) and all(
            map(_same, value.values(), found.values())
        )
    # What is left are arrays of numpy, and types that only pickle knows.
    return hasattr(value, "tobytes") and (value.dtype, value.shape) == (found.dtype, found.shape) and value.tobytes() == found.tobytes()
