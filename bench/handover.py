"""Section 1: a frame is handed to N workers, and 8 tasks sum a column of it each.

A peer is a pool, what is done once with the table (`share`), and how a task opens that. Pools start before the clock.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import multiprocessing
import os
import pickle
import tempfile
import threading
import time
from multiprocessing.shared_memory import SharedMemory

import coframe
import data
import joblib
import programs
import work
from measure import RUNS, reason, row_of, runs_for, save, seconds_of
from plan import counted
from processes import pss_of_descendants

TASKS = 8
SPAWN = multiprocessing.get_context("spawn")


class Pool:
    """`multiprocessing.Pool`; `kept` is what its workers get when they start."""

    def __init__(self, workers, context="spawn", kept=None):
        options = (work.inherit, (kept,)) if kept is not None else ()
        self.pool = multiprocessing.get_context(context).Pool(workers, *options)
        self.pool.map(work.nothing, range(4 * workers), 1)

    def run(self, call, handle, items):
        return self.pool.map(functools.partial(call, handle), items, 1)

    def stop(self):
        self.pool.terminate()
        self.pool.join()


class Starmap(Pool):
    def run(self, call, handle, items):
        return self.pool.starmap(call, [(handle, n) for n in items], 1)


class Partial(Pool):
    """`coframe.partial` on a table that was shared once: the function gets the table as it was."""

    def run(self, call, handle, items):
        function, first = parts(call)
        return self.pool.map(coframe.partial(function, *first, handle), items, 1)


def parts(call):
    """A function and its first arguments."""
    return (call.func, call.args) if isinstance(call, functools.partial) else (call, ())


class Joblib:
    """Every call has a new `Parallel`; all of them use the same workers."""

    def __init__(self, workers):
        self.workers = workers
        self.parallel()(joblib.delayed(work.nothing)(n) for n in range(4 * workers))

    def parallel(self):
        return joblib.Parallel(n_jobs=self.workers, batch_size=1)

    def run(self, call, handle, items):
        return self.parallel()(joblib.delayed(call)(handle, n) for n in items)

    def stop(self):
        joblib.externals.loky.get_reusable_executor().shutdown(wait=True)


class Ray:
    def __init__(self, workers):
        import ray

        path = os.path.dirname(os.path.abspath(__file__))
        environment = {"env_vars": {"PYTHONPATH": path}}
        ray.init(
            num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False,
            object_store_memory=4 * 10**9, runtime_env=environment,
        )
        self.ray, self.remotes = ray, {}
        ray.get([ray.remote(work.nothing).remote(n) for n in range(4 * workers)])

    def run(self, call, handle, items):
        function, first = parts(call)
        remote = self.remotes.setdefault(function, self.ray.remote(function))
        return self.ray.get([remote.remote(*first, handle, n) for n in items])

    def share(self, table):
        return self.ray.put(table)

    def stop(self):
        self.remotes.clear()
        self.ray.shutdown()


class Dask:
    def __init__(self, workers):
        import distributed

        self.cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        )
        self.client = distributed.Client(self.cluster)
        self.client.gather(self.client.map(work.nothing, range(4 * workers), pure=False))

    def run(self, call, handle, items):
        return self.client.gather([self.client.submit(call, handle, n, pure=False) for n in items])

    def share(self, table):
        # Without a new key, the future that ends takes the data of the next one with it.
        return self.client.scatter(table, broadcast=True, hash=False)

    def stop(self):
        self.client.close()
        self.cluster.close()


class Vineyard(Pool):
    """A pool, and a server that keeps what is put."""

    def __init__(self, workers):
        with contextlib.ExitStack() as stack:
            self.path = stack.enter_context(programs.vineyard_server(os.environ["BENCH_SCRATCH"], 6))
            super().__init__(workers)
            self.servers = stack.pop_all()

    def share(self, table):
        return self.path, work.vineyard_of(self.path).put(table)

    def stop(self):
        super().stop()
        self.servers.close()


def delete(handle):
    path, key = handle
    work.vineyard_of(path).delete(key)


class Passed:
    """How a table gets to the tasks: what is done once, with what, and its undoing."""

    def __init__(self, load="itself", share=None, undo=None, of="polars", within=contextlib.nullcontext, is_shared=True):
        self.load, self.share, self.undo, self.of, self.within = load, share, undo, of, within
        #: Whether something is done with the table before the tasks.
        self.is_shared = is_shared and (share is not None or within is not contextlib.nullcontext or of == "manager")


def published(table):
    return coframe.publish(table, "bench")


def file_of(table):
    path = os.path.join(os.environ["BENCH_SCRATCH"], "table.arrow")
    table.write_ipc(path, compression="uncompressed")
    return path


_memories = []


def pickled(table):
    text = pickle.dumps(table, protocol=5)
    memory = SharedMemory(create=True, size=len(text))
    memory.buf[: len(text)] = text
    _memories.append(memory)
    return memory.name, len(text)


def unlink(_):
    while _memories:
        memory = _memories.pop()
        memory.close()
        memory.unlink()


ITSELF, FRAME = Passed(), Passed(share=lambda pool, table: published(table))


def peers(kind):
    """{name: (pool, how)}: each as its documentation recommends, and the plain calls that people write."""
    pandas = {} if kind == "nested" else {
        "coframe.sharing(), Pool.map(partial(f, df)), pandas": (Pool, Passed(of="pandas", within=coframe.sharing)),
        "coframe.partial(f, df), Pool.map, pandas": (Partial, Passed(share=lambda pool, table: coframe.share(table), undo=lambda shared: shared.close(), of="pandas")),
        "Pool.map(partial(f, df)), pandas": (Pool, Passed(of="pandas")),
        "Pool.starmap, pandas": (Starmap, Passed(of="pandas")),
        "joblib, pandas": (Joblib, Passed(of="pandas")),
        "Ray put, pandas": (Ray, Passed(share=lambda pool, table: pool.share(table), of="pandas")),
        "Dask scatter, pandas": (Dask, Passed(share=lambda pool, table: pool.share(table), of="pandas")),
    }
    arrays = {} if kind != "floats" else {
        "numpy in mp.RawArray, given at start": ("arrays", None),
        "joblib memmap of numpy": (Joblib, Passed(of="numpy")),
    }
    return {
        "coframe frame, Pool.map": (Pool, FRAME),
        "coframe frame, joblib": (Joblib, FRAME),
        "coframe frame, Ray tasks": (Ray, FRAME),
        "coframe frame, Dask": (Dask, FRAME),
        "Pool.map(partial(f, df)), Polars": (Pool, ITSELF),
        "inherited by fork, pandas" if pandas else "inherited by fork, Arrow": ("inherited", None),
        "pickle in SharedMemory, Polars": (Pool, Passed("shared memory", lambda pool, table: pickled(table), unlink)),
        "Manager().Namespace(), Arrow": (Pool, Passed("manager", None, of="manager")),
        "pa.memory_map of a file": (Pool, Passed("mapped", lambda pool, table: file_of(table))),
        "Polars read_ipc(columns=..)": (Pool, Passed("polars", lambda pool, table: file_of(table))),
        "joblib, Polars": (Joblib, ITSELF),
        "Ray put, Arrow": (Ray, Passed(share=lambda pool, table: pool.share(table), of="arrow")),
        "Ray put, Polars": (Ray, Passed(share=lambda pool, table: pool.share(table))),
        "Dask scatter, Polars": (Dask, Passed(share=lambda pool, table: pool.share(table))),
        "Vineyard put, Arrow, Pool.map": (Vineyard, Passed("vineyard", lambda pool, table: pool.share(table), delete, of="arrow")),
    } | pandas | arrays


def table_of(df, of):
    if of == "pandas":
        return df.to_pandas()
    if of in ("arrow", "manager"):
        return df.to_arrow()
    return {name: df[name].to_numpy() for name in df.columns} if of == "numpy" else df


# These pickle the whole table for every task. Groups that are not about them have only one of them, pandas in a pool.
PICKLING = (
    "Pool.map(partial(f, df)), Polars", "Pool.starmap, pandas", "pickle in SharedMemory, Polars",
    "Manager().Namespace(), Arrow", "joblib, pandas", "joblib, Polars",
)
SKIPPED = {
    "every": {},
    "few": dict.fromkeys(PICKLING, "pickles the table for every task; only measured with 100 MB and 2 workers"),
}
# With 1 GB all peers together need more than 24 GB, so those with copies in every process or server are left out.
COPYING = (
    "Pool.map(partial(f, df)), pandas", "Ray put, Polars", "Ray put, pandas", "Dask scatter, Polars", "Dask scatter, pandas",
    "Vineyard put, Arrow, Pool.map",
)
SKIPPED["least"] = SKIPPED["few"] | dict.fromkeys(COPYING, "all peers together need more memory; only measured with 100 MB")


def run(kind, megabytes, workers, every="every"):
    df = data.table(kind, megabytes)
    expected = [float(df[work.column_of(n)].sum()) for n in range(TASKS)]
    rows = rounds(peers(kind), df, workers, expected, SKIPPED[every])
    size = df.to_arrow().nbytes
    save("handover", f"{kind}, {megabytes} MB, {counted(workers, 'workers')}", rows, kind=kind, bytes=size, height=df.height, workers=workers, tasks=TASKS)


def rounds(chosen, df, workers, expected, skipped):
    """The rows of all peers. A runtime's peers share one pool, and all pools take turns."""
    rows, ready = {}, {}
    with contextlib.ExitStack() as stack:
        pools, tables = {}, Tables(df)
        for name, (kind, passed) in chosen.items():
            if name in skipped:
                rows[name] = {"left out": skipped[name]}
                continue
            try:
                ready[name] = Peer(name, kind, passed, tables, workers, pools, stack)
                ready[name].warm_up(expected)
            except Exception as error:
                ready.pop(name, None)
                rows[name] = {"left out": reason(error)}
        for turn in range(RUNS):
            for name, peer in list(ready.items()):
                if turn < peer.wanted:
                    try:
                        peer.measure()
                    except Exception as error:
                        ready.pop(name).end()
                        rows[name] = {"left out": reason(error)}
        rows |= {name: peer.row(workers) for name, peer in ready.items()}
        for peer in ready.values():
            peer.end()
    return {name: rows[name] for name in chosen}


