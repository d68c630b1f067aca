//! Bytes as the choices of a history.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| ledgerflow_posting_fuzz::fuzz::decide_history(data));
