"""A frame that comes with each task is mapped once, and nothing stays mapped for long."""

from __future__ import annotations

import os
import pickle
import resource
import time
from pathlib import Path

import coframe
import numpy as np
import pytest
from coframe import _maps

ROWS = 2_000_000


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Maps stay for longer than any pause of a busy machine."""
    monkeypatch.setattr(_maps, "_STAYS", 600.0)


def publish() -> bytes:
    return pickle.dumps(coframe.publish({"x": np.ones(ROWS), "y": np.ones(ROWS)}, "t"))


def faults_of_a_task(text: bytes, rows: slice = slice(None)) -> int:
    """Page faults of this process while it unpickles a frame and reads a column of it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert pickle.loads(text)[rows]["x"].to_numpy().max() == 1
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def is_mapped(store: coframe.Store, version: int = 1) -> bool:
    return f"{store.path}/t@{version}.arrow" in Path("/proc/self/maps").read_text()


def is_gone_within(seconds: float, store: coframe.Store, version: int = 1) -> bool:
    until = time.monotonic() + seconds
    while is_mapped(store, version) and time.monotonic() < until:
        time.sleep(0.02)
    return not is_mapped(store, version)


@pytest.mark.usefixtures("long")
def test_only_the_first_two_tasks_with_a_frame_cause_page_faults(store: coframe.Store) -> None:
    text = publish()
    # The kernel maps 16 pages at a fault.
    assert faults_of_a_task(text) > ROWS * 8 / 4096 / 16 / 2
    # A frame that comes once is not kept.
    assert not is_mapped(store)
    faults_of_a_task(text)
    assert is_mapped(store)
    assert faults_of_a_task(text) < 50
    # Parts of a frame are on the same map.
    part = pickle.dumps(pickle.loads(text)[:1000][["x"]])
    assert faults_of_a_task(part) < 50


def test_a_map_ends_a_second_after_its_last_use(store: coframe.Store) -> None:
    text = publish()
    for _ in range(3):
        faults_of_a_task(text)
    assert is_gone_within(10, store)


@pytest.mark.usefixtures("long")
def test_a_kept_map_keeps_no_version_and_a_removed_one_ends_with_the_next_frame(store: coframe.Store) -> None:
    text = publish()
    for _ in range(3):
        faults_of_a_task(text)
    newer = publish()
    assert store.versions("t") == [2]
    assert faults_of_a_task(newer) > 0
    assert not is_mapped(store)


@pytest.mark.usefixtures("long")
def test_a_forked_child_drops_the_maps_of_its_parent(store: coframe.Store) -> None:
    text = publish()
    for _ in range(3):
        faults_of_a_task(text)
    assert is_mapped(store)
    child = os.fork()
    if child == 0:
        os._exit(is_mapped(store))
    assert os.waitpid(child, 0)[1] == 0
    assert is_mapped(store)
