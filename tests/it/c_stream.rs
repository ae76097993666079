//! Arrow's C stream interface: out on the mapped bytes, in with every value validated.

use std::{fs, path::Path, sync::Arc};

use coframe::{
    CStreamReader,
    arrow::{
        array::{Array, Int64Array, RecordBatch, RecordBatchIterator, StringArray},
        buffer::{Buffer, OffsetBuffer},
        error::ArrowError,
        ffi_stream::FFI_ArrowArrayStream,
    },
};

use crate::common::scratch;

fn numbers() -> RecordBatch {
    RecordBatch::try_from_iter([("x", Arc::new(Int64Array::from(vec![1, 2])) as _)]).unwrap()
}

/// The batches of a C stream, as another library passes it.
fn crossed(mut stream: FFI_ArrowArrayStream) -> Result<Vec<RecordBatch>, Box<dyn std::error::Error>> {
    // SAFETY: a valid stream, which nothing else uses.
    let reader = unsafe { CStreamReader::from_raw(&raw mut stream) }?;
    Ok(reader.collect::<Result<_, _>>()?)
}

#[test]
fn a_frame_crosses_the_c_stream_interface_on_its_own_bytes_and_back() {
    let scratch = scratch();
    let conformance = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/conformance");
    let mut frames = Vec::new();
    for file in fs::read_dir(conformance).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "arrow") {
            let name = path.file_stem().unwrap().to_str().unwrap();
            frames.push(scratch.store.import(name, &path).unwrap());
        }
    }
    for frame in frames {
        let batches = crossed(frame.to_c_stream()).unwrap_or_else(|error| panic!("{frame:?}: {error}"));
        assert_eq!(batches, frame.batches(), "{frame:?}");
        let segment = frame.segment_bytes();
        let range = segment.as_ref().as_ptr_range();
        for column in batches.iter().flat_map(RecordBatch::columns) {
            let mut data = vec![column.to_data()];
            while let Some(array) = data.pop() {
                let outside = |buffer: &&Buffer| !buffer.is_empty() && !range.contains(&buffer.as_ptr());
                assert_eq!(array.buffers().iter().find(outside), None, "{frame:?}");
                data.extend(array.child_data().iter().cloned());
            }
        }
        if frame.num_rows() > 1 {
            let part = frame.slice(1..).unwrap();
            assert_eq!(crossed(part.to_c_stream()).unwrap(), part.batches(), "{frame:?}");
        }
    }
}

#[test]
fn values_of_a_c_stream_are_validated_and_its_failures_are_errors() {
    let scratch = scratch();
    // SAFETY: deliberately not UTF-8; the test only passes it on.
    let text = unsafe { StringArray::new_unchecked(OffsetBuffer::from_lengths([2]), vec![0xFF, 0xFE].into(), None) };
    let batch = RecordBatch::try_from_iter([("t", Arc::new(text) as _)]).unwrap();
    let reader = RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
    let mut stream = FFI_ArrowArrayStream::new(Box::new(reader));
    // SAFETY: a valid stream, which nothing else uses.
    let reader = unsafe { CStreamReader::from_raw(&raw mut stream) }.unwrap();
    let error = format!("{:?}", scratch.store.publish("x", reader).unwrap_err());
    assert!(error.to_lowercase().contains("utf"), "{error}");
    // SAFETY: as above.
    let again = unsafe { CStreamReader::from_raw(&raw mut stream) };
    assert!(again.unwrap_err().is_invalid_argument());

    let failed = Err(ArrowError::ComputeError("the source is gone".to_owned()));
    let reader = RecordBatchIterator::new([Ok(numbers()), failed, Ok(numbers())], numbers().schema());
    let error = crossed(FFI_ArrowArrayStream::new(Box::new(reader))).unwrap_err();
    assert!(error.to_string().contains("the source is gone"), "{error}");
    assert_eq!(scratch.files(), [""; 0]);
}
