//! Gives what libFuzzer invents to `nxs_fuzz::xbstream`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nxs_fuzz::xbstream(data));
