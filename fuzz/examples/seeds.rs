//! Writes `corpus/`: seeds of every target, from the conformance set and from segments of all kinds of columns.

use std::{fs, path::Path};

use coframe_fuzz::{
    handmade, samples,
    scratch::{self, Scratch},
    segment,
};

/// Larger files take a fuzzer too long.
const MOST: usize = 4_096;

fn write(target: &str, name: &str, bytes: &[u8]) {
    if bytes.len() <= MOST {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&directory).unwrap();
        fs::write(directory.join(name), bytes).unwrap();
    }
}

/// The files of other writers, of every type.
fn conformance() -> Vec<(String, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/conformance");
    let paths = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.extension().is_some_and(|extension| extension == "arrow"));
    let read =
        |path: std::path::PathBuf| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
    files.map(read).collect()
}

fn files(scratch: &Scratch) {
    for (name, bytes) in conformance() {
        write("file", &name, &bytes);
        let path = scratch.outside("seed");
        fs::write(&path, &bytes).unwrap();
        let Ok(frame) = scratch.store.import("seed", &path) else { continue };
        // A few kinds: each message of a segment is padded to 64 bytes.
        let kinds = ["utf8", "string_view", "struct", "map", "list_view", "run_end_encoded", "union_dense", "bool"];
        if kinds.contains(&name.as_str()) {
            write("mirror", &name, &frame.segment_bytes());
        }
        let header = frame.messages().unwrap().next().map(|message| message.header().to_vec());
        write("schema", &name, &header.unwrap_or_default());
    }
    for (number, (name, bytes)) in samples::segments(scratch).into_iter().enumerate() {
        write("mirror", name, &bytes);
        write("file", name, &bytes);
        let place = segment::footer(&bytes).unwrap();
        write("footer", name, &[&bytes[place], &[number as u8]].concat());
        if cfg!(feature = "flight") {
            write("wire", name, &[&[0], &*bytes].concat());
            // With each fault of the server.
            if number == 0 {
                (1..8).for_each(|fault| write("wire", &format!("fault_{fault}"), &[&[4 * fault], &*bytes].concat()));
            }
        }
    }
    for (name, schema) in samples::schemas() {
        write("schema", name, &samples::schema(&schema));
    }
    for (name, schema) in handmade::allowed().into_iter().chain(handmade::not_allowed()) {
        write("schema", name, &schema);
    }
    for (name, batch) in samples::tables() {
        let stream = samples::stream(&batch);
        write("messages", name, &stream);
        write("wire", &format!("stream_{name}"), &[&[3], &*stream].concat());
        // With an error after the rows.
        if name == "numbers" {
            write("wire", "stream_broken", &[&[3 + 4 * 4], &*stream].concat());
        }
        write("ticket", &format!("put_{name}"), &[b"\x06put\0{\"metadata\":{\"a\":\"b\"}}\0", &*stream].concat());
    }
}

fn texts() {
    let id = "0123456789abcdef0123456789abcdef";
    for (name, text) in [
        ("frame", format!("x@1?id={id}")),
        ("part", format!("x@1?id=0&rows=1..2&columns=,n,a%2Cb&session={id}")),
        ("percent", format!("coframe:/dev/shm/50%25/x@7?id={id}&columns=,a%25b")),
        ("whole", format!("coframe:/dev/shm/a%20b/x@7?id={id}&columns=")),
        ("cell", format!("coframe-cell:/dev/shm/s/total?id={id}&session={id}")),
        ("dict", format!("ages?id={id}")),
        ("path", "..%2Fx@1?id=0".to_owned()),
    ] {
        write("handle", name, text.as_bytes());
    }
    for (name, text) in [("name", "trades-2026.q1"), ("path", "../etc"), ("version", "x@1"), ("control", "a\nb\u{1b}")]
    {
        write("names", name, text.as_bytes());
    }
    write("names", "long", "n".repeat(181).as_bytes());
    write("names", "screens", "\u{e9}\u{1b}[2J\n".repeat(500).as_bytes());
    let control = format!("\0coframe store 1\nid {id}\nnext 00000000000000000003\n");
    for (name, text) in [
        ("control", &*control),
        ("home", "\u{1}place 17 1700000000.123456789 -\n"),
        ("latest", "\u{2}x@1.arrow"),
        ("others", "\u{3}1,2,7"),
        ("all", "\u{3}*"),
        ("swept", "\u{4}1700000000000,12"),
        ("elsewhere", "\u{5}../x@1.arrow"),
        ("dict", &format!("\u{6}d@{id}.dict")),
        ("from", "\u{7}http://127.0.0.1:1#x"),
    ] {
        write("state", name, text.as_bytes());
    }
}

