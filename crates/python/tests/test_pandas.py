"""Columns of pandas by their place, and frames that are published again."""

from __future__ import annotations

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

_KEY = pd.Index(["a", "b"], name="key")
LABELS = {
    "integers": pd.DataFrame({0: [1, 2], 1: [3, 4]}),
    "none": pd.DataFrame({None: [1, 2], "x": [3, 4]}),
    "pairs": pd.DataFrame([[1, 2], [3, 4]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")])),
    "dates": pd.DataFrame([[1, 2], [3, 4]], columns=pd.to_datetime(["2020-01-01", "2020-01-02"])),
    "index": pd.DataFrame({"x": [1, 2], "y": [3, 4]}, index=_KEY),
    "no index name": pd.DataFrame({"x": [1, 2], "y": [3, 4]}, index=["a", "b"]),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("dtypes", ["arrow", "numpy"])
def test_every_column_becomes_a_series_under_any_label(name: str, dtypes: coframe._pandas.Dtypes) -> None:  # type: ignore[name-defined]
    df = LABELS[name]
    frame = coframe.publish(df, "t")
    for position, column in enumerate(frame.columns[:2]):
        found = frame[column].to_pandas(dtypes=dtypes)
        assert found.tolist() == df.iloc[:, position].tolist() and found.index.tolist() == df.index.tolist()
        part = frame[1:][column].to_pandas(dtypes=dtypes)
        assert part.tolist() == df.iloc[1:, position].tolist() and part.index.tolist() == df.index[1:].tolist()


@pytest.mark.parametrize("dtypes", ["arrow", "numpy"])
def test_the_columns_of_an_index_become_series_too(dtypes: coframe._pandas.Dtypes) -> None:  # type: ignore[name-defined]
    frame = coframe.publish(LABELS["index"], "t")
    assert frame["key"].to_pandas(dtypes=dtypes).to_dict() == {"a": "a", "b": "b"} and frame["key"].to_pandas().name == "key"
    frame = coframe.publish(LABELS["no index name"], "t")
    assert frame["__index_level_0__"].to_pandas(dtypes=dtypes).to_dict() == {"a": "a", "b": "b"}
    pairs = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["k", "n"])
    frame = coframe.publish(pd.DataFrame({"x": [1, 2]}, index=pairs), "t")
    assert frame["n"].to_pandas(dtypes=dtypes).to_dict() == {("a", 1): 1, ("b", 2): 2}
    assert frame["k"].to_pandas(dtypes=dtypes).tolist() == ["a", "b"]


def test_a_part_that_is_published_again_keeps_its_index() -> None:
    df = pd.DataFrame({"x": range(10)}, index=pd.RangeIndex(10, 30, 2, name="row"))
    for frame in (coframe.publish(df, "t"), coframe.share(df)):
        again = coframe.publish(frame[1:7][2:], "again")
        pd.testing.assert_frame_equal(again.to_table(), df[3:7])
        pd.testing.assert_frame_equal(coframe.share(again[1:]).to_table(), df[4:7])


def test_a_frame_that_is_published_again_is_the_same_kind_of_table() -> None:
    tables = [pl.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]}), pa.table({"x": [1]}), {"x": np.array([1])}]
    for table in tables:
        shared = coframe.share(table)
        for again in (coframe.share(shared), coframe.publish(shared[:1], "t"), coframe.share(coframe.share(shared))):
            assert type(again.to_table()) is type(table)


def test_the_rows_of_a_frame_of_pandas_without_columns_can_be_cut() -> None:
    df = pd.DataFrame(index=pd.RangeIndex(5, name="row"))
    frame = coframe.publish(df, "t")
    for found in (frame[1:3].to_pandas(), frame[1:3].to_table()):
        assert found.shape == (2, 0) and found.index.equals(df.index[1:3]) and found.index.name == "row"
    assert frame.to_pandas().shape == (5, 0)
