"""Do readers that have no coframe open its frames, and does coframe read theirs? Compared with found.json.

`check.py` fails if anything differs from what is committed, for better or worse; `check.py --write` commits it.
COFRAME_BIN is the command; COFRAME_READERS_NODE the directory where `npm ci` has put node_modules.
"""

import json
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import beside
import shared
import snippets
import table
import written
from ask import READERS, ask, missing
from judge import judge, row_to_find
from scratch import LAYOUTS, scratch

HERE = Path(__file__).parent
FOUND = HERE / "found.json"
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
    """Reader, then layout, then case: what `judge` says of frames, and where it says otherwise of files by pyarrow."""
    jobs = {layout: jobs_for(store, layout) for layout in LAYOUTS}
    found = judge_all(readers, jobs)
    if "pyarrow" not in readers:
        return found
    return found | beside.unlike(found, judge_all(readers, beside.copies(store, jobs)))


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
    """{"polars, views, int8": ...}: what can be compared and printed line by line."""
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
    return read_all(store, readers) | shared.count_all(store, readers) | written.read_back(store, readers)


def check(store, readers):
    """What differs from what is committed."""
    committed = json.loads(FOUND.read_text())
    problems = differences(committed, find_out(store, readers)) + table.outdated(committed)
    if "pyarrow" in readers:
        # Not at the top: Node can be asked where there is no pyarrow.
        import make

        problems += make.outdated(store.beside("made").folder)
    return problems + snippets.run_all(store, readers)


def skip(what):
    """As `skip` of ci/skip.sh."""
    if os.environ.get("CI") == "true":
        sys.exit(f"cannot run here, and with CI=true nothing is skipped: {what}")
    print(f"skipped: {what}")
    if listed := os.environ.get("COFRAME_SKIPPED"):
        with open(listed, "a") as file:
            print(what, file=file)


def available():
    whys = {reader: missing(reader) for reader in READERS}
    for why in filter(None, whys.values()):
        skip(why)
    return [reader for reader in READERS if not whys[reader]]


def main():
    # Killed by a signal, Python would leave the store behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))
    readers = available()
    if "--write" in sys.argv[1:]:
        if len(readers) < len(READERS):
            sys.exit("nothing is written: readers are missing")
        with scratch() as store:
            found = find_out(store, readers)
        FOUND.write_text(text_of(found))
        table.write(found)
    with scratch() as store:
        problems = check(store, readers)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        sys.exit(f"{len(problems)} differ from what is committed; if that is right: readers/check.sh --write")
    print(f"as committed: {', '.join(readers) or 'nothing was asked'}")


if __name__ == "__main__":
    main()
