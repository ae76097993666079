"""Frames as arguments and results of every kind of worker pool."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import subprocess
import sys
from functools import partial

import cloudpickle
import coframe
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import tasks
from workers import FRESH

METHODS = ["spawn", "fork", "forkserver"]
#: Python warns of fork in a process with threads, and Polars has some; workers here only read.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
#: Workers that were forked have Polars' threads missing, so they go by Arrow.
TOTAL = 499_500


def frame() -> coframe.Frame:
    return coframe.publish(pl.DataFrame({"x": range(1000)}), "t")


def total_by_arrow(part: coframe.Frame) -> int:
    return sum(part.to_arrow()["x"].to_pylist())


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_of_multiprocessing_takes_and_returns_frames(method: str) -> None:
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert sum(pool.map(total_by_arrow, frame().split(8))) == TOTAL
        halves = pool.map(tasks.half, [frame()] * 2)
    assert [len(half) for half in halves] == [500, 500]


@pytest.mark.parametrize("method", METHODS)
def test_a_shared_frame_needs_one_line(method: str) -> None:
    df = pl.DataFrame({"x": range(1000)})
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map(partial(by_arrow_with_item, coframe.share(df)), [1, 2, 3])
    assert found == [TOTAL + 1, TOTAL + 2, TOTAL + 3]


def by_arrow_with_item(part: coframe.Frame, item: int) -> int:
    return total_by_arrow(part) + item


def test_a_temporary_shared_frame_lives_until_its_worker_has_it() -> None:
    with FRESH.Pool(1) as pool:
        # The frame is garbage in this process before the worker has started.
        result = pool.apply_async(tasks.total, (coframe.share(pl.DataFrame({"x": range(1000)})),))
        assert result.get(60) == TOTAL


@pytest.mark.parametrize("kind", ["polars", "pandas"])
def test_a_function_for_tables_gets_the_kind_that_was_shared(kind: str) -> None:
    df = pl.DataFrame({"x": range(1000)}) if kind == "polars" else pd.DataFrame({"x": range(1000)})
    with FRESH.Pool(2) as pool:
        expected = [(kind, TOTAL + item) for item in range(4)]
        assert pool.map(coframe.partial(tasks.plain_kind_and_total, df), range(4)) == expected
        assert pool.map(partial(tasks.kind_and_total, coframe.share(df)), range(4)) == expected


def test_a_partial_passes_arguments_that_are_not_tables_unchanged() -> None:
    import numpy as np

    numbers = np.arange(3)
    others = [{0: numbers}, {"a": numbers, "b": numbers[:2]}, pl.Series([1]), pd.Series([1]), pa.array([1]), pl.DataFrame]
    others += [pa.record_batch({"x": [1]}), numbers, [1, {"a": numbers}]]
    others += [Derived({"x": [1]})]
    for other in others:
        assert coframe.partial(lambda thing: thing, other)() is other
    with pytest.raises(coframe.ArgumentTypeError, match="a table of type builtins.type"):
        coframe.share(pl.DataFrame)
    for table in (pl.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]}), pa.table({"x": [1]})):
        (found,) = pickle.loads(pickle.dumps(coframe.partial(first_of, table)))(())
        assert type(found) is type(table)


class Derived(pd.DataFrame):
    """As GeoPandas has one."""


def first_of(*things: object) -> tuple[object, ...]:
    return things[:1]


def test_what_a_partial_shared_goes_with_its_block_though_it_was_pickled(store: coframe.Store) -> None:
    mine = coframe.share(pa.table({"x": [1]}))
    with coframe.partial(first_of, pa.table({"x": [1, 2]}), mine) as function:
        text = pickle.dumps(function)
        assert len(pickle.loads(text)()[0]) == 2
    with pytest.raises(coframe.NotFoundError):
        pickle.loads(text)()
    with pytest.raises(coframe.ClosedError, match="the frame was freed"):
        function()
    # What was shared by its caller is the caller's.
    assert len(pickle.loads(pickle.dumps(mine))) == 1


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_futures_take_and_return_frames(method: str, store: coframe.Store) -> None:
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        assert sum(pool.map(tasks.total, frame().split(4))) == TOTAL
        # By its path: the environment of a fork server is that of its first use.
        shared = pool.submit(tasks.shared_here, 10, store.path).result(60)
        assert len(shared) == 10


def test_joblib_takes_frames() -> None:
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    parts = frame().split(4)
    try:
        assert sum(Parallel(n_jobs=2)(delayed(tasks.total)(part) for part in parts)) == TOTAL
    finally:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)


def test_cloudpickle_takes_frames_in_closures() -> None:
    part = frame()[10:]
    text = cloudpickle.dumps(lambda: len(part))
    code = "import sys, pickle; print(pickle.loads(sys.stdin.buffer.read())())"
    found = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, check=True)
    assert found.stdout.strip() == b"990"


def test_dask_takes_and_returns_frames() -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(1, processes=True, threads_per_worker=1, dashboard_address=None) as cluster:
        with distributed.Client(cluster) as client:
            assert sum(client.gather(client.map(tasks.total, frame().split(2)))) == TOTAL
            assert len(client.submit(tasks.half, frame()).result()) == 500


def test_ray_takes_and_returns_frames() -> None:
    ray = pytest.importorskip("ray")
    # Workers of Ray do not have this directory on their path.
    environment = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
    ray.init(runtime_env=environment, num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        total = ray.remote(tasks.total)
        assert sum(ray.get([total.remote(part) for part in frame().split(2)])) == TOTAL
        assert len(ray.get(ray.remote(tasks.half).remote(frame()))) == 500
    finally:
        ray.shutdown()


def test_a_pickle_is_small_and_opens_nothing() -> None:
    shared = coframe.share(pl.DataFrame({"x": range(1000)}))
    for some in (frame(), shared):
        text = pickle.dumps(some)
        assert len(text) < 300
        again = pickle.loads(text)
        assert again._native is None
        assert again == some and hash(again) == hash(some)
        assert again["x"].to_numpy().sum() == TOTAL


def test_columns_and_rows_travel_with_the_handle() -> None:
    part = frame()[["x"]][10:20]
    again = coframe.Frame(part.handle)
    assert again.to_polars()["x"].to_list() == list(range(10, 20))
    assert pickle.loads(pickle.dumps(part)).to_polars().equals(again.to_polars())


def test_an_error_comes_at_the_first_use_inside_the_task() -> None:
    gone = frame()
    coframe.remove("t")
    with FRESH.Pool(1) as pool:
        (message,) = pool.map(tasks.first_use, [gone])
        assert message.startswith("NotFoundError: frame `t@1` not found in the store")
        # And as an exception it crosses back, as the class that it is.
        with pytest.raises(coframe.NotFoundError, match="frame `t@1`"):
            pool.map(tasks.fails, [gone])


def test_a_frame_dropped_in_a_forked_child_removes_nothing() -> None:
    shared = coframe.share(pl.DataFrame({"x": range(1000)}))
    with coframe.Session() as session:
        kept = session.publish(pl.DataFrame({"x": [1]}), "kept")
        child = os.fork()
        if child == 0:
            shared.close()
            session.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert len(coframe.Frame(shared.handle)) == 1000
        assert len(coframe.Frame(kept.handle)) == 1


def test_a_forked_child_shares_in_its_own_session() -> None:
    mine = coframe.share(pl.DataFrame({"x": [1]}))
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        shared = coframe.share(pa.table({"x": [1, 2]}))
        os.write(writer, shared.handle.encode())
        coframe._lifetime._end_sessions()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        handle = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    assert handle.split("session=")[1] != mine.handle.split("session=")[1]
    with pytest.raises(coframe.NotFoundError):
        len(coframe.Frame(handle))
    assert len(coframe.Frame(mine.handle)) == 1
