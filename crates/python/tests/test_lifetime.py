"""Who keeps what alive, and that nothing is left."""

from __future__ import annotations

import fcntl
import gc
import itertools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time

import coframe
import polars as pl
import pyarrow as pa
import pytest
from memory import descriptors, mapped


def table(rows: int = 1000) -> pl.DataFrame:
    return pl.DataFrame({"x": range(rows), "s": ["a string that is not part of its view"] * rows})


def test_arrays_outlive_frame_store_and_name() -> None:
    with coframe.Session() as session:
        frame = session.publish(table(), "t")
        numbers, arrow, df = frame["x"].to_numpy(), frame.to_arrow(views=True), frame.to_polars()
        part = df.slice(10, 2)
        del frame, df
    del session
    gc.collect()
    assert numbers.sum() == 499_500
    assert arrow["s"][999].as_py() == "a string that is not part of its view"
    assert part["x"].to_list() == [10, 11]


def test_del_in_any_order_keeps_what_is_left() -> None:
    names = ["store", "frame", "part", "column", "numbers", "arrow", "df"]
    for order in itertools.islice(itertools.permutations(names), 0, None, 97):
        store = coframe.Store()
        frame = store.publish(table(10), "t")
        things = {"store": store, "frame": frame, "part": frame[2:5], "column": frame["x"]}
        things |= {"numbers": frame["x"].to_numpy(), "arrow": pa.table(frame), "df": frame.to_polars()}
        del store, frame
        sums = {
            "part": lambda part: part["x"].to_numpy().sum() == 9,
            "column": lambda column: column.to_numpy().sum() == 45,
            "numbers": lambda numbers: numbers.sum() == 45,
            "arrow": lambda arrow: sum(arrow["x"].to_pylist()) == 45,
            "df": lambda df: df["x"].sum() == 45 and df["s"][9].startswith("a string"),
        }
        for name in order:
            del things[name]
            gc.collect()
            assert all(sums[left](thing) for left, thing in things.items() if left in sums), order


def test_memory_goes_with_the_last_reference(store: coframe.Store) -> None:
    frame = store.publish(table(), "t")
    numbers = frame["x"].to_numpy()
    assert len(mapped(store.path)) == 1
    del frame
    gc.collect()
    assert len(mapped(store.path)) == 1
    del numbers
    gc.collect()
    assert mapped(store.path) == []


def test_ten_thousand_opens_leak_no_descriptor_and_no_map(store: coframe.Store) -> None:
    coframe.publish(table(), "t")
    coframe.open("t").to_polars()
    before, lines = descriptors(), len(open("/proc/self/maps").readlines())
    for _ in range(10_000):
        coframe.open("t")["x"].to_numpy()
    kept = [coframe.open("t") for _ in range(100)]
    assert descriptors() == before
    del kept
    gc.collect()
    assert mapped(store.path) == []
    assert len(open("/proc/self/maps").readlines()) < lines + 50


def test_a_shared_frame_goes_with_its_last_part(store: coframe.Store) -> None:
    shared = coframe.share(table())
    session = os.path.join(store.path, "sessions", os.listdir(os.path.join(store.path, "sessions"))[0])

    def segments() -> list[str]:
        return [file for file in os.listdir(session) if "@" in file]

    part = shared[10:20]
    del shared
    gc.collect()
    assert len(segments()) == 1
    del part
    gc.collect()
    assert segments() == []


def test_a_shared_frame_that_was_pickled_stays_until_it_is_freed() -> None:
    shared = coframe.share(table())
    text = pickle.dumps(shared)
    del shared
    gc.collect()
    assert len(pickle.loads(text)) == 1000
    with coframe.share(table()) as second:
        text = pickle.dumps(second[:5])
    with pytest.raises(coframe.NotFoundError):
        len(pickle.loads(text))
    with pytest.raises(coframe.ClosedError, match="the frame was freed"):
        len(second)


def test_what_is_put_into_a_session_goes_with_it() -> None:
    with coframe.Session() as session:
        shared, counter, total = coframe.share(table(), store=session), coframe.Counter(store=session), coframe.Dict(store=session)
        texts = [pickle.dumps(thing) for thing in (shared, counter, total)]
        assert [info.num_rows for info in session.list()] == [1000]
    for text, use in zip(texts, (len, int, len), strict=True):
        with pytest.raises(coframe.NotFoundError, match="(frame|cell|dict) `.*not found.*session, which ends with its process"):
            use(pickle.loads(text))


