//! The frame that the benchmarks measure, and the clock.
#![allow(dead_code, clippy::allow_attributes, reason = "each benchmark uses a part of this")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use coframe::{Store, polars::prelude::*};
use tempfile::TempDir;

/// A temporary store in memory.
pub(crate) fn scratch() -> (Store, TempDir) {
    let directory = tempfile::Builder::new().prefix("coframe-bench-").tempdir_in("/dev/shm").expect("/dev/shm");
    (Store::open_at(directory.path().join("store")).expect("a store"), directory)
}

/// The median time of `runs` calls, after a warm-up of a tenth as many (at least one).
pub(crate) fn median<T>(runs: usize, mut call: impl FnMut() -> T) -> Duration {
    for _ in 0..=runs / 10 {
        drop(call());
    }
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            let result = call();
            let time = start.elapsed();
            drop(result);
            time
        })
        .collect();
    times.sort();
    times[runs / 2]
}

/// Nanoseconds a call, the best of five rounds.
pub(crate) fn ns<T>(times: u32, mut call: impl FnMut() -> T) -> f64 {
    let round = |()| {
        let start = Instant::now();
        (0..times).for_each(|_| {
            black_box(call());
        });
        start.elapsed().as_secs_f64() * 1e9 / f64::from(times)
    };
    [(); 5].map(round).into_iter().fold(f64::INFINITY, f64::min)
}

pub(crate) fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Prints a figure, its target, and whether it meets the target.
pub(crate) fn verdict(what: &str, found: f64, unit: &str, wanted: &str, holds: bool) {
    println!("{:4} {what}: {found:.2}{unit} (target: {wanted})", if holds { "ok" } else { "MISS" });
}

fn texts(rows: usize, of: &[&str]) -> Series {
    let values: StringChunked = (0..rows).map(|row| Some(of[row % of.len()])).collect();
    values.into_series()
}

/// 24 columns of every dtype family, contiguous, some with nulls.
pub(crate) fn mixed(rows: usize) -> DataFrame {
    let numbers: Series = (0..rows as i64).map(Some).collect::<Int64Chunked>().into_series();
    let small: Series = (0..rows as i64).map(|i| Some(i % 86)).collect::<Int64Chunked>().into_series();
    let gaps: Series = (0..rows as i64).map(|i| (i % 7 > 0).then_some(i % 100)).collect::<Int64Chunked>().into_series();
    let carriers: Vec<String> = (0..50).map(|i| format!("carrier {i:02}")).collect();
    let carriers: Vec<&str> = carriers.iter().map(String::as_str).collect();
    let categorical = texts(rows, &carriers).cast(&DataType::from_categories(Categories::global())).expect("a cast");
    let levels = ["low", "mid", "high"];
    let frozen = FrozenCategories::new(levels).expect("distinct categories");
    let enumeration = texts(rows, &levels).cast(&DataType::from_frozen_categories(frozen)).expect("a cast");
    let to = |series: &Series, dtype: DataType| series.cast(&dtype).expect("a cast");
    let pairs = |series: &Series| {
        let twice = series.clone().append(series).expect("the same dtype").clone();
        let shape = [ReshapeDimension::new(rows as i64), ReshapeDimension::new(2)];
        twice.rechunk().reshape_list(&shape).expect("two a row")
    };
    let fields = [to(&numbers, DataType::Int32).with_name("a".into()), gaps.clone().with_name("b".into())];
    let plain = StructChunked::from_series("".into(), rows, fields.iter()).expect("equal lengths").into_series();
    let mask: BooleanChunked = (0..rows).map(|row| Some(row % 5 > 0)).collect();
    let nothing = Series::full_null("".into(), rows, plain.dtype());
    let nullable = plain.zip_with(&mask, &nothing).expect("equal lengths");
    let berlin = TimeZone::opt_try_new(Some("Europe/Berlin")).expect("a known zone");
    let columns = [
        ("bool", to(&gaps, DataType::Boolean)),
        ("i8", to(&small, DataType::Int8)),
        ("i16", to(&small, DataType::Int16)),
        ("i32", to(&numbers, DataType::Int32)),
        ("i64", numbers.clone()),
        ("i128", to(&numbers, DataType::Int128)),
        ("u8", to(&small, DataType::UInt8)),
        ("u16", to(&small, DataType::UInt16)),
        ("u32", to(&numbers, DataType::UInt32)),
        ("u64", to(&numbers, DataType::UInt64)),
        ("f32", to(&numbers, DataType::Float32)),
        ("f64", to(&gaps, DataType::Float64)),
        ("decimal", to(&small, DataType::Decimal(20, 2))),
        ("date", to(&small, DataType::Date)),
        ("datetime", to(&numbers, DataType::Datetime(TimeUnit::Microseconds, berlin))),
        ("duration", to(&numbers, DataType::Duration(TimeUnit::Milliseconds))),
        ("time", to(&small, DataType::Time)),
        ("string", texts(rows, &["short", "a text that does not fit in a view", "another one, longer than twelve"])),
        ("binary", to(&texts(rows, &["ab", "a few bytes more than twelve"]), DataType::Binary)),
        ("categorical", categorical.clone()),
        ("enum", enumeration),
        ("struct", nullable),
        ("list of categorical", pairs(&categorical)),
        ("list of time", pairs(&to(&small, DataType::Time))),
    ];
    let columns = columns.into_iter().map(|(name, series)| series.rechunk().with_name(name.into()).into_column());
    DataFrame::new(rows, columns.collect()).expect("equal lengths")
}
