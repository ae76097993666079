"""What ``coframe.sharing()`` must show: unchanged calls, pickled and shared, in one run.

    python bench/sharing.py [calls] [object] [program] [memory] [small]

Runs the named parts, by default all. Prints seconds and ratios; `ROWS` in the environment is the size of the DataFrame of
`calls` and `memory`, 2 000 000 rows of 10 floats (160 MB) by default. `program` takes some minutes and
6 GB of memory.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.reduction import ForkingPickler
from typing import Any

import coframe
import joblib
import numpy as np
import pandas as pd

ROWS = int(os.environ.get("ROWS", "2_000_000"))
TASKS = range(32)
WORKERS = 2


def f(df: pd.DataFrame, task: int) -> float:
    return float(df["c0"].iloc[task])


def pool_map(df: pd.DataFrame) -> Any:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.starmap(f, [(small(df), task) for task in TASKS])
        yield
        yield pool.map(functools.partial(f, df), TASKS, 1)


def pool_starmap(df: pd.DataFrame) -> Any:
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        pool.starmap(f, [(small(df), task) for task in TASKS])
        yield
        yield pool.starmap(f, [(df, task) for task in TASKS], 1)


def executor(df: pd.DataFrame) -> Any:
    with concurrent.futures.ProcessPoolExecutor(WORKERS, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(functools.partial(f, small(df)), TASKS))
        yield
        yield list(pool.map(functools.partial(f, df), TASKS))


def parallel(df: pd.DataFrame, **options: Any) -> Any:
    pool = joblib.Parallel(n_jobs=WORKERS, batch_size=1, **options)
    pool(joblib.delayed(f)(small(df), task) for task in TASKS)
    yield
    yield pool(joblib.delayed(f)(df, task) for task in TASKS)
    # The next call starts workers, as the other pools do.
    joblib.externals.loky.reusable_executor._executor.shutdown()


def small(df: pd.DataFrame) -> pd.DataFrame:
    """A DataFrame for the first tasks of workers, in which they import pandas."""
    return df.head(len(TASKS))


def measured(call: Callable[[pd.DataFrame], Any], df: pd.DataFrame) -> tuple[float, Any]:
    """The seconds of the call on workers that run, and its result."""
    steps = call(df)
    next(steps)
    start = time.perf_counter()
    result = next(steps)
    taken = time.perf_counter() - start
    next(steps, None)
    return taken, result


def frame(rows: int) -> pd.DataFrame:
    return pd.DataFrame(np.random.default_rng(0).random((rows, 10)), columns=[f"c{column}" for column in range(10)])


def calls() -> None:
    df = frame(ROWS)
    print(f"{len(TASKS)} tasks on {len(df)} x 10 floats ({df.size * 8 / 1e6:.0f} MB), {WORKERS} workers")
    print(f"{'unchanged call':<34}{'pickled':>10}{'shared':>10}{'again':>10}{'ratios':>18}")
    calls = {
        "Pool.map(partial(f, df))": pool_map,
        "Pool.starmap": pool_starmap,
        "joblib.Parallel": parallel,
        "joblib.Parallel(max_nbytes=None)": functools.partial(parallel, max_nbytes=None),
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
        pickled, first, again = times
        print(f"{name:<34}{pickled:>9.2f}s{first:>9.3f}s{again:>9.3f}s{pickled / first:>8.0f}x{pickled / again:>8.0f}x")


def blocks() -> pd.DataFrame:
    df = pd.DataFrame(index=range(ROWS))
    for column in range(10):
        df[f"c{column}"] = np.ones(ROWS) * column
    assert len(df._mgr.blocks) == 10
    return df


def an_object() -> None:
    for what, df in {"one block": frame(ROWS), "a block each": blocks()}.items():
        with coframe.sharing(), multiprocessing.get_context("spawn").Pool(1) as pool:
            text = bytes(ForkingPickler.dumps(df))
            pickled = median(lambda df=df: ForkingPickler.dumps(df))
            unpickled = pool.apply(time_of_unpickling, (text,))
            total = pickled + unpickled
            print(f"a shared DataFrame of 10 columns, {what}: pickled in {pickled:.0f} us, unpickled in {unpickled:.0f} us: {total:.0f} us")


PROGRAM = """
import functools, multiprocessing, sys, time
import numpy as np, pandas as pd

def f(df, task):
    return float(df["c0"].iloc[task])

