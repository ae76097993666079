"""Opens the frame at the path in `argv` in several ways, and prints how many columns each shares with the mapping."""

import json
import sys

import pandas as pd
import polars as pl
import pyarrow as pa


def mapped(path):
    return pa.ipc.open_file(pa.memory_map(path)).read_all()


def of_polars(frame):
    newest = pl.CompatLevel.newest()
    return [pa.chunked_array([series.to_arrow(compat_level=newest)]) for series in frame.rechunk().get_columns()]


def of_pandas(frame):
    arrays = [pa.array(frame[name]) for name in frame]
    return [array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array]) for array in arrays]


WAYS = {
    "pyarrow, `memory_map`": lambda path: mapped(path).columns,
    "Polars, `scan_ipc`": lambda path: of_polars(pl.scan_ipc(path).collect()),
    "Polars, `from_arrow`": lambda path: of_polars(pl.from_arrow(mapped(path), rechunk=False)),
    "pandas, `read_feather`": lambda path: of_pandas(pd.read_feather(path, dtype_backend="pyarrow")),
    "pandas, `ArrowDtype`": lambda path: of_pandas(mapped(path).to_pandas(types_mapper=pd.ArrowDtype)),
}


def mappings(path):
    name = path.removesuffix(".arrow") + "@"
    with open("/proc/self/maps") as maps:
        return [[int(end, 16) for end in line.split()[0].split("-")] for line in maps if name in line]


def count(columns, ranges):
    return sum(
        all(inside(buffer, ranges) for chunk in column.chunks for buffer in data_of(chunk)) for column in columns
    )


def data_of(chunk):
    """The buffers that are not empty, those of a dictionary included."""
    own = [buffer for buffer in chunk.buffers() if buffer is not None and buffer.size]
    return own + (data_of(chunk.dictionary) if pa.types.is_dictionary(chunk.type) else [])


def inside(buffer, ranges):
    return any(first <= buffer.address < end for first, end in ranges)


def main(path):
    counts = {}
    for way, open_frame in WAYS.items():
        columns = open_frame(path)
        counts[way] = count(columns, mappings(path))
    print(json.dumps(counts))


main(sys.argv[1])
