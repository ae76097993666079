//! Frames at the edges of what Arrow and Polars have in common: other alignments, other limits, other types.

use std::{fs::File, sync::Arc};

use coframe::{
    PublishOptions,
    arrow::array::{ArrayRef, NullArray, RecordBatch},
    polars::{chunked_array::builder::get_list_builder, prelude::*},
};

use crate::common::scratch;

/// A frame on a map of an IPC file that Polars wrote, whose buffers begin at multiples of 8.
fn mapped_by_polars(path: &std::path::Path, df: &mut DataFrame) -> DataFrame {
    IpcWriter::new(File::create(path).unwrap()).finish(df).unwrap();
    // SAFETY: no process writes to the file while it is mapped.
    let reader = unsafe { IpcReader::new(File::open(path).unwrap()).memory_mapped(Some(path.to_owned())) };
    reader.finish().unwrap()
}

#[test]
fn frames_that_polars_mapped_from_its_own_files_are_published_whatever_their_alignment() {
    let scratch = scratch();
    let path = scratch.path().with_file_name("mapped.arrow");
    // The length of the name moves the bodies by steps of 8 bytes.
    for len in 1..=16 {
        let name = "c".repeat(len);
        let long = ["a", "a text of more than twelve", "c"];
        let binary = Series::new("b".into(), long).cast(&DataType::Binary).unwrap();
        let mut lists = get_list_builder(&DataType::String, 3, 3, "l".into());
        (0..3).for_each(|_| lists.append_series(&Series::new("".into(), long)).unwrap());
        let columns = [Series::new(name.as_str().into(), long), binary, lists.finish().into_series()];
        let mut df = DataFrame::new(3, columns.map(Column::from).to_vec()).unwrap();
        let mapped = mapped_by_polars(&path, &mut df);
        let frame = scratch.store.publish("x", &mapped).unwrap();
        assert!(frame.to_polars().unwrap().equals(&df), "a name of {len} bytes");
        let part = scratch.store.publish("x", &mapped.slice(1, 2)).unwrap();
        assert!(part.to_polars().unwrap().equals(&df.slice(1, 2)), "a name of {len} bytes");
    }
}

fn column(array: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("c", array, true)]).unwrap()
}

#[test]
fn a_frame_of_more_rows_than_polars_counts_is_refused_and_its_parts_are_not() {
    let scratch = scratch();
    let rows = 5_000_000_000_usize;
    let frame = scratch.store.publish("x", &column(Arc::new(NullArray::new(rows)))).unwrap();
    let most = IdxSize::MAX as usize - 1;
    if most < rows {
        let error = frame.to_polars().unwrap_err();
        assert!(error.is_unsupported() && error.to_string().contains("`bigidx`"), "{error}");
        assert!(error.to_string().contains("`x@1` of 5000000000 rows"), "{error}");
        assert!(frame.slice(..=most).unwrap().to_polars().unwrap_err().is_unsupported());
    }
    assert_eq!(frame.slice(..most).unwrap().to_polars().unwrap().height(), most);
    assert_eq!(frame.slice(rows - 3..).unwrap().to_polars().unwrap().height(), 3);
    assert_eq!(frame.select([""; 0]).unwrap().slice(..3).unwrap().to_polars().unwrap().height(), 3);
}

#[test]
fn no_batch_has_more_rows_than_other_implementations_count() {
    let scratch = scratch();
    let batch = column(Arc::new(NullArray::new(5_000_000_000)));
    for options in [PublishOptions::new(), PublishOptions::new().batch_rows(usize::MAX)] {
        let frame = scratch.store.publish_with("x", &batch, options).unwrap();
        let rows: Vec<usize> = frame.batches().iter().map(RecordBatch::num_rows).collect();
        assert!(rows.iter().all(|rows| *rows <= i32::MAX as usize), "{rows:?}");
        assert_eq!(rows.iter().sum::<usize>(), 5_000_000_000);
    }
}
