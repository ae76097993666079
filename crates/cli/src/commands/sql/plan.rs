//! The plan of a query, as DataFusion's `explain` returns it.

use coframe::arrow::array::{AsArray, RecordBatch};

use super::{Answer, first_word};
use crate::text::Text;

/// The plans that an `explain` returned, as text: a table would cut their lines. `None` for other queries.
pub(super) fn of(query: &str, answer: &Answer) -> Option<Text> {
    let Answer::Arrow(schema, batches) = answer else { return None };
    let names = schema.fields().iter().map(|field| field.name().as_str());
    if !first_word(query).eq_ignore_ascii_case("explain") || !names.eq(["plan_type", "plan"]) {
        return None;
    }
    let plans: Option<Vec<String>> = batches.iter().map(shown).collect();
    Some(Text::from_lines(plans?.concat().trim_end()))
}

/// The kind of each plan, and its lines.
fn shown(batch: &RecordBatch) -> Option<String> {
    let (kinds, plans) = (batch.column(0).as_string_opt::<i32>()?, batch.column(1).as_string_opt::<i32>()?);
    let mut text = String::new();
    for (kind, plan) in kinds.iter().zip(plans) {
        text.extend([kind.unwrap_or_default(), "\n"]);
        for line in plan.unwrap_or_default().trim_end().lines() {
            text.extend(["  ", line, "\n"]);
        }
        text.push('\n');
    }
    Some(text)
}
