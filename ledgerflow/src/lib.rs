//! The parts of the one binary.
//!
//! - [`cli`]: commands and how their answers are printed;
//! - [`config`]: `ledgerflow.yaml`, variables and flags.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod cli;
pub mod config;
