"""Tables of every kind go in and come back equal."""

from __future__ import annotations

import datetime as dt
import decimal

import coframe
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

EVERY_DTYPE = {
    "boolean": pl.Series([True, None, False]),
    **{str(t): pl.Series([1, None, 3], dtype=t) for t in (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)},
    "i128": pl.Series([1, -(2**127), None], dtype=pl.Int128),
    "u128": pl.Series([1, 2**128 - 1, None], dtype=pl.UInt128),
    **{str(t): pl.Series([1.5, None, float("inf")], dtype=t) for t in (pl.Float16, pl.Float32, pl.Float64)},
    "decimal": pl.Series([decimal.Decimal("1.25"), None, decimal.Decimal("-3.50")]),
    "string": pl.Series(["a", None, "long enough to be out of line"]),
    "binary": pl.Series([b"a", None, b"long enough to be out of line"]),
    "date": pl.Series([dt.date(2020, 1, 2), None, dt.date(1960, 1, 1)]),
    "datetime": pl.Series([dt.datetime(2020, 1, 2), None, dt.datetime(1960, 1, 1)]),
    "zoned": pl.Series([dt.datetime(2020, 1, 2)] * 3).dt.replace_time_zone("Europe/Paris"),
    "duration": pl.Series([dt.timedelta(1), None, dt.timedelta(-1)]),
    "time": pl.Series([dt.time(1, 2, 3), None, dt.time(23)]),
    "null": pl.Series([None, None, None]),
    "categorical": pl.Series(["a", None, "b"], dtype=pl.Categorical),
    "named": pl.Series(["a", None, "b"], dtype=pl.Categorical(pl.Categories("named", physical=pl.UInt8))),
    "enum": pl.Series(["a", None, "b"], dtype=pl.Enum(["b", "a", "with ; and €"])),
    "list": pl.Series([[1, 2], None, []], dtype=pl.List(pl.Int64)),
    "array": pl.Series([[1, 2], None, [3, 4]], dtype=pl.Array(pl.Int64, 2)),
    "struct": pl.Series([{"a": 1, "b": "x"}, {"a": None, "b": None}, {"a": 3, "b": "y"}]),
    "nested": pl.Series([[{"a": [1], "c": "x"}], [], None], dtype=pl.List(pl.Struct({"a": pl.List(pl.Int128), "c": pl.Categorical}))),
}


@pytest.mark.parametrize("name", EVERY_DTYPE)
def test_every_dtype_of_polars_comes_back(name: str) -> None:
    df = pl.DataFrame({"column": EVERY_DTYPE[name]})
    coframe.publish(df, "t")
    found = coframe.open("t").to_polars()
    assert found.schema == df.schema
    assert found.equals(df)
    assert coframe.open("t").lazy().collect().equals(df)
    assert coframe.open("t")[1:].to_polars().equals(df[1:])


def test_a_frame_without_rows_keeps_its_dtypes() -> None:
    df = pl.DataFrame(EVERY_DTYPE).clear()
    assert coframe.publish(df, "t").to_polars().schema == df.schema


def test_a_lazy_frame_is_collected_batch_by_batch() -> None:
    df = pl.DataFrame({"x": range(300_000), "c": pl.Series(["a", "b", "c"] * 100_000, dtype=pl.Categorical)})
    frame = coframe.publish(df.lazy().filter(pl.col("x") % 2 == 0), "t")
    assert frame.to_polars().equals(df.filter(pl.col("x") % 2 == 0))