class Tables:
    """The same values as each library has them, made once for all peers."""

    def __init__(self, df):
        self.df = df
        self.of = functools.cache(functools.partial(table_of, df))
        self.bare = functools.cache(functools.partial(table_of, df.head(10)))


class Peer:
    #: Seconds after which a peer gets no further round: its first one is the only run, and its memory is not measured.
    LIMIT = 20

    def __init__(self, name, kind, passed, tables, workers, pools, stack):
        self.name, self.times, self.shares, self.seconds = name, [], [], []
        if isinstance(kind, str):
            kept, context = kept_of(kind, tables.df, name)
            passed = Passed(kind, share=lambda pool, table: None, is_shared=False)
            self.pool = Pool(workers, context, kept)
            stack.callback(self.pool.stop)
        else:
            if kind not in pools:
                pools[kind] = kind(workers)
                stack.callback(pools[kind].stop)
            self.pool = pools[kind]
        self.passed, self.table, self.handle = passed, tables.of(passed.of), None
        self.bare = tables.bare(passed.of)
        if passed.of == "manager":
            manager = stack.enter_context(SPAWN.Manager())
            passed.share = functools.partial(namespace_of, manager)

    def share(self, table):
        return self.passed.share(self.pool, table) if self.passed.share else table

    def call(self):
        call = work.task if self.passed.load == "itself" else functools.partial(work.opened, self.passed.load)
        return self.pool.run(call, self.handle, range(TASKS))

    def warm_up(self, expected):
        share = self.again()
        with self.passed.within():
            taken = seconds_of(lambda: setattr(self, "found", self.call()))
            again = seconds_of(self.call) if taken < 2 else taken
        assert self.found == expected, f"{self.name}: {self.found} instead of {expected}"
        self.wanted = runs_for(share + min(taken, again))
        if share + taken > self.LIMIT:
            self.shares, self.times, self.wanted = [share], [taken], 0

    def again(self):
        """Shares the table anew, and takes the time."""
        self.end()
        with self.passed.within():
            start = time.perf_counter()
            self.handle = self.share(self.table)
            return time.perf_counter() - start

    def end(self):
        if self.handle is not None and self.passed.undo:
            self.passed.undo(self.handle)
        self.handle = None

    def measure(self):
        self.shares.append(self.again())
        with self.passed.within():
            if self.passed.within is not contextlib.nullcontext:
                # The first call of a `with` shares, so it is this peer's hand-over.
                self.shares[-1] = seconds_of(self.call)
            self.times.append(seconds_of(self.call))
            if self.passed.is_shared and self.times[-1] < 0.5:
                self.seconds.append(seconds_of(self.call))

    def row(self, workers):
        row = row_of(self.times)
        if self.passed.is_shared:
            row["share"] = row_of(self.shares)["median"]
        if self.seconds:
            row["again"] = row_of(self.seconds)["median"]
        if not self.wanted:
            return row | {"memory left out": f"a round takes over {self.LIMIT} s"}
        try:
            # The first time only makes all workers drop what they have of another row.
            self.memory(self.bare, workers)
            row["memory"] = self.memory(self.table, workers) - self.memory(self.bare, workers)
        except Exception as error:
            row["memory left out"] = reason(error)
        return row

    def memory(self, table, workers):
        """PSS of all processes while each worker holds what its task opened, in bytes."""
        self.end()
        # A pool keeps its last messages, which are copies of the table for some peers, until it has others.
        self.pool.run(work.neither, None, range(8 * workers))
        gc.collect()
        with tempfile.TemporaryDirectory() as folder, self.passed.within():
            self.handle = self.share(table)
            answers = []
            call = functools.partial(work.held, self.passed.load, folder)
            thread = threading.Thread(target=lambda: answers.extend(self.pool.run(call, self.handle, range(workers))))
            thread.start()
            until = time.monotonic() + 60
            while len(os.listdir(folder)) < workers and thread.is_alive() and time.monotonic() < until:
                time.sleep(0.01)
            all_ready = len(os.listdir(folder)) == workers
            found = pss_of_descendants()
            with open(os.path.join(folder, "go"), "w"):
                pass
            thread.join()
        if not all_ready:
            raise RuntimeError("not all workers had a task at the same time")
        return found


def kept_of(kind, df, name):
    """What a pool's workers get at their start, and how the pool starts them."""
    if kind == "inherited":
        return (df.to_arrow() if "Arrow" in name else df.to_pandas()), "fork"
    arrays = {}
    for column in work.NUMBERS:
        arrays[column] = SPAWN.RawArray("d", len(df))
        memoryview(arrays[column]).cast("B")[:] = memoryview(df[column].to_numpy()).cast("B")
    return arrays, "spawn"


def namespace_of(manager, _, table):
    namespace = manager.Namespace()
    namespace.df = table
    return namespace
