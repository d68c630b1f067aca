//! Topics `days` and `days.aligned`: business days announced to ingest, and their alignment reported back.

use serde::{Deserialize, Serialize};

/// Topic `days`, one record per ingest slot: this day of this book is open from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayAnnouncement {
    /// Version of this format. Now 1.
    pub format: u32,
    /// Book whose day it is.
    pub book: String,
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// Number of ingest slots that are told.
    pub ingest_slots: u32,
}

/// Topic `days.aligned`: this settlement slot has published its closings of this day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayAligned {
    /// Version of this format. Now 1.
    pub format: u32,
    /// Book whose day it is.
    pub book: String,
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// Settlement slot that says so.
    pub slot: u32,
}