def test_a_lazy_frame_that_fails_is_its_own_exception_and_leaves_nothing() -> None:
    lazy = pl.LazyFrame({"x": ["1", "b"]}).select(pl.col("x").cast(pl.Int64))
    with pytest.raises(pl.exceptions.InvalidOperationError, match="conversion from `str` to `i64` failed"):
        coframe.publish(lazy, "t")
    assert coframe.list() == []


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["a", "b", "c"], name="key"),
        pd.Index([3, 1, 2]),
        pd.MultiIndex.from_tuples([("a", 1), ("b", 2), ("c", 3)], names=["k", "n"]),
        pd.date_range("2020-01-01", periods=3, tz="Europe/Paris", name="when"),
        pd.RangeIndex(10, 16, 2, name="row"),
    ],
    ids=["named", "unnamed", "multi", "dates", "range"],
)
def test_the_index_of_pandas_is_kept_and_restored(index: pd.Index) -> None:
    df = pd.DataFrame({"x": [1, 2, 3], "s": ["a", None, "c"], "f": [1.5, np.nan, 3.0]}, index=index)
    frame = coframe.publish(df, "t")
    pd.testing.assert_frame_equal(frame.to_table(), df, check_freq=False)
    # The index has Arrow's dtypes there, as the columns have.
    assert list(frame.to_pandas().index) == list(df.index) and frame.to_pandas().index.names == df.index.names
    pd.testing.assert_frame_equal(frame[1:].to_table(), df[1:], check_freq=False)
    pd.testing.assert_frame_equal(frame[["f"]][:2].to_table(), df[["f"]][:2], check_freq=False)
    pd.testing.assert_series_equal(frame["x"].to_pandas(dtypes="numpy"), df["x"], check_freq=False)


def test_pandas_gets_arrow_dtypes_or_its_own() -> None:
    df = pd.DataFrame({"x": [1, 2], "c": pd.Categorical(["a", "b"]), "t": pd.to_datetime(["2020-01-01", None])})
    frame = coframe.publish(df, "t")
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.to_pandas().dtypes)
    assert list(frame.to_pandas(dtypes="numpy").dtypes) == list(df.dtypes)
    with pytest.raises(coframe.InvalidError, match='expected "arrow" or "numpy"'):
        frame.to_pandas(dtypes="python")  # type: ignore[arg-type]


TABLE = pa.table(
    {
        "x": pa.array([1, None, 3]),
        "s": pa.array(["a", None, "c"]),
        "v": pa.array(["a", None, "c"], pa.string_view()),
        "d": pa.array(["a", None, "a"]).dictionary_encode(),
        "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        "l": pa.array([["a"], None, []], pa.list_(pa.string_view())),
    },
    metadata={"made": "here"},
)


def test_every_table_of_pyarrow_comes_back_with_its_layout() -> None:
    for table in (TABLE, TABLE.to_batches()[0], TABLE.to_reader()):
        found = coframe.publish(table, "t").to_arrow(views=True)
        assert found.equals(TABLE)
        assert found.schema.equals(TABLE.schema, check_metadata=True)


def test_views_are_cast_for_pyarrow_unless_it_asks_for_them() -> None:
    frame = coframe.publish(TABLE, "t")
    found = frame.to_arrow()
    assert found.schema.field("v").type == pa.large_string()
    assert found.schema.field("l").type == pa.list_(pa.large_string())
    assert found.schema.field("s").type == pa.string()
    assert found.filter(pa.compute.equal(found["v"], "c")).num_rows == 1
    assert "cast to large strings" in (frame.explain()["v"].arrow or "")
    assert frame.explain()["s"].arrow is None


_SORTED = pa.map_(pa.int32(), pa.string(), keys_sorted=True)


@pytest.mark.parametrize("kind", [_SORTED, pa.list_(_SORTED), pa.list_(_SORTED, 1), pa.struct([("x", _SORTED)]), pa.map_(pa.int8(), _SORTED)], ids=str)
def test_maps_keep_the_order_of_their_keys(kind: pa.DataType) -> None:
    one = [(1, "k"), (2, "l")]
    value = {"x": one} if pa.types.is_struct(kind) else one if kind == _SORTED else [(1, one)] if pa.types.is_map(kind) else [one]
    table = pa.table({"m": pa.array([value, None], kind)})
    frame = coframe.publish(table, "t")
    assert "keys_sorted" in str(frame.to_arrow().schema.field("m").type)
    assert frame.to_arrow().schema.equals(table.schema, check_metadata=True) and frame.to_arrow().equals(table)
    df = pd.DataFrame({"m": pd.array(table["m"], dtype=pd.ArrowDtype(kind))})
    assert coframe.share(df).to_table()["m"].dtype == df["m"].dtype
    assert frame[1:].to_arrow()["m"].to_pylist() == [None]


