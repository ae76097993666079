//! What can be said about one column.

use polars::prelude::*;
use serde::Serialize;
use serde_json::{Number, Value, json};

use crate::failure::{Failure, Result};

const BINS: usize = 10;
/// How many of the most frequent values are told.
const TOP: IdxSize = 5;

#[derive(Serialize)]
pub(super) struct Statistics {
    pub(super) name: String,
    pub(super) r#type: String,
    /// Values that are not null.
    pub(super) count: usize,
    pub(super) nulls: usize,
    /// Different values, null not among them; `None` for types that cannot be compared.
    pub(super) distinct: Option<usize>,
    pub(super) min: Value,
    pub(super) q25: Value,
    pub(super) median: Value,
    pub(super) q75: Value,
    pub(super) max: Value,
    pub(super) mean: Value,
    /// Numbers and times.
    histogram: Option<Histogram>,
    /// Texts and categories, the most frequent first.
    top: Option<Vec<Frequent>>,
}

#[derive(Serialize)]
struct Histogram {
    /// Where the first bin begins and the last one ends, as numbers.
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
    pub(super) fn of(df: &DataFrame, short: String) -> Result<Self> {
        let column = df.columns().first().ok_or_else(|| Failure::failed("there is no column to describe"))?;
        let series = column.as_materialized_series();
        let dtype = series.dtype().clone();
        let nulls = series.null_count();
        let ordered = !(dtype.is_nested() || dtype.is_null() || matches!(dtype, DataType::Binary));
        let numeric = dtype.is_primitive_numeric() || dtype.is_temporal() || dtype.is_decimal();
        let texts = matches!(dtype, DataType::String | DataType::Categorical(..) | DataType::Enum(..));
        let top = texts.then(|| Frequent::of(df)).transpose()?;
        let of = |ok: bool, value: &dyn Fn() -> PolarsResult<Scalar>| {
            if ok { value().map_or(Value::Null, |scalar| json_of(scalar.value())) } else { Value::Null }
        };
        let quantile = |at: f64| move || series.quantile_reduce(at, QuantileMethod::Nearest);
        Ok(Self {
            name: series.name().to_string(),
            r#type: short,
            count: series.len() - nulls,
            nulls,
            distinct: series.n_unique().ok().map(|n| n - usize::from(nulls > 0)),
            min: of(ordered, &|| series.min_reduce()),
            q25: of(numeric, &quantile(0.25)),
            median: of(numeric, &quantile(0.5)),
            q75: of(numeric, &quantile(0.75)),
            max: of(ordered, &|| series.max_reduce()),
            mean: of(numeric || dtype.is_bool(), &|| series.mean_reduce()),
            histogram: if numeric || dtype.is_bool() { Histogram::of(series) } else { None },
            top,
        })
    }

    /// Bars for a histogram, or the most frequent texts with their shares.
    pub(super) fn picture(&self) -> String {
        const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
        if let Some(histogram) = &self.histogram {
            let most = histogram.counts.iter().copied().max().unwrap_or(0).max(1);
            // A bin with anything in it shows something.
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

impl Histogram {
    /// `None` when there is no finite value.
    fn of(series: &Series) -> Option<Self> {
        let floats = series.to_physical_repr().cast(&DataType::Float64).ok()?;
        let floats = floats.f64().ok()?;
        let finite = || floats.iter().flatten().filter(|value| value.is_finite());
        let (from, to) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
        if from > to {
            return None;
        }
        let mut counts = vec![0; BINS];
        // Halves, so that the difference of two huge numbers is still a number.
        let width = (to / 2.0 - from / 2.0) / BINS as f64;
        for value in finite() {
            let bin = ((value / 2.0 - from / 2.0) / width.max(f64::MIN_POSITIVE)) as usize;
            counts[bin.min(BINS - 1)] += 1;
        }
        Some(Self { from, to, counts })
    }
}

impl Frequent {
    fn of(df: &DataFrame) -> Result<Vec<Self>> {
        let failed = |error: PolarsError| Failure::failed(format_args!("could not count values: {error}"));
        // Names that cannot clash, whatever the column is called.
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

fn json_of(value: &AnyValue<'_>) -> Value {
    match value {
        AnyValue::Null => Value::Null,
        AnyValue::Boolean(value) => json!(value),
        AnyValue::Float32(value) => Number::from_f64(f64::from(*value)).map_or(Value::Null, Value::Number),
        AnyValue::Float64(value) => Number::from_f64(*value).map_or(Value::Null, Value::Number),
        value if value.is_integer() => match (value.extract::<i64>(), value.extract::<u64>()) {
            (Some(value), _) => json!(value),
            (None, Some(value)) => json!(value),
            (None, None) => json!(value.to_string()),
        },
        AnyValue::String(text) => json!(text),
        value => json!(value.str_value()),
    }
}
