//! What stands in the place of [`crate::kafka`] in a program that was built without it: every function says so.

use crate::cli::args;
use crate::cli::commands::WrongUse;
use crate::config::Settings;
use crate::query::Answer;
use crate::query::books::Books;
use crate::runtime::Role;

/// What every function here says.
pub const WITHOUT: &str = "this program was built without Kafka: build it with `--features kafka`";

/// See the module.
///
/// # Errors
/// Always.
pub fn books(_: &Settings) -> anyhow::Result<Books> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

/// See the module.
///
/// # Errors
/// Always.
pub fn create_topics(_: &Settings) -> anyhow::Result<Answer> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

/// See the module.
///
/// # Errors
/// Always.
pub fn acls(_: &Settings, _: &args::Acls) -> anyhow::Result<(String, Answer)> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

/// See the module.
///
/// # Errors
/// Always.
pub fn asyncapi(_: &Settings) -> anyhow::Result<serde_json::Value> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

/// See the module.
///
/// # Errors
/// Always.
pub fn http(_: &Settings) -> anyhow::Result<()> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}

/// See the module.
///
/// # Errors
/// Always.
pub fn run(_: &Settings, _: Role) -> anyhow::Result<()> {
    Err(WrongUse(WITHOUT.to_owned()).into())
}
