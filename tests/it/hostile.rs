//! Files with false claims of other writers: about lengths, about where messages are, about who wrote them.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    sync::Arc,
};

use coframe::{
    IpcReader, OpenOptions,
    arrow::{
        array::{
            Array, ArrayRef, DictionaryArray, FixedSizeListArray, Int32Array, Int64Array, ListArray, NullArray,
            RecordBatch, StringArray, StringDictionaryBuilder, StructArray,
        },
        buffer::{NullBuffer, OffsetBuffer},
        datatypes::{DataType, Field, Fields, Int32Type, Schema},
        ipc::{
            MetadataVersion, root_as_footer,
            writer::{DictionaryHandling, FileWriter, IpcWriteOptions, StreamWriter},
        },
    },
    polars::{datatypes::DataType as PlType, prelude::*},
};

use crate::common::{Scratch, scratch};

fn place(scratch: &Scratch, bytes: &[u8], mode: u32) {
    let file = scratch.path().join("x@1.arrow");
    let _ = fs::remove_file(&file);
    fs::write(&file, bytes).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    let _ = symlink("x@1.arrow", scratch.path().join("x.arrow"));
}

fn file(batch: &RecordBatch) -> Vec<u8> {
    let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5).unwrap();
    let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

fn column(name: &str, array: impl Array + 'static) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(name, Arc::new(array) as ArrayRef, true)]).unwrap()
}

fn dictionary(keys: Vec<i32>, values: &[&str]) -> ArrayRef {
    let values = Arc::new(StringArray::from(values.to_vec()));
    Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(keys), values))
}

/// A file whose two dictionaries share one body: the header of the longer one counts that of the shorter as its own.
fn overlapping() -> Vec<u8> {
    let batch = RecordBatch::try_from_iter([
        ("a", dictionary(vec![0, 1, 0], &["a", "b"])),
        ("b", dictionary(vec![4, 3, 2], &["a", "b", "c", "d", "e"])),
    ]);
    let bytes = file(&batch.unwrap());
    let end = bytes.len() - 10;
    let start = end - u32::from_le_bytes(bytes[end..end + 4].try_into().unwrap()) as usize;
    let footer = root_as_footer(&bytes[start..end]).unwrap();
    let blocks: Vec<(i64, i32, i64)> =
        footer.dictionaries().unwrap().iter().map(|b| (b.offset(), b.metaDataLength(), b.bodyLength())).collect();
    let [(a, a_head, a_body), (b, b_head, b_body)] = blocks[..] else { panic!("{} dictionaries", blocks.len()) };
    let mut out = bytes[..start].to_vec();
    let mut append = |from: i64, len: i64| {
        out.resize(out.len().next_multiple_of(64), 0);
        let at = out.len() as i64;
        out.extend(&bytes[from as usize..][..len as usize]);
        at
    };
    let at_b = append(b, b_head.into());
    let at_a = append(a, a_head.into());
    let at_body = append(b + i64::from(b_head), b_body);
    out.resize(out.len().next_multiple_of(64), 0);
    let block = |offset: i64, head: i64, body: i64| {
        [&offset.to_le_bytes()[..], &(head as i32).to_le_bytes(), &[0; 4], &body.to_le_bytes()].concat()
    };
    let mut footer = bytes[start..end].to_vec();
    for (old, at) in [((a, a_head, a_body), at_a), ((b, b_head, b_body), at_b)] {
        let old = block(old.0, old.1.into(), old.2);
        let position = footer.windows(24).position(|window| window == old).unwrap();
        footer[position..position + 24].copy_from_slice(&block(at, at_body - at, b_body));
    }
    let len = (footer.len() as u32).to_le_bytes();
    [&out[..], &footer, &len, b"ARROW1"].concat()
}

#[test]
fn a_foreign_file_whose_messages_overlap_is_refused() {
    let (scratch, bytes) = (scratch(), overlapping());
    for mode in [0o400, 0o600] {
        place(&scratch, &bytes, mode);
        assert_eq!(scratch.store.open("x").unwrap_err().rule(), Some("S4-blocks"));
        let path = scratch.path().join("x@1.arrow");
        assert_eq!(scratch.store.import("y", path).unwrap_err().rule(), Some("S4-blocks"));
    }
}

