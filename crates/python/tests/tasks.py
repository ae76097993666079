"""The functions of workers. A separate module, so that every way of starting a worker finds it."""

from __future__ import annotations

import os
from typing import Any

import coframe


def total(frame: coframe.Frame, column: str = "x") -> int:
    return int(frame.to_polars()[column].sum())


def total_of_item(frame: coframe.Frame, item: int) -> int:
    return int(frame.to_polars()["x"].sum()) + item


def half(frame: coframe.Frame) -> coframe.Frame:
    return frame[: len(frame) // 2]


def shared_here(rows: int, store: str) -> coframe.Frame:
    import polars as pl

    return coframe.share(pl.DataFrame({"x": range(rows)}), store=store)


@coframe.accepts_frames
def kind_and_total(df: Any, item: int) -> tuple[str, int]:
    return f"{type(df).__module__.split('.')[0]}", int(df["x"].sum()) + item


def plain_kind_and_total(df: Any, item: int) -> tuple[str, int]:
    return f"{type(df).__module__.split('.')[0]}", int(df["x"].sum()) + item


def first_use(frame: coframe.Frame) -> str:
    try:
        return str(len(frame))
    except coframe.Error as error:
        return f"{type(error).__name__}: {error}"


def fails(frame: coframe.Frame) -> int:
    return len(frame)


def add(counter: Any, value: Any, array: Any, item: int) -> None:
    for _ in range(200):
        counter.add(1)
        with value.get_lock():
            value.value += 1
    array[item] = item * 1.5


def die_inside(lock: Any) -> None:
    lock.acquire()
    os._exit(1)


def put(shared: Any, key: int) -> None:
    shared[key] = {"square": key * key}
    shared.apply("sum", lambda n: n + key, 0)


def wait_at(barrier: Any) -> int:
    return int(barrier.wait(30))


def write_and_sum(df: Any, item: int) -> float:
    df.loc[:, "x"] = 0.0
    df.loc[len(df) - 1, "x"] = item
    return float(df["x"].sum())
