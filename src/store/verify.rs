//! Checks every value of a frame.

use super::Store;
use crate::{error::Result, frame::Frame, ipc};

impl Store {
    /// Reads the whole latest version of a name and checks every value of every buffer, like that of an untrusted file.
    ///
    /// Costs in the order of its bytes: about a tenth of a second for a gigabyte of mixed columns.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(store.verify("flights")?.num_rows(), 3); // reads and checks every value
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](crate::Error::is_corrupt) with the rule of docs/FORMAT.md that is broken, and the column.
    pub fn verify(&self, name: impl AsRef<str>) -> Result<Frame> {
        validated(self.open(name)?)
    }

    /// Checks one version as [`Store::verify`] checks the latest.
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// assert_eq!(store.verify_version("flights", 1)?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify_version(&self, name: impl AsRef<str>, version: u64) -> Result<Frame> {
        validated(self.open_version(name, version)?)
    }
}

fn validated(frame: Frame) -> Result<Frame> {
    let what = format!("the frame {}", frame.label());
    let keys = frame.footer().metadata.as_ref().map(|metadata| metadata.keys.as_slice()).unwrap_or_default();
    for batch in frame.batches() {
        ipc::validate(batch, keys, &what)?;
    }
    if let Some(metadata) = frame.footer().metadata.as_ref().filter(|_| frame.mapping().is_sealed()) {
        ipc::check_claims(frame.batches(), metadata, &what)?;
    }
    Ok(frame)
}
