"""Perspective, a viewer for the browser, loads Arrow into its tables. Here its engine runs in Python."""

import perspective
import pyarrow as pa
from arrow_values import canonical
from serve import serve

SERVER = perspective.Server()
CLIENT = SERVER.new_local_client()


def read(path):
    with open(path, "rb") as file:
        table = CLIENT.table(file.read())
    return table, table.size()


class Asked:
    def __init__(self, table, name):
        self.table, self.name = table, name

    def arrow(self, **options):
        view = self.table.view(columns=[self.name], **options)
        try:
            return pa.ipc.open_stream(view.to_arrow()).read_all()
        finally:
            view.delete()


def values(x):
    return canonical(x.arrow()[x.name] if isinstance(x, Asked) else x)


OPERATIONS = {
    "filter": lambda x, _: x.arrow(filter=[[x.name, "is not null", None]])[x.name],
    "sort": lambda x, _: x.arrow(sort=[[x.name, "asc"]])[x.name],
}

serve(read, Asked, OPERATIONS, values)
