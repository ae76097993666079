"""docs/BENCHMARKS.md and its charts are what bench/report.py makes of bench/results."""

from __future__ import annotations

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


def test_the_page_of_benchmarks_has_the_figures_of_the_last_results(tmp_path: Path) -> None:
    assert outdated(ROOT) == ""
    # A copy with another figure, and one with a chart too few.
    shutil.copytree(ROOT / "bench", tmp_path / "bench")
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "BENCHMARKS.md", tmp_path / "docs")
    shutil.copytree(ROOT / "docs" / "charts", tmp_path / "docs" / "charts")
    assert outdated(tmp_path) == ""
    results = tmp_path / "bench" / "results" / "open.json"
    text = results.read_text()
    results.write_text(text.replace('"runs": 7', '"runs": 9', 1))
    assert "BENCHMARKS.md" in outdated(tmp_path)
    results.write_text(text)
    chart = min((tmp_path / "docs" / "charts").iterdir())
    chart.unlink()
    assert chart.name in outdated(tmp_path)
