"""Bad input: one clear exception each, and the store is as it was."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import coframe
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest


class Thing:
    pass


@pytest.mark.parametrize(
    ("table", "kind", "message"),
    [
        (pl.DataFrame({"a": [1], "o": pl.Series([Thing()], dtype=pl.Object)}), coframe.UnsupportedError, "column `o` of dtype Object"),
        (pl.LazyFrame({"o": pl.Series([Thing()], dtype=pl.Object)}), coframe.UnsupportedError, "column `o` of dtype Object"),
        (pd.DataFrame({"a": [1, 2], "mixed": [1, "x"]}), coframe.UnsupportedError, "column `mixed` holds what Arrow has no type for"),
        (pd.DataFrame({"o": [Thing()]}), coframe.UnsupportedError, "column `o` holds what Arrow has no type for"),
        ({"o": np.array([Thing()], dtype=object)}, coframe.UnsupportedError, "column `o` holds Python objects: row 0 is a Thing"),
        ({"c": np.array([1j])}, coframe.UnsupportedError, "column `c` of numpy dtype complex128 is not supported"),
        ({"a": np.arange(2), "b": np.arange(3)}, coframe.InvalidError, "columns of different lengths"),
        ({"a": np.zeros((2, 2, 2))}, coframe.InvalidError, "column `a` has 3 dimensions"),
        ({}, coframe.InvalidError, "a dict without columns"),
        ({0: np.arange(2)}, coframe.ArgumentTypeError, "a column named 0, of type int: expected a str"),
        ({"a": [1, "x"]}, coframe.UnsupportedError, "column `a` holds values of several types: row 0 is a int, and others are str"),
        ({"a": ["\ud800"]}, coframe.UnsupportedError, "column `a` holds a string that is not valid UTF-8: row 0"),
        ({"t": np.array([1], "M8[ps]")}, coframe.UnsupportedError, r"column `t` of numpy dtype datetime64\[ps\] is not supported"),
        ({"t": np.array([1], "m8[ps]")}, coframe.UnsupportedError, r"column `t` of numpy dtype timedelta64\[ps\] is not supported"),
        ({"t": np.array([1], "m8[M]")}, coframe.UnsupportedError, r"column `t` of numpy dtype timedelta64\[M\] is not supported"),
        ({"t": np.array([1], "m8")}, coframe.UnsupportedError, "column `t` of numpy dtype timedelta64 is not supported"),
        ({"t": np.array([1, 2**33], "M8[D]")}, coframe.UnsupportedError, "column `t` .* does not fit int32, .*: row 1"),
        ({"t": np.array([2**60], "M8[h]")}, coframe.UnsupportedError, "column `t` .* does not fit"),
        (pd.DataFrame({"a": [1], "big": [2**70]}), coframe.UnsupportedError, "column `big` holds what Arrow has no type for"),
        (pd.DataFrame({"a": [1], "s": pd.arrays.SparseArray([1])}), coframe.UnsupportedError, "column `s` holds what Arrow has no type for"),
        (pd.DataFrame({"a": [1], "lone": pd.Series(["\ud800"], dtype=object)}), coframe.UnsupportedError, "column `lone` holds what Arrow has no type for"),
        ([1, 2], coframe.ArgumentTypeError, "a table of type builtins.list"),
        (pa.array([1, 2]), coframe.InvalidError, "expected a table, which is a struct of columns"),
        (pa.array([{"a": 1}, None]), coframe.InvalidError, "whose rows are never null"),
    ],
    ids=["object", "lazy object", "mixed", "pandas object", "numpy object", "complex", "lengths", "dimensions", "empty", "names", "several types", "lone surrogate", "ps", "durations of ps", "months", "no unit", "far days", "far hours", "big", "sparse", "pandas surrogate", "list", "array", "null rows"],
)
def test_a_table_that_cannot_be_published_names_what_is_wrong(table: object, kind: type[Exception], message: str) -> None:
    for call in (lambda: coframe.publish(table, "t"), lambda: coframe.share(table)):
        with pytest.raises(kind, match=message):
            call()
    assert coframe.list() == []


BIG = 2**60 + 1


@pytest.mark.parametrize(
    "values",
    [pl.Series([BIG, None]), pd.Series([BIG, None], dtype="Int64"), pa.array([BIG, None]), pa.chunked_array([[BIG, None]]), [BIG, 0.5], [[BIG, 0.5]], [2**63 + 1, -1], [np.int64(BIG), 0.5]],
    ids=["polars", "pandas", "pyarrow", "chunks", "list", "lists", "two signs", "numpy's own"],
)
def test_an_integer_that_numpy_would_round_is_refused(values: object) -> None:
    with pytest.raises(coframe.UnsupportedError, match="column `a` holds integers that numpy makes floats of: row 0 is [0-9]*, and would become"):
        coframe.publish({"a": values}, "t")
    whole = np.ma.masked_array([BIG, 0], [False, True])
    assert coframe.publish({"a": whole}, "t").to_polars()["a"].to_list() == [BIG, None]


@pytest.mark.parametrize("values", [[1, 2.5], pl.Series([1, None]), pd.Series([1.5, 2.0]), pa.array([1, 2.5]), [[1, 2], [3, 0.5]]], ids=["list", "Polars", "pandas", "pyarrow", "lists"])
def test_an_integer_that_a_float_holds_is_a_float(values: object) -> None:
    assert coframe.publish({"a": values}, "t")["a"].to_numpy().ravel()[0] in (1, 1.5)


def test_a_stream_that_was_read_before_is_refused() -> None:
    class Once:
        capsule = pa.table({"x": [1]}).__arrow_c_stream__()

        def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
            return self.capsule

    coframe.publish(Once(), "t")
    with pytest.raises(coframe.InvalidError, match="the stream was read before"):
        coframe.publish(Once(), "t")


def test_an_exception_of_a_reader_is_the_cause_of_an_error_that_has_its_message() -> None:
    def batches() -> object:
        yield pa.record_batch({"x": [1]})
        raise RuntimeError("the source is dry")

    reader = pa.RecordBatchReader.from_batches(pa.schema([("x", pa.int64())]), batches())
    with pytest.raises(coframe.Error, match="could not read the next batch: RuntimeError: the source is dry") as caught:
        coframe.publish(reader, "t")
    assert isinstance(caught.value.__cause__, RuntimeError) and coframe.list() == []


def test_a_closed_store_is_an_error_with_advice() -> None:
    store = coframe.Store()
    with store:
        store.publish(pa.table({"x": [1]}), "t")
    for call in (lambda: store.open("t"), lambda: store.list(), lambda: store.publish(pa.table({"x": [1]}), "t"), store.session):
        with pytest.raises(coframe.ClosedError, match="the store was closed: open it again"):
            call()
    session = coframe.Session()
    session.close()
    with pytest.raises(coframe.ClosedError, match="the session has ended: start a new one"):
        session.list()
    with pytest.raises(TypeError, match="a session cannot be pickled"):
        pickle.dumps(coframe.Session())


def test_a_store_pickles_as_its_path() -> None:
    store = coframe.Store()
    store.publish(pa.table({"x": [1]}), "t")
    again = pickle.loads(pickle.dumps(store))
    assert repr(again) == repr(store)
    assert [info.name for info in again.list()] == ["t"] and repr(again) == repr(store)
    again.close()
    assert repr(again) == "<coframe.Store closed>"


def test_the_error_of_a_removed_version_lists_the_existing_ones() -> None:
    handle = coframe.publish(pa.table({"x": [1]}), "t").handle
    coframe.publish(pa.table({"x": [2]}), "t")
    coframe.sweep()
    with pytest.raises(coframe.SupersededError, match="`t@1` is superseded: the latest is version 2"):
        len(coframe.Frame(handle))
    assert issubclass(coframe.SupersededError, FileNotFoundError)


def test_a_frame_from_another_machine_is_an_error_that_explains() -> None:
    elsewhere = "coframe:/dev/shm/coframe-test-nowhere/store/t@1?id=00000000000000000000000000000001"
    frame = pickle.loads(pickle.dumps(coframe.Frame(elsewhere)))
    with pytest.raises(coframe.NotFoundError, match="frame `t@1` not found in the store `/dev/shm/coframe-test-nowhere/store`"):
        frame.to_polars()
    assert repr(frame) == f"<coframe.Frame {elsewhere}>"


def test_a_string_that_is_not_a_handle_is_an_error_at_its_first_use() -> None:
    frame = pickle.loads(pickle.dumps(coframe.Frame("nonsense")))
    with pytest.raises(coframe.InvalidError, match="`nonsense` is not a handle: expected coframe:<store path>"):
        frame.columns


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_a_frame_of_another_user_is_refused(store: coframe.Store) -> None:
    handle = coframe.publish(pa.table({"x": [1]}), "t").handle
    code = (
        "import os, coframe; coframe.Frame  # this user may not read the package later\n"
        "os.setgid(65534); os.setuid(65534)\n"
        f"try:\n    len(coframe.Frame({handle!r}))\nexcept coframe.Error as e:\n    print(type(e).__name__, isinstance(e, OSError), e)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "True" in found and "denied" in found.lower(), found


def test_a_store_that_others_can_write_to_is_refused(store: coframe.Store) -> None:
    os.chmod(store.path, 0o777)
    with pytest.raises(coframe.UntrustedError, match="is refused as a store") as caught:
        coframe.Store(store.path)
    assert isinstance(caught.value, PermissionError)


def test_names_columns_and_ranges_are_checked() -> None:
    frame = coframe.publish(pa.table({"x": [1, 2, 3]}), "t")
    with pytest.raises(coframe.InvalidError):
        coframe.publish(pa.table({"x": [1]}), "../t")
    with pytest.raises(coframe.NotFoundError, match="frame `u` not found in the store"):
        coframe.open("u")
    with pytest.raises(KeyError, match="column `y` not found in the frame `t`; it has x"):
        frame["y"]
    with pytest.raises(coframe.ColumnNotFoundError):
        frame[["x", "y"]]
    with pytest.raises(coframe.ColumnNotFoundError, match="column `y` not found in the frame; it has x"):
        frame.explain()["y"]
    with pytest.raises(coframe.InvalidError, match="column `x` appears twice"):
        frame[["x", "x"]]
    with pytest.raises(TypeError, match="a frame of None: expected the str of a handle"):
        coframe.Frame(None)  # type: ignore[arg-type]
    with pytest.raises(coframe.InvalidError, match="expected a step of 1"):
        frame[::2]
    with pytest.raises(TypeError, match="expected a column's name"):
        frame[3]  # type: ignore[call-overload]
    with pytest.raises(coframe.InvalidError, match="expected at least one part"):
        frame.split(0)
    with pytest.raises(TypeError):
        iter(frame)
    assert (len(frame[5:]), len(frame[-2:]), len(frame[2:1]), len(frame[:])) == (0, 2, 0, 3)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": None}, TypeError, "name=None: expected a str"),
        ({"mode": -1}, ValueError, 'mode=-1: expected "overwrite", "create" or a version'),
        ({"mode": "1"}, ValueError, """mode='1': expected "overwrite", "create" or a version"""),
        ({"keep": -1}, ValueError, "keep=-1: expected a number of versions"),
        ({"keep": 1.5}, TypeError, "keep=1.5: expected a number of versions"),
        ({"batch_rows": -1}, ValueError, "batch_rows=-1: expected a number of rows"),
        ({"layout": None}, TypeError, "layout=None: expected a str"),
        ({"metadata": ["a"]}, TypeError, "metadata=.*: expected a dict of str"),
        ({"metadata": {"a": "\ud800"}}, ValueError, "metadata='.ud800': expected a str that UTF-8 can encode"),
    ],
    ids=lambda value: ascii(value)[:20],
)
def test_an_argument_of_a_publish_that_cannot_be_is_named(arguments: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        coframe.publish(pa.table({"x": [1]}), **{"name": "t", **arguments})  # type: ignore[arg-type]
    assert coframe.list() == []


def test_names_and_versions_that_cannot_be_are_named() -> None:
    store = coframe.Store()
    for call in (coframe.open, coframe.remove, coframe.wait, store.versions, store.users, store.verify):
        with pytest.raises(coframe.ArgumentTypeError, match="name=None: expected a str"):
            call(None)  # type: ignore[operator]
        with pytest.raises(coframe.InvalidError, match="expected a str that UTF-8 can encode"):
            call("\ud800")  # type: ignore[operator]
    with pytest.raises(coframe.InvalidError, match="newer_than=-1: expected a version"):
        coframe.wait("t", -1)
    with pytest.raises(coframe.InvalidError, match="expected at least one part, and no more"):
        coframe.publish(pa.table({"x": [1]}), "t").split(10**30)
    with pytest.raises(coframe.InvalidError, match="version=-1: expected a version"):
        coframe.open("t", version=-1)
    with pytest.raises(coframe.InvalidError, match="a barrier for 0 parties: expected at least one"):
        coframe.Barrier(0)
    with pytest.raises(coframe.InvalidError, match="a semaphore of -1 permits: expected none or more"):
        coframe.Semaphore(-1)


def test_advice_is_in_the_words_of_python() -> None:
    subprocess.run([sys.executable, "-c", "import coframe, os; coframe.Lock(name='l').acquire(); os._exit(0)"], check=True)
    lock, shared = coframe.Lock(name="l"), coframe.Dict()
    with pytest.raises(coframe.PoisonedError, match=r"call `\.recover\(\)`"):
        lock.acquire()
    lock.recover()
    with pytest.raises(coframe.InvalidError, match="release it before"):
        lock.acquire()
    with pytest.raises(coframe.InvalidError, match="return the new value from the function"):
        shared.apply("a", lambda _: shared.update(b=1))
    with pytest.raises(coframe.InvalidError, match="^a key: it takes [0-9]* bytes"):
        shared["k" * 1000] = 1
    with pytest.raises(coframe.InvalidError, match="as the `handle` of a frame is"):
        len(coframe.Frame("nonsense"))


def test_publishing_on_condition_finds_another_version() -> None:
    first = coframe.publish(pa.table({"x": [1]}), "t", mode="create")
    with pytest.raises(coframe.ConflictError, match="`t` was not published: expected nothing to be the latest"):
        coframe.publish(pa.table({"x": [2]}), "t", mode="create")
    assert coframe.publish(pa.table({"x": [2]}), "t", mode=first.version).version > first.version


def test_exceptions_survive_pickling() -> None:
    for name in coframe.__all__:
        kind = getattr(coframe, name)
        if isinstance(kind, type) and issubclass(kind, coframe.Error):
            again = pickle.loads(pickle.dumps(kind("what happened")))
            assert type(again) is kind and str(again) == "what happened", name


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = coframe.publish(pa.table({"x": [1]}), "t")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(coframe.MissingPackageError, match="Frame.to_arrow needs pyarrow, which is not installed: pip install pyarrow"):
        frame.to_arrow()
    with pytest.raises(coframe.MissingPackageError, match="publishing a DataFrame of pandas needs pyarrow"):
        coframe.publish(pd.DataFrame({"x": [1]}), "t")
    with pytest.raises(ImportError, match="Frame.to_polars needs polars"):
        frame.to_polars()
    assert frame["x"].to_numpy().tolist() == [1]
