//! Gives what libFuzzer invents to `nxs_fuzz::inc_state`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nxs_fuzz::inc_state(data));
