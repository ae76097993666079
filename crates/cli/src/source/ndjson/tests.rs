//! Random lines, decoded here and by the slower ways that must agree.

use std::{
    io::{self, BufRead, BufReader, Cursor, Read},
    sync::Arc,
};

use coframe::arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{DataType, Field, Fields, Int64Type, Schema, SchemaRef},
    json::ReaderBuilder,
};

use super::{
    chunks::{Chunk, Chunks},
    infer::infer,
    misfit::{Kind, of_line},
    reading::{Reading, Wrong},
    threads::Threads,
    trimmed,
};
use crate::failure::Failure;

/// Numbers that repeat from run to run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }

    fn data_type(&mut self, depth: usize) -> DataType {
        match self.below(if depth == 0 { 6 } else { 9 }) {
            0 => DataType::Boolean,
            1 => DataType::Int64,
            2 => DataType::UInt64,
            3 => DataType::Float64,
            4 => DataType::Utf8,
            5 => DataType::Null,
            6 => DataType::List(Arc::new(Field::new_list_field(self.data_type(depth - 1), true))),
            _ => DataType::Struct(self.fields(depth - 1)),
        }
    }

    fn fields(&mut self, depth: usize) -> Fields {
        let names = ["a", "b", "a\"b", "é", "line\nbreak", "key"];
        let count = self.below(names.len() + 1);
        names[..count].iter().map(|name| Field::new(*name, self.data_type(depth), true)).collect()
    }

    fn space(&mut self) -> &'static str {
        if self.one_in(8) { self.of(&[" ", "\t", "  ", "\r", " \t "]) } else { "" }
    }

    fn number(&mut self) -> String {
        let known = [
            "0",
            "-0",
            "0.0",
            "1e5",
            "-1.5",
            "9007199254740993",
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "18446744073709551615",
            "18446744073709551616",
            "0.1",
            "1e400",
            "1E-7",
            "0.12345678901234567891",
            "123456789012345.5",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "-",
            "1.7976931348623157e308",
        ];
        match self.below(4) {
            0 => self.of(&known).to_owned(),
            1 => format!("{}", self.below(2_000) as i64 - 1_000),
            2 => format!("{}.{}", self.below(100), self.below(100_000)),
            _ => {
                let last = self.below(10);
                format!("{}{last}", self.0 >> (last * 7))
            }
        }
    }

    fn string(&mut self) -> String {
        let parts = [
            "plain",
            "a longer text with spaces",
            "é",
            "😀",
            "\\n",
            "\\\"",
            "\\u0041",
            "\\ud83d\\ude00",
            "\\/",
            "[{,:}]",
            "\\ud83d",
            "\\x",
            "\t",
            "\\u12",
            "",
        ];
        let wild = if self.one_in(6) { parts.len() } else { 10 };
        (0..self.below(5)).map(|_| self.of(&parts[..wild])).collect()
    }

    fn value(&mut self, data_type: &DataType, depth: usize) -> String {
        if self.one_in(8) {
            return "null".to_owned();
        }
        if self.one_in(60) && depth > 0 {
            let other = self.data_type(1);
            return self.value(&other, depth - 1);
        }
        match data_type {
            DataType::Boolean => self.of(&["true", "false"]).to_owned(),
            DataType::Int64 if !self.one_in(10) => format!("{}", self.below(1 << 31) as i64 - (1 << 30)),
            DataType::UInt64 if !self.one_in(10) => format!("{}", self.below(1 << 31)),
            DataType::Int64 | DataType::UInt64 | DataType::Float64 => self.number(),
            DataType::Utf8 => format!("\"{}\"", self.string()),
            DataType::List(item) => {
                let items: Vec<String> = (0..self.below(4)).map(|_| self.value(item.data_type(), depth)).collect();
                let space = self.space();
                format!("[{space}{}{space}]", items.join(&format!("{space},{space}")))
            }
            DataType::Struct(fields) => self.object(fields, depth),
            _ => "null".to_owned(),
        }
    }

    fn object(&mut self, fields: &Fields, depth: usize) -> String {
        let mut members = Vec::new();
        for field in fields {
            let times = if self.one_in(100) { 2 } else { usize::from(!self.one_in(10)) };
            for _ in 0..times {
                let (before, after) = (self.space(), self.space());
                let key = serde_json::to_string(field.name()).unwrap();
                let key = if self.one_in(10) { key.replace('a', "\\u0061") } else { key };
                members.push(format!("{before}{key}{after}:{before}{}{after}", self.value(field.data_type(), depth)));
            }
        }
        if self.one_in(5) {
            members.reverse();
        }
        if self.one_in(100) {
            members.push("\"unknown\":1".to_owned());
        }
        let inner = self.space();
        format!("{{{inner}{}}}", members.join(","))
    }

    fn line(&mut self, fields: &Fields) -> Vec<u8> {
        let (before, after) = (self.space(), self.space());
        let mut line = format!("{before}{}{after}", self.object(fields, 2)).into_bytes();
        if self.one_in(10) && !line.is_empty() {
            let at = self.below(line.len());
            match self.below(3) {
                0 => line.truncate(at),
                1 => line[at] = b"\"\\{}[]:,0 -.e\xFF\x01"[self.below(15)],
                _ => drop(line.remove(at)),
            }
        }
        line.retain(|byte| *byte != b'\n');
        line
    }
}

