//! See `flight::ticket` of the library.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| coframe_fuzz::flight::ticket(data));
