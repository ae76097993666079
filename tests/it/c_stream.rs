//! Arrow's C stream interface: out on the mapped bytes, in with every value validated.

use std::{fs, path::Path, sync::Arc};

use coframe::{
    CStreamReader,
    arrow::{
        array::{Array, Int64Array, RecordBatch, RecordBatchIterator, StringArray, StructArray},
        buffer::{Buffer, OffsetBuffer},
        error::ArrowError,
        ffi::to_ffi,
        ffi_stream::FFI_ArrowArrayStream,
    },
};

use crate::{
    common::scratch,
    times::{around, times},
};

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

#[test]
fn a_time_outside_of_its_day_is_refused_at_any_depth_by_a_c_stream() {
    for (days, refused) in [(0, false), (1, true)] {
        for column in times(days).iter().flat_map(around) {
            let what = format!("{days} {}", column.data_type());
            let batch = RecordBatch::try_from_iter_with_nullable([("clock", column, true)]).unwrap();
            let reader = RecordBatchIterator::new([Ok(batch.clone())], batch.schema());
            let read = crossed(FFI_ArrowArrayStream::new(Box::new(reader)));
            assert_eq!(read.is_err_and(|error| error.to_string().contains("outside its day")), refused, "{what}");
        }
    }
}

#[cfg(feature = "polars")]
#[test]
fn a_c_stream_of_polars_passes_nulls_and_integers_of_128_bits_at_any_depth() {
    use polars::prelude::*;

    let wide = Series::new("wide".into(), [1_i64, -1, 7]).cast(&DataType::Int128).unwrap();
    let nulls = Series::full_null("nulls".into(), 3, &DataType::Null);
    let list = wide.cast(&DataType::UInt128).unwrap().implode().unwrap().into_series();
    let lists = list.new_from_index(0, 3).with_name("lists".into());
    let df = DataFrame::new(3, vec![wide.into(), nulls.into(), lists.into()]).unwrap();
    let rows = df.clone().into_struct("rows".into()).into_series();
    let field = rows.dtype().to_arrow_field("rows".into(), CompatLevel::newest());
    let arrays = Box::new([Ok(rows.to_arrow(0, CompatLevel::newest()))].into_iter());
    let mut stream = polars_arrow::ffi::export_iterator(arrays, field);
    let scratch = scratch();
    // SAFETY: a valid stream, which is moved out; Polars' struct and arrow's are the one of the specification.
    let reader = unsafe { CStreamReader::from_raw((&raw mut stream).cast()) }.unwrap();
    std::mem::forget(stream);
    let frame = scratch.store.publish("x", reader).unwrap();
    assert!(frame.to_polars().unwrap().equals_missing(&df), "{frame:?}");
}

#[test]
fn a_c_array_is_read_once_and_validated_unless_the_caller_vouches_for_its_values() {
    let table = StructArray::from(numbers());
    let (mut array, schema) = to_ffi(&table.to_data()).unwrap();
    // SAFETY: a valid array of that schema, which nothing else uses.
    let reader = unsafe { CStreamReader::from_raw_array(&raw mut array, &raw const schema) }.unwrap();
    assert_eq!(reader.collect::<Result<Vec<_>, _>>().unwrap(), [numbers()]);
    // SAFETY: as above.
    let again = unsafe { CStreamReader::from_raw_array(&raw mut array, &raw const schema) };
    assert!(again.unwrap_err().is_invalid_argument());
    let (mut array, schema) = to_ffi(&Int64Array::from(vec![1]).to_data()).unwrap();
    // SAFETY: as above.
    let column = unsafe { CStreamReader::from_raw_array(&raw mut array, &raw const schema) };
    assert!(column.unwrap_err().is_invalid_argument());

    // Out of order, so the second string would have a negative length.
    // SAFETY: deliberately invalid; the test reads only the length.
    let offsets = unsafe { OffsetBuffer::new_unchecked(vec![0, 2, 1].into()) };
    // SAFETY: as above.
    let text = unsafe { StringArray::new_unchecked(offsets, b"ab".into(), None) };
    let table = StructArray::from(RecordBatch::try_from_iter([("t", Arc::new(text) as _)]).unwrap());
    for is_trusted in [false, true] {
        let (mut array, schema) = to_ffi(&table.to_data()).unwrap();
        // SAFETY: a valid array but for its values, which nothing else uses.
        let mut reader = unsafe { CStreamReader::from_raw_array(&raw mut array, &raw const schema) }.unwrap();
        if is_trusted {
            // SAFETY: not true, but no value is read.
            reader = unsafe { reader.trusting_values() };
        }
        assert_eq!(reader.next().unwrap().is_ok(), is_trusted);
    }
}
