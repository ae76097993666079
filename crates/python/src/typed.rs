//! Values and arrays under a lock, for each type of number that Python has a code for.

use std::time::Duration;

use coframe::sync::{Array, Guard, Mutex, MutexGuard, Pod};
use pyo3::{prelude::*, types::PyList};

use crate::{
    error::Result,
    held_locks::{self, Held},
    open_by::{OpenBy, open_by},
};

/// A `Value` or `Array` of some type.
pub(crate) trait Locked: Send + Sync {
    fn handle(&self) -> String;
    fn len(&self) -> usize;
    /// Takes the lock for this thread; false on a timeout.
    fn lock(&self, cell: &str, limit: Duration) -> Result<bool>;
    /// Takes the lock though its owner died inside.
    fn lock_poisoned(&self, cell: &str) -> Result<()>;
    /// What Python gave as plain numbers, which `Held::set` takes without a call of Python's code: that may want the lock.
    fn plain<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>;
    /// Where the elements of an array, or the value, are.
    fn address(&self) -> usize;
}

/// A type that cells hold and Python knows.
trait Plain: Pod + Default {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>>;
    fn from_py(value: &Bound<'_, PyAny>) -> PyResult<Self>;
}

impl Plain for () {
    fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(py.None())
    }

    fn from_py(_: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(())
    }
}

fn plain<'py, T: Plain>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    Ok(T::from_py(value)?.to_py(value.py())?.into_bound(value.py()))
}

/// Takes a lock into the thread's storage. `Err(None)`: the wait timed out.
fn keep<H: Held + 'static>(held: std::result::Result<H, Option<coframe::Error>>, cell: &str) -> Result<bool> {
    match held {
        Ok(held) => {
            held_locks::put(cell, Box::new(held));
            Ok(true)
        }
        Err(Some(error)) => Err(error.into()),
        Err(None) => Ok(false),
    }
}

fn in_time<G>(guard: coframe::Result<Option<G>>) -> std::result::Result<G, Option<coframe::Error>> {
    guard.map_err(Some)?.ok_or(None)
}

/// A value of one type, and its guard together with what it borrows.
macro_rules! value_cell {
    ($module:ident, $type:ty) => {
        pub(super) mod $module {
            use super::*;

            type Dependent<'a> = MutexGuard<'a, $type>;
            self_cell::self_cell! {
                struct Kept {
                    owner: Mutex<$type>,
                    #[covariant]
                    dependent: Dependent,
                }
            }

            impl Held for Kept {
                fn get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                    Plain::to_py(**self.borrow_dependent(), py)
                }

                fn set(&mut self, value: &Bound<'_, PyAny>) -> PyResult<()> {
                    let value = <$type as Plain>::from_py(value)?;
                    self.with_dependent_mut(|_, guard| **guard = value);
                    Ok(())
                }

                fn clear_poison(&mut self) {
                    self.with_dependent_mut(|_, guard| guard.clear_poison());
                }
            }

            impl Locked for Mutex<$type> {
                fn handle(&self) -> String {
                    Mutex::handle(self).to_string()
                }

                fn len(&self) -> usize {
                    1
                }

                fn lock(&self, cell: &str, limit: Duration) -> Result<bool> {
                    keep(Kept::try_new(self.clone(), |value| in_time(value.try_lock_for(limit))), cell)
                }

                fn lock_poisoned(&self, cell: &str) -> Result<()> {
                    let held = Kept::try_new(self.clone(), |value| value.lock_poisoned().map_err(Some));
                    keep(held, cell).map(drop)
                }

                fn plain<'py>(&self, value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                    plain::<$type>(value)
                }

                fn address(&self) -> usize {
                    self.as_mut_ptr().expose_provenance()
                }
            }

            pub(in super::super) fn make(
                by: OpenBy<'_>,
                initial: Option<&Bound<'_, PyAny>>,
            ) -> Result<Box<dyn Locked>> {
                let initial = initial.map_or_else(|| Ok(<$type>::default()), <$type as Plain>::from_py)?;
                Ok(Box::new(open_by!(by, Mutex::<$type>, initial)?))
            }
        }
    };
}

