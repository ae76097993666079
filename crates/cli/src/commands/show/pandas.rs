//! The index that pandas would give a frame, from the description that pyarrow and pandas write into the metadata of a
//! schema.

use coframe::Frame;
use serde_json::Value;

/// The key of the description.
const KEY: &str = "pandas";

/// Returns the index of the `DataFrame` from which the frame came; `None` if it did not come from pandas.
pub(super) fn describe(frame: &Frame) -> Option<String> {
    let described = frame.schema().metadata().get(KEY)?;
    let described: Value = serde_json::from_str(described).ok()?;
    Some(index(&described))
}

fn index(described: &Value) -> String {
    let levels = described["index_columns"].as_array().map(Vec::as_slice).unwrap_or_default();
    let levels: Vec<String> = levels.iter().map(|level| one_level(described, level)).collect();
    match levels.as_slice() {
        [] => "a DataFrame whose rows are numbered".to_owned(),
        [level] => format!("a DataFrame with the index {level}"),
        several => format!("a DataFrame with an index of {} levels: {}", several.len(), several.join(", ")),
    }
}

/// A level is a column, or a range of numbers without a column.
fn one_level(described: &Value, level: &Value) -> String {
    let Some(column) = level.as_str() else {
        let number = |key: &str| level[key].as_i64().unwrap_or_default();
        return format!("RangeIndex({}, {}, {})", number("start"), number("stop"), number("step"));
    };
    let columns = described["columns"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = columns.iter().find(|found| found["field_name"].as_str().or(found["name"].as_str()) == Some(column));
    let text = |key: &str| found.and_then(|found| found[key].as_str());
    // An index without a name has a column that pandas named.
    let name = if column.starts_with("__index_level_") { "without a name".to_owned() } else { format!("`{column}`") };
    match text("numpy_type").filter(|kind| *kind != "object").or_else(|| text("pandas_type")) {
        Some(kind) => format!("{name} ({kind})"),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::index;

    #[test]
    fn the_index_of_a_data_frame_is_named_by_its_levels() {
        let described = serde_json::json!({
            "index_columns": ["day", "__index_level_1__", { "kind": "range", "start": 0, "stop": 9, "step": 3 }],
            "columns": [
                { "name": "x", "field_name": "x", "pandas_type": "int64", "numpy_type": "int64" },
                { "name": "day", "field_name": "day", "pandas_type": "datetime", "numpy_type": "datetime64[ns]" },
                { "name": null, "field_name": "__index_level_1__", "pandas_type": "unicode", "numpy_type": "object" },
            ],
        });
        assert_eq!(
            index(&described),
            "a DataFrame with an index of 3 levels: `day` (datetime64[ns]), without a name (unicode), RangeIndex(0, 9, 3)"
        );
        assert_eq!(index(&serde_json::json!({})), "a DataFrame whose rows are numbered");
    }
}
