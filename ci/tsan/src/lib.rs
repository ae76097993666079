//! Tests of `tests/it` that use threads and compile without Polars, for `ThreadSanitizer` (`ci/tsan.sh`).

#![cfg(test)]

#[path = "../../../tests/it/cell_barriers.rs"]
mod cell_barriers;
#[path = "../../../tests/it/cell_leaks.rs"]
mod cell_leaks;
#[path = "../../../tests/it/cell_poison.rs"]
mod cell_poison;
#[path = "../../../tests/it/cell_threads.rs"]
mod cell_threads;
#[path = "../../../tests/it/cell_waits.rs"]
mod cell_waits;
#[path = "../../../tests/it/cells.rs"]
mod cells;
#[path = "../../../tests/it/common.rs"]
#[expect(dead_code, unused_imports, reason = "tests that are not here use them")]
mod common;
#[path = "../../../tests/it/map_cache.rs"]
mod map_cache;
#[path = "../../../tests/it/map_failures.rs"]
mod map_failures;
#[path = "../../../tests/it/pool_tasks.rs"]
mod pool_tasks;
#[path = "../../../tests/it/scratch.rs"]
mod scratch;
#[path = "../../../tests/it/sessions.rs"]
mod sessions;
#[path = "../../../tests/it/threads.rs"]
mod threads;
#[path = "../../../tests/it/waits.rs"]
mod waits;

/// What `tests/it/maps.rs`, which needs more crates, gives to other modules.
mod maps {
    use coframe::SharedMap;
    use serde::{Serialize, de::DeserializeOwned};

    pub(crate) fn all<K: Serialize + DeserializeOwned, V: Serialize + DeserializeOwned>(
        dict: &SharedMap<K, V>,
    ) -> Vec<(K, V)> {
        dict.iter().unwrap().map(Result::unwrap).collect()
    }
}

/// What `tests/it/pool.rs` gives to other modules.
mod pool {
    use coframe::{Pool, pool::Builder};

    use crate::common::Scratch;

    #[test]
    fn worker() {
        coframe::pool::init();
    }

    pub(crate) fn builder(scratch: &Scratch) -> Builder {
        Pool::builder().worker_test("pool::worker").store(&scratch.store).workers(2)
    }
}

/// What `tests/it/store.rs` gives to other modules.
mod store {
    use std::sync::Arc;

    use coframe::{
        Frame,
        arrow::{
            array::{AsArray, Int64Array, RecordBatch},
            datatypes::Int64Type,
        },
    };

    pub(crate) fn numbers(values: &[i64]) -> RecordBatch {
        RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(values.to_vec())) as _)]).unwrap()
    }

    pub(crate) fn values(frame: &Frame) -> Vec<i64> {
        let columns = frame.column("x").unwrap();
        columns.iter().flat_map(|array| array.as_primitive::<Int64Type>().values().to_vec()).collect()
    }
}
