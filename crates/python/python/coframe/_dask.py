"""What Dask asks of the objects in its memory. The entry point ``dask.sizeof`` of this package names it."""

from __future__ import annotations

import sys
from typing import Any


def register(sizeof: Any) -> None:
    """Has Dask count a frame with the size of its handle: the bytes are in shared memory, once for all workers of a machine."""
    sizeof.register_lazy("coframe", lambda: _register(sizeof))


def _register(sizeof: Any) -> None:
    # Now that Dask has met an object of this package. It imports this module whenever it is imported itself.
    from ._frame import Frame

    sizeof.register(Frame)(lambda frame: sys.getsizeof(frame) + sys.getsizeof(frame._text))
