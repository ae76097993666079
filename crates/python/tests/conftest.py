"""Every test has a separate store, and leaves nothing in /dev/shm."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import coframe
import pytest
import workers

#: Modules of many tests that start no other process. A reaper for the store of each would be a thousand processes.
NO_REAPER = {"test_pandas_against_pickle", "test_sharing_changes", "test_tables", "test_zero_copy", "test_nested", "test_dictionaries", "test_random_tables"}


def pytest_sessionstart(session: pytest.Session) -> None:
    # The process that distributes tests to others runs none.
    is_distributor = getattr(session.config.option, "dist", "no") != "no" and not hasattr(session.config, "workerinput")
    if not is_distributor:
        workers.start_server()


@pytest.fixture(autouse=True, scope="session")
def _few_objects_to_collect() -> None:
    """Every test collects garbage, and the modules are hundreds of thousands of objects that are none."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[coframe.Store]:
    directory = tempfile.mkdtemp(prefix="coframe-test-", dir="/dev/shm")
    path = os.path.join(directory, "store")
    monkeypatch.setenv("COFRAME_STORE", path)
    if request.module.__name__ in NO_REAPER:
        monkeypatch.setenv("COFRAME_REAPER", "0")
    yield coframe.Store()
    gc.collect()
    shutil.rmtree(directory)


@pytest.fixture(params=["multiprocessing", "coframe"])
def made(request: pytest.FixtureRequest) -> Any:
    """The library whose objects a test uses, so that the same program runs with both."""
    return workers.FRESH if request.param == "multiprocessing" else coframe
