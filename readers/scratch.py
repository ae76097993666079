"""A store of our own, and the command that publishes into it."""

import os
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

LAYOUTS = ("views", "classic")


class Scratch:
    def __init__(self, folder):
        self.folder, self.store = folder, folder / "store"
        self.command = os.environ["COFRAME_BIN"]

    def beside(self, name):
        """Another store in the same folder."""
        (self.folder / name).mkdir()
        return Scratch(self.folder / name)

    def publish(self, source, name, layout):
        """The path of the frame; or what the command said, as a `ValueError`."""
        options = ["--name", name, "--layout", layout, "--store", str(self.store)]
        done = subprocess.run([self.command, "publish", str(source), *options], capture_output=True, text=True)
        if done.returncode != 0:
            raise ValueError(done.stderr.strip())
        return self.store / f"{name}.arrow"


@contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="coframe-test-", dir="/dev/shm") as folder:
        yield Scratch(Path(folder))
