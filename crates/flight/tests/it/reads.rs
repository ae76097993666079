//! `DoGet`, `ListFlights` and the actions, as the client of this crate sees them.

use std::time::Duration;

use coframe::arrow::{array::RecordBatch, compute::concat_batches};
use coframe_flight::{ReadOptions, Remote};

use crate::common::{batch, conformance, mixed, scratch, serve};

#[test]
fn columns_and_rows_of_every_type_are_those_of_the_frame() {
    let there = scratch();
    let mut frames = conformance(&there.store);
    frames.push(mixed(&there.store));
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    for frame in frames {
        let name = frame.name();
        let (schema, batches) = remote.read(name, &ReadOptions::new()).unwrap();
        assert_eq!((&schema, batches.as_slice()), (frame.schema(), frame.batches()), "{name}");
        let rows = frame.num_rows();
        for range in [0..rows, 0..rows / 2, rows / 3..rows, rows / 2..rows / 2] {
            // One frame has no columns.
            let last: Vec<_> = frame.schema().fields().last().map(|field| field.name().as_str()).into_iter().collect();
            let options = ReadOptions::new().rows(range.clone());
            let part = frame.slice(range.clone()).unwrap();
            for (options, part) in
                [(options.clone(), part.clone()), (options.columns(last.clone()), part.select(last).unwrap())]
            {
                let (schema, batches) = remote.read(name, &options).unwrap();
                assert_eq!(schema.fields(), part.schema().fields(), "{name} {options:?}");
                let expected = concat_batches(part.schema(), part.batches()).unwrap();
                let found = concat_batches(part.schema(), &batches).unwrap();
                assert_eq!(found, expected, "{name} {options:?}");
            }
        }
    }
}

#[test]
fn two_columns_in_another_order_keep_their_dictionaries() {
    let there = scratch();
    let frame = mixed(&there.store);
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    let (_, batches) = remote.read("mixed", &ReadOptions::new().columns(["word", "number"]).rows(5..25)).unwrap();
    let part = frame.select(["word", "number"]).unwrap().slice(5..25).unwrap();
    assert_eq!(
        concat_batches(part.schema(), &batches).unwrap(),
        concat_batches(part.schema(), part.batches()).unwrap()
    );
    // Whole batches are sent as they are, and no column is a column.
    assert_eq!(batches.len(), 3);
    let (schema, batches) = remote.read("mixed", &ReadOptions::new().columns([""; 0])).unwrap();
    assert_eq!((schema.fields().len(), batches.iter().map(RecordBatch::num_rows).sum::<usize>()), (0, 25));
}

#[test]
fn a_list_shows_every_frame_and_a_stat_one() {
    let there = scratch();
    let frame = mixed(&there.store);
    there.store.publish("another", &batch(3)).unwrap();
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    let stats = remote.list().unwrap();
    let names: Vec<_> = stats.iter().map(|stat| (stat.name.as_str(), stat.rows)).collect();
    assert_eq!(names, [("another", 3), ("mixed", 25)]);
    let stat = remote.stat("mixed").unwrap();
    assert_eq!(stat, stats[1]);
    assert_eq!((stat.id, stat.bytes), (frame.segment_id(), frame.size_bytes() as u64));
    assert_eq!(stat.metadata["source"], "a test");
    assert!(remote.stat("missing").unwrap_err().is_not_found());
    let missing = remote.read("mixed", &ReadOptions::new().columns(["speed"])).unwrap_err();
    assert!(missing.is_not_found() && missing.to_string().contains("speed"), "{missing}");
    let outside = remote.read("mixed", &ReadOptions::new().rows(20..26)).unwrap_err();
    assert!(outside.is_invalid_argument() && outside.to_string().contains("0..25"), "{outside}");
}

#[test]
fn a_wait_returns_when_a_version_is_published() {
    let there = scratch();
    let server = serve(&there.store);
    let remote = Remote::connect(server.url()).unwrap();
    assert_eq!(remote.wait("mixed", 0, Duration::from_millis(30)).unwrap(), None);
    let waiting = std::thread::spawn(move || remote.wait("mixed", 0, Duration::from_mins(1)).unwrap());
    while server.stats().calls < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let version = mixed(&there.store).version();
    assert_eq!(waiting.join().unwrap(), Some(version));
}
