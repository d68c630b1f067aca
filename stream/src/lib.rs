//! The seam between accounting and the log it runs on.
//!
//! - [`log`]: the narrow `Log` trait that Kafka, the embedded log and the simulation honour alike;
//! - [`processor`]: what a processor is (pure `decide`, the only mutator `apply`);
//! - [`worker`]: the cycle that drives a processor, and restore;
//! - [`store`]: checkpoints of a slot's state;
//! - [`snapshot`]: states of slots in the log itself;
//! - [`archive`]: what the log has given up, in files;
//! - [`table`]: rows and their index, what a slot's state is made of;
//! - [`faults`]: named places where a test makes the process die;
//! - [`config`]: layered configuration;
//! - [`telemetry`]: log lines for people and for machines;
//! - [`sim`]: the log of simulations, in memory, seeded, with every fault that Kafka shows;
//! - [`conformance`]: the suite that every log passes;
//! - [`embedded`]: the log of one process in a directory;
//! - `kafka`: the log on Apache Kafka, with the feature `kafka`;
//! - `files`: the only place that changes files;
//! - [`clock`]: the only place that reads a clock;
//! - [`mutex`]: locks that outlive a panic.
//!
//! No accounting lives here.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod archive;
pub mod clock;
pub mod config;
pub mod conformance;
pub mod embedded;
pub mod faults;
mod files;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod log;
pub mod mutex;
pub mod processor;
pub mod sim;
pub mod snapshot;
pub mod store;
pub mod table;
pub mod telemetry;
pub mod throttle;
pub mod worker;
