//! Every Polars dtype survives the way through shared memory, exactly and without a copy.

use coframe::{
    CopyPolicy, Frame, OpenOptions, PublishOptions, StringLayout,
    polars::{chunked_array::builder::get_list_builder, prelude::*, series::IsSorted},
};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_oneof, proptest};

use crate::common::scratch;

fn series(name: &str, values: impl IntoIterator<Item = Option<i64>>) -> Series {
    Series::new(name.into(), values.into_iter().collect::<Vec<_>>())
}

pub(crate) fn named(name: &str) -> DataType {
    let categories = Categories::new(name.into(), "tests".into(), CategoricalPhysical::U8);
    DataType::from_categories(categories)
}

fn enumeration() -> DataType {
    DataType::from_frozen_categories(FrozenCategories::new(["low", "mid", "high"]).unwrap())
}

/// One column of every dtype, with nulls.
fn every_leaf() -> Vec<Column> {
    let numbers = || series("", [Some(0), Some(1), None, Some(2), Some(86)]);
    let texts = || Series::new("".into(), [Some("low"), None, Some("mid"), Some("high"), Some("low")]);
    let long = Series::new(
        "".into(),
        [Some("x".repeat(40)), None, Some(String::new()), Some("y".repeat(13)), Some("ü".into())],
    );
    let casts = [
        DataType::Boolean,
        DataType::Int8,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Int128,
        DataType::UInt8,
        DataType::UInt16,
        DataType::UInt32,
        DataType::UInt64,
        DataType::UInt128,
        DataType::Float16,
        DataType::Float32,
        DataType::Float64,
        DataType::Decimal(20, 3),
        DataType::Date,
        DataType::Time,
        DataType::Datetime(TimeUnit::Milliseconds, None),
        DataType::Datetime(TimeUnit::Microseconds, None),
        DataType::Datetime(TimeUnit::Nanoseconds, Some(TimeZone::opt_try_new(Some("Europe/Berlin")).unwrap().unwrap())),
        DataType::Duration(TimeUnit::Milliseconds),
        DataType::Duration(TimeUnit::Microseconds),
        DataType::Duration(TimeUnit::Nanoseconds),
    ];
    let mut all: Vec<Series> = casts.iter().map(|dtype| numbers().cast(dtype).unwrap()).collect();
    all.push(texts());
    all.push(long.clone());
    all.push(long.cast(&DataType::Binary).unwrap());
    all.push(Series::new_null("".into(), 5));
    all.extend(
        [named("a"), named("a"), named("b"), enumeration(), DataType::from_categories(Categories::global())]
            .map(|dtype| texts().cast(&dtype).unwrap()),
    );
    let rename = |(i, mut s): (usize, Series)| {
        s.rename(format!("{i} {}", s.dtype()).into());
        s.into_column()
    };
    all.into_iter().enumerate().map(rename).collect()
}

/// The leaves inside lists, arrays and structs, and those inside each other.
fn every_nesting() -> Vec<Column> {
    let mut all = Vec::new();
    for leaf in every_leaf() {
        let leaf = leaf.take_materialized_series();
        let name = leaf.name().clone();
        let list = |s: &Series| {
            let mut builder = get_list_builder(s.dtype(), 5, 5, "".into());
            builder.append_series(&s.slice(0, 2)).unwrap();
            builder.append_null();
            builder.append_series(&s.slice(2, 3)).unwrap();
            builder.append_series(&s.slice(0, 0)).unwrap();
            builder.append_series(&s.slice(4, 1)).unwrap();
            builder.finish().into_series()
        };
        let pair = |s: &Series| {
            let fields = [s.clone().with_name("x".into()), series("y", (0..5).map(Some))];
            let plain = StructChunked::from_series("".into(), 5, fields.iter()).unwrap();
            let outer = BooleanChunked::new("".into(), [true, false, true, true, true]);
            let nulls = Series::full_null("".into(), 5, plain.dtype());
            plain.into_series().zip_with(&outer, &nulls).unwrap()
        };
        let mut nested = vec![list(&leaf), pair(&leaf), list(&pair(&leaf)), pair(&list(&leaf)), list(&list(&leaf))];
        if let Ok(fixed) = leaf
            .slice(0, 4)
            .append(&leaf.slice(0, 1))
            .and_then(|s| s.reshape_array(&[ReshapeDimension::new(5), ReshapeDimension::new(1)]))
        {
            nested.push(list(&fixed));
            nested.push(fixed);
        }
        for (i, mut s) in nested.into_iter().enumerate() {
            s.rename(format!("{name} nested {i}").into());
            all.push(s.into_column());
        }
    }
    all
}

