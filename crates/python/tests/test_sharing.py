"""Programs that pickle tables to their workers, unchanged, under ``coframe.sharing()``."""

from __future__ import annotations

import concurrent.futures
import functools
import io
import multiprocessing
import os
import pickle
import sys
import threading
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import coframe
import joblib
import joblib.pool
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sharing_tasks as tasks
from workers import FRESH

METHODS = ["fork", "spawn", "forkserver"]


def frames(store: coframe.Store) -> list[str]:
    """The segments in all sessions of a store."""
    sessions = os.path.join(store.path, "sessions")
    found = [os.path.join(sessions, one) for one in os.listdir(sessions)] if os.path.isdir(sessions) else []
    return [name for one in found for name in os.listdir(one) if "@" in name and name.startswith("sharing-")]


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_gets_an_unchanged_call_on_shared_memory_and_writes_it_once(method: str, store: coframe.Store) -> None:
    df = tasks.table()
    with coframe.sharing(), multiprocessing.get_context(method).Pool(2) as pool:
        expected = float(df["c0"].sum())
        assert pool.map(functools.partial(tasks.total, df), range(4), 1) == [(expected + item, True) for item in range(4)]
        assert pool.starmap(tasks.total, [(df, item) for item in range(4)]) == [(expected + item, True) for item in range(4)]
        assert len(frames(store)) == 1
    assert not frames(store)


def test_without_sharing_the_same_call_is_pickled(store: coframe.Store) -> None:
    with FRESH.Pool(1) as pool:
        assert pool.starmap(tasks.total, [(tasks.table(), 0)])[0][1] is False


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_arguments_of_a_process_are_shared(method: str) -> None:
    context = multiprocessing.get_context(method)
    with coframe.sharing():
        ours, theirs = context.Pipe()
        worker = context.Process(target=tasks.receive_total, args=(theirs,))
        worker.start()
        ours.send(tasks.table())
        assert ours.recv() == (float(tasks.table()["c0"].sum()), True)
        worker.join()
        queue = context.Queue()
        other = context.Process(target=tasks.put_total, args=(tasks.table(), queue))
        other.start()
        assert queue.get() == (float(tasks.table()["c0"].sum()), True)
        other.join()


def test_tables_inside_of_other_objects_are_shared() -> None:
    df = tasks.table()
    expected = float(df["c0"].sum())
    with coframe.sharing(), FRESH.Pool(1) as pool:
        assert pool.apply(tasks.total_of_box, (tasks.Box(df, "a"), 1)) == ("a", expected + 1, True)
        assert pool.apply(tasks.total_inside, ({"list": [(0, df)]}, 2)) == (expected + 2, True)


def test_small_tables_are_pickled(store: coframe.Store) -> None:
    df = tasks.table(100)
    with coframe.sharing(), FRESH.Pool(1) as pool:
        assert pool.apply(tasks.total, (df,)) == (float(df["c0"].sum()), False)
        assert not frames(store)


def test_types_can_be_chosen(store: coframe.Store) -> None:
    with coframe.sharing(types=[pd.Series]):
        ForkingPickler.dumps(pl.DataFrame({"x": range(1 << 20)}))
        assert not frames(store)
        ForkingPickler.dumps(tasks.table()["c0"])
        assert len(frames(store)) == 1


def test_workers_may_write_and_no_other_process_sees_it() -> None:
    df = tasks.table()
    before = df.copy()
    with coframe.sharing(), FRESH.Pool(2) as pool:
        found = pool.starmap(tasks.write, [(df, item) for item in range(6)], 1)
        total = float(before["c0"].sum())
        assert found == [(total, total + item, True) for item in range(6)]
        pd.testing.assert_frame_equal(df, before)
        array = np.arange(1 << 18, dtype="f8")
        assert pool.starmap(tasks.write_array, [(array, 5), (array, 6)], 1) == [(array.sum(), array.sum() + item) for item in (5, 6)]
        assert array[0] == 0
        df.iloc[0, 0] = 100.0
        assert pool.apply(tasks.total, (df,)) == (total + 100, True)


