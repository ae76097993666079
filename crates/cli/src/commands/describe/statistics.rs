//! Statistics of one column.

use polars::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::{
    quantiles::quartiles,
    values::{json_of, json_of_float},
};
use crate::failure::{Failure, Result};

const BINS: usize = 10;
/// How many of the most frequent values are shown.
const TOP: IdxSize = 5;

#[derive(Serialize)]
pub(super) struct Statistics {
    pub(super) name: String,
    pub(super) r#type: String,
    /// The number of values that are not null.
    pub(super) count: usize,
    pub(super) nulls: usize,
    /// The number of distinct values, without null; `None` for types that cannot be compared.
    pub(super) distinct: Option<usize>,
    pub(super) min: Value,
    pub(super) q25: Value,
    pub(super) median: Value,
    pub(super) q75: Value,
    pub(super) max: Value,
    pub(super) mean: Value,
    /// For numbers and times.
    histogram: Option<Histogram>,
    /// For strings and categories, the most frequent first.
    top: Option<Vec<Frequent>>,
    /// Why only counts are available, or `None`.
    error: Option<String>,
}

#[derive(Serialize)]
struct Histogram {
    /// Start of the first bin and end of the last one, as numbers.
    from: f64,
    to: f64,
    counts: Vec<usize>,
}

#[derive(Serialize)]
struct Frequent {
    value: String,
    count: usize,
}

impl Statistics {
    pub(super) fn new(df: &DataFrame, short: String) -> Result<Self> {
        let column = df.columns().first().ok_or_else(|| Failure::failed("no column to describe"))?;
        let series = column.as_materialized_series();
        let dtype = series.dtype();
        let nulls = series.null_count();
        let mut statistics = Self::counted(series.name().to_string(), short, series.len() - nulls, nulls);
        statistics.distinct = series.n_unique().ok().map(|n| n - usize::from(nulls > 0));
        let numeric = dtype.is_primitive_numeric() || dtype.is_temporal() || dtype.is_decimal();
        if matches!(dtype, DataType::String | DataType::Categorical(..) | DataType::Enum(..)) {
            statistics.top = Some(Frequent::new(df)?);
        }
        // An empty column has no statistics, and Polars panics on some types.
        if statistics.count == 0 {
            return Ok(statistics);
        }
        let failed = |error: PolarsError| Failure::failed(format_args!("could not measure the values: {error}"));
        if !(dtype.is_nested() || dtype.is_null() || matches!(dtype, DataType::Binary)) {
            statistics.min = json_of(series.min_reduce().map_err(failed)?.value());
            statistics.max = json_of(series.max_reduce().map_err(failed)?.value());
        }
        if numeric {
            [statistics.q25, statistics.median, statistics.q75] = quartiles(series).map_err(failed)?;
        }
        if numeric || dtype.is_bool() {
            statistics.mean = mean(series).map_err(failed)?;
            statistics.histogram = Histogram::new(series);
        }
        Ok(statistics)
    }

    /// Returns the statistics of a column that Polars cannot read.
    pub(super) fn unreadable(name: String, short: String, count: usize, nulls: usize, error: String) -> Self {
        Self { error: Some(error), ..Self::counted(name, short, count, nulls) }
    }

    fn counted(name: String, short: String, count: usize, nulls: usize) -> Self {
        let [min, q25, median, q75, max, mean] = [const { Value::Null }; 6];
        let r#type = short;
        let (distinct, histogram, top, error) = (None, None, None, None);
        Self { name, r#type, count, nulls, distinct, min, q25, median, q75, max, mean, histogram, top, error }
    }

    /// Returns bars for a histogram, or the most frequent strings with their shares.
    pub(super) fn picture(&self) -> String {
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        if let Some(error) = &self.error {
            return crate::table::cut(error, 120);
        }
        if let Some(histogram) = &self.histogram {
            let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
            // A bin that is not empty gets at least the smallest bar.
            let bar = |count: &usize| BARS[(count * 8).div_ceil(most).min(8)];
            return histogram.counts.iter().map(bar).collect();
        }
        let share = |frequent: &Frequent| {
            let percent = 100.0 * frequent.count as f64 / self.count.max(1) as f64;
            format!("{} {percent:.0}%", crate::table::cut(&frequent.value, 16))
        };
        self.top.iter().flatten().take(3).map(share).collect::<Vec<_>>().join(", ")
    }
}

fn mean(series: &Series) -> PolarsResult<Value> {
    if series.dtype().is_temporal() {
        return Ok(json_of(series.mean_reduce()?.value()));
    }
    Ok(series.mean().map_or(Value::Null, json_of_float))
}

impl Histogram {
    /// Returns `None` if all values are infinite, NaN or null.
    fn new(series: &Series) -> Option<Self> {
        // The physical values of times are the numbers to show; those of decimals lack their point.
        let decimal = series.dtype().is_decimal();
        let numbers = if decimal { series.clone() } else { series.to_physical_repr().into_owned() };
        let floats = numbers.cast(&DataType::Float64).ok()?;
        let floats = floats.f64().ok()?;
        let finite = || floats.iter().flatten().filter(|value| value.is_finite());
        let (from, to) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if from > to {
            return None;
        }
        let mut counts = vec![0; BINS];
        // Halves, so that the difference of two huge numbers does not overflow.
        let width = (to / 2.0 - from / 2.0) / BINS as f64;
        for value in finite() {
            let bin = ((value / 2.0 - from / 2.0) / width.max(f64::MIN_POSITIVE)) as usize;
            counts[bin.min(BINS - 1)] += 1;
        }
        Some(Self { from, to, counts })
    }
}

impl Frequent {
    fn new(df: &DataFrame) -> Result<Vec<Self>> {
        let failed = |error: PolarsError| Failure::failed(format_args!("could not count values: {error}"));
        // Names that cannot clash with the column's.
        let mut column = df.columns()[0].clone();
        column.rename("value".into());
        let df = DataFrame::new(column.len(), vec![column]).map_err(failed)?;
        let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
        let counted = df
            .lazy()
            .filter(col("value").is_not_null())
            .group_by([col("value")])
            .agg([len().alias("count")])
            .with_column(col("value").cast(DataType::String))
            .sort(["count", "value"], order)
            .limit(TOP)
            .collect()
            .map_err(failed)?;
        let values = counted.column("value").and_then(|c| c.str().cloned()).map_err(failed)?;
        let counts = counted.column("count").and_then(|c| c.cast(&DataType::UInt64)).map_err(failed)?;
        let counts = counts.u64().map_err(failed)?;
        let pair = |(value, count): (Option<&str>, Option<u64>)| {
            Some(Self { value: value?.to_owned(), count: usize::try_from(count?).ok()? })
        };
        Ok(values.iter().zip(counts.iter()).filter_map(pair).collect())
    }
}
