//! The parts of the one binary.
//!
//! - [`archive`]: the log with the archive of the books below it;
//! - [`basis`]: settings that may not change once books are open;
//! - [`bench`]: measurements;
//! - [`cli`]: commands and how their answers are printed;
//! - [`config`]: `ledgerflow.yaml`, variables and flags;
//! - [`demo`]: a day of a payment company, end to end;
//! - [`doctor`]: what the pipeline stands on, with a remedy for each finding;
//! - [`head`]: heads as people hand them in;
//! - [`http`]: the HTTP API;
//! - [`kafka`]: the same pipeline on Kafka, a process for each processor (feature `kafka`);
//! - [`mirror`]: the balances in Redis;
//! - [`receipt`]: receipts of events, and whether they are proved;
//! - [`restore`]: a data directory from a backup;
//! - [`retention`]: giving up what every reader has passed;
//! - [`runtime`]: the pipeline, or the part of it that a process runs;
//! - [`query`]: questions and answers, the same whether the pipeline runs here, elsewhere or not at all;
//! - [`serve`]: the pipeline until it is told to stop;
//! - [`supervise`]: processes that are started again when they end;
//! - [`socket`]: the way to a pipeline that runs in another process;
//! - [`generate`]: events that look like a payment company's day;
//! - [`traces`]: spans of what becomes of an event, for an OpenTelemetry collector (feature `otlp`);
//! - [`measure`]: latency, CPU, recount;
//! - [`metrics`]: what Prometheus is told.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod archive;
pub mod basis;
pub mod bench;
pub mod cli;
pub mod config;
pub mod demo;
pub mod doctor;
pub mod generate;
pub mod head;
pub mod http;
#[cfg_attr(not(feature = "kafka"), path = "without_kafka.rs")]
pub mod kafka;
pub mod measure;
pub mod metrics;
pub mod mirror;
pub mod query;
pub mod receipt;
pub mod restore;
pub mod retention;
pub mod runtime;
pub mod serve;
pub mod signals;
pub mod socket;
pub mod supervise;
#[cfg_attr(not(feature = "otlp"), path = "without_otlp.rs")]
pub mod traces;
