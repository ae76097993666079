"""Memory and transfers of a Ray or Dask job over two machines, which are two stores of this one.

    COFRAME_FLIGHT=.. python bench/clusters.py ray      # or dask; 64 tasks that each read a frame of 1 GB
    COFRAME_FLIGHT=.. python bench/clusters.py ray 100  # of 100 MB

The memory of a machine is the files of its store, and what its processes have gained meanwhile at the most, without the
pages of the store that they map.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import engines
from nodes import Node, nodes

TASKS = 64
JOBS = {
    "ray": """
import ray
ray.init(log_to_driver=False)
def run(function, arguments):
    remote = ray.remote(function)
    return ray.get([remote.remote(argument) for argument in arguments])
""",
    "dask": """
from distributed import Client
client = Client()
def run(function, arguments):
    return client.gather(client.map(function, arguments, pure=False))
""",
}
#: Warms the workers, says so, waits for a line, and reads the frame in every task.
JOB = """
import json, sys, time
import coframe, numpy as np

def warm(_):
    import numpy
    time.sleep(1)
    return len(coframe.Store().list())

def total(frame):
    return sum(float(frame[column].to_numpy().sum()) for column in frame.columns)

if __name__ == "__main__":
    columns, rows = 8, int(sys.argv[1]) // 8
    frame = coframe.publish({f"c{n}": np.full(rows, float(n)) for n in range(columns)}, "numbers")
    run(warm, range(16))
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    found = run(total, [frame] * TASKS)
    assert set(found) == {float(rows * sum(range(columns)))}, set(found)
    print(json.dumps({"bytes": frame.nbytes, "seconds": time.perf_counter() - start}), flush=True)
    sys.stdin.readline()
"""


class Memory:
    """What the processes of a machine have in memory that is not of its store."""

    def __init__(self, node: Node) -> None:
        self._mark = f"COFRAME_STORE={node.store}\0".encode()
        self.most = 0

    def now(self) -> int:
        return sum(map(self._of, filter(str.isdecimal, os.listdir("/proc"))))

    def _of(self, pid: str) -> int:
        try:
            if self._mark not in Path(f"/proc/{pid}/environ").read_bytes():
                return 0
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (OSError, ProcessLookupError):
            return 0
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("Pss_Anon:", "Pss_File:")))

    def watch(self, stop: threading.Event) -> None:
        while not stop.wait(0.2):
            self.most = max(self.most, self.now())


def main() -> None:
    engine, megabytes = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    start = {"ray": engines.ray, "dask": engines.dask}[engine]
    with nodes(3) as machines, tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "job.py"
        script.write_text(JOBS[engine] + JOB.replace("TASKS", str(TASKS)))
        command = [sys.executable, str(script), str(megabytes * 1_000_000 // 8)]
        with start([node.environment(machines) for node in machines], Path(directory)) as environment:
            measure(engine, machines, command, environment)


def measure(engine: str, machines: list[Node], command: list[str], environment: dict[str, str]) -> None:
    pipe = subprocess.PIPE
    job = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
    assert job.stdin is not None and job.stdout is not None
    assert job.stdout.readline() == "ready\n"
    memories = [Memory(node) for node in machines[1:]]
    bare = [memory.now() for memory in memories]
    stop = threading.Event()
    threads = [threading.Thread(target=memory.watch, args=(stop,)) for memory in memories]
    for thread in threads:
        thread.start()
    job.stdin.write("\n")
    job.stdin.flush()
    found = json.loads(job.stdout.readline())
    stop.set()
    for thread in threads:
        thread.join()
    print(f"{engine}: {TASKS} tasks on {found['bytes'] / 1e6:.0f} MB in {found['seconds']:.1f} s")
    print(f"pulls at the origin: {machines[0].count('pulls')}, {machines[0].count('bytes') / found['bytes']:.3f} frames of bytes")
    for node, memory, before in zip(machines[1:], memories, bare, strict=True):
        gained = max(memory.most - before, 0)
        frames = (node.bytes() + gained) / found["bytes"]
        print(f"a machine: store {node.bytes() / 1e6:.0f} MB, processes {gained / 1e6:.0f} MB more: {frames:.2f} frames")
    job.communicate("\n")


if __name__ == "__main__":
    main()