KINDS: dict[str, Callable[[], Any]] = {
    "Series of pandas": lambda: tasks.table()["c0"],
    "DataFrame of Polars": lambda: pl.DataFrame({"x": range(300_000), "s": ["a", "bb", None] * 100_000}),
    "Series of Polars": lambda: pl.Series("x", range(300_000)),
    "categories of Polars": lambda: pl.DataFrame({"x": pl.Series(["a", "b"] * 300_000, dtype=pl.Categorical)}),
    "Table of pyarrow": lambda: pa.table({"x": range(300_000), "s": ["a", "bb", None] * 100_000}),
    "RecordBatch of pyarrow": lambda: pa.record_batch({"x": pa.array(range(300_000))}),
    "array": lambda: np.arange(300_000),
    "array in Fortran's order": lambda: np.asfortranarray(np.arange(600_000).reshape(2000, 300)),
    "array with steps": lambda: np.arange(600_000)[::2],
    "array of bytes, of no even length": lambda: np.arange(9_000_001, dtype="u1"),
    "array of complex numbers": lambda: np.arange(300_000).astype("c16"),
    "array of records": lambda: np.zeros(300_000, dtype=[("a", "i4"), ("b", "f8")]),
    "array of long doubles": lambda: np.arange(200_000).astype("longdouble"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_comes_back_equal(kind: str, store: coframe.Store) -> None:
    thing = KINDS[kind]()
    with coframe.sharing():
        text = ForkingPickler.dumps(thing)
        assert len(text) < 1000
        assert len(frames(store)) == 1
        found = pickle.loads(text)
        assert tasks.describe(found) == tasks.describe(thing)
        if isinstance(thing, np.ndarray):
            assert found.flags.writeable
            assert found.flags.f_contiguous == thing.flags.f_contiguous or kind == "array with steps"
            np.testing.assert_array_equal(found, thing)
        else:
            assert found.equals(thing)
        assert bytes(ForkingPickler.dumps(thing)) == bytes(text), "published once"


@pytest.mark.parametrize("method", METHODS)
def test_results_come_back_shared_and_nothing_of_them_is_left(method: str, store: coframe.Store) -> None:
    with coframe.sharing():
        with multiprocessing.get_context(method).Pool(2) as pool:
            results = pool.map(tasks.table, [200_000, 200_001, 200_002, 10])
        # The workers have ended.
        assert tasks.is_mapped()
        assert not frames(store)
        for rows, found in zip([200_000, 200_001, 200_002, 10], results, strict=True):
            pd.testing.assert_frame_equal(found, tasks.table(rows))
            found.iloc[0, 0] = 1.0
    assert results[0].iloc[0, 0] == 1.0


@pytest.mark.parametrize("method", METHODS)
def test_what_a_worker_puts_into_a_queue_or_pipe_survives_its_end(method: str, store: coframe.Store) -> None:
    context = multiprocessing.get_context(method)
    with coframe.sharing():
        queue = context.Queue()
        worker = context.Process(target=tasks.put_and_leave, args=(queue, 200_000))
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0
        assert len(frames(store)) == 1
        pd.testing.assert_frame_equal(queue.get(timeout=60), tasks.table())
        ours, theirs = context.Pipe()
        worker = context.Process(target=tasks.send, args=(theirs, 200_000))
        worker.start()
        worker.join(60)
        pd.testing.assert_frame_equal(ours.recv(), tasks.table())
        assert not frames(store)


def test_a_pool_of_concurrent_futures_shares_both_ways(store: coframe.Store) -> None:
    context = FRESH
    with coframe.sharing(), concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        df = tasks.table()
        expected = float(df["c0"].sum())
        assert list(pool.map(functools.partial(tasks.total, df), range(3))) == [(expected + item, True) for item in range(3)]
        assert len(frames(store)) == 1
        pd.testing.assert_frame_equal(pool.submit(tasks.table).result(), tasks.table())
        assert len(frames(store)) == 1


def test_a_worker_that_returns_what_it_got_copies_it_for_its_reader() -> None:
    df = tasks.table()
    with coframe.sharing(), FRESH.Pool(1) as pool:
        found = pool.map(tasks.same_thing, [df, df])
        for one in found:
            pd.testing.assert_frame_equal(one, df)


def test_pickle_itself_is_not_changed() -> None:
    df = tasks.table()
    with coframe.sharing():
        text = pickle.dumps(df)
    pd.testing.assert_frame_equal(pickle.loads(text), df)


def test_the_hooks_are_removed_at_the_end() -> None:
    before = dict(ForkingPickler._extra_reducers)
    start_data = multiprocessing.spawn.get_preparation_data
    with coframe.sharing():
        with coframe.sharing(min_bytes=0):
            assert len(bytes(ForkingPickler.dumps(np.zeros(100_000)))) < 1000
        assert len(bytes(ForkingPickler.dumps(np.zeros(100_000)))) > 100_000
        ForkingPickler.dumps(tasks.table())
    assert ForkingPickler._extra_reducers == before
    assert multiprocessing.spawn.get_preparation_data is start_data
    assert len(bytes(ForkingPickler.dumps(tasks.table()))) > 1_000_000


def test_small_arrays_are_pickled_to_the_same_bytes() -> None:
    arrays = [np.arange(10.0), np.asfortranarray(np.ones((3, 4))), np.arange(10)[::2]]

    def pickled() -> list[bytes]:
        in_a_pool = io.BytesIO()
        joblib.pool.CustomizablePickler(in_a_pool, {}).dump(arrays)
        return [
            bytes(ForkingPickler.dumps(arrays)),
            bytes(joblib.externals.loky.backend.reduction.dumps(arrays)),
            in_a_pool.getvalue(),
        ]

    before = pickled()
    with coframe.sharing():
        assert pickled() == before


def test_a_small_message_costs_no_call_for_each_shared_class() -> None:
    """`multiprocessing` copies the table of reducers for each message."""

    def calls() -> int:
        events: list[str] = []
        sys.setprofile(lambda frame, event, argument: events.append(event))
        try:
            ForkingPickler(io.BytesIO())
        finally:
            sys.setprofile(None)
        return events.count("call")

    alone = calls()
    with coframe.sharing():
        assert calls() == alone


def test_a_reducer_of_the_program_goes_first() -> None:
    before = dict(ForkingPickler._extra_reducers)
    ForkingPickler.register(pd.Series, lambda series: (list, ([1, 2],)))
    try:
        with coframe.sharing(min_bytes=0):
            assert pickle.loads(ForkingPickler.dumps(tasks.table()["c0"])) == [1, 2]
    finally:
        ForkingPickler._extra_reducers = before


def test_threads_may_share_at_the_same_time(store: coframe.Store) -> None:
    df = tasks.table()
    with coframe.sharing():
        threads = [threading.Thread(target=ForkingPickler.dumps, args=(df,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(frames(store)) == 1


def test_arguments_are_checked() -> None:
    with pytest.raises(coframe.InvalidError, match="min_bytes=-1"):
        coframe.sharing(-1)
    with pytest.raises(coframe.ArgumentTypeError, match="expected some of numpy.ndarray"):
        coframe.sharing(types=[int])
    with pytest.raises(coframe.ArgumentTypeError, match="budget='all'"):
        coframe.sharing(budget="all")  # type: ignore[arg-type]
