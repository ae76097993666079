"""Section 3: a table that is in shared memory is opened, by rows and by columns."""

from __future__ import annotations

import contextlib
import os
import time

import coframe
import data
import numpy as np
import polars as pl
import programs
import pyarrow as pa
from measure import interleaved, of_peer, save
from plan import counted

# A call takes microseconds, so each timed run makes this many.
TIMES = 20


def wide(columns):
    return pl.DataFrame({f"c{n}": np.arange(1000.0) for n in range(columns)})


def long(rows):
    return data.floats(rows) if rows > 10_000_000 else data.mixed(rows)


def run(shape, number):
    df = wide(number) if shape == "columns" else long(number)
    folder = os.environ["BENCH_SCRATCH"]
    path = os.path.join(folder, "open.arrow")
    df.write_ipc(path, compression="uncompressed")
    frame = coframe.publish(df, "open")
    with contextlib.ExitStack() as stack:
        of_ray = of_peer(lambda: programs.ray_get(df.to_arrow(), stack))
        of_vineyard = of_peer(lambda: vineyard_get(df.to_arrow(), folder, stack))
        calls = {
            "coframe.open(name).to_polars()": lambda: coframe.open("open").to_polars(),
            "coframe.open(name).to_arrow(views=True)": lambda: coframe.open("open").to_arrow(views=True),
            "pyarrow open_file(memory_map)": lambda: pa.ipc.open_file(pa.memory_map(path)).read_all(),
            "pyarrow memory_map, then Polars": lambda: pl.from_arrow(pa.ipc.open_file(pa.memory_map(path)).read_all(), rechunk=False),
            "Polars read_ipc": lambda: pl.read_ipc(path),
            "Ray get, Arrow": lambda: of_ray()(),
            "Vineyard get, Arrow": lambda: of_vineyard()(),
        }
        rows = interleaved({name: times_of(call) for name, call in calls.items()})
    save("open", counted(number, shape), rows, shape=shape, number=number, bytes=frame.nbytes)
    os.unlink(path)


def vineyard_get(arrow, folder, stack):
    client = stack.enter_context(programs.vineyard_client(folder, arrow.nbytes))
    key = client.put(arrow)
    return lambda: client.get(key)


def times_of(call):
    """The seconds of one call, of as many as fit in a run."""
    def run_of_calls():
        start, done = time.perf_counter(), 0
        while done < TIMES and time.perf_counter() - start < 0.2:
            call()
            done += 1
        return (time.perf_counter() - start) / done

    return run_of_calls
