"""Writes to the values of a DataFrame that pandas' copy-on-write does not see.

There are two: through an extension array (``df["x"].array[0] = 1``), which are counted, and through a numpy array on the
same memory (``pd.DataFrame({"x": array}, copy=False)``), which an object other than pandas must hold.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from . import _packages

_writes = 0
#: Parts of extension arrays that are arrays of numpy.
_PARTS = ("_ndarray", "_data", "_mask")
#: Whether they are counted.
_is_counting = False


def writes() -> int:
    """How many writes through extension arrays this process has seen."""
    return _writes


def count_writes() -> None:
    """Counts from now on, once pandas is imported."""
    global _is_counting
    if _is_counting:
        return
    pandas = sys.modules.get("pandas")
    arrays = getattr(pandas, "arrays", None)
    if arrays is None:
        return
    names = (
        *("NumpyExtensionArray", "DatetimeArray", "TimedeltaArray", "PeriodArray", "IntervalArray", "Categorical"),
        *("IntegerArray", "FloatingArray", "BooleanArray"),
    )
    classes = [getattr(arrays, name, None) or getattr(pandas, name, None) for name in names]
    owners = {owner for one in classes if one is not None for owner in one.__mro__ if "__setitem__" in vars(owner)}
    for owner in owners:
        _count(owner)
    _is_counting = True


def _count(owner: Any) -> None:
    original = owner.__setitem__

    @functools.wraps(original)
    def counted(self: Any, key: Any, value: Any) -> None:
        global _writes
        _writes += 1
        original(self, key, value)

    owner.__setitem__ = counted


def is_exposed(thing: Any) -> bool:
    """Whether anything except pandas holds the numpy arrays of a DataFrame or Series, or may do."""
    count_writes()
    try:
        return any(_is_block_exposed(block) for block in thing._mgr.blocks)
    except Exception:
        # This version of pandas is built differently.
        return True


def _is_block_exposed(block: Any) -> bool:
    if _is_numpys(block):
        return _excess(block) > _clean(_is_view(block))
    return any(_is_part_exposed(block, name) for name in _PARTS if getattr(block.values, name, None) is not None)


def _is_part_exposed(block: Any, name: str) -> bool:
    """Whether anything except pandas holds an array of numpy that is a part of an extension array."""
    np = _packages.need("numpy", "sharing a DataFrame")
    owner = getattr(block.values, name)
    if type(owner) is not np.ndarray:
        return False
    owner = owner if owner.base is None else owner.base
    if type(owner) is not np.ndarray or owner.base is not None:
        # The memory is of another object, which may write to it.
        return True
    arrays = {id(one.values): one.values for ref in block.refs.referenced_blocks if (one := ref()) is not None}
    # Each of pandas' arrays has the part itself, or a view of it, which several may have in common.
    holders = {key if getattr(array, name) is owner else id(getattr(array, name)) for key, array in arrays.items()}
    # The others are the name in this function and the argument of `getrefcount`.
    return sys.getrefcount(owner) > len(holders) + 2


def _is_numpys(block: Any) -> bool:
    np = _packages.need("numpy", "sharing a DataFrame")
    return type(block.values) is np.ndarray


def _is_view(block: Any) -> bool:
    return block.values.base is not None


def _excess(block: Any) -> int:
    """References to the memory of a block, without those of pandas' blocks."""
    owner = block.values
    while owner.base is not None:
        owner = owner.base
    living = sum(one() is not None for one in block.refs.referenced_blocks)
    return sys.getrefcount(owner) - living


@functools.cache
def _clean(is_view: bool) -> int:
    """What :func:`_excess` finds when pandas alone holds the memory."""
    pd = _packages.need("pandas", "sharing a DataFrame")
    np = _packages.need("numpy", "sharing a DataFrame")
    df = pd.DataFrame(np.zeros((2, 2)) if is_view else {"x": np.zeros(2)})
    found = next(iter(df._mgr.blocks))
    if _is_view(found) is not is_view:
        raise NotImplementedError("a clean frame of this kind is not known")
    return _excess(found)


def guarded(kept: Any) -> set[int]:
    """The addresses of the values of a DataFrame or Series to which only pandas writes."""
    found: set[int] = set()
    for array in getattr(getattr(kept, "_mgr", None), "arrays", ()):
        if (chunks := getattr(array, "_pa_array", None)) is not None and _is_arrows(chunks.type):
            found.update(buffer.address for chunk in chunks.chunks for buffer in chunk.buffers() if buffer is not None)
        parts = (array, *(getattr(array, name, None) for name in _PARTS))
        found.update(part.__array_interface__["data"][0] for part in parts if hasattr(part, "__array_interface__"))
    return found


def _is_arrows(kind: Any) -> bool:
    """Whether pyarrow copies values of this type from numpy. It shares those of one width, such as numbers."""
    return str(kind) in ("string", "large_string", "string_view")
