"""The conformance set as Python literals: a type, its values, and how they are split into batches.

Temporal values are integers in their unit, because Python's types have a resolution of microseconds.
"""

import math
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal

import pyarrow as pa

SHORT, LONG = "día", "a string beyond twelve bytes: größer"
TEXTS = ["b", None, LONG, SHORT, "", LONG, "日本語のとても長い文字列", "exactly12byt"]
BYTES = [b"b", None, bytes(range(20)), b"\xff\x00", b"", b"exactly12byt"]
CUT = [5, None, -3, 7, None, 5, 2, 9, 4, 6]


@dataclass
class Column:
    """Values of one type. `chunks` are the same values as Arrow arrays, where pyarrow must not choose the encoding."""

    type: pa.DataType
    values: list
    chunks: list | None = None

    def arrays(self):
        return self.chunks if self.chunks is not None else [pa.array(self.values, self.type)]


@dataclass
class Case:
    name: str
    columns: dict = field(default_factory=dict)
    rows: int | None = None


def one(name, type_, values, chunks=None):
    """A case with one column, `x`."""
    return Case(name, {"x": Column(type_, values, chunks)})


def integers():
    for bits in (8, 16, 32, 64):
        least, most = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        yield one(f"int{bits}", getattr(pa, f"int{bits}")(), [3, None, least, most, 0, -1, 3])
        yield one(f"uint{bits}", getattr(pa, f"uint{bits}")(), [3, None, 2**bits - 1, 0, 3])


def floats():
    values = [1.5, None, math.nan, math.inf, -math.inf, -0.0, -2.25, 1.5]
    for bits in (16, 32, 64):
        yield one(f"float{bits}", getattr(pa, f"float{bits}")(), values)


def decimals():
    values = [Decimal("1.50"), None, Decimal("-0.01"), Decimal("123456789012345678.25"), Decimal("1.50")]
    yield one("decimal128", pa.decimal128(38, 2), values)
    yield one("decimal256", pa.decimal256(60, 2), [*values, Decimal("1" + "0" * 50 + ".75")])


def texts_and_bytes():
    for name in ("utf8", "large_utf8", "string_view", "binary", "large_binary", "binary_view"):
        of_text = "utf8" in name or "string" in name
        yield one(name, getattr(pa, name)(), TEXTS if of_text else BYTES)
    yield one("fixed_size_binary", pa.binary(3), [b"abc", None, b"\xff\x00\x01", b"abc"])


def temporals():
    days = [date(2024, 2, 29), None, date(1969, 12, 31), date(2024, 2, 29), date(1970, 1, 1)]
    yield one("date32", pa.date32(), days)
    yield one("date64", pa.date64(), days)
    for unit, second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        time_type = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
        within_a_day = [3600 * second, None, 0, 86400 * second - 1, 3600 * second]
        around_1970 = [1_700_000_000 * second + second - 1, None, 0, -1, 0]
        yield one(f"time_{unit}", time_type, within_a_day)
        yield one(f"timestamp_{unit}", pa.timestamp(unit), around_1970)
        yield one(f"duration_{unit}", pa.duration(unit), around_1970)
    yield one("timestamp_zone", pa.timestamp("us", "Europe/Berlin"), [1_700_000_000_000_001, None, 0, -1, 0])
    yield one("interval", pa.month_day_nano_interval(), [(1, 2, 3), None, (0, -1, 0)])


def nested():
    lists = [["b", None], None, [], [LONG, SHORT]]
    yield one("list", pa.list_(pa.int32()), [[1, None], None, [], [3, 2, 1]])
    yield one("list_utf8", pa.list_(pa.utf8()), lists)
    yield one("large_list_utf8", pa.large_list(pa.large_utf8()), lists)
    yield one("list_view", pa.list_view(pa.int32()), [[1, None], None, [], [3, 2, 1]])
    yield one("fixed_size_list", pa.list_(pa.int16(), 2), [[1, None], None, [3, 4]])
    pair = pa.struct([("number", pa.int64()), ("text", pa.utf8())])
    yield one("struct", pair, [
        {"number": 1, "text": LONG}, None, {"number": None, "text": SHORT}, {"number": -4, "text": None},
    ])
    deep = pa.list_(pa.struct([("tags", pa.list_(pa.utf8()))]))
    yield one("list_struct_list", deep, [
        [{"tags": ["b", LONG]}, None, {"tags": None}], None, [], [{"tags": [None]}, {"tags": []}],
    ])
    yield one("map", pa.map_(pa.utf8(), pa.int32()), [[("b", 1), (LONG, None)], None, []])


