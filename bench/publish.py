"""Section 2: a table is put into shared memory, once."""

from __future__ import annotations

import os
import pickle
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import coframe
import data
import numpy as np
import pyarrow as pa
from measure import interleaved, save


def write_all(file, text):
    done = 0
    while done < len(text):
        done += os.write(file, text[done:])


def calls(df, folder, with_ray):
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

    def to_shared_memory():
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

    found = {
        "coframe.publish": lambda: store.publish(df, "bench"),
        "one write(2) of the same bytes": lambda: one_write(False),
        "ftruncate and write(2)": lambda: one_write(True),
        "memcpy into memory that is resident": lambda: np.copyto(target, text),
        "Polars write_ipc": lambda: df.write_ipc(path, compression="uncompressed"),
        "pyarrow new_file": with_pyarrow,
    }
    if with_ray:
        import ray

        found["Ray put, Arrow"] = lambda: ray.put(arrow)
        found["pickle 5 into SharedMemory"] = to_shared_memory
    return found, nbytes


def run(kind, megabytes, where=None):
    df = data.table(kind, megabytes)
    folder = where or os.environ["BENCH_SCRATCH"]
    if where is None:
        import ray

        ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False, object_store_memory=4 * 10**9)
    found, nbytes = calls(df, folder, where is None)
    rows = interleaved(found)
    if where is None:
        ray.shutdown()
    pages = "huge pages" if where else "4 KiB pages"
    save("publish", f"{kind}, {megabytes} MB, {pages}", rows, kind=kind, bytes=nbytes, height=df.height, pages=pages)
    for file in Path(folder).glob("file.arrow"):
        file.unlink()
