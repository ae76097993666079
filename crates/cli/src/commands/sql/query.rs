//! A query and the tables that it reads, found by Polars' own parser.
//!
//! Polars looks a name up among all tables first, then among the tables of WITH, then among aliases. In SQL the
//! innermost table of that name counts. So a name with several meanings is replaced in the text by a name for each
//! meaning.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::{ControlFlow, Range},
};

use sqlparser::{
    ast::{
        Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query as Ast, Select,
        SelectItem, SetExpr, Statement, TableAlias, TableFactor, Visit, Visitor,
    },
    dialect::GenericDialect,
    parser::{Parser, ParserOptions},
    tokenizer::{Location, Token, Tokenizer},
};

use crate::failure::{Failure, Result};

/// What a query reads.
pub(super) struct Query {
    /// The query for Polars: names with several meanings are replaced.
    pub(super) text: String,
    /// The frames that it reads, by name, with the names of their tables in `text`.
    pub(super) frames: BTreeMap<String, String>,
    /// The names that WITH defines.
    pub(super) defined: BTreeSet<String>,
    pub(super) lists_tables: bool,
    /// Whether it may read columns without naming them.
    all_columns: bool,
    /// The words of the query in lower case, including names of columns.
    words: BTreeSet<String>,
}

impl Query {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let wrong = |error: &dyn std::fmt::Display| Failure::failed(format_args!("the query failed: {error}"));
        let options = ParserOptions { trailing_commas: true, ..ParserOptions::default() };
        let parser = Parser::new(&GenericDialect {}).with_options(options);
        let statements = parser.try_with_sql(text).and_then(|mut parser| parser.parse_statements());
        let statements = statements.map_err(|error| wrong(&error))?;
        let [statement] = &statements[..] else {
            let count = statements.len();
            return Err(Failure::usage(format_args!("sql takes one statement, not {count}; run one after the other")));
        };
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize().map_err(|error| wrong(&error))?;
        let words = tokens.into_iter().filter_map(|token| match token {
            Token::Word(word) => Some(word.value.to_lowercase()),
            _ => None,
        });
        let words: BTreeSet<String> = words.collect();
        let mut reading = Reading::default();
        if let ControlFlow::Break(failure) = statement.visit(&mut reading) {
            return Err(failure);
        }
        let all_columns = reading.has_wildcard || ["natural", "columns"].iter().any(|word| words.contains(*word));
        let lists_tables = matches!(statement, Statement::ShowTables { .. });
        let (text, frames) = reading.distinct(text)?;
        let defined = reading.defined.into_iter().map(|definition| definition.name).collect();
        Ok(Self { text, frames, defined, lists_tables, all_columns, words })
    }

    /// Returns whether the query may read a column of this name.
    pub(super) fn may_read(&self, column: &str) -> bool {
        self.all_columns || self.words.contains(&column.to_lowercase())
    }
}

/// What was found while a statement was visited.
#[derive(Default)]
struct Reading {
    /// The queries around the current place, the outermost first.
    scopes: Vec<Scope>,
    defined: Vec<Definition>,
    read: Vec<QueryTable>,
    aliases: Vec<String>,
    has_wildcard: bool,
}

/// The tables that WITH defines for a query, by their positions in `defined`.
#[derive(Default)]
struct Scope {
    /// Tables whose own query was visited, and which the rest may read.
    known: Vec<usize>,
    /// Tables whose queries are visited next.
    next: VecDeque<usize>,
}

/// A table that WITH defines.
struct Definition {
    name: String,
    ident: Ident,
}

/// A table that is read.
struct QueryTable {
    ident: Ident,
    has_alias: bool,
    /// The definition that it refers to, or `None` for a frame.
    definition: Option<usize>,
}

impl Visitor for Reading {
    type Break = Failure;