def unions_and_runs():
    kinds = [pa.array([1, None], pa.int64()), pa.array([LONG], pa.utf8())]
    dense = pa.UnionArray.from_dense(pa.array([0, 1, 0], pa.int8()), pa.array([0, 0, 1], pa.int32()), kinds)
    yield one("union_dense", dense.type, [1, LONG, None], [dense])
    kinds = [pa.array([1, None, None], pa.int64()), pa.array([None, LONG, None], pa.utf8())]
    sparse = pa.UnionArray.from_sparse(pa.array([0, 1, 0], pa.int8()), kinds)
    yield one("union_sparse", sparse.type, [1, LONG, None], [sparse])
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3, 5], pa.int32()), pa.array([LONG, None, "b"], pa.utf8()))
    yield one("run_end_encoded", runs.type, [LONG, LONG, None, "b", "b"], [runs])


def encode(values, entries, keys):
    """A dictionary array with `entries` in the given order; pyarrow would choose another."""
    positions = [None if value is None else entries.index(value) for value in values]
    return pa.DictionaryArray.from_arrays(pa.array(positions, keys), pa.array(entries, pa.utf8()))


def dictionaries():
    entries = [LONG, "b", SHORT, "never used", "日本語のとても長い文字列"]
    values = ["b", None, LONG, SHORT, "b", "日本語のとても長い文字列"]
    for name, keys in (("int8", pa.int8()), ("int32", pa.int32()), ("uint16", pa.uint16()), ("int64", pa.int64())):
        yield one(f"dictionary_{name}", pa.dictionary(keys, pa.utf8()), values, [encode(values, entries, keys)])
    many = [f"entry number {n}: größer" for n in range(300)]
    wide = encode([*many, None], many, pa.int16())
    yield one("dictionary_300", wide.type, [*many, None], [wide])
    numbers = pa.DictionaryArray.from_arrays(pa.array([1, None, 0, 1], pa.int8()), pa.array([10, 20], pa.int64()))
    yield one("dictionary_of_int64", pa.dictionary(pa.int8(), pa.int64()), [20, None, 10, 20], [numbers])
    inside = encode(["b", None, LONG, SHORT], entries, pa.int32())
    lists = pa.ListArray.from_arrays(pa.array([0, None, 2, 2, 4], pa.int32()), inside)
    yield one("list_dictionary", lists.type, [["b", None], None, [], [LONG, SHORT]], [lists])
    missing = pa.array([False, True, False, False])
    structs = pa.StructArray.from_arrays([inside], ["category"], mask=missing)
    in_struct = [{"category": "b"}, None, {"category": LONG}, {"category": SHORT}]
    yield one("struct_dictionary", structs.type, in_struct, [structs])


def shapes():
    """Unusual tables, as opposed to unusual types."""
    yield Case("empty", {
        "number": Column(pa.int64(), []),
        "text": Column(pa.utf8(), []),
        "list": Column(pa.list_(pa.utf8()), []),
        "category": Column(pa.dictionary(pa.int8(), pa.utf8()), [], [encode([], ["b"], pa.int8())]),
    })
    yield Case("no_columns", {}, rows=3)
    yield many_batches()
    yield slices()


def many_batches():
    words = ["b", SHORT, LONG, None]
    parts = [[words[(n + m) % 4] for n in range(3)] for m in range(5)]
    # Each batch has a different dictionary: coframe must merge them into one.
    categories = [encode(part, [w for w in reversed(part) if w is not None], pa.int8()) for part in parts]
    values = [value for part in parts for value in part]
    numbers = [None if n % 5 == 1 else n for n in range(15)]
    return Case("many_batches", {
        "number": Column(pa.int64(), numbers, [pa.array(numbers[n:n + 3], pa.int64()) for n in range(0, 15, 3)]),
        "text": Column(pa.utf8(), values, [pa.array(part, pa.utf8()) for part in parts]),
        "category": Column(pa.dictionary(pa.int8(), pa.utf8()), values, categories),
    })


def cut(type_, values):
    """Rows 3 to 7 of an array of ten, so that offsets and bits start in the middle of a buffer."""
    return Column(type_, values[3:8], [pa.array(values, type_).slice(3, 5)])


def slices():
    texts = [None if n is None else f"{n}: {LONG if n % 2 else SHORT}" for n in CUT]
    return Case("slices", {
        "number": cut(pa.int32(), CUT),
        "bool": cut(pa.bool_(), [None if n is None else n > 4 for n in CUT]),
        "text": cut(pa.utf8(), texts),
        "list": cut(pa.list_(pa.utf8()), [None if t is None else [t, None] for t in texts]),
        "struct": cut(pa.struct([("text", pa.utf8())]), [None if t is None else {"text": t} for t in texts]),
    })


def all_cases():
    yield one("null", pa.null(), [None, None, None])
    yield one("bool", pa.bool_(), [True, None, False, True])
    groups = (integers, floats, decimals, texts_and_bytes, temporals, nested, unions_and_runs, dictionaries, shapes)
    for group in groups:
        yield from group()
