"""An object that was changed since it was sent is never sent with its old values; an unchanged one is written once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from coframe import _exposed
from kinds import KEPT, REFUSED
from same import difference
from test_sharing import frames

ROWS = 1000
COPIES_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3


def sent(thing: Any) -> Any:
    return pickle.loads(ForkingPickler.dumps(thing))


def pandas_frame() -> pd.DataFrame:
    df = pd.DataFrame({"x": np.arange(ROWS, dtype="f8"), "y": np.arange(ROWS, dtype="f8")})
    df["i"] = pd.array([1, None] * (ROWS // 2), dtype="Int64")
    df["s"] = ["a", "b"] * (ROWS // 2)
    df["t"] = pd.date_range("2020-01-01", periods=ROWS, tz="UTC")
    df["c"] = pd.Categorical(["a", "b"] * (ROWS // 2))
    df["o"] = pd.Series([[1], [2]] * (ROWS // 2), dtype=object)
    return df


def _set(df: pd.DataFrame, label: str, values: Any) -> None:
    df[label] = values


def _columns(df: pd.DataFrame) -> None:
    df.columns = [str(label).upper() for label in df.columns]


def _index(df: pd.DataFrame) -> None:
    df.index = range(1, ROWS + 1)


def _attrs(df: pd.DataFrame) -> None:
    df.attrs["source"] = "b"


def _name(df: pd.DataFrame) -> None:
    df.index.name = "row"


def _array(label: str) -> Callable[[pd.DataFrame], None]:
    def write(df: pd.DataFrame) -> None:
        array = df[label].array
        array[0] = array[1]

    return write


PANDAS: dict[str, Callable[[pd.DataFrame], Any]] = {
    "iloc": lambda df: df.iloc.__setitem__((0, 0), 5.0),
    "loc": lambda df: df.loc.__setitem__((slice(1, 5), "x"), -1.0),
    "at": lambda df: df.at.__setitem__((0, "x"), 9.0),
    "iat": lambda df: df.iat.__setitem__((0, 1), 9.0),
    "mask": lambda df: df.loc.__setitem__((df["x"] > 3, "y"), 0.0),
    "a column": lambda df: _set(df, "x", df["x"] * 2),
    "a new column": lambda df: _set(df, "z", 1),
    "in place, an operator": lambda df: df.__setitem__("x", df["x"].__iadd__(1)),
    "insert": lambda df: df.insert(0, "first", 1),
    "drop": lambda df: df.drop(columns="y", inplace=True),
    "rename": lambda df: df.rename(columns={"x": "X"}, inplace=True),
    "labels": _columns,
    "index": _index,
    "name of the index": _name,
    "sort": lambda df: df.sort_values("x", ascending=False, inplace=True),
    "fillna": lambda df: df.__setitem__("i", df["i"].fillna(7)),
    "attrs": _attrs,
    "flags": lambda df: setattr(df.flags, "allows_duplicate_labels", False),
    "a masked value": lambda df: df.loc.__setitem__((0, "i"), 5),
    "a text": lambda df: df.loc.__setitem__((0, "s"), "zz"),
    "a time": lambda df: df.loc.__setitem__((0, "t"), pd.Timestamp("1999-01-01", tz="UTC")),
    "a category": lambda df: df.loc.__setitem__((0, "c"), "b"),
    "inside of an object": lambda df: df["o"].iloc[0].append(3),
    "update": lambda df: df.update(pd.DataFrame({"x": [100.0]})),
    "through an array of floats": _array("x"),
    "through an array of masked integers": _array("i"),
    "through an array of texts": _array("s"),
    "through an array of times": _array("t"),
    "through an array of categories": _array("c"),
}


@pytest.mark.parametrize("how", PANDAS)
def test_a_write_to_a_dataframe_is_sent(how: str, store: coframe.Store) -> None:
    df = pandas_frame()
    with coframe.sharing(min_bytes=0):
        # The comparison makes pandas keep what it found in the frame, which its pickle has as well.
        assert difference(df, sent(df)) is None
        sent(df)
        before = len(frames(store))
        assert difference(df, sent(df)) is None
        assert len(frames(store)) == before, "an unchanged frame is written once"
        PANDAS[how](df)
        assert difference(df, sent(df)) is None
        assert len(frames(store)) == before + 1


def test_a_write_through_a_view_of_the_program_is_sent(store: coframe.Store) -> None:
    array = np.arange(ROWS, dtype="f8")
    df = pd.DataFrame({"x": array}, copy=False)
    assert np.shares_memory(array, df["x"].to_numpy())
    with coframe.sharing(min_bytes=0):
        for value in (1.0, 2.0):
            array[5] = value
            assert sent(df)["x"].iloc[5] == value
        sent(df)
        assert len(frames(store)) == 2


#: More bytes than a witness keeps a copy of, even with one for each row.
MANY = 2000
INT, FLAGS, DAYS = np.arange(MANY), np.zeros(MANY, "?"), np.arange(MANY)
#: Columns on arrays of the program, and the arrays.
COLUMNS: dict[str, tuple[Any, Any]] = {
    "integers": (pd.array(INT, dtype="Int64", copy=False), INT),
    "a mask": (pd.arrays.IntegerArray(np.arange(MANY), FLAGS), FLAGS),
    "booleans": (pd.arrays.BooleanArray(values := np.zeros(MANY, "?"), np.zeros(MANY, "?")), values),
    "codes of categories": (pd.Categorical.from_codes(codes := np.zeros(MANY, "i1"), ["a", "b", "c", "d"]), codes),
    "periods": (pd.arrays.PeriodArray(DAYS, dtype=pd.PeriodDtype("D")), DAYS),
    "integers of Arrow": (pd.array(pa.array(arrow := np.arange(MANY)), dtype=pd.ArrowDtype(pa.int64())), arrow),
    "a part of an array": (pd.array((whole := np.arange(2 * MANY))[:MANY], dtype="Int64", copy=False), whole),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_a_write_to_an_array_of_the_program_in_an_extension_array_is_sent(kind: str, store: coframe.Store) -> None:
    column, array = COLUMNS[kind]
    df = pd.DataFrame({"x": column}, copy=False)
    with coframe.sharing(min_bytes=0):
        for value in (1, 0, 1):
            array[5] = value
            assert difference(df, sent(df)) is None
        sent(df)
        assert len(frames(store)) == 3


@pytest.mark.skipif(not COPIES_ON_WRITE, reason="pandas shares its values with the program")
def test_a_dataframe_that_pandas_made_is_not_compared_byte_by_byte() -> None:
    df = pandas_frame()
    df["p"] = pd.period_range("2020-01-01", periods=ROWS, freq="D")
    df["b"] = pd.array([True, None] * (ROWS // 2), dtype="boolean")
    assert not _exposed.is_exposed(df)
    others = [df.copy(deep=False), df[["i", "c", "p"]], df.iloc[2:9], df["i"]]
    assert not _exposed.is_exposed(df)
    assert not any(map(_exposed.is_exposed, others))


def test_views_of_a_dataframe_that_pandas_made_change_nothing(store: coframe.Store) -> None:
    df = pandas_frame()
    with coframe.sharing(min_bytes=0):
        sent(df)
        series, part, values = df["x"], df[["x", "y"]], df[["x"]].to_numpy()
        series.iloc[0] = 4.0
        part.iloc[1, 0] = 5.0
        assert values.flags.writeable != COPIES_ON_WRITE
        assert difference(df, sent(df)) is None
        # Before pandas 3 the DataFrame has the new values as well.
        assert len(frames(store)) == (1 if COPIES_ON_WRITE else 2)


def test_a_series_is_as_a_dataframe(store: coframe.Store) -> None:
    series = pd.Series(np.arange(ROWS, dtype="f8"), name="x")
    with coframe.sharing(min_bytes=0):
        sent(series)
        assert sent(series).equals(series)
        assert len(frames(store)) == 1
        series.iloc[3] = 0.5
        assert sent(series).equals(series)
        series.name = "y"
        assert sent(series).name == "y"


ARRAYS: dict[str, Callable[[np.ndarray[Any, Any]], Any]] = {
    "an item": lambda array: array.__setitem__(3, 7),
    "the last item": lambda array: array.__setitem__(-1, 7),
    "an operator": lambda array: array.__iadd__(1),
    "sort": lambda array: array[::-1].sort(),
    "a view": lambda array: array[10:20].__setitem__(slice(None), -1),
    "minus zero": lambda array: array.__setitem__(0, -0.0),
    "out": lambda array: np.sqrt(array, out=array),
}


@pytest.mark.parametrize("how", ARRAYS)
def test_a_write_to_an_array_is_sent(how: str, store: coframe.Store) -> None:
    array = np.arange(300_000, dtype="f8")
    with coframe.sharing(min_bytes=0):
        sent(array)
        assert sent(array).tobytes() == array.tobytes()
        assert len(frames(store)) == 1
        ARRAYS[how](array)
        assert sent(array).tobytes() == array.tobytes()
        assert len(frames(store)) == 2


POLARS: dict[str, Callable[[pl.DataFrame], Any]] = {
    "an item": lambda df: df.__setitem__((0, "x"), 5),
    "a text": lambda df: df.__setitem__((0, "s"), "zz"),
    "a column": lambda df: df.replace_column(0, pl.Series("x", range(ROWS))),
    "insert": lambda df: df.insert_column(0, pl.Series("z", range(ROWS))),
    "drop": lambda df: df.drop_in_place("x"),
    "names": lambda df: setattr(df, "columns", ["X", "s", "c", "l"]),
    "extend": lambda df: df.extend(df),
    "vstack": lambda df: df.vstack(df, in_place=True),
    "hstack": lambda df: df.hstack([pl.Series("z", range(ROWS))], in_place=True),
}


@pytest.mark.parametrize("how", POLARS)
def test_a_write_to_a_dataframe_of_polars_is_sent(how: str, store: coframe.Store) -> None:
    categories = pl.Series(["a", "b"] * (ROWS // 2), dtype=pl.Categorical)
    df = pl.DataFrame({"x": range(ROWS), "s": ["a", None] * (ROWS // 2), "c": categories, "l": [[1], [2, 3]] * (ROWS // 2)})
    with coframe.sharing(min_bytes=0):
        assert sent(df).equals(df)
        assert sent(df).equals(df)
        assert len(frames(store)) == 1
        POLARS[how](df)
        assert sent(df).equals(df) and sent(df).columns == df.columns
        assert len(frames(store)) == 2


def test_a_table_of_pyarrow_is_written_once(store: coframe.Store) -> None:
    table = pa.table({"x": range(ROWS)})
    with coframe.sharing(min_bytes=0):
        assert sent(table).equals(table) and sent(table).equals(table)
        assert len(frames(store)) == 1
        assert sent(table.slice(1)).equals(table.slice(1))


def test_an_object_at_the_place_of_a_dead_one_is_another(store: coframe.Store) -> None:
    with coframe.sharing(min_bytes=0):
        for value in range(20):
            array = np.full(100, value)
            assert sent(array)[0] == value
            del array


EVERYTHING = {
    f"{row}: {name}": df for table in (KEPT, REFUSED) for row, every in table.items() for name, df in every.items()
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_dataframe_of_pandas_comes_back_as_pickle_brings_it(name: str) -> None:
    df = EVERYTHING[name]
    try:
        expected = pickle.loads(pickle.dumps(df))
    except Exception as error:
        with coframe.sharing(min_bytes=0), pytest.raises(type(error)):
            sent(df)
        return
    with coframe.sharing(min_bytes=0):
        found = sent(df)
    assert difference(expected, found) is None


def test_what_arrived_is_sent_on_without_a_copy_unless_it_was_written_to(store: coframe.Store) -> None:
    with coframe.sharing(min_bytes=0):
        for made in (lambda: pandas_frame()[["x", "y"]], lambda: np.arange(2_000_000.0), lambda: pl.DataFrame({"x": range(ROWS)})):
            thing = made()
            before = len(frames(store))
            arrived = sent(thing)
            again = sent(arrived)
            assert len(frames(store)) == before + 1
            assert again.equals(thing) if hasattr(thing, "equals") else np.array_equal(again, thing)
            if isinstance(arrived, pl.DataFrame):
                arrived[0, "x"] = 7
            elif isinstance(arrived, pd.DataFrame):
                arrived["x"].array[5] = -1.0
            else:
                arrived[1_000_000] = -1.0
            once_more = sent(arrived)
            assert once_more.equals(arrived) if hasattr(thing, "equals") else np.array_equal(once_more, arrived)
            assert len(frames(store)) == before + 2
