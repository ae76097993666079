"""Queues, next to those of ``multiprocessing``."""

from __future__ import annotations

import queue
import time
from typing import Any

import coframe
import pytest
from workers import FRESH as CTX
from workers import ended, started


def count(items: Any, results: Any) -> None:
    while (item := items.get(timeout=60)) is not None:
        results.put(item * 2)


def test_items_cross_a_queue_in_order(made: Any) -> None:
    items, results = made.Queue(2), made.Queue()
    other = started(count, items, results)
    for item in (*range(20), None):
        items.put(item, timeout=60)
    assert [results.get(timeout=60) for _ in range(20)] == [2 * item for item in range(20)]
    ended(other)
    with pytest.raises(queue.Empty):
        results.get(timeout=0.01)
    with pytest.raises(queue.Empty):
        results.get_nowait()
    items.put("a")
    items.put("b")
    with pytest.raises(queue.Full):
        items.put("c", timeout=0.01)
    with pytest.raises(queue.Full):
        items.put_nowait("c")
    assert items.full() and items.qsize() == 2
    items.close()
    with pytest.raises(ValueError, match="closed"):
        items.put("d")
    items.cancel_join_thread()


def work(items: Any) -> None:
    while items.get(timeout=60):
        items.task_done()
    items.task_done()


def test_a_queue_is_joined_when_each_item_is_done(made: Any) -> None:
    items = (made.JoinableQueue if made is CTX else made.Queue)()
    other = started(work, items)
    for item in (1, 2, 0):
        items.put(item)
    items.join()
    ended(other)
    with pytest.raises(ValueError, match="task_done"):
        items.task_done()


def put_and_die(items: Any) -> None:
    for item in range(10_000):
        items.put(item)


def test_a_queue_is_intact_after_a_process_that_used_it_was_killed() -> None:
    items = coframe.Queue()
    other = started(put_and_die, items)
    while items.qsize() < 20:
        time.sleep(0.005)
    other.kill()
    other.join(60)
    # An item that was put while its process died may be seen by the next one that changes the queue only.
    items.put("next")
    size = items.qsize()
    assert [items.get(block=False) for _ in range(size)] == [*range(size - 1), "next"] and items.empty()


def sums(items: Any, results: Any) -> None:
    frame = items.get(timeout=60)
    results.put(int(frame["x"].to_numpy().sum()))


def test_a_frame_crosses_a_queue_as_its_handle() -> None:
    import numpy as np

    items, results = coframe.Queue(), coframe.Queue()
    frame = coframe.share({"x": np.arange(100_000)})
    items.put(frame)
    assert len(items._items._open().snapshot().get(f"item {0:016x}")) < 1000
    ended(started(sums, items, results))
    assert results.get(timeout=60) == 4_999_950_000


def test_a_queue_that_was_shut_down_gives_what_it_has() -> None:
    items = coframe.Queue(name="jobs", maxsize=3)
    items.put(1)
    items.put(2)
    again = coframe.Queue(name="jobs")
    items.shutdown()
    with pytest.raises(coframe.ClosedError, match="shut down"):
        again.put(3)
    assert (again.get(), again.get()) == (1, 2)
    with pytest.raises(coframe.ClosedError, match="shut down, and is empty"):
        again.get()
    other = coframe.Queue()
    other.put(1)
    other.shutdown(immediate=True)
    with pytest.raises(coframe.ClosedError):
        other.get()
    other.join()
