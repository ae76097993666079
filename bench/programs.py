"""Servers that peers need, each a process that ends with its part."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import shutil
import socket
import subprocess
import time


class Missing(Exception):
    """What a row needs and this machine does not have. Its text is the reason on the page."""


def program(variable, name, more=""):
    """The path of a program: of the variable, or from PATH."""
    found = os.environ.get(variable) or shutil.which(name)
    if not found or not os.path.exists(found):
        raise Missing(f"{name} is not installed{more}")
    return found


@contextlib.contextmanager
def running(command, **options):
    """A process that is terminated at the end."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def until(condition, process, what, seconds=30):
    """Waits until a server answers."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            raise RuntimeError(f"{what} ended with status {process.returncode} before it answered")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} did not answer within {seconds} s")
        time.sleep(0.05)


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextlib.contextmanager
def ray_node(workers, memory=4 * 10**9):
    """Ray with a store of `memory` bytes, which ends with its block."""
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, logging_level="ERROR", log_to_driver=False, object_store_memory=memory)
    try:
        yield ray
    finally:
        ray.shutdown()


def ray_get(arrow, stack):
    """A function that gets a table from a new store."""
    ray = stack.enter_context(ray_node(1))
    reference = ray.put(arrow)
    return lambda: ray.get(reference)


@contextlib.contextmanager
def vineyard_client(folder, nbytes):
    """A client of a new server with room for `nbytes` and as much again."""
    with vineyard_server(folder, 1 + 2 * nbytes // 10**9) as path:
        import vineyard

        with contextlib.closing(vineyard.connect(path)) as client:
            yield client


@contextlib.contextmanager
def vineyard_server(folder, gigabytes):
    """The path of the socket of a `vineyardd`, which the package brings."""
    try:
        import vineyard
    except ImportError as error:
        raise Missing(f"vineyard cannot be imported: {error}") from error
    binary = os.path.join(os.path.dirname(vineyard.__file__), "bdist", "vineyardd")
    if not os.path.exists(binary):
        raise Missing("the package vineyard has no vineyardd for this machine")
    path = os.path.join(folder, "vineyard.sock")
    command = [binary, f"--socket={path}", "--rpc=false", "--meta=local", f"--size={gigabytes}G"]
    with running(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: os.path.exists(path), process, "vineyardd")
        yield path


@contextlib.contextmanager
def flight_server(store):
    """The program and the URL of a `coframe-flight serve` of a store."""
    binary = program("COFRAME_FLIGHT", "coframe-flight")
    command = [binary, "--json", "--store", store, "serve", "--address=127.0.0.1:0"]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("coframe-flight serve ended before it listened")
        yield binary, json.loads(line)["url"]


@contextlib.contextmanager
def ssh_server(folder):
    """Options of `scp` and the name of a host for an `sshd` with throw-away keys, on 127.0.0.1."""
    server = shutil.which("sshd") or shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if not server or not shutil.which("scp"):
        raise Missing("sshd and scp are not installed (Debian: openssh-server)")
    folder = os.path.join(folder, "ssh")
    os.mkdir(folder, 0o700)
    for name in ("host", "user"):
        path = os.path.join(folder, name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True, stdin=subprocess.DEVNULL)
    port = free_port()
    lines = [
        "ListenAddress 127.0.0.1", f"Port {port}", f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/user.pub",
        "PidFile none", "StrictModes no", "UsePAM no", "PasswordAuthentication no", "PermitRootLogin prohibit-password",
        "Subsystem sftp internal-sftp",
    ]
    config = os.path.join(folder, "config")
    with open(config, "w") as file:
        file.write("\n".join(lines) + "\n")
    if os.getuid() == 0:
        # Debian's service makes this directory before it starts sshd as root.
        os.makedirs("/run/sshd", 0o755, exist_ok=True)
    with running([server, "-D", "-f", config, "-E", os.path.join(folder, "log")]) as process:
        until(lambda: answers(port), process, "sshd")
        options = ["-q", "-P", str(port), "-i", f"{folder}/user", "-o", "StrictHostKeyChecking=no", "-o", "BatchMode=yes"]
        yield [*options, "-o", "UserKnownHostsFile=/dev/null", "-F", "none"], f"{getpass.getuser()}@127.0.0.1"


class Cluster:
    """`coframe-cluster`: a scheduler, and two executors that each have a store and one core."""

    def __init__(self, folder, stack):
        self.program = program("COFRAME_CLUSTER", "coframe-cluster", "; cargo build --release in crates/ballista builds it")
        self.stores = [os.path.join(folder, name) for name in ("store-a", "store-b")]
        port = free_port()
        self.scheduler, self.nodes = f"127.0.0.1:{port}", []
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        scheduler = stack.enter_context(running([self.program, "scheduler", "--port", str(port)], **quiet))
        until(lambda: answers(port), scheduler, "coframe-cluster scheduler")
        for node, store in zip("ab", self.stores, strict=True):
            first = three_ports()
            self.nodes.append(f"127.0.0.1:{first}")
            command = [
                self.program, "executor", "--node", node, "--port", str(first), "--scheduler", self.scheduler,
                "--store", store, "--vcores", "1", "--work-dir", os.path.join(folder, f"shuffle-{node}"),
            ]
            os.mkdir(command[-1])
            executor = stack.enter_context(running(command, **quiet))
            until(lambda first=first: answers(first) and answers(first + 1), executor, f"executor {node}")

    def query(self, statement, *settings):
        """The seconds of a statement without the start of its client, and its rows."""
        command = [self.program, "sql", "--timing", "--scheduler", self.scheduler, "--nodes", ",".join(self.nodes)]
        done = subprocess.run([*command, "--partitions", "2", *settings, statement], capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "coframe-cluster sql failed")
        line = next(line for line in done.stderr.splitlines() if line.startswith("coframe-cluster: "))
        rows = [line.strip("|").split("|") for line in done.stdout.splitlines() if line.startswith("|")]
        return float(line.split()[1]) / 1e3, [tuple(cell.strip() for cell in row) for row in rows[1:]]


def three_ports():
    """The first of three free ports in a row."""
    while True:
        first = free_port()
        with contextlib.suppress(OSError, OverflowError), socket.socket() as second, socket.socket() as third:
            second.bind(("127.0.0.1", first + 1))
            third.bind(("127.0.0.1", first + 2))
            return first
