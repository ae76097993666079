"""Kinds of pandas frames, under the rows of the table in the README that they belong to."""

from __future__ import annotations

import datetime as dt
import decimal
import uuid
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from same import Table


def _objects(*values: Any) -> pd.DataFrame:
    column = np.empty(len(values), dtype=object)
    for row, value in enumerate(values):
        column[row] = value
    return pd.DataFrame({"a": pd.Series(column, dtype=object)})


def _of(values: Any, **more: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": values, **more})


def _indexed(index: Any) -> pd.DataFrame:
    return pd.DataFrame({"a": range(len(index))}, index=index)


def _labelled(labels: Any) -> pd.DataFrame:
    return pd.DataFrame(np.arange(2 * len(labels)).reshape(2, -1), columns=labels)


def _twice() -> pd.DataFrame:
    df = pd.DataFrame({"a": [1.5, None], "b": ["x", None], "c": pd.Categorical(["u", "v"]), "d": pd.Series([[1], None], dtype=object)})
    return df.set_axis(["a", "b", "a", "b"], axis=1)


def _arrow(kind: Any, *values: Any) -> pd.DataFrame:
    return _of(pd.array(pa.array(values, kind), dtype=pd.ArrowDtype(kind)))


def _with_attrs() -> pd.DataFrame:
    df = _of([1, 2])
    df.attrs["source"] = {"sensor": 7, "when": dt.date(2020, 1, 2)}
    return df


def _derived() -> pd.DataFrame:
    df = Table({"a": [1, 2]})
    df.place = "here"
    return df


class Point:
    """An object that only pickle knows."""

    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x

    def __hash__(self) -> int:
        return self.x

    def __str__(self) -> str:
        return f"Point({self.x})"


_DAYS = pd.to_datetime(["2020-01-01", "2020-07-01", "1960-01-01"])
_MONTHS = pd.period_range("2020-01", periods=3, freq="M")
_CUT = pd.cut([1, 5, 9], 3)
_PIVOT = pd.DataFrame({"k": pd.Categorical(["x", "y", "x"]), "r": [1, 1, 2], "v": [1.0, 2.0, 3.0]})
_UNUSED = pd.MultiIndex.from_product([["b", "a"], [2, 1]], names=["k", "n"])[[0, 3]]

KEPT: dict[str, dict[str, pd.DataFrame]] = {
    "numbers and booleans of numpy": {
        **{kind: _of(np.array([0, 1, 2], dtype=kind)) for kind in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?")},
        "nan and inf": _of([1.0, np.nan, np.inf, -0.0]),
        "u8 above i8": _of(np.array([2**64 - 1, 1], dtype="u8")),
        "one block": pd.DataFrame(np.arange(12.0).reshape(4, 3), columns=list("abc")),
        "strided": pd.DataFrame(np.arange(12).reshape(4, 3)[::2], columns=list("abc")),
    },
    "times of numpy, and with a zone": {
        **{f"M8[{unit}]": _of(np.array(["2020-01-01", "NaT"], dtype=f"M8[{unit}]")) for unit in ("s", "ms", "us", "ns")},
        **{f"m8[{unit}]": _of(np.array([5, "NaT"], dtype=f"m8[{unit}]")) for unit in ("s", "ms", "us", "ns")},
        "zone": _of(_DAYS.tz_localize("Europe/Berlin")),
        "zoneinfo": _of(_DAYS.tz_localize(zoneinfo.ZoneInfo("Asia/Tokyo"))),
        "utc": _of(_DAYS.tz_localize("UTC")),
        "offset": _of(_DAYS.tz_localize("+05:30")),
        "datetime.timezone": _of(_DAYS.tz_localize(dt.timezone(dt.timedelta(hours=2)))),
    },
    "strings (`str`, `string` of every storage)": {
        "str": _of(pd.Series(["x", None, "å"], dtype="str")),
        "string": _of(pd.array(["x", None], dtype="string")),
        "string[python]": _of(pd.array(["x", None], dtype="string[python]")),
        "string[pyarrow]": _of(pd.array(["x", None], dtype="string[pyarrow]")),
        "str without rows": _of(pd.Series([], dtype="str")),
    },
    "nullable numbers and booleans": {
        "Int64": _of(pd.array([2**53 + 1, None, 3], dtype="Int64")),
        "UInt8": _of(pd.array([1, None], dtype="UInt8")),
        "Float64": _of(pd.array([1.5, None], dtype="Float64")),
        "Float32": _of(pd.array([1.5, None], dtype="Float32")),
        "NaN next to a null": _of(pd.arrays.FloatingArray(np.array([np.nan, 1.5, -0.0]), np.array([False, True, False]))),
        "boolean": _of(pd.array([True, None], dtype="boolean")),
    },
    "categories of any kind, ordered and unused ones": {
        "categories": _of(pd.Categorical(["x", None, "y"], categories=["z", "y", "x"])),
        "ordered": _of(pd.Categorical(["x", None, "y"], categories=["z", "y", "x"], ordered=True)),
        "of integers": _of(pd.Categorical([3, 1, 3])),
        "of floats": _of(pd.Categorical([3.5, 1, np.nan])),
        "of booleans": _of(pd.Categorical([True, False])),
        "of times": _of(pd.Categorical(_DAYS)),
        "of zoned times": _of(pd.Categorical(_DAYS.tz_localize("Europe/Berlin"))),
        "of periods": _of(pd.Categorical(_MONTHS)),
        "cut": _of(_CUT),
        "qcut": _of(pd.qcut([1.0, 5.0, 9.0, 11.0], 2)),
        "of objects": _of(pd.Categorical(["a", 1])),
        "of tuples": _of(pd.Categorical([(1, 2), (3, 4)])),
        "of nothing": _of(pd.Categorical([None, None])),
        "of object strings": _of(pd.Categorical(pd.Series(["a", "b"], dtype=object))),
        "300 of them": _of(pd.Categorical([f"c{number}" for number in range(300)])),
    },
    "periods and intervals": {
        "period": _of(_MONTHS),
        "period of days with a null": _of(pd.array(["2020-01-01", None], dtype="period[D]")),
        "interval": _of(pd.interval_range(0, 3)),
        "interval of floats, closed left": _of(pd.arrays.IntervalArray.from_breaks([0.5, 1.5, 2.5], closed="left")),
        "interval of times": _of(pd.interval_range(pd.Timestamp("2020-01-01"), periods=2)),
        "interval of zoned times": _of(pd.interval_range(pd.Timestamp("2020-01-01", tz="UTC"), periods=2)),
        "interval with a null": _of(pd.arrays.IntervalArray.from_tuples([(0, 1), None])),
    },
    "`ArrowDtype` of every type": {
        "int64": _arrow(pa.int64(), 2**53 + 1, None),
        "string": _arrow(pa.string(), "a", None),
        "large string": _arrow(pa.large_string(), "a", None),
        "bool": _arrow(pa.bool_(), True, None),
        "timestamp": _arrow(pa.timestamp("us", "UTC"), dt.datetime(2020, 1, 1), None),
        "date32": _arrow(pa.date32(), dt.date(2020, 1, 1), None),
        "date64": _arrow(pa.date64(), dt.date(2020, 1, 1), None),
        "time64": _arrow(pa.time64("us"), dt.time(1), None),
        "duration": _arrow(pa.duration("us"), dt.timedelta(1), None),
        "decimal128": _arrow(pa.decimal128(5, 1), decimal.Decimal("1.1"), None),
        "decimal256": _arrow(pa.decimal256(50, 1), decimal.Decimal("1.1"), None),
        "binary": _arrow(pa.binary(), b"a", None),
        "fixed binary": _arrow(pa.binary(2), b"ab", None),
        "null": _arrow(pa.null(), None, None),
        "halffloat": _arrow(pa.float16(), np.float16(1), None),
        "dictionary": _arrow(pa.dictionary(pa.int32(), pa.string()), "a", None),
        "ordered dictionary": _arrow(pa.dictionary(pa.int8(), pa.string(), ordered=True), "a", None),
        "list": _arrow(pa.list_(pa.int64()), [1], None),
        "fixed list": _arrow(pa.list_(pa.int64(), 2), [1, 2], None),
        "struct": _arrow(pa.struct([("x", pa.int64()), ("y", pa.list_(pa.string()))]), {"x": 1, "y": ["a"]}, None),
        "map": _arrow(pa.map_(pa.string(), pa.int64()), [("k", 1)], None),
    },
    "objects of one type (strings, bytes, booleans, integers, floats, dates, times, decimals, lists, dicts, arrays) with one kind of null": {
        "strings and None": _objects("x", None, "y"),
        "strings and nan": _objects("x", np.nan, "y"),
        "strings and NA": _objects("x", pd.NA, "y"),
        "only None": _objects(None, None),
        "only nan": _objects(np.nan, np.nan),
        "booleans and None": _objects(True, None, False),
        "integers": _objects(1, 2, 3),
        "integers and None": _objects(2**53 + 1, None),
        "floats": _objects(1.5, np.nan),
        "bytes": _objects(b"x", b"", None),
        "dates": _objects(dt.date(2020, 1, 1), None),
        "datetimes": _objects(dt.datetime(2020, 1, 1), None),
        "datetimes beyond nanoseconds": _objects(dt.datetime(9999, 12, 31), dt.datetime(1, 1, 1)),
        "times": _objects(dt.time(1, 2, 3), None),
        "timedeltas": _objects(dt.timedelta(1), None),
        "decimals": _objects(decimal.Decimal("1.10"), None),
        "lists": _objects([1, 2], [3], None),
        "lists of lists": _objects([[1], []], [[2, 3]]),
        "lists with nan": _objects([1.0, np.nan], [None]),
        "dicts": _objects({"x": 1}, {"x": 2}),
        "arrays": _objects(np.array([1, 2]), np.array([3])),
        "arrays of floats": _objects(np.array([1.5, np.nan], "f4"), np.array([], "f4")),
        "object without rows": _of(pd.Series([], dtype=object)),
    },
    "labels of columns, of any type and with any name": {
        "integers": _labelled(range(3)),
        "integers that are no range": _labelled([5, 3]),
        "mixed": _labelled(["a", 1]),
        "booleans": _labelled([True, False]),
        "floats": _labelled([0.5, 1.5]),
        "None": _labelled([None]),
        "tuples": _labelled(pd.Index([("a", "b"), ("a", "c")], tupleize_cols=False)),
        "levels": _labelled(pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["l0", None])),
        "datetimes": _labelled(pd.date_range("2020", periods=2, freq="D")),
        "periods": _labelled(_MONTHS),
        "categories": _labelled(pd.CategoricalIndex(["a", "b"])),
        "intervals": _labelled(pd.interval_range(0, 2)),
        "name": _of([1]).rename_axis(columns="cc"),
        "name of integer labels": _labelled(pd.RangeIndex(2, name="n")),
        "pivot": _PIVOT.pivot_table(index="r", columns="k", values="v", observed=True),
        "object strings": _labelled(pd.Index(["a", "b"], dtype=object)),
        "empty string": _labelled([""]),
    },
    "repeated labels, also with the same text, such as `1` and `\"1\"`": {
        "twice": _labelled(["a", "a"]),
        "twice, of several dtypes": _twice(),
        "thrice, and a label that a number would make": _labelled(["a", "a.1", "a", "a"]),
        "integers twice": _labelled([1, 1]),
        "as text": _labelled([1, "1", None, "None"]),
        "levels twice": _labelled(pd.MultiIndex.from_tuples([("a", 1), ("a", 1)], names=["l0", None])),
        "datetimes twice": _labelled(pd.DatetimeIndex(["2020-01-01", "2020-01-01"])),
        "as a level of the index": _labelled(["a", "a"]).set_index(pd.Index([7, 8], name="a")),
        "as two levels of the index": _labelled(["a", "a"]).set_index(pd.MultiIndex.from_tuples([(7, 8), (7, 9)], names=["a.1", "a"])),
    },
    "indexes, with their names and `freq`": {
        "range": _indexed(pd.RangeIndex(10, 0, -5, name="row")),
        "range that ends between two steps": _indexed(pd.RangeIndex(5, 13, 7)),
        "integers": _indexed(pd.Index([5, 5])),
        "integers of 16 bits": _indexed(pd.Index(np.array([5, 6], "i2"))),
        "strings": _indexed(pd.Index(["x", "y"], name="k")),
        "object strings": _indexed(pd.Index(["x", None], dtype=object)),
        "floats": _indexed(pd.Index([0.5, np.nan])),
        "booleans": _indexed(pd.Index([True, False])),
        "named as a column": _indexed(pd.Index(["x", "y"], name="a")),
        "named by an integer": _indexed(pd.Index(["x", "y"], name=0)),
        "named by a tuple": _indexed(pd.Index(["x", "y"], name=("a", 1))),
        "freq": _indexed(pd.date_range("2020", periods=3, freq="D")),
        "freq of months": _indexed(pd.date_range("2020", periods=3, freq="ME")),
        "freq of business days": _indexed(pd.bdate_range("2020", periods=7, tz="Europe/Paris")),
        "times without freq": _indexed(_DAYS),
        "zone": _indexed(_DAYS.tz_localize("Asia/Tokyo")),
        "timedeltas": _indexed(pd.timedelta_range("1h", periods=3, freq="h")),
        "periods": _indexed(_MONTHS),
        "intervals": _indexed(pd.interval_range(0, 2)),
        "categories": _indexed(pd.CategoricalIndex(["x", "y"], ordered=True)),
        "cut": _indexed(pd.CategoricalIndex(_CUT)),
        "nullable": _indexed(pd.Index(pd.array([1, None], "Int64"))),
        "ArrowDtype": _indexed(pd.Index(pd.array([1, None], "int64[pyarrow]"))),
        "levels": _indexed(pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", None])),
        "levels named by integers": _indexed(pd.MultiIndex.from_tuples([(10, 20), (30, 40)], names=[1, 2])),
        "levels of one name": _indexed(pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["p", "p"])),
        "levels named as a column": _indexed(pd.MultiIndex.from_tuples([("x", 1), ("y", 2)], names=["a", "p"])),
        "levels with nulls": _indexed(pd.MultiIndex.from_arrays([["x", None], [1.5, np.nan], [pd.NaT, _DAYS[0]]])),
        "levels of times and categories": _indexed(pd.MultiIndex.from_arrays([_DAYS, pd.Categorical(["b", "a", "b"]), _MONTHS])),
        "levels that are not used": _indexed(_UNUSED),
        "level that counts up": _indexed(pd.MultiIndex.from_arrays([["x", "y", "z"], range(3)])),
        "level appended to a range": _of(["x", "y"], k=[1, 2]).set_index("k", append=True),
        "only levels that count up": _indexed(pd.MultiIndex.from_arrays([range(3), range(5, 8)], names=["p", "a"])),
        "one level": _indexed(pd.MultiIndex.from_arrays([["x", "y"]], names=["p"])),
        "one level of objects": _indexed(pd.MultiIndex.from_arrays([pd.Index(["x", None], dtype=object)])),
    },
    "`attrs`, flags, and frames without rows or columns": {
        "attrs": _with_attrs(),
        "flags": _of([1]).set_flags(allows_duplicate_labels=False),
        "nothing": pd.DataFrame(),
        "no rows": _of(pd.Series([], dtype="i8"), b=pd.Categorical([]), c=pd.array([], "Int64")),
        "no columns": pd.DataFrame(index=pd.RangeIndex(3)),
        "no columns, strings": pd.DataFrame(index=["a", "b"]),
        "no columns, integer labels": pd.DataFrame(index=["a", "b"], columns=pd.RangeIndex(0)),
    },
}

REFUSED: dict[str, dict[str, pd.DataFrame]] = {
    "sparse columns": {
        "sparse": _of(pd.arrays.SparseArray([0, 0, 1])),
        "sparse with nan": _of(pd.arrays.SparseArray([np.nan, 0, 1])),
    },
    "complex numbers, `longdouble`, other byte orders": {
        "complex": _of([1 + 2j]),
        "longdouble": _of(np.array([1, 2], dtype="longdouble")),
    },
    "objects that Arrow would change: tuples, sets, mixed types, dicts of several sets of keys, integers of more than 64 bits, objects of other classes": {
        "strings, None and nan": _objects("x", None, np.nan),
        "big integers": _objects(2**70, 1),
        "integers and floats": _objects(1, 2.5, 3),
        "zoned datetimes": _objects(dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc)),
        "zoned times of day": _objects(dt.time(1, tzinfo=dt.timezone.utc)),
        "timestamps": _objects(pd.Timestamp("2020-01-01 00:00:00.123456789"), pd.NaT),
        "timestamps of two zones": _objects(pd.Timestamp("2020-01-01", tz="UTC"), pd.Timestamp("2020-01-01", tz="Europe/Paris")),
        "decimals of other digits": _objects(decimal.Decimal("1.10"), decimal.Decimal("2")),
        "decimal NaN": _objects(decimal.Decimal("NaN"), decimal.Decimal("2")),
        "lists of other types": _objects([1, "a"], [2.5]),
        "tuples": _objects((1, 2), (3, 4)),
        "sets": _objects({1, 2}, {3}),
        "dicts of other keys": _objects({"x": 1}, {"y": 2}),
        "dicts of integers": _objects({1: "x"}, {2: "y"}),
        "arrays of two dtypes": _objects(np.array([1]), np.array([1.5])),
        "arrays of two dimensions": _objects(np.eye(2), np.eye(3)),
        "series": _objects(pd.Series([1, 2]), pd.Series([3])),
        "numbers of numpy": _objects(np.int64(1), np.int64(2)),
        "strings of numpy": _objects(np.str_("x"), "y"),
        "datetimes of numpy": _objects(np.datetime64("2020-01-01")),
        "uuids": _objects(uuid.UUID(int=1), uuid.UUID(int=2)),
        "objects of a class": _objects(Point(1), Point(2)),
        "complex objects": _objects(1 + 2j, 3),
        "lone surrogates": _objects("\ud800", "x"),
        "mixed": _objects(1, "a", None, [2]),
        "mixed index": _indexed(pd.Index(["x", 1], dtype=object)),
        "mixed level": _indexed(pd.MultiIndex.from_product([pd.Index([b"x", 1], dtype=object), [1, 2]])),
        "functions": _objects(lambda: 1),
    },
    "classes derived from DataFrame": {"derived": _derived()},
}
