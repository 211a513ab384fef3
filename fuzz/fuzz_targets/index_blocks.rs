//! Gives what libFuzzer invents to `nxs_fuzz::index_blocks`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nxs_fuzz::index_blocks(data));
