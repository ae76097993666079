//! See `map::map` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coframe_fuzz::map::map(data));
