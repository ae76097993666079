"""DataFrames and arrays that may be changed, on the shared bytes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pytest
import tasks
from workers import FRESH

ROWS = 1 << 12


def _df() -> pd.DataFrame:
    return pd.DataFrame({"x": np.arange(ROWS, dtype="f8"), "n": np.arange(ROWS), "c": pd.Categorical(["a", "b"] * (ROWS // 2))})


def _fill(df: pd.DataFrame) -> None:
    df.iloc[0] = [0.0, 0, "b"]


CHANGES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "loc": lambda df: df.__setattr__("changed", df.loc.__setitem__((df["n"] > 3, "x"), 0.0)),
    "iloc": _fill,
    "at": lambda df: df.at.__setitem__((0, "x"), 3.5),
    "augmented": lambda df: df.__setitem__("x", df["x"] * 2),
    "fillna": lambda df: df.fillna({"x": 0, "n": 0}, inplace=True),
    "replace": lambda df: df.replace(1, 2, inplace=True),
    "sort": lambda df: df.__setitem__("x", df["x"].sort_values(ascending=False).to_numpy()),
    "category": lambda df: df.iloc.__setitem__((0, 2), "b"),
    "update": lambda df: df.update(pd.DataFrame({"x": [9.0]})),
}


@pytest.mark.filterwarnings("ignore:Pandas doesn't allow columns")
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_dataframe_is_changed_as_after_pickling_and_no_other_one_sees_it(change: Callable[[pd.DataFrame], Any]) -> None:
    frame = coframe.share(_df())
    expected, found = _df(), frame.to_table(writable=True)
    change(expected)
    change(found)
    pd.testing.assert_frame_equal(found, expected)
    for other in (frame.to_table(), frame.to_table(writable=True), coframe.Frame(frame.handle).to_table()):
        pd.testing.assert_frame_equal(other, _df())


def test_workers_and_their_parent_change_one_frame_and_see_their_own_changes_alone() -> None:
    df = pd.DataFrame({"x": np.zeros(ROWS)})
    with coframe.partial(tasks.write_and_sum, df) as function:
        mine = function.args[0].to_table(writable=True)
        mine.loc[:, "x"] = 100.0
        with FRESH.Pool(2) as pool:
            # Tasks of one chunk share their DataFrame, as they do with functools.partial.
            assert pool.map(function, [1, 2, 3, 4], chunksize=1) == [1.0, 2.0, 3.0, 4.0]
        assert function(7) == 7.0
        assert float(mine["x"].sum()) == 100.0 * ROWS
        assert not function.args[0].to_table()["x"].any()


def test_only_pages_that_are_written_to_are_copied() -> None:
    frame = coframe.share(pd.DataFrame({"x": np.zeros(ROWS)}))
    found = frame["x"].to_numpy(writable=True)
    assert found.sum() == 0 and _copied_kilobytes(found) == 0
    found[0] = 1.0
    assert 0 < _copied_kilobytes(found) <= 16
    assert frame["x"].to_numpy()[0] == 0.0


def _copied_kilobytes(array: Any) -> int:
    """Of the map that an array is in, those that are its own and not the file's."""
    address, inside = array.__array_interface__["data"][0], False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            first = line.split()[0]
            if "-" in first:
                start, end = (int(bound, 16) for bound in first.split("-"))
                inside = start <= address < end
            elif inside and first == "Anonymous:":
                return int(line.split()[1])
    raise AssertionError("no map has the array")


def test_an_array_is_writable_without_a_copy_and_outlives_its_frame() -> None:
    frame = coframe.share({"x": np.arange(ROWS), "m": np.arange(6.0 * ROWS).reshape(ROWS, 6)})
    x, m = (frame[name].to_numpy(writable=True, copy=False) for name in ("x", "m"))
    again = frame[10:]["x"].to_numpy(writable=True)
    frame.close()
    del frame
    x[:] = 7
    m[1, 2] = 7
    again[0] = 1
    assert (x == 7).all() and m[1, 2] == 7 and m[0, 5] == 5 and again[0] == 1 and again[1] == 11


def test_a_frame_that_lost_its_name_is_copied_or_refused() -> None:
    frame = coframe.publish(pd.DataFrame({"x": [1, 2]}), "t")
    coframe.remove("t")
    df = frame.to_pandas(dtypes="numpy", writable=True)
    df.iloc[0, 0] = 5
    assert df["x"].tolist() == [5, 2] and frame["x"].to_numpy().tolist() == [1, 2]
    assert frame["x"].to_numpy(writable=True).flags.writeable
    with pytest.raises(coframe.WouldCopyError, match="column `x` would be copied: its frame has lost its name"):
        frame["x"].to_numpy(writable=True, copy=False)


def test_a_newer_version_is_never_mapped_in_place_of_an_old_one() -> None:
    frame = coframe.publish(pd.DataFrame({"x": [1, 2]}), "t")
    coframe.publish(pd.DataFrame({"x": [3, 4]}), "t")
    assert frame["x"].to_numpy(writable=True).tolist() == [1, 2]
    coframe.remove("t")
    coframe.publish(pd.DataFrame({"x": [5, 6]}), "t")
    assert frame["x"].to_numpy(writable=True).tolist() == [1, 2]


def test_a_frame_of_another_kind_is_a_writable_dataframe_too() -> None:
    found = coframe.share(pl.DataFrame({"x": [1, 2]})).to_pandas(dtypes="numpy", writable=True)
    found.loc[0, "x"] = 5
    assert found["x"].tolist() == [5, 2]
