//! Reconcile as its topics see it: bills in, entries in, matches and breaks out. One binary.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod alipay;
#[path = "../../../tests/src/alipay.rs"]
mod alipay_bills;
mod arrival;
mod bills;
mod case_json;
mod flow;
mod imports;
mod join_laws;
mod join_tables;
#[path = "../../../tests/src/json_schema.rs"]
mod json_schema;
mod mapped;
mod rekeying;
mod samples;
mod tampering;
