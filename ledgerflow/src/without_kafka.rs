//! What stands in the place of [`crate::kafka`] in a program that was built without it: every function says so.

use crate::config::Settings;
use crate::query::Answer;
use crate::query::books::Books;
use crate::runtime::Role;
use anyhow::bail;

/// What every function here says.
pub const WITHOUT: &str = "this program was built without Kafka: build it with `--features kafka`";

/// See the module.
///
/// # Errors
/// Always.
pub fn books(_: &Settings) -> anyhow::Result<Books> {
    bail!(WITHOUT)
}

/// See the module.
///
/// # Errors
/// Always.
pub fn create_topics(_: &Settings) -> anyhow::Result<Answer> {
    bail!(WITHOUT)
}

/// See the module.
///
/// # Errors
/// Always.
pub fn run(_: &Settings, _: Role) -> anyhow::Result<()> {
    bail!(WITHOUT)
}
