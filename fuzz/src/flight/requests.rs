//! Requests of any program: a ticket, a descriptor, an action, or the messages of `DoPut`.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use arrow_flight::{
    Action, Criteria, FlightDescriptor, Ticket, flight_descriptor::DescriptorType,
    flight_service_client::FlightServiceClient,
};
use coframe::PublishOptions;
use coframe_flight::{Server, ServerOptions};
use futures::stream;
use tokio::runtime::Runtime;
use tonic::{Code, Status, Streaming, transport::Channel};

use super::{flight_data, runtime};
use crate::scratch::{self, Scratch};

type Client = FlightServiceClient<Channel>;

/// A server of this thread's store, and a connection to it.
struct Served {
    client: Client,
    runtime: Runtime,
    _server: Server,
}

thread_local! {
    static SERVED: Served = scratch::with(serve);
}

fn serve(scratch: &Scratch) -> Served {
    let columns = [
        ("n", Arc::new(Int64Array::from_iter_values(0..10)) as _),
        ("text", Arc::new(StringViewArray::from_iter_values((0..10).map(|n| format!("the text of row {n}")))) as _),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let options = PublishOptions::new().batch_rows(4);
    scratch.store.publish_with("served", &batch, &options).unwrap();
    let options = ServerOptions::new().write(true).max_message(1 << 20);
    let server = Server::start(&scratch.store, &options).unwrap();
    let runtime = runtime();
    let endpoint = Channel::from_shared(server.url()).unwrap();
    let client = Client::new(runtime.block_on(endpoint.connect()).unwrap());
    Served { client, runtime, _server: server }
}

/// A status is an answer, unless it reports a panic in the server.
fn check<T>(result: Result<T, Status>) -> Option<T> {
    let status = match result {
        Ok(found) => return Some(found),
        Err(status) => status,
    };
    let is_panic = status.code() == Code::Unknown || status.message().contains("internal error in the server");
    assert!(!is_panic, "{status:?}");
    None
}

async fn drain<T>(answer: Result<tonic::Response<Streaming<T>>, Status>) -> usize {
    let Some(answer) = check(answer) else { return 0 };
    let (mut stream, mut found) = (answer.into_inner(), 0);
    while check(stream.message().await).flatten().is_some() {
        found += 1;
    }
    found
}

/// A wait may take a minute, so its time limit becomes a millisecond.
fn shortened(body: &[u8]) -> Vec<u8> {
    let Ok(mut json) = serde_json::from_slice::<serde_json::Value>(body) else { return body.to_vec() };
    if let Some(limit) = json.get_mut("timeout_ms").filter(|limit| limit.as_u64().is_some_and(|ms| ms > 1)) {
        *limit = 1.into();
    }
    json.to_string().into_bytes()
}

/// The first byte selects the call, the others are what it gets.
pub fn ticket(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    SERVED.with(|served| {
        let client = served.client.clone();
        served.runtime.block_on(call(client, *which, rest.to_vec()));
    });
}

async fn call(mut client: Client, which: u8, rest: Vec<u8>) {
    let command = |cmd: Vec<u8>| FlightDescriptor {
        r#type: DescriptorType::Cmd.into(),
        cmd: cmd.into(),
        ..FlightDescriptor::default()
    };
    let path = |text: &[u8]| FlightDescriptor {
        r#type: DescriptorType::Path.into(),
        path: String::from_utf8_lossy(text).split('/').map(str::to_owned).collect(),
        ..FlightDescriptor::default()
    };
    match which % 7 {
        0 => drop(drain(client.do_get(Ticket { ticket: rest.into() }).await).await),
        1 => drop(check(client.get_flight_info(command(rest)).await)),
        2 => drop(check(client.get_flight_info(path(&rest)).await)),
        3 => drop(check(client.get_schema(command(rest)).await)),
        4 => drop(drain(client.list_flights(Criteria { expression: rest.into() }).await).await),
        5 => {
            // The served frame stays, so `remove` is for a name that `DoPut` used.
            let kinds = ["segment", "stat", "source", "wait", "remove", "other"];
            let Some((kind, body)) = rest.split_first() else { return };
            let r#type = kinds[usize::from(*kind) % kinds.len()].to_owned();
            let is_removal = r#type == "remove" && body.windows(6).any(|word| word == b"served");
            if !is_removal {
                drain(client.do_action(Action { r#type, body: shortened(body).into() }).await).await;
            }
        }
        _ => {
            // A name, metadata, and a stream of messages, each up to a NUL except the last.
            let mut parts = rest.splitn(3, |byte| *byte == 0);
            let (name, metadata) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let mut messages = flight_data(parts.next().unwrap_or_default());
            if name == b"served" || messages.is_empty() {
                return;
            }
            messages[0].flight_descriptor = Some(path(name));
            messages[0].app_metadata = metadata.to_vec().into();
            if let Some(found) = check(client.do_put(stream::iter(messages)).await) {
                drain(Ok(found)).await;
            }
        }
    }
}
