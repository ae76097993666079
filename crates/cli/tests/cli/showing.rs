//! What people see of values and metadata that have no plain text.

use coframe::{PublishOptions, polars::prelude::*};

use crate::common::scratch;

#[test]
fn a_time_beyond_the_calendar_hides_no_other_value() {
    let scratch = scratch();
    let df = df!("at" => [i64::MAX, 0], "n" => [1, 2]).unwrap();
    let far = col("at").cast(DataType::Datetime(TimeUnit::Microseconds, None));
    scratch.store().publish("t", &df.lazy().with_column(far).collect().unwrap()).unwrap();
    for args in [&["head", "t"][..], &["tail", "t"], &["sample", "t"], &["sql", "select * from t"]] {
        let text = scratch.ok(args);
        let row = |value: &str, n: i32| format!("│ {value:<33} ┆ {n:>3} │");
        for row in [row("9223372036854775807 µs since 1970", 1), row("1970-01-01T00:00:00", 2)] {
            assert!(text.contains(&row), "{args:?}: {row}\n{text}");
        }
    }
    assert!(
        scratch.fails(1, &["head", "t", "--csv"]).contains("column `at` has a date or time that text cannot write")
    );
}

#[test]
fn show_describes_a_frame_of_pandas_and_hides_the_entries_of_the_package() {
    use coframe::arrow::{
        array::{Int64Array, RecordBatch},
        datatypes::{DataType, Field, Schema},
    };
    let scratch = scratch();
    let pandas = r#"{"index_columns":["day"],"columns":[{"name":"day","field_name":"day","numpy_type":"int64"}]}"#;
    let schema = Schema::new_with_metadata(
        vec![Field::new("day", DataType::Int64, true)],
        [("pandas".to_owned(), pandas.to_owned())].into(),
    );
    let batch = RecordBatch::try_new(schema.into(), vec![std::sync::Arc::new(Int64Array::from(vec![1]))]).unwrap();
    let options = PublishOptions::new().metadata("coframe.python.pandas", "a pickle").metadata("source", "here");
    scratch.store().publish_with("t", &batch, &options).unwrap();
    let text = scratch.ok(&["show", "t"]);
    assert!(text.contains("\npandas    a DataFrame with the index `day` (int64)\n"), "{text}");
    assert!(text.contains("\nmetadata  source=here\n") && !text.contains("coframe.python"), "{text}");
    assert_eq!(scratch.json(&["show", "t"])["metadata"]["coframe.python.pandas"], "a pickle");
}
