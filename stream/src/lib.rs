//! The seam between accounting and the log it runs on.
//!
//! - [`log`]: the narrow `Log` trait that Kafka, the embedded log and the simulation honour alike;
//! - [`processor`]: what a processor is (pure `decide`, the only mutator `apply`);
//! - [`clock`]: the only place that reads a clock;
//! - [`config`]: layered configuration;
//! - [`faults`]: named places where a test makes the process die;
//! - [`store`]: checkpoints of a slot's state.
//!
//! No accounting lives here.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod clock;
pub mod config;
pub mod faults;
pub mod log;
pub mod processor;
pub mod store;
