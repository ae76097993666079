//! Two machines share a frame: one serves its store, the other one pulls the frame once for all its processes.
//!
//! ```text
//! cargo run --example two_nodes                                  # both parts, with two stores of this machine
//! cargo run --example two_nodes serve 0.0.0.0:8815 --insecure    # or one part on each of two machines
//! cargo run --example two_nodes pull http://host:8815
//! ```

use std::{error::Error, sync::Arc, time::Duration};

use coframe::{
    Store,
    arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray},
};
use coframe_flight::{Origins, Remote, RemoteHandle, RemoteOptions, Server, ServerOptions};

type Result<T = ()> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => both(),
        ["serve", address, rest @ ..] => {
            let store = Store::open_default()?;
            publish(&store)?;
            let options = ServerOptions::new().address(address.parse()?).insecure(rest.contains(&"--insecure"));
            let server = Server::start(&store, &options)?;
            println!("serving {} at {}", store.path().display(), server.url());
            loop {
                std::thread::sleep(Duration::from_hours(1));
            }
        }
        ["pull", url] => pull(&Store::open_default()?, url),
        other => Err(format!("{other:?}: expected nothing, serve ADDRESS, or pull URL").into()),
    }
}

fn both() -> Result {
    let directory = tempfile::tempdir_in("/dev/shm")?;
    let there = Store::open_at(directory.path().join("there"))?;
    let frame = publish(&there)?;
    let server = Server::start(&there, &ServerOptions::new())?;
    let here = Store::open_at(directory.path().join("here"))?;
    pull(&here, &server.url())?;

    // A handle is a line of text. It is pulled only from servers that this machine allows.
    let text = RemoteHandle::new(&frame.slice(..2)?, server.url())?.to_string();
    println!("{text}");
    let origins = Origins::new().allow(server.url(), RemoteOptions::new())?;
    println!("{} rows of it, without another transfer", origins.open(&here, &text.parse()?)?.num_rows());
    assert_eq!(server.stats().pulls, 1);
    Ok(())
}

fn publish(store: &Store) -> Result<coframe::Frame> {
    let delays: ArrayRef = Arc::new(Int64Array::from(vec![3, 5, -2, 40]));
    let carriers: ArrayRef = Arc::new(StringViewArray::from(vec!["UA", "DL", "UA", "AA"]));
    Ok(store.publish("flights", &RecordBatch::try_from_iter([("carrier", carriers), ("delay", delays)])?)?)
}

fn pull(store: &Store, url: &str) -> Result {
    let remote = Remote::connect(url)?;
    for stat in remote.list()? {
        println!("{}@{} there: {} rows, {} bytes", stat.name, stat.version, stat.rows, stat.bytes);
    }
    let frame = remote.open(store, "flights")?;
    let from = store.mirror_origin(&frame)?.unwrap_or_default();
    println!("{}@{} here: {} rows, a mirror from {from}", frame.name(), frame.version(), frame.num_rows());
    Ok(())
}
