//! Bytes that no client or server of ours sends: a clear error, bounded memory, and the server goes on.

use std::{
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use coframe_flight::{Remote, RemoteOptions, Server, ServerOptions};

use crate::common::{batch, flip_after, large, mixed, proxy, python, run_python, scratch, serve};

#[test]
fn a_flipped_bit_of_a_value_is_found() {
    let (there, here) = (scratch(), scratch());
    large(&there.store, "x", 4 << 20);
    let server = serve(&there.store);
    // In the middle of the numbers, where any bits are a valid value.
    let (change, flipped) = flip_after(2 << 20);
    let address = proxy(server.address(), change);
    let options = RemoteOptions::new().retry(Duration::ZERO);
    let remote = Remote::connect_with(format!("http://{address}"), &options).unwrap();
    let error = remote.open(&here.store, "x").unwrap_err();
    assert!(flipped.load(Ordering::SeqCst));
    // Or the bit was one of HTTP/2's own.
    assert!(error.is_corrupt() || error.is_unreachable(), "{error}");
    assert_eq!(here.files(), [""; 0]);
    assert_eq!(remote.open(&here.store, "x").unwrap().num_rows(), (4 << 20) / 8);
}

#[test]
fn paths_and_malformed_requests_are_refused_and_the_server_goes_on() {
    const SCRIPT: &str = r#"
import json, sys
import pyarrow as pa, pyarrow.flight as flight
client = flight.connect(sys.argv[1].replace("http", "grpc"))

def refused(call, *kinds):
    try:
        call()
    except kinds as error:
        return str(error)
    raise AssertionError("accepted")

def get(ticket):
    return lambda: client.do_get(flight.Ticket(ticket)).read_all()

def act(name, body):
    return lambda: list(client.do_action(flight.Action(name, body)))

invalid, missing = pa.ArrowInvalid, (pa.ArrowKeyError, pa.ArrowInvalid)
for name in ["../mixed", "/etc/passwd", "mixed@1.arrow", ".home", "", "a/b", "x" * 181, "mixed\0"]:
    for call in [get(json.dumps({"name": name})), act("stat", json.dumps({"name": name}).encode()),
                 act("segment", json.dumps({"name": name, "version": 1, "id": None, "offset": 0, "len": 1}).encode()),
                 lambda: client.get_flight_info(flight.FlightDescriptor.for_path(name))]:
        assert "not a frame name" in refused(call, invalid), name
for ticket in [b"", b"\xff\x00", b"[]", b"{}", b'{"name":7}', b'{"name":"mixed","column":[]}', b'{"name":"mixed","rows":[9,3]}',
               b'{"name":"mixed","rows":[0,99]}', b'{"name":"mixed","id":"x"}', b'{"name":"' + b"[" * 60000, b"[" * 60000]:
    refused(get(ticket), invalid)
assert "65536" in refused(get(b'{"name":"' + b"x" * 70000 + b'"}'), invalid)
refused(get(b"x" * (2 << 20)), invalid, pa.ArrowException, OSError)
refused(get(b'{"name":"mixed","version":99}'), pa.ArrowKeyError)
refused(get(b'{"name":"mixed","id":"' + b"0" * 32 + b'"}'), pa.ArrowKeyError)
refused(act("segment", b'{"name":"mixed","version":1,"id":null,"offset":99999999,"len":1}'), pa.ArrowException)
refused(act("segment", b'{"name":"mixed","version":1,"id":null,"offset":-1,"len":1}'), invalid)
refused(act("shutdown", b"{}"), pa.ArrowNotImplementedError)
refused(act("remove", b'{"name":"mixed"}'), flight.FlightUnauthorizedError)
refused(lambda: client.get_flight_info(flight.FlightDescriptor.for_path("mixed", "1", "2")), invalid)
refused(lambda: client.get_flight_info(flight.FlightDescriptor.for_path("mixed", "one")), invalid)
info = client.get_flight_info(flight.FlightDescriptor.for_command(b'{"name":"mixed","columns":["word"]}'))
assert info.schema.names == ["word"]
assert client.do_get(info.endpoints[0].ticket).read_all().num_rows == 25
assert {action.type for action in client.list_actions()} == {"segment", "source", "stat", "wait", "remove"}
"#;
    let Some(mut python) = python() else { return };
    let there = scratch();
    mixed(&there.store);
    let server = serve(&there.store);
    run_python(&mut python, SCRIPT, &[&server.url()]);
    assert_eq!(Remote::connect(server.url()).unwrap().stat("mixed").unwrap().rows, 25);
}

#[test]
fn hostile_streams_of_do_put_publish_nothing() {
    const SCRIPT: &str = r#"
import os, random, struct, sys
import pyarrow as pa, pyarrow.flight as flight
import socket
# A message that is larger than the server takes.
client = flight.connect(sys.argv[1].replace("http", "grpc"))
big = pa.table({"x": pa.array(range(1 << 18))})
try:
    writer, reader = client.do_put(flight.FlightDescriptor.for_path("big"), big.schema)
    writer.write_table(big)
    writer.close()
except pa.ArrowException as error:
    assert "too large" in str(error), error
except Exception as error:
    assert "too large" in str(error), error
else:
    raise AssertionError("a message above the limit")
"#;
    let Some(mut python) = python() else { return };
    let there = scratch();
    let options = ServerOptions::new().write(true).max_message(1 << 20);
    let server = Server::start(&there.store, &options).unwrap();
    run_python(&mut python, SCRIPT, &[&server.url()]);
    assert_eq!(there.files(), [""; 0]);
    // Damaged messages of a real stream, one byte each.
    let here = scratch();
    let frame = mixed(&here.store);
    let remote = Remote::connect(server.url()).unwrap();
    let mut refused = 0;
    for turn in 0..60 {
        let address = damaging(server.address(), 600 + turn * 37);
        let options = RemoteOptions::new().deadline(Duration::from_secs(5));
        let pushed = Remote::connect_with(format!("http://{address}"), &options).and_then(|it| it.push(&frame, "y"));
        if pushed.is_err() {
            refused += 1;
        } else {
            there.store.verify("y").unwrap();
        }
    }
    assert!(refused > 5, "{refused}");
    assert!(remote.push(&frame, "z").is_ok());
}

/// A proxy that flips a bit of what the client sends, at this offset of the connection.
fn damaging(server: std::net::SocketAddr, offset: usize) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(server).unwrap();
        let (mut back, mut answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut answers, &mut back);
            let _ = back.shutdown(std::net::Shutdown::Both);
        });
        let (mut from, mut to, mut buffer, mut done) = (client, server, vec![0; 4096], 0);
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if (done..done + length).contains(&offset) {
                buffer[offset - done] ^= 0x40;
            }
            if to.write_all(&buffer[..length]).is_err() {
                break;
            }
            done += length;
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    address
}

