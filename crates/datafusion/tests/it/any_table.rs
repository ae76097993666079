//! Random tables of every Arrow type, scanned, filtered, sorted and published by DataFusion.

use std::{ops::Range, sync::Arc};

use arrow::{
    array::{Int64Array, RecordBatch},
    datatypes::{DataType, Field, Schema, SchemaRef},
};
use coframe::{Frame, PublishOptions, Store};
use coframe_datafusion::FrameTable;
use datafusion::{
    datasource::MemTable,
    prelude::{DataFrame, SessionContext},
};
use tokio::{runtime::Runtime, task::JoinError};

use crate::{
    common::scratch,
    tables::{
        self, Expected, Random, Table, check_refusal,
        expected::{column_of, texts},
    },
};

/// How many tables the gate tries; ci/deep.sh tries more.
const TABLES: u64 = 100;
/// A column with the number of each row.
const ROW: &str = "number of the row";

#[derive(Default)]
struct Counts {
    published: u64,
    queries: u64,
    /// Queries at which arrow panics, or with which `MemTable` fails as well or has the same other values.
    beyond_datafusion: u64,
}

#[test]
fn any_table_is_the_same_in_datafusion_or_is_refused_by_its_column() {
    let (scratch, runtime) = (scratch(), Runtime::new().unwrap());
    let mut counts = Counts::default();
    let again = "cargo test -p coframe-datafusion --test it any_table";
    let tables = tables::check_each(TABLES, again, |random| check(&scratch.store, &runtime, random, &mut counts));
    let Counts { published, queries, beyond_datafusion } = counts;
    println!("{published} of {tables} tables, {queries} queries, {beyond_datafusion} beyond DataFusion");
    if tables >= TABLES {
        assert!(published > tables / 10 * 9, "only {published} of {tables} tables were not refused");
        assert!(beyond_datafusion < queries / 4, "{beyond_datafusion} of {queries} queries are beyond DataFusion");
    }
}

fn check(store: &Store, runtime: &Runtime, random: &mut Random, counts: &mut Counts) {
    let table = with_row_numbers(random);
    let frame = match publish(store, random, &table) {
        Ok(frame) => frame,
        Err(error) => return check_refusal(&error.to_string(), &format!("{error:?}"), &table.schema),
    };
    counts.published += 1;
    let Table { schema, batches } = table;
    let memory = MemTable::try_new(schema.clone(), vec![batches.clone()]).unwrap();
    let expected = Expected { schema, is_same_type: true, batches };
    // One partition, so that rows stay in order; batches of a few rows are cut.
    let rows = random.pick(&[1, 2, 3, 8192]);
    let found = crate::common::context(1, rows, FrameTable::new(frame).unwrap());
    let engines = Engines { runtime, store, found, memory: crate::common::context(1, rows, memory) };
    for (query, expected) in queries(random, &expected) {
        counts.queries += 1;
        counts.beyond_datafusion += u64::from(!engines.agree(&query, &expected));
    }
}

fn with_row_numbers(random: &mut Random) -> Table {
    let Table { schema, batches } = Table::random(random);
    let mut fields = schema.fields().to_vec();
    fields.insert(random.within(0, fields.len()), Arc::new(Field::new(ROW, DataType::Int64, false)));
    let schema: SchemaRef = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let (position, mut rows) = (schema.index_of(ROW).unwrap(), 0..);
    let numbered = batches.iter().map(|batch| {
        let mut columns = batch.columns().to_vec();
        let numbers = Int64Array::from_iter_values(rows.by_ref().take(batch.num_rows()));
        columns.insert(position, Arc::new(numbers));
        RecordBatch::try_new(schema.clone(), columns).unwrap()
    });
    let batches = numbered.collect();
    Table { schema, batches }
}

fn publish(store: &Store, random: &mut Random, table: &Table) -> coframe::Result<Frame> {
    let mut options = PublishOptions::new().statistics(random.one_in(2));
    if random.one_in(2) {
        options = options.batch_rows(random.within(1, 8));
    }
    let mut writer = store.writer_with("table", table.schema.clone(), &options)?;
    table.batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.publish()
}

