//! Tries mutants: each with the tests that reach it, the fastest first, until one fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, OpenOptions},
    io::Write,
    path::{Path, PathBuf},
    sync::Mutex,
    time::Duration,
};

use crate::{
    compile::Build,
    process::{self, Outcome, Test},
};

/// A test that passes without a mutant.
pub(crate) struct Measured {
    test: Test,
    took: Duration,
    reached: BTreeSet<usize>,
}

impl Measured {
    /// A mutant that is slower than this hangs.
    fn limit(&self) -> Duration {
        self.took * 10 + Duration::from_secs(5)
    }
}

/// Where and how tests run.
pub(crate) struct Bench<'a> {
    pub(crate) build: &'a Build,
    pub(crate) work: &'a Path,
    pub(crate) jobs: usize,
    /// Tests of one mutant that take longer than this together are left out.
    pub(crate) budget: Duration,
}

impl Bench<'_> {
    fn path(&self, test: &Test) -> &Path {
        let found = self.build.binaries.iter().find(|(name, _)| *name == test.binary);
        found.map_or(Path::new(""), |(_, path)| path)
    }

    /// Runs each test without a mutant, except those that are known. Those that fail twice are reported and left out.
    pub(crate) fn measure(&self, mut known: Vec<Measured>) -> Result<Vec<Measured>, String> {
        let mut tests = Vec::new();
        for (binary, path) in &self.build.binaries {
            tests.extend(process::tests_in(binary, path)?);
        }
        known.retain(|measured| tests.contains(&measured.test));
        tests.retain(|test| known.iter().all(|measured| measured.test != *test));
        let measured = self.each(tests, |worker, test| {
            let found = match self.measure_one(worker, &test)? {
                Ok(measured) => Some(measured),
                Err(_) => match self.measure_one(worker, &test)? {
                    Ok(measured) => Some(measured),
                    Err(said) => {
                        println!("left out, because it fails without a mutant: {}\n{said}", test.name);
                        None
                    }
                },
            };
            Ok(found)
        })?;
        let mut measured: Vec<Measured> = measured.into_iter().flatten().chain(known).collect();
        measured.sort_by_key(|measured| measured.took);
        Ok(measured)
    }

    fn measure_one(&self, worker: usize, test: &Test) -> Result<Result<Measured, String>, String> {
        let flags = self.work.join(format!("reached-{worker}"));
        let count = self.build.mutants.keys().next_back().map_or(1, |last| last + 1);
        fs::write(&flags, vec![0; count]).map_err(|e| format!("{}: {e}", flags.display()))?;
        let variable = ("COFRAME_MUTANTS_REACHED", flags.to_str().unwrap_or_default());
        let scratch = self.scratch(worker);
        let limit = Duration::from_mins(10);
        let run = process::run((self.path(test), test), &self.build.tree, variable, &scratch, limit)?;
        let (outcome, took, said) = run;
        let read = fs::read(&flags).map_err(|e| format!("{}: {e}", flags.display()))?;
        let _ = fs::remove_file(&flags);
        if outcome != Outcome::Passed {
            return Ok(Err(said));
        }
        let reached = (0..).zip(&read).filter(|(_, flag)| **flag != 0).map(|(id, _)| id).collect();
        Ok(Ok(Measured { test: test.clone(), took, reached }))
    }

    /// Tries the mutants `ids`, and appends a line for each to `results`.
    pub(crate) fn try_all(
        &self,
        ids: Vec<usize>,
        measured: &[Measured],
        results: &Path,
    ) -> Result<BTreeMap<usize, String>, String> {
        let failed = |e: std::io::Error| format!("{}: {e}", results.display());
        let file = Mutex::new(OpenOptions::new().create(true).append(true).open(results).map_err(failed)?);
        // The test that caught the last mutant of a file is tried first on the next one.
        let caught_by: Mutex<BTreeMap<&str, Vec<usize>>> = Mutex::new(BTreeMap::new());
        let lines = self.each(ids, |worker, id| {
            let (path, mutant) = &self.build.mutants[&id];
            let recent =
                caught_by.lock().map_or_else(|_| Vec::new(), |of| of.get(path.as_str()).cloned().unwrap_or_default());
            let (result, by) = self.try_one(worker, id, measured, &recent)?;
            if let (Some(by), Ok(mut of)) = (by, caught_by.lock()) {
                let recent = of.entry(path).or_default();
                recent.retain(|known| *known != by);
                recent.insert(0, by);
                recent.truncate(5);
            }
            let line = format!("{id}\t{path}:{}\t{}\t{result}", mutant.line, mutant.change);
            println!("{line}");
            if let Ok(mut file) = file.lock() {
                writeln!(file, "{line}").map_err(failed)?;
            }
            Ok((id, result))
        })?;
        Ok(lines.into_iter().collect())
    }

    fn try_one(
        &self,
        worker: usize,
        id: usize,
        measured: &[Measured],
        recent: &[usize],
    ) -> Result<(String, Option<usize>), String> {
        let reaching = |position: &usize| measured[*position].reached.contains(&id);
        let mut order: Vec<usize> = recent.iter().copied().filter(reaching).collect();
        order.extend((0..measured.len()).filter(reaching).filter(|position| !recent.contains(position)));
        let (count, mut spent, mut tried) = (order.len(), Duration::ZERO, 0);
        for position in order {
            let candidate = &measured[position];
            spent += candidate.took;
            if spent > self.budget {
                break;
            }
            tried += 1;
            let variable = ("COFRAME_MUTANT", &*id.to_string());
            let (path, scratch) = (self.path(&candidate.test), self.scratch(worker));
            let run = process::run((path, &candidate.test), &self.build.tree, variable, &scratch, candidate.limit())?;
            let name = &candidate.test.name;
            match run.0 {
                Outcome::Passed => {}
                Outcome::Failed => return Ok((format!("caught by {name}"), Some(position))),
                Outcome::TimedOut => return Ok((format!("timeout of {name}"), Some(position))),
            }
        }
        Ok((format!("SURVIVED {tried} of {count} tests"), None))
    }

    fn scratch(&self, worker: usize) -> PathBuf {
        self.work.join(format!("scratch-{worker}"))
    }

    /// Calls `work` for each item in `jobs` threads, with the number of the thread.
    fn each<T: Send, R: Send>(
        &self,
        items: Vec<T>,
        work: impl Fn(usize, T) -> Result<R, String> + Sync,
    ) -> Result<Vec<R>, String> {
        let queue = Mutex::new(items.into_iter());
        let next = || queue.lock().ok()?.next();
        std::thread::scope(|scope| {
            let thread = |worker| {
                let (next, work) = (&next, &work);
                scope.spawn(move || {
                    std::iter::from_fn(next).map(|item| work(worker, item)).collect::<Result<Vec<R>, _>>()
                })
            };
            let threads: Vec<_> = (0..self.jobs).map(thread).collect();
            let mut all = Vec::new();
            for thread in threads {
                all.extend(thread.join().map_err(|_| "a thread panicked".to_owned())??);
            }
            Ok(all)
        })
    }
}