#[test]
fn connections_above_the_limit_are_closed_and_free_places_are_used_again() {
    let there = scratch();
    mixed(&there.store);
    let server = Server::start(&there.store, &ServerOptions::new().max_connections(8)).unwrap();
    // Ten thousand, a hundred at a time: most of them find no place.
    for _ in 0..100 {
        let held: Vec<_> = (0..100).filter_map(|_| TcpStream::connect(server.address()).ok()).collect();
        drop(held);
    }
    assert!(server.stats().refused > 1000, "{:?}", server.stats());
    let start = Instant::now();
    loop {
        // Places of connections that were dropped become free.
        match Remote::connect(server.url()).and_then(|remote| remote.stat("mixed")) {
            Ok(stat) => break assert_eq!(stat.rows, 25),
            Err(error) => assert!(start.elapsed() < Duration::from_mins(1), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn bytes_that_are_not_http2_end_their_connection() {
    let there = scratch();
    mixed(&there.store);
    let server = serve(&there.store);
    for bytes in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], &[0xFF; 100], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x09"]
    {
        let mut stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.len() < 4096, "{}", answer.len());
    }
    assert_eq!(Remote::connect(server.url()).unwrap().stat("mixed").unwrap().rows, 25);
}

#[test]
fn a_silent_connection_is_closed() {
    let there = scratch();
    let server = serve(&there.store);
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let mut answer = Vec::new();
    // The server ends it; a timeout is not an error of the read.
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock));
}

#[test]
fn a_segment_of_a_hostile_server_gets_no_name() {
    // A server whose segment is damaged: the client validates whatever the checksum says.
    let (there, here) = (scratch(), scratch());
    let frame = there.store.publish("x", &batch(1000)).unwrap();
    let (path, mut bytes) = (frame.path(), frame.segment_bytes().to_vec());
    drop(frame);
    let place = bytes.windows(4).position(|window| window == b"down").unwrap();
    bytes[place] = 0xFF;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).unwrap();
    let server = serve(&there.store);
    let error = Remote::connect(server.url()).unwrap().open(&here.store, "x").unwrap_err();
    assert!(error.is_corrupt(), "{error}");
    assert_eq!(here.files(), [""; 0]);
}
