//! Rows as a table that fits the width of the terminal.

use coframe::arrow::{
    array::{ArrayRef, AsArray, RecordBatch},
    compute::cast,
    datatypes::{DataType, FieldRef, Int64Type, SchemaRef},
    util::display::{ArrayFormatter, FormatOptions},
};
use comfy_table::{CellAlignment, Table, presets};
use unicode_width::UnicodeWidthChar;

use crate::{
    failure::Result,
    sink::plain_for_display,
    text::{Text, escaped},
    types,
};

/// The maximum width of a cell.
const WIDEST: usize = 40;
/// The width of a column without its text: a border and a space on both sides.
const FRAME: usize = 3;

/// A table, and the number of columns in it.
pub(crate) struct Rendered {
    pub(crate) text: Text,
    pub(crate) shown: usize,
}

/// Renders all rows, and as many columns from the left as fit, but at least one.
pub(crate) fn render(schema: &SchemaRef, batches: &[RecordBatch], width: usize) -> Result<Rendered> {
    let batches: Vec<RecordBatch> = batches.iter().map(plain_for_display).collect::<Result<_>>()?;
    let mut columns = Vec::new();
    // The right border.
    let mut used = 1;
    for (position, field) in schema.fields().iter().enumerate() {
        let column = Column::new(field, position, &batches);
        // A column with an ellipsis represents those that do not fit.
        let rest = if position + 1 < schema.fields().len() { 1 + FRAME } else { 0 };
        if position > 0 && used + column.width + FRAME + rest > width {
            break;
        }
        used += column.width + FRAME;
        columns.push(column);
    }
    let shown = columns.len();
    let hidden = shown < schema.fields().len();
    let mut table = Table::new();
    table.load_preset(presets::UTF8_FULL_CONDENSED);
    let more = |text: &str| hidden.then(|| text.to_owned());
    table.set_header(columns.iter().map(|column| column.header.clone()).chain(more("…")));
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    for row in 0..rows {
        table.add_row(columns.iter().map(|column| column.cells[row].clone()).chain(more("…")));
    }
    for (column, cells) in table.column_iter_mut().zip(&columns) {
        if cells.right {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    Ok(Rendered { text: Text::from_lines(&table.to_string()), shown })
}

struct Column {
    header: String,
    cells: Vec<String>,
    width: usize,
    right: bool,
}

impl Column {
    fn new(field: &FieldRef, position: usize, batches: &[RecordBatch]) -> Self {
        let cells = batches.iter().flat_map(|batch| texts(batch.column(position)));
        let cells: Vec<String> = cells.map(|text| cut(&text, WIDEST)).collect();
        let (name, kind) = (cut(field.name(), WIDEST), types::short(field));
        let width = cells.iter().chain([&name, &kind]).map(|text| columns_of(text)).max().unwrap_or(0);
        let header = format!("{name}\n{kind}");
        Self { header, cells, width, right: types::is_number(field.data_type()) }
    }
}

/// Returns the values of an array as strings. A value without one (a year beyond the calendar, an unknown zone) hides
/// no other.
fn texts(array: &ArrayRef) -> Vec<String> {
    let options = FormatOptions::new().with_null("null").with_display_error(false);
    let formatter = ArrayFormatter::try_new(array, &options).ok();
    let text = |row: usize| formatter.as_ref()?.value(row).try_to_string().ok();
    (0..array.len()).map(|row| text(row).unwrap_or_else(|| stored(array, row))).collect()
}

/// Returns the stored number of a value that has no text.
fn stored(array: &ArrayRef, row: usize) -> String {
    let unit = match array.data_type() {
        DataType::Timestamp(unit, _) => types::unit_name(*unit),
        DataType::Date32 => "days",
        DataType::Date64 => "ms",
        _ => return "cannot be shown".to_owned(),
    };
    let one = array.slice(row, 1);
    if one.is_null(0) {
        return "null".to_owned();
    }
    cast(&one, &DataType::Int64).map_or_else(
        |_| "cannot be shown".to_owned(),
        |number| format!("{} {unit} since 1970", number.as_primitive::<Int64Type>().value(0)),
    )
}

fn columns_of(text: &str) -> usize {
    text.chars().filter_map(UnicodeWidthChar::width).sum()
}

/// Returns a text on one line, of a bounded width, without characters that would move the cursor.
pub(crate) fn cut(text: &str, widest: usize) -> String {
    let mut shown = String::new();
    let mut width = 0;
    for c in text.chars() {
        let c = c.to_string();
        let piece = escaped(&c);
        width += columns_of(&piece);
        if width > widest {
            // The last character makes room for the ellipsis.
            shown.pop();
            shown.push('…');
            return shown;
        }
        shown.push_str(&piece);
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use coframe::arrow::array::{
        ArrayRef, Date32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };

    use super::{columns_of, render};

    fn batch() -> RecordBatch {
        let text = Arc::new(StringArray::from(vec![Some("a\nb"), None, Some("東京東京")])) as _;
        let number = |n| Arc::new(Int64Array::from(vec![n, 2, -3])) as _;
        RecordBatch::try_from_iter([("t", text), ("first", number(1)), ("second", number(1_000_000))]).unwrap()
    }

    #[test]
    fn no_line_is_wider_than_requested_and_hidden_columns_are_listed() {
        for width in [10, 20, 24, 30, 31, 80] {
            let table = render(&batch().schema(), &[batch()], width).unwrap();
            let widest = table.text.to_string().lines().map(columns_of).max().unwrap();
            assert!(widest <= width.max(17), "{widest} for {width}:\n{}", table.text);
            assert_eq!(table.text.to_string().contains('…'), table.shown < 3, "{}", table.text);
        }
        assert_eq!(render(&batch().schema(), &[batch()], 80).unwrap().shown, 3);
    }

    #[test]
    fn a_value_that_cannot_be_formatted_is_shown_as_its_number_and_hides_no_other() {
        let far: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![Some(i64::MAX), Some(0), None]));
        let zoned: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![Some(1), None, Some(2)]).with_timezone("nix"));
        let days: ArrayRef = Arc::new(Date32Array::from(vec![Some(i32::MAX), Some(0), None]));
        let n: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let columns = [("far", far), ("zoned", zoned), ("days", days), ("n", n)];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let table = render(&batch.schema(), &[batch], 200).unwrap();
        assert_eq!(table.shown, 4);
        for text in ["9223372036854775807 µs since 1970", "1970-01-01T00:00:00", "1 µs since 1970", "2147483647 days"]
        {
            assert!(table.text.to_string().contains(text), "{text}:\n{}", table.text);
        }
    }

    #[test]
    fn line_breaks_in_a_cell_are_escaped() {
        let table = render(&batch().schema(), &[batch()], 80).unwrap();
        assert!(table.text.to_string().contains("a\\nb"), "{}", table.text);
        assert_eq!(table.text.to_string().lines().count(), 4 + 1 + 3);
    }
}
