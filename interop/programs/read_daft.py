import daft
import pyarrow as pa
from arrow_values import canonical
from daft import col
from serve import serve


def read(path):
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    return table, table.num_rows


def column(table, name):
    return daft.from_arrow(table.select([name]).rename_columns(["x"]))


def values(x):
    return canonical(x.to_arrow()["x"] if isinstance(x, daft.DataFrame) else x)


def take(x, _):
    table = x.to_arrow()
    rows = table.append_column("n", pa.array(range(table.num_rows), pa.int64()))
    return daft.from_arrow(rows).sort("n", desc=True).select("x")


def group(x, _):
    counts = x.with_column("one", daft.lit(1)).groupby("x").agg(col("one").count().alias("n")).to_arrow()
    return [list(pair) for pair in zip(canonical(counts["x"]), counts["n"].to_pylist(), strict=True)]


def compare(x, row):
    value = x.offset(row).limit(1).select(col("x").alias("wanted")) if row else x.limit(1).select(col("x").alias("wanted"))
    return x.join(value, left_on="x", right_on="wanted").select("x")


OPERATIONS = {
    "filter": lambda x, _: x.where(col("x").not_null()),
    "take": take,
    "sort": lambda x, _: x.sort("x"),
    "group": group,
    "compare": compare,
    "cast": lambda x, _: x.select(col("x").cast(daft.DataType.binary()).cast(daft.DataType.string())),
}

serve(read, column, OPERATIONS, values)
