//! Counts for Prometheus, over HTTP.

use std::{fmt::Write, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use super::{ServerStats, Shared};

/// Longest request that is read.
const MAX_REQUEST: usize = 8 << 10;
/// Requests that are answered at the same time; others wait.
const MAX_AT_ONCE: usize = 4;
/// How long a request and its answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// Answers `GET /metrics` until the runtime ends.
pub(super) async fn answer(listener: TcpListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // No more descriptors: those that are open end in time.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = shared.clone();
        tokio::spawn(async move {
            // A reader that has left needs no answer.
            let _ = tokio::time::timeout(LIMIT, serve(stream, &shared)).await;
            drop(place);
        });
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MAX_REQUEST {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Ok(());
        }
        request.extend(piece.get(..length).unwrap_or_default());
    }
    let (status, body) = if request.starts_with(b"GET /metrics ") {
        ("200 OK", text(&shared.stats(), shared.connections.open()))
    } else {
        ("404 Not Found", "only GET /metrics\n".to_owned())
    };
    let kind = "text/plain; version=0.0.4";
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The text format of Prometheus.
fn text(stats: &ServerStats, connections: usize) -> String {
    let counters = [
        ("calls", "Calls that the server accepted.", stats.calls),
        ("denied", "Calls with a missing or wrong token.", stats.denied),
        ("ranges", "Ranges of segments that were asked for.", stats.ranges),
        ("pulls", "Pulls that started here.", stats.pulls),
        ("referrals", "Pullers that were referred to another machine.", stats.referrals),
        ("relays", "Ranges of mirrors that were still being fetched.", stats.relays),
        ("gets", "Streams of DoGet.", stats.gets),
        ("puts", "Frames that were published by DoPut.", stats.puts),
        ("bytes", "Bytes of answers.", stats.bytes),
        ("refused", "Connections above the limit.", stats.refused),
        ("stalled", "Connections whose client read nothing.", stats.stalled),
    ];
    let mut text = String::new();
    for (name, help, value) in counters {
        let name = format!("coframe_flight_{name}_total");
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {value}");
    }
    let name = "coframe_flight_connections";
    let _ = writeln!(text, "# HELP {name} Open connections.\n# TYPE {name} gauge\n{name} {connections}");
    text
}
