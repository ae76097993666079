"""Dicts: which keys they take, in which order, and how they are read and changed as a whole."""

from __future__ import annotations

import datetime as dt
import enum
import gc
import random
import subprocess
import sys
import threading
import uuid

import coframe
import numpy as np
import pytest

Colour = enum.Enum("Colour", ["RED", "BLUE"])


class Level(enum.IntEnum):
    LOW = 1


ZONE = dt.timezone(dt.timedelta(hours=5, minutes=30))
#: In the order that the documentation gives.
KEYS = [
    None,
    *(-float("inf"), -(10**300), -(10**20), -12, -1.55, -1.5, -1, -0.25, -1e-320, 0, 5e-324, 1e-5, 0.1, 0.25, 1 / 3),
    *(1, 1.5, 2, 9, 10, 11, 99, 100, 2**53, 2**53 + 1, int(1.5e300), 10**301, float("inf")),
    *("", "\0", "\0\0", "\0\1", "\1", "'", "a", "a\0", "a\0b", "aa", "it's", "ü", "\uffff", "😀"),
    *(b"", b"\0", b"a", b"a\0", b"ab", b"\xff"),
    *(dt.date(1, 1, 1), dt.date(2024, 2, 29), dt.date(9999, 12, 31)),
    *(dt.datetime(1, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 0, 1), dt.datetime(2024, 1, 1, 0, 0, 1)),
    *(dt.datetime(2024, 1, 1, 5, tzinfo=ZONE), dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)),
    *(uuid.UUID(int=1), uuid.UUID(int=2**127)),
    *(Colour.BLUE, Colour.RED),
    *((), (None,), (1,), (1, "a"), (1, "a", 2), (1, "a\0"), (2,), ("a",), ("a", b""), (b"a",), (b"a", 1), ((),), ((1,),)),
]


def test_every_key_is_read_back_in_the_order_of_its_kind() -> None:
    shared = coframe.Dict()
    shuffled = KEYS.copy()
    random.Random(1).shuffle(shuffled)
    for key in shuffled:
        shared[key] = key
    assert list(shared) == list(shared.values()) == KEYS
    assert [type(key) for key in shared] == [type(key) for key in KEYS]
    assert all(shared[key] == key and key in shared for key in KEYS)


def test_random_numbers_have_the_order_that_python_gives_them() -> None:
    make = random.Random(2)
    numbers = {make.choice((-1, 1)) * make.random() * 10.0 ** make.randint(-300, 300) for _ in range(300)}
    numbers |= {make.randint(-(10 ** make.randint(1, 200)), 10 ** make.randint(1, 200)) for _ in range(300)}
    shared = coframe.Dict()
    for number in numbers:
        shared[number] = number
    assert list(shared) == sorted(numbers) == list(shared.values())


def test_keys_that_are_equal_are_one_key() -> None:
    shared = coframe.Dict()
    for same in [(1, 1.0, True, np.int8(1), Level.LOW), ("a", np.str_("a")), (-0.0, 0, False)]:
        shared.clear()
        for key in same:
            shared[key] = key
        assert len(shared) == 1 and all(shared[key] == same[-1] for key in same)
    shared[dt.datetime(2024, 1, 1, 5, 30, tzinfo=ZONE)] = "there"
    assert shared[dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc)] == "there"


def test_what_cannot_be_a_key_is_refused() -> None:
    class Local(enum.Enum):
        A = 1

    shared = coframe.Dict()
    refused = [[1], {1: 2}, float("nan"), np.datetime64("NaT"), np.datetime64(1, "ns"), np.array([1]), Local.A, "\ud800", dt.time(1)]
    for key in [*refused, (1, [2]), dt.datetime(1, 1, 1, tzinfo=ZONE), 10**5000]:
        with pytest.raises((coframe.InvalidError, coframe.ArgumentTypeError), match="key"):
            shared[key] = 1
        with pytest.raises((coframe.InvalidError, coframe.ArgumentTypeError)):
            shared.range(key)
    with pytest.raises(coframe.InvalidError, match="a key may take"):
        shared["x" * 600] = 1
    assert len(shared) == 0


def test_a_member_of_an_enum_that_another_process_has_not_is_named() -> None:
    shared = coframe.Dict(name="colours")
    shared[Colour.RED] = 1
    assert list(shared) == [Colour.RED] and shared[Colour.RED] == 1
    program = "import coframe; print(list(coframe.Dict(name='colours')))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd="/")
    assert f"a key that is {Colour.__module__}.Colour.RED, which is not found here" in done.stderr


