//! Random arrays of leaf types.

use std::sync::Arc;

use coframe::arrow::{
    array::{
        ArrayData, ArrayRef, BooleanArray, FixedSizeBinaryArray, GenericByteArray, GenericByteViewArray, make_array,
        make_view,
    },
    buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer},
    datatypes::{
        ArrowNativeType, BinaryViewType, ByteArrayType, ByteViewType, DataType, GenericBinaryType, GenericStringType,
        StringViewType, TimeUnit,
    },
};

use super::random::Random;

const DAY: i128 = 86_400;

pub(super) fn array(random: &mut Random, data_type: &DataType, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    match data_type {
        DataType::Boolean => {
            let cut = random.below(10);
            let bits = BooleanBuffer::from(random.bools(cut + len)).slice(cut, len);
            Arc::new(BooleanArray::new(bits, nulls))
        }
        DataType::Utf8 => bytes::<GenericStringType<i32>>(random, len, nulls),
        DataType::LargeUtf8 => bytes::<GenericStringType<i64>>(random, len, nulls),
        DataType::Binary => bytes::<GenericBinaryType<i32>>(random, len, nulls),
        DataType::LargeBinary => bytes::<GenericBinaryType<i64>>(random, len, nulls),
        DataType::Utf8View => views::<StringViewType>(random, len, nulls),
        DataType::BinaryView => views::<BinaryViewType>(random, len, nulls),
        DataType::FixedSizeBinary(size) => {
            let bytes: Vec<u8> = (0..len * *size as usize).map(|_| random.next() as u8).collect();
            Arc::new(FixedSizeBinaryArray::try_new_with_len(*size, Buffer::from_vec(bytes), nulls, len).unwrap())
        }
        numbers => {
            let width = numbers.primitive_width().unwrap();
            let mut bytes = Vec::with_capacity(width * len);
            let is_wild = random.one_in(20);
            for _ in 0..len {
                let value = number(random, numbers, is_wild);
                let sign = if value < 0 { 0xFF } else { 0 };
                bytes.extend(value.to_le_bytes().into_iter().chain([sign; 16]).take(width));
            }
            // Copied, so that they are aligned.
            let bytes = Buffer::from_slice_ref(&bytes);
            make_array(ArrayData::builder(numbers.clone()).len(len).add_buffer(bytes).nulls(nulls).build().unwrap())
        }
    }
}

/// A value whose lowest bytes are those of the array; `is_wild` ones may be outside of what their type means.
fn number(random: &mut Random, data_type: &DataType, is_wild: bool) -> i128 {
    let any = i128::from(random.next() as i64);
    if is_wild {
        return random.pick(&[any, 0, i64::MIN.into(), i64::MAX.into()]);
    }
    let small = any % 100_000;
    let fraction = |unit: &TimeUnit| match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    };
    match data_type {
        DataType::Date64 => small * DAY * 1000,
        DataType::Date32
        | DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..)
        | DataType::Timestamp(TimeUnit::Second, _)
        | DataType::Duration(TimeUnit::Second) => small,
        DataType::Time32(unit) | DataType::Time64(unit) => any.rem_euclid(DAY * fraction(unit)),
        _ => any,
    }
}

/// Text of any length, with a few that are the same.
fn text(random: &mut Random) -> String {
    let len = random.pick(&[0, 1, 3, 11, 12, 13, 14, 40]);
    let letters = random.pick(&["a", "bc", "ü", "日本", "xyz0"]);
    let mut text: String = letters.chars().cycle().take(len).collect();
    if random.one_in(2) {
        text.push_str(&random.below(1000).to_string());
    }
    text
}

/// Strings or binaries whose offsets may start above 0, with text below nulls too.
fn bytes<T: ByteArrayType>(random: &mut Random, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let mut data = if random.one_in(2) { text(random) } else { String::new() };
    let mut offsets = vec![T::Offset::usize_as(data.len())];
    for _ in 0..len {
        data.push_str(&text(random));
        offsets.push(T::Offset::usize_as(data.len()));
    }
    data.push_str(&text(random));
    let offsets = OffsetBuffer::new(offsets.into());
    Arc::new(GenericByteArray::<T>::try_new(offsets, Buffer::from_vec(data.into_bytes()), nulls).unwrap())
}

/// Views of some of the bytes of several buffers; rows share bytes, and some buffers are unused.
fn views<T: ByteViewType>(random: &mut Random, len: usize, nulls: Option<NullBuffer>) -> ArrayRef {
    let filler = |random: &mut Random| random.pick(&["a longer text, plain enough to be cut anywhere", "0123456789"]);
    let buffers: Vec<String> = (0..random.below(4))
        .map(|_| {
            let times = random.pick(&[1, 2, 2, 200]);
            filler(random).repeat(times)
        })
        .collect();
    let views: Vec<u128> = (0..len)
        .map(|_| {
            let own = text(random);
            if own.len() <= 12 || buffers.is_empty() {
                return make_view(&own.as_bytes()[..own.floor_char_boundary(12)], 0, 0);
            }
            let buffer = random.below(buffers.len());
            let bytes = buffers[buffer].as_bytes();
            let size = random.within(0, bytes.len().min(60));
            let offset = random.within(0, bytes.len() - size);
            make_view(&bytes[offset..offset + size], buffer as u32, offset as u32)
        })
        .collect();
    let buffers: Vec<Buffer> = buffers.into_iter().map(|text| Buffer::from_vec(text.into_bytes())).collect();
    Arc::new(GenericByteViewArray::<T>::try_new(views.into(), buffers, nulls).unwrap())
}