/// An array of one type, and its guard together with what it borrows.
macro_rules! array_cell {
    ($module:ident, $type:ty) => {
        pub(super) mod $module {
            use super::*;

            type Dependent<'a> = Guard<'a, $type>;
            self_cell::self_cell! {
                struct Kept {
                    owner: Array<$type>,
                    #[covariant]
                    dependent: Dependent,
                }
            }

            impl Held for Kept {
                fn get(&self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                    let values = self.borrow_dependent().iter().map(|value| Plain::to_py(*value, py));
                    Ok(PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)?.into_any().unbind())
                }

                fn set(&mut self, values: &Bound<'_, PyAny>) -> PyResult<()> {
                    let values = values.try_iter()?.map(|value| <$type as Plain>::from_py(&value?));
                    let values = values.collect::<PyResult<Vec<_>>>()?;
                    let len = self.borrow_dependent().len();
                    if len != values.len() {
                        let message = format!("{} values for an array of {len}", values.len());
                        return Err(pyo3::exceptions::PyValueError::new_err(message));
                    }
                    self.with_dependent_mut(|_, guard| guard.copy_from_slice(&values));
                    Ok(())
                }

                fn clear_poison(&mut self) {
                    self.with_dependent_mut(|_, guard| guard.clear_poison());
                }
            }

            impl Locked for Array<$type> {
                fn handle(&self) -> String {
                    Array::handle(self).to_string()
                }

                fn len(&self) -> usize {
                    Array::len(self)
                }

                fn lock(&self, cell: &str, limit: Duration) -> Result<bool> {
                    keep(Kept::try_new(self.clone(), |array| in_time(array.try_lock_for(limit))), cell)
                }

                fn lock_poisoned(&self, cell: &str) -> Result<()> {
                    let held = Kept::try_new(self.clone(), |array| array.lock_poisoned().map_err(Some));
                    keep(held, cell).map(drop)
                }

                fn plain<'py>(&self, values: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
                    let py = values.py();
                    let values = values.try_iter()?.map(|value| plain::<$type>(&value?));
                    Ok(PyList::new(py, values.collect::<PyResult<Vec<_>>>()?)?.into_any())
                }

                fn address(&self) -> usize {
                    self.as_mut_ptr().expose_provenance()
                }
            }

            pub(in super::super) fn make(by: OpenBy<'_>, len: usize) -> Result<Box<dyn Locked>> {
                Ok(Box::new(open_by!(by, Array::<$type>, len)?))
            }
        }
    };
}

macro_rules! numbers {
    ($($name:ident)*) => {
        $(impl Plain for $name {
            fn to_py(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
                Ok(self.into_pyobject(py)?.into_any().unbind())
            }

            fn from_py(value: &Bound<'_, PyAny>) -> PyResult<Self> {
                value.extract()
            }
        })*

        mod values {
            use super::*;
            $(value_cell!($name, $name);)*
            value_cell!(lock, ());
        }

        mod arrays {
            use super::*;
            $(array_cell!($name, $name);)*
        }

        /// The value of a kind; `None` for a kind that is unknown.
        pub(crate) fn value(kind: &str, by: OpenBy<'_>, initial: Option<&Bound<'_, PyAny>>) -> Option<Result<Box<dyn Locked>>> {
            Some(match kind {
                $(stringify!($name) => values::$name::make(by, initial),)*
                "lock" => values::lock::make(by, None),
                _ => return None,
            })
        }

        /// The array of a kind; `None` for a kind that is unknown.
        pub(crate) fn array(kind: &str, by: OpenBy<'_>, len: usize) -> Option<Result<Box<dyn Locked>>> {
            Some(match kind {
                $(stringify!($name) => arrays::$name::make(by, len),)*
                _ => return None,
            })
        }
    };
}

numbers! { i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 }
