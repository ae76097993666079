//! Files, and parts of them that are put where they belong.

use std::{fs, io::Cursor};

use coframe::{Frame, IpcReader, MirrorOptions, OpenOptions, Result};

use crate::{
    read, samples,
    scratch::{self, Scratch, check_error},
    segment,
};

fn read(scratch: &Scratch, frame: Result<Frame>) {
    match frame {
        Ok(frame) => read::frame(scratch, &frame),
        Err(error) => check_error(&error),
    }
}

fn read_batches(reader: Result<IpcReader<'_>>) {
    match reader {
        Ok(reader) => reader.map_while(Result::ok).take(64).for_each(|batch| read::batch(&batch)),
        Err(error) => check_error(&error),
    }
}

/// A foreign file: opened, imported, and read from a buffer, whose ends the sanitizer watches.
pub fn file(bytes: &[u8]) {
    scratch::with(|scratch| {
        let path = scratch.plant("x", bytes);
        read(scratch, scratch.store.open("x"));
        let options = OpenOptions::new().validate(true).columns(["c", "n"]);
        read(scratch, scratch.store.open_with("x", &options));
        match scratch.store.import("y", &path) {
            Ok(_) => drop(scratch.store.verify("y").expect("what was imported is valid")),
            Err(error) => check_error(&error),
        }
        read_batches(IpcReader::file(Cursor::new(bytes), "the file"));
    });
}

/// The bytes of another store's segment. What is accepted here is trusted from then on, so the digest is made right.
pub fn mirror(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    segment::sign(&mut bytes);
    scratch::with(|scratch| {
        let options = MirrorOptions::new().length(bytes.len() as u64);
        let mut writer = scratch.store.mirror_with("m", &options).unwrap();
        let (first, second) = bytes.split_at(bytes.len() / 2);
        writer.write(first).unwrap();
        writer.write(second).unwrap();
        match writer.publish() {
            Ok(frame) => {
                read::frame(scratch, &frame);
                read(scratch, scratch.store.open("m"));
                read(scratch, scratch.store.verify("m"));
            }
            Err(error) => check_error(&error),
        }
    });
}

thread_local! {
    /// Files without their footers.
    static BEFORE: Vec<Vec<u8>> = scratch::with(|scratch| {
        let before = |(_, file): (_, Vec<u8>)| {
            let end = segment::footer(&file).expect("a segment").start;
            file[..end].to_vec()
        };
        samples::segments(scratch).into_iter().map(before).collect()
    });
}

/// A footer after the messages of a segment, with its length and a right digest. The last byte selects the segment.
pub fn footer(bytes: &[u8]) {
    let Some((which, footer)) = bytes.split_last() else { return };
    let mut bytes = BEFORE.with(|all| segment::with_footer(&all[usize::from(*which) % all.len()], footer));
    segment::sign(&mut bytes);
    scratch::with(|scratch| {
        drop(scratch.plant("f", &bytes));
        read(scratch, scratch.store.open("f"));
        read_batches(IpcReader::file(Cursor::new(&bytes), "the file"));
        let mut writer = scratch.store.mirror("g").unwrap();
        writer.write(&bytes).unwrap();
        read(scratch, writer.publish());
    });
}

/// A stream of messages: read, and imported.
pub fn messages(bytes: &[u8]) {
    scratch::with(|scratch| {
        read_batches(IpcReader::stream(bytes, "the stream"));
        let path = scratch.outside("stream");
        fs::write(&path, bytes).unwrap();
        match scratch.store.import("s", &path) {
            Ok(frame) => {
                drop(scratch.store.verify("s").expect("what was imported is valid"));
                read::frame(scratch, &frame);
            }
            Err(error) => check_error(&error),
        }
    });
}
