//! The bridge to plain named shared memory, with Python and another Rust library on the other side.

use std::{
    io::Write,
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use coframe::{
    StringLayout,
    arrow::{
        array::{ArrayRef, Int64Array, RecordBatch, StringArray},
        ipc::writer::{FileWriter, StreamWriter},
    },
};
use polars::prelude::*;
use shared_memory::ShmemConf;

use crate::common::{alone, fork, python_with_pyarrow, random, scratch, wait};

/// A name that no other test has, and the file behind it, removed at the end.
struct Named {
    os_id: String,
}

impl Named {
    fn new(what: &str) -> Self {
        Self { os_id: format!("coframe-test-{}-{what}", std::process::id()) }
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("/dev/shm").join(&self.os_id)
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path());
    }
}

fn batch() -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "", "a text beyond twelve bytes"]));
    RecordBatch::try_from_iter([("n", numbers), ("s", texts)]).unwrap()
}

fn file() -> Vec<u8> {
    let mut writer = FileWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.into_inner().unwrap()
}

fn stream() -> Vec<u8> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch().schema()).unwrap();
    writer.write(&batch()).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn a_file_or_stream_in_shared_memory_is_imported_however_long_the_segment_is() {
    let scratch = scratch();
    for (what, bytes) in [("file", file()), ("stream", stream())] {
        for padding in [0, 1, 7, 4096, 200_000] {
            let named = Named::new(&format!("{what}-{padding}"));
            std::fs::write(named.path(), [bytes.clone(), vec![0; padding]].concat()).unwrap();
            let frame = scratch.store.import_shared_memory(what, &named.os_id).unwrap();
            assert_eq!(frame.batches(), [batch()]);
            assert!(named.path().exists(), "it is not ours to remove");
        }
    }
    let named = Named::new("slash");
    std::fs::write(named.path(), file()).unwrap();
    assert_eq!(scratch.store.import_shared_memory("x", &format!("/{}", named.os_id)).unwrap().num_rows(), 3);
}

#[test]
fn a_missing_segment_or_one_without_a_table_is_an_error_and_nothing_is_published() {
    let scratch = scratch();
    let import = |os_id: &str| scratch.store.import_shared_memory("x", os_id).unwrap_err();
    let error = import("coframe-test-none");
    assert!(error.is_not_found());
    assert!(error.to_string().starts_with("shared memory `coframe-test-none` not found in the store `/dev/shm`"));
    for bad in ["", "/", "..", "a/b", "/a/b"] {
        assert!(import(bad).to_string().contains("is not a name of shared memory: expected 1 to 255 bytes"), "{bad}");
    }
    let named = Named::new("pipe");
    assert!(Command::new("mkfifo").arg(named.path()).status().unwrap().success());
    assert!(
        import(&named.os_id).to_string().ends_with("it is a directory, a pipe or a device; expected shared memory")
    );
    let named = Named::new("bad");
    let mut wrong = file();
    wrong.truncate(wrong.len() - 100);
    for (bytes, expected) in [
        (vec![], "it contains only zeros; expected an Arrow IPC file or stream"),
        (vec![0; 100_000], "it contains only zeros"),
        (b"not a table at all, but text".to_vec(), "the shared memory"),
        (wrong, "the shared memory"),
    ] {
        std::fs::write(named.path(), bytes).unwrap();
        let error = import(&named.os_id);
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(scratch.store.list().unwrap().is_empty());
}

#[test]
fn what_is_changed_while_it_is_imported_is_an_error_or_valid() {
    let scratch = scratch();
    let named = Named::new("changing");
    let whole = file();
    std::fs::write(named.path(), &whole).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let segment = std::fs::OpenOptions::new().write(true).open(named.path()).unwrap();
            while !done.load(Ordering::Relaxed) {
                let place = random() as usize % whole.len();
                segment.write_all_at(&[random() as u8], place as u64).unwrap();
                if random().is_multiple_of(8) {
                    segment.write_all_at(&whole, 0).unwrap();
                }
            }
        });
        let (mut good, mut bad) = (0, 0);
        for _ in 0..2000 {
            match scratch.store.import_shared_memory("x", &named.os_id) {
                Ok(_) => good += u32::from(scratch.store.verify("x").is_ok()),
                Err(_) => bad += 1,
            }
        }
        done.store(true, Ordering::Relaxed);
        assert!(bad > 0 && good > 0 && good + bad == 2000, "{good} good, {bad} bad");
    });
}

