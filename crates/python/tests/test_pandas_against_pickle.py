"""What the README's table lists of pandas, compared with pickle: in this process, and in a fresh one."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import coframe
import numpy as np
import pandas as pd
import pytest
from kinds import KEPT, REFUSED
from same import difference

HERE = pathlib.Path(__file__).parent
FRAMES = {f"{row}: {name}": df for row, frames in KEPT.items() for name, df in frames.items()}
OUT = {f"{row}: {name}": df for row, frames in REFUSED.items() for name, df in frames.items()}


@pytest.fixture(scope="module")
def in_a_fresh_process() -> Iterator[dict[str, str | None]]:
    """What differs from pickle, by the name of a frame, when a new Python opens all of them."""
    directory = tempfile.mkdtemp(prefix="coframe-test-", dir="/dev/shm")
    store = os.path.join(directory, "store")
    told: dict[str, str | None] = {}
    frames, tasks = [], []
    for name, df in FRAMES.items():
        try:
            frames.append(coframe.share(df, store=store))
            tasks.append((name, frames[-1].handle, pickle.dumps(df)))
        except coframe.Error as error:
            told[name] = f"{type(error).__name__}: {error}"
    found = subprocess.run([sys.executable, HERE / "same.py"], input=pickle.dumps(tasks), capture_output=True, check=True)
    told.update(json.loads(found.stdout))
    yield told
    for frame in frames:
        frame.close()
    shutil.rmtree(directory)


@pytest.mark.parametrize("name", FRAMES, ids=list(FRAMES))
def test_a_frame_comes_back_as_pickle_brings_it(name: str) -> None:
    df = FRAMES[name]
    before = pickle.dumps(df)
    assert difference(pickle.loads(before), coframe.share(df).to_table()) is None
    assert difference(pickle.loads(before), df) is None, "sharing changed the frame"


@pytest.mark.parametrize("name", FRAMES, ids=list(FRAMES))
def test_a_frame_comes_back_in_a_fresh_process(name: str, in_a_fresh_process: dict[str, str | None]) -> None:
    assert in_a_fresh_process[name] is None


@pytest.mark.parametrize("name", OUT, ids=list(OUT))
def test_what_cannot_come_back_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(coframe.Error) as refused:
        coframe.share(OUT[name])
    known = {"derived": "class same.Table", "mixed index": "level 0 of the index", "mixed level": "level 0 of the index"}
    assert known.get(name.split(": ")[-1], "column `a") in str(refused.value)
    assert "\n" not in str(refused.value)
    assert coframe.Store().usage().frames == 0


def test_labels_by_which_pandas_finds_no_column_come_back() -> None:
    levels = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_arrays([[np.nan, 1.5], ["a", "b"]]))
    assert difference(levels, coframe.share(levels).to_table()) is None
    swapped = pd.DataFrame([[1, 2]], columns=pd.Index(np.array([5, 3], ">i4")))
    found = coframe.share(swapped).to_table()
    assert found.columns.dtype == swapped.columns.dtype
    assert found.columns.tolist() == [5, 3]


def test_repeated_labels_have_names_with_numbers() -> None:
    df = pd.DataFrame([[1, 2, 3, 4, 5]], columns=["a", "a.1", "a", 1, "1"])
    frame = coframe.share(df)
    assert frame.columns == ["a", "a.1", "a.2", "1", "1.1"]
    assert frame.to_arrow().column_names == frame.columns == frame.to_polars().columns
    assert difference(df.iloc[:, [2, 4]], frame[["a.2", "1.1"]].to_table()) is None
    assert list(frame.to_pandas().columns) == ["a", "a.1", "a", 1, "1"]
    again = coframe.publish(frame, "again")
    assert list(again.to_table().columns) == ["a", "a.1", "a", 1, "1"]


@pytest.mark.parametrize("name", FRAMES, ids=list(FRAMES))
def test_rows_and_columns_of_a_frame_are_those_of_pandas(name: str) -> None:
    df = FRAMES[name]
    frame = coframe.share(df)
    if len(df):
        assert difference(df.iloc[1:], frame[1:].to_table()) is None
        assert difference(df.iloc[1:], coframe.share(frame[1:]).to_table()) is None
    if len(df.columns) > 1:
        assert difference(df.iloc[:, [1]], frame[[frame.columns[1]]].to_table()) is None
    assert len(frame.to_pandas()) == len(df) and list(frame.to_pandas().columns) == list(df.columns)


def test_the_table_of_the_readme_lists_what_is_compared() -> None:
    text = (HERE.parent / "README.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (kept|refused) \|$", text, re.MULTILINE))
    assert rows == {**dict.fromkeys(KEPT, "kept"), **dict.fromkeys(REFUSED, "refused")}
    assert sum(map(len, KEPT.values())) > 60 and all(isinstance(df, pd.DataFrame) for df in FRAMES.values())
