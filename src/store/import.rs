//! Tables of other writers, from Arrow IPC files and streams.

use std::{fs::File, io::BufReader, path::Path};

use super::{PublishOptions, Store};
use crate::{
    error::{Error, Result},
    frame::Frame,
    ipc::read_messages,
};

impl Store {
    /// Publishes an Arrow IPC file or stream of any writer under a name.
    ///
    /// Reads it a batch at a time and validates every value before it is published; the file is not needed afterwards.
    /// Compressed files (LZ4 and Zstandard, as Feather has them) need the feature `compression`.
    ///
    /// # Errors
    ///
    /// [`is_corrupt`](Error::is_corrupt) if it is cut short, damaged or not Arrow IPC;
    /// [`is_unsupported`](Error::is_unsupported) if it is compressed and the feature is missing. The store is
    /// unchanged.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use coframe::arrow::{array::{Int64Array, RecordBatch}, ipc::writer::FileWriter};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// let path = dir.path().join("x.arrow");
    /// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// let mut file = FileWriter::try_new(std::fs::File::create(&path)?, &batch.schema())?;
    /// file.write(&batch)?;
    /// file.finish()?;
    /// assert_eq!(store.import("x", &path)?.num_rows(), 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import(&self, name: impl AsRef<str>, path: impl AsRef<Path>) -> Result<Frame> {
        self.import_with(name, path, &PublishOptions::new())
    }

    /// Publishes an Arrow IPC file or stream, with options. See [`Store::import`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = coframe::Store::open_at(dir.path().join("store"))?;
    /// # let df = polars::df!("carrier" => ["UA", "DL", "UA"], "delay" => [2_i64, -3, 11])?;
    /// # let frame = store.publish("flights", &df)?;
    /// let path = frame.path(); // any Arrow IPC file
    /// let options = coframe::PublishOptions::new().metadata("source", "elsewhere");
    /// assert_eq!(store.import_with("copy", &path, &options)?.num_rows(), 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn import_with(
        &self,
        name: impl AsRef<str>,
        path: impl AsRef<Path>,
        options: &PublishOptions,
    ) -> Result<Frame> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|e| Error::os("open", path, e))?;
        let what = format!("`{}`", path.display());
        let (schema, batches) = read_messages(BufReader::new(file), &what)?;
        let mut writer = self.writer_with(name, schema, options)?;
        for batch in batches {
            writer.write(&batch?)?;
        }
        writer.publish()
    }
}