#[test]
fn an_exported_frame_is_complete_when_it_has_its_name_and_is_removed_with_its_guard() {
    let scratch = scratch();
    let named = Named::new("export");
    let frame = scratch.store.publish("x", &df!("i" => 0..1000, "s" => vec!["text"; 1000]).unwrap()).unwrap();
    let part = frame.slice(10..20).unwrap().select(["s"]).unwrap();
    let exported = part.export_shared_memory(&named.os_id).unwrap();
    assert_eq!(std::fs::metadata(named.path()).unwrap().len(), exported.size_bytes());
    let error = frame.export_shared_memory(&named.os_id).unwrap_err();
    assert!(
        error.to_string().ends_with("it exists already; use another name, or remove the existing segment"),
        "{error}"
    );
    // Another library of Rust attaches to it by its name.
    let other = ShmemConf::new().os_id(&named.os_id).open().unwrap();
    assert!(other.len() as u64 >= exported.size_bytes());
    let back = scratch.store.import_shared_memory("y", exported.os_id()).unwrap();
    assert!(back.to_polars().unwrap().equals(&part.to_polars().unwrap()));
    drop(exported);
    assert!(!named.path().exists());

    part.export_shared_memory(&named.os_id).unwrap().keep();
    assert!(named.path().exists());
    std::fs::remove_file(named.path()).unwrap();
    let first = part.export_shared_memory(&named.os_id).unwrap();
    std::fs::remove_file(named.path()).unwrap();
    std::fs::write(named.path(), "another program's").unwrap();
    drop(first);
    assert!(named.path().exists(), "the guard took what is not its own");
}

#[test]
fn a_forked_child_does_not_take_its_parents_shared_memory_away() {
    alone("shm::a_forked_child_does_not_take_its_parents_shared_memory_away", |scratch| {
        let named = Named::new("fork");
        let frame = scratch.store.publish("x", &df!("i" => [1]).unwrap()).unwrap();
        let mut exported = Some(frame.export_shared_memory(&named.os_id).unwrap());
        assert!(wait(fork(|| drop(exported.take()))));
        assert!(named.path().exists());
    });
}

#[test]
fn a_table_of_pythons_shared_memory_is_imported_and_stays_pythons() {
    let Some(mut python) = python_with_pyarrow() else { return };
    let scratch = scratch();
    let script = "import sys, pyarrow as pa\n\
        from multiprocessing.shared_memory import SharedMemory\n\
        table = pa.table({'n': [1, None, 3], 's': ['a', 'ü', None]})\n\
        sink = pa.BufferOutputStream()\n\
        with (pa.ipc.new_file if sys.argv[1] == 'file' else pa.ipc.new_stream)(sink, table.schema) as writer:\n    \
            writer.write_table(table)\n\
        data = sink.getvalue()\n\
        segment = SharedMemory(create=True, size=data.size + 1000)\n\
        segment.buf[:data.size] = data.to_pybytes()\n\
        print(segment.name, flush=True)\n\
        sys.stdin.readline()\n\
        again = SharedMemory(name=segment.name)\n\
        assert bytes(again.buf[:data.size]) == data.to_pybytes()\n\
        again.close()\n\
        segment.close()\n\
        segment.unlink()\n";
    python.args(["-c", script]);
    for format in ["file", "stream"] {
        let mut command = Command::new(python.get_program());
        command.args(python.get_args()).arg(format);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(process.stdout.take().unwrap()), &mut line).unwrap();
        let frame = scratch.store.import_shared_memory(format, line.trim()).unwrap();
        process.stdin.take().unwrap().write_all(b"\n").unwrap();
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "the resource tracker has nothing to say");
        let expected = df!("n" => [Some(1), None, Some(3)], "s" => [Some("a"), Some("ü"), None]).unwrap();
        let expected = expected.lazy().with_column(col("n").cast(DataType::Int64)).collect().unwrap();
        assert!(frame.to_polars().unwrap().equals_missing(&expected), "the frame outlives Python's segment");
    }
}

