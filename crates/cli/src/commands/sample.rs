//! `coframe sample`: random rows of a frame.

use std::{collections::BTreeSet, hash::BuildHasher};

use coframe::arrow::{array::UInt64Array, compute::take_record_batch};

use super::rows::RowOptions;
use crate::{
    context::Context,
    failure::{Failure, Result},
};

/// Print rows chosen at random, in their order, each at most once
#[derive(clap::Args)]
pub(crate) struct Sample {
    #[command(flatten)]
    what: RowOptions,

    /// Choose the same rows each time
    #[arg(long)]
    seed: Option<u64>,
}

impl Sample {
    pub(crate) fn run(self, context: &Context) -> Result {
        let frame = self.what.frame(context)?;
        // Keys of the hasher are random in each process.
        let seed = self.seed.unwrap_or_else(|| std::hash::RandomState::new().hash_one(0));
        let chosen = choose(frame.num_rows() as u64, self.what.rows as u64, seed);
        let mut batches = Vec::new();
        let mut first = 0;
        for batch in frame.batches() {
            let next = first + batch.num_rows() as u64;
            let rows: UInt64Array = chosen.range(first..next).map(|row| row - first).collect::<Vec<_>>().into();
            first = next;
            let taken = take_record_batch(batch, &rows);
            batches.push(taken.map_err(|error| Failure::failed(format_args!("could not take rows: {error}")))?);
        }
        self.what.print(&frame, &batches, context)
    }
}

/// Chooses rows at random; every set of them is equally likely (Floyd's method).
fn choose(of: u64, count: u64, seed: u64) -> BTreeSet<u64> {
    let mut state = seed;
    let mut chosen = BTreeSet::new();
    for last in of.saturating_sub(count)..of {
        let row = (u128::from(split_mix(&mut state)) * u128::from(last + 1)) >> 64;
        let row = u64::try_from(row).unwrap_or(last);
        if !chosen.insert(row) {
            chosen.insert(last);
        }
    }
    chosen
}

/// Returns the next number of `SplitMix64`.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::choose;

    #[test]
    fn a_sample_has_as_many_rows_as_asked_and_all_where_there_are_fewer() {
        for seed in 0..50 {
            let chosen = choose(1000, 10, seed);
            assert_eq!(chosen.len(), 10);
            assert!(chosen.iter().all(|row| *row < 1000));
            assert_eq!(choose(5, 10, seed).len(), 5);
        }
        assert!(choose(0, 3, 1).is_empty());
        assert_ne!(choose(1000, 10, 1), choose(1000, 10, 2));
    }

    #[test]
    fn every_row_is_chosen_about_equally_often() {
        let mut counts = [0; 10];
        for seed in 0..2000 {
            for row in choose(10, 3, seed) {
                counts[row as usize] += 1;
            }
        }
        // 600 each are expected; the standard deviation is 20.
        assert!(counts.iter().all(|count| (480..720).contains(count)), "{counts:?}");
    }
}
