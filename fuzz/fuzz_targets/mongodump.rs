//! Gives what libFuzzer invents to `nxs_fuzz::mongodump`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nxs_fuzz::mongodump(data));
