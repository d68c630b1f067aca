//! The envelope of processor-to-processor records: sealing and checking.
//!
//! Order relied on: items are encoded into the body first, so that the Merkle leaves are the very bytes that are
//! stored; the header is built over the finished body; the hash covers the whole value.

use crate::wire::{Batch, BatchHeader};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Version of the envelope and of every body.
pub const FORMAT: u32 = 1;
/// Bodies are sealed before they pass this size, so that a record stays below Kafka's 1 MB.
pub const BODY_BYTES_MAX: usize = 512 * 1024;

/// SHA-256.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes`.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// Why a record is not a batch that may be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BatchError {
    /// Not a protobuf `Batch` or `BatchHeader`, or a body that does not decode.
    #[error("record does not decode: {0}")]
    Decode(String),
    /// Written by another version.
    #[error("format version {found}, this program reads {FORMAT}")]
    Format {
        /// Version found.
        found: u32,
    },
    /// Body changed after sealing.
    #[error("checksum of batch {batch} of slot {slot} does not match its body")]
    Checksum {
        /// Writer's slot.
        slot: u32,
        /// Batch number.
        batch: u64,
    },
    /// Fewer or more items than the header says.
    #[error("batch {batch} of slot {slot} names {stated} items and holds {found}")]
    Count {
        /// Writer's slot.
        slot: u32,
        /// Batch number.
        batch: u64,
        /// Count in the header.
        stated: u32,
        /// Items found.
        found: u32,
    },
    /// Not the next of its chain.
    #[error("slot {slot}: expected sequence {expected}, found {found}")]
    Sequence {
        /// Writer's slot.
        slot: u32,
        /// Next sequence of the chain.
        expected: u64,
        /// Sequence found.
        found: u64,
    },
    /// The chain's hash does not match.
    #[error("slot {slot}: batch at sequence {sequence} does not name its predecessor's hash")]
    Chain {
        /// Writer's slot.
        slot: u32,
        /// Sequence of the batch refused.
        sequence: u64,
    },
}

/// Collects encoded items; all bodies have the form `repeated Item item = 1`.
#[derive(Debug, Default)]
pub struct BodyBuilder {
    body: BytesMut,
    count: u32,
    leaves: Vec<Hash>,
}

impl BodyBuilder {
    /// An empty body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends one item.
    pub fn push<M: Message>(&mut self, item: &M) {
        let len = item.encoded_len();
        self.body.reserve(len + 12);
        self.body.put_u8(0x0a); // field 1, length-delimited
        prost::encoding::encode_varint(len as u64, &mut self.body);
        let start = self.body.len();
        item.encode_raw(&mut self.body);
        let leaf = self.body.get(start..).map_or([0; 32], merkle_leaf);
        self.leaves.push(leaf);
        self.count += 1;
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body.len()
    }

    /// Items so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Completes `header` (format, count, checksum, Merkle root) and returns the record value and its hash.
    /// The caller has set slot, epoch, batch, sequence, previous hash, ranges, channels, marks and edges.
    #[must_use]
    pub fn seal(self, mut header: BatchHeader) -> Sealed {
        header.format = FORMAT;
        header.count = self.count;
        header.checksum = crc32c::crc32c(&self.body);
        header.merkle_root =
            merkle_root(&self.leaves).map(|h| Bytes::copy_from_slice(&h)).unwrap_or_default();
        let batch = Batch { header: header.encode_to_vec().into(), body: self.body.freeze() };
        let value: Bytes = batch.encode_to_vec().into();
        let hash = sha256(&value);
        Sealed { value, hash, header }
    }
}

/// A record value ready to be written.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The record value.
    pub value: Bytes,
    /// SHA-256 of `value`.
    pub hash: Hash,
    /// The completed header.
    pub header: BatchHeader,
}