def test_a_requested_schema_is_what_the_reader_gets() -> None:
    frame = coframe.publish(TABLE.select(["s"]), "t")
    found = pa.RecordBatchReader.from_stream(frame, schema=pa.schema([("s", pa.large_string())])).read_all()
    assert found.schema.field("s").type == pa.large_string()


def test_the_layout_is_chosen_at_the_publish() -> None:
    df = pl.DataFrame({"s": ["a", "b"]})
    assert coframe.publish(df, "t").schema == {"s": "Utf8View"}
    assert coframe.publish(df, "t", layout="offset").schema == {"s": "LargeUtf8"}
    assert coframe.publish(TABLE.select(["s"]), "t", layout="view").schema == {"s": "Utf8View"}
    with pytest.raises(coframe.InvalidError, match='the layout `row`: expected `keep`, `view` or `offset`'):
        coframe.publish(df, "t", layout="row")  # type: ignore[arg-type]


def test_duckdb_comes_in_and_reads_frames() -> None:
    with duckdb.connect() as connection:
        relation = connection.sql("SELECT range AS x, 'row ' || range AS s FROM range(5000)")
        frame = coframe.publish(relation, "t")
        assert len(frame) == 5000
        assert connection.sql("SELECT sum(x) FROM frame").fetchall() == [(12497500,)]


NUMPY = {
    **{t: np.array([1, 2, 3], dtype=t) for t in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")},
    "boolean": np.array([True, False, True]),
    "day": np.array(["2020-01-01", "NaT", "1960-01-01"], dtype="M8[D]"),
    "time": np.array(["2020-01-01", "NaT", "1960-01-01"], dtype="M8[us]"),
    "hours": np.array([1, 2, 3], dtype="m8[h]"),
    "texts": np.array(["a", "", "long"]),
    "bytes": np.array([b"a", b"", b"long"]),
    "objects": np.array(["a", None, "long"], dtype=object),
    "strided": np.arange(6)[::2],
    "big": np.array([1, 2, 3], dtype=">i4"),
    "rows": np.arange(6.0).reshape(3, 2),
}


@pytest.mark.parametrize("name", NUMPY)
def test_every_array_of_numpy_comes_back(name: str) -> None:
    frame = coframe.publish({name: NUMPY[name]}, "t")
    found = frame[name].to_numpy()
    expected = NUMPY[name]
    if name == "hours":
        assert found.dtype == "m8[s]"
    np.testing.assert_array_equal(found.astype(expected.dtype), expected)
    assert list(frame.to_table()) == [name]


@pytest.mark.parametrize("values", [[1, 2, 3], [1.5, 2.5, 3.5], ["a", "b", "c"], [b"a", b"b", b"c"], np.array(["a", "b", None], object)], ids=repr)
def test_a_masked_array_has_nulls(values: list[object]) -> None:
    frame = coframe.publish({"x": np.ma.masked_array(values, [False, True, False])}, "t")
    assert frame.to_polars()["x"].to_list() == [values[0], None, values[2]]


def test_a_dict_of_arrays_comes_back_with_its_dtypes() -> None:
    kinds = ["U5", "S3", "m8[D]", "m8[h]", "M8[h]", "M8[Y]", ">i4", ">f8", "M8[25ns]", "i2", "f4", "bool"]
    table = {kind: np.array([0, 1, 2]).astype(kind) for kind in kinds}
    for found in ((frame := coframe.share(table)).to_table(), coframe.share(frame).to_table(), frame[1:].to_table(writable=True)):
        assert {name: array.dtype for name, array in found.items()} == {kind: array.dtype for kind, array in table.items()}
        for kind, array in table.items():
            np.testing.assert_array_equal(found[kind], array[3 - len(found[kind]) :])


@pytest.mark.parametrize("kind", ["i1", "u8", "f2", "f8", "bool", "M8[D]", "M8[us]", "m8[s]", "U1", "S1", "O"])
def test_an_array_without_rows_is_a_column_without_rows(kind: str) -> None:
    frame = coframe.publish({"x": np.array([], dtype=kind), "rows": np.zeros((0, 2))}, "t")
    assert frame.shape == (0, 2) and len(frame["x"].to_numpy()) == 0
    if kind not in ("bool", "M8[D]", "U1", "S1", "O"):
        assert frame["x"].to_numpy(copy=False).dtype == np.dtype(kind)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("M8[25ns]", "M8[ns]"), ("M8[2D]", "M8[D]"), ("M8[M]", "M8[D]"), ("M8[Y]", "M8[D]"), ("M8[h]", "M8[s]"), ("M8[10ms]", "M8[ms]"), ("m8[W]", "m8[s]"), ("m8[3us]", "m8[us]"), (">M8[D]", "M8[D]")],
)
def test_every_unit_of_time_comes_back_in_one_that_arrow_has(kind: str, expected: str) -> None:
    values = np.array([1, 3, "NaT", -5], dtype=kind)
    found = coframe.publish({"x": values}, "t")["x"].to_numpy()
    assert found.dtype == np.dtype(expected)
    np.testing.assert_array_equal(found, values.astype(expected))


