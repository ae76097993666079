import pyarrow as pa
import pyarrow.compute as pc
from arrow_values import canonical
from serve import serve


def read(path):
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    table.validate(full=True)
    return table, table.num_rows


def group(x, _):
    counts = pa.table({"x": x}).group_by("x").aggregate([([], "count_all")])
    return [list(pair) for pair in zip(canonical(counts["x"]), counts["count_all"].to_pylist(), strict=True)]


OPERATIONS = {
    "filter": lambda x, _: x.filter(pc.is_valid(x)),
    "take": lambda x, _: x.take(pa.array(range(len(x) - 1, -1, -1), pa.int64())),
    "sort": lambda x, _: pa.table({"x": x}).sort_by("x")["x"],
    "group": group,
    "compare": lambda x, row: x.filter(pc.equal(x, x[row])),
    "cast": lambda x, _: x.cast(pa.large_string()),
}

serve(read, lambda table, name: table[name], OPERATIONS, canonical)