/// All mutants that some test reaches.
pub(crate) fn reached(measured: &[Measured]) -> BTreeSet<usize> {
    measured.iter().flat_map(|measured| measured.reached.iter().copied()).collect()
}

/// A random part of `ids`, the same for each `seed`.
pub(crate) fn sample(ids: Vec<usize>, count: usize, seed: u64) -> Vec<usize> {
    let mut state = seed;
    let mut keyed: Vec<(u64, usize)> = ids
        .into_iter()
        .map(|id| {
            // SplitMix64.
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (z ^ (z >> 31), id)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().take(count).map(|(_, id)| id).collect()
}

/// Reads what `write_measured` wrote.
pub(crate) fn read_measured(path: &Path) -> Option<Vec<Measured>> {
    let text = fs::read_to_string(path).ok()?;
    let line = |line: &str| {
        let mut words = line.split('\t');
        let (binary, name) = (words.next()?.to_owned(), words.next()?.to_owned());
        let took = Duration::from_millis(words.next()?.parse().ok()?);
        let reached = words.next()?.split_whitespace().map(|id| id.parse().ok()).collect::<Option<_>>()?;
        Some(Measured { test: Test { binary, name }, took, reached })
    };
    text.lines().map(line).collect()
}

/// Records measured tests for `--resume`.
pub(crate) fn write_measured(path: &Path, measured: &[Measured]) -> Result<(), String> {
    let line = |Measured { test, took, reached }: &Measured| {
        let reached: Vec<String> = reached.iter().map(usize::to_string).collect();
        format!("{}\t{}\t{}\t{}", test.binary, test.name, took.as_millis(), reached.join(" "))
    };
    let text = measured.iter().map(line).collect::<Vec<_>>().join("\n");
    fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::sample;

    #[test]
    fn a_seed_always_chooses_the_same_mutants() {
        let ids = || (0..1000).collect::<Vec<_>>();
        let (first, second) = (sample(ids(), 10, 1), sample(ids(), 10, 2));
        assert_eq!(first, sample(ids(), 10, 1));
        assert_ne!(first, second);
        assert!(sample(ids(), 20, 1).starts_with(&first));
        let mut all = sample(ids(), 5000, 3);
        all.sort_unstable();
        assert_eq!(all, ids());
    }
}
