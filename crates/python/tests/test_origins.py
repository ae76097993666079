"""Frames that carry the URL of their origin, between stores that stand for machines."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import coframe
import numpy as np
import pytest
from coframe import _origins
from nodes import Node, needs_program, nodes


@pytest.fixture(autouse=True)
def _settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("COFRAME_ORIGIN", "COFRAME_ALLOWED_ORIGINS", "COFRAME_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_origins, "_settings", None)


@pytest.fixture
def origin() -> Iterator[Node]:
    """The machine that has a frame."""
    with nodes(1) as (node,):
        yield node


def sent(frame: coframe.Frame, node: Node) -> bytes:
    """A frame as it is pickled on a machine."""
    coframe.set_origin(node.url, store=node.store)
    data = pickle.dumps(frame)
    coframe.set_origin(None, store=node.store)
    return data


def mirrors(store: coframe.Store) -> list[str]:
    return [info.name for info in store.list() if info.name.startswith("_from.")]


@needs_program
def test_a_frame_is_pulled_at_its_first_use_and_once(store: coframe.Store, origin: Node) -> None:
    frame = coframe.publish({"x": np.arange(1000), "y": np.zeros(1000)}, "numbers", store=origin.store)
    data = sent(frame, origin)
    assert len(data) < 1000
    coframe.allow_origin(origin.url)
    copy = pickle.loads(data)
    assert origin.count("pulls") == 0 and not store.list()
    assert copy.shape == (1000, 2) and np.array_equal(copy["x"].to_numpy(), np.arange(1000))
    assert pickle.loads(data)[10:20]["x"].to_numpy().tolist() == list(range(10, 20))
    assert origin.count("pulls") == 1
    # A local frame of the same name would stay as it is.
    assert "numbers" not in store and len(mirrors(store)) == 1


PULL = """
import coframe, pickle, sys
print(int(pickle.loads(bytes.fromhex(sys.argv[1]))["x"].to_numpy().sum()))
"""


@needs_program
def test_of_many_processes_of_a_machine_one_pulls(origin: Node) -> None:
    frame = coframe.publish({"x": np.arange(100_000)}, "numbers", store=origin.store)
    data = sent(frame, origin).hex()
    with nodes(1) as (local,):
        command = [sys.executable, "-c", PULL, data]
        environment = local.environment([origin])
        started = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(8)]
        assert {process.communicate(timeout=120)[0] for process in started} == {f"{sum(range(100_000))}\n"}
    assert origin.count("pulls") == 1


RELAY = """
import coframe, pickle, sys
frame = pickle.loads(bytes.fromhex(sys.argv[1]))
print(pickle.dumps([frame, frame[["x"]][10:20], *frame.split(2)]).hex())
"""


@needs_program
def test_what_a_machine_passes_on_comes_from_the_origin(store: coframe.Store, origin: Node) -> None:
    frame = coframe.publish({"x": np.arange(100), "y": np.zeros(100)}, "numbers", store=origin.store)
    with nodes(1) as (between,):
        environment = {**between.environment([origin]), "COFRAME_ORIGIN": ""}
        command = [sys.executable, "-c", RELAY, sent(frame, origin).hex()]
        text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    coframe.allow_origin(origin.url)
    whole, part, first, second = pickle.loads(bytes.fromhex(text))
    assert whole.shape == (100, 2) and part["x"].to_numpy().tolist() == list(range(10, 20))
    assert (len(first), len(second)) == (50, 50) and second["x"].to_numpy()[0] == 50
    assert origin.count("pulls") == 2
    assert coframe.Frame(part.handle) == part and part.handle.startswith(f"{origin.url}#coframe:")


def test_a_url_that_is_not_allowed_is_never_asked(store: coframe.Store) -> None:
    frame = store.publish({"x": np.arange(3)}, "numbers")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        text = f"{url}#{frame.handle}".replace(store.path, "/dev/shm/coframe-test-of-another-machine")
        store.remove("numbers")
        loaded = coframe.Frame(text)
        with pytest.raises(coframe.UntrustedError, match=f"its origin {url} is not allowed: call coframe.allow_origin"):
            len(loaded)
        with pytest.raises(TimeoutError):
            server.accept()


def test_without_an_origin_a_pickle_is_the_handle(store: coframe.Store) -> None:
    frame = store.publish({"x": np.arange(3)}, "numbers")
    assert b"http" not in pickle.dumps(frame)
    coframe.set_origin("http://127.0.0.1:1/")
    assert b"http://127.0.0.1:1#coframe:" in pickle.dumps(frame)
    # The URL is that of this machine, so the copy opens from the same store, and is equal.
    copy = pickle.loads(pickle.dumps(frame))
    assert copy == frame and copy.handle == frame.handle and len(copy) == 3
    # What a process shares is not served.
    assert b"http" not in pickle.dumps(coframe.share({"x": np.arange(3)}))


def test_a_worker_that_allows_nothing_uses_the_store_of_its_machine(store: coframe.Store, tmp_path: Path) -> None:
    frame = store.publish({"x": np.arange(3)}, "numbers")
    text = f"http://127.0.0.1:1#{frame.handle}"
    assert coframe.Frame(text)["x"].to_numpy().tolist() == [0, 1, 2]
    other = coframe.Store(os.path.join(os.path.dirname(store.path), "other"))
    assert len(coframe.Frame(f"http://127.0.0.1:1#{other.publish({'y': np.arange(4)}, 'other').handle}")) == 4


@needs_program
def test_results_come_back_as_frames(store: coframe.Store, origin: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    program = "import coframe, numpy, pickle; print(pickle.dumps(coframe.publish({'x': numpy.arange(7)}, 'result')).hex())"
    command = [sys.executable, "-c", program]
    text = subprocess.run(command, env=origin.environment([]), capture_output=True, text=True, check=True).stdout
    monkeypatch.setenv("COFRAME_ALLOWED_ORIGINS", f"http://127.0.0.1:1, {origin.url}/")
    assert pickle.loads(bytes.fromhex(text))["x"].to_numpy().tolist() == list(range(7))


@needs_program
def test_prefetch_pulls_what_is_missing(store: coframe.Store, origin: Node) -> None:
    frames = [coframe.publish({"x": np.arange(10)}, f"f{n}", store=origin.store) for n in range(3)]
    loaded = [pickle.loads(sent(frame, origin)) for frame in frames]
    coframe.allow_origin(origin.url)
    coframe.prefetch(loaded)
    coframe.prefetch(loaded[0])
    assert origin.count("pulls") == 3 and len(mirrors(store)) == 3
    with pytest.raises(coframe.ArgumentTypeError, match="expected a frame"):
        coframe.prefetch(["numbers"])  # type: ignore[list-item]


@needs_program
def test_a_newer_version_replaces_a_mirror_that_is_not_used(store: coframe.Store, origin: Node) -> None:
    coframe.allow_origin(origin.url)
    for rows in (1, 2, 3):
        frame = coframe.publish({"x": np.arange(rows)}, "numbers", store=origin.store)
        assert len(pickle.loads(sent(frame, origin))) == rows
    (name,) = mirrors(store)
    assert len(store.versions(name)) == 1


@needs_program
def test_a_frame_that_is_gone_at_its_origin_is_an_error_that_names_it(store: coframe.Store, origin: Node) -> None:
    data = sent(coframe.publish({"x": np.arange(3)}, "numbers", store=origin.store), origin)
    coframe.allow_origin(origin.url)
    coframe.remove("numbers", store=origin.store)
    with pytest.raises(coframe.NotFoundError, match="numbers"):
        len(pickle.loads(data))
    coframe.publish({"x": np.arange(4)}, "numbers", store=origin.store, keep=9)
    with pytest.raises(coframe.NotFoundError):
        len(pickle.loads(data))
    assert not mirrors(store)


@needs_program
def test_another_segment_under_the_same_version_is_refused(store: coframe.Store, origin: Node) -> None:
    frame = coframe.publish({"x": np.arange(3)}, "numbers", store=origin.store)
    coframe.allow_origin(origin.url)
    other = sent(frame, origin).decode("latin-1").replace(frame.handle[-4:], "0000").encode("latin-1")
    with pytest.raises(coframe.NotFoundError, match="is another segment than"):
        len(pickle.loads(other))


@pytest.mark.parametrize("text", ["http://x", "http://x#", "http://x#coframe:relative/a@1?id=00", "http://x#coframe:/s/@1?id=00", "http://x#coframe:/s/a@1?rows=1..2", "https://x#coframe:/s/a@1?id=00&session=11"])
def test_a_text_that_is_not_a_frame_of_another_machine_is_explained(text: str) -> None:
    with pytest.raises(coframe.InvalidError, match="expected URL#coframe:"):
        len(coframe.Frame(text))


def test_a_url_of_another_kind_is_explained() -> None:
    for url in ("grpc://x:1", "10.0.0.1:8815", "http://x#y"):
        with pytest.raises(coframe.InvalidError, match="expected http://HOST:PORT"):
            coframe.allow_origin(url)
    with pytest.raises(coframe.ArgumentTypeError):
        coframe.set_origin(3)  # type: ignore[arg-type]


@needs_program
def test_dask_sees_the_same_small_frame_on_every_machine(store: coframe.Store, origin: Node) -> None:
    sizeof = pytest.importorskip("dask.sizeof").sizeof
    tokenize = pytest.importorskip("dask.base").tokenize
    frame = coframe.publish({"x": np.arange(1 << 20), "y": np.zeros(1 << 20)}, "numbers", store=origin.store)
    coframe.allow_origin(origin.url)
    copy = pickle.loads(sent(frame, origin))
    assert len(copy) == 1 << 20 and sizeof(frame) < 1000 and sizeof(copy) < 1000
    parts = [frame, frame[["x"]], frame[:5], frame[5:9]]
    assert len({tokenize(part) for part in parts}) == 4
    assert [tokenize(part) for part in (copy, copy[["x"]], copy[:5], copy[5:9])] == [tokenize(part) for part in parts]
