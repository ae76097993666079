//! Rows over the network, for programs that need few of them.

use arrow_flight::Ticket as FlightTicket;
use coframe::{
    IpcReader, Name,
    arrow::{array::RecordBatch, datatypes::SchemaRef},
};

use super::{ReadOptions, Remote};
use crate::{
    error::{Error, Kind, Result},
    messages,
    wire::{self, Layout, Ticket},
};

impl Remote {
    /// Reads a frame, or a part of one, into the memory of this process, and returns its schema and its batches. Creates no
    /// mirror.
    ///
    /// # Errors
    ///
    /// [`is_not_found`](Error::is_not_found) if the frame, version or a column does not exist;
    /// [`is_invalid_argument`](Error::is_invalid_argument) if the rows are outside of the frame.
    ///
    /// ```
    /// # use coframe::{Store, arrow::array::{Int64Array, RecordBatch}};
    /// # use coframe_flight::{Server, ServerOptions};
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # let store = Store::open_at(dir.path().join("there"))?;
    /// # let delays = Int64Array::from(vec![3, 5, -2]);
    /// # store.publish("flights", &RecordBatch::try_from_iter([("delay", std::sync::Arc::new(delays) as _)])?)?;
    /// # let server = Server::start(&store, &ServerOptions::new())?;
    /// use coframe_flight::{ReadOptions, Remote};
    ///
    /// let remote = Remote::connect(server.url())?;
    /// let (schema, batches) = remote.read("flights", &ReadOptions::new().columns(["delay"]).rows(1..3))?;
    /// assert_eq!((schema.field(0).name().as_str(), batches[0].num_rows()), ("delay", 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(&self, name: impl AsRef<str>, options: &ReadOptions) -> Result<(SchemaRef, Vec<RecordBatch>)> {
        let name: Name = name.as_ref().parse()?;
        let ReadOptions { version, columns, rows, classic } = options.clone();
        let layout = if classic { Layout::Classic } else { Layout::Keep };
        let ticket = Ticket { name: name.to_string(), version, id: None, columns, rows, layout };
        let what = format!("cannot read `{name}` of {}", self.url);
        let mut client = self.client.clone().max_decoding_message_size(usize::MAX);
        let bytes = self.block_on(what.clone(), async {
            let ticket = FlightTicket { ticket: wire::json(&ticket)? };
            let mut stream = client.do_get(self.request(ticket)).await?.into_inner();
            let mut bytes = Vec::new();
            while let Some(data) = self.next(&mut stream).await? {
                bytes.extend_from_slice(&messages::encapsulated(&data.data_header));
                bytes.extend_from_slice(&data.data_body);
            }
            Ok(bytes)
        })?;
        let damaged = |e: &dyn std::error::Error| Error::new(Kind::Corrupt, format_args!("{what}: {e}"));
        let reader = IpcReader::stream(&*bytes, "the stream").map_err(|e| damaged(&e))?;
        let schema = reader.schema().clone();
        let batches = reader.collect::<std::result::Result<_, _>>().map_err(|e| damaged(&e))?;
        Ok((schema, batches))
    }
}
