"""Writes docs/BENCHMARKS.md and docs/charts/*.svg from results/*.json. Nothing on the page comes from elsewhere.

`report.py --check` fails if the committed page or a chart differs.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path

import charts
import plan

HERE = Path(__file__).parent
PAGE, CHARTS = HERE.parent / "docs" / "BENCHMARKS.md", HERE.parent / "docs" / "charts"

SECTIONS = {
    "handover": (
        "Hand a frame to workers",
        "Each worker opens the table and sums a column; 8 tasks a round. *share* is what is done once with the table, *round* "
        "the 8 tasks after that, *again* 8 more on the same table. *memory* is the PSS of all processes while every worker "
        "holds what it opened, less the same with a table of 10 rows; pages that no process has mapped are not part of it. Rows "
        "without a share copy the table in every round.",
    ),
    "publish": (
        "Publish",
        "The table is written into shared memory. `write(2)` writes as many bytes from one buffer and converts nothing. "
        "`memcpy` overwrites memory that is already resident, which no new segment can be.",
    ),
    "open": (
        "Open",
        "The table is in shared memory and is opened as a whole, without reading its values.",
    ),
    "scan": (
        "Open and sum a column",
        "The table has 8 columns and is in shared memory. It is opened, and one column is summed with numpy. A fresh "
        "map has no pages, so page faults take a part of the time. `mmap by hand, MADV_POPULATE_READ` is the limit for a fresh "
        "map, and `numpy array in private memory` is the sum alone.",
    ),
    "tasks": (
        "Tasks without work",
        "The time of one task, of many that are started together. coframe has no process pool for Python; `cargo bench "
        "--bench pool` measures the one for Rust.",
    ),
    "cells": (
        "Locks, values and maps",
        "The time of one operation, called from Python. With 2 processes it is the elapsed time divided by the operations of "
        "both. Maps have 1 000 integers.",
    ),
    "transfers": (
        "Transfer to another machine",
        "The other machine is another store, process or Ray node of the same machine, so all bytes cross the loopback device. "
        "*Whole tables* end in shared memory, where every process of the other machine can map them: `coframe pull` in a new "
        "store, copies of the same file in `/dev/shm`, Ray's table in the object store of the second node. `coframe pull` and "
        "`scp` include the start of their client. *Rows to a client* end in the memory of one client, which is pyarrow's in "
        "both rows.",
    ),
    "engines": (
        "Query engines",
        "The flights of `testdata/flights.parquet`, 50 times, are grouped by carrier, or joined with their planes by tail "
        "number and grouped by manufacturer. Each engine has two processes or two threads, and all return the same rows. "
        "*share* is what is done once with the table, by pandas, Dask and DuckDB's table with the four columns of the queries "
        "only: publish it, open the published frame, convert it, or read a Parquet file into the workers' memory.",
    ),
}

WHY = {
    "handover": [
        "`inherited by fork` and `mp.RawArray` hand over nothing, because the workers have the table from their start. Their "
        "rounds are the limit for everything else. They cannot get another table without new workers.",
        "A pipe of `multiprocessing` answers sooner than the schedulers of Ray, Dask and joblib, so with those the scheduler "
        "is most of a round, whatever is handed over.",
        "With one worker, joblib runs the tasks in the calling process, so nothing is handed over.",
        "The DataFrames of pandas come from `to_pandas()`, so code outside of pandas may write to their arrays. Therefore "
        "`sharing()` compares all bytes before each of the 8 messages. A DataFrame that pandas made itself needs no comparison.",
        "The first round comes right after the share, so the workers' first tasks map the pages of coframe's frames. `Ray put` "
        "writes into memory that the workers have mapped already. In the second round coframe's workers have the pages too.",
        "Ray's arena is resident from earlier rows, so the memory of its rows is less than that of the table. `vineyardd` maps "
        "all of a table, so its row has the columns that no worker reads too.",
        "Vineyard 0.24.2 cannot return a table with a timestamp, so `mixed` has no row of it.",
        "`pa.memory_map` opens the same kind of file as coframe. It leaves names, removal, versions and killed writers to the "
        "program.",
    ],
    "publish": [
        "`Ray put` and `Vineyard put` write into arenas, whose pages are resident after the first use. A new segment has to get each page "
        "from the kernel, as `write(2)` does.",
        "A publish needs memory next to the version before it, which is removed afterwards; the others reuse what they have just "
        "freed. This machine's kernel returns free huge pages to the host of the virtual machine, and must request them again "
        "when they are used; a publish of 1 GB then took up to 2.9 s. While these groups were measured, the kernel kept free "
        "pages for a minute. Single runs still took as long, as `max` shows, probably for memory that the host had to provide.",
        "With 1 MB, the fixed part of a publish is most of its time: the store's lock, the description of the columns, the link "
        "and the removal of the version before it.",
        "With categorical columns, half of `coframe.publish` or more is Polars' conversion of the categories to Arrow, in which it looks "
        "up each one. `coframe.publish, Arrow` gets the converted table, as the rows of pyarrow, Ray and Vineyard do.",
        "On huge pages the copy is so fast that the rest of a publish becomes visible: it takes the store's lock, checks and "
        "describes the columns, links the file and removes the version before it. All of that takes 0.2 ms for a tiny table. Next "
        "to a copy of 100 MB it takes longer, probably because the copy displaces its code and data from the processor's caches, "
        "and longest when peers and the garbage collector run in between. The groups `alone` leave those out.",
        "`to_arrow()` copies the bytes of every string, while Polars' views of equal strings share them: with mixed columns of 100 "
        "MB the Arrow table has 112 MB and the DataFrame 87. GB/s refer to the table that a row writes.",
    ],
    "open": [
        "pyarrow opens small files sooner: it takes no lock, resolves no name and checks no owner, and it does not convert to "
        "Polars.",
        "Vineyard 0.24.2 cannot return a table with a timestamp, so tables with other rows than 30 million have no row of it.",
    ],
    "scan": [
        "`prefault` takes as long as the page faults that it saves on a busy machine with 2 cores. It is for idle cores, and for "
        "the time before the values are needed.",
        "`Ray get` has no page faults, because a process maps Ray's whole store once. A process that unpickles a coframe frame "
        "again has none either.",
    ],
    "tasks": ["Ray runs chunks as one task that returns a list, because it has no chunks."],
    "cells": [
        "`multiprocessing.Lock` is a C type over a semaphore, and a killed owner leaves it locked for ever. `coframe.Lock` "
        "is written in Python over a robust mutex, and most of its time is Python's.",
        "`multiprocessing.Value` is a C type too. Where a counter is enough, `coframe.Counter` needs no lock.",
        "LMDB is called directly with bytes. A `coframe.Dict` uses LMDB too, encodes keys and values of any type, and takes a "
        "gate that has a timeout.",
        "The blackboard of iceoryx2 holds an integer, `Latest` bytes of any length.",
    ],
    "transfers": [
        "`plain TCP` and `pyarrow's server, DoGet to a file` are copies without a check. A pull also starts a process, compares "
        "checksums, and validates the whole segment before the name exists.",
        "Ray's time is that of `get` in a worker that runs already. Its object stores have their pages since the first transfer, "
        "while a pull and a copied file get new ones from the kernel.",
        "`scp` encrypts, as `coframe pull` does with a certificate. Here `coframe pull` has none.",
        "A batch is one message of Arrow Flight, and `coframe.publish` makes one batch of each chunk of a table. coframe's server "
        "needs longer for one message of 100 MB than pyarrow's. With `batch_rows=8192` the client reads while the server sends.",
    ],
    "engines": [
        "Polars in one process has nothing to hand over, starts no task in another process and merges no parts. Two processes are "
        "for work that one process cannot do, such as Python code that holds the interpreter's lock.",
        "DuckDB and DataFusion answer these queries sooner than Polars, also when Polars has the columns in the memory of its "
        "process: the engine matters more than where the columns are. On a frame they read the shared memory in place, so they "
        "need no copy, unlike DuckDB's table.",
        "Ballista joins by sorting unless `datafusion.optimizer.prefer_hash_join` is set, because a hash join of DataFusion cannot "
        "spill to a disk.",
        "pandas has no second thread. Dask runs pandas on the partitions, which its workers keep.",
    ],
}


def time_of(seconds):
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds / 1e-9)} ns"


def number(value):
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def order(section, key):
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", re.sub(r"(?<=\d) (?=\d)", "", key).replace("huge", "z huge"))]


def page():
    lines = [
        "# Benchmarks", "",
        "`bench/run.sh` measures coframe and what you could use instead: the same data, in the same run, on the same machine. It "
        "writes the results to `bench/results/`, and this page and its charts from them.", "",
        "* Every call warms up once. Then all peers of a group take turns, 7 times. A call of over 2 s gets 3 turns, one of "
        "over 8 s a single turn; *runs* has the number. Groups named *alone* have two calls, which take turns 61 times.",
        "* Tables show the median and the least and greatest time. Blue bars are coframe's, thin lines go from min to max.",
        "* Versions are pinned in `bench/requirements.txt`. Each peer is used as its documentation recommends, next to the plain "
        "calls that people write.",
        "* Rows in which a peer is faster are listed like all others; the text below the tables explains them.",
        "* Compare rows of one group. The machine was also used by other programs, and groups were measured at different times; "
        "the end of this page has the load.", "",
    ]
    images, machines, missing = {}, {}, []
    for section, (title, about) in SECTIONS.items():
        path = HERE / "results" / f"{section}.json"
        groups = json.loads(path.read_text())["groups"] if path.exists() else {}
        expected = plan.all_groups(section)
        if unknown := sorted(groups.keys() - expected):
            sys.exit(f"{path.name} has groups that are not in plan.py: {', '.join(unknown)}")
        missing += [f"{title}: {key}" for key in expected if key not in groups]
        if not groups:
            continue
        lines += [f"## {title}", "", about, ""]
        for key in sorted(groups, key=lambda key: order(section, key)):
            lines += group_of(section, key, groups[key], images)
            machine = groups[key]["machine"]
            same = json.dumps({k: v for k, v in machine.items() if k not in ("load before", "date")})
            machines.setdefault(same, []).append((f"{title}: {key}", machine))
        lines += [f"* {why}" for why in WHY[section]] + [""]
    lines += machine_lines(list(machines.values())) + missing_lines(missing)
    return "\n".join(map(wrapped, lines)), images


def wrapped(line):
    """Prose of at most 120 columns, as in the other documents."""
    if not line or line[0] in "|#!":
        return line
    return textwrap.fill(line, 120, subsequent_indent="  " if line.startswith("* ") else "", break_long_words=False, break_on_hyphens=False)


def group_of(section, key, group, images):
    rows = {name: row for name, row in group["rows"].items() if "median" in row}
    name = re.sub(r"[^a-z0-9]+", "-", f"{section} {key}".lower()).strip("-")
    size = group["about"].get("bytes")
    title = f"{key}" + (f" ({size / 1e6:,.0f} MB in memory)".replace(",", " ") if size and section not in ("publish", "scan") else "")
    lines = [f"### {SECTIONS[section][0]}: {title}", ""]
    if rows:
        ordered = dict(sorted(rows.items(), key=lambda item: item[1]["median"]))
        images[f"{name}.svg"] = charts.bars(f"{SECTIONS[section][0]}: {key}", {n: (r["median"], r["min"], r["max"]) for n, r in ordered.items()}, time_of)
        lines += [f"![{SECTIONS[section][0]}: {key}](charts/{name}.svg)", ""]
    return lines + table_of(section, group, rows)


def table_of(section, group, rows):
    best = min((row["median"] for row in rows.values()), default=0)
    heads = ["", *(["share", "round", "again"] if section == "handover" else ["share", "query"] if section == "engines" else ["median"]), "min", "max", "runs", "against the fastest"]
    heads += ["memory"] if section == "handover" else ["GB/s"] if section in ("publish", "transfers") else []
    lines = [f"| {' | '.join(heads)} |", f"| --- |{' ---: |' * (len(heads) - 1)}"]
    for name, row in group["rows"].items():
        title = f"**{name}**" if "coframe" in name else name
        if "left out" in row:
            text = row["left out"].replace("|", "\\|").replace("<", "&lt;")
            lines.append(f"| {title} | {'| ' * (len(heads) - 2)}{text} |")
            continue
        cells = [title]
        if section in ("handover", "engines"):
            cells.append(time_of(row["share"]) if "share" in row else "")
        cells.append(time_of(row["median"]))
        if section == "handover":
            cells.append(time_of(row["again"]) if "again" in row else "")
        cells += [time_of(row["min"]), time_of(row["max"]), str(row["runs"]), f"{number(row['median'] / best)}x"]
        if section == "handover":
            # A worker may have freed a little since the smaller table.
            cells.append(f"{max(0, row['memory']) / 1e6:.0f} MB" if "memory" in row else "not measured")
        if section in ("publish", "transfers"):
            cells.append(number(row.get("bytes", group["about"]["bytes"]) / row["median"] / 1e9))
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def machine_lines(machines):
    """The machines and dates of all groups; which groups were measured on which, if they differ."""
    lines = ["## Machine", ""]
    for groups in machines:
        machine = groups[0][1]
        if len(machines) > 1:
            lines += [f"{'; '.join(name for name, _ in groups)}:", ""]
        lines += [f"* {name}: {value}" for name, value in machine.items() if name not in ("packages", "load before", "date")]
        dates = {}
        for name, one in groups:
            dates.setdefault(one["date"], []).append(name)
        if len(dates) == 1:
            lines += [f"* date: {next(iter(dates))}"]
        else:
            lines += [f"* {date}: {'; '.join(names)}" for date, names in sorted(dates.items())]
        loads = sorted(one["load before"] for _, one in groups)
        lines += [f"* load average before a group: {loads[0]} to {loads[-1]}"]
        versions = ", ".join(f"{name} {version}" for name, version in machine.get("packages", {}).items())
        lines += [f"* {versions}", ""]
    return lines


def missing_lines(missing):
    """The groups of the plan without results, and what this benchmark does not cover."""
    return [
        "## Not measured here", "",
        *([f"* Groups of `bench/run.sh` that are not measured yet: {'; '.join(missing)}."] if missing else []),
        "* arrow-rs and coframe's pool for Rust: `cargo bench --bench open` and `cargo bench --bench pool` compare them.",
        "* Transfers between machines with a network between them.", "",
    ]


def main():
    text, images = page()
    if "--check" in sys.argv[1:]:
        wrong = [PAGE.name] * (PAGE.read_text() != text)
        wrong += [name for name, image in images.items() if not (CHARTS / name).exists() or (CHARTS / name).read_text() != image]
        sys.exit(f"outdated, run bench/report.py: {', '.join(wrong)}" if wrong else 0)
    CHARTS.mkdir(exist_ok=True)
    for old in CHARTS.glob("*.svg"):
        old.unlink()
    for name, image in images.items():
        (CHARTS / name).write_text(image)
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
