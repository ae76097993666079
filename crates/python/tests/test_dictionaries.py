"""Columns of categories as numpy arrays."""

from __future__ import annotations

import datetime as dt

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

TEXTS = ["a", None, "b"]
CATEGORIES = {
    "categorical": pl.DataFrame({"k": pl.Series(TEXTS, dtype=pl.Categorical)}),
    "named": pl.DataFrame({"k": pl.Series(TEXTS, dtype=pl.Categorical(pl.Categories("numpy", physical=pl.UInt16)))}),
    "enum": pl.DataFrame({"k": pl.Series(TEXTS, dtype=pl.Enum(["z", "b", "a"]))}),
    "dictionary": pa.table({"k": pa.array(TEXTS).dictionary_encode()}),
    "pandas": pd.DataFrame({"k": pd.Categorical(TEXTS, categories=["b", "a", "z"])}),
    "nulls among the categories": pa.table({"k": pa.DictionaryArray.from_arrays(pa.array([0, 2, 1]), pa.array(["a", "b", None]))}),
}


@pytest.mark.parametrize("name", CATEGORIES)
@pytest.mark.parametrize("batch_rows", [None, 1])
def test_a_null_among_categories_is_none_in_numpy(name: str, batch_rows: int | None) -> None:
    frame = coframe.publish(CATEGORIES[name], "t", batch_rows=batch_rows)
    assert frame["k"].to_numpy().tolist() == TEXTS
    assert np.asarray(frame["k"]).tolist() == frame["k"].to_numpy(copy=True).tolist() == TEXTS
    assert [frame[row : row + 1]["k"].to_numpy().tolist() for row in range(3)] == [[text] for text in TEXTS]
    assert frame[:0]["k"].to_numpy().tolist() == []


def test_numbers_and_times_in_a_dictionary_are_as_they_are_without_one() -> None:
    values = {
        "small": [5, None, 300],
        "large": [2**60 + 1, None, 3],
        "floats": [1.5, None, 2.5],
        "booleans": [True, None, False],
        "moments": [dt.datetime(2020, 1, 1), None, dt.datetime(1960, 1, 1)],
    }
    for name, column in values.items():
        plain = coframe.publish(pa.table({"k": column}), "plain")["k"].to_numpy()
        found = coframe.publish(pa.table({"k": pa.array(column).dictionary_encode()}), "t")["k"].to_numpy()
        assert found.dtype == plain.dtype, name
        np.testing.assert_array_equal(found, plain)


def test_a_dictionary_column_that_is_all_null_is_all_none() -> None:
    frame = coframe.publish(pa.table({"k": pa.array([None, None], pa.string()).dictionary_encode()}), "t")
    assert frame["k"].to_numpy().tolist() == [None, None]
