//! Mutation testing of `src/segment`, `src/ipc` and `src/store`: which small changes of the library does no test notice?
//!
//! ```text
//! cargo run -- [--sample N] [--seed S] [--only src/ipc] [--ids 1,2] [--budget SECONDS] [--jobs N]
//!     [--work DIRECTORY] [--resume] [-- CARGO ARGUMENTS]
//! ```
//!
//! The changes are those of cargo-mutants (a function returns a constant, an operator is replaced, `!` or `-` is
//! deleted, an arm of a `match` or its guard is left out), and deleted statements. cargo-mutants builds the tests again
//! for each change: half a minute for each of 2 700, so about 22 hours. This program copies the tree and compiles all
//! changes into one build, in which `COFRAME_MUTANT=<id>` selects one. A change that does not compile is dropped. Then
//! each test runs once and records the changes that it reaches, and a change is tried with these tests only.
//!
//! Each test runs in separate namespaces (`unshare(1)`), with a private /dev/shm. The work directory contains the list of
//! mutants (`mutants.tsv`), the times of the tests (`measured.tsv`) and the results (`results.tsv`). A mutant survives
//! here if only a suite of another workspace notices it. docs/RELIABILITY.md explains those that survived.

mod campaign;
mod compile;
mod find;
mod process;
mod render;
mod values;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use campaign::Bench;

struct Options {
    sample: usize,
    seed: u64,
    only: String,
    ids: Vec<usize>,
    budget: Duration,
    jobs: usize,
    work: PathBuf,
    resume: bool,
    cargo: Vec<String>,
}

fn main() -> ExitCode {
    match options().and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coframe-mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options() -> Result<Options, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let jobs = std::thread::available_parallelism().map_or(1, usize::from);
    let work = std::env::temp_dir().join("coframe-mutants");
    let mut options = Options {
        sample: 350,
        seed: now,
        only: String::new(),
        ids: vec![],
        budget: Duration::from_hours(1),
        jobs,
        work,
        resume: false,
        cargo: vec![],
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{argument} {text}: {e}"));
        let size = |text: String| text.parse::<usize>().map_err(|e| format!("{argument} {text}: {e}"));
        match argument.as_str() {
            "--sample" => options.sample = size(value()?)?,
            "--seed" => options.seed = number(value()?)?,
            "--only" => options.only = value()?,
            "--ids" => options.ids = value()?.split(',').map(|id| size(id.to_owned())).collect::<Result<_, _>>()?,
            "--budget" => options.budget = Duration::from_secs(number(value()?)?),
            "--jobs" => options.jobs = size(value()?)?.max(1),
            "--work" => options.work = value()?.into(),
            "--resume" => options.resume = true,
            "--" => options.cargo = arguments.by_ref().collect(),
            other => return Err(format!("unknown argument {other}; see the head of ci/mutants/src/main.rs")),
        }
    }
    if options.cargo.is_empty() {
        // The other test binaries check documents, not the library.
        options.cargo = ["--lib", "--test", "it", "--test", "heap"].map(str::to_owned).to_vec();
    }
    Ok(options)
}

fn run(options: &Options) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().map_err(|e| e.to_string())?;
    fs::create_dir_all(&options.work).map_err(|e| format!("{}: {e}", options.work.display()))?;
    let uncompiled = options.work.join("uncompiled");
    let known = if options.resume { read_ids(&uncompiled) } else { BTreeSet::new() };
    let build = compile::build(&root, &options.work.join("tree"), &options.cargo, &known)?;
    println!("{} mutants compile, {} do not", build.mutants.len(), build.dropped.len());
    let lines: Vec<String> = build.dropped.iter().map(usize::to_string).collect();
    fs::write(&uncompiled, lines.join("\n")).map_err(|e| format!("{}: {e}", uncompiled.display()))?;
    let line = |(id, (file, mutant)): (&usize, &(String, find::Mutant))| {
        format!("{id}\t{file}:{}\t{}", mutant.line, mutant.change)
    };
    let lines: Vec<String> = build.mutants.iter().map(line).collect();
    let list = options.work.join("mutants.tsv");
    fs::write(&list, lines.join("\n")).map_err(|e| format!("{}: {e}", list.display()))?;
    let bench = Bench { build: &build, work: &options.work, jobs: options.jobs, budget: options.budget };
    let measurements = options.work.join("measured.tsv");
    let known = options.resume.then(|| campaign::read_measured(&measurements)).flatten();
    let measured = bench.measure(known.unwrap_or_default())?;
    campaign::write_measured(&measurements, &measured)?;
    let mut reached = campaign::reached(&measured);
    reached.retain(|id| build.mutants.contains_key(id));
    println!("{} mutants are reached by {} tests", reached.len(), measured.len());

    let results = options.work.join("results.tsv");
    let done = if options.resume { read_ids(&results) } else { BTreeSet::new() };
    let chosen = if options.ids.is_empty() {
        let of_area = reached.iter().copied().filter(|id| build.mutants[id].0.starts_with(&options.only));
        println!("a sample of {} with --seed {}", options.sample, options.seed);
        campaign::sample(of_area.collect(), options.sample, options.seed)
    } else {
        options.ids.clone()
    };
    if let Some(unknown) = chosen.iter().find(|id| !build.mutants.contains_key(id)) {
        return Err(format!("mutant {unknown} does not exist or does not compile"));
    }
    let left = chosen.into_iter().filter(|id| !done.contains(id)).collect();
    let found = bench.try_all(left, &measured, &results)?;
    summarise(&found);
    Ok(())
}

/// The first word of each line.
fn read_ids(path: &Path) -> BTreeSet<usize> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| line.split('\t').next()?.parse().ok()).collect()
}

fn summarise(results: &BTreeMap<usize, String>) {
    let count = |prefix: &str| results.values().filter(|result| result.starts_with(prefix)).count();
    let (caught, timeouts, survived) = (count("caught"), count("timeout"), count("SURVIVED"));
    println!("{} tried: {caught} caught, {timeouts} by a timeout, {survived} survived", results.len());
}
