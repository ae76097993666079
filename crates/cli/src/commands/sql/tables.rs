//! The frames that a query reads, as Polars' tables.

use coframe::{Frame, Store};
use polars::{prelude::*, sql::SQLContext};

use super::query::Query;
use crate::{
    failure::{Failure, Result},
    names::Target,
    types,
};

/// The number of frames that an error lists.
const LISTED: usize = 8;

/// Runs a query on the frames that it reads.
pub(super) fn run(store: &Store, query: &Query) -> Result<DataFrame> {
    let mut context = SQLContext::new();
    for (name, table) in &query.frames {
        context.register(table, frame(store, name, query)?.lazy());
    }
    if query.lists_tables {
        for name in store.names()? {
            context.register(name.as_str(), DataFrame::empty().lazy());
        }
    }
    let result = context.execute(&query.text).and_then(LazyFrame::collect);
    result.map_err(|error| explain(query, &error))
}

fn frame(store: &Store, name: &str, query: &Query) -> Result<DataFrame> {
    let unknown = || unknown(store, name);
    let target: Target = name.parse().or_else(|_| Err(unknown()?))?;
    let frame = match target.open(store) {
        Err(Failure::Missing(_)) if target.version.is_none() => return Err(unknown()?),
        opened => opened?,
    };
    let error = match frame.to_polars() {
        Ok(df) => return Ok(df),
        Err(error) => error,
    };
    // Only columns that the query reads must have types that Polars supports.
    let columns = frame.schema().fields().iter().map(|field| field.name()).filter(|name| query.may_read(name));
    let columns: Vec<&String> = columns.collect();
    let is_clear = |name: &&String| !types::is_duplicate(&frame, name);
    let all = columns.len() == frame.num_columns();
    if all || !columns.iter().all(is_clear) {
        let next =
            if all && frame.num_columns() > 1 { "; name the columns that the query needs instead of `*`" } else { "" };
        return Err(Failure::failed(format_args!("{}{next}", crate::failure::chain(&error))));
    }
    part(&frame, &columns)
}

/// Returns some columns of a frame; at least one, from which a query that names none counts the rows.
fn part(frame: &Frame, columns: &[&String]) -> Result<DataFrame> {
    if !columns.is_empty() {
        return Ok(frame.select(columns)?.to_polars()?);
    }
    let taken = |field: &std::sync::Arc<coframe::arrow::datatypes::Field>| {
        let alone = Some(field.name()).filter(|name| !types::is_duplicate(frame, name))?;
        frame.select([alone]).ok()?.to_polars().ok()
    };
    frame.schema().fields().iter().find_map(taken).ok_or_else(|| {
        Failure::failed(format_args!(
            "Polars cannot take any column of `{}`; coframe show lists the reasons",
            frame.name()
        ))
    })
}

fn unknown(store: &Store, name: &str) -> Result<Failure> {
    let names = store.names()?;
    let some: Vec<&str> = names.iter().take(LISTED).map(coframe::Name::as_str).collect();
    let more = if names.len() > some.len() { " and others" } else { "" };
    let listed = if some.is_empty() { "nothing".to_owned() } else { some.join(", ") };
    Ok(Failure::missing(format_args!("frame `{name}` not found for the query; the store has {listed}{more}")))
}

fn explain(query: &Query, error: &PolarsError) -> Failure {
    let message = error.to_string();
    // Every frame is registered, so a name that Polars does not find was defined where Polars does not search.
    if message.contains("relation '") && message.contains("' was not found") && !query.defined.is_empty() {
        let names = query.defined.iter().map(String::as_str).collect::<Vec<_>>().join("`, `");
        return Failure::failed(format_args!(
            "the query failed: Polars takes WITH only at the start of a query and of the tables in WITH; move `{names}` \
             there"
        ));
    }
    Failure::failed(format_args!("the query failed: {message}"))
}
