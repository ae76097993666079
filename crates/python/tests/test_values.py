"""Values, arrays and cells without a lock, next to those of ``multiprocessing``."""

from __future__ import annotations

import ctypes
import pickle
import sys
import threading
from typing import Any

import coframe
import pytest
from workers import ended, started


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_double), ("n", ctypes.c_int))


class Pointer(ctypes.Structure):
    _fields_ = (("p", ctypes.c_void_p),)


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


@pytest.mark.parametrize("code", ["i", "Q", "h", "d", "f"])
@pytest.mark.parametrize(
    ("key", "value"),
    [(0, 1.5), (0, "5"), (0, None), (slice(0, 2), 7), (slice(0, 2), [7]), (slice(0, 2), []), (slice(0, 2), ["5", 1]), (9, 1)],
)
def test_an_array_refuses_what_that_of_multiprocessing_refuses(made: Any, code: str, key: Any, value: Any) -> None:
    array = made.Array(code, [1, 2, 3])
    if code in "df" and value == 1.5:
        array[key] = value
        assert list(array) == [1.5, 2, 3]
        return
    with pytest.raises((TypeError, ValueError, IndexError)):
        array[key] = value
    assert list(array) == [1, 2, 3]


def test_an_array_takes_ranges_of_numbers(made: Any) -> None:
    array, flags, text = made.Array("i", 4), made.Array(ctypes.c_bool, 2), made.Array("c", b"abc")
    array[::2], array[1], flags[:] = range(1, 3), True, [5, ""]
    assert (list(array), list(flags), list(text), text[:]) == ([1, 1, 2, 0], [True, False], [b"a", b"b", b"c"], b"abc")


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
