"""Runs the code of docs/READERS.md unchanged, except for the path of the store."""

import re
import subprocess
import sys
from pathlib import Path

from runner import IN_NODE, NODE
from table import PAGE, TITLES

FLIGHTS = Path(__file__).parent.parent / "testdata" / "flights.parquet"
DELAYS = "carrier,delay\nUA,2\nDL,-3\nUA,11\n"
PRINTED_STORE = "/dev/shm/coframe-1000"
#: What Python prints when it aborts at its end, after all of the code has run.
AT_THE_END = "Python runtime state: finalizing"


def run_all(store, readers):
    """The snippets that fail, each run on frames in the layout that the page's first table recommends."""
    text, problems = PAGE.read_text(), []
    stores = {layout: publish(store.another(layout), layout) for layout in ("view", "offset")}
    for reader in readers:
        row = re.search(rf"^\| {TITLES[reader]} \| `(view|offset)`", text, re.MULTILINE)
        blocks = blocks_of(text, TITLES[reader])
        if not row or not blocks:
            problems.append(f"docs/READERS.md has no layout or no code for {TITLES[reader]}")
            continue
        for code in blocks:
            problems += run(reader, code, stores[row[1]])
    return problems


def publish(store, layout):
    store.publish(FLIGHTS, "flights", layout)
    delays = store.folder / "delays.csv"
    delays.write_text(DELAYS)
    store.publish(delays, "delays", layout)
    return store


def blocks_of(text, title):
    section = re.search(rf"^### {title}\n(.*?)(?=^##)", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"```(?:python|javascript)\n(.*?)```", section[1], re.DOTALL) if section else []


def run(reader, code, store):
    """Compares the output with the comment at the end of the last line."""
    wanted = re.search(r"(?:#|//) (.*)\n$", code)
    script = NODE / "snippet.mjs" if reader in IN_NODE else store.folder / "snippet.py"
    script.write_text(code.replace(PRINTED_STORE, str(store.store)))
    command = "node" if reader in IN_NODE else sys.executable
    done = subprocess.run([command, str(script)], capture_output=True, text=True)
    # Threads of Daft may still take the interpreter's lock while Python ends, which aborts it in some runs.
    has_ended = done.returncode == 0 or (reader == "daft" and AT_THE_END in done.stderr)
    if has_ended and wanted and done.stdout.strip() == wanted[1]:
        return []
    return [f"docs/READERS.md: the code for {TITLES[reader]} should print {wanted and wanted[1]!r}, "
            f"and printed {done.stdout!r}\n{done.stderr[-1000:]}"]
