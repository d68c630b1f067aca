//! Any bytes as records of `commands` and `credits`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ledgerflow_posting_fuzz::fuzz::decide_bytes(data));
