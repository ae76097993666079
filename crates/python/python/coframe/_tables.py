"""Tables in: every kind of table as something with Arrow's C interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, cast

from . import _packages, _recipe
from ._errors import ArgumentTypeError, Error, UnsupportedError
from ._names import KIND, refuse_nuls
from ._numpy import DTYPES, columns
from ._pandas import again, with_own_index

if TYPE_CHECKING:
    from ._coframe import Frame as Native

#: Text of the metadata that a frame gets, by its key.
Metadata = list[tuple[str, str]]


def source(table: Any) -> tuple[Any, Iterator[Any] | None, Metadata]:
    """The table as an exporter of Arrow data, the tables that follow it, and what to note of its kind."""
    if (native := _native_of(table)) is not None:
        kind = native.metadata.get(KIND)
        dtypes = [(key, text) for key, text in native.metadata.items() if key == DTYPES]
        return with_own_index(native), None, [*_kind(kind), *again(native), *dtypes]
    kind = _packages.kind(table)
    if kind == "arrow" and _is_column(table):
        kind = None
    if kind == "polars":
        return *_polars(table), _kind(kind)
    if kind == "pandas":
        table, recipe = _recipe.table_of(table)
        refuse_nuls(_arrow_names(table.schema))
        return table, None, [*_kind(kind), (_recipe.RECIPE, recipe)]
    if isinstance(table, dict):
        arrays, dtypes = columns(table)
        return arrays, None, [*_kind("numpy"), *dtypes]
    if kind is not None:
        refuse_nuls(_names(table))
        if _packages.is_a(table, "pyarrow", "RecordBatchReader"):
            return *_batches(table), _kind(kind)
        return table, None, _kind(kind)
    found = f"{type(table).__module__}.{type(table).__qualname__}"
    if getattr(getattr(table, "dtype", None), "names", None):
        raise ArgumentTypeError(f"a structured array of type {found}: pass its fields, as {{name: array[name] for name in array.dtype.names}}")
    if _is_column(table):
        raise ArgumentTypeError(f"one column of type {found}: pass it with a name, as {{\"x\": array}} or series.to_frame()")
    raise ArgumentTypeError(
        f"a table of type {found}: expected a DataFrame or LazyFrame of Polars, a DataFrame of pandas, a table of pyarrow, "
        "a relation of DuckDB, a dict of numpy arrays, or anything with __arrow_c_stream__ or __arrow_c_array__"
    )


def _native_of(table: Any) -> Native | None:
    """The native part of a frame of coframe; such an object has a method for it."""
    method = getattr(type(table), "_coframe_native", None)
    return None if method is None else cast("Native", method(table))


def _is_column(table: Any) -> bool:
    series = _packages.is_a(table, "pandas", "Series") or _packages.is_a(table, "polars", "Series")
    return series or _packages.is_a(table, "numpy", "ndarray")


def _kind(kind: str | None) -> Metadata:
    return [] if kind is None else [(KIND, kind)]


def _polars(table: Any) -> tuple[Any, Iterator[Any] | None]:
    import polars as pl

    if isinstance(table, pl.DataFrame):
        # `table.schema` takes five times as long.
        _check_schema(pl, table.columns, table.dtypes)
        return table, None
    schema = table.collect_schema()
    _check_schema(pl, schema.names(), schema.dtypes())
    if hasattr(table, "collect_batches"):
        return pl.DataFrame(schema=schema), iter(table.collect_batches(maintain_order=True, engine="streaming"))
    return table.collect(engine="streaming"), None


def _names(table: Any) -> Iterable[Any]:
    """The column names of a table from neither Polars nor pandas, if they can be found."""
    if _packages.is_a(table, "pyarrow", "Table", "RecordBatch", "RecordBatchReader"):
        return _arrow_names(table.schema)
    if _packages.is_a(table, "duckdb", "DuckDBPyRelation"):
        return list(table.columns)
    return ()


def _batches(reader: Any) -> tuple[Any, Iterator[Any]]:
    """Through Python, since exceptions of its source cross Arrow's C interface as texts, `KeyboardInterrupt` too."""
    pa = _packages.need("pyarrow", "publishing a RecordBatchReader")

    def batches() -> Iterator[Any]:
        while True:
            try:
                batch = reader.read_next_batch()
            except StopIteration:
                return
            except Exception as error:
                raise Error(f"could not read the next batch: {type(error).__name__}: {error}") from error
            yield batch

    return pa.Table.from_batches([], reader.schema), batches()


def _arrow_names(fields: Any) -> Iterator[str]:
    for field in fields:
        yield field.name
        kind = field.type
        # A dictionary has its values in addition to its fields.
        kind = getattr(kind, "value_type", kind) if kind.num_fields == 0 else kind
        if kind.num_fields and hasattr(kind, "field"):
            yield from _arrow_names(kind.field(position) for position in range(kind.num_fields))


def _check_schema(pl: Any, names: list[str], dtypes: list[Any]) -> None:
    refuse_nuls(names)
    for name, dtype in zip(names, dtypes, strict=True):
        for part in (dtype, *_inner(dtype)) if dtype.is_nested() else (dtype,):
            # Polars hands over the addresses of Python objects otherwise.
            if part == pl.Object:
                raise UnsupportedError(
                    f"column `{name}` of dtype {dtype} is not supported; cast it to a dtype that Arrow has, or leave it out"
                )
            if fields := getattr(part, "fields", None):
                refuse_nuls(field.name for field in fields)


def _inner(dtype: Any) -> Iterator[Any]:
    inner = getattr(dtype, "inner", None)
    children = [inner] if inner is not None else [field.dtype for field in getattr(dtype, "fields", ())]
    if type(dtype).__name__ == "Map":
        children += [dtype.key, dtype.value]
    for child in children:
        yield child
        yield from _inner(child)
