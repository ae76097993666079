//! Random tables of every Arrow type take every way between two stores and come back with their values.

use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_flight::{
    FlightData, FlightDescriptor, Ticket, decode::FlightRecordBatchStream, flight_service_client::FlightServiceClient,
};
use coframe::{
    Frame, PublishOptions, Store,
    arrow::{
        array::RecordBatch,
        datatypes::{DataType, FieldRef, SchemaRef, UnionMode},
    },
};
use coframe_flight::{ReadOptions, Remote, Server, ServerOptions};
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::Runtime;
use tonic::transport::Channel;

use crate::{
    common::scratch,
    scratch::Scratch,
    tables::{
        self, Expected, Random, Table, check_refusal,
        expected::{column_of, texts},
        has,
        refusal::names,
    },
};

/// How many tables the gate tries; ci/deep.sh tries more.
const TABLES: u64 = 300;
const NAME: &str = "table";

/// Two machines, and a client that is arrow's.
struct Machines {
    there: Scratch,
    here: Scratch,
    remote: Remote,
    runtime: Runtime,
    other: FlightServiceClient<Channel>,
    _server: Server,
}

impl Machines {
    fn start() -> Self {
        let (there, here) = (scratch(), scratch());
        let server = Server::start(&there.store, &ServerOptions::new().write(true)).unwrap();
        let remote = Remote::connect(server.url()).unwrap();
        let runtime = Runtime::new().unwrap();
        let channel = Channel::from_shared(server.url()).unwrap();
        let other = FlightServiceClient::new(runtime.block_on(channel.connect()).unwrap());
        Self { there, here, remote, runtime, other, _server: server }
    }
}

#[test]
fn any_table_comes_back_from_another_machine_or_is_refused_by_its_column() {
    let machines = Machines::start();
    let mut passed = 0;
    let again = "cargo test --test it any_table";
    let tables = tables::check_each(TABLES, again, |random| passed += u64::from(machines.check(random)));
    assert!(tables < TABLES || passed > tables / 10 * 9, "only {passed} of {tables} tables were not refused");
}

fn publish(store: &Store, random: &mut Random, table: &Table) -> coframe::Result<Frame> {
    let mut options = PublishOptions::new();
    if random.one_in(2) {
        options = options.batch_rows(random.within(1, 8));
    }
    let mut writer = store.writer_with(NAME, table.schema.clone(), &options)?;
    table.batches.iter().try_for_each(|batch| writer.write(batch))?;
    writer.publish()
}

impl Machines {
    /// Whether the table was published.
    fn check(&self, random: &mut Random) -> bool {
        let table = Table::random(random);
        let origin = match publish(&self.there.store, random, &table) {
            Ok(frame) => frame,
            Err(error) => {
                check_refusal(&error.to_string(), &format!("{error:?}"), &table.schema);
                return false;
            }
        };
        let Table { schema, batches } = table;
        let expected = Expected { schema, is_same_type: true, batches };
        let copy = self.remote.open(&self.here.store, NAME).unwrap();
        assert_eq!(copy.segment_bytes(), origin.segment_bytes());
        expected.is_in(&copy);
        self.get(random, &expected);
        self.put(random, &copy, &expected);
        true
    }
}

fn is_view(data_type: &DataType) -> bool {
    use DataType as T;
    matches!(data_type, T::Utf8View | T::BinaryView | T::ListView(_) | T::LargeListView(_))
}

/// Columns in any order.
fn columns(random: &mut Random, of: usize) -> Vec<usize> {
    let mut columns = Vec::new();
    for column in 0..of {
        if random.one_in(2) {
            columns.insert(random.within(0, columns.len()), column);
        }
    }
    columns
}

fn rows(random: &mut Random, of: usize) -> std::ops::Range<usize> {
    let start = random.within(0, of);
    start..random.within(start, of)
}

/// `DoGet`.
impl Machines {
    fn get(&self, random: &mut Random, expected: &Expected) {
        let (range, columns) = (rows(random, expected.rows()), columns(random, expected.schema.fields().len()));
        let (cut, selected) = (expected.slice(range.start, range.len()), expected.select(&columns));
        let both = cut.select(&columns);
        let of_rows = ReadOptions::new().rows(range);
        let of_both = of_rows.clone().columns(both.names());
        let cases = [
            (ReadOptions::new(), expected),
            (of_rows.clone(), &cut),
            (ReadOptions::new().columns(selected.names()), &selected),
            (of_both, &both),
        ];
        for (options, expected) in cases {
            let (schema, batches) = self.remote.read(NAME, &options).unwrap();
            expected.is_equal(&schema, &batches);
        }
        if can_arrow_decode(&expected.schema) {
            let (schema, batches) = self.read_by_arrow();
            expected.is_equal(&schema, &batches);
        }
        self.get_classic(&of_rows, &cut);
    }

