//! Gives what libFuzzer invents to `nxs_fuzz::reindex`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nxs_fuzz::reindex(data));