fn reading(schema: SchemaRef, as_text: Vec<String>) -> Reading {
    Reading { typed: schema.clone(), schema, as_text, more: true, label: "`x`".to_owned() }
}

fn chunk(bytes: Vec<u8>) -> Chunk {
    Chunk { bytes, line: 1 }
}

/// Decodes lines with arrow-json, which rounds and cuts, and so gets lines without a misfit only.
fn by_arrow(reading: &Reading, lines: &[u8]) -> RecordBatch {
    let builder = ReaderBuilder::new(reading.schema.clone()).with_batch_size(1 << 20);
    let builder = builder.with_coerce_primitive(!reading.as_text.is_empty()).with_strict_mode(true);
    let mut decoder = builder.build_decoder().unwrap();
    decoder.decode(lines).unwrap();
    decoder.flush().unwrap().unwrap()
}

#[test]
fn random_lines_are_decoded_exactly_or_refused_with_a_reason() {
    let mut random = Random(7);
    let (mut good, mut bad) = (0, 0);
    for _ in 0..400 {
        let schema: SchemaRef = Schema::new(random.fields(2)).into();
        let texts = schema.fields().iter().filter(|field| *field.data_type() == DataType::Utf8);
        let as_text = texts.filter(|_| random.one_in(2)).map(|field| field.name().clone()).collect();
        let reading = reading(schema.clone(), as_text);
        let fields = reading.schema.fields();
        let mut accepted = Vec::new();
        for _ in 0..50 {
            let line = random.line(fields);
            if trimmed(&line).is_empty() {
                continue;
            }
            let shown = String::from_utf8_lossy(&line).into_owned();
            let reason = of_line(trimmed(&line), fields, &reading.as_text);
            let two = chunk([&line[..], b"\n{}\n"].concat());
            match reading.decode(&mut reading.decoder(), &two) {
                Ok(batch) => {
                    assert_eq!(batch.num_rows(), 2, "{shown}");
                    assert!(matches!(reason, Ok(None)), "{fields:?} accepted {shown} in spite of {reason:?}");
                    accepted.extend([&line[..], b"\n"].concat());
                    good += 1;
                }
                Err(Wrong::At(byte)) => {
                    assert!(!matches!(reason, Ok(None)), "{fields:?} refused {shown}");
                    assert_eq!(two.line_at(byte), (1, 0..line.len()), "{shown}");
                    bad += 1;
                }
                Err(Wrong::Failed(failure)) => panic!("{fields:?} {shown}: {failure:?}"),
            }
        }
        if !accepted.is_empty() {
            let expected = by_arrow(&reading, &accepted);
            let batch = reading.decode(&mut reading.decoder(), &chunk(accepted));
            assert_eq!(batch.ok(), Some(expected));
        }
    }
    assert!(good > 5_000 && bad > 2_000, "{good} lines accepted, {bad} refused");
}