#[test]
fn every_bit_flip_in_a_list_of_fixed_size_lists_is_an_error_or_valid_data() {
    let scratch = scratch();
    let item = Arc::new(Field::new("item", DataType::Int32, true));
    let inner = FixedSizeListArray::new(item, 4, Arc::new(Int32Array::from_iter_values(0..12)), None);
    let item = Arc::new(Field::new("item", inner.data_type().clone(), true));
    let outer = ListArray::new(item, OffsetBuffer::new(vec![0, 1, 3].into()), Arc::new(inner), None);
    let bytes = file(&column("l", outer));
    let mut refused = 0;
    for position in 0..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1 << bit;
            place(&scratch, &damaged, 0o400);
            match scratch.store.open("x") {
                Ok(frame) => drop(frame.to_polars()),
                Err(error) => refused += usize::from(error.is_corrupt()),
            }
            let _ = scratch.store.import("y", scratch.path().join("x@1.arrow"));
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn a_few_bytes_cannot_claim_items_without_bytes_that_take_long_to_validate() {
    let scratch = scratch();
    let lists = |size: i32| {
        let item = Arc::new(Field::new("item", DataType::Struct(Fields::empty()), false));
        let values = Arc::new(StructArray::new_empty_fields(size as usize * 8, None));
        let nulls = NullBuffer::from(vec![true, true, true, true, true, true, true, false]);
        column("l", FixedSizeListArray::try_new(item, size, values, Some(nulls)).unwrap())
    };
    place(&scratch, &file(&lists(1_000)), 0o600);
    assert_eq!(scratch.store.open("x").unwrap().num_rows(), 8);
    place(&scratch, &file(&lists(i32::MAX)), 0o600);
    let error = scratch.store.open("x").unwrap_err();
    assert_eq!(error.rule(), Some("S5-buffers"), "{error}");
}

#[test]
fn more_rows_than_the_format_allows_are_an_error() {
    let scratch = scratch();
    place(&scratch, &file(&column("n", NullArray::new(1 << 40))), 0o600);
    assert_eq!(scratch.store.open("x").unwrap().num_rows(), 1 << 40);
    for rows in [(1 << 40) + 1, i64::MAX as usize] {
        place(&scratch, &file(&column("n", NullArray::new(rows))), 0o600);
        assert_eq!(scratch.store.open("x").unwrap_err().rule(), Some("S5-buffers"));
    }
}

#[test]
fn a_batch_of_more_rows_than_the_format_allows_is_not_published() {
    let scratch = scratch();
    let publish = |rows| scratch.store.publish("n", &column("n", NullArray::new(rows)));
    assert_eq!(publish(1 << 40).unwrap().num_rows(), 1 << 40);
    // It was cut into batches of 2^31 - 1 rows first, all of which were in memory.
    let error = publish(i64::MAX as usize).unwrap_err();
    assert!(error.is_unsupported(), "{error}");
    assert_eq!(
        error.to_string(),
        "a batch of 9223372036854775807 rows, where at most 1099511627776 fit into one, is not supported; write it in parts"
    );
    assert_eq!(scratch.store.versions("n").unwrap().len(), 1);
}

#[test]
fn a_foreign_file_may_name_its_columns_as_coframe_names_its_entries() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("names.arrow");
    let metadata = |key: &str| [(key.to_owned(), "coframe.digest".to_owned())].into();
    let field = Field::new("coframe.segment", DataType::Int64, false).with_metadata(metadata("coframe.format"));
    let schema = Schema::new_with_metadata(vec![field], metadata("note"));
    let values = Arc::new(Int64Array::from(vec![7]));
    fs::write(&path, file(&RecordBatch::try_new(Arc::new(schema), vec![values]).unwrap())).unwrap();
    let frame = scratch.store.import("x", &path).unwrap();
    assert_eq!(frame.schema().field(0).name(), "coframe.segment");
    place(&scratch, &fs::read(&path).unwrap(), 0o400);
    assert_eq!(scratch.store.open("x").unwrap().num_rows(), 1);
}

