//! See `schema::schema` of the library.
#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    coframe_fuzz::mutate::flatbuffer(data, size, max_size, seed, &mut fuzzer_mutate)
});

fuzz_target!(|data: &[u8]| coframe_fuzz::schema::schema(data));
