"""How a frame, a store and a column describe themselves."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import coframe
import numpy as np
import polars as pl
import pyarrow as pa
import pytest


def test_a_frame_describes_itself() -> None:
    frame = coframe.publish(pl.DataFrame({"x": [1, 2, 3], "s": ["a", "<b>", "c"]}), "t", metadata={"source": "here"})
    assert (frame.name, frame.version, frame.columns, frame.shape) == ("t", 1, ["x", "s"], (3, 2))
    assert frame.schema == {"x": "Int64", "s": "Utf8View"}
    assert pa.schema(frame.schema).names == ["x", "s"] and pa.schema(frame).names == ["x", "s"]
    assert frame.metadata == {"source": "here"}
    assert frame.nbytes == os.path.getsize(f"{coframe.Store().path}/t.arrow")
    assert frame.created is not None and abs(dt.datetime.now(dt.timezone.utc) - frame.created) < dt.timedelta(minutes=1)
    assert "x" in frame and "y" not in frame and bool(frame[:0])
    assert repr(frame).startswith("<coframe.Frame t@1: 3 rows, 2 columns")
    assert frame.handle.startswith(f"coframe:{coframe.Store().path}/t@1?id=")


def test_a_notebook_shows_the_first_rows() -> None:
    frame = coframe.publish(pl.DataFrame({"x": range(1000), "s": ["<b>"] * 1000}), "t")
    shown = frame._repr_html_()
    assert "t@1: 1000 rows" in shown and "<table" in shown and "&lt;b&gt;" in shown
    assert "<b>" not in shown and "999" not in shown


def test_a_column_describes_itself_and_becomes_what_is_asked_for() -> None:
    column = coframe.publish(pl.DataFrame({"x": [1, 2, 3], "s": ["a", "b", None]}), "t")["s"]
    assert (column.name, column.type, len(column)) == ("s", "Utf8View", 3)
    assert column.to_polars().to_list() == column.to_arrow().to_pylist() == column.to_numpy().tolist() == ["a", "b", None]
    assert column.to_pandas().isna().tolist() == [False, False, True]


def test_a_column_of_another_dtype_is_copied_only_if_a_copy_is_allowed() -> None:
    column = coframe.publish({"x": np.array([1.5])}, "t")["x"]
    with pytest.raises(coframe.WouldCopyError, match="column `x` would be copied: it is of dtype float64, not float32"):
        np.asarray(column, dtype="f4", copy=False)
    assert np.asarray(column, dtype="f4").tolist() == [1.5] == np.asarray(column, dtype="f8", copy=False).tolist()


def test_a_split_has_every_row_once() -> None:
    frame = coframe.publish(pl.DataFrame({"x": range(10)}), "t")
    parts = frame.split(3)
    assert [len(part) for part in parts] == [4, 3, 3]
    assert pl.concat(part.to_polars() for part in parts)["x"].to_list() == list(range(10))


def test_a_store_lists_its_frames(store: coframe.Store) -> None:
    frame = store.publish(pl.DataFrame({"x": [1]}), "t", keep=1)
    store.publish(pl.DataFrame({"x": [1, 2]}), "t", keep=1)
    (info,) = store.list()
    assert (info.name, info.version, info.num_rows, info.num_columns, info.superseded) == ("t", 2, 2, 1, [1])
    assert store.versions("t") == [1, 2] and len(store.open("t", version=1)) == 1
    assert store.open("t", columns=["x"]).columns == ["x"]
    assert "t" in store and "u" not in store
    assert store.usage().segments == 2 and store.users("t")[0].pid == os.getpid()
    assert len(store.verify("t")) == 2
    assert store.sweep().segments == 0
    before = store.usage()
    coframe.Counter(name="cell", store=store)
    coframe.Dict(name="dict", store=store)["a"] = 1
    after = store.usage()
    assert (after.cells - before.cells, after.dicts - before.dicts) == (1, 1) and after.shared_bytes > before.shared_bytes
    (store_path := pathlib.Path(store.path) / "x@1.arrow").mkdir()
    (problem,) = store.sweep().problems
    assert "x@1.arrow" in problem
    store_path.rmdir()
    assert store.remove("t") and not store.remove("t")
    assert frame["x"].to_numpy().tolist() == [1]


def test_a_store_imports_the_files_of_others(store: coframe.Store, tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "x.arrow")
    pl.DataFrame({"x": [1, 2]}).write_ipc(path, compression="uncompressed")
    assert store.import_file(path, "t").to_polars()["x"].to_list() == [1, 2]
    with open(path, "r+b") as file:
        file.truncate(100)
    with pytest.raises(coframe.CorruptError):
        store.import_file(path, "t")


@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
@pytest.mark.parametrize("kind", ["file", "stream"])
def test_a_compressed_file_is_imported(kind: str, compression: str, store: coframe.Store, tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "x")
    table = pa.table({"x": range(1000), "s": ["a", None] * 500, "d": pa.array(["a", None] * 500).dictionary_encode()})
    options = pa.ipc.IpcWriteOptions(compression=None if compression == "uncompressed" else compression)
    with (pa.ipc.new_file if kind == "file" else pa.ipc.new_stream)(path, table.schema, options=options) as writer:
        writer.write_table(table)
    assert store.import_file(path, "t").to_arrow().equals(table)


def test_any_reader_opens_a_frame_by_its_path(store: coframe.Store) -> None:
    store.publish(pl.DataFrame({"x": [1, 2]}), "t")
    with pa.memory_map(f"{store.path}/t.arrow") as file:
        assert pa.ipc.open_file(file).read_all()["x"].to_pylist() == [1, 2]


def test_a_session_ends_with_its_block(store: coframe.Store) -> None:
    with coframe.Session() as session:
        frame = session.publish(pl.DataFrame({"x": [1]}), "t")
        assert len(coframe.Frame(frame.handle)) == 1 and "t" not in store
    with pytest.raises(coframe.NotFoundError, match="ends with its process: that process has ended, or freed it"):
        len(coframe.Frame(frame.handle))
    assert len(frame) == 1


def test_a_frame_is_the_same_key_after_it_was_freed() -> None:
    shared, other = coframe.share(pa.table({"x": [1]})), coframe.share(pa.table({"x": [1]}))
    before, seen = hash(shared), {shared: 1, other: 2}
    untouched = coframe.share(pa.table({"x": [1]}))
    for frame in (shared, untouched):
        frame.close()
        frame.close()
    assert hash(shared) == before and seen[shared] == 1 and shared != other and untouched == untouched
    assert len({shared, other, untouched}) == 3
    with pytest.raises(coframe.ClosedError):
        shared.handle


def test_a_column_of_list_views_without_rows_has_an_array_without_rows() -> None:
    code = (
        "import coframe, pyarrow as pa\n"
        "for kind in (pa.list_view(pa.int64()), pa.large_list_view(pa.string()), pa.list_(pa.list_view(pa.int64()))):\n"
        "    frame = coframe.publish(pa.table({'x': pa.array([], kind)}), 't')\n"
        "    print(len(frame['x'].to_numpy()), frame.to_pandas(dtypes='numpy').shape, frame.to_pandas().shape, '<table' in frame._repr_html_())\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stdout == "0 (0, 1) (0, 1) True\n" * 3, found.stderr[-500:]


def test_the_version_of_the_package_is_that_of_its_distribution() -> None:
    assert coframe.__version__ == importlib.metadata.version("coframe")


def test_statistics_of_a_frame_are_those_that_were_asked_for(store: coframe.Store) -> None:
    df = pl.DataFrame({"x": [3, None, 7, 5], "s": ["b", "a", "d", "c"], "l": [[1], [2], None, []]})
    assert store.publish(df, "x").statistics() is None
    frame = store.publish(df, "x", batch_rows=2, statistics=True)
    found = frame.statistics().to_pydict()
    assert found["x"] == [
        {"rows": 2, "nulls": 1, "min": 3, "max": 3, "exact": True},
        {"rows": 2, "nulls": 0, "min": 5, "max": 7, "exact": True},
    ]
    assert [batch["max"] for batch in found["s"]] == ["b", "d"]
    assert [(batch["nulls"], batch["min"]) for batch in found["l"]] == [(0, None), (1, None)]


def test_a_store_that_was_removed_and_created_again_is_opened_again(store: coframe.Store) -> None:
    for expected in ([1], [2]):
        coframe.publish(pl.DataFrame({"x": expected}), "t")
        assert coframe.open("t").to_polars()["x"].to_list() == expected
        shutil.rmtree(store.path)
        with pytest.raises(coframe.NotFoundError, match="the store does not exist"):
            coframe.open("t")


def test_a_store_whose_mode_was_changed_is_checked_again(store: coframe.Store) -> None:
    coframe.publish(pl.DataFrame({"x": [1]}), "t")
    coframe.open("t")
    os.chmod(store.path, 0o777)
    with pytest.raises(coframe.UntrustedError):
        coframe.open("t")
    os.chmod(store.path, 0o700)
    assert coframe.open("t").shape == (1, 1)
