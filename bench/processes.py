"""Memory of this process and all that descend from it."""

from __future__ import annotations

import os
from pathlib import Path


def descendants(process=None):
    """The ids of a process, by default this one, and all of its descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The command, in parentheses, may have spaces.
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found = {process or os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def pss_of_descendants():
    return sum(map(pss, descendants()))


def pss(process):
    """A process's share of its resident pages, in bytes."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
