//! Chooses the mutant that runs, and records which ones are reached. ci/mutants adds this file to its copy of the library.
#![expect(unsafe_code, reason = "a file that all processes of a test map outlives a SIGKILL of any of them")]

use std::{
    fs::OpenOptions,
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
};

struct Run {
    chosen: Option<usize>,
    reached: &'static [AtomicU8],
}

static RUN: OnceLock<Run> = OnceLock::new();

/// Whether this process runs the mutant `id`.
pub(crate) fn on(id: usize) -> bool {
    let run = RUN.get_or_init(read_environment);
    if let Some(flag) = run.reached.get(id) {
        flag.store(1, Ordering::Relaxed);
    }
    run.chosen == Some(id)
}

fn read_environment() -> Run {
    let chosen = std::env::var("COFRAME_MUTANT").ok().and_then(|id| id.parse().ok());
    let reached = std::env::var_os("COFRAME_MUTANTS_REACHED").map_or(&[][..], |path| {
        let file = OpenOptions::new().read(true).write(true).open(path).expect("the file of reached mutants");
        let map = memmap2::MmapOptions::new().map_raw(&file).expect("a map of the reached mutants");
        let flags = map.as_mut_ptr().cast::<AtomicU8>();
        let len = map.len();
        std::mem::forget(map);
        // SAFETY: the map is never unmapped, and all processes use its bytes as atomics only.
        unsafe { std::slice::from_raw_parts(flags, len) }
    });
    Run { chosen, reached }
}
