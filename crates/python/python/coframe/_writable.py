"""Arrays that may be written to, on the bytes of a frame: on a private map, where the kernel copies each page at its first write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._coframe import Frame as Native


class Writable:
    """Gives arrays on the mapped bytes of a frame as arrays that are writable. All that it gives share one private map."""

    def __init__(self, native: Native) -> None:
        self._private = native.private()

    def __call__(self, array: Any) -> Any:
        """The array, if it is writable; else one on the private map, or a copy where that has not its bytes."""
        if array.flags.writeable:
            return array
        found = self.mapped(array)
        return array.copy() if found is None else found

    def mapped(self, array: Any) -> Any:
        """The array on the private map; ``None`` when the frame has lost its name, or the array is not on its bytes."""
        import numpy as np

        if self._private is None or not array.flags.c_contiguous:
            return None
        found = self._private.at(array.__array_interface__["data"][0], array.nbytes)
        return None if found is None else np.asarray(found).view(array.dtype).reshape(array.shape)