    fn pre_visit_query(&mut self, query: &Ast) -> ControlFlow<Failure> {
        let mut scope = Scope::default();
        for table in query.with.iter().flat_map(|with| &with.cte_tables) {
            scope.next.push_back(self.defined.len());
            let ident = table.alias.name.clone();
            self.defined.push(Definition { name: ident.value.clone(), ident });
        }
        self.scopes.push(scope);
        match table_command(&query.body) {
            Some(name) => ControlFlow::Break(Failure::usage(format_args!(
                "`table {name}` is not taken; write `select * from {name}`"
            ))),
            None => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, _: &Ast) -> ControlFlow<Failure> {
        self.scopes.pop();
        // WITH is visited before the rest of its query, so the first queries inside are those of its tables.
        if let Some(around) = self.scopes.last_mut()
            && let Some(defined) = around.next.pop_front()
        {
            around.known.push(defined);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Failure> {
        let alias = alias(factor);
        self.aliases.extend(alias.map(|alias| alias.name.value.clone()));
        let TableFactor::Table { name, args: None, .. } = factor else { return ControlFlow::Continue(()) };
        let Some(ident) = only_part(name) else {
            return ControlFlow::Break(Failure::usage(format_args!(
                "`{name}` is not the name of a frame; quote a name that has a dot in it, as \"a.b\""
            )));
        };
        let known = self.scopes.iter().rev().flat_map(|scope| scope.known.iter().rev());
        let definition = known.copied().find(|at| self.defined[*at].name == ident.value);
        self.read.push(QueryTable { ident: ident.clone(), has_alias: alias.is_some(), definition });
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<Failure> {
        let is_wildcard =
            |item: &SelectItem| matches!(item, SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..));
        // `from t` alone selects all columns.
        self.has_wildcard |= select.projection.is_empty() || select.projection.iter().any(is_wildcard);
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Failure> {
        self.has_wildcard |= match expr {
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => true,
            Expr::Function(function) => takes_all_columns(function),
            _ => false,
        };
        ControlFlow::Continue(())
    }
}

impl Reading {
    /// Returns the text with other names where a name has several meanings, and the frames with the names of their
    /// tables.
    fn distinct(&self, text: &str) -> Result<(String, BTreeMap<String, String>)> {
        let frames: BTreeSet<&str> = self.frames().collect();
        let mut meanings: BTreeMap<&str, usize> = BTreeMap::new();
        let defined = self.defined.iter().map(|definition| definition.name.as_str());
        for name in frames.iter().copied().chain(defined).chain(self.aliases.iter().map(String::as_str)) {
            *meanings.entry(name).or_default() += 1;
        }
        let is_clear = |name: &str| meanings.get(name).is_none_or(|count| *count < 2);
        let mark = unused(text);
        let frame = |name: &str| if is_clear(name) { name.to_owned() } else { format!("{mark} {name}") };
        let mut edits: Vec<(Range<usize>, String)> = Vec::new();
        for table in self.read.iter().filter(|table| !is_clear(&table.ident.value)) {
            let place = place(text, &table.ident)?;
            let other = table.definition.map_or_else(|| frame(&table.ident.value), |at| format!("{mark} {at}"));
            // Columns are written with the name that the query uses.
            let alias = if table.has_alias { String::new() } else { format!(" as {}", &text[place.clone()]) };
            edits.push((place, format!("\"{other}\"{alias}")));
        }
        for (at, definition) in self.defined.iter().enumerate().filter(|(_, definition)| !is_clear(&definition.name)) {
            edits.push((place(text, &definition.ident)?, format!("\"{mark} {at}\"")));
        }
        edits.sort_by_key(|(place, _)| std::cmp::Reverse(place.start));
        let mut text = text.to_owned();
        for (place, other) in edits {
            text.replace_range(place, &other);
        }
        Ok((text, frames.into_iter().map(|name| (name.to_owned(), frame(name))).collect()))
    }

    fn frames(&self) -> impl Iterator<Item = &str> {
        self.read.iter().filter(|table| table.definition.is_none()).map(|table| table.ident.value.as_str())
    }
}

/// Returns the name in `table NAME`, which the parser keeps without its place.
fn table_command(body: &SetExpr) -> Option<&str> {
    match body {
        SetExpr::Table(table) => table.table_name.as_deref(),
        SetExpr::SetOperation { left, right, .. } => table_command(left).or_else(|| table_command(right)),
        _ => None,
    }
}

fn alias(factor: &TableFactor) -> Option<&TableAlias> {
    match factor {
        TableFactor::Table { alias, .. }
        | TableFactor::Derived { alias, .. }
        | TableFactor::UNNEST { alias, .. }
        | TableFactor::NestedJoin { alias, .. } => alias.as_ref(),
        _ => None,
    }
}

fn only_part(name: &ObjectName) -> Option<&Ident> {
    match &name.0[..] {
        [part] => part.as_ident(),
        _ => None,
    }
}

/// Returns whether a function has the argument `*`, except `count(*)`, which reads no column.
fn takes_all_columns(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else { return false };
    let is_wildcard = |arg: &FunctionArg| {
        let FunctionArg::Unnamed(arg) = arg else { return false };
        matches!(arg, FunctionArgExpr::Wildcard | FunctionArgExpr::QualifiedWildcard(_))
    };
    list.args.iter().any(is_wildcard) && !function.name.to_string().eq_ignore_ascii_case("count")
}

/// Returns a word that is not in the query.
fn unused(text: &str) -> String {
    let mut word = "frame".to_owned();
    while text.contains(&word) {
        word.push('_');
    }
    word
}

/// Returns the place of a name in the text, including quotes.
fn place(text: &str, ident: &Ident) -> Result<Range<usize>> {
    let (start, end) = (offset(text, ident.span.start), offset(text, ident.span.end));
    let found = start.zip(end).and_then(|(start, end)| Some((start..end, text.get(start..end)?)));
    let is_it = |written: &str| match ident.quote_style {
        None => written == ident.value,
        Some(quote) => written.starts_with(quote),
    };
    found.filter(|(_, written)| is_it(written)).map(|(place, _)| place).ok_or_else(|| {
        Failure::failed(format_args!(
            "the query uses the name `{}` for several tables, so its columns are ambiguous; rename one",
            ident.value
        ))
    })
}

/// Returns the position in bytes of a line and column, which are counted from 1 in characters.
fn offset(text: &str, at: Location) -> Option<usize> {
    let line_break = |line: u64| text.match_indices('\n').nth(usize::try_from(line).ok()?).map(|(at, _)| at + 1);
    let line = match at.line.checked_sub(1)? {
        0 => 0,
        before => line_break(before - 1)?,
    };
    let column = usize::try_from(at.column.checked_sub(1)?).ok()?;
    let rest = &text[line..];
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).nth(column).map(|at| line + at)
}

#[cfg(test)]
mod tests {
    use super::Query;

    fn parsed(text: &str) -> (String, Vec<(String, String)>) {
        let query = Query::parse(text).unwrap();
        (query.text, query.frames.into_iter().collect())
    }

    fn same(name: &str) -> (String, String) {
        (name.to_owned(), name.to_owned())
    }

    #[test]
    fn a_query_of_clear_names_is_left_as_it_is() {
        for (text, frames) in [
            ("select * from t join u using (k)", &["t", "u"][..]),
            ("with w as (select v from t) select v from w", &["t"]),
            ("select v from \"t@1\" where v in (select v from u)", &["t@1", "u"]),
            ("select 't' as a /* u */ from \"a.b\" x -- c", &["a.b"]),
            ("select v from read_parquet('x.parquet')", &[]),
        ] {
            let (found, tables) = parsed(text);
            assert_eq!(found, text);
            assert_eq!(tables, frames.iter().map(|name| same(name)).collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn a_name_with_several_meanings_is_replaced_where_it_is_read() {
        for (text, expected) in [
            ("with t as (select 1 as v) select v from t", "with t as (select 1 as v) select v from t"),
            (
                "with t as (select v from t)\nselect t.v from t",
                "with \"frame 0\" as (select v from \"frame t\" as t)\nselect t.v from \"frame 0\" as t",
            ),
            ("select 'ä', t.v from u t, t u", "select 'ä', t.v from \"frame u\" t, \"frame t\" u"),
            (
                "select v from (with t as (select 1 as v) select v from t) x union all select v from t as frame",
                "select v from (with \"frame_ 0\" as (select 1 as v) select v from \"frame_ 0\" as t) x union all select v \
                 from \"frame_ t\" as frame",
            ),
        ] {
            assert_eq!(parsed(text).0, expected);
        }
    }

    #[test]
    fn columns_that_a_query_does_not_name_are_not_read() {
        for (text, reads) in [
            ("select a, count(*), a * 2 from t", false),
            ("select t.\"B\" from t", true),
            ("select * from t", true),
            ("select x.* from t x", true),
            ("from t", true),
            ("select a from t natural join u", true),
            ("select a from t where a in (select * from u)", true),
        ] {
            assert_eq!(Query::parse(text).unwrap().may_read("b"), reads, "{text}");
        }
    }
}
