"""docs/BENCHMARKS.md and its charts are what bench/report.py makes of bench/results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def outdated(root: Path) -> str:
    """What `report.py --check` prints; empty if the page and the charts are those of the results."""
    command = [sys.executable, "-B", str(root / "bench" / "report.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode == 0) == (done.stderr == "")
    return done.stderr


def copied(path: Path) -> Path:
    """A copy of the benchmark, its results, the page and the charts."""
    shutil.copytree(ROOT / "bench", path / "bench")
    (path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "BENCHMARKS.md", path / "docs")
    shutil.copytree(ROOT / "docs" / "charts", path / "docs" / "charts")
    return path


def test_the_page_of_benchmarks_has_the_figures_of_the_last_results(tmp_path: Path) -> None:
    assert outdated(ROOT) == ""
    # A copy with another figure, and one with a chart too few.
    assert outdated(copied(tmp_path)) == ""
    results = tmp_path / "bench" / "results" / "open.json"
    text = results.read_text()
    results.write_text(text.replace('"runs": 7', '"runs": 9', 1))
    assert "BENCHMARKS.md" in outdated(tmp_path)
    results.write_text(text)
    chart = min((tmp_path / "docs" / "charts").iterdir())
    chart.unlink()
    assert chart.name in outdated(tmp_path)


def test_the_page_lists_the_groups_that_have_no_results(tmp_path: Path) -> None:
    results = copied(tmp_path) / "bench" / "results" / "open.json"
    found = json.loads(results.read_text())
    measured = "### Open: 1 000 columns (8 MB in memory)\n"
    assert measured in (tmp_path / "docs" / "BENCHMARKS.md").read_text()
    del found["groups"]["1 000 columns"]
    results.write_text(json.dumps(found))
    subprocess.run([sys.executable, "-B", str(tmp_path / "bench" / "report.py")], check=True)
    page = (tmp_path / "docs" / "BENCHMARKS.md").read_text()
    assert measured not in page
    assert "Open: 1 000 columns" in " ".join(page.split("## Not measured here")[1].split())
    # A result that no part of a run measures would stay on the page for ever.
    found["groups"]["7 columns"] = found["groups"]["1 000 rows"]
    results.write_text(json.dumps(found))
    assert "open.json has groups that are not in plan.py: 7 columns" in outdated(tmp_path)


STUCK = """
import os, subprocess, time

def run(_):
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    with open(os.environ["STUCK"], "w") as file:
        file.write(str(child.pid))
    time.sleep(1000)
"""


def has_ended(pid: int) -> bool:
    """Whether a process was killed; its new parent may take a moment to notice."""
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def test_a_part_that_takes_too_long_ends_with_all_of_its_processes(tmp_path: Path) -> None:
    bench = copied(tmp_path) / "bench"
    (bench / "scanning.py").write_text(STUCK)
    found = tmp_path / "child"
    environment = {**os.environ, "BENCH_LIMIT": "3", "STUCK": str(found)}
    command = [sys.executable, "-B", str(bench / "bench.py"), "scan:0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "scan (10,) took over 3 s and was ended" in done.stderr
    assert has_ended(int(found.read_text()))
