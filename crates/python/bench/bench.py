"""What the package must show, in one run: medians, and ratios against what people do today.

    python crates/python/bench/bench.py            # about two minutes and 5 GB of memory
    python crates/python/bench/bench.py --small    # a tenth of the rows, to see that it runs
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import pickle
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import coframe
import numpy as np
import pandas as pd
import polars as pl

ROWS, COLUMNS, TASKS, WORKERS = 13_421_773, 10, 32, 2


def median(call: Callable[[], Any], repeat: int) -> float:
    """Seconds, of so many calls."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def local(df: pd.DataFrame, task: int) -> float:
    """The task of the question: a little work on a large DataFrame."""
    rows = len(df) // TASKS
    return float(df["c0"].to_numpy()[task * rows : task * rows + 1000].sum())


def pss() -> int:
    """PSS of this process, in bytes."""
    with open("/proc/self/smaps_rollup") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def bare(barrier: coframe.Barrier, _: int) -> int:
    """PSS while the other worker is alive."""
    barrier.wait(120)
    found = pss()
    barrier.wait(120)
    return found


def whole(df: pd.DataFrame, barrier: coframe.Barrier, _: int) -> int:
    """The same, after reading everything, with the DataFrame at hand."""
    assert sum(df[name].to_numpy().sum() for name in df.columns) > 0
    return bare(barrier, 0)


def anonymous(how: str, what: str) -> int:
    """Memory of a process's own (no file's) that a DataFrame takes, in bytes: for a fresh process."""

    def now() -> int:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))

    read: Callable[[], pl.DataFrame] = (lambda: pl.read_ipc(what)) if how == "peer" else (lambda: coframe.open(what).to_polars())
    read().head(1)
    before = now()
    df = read()
    # What is read is in memory, also where it is mapped.
    assert df.select(pl.col("id", "price", "size").sum(), pl.col("long").str.len_bytes().sum()).height == 1
    return now() - before


def question(rows: int) -> None:
    df = pd.DataFrame({f"c{column}": np.random.default_rng(column).random(rows) for column in range(COLUMNS)})
    nbytes = rows * COLUMNS * 8
    with multiprocessing.get_context("spawn").Pool(WORKERS) as pool:
        barrier = coframe.Barrier(WORKERS)
        empty = sum(pool.map(partial(bare, barrier), range(WORKERS), chunksize=1))
        start = time.perf_counter()
        shared = coframe.partial(local, df)
        sharing = time.perf_counter() - start
        found = pool.map(shared, range(TASKS))
        after = median(lambda: pool.map(shared, range(TASKS)), 9)
        frame = shared.args[0]
        used = sum(pool.map(coframe.partial(whole, frame, barrier), range(WORKERS), chunksize=1))
        expected: list[float] = []
        today = median(lambda: expected.extend(pool.map(partial(local, df), range(TASKS))), 1)
    assert found == expected
    print(f"the question's program: {rows} x {COLUMNS} floats ({nbytes / 1e9:.2f} GB), {TASKS} tasks, pool of {WORKERS}")
    print(f"  pool.map(partial(f, df))           {today * 1e3:12.1f} ms")
    print(f"  pool.map(coframe.partial(f, df))   {after * 1e3:12.1f} ms   {today / after:9.0f}x   (must be 100x)")
    print(f"  share, once                        {sharing * 1e3:12.1f} ms   {nbytes / sharing / 1e9:9.2f} GB/s")
    share = used / (nbytes + empty)
    print(f"  PSS of the workers                 {used / 1e6:12.1f} MB   {share:9.2f}x   the frame and bare workers (at most 1.1x)")
    frame.close()


def mixed(rows: int) -> pl.DataFrame:
    generator = np.random.default_rng(0)
    return pl.DataFrame(
        {
            "id": np.arange(rows),
            "price": generator.random(rows),
            "size": generator.integers(0, 1000, rows, dtype=np.int32),
            "flag": generator.integers(0, 2, rows).astype(bool),
            "when": pl.Series(np.arange(rows) * 1_000_000).cast(pl.Datetime("us")),
            "short": pl.Series(["AA", "DL", "UA", "WN"]).gather(generator.integers(0, 4, rows)),
            "long": pl.Series([f"a text of thirty letters, nr. {n}" for n in range(100)]).gather(generator.integers(0, 100, rows)),
        }
    )


