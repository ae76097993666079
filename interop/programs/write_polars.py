"""Writes the columns with Polars, as write_pyarrow.py does."""

import json
import sys
from pathlib import Path

import polars as pl


def frame(columns):
    types = {
        "number": pl.Int64, "ratio": pl.Float64, "flag": pl.Boolean, "text": pl.String, "when": pl.Int64,
        "category": pl.Categorical, "list": pl.List(pl.Float64),
    }
    return pl.DataFrame(columns, schema=types).with_columns(pl.col("when").cast(pl.Datetime("ms")))


def main(folder):
    df = frame(json.load(sys.stdin))
    df.write_ipc(folder / "file.arrow", compression="uncompressed")
    df.write_ipc(folder / "oldest.arrow", compression="uncompressed", compat_level=pl.CompatLevel.oldest())
    df.write_ipc_stream(folder / "stream.arrows", compression="uncompressed")
    df.lazy().sink_ipc(folder / "sink.arrow", compression="uncompressed")
    df.write_ipc(folder / "compressed.arrow", compression="zstd")


main(Path(sys.argv[1]))
