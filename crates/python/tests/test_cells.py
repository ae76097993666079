"""Cells between processes."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import pickle
import threading

import numpy as np
import pytest
import tasks
from memory import descriptors

import coframe

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_count_add_and_write_together(method: str) -> None:
    counter, value, array = coframe.Counter(), coframe.Value("i", 0), coframe.Array("d", 4)
    with multiprocessing.get_context(method).Pool(2) as pool:
        pool.starmap(tasks.add, [(counter, value, array, item) for item in range(4)])
    assert (counter.value, value.value, array[:]) == (800, 800, [0.0, 1.5, 3.0, 4.5])


def test_the_owner_of_a_lock_dies_and_the_next_one_is_told() -> None:
    lock = coframe.Lock()
    process = multiprocessing.get_context("spawn").Process(target=tasks.die_inside, args=(lock,))
    process.start()
    process.join(60)
    with pytest.raises(coframe.PoisonedError, match=f"process {process.pid} died while it had it"):
        lock.acquire()
    lock.mend()
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
    assert list(again) == [value, value] and again.numpy().tolist() == [value, value]


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(coframe.InvalidError, match="the type 'c': expected a typecode"):
        coframe.Value("c")
    with pytest.raises(OverflowError):
        coframe.Value("b", 300)
    with pytest.raises(coframe.InvalidError, match="an array of -1 numbers"):
        coframe.Array("d", -1)


def test_an_array_is_numpys_and_outlives_its_cell() -> None:
    array = coframe.Array("d", 1000)
    numbers, other = array.numpy(), pickle.loads(pickle.dumps(array)).numpy()
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
    with pytest.raises(ValueError, match="this thread does not hold the lock"):
        lock.release()
    with lock:
        with pytest.raises(coframe.InvalidError, match="twice in one thread"):
            lock.acquire()
        found = []
        thread = threading.Thread(target=lambda: found.append(lock.acquire(timeout=0.01)))
        thread.start()
        thread.join()
        assert found == [False]
        assert not pickle.loads(pickle.dumps(lock))._open().release.__self__ is lock
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
    with pytest.raises(ValueError, match="no permit was taken here"):
        semaphore.release()


def test_processes_meet_at_a_barrier() -> None:
    barrier = coframe.Barrier(2)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        other = pool.apply_async(tasks.wait_at, (barrier,))
        assert {barrier.wait(60), other.get(60)} == {True, False}
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


def test_a_cell_that_is_gone_says_so_at_its_first_use() -> None:
    text = pickle.dumps(coframe.Counter(name="total"))
    coframe.Store()._open().remove_cell("total")
    counter = pickle.loads(text)
    with pytest.raises(coframe.NotFoundError, match="there is no cell `total`"):
        counter.add(1)


def test_a_thousand_cells_leak_nothing(store: coframe.Store) -> None:
    coframe.Counter()
    before = descriptors()
    for _ in range(1000):
        coframe.Array("d", 10).numpy()[0] = 1
        coframe.Value("i").value += 1
    gc.collect()
    assert descriptors() <= before + 1
    left = [file for _, _, files in os.walk(store.path) for file in files if file.endswith(".cell")]
    assert left == []


def test_a_dict_is_shared_by_processes() -> None:
    shared = coframe.Dict()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
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
    with pytest.raises(coframe.InvalidError, match="a key of type list"):
        shared[[1]]  # type: ignore[index]
    with pytest.raises(ZeroDivisionError):
        shared.change(1, lambda value: 1 / 0)
    assert shared[1] == "one"
    shared.clear()
    assert len(shared) == 0
