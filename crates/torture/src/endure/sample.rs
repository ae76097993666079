//! What a process occupies.

use std::{fs, time::Duration};

use coframe::Store;

use crate::Result;

/// Name and unit of each series.
pub(super) const SERIES: [(&str, &str); 4] =
    [("memory without shared pages", " MB"), ("descriptors", ""), ("maps", ""), ("files of the store", "")];

pub(super) struct Sample {
    pub(super) at: Duration,
    pub(super) values: [f64; 4],
}

impl Sample {
    pub(super) fn take(at: Duration, store: &Store) -> Result<Self> {
        let status = fs::read_to_string("/proc/self/status")?;
        let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        let kilobytes: f64 = anonymous.trim().trim_end_matches(" kB").parse()?;
        let descriptors = fs::read_dir("/proc/self/fd")?.count() as f64;
        let maps = fs::read_to_string("/proc/self/maps")?.lines().count() as f64;
        let files = fs::read_dir(store.path())?.count() as f64;
        Ok(Self { at, values: [kilobytes / 1000.0, descriptors, maps, files] })
    }
}

/// The mean of a series in the second quarter of a run, after everything has warmed up, and in the last one.
pub(super) fn early_and_late(samples: &[Sample], series: usize) -> (f64, f64) {
    let quarter = (samples.len() / 4).max(1);
    let mean = |part: &[Sample]| {
        let values = part.iter().map(|sample| sample.values[series]);
        values.sum::<f64>() / part.len().max(1) as f64
    };
    let second = samples.get(quarter..2 * quarter).unwrap_or(samples);
    (mean(second), mean(&samples[samples.len().saturating_sub(quarter)..]))
}

#[cfg(test)]
mod tests {
    use super::{Duration, Sample, early_and_late};

    #[test]
    fn a_leak_shows_as_growth_between_the_second_quarter_and_the_last() {
        let sample = |n: u32| Sample { at: Duration::from_secs(n.into()), values: [f64::from(n), 7.0, 0.0, 0.0] };
        let samples: Vec<Sample> = (0..40).map(sample).collect();
        assert_eq!(early_and_late(&samples, 0), (14.5, 34.5));
        assert_eq!(early_and_late(&samples, 1), (7.0, 7.0));
    }
}
