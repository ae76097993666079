//! What others plant in a store, and what they write into a handle.

mod planted;
mod stranger;
mod text;

use crate::{
    Result,
    cases::{self, Case},
};

const CASES: [Case; 4] = [
    Case::new("planted", planted::run),
    Case::new("stranger", stranger::run),
    Case::new("stranger-acts", stranger::act),
    Case::new("text", text::run),
];

pub(crate) fn run() -> Result<()> {
    let chosen: Vec<Case> = CASES.into_iter().filter(|case| case.name != "stranger-acts").collect();
    cases::run_all("intrude", &chosen)
}

pub(crate) fn run_case(name: &str) -> Result<()> {
    cases::run_here(&CASES, name)
}
