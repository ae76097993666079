"""The same programs with the objects of ``multiprocessing`` and with those of coframe."""

from __future__ import annotations

import functools
import os
import queue
import signal
import threading
import time
from typing import Any

import coframe
import pytest
from workers import FRESH as CTX
from workers import ended, started


def meet(barrier: Any, results: Any) -> None:
    results.put(barrier.wait(60))


def test_each_participant_of_a_barrier_gets_its_own_index(made: Any) -> None:
    barrier, results = made.Barrier(3), CTX.Queue()
    others = [started(meet, barrier, results) for _ in range(2)]
    found = {barrier.wait(60), results.get(timeout=60), results.get(timeout=60)}
    ended(*others)
    assert found == {0, 1, 2} and (barrier.parties, barrier.n_waiting, barrier.broken) == (3, 0, False)


def meet_broken(barrier: Any, results: Any) -> None:
    try:
        barrier.wait(60)
    except threading.BrokenBarrierError:
        results.put("broken")


@pytest.mark.parametrize("ends", ["reset", "abort"])
def test_participants_that_wait_get_the_error_of_a_reset_and_of_an_abort(made: Any, ends: str) -> None:
    barrier, results = made.Barrier(3), CTX.Queue()
    others = [started(meet_broken, barrier, results) for _ in range(2)]
    while barrier.n_waiting < 2:
        time.sleep(0.01)
    getattr(barrier, ends)()
    assert [results.get(timeout=60) for _ in others] == ["broken", "broken"]
    ended(*others)
    assert barrier.broken == (ends == "abort")
    barrier.reset()
    assert not barrier.broken and barrier.n_waiting == 0


def test_a_barrier_has_a_default_timeout(made: Any) -> None:
    barrier = made.Barrier(2, timeout=0.01)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    assert barrier.broken


def add_one(value: Any) -> None:
    time.sleep(0.05)
    with value.get_lock():
        value.value += 1


def meet_and_look(barrier: Any, value: Any, results: Any) -> None:
    for _ in range(3):
        barrier.wait(60)
        results.put(value.value)
        barrier.wait(60)


def test_the_last_participant_calls_the_action_of_a_barrier_before_the_others_go_on(made: Any) -> None:
    value, results = made.Value("i", 0), CTX.Queue()
    barrier = made.Barrier(3, functools.partial(add_one, value))
    others = [started(meet_and_look, barrier, value, results) for _ in range(3)]
    found = [results.get(timeout=60) for _ in range(9)]
    ended(*others)
    # Two rounds for each look, and each look in the round between.
    assert sorted(found) == [1, 1, 1, 3, 3, 3, 5, 5, 5] and value.value == 6


def test_an_action_that_raises_breaks_the_barrier(made: Any) -> None:
    barrier, results = made.Barrier(2, action=functools.partial(int, "x")), CTX.Queue()
    other = started(meet_broken, barrier, results)
    while barrier.n_waiting < 1:
        time.sleep(0.01)
    with pytest.raises(ValueError, match="invalid literal"):
        barrier.wait(60)
    assert results.get(timeout=60) == "broken" and barrier.broken
    ended(other)


def test_the_action_of_a_barrier_is_a_function() -> None:
    with pytest.raises(TypeError, match="the action of a barrier is a float: expected a function, or None"):
        coframe.Barrier(2, 0.5)  # type: ignore[arg-type]


def take_and_add(lock: Any, value: Any) -> None:
    for _ in range(100):
        with lock, lock:
            value.value += 1


def test_a_reentrant_lock_is_taken_again_and_excludes_others(made: Any) -> None:
    lock, value = made.RLock(), made.Value("i", 0)
    others = [started(take_and_add, lock, value) for _ in range(2)]
    ended(*others)
    assert value.value == 200
    assert lock.acquire() and lock.acquire(False) and lock.acquire(timeout=1)
    found: list[bool] = []
    for _ in range(3):
        thread = threading.Thread(target=lambda: found.append(lock.acquire(False)))
        thread.start()
        thread.join()
        lock.release()
    assert found == [False, False, False]
    with pytest.raises((AssertionError, ValueError)):
        lock.release()


def wait_for(condition: Any, value: Any, results: Any) -> None:
    with condition:
        results.put(bool(condition.wait_for(lambda: value.value == 7, 60)))


def test_waiters_at_a_condition_see_what_they_wait_for(made: Any) -> None:
    condition, value, results = made.Condition(), made.Value("i", 0), CTX.Queue()
    others = [started(wait_for, condition, value, results) for _ in range(2)]
    for number in (3, 7):
        with condition:
            value.value = number
            condition.notify_all()
    assert [results.get(timeout=60) for _ in others] == [True, True]
    ended(*others)
    with condition:
        assert condition.wait(0.01) is False and not condition.wait_for(lambda: False, 0.01)
    with pytest.raises((AssertionError, RuntimeError)):
        condition.wait(0.01)


def test_conditions_share_a_lock_and_wake_their_own_waiters(made: Any) -> None:
    lock = made.RLock()
    one, two = made.Condition(lock), made.Condition(lock)
    found: list[bool] = []

    def waiter() -> None:
        with one, lock:
            found.append(one.wait(60))

    thread = threading.Thread(target=waiter)
    thread.start()
    while not found:
        with two:
            two.notify()
            one.notify()
        time.sleep(0.01)
    thread.join()
    assert found == [True]


