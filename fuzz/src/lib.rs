//! Targets for cargo-fuzz: one function each, which reads arbitrary bytes through the public API of coframe. A panic, a
//! signal, a hang or too much memory is a failure; an error or valid data is not.
//!
//! `fuzz_targets/` has a binary for each, `tests/replay.rs` runs all of them on `corpus/` and `regressions/` without a
//! sanitizer. `examples/seeds.rs` writes `corpus/`.

pub mod cell;
pub mod file;
#[cfg(feature = "flight")]
pub mod flight;
pub mod map;
pub mod mutate;
pub mod read;
pub mod samples;
pub mod scratch;
pub mod segment;
pub mod text;

/// A target: its name, which is that of its corpus, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets of this build.
#[must_use]
pub fn targets() -> Vec<Target> {
    let all: [Target; 10] = [
        ("file", file::file),
        ("mirror", file::mirror),
        ("footer", file::footer),
        ("messages", file::messages),
        ("schema", file::schema),
        ("handle", text::handle),
        ("names", text::names),
        ("state", text::state),
        ("cell", cell::cell),
        ("map", map::map),
    ];
    #[cfg_attr(not(feature = "flight"), expect(unused_mut, reason = "the feature adds targets"))]
    let mut all = Vec::from(all);
    #[cfg(feature = "flight")]
    all.extend([("ticket", flight::ticket as fn(&[u8])), ("wire", flight::wire as fn(&[u8]))]);
    all
}
