"""Dask and Ray on the machines of :mod:`nodes`. The first machine has the program and no workers, the others two each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

Environment = dict[str, str]


@contextmanager
def dask(environments: list[Environment], directory: Path) -> Iterator[Environment]:
    """A scheduler and workers; yields the environment of a program that uses them."""
    file = directory / "scheduler.json"
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    started = [_start(["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", *options], environments[0])]
    worker = ["distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1", "--host", "127.0.0.1", *options]
    try:
        for number, environment in enumerate(environments[1:]):
            started.append(_start([*worker, "--local-directory", str(directory / f"worker-{number}")], environment))
        address = _address(file)
        _wait_for_workers(address, 2 * (len(environments) - 1))
        yield {**environments[0], "DASK_SCHEDULER_ADDRESS": address}
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            process.wait(timeout=60)


def _start(module: list[str], environment: Environment) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-m", *module], env=environment, stdout=quiet, stderr=quiet)


def _address(file: Path) -> str:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            return str(json.loads(file.read_text())["address"])
        except (FileNotFoundError, json.JSONDecodeError):
            time.sleep(0.05)
    raise AssertionError("the scheduler does not start")


def _wait_for_workers(address: str, number: int) -> None:
    from distributed import Client

    with Client(address) as client:
        client.wait_for_workers(number, timeout=120)


#: A separate process, because Ray changes the one that starts it. It ends with its standard input.
_RAY = """
import json, sys
from ray.cluster_utils import Cluster

LOOPBACK = "127.0.0.1"
environments = json.loads(sys.stdin.readline())
cluster = Cluster()
try:
    cluster.add_node(num_cpus=0, include_dashboard=False, node_ip_address=LOOPBACK, env_vars=environments[0])
    for environment in environments[1:]:
        cluster.add_node(num_cpus=2, node_ip_address=LOOPBACK, env_vars=environment)
    cluster.wait_for_nodes()
    print("address", cluster.address, flush=True)
    sys.stdin.read()
finally:
    cluster.shutdown()
"""


@contextmanager
def ray(environments: list[Environment], directory: Path) -> Iterator[Environment]:
    """Nodes of Ray; yields the environment of a program that uses them."""
    # Ray's sockets are in this directory, and their names have at most 107 bytes. The last variable keeps Ray on loopback:
    # without it, programs replace 127.0.0.1 by an address that other machines can reach.
    settings = {"RAY_TMPDIR": str(directory), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    own = {**os.environ, **settings}
    pipe = subprocess.PIPE
    cluster = subprocess.Popen([sys.executable, "-c", _RAY], stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=own)
    assert cluster.stdin is not None and cluster.stdout is not None
    cluster.stdin.write(json.dumps(environments) + "\n")
    cluster.stdin.flush()
    try:
        # Ray prints before and after.
        address = next((line.split()[1] for line in cluster.stdout if line.startswith("address ")), None)
        assert address is not None, "Ray does not start"
        yield {**environments[0], **settings, "RAY_ADDRESS": address}
    finally:
        cluster.communicate(timeout=120)
