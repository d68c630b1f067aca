//! The seam between accounting and the log it runs on.
//!
//! - [`log`]: the narrow `Log` trait that Kafka, the embedded log and the simulation honour alike;
//! - [`processor`]: what a processor is (pure `decide`, the only mutator `apply`);
//! - [`embedded`]: the log of one process in a directory;
//! - [`clock`]: the only place that reads a clock.
//!
//! No accounting lives here.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod clock;
pub mod embedded;
pub mod log;
pub mod processor;
