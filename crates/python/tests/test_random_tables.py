"""Random tables of every Arrow type, through pyarrow, pandas and Polars and back.

``coframe-torture tables`` publishes them and prints their rows, and ``random_tables.py`` compares. ``COFRAME_TABLES`` sets how
many are tried, and ``COFRAME_TABLE`` tries one seed alone. The directory of ``COFRAME_STORE`` holds one chunk at a time.
"""

from __future__ import annotations

import collections
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import coframe
import pytest

PROGRAM = os.environ.get("COFRAME_TORTURE")
#: How many tables the gate tries; ci/deep.sh tries more.
TABLES = 300
CHUNK = 500
#: Failures that are reported in full.
REPORTED = 5


@pytest.mark.skipif(PROGRAM is None, reason="COFRAME_TORTURE does not have the path of coframe-torture, which makes the tables")
def test_any_table_comes_back_through_python_or_is_refused_by_its_column(store: coframe.Store, tmp_path: Path) -> None:
    seeds = range(int(os.environ.get("COFRAME_TABLES", TABLES)))
    if (one := os.environ.get("COFRAME_TABLE")) is not None:
        seeds = range(int(one), int(one) + 1)
    counts: collections.Counter[str] = collections.Counter()
    failed: list[str] = []
    for start in seeds[::CHUNK]:
        chunk = range(start, min(start + CHUNK, seeds.stop))
        found, failures = checked(Path(store.path), chunk, tmp_path)
        counts += found
        failed += failures
        if len(failed) >= REPORTED:
            break
    assert not failed, "\n".join(failed[:REPORTED])
    print(dict(counts))
    if len(seeds) >= TABLES:
        assert counts["refused"] and counts["columns in pyarrow"] > 2 * len(seeds) and counts["columns in Polars"] > len(seeds)


def checked(path: Path, seeds: range, directory: Path) -> tuple[collections.Counter[str], list[str]]:
    """Checks a chunk of tables; a table at which the process dies is skipped by the next process."""
    assert PROGRAM is not None
    shutil.rmtree(path, ignore_errors=True)
    expected = directory / "expected.jsonl"
    with expected.open("w") as file:
        args = ["tables", "--store", str(path), "--first", str(seeds.start), "--count", str(len(seeds))]
        subprocess.run([PROGRAM, *args], stdout=file, check=True, timeout=300)
    counts: collections.Counter[str] = collections.Counter()
    failed: list[str] = []
    program = Path(__file__).with_name("random_tables.py")
    following = seeds.start
    while following < seeds.stop:
        child = subprocess.run([sys.executable, program, expected, str(following)], capture_output=True, text=True, timeout=300)
        for line in map(json.loads, child.stdout.splitlines()):
            following = line["table"] + 1
            counts += collections.Counter(line["counts"])
            if line["error"] is not None:
                failed.append(f"table {line['table']} failed; try it alone with COFRAME_TABLE={line['table']}\n{line['error']}")
        if child.returncode:
            failed.append(f"table {following}: the process ended with {child.returncode}\n{child.stderr[-2000:]}")
            following += 1
        elif following < seeds.stop:
            raise AssertionError(f"the process ended before table {following}")
    return counts, failed
