//! JSON records that carry their version: one object, whose `format` is looked at before anything else.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// Written by another version.
    #[error("format version {found}, this program reads {reads}")]
    Format {
        /// Version found.
        found: u64,
        /// Version that is read.
        reads: u32,
    },
    /// Not a JSON object of that form.
    #[error("record does not decode: {0}")]
    Decode(String),
}

#[derive(Deserialize)]
struct Versioned {
    format: u64,
}

/// A record of version `reads`.
pub(crate) fn parse<'a, T: Deserialize<'a>>(value: &'a [u8], reads: u32) -> Result<T, RecordError> {
    let decode = |e: serde_json::Error| RecordError::Decode(e.to_string());
    let Versioned { format } = serde_json::from_slice(value).map_err(decode)?;
    if format != u64::from(reads) {
        return Err(RecordError::Format { found: format, reads });
    }
    serde_json::from_slice(value).map_err(decode)
}

/// A record's value.
pub(crate) fn encode(record: &impl Serialize) -> Bytes {
    // Plain structs of texts and integers always serialise.
    serde_json::to_vec(record).unwrap_or_default().into()
}
