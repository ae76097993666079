"""Dicts of numpy arrays in, and columns as numpy arrays out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _packages
from ._coframe import Columns
from ._errors import InvalidError, UnsupportedError, WouldCopyError

if TYPE_CHECKING:
    from ._coframe import Frame as Native


def columns(table: dict[Any, Any]) -> Columns:
    """A dict of numpy arrays (or of what numpy makes arrays of) as a table; shares what lies in memory as Arrow wants it."""
    np = _packages.need("numpy", "publishing a dict of arrays")
    if not table:
        raise InvalidError("a dict without columns: expected an array for each column")
    for name in table:
        if not isinstance(name, str):
            raise InvalidError(f"a column named {name!r}, of type {type(name).__name__}: expected a text")
    prepared = [_prepare(np, name, np.ma.asanyarray(values)) for name, values in table.items()]
    lengths = {column[0]: rows for column, rows in prepared}
    if len(set(lengths.values())) > 1:
        raise InvalidError(f"columns of different lengths: {lengths}; expected one length")
    return Columns([column for column, _ in prepared])


def _prepare(np: Any, name: str, array: Any) -> tuple[tuple[Any, ...], int]:
    """What ``Columns`` takes: name, kind, values, packed validity, width; and the number of rows."""
    if array.ndim not in (1, 2):
        raise InvalidError(f"column `{name}` has {array.ndim} dimensions: expected one, or two (a list in each row)")
    mask = np.ma.getmask(array)
    values = np.ma.getdata(array)
    rows = len(values)
    kind = values.dtype.kind
    if kind == "O":
        return (name, "str", _texts(name, values.tolist()), None, None), rows
    if array.ndim == 1 and kind in "UT":
        return (name, "str", values.tolist(), None, None), rows
    if array.ndim == 1 and kind == "S":
        return (name, "bytes", values.tolist(), None, None), rows
    if kind not in "biufMm":
        raise UnsupportedError(f"column `{name}` of numpy dtype {values.dtype} is not supported; cast it first")
    valid = None if mask is np.ma.nomask else ~np.broadcast_to(mask, values.shape)
    if kind in "Mm":
        missing = np.isnat(values)
        if missing.any():
            valid = ~missing if valid is None else valid & ~missing
        values = _whole_units(np, name, values)
    if array.ndim == 2 and (valid is not None or kind == "b"):
        raise UnsupportedError(f"column `{name}` has two dimensions, and nulls or booleans; pass its columns one by one")
    bits = None if valid is None else np.packbits(valid, bitorder="little")
    if kind == "b":
        return (name, "bool", (rows, np.packbits(values, bitorder="little")), bits, None), rows
    label = "date32" if kind == "M" and np.datetime_data(values.dtype)[0] == "D" else None
    if label is not None:
        values = values.view("int64").astype("int32")
    # Plain ndarrays of native byte order, each row after the other.
    values = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "A"]).view(np.ndarray)
    width = values.shape[1] if values.ndim == 2 else None
    return (name, label or values.dtype.name, values, bits, width), rows


def _whole_units(np: Any, name: str, values: Any) -> Any:
    unit, count = np.datetime_data(values.dtype)
    if count == 1 and unit in ("s", "ms", "us", "ns") or (unit == "D" and values.dtype.kind == "M"):
        return values
    if unit == "generic":
        raise UnsupportedError(f"column `{name}` of numpy dtype {values.dtype} has no unit; cast it to one such as [us]")
    finer = {"D": "s", "h": "s", "m": "s", "W": "s"}.get(unit, "D" if values.dtype.kind == "M" else "s")
    return values.astype(f"{values.dtype.kind}8[{finer if count == 1 else 'us'}]")


def _texts(name: str, values: list[Any]) -> list[str | None]:
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise UnsupportedError(
                f"column `{name}` holds Python objects: row {row} is a {type(value).__name__}; expected one numpy dtype, or "
                "texts and None"
            )
    return values


def array(native: Native, position: int, copy: bool | None) -> Any:
    """A column as a numpy array: on the mapped bytes and read-only where that can be, else copied if ``copy`` allows it."""
    np = _packages.need("numpy", "Column.numpy")
    parts, reason = native.values(position)
    if reason is None:
        shared = np.asarray(parts[0])
        return shared.copy() if copy else shared
    if copy is False:
        name = native.columns[position]
        raise WouldCopyError(f"column `{name}` would be copied: {reason}; allow it with copy=None, or leave the column out")
    if parts:
        return np.concatenate([np.asarray(part) for part in parts])
    column = native.select([native.columns[position]])
    pa = _packages.need("pyarrow", f"a column that numpy cannot share ({reason})")
    return pa.table(Classic(column)).column(0).to_numpy()


def as_asked(array: Any, dtype: Any, copy: bool | None, what: str) -> Any:
    """An array as ``__array__`` must give it: of this dtype, and copied as ``copy`` says."""
    if dtype is None or array.dtype == dtype:
        return array.copy() if copy else array
    if copy is False:
        raise WouldCopyError(f"{what} would be copied: it is of dtype {array.dtype}, not {dtype}; allow it with copy=None")
    return array.astype(dtype)


class Classic:
    """A frame on its way to pyarrow, with views cast to large strings and binaries."""

    def __init__(self, native: Native) -> None:
        self._native = native

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self._native.classic_stream()
