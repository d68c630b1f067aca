//! The records of `days` and `days.aligned`: one JSON object each.
//!
//! ```json
//! {"format":1,"book":"main","day":"2026-11-21","ingest_slots":4}
//! {"format":1,"book":"main","day":"2026-11-21","slot":3}
//! ```
//!
//! Readers refuse another `format`; fields they do not know are left aside, so that one may be added.

use crate::dates::Day;
use crate::versioned::{self, RecordError};
use bytes::Bytes;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Version of both records.
pub const FORMAT: u32 = 1;

/// Topic `days`: from its partition's ingest slot on, `day` is the business day that events count in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayAnnouncement {
    /// Version of this record, [`FORMAT`].
    pub format: u32,
    /// Book whose day begins.
    pub book: String,
    /// The day.
    #[serde(with = "day_text")]
    pub day: Day,
    /// Number of ingest slots that must mark the day before.
    pub ingest_slots: u32,
}

/// Topic `days.aligned`: a settlement slot has published the closings of `day`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DayAligned {
    /// Version of this record, [`FORMAT`].
    pub format: u32,
    /// Book whose day is aligned.
    pub book: String,
    /// The day.
    #[serde(with = "day_text")]
    pub day: Day,
    /// Settlement slot that says so.
    pub slot: u32,
}

impl DayAnnouncement {
    /// An announcement of this version.
    #[must_use]
    pub fn new(book: impl Into<String>, day: Day, ingest_slots: u32) -> Self {
        Self { format: FORMAT, book: book.into(), day, ingest_slots }
    }

    /// Reads a record value.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn parse(value: &[u8]) -> Result<Self, RecordError> {
        versioned::parse(value, FORMAT)
    }

    /// The record value.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        versioned::encode(self)
    }
}

impl DayAligned {
    /// An alignment of this version.
    #[must_use]
    pub fn new(book: impl Into<String>, day: Day, slot: u32) -> Self {
        Self { format: FORMAT, book: book.into(), day, slot }
    }

    /// Reads a record value.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn parse(value: &[u8]) -> Result<Self, RecordError> {
        versioned::parse(value, FORMAT)
    }

    /// The record value.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        versioned::encode(self)
    }
}

mod day_text {
    use super::*;

    pub fn serialize<S: Serializer>(day: &Day, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(day)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        let text = String::deserialize(deserializer)?;
        Day::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_written_as_documented_and_read_back() {
        let day = Day::parse("2026-11-21").unwrap();
        let announced = DayAnnouncement::new("main", day, 4);
        assert_eq!(announced.encode(), r#"{"format":1,"book":"main","day":"2026-11-21","ingest_slots":4}"#);
        assert_eq!(DayAnnouncement::parse(&announced.encode()), Ok(announced));
        let aligned = DayAligned::new("main", day, 3);
        assert_eq!(aligned.encode(), r#"{"format":1,"book":"main","day":"2026-11-21","slot":3}"#);
        assert_eq!(DayAligned::parse(&aligned.encode()), Ok(aligned));
    }

    #[test]
    fn another_format_and_wrong_days_are_refused() {
        assert_eq!(
            DayAligned::parse(br#"{"format":2,"anything":"else"}"#),
            Err(RecordError::Format { found: 2, reads: FORMAT })
        );
        for bad in [
            r#"{"format":1,"book":"main","day":"2026-02-30","slot":3}"#,
            r#"{"format":1,"book":"main","day":20261121,"slot":3}"#,
            r#"{"book":"main","day":"2026-11-21","slot":3}"#,
            r#"{"format":1,"day":"2026-11-21","slot":3}"#,
            "",
        ] {
            assert!(matches!(DayAligned::parse(bad.as_bytes()), Err(RecordError::Decode(_))), "{bad}");
        }
    }
}
