//! A look at an audit that goes on, as it goes from the process that audits to the one that asks.
// serde's flatten reads through a type that could hold floats; every field here is an integer or a text.
#![allow(clippy::disallowed_types)]

use audit::{Look, NamedFinding};
use serde::{Deserialize, Serialize};

/// One look, and what was found since the one before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When, by the machine's clock, RFC 3339.
    pub time: String,
    /// Which auditor looked: when it began, microseconds since 1970-01-01T00:00:00Z by the machine's clock. Another one has
    /// read from the beginning and numbers what it finds from 1 again.
    #[serde(default)]
    pub auditor: i64,
    /// Everything was read that was there.
    pub at_end: bool,
    /// The books at this cut.
    #[serde(flatten)]
    pub look: Look,
    /// As of the last whole report: what somebody must look at though the books are right.
    pub noted: u64,
    /// What is wrong and was not told yet, in the order of reading.
    pub findings: Vec<NamedFinding>,
}
