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
from measure import interleaved, of_peer, save


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
    """{name: call}. All write into `folder`, on the file system that is measured."""
    store = coframe.Store(os.path.join(folder, "store"))
    nbytes = store.publish(df, "bench").nbytes
    text = memoryview(np.ones(nbytes, dtype=np.uint8))
    target = np.ones(nbytes, dtype=np.uint8)
    arrow, path = df.to_arrow(), os.path.join(folder, "file.arrow")

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
    return found, nbytes


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
        found, nbytes = calls(df, folder)
        if where is None:
            arrow = df.to_arrow()
            ray = of_peer(lambda: stack.enter_context(programs.ray_node(1)))
            vineyard = of_peer(lambda: stack.enter_context(programs.vineyard_client(folder, nbytes)))
            found["pickle 5 into SharedMemory"] = lambda: to_shared_memory(df)
            found["Ray put, Arrow"] = lambda: ray().put(arrow)
            found["Vineyard put, Arrow"] = of_vineyard(arrow, vineyard)
        rows = interleaved(found)
    pages = "huge pages" if where else "4 KiB pages"
    save("publish", f"{kind}, {megabytes} MB, {pages}", rows, kind=kind, bytes=nbytes, height=df.height, pages=pages)
    for file in Path(folder).glob("file.arrow"):
        file.unlink()
