//! The basis of the books, topic `books`: settings without which what lies in the books cannot be read.
//!
//! ```json
//! {"format":1,"book":"main","time_zone":"Asia/Shanghai","cut_off":"00:00","assets":[{"asset":"CNY","exponent":2}],"accounts":[{"pattern":"users:*:wallet","normal":"credit","shard_segments":2}]}
//! ```
//!
//! A record states all of it, not what is new. Readers refuse another `format`; fields they do not know are left aside.

use crate::balance_json::NormalSide;
use crate::versioned::{self, RecordError};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Version of the record.
pub const FORMAT: u32 = 1;

/// What the books were opened with, or gone on with after something was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// Version of this record, [`FORMAT`].
    pub format: u32,
    /// Name of the book.
    pub book: String,
    /// IANA time zone of its days.
    pub time_zone: String,
    /// When its days begin, `HH:MM`.
    pub cut_off: String,
    /// Assets, by code.
    pub assets: Vec<AssetBasis>,
    /// Account patterns in the order of the chart; the first that matches an account decides. None comes twice.
    pub accounts: Vec<AccountBasis>,
}

/// What a minor unit of an asset is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetBasis {
    /// Code.
    pub asset: String,
    /// Decimals of the minor unit.
    pub exponent: u8,
}

/// How accounts of a pattern are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountBasis {
    /// The pattern, as the chart has it.
    pub pattern: String,
    /// Side on which these accounts normally have their balance.
    pub normal: NormalSide,
    /// Leading segments that decide where they lie.
    pub shard_segments: usize,
}

impl Basis {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_basis_is_written_as_documented_and_read_back() {
        let basis = Basis {
            format: FORMAT,
            book: "main".into(),
            time_zone: "Asia/Shanghai".into(),
            cut_off: "00:00".into(),
            assets: vec![AssetBasis { asset: "CNY".into(), exponent: 2 }],
            accounts: vec![AccountBasis {
                pattern: "users:*:wallet".into(),
                normal: NormalSide::Credit,
                shard_segments: 2,
            }],
        };
        let written = r#"{"format":1,"book":"main","time_zone":"Asia/Shanghai","cut_off":"00:00","assets":[{"asset":"CNY","exponent":2}],"accounts":[{"pattern":"users:*:wallet","normal":"credit","shard_segments":2}]}"#;
        assert_eq!(basis.encode(), written);
        assert_eq!(Basis::parse(written.as_bytes()), Ok(basis));
        assert_eq!(
            Basis::parse(br#"{"format":2,"anything":"else"}"#),
            Err(RecordError::Format { found: 2, reads: FORMAT })
        );
        for bad in [
            written.replace("\"credit\"", "\"left\""),
            written.replace("\"exponent\":2", "\"exponent\":256"),
            written.replace("\"cut_off\":\"00:00\",", ""),
            written[1..].to_owned(),
            String::new(),
        ] {
            assert!(matches!(Basis::parse(bad.as_bytes()), Err(RecordError::Decode(_))), "{bad}");
        }
    }
}