if __name__ == "__main__":
    df = pd.DataFrame(np.random.default_rng(0).random((13_421_773, 10)), columns=[f"c{column}" for column in range(10)])
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(abs, range(32))
        for how in sys.argv[1:]:
            start = time.perf_counter()
            if how == "partial":
                found = pool.map(functools.partial(f, df), range(32))
            else:
                found = pool.starmap(f, [(df, task) for task in range(32)])
            print(time.perf_counter() - start, sum(found))
"""


def the_program() -> None:
    print("a program whose file is unchanged: 13 421 773 x 10 floats (1.07 GB), 32 tasks, Pool(2)")
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "program.py")
        with open(path, "w") as file:
            file.write(PROGRAM)
        for how in ("partial", "starmap"):
            (alone,) = run([path, how])
            first, *again = run(["-m", "coframe", path, *[how] * 6])
            best = statistics.median(again)
            print(f"{how:<10}{alone:>8.2f}s{first:>8.3f}s{best * 1e3:>8.2f}ms{alone / first:>8.0f}x{alone / best:>8.0f}x")


def run(arguments: list[str]) -> list[float]:
    found = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True).stdout
    lines = [tuple(map(float, line.split())) for line in found.splitlines()]
    assert len({result for _, result in lines}) == 1
    return [seconds for seconds, _ in lines]


_all_hold: Any = None


def _eight() -> Any:
    context = multiprocessing.get_context("spawn")
    return context.Pool(8, _wait_at, (context.Barrier(8),))


def _wait_at(barrier: Any) -> None:
    global _all_hold
    _all_hold = barrier


def memory() -> None:
    """What 8 workers have resident, each page divided by the processes that map it."""
    df = frame(ROWS)
    with _eight() as pool:
        bare = sum(pool.map(held, [(small(df), ready) for ready in range(8)], 1))
    with coframe.sharing(), _eight() as pool:
        full = sum(pool.map(held, [(df, ready) for ready in range(8)], 1))
    size = df.size * 8
    print(f"8 workers that hold {size / 1e6:.0f} MB: {full / 1e6:.0f} MB, bare {bare / 1e6:.0f} MB: {(full - bare) / size:.2f} frames and bare workers")


def held(task: tuple[pd.DataFrame, int]) -> int:
    """The memory of this process, once all workers have a task. They import the same for a small DataFrame."""
    assert task[0].to_numpy().sum() > 0
    _all_hold.wait()
    with open("/proc/self/smaps_rollup") as text:
        found = sum(int(line.split()[1]) * 1024 for line in text if line.startswith("Pss:"))
    # None ends, or divides its pages anew, before all have looked.
    _all_hold.wait()
    return found


SMALL = """
import multiprocessing, sys, time
import numpy as np, pandas as pd

def f(task):
    return float(task[0].sum()) + len(task[1])

if __name__ == "__main__":
    tasks = [(np.ones(1000), {"a": [number] * 10}) for number in range(20_000)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(abs, range(32))
        for _ in range(9):
            start = time.perf_counter()
            found = pool.map(f, tasks, 10)
            print(time.perf_counter() - start, sum(found))
"""


def nothing_large() -> None:
    """A program that shares nothing large, and one that does nothing. Alternately, since the machine is not always as fast."""
    with tempfile.TemporaryDirectory() as directory:
        program, nothing = os.path.join(directory, "program.py"), os.path.join(directory, "nothing.py")
        for path, text in ((program, SMALL), (nothing, "pass")):
            with open(path, "w") as file:
                file.write(text)
        pairs = [(statistics.median(run([program])), statistics.median(run(["-m", "coframe", program]))) for _ in range(5)]
        slower = statistics.median(shared / alone for alone, shared in pairs)
        starts = [(start([nothing]), start(["-m", "coframe", nothing])) for _ in range(21)]
        added = statistics.median(shared - alone for alone, shared in starts)
    print(f"a program that shares nothing large: {slower:.3f} of its time alone; start {added * 1e3:.0f} ms later")


def start(arguments: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True)
    return time.perf_counter() - begun


def median(call: Callable[[], Any]) -> float:
    """In microseconds."""
    times = []
    for _ in range(200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def time_of_unpickling(text: bytes) -> float:
    """In a worker that has the frame mapped already."""
    kept = pickle.loads(text)
    found = median(lambda: pickle.loads(text))
    assert len(kept)
    return found


PARTS = {"calls": calls, "object": an_object, "program": the_program, "memory": memory, "small": nothing_large}

if __name__ == "__main__":
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
