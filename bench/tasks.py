"""Section 5: tasks without work, a worker each for one and two cores. The row is the time of one task."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing

import joblib
import loky
import programs
import work
from measure import interleaved, of_peer, save, seconds_of
from plan import counted

SPAWN = multiprocessing.get_context("spawn")


def run(workers, chunk, count):
    parallel = joblib.Parallel(n_jobs=workers, batch_size=chunk)
    with (
        contextlib.ExitStack() as stack,
        SPAWN.Pool(workers) as pool,
        concurrent.futures.ProcessPoolExecutor(workers, mp_context=SPAWN) as executor,
        loky.ProcessPoolExecutor(workers) as loky_executor,
    ):
        with_ray = of_peer(lambda: of_ray(stack.enter_context(programs.ray_node(workers)), chunk, count))
        each = {
            "multiprocessing.Pool.map": lambda: pool.map(work.nothing, range(count), chunk),
            "concurrent.futures": lambda: list(executor.map(work.nothing, range(count), chunksize=chunk)),
            "loky": lambda: list(loky_executor.map(work.nothing, range(count), chunksize=chunk)),
            "joblib": lambda: parallel(joblib.delayed(work.nothing)(n) for n in range(count)),
            "Ray": lambda: with_ray()(),
        }
        rows = interleaved({name: (lambda call=call: seconds_of(call) / count) for name, call in each.items()})
    save("tasks", f"{counted(workers, 'workers')}, chunks of {chunk}", rows, workers=workers, chunk=chunk, tasks=count)


def of_ray(ray, chunk, count):
    """Ray has no chunks, so a chunk is one task that returns a list."""
    if chunk == 1:
        remote = ray.remote(nothing)
        return lambda: ray.get([remote.remote(n) for n in range(count)])
    remote = ray.remote(nothings)
    return lambda: ray.get([remote.remote(chunk) for _ in range(count // chunk)])


def nothing(_):
    return None


def nothings(count):
    return [None] * count
