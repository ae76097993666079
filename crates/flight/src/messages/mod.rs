//! The messages of `DoGet`: those of the file where possible. Headers are rebuilt for a selection of columns; batches are
//! encoded again for a part of their rows, or to cast them.

mod encode;
mod select;

use std::ops::Range;

use arrow::{datatypes::SchemaRef, ipc};
use bytes::Bytes;
use coframe::{Frame, MessageKind};
use tonic::Status;

use crate::{
    error,
    wire::{Layout, Ticket},
};
use encode::Encoder;
use select::Selection;

/// Bytes of the largest body that is sent as one message. gRPC's C++ implementation ends at 2 GiB.
const MAX_BODY: usize = 1 << 30;

/// A Flight message: an IPC header, and the pieces of its body.
pub(crate) struct Data {
    pub(crate) header: Bytes,
    pub(crate) body: Vec<Bytes>,
}

pub(crate) type DataStream = Box<dyn Iterator<Item = Result<Data, Status>> + Send>;

/// The messages of a frame, or of a part of it.
pub(crate) fn of_ticket(frame: &Frame, ticket: &Ticket) -> Result<DataStream, Status> {
    let of_store = |e: coframe::Error| error::status(&e);
    let part = match &ticket.columns {
        Some(columns) => frame.select(columns).map_err(of_store)?,
        None => frame.clone(),
    };
    let rows = ticket.rows.map_or(0..frame.num_rows(), |(start, end)| start..end);
    let part = part.slice(rows.clone()).map_err(of_store)?;
    if ticket.layout == Layout::Classic {
        return Ok(encoded(&part, encode::classic_schema(part.schema()), MAX_BODY / 4));
    }
    let positions = ticket.columns.as_ref().map(|columns| positions(frame.schema(), columns)).transpose()?;
    of_file(frame, part, positions.as_deref(), rows, MAX_BODY)
}

/// The messages of a frame that the caller has open, with bodies of about `max_body` bytes at most.
pub(crate) fn of_frame(frame: &Frame, max_body: usize) -> Result<DataStream, Status> {
    let handle = frame.handle().to_string();
    // The text of a handle escapes `&` in all that others chose.
    if handle.contains("&rows=") || handle.contains("&columns=") {
        return Ok(encoded(frame, frame.schema().clone(), max_body));
    }
    of_file(frame, frame.clone(), None, 0..frame.num_rows(), max_body)
}

fn positions(schema: &SchemaRef, columns: &[String]) -> Result<Vec<usize>, Status> {
    let position = |name: &String| schema.index_of(name).map_err(|e| Status::not_found(error::text(e)));
    columns.iter().map(position).collect()
}

/// The schema of `DoGet` as an encapsulated message, which `FlightInfo` and `GetSchema` hold.
pub(crate) fn encapsulated(header: &[u8]) -> Bytes {
    let padded = header.len().next_multiple_of(8);
    let mut bytes = Vec::with_capacity(8 + padded);
    bytes.extend([0xFF; 4]);
    bytes.extend(u32::try_from(padded).unwrap_or(u32::MAX).to_le_bytes());
    bytes.extend(header);
    bytes.resize(8 + padded, 0);
    bytes.into()
}

/// How one batch of the file is sent.
enum Step {
    /// It is sent as it is, or with fewer columns.
    Whole(usize),
    /// These rows of the part are encoded.
    Rows(Range<usize>),
}

