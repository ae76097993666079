"""The loop that all reading programs share: one job per line of standard input, one answer per line of standard output.

A job has the path of a frame and, for each column, its kind and a row to search for. An answer has the values of each
column in the canonical form and the result of each operation, or the error instead. Each answer is flushed, so that
check.py knows which frame crashed a program.
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
    # Polars' panics are a `BaseException`, not an `Exception`.
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
    """Whether to try an operation on a column. Few readers sort lists or compare maps, so those are left out."""
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
