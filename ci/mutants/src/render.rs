//! Writes a file with all of its mutants, and finds the mutants of an error in it.

use std::{collections::BTreeSet, ops::Range};

use crate::find::{Form, Mutant, Site};

/// A part of a rendered file, and the mutants that it belongs to.
struct Region {
    range: Range<usize>,
    form: Form,
    /// Whether this is the text of one mutant, and not the site of several.
    is_text: bool,
    mutants: Vec<usize>,
}

/// A file with its mutants.
pub(crate) struct Rendered {
    pub(crate) text: String,
    regions: Vec<Region>,
}

impl Rendered {
    /// The mutants that an error at these bytes is about: those of the innermost part around it.
    ///
    /// With `functions` also those of the function around it, where the error is in no site.
    pub(crate) fn mutants_at(&self, bytes: &Range<usize>, functions: bool) -> &[usize] {
        let around = |region: &&Region| region.range.start <= bytes.start && bytes.end <= region.range.end;
        let of_kind = |region: &&Region| functions || region.form != Form::Function;
        let inner = self.regions.iter().filter(around).filter(of_kind);
        inner.min_by_key(|region| (region.range.len(), !region.is_text)).map_or(&[], |region| &region.mutants)
    }
}

/// Writes `source` with those mutants of `sites` that are in `live`.
pub(crate) fn render(source: &str, sites: &[Site], live: &BTreeSet<usize>) -> Rendered {
    let mut writer = Writer { source, live, out: Rendered { text: String::new(), regions: Vec::new() } };
    writer.part(0..source.len(), sites);
    writer.out
}

struct Writer<'a> {
    source: &'a str,
    live: &'a BTreeSet<usize>,
    out: Rendered,
}

