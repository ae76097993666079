"""The clock that all sections share: peers take turns, so that all of them see the same machine."""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import platform
import re
import statistics
import time
from pathlib import Path

RUNS = int(os.environ.get("BENCH_RUNS", "7"))
#: Taken when the process of a part starts, because peers are a load themselves.
LOAD = round(os.getloadavg()[0], 1)
RESULTS = Path(os.environ.get("BENCH_RESULTS", Path(__file__).parent / "results"))
PACKAGES = (
    "coframe", "dask", "datafusion", "diskcache", "duckdb", "iceoryx2", "joblib", "lmdb", "loky", "numpy", "pandas", "polars",
    "pyarrow", "ray", "vineyard",
)


def runs_for(seconds):
    """Counted runs of a call whose warm-up took `seconds`. Slow rows get fewer; each row states its number."""
    return RUNS if seconds < 2 else min(RUNS, 3) if seconds < 8 else 1


def interleaved(calls):
    """{name: row} for {name: call}. Every call warms up once; then each gets a run in turn until all have theirs.

    A call that returns a float has measured its seconds itself. A call that raises becomes a row with the reason.
    """
    times, wanted, rows = {}, {}, {}
    for name, call in calls.items():
        try:
            wanted[name] = runs_for(seconds_of(call))
            times[name] = []
        except Exception as error:
            rows[name] = {"left out": reason(error)}
    for turn in range(RUNS):
        for name, count in wanted.items():
            if turn < count and name not in rows:
                try:
                    times[name].append(seconds_of(calls[name]))
                except Exception as error:
                    rows[name] = {"left out": reason(error)}
    return {name: rows[name] if name in rows else row_of(times[name]) for name in calls}


def alone(calls, runs):
    """{name: row} of calls that take turns without a garbage collection in between, because that displaces cached data."""
    times = {name: [] for name in calls}
    gc.collect()
    gc.disable()
    try:
        for _ in range(runs):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                times[name].append(time.perf_counter() - start)
    except Exception as error:
        return {name: {"left out": reason(error)} for name in calls}
    finally:
        gc.enable()
    return {name: row_of(found) for name, found in times.items()}


def seconds_of(call):
    # What an earlier call left to the collector is not this one's.
    gc.collect()
    start = time.perf_counter()
    given = call()
    return given if isinstance(given, float) else time.perf_counter() - start


def row_of(times):
    return {"median": statistics.median(times), "min": min(times), "max": max(times), "runs": len(times)}


def failing(error):
    """A call that raises, for a peer that could not start."""
    def fail():
        raise error

    return fail


def of_peer(start):
    """A function that returns what `start` returned, or raises why it failed: a peer that does not start is a row with the reason."""
    try:
        found = start()
    except Exception as error:
        return failing(error)
    return lambda: found


def reason(error):
    """The first line of an error, with its type; of `programs.Missing` the text alone."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # Without addresses and colours.
    first = re.sub(r" at 0x[0-9a-f]+|\x1b\[[0-9;]*m", "", lines[0]) if lines else ""
    return (first if type(error).__name__ == "Missing" else f"{type(error).__name__}: {first}")[:160]


def reporting():
    """How long this kernel keeps free pages before it gives them back to the host of a virtual machine, if it says so."""
    path = Path("/sys/module/page_reporting/parameters/min_free_ms")
    return f"{path.read_text().strip()} ms" if path.exists() else "not known"


def machine():
    cpu = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "unknown")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1e6
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory": f"{memory:.0f} GB",
        "kernel": platform.release().split("-")[0],
        "free pages are reported to a host after": reporting(),
        "huge pages of shared memory": Path("/sys/kernel/mm/transparent_hugepage/shmem_enabled").read_text().strip(),
        "load before": LOAD,
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "packages": {name: version_of(name) for name in PACKAGES},
    }


def version_of(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def save(section, key, rows, **about):
    """Adds the group of rows `key` to the file of a section, in place of an older one."""
    path = RESULTS / f"{section}.json"
    found = json.loads(path.read_text()) if path.exists() else {"groups": {}}
    found["groups"][key] = {"about": about, "machine": machine(), "rows": rows}
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n")
    for name, row in rows.items():
        print(f"{key:<28} {name:<44} {shown(row)}", flush=True)


def shown(row):
    if "left out" in row:
        return f"left out: {row['left out']}"
    more = "".join(f", {name} {value:.3g}" for name, value in row.items() if name in ("share", "again", "memory"))
    return f"{row['median'] * 1e3:12.3f} ms ({row['min'] * 1e3:.3f} to {row['max'] * 1e3:.3f}, {row['runs']} runs{more})"
