//! Streaming a table into a segment.

use std::time::{SystemTime, UNIX_EPOCH};

use arrow::{array::RecordBatch, datatypes::SchemaRef};

use super::{PublishOptions, Store, control::Control, publish::checked, random_id};
use crate::{
    error::{Error, Result},
    frame::{Frame, OpenOptions, Origin, UNPUBLISHED},
    ipc::{Encoder, Marks, Metadata, has_same_names},
    name::Name,
    segment::Draft,
};

/// How the temporary name of a draft begins, on file systems that need one.
pub(super) const DRAFT: &str = ".draft-";

/// A frame being written, batch by batch; made by [`Store::writer`].
///
/// Needs memory for one batch: rows are kept until there are enough for a record batch (see
/// [`PublishOptions::batch_rows`]) and written then. Dropped before [`publish`](FrameWriter::publish), or killed, it
/// leaves nothing behind.
///
/// Publishing consumes the writer, so nothing is ever written to a published frame:
///
/// ```compile_fail,E0382
/// # let store = coframe::Store::at("/dev/shm/example").unwrap();
/// # let schema = std::sync::Arc::new(coframe::arrow::datatypes::Schema::empty());
/// let writer = store.writer("x", schema).unwrap();
/// writer.publish().unwrap();
/// writer.publish().unwrap(); // error: use of moved value
/// ```
#[must_use = "nothing is visible until `publish` is called"]
pub struct FrameWriter {
    store: Store,
    name: Name,
    options: PublishOptions,
    marks: Marks,
    schema: SchemaRef,
    draft: Draft,
    encoder: Encoder,
    /// Whether a write failed or panicked: rows are missing, and the notes of the encoder are ahead of the file.
    is_broken: bool,
}

impl Store {
    /// Begins a frame that is written batch by batch.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::at(dir.path().join("store"))?;
    /// let batch = RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)])?;
    /// let mut writer = store.writer("big", batch.schema())?;
    /// for _ in 0..3 {
    ///     writer.write(&batch)?;
    /// }
    /// assert_eq!(writer.publish()?.rows(), 6);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(&self, name: &str, schema: SchemaRef) -> Result<FrameWriter> {
        self.writer_with(name, schema, PublishOptions::new())
    }

    /// Begins a frame that is written batch by batch, with options.
    pub fn writer_with(&self, name: &str, schema: SchemaRef, options: PublishOptions) -> Result<FrameWriter> {
        let name = checked(name)?;
        let hidden = || {
            let control = Control::lock(&self.shared.root)?;
            Ok((format!("{DRAFT}{:032x}", random_id()?), control))
        };
        let mut draft = Draft::create(self.frames(), hidden)?;
        let encoder = Encoder::begin(&schema, &options.encoder, &mut |slices| draft.write(slices))?;
        Ok(FrameWriter {
            store: self.clone(),
            name,
            options,
            marks: Marks::default(),
            schema,
            draft,
            encoder,
            is_broken: false,
        })
    }
}

impl FrameWriter {
    /// Adds the rows of a batch, whose columns must have the names and types of the schema, in order.
    ///
    /// After an error in writing, such as a full store, some rows are lost: every later call on this writer returns
    /// [`is_invalid`](Error::is_invalid), and the frame must be written again from its first batch. A batch that does not
    /// fit the schema is refused before anything is written, and the writer stays usable.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.check_usable()?;
        self.check(batch)?;
        self.is_broken = true;
        self.encoder.write(batch, &mut |slices| self.draft.write(slices))?;
        self.is_broken = false;
        Ok(())
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_broken {
            let detail = "an earlier write failed, so rows are missing; start again with a new writer";
            return Err(Error::invalid(format_args!("the writer of `{}`", self.name), detail));
        }
        Ok(())
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let (found, expected) = (batch.schema_ref().fields(), self.schema.fields());
        let what = || format!("a batch for `{}`", self.name);
        if found.len() != expected.len() {
            return Err(Error::invalid(
                what(),
                format_args!("expected {} columns, found {}", expected.len(), found.len()),
            ));
        }
        for (found, expected) in found.iter().zip(expected) {
            let (found_type, expected_type) = (found.data_type(), expected.data_type());
            let is_same = found_type.equals_datatype(expected_type) && has_same_names(found_type, expected_type);
            if found.name() != expected.name() || !is_same {
                let expected = format!("expected column `{}` of type {}", expected.name(), expected.data_type());
                let found = format!("found `{}` of type {}", found.name(), found.data_type());
                return Err(Error::invalid(what(), format_args!("{expected}, {found}")));
            }
        }
        Ok(())
    }

    /// What the source knows beyond Arrow; before the first batch.
    pub(super) fn set_marks(&mut self, marks: Marks) {
        if marks.polars {
            self.encoder.trust_keys();
        }
        self.marks = marks;
    }

    /// Writes what is pending and makes the frame the latest version of its name.
    ///
    /// In every case of an error the store is as it was, except when a store on a disk cannot be synchronised after the
    /// switch: then the new version is visible.
    pub fn publish(mut self) -> Result<Frame> {
        self.check_usable()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let metadata = Metadata {
            segment: random_id()?,
            writer: concat!("coframe ", env!("CARGO_PKG_VERSION")).to_owned(),
            created: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            keep: self.options.keep,
            rows: 0,
            keys: Vec::new(),
            marks: self.marks,
            user: self.options.metadata,
        };
        self.encoder.finish(metadata, &mut |slices| self.draft.write(slices))?;
        let sealed = self.draft.seal()?;
        // Mapped before it has a name, so that no sweep ever finds it unused; and decoded, so that no file gets a name
        // that readers could not open.
        let mapping = sealed.map()?;
        let origin = Origin {
            store: self.store.path().to_owned(),
            session: self.store.shared.session.clone(),
            name: self.name.clone(),
            version: UNPUBLISHED,
        };
        let mut frame = Frame::of_mapping(mapping, origin, &OpenOptions::new())?;
        frame.set_version(self.store.commit(&self.name, &sealed, self.options.condition)?);
        drop(sealed);
        self.store.sweep_after_publish();
        Ok(frame)
    }
}

impl std::fmt::Debug for FrameWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameWriter")
            .field("name", &self.name)
            .field("bytes", &self.draft.len())
            .finish_non_exhaustive()
    }
}
