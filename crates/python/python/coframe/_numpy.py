"""Dicts of numpy arrays in, and columns as numpy arrays out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from . import _packages
from ._coframe import Columns
from ._errors import ArgumentTypeError, InvalidError, UnsupportedError, WouldCopyError
from ._names import refuse_nuls
from ._writable import Writable

if TYPE_CHECKING:
    from ._coframe import Frame as Native


#: Key in the metadata of a frame that came from a dict of arrays: the dtypes that Arrow does not have, by column.
DTYPES = "coframe.python.numpy"


def columns(table: dict[Any, Any]) -> tuple[Columns, list[tuple[str, str]]]:
    """A dict of numpy arrays (or of what numpy makes arrays of) as a table, and what to note of their dtypes.

    The table shares memory that has Arrow's layout.
    """
    np = _packages.need("numpy", "publishing a dict of arrays")
    if not table:
        raise InvalidError("a dict without columns: expected an array for each column")
    for name in table:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"a column named {name!r}, of type {type(name).__name__}: expected a str")
    refuse_nuls(table)
    arrays = {name: _array(np, name, values) for name, values in table.items()}
    prepared = [_prepare(np, name, array) for name, array in arrays.items()]
    lengths = {column[0]: rows for column, rows in prepared}
    if len(set(lengths.values())) > 1:
        raise InvalidError(f"columns of different lengths: {lengths}; expected one length")
    dtypes = {name: array.dtype.str for name, array in arrays.items() if isinstance(table[name], np.ndarray) and _is_lost(np, array)}
    noted = [(DTYPES, json.dumps(dtypes))] if dtypes else []
    return Columns([column for column, _ in prepared]), noted


def _is_lost(np: Any, array: Any) -> bool:
    """Whether an array has a dtype that Arrow does not have, and that can be restored."""
    if np.ma.getmask(array) is not np.ma.nomask:
        return False
    return array.dtype.kind in "USmM" or (array.dtype.kind in "iuf" and not array.dtype.isnative)


def as_published(native: Native, name: str, array: Any) -> Any:
    """An array of a column with the dtype that it was published with."""
    dtype = json.loads(native.metadata.get(DTYPES, "{}")).get(name)
    return array if dtype is None else array.astype(dtype, copy=False)


def _array(np: Any, name: str, values: Any) -> Any:
    try:
        array = np.ma.asanyarray(values)
    except Exception as error:
        raise UnsupportedError(f"column `{name}` is not an array of numpy: {error}; give each row one value, or lists of one length") from error
    if array.dtype.kind in "biuf" and isinstance(values, (list, tuple)) and len(kinds := set(map(type, values))) > 1 and bool in kinds:
        raise UnsupportedError(f"column `{name}` holds booleans and numbers, which numpy would convert to numbers; give it one type")
    if array.dtype.kind in "US" and not isinstance(values, np.ndarray) and array.ndim == 1:
        # Numpy makes texts of all values in a list with one text.
        kind = str if array.dtype.kind == "U" else bytes
        for row, value in enumerate(values):
            if not isinstance(value, kind):
                raise UnsupportedError(
                    f"column `{name}` holds values of several types: row {row} is a {type(value).__name__}, and others are "
                    f"{kind.__name__}; give it one type"
                )
    if array.dtype.kind == "f" and not isinstance(values, np.ndarray):
        _check_integers(np, name, values, array)
    return array


def _check_integers(np: Any, name: str, values: Any, floats: Any) -> None:
    """Numpy makes floats of integers next to nulls or floats, or if one is negative and one above all of int64."""
    kind = str(getattr(values, "dtype", getattr(values, "type", ""))).lower()
    if "float" in kind or "double" in kind:
        return
    listed = next((getattr(values, method)() for method in ("to_pylist", "to_list") if hasattr(values, method)), values)
    for row, value in enumerate(listed):
        pairs = zip(value, floats[row], strict=True) if floats.ndim == 2 else [(value, floats[row])]
        for one, found in pairs:
            if isinstance(one, (int, np.integer)) and int(found) != int(one):
                raise UnsupportedError(
                    f"column `{name}` holds integers that numpy makes floats of: row {row} is {one}, and would become {found}; "
                    "give it one dtype of integers, nulls as a numpy.ma.MaskedArray"
                )


def _prepare(np: Any, name: str, array: Any) -> tuple[tuple[Any, ...], int]:
    """What ``Columns`` takes: name, kind, values, packed validity, width; and the number of rows."""
    if array.ndim not in (1, 2):
        raise InvalidError(f"column `{name}` has {array.ndim} dimensions: expected one, or two (a list in each row)")
    mask = np.ma.getmask(array)
    values = np.ma.getdata(array)
    rows = len(values)
    kind = values.dtype.kind
    if kind == "O" or (array.ndim == 1 and kind in "UT"):
        return (name, "str", _texts(name, _unmasked(np, values, mask)), None, None), rows
    if array.ndim == 1 and kind == "S":
        return (name, "bytes", _unmasked(np, values, mask), None, None), rows
    if values.dtype.names:
        raise UnsupportedError(f"column `{name}` has several values in a row, of numpy dtype {values.dtype}: pass each field as a column")
    if kind not in "biufMm":
        raise UnsupportedError(f"column `{name}` of numpy dtype {values.dtype} is not supported; cast it first")
    valid = None if mask is np.ma.nomask else ~np.broadcast_to(mask, values.shape)
    if kind in "Mm":
        missing = np.isnat(values)
        if missing.any():
            valid = ~missing if valid is None else valid & ~missing
        values = _in_arrows_unit(np, name, values, valid)
    if array.ndim == 2 and (valid is not None or kind == "b"):
        raise UnsupportedError(f"column `{name}` has two dimensions, and nulls or booleans; pass its columns one by one")
    bits = None if valid is None else np.packbits(valid, bitorder="little")
    if kind == "b":
        return (name, "bool", (rows, np.packbits(values, bitorder="little")), bits, None), rows
    label = "date32" if kind == "M" and np.datetime_data(values.dtype)[0] == "D" else None
    if label is not None:
        values = _same_values(np, name, values, valid, values.view("int64").astype("int32"), "int64")
    # Plain ndarrays of native byte order, each row after the other.
    values = np.require(values, dtype=values.dtype.newbyteorder("="), requirements=["C", "A"]).view(np.ndarray)
    width = values.shape[1] if values.ndim == 2 else None
    return (name, label or values.dtype.name, values, bits, width), rows


def _unmasked(np: Any, values: Any, mask: Any) -> list[Any]:
    found: list[Any] = values.tolist()
    if mask is np.ma.nomask:
        return found
    return [None if masked else value for value, masked in zip(found, mask.tolist(), strict=True)]


#: The unit of Arrow that holds a unit of numpy without loss: of moments (dates in days), and of durations.
_UNITS = {
    "M": {"Y": "D", "M": "D", "W": "D", "D": "D", "h": "s", "m": "s", "s": "s", "ms": "ms", "us": "us", "ns": "ns"},
    "m": {"W": "s", "D": "s", "h": "s", "m": "s", "s": "s", "ms": "ms", "us": "us", "ns": "ns"},
}


def _in_arrows_unit(np: Any, name: str, values: Any, valid: Any) -> Any:
    kind, unit = values.dtype.kind, np.datetime_data(values.dtype)[0]
    target = _UNITS[kind].get(unit)
    if target is None:
        known = ", ".join(f"[{unit}]" for unit in dict.fromkeys(_UNITS[kind].values()))
        raise UnsupportedError(f"column `{name}` of numpy dtype {values.dtype} is not supported; cast it to one of {known}")
    dtype = np.dtype(f"{kind}8[{target}]")
    if values.dtype == dtype:
        return values
    try:
        return _same_values(np, name, values, valid, values.astype(dtype), values.dtype)
    except OverflowError as error:
        raise UnsupportedError(f"column `{name}` of numpy dtype {values.dtype} does not fit {dtype}: {error}") from error


def _same_values(np: Any, name: str, values: Any, valid: Any, new: Any, old: Any) -> Any:
    """The values in another dtype, if going back to the old one gives the same, except for nulls."""
    lost = new.astype(old) != (values.view(old) if new.dtype.kind == "i" else values)
    lost = lost if valid is None else lost & valid
    if lost.any():
        row = int(np.argwhere(lost)[0][0])
        raise UnsupportedError(
            f"column `{name}` of numpy dtype {values.dtype} does not fit {new.dtype}, which Arrow has: row {row} is "
            f"{values[row].astype('int64')} units; leave out such rows, or publish integers"
        )
    return new


def _texts(name: str, values: list[Any]) -> list[str | None]:
    for row, value in enumerate(values):
        if value is not None and not isinstance(value, str):
            raise UnsupportedError(
                f"column `{name}` holds Python objects: row {row} is a {type(value).__name__}; expected one numpy dtype, or "
                "texts and None"
            )
        if value is not None and not value.isascii():
            _check_text(name, row, value)
    return values


def _check_text(name: str, row: int, text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UnsupportedError(f"column `{name}` holds a string that is not valid UTF-8: row {row}: {error}") from error


def array(native: Native, position: int, copy: bool | None, writable: bool = False) -> Any:
    """A column as a numpy array: on the mapped bytes and read-only where that can be, else copied if ``copy`` allows it."""
    np = _packages.need("numpy", "Column.to_numpy")
    parts, reason = native.values(position)
    if reason is None:
        shared = np.asarray(parts[0])
        if writable and not copy:
            found = Writable(native).mapped(shared)
            if found is not None:
                return found
            if copy is False:
                name = native.columns[position]
                raise WouldCopyError(f"column `{name}` would be copied: its frame has lost its name, so it cannot be mapped again; allow it with copy=None")
        return shared.copy() if copy or writable else shared
    if copy is False:
        name = native.columns[position]
        raise WouldCopyError(f"column `{name}` would be copied: {reason}; allow it with copy=None, or leave the column out")
    if parts:
        return np.concatenate([np.asarray(part) for part in parts])
    column = native.select([native.columns[position]])
    pa = _packages.need("pyarrow", f"a column that numpy cannot share ({reason})")
    refuse_list_views_in_runs(column)
    found = _from_arrow(np, pa, pa.table(Classic(column)).column(0), native.field_metadata(position) or {})
    return found if found.flags.writeable or not (copy or writable) else found.copy()


def _from_arrow(np: Any, pa: Any, column: Any, metadata: dict[str, str]) -> Any:
    signed = {"coframe.int128": True, "coframe.uint128": False}.get(metadata.get("ARROW:extension:name", ""))
    if signed is not None:
        column = column.cast(pa.binary(16)) if hasattr(column.type, "storage_type") else column
        return _objects(np, [None if raw is None else int.from_bytes(raw, "little", signed=signed) for raw in column.to_pylist()])
    if pa.types.is_dictionary(column.type):
        # pyarrow gives a null the last value of the dictionary: it takes the key -1.
        column = pa.chunked_array([chunk.dictionary_decode() for chunk in column.chunks], type=column.type.value_type)
    if pa.types.is_integer(column.type) and column.type.bit_width == 64 and (values := large_integers(column)) is not None:
        return _objects(np, values)
    return column.to_numpy()


def refuse_list_views_in_runs(native: Native) -> None:
    """Refuses columns at which pyarrow may end the process, because it decodes empty runs of list views to zero chunks."""
    for name in native.list_views_in_runs():
        raise UnsupportedError(
            f"column `{name}` has list views inside of run-end encoded values, at which pyarrow may end the process; take "
            ".to_arrow(), or leave it out"
        )


def large_integers(column: Any) -> list[Any] | None:
    """The values of a column of integers, if some are null and one would be another number as a float, which has the NaN."""
    if not column.null_count:
        return None
    values: list[Any] = column.to_pylist()
    return values if any(value is not None and abs(value) > 2**53 for value in values) else None


def _objects(np: Any, values: list[Any]) -> Any:
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def as_asked(array: Any, dtype: Any, copy: bool | None, what: str) -> Any:
    """An array as ``__array__`` must return it: of this dtype, and copied as ``copy`` requires."""
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
