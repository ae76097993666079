"""Categoricals are read once by a process, though it gets the frame for each task."""

from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler

import coframe
import polars as pl
import sharing_tasks as tasks
from coframe import _recent
from workers import FRESH


def table(rows: int = 300_000) -> pl.DataFrame:
    return pl.DataFrame({"c": pl.Series(["a", "b", None] * (rows // 3), dtype=pl.Categorical), "x": range(rows)})


EXPECTED = [(1, "a"), (1, "b"), (1, None), (1, "a")]


def test_a_worker_reads_the_categoricals_of_a_shared_object_once_for_all_tasks() -> None:
    df = table()
    with coframe.sharing(), FRESH.Pool(1, initializer=tasks.count_reads) as pool:
        assert pool.starmap(tasks.reads, [(df, item) for item in range(4)], 1) == EXPECTED


def test_a_worker_reads_the_categoricals_of_a_partial_once_for_all_tasks() -> None:
    with FRESH.Pool(1, initializer=tasks.count_reads) as pool, coframe.partial(tasks.reads, table()) as shared:
        assert pool.map(shared, range(4), 1) == EXPECTED


def test_the_frames_that_stay_open_for_it_are_few_and_go_when_they_are_removed() -> None:
    with coframe.sharing():
        texts = [bytes(ForkingPickler.dumps(table(300_000 + 3 * more))) for more in range(6)]
        for text in texts:
            assert pickle.loads(text)["c"][1] == "b"
        assert len(_recent._frames) == 4
    with coframe.sharing():
        pickle.loads(bytes(ForkingPickler.dumps(table())))
        assert len(_recent._frames) == 1
