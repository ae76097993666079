"""nanoarrow reads streams only. The stream in a frame starts after the magic: at byte 64, or 8 in files by pyarrow.

nanoarrow has no kernels, so no operation is tried.
"""

import io
import warnings
from datetime import date, timedelta

import nanoarrow as na
from arrow_values import of_python
from serve import serve

NANOSECONDS = {"SECOND": 10**9, "MILLI": 10**6, "MICRO": 10**3, "NANO": 1}
# Times are taken from the buffers instead.
warnings.simplefilter("ignore")


def read(path):
    with open(path, "rb") as file:
        file.seek(file.read(68).index(b"\xff\xff\xff\xff"))
        stream = na.ArrayStream.from_readable(io.BytesIO(file.read()))
    table = stream.read_all()
    return table, len(table)


def column(table, name):
    return table.child([field.name for field in table.schema.fields].index(name))


def canonical(x):
    return [value for n in range(x.n_chunks) for value in of_chunk(x.chunk(n))]


def of_chunk(x):
    kind = x.schema.type
    unit = getattr(x.schema, "unit", None)
    if kind in (na.Type.DATE32, na.Type.DATE64):
        step = timedelta(days=1) if kind == na.Type.DATE32 else timedelta(milliseconds=1)
        return [None if n is None else (date(1970, 1, 1) + n * step).isoformat() for n in stored(x)]
    if unit is not None:
        return [None if n is None else str(n * NANOSECONDS[unit.name]) for n in stored(x)]
    return [of_any(value) for value in x.to_pylist()]


def stored(x):
    numbers = list(x.buffer(1))
    return [None if value is None else numbers[n] for n, value in enumerate(x.to_pylist())]


def of_any(value):
    if isinstance(value, dict):
        return {name: of_any(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [of_any(item) for item in value]
    return of_python(value)


serve(read, column, {}, canonical)
