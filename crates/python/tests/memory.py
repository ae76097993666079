"""Where things are in memory."""

from __future__ import annotations

import os
from typing import Any


def mapped(store: str) -> list[tuple[int, int]]:
    """The address ranges that map segments of a store."""
    # By inode: the maps of a publisher show the name that its file had before it had one.
    inodes = {
        os.stat(os.path.join(directory, file)).st_ino
        for directory, _, files in os.walk(store)
        for file in files
        if "@" in file
    }
    found = []
    with open("/proc/self/maps") as maps:
        for line in maps:
            words = line.split()
            if int(words[4]) in inodes:
                start, end = words[0].split("-")
                found.append((int(start, 16), int(end, 16)))
    return found


def is_mapped(address: int, store: str) -> bool:
    return any(start <= address < end for start, end in mapped(store))


def buffers(array: Any) -> list[Any]:
    """The buffers of an array of pyarrow, those of its dictionary included, but for the sizes of views."""
    found = [buffer for buffer in array.buffers() if buffer is not None and buffer.size > 0]
    # pyarrow leaves them out.
    return found + buffers(array.dictionary) if hasattr(array, "dictionary") else found


def shares(table: Any, store: str) -> bool:
    """Whether every buffer of a table of pyarrow with values is in a segment of the store."""
    addresses = [
        buffer.address for column in table.columns for chunk in column.chunks for buffer in buffers(chunk)
    ]
    return bool(addresses) and all(is_mapped(address, store) for address in addresses)


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))
