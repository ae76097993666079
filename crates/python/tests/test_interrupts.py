"""Ctrl-C ends every wait, and what was waited for can be used afterwards."""

from __future__ import annotations

import fcntl
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import coframe
import polars as pl
import pyarrow as pa
import pytest

#: Holds whatever one can wait for, and stops until it is let go on.
_HOLDER = """
import fcntl, os, pickle, signal, sys
import coframe

shared, lock, barrier, semaphore = (pickle.loads(bytes.fromhex(text)) for text in sys.argv[1:5])

def stop(value):
    with lock, semaphore, open(sys.argv[5]) as control:
        fcntl.flock(control, fcntl.LOCK_EX)
        os.kill(os.getpid(), signal.SIGSTOP)
    return "holder"

shared.apply("key", stop)
"""


@contextmanager
def stopped_holder(store: coframe.Store, *held: Any) -> Iterator[None]:
    control = os.path.join(store.path, "store")
    texts = [pickle.dumps(cell).hex() for cell in held]
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, *texts, control])
    try:
        _, status = os.waitpid(holder.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), "it did not come so far"
        yield
        holder.send_signal(signal.SIGCONT)
        assert holder.wait(30) == 0
    finally:
        holder.kill()
        holder.wait()


def interrupted(call: Callable[[], Any]) -> None:
    """Presses Ctrl-C a moment after the call started."""
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            call()
    finally:
        timer.join()
    assert 0.25 < time.monotonic() - start < 1.3


def test_ctrl_c_ends_every_wait_behind_a_stopped_process_and_everything_is_usable_afterwards(store: coframe.Store) -> None:
    shared, lock, barrier, semaphore = coframe.Dict(), coframe.Lock(), coframe.Barrier(2), coframe.Semaphore(1)
    frame = store.publish(pl.DataFrame({"x": [1]}), "x")
    with stopped_holder(store, shared, lock, barrier, semaphore):
        waits: dict[str, Callable[[], Any]] = {
            "a write to a dict": lambda: shared.update(key="mine"),
            "a change of a dict": lambda: shared.apply("key", str),
            "a lock": lock.acquire,
            "a lock that is recovered": lock.recover,
            "a permit": semaphore.acquire,
            "a barrier": barrier.wait,
            "a publish": lambda: store.publish(pl.DataFrame({"x": [2]}), "x"),
            "a removal": lambda: store.remove("x"),
            "a sweep": store.sweep,
            "a session": lambda: coframe.Session(store),
            "a new cell": lambda: coframe.Dict(name="new"),
            "a version": lambda: store.wait("never"),
        }
        for wait in waits.values():
            interrupted(wait)
        # Readers never wait.
        assert shared.get("key") is None and store.open("x").version == frame.version
    assert dict(shared) == {"key": "holder"}
    shared["key"] = "mine"
    with lock, semaphore:
        assert store.publish(pl.DataFrame({"x": [2]}), "x").to_polars()["x"].to_list() == [2]
    with pytest.raises(coframe.BrokenError):
        barrier.wait(1)
    barrier.reset()
    coframe.Dict(name="new")["a"] = 1


def test_ctrl_c_ends_the_wait_for_an_event(store: coframe.Store) -> None:
    event = coframe.Event()
    interrupted(event.wait)
    event.set()
    assert event.wait()


def test_a_signal_handler_that_raises_nothing_ends_no_wait_and_may_use_what_is_waited_for(store: coframe.Store) -> None:
    shared, semaphore = coframe.Dict(), coframe.Semaphore(1)
    seen: list[int] = []

    def handler(*_: object) -> None:
        shared["seen"] = len(seen)
        seen.append(len(shared))
        semaphore.release()

    before = signal.signal(signal.SIGUSR1, handler)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    try:
        assert semaphore.acquire()
        timer.start()
        assert semaphore.acquire(timeout=30), "the handler gave the permit back, and it was not taken"
        assert seen == [1]
        assert not semaphore.acquire(timeout=0.12)
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)


def test_what_a_handler_raises_is_what_the_wait_ends_with(store: coframe.Store) -> None:
    class Enough(Exception):
        pass

    def handler(*_: object) -> None:
        raise Enough

    control = open(os.path.join(store.path, "store"))
    fcntl.flock(control, fcntl.LOCK_EX)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(Enough):
            store.remove("x")
    finally:
        signal.signal(signal.SIGALRM, before)
        control.close()
    assert store.remove("x") is False


def test_a_handler_that_runs_while_a_session_starts_may_create_cells(store: coframe.Store) -> None:
    made: list[coframe.Counter] = []
    control = open(os.path.join(store.path, "store"))
    fcntl.flock(control, fcntl.LOCK_EX)

    def handler(*_: object) -> None:
        fcntl.flock(control, fcntl.LOCK_UN)
        made.append(coframe.Counter(1))

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        made.append(coframe.Counter(2))
    finally:
        signal.signal(signal.SIGALRM, before)
        control.close()
    assert [int(pickle.loads(pickle.dumps(counter))) for counter in made] == [1, 2]
    assert len(os.listdir(os.path.join(store.path, "sessions"))) == 1


@pytest.mark.parametrize("wrapped", [False, True], ids=["a reader", "a stream"])
def test_ctrl_c_in_a_generator_of_batches_is_itself(wrapped: bool) -> None:
    def batches() -> Iterator[Any]:
        yield pa.record_batch({"x": [1]})
        os.kill(os.getpid(), signal.SIGINT)
        yield pa.record_batch({"x": [2]})

    reader: Any = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())
    if wrapped:

        class Stream:
            def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
                return found.__arrow_c_stream__()

        found, reader = reader, Stream()
    with pytest.raises(KeyboardInterrupt):
        coframe.publish(reader, "t")
    assert coframe.list() == []


def segments(store: coframe.Store) -> list[str]:
    return [file for _, _, files in os.walk(os.path.join(store.path, "sessions")) for file in files if "@" in file]


@contextmanager
def store_held(store: coframe.Store) -> Iterator[None]:
    with open(os.path.join(store.path, "store")) as control:
        fcntl.flock(control, fcntl.LOCK_EX)
        yield


def test_a_free_that_was_interrupted_frees_when_it_is_called_again(store: coframe.Store) -> None:
    shared = coframe.share(pl.DataFrame({"x": [1]}))
    with store_held(store):
        interrupted(shared.close)
    assert len(segments(store)) == 1
    shared.close()
    assert segments(store) == []
    shared.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_frame_whose_end_was_interrupted_goes_at_the_next_share(store: coframe.Store) -> None:
    shared = [coframe.share(pl.DataFrame({"x": [1]}))]
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    with store_held(store):
        timer.start()
        shared.clear()
        timer.join()
    assert len(segments(store)) == 1
    other = coframe.share(pl.DataFrame({"x": [2]}))
    assert len(segments(store)) == 1 and len(other) == 1
