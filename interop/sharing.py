"""Counts, for each way to open a frame, the columns whose buffers are part of the mapping."""

import json
import subprocess

from runner import program
from snippets import FLIGHTS
from store import LAYOUTS


def count_all(store, readers):
    if not {"pyarrow", "polars", "pandas"} <= set(readers):
        return {}
    return {"shared": {layout: count(store, layout) for layout in LAYOUTS}}


def count(store, layout):
    path = store.publish(FLIGHTS, f"shared-{layout}", layout)
    command, folder = program("count_shared")
    done = subprocess.run([*command, str(path)], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
