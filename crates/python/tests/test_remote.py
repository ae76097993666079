"""Frames of other machines, by the program coframe-flight."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import coframe
import numpy as np
import pytest

#: ci/check.sh builds the program and sets the variable.
has_program = "COFRAME_FLIGHT" in os.environ or shutil.which("coframe-flight")
needs_program = pytest.mark.skipif(not has_program, reason="coframe-flight is not installed")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[coframe.Store]:
    path = Path("/dev/shm") / f"coframe-test-{os.getpid()}-{tmp_path.name}"
    yield coframe.Store(path)
    shutil.rmtree(path)


@needs_program
def test_frames_are_served_listed_pulled_pushed_and_waited_for(store: coframe.Store, there: coframe.Store) -> None:
    frame = there.publish({"x": np.arange(1000)}, "flights", metadata={"source": "a test"})
    with coframe.serve(there, write=True) as server:
        remote = coframe.connect(server.url)
        (found,) = remote.list()
        assert (found.name, found.version, found.num_rows, found.metadata) == ("flights", 1, 1000, {"source": "a test"})
        assert found.created is not None and found.size_bytes == os.path.getsize(Path(there.path) / "flights@1.arrow")
        copy = remote.open("flights")
        assert np.array_equal(copy["x"].to_numpy(), np.arange(1000)) and copy.shape == frame.shape
        assert [info.name for info in store.list()] == ["flights"]
        assert len(remote.pull("flights", version=1, into="copy")) == 1000
        ranged = coframe.connect(server.url, ranges=4)
        assert len(pickle.loads(pickle.dumps(ranged)).pull("flights", into="ranged")) == 1000
        for ranges in (0, 65, -1):
            with pytest.raises(coframe.InvalidError, match="expected 1 to 64"):
                coframe.connect(server.url, ranges=ranges)
            with pytest.raises(coframe.InvalidError, match="expected 1 to 64"):
                coframe.allow_origin(server.url, ranges=ranges)
        with pytest.raises(coframe.ArgumentTypeError, match="expected 1 to 64"):
            coframe.connect(server.url, ranges="4")  # type: ignore[arg-type]
        assert pickle.loads(pickle.dumps(remote)).open("flights").shape == (1000, 1)
        store.publish({"y": np.arange(3)}, "delays")
        version = remote.push("delays", into="late")
        assert len(there.open("late")) == 3
        assert there.open("late").version == remote.wait("late") == version
        assert remote.wait("late", newer_than=version, timeout=0.05) is None
        with pytest.raises(coframe.NotFoundError, match="missing"):
            remote.open("missing")
        with pytest.raises(coframe.RemoteError, match="not a frame name"):
            remote.open("../x")
        with pytest.raises(coframe.ArgumentTypeError):
            pickle.dumps(server)
    with pytest.raises(coframe.RemoteError, match="cannot connect"):
        remote.list()


@needs_program
def test_an_address_of_other_machines_needs_tls_and_tokens(there: coframe.Store) -> None:
    with pytest.raises(coframe.RemoteError, match="TLS and tokens"):
        coframe.serve(there, address="0.0.0.0:0")


@needs_program
def test_tokens_are_read_again(there: coframe.Store, tmp_path: Path) -> None:
    def file(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o600)
        return path

    there.publish({"x": np.arange(3)}, "x")
    tokens = file("tokens", "read the-first-token-0123\n")
    with coframe.serve(there, tokens=tokens) as server:
        with pytest.raises(coframe.RemoteError, match="token"):
            coframe.connect(server.url).list()
        second = coframe.connect(server.url, token_file=file("second", "the-second-token-012\n"))
        file("tokens", "read the-second-token-012\n")
        server.reload_tokens()
        for _ in range(500):
            try:
                assert len(second.list()) == 1
                return
            except coframe.RemoteError:
                time.sleep(0.02)
        raise AssertionError("the tokens were not read")


@needs_program
def test_a_server_ends_with_the_process_that_started_it(there: coframe.Store) -> None:
    program = "import coframe, os, sys; s = coframe.serve(sys.argv[1]); print(s.url, s._process.pid, flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run([sys.executable, "-c", program, there.path], capture_output=True, text=True, check=False)
    pid = int(done.stdout.split()[1])
    for _ in range(1000):
        if not os.path.exists(f"/proc/{pid}") or " Z " in Path(f"/proc/{pid}/stat").read_text():
            return
        time.sleep(0.02)
    raise AssertionError("the server goes on")


def test_without_the_program_the_error_names_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COFRAME_FLIGHT", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(coframe.MissingPackageError, match="cargo install --path crates/flight"):
        coframe.connect("http://127.0.0.1:1").list()
