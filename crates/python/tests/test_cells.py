"""Cells between processes."""

from __future__ import annotations

import concurrent.futures
import ctypes
import gc
import multiprocessing
import os
import pickle
import threading

import coframe
import numpy as np
import pytest
import tasks
from memory import descriptors
from workers import FRESH

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_count_add_and_write_together(method: str) -> None:
    counter, value, array = coframe.Counter(), coframe.Value("i", 0), coframe.Array("d", 4)
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.starmap(tasks.add, [(counter, value, array, item) for item in range(4)])
    assert (counter.value, value.value, array[:]) == (800, 800, [0.0, 1.5, 3.0, 4.5])


def test_the_next_owner_of_a_lock_learns_that_the_last_one_died() -> None:
    lock = coframe.Lock()
    process = FRESH.Process(target=tasks.die_inside, args=(lock,))
    process.start()
    process.join(60)
    with pytest.raises(coframe.PoisonedError, match=f"process {process.pid} died while it held the lock"):
        lock.acquire()
    lock.recover()
    lock.release()
    with lock:
        pass


@pytest.mark.parametrize(
    ("typecode", "value"),
    [("b", -3), ("B", 3), ("h", -3), ("H", 3), ("i", -3), ("I", 3), ("l", -3), ("L", 3), ("q", -3), ("Q", 2**63), ("f", 1.5), ("d", 1.5), (ctypes.c_double, 2.5), (np.int16, 7), (np.dtype("u4"), 9), ("float32", 0.5)],
    ids=str,
)
def test_values_and_arrays_of_every_type(typecode: object, value: float) -> None:
    cell = coframe.Value(typecode, value)
    assert pickle.loads(pickle.dumps(cell)).value == value
    array = coframe.Array(typecode, [value, value])
    again = pickle.loads(pickle.dumps(array))
    assert list(again) == [value, value] and again.to_numpy().tolist() == [value, value]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(coframe.InvalidError, match="the type 'z': expected a typecode"):
        coframe.Value("z")
    with pytest.raises(TypeError, match="the type 3: expected a typecode"):
        coframe.Value(3)
    with pytest.raises(OverflowError):
        coframe.Value("b", 300)
    with pytest.raises(coframe.InvalidError, match="an array of -1 numbers"):
        coframe.Array("d", -1)


def test_an_array_is_numpys_and_outlives_its_cell() -> None:
    array = coframe.Array("d", 1000)
    numbers, other = array.to_numpy(), pickle.loads(pickle.dumps(array)).to_numpy()
    numbers[:] = np.arange(1000)
    assert other.sum() == 499_500 and other.flags.writeable
    del array
    gc.collect()
    other[0] = 5
    assert numbers[0] == 5
    array = coframe.Array("i", 3)
    array[1:] = [4, 5]
    with array:
        array[0] = 3
    assert (array[0], array[-1], list(array), len(array)) == (3, 5, [3, 4, 5], 3)
    assert np.asarray(array).sum() == 12


def test_a_lock_belongs_to_the_thread_that_took_it() -> None:
    lock = coframe.Lock()
    with pytest.raises(ValueError, match="this thread does not hold the lock: release it in the thread that acquired it, or use a BoundedSemaphore"):
        lock.release()
    with lock:
        with pytest.raises(coframe.InvalidError, match="twice in one thread"):
            lock.acquire()
        found = []
        thread = threading.Thread(target=lambda: found.append(lock.acquire(timeout=0.01)))
        thread.start()
        thread.join()
        assert found == [False]
        # Whatever object of this process it has the lock by: another one of the same cell gives it back.
        pickle.loads(pickle.dumps(lock)).release()
        lock.acquire()
    assert lock.acquire(block=False)
    lock.release()


def test_a_forked_child_does_not_hold_its_parents_lock() -> None:
    lock = coframe.Lock()
    with lock:
        child = os.fork()
        if child == 0:
            held = lock._open().is_held()
            busy = not lock.acquire(timeout=0.01)
            os._exit(0 if busy and not held else 1)
        assert os.waitpid(child, 0)[1] == 0


