//! gRPC reflection and health checks: clients that know nothing of Flight.

use std::time::Duration;

use coframe_flight::{Remote, Server, ServerOptions, Tokens};
use tonic::{Code, Request, transport::Channel};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::common::{connected, mixed, python_with, run_python, scratch, serve};

#[test]
fn a_client_that_knows_only_the_reflected_descriptors_reads_a_frame() {
    const SCRIPT: &str = r#"
import sys, grpc, pyarrow as pa
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

FLIGHT = "arrow.flight.protocol.FlightService"
channel = grpc.insecure_channel(sys.argv[1].removeprefix("http://"))
reflected = ProtoReflectionDescriptorDatabase(channel)
services = {"arrow.flight.protocol.FlightService", "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"}
assert set(reflected.get_services()) == services, reflected.get_services()

# A separate pool has nothing of the messages that Python packages bring.
pool = descriptor_pool.DescriptorPool(reflected)
service = pool.FindServiceByName(FLIGHT)
assert len(service.methods) == 10, [method.name for method in service.methods]
method = service.FindMethodByName("DoGet")
assert method.input_type.full_name == "arrow.flight.protocol.Ticket"
assert method.output_type.full_name == "arrow.flight.protocol.FlightData"
assert (method.client_streaming, method.server_streaming) == (False, True)
kinds = {(one.client_streaming, one.server_streaming): [] for one in service.methods}
for one in service.methods:
    kinds[one.client_streaming, one.server_streaming].append(one.name)
assert sorted(kinds[True, True]) == ["DoExchange", "DoPut", "Handshake"], kinds
assert sorted(kinds[False, False]) == ["GetFlightInfo", "GetSchema", "PollFlightInfo"], kinds

def call(name, request):
    method = service.FindMethodByName(name)
    request = json_format.ParseDict(request, message_factory.GetMessageClass(method.input_type)())
    answer = message_factory.GetMessageClass(method.output_type)
    kind = channel.unary_stream if method.server_streaming else channel.unary_unary
    callable = kind(f"/{FLIGHT}/{name}", type(request).SerializeToString, answer.FromString)
    # No field is left over.
    answers = list(callable(request)) if method.server_streaming else [callable(request)]
    for one in answers:
        again = answer.FromString(one.SerializeToString())
        again.DiscardUnknownFields()
        assert again == one and len(again.SerializeToString()) == len(one.SerializeToString()), (name, one)
    return answers

[listed] = call("ListFlights", {})
assert list(listed.flight_descriptor.path) == ["mixed"], listed
[info] = call("GetFlightInfo", {"type": "PATH", "path": ["mixed"]})
assert (info.total_records, info.ordered, len(info.endpoint)) == (25, True, 1), info
assert info.total_bytes > 0 and not info.endpoint[0].location and not info.endpoint[0].HasField("expiration_time")
assert b'"source":"a test"' in info.app_metadata, info.app_metadata
data = call("DoGet", json_format.MessageToDict(info.endpoint[0].ticket))
# The messages of a stream, with the prefix that Flight leaves out.
stream = b"".join(b"\xff\xff\xff\xff" + len(one.data_header).to_bytes(4, "little") + one.data_header + one.data_body
                  for one in data)
table = pa.ipc.open_stream(stream).read_all()
assert (table.num_rows, table.column_names) == (25, ["number", "text", "word"]), table
assert table["text"][0].as_py() == "the text of row 0" and table["word"][1].as_py() == "down"
assert {one.type for one in call("ListActions", {})} == {"segment", "source", "stat", "wait", "remove"}
[stat] = call("DoAction", {"type": "stat", "body": "eyJuYW1lIjoibWl4ZWQifQ=="})
assert b'"rows":25' in stat.body, stat.body

health = pool.FindServiceByName("grpc.health.v1.Health").FindMethodByName("Check")
request, answer = (message_factory.GetMessageClass(of) for of in (health.input_type, health.output_type))
checked = channel.unary_unary("/grpc.health.v1.Health/Check", request.SerializeToString, answer.FromString)(request(service=FLIGHT))
assert answer.ServingStatus.Name(checked.status) == "SERVING", checked
"#;
    let Some(mut python) = python_with(&["pyarrow", "grpc_reflection.v1alpha.reflection_pb2"]) else { return };
    let there = scratch();
    mixed(&there.store);
    let server = serve(&there.store);
    run_python(&mut python, SCRIPT, &[&server.url()]);
}

