//! Random tables of every Arrow type take every way through the library and come back with their values.
//!
//! Each table has a seed. `COFRAME_TABLES` sets how many are tried, and `COFRAME_TABLE` tries one seed alone.

mod arrays;
mod crossing;
mod leaves;
mod random;
mod show;
mod types;

use std::panic::{AssertUnwindSafe, catch_unwind};

use self::{crossing::Outcome, random::Random};
use crate::common::scratch;

/// How many tables the gate tries; ci/deep.sh tries more.
const TABLES: u64 = 2000;
/// Failures that are reported in full.
const REPORTED: usize = 5;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[test]
fn any_table_comes_back_or_is_refused_by_its_column() {
    let seeds = match number("COFRAME_TABLE") {
        Some(seed) => seed..seed + 1,
        None => 0..number("COFRAME_TABLES").unwrap_or(TABLES),
    };
    let scratch = scratch();
    let (mut failed, mut written, mut crossed) = (Vec::new(), 0_u64, 0_u64);
    for seed in seeds.clone() {
        let table = catch_unwind(AssertUnwindSafe(|| crossing::check(&scratch, &mut Random::new(seed))));
        match table {
            Ok(Ok(Outcome { columns_in_polars })) => {
                written += 1;
                crossed += columns_in_polars as u64;
            }
            Ok(Err(crossing::Refused)) => {}
            Err(_) => {
                let again = "cargo test --workspace --test it any_table -- --nocapture";
                eprintln!("table {seed} failed; try it alone: COFRAME_TABLE={seed} {again}");
                failed.push(seed);
                if failed.len() == REPORTED {
                    break;
                }
            }
        }
    }
    assert!(failed.is_empty(), "tables that failed: {failed:?}");
    if seeds.end - seeds.start >= TABLES {
        let tables = seeds.end - seeds.start;
        assert!(written > tables / 10 * 9, "only {written} of {tables} tables were not refused");
        assert!(crossed > tables, "only {crossed} columns went to Polars");
    }
}