/// Returns the values that are read before the end, and how the text ends.
fn values(text: impl BufRead + Send + 'static) -> (Vec<i64>, Result<Option<usize>, Failure>) {
    let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]).into();
    let reading = Arc::new(reading(schema, Vec::new()));
    let mut threads = Threads::new(&reading, Chunks::new(Box::new(text), 3, "`x`".to_owned()));
    let mut values = Vec::new();
    loop {
        let next = threads.next();
        let Ok(Some((chunk, decoded))) = next else { return (values, next.map(|_| None)) };
        match decoded {
            Ok(batch) => values.extend(batch.column(0).as_primitive::<Int64Type>().values()),
            Err(Wrong::At(byte)) => return (values, Ok(Some(chunk.line_at(byte).0))),
            Err(Wrong::Failed(failure)) => return (values, Err(failure)),
        }
    }
}

/// The part of a file that cannot be read.
struct Damaged;

impl Read for Damaged {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("damaged"))
    }
}

#[test]
fn rows_keep_their_order_up_to_the_first_error() {
    let lines: Vec<String> = (0..1000).map(|n| format!("{}{{\"a\":{n}}}\n", "\n".repeat(n % 4))).collect();
    let text = lines.concat();
    let all: Vec<i64> = (0..1000).collect();
    assert!(matches!(values(Cursor::new(text.clone())), (found, Ok(None)) if found == all));

    let (found, end) = values(Cursor::new(text.replace(":500}", ":x}").replace(":502}", ":x}")));
    let line = text.lines().position(|line| line.ends_with(":500}")).unwrap() + 1;
    assert_eq!(end.unwrap(), Some(line));
    assert!(found.len() > 490 && all.starts_with(&found), "{found:?}");

    // Empty lines have no rows, and are counted.
    let (found, end) = values(Cursor::new("\n".repeat(10_000) + "{\"a\":1}\n\r\n \t\n{\"a\":x}"));
    assert_eq!((found, end.unwrap()), (vec![1], Some(10_004)));

    // What was read before a damaged part is returned first.
    let (found, end) = values(BufReader::new(Cursor::new(text).chain(Damaged)));
    assert!(found.len() > 990 && all.starts_with(&found) && end.is_err(), "{found:?}");
}

/// A text that fails once, after a whole line, and then seems to end.
#[derive(Default)]
struct DamagedOnce(bool);

impl Read for DamagedOnce {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        if std::mem::replace(&mut self.0, true) { Ok(0) } else { Err(io::Error::other("damaged")) }
    }
}

#[test]
fn a_text_that_cannot_be_read_after_a_whole_line_is_an_error() {
    for rows in [0, 1, 2, 3, 4, 1000] {
        let text = "{\"a\":1}\n".repeat(rows);
        let (found, end) = values(BufReader::new(Cursor::new(text).chain(DamagedOnce::default())));
        assert!(found.len() == rows && end.is_err(), "{rows} rows: {} were read", found.len());
    }
}

#[test]
fn a_key_that_is_not_text_is_the_reason_at_any_depth() {
    let inner = Fields::from(vec![Field::new("k", DataType::Int64, true)]);
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Struct(inner.clone()), true)));
    let fields = Fields::from(vec![Field::new("a", DataType::Struct(inner), true), Field::new("b", list, true)]);
    for line in [r#"{"a":{"k":1,"\ud800":1}}"#, r#"{"b":[{"k":1},{"k":1,"\ud800":2}]}"#] {
        let misfit = of_line(line.as_bytes(), &fields, &[]).unwrap().unwrap();
        assert!(matches!(&misfit.kind, Kind::Escape(error) if error.contains("hex escape")), "{misfit:?}");
        let failure = infer(&mut Cursor::new(line), 10, &[], "`x`").unwrap_err();
        assert!(format!("{failure:?}").contains("hex escape"), "{failure:?}");
    }
}
