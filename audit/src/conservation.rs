//! Where every received event went.
// serde's flatten reads through a type that could hold floats; every field here is an integer.
#![allow(clippy::disallowed_types)]

use crate::outcome::Outcomes;
use serde::{Deserialize, Serialize};

/// Where every received event went, at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Conservation {
    /// Events counted by ingest.
    pub received: u64,
    /// Events found on the lanes in the ranges that ingest read (where retention has passed: as stated).
    pub events_found: u64,
    /// Dead letters found on `rejected`.
    pub dead_lettered: u64,
    /// Commands counted by ingest.
    pub commands: u64,
    /// Commands found.
    pub commands_found: u64,
    /// Decisions by outcome.
    #[serde(flatten)]
    pub outcomes: Outcomes,
    /// Commands that posting has not read.
    pub not_yet_read: u64,
}

impl Conservation {
    /// What became of the events received, with so many dead letters.
    #[must_use]
    pub const fn accounted(&self, dead_lettered: u64) -> u64 {
        dead_lettered.wrapping_add(self.outcomes.decided()).wrapping_add(self.not_yet_read)
    }
}
