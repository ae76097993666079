"""Checks random tables that ``coframe-torture tables`` wrote, one after the other, in a process that may crash.

``python random_tables.py EXPECTED FIRST`` checks the lines of a file from the table FIRST on, in the store of
``COFRAME_STORE``, and prints a line of JSON for each table.
"""

from __future__ import annotations

import collections
import json
import os
import pickle
import random
import re
import sys
import traceback
from typing import Any, NamedTuple

import c_interface
import coframe
import pandas as pd
import pyarrow as pa

#: What pyarrow 26 does not import: run ends that are inside of others, at any depth.
NESTED_RUNS = r"(?s): \+r .*: \+r "
#: Types that Polars lacks, or some values of which it lacks.
NOT_IN_POLARS = r": (\+u|\+r|\+v|\+w:0 |w:0 |ti|tt|d:\d+,\d+,256 |d:\d+,-|ts.:(\+09:30|Nowhere)|tss|tDs)"

#: What pyarrow reports of values that the generator makes on purpose, and which other libraries accept: numbers beyond the
#: range of their type, such times where no row has them, and rows of dense unions in any order.
MADE_SO = "does not fit in precision|does not represent a whole number of days|is not within the acceptable range|non-monotonic offset"

Counts = collections.Counter[str]


class Expected(NamedTuple):
    """The rows that must be found, and the schema of each column as text."""

    rows: int
    columns: dict[str, list[str]]
    schema: dict[str, str]

    def cut(self, start: int, end: int) -> Expected:
        return Expected(end - start, {name: rows[start:end] for name, rows in self.columns.items()}, self.schema)

    def select(self, names: list[str]) -> Expected:
        return Expected(self.rows, {name: self.columns[name] for name in names}, {name: self.schema[name] for name in ["", *names]})

    def is_in(self, table: Any) -> None:
        found = c_interface.columns(table)
        assert list(found) == list(self.columns), f"the columns {list(found)}, not {list(self.columns)}"
        for name, rows in self.columns.items():
            assert found[name] == rows, f"column `{name}`: {different(found[name], rows)}"


def different(found: list[str], expected: list[str]) -> str:
    pairs = zip(found, expected, strict=False)
    row = next((row for row, (one, other) in enumerate(pairs) if one != other), None)
    return f"{len(found)} rows, not {len(expected)}" if row is None else f"row {row} is {found[row]}, not {expected[row]}"


def check(line: dict[str, Any], counts: Counts) -> None:
    chance = random.Random(line["table"])
    if "refused" in line:
        return check_refused(line["batches"], counts)
    schema = pa.ipc.read_schema(pa.py_buffer(bytes.fromhex(line["schema"])))
    texts = c_interface.schema(schema)
    rows = [[c_interface.plain(row) for row in column] for column in line["columns"]]
    expected = Expected(line["rows"], dict(zip(list(texts)[1:], rows, strict=True)), texts)
    frame = coframe.open(line["name"])
    assert len(frame) == expected.rows, f"{len(frame)} rows, not {expected.rows}"
    expected.is_in(frame)
    expected.is_in(pickle.loads(pickle.dumps(frame)))
    check_file(line["name"], expected)
    check_part(chance, frame, expected, counts)
    start = chance.randint(0, expected.rows)
    end = chance.randint(start, expected.rows)
    names = [name for name in expected.columns if chance.random() < 0.6]
    chance.shuffle(names)
    part = expected.cut(start, end).select(names)
    part.is_in(coframe.open(line["name"], columns=names)[start:end])
    check_part(chance, frame[start:end][names], part, counts)
    return None


def check_refused(batches: str | None, counts: Counts) -> None:
    """A table that the library refuses, as far as pyarrow has it."""
    try:
        table = pa.ipc.open_stream(bytes.fromhex(batches or "")).read_all()
    except pa.ArrowException:
        counts["refused, which pyarrow does not have"] += 1
        return
    try:
        frame = coframe.publish(table, "refused")
    except coframe.Error as error:
        counts["refused"] += 1
        assert names_column(error, list(c_interface.schema(table.schema))), str(error)
        return
    counts["refused, but not from pyarrow"] += 1
    assert c_interface.columns(frame) == c_interface.columns(table)


def names_column(error: Exception, names: list[str]) -> bool:
    return any(f"`{name}`" in str(error) or f"`{name}." in str(error) for name in names if name)


def check_file(name: str, expected: Expected) -> None:
    """The file, as pyarrow reads it without coframe."""
    with pa.memory_map(os.path.join(os.environ["COFRAME_STORE"], f"{name}.arrow")) as file:
        expected.is_in(pa.ipc.open_file(file).read_all())


