//! What stands in the place of the demo on Kafka in a program that was built without it.

use super::pipeline::LedgerLog;
use crate::cli::commands::WrongUse;
use crate::config::Settings;
use crate::kafka::WITHOUT;

pub(super) fn with_log<T>(
    _: &Settings,
    _: Option<&str>,
    _: impl FnOnce(&LedgerLog) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}
