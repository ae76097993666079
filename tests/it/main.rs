//! The library through its public API, with real files and real processes.

mod any_table;
mod arrow_types;
mod cell_leaks;
mod cell_waits;
mod cells;
mod common;
mod corruption;
mod dict_failures;
mod dicts;
mod hostile;
mod mutation;
mod nested_slices;
mod polars_categories;
mod polars_nested;
mod polars_types;
mod pool;
mod pool_common;
mod pool_failures;
mod pool_lifetime;
mod pool_published;
mod pool_tasks;
mod processes;
mod seam;
mod shm;
mod store;
mod waits;