def check_part(chance: random.Random, frame: coframe.Frame, expected: Expected, counts: Counts) -> None:
    expected.is_in(frame)
    names = taken(frame, expected, "to_arrow", NESTED_RUNS, "a nested run-end encoded array")
    frame, expected = frame[names], expected.select(names)
    counts["columns in pyarrow"] += len(expected.columns)
    table = check_arrow(frame, expected)
    check_again(chance, table, expected)
    check_pandas(frame, expected)
    check_numpy(frame, expected, counts)
    check_polars(frame, expected, counts)


def check_arrow(frame: coframe.Frame, expected: Expected) -> Any:
    table = frame.to_arrow(views=True)
    assert table.num_rows == expected.rows, f"{table.num_rows} rows, not {expected.rows}"
    has_schema(table.schema, expected.schema)
    expected.is_in(table)
    is_valid(table)
    classic = frame.to_arrow()
    assert classic.num_rows == expected.rows, f"{classic.num_rows} rows without views, not {expected.rows}"
    without_views = {name: text.replace(": vu ", ": U ").replace(": vz ", ": Z ") for name, text in expected.schema.items()}
    has_schema(classic.schema, without_views)
    expected.is_in(classic)
    is_valid(classic)
    return table


def has_schema(schema: Any, expected: dict[str, str]) -> None:
    for name, found in c_interface.schema(schema).items():
        what = f"column `{name}`" if name else "the metadata"
        assert found == expected[name], f"{what} is {found}\nnot {expected[name]}"


def is_valid(table: Any) -> None:
    try:
        table.validate(full=True)
    except pa.ArrowInvalid as error:
        assert re.search(MADE_SO, str(error)), str(error)


def check_again(chance: random.Random, table: Any, expected: Expected) -> None:
    """What was read, published again."""
    again = coframe.publish(table if chance.random() < 0.5 else table.to_reader(chance.randint(1, 5)), "again")
    expected.is_in(again)
    has_schema(again.to_arrow(views=True).schema, expected.schema)


def taken(frame: coframe.Frame, expected: Expected, method: str, lacks: str, reason: str) -> list[str]:
    """The columns that a library takes. Others have a type that it lacks, and the error names them and the reason."""
    names = []
    for name in expected.columns:
        try:
            getattr(frame[[name]], method)()
            names.append(name)
        except coframe.UnsupportedError as error:
            assert re.search(lacks, expected.schema[name]) and re.search(reason, str(error)), str(error)
            assert names_column(error, [name]), str(error)
    if names != list(expected.columns):
        try:
            getattr(frame, method)()
        except coframe.UnsupportedError as error:
            assert names_column(error, [name for name in expected.columns if name not in names]), str(error)
        else:
            raise AssertionError(f"{method}() took more columns than {names}")
    return names


def check_pandas(frame: coframe.Frame, expected: Expected) -> None:
    df = frame.to_pandas()
    assert len(df) == expected.rows, f"{len(df)} rows, not {expected.rows}"
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in df.dtypes)
    expected.is_in(pa.table({name: df[name].array.__arrow_array__() for name in expected.columns}))


def check_numpy(frame: coframe.Frame, expected: Expected, counts: Counts) -> None:
    """pyarrow converts most types, so that its errors are many; numbers are equal."""
    for name, rows in expected.columns.items():
        try:
            array = frame[name].to_numpy()
        except coframe.UnsupportedError as error:
            assert names_column(error, [name]), str(error)
            continue
        counts["columns in numpy"] += 1
        assert len(array) == len(rows), f"column `{name}`: {len(array)} rows, not {len(rows)}"
        # Not dictionaries, whose lines of a schema are two.
        if re.fullmatch(r".*: [cCsSiIlLefgb] .*", expected.schema[name]) and "null" not in rows:
            expected.select([name]).is_in(pa.table({name: array}))


def check_polars(frame: coframe.Frame, expected: Expected, counts: Counts) -> None:
    names = taken(frame, expected, "to_polars", NOT_IN_POLARS, "")
    counts["columns in Polars"] += len(names)
    df = frame[names].to_polars()
    expected = expected.select(names)
    expected.is_in(df)
    expected.is_in(coframe.publish(df, "polars"))


def main() -> None:
    file, first = sys.argv[1], int(sys.argv[2])
    with open(file) as lines:
        for text in lines:
            line = json.loads(text)
            if line["table"] < first:
                continue
            counts: Counts = collections.Counter()
            try:
                check(line, counts)
                error = None
            except BaseException:
                error = traceback.format_exc()
            print(json.dumps({"table": line["table"], "error": error, "counts": counts}), flush=True)


if __name__ == "__main__":
    main()