/// A batch whose envelope holds: format, checksum.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The decoded header.
    pub header: BatchHeader,
    /// The encoded body.
    pub body: Bytes,
    /// SHA-256 of the record value.
    pub hash: Hash,
}

/// Opens a record value: decodes the envelope, checks format and checksum.
///
/// # Errors
/// [`BatchError::Decode`], [`BatchError::Format`], [`BatchError::Checksum`].
pub fn open(value: &Bytes) -> Result<Opened, BatchError> {
    let decode = |e: prost::DecodeError| BatchError::Decode(e.to_string());
    let batch = Batch::decode(value.clone()).map_err(decode)?;
    let header = BatchHeader::decode(batch.header).map_err(decode)?;
    if header.format != FORMAT {
        return Err(BatchError::Format { found: header.format });
    }
    if crc32c::crc32c(&batch.body) != header.checksum {
        return Err(BatchError::Checksum { slot: header.slot, batch: header.batch });
    }
    Ok(Opened { header, body: batch.body, hash: sha256(value) })
}

impl Opened {
    /// Decodes the body.
    ///
    /// # Errors
    /// [`BatchError::Decode`].
    pub fn body<M: Message + Default>(&self) -> Result<M, BatchError> {
        M::decode(self.body.clone()).map_err(|e| BatchError::Decode(e.to_string()))
    }

    /// Compares the number of decoded items with the header.
    ///
    /// # Errors
    /// [`BatchError::Count`].
    pub fn expect_count(&self, found: usize) -> Result<(), BatchError> {
        let found = u32::try_from(found).unwrap_or(u32::MAX);
        let (slot, batch, stated) = (self.header.slot, self.header.batch, self.header.count);
        if found == stated { Ok(()) } else { Err(BatchError::Count { slot, batch, stated, found }) }
    }
}

/// The encoded items of a body, in order, without copying.
///
/// # Errors
/// [`BatchError::Decode`] when the body is not a sequence of field-1 messages.
pub fn split_items(body: &Bytes) -> Result<Vec<Bytes>, BatchError> {
    let wrong = || BatchError::Decode("body is not a sequence of items".into());
    let mut items = Vec::new();
    let mut rest = body.clone();
    while !rest.is_empty() {
        if rest.first() != Some(&0x0a) {
            return Err(wrong());
        }
        let _tag = rest.split_to(1);
        let len = prost::encoding::decode_varint(&mut rest).map_err(|e| BatchError::Decode(e.to_string()))?;
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len()).ok_or_else(wrong)?;
        items.push(rest.split_to(len));
    }
    Ok(items)
}

/// Head of a chain: the last batch written or accepted. The default is "none yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct ChainHead {
    /// Sequence of the last batch, 0 = none.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl ChainHead {
    /// What `previous_hash` the next batch carries.
    #[must_use]
    pub fn previous_hash(&self) -> Bytes {
        if self.sequence == 0 { Bytes::new() } else { Bytes::copy_from_slice(&self.hash) }
    }

    /// The head after a batch of that hash.
    #[must_use]
    pub const fn advanced(&self, hash: Hash) -> Self {
        Self { sequence: self.sequence + 1, hash }
    }

    /// Whether `batch` is exactly the next of this chain; returns the new head.
    ///
    /// # Errors
    /// [`BatchError::Sequence`], [`BatchError::Chain`].
    pub fn accept(&self, batch: &Opened) -> Result<Self, BatchError> {
        let header = &batch.header;
        let expected = self.sequence + 1;
        if header.sequence != expected {
            return Err(BatchError::Sequence { slot: header.slot, expected, found: header.sequence });
        }
        if header.previous_hash != self.previous_hash() {
            return Err(BatchError::Chain { slot: header.slot, sequence: header.sequence });
        }
        Ok(Self { sequence: expected, hash: batch.hash })
    }
}

/// RFC 6962 leaf hash: SHA-256(0x00 || leaf).
#[must_use]
pub fn merkle_leaf(leaf: &[u8]) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([0]);
    hasher.update(leaf);
    hasher.finalize().into()
}

