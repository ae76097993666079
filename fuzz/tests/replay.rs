//! The short form of the fuzz targets: the corpus and all inputs that ever failed, without a sanitizer.

use std::{fs, path::Path};

/// Files of a target; none if it has no such directory.
fn inputs(folder: &str, target: &str) -> Vec<std::path::PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_target_reads_its_corpus_and_the_inputs_that_failed_once() {
    for (target, run) in coframe_fuzz::targets() {
        let (corpus, regressions) = (inputs("corpus", target), inputs("regressions", target));
        assert!(corpus.len() >= 3, "{target} has {} seeds", corpus.len());
        for path in corpus.iter().chain(&regressions) {
            // Shown if it fails.
            println!("{}", path.display());
            run(&fs::read(path).unwrap());
        }
        println!("{target}: {} seeds, {} inputs that failed once", corpus.len(), regressions.len());
    }
}
