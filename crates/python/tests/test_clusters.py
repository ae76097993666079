"""The programs of docs/clusters.md, on machines that are stores of this one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import engines
import pytest
from nodes import Node, needs_program, nodes

PAGE = Path(__file__).parents[1] / "docs" / "clusters.md"
#: What both programs print: the sum of the numbers below a million, and the rows of the results.
PRINTED = f"{sum(range(1_000_000)):.1f}\n1000000\n"


def program(name: str, directory: Path) -> list[str]:
    """A program of the page, in a file."""
    found = re.search(rf"<!-- program: {name} -->\n```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None, name
    script = directory / f"job_of_{name}.py"
    script.write_text(found[1])
    return [sys.executable, str(script)]


def run(name: str, environment: dict[str, str], directory: Path, machines: list[Node]) -> None:
    """Runs a program on the first machine. Each of the others pulls its frame once, and it pulls the four results."""
    found = subprocess.run(program(name, directory), env=environment, capture_output=True, text=True, timeout=240)
    assert found.stdout == PRINTED, found.stderr
    origin, *others = machines
    assert origin.count("pulls") == len(others)
    assert sum(node.count("pulls") for node in others) == 4
    for node in others:
        assert len(list(Path(node.store).glob("_from.*.numbers@*.arrow"))) == 1, os.listdir(node.store)


@needs_program
def test_the_job_of_dask_pulls_once_for_each_machine(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    with nodes(3) as machines:
        with engines.dask([node.environment(machines) for node in machines], tmp_path) as environment:
            run("dask", environment, tmp_path, machines)


@needs_program
@pytest.mark.skipif(not os.environ.get("COFRAME_DEEP"), reason="Ray takes a minute to start; COFRAME_DEEP=1 runs it")
def test_the_job_of_ray_pulls_once_for_each_machine() -> None:
    pytest.importorskip("ray")
    with nodes(3) as machines, tempfile.TemporaryDirectory() as directory:
        with engines.ray([node.environment(machines) for node in machines], Path(directory)) as environment:
            run("ray", environment, Path(directory), machines)
