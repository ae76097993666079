"""Writes testdata/conformance from the literals in cases.py: `<case>.arrow` and `<case>.json`.

The expected values are computed from the literals, not read back from a file, so they depend on no reader.
"""

import json
import math
from datetime import date
from pathlib import Path

import pyarrow as pa
from cases import all_cases

FOLDER = Path(__file__).parent.parent / "testdata" / "conformance"
NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def canonical(value, type_):
    """The one JSON form of a value (testdata/conformance/README.md)."""
    if value is None:
        return None
    if pa.types.is_dictionary(type_):
        return canonical(value, type_.value_type)
    if pa.types.is_run_end_encoded(type_):
        return canonical(value, type_.value_type)
    if pa.types.is_map(type_):
        return [[canonical(key, type_.key_type), canonical(item, type_.item_type)] for key, item in value]
    if pa.types.is_struct(type_):
        return {field.name: canonical(value[field.name], field.type) for field in type_}
    if isinstance(value, list):
        return [canonical(item, type_.value_type) for item in value]
    return leaf(value, type_)


def leaf(value, type_):
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, float):
        return number(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, tuple):
        return [str(part) for part in value]
    if hasattr(type_, "unit"):
        return str(value * NANOSECONDS[type_.unit])
    return str(value)


def number(value):
    """JSON lacks these three, and some programs lose the sign of zero."""
    if math.isnan(value) or math.isinf(value):
        return str(value)
    return "-0" if value == 0 and math.copysign(1, value) < 0 else value


def order(values, type_):
    """Rows in ascending order, or `None` if the type has no order. Nulls and NaN are left out: their place varies."""
    if kind(type_) in ("nested", "map", "interval", "null"):
        return None
    rows = [row for row, value in enumerate(values) if value is not None and value == value]
    return sorted(rows, key=lambda row: values[row].encode() if isinstance(values[row], str) else values[row])


def expected(case):
    columns = {
        name: {
            "type": str(column.type),
            "kind": kind(column.type),
            "values": [canonical(value, column.type) for value in column.values],
            "order": order(column.values, column.type),
        }
        for name, column in case.columns.items()
    }
    rows = case.rows if case.rows is not None else len(next(iter(columns.values()))["values"])
    return {"case": case.name, "rows": rows, "columns": columns}


def kind(type_):
    """The kind of a type: readers choose their operations by it."""
    if pa.types.is_dictionary(type_):
        return "dictionary"
    if pa.types.is_map(type_):
        return "map"
    if pa.types.is_nested(type_) or pa.types.is_run_end_encoded(type_):
        return "nested"
    text = str(type_)
    for name, marks in (("text", ("string",)), ("bytes", ("binary",)), ("date", ("date",)),
                        ("time", ("time", "duration")), ("float", ("float", "double")), ("interval", ("interval",))):
        if any(mark in text for mark in marks):
            return name
    return "null" if text == "null" else "bool" if text == "bool" else "number"


def batches(case):
    columns = [column.arrays() for column in case.columns.values()]
    if not columns:
        return pa.schema([]), [pa.RecordBatch.from_struct_array(pa.array([{}] * case.rows, pa.struct([])))]
    schema = pa.schema([(name, column.type) for name, column in case.columns.items()])
    return schema, [pa.RecordBatch.from_arrays(list(arrays), schema=schema) for arrays in zip(*columns, strict=True)]


def write(case, folder):
    # A stream, because in a file all batches share one dictionary.
    schema, parts = batches(case)
    with pa.ipc.new_stream(folder / f"{case.name}.arrow", schema) as writer:
        for part in parts:
            writer.write_batch(part)
    (folder / f"{case.name}.json").write_text(text_of(expected(case)))


def text_of(case):
    """JSON with a line for each part of a column, so that diffs are readable."""
    columns = [
        f'  {json.dumps(name)}: {{\n' + ",\n".join(
            f"   {json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in column.items()
        ) + "\n  }"
        for name, column in case["columns"].items()
    ]
    head = f' "case": {json.dumps(case["case"])},\n "rows": {case["rows"]},\n "columns": {{'
    return "{\n" + head + ("\n" + ",\n".join(columns) + "\n }" if columns else "}") + "\n}\n"


def write_all(folder):
    for case in all_cases():
        write(case, folder)


def outdated(scratch):
    """The files of the set that differ from what the literals produce."""
    write_all(scratch)
    made = {path.name: path.read_bytes() for path in scratch.iterdir()}
    kept = {path.name: path.read_bytes() for path in FOLDER.iterdir() if path.name != "README.md"}
    return [f"testdata/conformance/{name} is not what interop/make.py writes"
            for name in sorted(made.keys() | kept.keys()) if made.get(name) != kept.get(name)]


def main():
    for old in [*FOLDER.glob("*.arrow"), *FOLDER.glob("*.json")]:
        old.unlink()
    write_all(FOLDER)


if __name__ == "__main__":
    main()