fn merkle_node(left: &Hash, right: &Hash) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update([1]);
    hasher.update(left);
    hasher.update(right);
    hasher.finalize().into()
}

/// RFC 6962 Merkle tree hash of leaf hashes; `None` for no leaf. Pairs are hashed level by level and an odd last
/// node moves up unchanged, which gives the same tree as the RFC's split at the largest power of two.
#[must_use]
pub fn merkle_root(leaves: &[Hash]) -> Option<Hash> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => merkle_node(left, right),
                [one] => *one,
                _ => [0; 32],
            })
            .collect();
    }
    level.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{EventKey, InputRange};

    fn sealed(head: &ChainHead, ids: &[&str]) -> Sealed {
        let mut body = BodyBuilder::new();
        for id in ids {
            body.push(&EventKey { source: "s".into(), id: (*id).into() });
        }
        body.seal(BatchHeader {
            slot: 3,
            epoch: 2,
            batch: 7,
            sequence: head.sequence + 1,
            previous_hash: head.previous_hash(),
            input: vec![InputRange { topic: "commands".into(), partition: 3, from: 0, to: 9 }],
            ..BatchHeader::default()
        })
    }

    #[test]
    fn what_is_sealed_opens() {
        let sealed = sealed(&ChainHead::default(), &["a", "b", "c"]);
        let opened = open(&sealed.value).unwrap();
        assert_eq!(opened.header, sealed.header);
        assert_eq!(opened.hash, sealed.hash);
        assert!(opened.expect_count(3).is_ok());
        assert!(matches!(opened.expect_count(2), Err(BatchError::Count { stated: 3, found: 2, .. })));
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let first = sealed(&ChainHead::default(), &["a", "b"]);
        let head = ChainHead::default().advanced(first.hash);
        let second = sealed(&head, &["c"]);
        for byte in 0..first.value.len() {
            for bit in 0..8 {
                let mut torn = first.value.to_vec();
                torn[byte] ^= 1 << bit;
                let Ok(opened) = open(&Bytes::from(torn)) else { continue };
                // The envelope may still open (a changed header field); the next batch then names another hash.
                let Ok(head) = ChainHead::default().accept(&opened) else { continue };
                assert!(head.accept(&open(&second.value).unwrap()).is_err(), "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn a_chain_takes_only_its_next_batch() {
        let first = sealed(&ChainHead::default(), &["a"]);
        let head = ChainHead::default().accept(&open(&first.value).unwrap()).unwrap();
        let second = open(&sealed(&head, &["b"]).value).unwrap();
        let after = head.accept(&second).unwrap();
        assert_eq!(after.sequence, 2);
        assert!(matches!(after.accept(&second), Err(BatchError::Sequence { expected: 3, found: 2, .. })));
        let stranger = ChainHead { sequence: 1, hash: [9; 32] };
        assert!(matches!(stranger.accept(&second), Err(BatchError::Chain { .. })));
    }

    #[test]
    fn another_format_is_refused_by_number() {
        let header = BatchHeader { format: 2, ..BatchHeader::default() };
        let value: Bytes =
            Batch { header: header.encode_to_vec().into(), body: Bytes::new() }.encode_to_vec().into();
        assert_eq!(open(&value).unwrap_err(), BatchError::Format { found: 2 });
    }

    #[test]
    fn merkle_roots_follow_rfc_6962() {
        // Known answers of the certificate-transparency test vectors: tree sizes 1, 2, 3.
        let leaves: Vec<Hash> = [&b""[..], b"\x00", b"\x10"].iter().map(|l| merkle_leaf(l)).collect();
        let hex = |h: Hash| h.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let root = |n: usize| hex(merkle_root(&leaves[..n]).unwrap());
        assert_eq!(root(1), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(root(2), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(root(3), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
        assert_eq!(merkle_root(&[]), None);
    }
}