fn everything() -> DataFrame {
    let columns = every_leaf().into_iter().chain(every_nesting()).collect();
    DataFrame::new(5, columns).unwrap()
}

/// Exactly the same: names, dtypes, values, nulls, flags; and nothing copied on the way.
#[track_caller]
fn assert_same(frame: &Frame, expected: &DataFrame) {
    let found = frame.to_polars().unwrap();
    assert_eq!(found.shape(), expected.shape());
    for (found, expected) in found.columns().iter().zip(expected.columns()) {
        assert_eq!((found.name(), found.dtype()), (expected.name(), expected.dtype()));
        assert!(found.equals_missing(expected), "{found:?}\n{expected:?}");
        assert_eq!(found.null_count(), expected.null_count(), "{}", expected.name());
        assert_eq!(found.is_sorted_flag(), expected.is_sorted_flag(), "{}", expected.name());
    }
}

#[test]
fn every_dtype_comes_back_exactly_and_shared() {
    let scratch = scratch();
    let df = everything();
    scratch.store.publish("all", &df).unwrap();
    let options = OpenOptions::new().copies(CopyPolicy::Never);
    let frame = scratch.store.open_with("all", &options).unwrap();
    assert_same(&frame, &df);
    let explain = frame.copy_report().unwrap();
    assert_eq!(explain.copied(), 0, "{explain}");
    scratch.store.verify("all").unwrap();
}

/// The address ranges at which this process maps a file.
fn maps_of(path: &std::path::Path) -> Vec<std::ops::Range<usize>> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let address = |text: &str| usize::from_str_radix(text, 16).unwrap();
    let of_file = maps.lines().filter(|line| line.contains(path.to_str().unwrap()));
    let range = |line: &str| {
        let (start, end) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        address(start)..address(end)
    };
    of_file.map(range).collect()
}

/// Address and length of every buffer inside a Polars array.
fn buffers(array: &dyn polars_arrow::array::Array, found: &mut Vec<(usize, usize)>) {
    use polars_arrow::array::*;
    fn note<T>(slice: &[T], found: &mut Vec<(usize, usize)>) {
        if !slice.is_empty() {
            found.push((slice.as_ptr().addr(), size_of_val(slice)));
        }
    }
    // Polars' null arrays have one buffer, a bitmap of zeros that is the same for all of them.
    let is_null = array.dtype().to_physical_type() == polars_arrow::datatypes::PhysicalType::Null;
    if let Some(validity) = array.validity().filter(|_| !is_null) {
        note(validity.as_slice().0, found);
    }
    let any = array.as_any();
    match array.dtype().to_physical_type() {
        polars_arrow::datatypes::PhysicalType::Primitive(_) => {
            macro_rules! note_values {
                ($($value:ty),*) => {{
                    $(if let Some(array) = any.downcast_ref::<PrimitiveArray<$value>>() {
                        return note(array.values().as_slice(), found);
                    })*
                    panic!("no way to look into {:?}", array.dtype());
                }};
            }
            note_values!(i8, i16, i32, i64, i128, u8, u16, u32, u64, u128, pf16, f32, f64);
        }
        polars_arrow::datatypes::PhysicalType::Boolean => {
            note(any.downcast_ref::<BooleanArray>().unwrap().values().as_slice().0, found);
        }
        polars_arrow::datatypes::PhysicalType::Utf8View => {
            let views = any.downcast_ref::<Utf8ViewArray>().unwrap();
            note(views.views().as_slice(), found);
            views.data_buffers().iter().for_each(|buffer| note(buffer.as_slice(), found));
        }
        polars_arrow::datatypes::PhysicalType::BinaryView => {
            let views = any.downcast_ref::<BinaryViewArray>().unwrap();
            note(views.views().as_slice(), found);
            views.data_buffers().iter().for_each(|buffer| note(buffer.as_slice(), found));
        }
        polars_arrow::datatypes::PhysicalType::LargeList => {
            let list = any.downcast_ref::<ListArray<i64>>().unwrap();
            note(list.offsets().as_slice(), found);
            buffers(list.values().as_ref(), found);
        }
        polars_arrow::datatypes::PhysicalType::FixedSizeList => {
            buffers(any.downcast_ref::<FixedSizeListArray>().unwrap().values().as_ref(), found);
        }
        polars_arrow::datatypes::PhysicalType::Struct => {
            any.downcast_ref::<StructArray>().unwrap().values().iter().for_each(|child| buffers(child.as_ref(), found));
        }
        polars_arrow::datatypes::PhysicalType::Null => {}
        other => panic!("no way to look into {other:?}"),
    }
}

