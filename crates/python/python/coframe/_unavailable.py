"""What a message holds instead of a table that could not be opened."""

from __future__ import annotations

from typing import Any

#: Special methods that Python looks up on the class. Each raises.
_USES = [
    "array", "arrow_c_stream", "arrow_c_schema", "arrow_c_array", "dataframe", "array_ufunc", "array_function",
    "bool", "len", "iter", "next", "reversed", "contains", "getitem", "setitem", "delitem", "call", "add", "radd",
    "iadd", "sub", "rsub", "isub", "mul", "rmul", "imul", "truediv", "rtruediv", "itruediv", "floordiv",
    "rfloordiv", "ifloordiv", "mod", "rmod", "pow", "rpow", "matmul", "rmatmul", "and", "rand", "iand", "or", "ror",
    "ior", "xor", "rxor", "invert", "neg", "pos", "abs", "lt", "le", "gt", "ge", "eq", "ne", "int", "float",
    "index", "complex", "round", "enter", "exit", "copy", "deepcopy",
]


class Unavailable:
    """Raises an error at its first use.

    An error while a pool unpickles a message makes some pools wait for ever; raised by the task, it reaches the caller.
    """

    def __init__(self, error: BaseException) -> None:
        object.__setattr__(self, "_error", error)

    def __getattr__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")

    def __setattr__(self, name: str, value: Any) -> None:
        raise object.__getattribute__(self, "_error")

    def __reduce__(self) -> tuple[Any, ...]:
        error = object.__getattribute__(self, "_error")
        return (_again, (type(error), str(error)))

    def __repr__(self) -> str:
        return f"<unavailable: {object.__getattribute__(self, '_error')}>"

    __hash__ = object.__hash__


def _again(kind: type[BaseException], message: str) -> Unavailable:
    return Unavailable(kind(message))


def _raise(self: Unavailable, *_: Any, **__: Any) -> Any:
    raise object.__getattribute__(self, "_error")


for _name in _USES:
    setattr(Unavailable, f"__{_name}__", _raise)