def test_events_barriers_and_semaphores() -> None:
    event, semaphore = coframe.Event(), coframe.Semaphore(2)
    assert not event.wait(0.01)
    event.set()
    assert event.wait() and event.is_set()
    event.clear()
    assert not event.is_set()
    with semaphore, pickle.loads(pickle.dumps(semaphore)):
        assert semaphore.get_value() == 0
        assert not semaphore.acquire(timeout=0.01)
    assert semaphore.get_value() == 2
    # From the object that did not acquire it, too.
    assert semaphore.acquire() and semaphore.acquire()
    pickle.loads(pickle.dumps(semaphore)).release()
    assert semaphore.get_value() == 1


def test_processes_meet_at_a_barrier() -> None:
    barrier = coframe.Barrier(2)
    with FRESH.Pool(1) as pool:
        other = pool.apply_async(tasks.wait_at, (barrier,))
        assert {barrier.wait(60), other.get(60)} == {0, 1}
    with pytest.raises(coframe.BrokenError):
        barrier.wait(0.05)
    with pytest.raises(threading.BrokenBarrierError):
        barrier.wait()
    barrier.reset()


def test_named_cells_are_the_same_for_all() -> None:
    coframe.Counter(name="total").add(3)
    assert coframe.Counter(name="total").value == 3
    total = coframe.Counter(name="total")
    total += 1
    assert int(total) == 4
    with pytest.raises(coframe.InvalidError):
        coframe.Event(name="total")


def test_a_removed_cell_is_an_error_at_its_first_use() -> None:
    text = pickle.dumps(coframe.Counter(name="total"))
    coframe.Store()._open().remove_cell("total")
    counter = pickle.loads(text)
    with pytest.raises(coframe.NotFoundError, match="cell `total`"):
        counter.add(1)


def test_a_thousand_cells_leak_nothing(store: coframe.Store) -> None:
    coframe.Counter()
    before = descriptors()
    for _ in range(1000):
        coframe.Array("d", 10).to_numpy()[0] = 1
        coframe.Value("i").value += 1
    gc.collect()
    assert descriptors() <= before + 1
    left = [file for _, _, files in os.walk(store.path) for file in files if file.endswith(".cell")]
    assert left == []


def test_a_dict_is_shared_by_processes() -> None:
    shared = coframe.Dict()
    with FRESH.Pool(2) as pool:
        pool.starmap(tasks.put, [(shared, key) for key in range(20)])
    assert shared[7] == {"square": 49} and shared["sum"] == 190 and len(shared) == 21
    assert shared.copy()[3] == {"square": 9}


def test_a_dict_is_a_mutable_mapping() -> None:
    shared = coframe.Dict(name="d")
    shared.update({"a": [1], ("t", 1): None, b"k": 2.5})
    assert dict(shared) == {"a": [1], ("t", 1): None, b"k": 2.5} == coframe.Dict(name="d").copy()
    assert shared.get("none", 5) == 5 and "a" in shared and shared.pop("a") == [1] and "a" not in shared
    with pytest.raises(KeyError):
        shared["a"]
    with pytest.raises(KeyError):
        del shared["a"]
    shared[1] = "one"
    assert shared[True] == "one" and shared[1.0] == "one"
    with pytest.raises(coframe.ArgumentTypeError, match="a key of type list"):
        shared[[1]]  # type: ignore[index]
    with pytest.raises(ZeroDivisionError):
        shared.apply(1, lambda value: 1 / 0)
    assert shared[1] == "one"
    shared.clear()
    assert len(shared) == 0


def test_an_existing_named_cell_keeps_its_value() -> None:
    coframe.Counter(5, name="counter").add(1)
    assert coframe.Counter(5, name="counter").value == 6
    coframe.Value("i", 1, name="value").value = 2
    assert coframe.Value("i", 1, name="value").value == 2
    coframe.Array("d", [1.0, 2.0], name="array")[0] = 3.0
    assert list(coframe.Array("d", [1.0, 2.0], name="array")) == [3.0, 2.0]
    with pytest.raises(coframe.InvalidError, match="the array `array` has 2 numbers: expected 3"):
        coframe.Array("d", 3, name="array")
    coframe.Barrier(3, name="barrier")
    with pytest.raises(coframe.InvalidError, match="the barrier `barrier` is for 3 parties: expected 5"):
        coframe.Barrier(5, name="barrier")
    assert pickle.loads(pickle.dumps(coframe.Barrier(3, name="barrier"))).parties == 3


