"""Rows and types of tables as texts, read from Arrow's C data interface with ``ctypes``.

It uses neither coframe nor the accessors of a library: those of pyarrow lack some types, and crash on others. The texts are
those of ``tests/it/tables/show.rs``, which do not depend on how a library stores a value.
"""

from __future__ import annotations

import ctypes
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any

_Release = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Next = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)


class _Schema(ctypes.Structure):
    """``struct ArrowSchema``."""


class _Array(ctypes.Structure):
    """``struct ArrowArray``."""


class _Stream(ctypes.Structure):
    """``struct ArrowArrayStream``."""

    _fields_ = [("get_schema", _Next), ("get_next", _Next), ("get_last_error", ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)), ("release", _Release), ("private", ctypes.c_void_p)]


_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_void_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", ctypes.POINTER(ctypes.POINTER(_Schema))),
    ("dictionary", ctypes.POINTER(_Schema)),
    ("release", _Release),
    ("private", ctypes.c_void_p),
]
_Array._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.POINTER(ctypes.POINTER(_Array))),
    ("dictionary", ctypes.POINTER(_Array)),
    ("release", _Release),
    ("private", ctypes.c_void_p),
]


def columns(table: Any) -> dict[str, list[str]]:
    """The rows of each column of what has ``__arrow_c_stream__``."""
    capsule = table.__arrow_c_stream__()
    stream = _of(capsule, b"arrow_array_stream", _Stream)
    schema = _filled(stream, stream.get_schema, _Schema())
    found: dict[str, list[str]] = {name: [] for name in _names(schema)}
    while (batch := _filled(stream, stream.get_next, _Array())).release:
        assert batch.n_children == len(found)
        for position, rows in enumerate(found.values()):
            rows += map(plain, _texts(_child(schema, position), _child(batch, position), batch.offset, batch.length))
        batch.release(ctypes.addressof(batch))
    schema.release(ctypes.addressof(schema))
    return found


def plain(text: str) -> str:
    """A row with the same names in all maps, because pyarrow replaces others."""
    return text.replace("{keys: ", "{key: ").replace(", values: ", ", value: ")


def schema(table: Any) -> dict[str, str]:
    """Names, types, flags and metadata of each column of what has ``__arrow_c_schema__``; the table's metadata under ""."""
    capsule = table.__arrow_c_schema__()
    whole = _of(capsule, b"arrow_schema", _Schema)
    found = {name: "\n".join(_fields(_child(whole, position), 0, name)) for position, name in enumerate(_names(whole))}
    return {"": str(_metadata(whole.metadata)), **found}


def _of(capsule: Any, name: bytes, kind: Any) -> Any:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return kind.from_address(pointer(capsule, name))


def _filled(stream: _Stream, call: Any, into: Any) -> Any:
    if call(ctypes.addressof(stream), ctypes.addressof(into)):
        raise AssertionError(f"the stream failed: {stream.get_last_error(ctypes.addressof(stream))!r}")
    return into


def _child(parent: Any, position: int) -> Any:
    return parent.children[position].contents


def _fields(field: _Schema, depth: int, name: str) -> Iterator[str]:
    flags = [flag for bit, flag in ((1, "ordered"), (2, "nullable"), (4, "sorted")) if field.flags & bit]
    yield f"{'  ' * depth}{name}: {field.format.decode()} {' '.join(flags)} {_metadata(field.metadata)}"
    names = ["entries"] if field.format == b"+m" else ["key", "value"] if name == "entries" else _names(field)
    for child, name in enumerate(names):
        yield from _fields(_child(field, child), depth + 1, name)
    if field.dictionary:
        yield from _fields(field.dictionary.contents, depth + 1, "")


def _names(field: _Schema) -> list[str]:
    return [_child(field, position).name.decode() for position in range(field.n_children)]


