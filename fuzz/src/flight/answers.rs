//! Answers of any program to the client of coframe-flight: a mirror's file, the JSON of actions, and streams of rows. The
//! client must report what it was sent: an answer that is incomplete or contradicts itself is an error.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow::array::RecordBatch;
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
    flight_service_server::{FlightService, FlightServiceServer},
};
use coframe::{Frame, IpcReader};
use coframe_flight::{ReadOptions, Remote, RemoteOptions};
use futures::{Stream, stream};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};

use super::{flight_data, runtime};
use crate::{
    read,
    scratch::{self, Scratch, check_text},
    segment,
};

/// What is wrong with the answers for a valid request.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Fault {
    #[default]
    None,
    /// The checksum is that of other bytes.
    Checksum,
    /// The last byte is missing, and so is what follows it.
    Cut,
    /// One byte follows the last one.
    Longer,
    /// An error follows the first half.
    Broken,
    /// The name is a path out of the store.
    Path,
    /// The id is that of another segment.
    Id,
    /// The segment is longer than its server states.
    Length,
}

impl Fault {
    const ALL: [Self; 8] =
        [Self::None, Self::Checksum, Self::Cut, Self::Longer, Self::Broken, Self::Path, Self::Id, Self::Length];
}

/// What the server answers next.
#[derive(Clone, Default)]
struct Plan {
    /// To `stat`, and to every other action that has one answer.
    json: Vec<u8>,
    /// To `segment`: the range of a file that is asked for, with its checksum; or, without a file, these messages.
    file: Option<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
    /// To `DoGet`.
    stream: Vec<u8>,
    fault: Fault,
}

/// The answer to a request for a range of a segment.
fn range(request: &[u8], file: &[u8], fault: Fault) -> Vec<Result<Vec<u8>, Status>> {
    let request: serde_json::Value = serde_json::from_slice(request).expect("the client writes JSON");
    let number = |key: &str| request[key].as_u64().map(|number| number as usize).expect("a number");
    let (start, len) = (number("offset"), number("len"));
    let mut bytes = file[start..start + len].to_vec();
    let crc = crc32fast::hash(&bytes) ^ u32::from(fault == Fault::Checksum);
    match fault {
        Fault::Cut => drop(bytes.pop()),
        Fault::Longer => bytes.push(0),
        Fault::Broken => bytes.truncate(len / 2),
        _ => {}
    }
    let chunks = if request["data"] == false { Vec::new() } else { vec![bytes] };
    let end = match fault {
        Fault::Cut => None,
        Fault::Broken => Some(Err(Status::internal("the server has failed"))),
        _ => Some(Ok(format!("{{\"crc32\":\"{crc:08x}\"}}").into_bytes())),
    };
    chunks.into_iter().filter(|chunk| !chunk.is_empty()).map(Ok).chain(end).collect()
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answered<T> = Result<Response<Answers<T>>, Status>;

fn answers<T: Send + 'static>(messages: Vec<Result<T, Status>>) -> Answers<T> {
    Box::pin(stream::iter(messages))
}

fn unimplemented<T>() -> Result<T, Status> {
    Err(Status::unimplemented("not part of this target"))
}

struct Hostile(Arc<Mutex<Plan>>);

impl Hostile {
    fn plan(&self) -> Plan {
        self.0.lock().unwrap().clone()
    }
}

#[tonic::async_trait]
impl FlightService for Hostile {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoExchangeStream = Answers<FlightData>;
    type DoActionStream = Answers<ActionResult>;
    type ListActionsStream = Answers<ActionType>;