def answer(asked: Any, answered: Any) -> None:
    for _ in range(3):
        asked.acquire()
        answered.release()


def test_a_semaphore_of_zero_is_a_signal_between_processes(made: Any) -> None:
    asked, answered = made.Semaphore(0), made.Semaphore(0)
    other = started(answer, asked, answered)
    for _ in range(3):
        assert not answered.acquire(False)
        asked.release()
        assert answered.acquire(timeout=60)
    ended(other)
    assert (asked.get_value(), answered.get_value()) == (0, 0)


def test_a_semaphore_grows_and_a_bounded_one_does_not(made: Any) -> None:
    semaphore, bounded = made.Semaphore(1), made.BoundedSemaphore(1)
    semaphore.release()
    assert semaphore.get_value() == 2 and [semaphore.acquire(False) for _ in range(3)] == [True, True, False]
    with pytest.raises(ValueError, match="released"):
        bounded.release()
    with bounded:
        assert not bounded.acquire(False)
    assert bounded.get_value() == 1


def release(semaphore: Any) -> None:
    semaphore.release()


def test_another_process_releases_a_permit(made: Any) -> None:
    semaphore = made.BoundedSemaphore(2)
    assert semaphore.acquire() and semaphore.acquire() and not semaphore.acquire(False)
    ended(started(release, semaphore))
    assert semaphore.get_value() == 1 and semaphore.acquire(False)


def wait_once(condition: Any, ready: Any, results: Any) -> None:
    with condition:
        ready.release()
        results.put(condition.wait(60))


def test_a_notification_wakes_as_many_as_it_names(made: Any) -> None:
    condition, ready, results = made.Condition(), made.Semaphore(0), CTX.Queue()
    others = [started(wait_once, condition, ready, results) for _ in range(4)]
    for _ in others:
        assert ready.acquire(timeout=60)
    for wanted in (1, 2):
        with condition:
            condition.notify(wanted)
        assert [results.get(timeout=60) for _ in range(wanted)] == [True] * wanted
        with pytest.raises(queue.Empty):
            results.get(timeout=0.3)
    with condition:
        condition.notify(5)
    assert results.get(timeout=60) is True
    ended(*others)
    with condition:
        condition.notify()
        assert condition.wait(0.01) is False, "a notification waited for the next one"


def test_a_waiter_whose_time_is_over_takes_no_notification(made: Any) -> None:
    condition, ready, results = made.Condition(made.Lock()), made.Semaphore(0), CTX.Queue()
    with condition:
        assert condition.wait(0.01) is False
    other = started(wait_once, condition, ready, results)
    assert ready.acquire(timeout=60)
    with condition:
        condition.notify()
    assert results.get(timeout=60) is True
    ended(other)


def wait_and_die(condition: Any, ready: Any) -> None:
    with condition:
        ready.release()
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGKILL)).start()
        condition.wait(60)


def test_a_waiter_that_was_killed_takes_no_notification() -> None:
    condition, ready, results = coframe.Condition(), coframe.Semaphore(0), CTX.Queue()
    dead = started(wait_and_die, condition, ready)
    dead.join(60)
    assert dead.exitcode == -signal.SIGKILL
    other = started(wait_once, condition, ready, results)
    assert ready.acquire(timeout=60) and ready.acquire(timeout=60)
    with condition:
        condition.notify()
    assert results.get(timeout=60) is True
    ended(other)


def test_more_waiters_than_a_condition_has_places_are_woken() -> None:
    condition = coframe.Condition()
    woken: list[bool] = []

    def waiter() -> None:
        with condition:
            woken.append(condition.wait(60))

    with condition:
        places = [condition._waiters.enter() for _ in range(255)]
    assert None not in places
    threads = [threading.Thread(target=waiter) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    with condition:
        assert condition._waiters.enter() is None
        condition.notify_all()
    for thread in threads:
        thread.join(60)
    assert woken == [True] * 3


def acquire_and_die(semaphore: Any, condition: Any) -> None:
    semaphore.acquire()
    condition.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_held_is_released() -> None:
    semaphore, condition = coframe.BoundedSemaphore(1), coframe.Condition()
    other = started(acquire_and_die, semaphore, condition)
    other.join(60)
    assert other.exitcode == -signal.SIGKILL
    assert semaphore.acquire(timeout=60) and semaphore.get_value() == 0
    with pytest.raises(coframe.PoisonedError):
        condition.acquire()
    condition.recover()
    condition.release()
    with condition:
        pass


def consume_and_end(signals: Any) -> None:
    signals.acquire()


def test_a_signal_that_a_process_took_does_not_return_when_it_ends() -> None:
    signals = coframe.Semaphore(0)
    signals.release()
    ended(started(consume_and_end, signals))
    assert signals.get_value() == 0 and not signals.acquire(timeout=0.2)


def test_objects_of_a_name_are_the_same_for_all() -> None:
    for kind, arguments in ((coframe.RLock, ()), (coframe.Condition, ()), (coframe.Semaphore, (0,)), (coframe.Flag, ()), (coframe.Queue, ()), (coframe.Latest, (1,))):
        one, two = kind(*arguments, name="x" + kind.__name__), kind(*arguments, name="x" + kind.__name__)
        assert one.handle == two.handle, kind
