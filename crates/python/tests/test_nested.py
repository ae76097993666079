"""Nested and narrow types keep their values, at any offset of a slice."""

from __future__ import annotations

import decimal
import random

import coframe
import polars as pl
import pyarrow as pa
import pytest

D = decimal.Decimal
INT = pa.int64()


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct(list(fields.items()))


NESTED = {
    "struct in struct": (_struct(f=_struct(g=INT)), lambda i: {"f": {"g": i}}),
    "with nulls": (_struct(f=_struct(g=INT)), lambda i: None if i % 5 == 0 else {"f": None if i % 3 == 0 else {"g": i}}),
    "three structs": (_struct(a=_struct(b=_struct(c=INT, t=pa.string()))), lambda i: {"a": {"b": {"c": i, "t": str(i)}}}),
    "list in struct": (_struct(f=pa.list_(_struct(g=_struct(h=INT)))), lambda i: {"f": [{"g": {"h": i}}] * (i % 3)}),
    "structs in a list": (pa.list_(_struct(a=_struct(b=INT))), lambda i: [{"a": {"b": i}}] * (i % 3)),
    "structs in lists of one length": (pa.list_(_struct(g=_struct(h=INT)), 2), lambda i: None if i % 7 == 0 else [{"g": {"h": i}}, {"g": {"h": -i}}]),
    "lists of one length in one another": (pa.list_(pa.list_(_struct(g=INT), 2), 2), lambda i: [[{"g": i}, {"g": 1}], [{"g": 2}, {"g": i}]]),
    "a list of one length in structs": (_struct(s=_struct(f=pa.list_(_struct(b=pa.bool_()), 3))), lambda i: {"s": {"f": [{"b": i % 2 == 0}, {"b": True}, None]}}),
    "map": (pa.map_(pa.string(), _struct(g=_struct(h=INT))), lambda i: [(str(i), {"g": {"h": i}})] * (i % 3)),
    "map in struct": (_struct(m=_struct(n=pa.map_(pa.string(), _struct(g=INT)))), lambda i: {"m": {"n": [("k", {"g": i})]}}),
    "views": (_struct(a=_struct(v=pa.string_view())), lambda i: {"a": {"v": f"a text that is out of line {i}" if i % 2 else str(i)}}),
    "booleans": (_struct(a=_struct(b=pa.bool_())), lambda i: {"a": {"b": [True, False, None][i % 3]}}),
}
COLUMNS = {name: pa.array([make(i) for i in range(100)], kind) for name, (kind, make) in NESTED.items()}
_CODES = pa.array([f"text {i % 7}" for i in range(100)]).dictionary_encode()
COLUMNS["dictionary in structs"] = pa.StructArray.from_arrays([pa.StructArray.from_arrays([_CODES], ["d"])], ["s"])
COLUMNS["union of structs"] = pa.UnionArray.from_sparse(
    pa.array([i % 2 for i in range(100)], pa.int8()), [COLUMNS["struct in struct"], COLUMNS["booleans"]]
)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_slice_of_nested_columns_has_the_values_of_its_rows(name: str) -> None:
    table = pa.table({"x": COLUMNS[name]})
    numbers = random.Random(name)
    for start, length in [(0, 100), (17, 17), (99, 1), (40, 0), *((numbers.randrange(99), numbers.randrange(1, 60)) for _ in range(20))]:
        part = table.slice(start, length)
        frame = coframe.publish(part, "t")
        assert frame.to_arrow(views=True).to_pylist() == part.to_pylist(), (start, length)
        assert frame[3:9].to_arrow(views=True).to_pylist() == part.slice(3, 6).to_pylist(), (start, length)
    reader = table.to_reader(max_chunksize=7)
    assert coframe.publish(reader, "t").to_arrow().to_pylist() == table.to_pylist()


DECIMALS = [D("1.1"), D("-2.2"), None, D("3333.3")]


@pytest.mark.parametrize("kind", [pa.decimal32(5, 1), pa.decimal64(5, 1), pa.decimal64(18, 1), pa.decimal128(5, 1)], ids=str)
def test_a_narrow_decimal_has_its_values_in_polars(kind: pa.DataType) -> None:
    flat = pa.array(DECIMALS, kind)
    table = pa.table(
        {
            "flat": flat,
            "list": pa.array([[value] for value in DECIMALS], pa.list_(kind)),
            "pairs": pa.array([[value, value] for value in DECIMALS], pa.list_(kind, 2)),
            "struct": pa.array([{"f": {"g": value}} for value in DECIMALS], _struct(f=_struct(g=kind))),
            "map": pa.array([[("k", value)] for value in DECIMALS], pa.map_(pa.string(), kind)),
        }
    )
    for part in (table, table.slice(1), table.slice(0, 0)):
        frame = coframe.publish(part, "t")
        expected = part.select(["flat"]).to_pylist()
        for df in (frame.to_polars(), frame.lazy().collect()):
            assert df.select("flat").to_dicts() == expected
            assert df["list"].to_list() == part["list"].to_pylist() and df["struct"].to_list() == part["struct"].to_pylist()
            assert df["pairs"].to_list() == part["pairs"].to_pylist()
            assert df["map"].to_arrow().to_pylist() == part["map"].to_pylist()
        assert frame["flat"].to_polars().dtype == pl.Decimal(kind.precision, 1)
        assert frame.to_arrow().select(["flat", "list"]).equals(part.select(["flat", "list"]))
    note = coframe.publish(table, "t").explain()
    assert all(("widened to 128 bits" in (note[name].polars or "")) == (kind.bit_width < 128) for name in ("flat", "list", "struct"))
    assert "40583" not in coframe.open("t")._repr_html_()
