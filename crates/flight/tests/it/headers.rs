//! The limit of a server on the headers of a request.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    process::Stdio,
    time::Duration,
};

use arrow_flight::{Action, flight_service_client::FlightServiceClient};
use coframe::Store;
use coframe_flight::{Remote, Server, ServerOptions};
use tonic::{Code, Request, Status};

use crate::common::{Reaper, child, connected, mixed, role, scratch, serve, variable};

const MIB: usize = 1 << 20;

/// A `stat` with one header of this many bytes.
async fn stat(client: &mut FlightServiceClient<tonic::transport::Channel>, bytes: usize) -> Result<(), Status> {
    let mut request = Request::new(Action { r#type: "stat".into(), body: r#"{"name":"mixed"}"#.into() });
    request.metadata_mut().insert("x-long", "x".repeat(bytes).parse().unwrap());
    client.do_action(request).await?.into_inner().message().await.map(|_| ())
}

#[test]
fn a_request_with_more_headers_than_16_kib_is_refused_with_an_error() {
    let there = scratch();
    mixed(&there.store);
    let server = serve(&there.store);
    connected(&server, async |channel| {
        let mut client = FlightServiceClient::new(channel);
        stat(&mut client, 15 << 10).await.unwrap();
        for bytes in [17 << 10, 60 << 10] {
            let refused = stat(&mut client, bytes).await.unwrap_err();
            // "Request header fields too large."
            assert!(refused.code() == Code::Unknown && refused.message().contains("431"), "{refused}");
        }
        // The connection goes on.
        stat(&mut client, 15 << 10).await.unwrap();
    });
    assert_eq!(server.stats().calls, 2);
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A connection on which a request has started whose headers do not end.
fn endless(address: std::net::SocketAddr, is_one: bool) -> TcpStream {
    const SETTINGS: u8 = 4;
    const HEADERS: u8 = 1;
    const CONTINUATION: u8 = 9;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    // Literals without an index, in HPACK: a name of one byte and a value of 4 000, or of 16 MiB.
    let small = [&[0, 1, b'x', 0x7F, 0xA1, 0x1E][..], &[b'y'; 4000]].concat();
    let payload = if is_one { vec![b'y'; MIB - 64] } else { small.repeat(MIB / small.len()) };
    let first =
        if is_one { [&[0, 1, b'x', 0x7F, 0x81, 0xFF, 0xFF, 0x07][..], &payload].concat() } else { payload.clone() };
    bytes.extend(frame(HEADERS, 0, 1, &first));
    for _ in 0..7 {
        bytes.extend(frame(CONTINUATION, 0, 1, &payload));
    }
    // The server may close the connection before it has read all of them.
    let _ = stream.write_all(&bytes);
    stream
}

fn memory(process: &Reaper) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.0.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
}

#[test]
fn headers_without_an_end_take_memory_for_a_frame_and_the_server_goes_on() {
    const TEST: &str = "headers::headers_without_an_end_take_memory_for_a_frame_and_the_server_goes_on";
    if role().is_some() {
        let store = Store::open_at(variable("COFRAME_TEST_STORE")).unwrap();
        let server = Server::start(&store, &ServerOptions::new()).unwrap();
        println!("\nurl {}", server.url());
        std::thread::sleep(Duration::from_hours(1));
        return;
    }
    let there = scratch();
    mixed(&there.store);
    let mut command = child(TEST, "serve");
    command.env("COFRAME_TEST_STORE", there.path()).stdout(Stdio::piped());
    let mut process = Reaper(command.spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let url = lines.find_map(|line| line.unwrap().strip_prefix("url ").map(str::to_owned)).unwrap();
    let remote = Remote::connect(&url).unwrap();
    remote.stat("mixed").unwrap();
    let (before, address) = (memory(&process), url.strip_prefix("http://").unwrap().parse().unwrap());
    let held: Vec<TcpStream> = (0..16).map(|turn| endless(address, turn % 2 == 1)).collect();
    // 128 MiB were sent. A connection buffers the frame that arrives, of 1 MiB here.
    let mut most = 0;
    for _ in 0..50 {
        most = most.max(memory(&process));
        std::thread::sleep(Duration::from_millis(10));
    }
    let held = held.len();
    assert!(most < before + 3 * held * MIB, "{before} bytes before, {most} after");
    assert_eq!(remote.stat("mixed").unwrap().rows, 25);
    assert_eq!(Remote::connect(&url).unwrap().stat("mixed").unwrap().rows, 25);
}
