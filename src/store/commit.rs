//! Makes a complete file the latest version of a name.

use super::{Store, control::Control, publish::PublishMode};
use crate::{
    error::{Kind, Result},
    failpoint,
    frame::Frame,
    name::Name,
    segment::{Sealed, Unlinked},
};

/// Gives a complete file another name in the directory of frames; false if that name exists.
pub(super) type Link<'a> = dyn Fn(&str) -> Result<bool> + 'a;

/// A version that readers see.
pub(super) struct Committed {
    pub(super) version: u64,
    /// The versions below it whose files may exist, ascending.
    superseded: Vec<u64>,
    /// Whether a sweep of the whole store is due.
    is_sweep_due: bool,
}

impl Store {
    /// Makes a sealed file, which `frame` maps, the latest version of the frame's name, and removes versions that are
    /// neither kept nor in use.
    pub(super) fn make_latest(&self, mut frame: Frame, sealed: Sealed, mode: PublishMode, keep: u32) -> Result<Frame> {
        let name = frame.name().clone();
        let mut control = Control::lock(&self.shared.root)?;
        let committed = self.commit(&mut control, &name, &|file| sealed.link(file), mode)?;
        drop(sealed);
        frame.set_version(committed.version);
        self.settle(&mut control, &name, committed, keep)?;
        Ok(frame)
    }

    /// Makes a file the latest version of a name. If the store is full, sweeps it and tries again.
    pub(super) fn commit(
        &self,
        control: &mut Control<'_>,
        name: &Name,
        link: &Link<'_>,
        mode: PublishMode,
    ) -> Result<Committed> {
        match self.commit_once(control, name, link, mode) {
            Err(error) if error.is_no_space() && self.make_room_locked(control) => {
                self.commit_once(control, name, link, mode)
            }
            result => result,
        }
    }

    fn commit_once(
        &self,
        control: &mut Control<'_>,
        name: &Name,
        link: &Link<'_>,
        mode: PublishMode,
    ) -> Result<Committed> {
        self.check_not_ended()?;
        let last_sweep = self.last_sweep()?;
        if last_sweep.is_none() {
            // A build without records may have left files of this name.
            self.sweep_locked(control)?;
        }
        let latest = self.latest(name)?;
        let expected = match mode {
            PublishMode::Overwrite => latest,
            PublishMode::Create => None,
            PublishMode::Update(version) => Some(version),
        };
        if expected != latest {
            return Err(Kind::Conflict { name: name.to_string(), expected, found: latest }.into());
        }
        let mut superseded = self.without_orphans(name, latest)?;
        let former = superseded.clone();
        superseded.extend(latest);
        let mut linked = None;
        let committed = self.link_and_switch(control, name, link, &superseded, latest, &mut linked);
        match (committed, linked) {
            (Ok(version), _) => {
                let is_sweep_due = last_sweep.is_none_or(|sweep| sweep.is_long_ago());
                Ok(Committed { version, superseded, is_sweep_due })
            }
            (Err(error), linked) => {
                // Best effort: a file that remains is in the record, and the next commit or sweep removes it.
                let unlinked = linked.map_or(Ok(()), |version| self.frames().unlink(&name.file(version)));
                let _ = unlinked.and_then(|()| self.record_others(name, &former));
                Err(error)
            }
        }
    }

    /// The steps of a commit that are undone after a failure; `linked` is the version whose file has its name.
    fn link_and_switch(
        &self,
        control: &mut Control<'_>,
        name: &Name,
        link: &Link<'_>,
        superseded: &[u64],
        latest: Option<u64>,
        linked: &mut Option<u64>,
    ) -> Result<u64> {
        let frames = self.frames();
        let step = |step| failpoint::reach(step).map_err(|e| frames.write_error("publish in", e));
        let mut others = superseded.to_vec();
        let version = loop {
            let version = control.take_version(latest)?;
            others.push(version);
            self.record_others(name, &others)?;
            step("recorded")?;
            // An existing name is a file that is missing in the record. It keeps its number.
            if link(&name.file(version))? {
                break version;
            }
        };
        *linked = Some(version);
        step("linked")?;
        frames.sync()?;
        frames.switch_link(&name.link(), &name.file(version))?;
        Ok(version)
    }

    /// Removes versions of a name that were linked but never became the latest, because their publisher died; returns
    /// the superseded ones.
    ///
    /// If they remained, the next publish would make them look like superseded versions. It does not matter whether
    /// another process maps one: no reader has seen it under its name, and the map remains valid.
    fn without_orphans(&self, name: &Name, latest: Option<u64>) -> Result<Vec<u64>> {
        let mut others = self.other_versions(name, latest)?;
        let is_orphan = |version: u64| latest.is_none_or(|latest| version > latest);
        for version in others.iter().filter(|version| is_orphan(**version)) {
            self.frames().unlink(&name.file(*version))?;
        }
        others.retain(|version| !is_orphan(*version));
        Ok(others)
    }

    /// Makes a commit durable and removes the superseded versions of this name that are neither kept nor in use. Then
    /// sweeps the whole store, if that is due.
    ///
    /// Only the first step can fail. The next sweep removes files that the others leave.
    pub(super) fn settle(&self, control: &mut Control<'_>, name: &Name, committed: Committed, keep: u32) -> Result<()> {
        let frames = self.frames();
        failpoint::reach("switched").map_err(|e| frames.write_error("publish in", e))?;
        frames.sync()?;
        // First, because the number to keep is known here. A sweep of the whole store opens the latest version of a name
        // to find it, if the name has older ones.
        let _ = self.sweep_name(name, committed.superseded, keep);
        if committed.is_sweep_due {
            let _ = self.sweep_locked(control);
        }
        Ok(())
    }

    fn sweep_name(&self, name: &Name, mut superseded: Vec<u64>, keep: u32) -> Result<()> {
        let frames = self.frames();
        let keep = usize::try_from(keep).unwrap_or(usize::MAX);
        if keep > 0 && superseded.len() > keep {
            // A record may list files that no longer exist. They do not count as kept.
            let mut existing = Vec::with_capacity(superseded.len());
            for version in superseded {
                if frames.stat(&name.file(version))?.is_some() {
                    existing.push(version);
                }
            }
            superseded = existing;
        }
        let kept = superseded.split_off(superseded.len().saturating_sub(keep));
        let mut others = Vec::new();
        for version in superseded {
            if frames.unlink_unused(&name.file(version))? == Unlinked::InUse {
                others.push(version);
            }
        }
        others.extend(kept);
        failpoint::reach("name-swept").map_err(|e| frames.write_error("sweep", e))?;
        self.record_others(name, &others)
    }
}
