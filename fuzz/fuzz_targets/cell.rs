//! See `cell::cell` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coframe_fuzz::cell::cell(data));
