//! Gives what libFuzzer invents to `nxs_fuzz::frames_gzip`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nxs_fuzz::frames_gzip(data));
