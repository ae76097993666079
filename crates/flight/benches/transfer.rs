//! How fast segments and rows cross a connection, as ratios within one run. `COFRAME_BENCH_MB` (256) sets the size,
//! `COFRAME_PYTHON` a Python with pyarrow. With `COFRAME_BENCH_RANGES=1` it pulls in several ranges at a time instead, also over
//! limited links.

use std::{
    fs::{File, OpenOptions},
    hint::black_box,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use arrow_flight::{Action, flight_service_client::FlightServiceClient};
use coframe::{
    Frame, PublishOptions, Store,
    arrow::array::{ArrayRef, Int64Array, RecordBatch},
};
use coframe_flight::{Remote, RemoteOptions, Server, ServerOptions};
use tonic::transport::Endpoint;

const RUNS: usize = 7;
/// Runs of pulls in several ranges.
const RANGE_RUNS: usize = 3;

fn main() {
    if let Some(path) = std::env::var_os("COFRAME_BENCH_SERVE") {
        return serve(Path::new(&path));
    }
    let megabytes = std::env::var("COFRAME_BENCH_MB").ok().and_then(|text| text.parse().ok()).unwrap_or(256_usize);
    let directory = tempfile::Builder::new().prefix("coframe-bench-").tempdir_in("/dev/shm").unwrap();
    let store = Store::open_at(directory.path().join("store")).unwrap();
    let frame = publish(&store, megabytes << 20);
    let server = Process::start(store.path());
    let target = directory.path().join("target");
    let bytes = frame.size_bytes();
    if std::env::var_os("COFRAME_BENCH_RANGES").is_some() {
        println!("{} MB, medians of {RANGE_RUNS}", bytes >> 20);
        return several_ranges(&server, directory.path(), bytes);
    }
    println!("{} MB, medians of {RUNS}", bytes >> 20);

    // In turn, so that all have the same share of what else the machine does.
    let mut times = [const { Vec::new() }; 7];
    for run in 0..=RUNS {
        let round = [
            plain_tcp(&frame, &target),
            raw(&server, &frame, &target, false),
            raw(&server, &frame, &target, true),
            // While the target has its pages, the pull gets others, which a virtual machine may first have to ask its host for.
            pull(&server.url(), directory.path(), 1),
            without(&target, || pull(&server.url(), directory.path(), 1)),
            plain_tcp_to_new_pages(&frame, directory.path()),
            without(&target, || validate(&frame, directory.path())),
        ];
        // The first warms up.
        if run > 0 {
            times.iter_mut().zip(round).for_each(|(times, time)| times.push(time));
        }
    }
    let [tcp, raw, hashed, pulled, reused, new_pages, validated] = times.map(median);
    report("plain TCP, write(2) to a file", tcp, bytes, tcp);
    report("segment to a file", raw, bytes, tcp);
    report("segment to a file, with checksum", hashed, bytes, tcp);
    report("pull: checksum, validation, link", pulled, bytes, tcp);
    report("pull into pages of the target", reused, bytes, tcp);
    report("plain TCP to other pages", new_pages, bytes, tcp);
    report("validation and link alone", validated, bytes, tcp);

    let remote = Remote::connect(server.url()).unwrap();
    let stats: Vec<_> = (0..200).map(|_| timed(|| drop(remote.stat("x").unwrap()))).collect();
    println!("a stat: {:?}", median(stats));
    let rows = coframe_flight::ReadOptions::new().rows(0..1);
    let first: Vec<_> = (0..200).map(|_| timed(|| drop(remote.read("x", &rows).unwrap()))).collect();
    println!("the first row: {:?}", median(first));
    let first: Vec<_> = (0..200).map(|_| first_byte(&server, &frame)).collect();
    println!("the first byte: {:?}", median(first));
    let (before, most) = (server.anonymous_memory(), eight_clients(&server, &frame));
    println!("memory of the server without the map: {} KB, at most {} KB with 8 clients", before >> 10, most >> 10);
    with_pyarrow(&server, &frame);
}

/// The server in a separate process, so that its memory is not counted with the client's.
struct Process {
    child: Child,
    url: String,
}

fn serve(path: &Path) {
    let server = Server::start(&Store::open_at(path).unwrap(), &ServerOptions::new()).unwrap();
    println!("{}", server.url());
    // Until the benchmark ends.
    let _ = std::io::stdin().read(&mut [0]);
}

impl Process {
    fn start(path: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("COFRAME_BENCH_SERVE", path).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, url: line.trim().to_owned() }
    }

    fn url(&self) -> String {
        self.url.clone()
    }

    fn anonymous_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<usize>().unwrap() << 10
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The most memory of the server while eight clients read the whole segment at the same time.
fn eight_clients(server: &Process, frame: &Frame) -> usize {
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (url, request, bytes) = (server.url(), segment_request(frame, false), frame.size_bytes());
            std::thread::spawn(move || read_segment(&url, request, bytes, |_| ()))
        })
        .collect();
    let mut most = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        most = most.max(server.anonymous_memory());
        std::thread::sleep(Duration::from_millis(2));
    }
    for client in clients {
        client.join().unwrap();
    }
    most
}