def test_sharing_continues_in_a_store_that_was_removed_and_recreated(store: coframe.Store) -> None:
    gone = coframe.share(table())
    shutil.rmtree(store.path)
    again = coframe.share(table())
    assert len(pickle.loads(pickle.dumps(again))) == len(gone) == 1000
    assert coframe.Counter(1).value == 1


def run(code: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], check=check, capture_output=True, text=True, timeout=120)


def test_the_interpreter_ends_well_while_frames_live(store: coframe.Store) -> None:
    found = run(
        "import coframe, polars as pl, threading\n"
        "shared = coframe.share(pl.DataFrame({'x': range(1000)}))\n"
        "numbers, df, lock = shared['x'].to_numpy(), shared.to_polars(), coframe.Lock()\n"
        "session = coframe.Session(); kept = session.publish(df, 'kept'); cycle = [shared]; cycle.append(cycle)\n"
        "lock.acquire()\n"
        "threading.Thread(target=lambda: coframe.wait('never', timeout=60), daemon=True).start()\n"
        "print(shared.handle)\n"
    )
    assert found.stderr == ""
    with pytest.raises(coframe.NotFoundError):
        len(coframe.Frame(found.stdout.strip()))
    store.sweep()
    assert os.listdir(os.path.join(store.path, "sessions")) == []


def test_threads_share_a_frame() -> None:
    frame = coframe.Frame(coframe.publish(table(), "t").handle)
    found: list[int] = []

    def work() -> None:
        for _ in range(50):
            found.append(int(frame[10:]["x"].to_numpy().sum() + coframe.open("t").to_polars()["x"].sum()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [499_500 - 45 + 499_500] * 200


def test_other_threads_run_while_one_publishes(store: coframe.Store) -> None:
    with open(os.path.join(store.path, "store"), "rb+") as control:
        fcntl.flock(control, fcntl.LOCK_EX)

        def let_go() -> None:
            time.sleep(0.2)
            fcntl.flock(control, fcntl.LOCK_UN)

        thread = threading.Thread(target=let_go)
        thread.start()
        # Waits inside of its call for the other thread, which could not run if this one kept the interpreter's lock.
        store.publish(table(), "t")
        thread.join()


WAITS = {
    "wait": "coframe.wait('never')",
    "event": "coframe.Event().wait()",
    "lock": "coframe.Lock(name='held').acquire()",
    "value": "coframe.Value('i', name='value').value",
    "semaphore": "coframe.Semaphore(1, name='permits').acquire()",
    "barrier": "coframe.Barrier(2).wait()",
}


@pytest.mark.parametrize("name", WAITS)
def test_ctrl_c_ends_every_wait(name: str) -> None:
    held, value, permits = coframe.Lock(name="held"), coframe.Value("i", name="value"), coframe.Semaphore(1, name="permits")
    with held, value.get_lock(), permits:
        # An import that a signal interrupts makes Python end by the signal, also if the program catches it.
        code = f"from coframe import *\nimport coframe\nprint('ready', flush=True)\ntry:\n    {WAITS[name]}\nexcept KeyboardInterrupt:\n    print('interrupted')"
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            time.sleep(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == "interrupted\n"
            assert process.returncode == 0


def test_ctrl_c_ends_a_publish_of_many_batches_and_leaves_nothing() -> None:
    code = (
        "import coframe, pyarrow as pa, itertools\n"
        "batch = pa.record_batch({'x': range(1000)})\n"
        "endless = pa.RecordBatchReader.from_batches(batch.schema, itertools.repeat(batch))\n"
        "print('ready', flush=True)\n"
        "try:\n    coframe.publish(endless, 't', batch_rows=1000)\nexcept KeyboardInterrupt:\n    print('interrupted', len(coframe.list()))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60)[0] == "interrupted 0\n"


def test_wait_returns_what_another_process_publishes() -> None:
    code = "import coframe, time, pyarrow as pa; time.sleep(0.2); coframe.publish(pa.table({'x': [1]}), 'later')"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        version = coframe.wait("later", timeout=60)
        assert version == coframe.open("later").version
        assert process.wait(60) == 0
    assert coframe.wait("later", newer_than=version or 0, timeout=0.01) is None