impl Writer<'_> {
    fn part(&mut self, range: Range<usize>, sites: &[Site]) {
        let mut at = range.start;
        let mut rest = sites;
        while let Some((site, after)) = rest.split_first() {
            let inside = after.iter().take_while(|inner| inner.range.end <= site.range.end).count();
            self.out.text.push_str(&self.source[at..site.range.start]);
            let (inner, after) = if site.range.is_empty() { (&after[..0], after) } else { after.split_at(inside) };
            self.site(site, inner);
            at = site.range.end;
            rest = after;
        }
        self.out.text.push_str(&self.source[at..range.end]);
    }

    fn site(&mut self, site: &Site, inner: &[Site]) {
        let mutants: Vec<&Mutant> = site.mutants.iter().filter(|mutant| self.live.contains(&mutant.id)).collect();
        let start = self.out.text.len();
        let before = self.out.regions.len();
        if mutants.is_empty() {
            self.part(site.range.clone(), inner);
        } else {
            let on = |mutant: &Mutant| format!("crate::mutants::on({})", mutant.id);
            let only = on(mutants[0]);
            match site.form {
                Form::Choice => {
                    self.out.text.push('(');
                    for mutant in &mutants {
                        self.mutant(mutant, &format!("if {} {{ ", on(mutant)), &mutant.text, " } else ");
                    }
                    self.around("{ ", site, inner, " })");
                }
                Form::Early => {
                    for mutant in &mutants {
                        let text = format!("return {};", mutant.text);
                        self.mutant(mutant, &format!(" if {} {{ ", on(mutant)), &text, " }");
                    }
                }
                Form::Statement => self.around(&format!("if !{only} {{ "), site, inner, " }"),
                Form::Arm => self.around(&format!(" if !{only}"), site, inner, ""),
                Form::GuardedArm => self.around(&format!("!{only} && ("), site, inner, ")"),
                Form::Function => {}
            }
        }
        let ids = if site.form == Form::Function {
            site.inside.clone().filter(|id| self.live.contains(id)).collect()
        } else {
            mutants.iter().map(|mutant| mutant.id).collect::<Vec<_>>()
        };
        if !ids.is_empty() {
            let region = Region { range: start..self.out.text.len(), form: site.form, is_text: false, mutants: ids };
            // Before the inner ones: of two equal ranges the last is the inner one.
            self.out.regions.insert(before, region);
        }
    }

    fn around(&mut self, before: &str, site: &Site, inner: &[Site], after: &str) {
        self.out.text.push_str(before);
        self.part(site.range.clone(), inner);
        self.out.text.push_str(after);
    }

    fn mutant(&mut self, mutant: &Mutant, before: &str, text: &str, after: &str) {
        self.out.text.push_str(before);
        let start = self.out.text.len();
        self.out.text.push_str(text);
        let range = start..self.out.text.len();
        self.out.regions.push(Region { range, form: Form::Choice, is_text: true, mutants: vec![mutant.id] });
        self.out.text.push_str(after);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::find;

    fn rendered(source: &str) -> (Vec<Site>, Rendered) {
        let mut next = 0;
        let sites = find::sites(source, &mut next).unwrap();
        let rendered = render(source, &sites, &(0..next).collect());
        syn::parse_file(&rendered.text).unwrap_or_else(|e| panic!("{e}: {}", rendered.text));
        (sites, rendered)
    }

    fn changes(source: &str) -> Vec<String> {
        let (sites, _) = rendered(source);
        let mut found: Vec<Mutant> = sites.into_iter().flat_map(|site| site.mutants).collect();
        found.sort_by_key(|mutant| mutant.id);
        found.into_iter().map(|mutant| mutant.change).collect()
    }

    #[test]
    fn each_kind_of_change_is_found() {
        let source =
            "fn f(a: u8, b: bool) -> bool { g(); match a { 1 if b => {} 2 => return true, _ => {} } !b && a + 1 < 2 }";
        assert_eq!(
            changes(source),
            [
                "f: return true",
                "f: return false",
                "f: `g();` is deleted",
                "f: the arm `1` is left out",
                "f: the guard `b` is true",
                "f: the guard `b` is false",
                "f: the arm `2` is left out",
                "f: `&&` becomes `||` in `!b && a + 1 < 2`",
                "f: `!` is deleted in `!b`",
                "f: `<` becomes `==` in `a + 1 < 2`",
                "f: `<` becomes `>` in `a + 1 < 2`",
                "f: `<` becomes `<=` in `a + 1 < 2`",
                "f: `+` becomes `-` in `a + 1`",
                "f: `+` becomes `*` in `a + 1`",
            ]
        );
    }

    #[test]
    fn tests_and_what_the_compiler_evaluates_are_left_alone() {
        for source in [
            "const A: u8 = 1 + 2;",
            "const fn f() -> u8 { 1 + 2 }",
            "fn f() -> [u8; 1 + 2] { loop {} }",
            "#[cfg(test)] mod tests { fn f() -> bool { !true } }",
            "#[test] fn f() { g(); }",
        ] {
            let found = changes(source);
            assert!(found.iter().all(|change| change.contains("return")) && found.len() < 2, "{source}: {found:?}");
        }
    }

    #[test]
    fn a_condition_that_binds_stays_whole() {
        assert_eq!(
            changes("fn f() -> usize { if let Some(x) = g() && x == 1 { 7 } else { 8 } }"),
            ["f: return 0", "f: return 1", "f: `==` becomes `!=` in `x == 1`"]
        );
    }

    #[test]
    fn the_jump_that_a_binding_needs_is_not_deleted() {
        assert_eq!(
            changes("fn f() { let Some(x) = g() else { h(); return; }; return; }"),
            ["f: return ()", "f: `h();` is deleted", "f: `return;` is deleted"]
        );
    }

    #[test]
    fn an_error_belongs_to_the_innermost_change_around_it() {
        let (_, rendered) = rendered("fn f(a: u8) -> u8 { (a + 2) * a }");
        let at = |text: &str, functions| {
            let start = rendered.text.find(text).unwrap();
            rendered.mutants_at(&(start..start + text.len()), functions).to_vec()
        };
        assert_eq!(at("return 1", false), [1]);
        assert_eq!(at("((a + 2)) + (a)", false), [2]);
        // The source inside of the sum's site, and the whole of the product's.
        assert_eq!(at("{ a + 2 }", false), [4, 5]);
        assert_eq!(at("* a", false), [2, 3]);
        assert_eq!(at("fn f", false), Vec::<usize>::new());
        assert_eq!(at("fn f", true), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_mutant_that_was_dropped_leaves_the_source() {
        let source = "fn f(a: u8) -> u8 { g(); a / 2 }";
        let sites = find::sites(source, &mut 0).unwrap();
        assert_eq!(render(source, &sites, &BTreeSet::new()).text, source);
    }
}