fn first_byte(server: &Process, frame: &Frame) -> Duration {
    read_segment(&server.url(), segment_request(frame, false), 1, |_| ())
}

fn publish(store: &Store, bytes: usize) -> Frame {
    let rows = bytes / 64;
    let columns = (0..8).map(|column| {
        let values = Int64Array::from_iter_values((0..rows as i64).map(|n| n.wrapping_mul(0x9E37_79B9 + column)));
        (format!("c{column}"), Arc::new(values) as ArrayRef)
    });
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    store.publish_with("x", &batch, &PublishOptions::new().batch_rows(1 << 17)).unwrap()
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn report(what: &str, time: Duration, bytes: usize, base: Duration) {
    let speed = bytes as f64 / time.as_secs_f64() / 1e9;
    println!("{what:40} {speed:6.2} GB/s  {:5.2}x", base.as_secs_f64() / time.as_secs_f64());
}

/// A new file, as a puller has.
fn fresh(target: &Path) -> File {
    let _ = std::fs::remove_file(target);
    OpenOptions::new().write(true).create_new(true).open(target).unwrap()
}

fn plain_tcp(frame: &Frame, target: &Path) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, bytes) = (listener.local_addr().unwrap(), frame.segment_bytes());
    let sender = std::thread::spawn(move || listener.accept().unwrap().0.write_all(&bytes).unwrap());
    let mut file = fresh(target);
    let time = timed(|| {
        let (mut stream, mut buffer) = (TcpStream::connect(address).unwrap(), vec![0; 1 << 20]);
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            file.write_all(&buffer[..length]).unwrap();
        }
    });
    sender.join().unwrap();
    time
}

/// The action `segment`, into a file.
fn raw(server: &Process, frame: &Frame, target: &Path, checksum: bool) -> Duration {
    let mut file = fresh(target);
    let mut hash = crc32fast::Hasher::new();
    let time = read_segment(&server.url(), segment_request(frame, checksum), frame.size_bytes(), |piece| {
        if checksum {
            hash.update(piece);
        }
        file.write_all(piece).unwrap();
    });
    black_box(hash.finalize());
    time
}

fn segment_request(frame: &Frame, checksum: bool) -> String {
    format!(
        r#"{{"name":"x","version":1,"id":"{:032x}","offset":0,"len":{},"crc":{checksum}}}"#,
        frame.segment_id().unwrap(),
        frame.size_bytes()
    )
}

/// The time from the request until this many bytes have arrived.
fn read_segment(url: &str, request: String, bytes: usize, mut piece: impl FnMut(&[u8])) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let endpoint = Endpoint::from_shared(url.to_owned())
        .unwrap()
        .initial_stream_window_size(16 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20);
    runtime.block_on(async {
        let channel = endpoint.connect().await.unwrap();
        let mut client = FlightServiceClient::new(channel).max_decoding_message_size(usize::MAX);
        let start = Instant::now();
        let action = Action { r#type: "segment".into(), body: request.into() };
        let mut stream = client.do_action(action).await.unwrap().into_inner();
        let mut done = 0;
        while done < bytes {
            let body = stream.message().await.unwrap().unwrap().body;
            piece(&body);
            done += body.len();
        }
        start.elapsed()
    })
}

/// Measures after the target has given its pages back, which the next file then gets.
fn without(target: &Path, measure: impl FnOnce() -> Duration) -> Duration {
    let _ = std::fs::remove_file(target);
    measure()
}

/// As `plain_tcp`, with as many pages in use elsewhere as a pull has while the target exists.
fn plain_tcp_to_new_pages(frame: &Frame, directory: &Path) -> Duration {
    let (held, target) = (directory.join("held"), directory.join("other"));
    std::fs::write(&held, frame.segment_bytes()).unwrap();
    let time = plain_tcp(frame, &target);
    std::fs::remove_file(&held).unwrap();
    std::fs::remove_file(&target).unwrap();
    time
}

/// The end of a pull: validation in full, and the name.
fn validate(frame: &Frame, directory: &Path) -> Duration {
    let here = tempfile::tempdir_in(directory).unwrap();
    let store = Store::open_at(here.path().join("store")).unwrap();
    let mut mirror = store.mirror("x").unwrap();
    frame.segment_bytes().chunks(1 << 20).for_each(|piece| mirror.write(piece).unwrap());
    timed(|| drop(mirror.publish().unwrap()))
}

fn pull(url: &str, directory: &Path, ranges: usize) -> Duration {
    let here = tempfile::tempdir_in(directory).unwrap();
    let store = Store::open_at(here.path().join("store")).unwrap();
    let remote = Remote::connect_with(url, &RemoteOptions::new().ranges(ranges).unwrap()).unwrap();
    timed(|| drop(remote.open(&store, "x").unwrap()))
}

