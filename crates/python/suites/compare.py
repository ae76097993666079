"""Compares the results of test suites that ran alone and shared.

    compare.py DIFFERENCES DIRECTORY SUITE..

Exits with 1 if a test has another result shared than alone and DIFFERENCES does not list it, if a listed test was not
run, or if a run has no results.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree


def results(path: Path) -> dict[str, str]:
    """What came of each test in a report of pytest. A test that runs more than once has its worst result."""
    if not path.exists():
        raise SystemExit(f"no results in {path.name}: the run ended early, see {path.with_suffix('.log')}")
    found: dict[str, str] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        # Modules of an installed package are named by their path.
        module = (case.get("classname") or "").rpartition("site-packages.")[2]
        name = f"{module}::{case.get('name')}"
        kinds = {child.tag for child in case}
        result = next((kind for kind in ("error", "failure", "skipped") if kind in kinds), "passed")
        if result != "passed" or name not in found:
            found[name] = result
    return found


def listed(path: Path) -> set[tuple[str, str]]:
    """Suite and test of each difference that is known; a line with a ``#`` is its explanation."""
    lines = [line.split() for line in path.read_text().splitlines() if line.strip() and not line.startswith("#")]
    return {(suite, test) for suite, test in lines}


def compare(directory: Path, suite: str, known: set[tuple[str, str]]) -> bool:
    """Prints the differences of a suite. Returns whether all of them are known."""
    alone, shared = (results(directory / f"{suite}-{how}.xml") for how in ("alone", "shared"))
    print(f"{suite}: alone {dict(Counter(alone.values()))}, shared {dict(Counter(shared.values()))}")
    new = 0
    for test in sorted(alone.keys() | shared.keys()):
        before, now = alone.get(test, "not run"), shared.get(test, "not run")
        if before != now:
            is_known = (suite, test) in known
            new += not is_known
            print(f"  {test}: alone {before}, shared {now}{' (known)' if is_known else ''}")
    gone = [test for of, test in known if of == suite and test not in shared]
    for test in gone:
        print(f"  {test}: listed, and not run")
    return not new and not gone


def main() -> None:
    differences, directory, *suites = sys.argv[1:]
    known = listed(Path(differences))
    if not all([compare(Path(directory), suite, known) for suite in suites]):
        raise SystemExit("the suites differ: repair coframe, or list the test and its reason in differences.txt")


if __name__ == "__main__":
    main()
