//! Decodes lines of NDJSON into columns, in one pass over the text.
//!
//! A line is accepted only if each value is of the type of its column exactly. `misfit` explains what was refused.

use std::{collections::HashMap, mem, sync::Arc};

use coframe::arrow::{
    array::{
        ArrayRef, BooleanArray, BooleanBufferBuilder, Float64Array, Int64Array, ListArray, NullArray, RecordBatch,
        RecordBatchOptions, StringArray, StructArray, UInt64Array, builder::NullBufferBuilder,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, FieldRef, Fields, SchemaRef},
    error::ArrowError,
};

use super::cursor::Cursor;

/// Why text was not decoded.
pub(super) enum Refused {
    /// The line that has its first value here is not one object, or has a value that its column cannot hold.
    At(usize),
    Columns(ArrowError),
}

pub(super) struct Decoder {
    schema: SchemaRef,
    row: Members,
}

impl Decoder {
    /// Creates a decoder of the types that `infer` finds. `as_text`: columns whose numbers and booleans become text.
    pub(super) fn new(schema: &SchemaRef, as_text: &[String]) -> Self {
        let mut row = Members::new(schema.fields());
        for (column, field) in row.columns.iter_mut().zip(schema.fields()) {
            if let Values::Text { any, .. } = &mut column.values {
                *any = as_text.contains(field.name());
            }
        }
        Self { schema: schema.clone(), row }
    }

    /// Decodes lines. After an error the decoder must not be used again.
    pub(super) fn decode(&mut self, text: &str) -> Result<RecordBatch, Refused> {
        let mut cursor = Cursor::new(text);
        let mut rows = 0;
        loop {
            cursor.lines();
            if cursor.peek().is_none() {
                break;
            }
            // A cursor that was refused something may be in the next line.
            let start = cursor.at;
            let line = self.row.read(&mut cursor, rows).and_then(|()| cursor.line_end());
            line.ok_or(Refused::At(start))?;
            rows += 1;
        }
        let columns = self.row.finish().map_err(Refused::Columns)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options).map_err(Refused::Columns)
    }
}

/// The columns of the keys of an object.
struct Members {
    columns: Vec<Column>,
    /// Each key as it is usually written, with its quotes and its colon.
    keys: Vec<Vec<u8>>,
    positions: HashMap<String, usize>,
    /// The last key that was not the expected one.
    key: String,
}

impl Members {
    fn new(fields: &Fields) -> Self {
        let names = || fields.iter().map(|field| field.name());
        Self {
            columns: fields.iter().map(|field| Column::new(field)).collect(),
            keys: names().map(|name| format!("{}:", serde_json::Value::from(name.as_str())).into_bytes()).collect(),
            positions: names().cloned().zip(0..).collect(),
            key: String::new(),
        }
    }

    /// Reads an object, before which each column has `rows` values.
    fn read(&mut self, cursor: &mut Cursor<'_>, rows: usize) -> Option<()> {
        cursor.expect(b"{")?;
        cursor.spaces();
        let (mut found, mut next) = (0, 0);
        let mut is_end = cursor.skip(b'}');
        while !is_end {
            let position = self.position(cursor, next)?;
            let column = self.columns.get_mut(position)?;
            // A repeated key already has a value in this row.
            if column.len() > rows {
                return None;
            }
            cursor.spaces();
            column.read(cursor)?;
            (found, next) = (found + 1, position + 1);
            cursor.spaces();
            if cursor.skip(b',') {
                cursor.spaces();
            } else {
                cursor.expect(b"}")?;
                is_end = true;
            }
        }
        if found < self.columns.len() {
            self.columns.iter_mut().filter(|column| column.len() == rows).for_each(Column::append_null);
        }
        Some(())
    }

    /// Reads a key and its colon, and returns the position of its column.
    #[inline]
    fn position(&mut self, cursor: &mut Cursor<'_>, next: usize) -> Option<usize> {
        // Most objects have their keys in the same order.
        if self.keys.get(next).is_some_and(|key| cursor.skip_all(key)) {
            return Some(next);
        }
        self.key.clear();
        cursor.string(&mut self.key)?;
        cursor.spaces();
        cursor.expect(b":")?;
        self.positions.get(&self.key).copied()
    }

    fn finish(&mut self) -> Result<Vec<ArrayRef>, ArrowError> {
        self.columns.iter_mut().map(Column::finish).collect()
    }
}

/// The values of a column so far.
struct Column {
    values: Values,
    nulls: NullBufferBuilder,
}

enum Values {
    /// Nothing but nulls.
    Null,
    Boolean(BooleanBufferBuilder),
    Int64(Vec<i64>),
    UInt64(Vec<u64>),
    Float64(Vec<f64>),
    Text {
        ends: Ends,
        text: String,
        /// Whether numbers and booleans become text, too.
        any: bool,
    },
    List {
        field: FieldRef,
        ends: Ends,
        items: Box<Column>,
    },
    Struct {
        fields: Fields,
        members: Members,
    },
}