#[test]
fn python_reads_an_exported_frame_and_its_resource_tracker_leaves_it() {
    let Some(mut python) = python_with_pyarrow() else { return };
    let scratch = scratch();
    let named = Named::new("python");
    let df = df!("i" => [Some(1i64), None], "s" => ["a text beyond twelve bytes", "ü"]).unwrap();
    let frame = scratch.store.publish("x", &df).unwrap();
    let exported = frame.export_shared_memory_with(&named.os_id, StringLayout::Offset).unwrap();
    let script = "import sys, pyarrow as pa\n\
        from multiprocessing import resource_tracker\n\
        from multiprocessing.shared_memory import SharedMemory\n\
        if sys.version_info >= (3, 13):\n    \
            segment = SharedMemory(name=sys.argv[1], track=False)\n\
        else:\n    \
            segment = SharedMemory(name=sys.argv[1])\n    \
            resource_tracker.unregister(segment._name, 'shared_memory')\n\
        table = pa.ipc.open_file(pa.py_buffer(segment.buf)).read_all()\n\
        table.validate(full=True)\n\
        assert table.schema.field('s').type == pa.large_string(), table.schema\n\
        assert table.to_pydict() == {'i': [1, None], 's': ['a text beyond twelve bytes', 'ü']}, table\n\
        del table\n\
        segment.close()\n";
    let output = python.args(["-c", script, exported.os_id()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "the resource tracker has nothing to say");
    assert!(named.path().exists(), "Python took what is not its own");
}

#[test]
fn a_part_of_a_frame_goes_through_a_segment_of_another_crate() {
    let scratch = scratch();
    let df = df!("i" => [Some(1), None, Some(3)], "s" => ["a", "", "a string beyond twelve bytes"]).unwrap();
    let part = scratch.store.publish("x", &df).unwrap().slice(1..).unwrap();
    let segment = part.to_shmem(ShmemConf::new()).unwrap();
    let back = scratch.store.import_shmem("y", &segment).unwrap();
    assert!(back.to_polars().unwrap().equals_missing(&df.slice(1, 2)));

    // What the segment held before is gone, and its rest is zeros.
    let larger = scratch.store.publish("z", &df!("i" => (0..10_000).collect::<Vec<_>>()).unwrap()).unwrap();
    let segment = larger.to_shmem(ShmemConf::new()).unwrap();
    let written = part.write_shmem(&segment).unwrap();
    assert!(written < segment.len() / 10);
    let back = scratch.store.import_shmem("y", &segment).unwrap();
    assert!(back.to_polars().unwrap().equals_missing(&df.slice(1, 2)));
    let bytes = std::fs::read(PathBuf::from("/dev/shm").join(segment.get_os_id().trim_start_matches('/'))).unwrap();
    assert!(bytes[written..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_segment_of_another_crate_that_is_too_small_damaged_or_missing_changes_nothing() {
    let scratch = scratch();
    let frame = scratch.store.publish("x", &df!("i" => [1, 2]).unwrap()).unwrap();
    let small = ShmemConf::new().size(100).create().unwrap();
    let error = frame.write_shmem(&small).unwrap_err();
    assert!(
        error.is_invalid_argument() && error.to_string().contains("has 100 bytes, and the frame needs "),
        "{error}"
    );
    let error = scratch.store.import_shmem("y", &small).unwrap_err();
    assert!(error.is_invalid_argument() && error.to_string().contains("only zeros"), "{error}");

    let segment = frame.to_shmem(ShmemConf::new()).unwrap();
    let path = PathBuf::from("/dev/shm").join(segment.get_os_id().trim_start_matches('/'));
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xEE; 200], 64).unwrap();
    assert!(scratch.store.import_shmem("y", &segment).unwrap_err().is_corrupt());
    std::fs::remove_file(&path).unwrap();
    assert!(scratch.store.import_shmem("y", &segment).unwrap_err().is_not_found());
    assert!(frame.write_shmem(&segment).unwrap_err().is_not_found());
    assert_eq!(scratch.store.names().unwrap().len(), 1);

    let named = Named::new("taken");
    let _taken = ShmemConf::new().os_id(&named.os_id).size(1).create().unwrap();
    let error = frame.to_shmem(ShmemConf::new().os_id(&named.os_id)).err().unwrap();
    assert!(error.is_invalid_argument(), "{error}");
}
