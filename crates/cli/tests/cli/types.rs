//! Every Arrow type, filled, all null and empty, through the commands: the same values come back, or the column is named.

use std::{fs, path::Path};

use coframe::{
    Frame, IpcReader,
    arrow::{
        array::{ArrayRef, RecordBatch, RecordBatchIterator, RecordBatchOptions, new_empty_array, new_null_array},
        datatypes::SchemaRef,
        util::display::{ArrayFormatter, FormatOptions},
    },
};

use crate::common::{Ran, Scratch, scratch};

/// The tables of the conformance set, one for each type: name, schema and batches.
fn cases() -> Vec<(String, SchemaRef, Vec<RecordBatch>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|extension| extension == "arrow")).collect();
    files.sort();
    assert_eq!(files.len(), 61);
    let case = |path: &std::path::PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let reader = IpcReader::stream(fs::File::open(path).unwrap(), &name).unwrap();
        (name, reader.schema().clone(), reader.map(Result::unwrap).collect())
    };
    files.iter().map(case).collect()
}

/// Rows, and every value as text, column by column; what the type is does not matter.
fn rendered(frame: &Frame) -> (usize, Vec<Vec<String>>) {
    let format = FormatOptions::new().with_null("null");
    let column = |position: usize| {
        let values = frame.batches().iter().flat_map(|batch| {
            let column = batch.column(position).clone();
            let formatter = ArrayFormatter::try_new(&column, &format).unwrap();
            (0..batch.num_rows()).map(|row| formatter.value(row).to_string()).collect::<Vec<_>>()
        });
        values.collect()
    };
    (frame.num_rows(), (0..frame.num_columns()).map(column).collect())
}

/// What did not come back as it went, as `command: case`.
struct Refused<'a> {
    scratch: &'a Scratch,
    found: Vec<String>,
}

impl Refused<'_> {
    fn compare<T: PartialEq>(&mut self, what: &str, case: &str, found: T, expected: &T) {
        if found != *expected {
            self.found.push(format!("{what} differs: {case}"));
        }
    }

    /// Whether the command did it. If not, it must have named the column that it could not convert, in one line.
    fn done(&mut self, what: &str, case: &str, args: &[&str]) -> bool {
        let Ran { code, out: _, err } = self.scratch.run(args);
        if code == 0 {
            return true;
        }
        assert_eq!((code, err.lines().count()), (1, 1), "{case}: {args:?}: {err}");
        let names_it =
            ["column `x`", "column `list`", "keeps no rows", "it has no object"].iter().any(|text| err.contains(text));
        assert!(names_it, "{case}: {args:?}: {err}");
        self.found.push(format!("{what} refused: {case}"));
        false
    }
}

const FORMATS: [&str; 4] = ["parquet", "arrow", "csv", "ndjson"];

fn through_all_commands(
    formats: &[&str],
    state: impl Fn(&SchemaRef, &[RecordBatch]) -> Vec<RecordBatch>,
) -> Vec<String> {
    let scratch = scratch();
    let store = scratch.store();
    let mut refused = Refused { scratch: &scratch, found: Vec::new() };
    for (case, schema, batches) in cases() {
        let batches = state(&schema, &batches).into_iter().map(Ok);
        let frame = store.publish("t", RecordBatchIterator::new(batches, schema)).unwrap();
        let expected = rendered(&frame);
        let described = scratch.json(&["describe", "t"]);
        for column in described["columns"].as_array().unwrap() {
            let count = column["count"].as_u64().unwrap() + column["nulls"].as_u64().unwrap();
            assert_eq!(count as usize, frame.num_rows(), "{case}: {column}");
        }
        scratch.ok(&["head", "t"]);
        scratch.ok(&["cp", "t", "copy"]);
        assert_eq!(rendered(&store.open("copy").unwrap()), expected, "cp {case}");
        refused.done("head --json", &case, &["head", "t", "--json"]);
        if refused.done("sql", &case, &["sql", "select * from t", "--publish", "queried"]) {
            refused.compare("sql", &case, rendered(&store.open("queried").unwrap()), &expected);
        }
        for format in formats {
            let file = scratch.path("t").with_extension(format);
            let path = file.to_str().unwrap();
            if !refused.done(&format!("export {format}"), &case, &["export", "t", path, "--force"]) {
                continue;
            }
            if !refused.done(&format!("publish {format}"), &case, &["publish", path, "--name", "again"]) {
                continue;
            }
            let again = store.open("again").unwrap();
            refused.compare(format, &case, rendered(&again), &expected);
        }
    }
    refused.found.sort();
    refused.found
}

