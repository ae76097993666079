"""Every way in and out ends in an exception of the package, which names the column."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

_ZONE = pa.array([0], pa.timestamp("us", "+05:30"))
_CATEGORIES = pa.table(
    {"good": [1], "bad": pa.array(["a"]).dictionary_encode().cast(pa.dictionary(pa.uint32(), pa.large_string()))},
    pa.schema([("good", pa.int64()), pa.field("bad", pa.dictionary(pa.uint32(), pa.large_string()), metadata={"_PL_CATEGORICAL2": "x;y"})]),
)

OUT: dict[str, tuple[pa.Table, Callable[[coframe.Frame], Any]]] = {
    "zone in Polars": (pa.table({"good": [1], "bad": _ZONE}), lambda frame: frame.to_polars()),
    "zone in a column of Polars": (pa.table({"good": [1], "bad": _ZONE}), lambda frame: frame["bad"].to_polars()),
    "zone in lazy Polars": (pa.table({"good": [1], "bad": _ZONE}), lambda frame: frame.lazy()),
    "malformed categories": (_CATEGORIES, lambda frame: frame.to_polars()),
    "texts as floats": (pa.table({"bad": ["a"]}), lambda frame: np.asarray(frame["bad"], dtype="f8")),
}


@pytest.mark.parametrize("name", OUT)
def test_what_a_library_cannot_take_is_named(name: str) -> None:
    table, call = OUT[name]
    frame = coframe.publish(table, "t")
    with pytest.raises(coframe.UnsupportedError, match="cannot take column `bad`: .*; leave it out, or take the frame in another way"):
        call(frame)
    assert frame.to_arrow().num_rows == 1


IN: dict[str, tuple[Any, str]] = {
    "ragged lists": ({"good": [1, 2], "bad": [[1], [2, 3]]}, "column `bad` is not an array of numpy"),
    "booleans beside numbers": ({"good": [1, 2], "bad": [True, 2]}, "column `bad` holds booleans and numbers"),
    "series of pandas": (pd.Series([1, 2], name="q"), "one column of type pandas.*Series: pass it with a name"),
    "series of Polars": (pl.Series("q", [1, 2]), "one column of type polars.*Series: pass it with a name"),
    "structured array": (np.zeros(3, dtype=[("a", "i4"), ("b", "f8")]), "a structured array of type numpy.ndarray: pass its fields"),
    "structured column": ({"q": np.zeros(3, dtype=[("a", "i4")])}, "column `q` has several values in a row"),
    "array": (np.zeros((3, 2)), "one column of type numpy.ndarray: pass it with a name"),
}


@pytest.mark.parametrize("name", IN)
def test_what_cannot_come_in_is_named(name: str) -> None:
    table, message = IN[name]
    for call in (coframe.share, lambda table: coframe.publish(table, "t")):
        with pytest.raises(coframe.Error, match=message):
            call(table)


def test_integers_among_nulls_are_exact_in_pandas_from_every_source() -> None:
    frame = coframe.publish(pl.DataFrame({"key": [1, 2], "id": [2**53 + 1, None], "small": [1, None]}), "t")
    df = frame.to_pandas(dtypes="numpy")
    assert df["id"].tolist() == [2**53 + 1, None] and df["small"].dtype == np.dtype("f8")
    assert frame["id"].to_pandas(dtypes="numpy").tolist() == [2**53 + 1, None]


def test_reading_creates_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["COFRAME_STORE"] + "-missing"
    monkeypatch.setenv("COFRAME_STORE", path)
    assert coframe.list() == [] and coframe.remove("t") is False and coframe.sweep() == coframe.Swept(0, 0, 0, [])
    with pytest.raises(coframe.NotFoundError, match="frame `t` not found, because the store does not exist"):
        coframe.open("t")
    assert not os.path.exists(path)
