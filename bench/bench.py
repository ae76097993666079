"""Runs sections of the benchmark: `bench.py [--quick] [SECTION[:PART]]..`. See run.sh."""

from __future__ import annotations

import importlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from plan import FULL, QUICK
from processes import descendants

#: The module of a section, where it has another name.
MODULES = {"open": "opening", "scan": "scanning"}
#: Seconds after which a part is ended. The slowest one takes about 400.
LIMIT = float(os.environ.get("BENCH_LIMIT", "900"))


def run(section, part):
    module = importlib.import_module(MODULES.get(section, section))
    if part[-1] == "huge":
        part = (*part[:-1], os.environ["BENCH_HUGE"])
    module.run(*part)


def in_process(section, part):
    """A part in a separate process and scratch folder, so that none of it is left for the next. Returns whether it failed."""
    scratch = tempfile.mkdtemp(prefix="coframe-bench-", dir="/dev/shm")
    environment = dict(os.environ, BENCH_SCRATCH=scratch, COFRAME_STORE=os.path.join(scratch, "store"), TMPDIR=scratch)
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
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, cwd=os.path.dirname(os.path.abspath(__file__)))
    try:
        failed = process.wait(LIMIT) != 0
    except subprocess.TimeoutExpired:
        print(f"{section} {part} took over {LIMIT:.0f} s and was ended", file=sys.stderr)
        failed = True
    finally:
        end(process)
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{section} {part}: {time.monotonic() - start:.0f} s", flush=True)
    return failed


def end(process):
    """Ends what is left of a part: if it was stopped, its workers and servers too."""
    if process.poll() is None:
        for one in descendants(process.pid):
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


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