/// What no value of the type has a form for, whatever the rows are.
const NO_FORM: &str = "
    export csv refused: empty, fixed_size_list, large_list_utf8, list, list_dictionary, list_struct_list, list_utf8,
        list_view, map, no_columns, slices, struct, struct_dictionary, union_dense, union_sparse
    export parquet refused: interval, no_columns, union_dense, union_sparse
    export ndjson refused: union_dense, union_sparse
    head --json refused: union_dense, union_sparse
    sql refused: interval, union_dense, union_sparse";

/// What comes back otherwise. CSV reads an empty string as null; strings carry no decimals and zones, but floats and
/// UTC; JSON lacks NaN and maps; Polars has maps as lists and cannot have rows without columns.
const OTHERWISE: &str = "
    csv differs: binary, binary_view, float16, large_binary, large_utf8, string_view,
        timestamp_zone, utf8
    ndjson differs: float16, float32, float64, map
    sql refused: decimal256
    sql differs: map, no_columns";

/// The lines of lists, sorted, one for each case.
fn lines(lists: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut what = String::new();
    for part in lists.iter().flat_map(|list| list.split([',', '\n'])).map(str::trim).filter(|part| !part.is_empty()) {
        let case = match part.split_once(": ") {
            Some((named, case)) => {
                named.clone_into(&mut what);
                case
            }
            None => part,
        };
        lines.push(format!("{what}: {case}"));
    }
    lines.sort();
    lines
}

#[test]
fn filled_columns_of_every_type_come_back_or_are_named() {
    let found = through_all_commands(&FORMATS, |_, batches| batches.to_vec());
    // One case is empty, for which NDJSON keeps zero keys. Decimals have more digits than floats, and lack a type.
    let refused = "publish ndjson refused: decimal128, decimal256, empty";
    assert_eq!(found, lines(&[NO_FORM, OTHERWISE, refused]));
}

#[test]
fn columns_of_every_type_without_a_value_come_back_or_are_named() {
    let all_null = |schema: &SchemaRef, _: &[RecordBatch]| {
        let columns = schema.fields().iter().map(|field| new_null_array(field.data_type(), 3)).collect();
        vec![batch(schema, columns, 3)]
    };
    assert_eq!(through_all_commands(&FORMATS, all_null), lines(&[NO_FORM, "sql differs: no_columns"]));
}

#[test]
fn empty_columns_of_every_type_come_back_or_are_named() {
    let empty = |schema: &SchemaRef, _: &[RecordBatch]| {
        let columns = schema.fields().iter().map(|field| new_empty_array(field.data_type())).collect();
        vec![batch(schema, columns, 0)]
    };
    // Without a row NDJSON has zero keys, and so zero columns.
    let found = through_all_commands(&["parquet", "arrow", "csv"], empty);
    let expected = lines(&[NO_FORM]).into_iter().filter(|line| !line.starts_with("export ndjson"));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn the_formats_that_are_proposed_instead_of_csv_hold_the_column() {
    let scratch = scratch();
    let formats = [("NDJSON", "ndjson"), ("Parquet", "parquet"), ("Arrow IPC", "arrow")];
    let mut proposed = [0; 3];
    for (case, schema, batches) in cases() {
        let batches = batches.into_iter().map(Ok);
        scratch.store().publish("t", RecordBatchIterator::new(batches, schema)).unwrap();
        let export = |extension: &str| {
            let file = scratch.path("t").with_extension(extension);
            scratch.run(&["export", "t", file.to_str().unwrap(), "--force"])
        };
        let csv = export("csv");
        let Some((_, next)) = csv.err.split_once("which CSV cannot hold; write ") else { continue };
        for (count, (format, extension)) in proposed.iter_mut().zip(formats) {
            if next.contains(format) {
                assert_eq!(export(extension).code, 0, "{case}: {next}");
                *count += 1;
            }
        }
    }
    // Arrow IPC alone holds the two unions.
    assert!(proposed[0] > 10 && proposed[1] > 10 && proposed[2] == 2, "{proposed:?}");
}

fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options).unwrap()
}
