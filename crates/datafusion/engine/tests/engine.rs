//! The program, as `coframe sql --engine datafusion` runs it.

use std::{
    io::{Cursor, Write},
    process::{Command, Output, Stdio},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Int64Array, RecordBatch, StringArray},
    ipc::reader::StreamReader,
    util::pretty::pretty_format_batches,
};
use coframe::{PublishOptions, Store};
use tempfile::TempDir;

/// A store with 10 000 rows `t` in batches of 100, in the order of `id`.
fn store() -> (TempDir, Store) {
    let directory = tempfile::Builder::new().prefix("coframe-test-").tempdir_in("/dev/shm").unwrap();
    let store = Store::open_at(directory.path().join("store")).unwrap();
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(Int64Array::from_iter_values(0..10_000))),
        ("word", Arc::new(StringArray::from_iter_values((0..10_000).map(|id| format!("word {}", id % 7))))),
    ];
    let options = PublishOptions::new().batch_rows(100).statistics(true).sorted("id", false);
    store.publish_with("t", &RecordBatch::try_from_iter(columns).unwrap(), &options).unwrap();
    (directory, store)
}

fn ask(store: &Store, query: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_coframe-datafusion"))
        .arg(store.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(query.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// The rows of a query as a table of text.
fn answer(store: &Store, query: &str) -> String {
    let output = ask(store, query);
    assert!(output.status.success(), "{query}: {}", String::from_utf8_lossy(&output.stderr));
    let rows = StreamReader::try_new(Cursor::new(output.stdout), None).unwrap();
    pretty_format_batches(&rows.collect::<Result<Vec<_>, _>>().unwrap()).unwrap().to_string()
}

#[test]
fn a_query_is_answered_with_an_arrow_stream() {
    let (_directory, store) = store();
    let counted =
        answer(&store, "SELECT word, count(*) AS n FROM t WHERE id >= 9000 GROUP BY word ORDER BY word LIMIT 1;");
    assert!(counted.contains("| word 0 | 143 |"), "{counted}");
    assert!(answer(&store, "SELECT count(*) AS n FROM \"t@1\"").contains("| 10000 |"));
    assert!(answer(&store, "SHOW TABLES").contains("| t "));
    // No row is also an answer, with the columns of the query.
    let output = ask(&store, "SELECT id FROM t WHERE id < 0");
    let rows = StreamReader::try_new(Cursor::new(output.stdout), None).unwrap();
    assert_eq!(rows.schema().field(0).name(), "id");
}

#[test]
fn explain_shows_the_frame_and_explain_analyze_how_many_batches_were_read() {
    let (_directory, store) = store();
    let query = "SELECT * FROM t WHERE id BETWEEN 250 AND 449 ORDER BY id";
    let shown = answer(&store, &format!("EXPLAIN {query}"));
    assert!(
        shown.contains("t@1.arrow") && shown.contains("file_type=coframe") && !shown.contains("SortExec"),
        "{shown}"
    );
    let analyzed = answer(&store, &format!("EXPLAIN ANALYZE {query}"));
    assert!(analyzed.contains("batches_read=3") && analyzed.contains("batches_pruned=97"), "{analyzed}");
}

#[test]
fn what_is_not_a_query_or_fails_is_one_error_and_changes_nothing() {
    let (_directory, store) = store();
    for (query, part) in [
        ("SELECT nothing FROM t", "nothing"),
        ("SELECT * FROM missing", "missing"),
        ("SELECT 1 / (id - 5000) FROM t", "ivide by zero"),
        ("INSERT INTO t VALUES (1, 'a')", "DML"),
        ("CREATE TABLE u AS SELECT 1 AS x", "DDL"),
        ("DROP TABLE t", "DDL"),
        ("COPY t TO 'u.coframe' STORED AS coframe", "file format"),
        ("COPY t TO '/nowhere/t.csv' STORED AS CSV", "DML"),
        ("SET datafusion.execution.batch_size = 1", "Statement"),
        ("SELECT", "expected"),
    ] {
        let output = ask(&store, query);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{query}: {message}");
        assert!(message.to_lowercase().contains(&part.to_lowercase()), "{query}: {message}");
    }
    assert_eq!(store.names().unwrap().len(), 1);
    assert_eq!(store.open("t").unwrap().version(), 1);
    // Only root can give a directory away.
    if std::os::unix::fs::chown(store.path(), Some(65_534), None).is_ok() {
        let output = ask(&store, "SELECT * FROM t");
        let message = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && message.contains(store.path().to_str().unwrap()), "{message}");
    }
    let missing = Command::new(env!("CARGO_BIN_EXE_coframe-datafusion")).output().unwrap();
    assert!(String::from_utf8(missing.stderr).unwrap().contains("usage"));
}
