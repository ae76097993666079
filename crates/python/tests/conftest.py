"""Every test has a separate store, and leaves nothing in /dev/shm."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator

import coframe
import pytest


@pytest.fixture(autouse=True)
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[coframe.Store]:
    directory = tempfile.mkdtemp(prefix="coframe-test-", dir="/dev/shm")
    path = os.path.join(directory, "store")
    monkeypatch.setenv("COFRAME_STORE", path)
    yield coframe.Store()
    gc.collect()
    shutil.rmtree(directory)
