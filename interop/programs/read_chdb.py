"""ClickHouse in this process reads the file by its path.

It has one type for strings and bytes, and returns both as strings of Arrow. A column with bytes that are not UTF-8 is cast.
"""

import pyarrow as pa
from arrow_values import canonical
from chdb import session
from serve import serve

SESSION = session.Session()


def ask(path, sql):
    text = sql.format(t=f"file('{path}', 'Arrow')")
    return pa.ipc.open_stream(SESSION.query(text, "ArrowStream").bytes()).read_all()


def read(path):
    return path, ask(path, "select count() as n from {t}")["n"][0].as_py()


class Column:
    def __init__(self, path, name):
        self.path, self.name, self.type = path, name, None
        self.type = bytes_or_text(self.ask("select x from {t}")["x"])

    def ask(self, sql):
        found = ask(self.path, sql.replace("{t}", f"(select `{self.name}` as x from {{t}})"))
        if self.type is None:
            return found
        return found.set_column(found.column_names.index("x"), "x", found["x"].cast(self.type))


def bytes_or_text(x):
    if pa.types.is_string(x.type):
        try:
            x.validate(full=True)
        except pa.ArrowInvalid:
            return pa.binary()
    return None


def asking(sql):
    return lambda x, row: x.ask(sql.replace("{row}", str(row)))["x"]


def group(x, _):
    counts = x.ask("select x, count() as n from {t} group by x")
    return [list(pair) for pair in zip(canonical(counts["x"]), counts["n"].to_pylist(), strict=True)]


def values(x):
    return canonical(x.ask("select x from {t}")["x"] if isinstance(x, Column) else x)


OPERATIONS = {
    "filter": asking("select x from {t} where x is not null"),
    "take": asking("select x from (select x, rowNumberInAllBlocks() as n from {t}) order by n desc"),
    "sort": asking("select x from {t} order by x"),
    "group": group,
    "compare": asking("select x from {t} where x = (select x from {t} limit 1 offset {row})"),
    "cast": asking("select cast(x as LowCardinality(Nullable(String))) as x from {t}"),
}

serve(read, Column, OPERATIONS, values)
