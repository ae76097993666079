//! Limits of a server on streams, and of a client on what servers answer.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::Duration,
};

use arrow_flight::{Ticket, flight_service_client::FlightServiceClient};
use coframe_flight::{Remote, RemoteOptions, Server, ServerOptions};
use tonic::{Code, Request};

use crate::common::{Reaper, connected, large, python, scratch};

fn ticket(name: &str) -> Request<Ticket> {
    Request::new(Ticket { ticket: format!(r#"{{"name":"{name}"}}"#).into() })
}

#[test]
fn streams_above_the_limit_are_refused_and_their_places_are_used_again() {
    let there = scratch();
    large(&there.store, "x", 16 << 20);
    let server = Server::start(&there.store, &ServerOptions::new().max_streams(2)).unwrap();
    connected(&server, async |channel| {
        let mut client = FlightServiceClient::new(channel);
        // They have more bytes than fit on the way, so they last until they are dropped.
        let held = [client.do_get(ticket("x")).await.unwrap(), client.do_get(ticket("x")).await.unwrap()];
        let refused = client.do_get(ticket("x")).await.unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
        drop(held);
        let free = async {
            while client.do_get(ticket("x")).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), free).await.unwrap();
    });
}

#[test]
fn answers_that_do_not_fit_the_request_leave_nothing() {
    // A server that answers by the name that it is asked for.
    const SCRIPT: &str = r#"
import json, pyarrow as pa, pyarrow.flight as flight

class Hostile(flight.FlightServerBase):
    def do_action(self, context, action):
        request = json.loads(action.body.to_pybytes())
        name = request["name"]
        if action.type == "stat":
            stat = {"name": "../x" if name == "path" else name, "version": 1, "id": "7" * 32, "bytes": 1000, "rows": 1, "columns": 1}
            return iter([flight.Result(pa.py_buffer(json.dumps(stat).encode()))])
        bodies = {"longer": [b"x" * 1001], "longer-later": [b"x" * 999, b"xx"], "empty": [b"x", b""], "shorter": [b"x" * 999]}
        return iter([flight.Result(pa.py_buffer(body)) for body in bodies[name]])

server = Hostile("grpc://127.0.0.1:0")
print(server.port, flush=True)
server.serve()
"#;
    let Some(mut python) = python() else { return };
    let mut hostile = Reaper(python.args(["-c", SCRIPT]).stdout(Stdio::piped()).spawn().unwrap());
    let mut port = String::new();
    BufReader::new(hostile.0.stdout.take().unwrap()).read_line(&mut port).unwrap();
    let options = RemoteOptions::new().retry(Duration::ZERO);
    let remote = Remote::connect_with(format!("http://127.0.0.1:{}", port.trim()), &options).unwrap();
    for (name, text) in [
        ("longer", "other bytes than those of the range"),
        ("longer-later", "other bytes than those of the range"),
        ("empty", "other bytes than those of the range"),
        ("shorter", "999 of 1000 bytes had arrived"),
        ("path", "not a frame name"),
    ] {
        let here = scratch();
        let error = remote.open(&here.store, name).unwrap_err();
        assert!(error.to_string().contains(text), "{name}: {error}");
        assert!(here.store.names().unwrap().is_empty());
        // What arrived before a connection broke is kept for the next pull.
        let kept = here.files().len();
        assert_eq!(kept, usize::from(name == "shorter"), "{name}: {:?}", here.files());
    }
}
