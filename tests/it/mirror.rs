//! Mirrors: bytes of another store's segment become a frame, or an error that leaves nothing.

use std::{fs, io::Write, ops::Range, path::Path, sync::Arc};

use coframe::{
    Error, Frame, MirrorOptions, PublishMode, PublishOptions, Store,
    arrow::{
        array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray},
        buffer::NullBuffer,
        datatypes::{DataType as ArrowType, Field},
        ipc::{DictionaryBatch, root_as_footer, root_as_message, writer::FileWriter},
    },
    polars::{prelude::*, series::IsSorted},
};

use crate::common::{Scratch, scratch};

/// Two stores, as of two machines.
fn stores() -> (Scratch, Scratch) {
    (scratch(), scratch())
}

fn mirror(store: &Store, name: &str, bytes: &[u8]) -> Result<Frame, Error> {
    let mut mirror = store.mirror(name)?;
    for piece in bytes.chunks(777) {
        mirror.write(piece)?;
    }
    mirror.publish()
}

/// Strings, nulls, a sorted column and two columns of the same categories, in two batches.
fn mixed(store: &Store) -> Frame {
    let categories = DataType::from_categories(Categories::global());
    let df = df!(
        "text" => ["a", "longer than twelve bytes", "a"],
        "number" => [Some(1_i64), None, Some(3)],
        "order" => [1_i64, 2, 3],
        "first" => ["aa", "bb", "aa"],
        "second" => ["bb", "bb", "aa"],
    );
    let mut df = df.unwrap();
    for name in ["first", "second"] {
        let column = df.column(name).unwrap().cast(&categories).unwrap();
        df.with_column(column).unwrap();
    }
    let mut columns: Vec<Column> = df.columns().to_vec();
    columns[2].set_sorted_flag(IsSorted::Ascending);
    let df = DataFrame::new(3, columns).unwrap();
    store.publish_with("mixed", &df, &PublishOptions::new().batch_rows(2).keep(7).metadata("coframe.x", "y")).unwrap()
}

#[test]
fn a_mirror_has_the_bytes_the_id_and_the_marks_of_its_origin_but_its_own_version() {
    let (there, here) = stores();
    let origin = mixed(&there.store);
    let earlier = here.store.publish("copy", &df!("x" => [1]).unwrap()).unwrap().version();
    let copy = mirror(&here.store, "copy", &origin.segment_bytes()).unwrap();
    assert!(copy.version() > earlier);
    assert_eq!(copy.segment_bytes(), origin.segment_bytes());
    assert_eq!(copy.segment_id(), origin.segment_id());
    assert_eq!(copy.batches(), origin.batches());
    assert_eq!(here.store.open("copy").unwrap().handle(), copy.handle());
    let df = here.store.open("copy").unwrap().to_polars().unwrap();
    assert_eq!(df, origin.to_polars().unwrap());
    assert_eq!(df.column("order").unwrap().is_sorted_flag(), IsSorted::Ascending);
    assert_eq!(copy.copy_report().unwrap().copied(), 0);
    here.store.verify("copy").unwrap();
}

#[test]
fn what_a_stranger_attached_to_a_mirror_is_not_trusted_and_keeps_no_versions() {
    let (there, here) = stores();
    let origin = mixed(&there.store);
    let copy = mirror(&here.store, "copy", &origin.segment_bytes()).unwrap();
    assert!(origin.is_sealed() && !origin.is_mirror());
    for frame in [&copy, &here.store.open("copy").unwrap(), &copy.handle().open().unwrap()] {
        assert!(frame.is_mirror() && !frame.is_sealed());
        assert_eq!(frame.metadata()["coframe.x"], "y");
    }
    drop(copy);
    // The origin keeps seven versions.
    drop(mirror(&here.store, "copy", &origin.segment_bytes()).unwrap());
    drop(mirror(&here.store, "copy", &origin.segment_bytes()).unwrap());
    here.store.sweep().unwrap();
    assert_eq!(here.store.list().unwrap()[0].keep, 0);
    assert_eq!(here.store.versions("copy").unwrap().len(), 1);
}

