"""Types that only one of the libraries has, or has in another form: what random tables found wrong."""

from __future__ import annotations

import datetime as dt

import coframe
import polars as pl
import pyarrow as pa
import pytest

_SORTED = pa.map_(pa.int32(), pa.string(), keys_sorted=True)
_MAPS = pa.array([[(1, "a"), (2, "b")], []], _SORTED)
_TEXTS = pa.array(["a", None, "a text that is out of line"], pa.string_view())
_ENDS = pa.array([2, 3, 4], pa.int16())

SORTED = {
    "in a union": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [_MAPS]),
    "in run ends": pa.RunEndEncodedArray.from_arrays(_ENDS[:2], _MAPS),
    "in a dictionary": pa.DictionaryArray.from_arrays(pa.array([1, 0, None], pa.int8()), _MAPS),
    "of nulls": pa.array([[(1, None), (2, None)], [(3, None)]], pa.map_(pa.int32(), pa.null(), keys_sorted=True)),
    "of lists of zero items": pa.array([[(1, [])], [(2, None)]], pa.map_(pa.int32(), pa.list_(pa.string(), 0), keys_sorted=True)),
    "next to run ends": pa.StructArray.from_arrays([_MAPS, pa.RunEndEncodedArray.from_arrays(_ENDS[:1], _TEXTS[:1])], ["m", "r"]),
    "in a list view": pa.ListViewArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array([1, 2], pa.int32()), _MAPS),
}


@pytest.mark.parametrize("where", SORTED)
def test_a_map_with_sorted_keys_keeps_them_anywhere(where: str) -> None:
    table = pa.table({"x": SORTED[where]}, metadata={"made": "here"})
    frame = coframe.publish(table, "t")
    for found in (frame.to_arrow(views=True), frame.to_arrow()):
        assert "keys_sorted" in str(found.schema.field("x").type)
        assert found.schema.metadata == table.schema.metadata
        found.validate(full=True)
        assert found["x"].to_pylist() == table["x"].to_pylist()
    assert frame.to_arrow(views=True).schema.equals(table.schema, check_metadata=True)
    empty = frame[:0].to_arrow(views=True)
    assert empty.schema.equals(table.schema, check_metadata=True) and empty.num_rows == 0


VIEWS = {
    "list view": (pa.ListViewArray.from_arrays(pa.array([1, 0], pa.int32()), pa.array([2, 2], pa.int32()), _TEXTS), pa.list_view(pa.large_string())),
    "union": (pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [_TEXTS]), pa.sparse_union([pa.field("0", pa.large_string())])),
    "run ends": (pa.RunEndEncodedArray.from_arrays(_ENDS, _TEXTS), pa.run_end_encoded(pa.int16(), pa.large_string())),
    "list of zero items": (pa.array([[], None], pa.list_(pa.string_view(), 0)), pa.list_(pa.large_string(), 0)),
    "list of zero items in a struct": (pa.array([{"l": []}], pa.struct([("l", pa.list_(pa.string_view(), 0))])), pa.struct([("l", pa.list_(pa.large_string(), 0))])),
}


@pytest.mark.parametrize("where", VIEWS)
def test_views_are_cast_for_pyarrow_in_every_type(where: str) -> None:
    array, kind = VIEWS[where]
    frame = coframe.publish(pa.table({"x": array}), "t")
    for part, expected in ((frame, array), (frame[1:], array[1:]), (frame[:0], array[:0])):
        found = part.to_arrow()["x"]
        assert found.type == kind
        found.validate(full=True)
        assert found.to_pylist() == expected.to_pylist()
    assert "cast to large strings" in (frame.explain()["x"].arrow or "")


@pytest.mark.parametrize("rows", [0, 2])
def test_list_views_in_runs_are_refused_where_pyarrow_ends_the_process(rows: int) -> None:
    views = pa.ListViewArray.from_arrays(pa.array([0, 0][:rows], pa.int32()), pa.array([1, 0][:rows], pa.int32()), pa.array([7]))
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1, 2][:rows], pa.int16()), views)
    lists = pa.ListArray.from_arrays(pa.array([0, *[0] * rows], pa.int32()), runs[:0])
    frame = coframe.publish(pa.table({"ok": [1, 2][:rows], "runs": runs, "lists": lists}), "t")
    for name in ("runs", "lists"):
        for call in (frame[name].to_numpy, lambda part=frame[[name]]: part.to_pandas(dtypes="numpy")):
            with pytest.raises(coframe.UnsupportedError, match=f"column `{name}` has list views inside of run-end encoded values"):
                call()
    assert len(frame.to_arrow()) == len(frame.to_pandas()) == len(frame["ok"].to_numpy()) == rows


def test_nulls_in_maps_of_polars_are_published() -> None:
    kinds = [pl.Map(pl.String, pl.Null), pl.List(pl.Map(pl.String, pl.Null)), pl.Map(pl.String, pl.List(pl.Null))]
    table = pa.table({"x": pa.array([[("k", None)], None, []], pa.map_(pa.string(), pa.null()))})
    df = pl.from_arrow(table).with_columns(pl.lit(None, dtype=kind).alias(str(kind)) for kind in kinds)
    assert df.schema["x"] == kinds[0]
    found = coframe.publish(df, "t").to_polars()
    assert found.schema == df.schema and found.equals(df)


@pytest.mark.parametrize("kind", [pa.timestamp("s"), pa.timestamp("s", "UTC"), pa.duration("s")], ids=str)
def test_seconds_that_polars_has_no_milliseconds_for_are_refused_by_their_column(kind: pa.DataType) -> None:
    seconds = [1, None, -(10**9)]
    frame = coframe.publish(pa.table({"x": pa.array(seconds, kind), "l": pa.array([[1], [], None], pa.list_(kind))}), "t")
    df = frame.to_polars()
    assert df["x"].dtype.time_unit == "ms" and df["x"].to_physical().to_list() == [1000, None, -(10**12)]
    assert df["l"].explode(empty_as_null=True).to_physical().to_list() == [1000, None, None]
    assert "milliseconds" in (frame.explain()["x"].polars or "") and "milliseconds" in (frame.explain()["l"].polars or "")
    for column in (pa.array([1, 2**62], kind), pa.array([[2**62], []], pa.list_(kind))):
        frame = coframe.publish(pa.table({"ok": [1, 2], "far": column}), "t")
        with pytest.raises(coframe.UnsupportedError, match="column `far`.*[Oo]verflow"):
            frame.to_polars()
        assert frame[["ok"]].to_polars().shape == (2, 1) and frame.to_arrow()["far"].type == column.type
    assert coframe.publish(pa.table({"x": pa.array([0], kind)}), "t").to_polars()["x"].to_list() in (
        [dt.datetime(1970, 1, 1)],
        [dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)],
        [dt.timedelta(0)],
    )
