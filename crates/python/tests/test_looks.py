"""What one library cannot show or read is refused with the reason, and shown in another way."""

from __future__ import annotations

import decimal
import pickle

import coframe
import polars as pl
import pyarrow as pa
import pytest

D = decimal.Decimal
REFUSED = {
    "lists of no length": pa.array([[], None], pa.list_(pa.int64(), 0)),
    "a list of no length inside": pa.array([{"a": []}, {"a": None}], pa.struct([("a", pa.list_(pa.int64(), 0))])),
    "binaries of no length": pa.array([b"", b""], pa.binary(0)),
    "a binary of no length inside": pa.array([[b""], [b""]], pa.list_(pa.binary(0))),
    "hundreds": pa.array([D("100"), None], pa.decimal128(5, -2)),
    "narrow hundreds": pa.array([D("100"), None], pa.decimal64(5, -2)),
    "hundreds inside": pa.array([[D("100")], None], pa.list_(pa.decimal128(5, -2))),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_type_on_which_polars_panics_is_refused(name: str) -> None:
    frame = coframe.publish(pa.table({"x": [1, 2], name: REFUSED[name]}), "t")
    for call in (frame.to_polars, frame.lazy, frame[name].to_polars):
        with pytest.raises(coframe.UnsupportedError, match=f"column `{name}` is not for Polars"):
            call()
    assert "not for Polars" in (frame.explain()[name].polars or "")
    assert frame["x"].to_polars().to_list() == [1, 2] and frame.to_arrow()[name].to_pylist() == REFUSED[name].to_pylist()


def test_a_panic_of_polars_is_an_exception_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = coframe.publish(pa.table({"x": [1]}), "t")

    def panics(*_: object) -> None:
        raise pl.exceptions.PanicException("it is no use")

    monkeypatch.setattr(pl, "DataFrame", panics)
    with pytest.raises(coframe.UnsupportedError, match="Polars cannot take column `x`: PanicException: it is no use; leave it out"):
        frame.to_polars()


SHOWN = {
    **REFUSED,
    "wide decimal": pa.array([D(1), None], pa.decimal256(50, 2)),
    "interval": pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
    "union": pa.UnionArray.from_sparse(pa.array([0, 0], pa.int8()), [pa.array([1, 2])]),
    "list view": pa.array([[1], None], pa.list_view(pa.int64())),
    "runs": pa.RunEndEncodedArray.from_arrays(pa.array([2], pa.int32()), pa.array(["a"])),
}


@pytest.mark.parametrize("name", SHOWN)
def test_every_frame_is_shown(name: str) -> None:
    frame = coframe.publish(pa.table({"x": [1, 2], name: SHOWN[name]}), "t")
    shown = frame._repr_html_()
    assert "coframe.Frame t@" in shown and name in shown and "<table" in shown


def test_a_frame_that_cannot_be_opened_is_shown_with_the_reason() -> None:
    shared = coframe.share(pl.DataFrame({"x": [1]}))
    later = pickle.loads(pickle.dumps(shared))
    assert "1 rows" in pickle.loads(pickle.dumps(shared))._repr_html_()
    shared.close()
    assert "coframe.Frame freed" in shared._repr_html_() and "the frame was freed" in shared._repr_html_()
    assert "coframe:/dev/shm/" in later._repr_html_() and "not found in the store" in later._repr_html_()
