"""Runs sections of the benchmark: `bench.py [--quick] [SECTION[:PART]]..`. See run.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

QUICK = {
    "handover": [("floats", 10, 2, "few")],
    "publish": [("mixed", 100), ("floats", 100, "huge")],
    "open": [("rows", 1_000_000), ("columns", 1000)],
    "scan": [(100,)],
    "tasks": [(2, 1, 1000), (2, 100, 10_000)],
    "cells": [(1, 0.1), (2, 0.2)],
}
FULL = {
    "handover": [
        ("floats", 100, 2),
        ("mixed", 100, 2),
        *(("floats", 100, workers, "few") for workers in (1, 4, 8)),
        ("floats", 1, 2),
        ("floats", 1000, 2, "few"),
        *((kind, 100, 2, "few") for kind in ("categorical", "nested")),
    ],
    "publish": [
        *(("floats", size) for size in (1, 100, 1000)),
        *((kind, 100) for kind in ("mixed", "categorical", "nested")),
        *((kind, size, "huge") for kind, size in (("floats", 100), ("floats", 1000), ("mixed", 100))),
    ],
    "open": [
        *(("rows", 10**power) for power in (3, 4, 5, 6, 7)), ("rows", 30_000_000),
        *(("columns", 10**power) for power in (0, 1, 2, 3, 4)),
    ],
    "scan": [(10,), (100,), (1000,)],
    "tasks": [(1, 1, 2000), (2, 1, 2000), (1, 100, 20_000), (2, 100, 20_000)],
    "cells": [(1, 0.3), (2, 0.5)],
}


def run(section, part):
    if section == "handover":
        import handover as module
    elif section == "publish":
        import publish as module
    elif section == "open":
        import opening as module
    elif section == "scan":
        import scanning as module
    elif section == "tasks":
        import tasks as module
    else:
        import cells as module
    if part[-1] == "huge":
        part = (*part[:-1], os.environ["BENCH_HUGE"])
    module.run(*part)


def in_process(section, part):
    """A part in a separate process and scratch folder, so that none of it is left for the next."""
    scratch = tempfile.mkdtemp(prefix="coframe-bench-", dir="/dev/shm")
    environment = dict(os.environ, BENCH_SCRATCH=scratch, COFRAME_STORE=os.path.join(scratch, "store"), TMPDIR=scratch)
    # Threads of Polars and Arrow in each worker would measure the scheduler.
    environment |= {"RAY_DEDUP_LOGS": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    # Ray's sockets have long paths, and do not fit below the scratch folder.
    environment["RAY_TMPDIR"] = "/tmp"
    words = [section, *map(str, part)]
    command = [sys.executable, "-u", os.path.abspath(__file__), "--part", *words]
    if part[-1] == "huge":
        folder = os.path.join(scratch, "huge")
        os.mkdir(folder)
        environment["BENCH_HUGE"] = folder
        mount = 'mount -t tmpfs -o huge=within_size,size=16g coframe-bench "$BENCH_HUGE" && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", mount, "sh", *command]
    try:
        return subprocess.run(command, env=environment, cwd=os.path.dirname(os.path.abspath(__file__))).returncode
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def typed(word):
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def main(arguments):
    if arguments[:1] == ["--part"]:
        run(arguments[1], tuple(map(typed, arguments[2:])))
        return
    plan = QUICK if "--quick" in arguments else FULL
    chosen = [word for word in arguments if not word.startswith("--")] or list(plan)
    failed = []
    for word in chosen:
        section, _, numbers = word.partition(":")
        wanted = {int(number) for number in numbers.split(",")} if numbers else range(len(plan[section]))
        failed += [(section, part) for number, part in enumerate(plan[section]) if number in wanted and in_process(section, part)]
    for section, part in failed:
        print(f"failed: {section} {part}", file=sys.stderr)
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(sys.argv[1:])
