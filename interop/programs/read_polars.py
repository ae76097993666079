from datetime import date, timedelta

import polars as pl
from arrow_values import of_python
from serve import serve

NANOSECONDS = {"ms": 10**6, "us": 10**3, "ns": 1}


def read(path):
    frame = pl.scan_ipc(path).collect()
    return frame, frame.height


def canonical(x):
    if not isinstance(x, pl.Series):
        return x
    if isinstance(x.dtype, (pl.List, pl.Array)):
        return [None if item is None else canonical(item) for item in x]
    if isinstance(x.dtype, pl.Struct):
        return structs(x)
    if isinstance(x.dtype, pl.Map):
        return [None if item is None else [[of_python(part) for part in pair] for pair in item.items()] for item in x]
    if x.dtype.is_temporal():
        return temporal(x)
    return [of_python(value) for value in x]


def structs(x):
    fields = x.struct.unnest().get_columns()
    rows = zip(*map(canonical, fields), strict=True)
    named = [dict(zip((field.name for field in fields), row, strict=True)) for row in rows]
    return [None if null else row for null, row in zip(x.is_null(), named, strict=True)]


def temporal(x):
    numbers = x.to_physical()
    if x.dtype == pl.Date:
        return [None if n is None else (date(1970, 1, 1) + timedelta(days=n)).isoformat() for n in numbers]
    unit = 1 if x.dtype == pl.Time else NANOSECONDS[x.dtype.time_unit]
    return [None if n is None else str(n * unit) for n in numbers]


def group(x, _):
    counts = x.to_frame("x").group_by("x").len()
    return [list(pair) for pair in zip(canonical(counts["x"]), counts["len"].to_list(), strict=True)]


OPERATIONS = {
    "filter": lambda x, _: x.filter(x.is_not_null()),
    "take": lambda x, _: x.gather(list(range(len(x) - 1, -1, -1))),
    "sort": lambda x, _: x.sort(),
    "group": group,
    "compare": lambda x, row: x.filter(x == x.slice(row, 1)),
    "cast": lambda x, _: x.cast(pl.Categorical),
}

serve(read, lambda frame, name: frame[name], OPERATIONS, canonical)
