"""The parts that a run has: for each section, the arguments of its module's `run`. A part measures one group or several."""

from __future__ import annotations

QUICK = {
    "handover": [("floats", 10, 2, "few")],
    "publish": [("mixed", 100), ("floats", 100, "huge")],
    "open": [("rows", 1_000_000), ("columns", 1000)],
    "scan": [(100,)],
    "tasks": [(2, 1, 1000), (2, 100, 10_000)],
    "cells": [(1, 0.1), (2, 0.2)],
    "transfers": [("floats", 10)],
    "engines": [(2,)],
}
FULL = {
    "handover": [
        ("floats", 100, 2),
        ("mixed", 100, 2),
        *(("floats", 100, workers, "few") for workers in (1, 4, 8)),
        ("floats", 1, 2),
        ("floats", 1000, 2, "least"),
        *((kind, 100, 2, "few") for kind in ("categorical", "nested")),
    ],
    "publish": [
        *(("floats", size) for size in (1, 100, 1000)),
        *((kind, 100) for kind in ("mixed", "categorical", "nested")),
        *((kind, size, "huge") for kind, size in (("floats", 100), ("floats", 1000), ("mixed", 100))),
    ],
    "open": [
        *(("rows", 10**power) for power in (3, 4, 5, 6, 7)), ("rows", 30_000_000),
        *(("columns", 10**power) for power in (0, 1, 2, 3, 4)),
    ],
    "scan": [(10,), (100,), (1000,)],
    "tasks": [(1, 1, 2000), (2, 1, 2000), (1, 100, 20_000), (2, 100, 20_000)],
    "cells": [(1, 0.3), (2, 0.5)],
    "transfers": [("floats", 100), ("mixed", 100), ("floats", 1000)],
    "engines": [(50,)],
}
OPERATIONS = ("lock and unlock", "add to a value", "set in a map", "get from a map")
#: Rows of testdata/flights.parquet.
FLIGHTS = 336_776


def counted(number, what):
    """`1 worker`, `2 workers`, `10 000 rows`."""
    return f"{number:,} {what}".replace(",", " ") if number != 1 else f"1 {what.removesuffix('es' if what == 'processes' else 's')}"


def groups(section, part):
    """The keys of the groups of rows that a part of `FULL` saves."""
    first, *others = part
    match section:
        case "handover":
            return [f"{first}, {others[0]} MB, {counted(others[1], 'workers')}"]
        case "publish":
            key = f"{first}, {others[0]} MB, {'huge' if others[1:] else '4 KiB'} pages"
            return [key, f"{key}, alone"] if others[1:] else [key]
        case "open":
            return [counted(others[0], first)]
        case "scan":
            return [f"{first} MB"]
        case "tasks":
            return [f"{counted(first, 'workers')}, chunks of {others[0]}"]
        case "cells":
            alone = ["read the newest value"] if first == 1 else []
            return [f"{what}, {counted(first, 'processes')}" for what in (*OPERATIONS, *alone)]
        case "transfers":
            return [f"{what}, {first}, {others[0]} MB" for what in ("whole tables", "rows to a client")]
        case _:
            return [f"{query}, {counted(first * FLIGHTS, 'flights')}" for query in ("group-by", "join with planes")]


def all_groups(section):
    return [key for part in FULL[section] for key in groups(section, part)]