#[test]
fn every_type_of_the_conformance_set_can_be_mirrored() {
    let (there, here) = stores();
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/conformance");
    let mut mirrored = 0;
    for file in fs::read_dir(conformance).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "arrow") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            let origin = there.store.import(name, &path).unwrap();
            let copy = mirror(&here.store, name, &origin.segment_bytes()).unwrap();
            assert_eq!(copy.batches(), origin.batches(), "{name}");
            mirrored += 1;
        }
    }
    assert!(mirrored > 30, "{mirrored}");
}

/// The refusal of these bytes, after which the store is as it was.
fn refusal(here: &Scratch, bytes: &[u8]) -> Error {
    let before = here.files();
    let error = mirror(&here.store, "copy", bytes).expect_err("bytes that no store wrote became a frame");
    assert_eq!(here.files(), before);
    error
}

fn assert_rule(error: &Error, rule: &str) {
    assert!(error.is_corrupt() && error.rule() == Some(rule), "expected {rule}: {error}");
}

#[test]
fn a_mirror_of_wrong_length_or_of_another_segment_is_refused() {
    let (there, here) = stores();
    let origin = mixed(&there.store);
    let bytes = origin.segment_bytes();
    let (length, id) = (bytes.len() as u64, origin.segment_id().unwrap());
    let writer = |options: &MirrorOptions| here.store.mirror_with("copy", options).unwrap();

    let mut long = writer(&MirrorOptions::new().length(length - 1));
    assert_rule(&long.write(&bytes).unwrap_err(), "I2-mirror");
    assert!(long.write(&bytes).unwrap_err().is_invalid_argument() && long.publish().unwrap_err().is_invalid_argument());
    let mut short = writer(&MirrorOptions::new().length(length + 1));
    short.write(&bytes).unwrap();
    assert_rule(&short.publish().unwrap_err(), "I2-mirror");
    let mut other = writer(&MirrorOptions::new().segment_id(id ^ 1));
    other.write(&bytes).unwrap();
    assert_rule(&other.publish().unwrap_err(), "I2-mirror");
    drop(writer(&MirrorOptions::new()));
    assert!(writer(&MirrorOptions::new()).publish().unwrap_err().is_corrupt());
    assert_eq!(here.files(), [""; 0]);

    let mut right = writer(&MirrorOptions::new().length(length).segment_id(id).mode(PublishMode::Create));
    Write::write_all(&mut right, &bytes).unwrap();
    right.publish().unwrap();
    let mut late = writer(&MirrorOptions::new().mode(PublishMode::Create));
    late.write(&bytes).unwrap();
    assert!(late.publish().unwrap_err().is_conflict());
}

#[test]
fn a_mirror_that_was_cut_or_changed_outside_of_its_values_is_refused() {
    let (there, here) = stores();
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    for length in (1..bytes.len()).step_by(61) {
        assert!(refusal(&here, &bytes[..length]).is_corrupt());
    }
    let bodies = bodies(&bytes);
    for position in (0..bytes.len()).step_by(7).filter(|place| !bodies.iter().any(|body| body.contains(place))) {
        let mut changed = bytes.clone();
        changed[position] ^= 0x10;
        let error = refusal(&here, &changed);
        assert!(error.is_corrupt() || error.is_unsupported(), "{position}: {error}");
    }
}

#[test]
fn a_file_of_another_program_is_not_a_mirror() {
    let here = scratch();
    let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef)]).unwrap();
    let mut file = FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    assert_rule(&refusal(&here, &file.into_inner().unwrap()), "I2-mirror");
}

fn footer(bytes: &[u8]) -> Range<usize> {
    let end = bytes.len() - 10;
    let length = u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap());
    end - length as usize..end
}

/// Where the bodies of the messages are, which the digest does not cover.
fn bodies(bytes: &[u8]) -> Vec<Range<usize>> {
    let footer = root_as_footer(&bytes[footer(bytes)]).unwrap();
    let blocks = footer.recordBatches().unwrap().iter().chain(footer.dictionaries().unwrap().iter());
    let mut bodies: Vec<Range<usize>> = blocks
        .map(|block| {
            let start = block.offset() as usize + block.metaDataLength() as usize;
            start..start + block.bodyLength() as usize
        })
        .collect();
    bodies.sort_by_key(|body| body.start);
    bodies
}

/// Where the value of an entry of the footer is.
fn entry(bytes: &[u8], key: &str) -> Range<usize> {
    let footer = root_as_footer(&bytes[footer(bytes)]).unwrap();
    let entries = footer.custom_metadata().unwrap();
    let value = entries.iter().find(|entry| entry.key() == Some(key)).unwrap().value().unwrap();
    let start = value.as_ptr().addr() - bytes.as_ptr().addr();
    start..start + value.len()
}

