"""Workers that start fast: forked from a server that has imported what they need, and nothing of the test.

A spawned worker imports pandas, pyarrow and Polars again, which takes most of the time of a test. Tests of what a spawned
worker is given name "spawn".
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from typing import Any

_PRELOADED = ["pandas", "polars", "pytest", "sharing_tasks", "tasks"]


#: The context of these workers.
FRESH: ForkServerContext = multiprocessing.get_context("forkserver")


def start_server() -> None:
    """Starts the server, in the process that runs the tests."""
    FRESH.set_forkserver_preload(_PRELOADED)
    # The server keeps the environment that it starts with. A worker that asks for the default store gets an error.
    before = {name: os.environ.get(name) for name in ("COFRAME_STORE", "PYTHONPATH")}
    os.environ["COFRAME_STORE"] = "/dev/shm/coframe-test-of-no-worker/store"
    os.environ["PYTHONPATH"] = os.pathsep.join([os.path.dirname(__file__), *filter(None, sys.path)])
    try:
        forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def started(target: Callable[..., object], *args: Any) -> Any:
    """A worker that runs a function."""
    process = FRESH.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def ended(*processes: Any) -> None:
    """Waits until the workers have ended without an error."""
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
