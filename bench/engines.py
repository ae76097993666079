"""Section 8: flights of 2013, repeated, are grouped, and joined with their planes. The share is what is done once.

Every engine gets two processes or two threads. All of them must return the same rows.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import multiprocessing
import os
import time
from pathlib import Path

import coframe
import polars as pl
import programs
import pyarrow as pa
from measure import failing, interleaved, save, seconds_of
from plan import counted

SPAWN = multiprocessing.get_context("spawn")
TESTDATA = Path(__file__).parent.parent / "testdata"
WORKERS, BATCH_ROWS = 2, 131_072
QUERIES = {
    "group-by": """
        SELECT CAST(carrier AS VARCHAR) AS carrier, count(*) AS flights, count(dep_delay) AS known,
            sum(CAST(dep_delay AS DOUBLE)) AS late, max(dep_delay) AS worst
        FROM flights GROUP BY carrier""",
    "join with planes": """
        SELECT planes.manufacturer AS manufacturer, count(*) AS flights, sum(CAST(flights.distance AS BIGINT)) AS distance,
            sum(planes.seats) AS seats
        FROM flights JOIN planes ON flights.tailnum = planes.tailnum GROUP BY planes.manufacturer""",
}
#: The columns that the queries read. Peers that have to copy or convert a table get no others.
COLUMNS = {"group-by": ["carrier", "dep_delay"], "join with planes": ["tailnum", "distance"]}


def grouped(flights, _=None):
    delay = pl.col("dep_delay")
    found = flights.lazy().group_by(pl.col("carrier").cast(pl.String)).agg(
        pl.len().cast(pl.Int64).alias("flights"), delay.count().cast(pl.Int64).alias("known"),
        delay.cast(pl.Float64).sum().alias("late"), delay.max().alias("worst"),
    )
    return found.collect()


def joined(flights, planes):
    found = flights.lazy().join(planes.lazy(), on="tailnum").group_by("manufacturer").agg(
        pl.len().cast(pl.Int64).alias("flights"), pl.col("distance").cast(pl.Int64).sum(), pl.col("seats").sum()
    )
    return found.collect()


WITH_POLARS = {"group-by": grouped, "join with planes": joined}


def part_of(query, flights, planes):
    """What a worker does with its rows. A frame opens as columns on the shared memory."""
    flights, planes = (table.to_polars() if isinstance(table, coframe.Frame) else table for table in (flights, planes))
    return WITH_POLARS[query](flights, planes)


def merged(parts):
    """The rows of all workers' groups together."""
    key, *others = pl.concat(parts).columns
    whole = [pl.col(name).max() if name == "worst" else pl.col(name).sum() for name in others]
    return pl.concat(parts).group_by(key).agg(whole)


def comparable(rows):
    """Rows of any engine, sorted, so that equal results are equal."""
    return sorted((str(key), *(float(value) for value in values)) for key, *values in rows)


class Pool:
    """Two processes with one thread of Polars each."""

    def __init__(self, flights, planes, stack):
        self.flights, self.planes = flights, planes
        before = os.environ.get("POLARS_MAX_THREADS")
        os.environ["POLARS_MAX_THREADS"] = "1"
        self.pool = SPAWN.Pool(WORKERS)
        os.environ.pop("POLARS_MAX_THREADS")
        if before is not None:
            os.environ["POLARS_MAX_THREADS"] = before
        stack.callback(self.pool.join)
        stack.callback(self.pool.terminate)

    def run(self, query):
        arguments = [(query, part, planes) for part, planes in self.parts(query)]
        return merged(self.pool.starmap(part_of, arguments, 1)).rows()


class Frames(Pool):
    def share(self):
        self.frame, self.of_planes = coframe.publish(self.flights, "flights"), coframe.publish(self.planes, "planes")

    def undo(self):
        self.frame = None
        coframe.remove("flights")

    def parts(self, _):
        return [(part, self.of_planes) for part in self.frame.split(WORKERS)]


