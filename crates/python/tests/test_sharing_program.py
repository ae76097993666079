"""``python -m coframe PROGRAM``: an unchanged program."""

from __future__ import annotations

import os
import subprocess
import sys

import coframe
import pytest
from test_sharing import frames

PROGRAM = """
import atexit, concurrent.futures, functools, multiprocessing, pickle, sys
import numpy as np, pandas as pd

def f(df, i):
    with open("/proc/self/maps") as maps:
        return float(df["x"].iloc[i]), "/sharing-" in maps.read()

def late():
    print("exit", f.__name__, np.__name__)

if __name__ == "__main__":
    atexit.register(late)
    df = pd.DataFrame({"x": np.arange(200_000.0)})
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(pool.map(functools.partial(f, df), range(3)))
    print(sys.argv, __name__, __file__)
    worker = multiprocessing.get_context("spawn").Process(target=f, args=(df, 0))
    worker.start()
"""


def run(*arguments: str, cwd: os.PathLike[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture
def program(tmp_path: os.PathLike[str]) -> str:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w") as file:
        file.write(PROGRAM)
    return path


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_program_runs_unchanged_and_shares(method: str, program: str, tmp_path: os.PathLike[str], store: coframe.Store) -> None:
    alone = run(program, method, "--verbose", cwd=tmp_path)
    shared = run("-m", "coframe", program, method, "--verbose", cwd=tmp_path)
    assert alone.returncode == shared.returncode == 0, shared.stderr
    assert "True" not in alone.stdout
    assert shared.stdout == alone.stdout.replace("False", "True")
    assert shared.stderr == alone.stderr
    assert not frames(store)


def test_a_module_runs_unchanged_and_shares(program: str, tmp_path: os.PathLike[str]) -> None:
    alone = run("-m", "program", "spawn", cwd=tmp_path)
    shared = run("-m", "coframe", "-m", "program", "spawn", cwd=tmp_path)
    assert shared.returncode == 0, shared.stderr
    assert "True" in shared.stdout
    assert shared.stdout == alone.stdout.replace("False", "True")


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "raise ValueError('wrong')", "import os; os._exit(4)", "print(__spec__)"])
def test_a_program_ends_as_it_would_alone(code: str, tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w") as file:
        file.write(code)
    alone, shared = run(path, cwd=tmp_path), run("-m", "coframe", path, cwd=tmp_path)
    assert (shared.returncode, shared.stdout) == (alone.returncode, alone.stdout)
    assert shared.stderr.splitlines()[-1:] == alone.stderr.splitlines()[-1:]


def test_without_a_program_the_usage_is_printed(tmp_path: os.PathLike[str]) -> None:
    found = run("-m", "coframe", cwd=tmp_path)
    assert found.returncode == 2
    assert "PROGRAM" in found.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("--minbytes 3", "`--minbytes`: expected one of the options above"),
        ("--min-bytes many program.py", "--min-bytes `many`: expected a number of bytes"),
        ("--min-bytes", "--min-bytes ``: expected a number of bytes"),
        ("-m", "-m: expected a MODULE"),
        ("--verbose", "expected a PROGRAM or -m MODULE"),
    ],
)
def test_a_wrong_argument_is_named_below_the_usage(words: str, error: str, tmp_path: os.PathLike[str]) -> None:
    found = run("-m", "coframe", *words.split(), cwd=tmp_path)
    usage, message = found.stderr.splitlines()
    assert (found.returncode, found.stdout) == (2, "")
    assert usage.startswith("usage: python -m coframe [--min-bytes N]")
    assert message == f"python -m coframe: error: {error}"


def test_the_arguments_of_a_program_are_its_own(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w") as file:
        file.write("import sys\nprint(sys.argv[1:])")
    words = ["--verbose", "-h", "--min-bytes=x", "-m"]
    for options in ([], ["--min-bytes=5", "--verbose"], ["--min-bytes", "5"]):
        for start in ([path], ["-m", "program"]):
            found = run("-m", "coframe", *options, *start, *words, cwd=tmp_path)
            assert found.stdout == f"{words}\n", found.stderr


def test_a_program_that_shares_nothing_imports_few_modules(tmp_path: os.PathLike[str]) -> None:
    path = os.path.join(tmp_path, "program.py")
    with open(path, "w") as file:
        file.write("import sys\nprint(*sys.modules)")
    modules = set(run("-m", "coframe", path, cwd=tmp_path).stdout.split())
    # Each takes some milliseconds of every program's start.
    heavy = {"argparse", "coframe._frame", "coframe._store", "coframe._queue", "coframe._tables", "coframe._kept", "numpy"}
    assert "coframe._sharing" in modules
    assert not modules & heavy


def test_every_name_of_the_package_can_be_imported(tmp_path: os.PathLike[str]) -> None:
    code = "import coframe\nassert set(coframe.__all__) <= set(dir(coframe))\nfrom coframe import *\nprint(sharing, Store)\ncoframe.nothing"
    found = run("-c", code, cwd=tmp_path)
    assert "coframe._sharing.sharing" in found.stdout
    assert found.stderr.endswith("AttributeError: module 'coframe' has no attribute 'nothing'\n")