def opening(df: pl.DataFrame, directory: str, repeat: int) -> None:
    file = os.path.join(directory, "peer.arrow")
    df.write_ipc(file, compression="uncompressed")
    frame = coframe.publish(df, "mixed")
    nbytes = frame.nbytes
    del frame
    opened = median(lambda: coframe.open("mixed").to_polars(), repeat)
    read = median(lambda: pl.read_ipc(file), 5)
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        theirs, ours = pool.starmap(anonymous, [("peer", file), ("coframe", "mixed")], chunksize=1)
    print(f"open into Polars: {len(df)} rows, {nbytes / 1e6:.0f} MB of integers, floats, booleans, times, strings")
    print(f"  pl.read_ipc                        {read * 1e6:12.1f} us   {theirs / 1e6:9.1f} MB of its own")
    print(f"  coframe.open(name).to_polars()        {opened * 1e6:12.1f} us   {ours / 1e6:9.1f} MB of its own")
    print(f"                                     {read / opened:12.0f} x    (must be under 200 us, 300x, no second copy)")
    keys = df.select("id", pl.col("short").cast(pl.Categorical))
    coframe.publish(keys, "keys")
    keys.write_ipc(file, compression="uncompressed")
    opened = median(lambda: coframe.open("keys").to_polars(), 7)
    frame = coframe.open("keys")
    frame.to_polars()
    again = median(frame.to_polars, repeat)
    read = median(lambda: pl.read_ipc(file), 5)
    print(f"  with a categorical column          {opened * 1e6:12.1f} us   {read / opened:9.1f}x   ({opened / len(df) * 1e9:.2f} ns a row)")
    print(f"  the same frame again               {again * 1e6:12.1f} us   {read / again:9.1f}x")


def publishing(df: pl.DataFrame, directory: str, repeat: int) -> None:
    nbytes = coframe.publish(df, "mixed").nbytes
    data = memoryview(np.ones(nbytes, dtype=np.uint8))

    def write() -> None:
        file = os.open(directory, os.O_TMPFILE | os.O_WRONLY)
        done = 0
        while done < nbytes:
            done += os.write(file, data[done:])
        os.close(file)

    def publish() -> None:
        coframe.publish(df, "mixed")

    # In turns, so that both see the same machine.
    ours, theirs = [], []
    for _ in range(repeat):
        ours.append(median(publish, 1))
        theirs.append(median(write, 1))
    published, written = statistics.median(ours), statistics.median(theirs)
    print(f"publish a DataFrame of Polars: {nbytes / 1e6:.0f} MB")
    print(f"  one write(2) of the same bytes     {written * 1e3:12.1f} ms   {nbytes / written / 1e9:9.2f} GB/s")
    print(f"  coframe.publish                    {published * 1e3:12.1f} ms   {written / published:9.2f}x   (must be 0.8x)")


def pickling() -> None:
    frame = coframe.open("mixed")[10:20]
    text = pickle.dumps(frame)
    both = median(lambda: [pickle.loads(pickle.dumps(frame)) for _ in range(1000)], 7) / 1000
    print(f"pickle of a frame: {len(text)} bytes, {both * 1e6:.1f} us both ways   (must be under 300 bytes, 20 us)")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true")
    small = parser.parse_args().small
    directory = tempfile.mkdtemp(prefix="coframe-bench-", dir="/dev/shm")
    os.environ["COFRAME_STORE"] = os.path.join(directory, "store")
    try:
        question(ROWS // 10 if small else ROWS)
        df = mixed(500_000 if small else 6_000_000)
        opening(df, directory, 50 if small else 300)
        publishing(df, directory, 3 if small else 9)
        pickling()
    finally:
        shutil.rmtree(directory)


if __name__ == "__main__":
    main()
