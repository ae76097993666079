import pandas as pd
import pyarrow as pa
from arrow_values import canonical
from serve import serve


def read(path):
    frame = pd.read_feather(path, dtype_backend="pyarrow")
    return frame, len(frame)


def values(x):
    return canonical(pa.array(x)) if isinstance(x, pd.Series) else x


def group(x, _):
    counts = x.to_frame("x").groupby("x", dropna=False, observed=True).size().reset_index()
    return [list(pair) for pair in zip(values(counts["x"]), counts[0].tolist(), strict=True)]


OPERATIONS = {
    "filter": lambda x, _: x[x.notna()],
    "take": lambda x, _: x.iloc[::-1],
    "sort": lambda x, _: x.sort_values(),
    "group": group,
    "compare": lambda x, row: x[x == x.iloc[row]],
    "cast": lambda x, _: x.astype("string[pyarrow]"),
}

serve(read, lambda frame, name: frame[name], OPERATIONS, values)
