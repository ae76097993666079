"""Section 5: tasks without work, a worker each for one and two cores. The row is the time of one task."""

from __future__ import annotations

import concurrent.futures
import multiprocessing

import joblib
import loky
import work
from measure import counted, interleaved, save, seconds_of

SPAWN = multiprocessing.get_context("spawn")


def run(workers, chunk, count):
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    remote = ray.remote(nothing)
    many = ray.remote(nothings)
    parallel = joblib.Parallel(n_jobs=workers, batch_size=chunk)
    with (
        SPAWN.Pool(workers) as pool,
        concurrent.futures.ProcessPoolExecutor(workers, mp_context=SPAWN) as executor,
        loky.ProcessPoolExecutor(workers) as loky_executor,
    ):
        each = {
            "multiprocessing.Pool.map": lambda: pool.map(work.nothing, range(count), chunk),
            "concurrent.futures": lambda: list(executor.map(work.nothing, range(count), chunksize=chunk)),
            "loky": lambda: list(loky_executor.map(work.nothing, range(count), chunksize=chunk)),
            "joblib": lambda: parallel(joblib.delayed(work.nothing)(n) for n in range(count)),
            "Ray": lambda: ray.get(
                [remote.remote(n) for n in range(count)] if chunk == 1 else [many.remote(chunk) for _ in range(count // chunk)]
            ),
        }
        rows = interleaved({name: (lambda call=call: seconds_of(call) / count) for name, call in each.items()})
    ray.shutdown()
    save("tasks", f"{counted(workers, 'workers')}, chunks of {chunk}", rows, workers=workers, chunk=chunk, tasks=count)


def nothing(_):
    return None


def nothings(count):
    return [None] * count