class Pickled(Pool):
    share = None

    def parts(self, query):
        flights, half = self.flights.select(COLUMNS[query]), -(-len(self.flights) // WORKERS)
        return [(flights[half * n : half * (n + 1)], self.planes) for n in range(WORKERS)]


class Polars:
    share = None

    def __init__(self, flights, planes, stack):
        self.flights, self.planes = flights, planes

    def run(self, query):
        return WITH_POLARS[query](self.flights, self.planes).rows()


class OnFrames:
    """An engine that reads the frames of `Frames` through pyarrow, without a copy."""

    def __init__(self, flights, planes, stack):
        importlib.import_module(self.module)

    def tables(self):
        return {name: coframe.open(name).to_arrow(views=True) for name in ("flights", "planes")}


class DataFusion(OnFrames):
    module = "datafusion"

    def share(self):
        from datafusion import SessionConfig, SessionContext

        self.context = SessionContext(SessionConfig().with_target_partitions(WORKERS))
        for name, table in self.tables().items():
            # The batches are slices of the frame's.
            batches = table.to_batches(max_chunksize=BATCH_ROWS)
            half = -(-len(batches) // WORKERS)
            self.context.register_record_batches(name, [batches[half * n : half * (n + 1)] for n in range(WORKERS)])

    def run(self, query):
        table = pa.Table.from_batches(self.context.sql(QUERIES[query]).collect())
        return zip(*(column.to_pylist() for column in table.columns), strict=True)


class DuckDB(OnFrames):
    module = "duckdb"

    def share(self):
        import duckdb

        self.connection = duckdb.connect(config={"threads": WORKERS})
        for name, table in self.tables().items():
            self.connection.register(name, table)

    def run(self, query):
        return self.connection.sql(QUERIES[query]).fetchall()


class DuckDBTable:
    """The same engine on tables that it has copied into its memory."""

    def __init__(self, flights, planes, stack):
        self.flights, self.planes = flights, planes

    def share(self):
        import duckdb

        self.connection = duckdb.connect(config={"threads": WORKERS})
        flights = self.flights.select(sorted({name for names in COLUMNS.values() for name in names}))
        for name, table in (("flights", flights), ("planes", self.planes)):
            self.connection.register("given", table.to_arrow())
            self.connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
            self.connection.unregister("given")

    run = DuckDB.run


def grouped_by_pandas(flights, planes):
    found = flights.groupby("carrier", observed=True).agg(
        flights=("tailnum", "size"), known=("dep_delay", "count"), late=("dep_delay", "sum"), worst=("dep_delay", "max")
    )
    return found.reset_index()


def joined_by_pandas(flights, planes):
    both = flights[["tailnum", "distance"]].merge(planes[["tailnum", "manufacturer", "seats"]], on="tailnum")
    found = both.groupby("manufacturer").agg(flights=("seats", "size"), distance=("distance", "sum"), seats=("seats", "sum"))
    return found.reset_index()


WITH_PANDAS = {"group-by": grouped_by_pandas, "join with planes": joined_by_pandas}


def for_pandas(flights):
    """The columns of the queries, in types whose sums do not overflow."""
    return flights.select("carrier", "tailnum", pl.col("dep_delay").cast(pl.Float64), pl.col("distance").cast(pl.Int64))


class Pandas:
    def __init__(self, flights, planes, stack):
        self.given = flights, planes

    def share(self):
        flights, planes = self.given
        self.flights, self.planes = for_pandas(flights).to_pandas(), planes.to_pandas()

    def run(self, query):
        return WITH_PANDAS[query](self.flights, self.planes).itertuples(index=False, name=None)


class Dask:
    """The partitions of a Parquet file, which two worker processes keep in memory."""

    def __init__(self, flights, planes, stack):
        import dask.dataframe  # noqa: F401 (takes a second, which is not a part of the share)
        import distributed

        self.path = os.path.join(os.environ["BENCH_SCRATCH"], "flights.parquet")
        for_pandas(flights).with_columns(pl.col("carrier").cast(pl.String)).write_parquet(self.path, row_group_size=1 << 20)
        self.planes = planes.to_pandas()
        options = {"processes": True, "dashboard_address": None, "silence_logs": 50}
        self.cluster = stack.enter_context(distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, **options))
        self.client = stack.enter_context(distributed.Client(self.cluster))

    def undo(self):
        """Waits until the workers have forgotten the partitions, because keys that are in memory are not read again."""
        self.flights = None
        gc.collect()
        until = time.monotonic() + 60
        while any(self.client.who_has().values()) and time.monotonic() < until:
            time.sleep(0.01)

    def share(self):
        import dask.dataframe
        import distributed

        self.flights = dask.dataframe.read_parquet(self.path, split_row_groups=True).persist()
        distributed.wait(self.flights)

    def run(self, query):
        return WITH_PANDAS[query](self.flights, self.planes).compute().itertuples(index=False, name=None)


class Ballista:
    """Half of the flights in the store of each executor, and the planes in one of them."""

    settings = ()

    def __init__(self, flights, planes, stack):
        folder = os.path.join(os.environ["BENCH_SCRATCH"], type(self).__name__)
        os.mkdir(folder)
        self.flights, self.planes = flights, planes
        self.cluster = programs.Cluster(folder, stack)

    def share(self):
        half = -(-len(self.flights) // WORKERS)
        stores = [coframe.Store(path) for path in self.cluster.stores]
        for n, store in enumerate(stores):
            store.publish(self.flights[half * n : half * (n + 1)], "flights", batch_rows=BATCH_ROWS)
        stores[0].publish(self.planes, "planes")

    def run(self, query):
        self.seconds, rows = self.cluster.query(QUERIES[query], *self.settings)
        return rows


class BallistaHash(Ballista):
    settings = ("--set", "datafusion.optimizer.prefer_hash_join=true")


ENGINES = {
    "coframe frame, Pool of 2, Polars": Frames,
    "Polars, 2 threads of one process": Polars,
    "DataFusion on a coframe frame": DataFusion,
    "DuckDB on a coframe frame": DuckDB,
    "DuckDB, a table in its memory": DuckDBTable,
    "pandas, one thread": Pandas,
    "Pool of 2 with pickled halves, Polars": Pickled,
    "Dask DataFrame, 2 workers": Dask,
    "coframe-cluster (Ballista), 2 executors": Ballista,
    "coframe-cluster (Ballista), hash joins": BallistaHash,
}


def run(repeat):
    one = pl.read_parquet(TESTDATA / "flights.parquet")
    flights, planes = pl.concat([one] * repeat, rechunk=True), pl.read_parquet(TESTDATA / "planes.parquet")
    expected = {query: comparable(WITH_POLARS[query](flights, planes).rows()) for query in QUERIES}
    with contextlib.ExitStack() as stack:
        engines, shares = {}, {}
        for name, kind in ENGINES.items():
            try:
                engines[name] = kind(flights, planes, stack)
                if engines[name].share:
                    shares[name] = seconds_of_share(engines[name])
            except Exception as error:
                engines[name] = error
        for query in QUERIES:
            rows = interleaved({name: call_of(engine, query, expected[query]) for name, engine in engines.items()})
            for name, seconds in shares.items():
                if "median" in rows[name]:
                    rows[name]["share"] = seconds
            about = {"query": query, "height": len(flights), "bytes": flights.estimated_size()}
            save("engines", f"{query}, {counted(len(flights), 'flights')}", rows, **about)


def seconds_of_share(engine):
    """Of the second time: the first one may have to wait until the host of a virtual machine provides the memory."""
    engine.share()
    if hasattr(engine, "undo"):
        engine.undo()
    return seconds_of(engine.share)


def call_of(engine, query, expected):
    if isinstance(engine, Exception):
        return failing(engine)

    def call():
        start = time.perf_counter()
        rows = list(engine.run(query))
        seconds = getattr(engine, "seconds", time.perf_counter() - start)
        found = comparable(rows)
        assert found == expected, f"{found[:2]} instead of {expected[:2]}"
        return seconds

    return call
