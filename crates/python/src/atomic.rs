//! Cells without a lock for their readers: what Python's `Flag`, `AtomicArray` and `Latest` use.

use std::{thread, time::Duration};

use coframe::sync::{self, Latest as Bytes};
use pyo3::{IntoPyObjectExt, prelude::*, types::PyBytes};

use crate::{
    detach::detached,
    error::{Result, exception},
    open_by::{OpenBy, obtain, open_by},
    store::Store,
};

/// A flag.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Flag {
    cell: sync::Flag,
}

#[pymethods]
impl Flag {
    #[new]
    fn new(py: Python<'_>, how: &str, store: Option<&Store>, name: &str) -> Result<Self> {
        let cell = obtain(py, how, store, name, |by| Ok(open_by!(by, sync::Flag)?))?;
        Ok(Self { cell })
    }

    #[getter]
    fn handle(&self) -> String {
        self.cell.handle().to_string()
    }

    fn get(&self) -> bool {
        self.cell.get()
    }

    fn swap(&self, on: bool) -> bool {
        self.cell.swap(on)
    }
}

/// A `sync::AtomicArray` of some type.
trait Numbers: Send + Sync {
    fn handle(&self) -> String;
    fn len(&self) -> usize;
    fn list(&self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    fn get(&self, py: Python<'_>, index: usize) -> PyResult<Option<Py<PyAny>>>;
    /// Changes an element by a method of this name, and returns its new value; `None` if the index is out of range.
    fn change(&self, method: &str, index: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>>;
}

macro_rules! numbers {
    ($($type:ident)*) => {
        $(impl Numbers for sync::AtomicArray<$type> {
            fn handle(&self) -> String {
                sync::AtomicArray::handle(self).to_string()
            }

            fn len(&self) -> usize {
                sync::AtomicArray::len(self)
            }

            fn list(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                self.to_vec().into_py_any(py)
            }

            fn get(&self, py: Python<'_>, index: usize) -> PyResult<Option<Py<PyAny>>> {
                sync::AtomicArray::get(self, index).map(|value| value.into_py_any(py)).transpose()
            }

            fn change(&self, method: &str, index: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
                let number: $type = value.extract()?;
                let changed = match method {
                    "add" => self.add(index, number),
                    "max" => self.max(index, number),
                    "min" => self.min(index, number),
                    _ => self.set(index, number).map(|()| number),
                };
                changed.map(|changed| changed.into_py_any(value.py())).transpose()
            }
        })*

        /// The array of a kind; `None` for a kind that atomics do not have.
        fn numbers(kind: &str, by: OpenBy<'_>, len: usize) -> Option<Result<Box<dyn Numbers>>> {
            Some(match kind {
                $(stringify!($type) => open_by!(by, sync::AtomicArray::<$type>, len)
                .map(|array| Box::new(array) as Box<dyn Numbers>)
                .map_err(Into::into),)*
                _ => return None,
            })
        }
    };
}

numbers! { i32 u32 i64 u64 f32 f64 }

/// Numbers, each of which any process changes by itself.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct AtomicArray {
    numbers: Box<dyn Numbers>,
}

#[pymethods]
impl AtomicArray {
    #[new]
    fn new(py: Python<'_>, kind: &str, how: &str, store: Option<&Store>, name: &str, len: usize) -> Result<Self> {
        let found = obtain(py, how, store, name, |by| numbers(kind, by, len).transpose())?;
        let unknown = || {
            let message = format!("an atomic array of `{kind}`: expected numbers of 32 or 64 bits");
            exception(py, "InvalidError", &message)
        };
        Ok(Self { numbers: found.ok_or_else(unknown)? })
    }

    #[getter]
    fn handle(&self) -> String {
        self.numbers.handle()
    }

    fn __len__(&self) -> usize {
        self.numbers.len()
    }

    fn list(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        self.numbers.list(py)
    }

    fn get(&self, py: Python<'_>, index: usize) -> PyResult<Option<Py<PyAny>>> {
        self.numbers.get(py, index)
    }

    fn change(&self, method: &str, index: usize, value: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        self.numbers.change(method, index, value)
    }
}

/// A `sync::Latest` of some number of bytes, of which the first four count those that are used.
trait Latests: Send + Sync {
    fn handle(&self) -> String;
    fn read(&self) -> Vec<u8>;
    /// Whether this was the writer for a moment; there may be another.
    fn write(&self, bytes: &[u8]) -> coframe::Result<bool>;
}

impl<const N: usize> Latests for Bytes<[u8; N]>
where
    [u8; N]: sync::Pod,
{
    fn handle(&self) -> String {
        Bytes::handle(self).to_string()
    }

    fn read(&self) -> Vec<u8> {
        unpacked(&Bytes::read(self)).to_vec()
    }

    fn write(&self, bytes: &[u8]) -> coframe::Result<bool> {
        match self.writer() {
            Ok(mut writer) => writer.write(&packed(bytes)),
            Err(error) if error.is_busy() => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// Bytes of the length.
const HEAD: usize = 4;

fn packed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut packed = [0; N];
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
    packed.iter_mut().zip(len.iter().chain(bytes)).for_each(|(to, from)| *to = *from);
    packed
}

fn unpacked(packed: &[u8]) -> &[u8] {
    let Some((len, rest)) = packed.split_first_chunk::<HEAD>() else { return &[] };
    let len = usize::try_from(u32::from_le_bytes(*len)).unwrap_or(usize::MAX);
    rest.get(..len).unwrap_or(rest)
}

macro_rules! latests {
    ($($size:literal)*) => {
        /// The snapshot of a size; `None` for a size that is not one of these.
        fn latest(size: usize, by: OpenBy<'_>, bytes: &[u8]) -> Option<Result<Box<dyn Latests>>> {
            Some(match size {
                $($size => open_by!(by, Bytes::<[u8; $size]>, packed(bytes))
                .map(|latest| Box::new(latest) as Box<dyn Latests>)
                .map_err(Into::into),)*
                _ => return None,
            })
        }

        /// The sizes, ascending.
        const SIZES: &[usize] = &[$($size),*];
    };
}

latests! { 64 256 1024 4096 }

/// Bytes that readers copy without waiting.
#[pyclass(frozen, module = "coframe._coframe")]
pub(crate) struct Latest {
    latest: Box<dyn Latests>,
    size: usize,
}

#[pymethods]
impl Latest {
    #[new]
    fn new(py: Python<'_>, size: usize, how: &str, store: Option<&Store>, name: &str, bytes: &[u8]) -> Result<Self> {
        let found = obtain(py, how, store, name, |by| latest(size, by, bytes).transpose())?;
        let unknown = || exception(py, "InvalidError", &format!("a size of {size}: expected one of {SIZES:?}"));
        Ok(Self { latest: found.ok_or_else(unknown)?, size })
    }

    /// The least size that has room for this number of bytes.
    #[staticmethod]
    fn size_for(len: usize) -> Option<usize> {
        SIZES.iter().copied().find(|size| len.checked_add(HEAD).is_some_and(|needed| needed <= *size))
    }

    #[getter]
    fn handle(&self) -> String {
        self.latest.handle()
    }

    fn read<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.latest.read())
    }

    /// Waits for another writer to end; Ctrl-C ends that.
    fn write(&self, py: Python<'_>, bytes: &[u8]) -> Result<()> {
        if bytes.len() + HEAD > self.size {
            let message = format!("a value of {} bytes: expected at most {}", bytes.len(), self.size - HEAD);
            return Err(exception(py, "InvalidError", &message).into());
        }
        while !detached(py, || self.latest.write(bytes))? {
            py.check_signals()?;
            py.detach(|| thread::sleep(Duration::from_micros(50)));
        }
        Ok(())
    }
}
