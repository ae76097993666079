"""The same programs with the objects of ``multiprocessing`` and with those of coframe."""

from __future__ import annotations

import ctypes
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import coframe
import pytest
import workers

CTX = workers.FRESH


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_double), ("n", ctypes.c_int))


class Pointer(ctypes.Structure):
    _fields_ = (("p", ctypes.c_void_p),)


@pytest.fixture(params=["multiprocessing", "coframe"])
def made(request: pytest.FixtureRequest) -> Any:
    return CTX if request.param == "multiprocessing" else coframe


def started(target: Callable[..., object], *args: Any) -> Any:
    process = CTX.Process(target=target, args=args, daemon=True)
    process.start()
    return process


def ended(*processes: Any) -> None:
    for process in processes:
        process.join(60)
        assert process.exitcode == 0


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


def change(flag: Any, point: Any, points: Any, text: Any) -> None:
    flag.value = not flag.value
    with point.get_lock():
        point.x += 0.5
    points[1].n = 9
    text.value = b"left"


def test_structures_booleans_and_strings_are_changed_by_another_process(made: Any) -> None:
    flag, point = made.Value(ctypes.c_bool, False), made.Value(Point, 1.5, 2)
    points, text = made.Array(Point, [(1.0, 2), (3.0, 4)]), made.Array("c", b"right")
    ended(started(change, flag, point, points, text))
    assert flag.value is True and (point.x, point.n) == (2.0, 2)
    assert [(one.x, one.n) for one in points] == [(1.0, 2), (3.0, 9)]
    assert (text.value, text.raw, len(text)) == (b"left", b"left\0", 5)
    point.n = 5
    assert point.get_obj().n == 5 and points.get_obj()[1].n == 9
    points[0] = Point(7.0, 8)
    assert points[0].x == 7.0 and [one.n for one in points[:]] == [8, 9]
    number = made.Value("i", 3)
    with number.get_lock():
        number.get_obj().value += 4
    assert number.value == 7
    letter = made.Value("c", b"x")
    letter.value = b"y"
    assert letter.value == b"y"
    bits = made.Array(ctypes.c_bool, [True, False])
    bits[1] = True
    assert list(bits) == [True, True] and bits[:] == [True, True]


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


def add_to_both(number: Any, numbers: Any, point: Any) -> None:
    number.value += 1
    numbers[0] += 2
    point.x = 7.5


@pytest.mark.parametrize("lock", [False, "Lock", "RLock"])
def test_values_take_no_lock_or_the_one_that_they_are_given(made: Any, lock: bool | str) -> None:
    guard = getattr(made, lock)() if isinstance(lock, str) else lock
    number, numbers = made.Value("i", 3, lock=guard), made.Array("d", [1.0, 2.0], lock=guard)
    point, flag = made.Value(Point, 1.5, 2, lock=guard), made.Value(ctypes.c_bool, True, lock=guard)
    ended(started(add_to_both, number, numbers, point))
    assert (number.value, list(numbers), point.x, flag.value) == (4, [3.0, 2.0], 7.5, True)
    numbers[:] = [5.0, 6.0]
    assert numbers[:] == [5.0, 6.0] and len(numbers) == 2
    if guard is False:
        for one in (number, numbers, point):
            with pytest.raises(AttributeError):
                one.get_lock()
            with pytest.raises((AttributeError, TypeError)), one:
                pass
    else:
        assert number.get_lock() is guard is numbers.get_lock()
        with guard:
            thread = threading.Thread(target=add_to_both, args=(number, numbers, point), daemon=True)
            thread.start()
            thread.join(0.3)
            assert thread.is_alive(), "the lock was not taken"
        thread.join(60)
        assert number.value == 5


# What only coframe has.


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


def test_a_guard_that_is_no_lock_of_coframe_is_refused() -> None:
    with pytest.raises(coframe.ArgumentTypeError, match="lock of type lock: expected True, False, a coframe.Lock"):
        coframe.Value("i", 1, lock=threading.Lock())


def test_the_memory_of_an_object_of_ctypes_outlives_its_value() -> None:
    found = coframe.Array(Point, [(1.0, 2)]).get_obj()[0]
    assert (found.x, found.n) == (1.0, 2)
    assert coframe.Value("d", 2.5).get_obj().value == 2.5


def test_a_type_with_a_pointer_is_refused() -> None:
    for ctype in (Pointer, ctypes.c_char_p, ctypes.c_void_p, ctypes.POINTER(ctypes.c_int), ctypes.py_object, Pointer * 2):
        with pytest.raises(coframe.InvalidError, match="it has a pointer, which no other process can follow"):
            coframe.Value(ctype)


def test_an_existing_structure_of_another_size_is_refused() -> None:
    coframe.Value(Point, name="point")
    with pytest.raises(coframe.InvalidError, match="the cell `point` has 16 bytes: expected 8"):
        coframe.Value(Pointer if sys.maxsize < 2**32 else ctypes.c_wchar * 2, name="point")


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


def test_flags_atomic_arrays_and_latest_values() -> None:
    flag = coframe.Flag()
    again = pickle.loads(pickle.dumps(flag))
    assert flag.swap(True) is False and again.value is True and bool(again)
    array = coframe.AtomicArray("q", [1, 2, 3])
    other = pickle.loads(pickle.dumps(array))
    assert other.add(-1, 4) == 7 and array[2] == 7 and array.max(0, 5) == 5 and array.min(0, 2) == 2
    other[1] = -2
    assert list(array) == [2, -2, 7] and len(array) == 3
    with pytest.raises(IndexError, match="element 3 of an array of 3"):
        array.add(3, 1)
    with pytest.raises(coframe.InvalidError, match="expected numbers of 32 or 64 bits"):
        coframe.AtomicArray("b", 2)
    latest = coframe.Latest({"bid": 1.5}, size=256)
    writer = pickle.loads(pickle.dumps(latest))
    writer.write([1, "two"])
    assert latest.read() == [1, "two"]
    with pytest.raises(coframe.InvalidError, match="expected at most 252"):
        writer.write("x" * 300)
    with pytest.raises(coframe.InvalidError, match="expected at most 4092"):
        coframe.Latest("x" * 5000)
    with pytest.raises(coframe.InvalidError, match="expected one of"):
        coframe.Latest(1, size=100)


def test_objects_of_a_name_are_the_same_for_all() -> None:
    for kind, arguments in ((coframe.RLock, ()), (coframe.Condition, ()), (coframe.Semaphore, (0,)), (coframe.Flag, ()), (coframe.Queue, ()), (coframe.Latest, (1,))):
        one, two = kind(*arguments, name="x" + kind.__name__), kind(*arguments, name="x" + kind.__name__)
        assert one.handle == two.handle, kind