/// A stream of reflection, with the answer to its first request.
async fn ask(
    channel: &Channel,
    token: &str,
) -> Result<(usize, tonic::Streaming<tonic_reflection::pb::v1::ServerReflectionResponse>), tonic::Status> {
    let list = MessageRequest::ListServices(String::new());
    let list = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    // The client does not end the stream.
    let requests = futures::StreamExt::chain(futures::stream::iter([list]), futures::stream::pending());
    let mut request = Request::new(requests);
    if !token.is_empty() {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut client = ServerReflectionClient::new(channel.clone());
    let mut stream = client.server_reflection_info(request).await?.into_inner();
    let answer = stream.message().await?.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
    Ok((services.service.len(), stream))
}

#[test]
fn reflection_needs_a_token_where_other_calls_need_one() {
    const TOKEN: &str = "the-read-token-0123";
    let there = scratch();
    let tokens: Tokens = format!("read {TOKEN}").parse().unwrap();
    let server = Server::start(&there.store, &ServerOptions::new().tokens(tokens)).unwrap();
    connected(&server, async |channel| {
        for token in ["", "the-read-token-0124"] {
            assert_eq!(ask(&channel, token).await.unwrap_err().code(), Code::Unauthenticated);
        }
        assert_eq!(ask(&channel, TOKEN).await.unwrap().0, 4);
    });
    assert_eq!((server.stats().denied, server.stats().calls), (2, 1));
}

#[test]
fn streams_of_reflection_are_limited_and_take_no_place_of_other_calls() {
    let there = scratch();
    mixed(&there.store);
    let server = Server::start(&there.store, &ServerOptions::new().max_streams(1)).unwrap();
    connected(&server, async |channel| {
        let mut held = Vec::new();
        for _ in 0..16 {
            held.push(ask(&channel, "").await.unwrap());
        }
        assert_eq!(ask(&channel, "").await.unwrap_err().code(), Code::ResourceExhausted);
        let url = server.url();
        let stat = std::thread::spawn(move || Remote::connect(url).unwrap().stat("mixed"));
        assert_eq!(stat.join().unwrap().unwrap().rows, 25);
        // The places of streams that ended are free again.
        drop(held);
        let free = async {
            while ask(&channel, "").await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), free).await.unwrap();
    });
}

#[test]
fn a_stream_of_reflection_without_requests_ends() {
    let there = scratch();
    let server = serve(&there.store);
    connected(&server, async |channel| {
        let (_, mut stream) = ask(&channel, "").await.unwrap();
        let ended = tokio::time::timeout(Duration::from_mins(1), stream.message()).await;
        assert!(matches!(ended, Ok(Ok(None) | Err(_))), "{ended:?}");
        // Its connection goes on.
        assert_eq!(ask(&channel, "").await.unwrap().0, 4);
    });
}

#[test]
fn a_connection_of_health_checks_alone_stays_open() {
    let there = scratch();
    let server = serve(&there.store);
    connected(&server, async |channel| {
        let watched = HealthClient::new(channel).watch(HealthCheckRequest::default()).await.unwrap();
        let mut watched = watched.into_inner();
        assert!(watched.message().await.unwrap().is_some());
        // A connection without a request would be closed after ten seconds.
        let next = tokio::time::timeout(Duration::from_secs(13), watched.message()).await;
        assert!(next.is_err(), "{next:?}");
    });
}
