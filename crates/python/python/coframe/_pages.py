"""Whether this process has written to memory that it maps privately: the kernel made a copy of each page that it wrote."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from . import _packages

_PAGE = os.sysconf("SC_PAGE_SIZE")
_ENTRY = 8
#: Bits of an entry in /proc/self/pagemap: the page is in memory, in swap, and belongs to a file or to shared memory.
_PRESENT, _SWAPPED, _OF_FILE = (1 << bit for bit in (63, 62, 61))


def are_unwritten(arrays: Iterable[Any]) -> bool:
    """Whether no page of these arrays, which are on private maps of files, was ever written to here.

    ``False`` if the kernel does not report it.
    """
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as file:
            return all(_is_unwritten(file, array) for array in arrays)
    except OSError:
        return False


def _is_unwritten(file: Any, array: Any) -> bool:
    np = _packages.need("numpy", "comparing an object")
    if not array.nbytes:
        return True
    address = array.__array_interface__["data"][0]
    first, last = address // _PAGE, (address + array.nbytes - 1) // _PAGE
    file.seek(first * _ENTRY)
    length = (last - first + 1) * _ENTRY
    read = b""
    while len(read) < length:
        part = file.read(length - len(read))
        if not part:
            return False
        read += part
    entries = np.frombuffer(read, dtype="u8")
    own = (entries & _SWAPPED != 0) | ((entries & _PRESENT != 0) & (entries & _OF_FILE == 0))
    return not own.any()
