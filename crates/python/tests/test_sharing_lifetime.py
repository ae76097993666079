"""What is shared goes at the end, however the program ends; errors arrive, and nothing hangs."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import coframe
import numpy as np
import pyarrow as pa
import pytest
import sharing_tasks as tasks
from coframe import _parcel
from test_reaper import is_clean, until
from test_sharing import frames
from workers import FRESH

PROGRAM = """
import coframe, multiprocessing, os, signal, sys, time
import sharing_tasks as tasks
from coframe import _parcel

if __name__ == "__main__":
    with coframe.sharing():
        context = multiprocessing.get_context(sys.argv[1])
        queue = context.Queue()
        queue.put(tasks.table())
        worker = context.Process(target=tasks.put_and_leave, args=(queue, 200_000))
        worker.start()
        worker.join()
        while not queue._buffer and not queue._reader.poll(0.01): pass
        print("ready", flush=True)
        end = sys.argv[2]
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "exit":
            os._exit(1)
        if end == "raise":
            raise SystemExit(1)
        if end == "leave":
            queue.cancel_join_thread()
"""


@pytest.mark.parametrize("end", ["kill", "exit", "raise", "leave"])
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_messages_that_were_never_read_leave_nothing(method: str, end: str, store: coframe.Store, tmp_path: os.PathLike[str]) -> None:
    script = os.path.join(tmp_path, "program.py")
    with open(script, "w") as file:
        file.write(PROGRAM)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    found = subprocess.run([sys.executable, script, method, end], capture_output=True, text=True, timeout=120, env=environment)
    assert found.stdout == "ready\n", found.stderr
    assert until(lambda: is_clean(store))


def test_a_killed_worker_harms_no_other() -> None:
    df = tasks.table()
    context = FRESH
    with coframe.sharing():
        worker = context.Process(target=tasks.kill_self, args=(df,))
        worker.start()
        worker.join(60)
        assert worker.exitcode == -signal.SIGKILL
        with context.Pool(1) as pool:
            assert pool.apply(tasks.total, (df,))[1]


def test_beyond_the_budget_tables_are_pickled(store: coframe.Store) -> None:
    size = 100_000 * 8
    with coframe.sharing(min_bytes=1000, budget=10 * size):
        for value in range(1000):
            assert pickle.loads(ForkingPickler.dumps(np.full(size // 8, value)))[-1] == value
        assert 5 <= len(frames(store)) <= 10
    assert not frames(store)


def test_frames_of_others_do_not_use_up_the_budget(store: coframe.Store) -> None:
    size = 100_000 * 8
    store.publish(pa.table({"x": np.zeros(100 * size // 8)}), "large")
    with coframe.sharing(min_bytes=1000, budget=10 * size):
        pickle.loads(ForkingPickler.dumps(np.ones(size // 8)))
        assert len(frames(store)) == 1
    assert not frames(store)


def test_a_full_store_pickles(store: coframe.Store, capfd: pytest.CaptureFixture[str]) -> None:
    import resource

    df = tasks.table()
    with coframe.sharing(verbose=True):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
        try:
            text = bytes(ForkingPickler.dumps(df))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert len(text) > 1_000_000
        assert not frames(store)
    assert "is pickled" in capfd.readouterr().err


def test_a_store_that_is_removed_in_between_is_an_error_of_the_task(store: coframe.Store) -> None:
    df = tasks.table()
    with coframe.sharing(), FRESH.Pool(1) as pool:
        assert pool.apply(tasks.total, (df,))[1]
        text = ForkingPickler.dumps(df)
        shutil.rmtree(store.path)
        with pytest.raises(coframe.NotFoundError, match="was removed before it was read"):
            pickle.loads(text)["c0"]
        # What is sent from now on is pickled.
        assert pool.apply_async(tasks.total, (df,)).get(60) == (float(df["c0"].sum()), False)


def test_a_frame_that_goes_while_its_message_waits_is_an_error_of_the_task(store: coframe.Store) -> None:
    df = tasks.table()
    with FRESH.Pool(1) as pool:
        assert pool.apply(os.getpid) > 0
        with coframe.sharing():
            text = bytes(ForkingPickler.dumps(df))
        result = pool.apply_async(tasks.unpickled_total, (text,))
        with pytest.raises(coframe.NotFoundError, match="keep `sharing"):
            result.get(60)
        # The pool goes on.
        assert pool.apply(os.getpid) > 0


def test_a_worker_without_descriptors_raises_in_the_task() -> None:
    df = tasks.table()
    with coframe.sharing(), FRESH.Pool(1, initializer=tasks.no_descriptors) as pool:
        with pytest.raises(OSError):
            pool.apply_async(tasks.first_value, (df,)).get(60)
        assert pool.apply_async(os.getpid).get(60) > 0


def test_a_table_that_cannot_be_opened_raises_at_each_use() -> None:
    with coframe.sharing():
        text = bytes(ForkingPickler.dumps(tasks.table()))
    found = pickle.loads(text)
    uses = [len, iter, list, bool, np.asarray, lambda df: df["c0"], lambda df: df.c0, lambda df: df + 1, lambda df: df == df]
    for use in uses:
        with pytest.raises(coframe.NotFoundError):
            use(found)
    with pytest.raises(coframe.NotFoundError):
        len(pickle.loads(pickle.dumps(found)))
    assert "unavailable" in repr(found)


def test_a_message_of_another_user_is_an_error_at_the_first_use(store: coframe.Store) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with coframe.sharing():
        text = bytes(ForkingPickler.dumps(tasks.table()))
        # Other users may not be able to read the installed package, whose modules are loaded when they are used.
        code = "import importlib, os, pickle, pkgutil, sys\nimport sharing_tasks, coframe, pandas, numpy\n"
        code += "names = [module.name for module in pkgutil.iter_modules(coframe.__path__, 'coframe.')]\n"
        code += "[importlib.import_module(name) for name in names if not name.endswith('__main__')]\nos.setuid(65534)\n"
        code += "found = pickle.loads(sys.stdin.buffer.read())\ntry:\n    len(found)\nexcept Exception as error: print(type(error).__name__)"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
        found = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, timeout=120, env=environment)
        assert found.stdout.strip() in (b"PermissionError", b"UntrustedError", b"SystemCallError"), found.stderr


def test_the_end_of_the_with_frees_everything(store: coframe.Store) -> None:
    df = tasks.table()
    with coframe.sharing(), multiprocessing.get_context("fork").Pool(1) as pool:
        pool.map(functools.partial(tasks.total, df), range(3))
        assert store.usage() is not None
        assert len(frames(store)) == 1
    assert not os.listdir(os.path.join(store.path, "sessions"))


def test_a_message_read_again_uses_the_open_frame_and_gives_another_object() -> None:
    with coframe.sharing():
        text = bytes(ForkingPickler.dumps(tasks.table()))
        one = pickle.loads(text)
        (before,) = _parcel._mapped.values()
        other = pickle.loads(text)
        assert list(_parcel._mapped.values()) == [before]
        one.iloc[0, 0] = 7.0
        assert (other.iloc[0, 0], pickle.loads(text).iloc[0, 0]) == (0.0, 0.0)


def test_a_frame_is_closed_with_the_last_object_on_its_map() -> None:
    with coframe.sharing():
        text = bytes(ForkingPickler.dumps(tasks.table()))
        found = pickle.loads(text)
        column = found["c1"]
        del found
        gc.collect()
        assert len(_parcel._mapped) == 1
        del column
        gc.collect()
        assert not _parcel._mapped


def test_a_message_read_after_its_frame_was_removed_is_an_error_though_the_frame_is_open() -> None:
    with coframe.sharing():
        text = bytes(ForkingPickler.dumps(tasks.table()))
        kept = pickle.loads(text)
    with pytest.raises(coframe.NotFoundError, match="was removed before it was read"):
        len(pickle.loads(text))
    assert len(kept) == 200_000
