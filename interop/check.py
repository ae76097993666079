"""Checks that programs without coframe open its frames, and that coframe publishes theirs.

`check.py` fails if any result differs from results.json, for better or worse; `check.py --write` replaces the file.
COFRAME_BIN is the command to publish with; COFRAME_INTEROP_NODE is the directory where `npm ci` put node_modules.
"""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import baseline
import sharing
import snippets
import table
import writers
from runner import READERS, ask, missing
from store import LAYOUTS, temporary_store
from verdict import judge, row_to_find

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
CONFORMANCE = HERE.parent / "testdata" / "conformance"


def cases():
    return {path.stem: json.loads(path.read_text()) for path in sorted(CONFORMANCE.glob("*.json"))}


def jobs_for(store, layout):
    jobs = []
    for name, case in cases().items():
        path = store.publish(CONFORMANCE / f"{name}.arrow", f"{layout}-{name}", layout)
        columns = {
            column: {"kind": of["kind"], "row": row_to_find(of["values"])} for column, of in case["columns"].items()
        }
        jobs.append({"case": name, "path": str(path), "columns": columns})
    return jobs


def read_all(store, readers):
    """The verdict by reader, layout and case; for files written by pyarrow, only where it differs from the frame's."""
    jobs = {layout: jobs_for(store, layout) for layout in LAYOUTS}
    found = judge_all(readers, jobs)
    if "pyarrow" not in readers:
        return found
    return found | baseline.unlike(found, judge_all(readers, baseline.copies(store, jobs)))


def judge_all(readers, jobs):
    pairs = [(reader, layout) for reader in readers for layout in LAYOUTS]
    with ThreadPoolExecutor(2) as threads:
        answers = threads.map(lambda pair: ask(pair[0], jobs[pair[1]]), pairs)
    found = {reader: {} for reader in readers}
    for (reader, layout), of_cases in zip(pairs, answers, strict=True):
        found[reader][layout] = {
            name: judge(case, answer) for (name, case), answer in zip(cases().items(), of_cases, strict=True)
        }
    return found


def flat(found):
    """{"polars, views, int8": ...}: one entry for each line that can differ."""
    return {
        f"{reader}, {layout}, {case}": judgement
        for reader, layouts in found.items() for layout, of_cases in layouts.items()
        for case, judgement in of_cases.items()
    }


def differences(committed, found):
    asked = tuple(found)
    before = {key: value for key, value in flat(committed).items() if key.split(", ")[0] in asked}
    now = flat(found)
    return [
        f"{key}\n  committed: {before.get(key)}\n  found:     {now.get(key)}"
        for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)
    ]


def text_of(found):
    """JSON with a line for each case."""
    readers = []
    for reader, layouts in found.items():
        parts = []
        for layout, of_cases in layouts.items():
            lines = ",\n".join(f"   {json.dumps(case)}: {json.dumps(of)}" for case, of in of_cases.items())
            parts.append(f"  {json.dumps(layout)}: " + (f"{{\n{lines}\n  }}" if lines else "{}"))
        readers.append(f" {json.dumps(reader)}: {{\n" + ",\n".join(parts) + "\n }")
    return "{\n" + ",\n".join(readers) + "\n}\n"


def find_out(store, readers):
    return read_all(store, readers) | sharing.count_all(store, readers) | writers.read_back(store, readers)


def check(store, readers):
    """The differences from results.json and docs/READERS.md."""
    committed = json.loads(RESULTS.read_text())
    problems = differences(committed, find_out(store, readers)) + table.outdated(committed)
    if "pyarrow" in readers:
        # Imported here, because Node can be checked without pyarrow.
        import make

        problems += make.outdated(store.another("made").folder)
    return problems + snippets.run_all(store, readers)


def skip(what):
    """Does the same as `skip` in ci/skip.sh."""
    if os.environ.get("CI") == "true":
        sys.exit(f"cannot run here, and with CI=true nothing is skipped: {what}")
    print(f"skipped: {what}")
    if listed := os.environ.get("COFRAME_SKIPPED"):
        with open(listed, "a") as file:
            print(what, file=file)


def available():
    reasons = {reader: missing(reader) for reader in READERS}
    for reason in filter(None, reasons.values()):
        skip(reason)
    return [reader for reader in READERS if not reasons[reader]]


def main():
    # The default action of SIGTERM would leave the store in /dev/shm.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated by a signal"))
    readers = available()
    if "--write" in sys.argv[1:]:
        if len(readers) < len(READERS):
            sys.exit("results.json is unchanged: --write needs every reader")
        with temporary_store() as store:
            found = find_out(store, readers)
        RESULTS.write_text(text_of(found))
        table.write(found)
    with temporary_store() as store:
        problems = check(store, readers)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} differences from interop/results.json; accept them with interop/check.sh --write")
    print(f"no differences: {', '.join(readers) or 'no reader was run'}")


if __name__ == "__main__":
    main()
