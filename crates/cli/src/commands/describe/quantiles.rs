//! Quartiles of one column.

use polars::prelude::*;
use serde_json::{Value, json};

use super::values::{json_of, json_of_float};

/// Integers up to this one are exact as floats.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Returns the first quartile, the median and the third quartile of the values that are not null.
///
/// A quartile that falls between two values is interpolated linearly. If a float could not distinguish the values, and
/// for decimals and times, it is the nearer value.
pub(super) fn quartiles(series: &Series) -> PolarsResult<[Value; 3]> {
    let sorted = series.drop_nulls().sort(SortOptions::default())?;
    if sorted.is_empty() {
        return Ok([Value::Null, Value::Null, Value::Null]);
    }
    // In quarters of a row, so that no position is rounded.
    let of = |quarters: usize| {
        let position = (sorted.len() - 1) * quarters;
        at(&sorted, position / 4, position % 4)
    };
    Ok([of(1)?, of(2)?, of(3)?])
}

fn at(sorted: &Series, row: usize, quarters: usize) -> PolarsResult<Value> {
    let below = sorted.get(row)?;
    if quarters == 0 {
        return Ok(json_of(&below));
    }
    let above = sorted.get(row + 1)?;
    if sorted.dtype().is_primitive_numeric()
        && below != above
        && let (Some(low), Some(high)) = (below.extract::<f64>(), above.extract::<f64>())
        && (sorted.dtype().is_float() || low.abs().max(high.abs()) < EXACT)
    {
        let share = quarters as f64 / 4.0;
        let between = low * (1.0 - share) + high * share;
        let whole = sorted.dtype().is_integer() && between.fract() == 0.0;
        return Ok(if whole { json!(between as i64) } else { json_of_float(between) });
    }
    Ok(json_of(if quarters < 3 { &below } else { &above }))
}
