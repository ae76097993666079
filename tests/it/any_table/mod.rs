//! Random tables of every Arrow type take every way through the library and come back with their values.

mod crossing;
mod layout;
mod polars;

use self::crossing::Outcome;
use crate::{common::scratch, tables};

/// How many tables the gate tries; ci/deep.sh tries more.
const TABLES: u64 = 2000;

#[test]
fn any_table_comes_back_or_is_refused_by_its_column() {
    let scratch = scratch();
    let (mut written, mut crossed) = (0_u64, 0_u64);
    let again = "cargo test --workspace --test it any_table";
    let tables = tables::check_each(TABLES, again, |random| {
        if let Ok(Outcome { columns_in_polars }) = crossing::check(&scratch, random) {
            written += 1;
            crossed += columns_in_polars as u64;
        }
    });
    if tables >= TABLES {
        assert!(written > tables / 10 * 9, "only {written} of {tables} tables were not refused");
        assert!(crossed > tables, "only {crossed} columns went to Polars");
    }
}