/// Pulls in 1, 2 and 4 ranges, in turn: over loopback, and through proxies that limit each connection.
fn several_ranges(server: &Process, directory: &Path, bytes: usize) {
    let links = [
        ("loopback", server.url()),
        ("50 ms of delay", link(server, Link { delay: Duration::from_millis(25), speed: f64::INFINITY })),
        ("60 MB/s for each connection", link(server, Link { delay: Duration::ZERO, speed: 60e6 })),
    ];
    for (what, url) in links {
        let (counts, mut times) = ([1, 2, 4], [const { Vec::new() }; 3]);
        // The first warms up. Each number of ranges comes first once, since a pull writes to the pages of the one before it.
        pull(&url, directory, 1);
        for turn in (0..RANGE_RUNS).flat_map(|run| (run..run + 3).map(|turn| turn % 3)) {
            times[turn].push(pull(&url, directory, counts[turn]));
        }
        let times = times.map(median);
        for (time, ranges) in times.into_iter().zip(counts) {
            let (speed, ratio) = (bytes as f64 / time.as_secs_f64() / 1e6, times[0].as_secs_f64() / time.as_secs_f64());
            println!("pull in {ranges} ranges, {what:30} {speed:6.0} MB/s  {ratio:5.2}x");
        }
    }
}

/// What a network does to each connection: bytes arrive later, in both directions, and not faster than a speed.
#[derive(Clone, Copy)]
struct Link {
    delay: Duration,
    speed: f64,
}

/// The URL of a proxy before the server that behaves like this network.
fn link(server: &Process, link: Link) -> String {
    let (listener, target) = (TcpListener::bind("127.0.0.1:0").unwrap(), server.url().replace("http://", ""));
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else { continue };
            let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            carry(from, to, link);
            carry(server, client, link);
        }
    });
    url
}

/// Passes bytes on in two threads, of which the first reads and the second waits until they are due.
fn carry(mut from: TcpStream, mut to: TcpStream, Link { delay, speed }: Link) {
    // As many bytes on the way as fit into 64 MB, so that the windows of HTTP/2 and not the proxy limit the connection.
    let (sender, receiver) = mpsc::sync_channel::<(Instant, Vec<u8>)>(1024);
    let _ = to.set_nodelay(true);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            if sender.send((Instant::now() + delay, buffer[..length].to_vec())).is_err() {
                break;
            }
        }
    });
    std::thread::spawn(move || {
        let mut next = Instant::now();
        while let Ok((due, bytes)) = receiver.recv() {
            next = next.max(due);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
            next += Duration::from_secs_f64(bytes.len() as f64 / speed);
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
}

/// `DoGet` to pyarrow's client, of this server and of pyarrow's with the same table, in turn.
fn with_pyarrow(server: &Process, frame: &Frame) {
    const SCRIPT: &str = r#"
import statistics, sys, threading, time
import pyarrow as pa, pyarrow.flight as flight
url, path, runs = sys.argv[1].replace("http", "grpc"), sys.argv[2], int(sys.argv[3])

if len(sys.argv) > 4:
    class Server(flight.FlightServerBase):
        def do_get(self, context, ticket):
            return flight.RecordBatchStream(table)
    table = pa.ipc.open_file(pa.memory_map(path)).read_all()
    server = Server("grpc://127.0.0.1:0")
    print(server.port, flush=True)
    server.serve()

import subprocess
other = subprocess.Popen([sys.executable, "-c", sys.stdin.read(), *sys.argv[1:4], "serve"], stdout=subprocess.PIPE, text=True)
port = int(other.stdout.readline())

def run(client):
    start = time.perf_counter()
    size = client.do_get(flight.Ticket(b'{"name":"x"}')).read_all().nbytes
    return time.perf_counter() - start, size

clients = [flight.connect(f"grpc://127.0.0.1:{port}"), flight.connect(url)]
times = [[], []]
for turn in range(runs + 1):
    for client, list in zip(clients, times):
        seconds, size = run(client)
        if turn:
            list.append(seconds)
other.kill()
base, ours = map(statistics.median, times)
print(f"pyarrow's client, pyarrow's server: {size / base / 1e9:.2f} GB/s")
print(f"pyarrow's client, this server: {size / ours / 1e9:.2f} GB/s  {base / ours:.2f}x")
"#;
    let python = std::env::var("COFRAME_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let (url, path) = (server.url(), frame.path());
    let mut command = Command::new(python);
    command.arg("-c").arg(SCRIPT).arg(url).arg(path).arg(RUNS.to_string()).stdin(std::process::Stdio::piped());
    let Ok(mut process) = command.spawn() else { return println!("no Python, so no comparison with pyarrow") };
    process.stdin.take().unwrap().write_all(SCRIPT.as_bytes()).unwrap();
    println!("{}", process.wait().unwrap());
}