#[test]
fn what_a_file_that_is_not_sealed_records_of_its_values_is_not_relied_on() {
    let scratch = scratch();
    let mut df = df!("i" => [1_i64, 2, 3]).unwrap();
    df.sort_in_place(["i"], SortMultipleOptions::default()).unwrap();
    scratch.store.publish("y", &df).unwrap();
    let bytes = fs::read(scratch.path().join("y.arrow")).unwrap();
    let sorted = |mode, options: &OpenOptions| {
        place(&scratch, &bytes, mode);
        let frame = scratch.store.open_with("x", options).unwrap();
        frame.to_polars().unwrap().column("i").unwrap().is_sorted_flag()
    };
    let options = OpenOptions::new();
    assert_eq!(sorted(0o400, &options), polars::series::IsSorted::Ascending);
    assert_eq!(sorted(0o600, &options), polars::series::IsSorted::Not);
    assert_eq!(sorted(0o400, &options.validate(true)), polars::series::IsSorted::Not);
}

#[test]
fn a_sealed_file_with_bad_values_is_refused_when_it_is_opened_as_foreign() {
    let scratch = scratch();
    scratch.store.publish("y", &df!("s" => ["a needle of more than twelve"]).unwrap()).unwrap();
    let mut bytes = fs::read(scratch.path().join("y.arrow")).unwrap();
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] = 0xFF;
    place(&scratch, &bytes, 0o400);
    let error = scratch.store.open_with("x", &OpenOptions::new().validate(true)).unwrap_err();
    assert_eq!(error.rule(), Some("V1-values"), "{error}");
}

#[test]
fn a_fifo_instead_of_a_segment_is_an_immediate_error() {
    let scratch = scratch();
    let fifo = scratch.path().join("x@1.arrow");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    symlink("x@1.arrow", scratch.path().join("x.arrow")).unwrap();
    assert!(scratch.store.open("x").unwrap_err().is_corrupt());
    fs::remove_file(&fifo).unwrap();
    fs::create_dir(&fifo).unwrap();
    assert!(scratch.store.open("x").unwrap_err().is_corrupt());
}

#[test]
fn deltas_of_a_stream_add_to_what_came_before() {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    let data_type = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = Arc::new(Schema::new(vec![Field::new("d", data_type, true)]));
    let options = IpcWriteOptions::default().with_dictionary_handling(DictionaryHandling::Delta);
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &schema, options).unwrap();
    let mut written = Vec::new();
    for batch in 0..20 {
        for value in 0..3 {
            builder.append(format!("value {batch} {value}")).unwrap();
        }
        let array: ArrayRef = Arc::new(builder.finish_preserve_values());
        written.push(RecordBatch::try_new(schema.clone(), vec![array]).unwrap());
        writer.write(written.last().unwrap()).unwrap();
    }
    let bytes = writer.into_inner().unwrap();
    let read = IpcReader::stream(&bytes[..], "the stream").unwrap();
    let read: Vec<RecordBatch> = read.collect::<Result<_, _>>().unwrap();
    assert_eq!(read, written);
}

#[test]
fn a_part_of_a_wide_frame_opens_by_name_and_its_path_is_its_file() {
    let scratch = scratch();
    let values: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter((0..3_000).map(|n| (format!("c{n}"), values.clone()))).unwrap();
    let frame = scratch.store.publish("x", &batch).unwrap();
    let names: Vec<String> = (0..3_000).rev().step_by(2).map(|n| format!("c{n}")).collect();
    let opened = scratch.store.open_with("x", &OpenOptions::new().columns(names.clone())).unwrap();
    let found: Vec<&String> = opened.schema().fields().iter().map(|field| field.name()).collect();
    assert!(found.iter().copied().eq(&names) && frame.select(&names).unwrap().schema() == opened.schema());
    let error = frame.select(["c1", "no"]).unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains("column `no`"), "{error}");
    assert_eq!(frame.path(), scratch.path().join("x@1.arrow"));
}

#[test]
fn bytes_behind_the_end_of_a_stream_are_an_error() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("streams");
    let batch = column("x", Int64Array::from(vec![1, 2]));
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    let stream = writer.into_inner().unwrap();
    fs::write(&path, &stream).unwrap();
    assert_eq!(scratch.store.import("x", &path).unwrap().num_rows(), 2);
    for more in [stream.as_slice(), b"x", &[0; 8]] {
        let bytes = [&stream, more].concat();
        fs::write(&path, &bytes).unwrap();
        assert_eq!(scratch.store.import("x", &path).unwrap_err().rule(), Some("I1-stream"));
        let last = IpcReader::stream(&bytes[..], "the stream").unwrap().last().unwrap();
        assert!(last.unwrap_err().is_corrupt());
    }
    assert_eq!(scratch.store.versions("x").unwrap(), [1]);
}

