"""Which ways of opening a frame share its memory: the columns of the flights that lie in the mapping."""

import json
import subprocess

from ask import program
from scratch import LAYOUTS
from snippets import FLIGHTS


def count_all(store, readers):
    if not {"pyarrow", "polars", "pandas"} <= set(readers):
        return {}
    return {"shared": {layout: count(store, layout) for layout in LAYOUTS}}


def count(store, layout):
    path = store.publish(FLIGHTS, f"shared-{layout}", layout)
    command, folder = program("count_shared")
    done = subprocess.run([*command, str(path)], cwd=folder, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)
