"""What workers run under ``coframe.sharing()``: written for plain tables, as programs are."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import same


@dataclass
class Box:
    """A class of a program, with a table inside."""

    df: pd.DataFrame
    label: str


def is_mapped() -> bool:
    """Whether this process has a table of ``sharing()`` mapped."""
    with open("/proc/self/maps") as maps:
        return "/sharing-" in maps.read()


def table(rows: int = 200_000, columns: int = 3) -> pd.DataFrame:
    return pd.DataFrame({f"c{column}": np.arange(rows, dtype=float) + column for column in range(columns)})


def difference(df: Any, text: bytes) -> tuple[str | None, bool]:
    """What differs from what pickle made, and whether the table is on shared memory."""
    return same.difference(pickle.loads(text), df), is_mapped()


def total(df: Any, item: int = 0) -> tuple[float, bool]:
    return float(df["c0"].sum()) + item, is_mapped()


def total_of_array(array: Any, item: int = 0) -> tuple[float, bool]:
    return float(array.sum()) + item, is_mapped()


def total_of_box(box: Box, item: int) -> tuple[str, float, bool]:
    return box.label, float(box.df["c0"].sum()) + item, is_mapped()


def total_inside(nested: Any, item: int) -> tuple[float, bool]:
    return float(nested["list"][0][1]["c0"].sum()) + item, is_mapped()


def write(df: pd.DataFrame, item: int) -> tuple[float, float, bool]:
    """Changes the table, and what it finds before and after."""
    before = float(df["c0"].sum())
    df.iloc[0, 0] = item
    df.loc[1:5, "c1"] = -1.0
    return before, float(df["c0"].sum()), is_mapped()


def write_array(array: Any, item: int) -> tuple[float, float]:
    before = float(array.sum())
    array[0] = item
    return before, float(array.sum())


def kind(thing: Any) -> str:
    return type(thing).__name__


def same_thing(thing: Any) -> Any:
    return thing


def put_and_leave(queue: Any, rows: int) -> None:
    queue.put(table(rows))


def send(connection: Any, rows: int) -> None:
    connection.send(table(rows))
    connection.close()


def receive_total(connection: Any) -> None:
    connection.send(total(connection.recv()))


def unpickled_total(text: bytes) -> float:
    return total(pickle.loads(text))[0]


def put_total(df: Any, queue: Any) -> None:
    queue.put(total(df))


def kill_self(df: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def describe(thing: Any) -> tuple[str, Any]:
    kind = type(thing).__module__.partition(".")[0]
    if kind == "polars":
        return kind, [str(dtype) for dtype in (thing.dtypes if hasattr(thing, "dtypes") else [thing.dtype])]
    if kind == "pyarrow":
        return kind, str(thing.schema)
    return kind, str(getattr(thing, "dtypes", getattr(thing, "dtype", None)))


def first_value(df: Any) -> float:
    return float(df["c0"].iloc[0])


def no_descriptors() -> None:
    """For a pool: from the next message on, this process cannot open another file."""
    highest = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, highest + 1))
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return


_reads = 0


def count_reads() -> None:
    """For a pool: counts from now on how often Polars reads the keys of categoricals."""
    from coframe import _polars

    original = _polars._read

    def counted(*arguments: Any) -> Any:
        global _reads
        _reads += 1
        return original(*arguments)

    _polars._read = counted


def reads(df: Any, item: int) -> tuple[int, Any]:
    """How often keys were read by now, and a value."""
    return _reads, df["c"][item]
