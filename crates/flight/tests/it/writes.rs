//! `DoPut` and `remove`.

use coframe_flight::{Remote, Server, ServerOptions};

use crate::common::{conformance, mixed, python, run_python, scratch, serve};

fn writable(store: &coframe::Store) -> Server {
    Server::start(store, &ServerOptions::new().write(true)).unwrap()
}

#[test]
fn every_type_can_be_pushed_and_metadata_goes_along() {
    let (there, here) = (scratch(), scratch());
    let mut frames = conformance(&here.store);
    frames.push(mixed(&here.store));
    let server = writable(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    for frame in &frames {
        let version = remote.push(frame, frame.name()).unwrap();
        let pushed = there.store.open_version(frame.name(), version).unwrap();
        assert_eq!(pushed.schema(), frame.schema());
        assert_eq!(pushed.num_rows(), frame.num_rows());
        let rows =
            |frame: &coframe::Frame| coframe::arrow::compute::concat_batches(frame.schema(), frame.batches()).unwrap();
        assert_eq!(rows(&pushed), rows(frame), "{}", frame.name());
        assert_eq!(pushed.metadata(), frame.metadata());
    }
    assert_eq!(server.stats().puts, frames.len() as u64);
    let part = frames.last().unwrap().select(["word"]).unwrap().slice(3..14).unwrap();
    remote.push(&part, "part").unwrap();
    assert_eq!(there.store.open("part").unwrap().num_rows(), 11);
}

#[test]
fn a_server_is_read_only_unless_it_was_told_otherwise() {
    let (there, here) = (scratch(), scratch());
    mixed(&there.store);
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    for error in [remote.push(&mixed(&here.store), "x").unwrap_err(), remote.remove("mixed").unwrap_err()] {
        assert!(error.is_denied() && error.to_string().contains("read-only"), "{error}");
    }
    assert!(there.store.exists("mixed").unwrap() && !there.store.exists("x").unwrap());
}

#[test]
fn a_name_is_removed_once() {
    let there = scratch();
    mixed(&there.store);
    let server = writable(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    assert!(remote.remove("mixed").unwrap() && !remote.remove("mixed").unwrap());
    assert!(!there.store.exists("mixed").unwrap());
}

#[test]
fn pyarrow_publishes_a_table_and_a_broken_stream_nothing() {
    const SCRIPT: &str = r#"
import sys, pyarrow as pa, pyarrow.flight as flight
client = flight.connect(sys.argv[1].replace("http", "grpc"))
table = pa.table({"x": pa.array([1, 2, None]), "s": pa.array(["a", None, "c"]), "d": pa.array(["u", "v", "u"]).dictionary_encode()})
writer, reader = client.do_put(flight.FlightDescriptor.for_path("good"), table.schema)
writer.write_table(table)
writer.done_writing()
answer = reader.read()
assert b'"version":1' in answer.to_pybytes().replace(b" ", b""), answer.to_pybytes()
writer.close()
# A stream with rows that do not fit its schema, and one to a path.
for name in ("../x", "a/b", ""):
    try:
        writer, reader = client.do_put(flight.FlightDescriptor.for_path(name), table.schema)
        writer.write_table(table)
        writer.close()
    except pa.ArrowInvalid as error:
        assert "not a frame name" in str(error), error
    else:
        raise AssertionError(name)
# Dies in the middle.
writer, reader = client.do_put(flight.FlightDescriptor.for_path("cut"), table.schema)
writer.write_table(table)
import os
os._exit(0)
"#;
    let Some(mut python) = python() else { return };
    let there = scratch();
    let server = writable(&there.store);
    run_python(&mut python, SCRIPT, &[&server.url()]);
    let frame = there.store.open("good").unwrap();
    assert_eq!((frame.num_rows(), frame.num_columns()), (3, 3));
    drop(frame);
    assert!(server.stop(std::time::Duration::from_secs(20)));
    assert_eq!(there.files(), ["good.arrow", "good@1.arrow"]);
}
