//! Every type, through a mirror and through pyarrow, in both layouts.

use std::process::{Command, Stdio};

use coframe::{PublishOptions, Store, StringLayout};
use coframe_flight::Remote;

use crate::common::{conformance, mixed, python, run_python, scratch, serve};

#[test]
fn every_type_is_the_same_bytes_in_a_mirror() {
    let (there, here) = (scratch(), scratch());
    let mut frames = conformance(&there.store);
    frames.push(mixed(&there.store));
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    for frame in &frames {
        let copy = remote.open(&here.store, frame.name()).unwrap();
        assert_eq!(copy.segment_bytes(), frame.segment_bytes(), "{}", frame.name());
        assert_eq!(copy.batches(), frame.batches(), "{}", frame.name());
    }
    assert_eq!(server.stats().pulls, frames.len() as u64);
}

/// Compares what a Flight client gets with the file that it can map itself.
const SCRIPT: &str = r#"
import json, os, sys
import pyarrow as pa, pyarrow.flight as flight
url, store = sys.argv[1:]
client = flight.connect(url.replace("http", "grpc"))

def get(**ticket):
    return client.do_get(flight.Ticket(json.dumps(ticket))).read_all()

def views(type):
    return "view" in str(type)

checked = 0
for info in client.list_flights():
    name = info.descriptor.path[0].decode()
    stat = json.loads(info.app_metadata)
    with pa.memory_map(os.path.join(store, f"{name}@{stat['version']}.arrow")) as source:
        file = pa.ipc.open_file(source)
        expected = pa.Table.from_batches([file.get_batch(i) for i in range(file.num_record_batches)], file.schema)
    found = client.do_get(info.endpoints[0].ticket).read_all()
    assert found.schema.equals(expected.schema, check_metadata=True), (name, found.schema, expected.schema)
    assert info.schema.equals(expected.schema), name
    assert info.total_records == expected.num_rows == stat["rows"], name
    same = found.equals(expected) or str(found.to_pylist()) == str(expected.to_pylist())  # NaN
    assert same, (name, found, expected)
    found.validate(full=True)
    n = expected.num_rows
    for first, end in [(0, n // 2), (n // 3, n), (n, n)]:
        part = get(name=name, rows=[first, end])
        assert str(part.to_pylist()) == str(expected.slice(first, end - first).to_pylist()), (name, first, end)
        part.validate(full=True)
    last = expected.column_names[-1:]
    part = get(name=name, columns=last)
    assert str(part.to_pylist()) == str(expected.select(last).to_pylist()), name
    try:
        classic = get(name=name, layout="classic")
    except pa.ArrowNotImplementedError as error:
        assert "no classic layout" in str(error), error
        print("no classic layout:", name, error)
        continue
    assert not any(views(field.type) for field in classic.schema), (name, classic.schema)
    assert str(classic.to_pylist()) == str(expected.to_pylist()), (name, classic)
    classic.validate(full=True)
    checked += 1
print("checked", checked)
assert checked > 30, checked
"#;

#[test]
fn every_type_is_equal_through_pyarrow_in_both_layouts() {
    let Some(mut python) = python() else { return };
    let there = scratch();
    conformance(&there.store);
    mixed(&there.store);
    let server = serve(&there.store);
    let said = run_python(&mut python, SCRIPT, &[&server.url(), there.path().to_str().unwrap()]);
    println!("{said}");
}

/// The code of docs/READERS.md for other machines, unchanged except for the port.
#[test]
fn the_code_of_the_readers_page_prints_what_the_page_says() {
    let Some(python) = python() else { return };
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/READERS.md")).unwrap();
    let section = page.split("## From another machine").nth(1).unwrap().split("\n## ").next().unwrap();
    let there = scratch();
    flights(&python, &there.store);
    let server = serve(&there.store);
    let mut ran = 0;
    for block in section.split("```python\n").skip(1) {
        let code = block.split("```").next().unwrap();
        let expected = code.trim_end().rsplit("  # ").next().unwrap();
        let code = code.replace("127.0.0.1:8815", &server.address().to_string());
        let library = code.lines().next().unwrap();
        let has = Command::new(python.get_program()).args(["-c", library]).stderr(Stdio::null()).status().unwrap();
        if !has.success() {
            eprintln!("skipped: `{library}` fails");
            continue;
        }
        let said = run_python(&mut Command::new(python.get_program()), &code, &[]);
        assert_eq!(said.trim_end(), expected, "{code}");
        ran += 1;
    }
    assert!(ran > 0);
}

/// The flights of testdata, imported.
fn flights(python: &Command, store: &Store) {
    const SCRIPT: &str = "import sys, pyarrow.feather as f, pyarrow.parquet as p; \
                          f.write_feather(p.read_table(sys.argv[1]), sys.argv[2], compression='uncompressed')";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("flights.arrow");
    let parquet = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/flights.parquet");
    run_python(&mut Command::new(python.get_program()), SCRIPT, &[parquet, file.to_str().unwrap()]);
    let options = PublishOptions::new().layout(StringLayout::View);
    store.import_with("flights", &file, &options).unwrap();
}
