"""Frames as DataFrames of Polars, on the mapped bytes.

Polars imports a dictionary by building new keys. Here the keys cross as plain integers, and ``cat.to`` makes them
categories again: it shares the keys and reads each once, to check that it has a category. A frame keeps what came of it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _packages
from ._errors import UnsupportedError

if TYPE_CHECKING:
    from ._coframe import Frame as Native

_KEYS = {"UInt8": 8, "UInt16": 16, "UInt32": 32}


class _Keys(NamedTuple):
    """A dictionary column whose keys Polars can take as they are."""

    position: int
    name: str
    dtype: Any
    #: Holds the categories of this process in place.
    categories: Any


def data_frame(native: Native, known: dict[int, Any]) -> Any:
    """A ``pl.DataFrame``. ``known`` has the categoricals whose keys were read before, by their positions, and gets others."""
    pl = _packages.need("polars", "Frame.to_polars")
    for name, unknown in zip(native.columns, native.unknown_to_polars(), strict=True):
        if unknown is not None:
            raise UnsupportedError(f"column `{name}` is not for Polars, {_unknown(unknown)}; take .to_arrow(), or other columns")
    return _imported(pl, native, known)


def _imported(pl: Any, native: Native, known: dict[int, Any]) -> Any:
    keys = [found for found in (_keys(pl, native, position) for position in _dictionaries(native)) if found is not None]
    df = _physical(pl, native, keys)
    if unread := [key for key in keys if key.position not in known]:
        df = _read(pl, df, unread)
        known.update((key.position, df.to_series(key.position)) for key in unread)
    return df.with_columns(known[key.position] for key in keys) if keys else df


def _read(pl: Any, df: Any, keys: list[_Keys]) -> Any:
    """Makes categoricals of their keys, in one call, so that Polars reads the columns side by side."""
    return df.with_columns(pl.nth(key.position).cat.to(key.dtype) for key in keys)


def _physical(pl: Any, native: Native, keys: list[_Keys]) -> Any:
    parts = [pl.DataFrame(batch) for batch in native.polars_batches([key.position for key in keys])]
    return parts[0] if len(parts) == 1 else pl.concat(parts, rechunk=False)


def _dictionaries(native: Native) -> list[int]:
    return [position for position, text in enumerate(native.types) if text.startswith("Dictionary(")]


def _keys(pl: Any, native: Native, position: int) -> _Keys | None:
    """How the keys of a dictionary column cross; ``None`` where Polars must import it in its own way."""
    width = next((width for name, width in _KEYS.items() if native.types[position].startswith(f"Dictionary({name},")), None)
    values = native.dictionary(position)
    if width is None or values is None:
        return None
    texts = pl.Series(_Array(values))
    if texts.dtype != pl.String or texts.null_count():
        return None
    dtype = _dtype(pl, native.field_metadata(position) or {}, texts)
    if dtype is None:
        return None
    # The categories of this process must number the texts as the frame does.
    own = texts.cast(dtype)
    if not hasattr(own.cat, "to"):
        return None
    physical = own.to_physical()
    agrees = physical.dtype == getattr(pl, f"UInt{width}") and (physical == pl.int_range(len(texts), eager=True)).all()
    return _Keys(position, native.columns[position], dtype, own) if agrees else None


def _dtype(pl: Any, metadata: dict[str, str], texts: Any) -> Any:
    if "_PL_ENUM_VALUES2" in metadata:
        return pl.Enum(texts)
    if (text := metadata.get("_PL_CATEGORICAL2")) is not None:
        name, rest = _one(text)
        namespace, physical = _one(rest)
        kinds = {"u8": pl.UInt8, "u16": pl.UInt16, "u32": pl.UInt32}
        if not name and not namespace:
            return pl.Categorical
        return pl.Categorical(pl.Categories(name, namespace=namespace, physical=kinds[physical.rstrip(";")]))
    return pl.Categorical


def _one(text: str) -> tuple[str, str]:
    """Polars writes a text with its length in bytes in front: ``3;abc``."""
    length, _, rest = text.partition(";")
    encoded = rest.encode()
    return encoded[: int(length)].decode(), encoded[int(length) :].decode()


def _unknown(kind: str) -> str:
    return f"which has no type {kind}"


class _Array:
    """An array that is exported already, once."""

    def __init__(self, capsules: tuple[object, object]) -> None:
        self._capsules = capsules

    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        return self._capsules


def work(native: Native) -> dict[str, str]:
    """Columns that cost Polars work in the number of rows, and why; as far as it is known without Polars."""
    found = {}
    for name, text, unknown in zip(native.columns, native.types, native.unknown_to_polars(), strict=True):
        if unknown is not None:
            found[name] = f"not for Polars, {_unknown(unknown)}"
        elif re.search(r"\bDecimal(32|64)\(", text):
            found[name] = "Polars has decimals of 128 bits alone: narrow ones are widened to 128 bits at each to_polars()"
        elif re.search(r"\b(Timestamp|Duration)\(s\b", text):
            found[name] = "Polars has no times in seconds: they become milliseconds at each to_polars()"
        elif text.startswith("Dictionary("):
            if any(text.startswith(f"Dictionary({key},") for key in _KEYS):
                found[name] = "Polars reads each key once for a frame, at the first to_polars(), to check that it has a category; the keys are shared"
            else:
                found[name] = "Polars builds its own keys, because it has no signed ones"
        elif "Dictionary(" in text:
            found[name] = "Polars builds its own keys for dictionaries inside lists and structs"
        elif "Time64" in text or "Time32" in text:
            found[name] = "Polars reads each time once, to check that it is one of a day"
        elif re.search(r"\b(Large)?(Utf8|Binary)\b", text):
            found[name] = 'Polars makes views of strings and binaries; publish with layout="view" to share them'
    return found