def test_a_range_is_half_open_and_follows_the_order() -> None:
    shared = coframe.Dict()
    shared.update({n: n * n for n in range(500)})
    shared["text"] = None
    assert list(shared.range(10, 13)) == [(10, 100), (11, 121), (12, 144)]
    assert [key for key, _ in shared.range(start=498)] == [498, 499, "text"]
    assert len(list(shared.range(stop=300.5))) == 301 and list(shared.range(7, 7)) == list(shared.range(9, 3)) == []
    shared[("day", dt.date(2024, 5, 1))], shared[("day", dt.date(2024, 6, 1))] = 1, 2
    assert list(shared.range(("day", dt.date(2024, 5, 2)), ("day", dt.date(2025, 1, 1)))) == [(("day", dt.date(2024, 6, 1)), 2)]


def test_a_snapshot_stays_as_it_was_until_it_is_closed() -> None:
    shared = coframe.Dict()
    shared.update({n: str(n) for n in range(200)})
    with shared.snapshot() as before:
        shared.clear()
        shared["new"] = 1
        assert len(before) == 200 and before[7] == "7" and 7 in before and "new" not in before
        assert list(before) == list(range(200)) and dict(before.items()) == {n: str(n) for n in range(200)}
        assert list(before.range(5, 7)) == [(5, "5"), (6, "6")] and "9" in before.values() and before.get("new") is None
        with pytest.raises(KeyError):
            before["new"]
    with pytest.raises(ValueError, match="this snapshot was closed"):
        before[7]
    assert list(shared) == ["new"]


def test_a_transaction_is_atomic_and_returns_what_its_function_returns() -> None:
    shared = coframe.Dict()
    shared.update({"a": 10, "b": 0})

    def move(entries: coframe.DictTransaction) -> int:
        assert entries["a"] == 10 and dict(entries) == {"a": 10, "b": 0} and len(entries) == 2
        entries["a"] -= 4
        entries["b"] += 4
        entries["gone"] = 1
        del entries["gone"]
        with pytest.raises(KeyError):
            del entries["gone"]
        assert list(entries.range("b")) == [("b", 4)] and entries.setdefault("c", 1) == 1 and entries.pop("c") == 1
        with pytest.raises(coframe.InvalidError, match="inside a transaction on it"):
            shared["a"] = 0
        return int(entries["b"])

    assert shared.transaction(move) == 4 and shared.copy() == {"a": 6, "b": 4}

    def fail(entries: coframe.DictTransaction) -> None:
        entries.clear()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        shared.transaction(fail)
    assert shared.copy() == {"a": 6, "b": 4}


def test_a_transaction_ends_with_its_function_and_belongs_to_its_thread() -> None:
    shared, other, kept = coframe.Dict(), coframe.Dict(), []

    def keep(entries: coframe.DictTransaction) -> None:
        kept.append(entries)
        errors: list[str] = []

        def use() -> None:
            try:
                entries["x"] = 1
            except ValueError as error:
                errors.append(str(error))

        thread = threading.Thread(target=use)
        thread.start()
        thread.join()
        assert "belongs to another thread" in errors[0]
        # One transaction inside of another, on another dict.
        other.transaction(lambda inner: inner.update({"n": len(entries)}))
        entries["y"] = 2

    shared.transaction(keep)
    with pytest.raises(ValueError, match="this transaction has ended"):
        kept[0]["z"] = 3
    assert shared.copy() == {"y": 2} and other.copy() == {"n": 0}


def test_keys_are_read_without_their_values() -> None:
    shared = coframe.Dict()
    for key in range(100):
        shared[key] = Unreadable()
    assert list(shared) == list(range(100)) and len(list(shared.keys())) == 100
    # What cannot be read can be overwritten, and removed.
    shared[0] = "new"
    del shared[1]
    assert next(iter(shared.range())) == (0, "new") and next(iter(shared.items())) == (0, "new")
    with pytest.raises(ZeroDivisionError):
        shared[2]


class Unreadable:
    def __reduce__(self) -> tuple[object, ...]:
        return divmod, (1, 0)


def test_collecting_a_dict_does_not_stop_the_program_while_another_thread_opens_one(store: coframe.Store) -> None:
    first, closed = coframe.Dict(name="first"), coframe.Dict(name="second")
    del closed
    gc.collect()
    hold = f"import fcntl, sys; file = open({str(store.path)!r} + '/store', 'r+'); fcntl.flock(file, fcntl.LOCK_EX); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdout.readline()
        opened: list[coframe.Dict] = []
        thread = threading.Thread(target=lambda: opened.append(coframe.Dict(name="second")))
        thread.start()
        thread.join(0.2)
        assert thread.is_alive(), "the store was not locked"
        # Its end must not wait for the thread, which waits for the store, and asks for the GIL meanwhile.
        del first
        gc.collect()
        assert thread.is_alive(), "the drop waited for the other thread"
        holder.stdin.close()
        thread.join()
    assert len(opened[0]) == 0
