"""What ``partial`` shares in addition to tables, and what it reports of the rest."""

from __future__ import annotations

import functools
import pickle
import warnings
from typing import Any

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pytest
from kinds import REFUSED
from same import difference
from workers import FRESH

N = 100_000
OUT = {name: REFUSED[row][name] for row in REFUSED for name in REFUSED[row] if name in ("sparse", "complex", "tuples", "big integers")}


def _arrays() -> dict[str, Any]:
    numbers = np.arange(N, dtype="f8")
    return {
        "numbers": numbers,
        "two dimensions": numbers.reshape(100, -1),
        "three dimensions": numbers.reshape(10, 100, -1),
        "by columns": np.asfortranarray(numbers.reshape(100, -1)),
        "every other": numbers[::2],
        "booleans": numbers > 7,
        "times": numbers.astype("M8[ns]"),
        "complex": numbers + 1j,
        "big end first": numbers.astype(">i4"),
        "texts": numbers.astype("U8"),
        "records": np.zeros(N, dtype=[("x", "f8"), ("n", "i4")]),
    }


SERIES: dict[str, Any] = {
    "pandas": pd.Series(range(N), index=pd.RangeIndex(5, N + 5), name=("a", 1)),
    "pandas without a name": pd.Series(["a", None] * (N // 2)),
    "polars": pl.Series("x", range(N)),
    "lazy": pl.LazyFrame({"x": range(N)}),
}


def is_same(one: Any, other: Any) -> bool:
    if isinstance(one, pd.Series):
        return type(other) is pd.Series and difference(one.to_frame("x"), other.to_frame("x")) is None and one.name == other.name
    if isinstance(one, (pl.Series, pl.LazyFrame)):
        return type(one) is type(other) and (one.equals(other) if isinstance(one, pl.Series) else one.collect().equals(other.collect()))
    return type(one) is type(other) and one.dtype == other.dtype and one.shape == other.shape and bool((one == other).all())


def kept(*things: Any, **named: Any) -> Any:
    return things, named


@pytest.mark.parametrize("name", [*_arrays(), *SERIES])
def test_an_array_or_series_arrives_as_it_was_and_is_not_pickled(name: str) -> None:
    thing = {**_arrays(), **SERIES}[name]
    with coframe.partial(kept, thing, key=thing) as function:
        text = pickle.dumps(function)
        assert len(text) < 2000 and len(coframe.shared()) >= 1
        (found,), named = pickle.loads(text)()
        assert is_same(thing, found) and is_same(thing, named["key"])
    if isinstance(found, np.ndarray):
        # As after pickling, it may be changed.
        before = found.copy()
        found[0] = found[1]
        assert found.flags.writeable and not (found[1:] != before[1:]).any()
        assert found.flags.f_contiguous == pickle.loads(pickle.dumps(thing)).flags.f_contiguous


@pytest.mark.parametrize("name", OUT)
def test_a_dataframe_that_arrow_cannot_hold_is_shared_as_its_pickle(name: str) -> None:
    rows = pd.concat([OUT[name]] * (N // len(OUT[name])), ignore_index=True)
    rows["large"] = np.ones(len(rows))
    things = [rows, 1]
    with coframe.partial(kept, rows, key=things) as function:
        assert len(coframe.shared()) >= 1 and len(pickle.dumps(function)) < 2000
        (found,), named = pickle.loads(pickle.dumps(function))()
        assert difference(rows.iloc[:20], found.iloc[:20]) is None and difference(rows.iloc[-20:], named["key"][0].iloc[-20:]) is None
        found.iloc[0, -1] = 7.0
        assert (rows.iloc[0, -1], named["key"][0].iloc[0, -1]) == (1.0, 1.0)


def test_a_small_dataframe_that_arrow_cannot_hold_is_pickled() -> None:
    df = OUT["tuples"]
    assert coframe.partial(kept, df).args == (df,)


def total(things: dict[str, Any], item: int) -> float:
    return float(things["frames"][0]["x"].sum()) + float(things["arrays"][1].sum()) + item


def test_tables_and_arrays_inside_of_lists_and_dicts_are_shared_once_each() -> None:
    df, array = pd.DataFrame({"x": range(N)}), np.ones(N)
    things = {"frames": [df, pl.DataFrame({"x": [1]})], "arrays": (array[:0], array), "again": {"df": df}, "n": 7}
    before = len(coframe.shared())
    with coframe.partial(total, things) as function:
        assert len(coframe.shared()) == before + 3 and len(pickle.dumps(function)) < 5000
        assert function.args[0] is not things and things["frames"][0] is df
        with FRESH.Pool(2) as pool:
            assert pool.map(function, range(3)) == pool.map(functools.partial(total, things), range(3))
    assert len(coframe.shared()) == before


def test_what_is_small_or_cannot_be_shared_is_passed_as_it_is() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    objects = np.array([{}] * N, dtype=object)
    sparse = pd.Series(pd.arrays.SparseArray(np.zeros(N)))
    for thing in (np.ones(10), pd.Series([1]), loop, [1, "a"], objects, sparse, np.ma.ones(N), [pd.DataFrame({"s": pd.arrays.SparseArray([1])})]):
        function = coframe.partial(kept, thing)
        assert function.args == (thing,) and function.args[0] is thing


def test_a_large_pickle_is_warned_of_once_with_the_argument() -> None:
    function = coframe.partial(kept, 1, objects=np.array([None] * 2_000_000, dtype=object))
    with pytest.warns(UserWarning, match="coframe.partial pickles 16.0 MB for each task .* argument 'objects', of type ndarray"):
        pickle.dumps(function)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.dumps(function)
        with coframe.partial(kept, np.ones(2_000_000), "x" * 1000) as shared:
            pickle.dumps(shared)
