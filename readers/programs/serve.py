"""What the programs have in common: answer each job on a line of standard input with a line of standard output.

A job names a frame's path and, for each column, its kind and a row whose value is to be looked for. An answer has the
values of each column in the canonical form, and what each operation gave; or the error that came instead. One line
per job, at once: when a program dies, check.py knows of which frame.
"""

import json
import sys

ORDERED = {"bool", "number", "float", "text", "bytes", "date", "time", "dictionary"}


def serve(read, column_of, operations, canonical):
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(answer(job, read, column_of, operations, canonical)), flush=True)


def answer(job, read, column_of, operations, canonical):
    try:
        table, rows = read(job["path"])
    # Polars' panics are no `Exception`.
    except BaseException as error:
        return {"error": reason(error)}
    return {"rows": rows, "columns": {
        name: about(lambda name=name: column_of(table, name), question, operations, canonical)
        for name, question in job["columns"].items()
    }}


def about(column, question, operations, canonical):
    try:
        x = column()
        given = {"values": canonical(x)}
    except BaseException as error:
        return {"error": reason(error)}
    given["operations"] = {
        name: attempt(operation, x, question, canonical)
        for name, operation in operations.items() if asked(name, question)
    }
    return given


def asked(operation, question):
    """Sorting a list or comparing a map is left out: few readers claim it."""
    if operation in ("filter", "take"):
        return True
    if operation == "cast":
        return question["kind"] == "text"
    return question["kind"] in ORDERED and question["row"] is not None


def attempt(operation, x, question, canonical):
    try:
        return {"values": canonical(operation(x, question["row"]))}
    except BaseException as error:
        return {"error": reason(error)}


def reason(error):
    lines = [line for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0].strip() if lines else ''}"
