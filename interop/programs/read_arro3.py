"""arro3 has arrow-rs' readers. Its kernels know filter and take."""

import pyarrow as pa
from arro3.compute import cast, filter, take
from arro3.core import Array, ChunkedArray, DataType, Table
from arro3.io import read_ipc
from arrow_values import canonical
from serve import serve


def read(path):
    with open(path, "rb") as file:
        table = Table.from_arrow(read_ipc(file).read_all())
    return table, table.num_rows


def values(x):
    return canonical(pa.chunked_array(x) if isinstance(x, ChunkedArray) else pa.array(x) if isinstance(x, Array) else x)


def whole(x):
    """The column as one array."""
    return x.combine_chunks()


def kept(x, _):
    return filter(whole(x), Array([value.as_py() is not None for value in pa.chunked_array(x)], DataType.bool()))


OPERATIONS = {
    "filter": kept,
    "take": lambda x, _: take(whole(x), Array(list(range(len(x) - 1, -1, -1)), DataType.uint64())),
    "cast": lambda x, _: cast(whole(x), DataType.large_string()),
}

serve(read, lambda table, name: table[name], OPERATIONS, values)