    async fn do_action(&self, request: Request<Action>) -> Answered<ActionResult> {
        let (plan, action) = (self.plan(), request.into_inner());
        let messages = match (action.r#type.as_str(), plan.file) {
            ("segment", Some(file)) => range(&action.body, &file, plan.fault),
            ("segment", None) => plan.chunks.into_iter().map(Ok).collect(),
            _ => vec![Ok(plan.json)],
        };
        let results = messages.into_iter().map(|body| Ok(ActionResult { body: body?.into() })).collect();
        Ok(Response::new(answers(results)))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answered<FlightData> {
        let Plan { stream, fault, .. } = self.plan();
        let mut messages: Vec<_> = flight_data(&stream).into_iter().map(Ok).collect();
        if fault == Fault::Broken {
            messages.push(Err(Status::internal("the server has failed")));
        }
        Ok(Response::new(answers(messages)))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answered<FlightInfo> {
        let info = FlightInfo { app_metadata: self.plan().json.into(), ..FlightInfo::default() };
        Ok(Response::new(answers(vec![Ok(info)])))
    }

    async fn handshake(&self, _: Request<Streaming<HandshakeRequest>>) -> Answered<HandshakeResponse> {
        unimplemented()
    }

    async fn get_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<FlightInfo>, Status> {
        unimplemented()
    }

    async fn poll_flight_info(&self, _: Request<FlightDescriptor>) -> Result<Response<PollInfo>, Status> {
        unimplemented()
    }

    async fn get_schema(&self, _: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        unimplemented()
    }

    async fn do_put(&self, _: Request<Streaming<FlightData>>) -> Answered<PutResult> {
        unimplemented()
    }

    async fn do_exchange(&self, _: Request<Streaming<FlightData>>) -> Answered<FlightData> {
        unimplemented()
    }

    async fn list_actions(&self, _: Request<Empty>) -> Answered<ActionType> {
        unimplemented()
    }
}

/// A server whose answers are arbitrary, and a client of coframe-flight.
struct Connected {
    plan: Arc<Mutex<Plan>>,
    remote: Remote,
    _runtime: Runtime,
}

thread_local! {
    static CONNECTED: Connected = connect();
}

fn connect() -> Connected {
    let (plan, runtime) = (Arc::default(), runtime());
    let incoming = {
        let _entered = runtime.enter();
        TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap().with_nodelay(Some(true))
    };
    let url = format!("http://{}", incoming.local_addr().unwrap());
    let service = FlightServiceServer::new(Hostile(Arc::clone(&plan)));
    runtime.spawn(tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming));
    let options = RemoteOptions::new().retry(Duration::ZERO).deadline(Duration::from_secs(5));
    let remote = Remote::connect_with(url, &options).unwrap();
    Connected { plan, remote, _runtime: runtime }
}

/// The first byte selects what is answered with the others, and what is wrong with it.
pub fn wire(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let (kind, fault) = (which % 4, Fault::ALL[usize::from(which / 4) % Fault::ALL.len()]);
    CONNECTED.with(|connected| {
        let answer = |plan: Plan| *connected.plan.lock().unwrap() = plan;
        let remote = &connected.remote;
        match kind {
            0 => mirror(remote, rest, fault, answer),
            // JSON, and chunks of a segment, each up to a NUL.
            1 | 2 => {
                let mut parts = rest.split(|byte| *byte == 0).map(<[u8]>::to_vec);
                let json = parts.next().unwrap_or_default();
                answer(Plan { json: json.clone(), chunks: parts.collect(), ..Plan::default() });
                if kind == 1 { scratch::with(|scratch| chunks(scratch, remote, &json)) } else { actions(remote) }
            }
            _ => {
                answer(Plan { stream: rest.to_vec(), fault, ..Plan::default() });
                rows(remote, rest, fault);
            }
        }
    });
}

/// An error of the client fits on a screen and has no control character, whatever the server sent.
fn check<T>(result: coframe_flight::Result<T>) -> Option<T> {
    result.map_err(|error| check_text(&error.to_string())).ok()
}

/// A name and an id that a store gave to a segment, as JSON has them.
fn is_of(frame: &Frame, json: &[u8]) -> bool {
    let json: serde_json::Value = serde_json::from_slice(json).expect("the client has read it");
    let id = frame.segment_id().map(|id| format!("{id:032x}"));
    json["name"] == frame.name().as_str() && json["id"].as_str().map(str::to_lowercase) == id
}

/// The next input is pulled again.
fn forget(scratch: &Scratch, frame: Frame) {
    let name = frame.name().clone();
    drop(frame);
    assert!(scratch.store.remove(&name).expect("a mirror is a frame"));
}

/// The file of a mirror, whose digest is right. Without a fault the client accepts it if the store does.
fn mirror(remote: &Remote, bytes: &[u8], fault: Fault, answer: impl Fn(Plan)) {
    let mut file = bytes.to_vec();
    segment::sign(&mut file);
    let known = segment::entry(&file, "coframe.segment").filter(|id| id.len() == 32);
    let id = known.filter(|_| fault != Fault::Id).unwrap_or_else(|| "0123456789abcdef0123456789abcdef".to_owned());
    let name = if fault == Fault::Path { "../w" } else { "w" };
    let len = file.len() - usize::from(fault == Fault::Length).min(file.len());
    let json = serde_json::json!({ "name": name, "version": 1, "id": id, "bytes": len, "rows": 1, "columns": 1 });
    let json = json.to_string().into_bytes();
    answer(Plan { json: json.clone(), file: Some(file.clone()), fault, ..Plan::default() });
    let pull = |scratch: &Scratch| {
        let pulled = check(remote.open(&scratch.store, "w"));
        assert!(pulled.is_none() || fault == Fault::None, "accepted what does not fit the request");
        if let Some(frame) = pulled {
            assert!(is_of(&frame, &json) && *frame.segment_bytes() == *file, "another segment than the server's");
            read::frame(scratch, &frame);
            forget(scratch, frame);
            return true;
        }
        let names = scratch.store.names().expect("a store");
        assert!(!names.iter().any(|name| name.as_str() == "w"), "a pull that failed has left a frame");
        false
    };
    if matches!(fault, Fault::Cut | Fault::Broken) {
        // What has arrived is kept for the next pull, which is not to come.
        pull(&Scratch::new());
        return;
    }
    scratch::with(|scratch| {
        let is_accepted = pull(scratch);
        let mut writer = scratch.store.mirror("local").unwrap();
        let is_valid = writer.write(&file).and_then(|()| writer.publish()).map(|frame| forget(scratch, frame)).is_ok();
        assert!(fault != Fault::None || is_accepted == is_valid, "accepted: {is_accepted}, valid: {is_valid}");
    });
}

/// Chunks of a segment that are not those of a range.
fn chunks(scratch: &Scratch, remote: &Remote, json: &[u8]) {
    if let Some(frame) = check(remote.open(&scratch.store, "w")) {
        assert!(is_of(&frame, json), "another segment than the server's");
        forget(scratch, frame);
    }
}

fn actions(remote: &Remote) {
    check(remote.list());
    check(remote.stat("w"));
    check(remote.wait("w", 0, Duration::ZERO));
    check(remote.remove("w"));
}

/// Rows. The client accepts what a reader of the same messages does.
fn rows(remote: &Remote, stream: &[u8], fault: Fault) {
    let found = check(remote.read("w", &ReadOptions::new()));
    assert!(found.is_none() || fault != Fault::Broken, "accepted the rows before an error");
    let sent = segment::stream(&segment::messages(stream));
    let expected: coframe::Result<Vec<_>> = IpcReader::stream(&*sent, "the stream").and_then(Iterator::collect);
    match (found, expected) {
        (Some((_, batches)), Ok(expected)) => {
            // Compared by their sizes, because a NaN is not equal to itself.
            let sizes = |batches: &[RecordBatch]| batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>();
            assert_eq!(sizes(&batches), sizes(&expected));
            batches.iter().for_each(read::batch);
        }
        (found, expected) => {
            let is_valid = expected.is_ok() && fault != Fault::Broken;
            assert_eq!(found.is_some(), is_valid, "the client and a local reader differ");
        }
    }
}
