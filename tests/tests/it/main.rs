//! Integration, simulation and tidy tests: one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod archive;
mod bad_input;
#[cfg(feature = "kafka")]
mod compose_files;
#[cfg(feature = "kafka")]
mod compose_stack;
mod conformance;
mod idle;
mod in_flight;
#[cfg(feature = "kafka")]
mod kafka_counts;
#[cfg(feature = "kafka")]
mod kafka_faults;
#[cfg(feature = "kafka")]
mod kafka_late_end;
#[cfg(feature = "kafka")]
mod kafka_log;
#[cfg(feature = "kafka")]
mod kafka_pipeline;
#[cfg(feature = "kafka")]
mod kafka_rights;
mod losses;
mod main_job;
#[cfg(feature = "kafka")]
mod observability;
mod poison;
mod positions;
mod proof;
mod record_sizes;
mod simulation;
mod snapshots;
mod tidy;
mod tidy_builds;
mod tidy_docs;
mod tidy_map;
mod tidy_schemas;
mod topic_json;
