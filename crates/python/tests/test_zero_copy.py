"""What is shared, by the addresses of buffers."""

from __future__ import annotations

import resource

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from memory import buffers, is_mapped, shares
from test_tables import EVERY_DTYPE

#: What Polars cannot share, and why; docs of the package name the same.
COPIED = {
    "null": "there is nothing to share",
    "nested": "Polars builds its own keys for dictionaries inside lists and structs",
    # Exported by Polars for this test under formats that pyarrow does not know.
    "i128": "",
    "u128": "",
}


def physical(column: pl.Series) -> pl.Series:
    # Polars exports the keys of categories as a dictionary; what is asked here is where the keys are.
    return column.to_physical() if isinstance(column.dtype, (pl.Categorical, pl.Enum)) else column


@pytest.mark.parametrize("name", [name for name in EVERY_DTYPE if name not in COPIED])
def test_polars_reads_each_dtype_from_the_mapping(name: str, store: coframe.Store) -> None:
    column = pl.concat([EVERY_DTYPE[name]] * 100)
    frame = coframe.publish(pl.DataFrame({"column": column}), "t")
    found = physical(frame.to_polars()["column"])
    assert shares(pa.table(pl.DataFrame({"column": found})), store.path)


@pytest.mark.parametrize("name", ["i128", "u128"])
def test_polars_reads_wide_integers_from_the_mapping(name: str, store: coframe.Store) -> None:
    frame = coframe.publish(pl.DataFrame({"column": EVERY_DTYPE[name].fill_null(0)}), "t")
    found = frame.to_polars()["column"]
    assert is_mapped(found._s._get_buffer_info()[0] if hasattr(found._s, "_get_buffer_info") else found._s.as_single_ptr(), store.path)


def test_lazy_reads_from_the_mapping(store: coframe.Store) -> None:
    frame = coframe.publish(pl.DataFrame({"x": range(100), "s": ["a string that is not part of its view"] * 100}), "t")
    assert shares(pa.table(frame.lazy().collect()), store.path)


def test_pyarrow_reads_every_column_from_the_mapping(store: coframe.Store) -> None:
    df = pl.DataFrame(EVERY_DTYPE).drop("null", "string", "binary", "categorical", "named", "enum", "struct", "nested")
    assert shares(coframe.publish(df, "t").to_arrow(), store.path)


def test_pyarrow_shares_its_own_strings_and_views_that_it_asks_for(store: coframe.Store) -> None:
    texts = ["a string that is not part of its view"] * 100
    frame = coframe.publish(pa.table({"s": texts, "v": pa.array(texts, pa.string_view())}), "t")
    assert shares(frame[["s"]].to_arrow(), store.path)
    assert shares(frame[["v"]].to_arrow(views=True), store.path)
    assert not shares(frame[["v"]].to_arrow(), store.path)


def test_pandas_shares_strings_with_pandas(store: coframe.Store) -> None:
    df = pd.DataFrame({"x": np.arange(100), "s": ["some text"] * 100, "f": [1.5, None] * 50})
    found = coframe.publish(df, "t").to_pandas()
    for name in df.columns:
        chunks = pa.chunked_array(found[name].array.__arrow_array__()).chunks
        assert all(is_mapped(buffer.address, store.path) for chunk in chunks for buffer in buffers(chunk)), name


def test_numbers_of_pandas_with_its_own_dtypes_are_shared_and_read_only(store: coframe.Store) -> None:
    frame = coframe.publish(pd.DataFrame({"x": np.arange(100), "f": np.arange(100.0)}), "t")
    found = frame.to_table()
    for name in ("x", "f"):
        assert is_mapped(found[name].to_numpy().ctypes.data, store.path)
        assert not found[name].to_numpy().flags.writeable


