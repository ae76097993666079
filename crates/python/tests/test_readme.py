"""The examples of the documents run."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "..")


def blocks(path: str) -> list[str]:
    with open(os.path.join(ROOT, path)) as text:
        return re.findall(r"^```python\n(.*?)^```", text.read(), re.MULTILINE | re.DOTALL)


GUIDES = [f"crates/python/docs/{name}" for name in ("multiprocessing.md", "joblib.md", "dask-and-ray.md")]
DOCUMENTS = ["README.md", "crates/python/README.md", *GUIDES]
EXAMPLES = [(path, index) for path in DOCUMENTS for index in range(len(blocks(path)))]


def test_each_document_has_examples() -> None:
    assert {path for path, _ in EXAMPLES} == set(DOCUMENTS)


@pytest.mark.parametrize(("path", "index"), EXAMPLES)
def test_each_example_of_the_documents_runs(path: str, index: int, tmp_path: os.PathLike[str]) -> None:
    # From a file, since workers import the main module.
    script = os.path.join(tmp_path, "example.py")
    with open(script, "w") as file:
        file.write(blocks(path)[index])
    subprocess.run([sys.executable, script], check=True, timeout=120)


def test_the_notebook_runs() -> None:
    script = os.path.join(ROOT, "crates", "python", "examples", "flights.py")
    found = subprocess.run([sys.executable, script], check=True, timeout=120, capture_output=True, text=True)
    assert "336776 rows" in found.stdout
