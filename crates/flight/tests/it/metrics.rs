//! Counts for Prometheus.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use coframe_flight::{Remote, Server, ServerOptions};

use crate::common::{mixed, scratch};

fn get(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn prometheus_reads_what_the_server_has_done() {
    let (there, here) = (scratch(), scratch());
    mixed(&there.store);
    let options = ServerOptions::new().metrics("127.0.0.1:0".parse().unwrap());
    let server = Server::start(&there.store, &options).unwrap();
    let remote = Remote::connect(server.url()).unwrap();
    remote.open(&here.store, "mixed").unwrap();
    let address = server.metrics_address().unwrap();
    let answer = get(address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    for line in [
        "coframe_flight_pulls_total 1\n",
        "coframe_flight_connections 1\n",
        "# TYPE coframe_flight_calls_total counter\n",
    ] {
        assert!(answer.contains(line), "{line}: {answer}");
    }
    assert!(get(address, "GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get(address, &"x".repeat(8 << 10)).starts_with("HTTP/1.1 404"));
}

#[test]
fn metrics_are_not_open_to_other_machines_unless_it_is_spelled_out() {
    let there = scratch();
    let options = ServerOptions::new().metrics("0.0.0.0:0".parse().unwrap());
    let error = Server::start(&there.store, &options).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("insecure"), "{error}");
}
