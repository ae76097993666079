//! The wire: requests that a server of coframe-flight gets, and answers that its client gets.

mod answers;
mod requests;

pub use answers::wire;
pub use requests::ticket;

use arrow_flight::FlightData;
use tokio::runtime::{Builder, Runtime};

use crate::segment;

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// The messages of an IPC stream as Flight sends them.
fn flight_data(stream: &[u8]) -> Vec<FlightData> {
    let data = |message: segment::Message| FlightData {
        data_header: message.header.into(),
        data_body: message.body.into(),
        ..FlightData::default()
    };
    segment::messages(stream).into_iter().map(data).collect()
}