@pytest.mark.parametrize(
    "kind", ["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "m8[us]"]
)
def test_numpy_shares_each_fixed_width_without_nulls(kind: str, store: coframe.Store) -> None:
    frame = coframe.publish({"x": np.arange(100).astype(kind)}, "t")
    found = frame[10:20]["x"].to_numpy(copy=False)
    assert found.dtype == np.dtype(kind)
    assert is_mapped(found.ctypes.data, store.path)
    np.testing.assert_array_equal(found, np.arange(10, 20).astype(kind))
    with pytest.raises(ValueError, match="read-only"):
        found[0] = found[1]
    assert found.copy().flags.writeable


def test_rows_of_two_dimensions_are_shared(store: coframe.Store) -> None:
    frame = coframe.publish({"v": np.arange(20.0).reshape(10, 2)}, "t")
    found = frame[3:]["v"].to_numpy(copy=False)
    assert found.shape == (7, 2) and found[0, 0] == 6.0
    assert is_mapped(found.ctypes.data, store.path)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (pl.Series([1, None]), "some of its rows are null"),
        (pl.Series(["a", "b"]), "numpy has no type with the memory layout of Utf8View"),
        (pl.Series([True, False]), "numpy has no type with the memory layout of Boolean"),
    ],
    ids=["nulls", "strings", "booleans"],
)
def test_what_numpy_cannot_share_is_named(column: pl.Series, reason: str, store: coframe.Store) -> None:
    frame = coframe.publish(pl.DataFrame({"column": column}), "t")
    with pytest.raises(coframe.WouldCopyError, match=f"column `column` would be copied: {reason}"):
        frame["column"].to_numpy(copy=False)
    assert frame.explain()["column"].numpy == reason
    assert len(frame["column"].to_numpy()) == 2


def test_several_batches_are_joined_for_numpy_only_if_they_may() -> None:
    frame = coframe.publish(pl.DataFrame({"x": range(10)}), "t", batch_rows=3)
    with pytest.raises(coframe.WouldCopyError, match="its 4 record batches must be joined"):
        frame["x"].to_numpy(copy=False)
    assert frame["x"].to_numpy().tolist() == list(range(10))
    assert frame[3:6]["x"].to_numpy(copy=False).tolist() == [3, 4, 5]


def test_the_keys_of_a_categorical_are_read_once_for_a_frame(store: coframe.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pl.DataFrame({name: EVERY_DTYPE[name] for name in ("Int64", "categorical", "enum", "named")})
    frame = coframe.publish(pl.concat([table] * 100), "t")
    first = frame.to_polars()
    monkeypatch.delattr(type(pl.col("x").cat), "to")
    # A change of one DataFrame is not in the next.
    first[0, "enum"] = None
    found = frame.to_polars()
    assert found.equals(pl.concat([table] * 100)) and not found.equals(first)
    assert all(shares(pa.table(pl.DataFrame({"c": physical(found[name])})), store.path) for name in found.columns)
    with pytest.raises(coframe.UnsupportedError, match="column `categorical`: AttributeError"):
        frame[:10].to_polars()


def test_explain_names_what_polars_works_on() -> None:
    frame = coframe.publish(pl.DataFrame(EVERY_DTYPE), "t")
    explain = frame.explain()
    assert explain.copied == 0
    assert "reads each key once" in (explain["categorical"].polars or "")
    assert "builds its own keys" in (explain["nested"].polars or "")
    assert explain["Int64"].polars is None and explain["string"].polars is None
    assert "column" in str(explain) and "reads each key once" in str(explain)
    assert "&lt;" not in explain._repr_html_() and "<pre>" in explain._repr_html_()


def test_a_process_with_other_categories_still_reads_right() -> None:
    names = pl.Categories("other")
    frame = coframe.publish(pl.DataFrame({"c": pl.Series(["a", "b", "a"], dtype=pl.Categorical(names))}), "t")
    import subprocess
    import sys

    code = (
        "import coframe, polars as pl\n"
        "mine = pl.Series(['z', 'b'], dtype=pl.Categorical(pl.Categories('other')))\n"
        f"found = coframe.Frame({frame.handle!r}).to_polars()['c']\n"
        "assert found.to_list() == ['a', 'b', 'a'], found\n"
        "assert found.dtype == mine.dtype\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def faults_of_a_scan(frame: coframe.Frame) -> int:
    """Page faults of this process while it reads a column of a frame."""
    column = frame["x"].to_numpy()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert column.max() == 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_scan_of_a_prefaulted_frame_causes_no_page_faults(store: coframe.Store) -> None:
    rows = 2_000_000
    coframe.publish({"x": np.ones(rows), "y": np.ones(rows)}, "t")
    # Opened anew each time, so that its map is fresh. The kernel maps 16 pages at a fault.
    assert faults_of_a_scan(coframe.open("t")) > rows * 8 / 4096 / 16 / 2
    frame = coframe.open("t")
    assert frame.prefault(["x"]) == rows * 8
    assert faults_of_a_scan(frame) < 20


def test_prefault_takes_all_columns_by_default_and_refuses_unknown_ones(store: coframe.Store) -> None:
    frame = coframe.publish({"x": np.ones(100), "y": np.ones(100)}, "t")
    assert frame.prefault() == 2 * frame.prefault(["y"]) == 2 * frame.prefault("x") == 1600
    with pytest.raises(coframe.NotFoundError):
        frame.prefault(["z"])
