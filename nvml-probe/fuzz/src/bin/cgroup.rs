//! See `berth_fuzz::cgroup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| berth_fuzz::cgroup(data));
