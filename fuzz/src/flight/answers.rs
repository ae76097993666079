//! Answers of any program to the client of coframe-flight: a mirror's file, the JSON of actions, and streams of rows.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest, HandshakeResponse,
    PollInfo, PutResult, Result as ActionResult, SchemaResult, Ticket,
    flight_service_server::{FlightService, FlightServiceServer},
};
use coframe_flight::{ReadOptions, Remote, RemoteOptions};
use futures::{Stream, stream};
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};

use super::{flight_data, runtime};
use crate::{
    read,
    scratch::{self, Scratch},
    segment,
};

/// What the server answers next.
#[derive(Clone, Default)]
struct Plan {
    /// To `stat`, and to every other action that has one answer.
    json: Vec<u8>,
    /// To `segment`: the bytes of a file, with the right checksum; or, without a file, these messages.
    file: Option<Vec<u8>>,
    chunks: Vec<Vec<u8>>,
    /// To `DoGet`.
    stream: Vec<u8>,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answered<T> = Result<Response<Answers<T>>, Status>;

fn answers<T: Send + 'static>(messages: Vec<T>) -> Answers<T> {
    Box::pin(stream::iter(messages.into_iter().map(Ok)))
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
            ("segment", Some(file)) => {
                let crc = format!("{{\"crc32\":\"{:08x}\"}}", crc32fast::hash(&file));
                file.chunks(1 << 16).map(<[u8]>::to_vec).chain([crc.into_bytes()]).collect()
            }
            ("segment", None) => plan.chunks,
            _ => vec![plan.json],
        };
        let results = messages.into_iter().map(|body| ActionResult { body: body.into() }).collect();
        Ok(Response::new(answers(results)))
    }

    async fn do_get(&self, _: Request<Ticket>) -> Answered<FlightData> {
        Ok(Response::new(answers(flight_data(&self.plan().stream))))
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Answered<FlightInfo> {
        let info = FlightInfo { app_metadata: self.plan().json.into(), ..FlightInfo::default() };
        Ok(Response::new(answers(vec![info])))
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

/// The first byte selects what is answered with the others.
pub fn wire(bytes: &[u8]) {
    let Some((which, rest)) = bytes.split_first() else { return };
    let plan = match which % 4 {
        // The file of a mirror. Its digest and its checksum are right.
        0 => {
            let mut file = rest.to_vec();
            segment::sign(&mut file);
            let id = "0123456789abcdef0123456789abcdef";
            let id = segment::entry(&file, "coframe.segment").unwrap_or_else(|| id.to_owned());
            let json = serde_json::json!({
                "name": "w", "version": 1, "id": id, "bytes": file.len(), "rows": 1, "columns": 1
            });
            Plan { json: json.to_string().into_bytes(), file: Some(file), ..Plan::default() }
        }
        // JSON, and chunks of a segment, each up to a NUL.
        1 | 2 => {
            let mut parts = rest.split(|byte| *byte == 0).map(<[u8]>::to_vec);
            Plan { json: parts.next().unwrap_or_default(), chunks: parts.collect(), ..Plan::default() }
        }
        _ => Plan { stream: rest.to_vec(), ..Plan::default() },
    };
    CONNECTED.with(|connected| {
        *connected.plan.lock().unwrap() = plan;
        scratch::with(|scratch| use_remote(scratch, &connected.remote, which % 4));
    });
}

fn use_remote(scratch: &Scratch, remote: &Remote, which: u8) {
    match which {
        2 => {
            let _ = (remote.list(), remote.stat("w"), remote.wait("w", 0, Duration::ZERO), remote.remove("w"));
        }
        3 => {
            if let Ok((_, batches)) = remote.read("w", &ReadOptions::new()) {
                batches.iter().for_each(read::batch);
            }
        }
        _ => {
            if let Ok(frame) = remote.open(&scratch.store, "w") {
                read::frame(scratch, &frame);
                // So that the next one is pulled.
                let name = frame.name().clone();
                drop(frame);
                assert!(scratch.store.remove(&name).expect("a mirror is a frame"));
            }
        }
    }
}
