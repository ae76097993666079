"""A temporary store, and the command that publishes into it."""

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

LAYOUTS = ("view", "offset")


class Store:
    def __init__(self, folder):
        self.folder, self.store = folder, folder / "store"
        self.command = os.environ["COFRAME_BIN"]

    def another(self, name):
        """Another store in the same folder."""
        (self.folder / name).mkdir()
        return Store(self.folder / name)

    def publish(self, source, name, layout):
        """Publishes `source` and returns the frame's path. A failure is a `ValueError` with the command's message."""
        options = ["--name", name, "--layout", layout, "--store", str(self.store)]
        done = subprocess.run([self.command, "publish", str(source), *options], capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())
        return self.store / f"{name}.arrow"


@contextmanager
def temporary_store():
    with tempfile.TemporaryDirectory(prefix="coframe-test-", dir="/dev/shm") as folder:
        yield Store(Path(folder))
