"""Writes the columns of DuckDB with pyarrow, as write_pyarrow.py does: DuckDB's `format arrow` is an extension."""

import json
import sys
from pathlib import Path

import duckdb
import pyarrow as pa

TYPES = {
    "number": "bigint", "ratio": "double", "flag": "boolean", "text": "varchar", "when": "bigint",
    "category": "varchar", "list": "double[]",
}


def relation(columns):
    entries = sorted({value for value in columns["category"] if value is not None})
    connection = duckdb.connect()
    connection.execute("create type kinds as enum (" + ", ".join(f"'{entry}'" for entry in entries) + ")")
    fields = ", ".join(f'"{name}" {type_}' for name, type_ in TYPES.items())
    connection.execute(f"create table t ({fields})")
    marks = ", ".join("?" for _ in TYPES)
    rows = list(zip(*(columns[name] for name in TYPES), strict=True))
    connection.executemany(f"insert into t values ({marks})", rows)
    return connection.sql(
        'select * replace (make_timestamp_ms("when") as "when", category::kinds as category) from t'
    )


def main(folder):
    batches = relation(json.load(sys.stdin)).to_arrow_reader()
    table = batches.read_all()
    with pa.ipc.new_file(folder / "file.arrow", table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(folder / "stream.arrows", table.schema) as writer:
        writer.write_table(table)


main(Path(sys.argv[1]))
