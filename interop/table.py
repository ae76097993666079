"""Generates the tables of docs/READERS.md from results.json."""

import re
from pathlib import Path

from runner import READERS
from store import LAYOUTS

PAGE = Path(__file__).parent.parent / "docs" / "READERS.md"
TITLES = {"pyarrow": "pyarrow", "polars": "Polars", "pandas": "pandas", "duckdb": "DuckDB",
          "chdb": "chDB", "datafusion": "DataFusion", "daft": "Daft", "arro3": "arro3", "perspective": "Perspective",
          "nanoarrow": "nanoarrow", "node": "Node", "arquero": "Arquero"}


def write(found):
    text = PAGE.read_text()
    for name, table in tables(found).items():
        text = re.sub(between(name), lambda match, table=table: match[1] + table + match[3], text, flags=re.DOTALL)
    PAGE.write_text(text)


def outdated(found):
    """The tables of the page that differ from results.json."""
    text = PAGE.read_text()
    shown = {name: re.search(between(name), text, re.DOTALL) for name in tables(found)}
    return [f"docs/READERS.md: the table `{name}` differs from interop/results.json"
            for name, table in tables(found).items() if not shown[name] or shown[name][2] != table]


def between(name):
    return rf"(<!-- {name}: made by interop/check.sh --write -->\n)(.*?)(<!-- end -->)"


def tables(found):
    notes = Notes()
    # Building the table of types numbers the notes, so it comes before them.
    parts = {
        "shared": shared_table(found), "types": types_table(found, notes),
        "notes": notes.text(), "written": written_table(found),
    }
    return {name: f"\n{text}\n" for name, text in parts.items()}


class Notes:
    """The errors of all cells: each is printed once, and cells refer to it by number."""

    def __init__(self):
        self.numbers = {}

    def number(self, reader, why):
        return self.numbers.setdefault(f"{TITLES[reader]}: {why}", len(self.numbers) + 1)

    def text(self):
        return "".join(f"{number}. {escaped(why)}\n" for why, number in self.numbers.items())


def types_table(found, notes):
    rows = {}
    for case in found[READERS[0]][LAYOUTS[0]]:
        cells = tuple(cell(reader, {layout: found[reader][layout][case] for layout in LAYOUTS}, notes)
                      for reader in READERS)
        rows.setdefault(cells, []).append(f"`{case}`")
    lines = [" | ".join([", ".join(cases), *cells]) for cells, cases in rows.items()]
    return table_of(["case", *(TITLES[reader] for reader in READERS)], lines)


def table_of(heads, lines):
    rule = " | ".join("---" for _ in heads)
    return "".join(f"| {line} |\n" for line in [" | ".join(heads), rule, *lines])


def cell(reader, of_layouts, notes):
    texts = [text_of(reader, of_layouts[layout], notes) for layout in LAYOUTS]
    if texts[0] == texts[1]:
        return texts[0]
    return "<br>".join(f"{layout}: {text}" for layout, text in zip(LAYOUTS, texts, strict=True))


def text_of(reader, judgement, notes):
    if judgement == "ok":
        return "yes"
    if "opens" in judgement:
        return f"**no** ({notes.number(reader, judgement['opens'])})"
    if "equal" in judgement:
        return f"**wrong** ({notes.number(reader, judgement['equal'])})"
    cannot = judgement.get("cannot", {})
    if "as" in judgement:
        return judgement["as"] + (f", no {', '.join(cannot)}" if cannot else "")
    return f"no {', '.join(cannot)}"


def shared_table(found):
    ways = {way for layout in LAYOUTS for way in found["shared"][layout]}
    rows = [f"{way} | {found['shared']['view'][way]} | {found['shared']['offset'][way]}" for way in sorted(ways)]
    return table_of(["", *LAYOUTS], rows)


def written_table(found):
    rows = []
    for writer in (name for name in found if name.startswith("by ")):
        for file in found[writer]["keep"]:
            judgements = [found[writer][layout][file] for layout in found[writer]]
            rows.append(f"{TITLES[writer.removeprefix('by ')]} | `{file}` | {came_back(judgements)}")
    return table_of(["written by", "file", "comes back"], rows)


def came_back(judgements):
    if all(judgement == "ok" for judgement in judgements):
        return "equal, in every layout"
    first = next(judgement for judgement in judgements if judgement != "ok")
    return f"**no**: {escaped(next(iter(first.values())).removeprefix('coframe: '))}"


def escaped(text):
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
