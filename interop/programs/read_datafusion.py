import pyarrow as pa
from arrow_values import canonical
from datafusion import SessionContext
from serve import serve


def read(path):
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    return table, table.num_rows


def ask(t, sql):
    context = SessionContext()
    context.register_record_batches("t", [t.to_batches()])
    return context.sql(sql).to_arrow_table()


def asking(sql):
    return lambda t, row: ask(t, sql.format(row=row))["x"]


def group(t, _):
    counts = ask(t, "select x, count(*) as n from t group by x")
    return [list(pair) for pair in zip(canonical(counts["x"]), counts["n"].to_pylist(), strict=True)]


def values(x):
    return canonical(ask(x, "select x from t")["x"] if isinstance(x, pa.Table) else x)


OPERATIONS = {
    "filter": asking("select x from t where x is not null"),
    "take": asking("select x from (select x, row_number() over () as n from t) order by n desc"),
    "sort": asking("select x from t order by x"),
    "group": group,
    "compare": asking("select x from t where x = (select x from t limit 1 offset {row})"),
    "cast": asking("select arrow_cast(x, 'Dictionary(Int32, Utf8)') as x from t"),
}

serve(read, lambda table, name: table.select([name]).rename_columns(["x"]), OPERATIONS, values)