fn cells_and_dicts() {
    for kind in 0..9 {
        write("cell", &format!("kind_{kind}"), &[kind, 0]);
        // The kind, the number of elements and the home, changed.
        write("cell", &format!("edits_{kind}"), &[kind, 0, 12, 0, 1, 3, 32, 0, 3, 1, 176, 0, 1, 7, 64, 1, 2, 63]);
        write("cell", &format!("cut_{kind}"), &[kind, 200, 32, 0, 2, 62]);
    }
    let meta = |key: &str, value: &str| {
        [&[1, key.len() as u8], key.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
    };
    let seed = |edits: &[u8], meta: &[u8], entries: &[u8]| {
        [&[(edits.len() / 4) as u8, meta.len() as u8], edits, meta, entries].concat()
    };
    let strings = meta("String", "u64");
    let nested = meta("(i32, Option<Vec<u8>>)", "(String, Vec<u16>)");
    write("map", "strings", &seed(&[], &strings, b"\x0a\x01\x01apple\0\0\0\x05\x07\x01\x02x\x80"));
    write("map", "nested", &seed(&[], &nested, b"\x05\x04\x80\0\0\x01\0\x01a\x01\x05\x05\x05\x80\0\0\x02\x01"));
    write("map", "gate", &seed(&[8, 0, 0, 3, 16, 0, 1, 1], &strings, b""));
    write("map", "none", &seed(&[], &[], b"\x01\x01\x01\x01"));
}

fn wire() {
    let id = "0123456789abcdef0123456789abcdef";
    let segment = r#"{"name":"served","version":1,"id":null,"offset":7,"len":90}"#;
    for (name, call, text) in [
        ("get", "\0", r#"{"name":"served","columns":["n"],"rows":[3,9],"layout":"classic"}"#),
        ("get_all", "\0", r#"{"name":"served","version":1}"#),
        ("info", "\u{1}", r#"{"name":"served"}"#),
        ("path", "\u{2}", "served/1"),
        ("schema", "\u{3}", r#"{"name":"served","rows":[0,0]}"#),
        ("list", "\u{4}", "ser"),
        ("segment", "\u{5}\0", segment),
        ("segment_beyond", "\u{5}\0", r#"{"name":"served","version":1,"id":null,"offset":99999,"len":9}"#),
        ("rows_beyond", "\0", r#"{"name":"served","rows":[9,99]}"#),
        ("rows_backwards", "\0", r#"{"name":"served","rows":[9,3]}"#),
        ("stat", "\u{5}\u{1}", r#"{"name":"served","version":1}"#),
        ("source", "\u{5}\u{2}", &format!(r#"{{"name":"served","version":1,"id":"{id}","url":"http://a:1"}}"#)),
        ("wait", "\u{5}\u{3}", r#"{"name":"served","after":0,"timeout_ms":1}"#),
        ("remove", "\u{5}\u{4}", r#"{"name":"put"}"#),
    ] {
        write("ticket", name, [call, text].concat().as_bytes());
    }
    let stat = format!(r#"{{"name":"w","version":1,"id":"{id}","bytes":8,"rows":1,"columns":1,"metadata":{{}}}}"#);
    write("wire", "chunks", format!("\u{1}{stat}\0ARRO\0W1..\0{{\"crc32\":\"00000000\"}}").as_bytes());
    write("wire", "stat", format!("\u{2}{stat}").as_bytes());
    write("wire", "removed", b"\x02{\"removed\":true,\"version\":7}");
}

fn main() {
    scratch::with(files);
    texts();
    cells_and_dicts();
    wire();
}
