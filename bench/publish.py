"""Section 2: a table is put into shared memory, once."""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import coframe
import data
import numpy as np
import programs
import pyarrow as pa
from measure import alone, interleaved, of_peer, save


#: The rows and the number of runs of the groups `alone`: other peers would displace a publish's code from the caches.
ALONE, ALONE_RUNS = ("coframe.publish", "ftruncate and write(2)"), 61


def write_all(file, text):
    done = 0
    while done < len(text):
        done += os.write(file, text[done:])


def to_shared_memory(df):
    buffers = []
    head = pickle.dumps(df, protocol=5, buffer_callback=buffers.append)
    sizes = [len(head), *(len(buffer.raw()) for buffer in buffers)]
    memory = SharedMemory(create=True, size=sum(sizes))
    start = 0
    for part in (head, *(buffer.raw() for buffer in buffers)):
        memory.buf[start : start + len(part)] = part
        start += len(part)
    memory.close()
    memory.unlink()


def calls(df, folder):
    """{name: call}, and the published sizes of the DataFrame and of its Arrow table. All write into `folder`."""
    store = coframe.Store(os.path.join(folder, "store"))
    nbytes = store.publish(df, "bench").nbytes
    text = memoryview(np.ones(nbytes, dtype=np.uint8))
    target = np.ones(nbytes, dtype=np.uint8)
    # Polars' strings are views, which refer to equal strings once; those of `to_arrow()` have offsets.
    arrow, path = df.to_arrow(), os.path.join(folder, "file.arrow")
    arrow_bytes = store.publish(arrow, "bench").nbytes

    def one_write(truncate):
        file = os.open(folder, os.O_TMPFILE | os.O_WRONLY)
        if truncate:
            os.ftruncate(file, nbytes)
        write_all(file, text)
        os.close(file)

    def with_pyarrow():
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, arrow.schema) as writer:
            writer.write_table(arrow)

    found = {
        "coframe.publish": lambda: store.publish(df, "bench"),
        "coframe.publish, Arrow": lambda: store.publish(arrow, "bench"),
        "one write(2) of the same bytes": lambda: one_write(False),
        "ftruncate and write(2)": lambda: one_write(True),
        "memcpy into memory that is resident": lambda: np.copyto(target, text),
        "Polars write_ipc": lambda: df.write_ipc(path, compression="uncompressed"),
        "pyarrow new_file": with_pyarrow,
    }
    return found, nbytes, arrow_bytes


def of_vineyard(arrow, client):
    """Puts a table, and deletes it outside of the clock."""
    def put():
        start = time.perf_counter()
        key = client().put(arrow)
        seconds = time.perf_counter() - start
        client().delete(key)
        return seconds

    return put


def run(kind, megabytes, where=None):
    df = data.table(kind, megabytes)
    folder = where or os.environ["BENCH_SCRATCH"]
    with contextlib.ExitStack() as stack:
        found, nbytes, arrow_bytes = calls(df, folder)
        if where is None:
            arrow = df.to_arrow()
            ray = of_peer(lambda: stack.enter_context(programs.ray_node(1)))
            vineyard = of_peer(lambda: stack.enter_context(programs.vineyard_client(folder, nbytes)))
            found["pickle 5 into SharedMemory"] = lambda: to_shared_memory(df)
            found["Ray put, Arrow"] = lambda: ray().put(arrow)
            found["Vineyard put, Arrow"] = of_vineyard(arrow, vineyard)
        rows = interleaved(found)
    for name, row in rows.items():
        row["bytes"] = arrow_bytes if "Arrow" in name or name == "pyarrow new_file" else nbytes
    pages = "huge pages" if where else "4 KiB pages"
    key, about = f"{kind}, {megabytes} MB, {pages}", {"kind": kind, "bytes": nbytes, "height": df.height, "pages": pages}
    save("publish", key, rows, **about)
    if where:
        save("publish", f"{key}, alone", alone({name: found[name] for name in ALONE}, ALONE_RUNS), **about)
    for file in Path(folder).glob("file.arrow"):
        file.unlink()