#[test]
fn feather_of_version_1_is_refused_by_its_name() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("old.feather");
    fs::write(&path, b"FEA1\0\0\0\0 and so on FEA1").unwrap();
    let error = scratch.store.import("x", &path).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("Feather version 1"), "{error}");
}

/// A copy of a store with all modes, as `cp -a`, `rsync -a` and an archive make it.
fn copied(scratch: &Scratch) -> std::path::PathBuf {
    let copy = scratch.path().with_file_name("copy");
    let status = std::process::Command::new("cp").arg("-a").arg(scratch.path()).arg(&copy).status();
    assert!(status.unwrap().success());
    copy
}

/// Damages a string in the body of a sealed segment, which keeps its mode.
fn damage(segment: &std::path::Path) {
    let mut bytes = fs::read(segment).unwrap();
    let at = bytes.windows(6).position(|window| window == b"needle").unwrap();
    bytes[at] = 0xFF;
    fs::remove_file(segment).unwrap();
    fs::write(segment, bytes).unwrap();
    fs::set_permissions(segment, fs::Permissions::from_mode(0o400)).unwrap();
}

#[test]
fn a_store_that_was_copied_is_validated_until_it_is_adopted() {
    let scratch = scratch();
    scratch.store.publish("x", &df!("s" => ["a needle of more than twelve"]).unwrap()).unwrap();
    coframe::SharedMap::<String, u64>::create(&scratch.store, "d").unwrap();
    let copy = coframe::Store::open_at(copied(&scratch)).unwrap();
    assert!(scratch.store.is_home().unwrap() && !copy.is_home().unwrap());
    assert_eq!(copy.open("x").unwrap().num_rows(), 1);
    assert!(coframe::SharedMap::<String, u64>::open(&copy, "d").unwrap_err().is_untrusted());
    let segment = copy.path().join("x@1.arrow");
    let good = fs::read(&segment).unwrap();
    damage(&segment);
    assert_eq!(copy.open("x").unwrap_err().rule(), Some("V1-values"));
    assert!(copy.adopt().unwrap_err().is_corrupt() && !copy.is_home().unwrap());
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, good).unwrap();
    fs::set_permissions(&segment, fs::Permissions::from_mode(0o400)).unwrap();
    assert_eq!(copy.adopt().unwrap(), 1);
    assert!(coframe::Store::open_at(copy.path()).unwrap().is_home().unwrap());
    assert_eq!(coframe::SharedMap::<String, u64>::open(&copy, "d").unwrap().len().unwrap(), 0);
    damage(&segment);
    assert!(copy.open("x").is_ok(), "an adopted store is trusted");
}

#[test]
fn a_renamed_store_is_still_trusted() {
    let scratch = scratch();
    scratch.store.publish("x", &df!("x" => [1]).unwrap()).unwrap();
    let moved = scratch.path().with_file_name("moved");
    fs::rename(scratch.path(), &moved).unwrap();
    assert!(coframe::Store::open_at(&moved).unwrap().is_home().unwrap());
}

#[test]
fn a_handle_opens_in_its_store_by_any_path_and_creates_no_store() {
    let scratch = scratch();
    let handle = scratch.store.publish("x", &df!("x" => [1]).unwrap()).unwrap().handle();
    let spelled = coframe::Store::open_at(scratch.path().join("../store")).unwrap();
    assert_eq!(spelled.open_handle(&handle, &OpenOptions::new()).unwrap().num_rows(), 1);
    let empty = scratch.path().with_file_name("empty");
    let other = coframe::Store::open_at(&empty).unwrap();
    assert!(other.open_handle(&handle, &OpenOptions::new()).unwrap_err().is_invalid_argument());
    fs::remove_dir_all(&empty).unwrap();
    fs::create_dir(&empty).unwrap();
    fs::set_permissions(&empty, fs::Permissions::from_mode(0o700)).unwrap();
    let text = handle.to_string().replace("/store/", "/empty/");
    assert!(text.parse::<coframe::Handle>().unwrap().open().unwrap_err().is_not_found());
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
}

