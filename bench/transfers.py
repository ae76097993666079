"""Section 7: a table gets to another machine, which is another store or process of this one.

Whole tables end in shared memory, where all processes of the other machine can map them. Rows end in one client's memory.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import socket
import subprocess
import tempfile
import time

import coframe
import data
import programs
import pyarrow as pa
from measure import interleaved, of_peer, save

SPAWN = multiprocessing.get_context("spawn")


def run(kind, megabytes):
    df = data.table(kind, megabytes)
    folder = os.environ["BENCH_SCRATCH"]
    path = os.path.join(folder, "table.arrow")
    df.write_ipc(path, compression="uncompressed")
    frame = coframe.publish(df, "table")
    coframe.publish(df, "batches", batch_rows=8192)
    arrow = df.to_arrow()
    del df
    with contextlib.ExitStack() as stack:
        flight = of_peer(lambda: stack.enter_context(programs.flight_server(os.environ["COFRAME_STORE"])))
        theirs = of_peer(lambda: pyarrow_client(stack, path))
        ours = of_peer(lambda: client_of(flight()[1]))
        about = {"kind": kind, "bytes": frame.nbytes, "height": arrow.num_rows}
        # Ray's processes are a load, so the rows without them come first.
        calls = {
            "coframe's server, DoGet": lambda: read(ours(), b'{"name": "table"}', arrow),
            "coframe's server, DoGet, 8192 rows a batch": lambda: read(ours(), b'{"name": "batches"}', arrow),
            "pyarrow's server, DoGet": lambda: read(theirs(), b"table", arrow),
        }
        save("transfers", f"rows to a client, {kind}, {megabytes} MB", interleaved(calls), what="rows", **about)
        tcp = of_peer(lambda: plain_tcp(stack, path))
        scp = of_peer(lambda: of_scp(stack, folder, path))
        ray = of_peer(lambda: of_ray(stack, arrow))
        calls = {
            "coframe pull": lambda: pull(*flight(), frame.nbytes),
            "plain TCP, sendfile to a file": lambda: tcp()(),
            "scp": lambda: scp()(),
            "pyarrow's server, DoGet to a file": lambda: read_to_file(theirs(), folder, arrow),
            "Ray, to another node": lambda: ray()(),
        }
        save("transfers", f"whole tables, {kind}, {megabytes} MB", interleaved(calls), what="whole", **about)


def client_of(url):
    import pyarrow.flight

    return pyarrow.flight.connect(url.replace("http://", "grpc://"))


def read(client, ticket, expected):
    import pyarrow.flight

    table = client.do_get(pyarrow.flight.Ticket(ticket)).read_all()
    assert table.num_rows == expected.num_rows


def read_to_file(client, folder, expected):
    import pyarrow.flight

    path = os.path.join(folder, "received.arrow")
    start = time.perf_counter()
    reader = client.do_get(pyarrow.flight.Ticket(b"table"))
    rows = 0
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, reader.schema) as writer:
        for chunk in reader:
            writer.write_batch(chunk.data)
            rows += chunk.data.num_rows
    seconds = time.perf_counter() - start
    assert rows == expected.num_rows
    os.unlink(path)
    return seconds


def pull(binary, url, size):
    """A pull into an empty store, with the start of its process."""
    with tempfile.TemporaryDirectory(dir=os.environ["BENCH_SCRATCH"]) as folder:
        command = [binary, "--json", "--store", os.path.join(folder, "store"), "pull", url, "table"]
        start = time.perf_counter()
        done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        seconds = time.perf_counter() - start
        assert json.loads(done.stdout)["bytes"] == size
    return seconds


def of_scp(stack, folder, path):
    options, host = stack.enter_context(programs.ssh_server(folder))
    target = os.path.join(folder, "copied.arrow")

    def copy():
        start = time.perf_counter()
        subprocess.run(["scp", *options, f"{host}:{path}", target], check=True, stdin=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        assert os.path.getsize(target) == os.path.getsize(path)
        os.unlink(target)
        return seconds

    return copy


def plain_tcp(stack, path):
    """What any transfer has to do: the kernel sends a file, and the receiver writes what arrives to another one."""
    port = started(stack, send_files, path)

    def receive():
        target = path + ".received"
        text = memoryview(bytearray(1 << 20))
        start = time.perf_counter()
        with socket.create_connection(("127.0.0.1", port)) as connection, open(target, "wb", buffering=0) as file:
            while count := connection.recv_into(text):
                file.write(text[:count])
        seconds = time.perf_counter() - start
        assert os.path.getsize(target) == os.path.getsize(path)
        os.unlink(target)
        return seconds

    return receive


def started(stack, function, path):
    """The port of a server in a process that ends with the part."""
    mine, its = SPAWN.Pipe()
    process = SPAWN.Process(target=function, args=(path, its), daemon=True)
    process.start()
    stack.callback(process.join)
    stack.callback(process.terminate)
    if not mine.poll(60):
        raise RuntimeError(f"{function.__name__} did not answer within 60 s")
    return mine.recv()


def send_files(path, answer):
    with socket.create_server(("127.0.0.1", 0)) as server:
        answer.send(server.getsockname()[1])
        while True:
            connection, _ = server.accept()
            with connection, open(path, "rb") as file:
                connection.sendfile(file)


def pyarrow_client(stack, path):
    return client_of(f"grpc://127.0.0.1:{started(stack, serve_flight, path)}")


def serve_flight(path, answer):
    import pyarrow.flight

    table = pa.ipc.open_file(pa.memory_map(path)).read_all()

    class Server(pyarrow.flight.FlightServerBase):
        def do_get(self, context, ticket):
            return pyarrow.flight.RecordBatchStream(table)

    server = Server("grpc://127.0.0.1:0")
    answer.send(server.port)
    server.serve()


def of_ray(stack, arrow):
    """A task on another node gets a table that is in the store of this one. The put is not a part of the time."""
    import ray
    from ray.cluster_utils import Cluster

    memory = max(10**9, 3 * arrow.nbytes)
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": memory}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    stack.callback(cluster.shutdown)
    cluster.add_node(num_cpus=1, resources={"there": 1}, object_store_memory=memory)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    stack.callback(ray.shutdown)

    @ray.remote(resources={"there": 1})
    def get(references):
        start = time.perf_counter()
        table = ray.get(references[0])
        return time.perf_counter() - start, table.num_rows

    def transfer():
        # A node keeps what it got, so each transfer is of a new object. In a list it is not fetched before the task runs.
        seconds, rows = ray.get(get.remote([ray.put(arrow)]))
        assert rows == arrow.num_rows
        return seconds

    return transfer
