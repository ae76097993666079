//! The message that a worker receives before its first task.

use std::{
    ffi::OsString,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

use super::{
    function::Function,
    wire::{Body, put_bytes},
};
use crate::error::Result;

/// What runs once in a worker: a function and its encoded argument.
pub(super) type Initializer = (Function, Vec<u8>);

/// The settings of every worker of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setup {
    pub(super) store: PathBuf,
    pub(super) session: String,
    /// The number of the worker in the life of its pool. It is part of the names of the frames that the worker
    /// publishes.
    pub(super) worker: u64,
    /// Bytes of private writable memory.
    pub(super) memory_limit: Option<u64>,
    pub(super) initializer: Option<Initializer>,
}

impl Setup {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.store.as_os_str().as_bytes());
        put_bytes(out, self.session.as_bytes());
        out.extend_from_slice(&self.worker.to_le_bytes());
        out.extend_from_slice(&self.memory_limit.unwrap_or(0).to_le_bytes());
        if let Some((function, argument)) = &self.initializer {
            out.extend_from_slice(&function.run.to_le_bytes());
            out.extend_from_slice(&function.target.to_le_bytes());
            put_bytes(out, argument);
        }
    }

    pub(super) fn read(body: &mut Body<'_>) -> Result<Self> {
        let store = OsString::from_vec(body.bytes()?.to_vec()).into();
        let (session, worker) = (body.text()?, body.u64()?);
        let limit = body.u64()?;
        let initializer = if body.0.is_empty() {
            None
        } else {
            Some((Function { run: body.u64()?, target: body.u64()? }, body.bytes()?.to_vec()))
        };
        Ok(Self { store, session, worker, memory_limit: (limit > 0).then_some(limit), initializer })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::wire::Body, Function, Setup};

    #[test]
    fn a_setup_survives_the_wire() {
        let mut setup = Setup {
            store: "/dev/shm/x".into(),
            session: "ab".into(),
            worker: 9,
            memory_limit: None,
            initializer: None,
        };
        setup.memory_limit = Some(7);
        for initializer in [None, Some((Function { run: 1, target: 2 }, vec![3, 4]))] {
            setup.initializer = initializer;
            let mut out = Vec::new();
            setup.write(&mut out);
            assert_eq!(Setup::read(&mut Body(&out)).unwrap(), setup);
        }
    }
}
