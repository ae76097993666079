"""The types of shared values: typecodes, types of ``ctypes`` and dtypes of numpy."""

from __future__ import annotations

import ctypes
import operator
from dataclasses import dataclass
from typing import Any

from ._errors import ArgumentTypeError, InvalidError

_SIGNED: tuple[Any, ...] = (ctypes.c_byte, ctypes.c_short, ctypes.c_int, ctypes.c_long, ctypes.c_longlong)
_UNSIGNED: tuple[Any, ...] = (ctypes.c_ubyte, ctypes.c_ushort, ctypes.c_uint, ctypes.c_ulong, ctypes.c_ulonglong)
_CODES = {
    **{code: f"i{8 * ctypes.sizeof(kind)}" for code, kind in zip("bhilq", _SIGNED, strict=True)},
    **{code: f"u{8 * ctypes.sizeof(kind)}" for code, kind in zip("BHILQ", _UNSIGNED, strict=True)},
    "f": "f32",
    "d": "f64",
    "?": "bool",
}
_CTYPES: dict[str, Any] = {
    "i8": ctypes.c_int8,
    "i16": ctypes.c_int16,
    "i32": ctypes.c_int32,
    "i64": ctypes.c_int64,
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "u64": ctypes.c_uint64,
    "f32": ctypes.c_float,
    "f64": ctypes.c_double,
    "bool": ctypes.c_bool,
}
#: Typecodes of ``multiprocessing`` for types that are stored as bytes.
_CHARACTERS: dict[str, Any] = {"c": ctypes.c_char, "u": ctypes.c_wchar}


@dataclass(frozen=True)
class Kind:
    """The type of an element."""

    #: The name of a number in Rust, or "bool"; ``None`` for a type of ``ctypes`` that is not a number.
    number: str | None
    #: The type of ``ctypes`` with the same memory layout.
    ctype: Any

    @property
    def native(self) -> str:
        """Rust's name of what the cell holds: one of it, or the bytes of a type of ``ctypes``."""
        return self.number if self.number not in (None, "bool") else "u8"

    @property
    def typestr(self) -> str:
        """Numpy's name of a number."""
        if self.number == "bool":
            return "|b1"
        assert self.number is not None
        size = ctypes.sizeof(self.ctype)
        return f"{'|' if size == 1 else '<'}{self.number[0]}{size}"


def kind_of(typecode: Any) -> Kind:
    """The type of a typecode of ``array`` or ``multiprocessing``, a type of ``ctypes``, a dtype of numpy or its name."""
    if isinstance(typecode, Kind):
        return typecode
    ctype = _CHARACTERS.get(typecode, typecode) if isinstance(typecode, str) else typecode
    if _is_of_ctypes(ctype) and getattr(ctype, "_type_", None) not in _CODES:
        _refuse_pointers(ctype, ctype)
        return Kind(None, ctype)
    number = _number(typecode)
    if number is None:
        wrong = InvalidError if isinstance(typecode, str) else ArgumentTypeError
        raise wrong(f"the type {typecode!r}: expected a typecode such as \"i\" or \"d\", a type of ctypes, or a numpy dtype")
    return Kind(number, _CTYPES[number])


def _number(typecode: Any) -> str | None:
    code = getattr(typecode, "_type_", typecode)
    if isinstance(code, str) and code in _CODES:
        return _CODES[code]
    name = getattr(typecode, "name", None) or getattr(typecode, "__name__", None) or str(typecode)
    known = {"int": "i", "uint": "u", "float": "f"}
    word = name.rstrip("0123456789")
    if word == "bool":
        return "bool"
    number = known.get(word, "") + name[len(word) :]
    return number if word in known and number in _CTYPES else None


def _is_of_ctypes(ctype: Any) -> bool:
    if not isinstance(ctype, type):
        return False
    try:
        ctypes.sizeof(ctype)
    except TypeError:
        return False
    return True


def _refuse_pointers(ctype: Any, whole: Any) -> None:
    """Refuses types with pointers, because an address is invalid in another process."""
    if issubclass(ctype, (ctypes.Structure, ctypes.Union)):
        for field in getattr(ctype, "_fields_", ()):
            _refuse_pointers(field[1], whole)
    elif issubclass(ctype, ctypes.Array):
        _refuse_pointers(ctype._type_, whole)
    elif not isinstance(ctype._type_, str) or ctype._type_ in "zZPOX":
        raise InvalidError(f"the type {whole.__name__}: it has a pointer, which no other process can follow")


def as_elements(kind: Kind, value: Any, place: int | range) -> Any:
    """The value of a place of an array. Numpy would fill a range with one value, and convert fractions and texts."""
    values = [value] if isinstance(place, int) else value if hasattr(value, "dtype") else list(value)
    if isinstance(place, range) and len(values) != len(place):
        raise InvalidError(f"{len(values)} values for {len(place)} elements: expected as many")
    is_integer = kind.number not in ("bool", "f32", "f64")
    if getattr(getattr(values, "dtype", None), "kind", "O") in ("iub" if is_integer else "iubf"):
        return values
    if kind.number == "bool":
        ready: list[Any] = [bool(one) for one in values]
    else:
        ready = [operator.index(one) for one in values] if is_integer else [_number_of(one) for one in values]
    return ready[0] if isinstance(place, int) else ready


def _number_of(value: Any) -> Any:
    if value is None or isinstance(value, (str, bytes)):
        raise ArgumentTypeError(f"an element of type {type(value).__name__}: expected a number")
    return value
