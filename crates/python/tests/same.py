"""Whether two tables are the same in all that pickle keeps. A separate module, because fresh processes import it."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from typing import Any

import coframe
import numpy as np
import pandas as pd
import pyarrow as pa


def difference(expected: pd.DataFrame, found: Any) -> str | None:
    """What differs first, or ``None``."""
    if type(found) is not type(expected):
        return f"a {type(found).__name__}"
    checks: list[Callable[[Any, Any], str | None]] = [_index_of_columns, _dtypes, _index_of_rows, _values, _attrs]
    return next((told for check in checks if (told := check(expected, found)) is not None), None)


def _index_of_columns(expected: pd.DataFrame, found: pd.DataFrame) -> str | None:
    return _index("columns", expected.columns, found.columns)


def _index_of_rows(expected: pd.DataFrame, found: pd.DataFrame) -> str | None:
    return _index("index", expected.index, found.index)


def _index(what: str, expected: pd.Index, found: pd.Index) -> str | None:
    looks: dict[str, Callable[[pd.Index], Any]] = {
        "class": type,
        "names": lambda index: [(type(name), name) for name in index.names],
        "dtype": lambda index: index.dtypes.tolist() if isinstance(index, pd.MultiIndex) else _dtype(index.dtype),
        "freq": lambda index: getattr(index, "freq", None),
        "range": lambda index: repr(index) if isinstance(index, pd.RangeIndex) else None,
        "labels": lambda index: [_plain(label) for label in index.tolist()],
        "levels": lambda index: [level.tolist() for level in index.levels] if isinstance(index, pd.MultiIndex) else None,
    }
    for name, look in looks.items():
        if look(expected) != look(found):
            return f"{name} of the {what}: {look(expected)} became {look(found)}"
    return None


def _dtype(dtype: Any) -> Any:
    if isinstance(dtype, pd.CategoricalDtype):
        return str(type(dtype)), dtype.ordered, _dtype(dtype.categories.dtype), [_plain(one) for one in dtype.categories]
    if isinstance(dtype, pd.StringDtype):
        return dtype.storage, repr(dtype.na_value)
    if isinstance(dtype, pd.ArrowDtype):
        return dtype.pyarrow_dtype
    return dtype


def _dtypes(expected: pd.DataFrame, found: pd.DataFrame) -> str | None:
    for label, one, other in zip(expected.columns, expected.dtypes, found.dtypes, strict=True):
        if _dtype(one) != _dtype(other):
            return f"dtype of {label!r}: {_dtype(one)} became {_dtype(other)}"
    return None


def _values(expected: pd.DataFrame, found: pd.DataFrame) -> str | None:
    for position, label in enumerate(expected.columns):
        one, other = expected.iloc[:, position], found.iloc[:, position]
        for row, (value, after) in enumerate(zip(one.tolist(), other.tolist(), strict=True)):
            if _plain(value) != _plain(after):
                return f"row {row} of {label!r}: {value!r} became {after!r}"
    try:
        # It takes no null inside of an object for equal to another.
        expected, found = expected.select_dtypes(exclude=object), found.select_dtypes(exclude=object)
        pd.testing.assert_frame_equal(expected, found, check_exact=True, check_freq=True, check_flags=True)
    except AssertionError as error:
        return str(error)
    return None


def _attrs(expected: pd.DataFrame, found: pd.DataFrame) -> str | None:
    return None if expected.attrs == found.attrs else f"attrs: {expected.attrs} became {found.attrs}"


def _plain(value: Any) -> Any:
    """A value that is equal only to one of the same type, digits, order and kind of null, however deep."""
    if isinstance(value, (list, tuple)):
        return type(value), [_plain(one) for one in value]
    if isinstance(value, dict):
        return type(value), [(_plain(key), _plain(one)) for key, one in value.items()]
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, [_plain(one) for one in value.ravel().tolist()]
    if isinstance(value, pd.Series):
        return value.dtype, [_plain(one) for one in value.tolist()]
    if value is None or value is pd.NA or value is pd.NaT or value != value:
        return type(value), repr(value)
    return type(value), value, str(value)


class Table(pd.DataFrame):
    """A class of a user, as GeoPandas has one."""

    _metadata = ["place"]

    @property
    def _constructor(self) -> Callable[..., Table]:
        return Table


def main() -> None:
    """Compares what handles give with what pickle gave, in this process, and prints a JSON object."""
    told = {}
    for name, handle, text in pickle.load(sys.stdin.buffer):
        try:
            told[name] = difference(pickle.loads(text), coframe.Frame(handle).to_table())
        except Exception as error:
            told[name] = f"{type(error).__module__}.{type(error).__name__}: {error}"
    assert pa is not None
    print(json.dumps(told))


if __name__ == "__main__":
    main()
