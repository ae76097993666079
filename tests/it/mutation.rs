//! Foreign files of every type with one to three damaged bytes: an error or valid data, and nothing worse.
//!
//! Every value of a file that is accepted is read through Arrow and through Polars. Each batch of cases runs in a child
//! process, so that an abort, a signal or a hang is seen; each case has limits on its memory and processor time.
//! `COFRAME_MUTATIONS` is the number of cases; ci/deep.sh runs a million from `COFRAME_SEED` on. A batch that fails
//! prints its seed and the case.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::Stdio,
    sync::Arc,
};

use coframe::{
    IpcReader,
    arrow::{
        array::{
            Array, ArrayRef, BinaryViewArray, BooleanArray, Date32Array, Date64Array, Decimal32Array, Decimal256Array,
            DictionaryArray, DurationSecondArray, FixedSizeBinaryArray, FixedSizeListArray, Int32Array, ListArray,
            ListViewArray, MapBuilder, NullArray, RecordBatch, RunArray, StringArray, StringBuilder, StringViewArray,
            StructArray, Time32SecondArray, Time64MicrosecondArray, Time64NanosecondArray, TimestampNanosecondArray,
            TimestampSecondArray, UInt64Builder, UnionArray,
        },
        buffer::{NullBuffer, OffsetBuffer, ScalarBuffer},
        datatypes::{DataType, Field, Fields, Int32Type, UnionFields, i256},
        ipc::{
            MetadataVersion,
            writer::{FileWriter, IpcWriteOptions},
        },
    },
    polars::frame::DataFrame,
};

use crate::common::{Scratch, child, role, scratch};

const CASES: u64 = 30_000;
/// Cases of one child process.
const BATCH: u64 = 5_000;
const TEST: &str = "mutation::foreign_files_with_damaged_bytes_are_errors_or_valid_data";

/// A generator that is the same in each run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) as usize % end
    }
}