#[test]
fn every_buffer_of_an_opened_frame_is_inside_the_mapping() {
    let scratch = scratch();
    // Kept, so that the categories of this process keep their numbers while other tests come and go.
    let source = everything();
    scratch.store.publish("all", &source).unwrap();
    let df = scratch.store.open("all").unwrap().to_polars().unwrap();
    let maps = maps_of(&scratch.path().join("all@1.arrow"));
    assert_eq!(maps.len(), 1);
    let mut seen = 0;
    for column in df.columns() {
        let mut found = Vec::new();
        for chunk in column.as_materialized_series().chunks() {
            buffers(chunk.as_ref(), &mut found);
        }
        seen += found.len();
        let outside: Vec<_> =
            found.iter().filter(|(start, len)| !(maps[0].start <= *start && start + len <= maps[0].end)).collect();
        assert!(outside.is_empty(), "{} ({}): {outside:x?} outside {maps:x?}", column.name(), column.dtype());
    }
    assert!(seen > 300, "only {seen} buffers seen");
}

#[test]
fn every_dtype_comes_back_from_a_sliced_frame_of_many_chunks() {
    let scratch = scratch();
    let mut df = everything();
    for _ in 0..4 {
        df.vstack_mut(&everything()).unwrap();
    }
    for (offset, len) in [(0, 25), (3, 19), (1, 1), (7, 0), (24, 1)] {
        let part = df.slice(offset, len);
        let frame = scratch.store.publish("part", &part).unwrap();
        assert_same(&frame, &part);
        scratch.store.verify("part").unwrap();
        for (start, end) in [(0, part.height()), (part.height() / 2, part.height())] {
            let slice = frame.slice(start..end).unwrap();
            assert_same(&slice, &part.slice(start as i64, end - start));
        }
    }
}

#[test]
fn every_dtype_comes_back_in_every_layout_and_batch_size() {
    let scratch = scratch();
    let mut df = everything();
    df.vstack_mut(&everything()).unwrap();
    for layout in [StringLayout::Keep, StringLayout::View, StringLayout::Offset] {
        for rows in [1, 3, 100] {
            let options = PublishOptions::new().layout(layout).batch_rows(rows);
            let frame = scratch.store.publish_with("all", &df, &options).unwrap();
            assert_eq!(frame.batches().len(), 10_usize.div_ceil(rows));
            assert_same(&frame, &df);
            scratch.store.verify("all").unwrap();
        }
    }
}

#[test]
fn empty_frames_keep_their_dtypes_and_frames_without_columns_their_height() {
    let scratch = scratch();
    let empty = everything().clear();
    assert_same(&scratch.store.publish("empty", &empty).unwrap(), &empty);
    for height in [0, 7] {
        let none = DataFrame::new(height, Vec::new()).unwrap();
        let frame = scratch.store.publish("none", &none).unwrap();
        assert_eq!((frame.num_rows(), frame.num_columns()), (height, 0));
        assert_same(&frame, &none);
    }
}