    /// The rows without views, where arrow can cast them.
    fn get_classic(&self, of_rows: &ReadOptions, cut: &Expected) {
        match self.remote.read(NAME, &of_rows.clone().classic(true)) {
            Ok((schema, batches)) => {
                assert!(!schema.fields().iter().any(|field| has(field.data_type(), &is_view)), "{schema}");
                for (column, field) in cut.schema.fields().iter().enumerate() {
                    let [found, cut] = [&batches, &cut.batches].map(|batches| texts(&column_of(batches, column)));
                    assert_eq!(found, cut, "{field}");
                }
            }
            Err(error) => {
                let text = error.to_string();
                let is_named = |field: &FieldRef| names(&text, field.name()) && has(field.data_type(), &is_view);
                assert!(text.contains("no classic layout") && cut.schema.fields().iter().any(is_named), "{error}");
            }
        }
    }

    /// The whole frame, as arrow's client decodes it.
    fn read_by_arrow(&self) -> (SchemaRef, Vec<RecordBatch>) {
        let mut client = self.other.clone();
        self.runtime.block_on(async {
            let ticket = Ticket { ticket: format!("{{\"name\": \"{NAME}\"}}").into() };
            let messages = client.do_get(ticket).await.unwrap().into_inner().map_err(Into::into);
            let mut stream = FlightRecordBatchStream::new_from_flight_data(messages);
            let mut batches = Vec::new();
            while let Some(batch) = stream.next().await {
                batches.push(batch.unwrap());
            }
            (stream.schema().unwrap().clone(), batches)
        })
    }
}

/// arrow's client panics if the offsets of a dense union are not aligned where it received them.
fn can_arrow_decode(schema: &SchemaRef) -> bool {
    let is_dense = |inner: &DataType| matches!(inner, DataType::Union(_, UnionMode::Dense));
    !schema.fields().iter().any(|field| has(field.data_type(), &is_dense))
}

/// Types of which arrow does not encode every part.
fn is_lossy(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Union(..) | DataType::RunEndEncoded(..))
}

/// `encodable` does not change the values of dictionaries.
fn can_arrow_encode(schema: &SchemaRef) -> bool {
    let is_lossy = |inner: &DataType| matches!(inner, DataType::Dictionary(_, values) if has(values, &is_lossy));
    !schema.fields().iter().any(|field| has(field.data_type(), &is_lossy))
}

/// `DoPut`.
impl Machines {
    fn put(&self, random: &mut Random, frame: &Frame, expected: &Expected) {
        let (range, columns) = (rows(random, expected.rows()), columns(random, expected.schema.fields().len()));
        let cut = expected.slice(range.start, range.len()).select(&columns);
        let part = frame.slice(range).unwrap().select(cut.names()).unwrap();
        for (frame, expected) in [(frame, expected), (&part, &cut)] {
            self.remote.push(frame, "pushed").unwrap();
            expected.is_in(&self.there.store.open("pushed").unwrap());
            self.there.store.verify("pushed").unwrap();
        }
        if !can_arrow_encode(&expected.schema) {
            return;
        }
        if let Err(error) = self.push_by_arrow(expected) {
            return check_refusal(&error.to_string(), &format!("{error:?}"), &expected.schema);
        }
        expected.is_in(&self.there.store.open("by-arrow").unwrap());
        self.there.store.verify("by-arrow").unwrap();
    }

    /// The batches, encoded by arrow: as they were made, or without unused values if they have types of which arrow does
    /// not encode every part.
    ///
    /// Not by its `FlightDataEncoder`, which declares large lists as lists, so that no reader can decode them
    /// (<https://github.com/apache/arrow-rs/issues/10291>).
    fn push_by_arrow(&self, expected: &Expected) -> coframe::Result<()> {
        let Expected { schema, batches, .. } = expected;
        let (options, generator) = (IpcWriteOptions::default(), IpcDataGenerator::default());
        let (mut dictionaries, mut context) = (DictionaryTracker::new(false), IpcWriteContext::default());
        let head = generator.schema_to_bytes_with_dictionary_tracker(schema, &mut dictionaries, &options);
        let mut messages = vec![head];
        let is_lossy = schema.fields().iter().any(|field| has(field.data_type(), &is_lossy));
        for batch in batches {
            let batch = if is_lossy { coframe::encodable(batch)? } else { batch.clone() };
            let (dictionaries, batch) = generator.encode(&batch, &mut dictionaries, &options, &mut context).unwrap();
            messages.extend(dictionaries.into_iter().chain([batch]));
        }
        let mut messages: Vec<FlightData> = messages.into_iter().map(Into::into).collect();
        messages[0].flight_descriptor = Some(FlightDescriptor::new_path(vec!["by-arrow".to_owned()]));
        let mut client = self.other.clone();
        self.runtime.block_on(async {
            let answers = client.do_put(futures::stream::iter(messages)).await.unwrap().into_inner();
            answers.try_collect::<Vec<_>>().await.unwrap();
        });
        Ok(())
    }
}
