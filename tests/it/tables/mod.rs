//! Random tables of every Arrow type, and the comparison of their values with what came out elsewhere.
//!
//! Compiled into the tests of several packages, so it uses `arrow` and frames only. Each table has a seed.
//! `COFRAME_TABLES` sets how many are tried, and `COFRAME_TABLE` tries one seed alone.

mod arrays;
pub(crate) mod expected;
mod leaves;
mod random;
pub(crate) mod refusal;
pub(crate) mod show;
mod types;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use coframe::arrow::{
    array::{RecordBatch, RecordBatchOptions},
    datatypes::SchemaRef,
};

pub(crate) use expected::Expected;
pub(crate) use random::Random;
pub(crate) use refusal::{check as check_refusal, has};

/// Failures that are reported in full.
const REPORTED: usize = 5;

/// Batches of one schema; none, or some without rows, too.
pub(crate) struct Table {
    pub(crate) schema: SchemaRef,
    pub(crate) batches: Vec<RecordBatch>,
}

impl Table {
    pub(crate) fn random(random: &mut Random) -> Self {
        let schema: SchemaRef = Arc::new(types::schema(random));
        let count = random.pick(&[0, 1, 1, 2, 3, 5]);
        let batches = (0..count).map(|_| batch(random, &schema)).collect();
        Self { schema, batches }
    }
}

fn batch(random: &mut Random, schema: &SchemaRef) -> RecordBatch {
    let rows = random.pick(&[0, 1, 2, 5, 9]);
    let (before, after) = if random.one_in(3) { (random.below(9), random.below(3)) } else { (0, 0) };
    let len = before + rows + after;
    let columns = schema.fields().iter().map(|f| arrays::array(random, f.data_type(), len, f.is_nullable()));
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    let whole = RecordBatch::try_new_with_options(schema.clone(), columns.collect(), &options).unwrap();
    whole.slice(before, rows)
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Checks tables with the seeds from 0, reports those that fail, and returns how many were checked: `few` in the gate.
/// `again` is the command that runs the calling test.
#[track_caller]
pub(crate) fn check_each(few: u64, again: &str, mut check: impl FnMut(&mut Random)) -> u64 {
    let seeds = match number("COFRAME_TABLE") {
        Some(seed) => seed..seed + 1,
        None => 0..number("COFRAME_TABLES").unwrap_or(few),
    };
    let mut failed = Vec::new();
    for seed in seeds.clone() {
        if catch_unwind(AssertUnwindSafe(|| check(&mut Random::new(seed)))).is_err() {
            eprintln!("table {seed} failed; try it alone: COFRAME_TABLE={seed} {again} -- --nocapture");
            failed.push(seed);
            if failed.len() == REPORTED {
                break;
            }
        }
    }
    assert!(failed.is_empty(), "tables that failed: {failed:?}");
    seeds.end - seeds.start
}