#[test]
fn every_foreign_dtype_comes_back_even_if_all_values_are_null_or_it_is_empty() {
    let scratch = scratch();
    let whole = everything();
    let nulls = whole.columns().iter().map(|column| Column::full_null(column.name().clone(), 3, column.dtype()));
    let nulls = DataFrame::new(3, nulls.collect()).unwrap();
    for df in [whole.clone(), nulls, whole.head(Some(0))] {
        // As a program that knows Arrow alone publishes them: without what Polars knows.
        let frame = scratch.store.publish("x", coframe::TableReader::new(&df).unwrap()).unwrap();
        assert!(frame.to_polars().unwrap().equals_missing(&df), "{df}");
        let own = OpenOptions::new().categories(coframe::CategoryPolicy::Private);
        assert_eq!(scratch.store.open_with("x", &own).unwrap().to_polars().unwrap().height(), df.height());
    }
}

#[test]
fn a_dictionary_without_values_is_a_column_of_nulls_and_an_ordered_one_stays_so() {
    use coframe::arrow::{array::*, datatypes::*};
    let scratch = scratch();
    let texts: ArrayRef = std::sync::Arc::new(StringArray::from(Vec::<&str>::new()));
    let nulls = DictionaryArray::<UInt32Type>::new(UInt32Array::from(vec![None, None]), texts);
    let field = Field::new("c", nulls.data_type().clone(), true).with_dict_is_ordered(true);
    let schema = Schema::new(vec![field]);
    let batch = RecordBatch::try_new(schema.into(), vec![std::sync::Arc::new(nulls)]).unwrap();
    let frame = scratch.store.publish("x", &batch).unwrap();
    assert_eq!(frame.to_polars().unwrap().column("c").unwrap().null_count(), 2);
    assert_eq!(frame.schema().field(0).dict_is_ordered(), Some(true));
}

#[test]
fn zero_width_arrays_and_structs_without_fields_come_back() {
    let scratch = scratch();
    let width = Series::full_null("w".into(), 3, &DataType::Array(Box::new(DataType::Int64), 0));
    let empty = Series::full_null("s".into(), 3, &DataType::Struct(Vec::new()));
    let df = DataFrame::new(3, vec![width.into_column(), empty.into_column()]).unwrap();
    assert_same(&scratch.store.publish("odd", &df).unwrap(), &df);
}

#[test]
fn sorted_flags_come_back_for_selected_columns_too() {
    let scratch = scratch();
    let mut df = df!("up" => [1, 2, 3], "down" => [3, 2, 1], "none" => [2, 1, 3]).unwrap();
    df.with_column(df.column("up").unwrap().sort(SortOptions::default()).unwrap()).unwrap();
    let options = SortOptions { descending: true, ..Default::default() };
    df.with_column(df.column("down").unwrap().sort(options).unwrap()).unwrap();
    assert_eq!(df.column("down").unwrap().is_sorted_flag(), IsSorted::Descending);
    let frame = scratch.store.publish("sorted", &df).unwrap();
    assert_same(&frame, &df);
    assert_same(&frame.select(["down", "none"]).unwrap(), &df.select(["down", "none"]).unwrap());
    let opened = OpenOptions::new().columns(["none", "down"]);
    assert_same(&scratch.store.open_with("sorted", &opened).unwrap(), &df.select(["none", "down"]).unwrap());
}

#[test]
fn a_huge_mapping_of_which_a_frame_uses_little_is_compacted() {
    let scratch = scratch();
    let categories = Categories::new("huge".into(), "tests".into(), CategoricalPhysical::U32);
    let dtype = DataType::from_categories(categories);
    let texts: Vec<String> = (0..70_000).map(|i| format!("category {i}")).collect();
    let all = Series::new("c".into(), &texts).cast(&dtype).unwrap();
    let few = DataFrame::new(3, vec![all.slice(69_990, 3).into_column()]).unwrap();
    let frame = scratch.store.publish("few", &few).unwrap();
    assert!(frame.size_bytes() < 20_000, "{} bytes", frame.size_bytes());
    assert_same(&frame, &few);
}

#[test]
fn a_slice_of_long_strings_writes_only_what_it_refers_to() {
    let scratch = scratch();
    let texts: Vec<String> = (0..100_000).map(|i| format!("a rather long text, number {i:06}, of many")).collect();
    let df = df!("s" => &texts, "l" => Series::new("".into(), &texts).implode().unwrap().into_series().new_from_index(0, 1).explode(ExplodeOptions { empty_as_null: true, keep_nulls: true }).unwrap()).unwrap();
    let ten = df.slice(50_000, 10);
    let frame = scratch.store.publish("ten", &ten).unwrap();
    assert!(frame.size_bytes() < 10_000, "{} bytes", frame.size_bytes());
    assert_same(&frame, &ten);
}

