//! Owns sessions, and publishes into those of others.

use std::fs;

use coframe::{Frame, Session, SharedMap, Store, sync::Counter};

use super::{Context, Role};
use crate::{Result, content, ensure, random::Random};

const PARTS: [&str; 3] = ["a", "b", "draft-c"];

#[derive(Default)]
pub(super) struct Owner {
    session: Option<Session>,
    /// Frames of the session, which exist for as long as it does.
    parts: Vec<Frame>,
}

impl Role for Owner {
    fn step(&mut self, context: &mut Context) -> Result<()> {
        let Some(session) = &self.session else {
            self.session = Some(context.store.session()?);
            return Ok(());
        };
        match context.random.below(12) {
            0..5 => {
                let name = *context.random.pick(&PARTS);
                let (frame, _) = content::publish(session.store(), name, &mut context.random)?;
                content::check(&frame)?;
                self.parts.retain(|part| part.name() != frame.name());
                self.parts.push(frame);
                Ok(())
            }
            5..8 => self.check(&mut context.random),
            8 => {
                let count: Counter = Counter::open_or_create(session.store(), "count")?;
                let map = SharedMap::<u32, u64>::open_or_create(session.store(), "map")?;
                map.put(&1, &(count.add(1) as u64))?;
                Ok(())
            }
            9 => publish_into_another(context),
            10 => {
                self.session = None;
                let part = self.parts.iter().find(|part| part.path().exists());
                ensure!(part.is_none(), "a session has ended, and {:?} still exists", part.map(Frame::path));
                self.parts.iter().try_for_each(|part| content::check(part).map(drop))?;
                self.parts.clear();
                Ok(())
            }
            _ => {
                // Both at once, as a program ends.
                (self.session, self.parts) = (None, Vec::new());
                Ok(())
            }
        }
    }
}

impl Owner {
    /// While its owner lives, no sweep removes anything of a session.
    fn check(&self, random: &mut Random) -> Result<()> {
        if self.parts.is_empty() {
            return Ok(());
        }
        let part = random.pick(&self.parts);
        content::check(part)?;
        let opened = part.handle().open();
        let again = opened.map_err(|e| format!("a frame of a living session does not open: {e}"))?;
        ensure!(again.segment_id() == part.segment_id(), "another frame in a session's place");
        Ok(())
    }
}

/// Publishes into any session, whose owner may be dead or die meanwhile: succeeds, or finds it ended.
fn publish_into_another(context: &mut Context) -> Result<()> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(context.store.path().join("sessions"))? {
        ids.extend(entry?.file_name().into_string());
    }
    ids.retain(|id| !id.starts_with('.'));
    if ids.is_empty() {
        return Ok(());
    }
    let store = match Store::open_session(context.store.path(), context.random.pick::<String>(&ids)) {
        Err(error) if error.is_not_found() => return Ok(()),
        store => store?,
    };
    let token = context.random.next();
    match store.publish_with("guest", &content::table("guest", token)?, &content::options("guest", token)) {
        Ok(frame) => content::check(&frame).map(drop),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
