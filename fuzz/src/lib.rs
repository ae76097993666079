//! Targets for cargo-fuzz: one function each, which reads arbitrary bytes through the public API of coframe. A panic, a
//! signal, a hang or too much memory is a failure; an error or valid data is not.
//!
//! `fuzz_targets/` has a binary for each, `tests/replay.rs` runs all of them on `corpus/` and `regressions/` without a
//! sanitizer. `examples/seeds.rs` writes `corpus/`.

pub mod allowed;
pub mod cell;
pub mod file;
#[cfg(feature = "flight")]
pub mod flight;
pub mod handmade;
pub mod map;
pub mod mutate;
pub mod read;
pub mod samples;
pub mod schema;
pub mod scratch;
pub mod segment;
pub mod text;

/// A target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, which is that of its corpus.
    pub name: &'static str,
    /// Reads an input.
    pub run: fn(&[u8]),
    /// How its inputs are edited.
    pub edits: mutate::Mutator,
}

/// All targets of this build.
#[must_use]
pub fn targets() -> Vec<Target> {
    let target = |name, run, edits| Target { name, run, edits };
    let all = [
        target("file", file::file as fn(&[u8]), mutate::file as mutate::Mutator),
        target("mirror", file::mirror, mutate::file),
        target("footer", file::footer, mutate::flatbuffer),
        target("messages", file::messages, mutate::stream),
        target("schema", schema::schema, mutate::flatbuffer),
        target("handle", text::handle, mutate::bytes),
        target("names", text::names, mutate::bytes),
        target("state", text::state, mutate::bytes),
        target("cell", cell::cell, mutate::bytes),
        target("map", map::map, mutate::bytes),
        #[cfg(feature = "flight")]
        target("ticket", flight::ticket, mutate::bytes),
        #[cfg(feature = "flight")]
        target("wire", flight::wire, mutate::bytes),
    ];
    all.into()
}
