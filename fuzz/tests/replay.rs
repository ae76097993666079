//! The short form of the fuzz targets, without a sanitizer: the corpus, all inputs that ever failed, and some edits.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

use coframe_fuzz::{
    Target,
    mutate::{Random, without_libfuzzer},
    targets,
};

/// Edited inputs of each target. `COFRAME_EDITS` is another number, and `COFRAME_SEED` selects others.
const EDITS: usize = 500;

fn folder(name: &str, target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name).join(target)
}

/// Files of a target; none if it has no such directory.
fn inputs(name: &str, target: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder(name, target)).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_target_reads_its_corpus_and_the_inputs_that_failed_once() {
    for Target { name, run, .. } in targets() {
        let (corpus, regressions) = (inputs("corpus", name), inputs("regressions", name));
        assert!(corpus.len() >= 3, "{name} has {} seeds", corpus.len());
        for path in corpus.iter().chain(&regressions) {
            // Shown if it fails.
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_target_reads_edits_of_its_corpus() {
    let number = |name, value: usize| std::env::var(name).map_or(value, |text| text.parse().unwrap());
    let (edits, seed) = (number("COFRAME_EDITS", EDITS), number("COFRAME_SEED", 1));
    for Target { name, run, edits: mutate } in targets() {
        let mut random = Random::new(seed as u32);
        let seeds: Vec<_> = inputs("corpus", name).iter().map(|path| fs::read(path).unwrap()).collect();
        for count in 0..edits {
            let mut input = seeds[random.below(seeds.len())].clone();
            for _ in 0..=random.below(2) {
                let size = input.len();
                input.resize(size + 128, 0);
                let mut plain = Random::new(random.below(1 << 31) as u32);
                let mut fuzz = |data: &mut [u8], size, max| without_libfuzzer(data, size, max, &mut plain);
                let size = mutate(&mut input, size, size + 128, random.below(1 << 31) as u32, &mut fuzz);
                input.truncate(size);
            }
            if catch_unwind(AssertUnwindSafe(|| run(&input))).is_err() {
                let path = folder("regressions", name).join(format!("edit-{seed}-{count}"));
                fs::create_dir_all(folder("regressions", name)).unwrap();
                fs::write(&path, &input).unwrap();
                panic!("{name} failed; its input is in {}", path.display());
            }
        }
    }
}