/// Queries on a table `t`, with the rows that they must return.
fn queries(random: &mut Random, all: &Expected) -> Vec<(String, Expected)> {
    let columns = all.schema.fields().len();
    let mut some: Vec<usize> = (0..columns).filter(|_| !random.one_in(3)).collect();
    some.reverse();
    let first = random.below(some.len().max(1));
    some.rotate_left(first);
    let selected = all.select(&some);
    let names: Vec<String> = selected.names().iter().map(|name| format!("\"{name}\"")).collect();
    let names = if names.is_empty() { "*".to_owned() } else { names.join(", ") };
    let selected = if some.is_empty() { all.slice(0, all.rows()) } else { selected };
    let Range { start, end } = rows(random, all.rows());
    let len = end - start;
    let between = format!("\"{ROW}\" >= {start} AND \"{ROW}\" < {end}");
    vec![
        ("SELECT * FROM t".to_owned(), all.slice(0, all.rows())),
        (format!("SELECT {names} FROM t"), selected.slice(0, all.rows())),
        (format!("SELECT * FROM t LIMIT {len} OFFSET {start}"), all.slice(start, len)),
        (format!("SELECT * FROM t LIMIT {len}"), all.slice(0, len)),
        (format!("SELECT {names} FROM t WHERE {between}"), selected.slice(start, len)),
        (format!("SELECT {names} FROM t ORDER BY \"{ROW}\" LIMIT {end}"), selected.slice(0, end)),
    ]
}

fn rows(random: &mut Random, of: usize) -> Range<usize> {
    let start = random.within(0, of);
    start..random.within(start, of)
}

/// A frame and a `MemTable` of the same batches.
struct Engines<'a> {
    runtime: &'a Runtime,
    store: &'a Store,
    found: SessionContext,
    memory: SessionContext,
}

type Rows = (SchemaRef, Vec<RecordBatch>);

impl Engines<'_> {
    /// Whether both return the rows. If they do not, because arrow or DataFusion cannot, they have the same other rows, or
    /// both fail, or arrow panics.
    fn agree(&self, query: &str, expected: &Expected) -> bool {
        let found = self.run(&self.found, query);
        if let Ok((schema, batches)) = &found
            && all_texts(batches, expected) == all_texts(&expected.batches, expected)
        {
            let has_types = has_types(schema, batches);
            if has_types {
                expected.is_equal(schema, batches);
                self.publish(query, expected);
            }
            return has_types;
        }
        match (found, self.run(&self.memory, query)) {
            (Ok((schema, batches)), Ok((other, others))) => {
                assert_eq!(schema, other, "{query}");
                assert_eq!(all_texts(&batches, expected), all_texts(&others, expected), "{query}");
            }
            // Which function of arrow is the first to lack a type depends on how the rows are cut into batches.
            (Err(_), Err(_)) => {}
            (Err(found), Ok(_)) => assert!(found.starts_with("panicked: "), "{query}: {found}"),
            (Ok((_, batches)), Err(error)) => panic!("{query}: {batches:?}, MemTable: {error}"),
        }
        false
    }

    fn run(&self, context: &SessionContext, query: &str) -> Result<Rows, String> {
        let (context, query) = (context.clone(), query.to_owned());
        // A task, because arrow panics where it lacks some types.
        let task = self.runtime.spawn(async move {
            let rows: DataFrame = context.sql(&query).await?;
            let schema = rows.schema().inner().clone();
            rows.collect().await.map(|batches| (schema, batches))
        });
        let rows = self.runtime.block_on(task).map_err(panicked)?;
        rows.map_err(|error| error.strip_backtrace())
    }

    fn publish(&self, query: &str, expected: &Expected) {
        let rows = self.runtime.block_on(self.found.sql(query)).unwrap();
        let options = PublishOptions::new();
        let published = coframe_datafusion::publish(rows, self.store, "again", &options);
        expected.is_in(&self.runtime.block_on(published).unwrap());
        self.store.verify("again").unwrap();
    }
}

fn panicked(ended: JoinError) -> String {
    let panic = ended.into_panic();
    let text = panic.downcast_ref::<&str>().copied();
    format!("panicked: {}", text.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default())
}

/// Some functions of arrow name the children of run-end encoded arrays themselves.
fn has_types(schema: &SchemaRef, batches: &[RecordBatch]) -> bool {
    let mut types = batches.iter().flat_map(|batch| batch.columns().iter().zip(schema.fields()));
    types.all(|(column, field)| column.data_type() == field.data_type())
}

/// The rows of each column as text.
fn all_texts(batches: &[RecordBatch], expected: &Expected) -> Vec<Vec<String>> {
    (0..expected.schema.fields().len()).map(|column| texts(&column_of(batches, column))).collect()
}