#[test]
fn verify_compares_what_a_frame_records_of_its_values_with_them() {
    let scratch = scratch();
    let categories = PlType::from_categories(Categories::global());
    let keys = Series::new("e".into(), [Some("a"), None, Some("b")]).cast(&categories).unwrap();
    let times = Series::new("t".into(), [1_i64, 77_777_777_777, 3]).cast(&PlType::Time).unwrap();
    let mut numbers = Series::new("i".into(), [1_111_111_i64, 2_222_222, 3_333_333]);
    numbers.set_sorted_flag(polars::series::IsSorted::Ascending);
    let mut floats = Series::new("f".into(), [0.0_f64, -0.0, f64::NAN]);
    floats.set_sorted_flag(polars::series::IsSorted::Ascending);
    let df = DataFrame::new(3, vec![keys.into(), times.into(), numbers.into(), floats.into()]).unwrap();
    scratch.store.publish("y", &df).unwrap();
    scratch.store.verify("y").unwrap();
    let bytes = fs::read(scratch.path().join("y.arrow")).unwrap();
    // Buffers start at multiples of 64.
    let swap = |at_most: usize, from: &[u8], to: &[u8]| {
        let at = (0..bytes.len()).rfind(|at| at % 64 <= at_most && bytes[*at..].starts_with(from)).unwrap();
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        place(&scratch, &bytes, 0o400);
        scratch.store.verify("x").unwrap_err()
    };
    let words = |words: [u32; 3]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    assert_eq!(swap(0, &words([0, 0, 1]), &words([0, 77_777, 1])).rule(), Some("D3-keys"));
    let error = swap(8, &77_777_777_777_i64.to_le_bytes(), &(i64::MAX / 2).to_le_bytes());
    assert!(error.rule() == Some("V1-values") && error.to_string().contains("column `t`"), "{error}");
    let error = swap(8, &2_222_222_i64.to_le_bytes(), &9_222_222_i64.to_le_bytes());
    assert!(error.to_string().contains("column `i` is not sorted"), "{error}");
}

#[test]
fn a_store_is_the_same_under_every_spelling_of_its_path_and_through_a_link() {
    let scratch = scratch();
    let frame = scratch.store.publish("x", &df!("x" => [1]).unwrap()).unwrap();
    let link = scratch.path().with_file_name("link");
    symlink(scratch.path(), &link).unwrap();
    for path in [scratch.path().join("."), scratch.path().join("../store/"), link] {
        let other = coframe::Store::open_at(path).unwrap();
        assert_eq!(other.open("x").unwrap().handle(), frame.handle());
    }
}

#[test]
fn errors_become_those_of_io_arrow_and_polars() {
    let scratch = scratch();
    let error = || scratch.store.open("x").unwrap_err();
    assert_eq!(std::io::Error::from(error()).kind(), std::io::ErrorKind::NotFound);
    assert!(coframe::arrow::error::ArrowError::from(error()).to_string().contains("`x`"));
    assert!(PolarsError::from(error()).to_string().contains("`x`"));
}

#[test]
fn metadata_that_no_footer_can_hold_is_refused() {
    let scratch = scratch();
    // Of zeros, which cost no memory until they are copied.
    let large = || String::from_utf8(vec![0; 1 << 30]).unwrap();
    let batch = column("x", Int64Array::from(vec![1]));
    let options = coframe::PublishOptions::new().metadata("note", large());
    let error = scratch.store.publish_with("x", &batch, &options).unwrap_err();
    assert!(error.is_unsupported() && error.to_string().contains("at most 1073741824"), "{error}");
    let schema = Schema::new_with_metadata(batch.schema().fields().clone(), [("note".to_owned(), large())].into());
    let noted = RecordBatch::try_new(Arc::new(schema), batch.columns().to_vec()).unwrap();
    assert!(scratch.store.publish("x", &noted).unwrap_err().is_unsupported());
    let field = Field::new("x", DataType::Int64, true).with_metadata([("note".to_owned(), large())].into());
    let inside = Field::new("s", DataType::Struct(vec![field.clone()].into()), true);
    for field in [field, inside] {
        let error = scratch.store.writer("x", Arc::new(Schema::new(vec![field]))).unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("at most 1073741824"), "{error}");
    }
    assert!(scratch.files().is_empty(), "{:?}", scratch.files());
}
