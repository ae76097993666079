//! A frame of one machine becomes a frame of another: its bytes cross a socket and are validated before they get a name.
//!
//! ```text
//! cargo run --example mirror
//! ```

use std::{
    error::Error,
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    thread,
};

use coframe::{Frame, MirrorOptions, PublishOptions, Store};
use polars::prelude::*;

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Sends the length of the segment, its id and its bytes, which are those of the map: nothing is encoded.
fn send(frame: &Frame, mut socket: impl Write) -> Result<()> {
    let bytes = frame.segment_bytes();
    socket.write_all(&(bytes.len() as u64).to_le_bytes())?;
    socket.write_all(&frame.segment_id().ok_or("coframe did not write the file")?.to_le_bytes())?;
    Ok(socket.write_all(&bytes)?)
}

/// Receives a segment. If the sender dies or sends other bytes, this is an error, and the store is unchanged.
fn receive(store: &Store, name: &str, mut socket: impl Read) -> Result<Frame> {
    let (mut length, mut id) = ([0; 8], [0; 16]);
    socket.read_exact(&mut length)?;
    socket.read_exact(&mut id)?;
    let options = MirrorOptions::new().length(u64::from_le_bytes(length)).segment_id(u128::from_le_bytes(id));
    let mut mirror = store.mirror_with(name, &options)?;
    io::copy(&mut socket, &mut mirror)?;
    Ok(mirror.publish()?)
}

fn main() -> Result<()> {
    // Two sessions represent the stores of two machines; both are removed at the end.
    let store = Store::open_default()?;
    let sessions = (store.session()?, store.session()?);
    let (there, here) = (sessions.0.store(), sessions.1.store());
    let days: Vec<i32> = (0..1_000_000).map(|row| row / 1000).collect();
    let df = df!("day" => days, "delay" => (0..1_000_000).map(|row| row % 97).collect::<Vec<i32>>())?;
    let flights = there.publish_with("flights", &df, &PublishOptions::new().statistics(true))?;

    let (sender, receiver) = UnixStream::pair()?;
    let sending = thread::spawn(move || send(&flights, sender));
    let copy = receive(here, "flights", receiver)?;
    sending.join().map_err(|_| "the sender panicked")??;
    println!("{}@{}: {} rows, a mirror: {}", copy.name(), copy.version(), copy.num_rows(), copy.is_mirror());
    assert!(here.open("flights")?.to_polars()?.equals(&df));
    assert!(copy.statistics()?.is_some());

    // A sender that dies in the middle leaves nothing.
    let (mut sender, receiver) = UnixStream::pair()?;
    sender.write_all(&1_000_u64.to_le_bytes())?;
    sender.write_all(&[0; 100])?;
    drop(sender);
    println!("cut short: {}", receive(here, "torn", receiver).unwrap_err());
    assert!(here.open("torn").unwrap_err().is_not_found());
    Ok(())
}
