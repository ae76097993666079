//! The shared dict: texts to bytes. What keys and values are in Python is said in python/coframe/_dict.py.

use coframe::dict::DictHandle;
use pyo3::{prelude::*, types::PyBytes};

use crate::{error::Result, store::Store, wait::detached};

/// A map from texts to bytes that processes share.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Dict {
    dict: coframe::Dict<String, Vec<u8>>,
}

#[pymethods]
impl Dict {
    /// `how` is `"open_or_create"`, or `"handle"` with its text as `name`.
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str) -> Result<Self> {
        let dict = match (how, store) {
            ("open_or_create", Some(store)) => detached(py, || coframe::Dict::open_or_create(&store.store, name)),
            _ => detached(py, || coframe::Dict::of_handle(&name.parse::<DictHandle>()?)),
        };
        Ok(Self { dict: dict? })
    }

    #[getter]
    fn handle(&self) -> String {
        self.dict.handle().to_string()
    }

    fn get<'py>(&self, py: Python<'py>, key: &str) -> Result<Option<Bound<'py, PyBytes>>> {
        let value = detached(py, || self.dict.get(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    fn contains(&self, py: Python<'_>, key: &str) -> Result<bool> {
        detached(py, || self.dict.contains(key))
    }

    fn __len__(&self, py: Python<'_>) -> PyResult<usize> {
        Ok(detached(py, || self.dict.len())?)
    }

    fn insert(&self, py: Python<'_>, key: &str, value: Vec<u8>) -> Result<()> {
        detached(py, || self.dict.insert(key, &value).map(drop))
    }

    /// The value that was there.
    fn remove<'py>(&self, py: Python<'py>, key: &str) -> Result<Option<Bound<'py, PyBytes>>> {
        let value = detached(py, || self.dict.remove(key))?;
        Ok(value.map(|value| PyBytes::new(py, &value)))
    }

    /// Takes the first entry away, in one step.
    fn pop_first<'py>(&self, py: Python<'py>) -> Result<Option<(String, Bound<'py, PyBytes>)>> {
        let first = detached(py, || {
            self.dict.transaction(|entries| {
                let first = entries.first()?;
                if let Some((key, _)) = &first {
                    entries.delete(key)?;
                }
                Ok::<_, coframe::Error>(first)
            })
        })?;
        Ok(first.map(|(key, value)| (key, PyBytes::new(py, &value))))
    }

    fn clear(&self, py: Python<'_>) -> Result<()> {
        detached(py, || self.dict.clear())
    }

    /// All entries as they are now, in the order of their texts.
    fn entries<'py>(&self, py: Python<'py>) -> Result<Vec<(String, Bound<'py, PyBytes>)>> {
        let entries: Vec<(String, Vec<u8>)> = detached(py, || self.dict.entries()?.collect::<coframe::Result<_>>())?;
        Ok(entries.into_iter().map(|(key, value)| (key, PyBytes::new(py, &value))).collect())
    }

    /// Changes the value of a key in one step: `change` gets its bytes or `None`, and returns bytes, or `None` to remove it.
    fn update<'py>(&self, py: Python<'py>, key: &str, change: Py<PyAny>) -> Result<Option<Bound<'py, PyBytes>>> {
        let mut raised = None;
        let value = detached(py, || {
            self.dict.update(key, |old| {
                let result = Python::attach(|py| {
                    let old_bytes = old.as_ref().map(|old| PyBytes::new(py, old));
                    change.call1(py, (old_bytes,))?.extract::<Option<Vec<u8>>>(py)
                });
                result.unwrap_or_else(|error| {
                    raised = Some(error);
                    old
                })
            })
        })?;
        match raised {
            Some(error) => Err(error.into()),
            None => Ok(value.map(|value| PyBytes::new(py, &value))),
        }
    }
}