#[test]
fn a_thousand_small_chunks_become_one_batch() {
    let scratch = scratch();
    let mut df = df!("s" => ["some text that is not inline"], "x" => [1]).unwrap();
    let one = df.clone();
    for _ in 0..999 {
        df.vstack_mut(&one).unwrap();
    }
    assert_eq!(df.column("x").unwrap().n_chunks(), 1000);
    let frame = scratch.store.publish("many", &df).unwrap();
    assert_eq!(frame.batches().len(), 1);
    assert_same(&frame, &df);
}

#[test]
fn a_column_in_polars_is_copied_before_it_is_changed() {
    let scratch = scratch();
    let df = df!("x" => [1i64, 2, 3]).unwrap();
    let frame = scratch.store.publish("x", &df).unwrap();
    let mut changed = frame.to_polars().unwrap();
    changed.apply("x", |column| column.as_materialized_series() + 1i64).unwrap();
    let mut series = frame.to_polars().unwrap().column("x").unwrap().as_materialized_series().clone();
    drop(series.append(&series.clone()));
    assert_same(&frame, &df);
}

fn leaf() -> impl Strategy<Value = Series> {
    let numbers = prop::collection::vec(prop::option::of(any::<i64>()), 8..9);
    let texts = prop::collection::vec(prop::option::of("[a-zü]{0,20}"), 8..9);
    let dtypes = prop_oneof![
        Just(DataType::Int64),
        Just(DataType::Int128),
        Just(DataType::Float32),
        Just(DataType::Datetime(TimeUnit::Nanoseconds, None)),
        Just(DataType::Duration(TimeUnit::Milliseconds)),
        Just(DataType::Decimal(38, 2)),
        Just(DataType::UInt128),
    ];
    prop_oneof![
        (numbers, dtypes).prop_map(|(values, dtype)| series("", values).cast(&dtype).unwrap()),
        texts.clone().prop_map(|values| Series::new("".into(), values)),
        texts.prop_map(|values| Series::new("".into(), values)
            .cast(&DataType::from_categories(Categories::global()))
            .unwrap()),
        prop::collection::vec(any::<Option<bool>>(), 8..9).prop_map(|values| Series::new("".into(), values)),
    ]
}

fn nested() -> impl Strategy<Value = Series> {
    leaf().prop_recursive(3, 24, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|s| {
                let mut builder = get_list_builder(s.dtype(), 8, 8, "".into());
                for row in 0..8 {
                    if row % 3 == 1 {
                        builder.append_null();
                    } else {
                        builder.append_series(&s.slice(row, row as usize % 3)).unwrap();
                    }
                }
                builder.finish().into_series()
            }),
            prop::collection::vec(inner, 1..3).prop_map(|fields| {
                let fields: Vec<Series> =
                    fields.into_iter().enumerate().map(|(i, s)| s.with_name(format!("f{i}").into())).collect();
                StructChunked::from_series("".into(), 8, fields.iter()).unwrap().into_series()
            }),
        ]
    })
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: std::env::var("PROPTEST_CASES").map_or(64, |cases| cases.parse().unwrap()), failure_persistence: None, ..Default::default() })]

    #[test]
    fn any_frame_comes_back_from_any_slice(columns in prop::collection::vec(nested(), 0..4), start in 0usize..8, len in 0usize..8, rows in 1usize..9) {
        let scratch = scratch();
        let columns = columns.into_iter().enumerate().map(|(i, s)| s.with_name(format!("c{i}").into()).into_column());
        let df = DataFrame::new(8, columns.collect()).unwrap().slice(start as i64, len);
        let options = PublishOptions::new().batch_rows(rows);
        let frame = scratch.store.publish_with("any", &df, &options).unwrap();
        prop_assert!(frame.to_polars().unwrap().equals_missing(&df));
        prop_assert!(scratch.store.verify("any").is_ok());
    }
}