/// A change that its author made to look right: the digest is that of the changed bytes.
fn forged(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let (place, bodies, mut forged) = (entry(bytes, "coframe.digest"), bodies(bytes), bytes.to_vec());
    change(&mut forged);
    forged[place.clone()].fill(b'0');
    let mut digest = crc32fast::Hasher::new();
    let mut position = 0;
    for body in bodies {
        digest.update(&forged[position..body.start]);
        position = body.end;
    }
    digest.update(&forged[position..]);
    forged[place].copy_from_slice(format!("{:08x}", digest.finalize()).as_bytes());
    forged
}

#[test]
fn the_digest_of_an_unchanged_forgery_is_right() {
    let (there, here) = stores();
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    assert_eq!(forged(&bytes, |_| {}), bytes);
    mirror(&here.store, "copy", &forged(&bytes, |_| {})).unwrap();
}

#[test]
fn what_the_footer_of_a_mirror_claims_of_its_values_is_checked() {
    let (there, here) = stores();
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    let claim = |key: &str, value: &str| {
        forged(&bytes, |bytes| {
            let place = entry(bytes, key);
            bytes[place].copy_from_slice(value.as_bytes());
        })
    };
    assert_rule(&refusal(&here, &claim("coframe.rows", "4")), "M1-entries");
    assert_rule(&refusal(&here, &claim("coframe.sorted", "2-")), "M1-entries");
    assert_rule(&refusal(&here, &claim("coframe.sorted", "1+")), "M1-entries");
    assert_rule(&refusal(&here, &claim("coframe.sorted", "9+")), "M1-entries");
    assert!(refusal(&here, &claim("coframe.format", "2")).is_unsupported());

    // Statistics, in base64: the last digits of a number in it.
    let options = PublishOptions::new().statistics(true);
    let df = df!("x" => [7_i64, 8]).unwrap();
    let stats = there.store.publish_with("stats", &df, &options).unwrap().segment_bytes().to_vec();
    let lie = forged(&stats, |bytes| {
        let place = entry(bytes, "coframe.stats");
        let text = std::str::from_utf8(&bytes[place.clone()]).unwrap().to_owned();
        // The bytes of 7 as 64 bits, wherever the groups of three bytes start.
        let seven = ["BwAAAAAAAA", "AHAAAAAAAA", "AAcAAAAAAA"].iter().find_map(|digits| text.find(digits)).unwrap();
        let digit = (seven..seven + 4).rev().find(|at| text.as_bytes()[*at] != b'A').unwrap();
        bytes[place.start + digit] = if text.as_bytes()[digit] == b'w' { b'g' } else { b'Q' };
    });
    mirror(&here.store, "stats", &stats).unwrap().statistics().unwrap().unwrap();
    assert!(refusal(&here, &lie).is_corrupt());

    // A null of a struct is not a null of its field, which Polars would never make.
    let field = Arc::new(Field::new("x", ArrowType::Int64, true));
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let structs = StructArray::new(vec![field].into(), vec![values], Some(NullBuffer::from(vec![true, false])));
    let batch = RecordBatch::try_from_iter_with_nullable([("s", Arc::new(structs) as ArrayRef, true)]).unwrap();
    let bytes = there.store.publish("s", &batch).unwrap().segment_bytes().to_vec();
    let lie = forged(&bytes, |bytes| {
        let place = entry(bytes, "coframe.polars");
        bytes[place].copy_from_slice(b"1");
    });
    mirror(&here.store, "honest", &bytes).unwrap();
    assert_rule(&refusal(&here, &lie), "M1-entries");
}

/// Where these bytes are for the `nth` time.
fn find(bytes: &[u8], wanted: &[u8], nth: usize) -> usize {
    let mut places = bytes.windows(wanted.len()).enumerate().filter(|(_, window)| *window == wanted);
    places.nth(nth).unwrap().0
}

