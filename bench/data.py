"""The tables that all peers get: the same values for the same kind and size."""

from __future__ import annotations

import numpy as np
import polars as pl

KINDS = ("floats", "mixed", "categorical", "nested")
COLUMNS = 8
# Bytes of a row, for the number of rows of a size.
ROW = {"floats": 64, "mixed": 74, "categorical": 40, "nested": 80}


def table(kind, megabytes):
    return globals()[kind](max(1, int(megabytes * 1e6 / ROW[kind])))


def numbers(rows, columns):
    generator = np.random.default_rng(0)
    # Whole numbers, so that a sum is the same in every order of addition.
    return {f"c{n}": generator.integers(0, 1000, rows).astype(np.float64) for n in range(columns)}


def floats(rows):
    return pl.DataFrame(numbers(rows, COLUMNS))


def texts(rows, of):
    return pl.Series(of).gather(np.random.default_rng(1).integers(0, len(of), rows))


def mixed(rows):
    return pl.DataFrame(
        numbers(rows, 3)
        | {
            "when": pl.Series(np.arange(rows) * 1_000_000).cast(pl.Datetime("us")),
            "flag": np.random.default_rng(2).integers(0, 2, rows).astype(bool),
            "short": texts(rows, ["AA", "DL", "UA", "WN"]),
            "long": texts(rows, [f"a string of thirty letters, no {n:02}" for n in range(100)]),
        }
    )


def categorical(rows):
    keys = {f"k{n}": texts(rows, [f"category {i:02}" for i in range(50)]).cast(pl.Categorical) for n in range(4)}
    return pl.DataFrame(numbers(rows, 3) | keys)


def nested(rows):
    pairs = pl.Series(np.random.default_rng(3).random((rows, 2)), dtype=pl.Array(pl.Float64, 2)).cast(pl.List(pl.Float64))
    return pl.DataFrame(numbers(rows, 3) | {"pairs": pairs}).with_columns(pl.struct("c0", "c1").alias("both"))
