//! Gives a frame another name, with the same file.

use super::{Store, control::Control, publish::PublishMode};
use crate::{
    error::{Error, Result},
    frame::{Frame, OpenOptions, UNPUBLISHED},
    name::Name,
};

impl Store {
    /// Publishes the latest version of a name under another name, and removes the old name with all its versions.
    ///
    /// Copies nothing and takes no room: the new version has the file of the old one. If the new name exists, its latest
    /// version is superseded, as by a publish. A process that has the frame open keeps it. Handles of the old name no
    /// longer open.
    ///
    /// Readers of each name see the change at once. Between the two steps both names have the frame. They keep it if
    /// this process is killed there.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if there is no such frame, and the errors of [`Store::open`] for a frame
    /// that cannot be opened. Both names are then unchanged.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// store.publish("draft", &polars::df!("x" => [1, 2])?)?;
    /// store.rename("draft", "final")?;
    /// assert!(!store.exists("draft")?);
    /// assert_eq!(store.open("final")?.to_polars()?.height(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn rename(&self, from: impl AsRef<str>, to: impl AsRef<str>) -> Result<Frame> {
        let (from, to) = (Name::new(from)?, Name::new(to)?);
        if from == to {
            return Err(Error::invalid(
                format_args!("the new name `{to}`"),
                "expected one that differs from the old name",
            ));
        }
        let options = OpenOptions::new();
        let mut control = Control::lock(&self.shared.root)?;
        let Some(version) = self.latest(&from)? else { return Err(self.not_found(&from, None)) };
        let mapping = self.map(&from, version, &options)?.ok_or_else(|| self.not_found(&from, Some(version)))?;
        let mut frame = Frame::from_mapping(mapping, self.origin(to.clone(), UNPUBLISHED), &options)?;
        // A file of another program does not say how many versions to keep, so none is removed, as in a sweep.
        let keep = frame.footer().metadata.as_ref().map_or(u32::MAX, |metadata| metadata.keep);
        let link = |file: &str| self.frames().link_again(&from.file(version), file);
        let committed = self.commit(&mut control, &to, &link, PublishMode::Overwrite)?;
        frame.set_version(committed.version);
        self.settle(&mut control, &to, committed, keep)?;
        self.remove_locked(&from)?;
        Ok(frame)
    }
}
