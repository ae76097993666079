"""Section 6: locks, values and maps, alone and from 2 processes. The row is the time of one operation."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
import time

import coframe
import diskcache
import lmdb
from measure import failing, interleaved, save
from plan import counted

SPAWN = multiprocessing.get_context("spawn")


def locked(lock, _):
    with lock:
        pass


def with_lock(value, _):
    with value.get_lock():
        value.value += 1


def add(counter, _):
    counter.add(1)


def change(mapping, n):
    mapping[n % 1000] = n


def find(mapping, n):
    return mapping[n % 1000]


class Lmdb:
    """LMDB as its documentation recommends for a store in memory: no sync, one transaction a call."""

    def __init__(self, path):
        self.path = path
        self.open()

    def open(self):
        self.environment = lmdb.open(self.path, map_size=1 << 28, sync=False, metasync=False, lock=True)

    def __getstate__(self):
        return self.path

    def __setstate__(self, path):
        self.__init__(path)

    def __setitem__(self, key, value):
        with self.environment.begin(write=True) as transaction:
            transaction.put(key.to_bytes(8, "big"), value.to_bytes(8, "big"))

    def __getitem__(self, key):
        with self.environment.begin() as transaction:
            return int.from_bytes(transaction.get(key.to_bytes(8, "big")), "big")


def repeated(operation, target, seconds):
    """Operations in about `seconds`, and their time."""
    start, done = time.perf_counter(), 0
    while (taken := time.perf_counter() - start) < seconds:
        for n in range(100):
            operation(target, done + n)
        done += 100
    return done, taken


def child(operation, target, seconds, barrier, results):
    operation(target, 0)
    barrier.wait(60)
    results.put(repeated(operation, target, seconds)[0])


def alone(operation, target, seconds):
    done, taken = repeated(operation, target, seconds)
    return taken / done


def together(operation, target, seconds):
    """Seconds per operation of 2 processes that work at the same time."""
    barrier, results = SPAWN.Barrier(2), SPAWN.Queue()
    processes = [SPAWN.Process(target=child, args=(operation, target, seconds, barrier, results)) for _ in range(2)]
    for process in processes:
        process.start()
    try:
        done = results.get(timeout=60) + results.get(timeout=60)
    finally:
        for process in processes:
            process.join(10)
            process.kill()
            process.join()
    return seconds / done


def targets(folder, manager):
    maps = {
        "coframe.Dict": coframe.Dict(),
        "Manager().dict()": manager.dict(),
        "diskcache in /dev/shm": diskcache.Cache(os.path.join(folder, "diskcache")),
        "LMDB in /dev/shm": Lmdb(os.path.join(folder, "lmdb")),
    }
    for mapping in maps.values():
        for n in range(1000):
            mapping[n] = n
    locks = {
        "coframe.Lock": coframe.Lock(),
        "multiprocessing.Lock": SPAWN.Lock(),
        "Manager().Lock()": manager.Lock(),
    }
    values = {
        "coframe.Value, with its lock": (with_lock, coframe.Value("q", 0)),
        "multiprocessing.Value, with its lock": (with_lock, SPAWN.Value("q", 0)),
        "coframe.Counter.add": (add, coframe.Counter()),
        "Manager().Value, with a lock": (of_manager, (manager.Lock(), manager.Value("q", 0))),
    }
    return {
        "lock and unlock": {name: (locked, lock) for name, lock in locks.items()},
        "add to a value": values,
        "set in a map": {name: (change, mapping) for name, mapping in maps.items()},
        "get from a map": {name: (find, mapping) for name, mapping in maps.items()},
    }


def of_manager(pair, _):
    lock, value = pair
    with lock:
        value.value += 1


def run(processes, seconds):
    measure = alone if processes == 1 else together
    folder = tempfile.mkdtemp(dir=os.environ["BENCH_SCRATCH"])
    try:
        with SPAWN.Manager() as manager:
            for what, peers in targets(folder, manager).items():
                calls = {
                    name: (lambda operation=operation, target=target: measure(operation, target, seconds))
                    for name, (operation, target) in peers.items()
                }
                save("cells", f"{what}, {counted(processes, 'processes')}", interleaved(calls), processes=processes, what=what)
            if processes == 1:
                latest(seconds)
    finally:
        shutil.rmtree(folder)


def latest(seconds):
    """The newest value that one process writes and others read: coframe's `Latest`, iceoryx2's blackboard."""
    calls = {}
    ours = coframe.Latest(b"x" * 64)
    calls["coframe.Latest.read, 64 bytes"] = lambda: alone(lambda cell, _: cell.read(), ours, seconds)
    try:
        calls["iceoryx2 blackboard, 8 bytes"] = of_iceoryx2(seconds)
    except Exception as error:
        calls["iceoryx2 blackboard, 8 bytes"] = failing(error)
    save("cells", "read the newest value, 1 process", interleaved(calls), processes=1, what="read the newest value")


def of_iceoryx2(seconds):
    import ctypes

    import iceoryx2

    iceoryx2.set_log_level(iceoryx2.LogLevel.Fatal)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    name = iceoryx2.ServiceName.new(f"coframe-bench-{os.getpid()}")
    service = (
        node.service_builder(name).blackboard_creator(ctypes.c_uint64).add(ctypes.c_uint64(0), ctypes.c_uint64(0)).create()
    )
    writer = service.writer_builder().create()
    entry = service.reader_builder().create().entry(ctypes.c_uint64(0), ctypes.c_uint64)

    def run_reads():
        assert writer is not None
        return alone(lambda handle, _: handle.get(), entry, seconds)

    return run_reads