/// The messages of the file. `part` has the columns and rows that are wanted.
fn of_file(
    frame: &Frame,
    part: Frame,
    positions: Option<&[usize]>,
    rows: Range<usize>,
    max_body: usize,
) -> Result<DataStream, Status> {
    let messages: Vec<_> = frame.messages().map_err(|e| error::status(&e))?.collect();
    let header = messages.first().map(|message| message.header().clone()).unwrap_or_default();
    let selection = positions.map(|positions| Selection::new(&header, frame.schema(), positions)).transpose()?;
    let mut head = vec![Data { header: selection.as_ref().map_or(header, Selection::schema), body: Vec::new() }];
    let mut batches = Vec::new();
    for message in messages.iter().skip(1) {
        match (message.kind(), &selection) {
            (MessageKind::RecordBatch, _) => batches.push(message.clone()),
            (_, None) => head.push(Data { header: message.header().clone(), body: vec![message.body().clone()] }),
            (_, Some(selection)) => {
                let copies = selection.dictionary(message.header())?;
                head.extend(copies.into_iter().map(|header| Data { header, body: vec![message.body().clone()] }));
            }
        }
    }
    let is_all = rows == (0..frame.num_rows());
    let mut steps = Vec::new();
    let mut before = 0;
    for (at, message) in batches.iter().enumerate() {
        let of = batch_rows(message.header())?;
        let (start, end) = (rows.start.max(before), rows.end.min(before + of));
        let wanted = start.saturating_sub(rows.start)..end.saturating_sub(rows.start);
        let fits = message.body().len() <= max_body;
        if fits && (is_all || (start < end && end - start == of)) {
            steps.push(Step::Whole(at));
        } else if start < end {
            let parts = message.body().len().div_ceil(max_body).max(1);
            steps.extend(cut(wanted, parts).map(Step::Rows));
        }
        before += of;
    }
    let mut encoder = None;
    let steps = steps.into_iter().map(move |step| match step {
        Step::Whole(at) => {
            let Some(message) = batches.get(at) else { return Err(Status::internal("a batch is missing")) };
            match &selection {
                None => Ok(Data { header: message.header().clone(), body: vec![message.body().clone()] }),
                Some(selection) => selection.batch(message.header(), message.body()),
            }
        }
        // The keys of its dictionaries are those of the file, which were sent.
        Step::Rows(rows) => {
            let rows = part.slice(rows).map_err(|e| error::status(&e))?;
            let encoder = encoder.get_or_insert_with(|| Encoder::new(part.schema()));
            let batch = rows.batches().first().ok_or_else(|| Status::internal("no rows in a range of rows"))?;
            Ok(encoder.encode(batch)?.1)
        }
    });
    Ok(Box::new(head.into_iter().map(Ok).chain(steps)))
}

/// Rows in `parts` ranges, none of them empty.
fn cut(rows: Range<usize>, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let each = rows.len().div_ceil(parts).max(1);
    rows.clone().step_by(each).map(move |start| start..(start + each).min(rows.end))
}

fn batch_rows(header: &[u8]) -> Result<usize, Status> {
    let rows = message(header)?.header_as_record_batch().map(|batch| batch.length());
    rows.and_then(|rows| usize::try_from(rows).ok()).ok_or_else(|| Status::data_loss("a batch has no length"))
}

/// A message of the file, whose flatbuffer the library has verified. Verified again, since it may be of another writer.
fn message(header: &[u8]) -> Result<ipc::Message<'_>, Status> {
    let options = flatbuffers::VerifierOptions {
        max_depth: 128,
        max_tables: header.len() / 4 + 16,
        max_apparent_size: 1 << 31,
        ..Default::default()
    };
    ipc::root_as_message_with_opts(&options, header)
        .map_err(|e| Status::data_loss(error::text(format_args!("a message of the segment is damaged: {e}"))))
}

/// Every batch is cast to the schema and encoded, one at a time.
fn encoded(part: &Frame, schema: SchemaRef, max_body: usize) -> DataStream {
    let mut encoder = Encoder::new(&schema);
    let head = Data { header: encoder.schema(), body: Vec::new() };
    let mut start = 0;
    let ranges: Vec<_> = part
        .batches()
        .iter()
        .flat_map(|batch| {
            let range = start..start + batch.num_rows();
            start = range.end;
            let parts = batch.get_array_memory_size().div_ceil(max_body).max(1);
            cut(range, parts)
        })
        .collect();
    let part = part.clone();
    let batches = ranges.into_iter().flat_map(move |rows| {
        let encoded = part.slice(rows).map_err(|e| error::status(&e)).and_then(|rows| {
            let batch = rows.batches().first().ok_or_else(|| Status::internal("no rows in a range of rows"))?;
            encoder.encode(&encode::cast_to(batch, &schema)?)
        });
        match encoded {
            Ok((dictionaries, batch)) => dictionaries.into_iter().chain([batch]).map(Ok).collect(),
            Err(status) => vec![Err(status)],
        }
    });
    Box::new(std::iter::once(Ok(head)).chain(batches))
}