#[test]
fn changed_values_of_a_mirror_are_refused_where_they_break_a_rule() {
    let (there, here) = stores();
    let text =
        RecordBatch::try_from_iter([("t", Arc::new(StringArray::from(vec!["abc", "def"])) as ArrayRef)]).unwrap();
    let bytes = there.store.publish("t", &text).unwrap().segment_bytes().to_vec();
    let changed = |bytes: &[u8], place: usize, byte: u8| {
        let mut bytes = bytes.to_vec();
        bytes[place] = byte;
        bytes
    };
    let error = refusal(&here, &changed(&bytes, find(&bytes, b"abcdef", 0), 0xFF));
    assert!(error.to_string().contains('t'), "{error}");
    assert_rule(&error, "V1-values");

    // Both columns of categories have the same dictionary; the second one comes to differ.
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    let second = find(&bytes, b"bb\0\0", 1);
    assert_rule(&refusal(&here, &changed(&bytes, second, b'c')), "P1-categories");
}

#[test]
fn categories_of_a_mirror_that_differ_are_refused_inside_of_nested_columns_too() {
    let (there, here) = stores();
    let categories = DataType::from_categories(Categories::global());
    let plain = Series::new("plain".into(), ["aa", "bb"]).cast(&categories).unwrap();
    let lists = Series::new("lists".into(), [plain.clone(), plain.clone()]);
    let arrays = lists.cast(&DataType::Array(Box::new(categories), 2)).unwrap();
    let structs = StructChunked::from_series("structs".into(), 2, [plain.clone()].iter()).unwrap().into_series();
    for nested in [structs, lists, arrays] {
        let name = nested.name().clone();
        let df = DataFrame::new(2, vec![plain.clone().into(), nested.into()]).unwrap();
        let bytes = there.store.publish("x", &df).unwrap().segment_bytes().to_vec();
        mirror(&here.store, "honest", &bytes).unwrap();
        let mut other = bytes.clone();
        other[find(&bytes, b"bb\0\0", 1)] = b'c';
        let error = refusal(&here, &other);
        assert_rule(&error, "P1-categories");
        assert!(error.to_string().contains(&*name), "{error}");
    }
}

#[test]
fn a_mirror_whose_first_message_is_another_schema_is_refused() {
    let (there, here) = stores();
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    let renamed = forged(&bytes, |bytes| {
        let place = find(bytes, b"number", 0);
        bytes[place] = b'm';
    });
    assert_rule(&refusal(&here, &renamed), "S4-blocks");
}

#[test]
fn a_mirror_in_which_a_dictionary_comes_twice_is_refused() {
    let (there, here) = stores();
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    // The second dictionary gets the id of the first one.
    let twice = forged(&bytes, |bytes| {
        let blocks = root_as_footer(&bytes[footer(bytes)]).unwrap().dictionaries().unwrap();
        assert_eq!(blocks.len(), 2);
        let start = blocks.get(1).offset() as usize + 8;
        let message = root_as_message(&bytes[start..]).unwrap();
        let dictionary = message.header_as_dictionary_batch().unwrap();
        assert_eq!(dictionary.id(), 1);
        let table = dictionary._tab;
        let place = start + table.loc() + usize::from(table.vtable().get(DictionaryBatch::VT_ID));
        bytes[place] = 0;
    });
    assert_rule(&refusal(&here, &twice), "D1-one");
}

#[test]
fn forged_metadata_of_a_mirror_is_an_error_or_valid_and_never_panics() {
    let (there, here) = stores();
    let bytes = mixed(&there.store).segment_bytes().to_vec();
    let (bodies, digest) = (bodies(&bytes), entry(&bytes, "coframe.digest"));
    let places: Vec<usize> = (0..bytes.len())
        .filter(|place| !digest.contains(place) && !bodies.iter().any(|body| body.contains(place)))
        .collect();
    let (mut refused, mut accepted) = (0, 0);
    for (turn, place) in places.iter().enumerate() {
        // Each byte is changed once, in one of eight ways.
        let forgery = forged(&bytes, |bytes| bytes[*place] ^= 1 << (turn % 8));
        match mirror(&here.store, "copy", &forgery) {
            Err(error) => {
                assert!(error.is_corrupt() || error.is_unsupported(), "{place}: {error}");
                refused += 1;
            }
            Ok(frame) => {
                here.store.verify("copy").unwrap();
                let _ = frame.to_polars().map(|df| df.to_string());
                accepted += 1;
            }
        }
    }
    assert!(refused > 500 && accepted > 50, "{refused} refused, {accepted} accepted");
}
