"""Publishes files that other programs wrote in each layout, and checks that the values come back equal."""

import json
import subprocess

from runner import ask, program
from verdict import difference, same, short

WRITERS = ("pyarrow", "polars", "pandas", "duckdb", "node")
LONG = "a string beyond twelve bytes: größer"
LAYOUTS = ("keep", "view", "offset")

# The input of the writers, and the values that must come back. Times are milliseconds since 1970.
COLUMNS = {
    "number": [1, None, -(2**53), 4, 5],
    "ratio": [1.5, None, -2.25, 1e300, 0.5],
    "flag": [True, None, False, True, False],
    "text": ["b", None, LONG, "día", ""],
    "when": [1_700_000_000_123, None, 0, -1, 5],
    "category": ["b", None, LONG, "b", "día"],
    "list": [[1.5, -2.0], None, [], [3.0], [0.5, 0.25]],
}


def expected():
    """The canonical form: integers as strings, times in nanoseconds."""
    number = [None if value is None else str(value) for value in COLUMNS["number"]]
    when = [None if value is None else str(value * 10**6) for value in COLUMNS["when"]]
    return COLUMNS | {"number": number, "when": when}


def read_back(store, readers):
    """By writer, layout and file: `ok`, or why coframe refused the file or which values differ."""
    if "pyarrow" not in readers:
        print("skipped: files of other writers, because pyarrow reads them back")
        return {}
    return {f"by {writer}": of_writer(store, writer) for writer in WRITERS if writer in readers}


def of_writer(store, writer):
    folder = store.folder / f"by-{writer}"
    folder.mkdir()
    command, where = program(f"write_{writer}")
    done = subprocess.run([*command, str(folder)], cwd=where, input=json.dumps(COLUMNS), capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{writer} wrote nothing: {done.stderr}")
    return came_back(store, writer, sorted(folder.iterdir()))


def came_back(store, writer, files):
    columns = {column: {"kind": "null", "row": None} for column in COLUMNS}
    found, jobs = {layout: {} for layout in LAYOUTS}, {}
    for layout in LAYOUTS:
        for file in files:
            try:
                path = store.publish(file, f"by-{writer}-{file.name}-{layout}", layout)
                jobs[layout, file.name] = {"path": str(path), "columns": columns}
            except ValueError as error:
                found[layout][file.name] = {"refused": short(str(error))}
    for (layout, file), answer in zip(jobs, ask("pyarrow", list(jobs.values())), strict=True):
        found[layout][file] = judge_copy(answer)
    return found


def judge_copy(answer):
    if "error" in answer:
        return {"opens": short(answer["error"])}
    for column, values in expected().items():
        found = answer["columns"][column]
        if "error" in found or not same(values, found["values"]):
            return {"equal": f"{column}: {found.get('error') or difference(values, found['values'])}"}
    return "ok"
