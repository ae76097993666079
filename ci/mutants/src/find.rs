//! Finds the places of a file that can be changed.

use std::ops::Range;

use syn::{
    Arm, Attribute, Block, Expr, ExprBinary, ExprUnary, File, Generics, ImplItemFn, Item, ItemFn, ItemMod, LocalInit,
    Pat, Signature, Stmt, TraitItemFn, Type, UnOp,
    spanned::Spanned,
    visit::{self, Visit},
};

use crate::values;

/// One change of the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    pub(crate) id: usize,
    /// What the source becomes; unused where a site says how it is left out.
    pub(crate) text: String,
    /// The change for people.
    pub(crate) change: String,
    pub(crate) line: usize,
}

/// How the mutants of a site are chosen between at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// An expression, or one of its replacements.
    Choice,
    /// An early return at the start of a body.
    Early,
    /// A statement that can be left out.
    Statement,
    /// An arm without a guard that can be left out; the site is empty, after the pattern.
    Arm,
    /// The guard of an arm that can be left out.
    GuardedArm,
    /// A function: not changed, but what is dropped if an error is in none of the other sites.
    Function,
}

/// A place in the source, and the mutants that differ there.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) range: Range<usize>,
    pub(crate) form: Form,
    pub(crate) mutants: Vec<Mutant>,
    /// All mutants inside, for `Form::Function`.
    pub(crate) inside: Range<usize>,
}

/// The sites of a file, outer ones first. `next` is the first id, and then the one after the last.
pub(crate) fn sites(source: &str, next: &mut usize) -> syn::Result<Vec<Site>> {
    let file: File = syn::parse_file(source)?;
    let mut finder = Finder { source, next: *next, sites: Vec::new(), context: Vec::new() };
    finder.visit_file(&file);
    *next = finder.next;
    let mut sites = finder.sites;
    // Stable: of two sites with the same range the one that was found first is the outer one.
    sites.sort_by_key(|site| (site.range.start, std::cmp::Reverse(site.range.end)));
    Ok(sites)
}

struct Finder<'a> {
    source: &'a str,
    next: usize,
    sites: Vec<Site>,
    /// Names of the functions around.
    context: Vec<String>,
}