def test_a_frame_without_columns_has_its_rows_everywhere() -> None:
    frame = coframe.publish(pa.table({"x": [1, 2]}).select([]), "t")
    assert frame.to_arrow().num_rows == 2 and frame.to_pandas().shape == (2, 0) and frame.shape == (2, 0)


def test_columns_bring_the_index_with_them_however_they_are_chosen() -> None:
    df = pd.DataFrame({"x": [1, 2], "y": [3, 4]}, index=pd.Index(["a", "b"], name="key"))
    frame = coframe.publish(df, "t")
    for part in (coframe.open("t", columns=["x"]), coframe.open("t", version=frame.version, columns=["x"]), frame[["x"]]):
        pd.testing.assert_frame_equal(part.to_table(), df[["x"]])
    with pytest.raises(coframe.ColumnNotFoundError):
        coframe.open("t", columns=["z"])


def test_metadata_of_the_user_is_complete() -> None:
    frame = coframe.publish(pd.DataFrame({"x": [1]}), "t", metadata={"python": "3", "source": "here"})
    assert frame.metadata == {"python": "3", "source": "here"}
    assert isinstance(frame.to_table(), pd.DataFrame)


def test_an_array_of_structs_is_a_table() -> None:
    frame = coframe.publish(pa.array([{"a": 1}, {"a": 2}]), "t")
    assert frame.to_polars()["a"].to_list() == [1, 2]


def test_numpy_gets_every_number_and_category_exactly() -> None:
    big = coframe.publish(pl.DataFrame({"x": [2**60 + 1, None], "wide": pl.Series([-(2**100), None], dtype=pl.Int128)}), "t")
    assert big["x"].to_numpy().tolist() == [2**60 + 1, None] and big["wide"].to_numpy().tolist() == [-(2**100), None]
    small = coframe.publish(pl.DataFrame({"x": [2, None]}), "t")["x"].to_numpy()
    assert small.dtype == np.dtype("f8") and small[0] == 2 and np.isnan(small[1])
    none = coframe.publish(pl.DataFrame({"e": pl.Series([None, None], dtype=pl.Enum([]))}), "t")
    assert none["e"].to_numpy().tolist() == [None, None]


def test_a_copy_for_numpy_is_writable() -> None:
    df = pl.DataFrame({"zoned": EVERY_DTYPE["zoned"], "s": ["a", "b", "c"], "x": [1, 2, 3]})
    frame = coframe.publish(df, "t")
    assert all(frame[name].to_numpy(copy=True).flags.writeable for name in df.columns)


FOREIGN = {
    "union": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])]),
    "decimal": pa.array([decimal.Decimal(1)], pa.decimal256(50, 2)),
    "interval": pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array(["a"])),
    "inside": pa.array([[decimal.Decimal(1)]], pa.list_(pa.decimal256(50, 2))),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_column_that_polars_has_no_type_for_is_named(name: str) -> None:
    table = pa.table({"x": [1], name: FOREIGN[name]})
    frame = coframe.publish(table, "t")
    for call in (frame.to_polars, frame[name].to_polars):
        with pytest.raises(coframe.UnsupportedError, match=f"column `{name}` is not for Polars, which has no type"):
            call()
    assert "no type" in (frame.explain()[name].polars or "") and frame.explain()["x"].polars is None
    assert frame["x"].to_polars().to_list() == [1] and frame.to_arrow()[name].equals(table[name])
