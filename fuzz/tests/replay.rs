//! The short form of the fuzz targets, without a sanitizer: the corpus, all inputs that ever failed, and some edits.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use coframe_fuzz::{
    Target,
    mutate::{Mutator, Random, without_libfuzzer},
    targets,
};

/// Edited inputs of each target. `COFRAME_EDITS` is another number, and `COFRAME_SEED` selects others.
const EDITS: usize = 500;

/// All targets, or the one that `COFRAME_TARGET` names.
fn selected() -> impl Iterator<Item = Target> {
    let wanted = std::env::var("COFRAME_TARGET").ok();
    let all = targets();
    let names: Vec<_> = all.iter().map(|target| target.name).collect();
    let is_known = wanted.as_ref().is_none_or(|name| names.contains(&name.as_str()));
    assert!(is_known, "COFRAME_TARGET is {wanted:?}: expected one of {names:?}");
    all.into_iter().filter(move |target| wanted.as_ref().is_none_or(|name| name == target.name))
}

/// No input takes as long, on a busy machine either.
const LIMIT: Duration = Duration::from_mins(1);

/// Whether any thread has panicked: one of a server does not end the call of its client.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Runs a target; returns whether it held.
fn holds(run: fn(&[u8]), input: &[u8]) -> bool {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICKED.store(true, Ordering::SeqCst);
            print(info);
        }));
    });
    catch_unwind(AssertUnwindSafe(|| run(input))).is_ok() && !PANICKED.load(Ordering::SeqCst)
}

/// Ends this process if the returned sender is silent for too long.
fn watch() -> mpsc::Sender<PathBuf> {
    let (sender, receiver) = mpsc::channel::<PathBuf>();
    thread::spawn(move || {
        let mut last = PathBuf::new();
        loop {
            match receiver.recv_timeout(LIMIT) {
                Ok(path) => last = path,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    eprintln!("{} takes longer than {LIMIT:?}", last.display());
                    std::process::abort();
                }
            }
        }
    });
    sender
}

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
    let started = watch();
    for Target { name, run, .. } in selected() {
        let (corpus, regressions) = (inputs("corpus", name), inputs("regressions", name));
        assert!(corpus.len() >= 3, "{name} has {} seeds", corpus.len());
        for path in corpus.into_iter().chain(regressions) {
            started.send(path.clone()).unwrap();
            assert!(holds(run, &fs::read(&path).unwrap()), "{name} failed: {}", path.display());
        }
    }
}

/// A seed after one to three mutations.
fn edited(seeds: &[Vec<u8>], mutate: Mutator, random: &mut Random) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(2) {
        let size = input.len();
        input.resize(size + 128, 0);
        let mut plain = Random::new(random.below(1 << 31) as u32);
        let mut fuzz = |data: &mut [u8], size, max| without_libfuzzer(data, size, max, &mut plain);
        let size = mutate(&mut input, size, size + 128, random.below(1 << 31) as u32, &mut fuzz);
        input.truncate(size);
    }
    input
}

#[test]
fn every_target_reads_edits_of_its_corpus() {
    let number = |name, value: usize| std::env::var(name).map_or(value, |text| text.parse().unwrap());
    let (edits, seed) = (number("COFRAME_EDITS", EDITS), number("COFRAME_SEED", 1));
    let started = watch();
    for Target { name, run, edits: mutate } in selected() {
        let mut random = Random::new(seed as u32);
        let seeds: Vec<_> = inputs("corpus", name).iter().map(|path| fs::read(path).unwrap()).collect();
        for count in 0..edits {
            let input = edited(&seeds, mutate, &mut random);
            let path = folder("regressions", name).join(format!("edit-{seed}-{count}"));
            started.send(path.clone()).unwrap();
            if !holds(run, &input) {
                fs::create_dir_all(folder("regressions", name)).unwrap();
                fs::write(&path, &input).unwrap();
                panic!("{name} failed; its input is in {}", path.display());
            }
        }
    }
}
