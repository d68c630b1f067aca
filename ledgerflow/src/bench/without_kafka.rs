//! What stands in the place of measurements on Kafka in a program that was built without it.

use super::{Measured, commit};
use crate::cli::args::{BenchCommit, BenchFailOver, BenchPipeline};
use crate::cli::commands::WrongUse;
use crate::config::Settings;
use crate::kafka::WITHOUT;
use std::path::Path;

pub(super) fn pipeline(
    _: &BenchPipeline,
    _: &Settings,
    _: Option<&Path>,
    _: &Path,
) -> anyhow::Result<Measured> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

pub(super) fn commit(_: &BenchCommit, _: &Settings) -> anyhow::Result<commit::Measured> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

/// See the module.
///
/// # Errors
/// Always.
pub fn fail_over(
    _: &BenchFailOver,
    _: &Settings,
    _: Option<&Path>,
    _: &Path,
) -> anyhow::Result<serde_json::Value> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}
