"""Names of columns and fields."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: Created where it is published, in a separate process: Polars ends its process at such a name.
NULS = {
    "a column of Polars": "pl.DataFrame({'a\\0b': [1]})",
    "a column of a lazy frame": "pl.LazyFrame({'a\\0b': [1]})",
    "a field of Polars": "pl.DataFrame({'x': [{'a\\0b': 1}]})",
    "a field in a list of Polars": "pl.DataFrame({'x': [[{'y': {'a\\0b': 1}}]]})",
    "a column of pandas": "pd.DataFrame({'a\\0b': [1], 'a\\0c': [2]})",
    "an index of pandas": "pd.DataFrame({'x': [1]}, index=pd.Index([3], name='a\\0b'))",
    "a field of pandas": "pd.DataFrame({'x': [{'a\\0b': 1}]})",
    "a column of pyarrow": "pa.table({'a\\0b': [1], 'a\\0c': [2]})",
    "a reader of pyarrow": "pa.table({'a\\0b': [1]}).to_reader()",
    "a field of pyarrow": "pa.table({'x': pa.array([{'a\\0b': 1}])})",
    "a field in a map of pyarrow": "pa.table({'x': pa.array([[(1, {'a\\0b': 1})]], pa.map_(pa.int64(), pa.struct([('a\\0b', pa.int64())])))})",
    "an array of numpy": "{'a\\0b': np.array([1])}",
}


IMPORTS = {"np.": "numpy as np", "pd.": "pandas as pd", "pl.": "polars as pl", "pa.": "pyarrow as pa"}


@pytest.mark.parametrize("made", NULS)
def test_a_name_with_a_nul_is_refused(made: str) -> None:
    modules = ["coframe", *(module for use, module in IMPORTS.items() if use in NULS[made])]
    code = (
        f"import {', '.join(modules)}\n"
        f"for publish in (coframe.share, lambda table: coframe.publish(table, 't')):\n    try:\n        publish({NULS[made]})\n"
        "    except coframe.InvalidError as error:\n        print(error)\n"
        "print(coframe.list())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr[-300:]
    first, second, names = found.stdout.splitlines()
    assert first == second and r"the name `a\x00b`" in first and "NUL" in first and names == "[]"
