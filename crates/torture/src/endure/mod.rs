//! Publish, open and drop at full speed; memory, descriptors and maps over time must be flat.

mod sample;
mod svg;

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use coframe::{Frame, Store, sync::Mutex};

use crate::{
    Result,
    content::{self, KEPT, REMOVED},
    ensure,
    random::Random,
    roles,
};
use sample::{SERIES, Sample};

/// Samples of a run, whatever its length.
const SAMPLES: u32 = 240;
/// Frames that the process has open at a time.
const HELD: usize = 8;

struct Directory(PathBuf);

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Runs for a number of minutes, draws the samples to an SVG, and fails if a series has grown.
pub(crate) fn run(minutes: u64, svg: Option<&str>) -> Result<()> {
    let directory = Directory(format!("/dev/shm/coframe-torture-endure-{}", std::process::id()).into());
    fs::create_dir(&directory.0)?;
    let store = Store::open_at(directory.0.join("store"))?;
    let limit = Duration::from_mins(minutes.max(1));
    let (samples, rounds) = endure(&store, limit)?;
    if let Some(file) = svg {
        fs::write(file, svg::draw(&samples, rounds))?;
    }
    println!("{rounds} rounds in {limit:?}, {} samples", samples.len());
    let mut grown = Vec::new();
    for (index, (name, unit)) in SERIES.into_iter().enumerate() {
        let (early, late) = sample::early_and_late(&samples, index);
        println!("{name}: {early:.1}{unit} in the second quarter, {late:.1}{unit} in the last one");
        // A twentieth, or one of something that is counted.
        if late > (early * 1.05).max(early + 1.0) {
            grown.push(name);
        }
    }
    ensure!(grown.is_empty(), "grown: {grown:?}");
    Ok(())
}

fn endure(store: &Store, limit: Duration) -> Result<(Vec<Sample>, u64)> {
    let mut random = Random::new(1);
    let lock = Mutex::create(store, roles::LOCK, [0_u64; 16])?;
    let map = roles::create_map(store)?;
    let (start, every) = (Instant::now(), limit / SAMPLES);
    let (mut samples, mut held, mut rounds) = (Vec::new(), Vec::new(), 0);
    while start.elapsed() < limit {
        frames(store, &mut held, &mut random)?;
        roles::raise(&lock, &mut random)?;
        roles::transfer(&map, &mut random)?;
        roles::sequence(&map)?;
        if u64::is_multiple_of(rounds, 8) {
            let session = store.session()?;
            content::publish(session.store(), "part", &mut random)?;
        }
        rounds += 1;
        if start.elapsed() >= every * samples.len() as u32 {
            samples.push(Sample::take(start.elapsed(), store)?);
        }
    }
    Ok((samples, rounds))
}

/// Publishes, opens by name and by handle, compares every value, removes and drops.
fn frames(store: &Store, held: &mut Vec<Frame>, random: &mut Random) -> Result<()> {
    let kept = *random.pick(&KEPT);
    let (frame, token) = content::publish(store, kept, random)?;
    ensure!(content::check(&store.open(kept)?)? == token, "`{kept}` is another frame than was published");
    ensure!(content::check(&frame.handle().open()?)? == token, "a handle opened another frame");
    held.push(frame);
    content::publish(store, REMOVED[0], random)?;
    store.remove(REMOVED[0])?;
    if held.len() > HELD {
        held.remove(random.below(HELD as u64) as usize);
    }
    Ok(())
}
