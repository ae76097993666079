//! Metadata of schemas: pandas' index, `geo` of `GeoParquet`, and other entries that writers of Parquet and Arrow files
//! record.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

/// The key under which pandas describes the index and the dtypes of a `DataFrame`.
const PANDAS: &str = "pandas";

/// Metadata of several files, while they are compared.
#[derive(Default)]
pub(super) struct Common {
    /// The metadata of the first file, without the entries in which another file differs; `None` before the first file.
    entries: Option<HashMap<String, String>>,
    /// The keys that not all files have with the same value.
    differing: BTreeSet<String>,
}

impl Common {
    pub(super) fn add(&mut self, metadata: &HashMap<String, String>) {
        let Some(entries) = &mut self.entries else {
            self.entries = Some(metadata.clone());
            return;
        };
        let agrees = |key: &str, value: &str| match metadata.get(key) {
            Some(other) if key == PANDAS => comparable(value) == comparable(other),
            other => other.is_some_and(|other| other == value),
        };
        let differing = entries.iter().filter(|(key, value)| !agrees(key, value)).map(|(key, _)| key.clone());
        self.differing.extend(differing);
        self.differing.extend(metadata.keys().filter(|key| !entries.contains_key(*key)).cloned());
        entries.retain(|key, _| !self.differing.contains(key));
        if let Some(described) = entries.get_mut(PANDAS) {
            *described = without_range(described);
        }
    }

    /// Returns what all files have, and a note about the entries in which they differ.
    pub(super) fn finish(self) -> (HashMap<String, String>, Option<String>) {
        let keys = self.differing.into_iter().collect::<Vec<_>>().join("`, `");
        let note = format!("the files differ in their metadata `{keys}`, which the frame does not get");
        (self.entries.unwrap_or_default(), Some(note).filter(|_| !keys.is_empty()))
    }
}

/// Returns what pandas describes of a file, without what belongs to that file alone: its range of row numbers, the
/// version of its writer, and how many categories its columns have.
fn comparable(described: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(&without_range(described)).ok()?;
    let object = value.as_object_mut()?;
    object.remove("creator");
    object.remove("pandas_version");
    for column in object.get_mut("columns").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(details) = column.get_mut("metadata").and_then(Value::as_object_mut) {
            details.remove("num_categories");
        }
    }
    Some(value)
}

/// Removes the range, which numbers the rows of one file. Without it pandas numbers the rows of all files from 0.
fn without_range(described: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<Value>(described) else { return described.to_owned() };
    let Some(levels) = value.get_mut("index_columns").and_then(Value::as_array_mut) else {
        return described.to_owned();
    };
    let before = levels.len();
    levels.retain(|level| level.get("kind").and_then(Value::as_str) != Some("range"));
    if levels.len() == before { described.to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(entries: &[(&str, &str)]) -> HashMap<String, String> {
        entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn common(files: &[HashMap<String, String>]) -> (HashMap<String, String>, Option<String>) {
        let mut common = Common::default();
        for file in files {
            common.add(file);
        }
        common.finish()
    }

    #[test]
    fn metadata_that_all_files_have_alike_is_kept_and_the_rest_is_named() {
        let (kept, note) =
            common(&[map(&[("a", "1"), ("b", "2"), ("c", "3")]), map(&[("a", "1"), ("b", "9"), ("d", "4")])]);
        assert_eq!(kept, map(&[("a", "1")]));
        assert!(note.unwrap().contains("`b`, `c`, `d`"));
        let one = map(&[("a", "1")]);
        assert_eq!(common(std::slice::from_ref(&one)), (one.clone(), None));
        // An entry in which two files differ stays out if a third one has it as the first.
        assert_eq!(common(&[one.clone(), map(&[("a", "2")]), one]).0, map(&[]));
    }

    #[test]
    fn a_range_index_of_several_files_is_left_to_pandas() {
        let file = |stop: u32, categories: u32| {
            let range = format!(r#"{{"kind":"range","name":null,"start":0,"stop":{stop},"step":1}}"#);
            let column = format!(r#"{{"name":"k","metadata":{{"num_categories":{categories},"ordered":false}}}}"#);
            map(&[(PANDAS, &format!(r#"{{"index_columns":[{range}],"columns":[{column}]}}"#))])
        };
        assert_eq!(common(&[file(2, 1)]).0, file(2, 1));
        let (kept, note) = common(&[file(2, 1), file(5, 3)]);
        let kept: Value = serde_json::from_str(&kept[PANDAS]).unwrap();
        assert_eq!((&kept["index_columns"], note), (&serde_json::json!([]), None));
        let named = map(&[(PANDAS, r#"{"index_columns":["key"],"columns":[]}"#)]);
        assert_eq!(common(&[named.clone(), named.clone()]).0, named);
        assert!(common(&[named, file(2, 1)]).1.is_some());
    }
}
