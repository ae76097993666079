//! Servers, proxies, and this binary as a child process.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use coframe::{
    Frame, PublishOptions, Store,
    arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch, StringViewArray},
    arrow::datatypes::Int32Type,
};
use coframe_flight::{Server, ServerOptions};
use tonic::transport::Channel;

pub(crate) use crate::scratch::scratch;

pub(crate) fn serve(store: &Store) -> Server {
    Server::start(store, &ServerOptions::new()).unwrap()
}

/// Numbers with nulls, views and a dictionary.
pub(crate) fn batch(rows: usize) -> RecordBatch {
    let numbers: Int64Array = (0..rows as i64).map(|n| (n % 7 != 3).then_some(n)).collect();
    let texts: StringViewArray = (0..rows).map(|n| (n % 5 != 1).then(|| format!("the text of row {n}"))).collect();
    let words: DictionaryArray<Int32Type> = (0..rows).map(|n| Some(["up", "down", "left"][n % 3])).collect();
    let columns: [(&str, ArrayRef); 3] =
        [("number", Arc::new(numbers)), ("text", Arc::new(texts)), ("word", Arc::new(words))];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap()
}

/// A frame of three batches.
pub(crate) fn mixed(store: &Store) -> Frame {
    let options = PublishOptions::new().batch_rows(10).metadata("source", "a test");
    store.publish_with("mixed", &batch(25), &options).unwrap()
}

/// A frame of about this many bytes.
pub(crate) fn large(store: &Store, name: &str, bytes: usize) -> Frame {
    let numbers: ArrayRef =
        Arc::new(Int64Array::from_iter_values((0..bytes as i64 / 8).map(|n| n.wrapping_mul(0x9E37))));
    store.publish(name, &RecordBatch::try_from_iter([("x", numbers)]).unwrap()).unwrap()
}

/// The conformance set, imported.
pub(crate) fn conformance(store: &Store) -> Vec<Frame> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/conformance");
    let mut frames = Vec::new();
    for file in fs::read_dir(directory).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "arrow") {
            frames.push(store.import(path.file_stem().unwrap().to_str().unwrap(), &path).unwrap());
        }
    }
    assert!(frames.len() > 30, "{}", frames.len());
    frames
}

/// Starts one test of this binary in a separate process; the test sees `role` in `COFRAME_TEST_ROLE`.
pub(crate) fn child(test: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env("COFRAME_TEST_ROLE", role);
    command.stdout(Stdio::null()).stderr(Stdio::inherit());
    command
}

pub(crate) fn role() -> Option<String> {
    std::env::var("COFRAME_TEST_ROLE").ok()
}

/// A value that the parent of this process passed.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

/// Kills the child and waits for it when the test ends, however it ends.
pub(crate) struct Reaper(pub(crate) Child);

impl Drop for Reaper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The Python that has pyarrow's Flight, which `ci/check.sh` installs; `None` if it is missing. With `CI=true` that fails.
pub(crate) fn python() -> Option<Command> {
    python_with(&["pyarrow.flight"])
}

/// The Python that has these modules.
pub(crate) fn python_with(modules: &[&str]) -> Option<Command> {
    let python = std::env::var("COFRAME_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let modules = modules.join(", ");
    let found = Command::new(&python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return Some(Command::new(python));
    }
    assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "`{python}` lacks one of {modules}");
    eprintln!("skipped: `{python}` lacks one of {modules}; ci/check.sh installs them and sets COFRAME_PYTHON");
    None
}

/// Runs a script with arguments; it must succeed.
pub(crate) fn run_python(python: &mut Command, script: &str, arguments: &[&str]) -> String {
    let output = python.arg("-c").arg(script).args(arguments).output().unwrap();
    let said = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(output.status.success(), "{said}");
    said
}

/// Runs calls of a client that is not this crate's.
pub(crate) fn connected<T>(server: &Server, calls: impl AsyncFnOnce(Channel) -> T) -> T {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(server.url()).unwrap().connect().await.unwrap();
        calls(channel).await
    })
}

/// What happens to the bytes from the server.
pub(crate) type Change = Arc<dyn Fn(u64, &mut [u8]) -> bool + Send + Sync>;

/// Flips one bit, of the first bytes that a connection gets after `offset`. Also returns whether it did.
pub(crate) fn flip_after(offset: u64) -> (Change, Arc<AtomicBool>) {
    let flipped = Arc::new(AtomicBool::new(false));
    let flip = flipped.clone();
    let change = move |done: u64, bytes: &mut [u8]| {
        if done > offset && !flip.swap(true, Ordering::SeqCst) {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
        }
        true
    };
    (Arc::new(change), flipped)
}

/// A proxy before a server. `change` sees the bytes of each connection from the server, with their offset, and returns
/// whether the connection goes on.
pub(crate) fn proxy(server: SocketAddr, change: Change) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else { continue };
            let (mut up, mut down) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let change = change.clone();
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut up, &mut down);
                let _ = down.shutdown(std::net::Shutdown::Both);
                // Bytes that nobody reads would reset the connection, and the client lose what has arrived.
                let _ = std::io::copy(&mut up, &mut std::io::sink());
            });
            std::thread::spawn(move || {
                let (mut from, mut to, mut buffer, mut done) = (server, client, vec![0; 64 << 10], 0);
                while let Ok(length @ 1..) = from.read(&mut buffer) {
                    if !change(done, &mut buffer[..length]) || to.write_all(&buffer[..length]).is_err() {
                        break;
                    }
                    done += length as u64;
                }
                let _ = to.shutdown(std::net::Shutdown::Write);
                let _ = from.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}
