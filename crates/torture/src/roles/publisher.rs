//! Publishes, mirrors, removes and renames.

use std::collections::BTreeMap;

use coframe::{PublishMode, Store};

use super::{Context, Held, Role};
use crate::{
    Result,
    content::{self, KEPT, MIRROR, REMOVED},
    ensure,
};

#[derive(Default)]
pub(super) struct Publisher {
    held: Held,
    /// The last version that this process published of each name.
    last: BTreeMap<&'static str, u64>,
}

impl Role for Publisher {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        let (kept, removed) = (*context.random.pick(&KEPT), *context.random.pick(&REMOVED));
        match context.random.below(16) {
            0..7 => self.publish(context, kept),
            7..10 => self.publish(context, removed),
            10 => {
                context.store.remove(removed)?;
                Ok(())
            }
            11 => rename(context),
            12 => self.mirror(context),
            13 => abandon(context),
            14 => update(context),
            _ => self.held.check(&mut context.random),
        }
    }
}

impl Publisher {
    fn publish(&mut self, context: &mut Context, name: &'static str) -> Result<()> {
        let (frame, token) = content::publish(&context.store, name, &mut context.random)?;
        context.ledger.frame(name, frame.version(), token)?;
        let last = self.last.insert(name, frame.version()).unwrap_or(0);
        ensure!(frame.version() > last, "`{name}` went from version {last} back to {}", frame.version());
        ensure!(content::check(&frame)? == token, "`{name}` has the token of another frame");
        self.held.add(frame, &mut context.random)
    }

    /// Copies the segment of a frame, as a pull from another machine does.
    fn mirror(&mut self, context: &mut Context) -> Result<()> {
        let origin = context.store.open(*context.random.pick(&KEPT))?;
        let mut mirror = context.store.mirror(MIRROR)?;
        for piece in origin.segment_bytes().chunks(10_000) {
            mirror.write(piece)?;
        }
        let copy = mirror.publish()?;
        context.ledger.frame(MIRROR, copy.version(), content::token(&origin)?)?;
        ensure!(copy.segment_id() == origin.segment_id(), "a mirror with another id than its origin");
        self.held.add(copy, &mut context.random)
    }
}

fn rename(context: &mut Context) -> Result<()> {
    let from = *context.random.pick(&REMOVED);
    let to = if from == REMOVED[0] { REMOVED[1] } else { REMOVED[0] };
    match context.store.rename(from, to) {
        Ok(frame) => context.ledger.frame(to, frame.version(), content::check(&frame)?),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A writer that is dropped leaves nothing.
fn abandon(context: &mut Context) -> Result<()> {
    let table = content::table(KEPT[0], context.random.next())?;
    let options = content::options(KEPT[0], 0).batch_rows(1 + table.num_rows() / 2);
    context.store.writer_with(KEPT[0], table.schema(), &options)?.write(&table)?;
    Ok(())
}

/// Updates the version that this process saw last: succeeds, or is a conflict.
fn update(context: &mut Context) -> Result<()> {
    let name = *context.random.pick(&KEPT);
    let seen = latest(&context.store, name)?;
    let token = context.random.next();
    let options = content::options(name, token).mode(PublishMode::Update(seen));
    match context.store.publish_with(name, &content::table(name, token)?, &options) {
        Ok(frame) => context.ledger.frame(name, frame.version(), token),
        Err(error) if error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn latest(store: &Store, name: &str) -> Result<u64> {
    let versions = store.versions(name)?;
    Ok(versions.last().copied().ok_or_else(|| format!("`{name}` vanished"))?)
}
