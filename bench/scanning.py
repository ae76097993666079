"""Section 4: a table that is in shared memory is opened anew and one column is summed, as the first task of a worker does."""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle

import coframe
import data
import numpy as np
import programs
import pyarrow as pa
from measure import interleaved, of_peer, save

#: Of Linux 5.14; Python's `mmap` has no name for it.
MADV_POPULATE_READ = 22


def place_of(path, column):
    """Where the values of a column are in a file: offset and number."""
    source = pa.memory_map(path)
    start = source.read_buffer().address
    source.seek(0)
    values = pa.ipc.open_file(source).read_all()[column].chunk(0)
    return values.buffers()[1].address - start, len(values)


def by_hand(path, offset, count, populate):
    """The least that any library does: one map, one call for its pages, one sum."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
        if populate:
            start = offset // mmap.PAGESIZE * mmap.PAGESIZE
            memory.madvise(MADV_POPULATE_READ, start, offset + count * 8 - start)
        values = np.frombuffer(memory, dtype=np.float64, count=count, offset=offset)
        total = values.sum()
        del values
    return total


def prefaulted():
    frame = coframe.open("scan")
    frame.prefault(["c0"])
    return frame["c0"].to_numpy().sum()


def run(megabytes):
    df = data.floats(int(megabytes * 1e6 / data.ROW["floats"]))
    expected = df["c0"].sum()
    frame = coframe.publish(df, "scan")
    path = os.path.join(coframe.Store().path, "scan.arrow")
    offset, count = place_of(path, "c0")
    text = pickle.dumps(frame)
    resident = df["c0"].to_numpy().copy()
    # Else an open would find its pages.
    del frame
    stack = contextlib.ExitStack()
    of_ray = of_peer(lambda: programs.ray_get(df.to_arrow(), stack))
    calls = {
        "coframe.open": lambda: coframe.open("scan")["c0"].to_numpy().sum(),
        "coframe.open, prefault": prefaulted,
        "coframe frame, unpickled again": lambda: pickle.loads(text)["c0"].to_numpy().sum(),
        "pa.memory_map": lambda: pa.ipc.open_file(pa.memory_map(path)).read_all()["c0"].chunk(0).to_numpy().sum(),
        "mmap by hand": lambda: by_hand(path, offset, count, False),
        "mmap by hand, MADV_POPULATE_READ": lambda: by_hand(path, offset, count, True),
        "Ray get, Arrow": lambda: of_ray()()["c0"].chunk(0).to_numpy().sum(),
        "numpy array in private memory": lambda: resident.sum(),
    }
    with stack:
        rows = interleaved({name: checked(call, expected) for name, call in calls.items()})
    save("scan", f"{megabytes} MB", rows, bytes=count * 8, height=count)


def checked(call, expected):
    # A sum is a numpy float, which the clock would take for seconds.
    def compared():
        assert call() == expected

    return compared
