"""Machines of a cluster, all on this one: each has a store and a server, and processes whose environment names them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import pytest

PROGRAM = os.environ.get("COFRAME_FLIGHT") or shutil.which("coframe-flight")
#: ci/check.sh builds the program and sets the variable.
needs_program = pytest.mark.skipif(PROGRAM is None, reason="coframe-flight is not installed")


class Node:
    """A store in /dev/shm and its server, which counts the pulls."""

    def __init__(self) -> None:
        assert PROGRAM is not None
        self.directory = tempfile.mkdtemp(prefix="coframe-test-", dir="/dev/shm")
        self.store = os.path.join(self.directory, "store")
        options = ["serve", "--address=127.0.0.1:0", "--metrics=127.0.0.1:0", "--until-input-ends"]
        pipe = subprocess.PIPE
        command = [PROGRAM, "--json", "--store", self.store, *options]
        self._server = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        assert self._server.stdout is not None
        found = json.loads(self._server.stdout.readline())
        self.url: str = found["url"]
        self._metrics: str = found["metrics"]

    def count(self, name: str) -> int:
        """A counter of the server: ``pulls``, ``bytes``, ..."""
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=10) as answer:
            found = re.search(rf"^coframe_flight_{name}_total (\d+)$", answer.read().decode(), re.MULTILINE)
        assert found is not None, name
        return int(found[1])

    def environment(self, allowed: list[Node]) -> dict[str, str]:
        """Of the processes of this machine, which pull from others."""
        urls = ",".join(node.url for node in allowed)
        return {**os.environ, "COFRAME_STORE": self.store, "COFRAME_ORIGIN": self.url, "COFRAME_ALLOWED_ORIGINS": urls}

    def bytes(self) -> int:
        """Of all files of the store."""
        return sum(path.stat().st_blocks * 512 for path in Path(self.store).rglob("*") if path.is_file() and not path.is_symlink())

    def __enter__(self) -> Node:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.communicate()
        shutil.rmtree(self.directory)


@contextmanager
def nodes(number: int) -> Iterator[list[Node]]:
    """So many machines."""
    with ExitStack() as stack:
        yield [stack.enter_context(Node()) for _ in range(number)]