def _metadata(address: int | None) -> dict[str, str]:
    """Metadata is a count, and for each text its length."""
    if not address:
        return {}
    texts, at = [], address + 4
    for _ in range(2 * ctypes.c_int32.from_address(address).value):
        length = ctypes.c_int32.from_address(at).value
        texts.append(ctypes.string_at(at + 4, length).decode())
        at += 4 + length
    return dict(sorted(zip(texts[::2], texts[1::2], strict=True)))


def _numbers(array: _Array, buffer: int, code: str, first: int, count: int) -> list[Any]:
    """Numbers of a format of ``struct``, from a row on, without the array's offset."""
    width = struct.calcsize(f"<{code}")
    if not count * width:
        return [b""] * count
    text = ctypes.string_at(array.buffers[buffer] + first * width, count * width)
    return [one[0] if len(one) == 1 else one for one in struct.iter_unpack(f"<{code}", text)]


def _bits(array: _Array, buffer: int, first: int, count: int) -> list[bool]:
    if not count:
        return []
    text = ctypes.string_at(array.buffers[buffer], (first + count + 7) // 8)
    return [bool(text[row // 8] >> (row % 8) & 1) for row in range(first, first + count)]


def _texts(field: _Schema, array: _Array, first: int, count: int) -> list[str]:
    """Rows of an array, the first of which is counted without its offset."""
    kind = field.format.decode()
    assert first + count <= array.length
    first += array.offset
    if kind == "n":
        return ["null"] * count
    if kind == "+r":
        return _runs(field, array, first, count)
    if kind.startswith("+u"):
        return _union(field, array, first, count)
    valid = _bits(array, 0, first, count) if array.buffers[0] else [True] * count
    if field.dictionary:
        text = _dictionary(field, array, first, count, valid)
    elif kind == "+s":
        text = _structure(field, array, first)
    elif kind.startswith("+"):
        text = _list(kind, field, array, first, count)
    else:
        text = _values(kind, array, first, count)
    return [text(row) if is_valid else "null" for row, is_valid in enumerate(valid)]


def _dictionary(field: _Schema, array: _Array, first: int, count: int, valid: list[bool]) -> Callable[[int], str]:
    keys = _numbers(array, 1, _INTEGERS[field.format.decode()], first, count)
    values = array.dictionary.contents
    texts = {key: _texts(field.dictionary.contents, values, key, 1)[0] for key, is_valid in zip(keys, valid, strict=True) if is_valid}
    return lambda row: texts[keys[row]]


def _runs(field: _Schema, array: _Array, first: int, count: int) -> list[str]:
    ends, values = _child(array, 0), _child(array, 1)
    last = _numbers(ends, 1, _INTEGERS[_child(field, 0).format.decode()], ends.offset, ends.length)
    return [_texts(_child(field, 1), values, bisect_right(last, row), 1)[0] for row in range(first, first + count)]


def _union(field: _Schema, array: _Array, first: int, count: int) -> list[str]:
    mode, ids = field.format.decode().split(":")
    ids = ids.split(",")
    found = _numbers(array, 0, "b", first, count)
    offsets = _numbers(array, 1, "i", first, count) if mode == "+ud" else range(first, first + count)
    texts = []
    for one, offset in zip(found, offsets, strict=True):
        child = ids.index(str(one))
        texts.append(f"<{one} {_texts(_child(field, child), _child(array, child), offset, 1)[0]}>")
    return texts


_INTEGERS = {"c": "b", "C": "B", "s": "h", "S": "H", "i": "i", "I": "I", "l": "q", "L": "Q"}
_FLOATS = {"e": ("H", 16), "f": ("I", 32), "g": ("Q", 64)}
_UNITS = {"s": 10**9, "m": 10**6, "u": 10**3, "n": 1}
#: Code of ``struct``, text.
_TIMES: dict[str, tuple[str, Callable[[Any], str]]] = {
    "tdD": ("i", lambda days: f"date {days}"),
    "tdm": ("q", lambda at: f"at {at * 10**6}"),
    "tiM": ("i", str),
    "tiD": ("ii", lambda parts: "IntervalDayTime {{ days: {}, milliseconds: {} }}".format(*parts)),
    "tin": ("iiq", lambda parts: "IntervalMonthDayNano {{ months: {}, days: {}, nanoseconds: {} }}".format(*parts)),
}


def _values(kind: str, array: _Array, first: int, count: int) -> Callable[[int], str]:
    """The text of each row that is not null."""
    if kind == "b":
        bits = _bits(array, 1, first, count)
        return lambda row: "true" if bits[row] else "false"
    if kind in ("u", "U", "z", "Z", "vu", "vz"):
        return _bytes(kind, array, first, count)
    code, text = _number(kind)
    numbers = _numbers(array, 1, code, first, count)
    return lambda row: text(numbers[row])


def _number(kind: str) -> tuple[str, Callable[[Any], str]]:
    if kind in _INTEGERS:
        return _INTEGERS[kind], str
    if kind in _FLOATS:
        code, width = _FLOATS[kind]
        return code, lambda bits: f"f{width} {bits:x}"
    if kind in _TIMES:
        return _TIMES[kind]
    if kind.startswith("w:"):
        return f"{kind[2:]}s", lambda value: f"0x{value.hex()}"
    if kind.startswith("d:"):
        _, scale, *bits = kind[2:].split(",")
        width = int(bits[0]) // 8 if bits else 16
        return f"{width}s", lambda value: f"{int.from_bytes(value, 'little', signed=True)}e-{scale}"
    what = {"tt": "time", "ts": "at", "tD": "for"}[kind[:2]]
    code, unit = "i" if kind in ("tts", "ttm") else "q", _UNITS[kind[2]]
    return code, lambda value: f"{what} {value * unit}"


def _bytes(kind: str, array: _Array, first: int, count: int) -> Callable[[int], str]:
    if kind.startswith("v"):
        views = _numbers(array, 1, "16s", first, count)

        def value(row: int) -> bytes:
            length, _, buffer, offset = struct.unpack("<iiii", views[row])
            return views[row][4 : 4 + length] if length <= 12 else ctypes.string_at(array.buffers[2 + buffer] + offset, length)

    else:
        offsets = _numbers(array, 1, "i" if kind.islower() else "q", first, count + 1) if count else []

        def value(row: int) -> bytes:
            length = offsets[row + 1] - offsets[row]
            return ctypes.string_at(array.buffers[2] + offsets[row], length) if length else b""

    if kind[-1] in "uU":
        # The generator has no text with characters that Rust's `{:?}` escapes.
        return lambda row: f'"{value(row).decode()}"'
    return lambda row: f"0x{value(row).hex()}"


def _structure(field: _Schema, array: _Array, first: int) -> Callable[[int], str]:
    names = _names(field)

    def text(row: int) -> str:
        values = (_texts(_child(field, child), _child(array, child), first + row, 1)[0] for child in range(len(names)))
        return "{" + "".join(f"{name}: {value}, " for name, value in zip(names, values, strict=True)) + "}"

    return text


def _list(kind: str, field: _Schema, array: _Array, first: int, count: int) -> Callable[[int], str]:
    item, items = _child(field, 0), _child(array, 0)

    def inside(start: int, length: int) -> str:
        return "[" + "".join(f"{text}, " for text in _texts(item, items, start, length)) + "]"

    if kind.startswith("+w:"):
        size = int(kind[3:])
        return lambda row: inside((first + row) * size, size)
    code = "q" if kind in ("+L", "+vL") else "i"
    if kind.startswith("+v"):
        starts, sizes = (_numbers(array, buffer, code, first, count) for buffer in (1, 2))
        return lambda row: inside(starts[row], sizes[row])
    offsets = _numbers(array, 1, code, first, count + 1) if count else []
    return lambda row: inside(offsets[row], offsets[row + 1] - offsets[row])
