"""What ``coframe.sharing()`` must show: unchanged calls, pickled and shared, in one run.

    python bench/sharing.py [ROWS]

Prints seconds and ratios; ROWS is 2 000 000 by default, of 10 columns of floats (160 MB), for 32 tasks and 2 workers.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import pickle
import statistics
import sys
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import coframe
import joblib
import numpy as np
import pandas as pd

TASKS = range(32)
WORKERS = 2


def f(df: pd.DataFrame, task: int) -> float:
    return float(df["c0"].iloc[task])


def pool_map(df: pd.DataFrame) -> Any:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(abs, TASKS)
        yield
        yield pool.map(functools.partial(f, df), TASKS, 1)


def pool_starmap(df: pd.DataFrame) -> Any:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.map(abs, TASKS)
        yield
        yield pool.starmap(f, [(df, task) for task in TASKS], 1)


def executor(df: pd.DataFrame) -> Any:
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(abs, TASKS))
        yield
        yield list(pool.map(functools.partial(f, df), TASKS))


def parallel(df: pd.DataFrame) -> Any:
    pool = joblib.Parallel(n_jobs=WORKERS, batch_size=1)
    pool(joblib.delayed(abs)(task) for task in TASKS)
    yield
    yield pool(joblib.delayed(f)(df, task) for task in TASKS)


def measured(call: Callable[[pd.DataFrame], Any], df: pd.DataFrame) -> tuple[float, Any]:
    """The seconds of the call on workers that run, and its result."""
    steps = call(df)
    next(steps)
    start = time.perf_counter()
    result = next(steps)
    taken = time.perf_counter() - start
    steps.close()
    return taken, result


def main(rows: int) -> None:
    df = pd.DataFrame(np.random.default_rng(0).random((rows, 10)), columns=[f"c{column}" for column in range(10)])
    print(f"{len(TASKS)} tasks on {rows} x 10 floats ({df.size * 8 / 1e6:.0f} MB), {WORKERS} workers")
    print(f"{'unchanged call':<28}{'pickled':>10}{'shared':>10}{'again':>10}{'ratios':>18}")
    calls = {
        "Pool.map(partial(f, df))": pool_map,
        "Pool.starmap": pool_starmap,
        "joblib.Parallel": parallel,
        "ProcessPoolExecutor.map": executor,
    }
    for name, call in calls.items():
        times = []
        results = []
        with contextlib.ExitStack() as stack:
            for when in ("pickled", "with the copy", "again"):
                if when == "with the copy":
                    stack.enter_context(coframe.sharing())
                taken, result = measured(call, df)
                times.append(taken)
                results.append(result)
        assert results[0] == results[1] == results[2]
        joblib.externals.loky.get_reusable_executor().shutdown()
        pickled, first, again = times
        print(f"{name:<28}{pickled:>9.2f}s{first:>9.3f}s{again:>9.3f}s{pickled / first:>8.0f}x{pickled / again:>8.0f}x")
    with coframe.sharing(), multiprocessing.get_context("spawn").Pool(1) as pool:
        text = bytes(ForkingPickler.dumps(df))
        pickled = median(lambda: ForkingPickler.dumps(df))
        unpickled = pool.apply(time_of_unpickling, (text,))
    print(f"a shared DataFrame of 10 columns: pickled in {pickled * 1e6:.0f} us, unpickled in {unpickled * 1e6:.0f} us")


def median(call: Callable[[], Any]) -> float:
    times = []
    for _ in range(200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def time_of_unpickling(text: bytes) -> float:
    """In a worker that has the frame mapped already."""
    kept = pickle.loads(text)
    found = median(lambda: pickle.loads(text))
    assert len(kept)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2_000_000)