impl Finder<'_> {
    fn text(&self, node: &impl Spanned) -> &str {
        &self.source[node.span().byte_range()]
    }

    fn add(&mut self, range: Range<usize>, line: usize, form: Form, changes: Vec<(String, String)>) {
        let function = self.context.join("::");
        let mutants: Vec<Mutant> = changes
            .into_iter()
            .map(|(text, change)| {
                self.next += 1;
                Mutant { id: self.next - 1, text, change: format!("{function}: {change}"), line }
            })
            .collect();
        if !mutants.is_empty() {
            self.sites.push(Site { range, form, mutants, inside: 0..0 });
        }
    }

    fn function(&mut self, whole: &impl Spanned, attributes: &[Attribute], signature: &Signature, body: &Block) {
        if signature.constness.is_some() || is_test(attributes) {
            return;
        }
        self.context.push(signature.ident.to_string());
        let site = self.sites.len();
        let first = self.next;
        let range = whole.span().byte_range();
        self.sites.push(Site { range, form: Form::Function, mutants: Vec::new(), inside: 0..0 });
        // An empty body differs from no constant that compiles.
        if !body.stmts.is_empty() {
            let changes = values::of_return(&signature.output);
            let changes = changes.into_iter().map(|value| (value.clone(), format!("return {value}"))).collect();
            let start = body.brace_token.span.open().byte_range().end;
            self.add(start..start, signature.ident.span().start().line, Form::Early, changes);
        }
        self.visit_block(body);
        self.sites[site].inside = first..self.next;
        self.context.pop();
    }

    fn binary(&mut self, node: &ExprBinary) {
        if matches!(*node.left, Expr::Let(_)) || contains_let(&node.left) || contains_let(&node.right) {
            return;
        }
        let (left, right) = (self.text(&node.left), self.text(&node.right));
        let operator = self.text(&node.op).to_owned();
        // The left side of an assignment is a place, which parentheses do not change.
        let change = |other: &&str| {
            let text = format!("({left}) {other} ({right})");
            (text, format!("`{operator}` becomes `{other}` in `{}`", self.short(node)))
        };
        let changes = replacements(&operator).iter().map(change).collect();
        self.add(node.span().byte_range(), node.op.span().start().line, Form::Choice, changes);
    }

    /// `leaves`: the compiler wants it to end with a jump.
    fn block(&mut self, block: &Block, leaves: bool) {
        for (position, statement) in block.stmts.iter().enumerate() {
            let needed = leaves && position + 1 == block.stmts.len();
            if let Stmt::Expr(expr, Some(_)) = statement
                && is_deletable(expr)
                && !needed
            {
                let gone = vec![(String::new(), format!("`{}` is deleted", self.short(statement)))];
                let place = statement.span();
                self.add(place.byte_range(), place.start().line, Form::Statement, gone);
            }
            visit::visit_stmt(self, statement);
        }
    }

    /// The source of a node in one line of at most 60 characters.
    fn short(&self, node: &impl Spanned) -> String {
        let words: Vec<&str> = self.text(node).split_whitespace().collect();
        let line = words.join(" ");
        if line.chars().count() <= 60 { line } else { format!("{}..", line.chars().take(58).collect::<String>()) }
    }

    fn arm(&mut self, arm: &Arm, may_go: bool) {
        let line = arm.pat.span().start().line;
        let gone = vec![(String::new(), format!("the arm `{}` is left out", self.short(&arm.pat)))];
        match &arm.guard {
            None if may_go => {
                let end = arm.pat.span().byte_range().end;
                self.add(end..end, line, Form::Arm, gone);
            }
            None => {}
            Some((_, guard)) if contains_let(guard) => {}
            Some((_, guard)) => {
                if may_go {
                    self.add(guard.span().byte_range(), line, Form::GuardedArm, gone);
                }
                let change = |value: &str| (value.to_owned(), format!("the guard `{}` is {value}", self.short(guard)));
                let changes = vec![change("true"), change("false")];
                self.add(guard.span().byte_range(), guard.span().start().line, Form::Choice, changes);
            }
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, node: &'ast ItemMod) {
        if !is_test(&node.attrs) {
            visit::visit_item_mod(self, node);
        }
    }

    fn visit_item(&mut self, node: &'ast Item) {
        // Their expressions are evaluated by the compiler.
        if !matches!(node, Item::Const(_) | Item::Static(_) | Item::Enum(_) | Item::Macro(_)) {
            visit::visit_item(self, node);
        }
    }

    fn visit_item_fn(&mut self, node: &'ast ItemFn) {
        self.function(node, &node.attrs, &node.sig, &node.block);
    }

    fn visit_impl_item_fn(&mut self, node: &'ast ImplItemFn) {
        self.function(node, &node.attrs, &node.sig, &node.block);
    }

    fn visit_trait_item_fn(&mut self, node: &'ast TraitItemFn) {
        if let Some(body) = &node.default {
            self.function(node, &node.attrs, &node.sig, body);
        }
    }

    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
    fn visit_generics(&mut self, _: &'ast Generics) {}
    fn visit_path_arguments(&mut self, _: &'ast syn::PathArguments) {}
    fn visit_angle_bracketed_generic_arguments(&mut self, _: &'ast syn::AngleBracketedGenericArguments) {}
    fn visit_pat(&mut self, _: &'ast Pat) {}
    fn visit_type(&mut self, _: &'ast Type) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}

    fn visit_expr_repeat(&mut self, node: &'ast syn::ExprRepeat) {
        self.visit_expr(&node.expr);
    }

    fn visit_expr_binary(&mut self, node: &'ast ExprBinary) {
        self.binary(node);
        visit::visit_expr_binary(self, node);
    }

    fn visit_expr_unary(&mut self, node: &'ast ExprUnary) {
        if matches!(node.op, UnOp::Not(_) | UnOp::Neg(_)) {
            let inner = format!("({})", self.text(&node.expr));
            let change = format!("`{}` is deleted in `{}`", self.text(&node.op), self.short(node));
            self.add(node.span().byte_range(), node.span().start().line, Form::Choice, vec![(inner, change)]);
        }
        visit::visit_expr_unary(self, node);
    }

    fn visit_expr_match(&mut self, node: &'ast syn::ExprMatch) {
        self.visit_expr(&node.expr);
        // Without an arm that takes everything the others are needed.
        let last = node.arms.len().saturating_sub(1);
        let rest = node.arms.last().is_some_and(|arm| arm.guard.is_none() && takes_all(&arm.pat));
        for (position, arm) in node.arms.iter().enumerate() {
            self.arm(arm, rest && position < last);
            visit::visit_arm(self, arm);
        }
    }

    fn visit_block(&mut self, node: &'ast Block) {
        self.block(node, false);
    }

    fn visit_local_init(&mut self, node: &'ast LocalInit) {
        self.visit_expr(&node.expr);
        if let Some((_, otherwise)) = &node.diverge {
            match &**otherwise {
                Expr::Block(block) => self.block(&block.block, true),
                other => self.visit_expr(other),
            }
        }
    }
}

fn is_deletable(expr: &Expr) -> bool {
    match expr {
        Expr::Binary(binary) => replacements_of_assignment(binary),
        Expr::Call(_)
        | Expr::MethodCall(_)
        | Expr::Assign(_)
        | Expr::Try(_)
        | Expr::Return(_)
        | Expr::Break(_)
        | Expr::Continue(_) => true,
        _ => false,
    }
}

fn replacements_of_assignment(node: &ExprBinary) -> bool {
    use syn::BinOp::{
        AddAssign, BitAndAssign, BitOrAssign, BitXorAssign, DivAssign, MulAssign, RemAssign, ShlAssign, ShrAssign,
        SubAssign,
    };
    matches!(
        node.op,
        AddAssign(_)
            | SubAssign(_)
            | MulAssign(_)
            | DivAssign(_)
            | RemAssign(_)
            | BitXorAssign(_)
            | BitAndAssign(_)
            | BitOrAssign(_)
            | ShlAssign(_)
            | ShrAssign(_)
    )
}

/// What cargo-mutants puts in the place of an operator.
fn replacements(operator: &str) -> &'static [&'static str] {
    const TABLE: [(&str, &[&str]); 26] = [
        ("==", &["!="]),
        ("!=", &["=="]),
        ("&&", &["||"]),
        ("||", &["&&"]),
        ("<", &["==", ">", "<="]),
        (">", &["==", "<", ">="]),
        ("<=", &["<", ">"]),
        (">=", &[">", "<"]),
        ("+", &["-", "*"]),
        ("-", &["+", "/"]),
        ("*", &["+", "/"]),
        ("/", &["%", "*"]),
        ("%", &["/", "+"]),
        ("<<", &[">>"]),
        (">>", &["<<"]),
        ("&", &["|", "^"]),
        ("|", &["&", "^"]),
        ("^", &["&", "|"]),
        ("+=", &["-=", "*="]),
        ("-=", &["+=", "/="]),
        ("*=", &["+=", "/="]),
        ("/=", &["%=", "*="]),
        ("&=", &["|=", "^="]),
        ("|=", &["&=", "^="]),
        ("<<=", &[">>="]),
        (">>=", &["<<="]),
    ];
    TABLE.iter().find(|(known, _)| *known == operator).map_or(&[], |(_, others)| others)
}

/// Whether a condition binds variables, so that it cannot move into a block.
fn contains_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => contains_let(&binary.left) || contains_let(&binary.right),
        _ => false,
    }
}

fn takes_all(pat: &Pat) -> bool {
    match pat {
        Pat::Wild(_) => true,
        // An upper-case name is a constant or a variant.
        Pat::Ident(ident) => ident.subpat.is_none() && ident.ident.to_string().starts_with(|c: char| c.is_lowercase()),
        _ => false,
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let path = attribute.path();
        let cfg_test = || attribute.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test");
        path.is_ident("test") || (path.is_ident("cfg") && cfg_test())
    })
}