/// A column of each kind, of three rows.
fn columns() -> Vec<ArrayRef> {
    let numbers = || Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    let item = |array: &dyn Array| Arc::new(Field::new("item", array.data_type().clone(), true));
    let offsets = || OffsetBuffer::new(vec![0, 1, 1, 3].into());
    let nulls = || Some(NullBuffer::from(vec![true, false, true]));
    let fixed = FixedSizeListArray::new(item(&*numbers()), 1, numbers(), nulls());
    let bare = StructArray::new_empty_fields(6, None);
    let mut map = MapBuilder::new(None, StringBuilder::new(), UInt64Builder::new());
    for value in [7, 8, 9] {
        map.keys().append_value("a key");
        map.values().append_value(value);
        map.append(true).unwrap();
    }
    let fields =
        UnionFields::try_new([0, 1], [Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)])
            .unwrap();
    let texts = || Arc::new(StringArray::from(vec!["x", "yy", "zzz"]));
    let types: ScalarBuffer<i8> = vec![0, 1, 0].into();
    let union =
        |offsets| UnionArray::try_new(fields.clone(), types.clone(), offsets, vec![numbers(), texts()]).unwrap();
    let struct_fields =
        Fields::from(vec![Field::new("n", DataType::Int32, true), Field::new("t", DataType::Utf8, true)]);
    let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
    let view = ListViewArray::new(
        item(&NullArray::new(4)),
        vec![0, 1, 2].into(),
        vec![1, 2, 1].into(),
        Arc::new(NullArray::new(4)),
        None,
    );
    let maps: ArrayRef = Arc::new(map.finish());
    let clock = Arc::new(Time64MicrosecondArray::from(vec![1, 2, 3]));
    let lists: ArrayRef = Arc::new(ListArray::new(item(&*clock), offsets(), clock, nulls()));
    let runs: ArrayRef = Arc::new(RunArray::try_new(&Int32Array::from(vec![2, 3]), &lists.slice(0, 2)).unwrap());
    let overlapping = ListViewArray::new(item(&runs), vec![0, 0, 1].into(), vec![3, 3, 2].into(), runs.clone(), None);
    vec![
        numbers(),
        texts(),
        Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
        Arc::new(StringViewArray::from(vec!["short", "a text of more than twelve", "b"])),
        Arc::new(BinaryViewArray::from(vec![&b"a value of more than twelve"[..], b"b", b""])),
        Arc::new(Time64NanosecondArray::from(vec![1, 2, 3])),
        Arc::new(ListArray::new(item(&fixed), offsets(), Arc::new(fixed.clone()), nulls())),
        Arc::new(fixed),
        Arc::new(FixedSizeListArray::new(
            Arc::new(Field::new("item", bare.data_type().clone(), false)),
            2,
            Arc::new(bare),
            nulls(),
        )),
        Arc::new(StructArray::new(struct_fields, vec![numbers(), texts()], nulls())),
        maps.clone(),
        Arc::new(union(Some(vec![0, 0, 1].into()))),
        Arc::new(union(None)),
        Arc::new(RunArray::try_new(&Int32Array::from(vec![1, 3]), &StringArray::from(vec!["r", "s"])).unwrap()),
        Arc::new(view),
        Arc::new(NullArray::new(3)),
        Arc::new(FixedSizeBinaryArray::try_new(2, b"aabbcc".to_vec().into(), None).unwrap()),
        Arc::new(DictionaryArray::<Int32Type>::new(keys.clone(), texts())),
        Arc::new(DictionaryArray::<Int32Type>::new(keys, lists.clone())),
        Arc::new(StructArray::from(vec![
            (item(&maps), maps.clone()),
            (Arc::new(Field::new("n", DataType::Int32, true)), numbers() as _),
        ])),
        Arc::new(overlapping),
        lists,
        Arc::new(Time32SecondArray::from(vec![1, 2, 86_399])),
        Arc::new(Date32Array::from(vec![1, 2, 3])),
        Arc::new(Date64Array::from(vec![1, 2, 3])),
        Arc::new(TimestampSecondArray::from(vec![1, 2, 3]).with_timezone("Europe/Berlin")),
        Arc::new(TimestampNanosecondArray::from(vec![1, 2, 3])),
        Arc::new(DurationSecondArray::from(vec![1, 2, 3])),
        Arc::new(Decimal32Array::from(vec![1, 2, 3]).with_precision_and_scale(4, 2).unwrap()),
        Arc::new(Decimal256Array::from(vec![i256::ONE; 3]).with_precision_and_scale(40, 2).unwrap()),
    ]
}

/// A file of each column alone, so that damage reaches it often.
fn files() -> Vec<Vec<u8>> {
    let file = |column: ArrayRef| {
        let batch = RecordBatch::try_from_iter_with_nullable([("c", column, true)]).unwrap();
        let options = IpcWriteOptions::try_new(8, false, MetadataVersion::V5).unwrap();
        let mut writer = FileWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
        writer.write(&batch).unwrap();
        writer.into_inner().unwrap()
    };
    columns().into_iter().map(file).collect()
}

/// Processor time in milliseconds and largest resident memory in bytes of this process so far.
fn usage() -> (i64, i64) {
    // SAFETY: all zeros are a valid `rusage`, and `getrusage` fills the one that it is given.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) }, 0);
    let milliseconds = |time: libc::timeval| time.tv_sec * 1_000 + time.tv_usec / 1_000;
    (milliseconds(usage.ru_utime) + milliseconds(usage.ru_stime), usage.ru_maxrss * 1_024)
}

/// Reads every value of a frame of Polars, which panics itself when it prints a date of the year 300 000.
fn read(scratch: &Scratch, df: &DataFrame) {
    for column in df.columns() {
        (0..column.len().min(3)).for_each(|row| drop(column.get(row).unwrap().into_static()));
    }
    // To publish it writes every value.
    if scratch.store.publish("of_polars", df).is_ok() {
        scratch.store.verify("of_polars").unwrap();
    }
}

