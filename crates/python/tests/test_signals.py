"""A signal handler that raises at the end of a wait leaves nothing behind that was waited for."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import coframe
import pytest

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Enough(Exception):
    pass


@pytest.fixture(autouse=True)
def raising_handler() -> Iterator[None]:
    def handler(*_: object) -> None:
        raise Enough

    before = signal.signal(signal.SIGALRM, handler)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def is_free(cell: Any) -> bool:
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(cell.acquire(timeout=0.05)))
    thread.start()
    thread.join()
    return found == [True]


def by_with(cell: Any) -> None:
    with cell:
        pass


def by_stack(cell: Any) -> None:
    with contextlib.ExitStack() as stack:
        stack.enter_context(cell)



MAKERS: list[Callable[[], Any]] = [coframe.Lock, lambda: coframe.Value("i", 0), coframe.Semaphore, coframe.Condition]


@pytest.mark.parametrize("make", MAKERS, ids=["lock", "value", "semaphore", "condition"])
def test_a_handler_that_raises_when_a_wait_has_nearly_ended_leaves_nothing_acquired(make: Callable[[], Any]) -> None:
    times = random.Random(1)
    for _ in range(15):
        cell = make()
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            cell.acquire()
            os.write(writer, b"x")
            time.sleep(0.12)
            cell.release()
            os._exit(0)
        os.read(reader, 1)
        os.close(reader)
        os.close(writer)
        # Always while the child has it.
        signal.setitimer(signal.ITIMER_REAL, 0.06 + times.random() * 0.05)
        try:
            with pytest.raises(Enough):
                by_with(cell)
        finally:
            os.waitpid(child, 0)
        assert is_free(cell)


@pytest.mark.parametrize("make", MAKERS, ids=["lock", "value", "semaphore", "condition"])
def test_a_cell_is_entered_by_every_way_into_a_context(make: Callable[[], Any]) -> None:
    cell = make()
    for enter in (by_with, by_stack):
        enter(cell)
        assert is_free(cell)
        cell = make()
    assert cell.__enter__() is True and not is_free(cell)
    cell.__exit__()
    assert type(cell).__enter__(cell) is True
    cell.__exit__()
    assert is_free(cell)


def test_a_child_forked_during_a_change_of_a_dict_gets_an_error_at_once() -> None:
    shared = coframe.Dict()
    shared["a"] = 1
    ends: list[int] = []

    def inside(value: int) -> int:
        child = os.fork()
        if child == 0:
            start = time.monotonic()
            try:
                shared.get("a")
            except coframe.InvalidError as error:
                is_told = "used a dict when it forked" in str(error) and time.monotonic() - start < 3
                os._exit(0 if is_told else 2)
            os._exit(1)
        ends.append(os.waitpid(child, 0)[1])
        return value + 1

    assert shared.apply("a", inside) == 2
    assert ends == [0] and shared["a"] == 2


def test_the_last_participant_at_a_barrier_learns_of_those_that_died_there() -> None:
    barrier = coframe.Barrier(2)
    child = os.fork()
    if child == 0:
        barrier.wait()
        os._exit(0)
    time.sleep(0.2)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with pytest.raises(coframe.BrokenError):
        barrier.wait(5)
