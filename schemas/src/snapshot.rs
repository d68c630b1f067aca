//! Parts of snapshots as they lie in topic `snapshots`, and the hash of a state.
//!
//! Format: `schemas/proto/ledgerflow/v1/snapshots.proto`.

use crate::sha256::{Hash, sha256};
use crate::wire::SnapshotPart;
use bytes::Bytes;
use prost::Message;
use thiserror::Error;

/// Version of the format.
pub const FORMAT: u32 = 1;
/// A part is ended before its pairs pass this size, so that a record stays below Kafka's 1 MB. A pair that is longer by
/// itself has a part of its own.
pub const PART_BYTES_MAX: usize = 512 * 1024;

/// Why a record is not a part that may be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PartError {
    /// Not a protobuf `SnapshotPart`.
    #[error("part of a snapshot does not decode: {0}")]
    Decode(String),
    /// Written by another version.
    #[error("part of a snapshot of format version {found}, this program reads {FORMAT}")]
    Format {
        /// Version found.
        found: u32,
    },
}

/// Reads a record's value.
///
/// # Errors
/// [`PartError`].
pub fn read(value: Bytes) -> Result<SnapshotPart, PartError> {
    let part = SnapshotPart::decode(value).map_err(|why| PartError::Decode(why.to_string()))?;
    if part.format == FORMAT { Ok(part) } else { Err(PartError::Format { found: part.format }) }
}

/// A record's value.
#[must_use]
pub fn write(part: &SnapshotPart) -> Bytes {
    part.encode_to_vec().into()
}

/// Hash of a state: of its pairs in canonical order, one after the other (`SnapshotEnd.state_hash`).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StateHash {
    hash: Hash,
    message: Vec<u8>,
    pairs: u64,
}

impl StateHash {
    /// Takes the next pair.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        self.message.clear();
        self.message.extend_from_slice(&self.hash);
        for part in [key, value] {
            self.message.extend_from_slice(&(part.len() as u64).to_be_bytes());
            self.message.extend_from_slice(part);
        }
        self.hash = sha256(&self.message);
        self.pairs += 1;
    }

    /// The hash so far.
    #[must_use]
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// How many pairs it is of.
    #[must_use]
    pub const fn pairs(&self) -> u64 {
        self.pairs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{SnapshotEnd, SnapshotPair};

    #[test]
    fn what_is_written_is_read_and_other_versions_are_refused() {
        let pair = SnapshotPair { key: b"k".as_slice().into(), value: b"v".as_slice().into() };
        let end = Some(SnapshotEnd { batch: 7, pairs: 1, ..SnapshotEnd::default() });
        let part = SnapshotPart { format: FORMAT, slot: 3, pair: vec![pair], end, ..SnapshotPart::default() };
        assert_eq!(read(write(&part)), Ok(part.clone()));
        let later = write(&SnapshotPart { format: 2, ..part });
        assert_eq!(read(later), Err(PartError::Format { found: 2 }));
        assert!(matches!(read(Bytes::from_static(b"\xff")), Err(PartError::Decode(_))));
    }

    /// Where one pair ends and the next begins counts, and so does their order.
    #[test]
    fn a_hash_holds_every_byte_in_its_place() {
        let of = |pairs: &[(&str, &str)]| {
            let mut hash = StateHash::default();
            pairs.iter().for_each(|(key, value)| hash.add(key.as_bytes(), value.as_bytes()));
            hash.hash()
        };
        let all = [
            of(&[]),
            of(&[("", "")]),
            of(&[("ab", "c")]),
            of(&[("a", "bc")]),
            of(&[("a", "b"), ("c", "d")]),
            of(&[("c", "d"), ("a", "b")]),
            of(&[("a", "b"), ("c", "e")]),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| one != other), "{at}");
        }
        // By hand: SHA-256 over 32 zeros, the length 1, "a", the length 1, "b".
        let mut message = vec![0; 32];
        message.extend_from_slice(b"\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\x01b");
        assert_eq!(of(&[("a", "b")]), sha256(&message));
    }
}