/// Opens and imports a damaged file; returns whether it was accepted.
fn case(scratch: &Scratch, path: &Path, bytes: &[u8]) -> bool {
    fs::write(path, bytes).unwrap();
    let opened = scratch.store.open("x");
    if let Ok(frame) = &opened {
        let values = |batch: &RecordBatch| format!("{:?}", batch.slice(0, batch.num_rows().min(3))).len();
        assert!(frame.batches().iter().map(values).sum::<usize>() < 1 << 20);
        if let Ok(df) = frame.to_polars() {
            read(scratch, &df);
        }
        let _ = frame.copy_report();
    }
    if scratch.store.import("y", path).is_ok() {
        scratch.store.verify("y").unwrap();
    }
    if let Ok(reader) = IpcReader::file(std::io::Cursor::new(bytes), "the file") {
        reader.take_while(Result::is_ok).for_each(drop);
    }
    opened.is_ok()
}

/// Damages files and reads every value of those that are accepted.
fn run(seed: u64) {
    let (scratch, files, mut random) = (scratch(), files(), Random(seed));
    let path = scratch.path().join("x@1.arrow");
    std::os::unix::fs::symlink("x@1.arrow", scratch.path().join("x.arrow")).unwrap();
    let mut accepted = 0;
    for file in &files {
        assert!(case(&scratch, &path, file));
    }
    let (mut before, start) = usage();
    let (mut slowest, mut largest) = (0, 0);
    for number in 0..BATCH {
        let mut bytes = files[random.below(files.len())].clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            bytes[at] = match random.below(3) {
                0 => bytes[at] ^ (1 << random.below(8)),
                1 => [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
                _ => random.below(256) as u8,
            };
        }
        let found = catch_unwind(AssertUnwindSafe(|| case(&scratch, &path, &bytes)));
        let (after, most) = usage();
        (slowest, largest) = (slowest.max(after - before), most - start);
        if found.is_err() || after - before > 1_000 || largest > 100 << 20 {
            fs::write(std::env::temp_dir().join("coframe-mutation.arrow"), &bytes).unwrap();
            panic!("case {number} took {} ms, and memory grew by {largest} bytes", after - before);
        }
        accepted += u64::from(found.is_ok_and(|accepted| accepted));
        before = after;
    }
    println!("the slowest case took {slowest} ms, the largest {largest} bytes; {accepted} of {BATCH} were accepted");
    assert!(accepted > BATCH / 20, "only {accepted} were accepted");
}

#[test]
fn foreign_files_with_damaged_bytes_are_errors_or_valid_data() {
    if let Some(seed) = role() {
        let limit = libc::rlimit { rlim_cur: 4 << 30, rlim_max: 4 << 30 };
        // SAFETY: sets a limit of this process, which was started for this test.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        // A batch takes 15 s; on a busy machine it waits for its turn for much longer.
        let limit = libc::rlimit { rlim_cur: 300, rlim_max: 300 };
        // SAFETY: sets a limit of this process, in seconds of processor time.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const limit) }, 0);
        // SAFETY: asks the kernel for a signal in half an hour.
        unsafe { libc::alarm(1_800) };
        return run(seed.parse().unwrap());
    }
    let cases = std::env::var("COFRAME_MUTATIONS").map_or(CASES, |cases| cases.parse().unwrap());
    let first = std::env::var("COFRAME_SEED").map_or(1, |seed| seed.parse().unwrap());
    for seed in first..first + cases.div_ceil(BATCH) {
        let output = child(TEST, &seed.to_string()).stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
        let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(output.status.success(), "seed {seed}: {}\n{text}", output.status);
        // Shown with --nocapture.
        println!("seed {seed}: {}", text.lines().find(|line| line.contains("the slowest")).unwrap_or_default());
    }
}