impl Column {
    fn new(field: &Field) -> Self {
        let values = match field.data_type() {
            DataType::Null => Values::Null,
            DataType::Boolean => Values::Boolean(BooleanBufferBuilder::new(0)),
            DataType::Int64 => Values::Int64(Vec::new()),
            DataType::UInt64 => Values::UInt64(Vec::new()),
            DataType::Float64 => Values::Float64(Vec::new()),
            DataType::List(field) => {
                let items = Box::new(Column::new(field));
                Values::List { field: field.clone(), ends: Ends::default(), items }
            }
            DataType::Struct(fields) => Values::Struct { fields: fields.clone(), members: Members::new(fields) },
            _ => Values::Text { ends: Ends::default(), text: String::new(), any: false },
        };
        Self { values, nulls: NullBufferBuilder::new(0) }
    }

    fn len(&self) -> usize {
        self.nulls.len()
    }

    fn append_null(&mut self) {
        match &mut self.values {
            Values::Null => {}
            Values::Boolean(values) => values.append(false),
            Values::Int64(values) => values.push(0),
            Values::UInt64(values) => values.push(0),
            Values::Float64(values) => values.push(0.0),
            Values::Text { ends, .. } | Values::List { ends, .. } => ends.repeat(),
            Values::Struct { members, .. } => members.columns.iter_mut().for_each(Column::append_null),
        }
        self.nulls.append_null();
    }

    #[inline]
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let first = cursor.peek()?;
        if first == b'n' {
            cursor.expect(b"null")?;
            self.append_null();
            return Some(());
        }
        match &mut self.values {
            Values::Null => return None,
            Values::Boolean(values) => values.append(boolean(cursor)?),
            Values::Int64(values) => values.push(cursor.number()?.signed()?),
            Values::UInt64(values) => values.push(cursor.number()?.unsigned()?),
            Values::Float64(values) => values.push(cursor.number()?.float()?),
            Values::Text { ends, text, any } => {
                match first {
                    b'"' => cursor.string(text)?,
                    b't' | b'f' if *any => text.push_str(if boolean(cursor)? { "true" } else { "false" }),
                    _ if *any => text.push_str(cursor.number()?.text),
                    _ => return None,
                }
                ends.push(text.len())?;
            }
            Values::List { ends, items, .. } => {
                list(cursor, items)?;
                ends.push(items.len())?;
            }
            Values::Struct { members, .. } => members.read(cursor, self.nulls.len())?,
        }
        self.nulls.append_non_null();
        Some(())
    }

    /// Returns the values as an array, and starts again without values.
    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let len = self.len();
        let nulls = self.nulls.finish();
        Ok(match &mut self.values {
            Values::Null => Arc::new(NullArray::new(len)),
            Values::Boolean(values) => Arc::new(BooleanArray::new(values.finish(), nulls)),
            Values::Int64(values) => Arc::new(Int64Array::try_new(take(values).into(), nulls)?),
            Values::UInt64(values) => Arc::new(UInt64Array::try_new(take(values).into(), nulls)?),
            Values::Float64(values) => Arc::new(Float64Array::try_new(take(values).into(), nulls)?),
            Values::Text { ends, text, .. } => {
                let text = mem::replace(text, String::with_capacity(text.len())).into_bytes();
                Arc::new(StringArray::try_new(ends.finish(), text.into(), nulls)?)
            }
            Values::List { field, ends, items } => {
                Arc::new(ListArray::try_new(field.clone(), ends.finish(), items.finish()?, nulls)?)
            }
            Values::Struct { fields, members } => {
                Arc::new(StructArray::try_new_with_length(fields.clone(), members.finish()?, nulls, len)?)
            }
        })
    }
}

/// Where the values of a column of text or lists end: the offsets of Arrow without the first, which is zero.
#[derive(Default)]
struct Ends(Vec<i32>);

impl Ends {
    /// Adds an end; `None` if it is beyond the offsets of Arrow.
    #[inline]
    fn push(&mut self, end: usize) -> Option<()> {
        self.0.push(i32::try_from(end).ok()?);
        Some(())
    }

    fn repeat(&mut self) {
        self.0.push(self.0.last().copied().unwrap_or(0));
    }

    fn finish(&mut self) -> OffsetBuffer<i32> {
        let mut offsets = Vec::with_capacity(self.0.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.0);
        OffsetBuffer::new(offsets.into())
    }
}

/// Takes the values, and leaves space for as many.
fn take<T>(values: &mut Vec<T>) -> Vec<T> {
    mem::replace(values, Vec::with_capacity(values.len()))
}

fn boolean(cursor: &mut Cursor<'_>) -> Option<bool> {
    let is_true = cursor.skip_all(b"true");
    (is_true || cursor.skip_all(b"false")).then_some(is_true)
}

fn list(cursor: &mut Cursor<'_>, items: &mut Column) -> Option<()> {
    cursor.expect(b"[")?;
    cursor.spaces();
    if cursor.skip(b']') {
        return Some(());
    }
    loop {
        items.read(cursor)?;
        cursor.spaces();
        if !cursor.skip(b',') {
            return cursor.expect(b"]");
        }
        cursor.spaces();
    }
}