def test_a_name_that_no_cell_can_have_is_refused() -> None:
    with pytest.raises(coframe.InvalidError, match="a name"):
        coframe.Counter(name="../counter")


def test_a_number_that_asks_for_the_cell_itself_is_asked_before_the_lock_is_taken() -> None:
    value, array = coframe.Value("d", 1.5), coframe.Array("d", [1.0, 2.0])

    class Asks:
        def __float__(self) -> float:
            return float(value.value) + sum(array)

    value.value = Asks()
    assert value.value == 4.5
    with value.get_lock():
        value.value = Asks()
        assert value.value == 7.5
    array._open().set([Asks(), 1])
    assert list(array) == [10.5, 1.0]
    # And the lock is free now.
    assert value.acquire(block=False) and array.acquire(block=False)
    value.release(), array.release()


def test_an_array_pickles_again_without_being_opened() -> None:
    array = coframe.Array("d", 3)
    again = pickle.loads(pickle.dumps(array))
    twice = pickle.loads(pickle.dumps(again))
    assert again._native is None and len(twice) == 3


def test_numpys_integers_are_sizes_and_its_arrays_are_values() -> None:
    assert list(coframe.Array("d", np.int64(3))) == [0.0, 0.0, 0.0]
    assert list(coframe.Array("d", np.array([3]))) == [3.0]


def test_an_array_of_another_dtype_is_copied_only_if_a_copy_is_allowed() -> None:
    array = coframe.Array("d", [1.5])
    with pytest.raises(ValueError, match="would be copied: it is of dtype float64, not float32"):
        np.asarray(array, dtype="f4", copy=False)
    assert np.asarray(array, dtype="f4").tolist() == [1.5] and np.array(array).base is None


def test_every_key_that_is_taken_is_read_back() -> None:
    shared = coframe.Dict()
    keys = [float("inf"), -float("inf"), (float("inf"), 1), (), (1,), "it's", b"\0", 1.5, -3, None, ("a", ("b", None))]
    for key in keys:
        shared[key] = key
    assert len(shared) == len(keys) and set(shared) == set(keys) and set(shared.values()) == set(keys)
    shared[np.int64(7)], shared[np.float64(8)], shared[np.str_("text")] = 7, 8, "text"
    assert (shared[7], shared[8], shared["text"]) == (7, 8, "text")
    for key in (float("nan"), 10**5000, [1]):
        with pytest.raises((coframe.InvalidError, TypeError), match="a key"):
            shared[key] = 1  # type: ignore[index]


def test_each_entry_of_a_dict_is_popped_once_and_set_once() -> None:
    shared, found, ready = coframe.Dict(), [], threading.Barrier(4)
    shared.update({key: key for key in range(200)})

    def work() -> None:
        ready.wait()
        for key in range(100):
            found.append(shared.pop(key, None))
            list(shared.items()), list(shared.values())
        while len(shared):
            try:
                found.append(shared.popitem()[1])
            except KeyError:
                break

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(4)]:
            done.result()
    assert sorted(item for item in found if item is not None) == list(range(200))
    with pytest.raises(KeyError):
        shared.pop("none")
    with pytest.raises(KeyError):
        shared.popitem()
    assert shared.setdefault("a", 1) == 1 == shared.setdefault("a", 2) and shared.setdefault("b") is None
    assert ("a", 1) in shared.items() and 1 in shared.values() and len(shared.items()) == 2


def test_the_end_of_a_forked_child_returns_none_of_its_parents_permits() -> None:
    semaphore = coframe.Semaphore(2)
    with semaphore:
        child = os.fork()
        if child == 0:
            os._exit(0 if semaphore.acquire(block=False) else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert semaphore.get_value() == 1
    assert semaphore.get_value() == 2


@pytest.mark.parametrize("kind", ["Semaphore", "Lock", "Event", "Counter"])
def test_threads_that_use_an_unpickled_cell_first_share_one_object(kind: str) -> None:
    cell = pickle.loads(pickle.dumps(getattr(coframe, kind)()))
    make, both = cell._make, threading.Barrier(2, timeout=60)

    def made_at_once(*arguments: object) -> object:
        native = make(*arguments)
        both.wait()
        return native

    cell._make = made_at_once
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        first, second = [task.result() for task in [threads.submit(cell._open) for _ in range(2)]]
    assert first is second is cell._open()
