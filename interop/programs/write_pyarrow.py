"""Writes the columns with pyarrow: JSON on standard input (see writers.py), into the folder in `argv`."""

import json
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.feather


def table(columns):
    return pa.table({
        "number": pa.array(columns["number"], pa.int64()),
        "ratio": pa.array(columns["ratio"], pa.float64()),
        "flag": pa.array(columns["flag"], pa.bool_()),
        "text": pa.array(columns["text"], pa.utf8()),
        "when": pa.array(columns["when"], pa.timestamp("ms")),
        "category": pa.array(columns["category"], pa.utf8()).dictionary_encode(),
        "list": pa.array(columns["list"], pa.list_(pa.float64())),
    })


def main(folder):
    t = table(json.load(sys.stdin))
    # Two batches each; in the stream, the second has another dictionary.
    with pa.ipc.new_file(folder / "file.arrow", t.schema) as writer:
        writer.write_table(t, max_chunksize=3)
    with pa.ipc.new_stream(folder / "stream.arrows", t.schema) as writer:
        writer.write_table(t.slice(0, 2))
        writer.write_table(pa.table({name: again(t[name].slice(2)) for name in t.column_names}))
    pa.feather.write_feather(t, folder / "feather.feather", compression="uncompressed")
    pa.feather.write_feather(t, folder / "compressed.feather", compression="lz4")


def again(column):
    if not pa.types.is_dictionary(column.type):
        return column
    return column.cast(pa.utf8()).combine_chunks().dictionary_encode()


main(Path(sys.argv[1]))
