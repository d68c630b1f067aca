//! The envelope of processor-to-processor records: sealing and checking.
//!
//! Order relied on: items are encoded into the body first, so that the Merkle leaves are the very bytes that are
//! stored; the header is built over the finished body and binds it by the Merkle root; the batch's hash is the header's, so
//! that no byte is hashed twice on its way.

use crate::sha256::sha256_after;
use crate::wire::{Batch, BatchHeader};
use crate::wire_read::{self, Field, Value};
use crate::wire_write::{self, Fields};
use bytes::Bytes;
use prost::Message;
use thiserror::Error;

pub use crate::sha256::{Hash, sha256};

/// Version of the envelope and of every body.
pub const FORMAT: u32 = 1;
/// Bodies are sealed before they pass this size, so that a record stays below Kafka's 1 MB.
pub const BODY_BYTES_MAX: usize = 512 * 1024;

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

/// Room kept before the body, so that the header can be put there and the record is one piece without a copy. A
/// header that does not fit costs one copy of the body.
const HEADER_ROOM: usize = 512;

/// Collects encoded items; all bodies have the form `repeated Item item = 1`.
#[derive(Debug)]
pub struct BodyBuilder {
    /// Room for the header, then the body; empty before the first item.
    buffer: Vec<u8>,
    room: usize,
    /// Where each item lies in the buffer.
    items: Vec<(usize, usize)>,
}

impl BodyBuilder {
    /// An empty body.
    #[must_use]
    pub const fn new() -> Self {
        Self { buffer: Vec::new(), room: HEADER_ROOM, items: Vec::new() }
    }

    /// An empty body with memory for about that many bytes, items, and bytes of header.
    #[must_use]
    pub fn with_capacity(bytes: usize, items: usize, header: usize) -> Self {
        let buffer = Vec::with_capacity(header + bytes);
        Self { buffer, room: header, items: Vec::with_capacity(items) }
    }

    /// Appends one item.
    pub fn push<M: Message>(&mut self, item: &M) {
        let len = item.encoded_len();
        self.begin();
        self.buffer.reserve(len + 12);
        self.buffer.push(ITEM_KEY);
        wire_write::put_varint(&mut self.buffer, len as u64);
        let start = self.buffer.len();
        item.encode_raw(&mut self.buffer);
        self.end(start);
    }

    /// Appends one item whose fields `write` puts down (see [`crate::wire_write`]).
    pub fn push_with(&mut self, write: impl FnOnce(&mut Fields<'_>)) {
        self.begin();
        let start = Fields::new(&mut self.buffer).long_message(1, write);
        self.end(start);
    }

    /// Appends one item that is encoded already.
    pub fn push_encoded(&mut self, item: &[u8]) {
        self.begin();
        Fields::new(&mut self.buffer).encoded(1, item);
        let start = self.buffer.len() - item.len();
        self.end(start);
    }

    fn begin(&mut self) {
        if self.buffer.is_empty() {
            self.buffer.resize(self.room, 0);
        }
    }

    fn end(&mut self, start: usize) {
        self.items.push((start, self.buffer.len()));
    }

    /// Each item is hashed where it lies, all of them one after the other once the body is complete.
    fn leaves(&self) -> Vec<Hash> {
        let leaf = |(start, end): &(usize, usize)| self.buffer.get(*start..*end).map_or([0; 32], merkle_leaf);
        self.items.iter().map(leaf).collect()
    }

    fn body(&self) -> &[u8] {
        self.buffer.get(self.room..).unwrap_or_default()
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.body().len()
    }

    /// Items so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.items.len()).unwrap_or(u32::MAX)
    }

    /// Whether nothing was pushed.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Completes `header` (format, count, checksum, Merkle root) and returns the record value and its hash.
    /// The caller has set slot, epoch, batch, sequence, previous hash, ranges, channels, marks and edges.
    #[must_use]
    pub fn seal(self, mut header: BatchHeader) -> Sealed {
        header.format = FORMAT;
        header.count = self.count();
        header.checksum = checksum(self.body());
        let root = merkle_root_of(self.leaves());
        header.merkle_root = root.map(|h| Bytes::copy_from_slice(&h)).unwrap_or_default();
        let encoded = header.encode_to_vec();
        let hash = sha256(&encoded);
        let value = self.join(&encoded);
        Sealed { value, hash, header }
    }

    /// `Batch { header, body }`, encoded: the header goes before the body where there is room for it.
    fn join(mut self, header: &[u8]) -> Bytes {
        let body_len = self.len();
        let mut front = Vec::with_capacity(header.len() + 16);
        Fields::new(&mut front).bytes(1, header);
        if body_len == 0 {
            return front.into();
        }
        front.push(BODY_KEY);
        wire_write::put_varint(&mut front, body_len as u64);
        let start = self.room.checked_sub(front.len());
        match start.and_then(|start| Some((start, self.buffer.get_mut(start..self.room)?))) {
            Some((start, place)) => {
                place.copy_from_slice(&front);
                Bytes::from(self.buffer).slice(start..)
            }
            None => {
                front.extend_from_slice(self.body());
                front.into()
            }
        }
    }
}

impl Default for BodyBuilder {
    fn default() -> Self {
        Self::new()
    }
}

/// Key of field 1, length-delimited: an item of a body.
const ITEM_KEY: u8 = 0x0a;
/// Key of field 2, length-delimited: the body of a batch.
const BODY_KEY: u8 = 0x12;

/// A record value ready to be written.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// The record value.
    pub value: Bytes,
    /// SHA-256 of the encoded header.
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
    /// SHA-256 of the encoded header, which names the body's Merkle root.
    pub hash: Hash,
}

/// Opens a record value: decodes the envelope, checks format and checksum.
///
/// # Errors
/// [`BatchError::Decode`], [`BatchError::Format`], [`BatchError::Checksum`].
pub fn open(value: &Bytes) -> Result<Opened, BatchError> {
    let decode = |e: prost::DecodeError| BatchError::Decode(e.to_string());
    let batch = Batch::decode(value.clone()).map_err(decode)?;
    let hash = sha256(&batch.header);
    let header = BatchHeader::decode(batch.header).map_err(decode)?;
    if header.format != FORMAT {
        return Err(BatchError::Format { found: header.format });
    }
    if checksum(&batch.body) != header.checksum {
        return Err(BatchError::Checksum { slot: header.slot, batch: header.batch });
    }
    Ok(Opened { header, body: batch.body, hash })
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

/// CRC-32C of a body, as its header has it.
#[must_use]
pub fn checksum(body: &[u8]) -> u32 {
    crc32c::crc32c(body)
}

/// The encoded items of a body, in order, in place.
///
/// # Errors
/// [`BatchError::Decode`] when the body is not a sequence of field-1 messages; the last one handed out.
pub fn items(body: &[u8]) -> impl Iterator<Item = Result<&[u8], BatchError>> {
    let wrong = || BatchError::Decode("body is not a sequence of items".into());
    wire_read::fields(body).map(move |field| match field {
        Ok(Field { tag: 1, value: Value::Bytes(item) }) => Ok(item),
        _ => Err(wrong()),
    })
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
    sha256_after(0, leaf)
}

/// RFC 6962 node hash: SHA-256(0x01 || left || right).
pub(crate) fn merkle_node([left, right]: &[Hash; 2]) -> Hash {
    sha256_after(1, [*left, *right].as_flattened())
}

/// RFC 6962 Merkle tree hash of leaf hashes; `None` for no leaf. Pairs are hashed level by level and an odd last
/// node moves up unchanged, which gives the same tree as the RFC's split at the largest power of two.
#[must_use]
pub fn merkle_root(leaves: &[Hash]) -> Option<Hash> {
    merkle_root_of(leaves.to_vec())
}

fn merkle_root_of(mut level: Vec<Hash>) -> Option<Hash> {
    while level.len() > 1 {
        let (pairs, nodes) = (level.len() / 2, level.len().div_ceil(2));
        for n in 0..pairs {
            // Node n takes a place at or before those of its children; they were read already.
            let Some(node) = level.get(2 * n..).and_then(<[Hash]>::first_chunk).map(merkle_node) else {
                break;
            };
            if let Some(place) = level.get_mut(n) {
                *place = node;
            }
        }
        if nodes > pairs {
            level.swap_remove(pairs);
        }
        level.truncate(nodes);
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

    /// The RFC's own words: split at the largest power of two below the number of leaves.
    fn split_root(leaves: &[Hash]) -> Hash {
        match leaves {
            [one] => *one,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                merkle_node(&[split_root(left), split_root(right)])
            }
        }
    }

    #[test]
    fn merkle_roots_of_any_size_follow_the_split() {
        let leaves: Vec<Hash> = (0..70_u8).map(|n| merkle_leaf(&[n])).collect();
        for n in 1..=leaves.len() {
            assert_eq!(merkle_root(&leaves[..n]), Some(split_root(&leaves[..n])), "{n} leaves");
        }
    }

    #[test]
    fn a_record_is_the_encoded_batch_however_its_items_came_and_however_long_its_header_is() {
        let key = |id: &str| EventKey { source: "s".into(), id: id.into() };
        for (ids, channels) in
            [(&["a", "bb"][..], 0), (&["a", ""], 3), (&[], 2), (&["x"], 2_000), (&[], 2_000)]
        {
            let mut bodies = [BodyBuilder::new(), BodyBuilder::with_capacity(100, 2, 60), BodyBuilder::new()];
            for id in ids {
                bodies[0].push(&key(id));
                bodies[1].push_encoded(&key(id).encode_to_vec());
                bodies[2].push_with(|f| {
                    f.text(1, "s");
                    f.text(2, id);
                });
            }
            let channel = vec![crate::wire::ChannelSequence { partition: 1, ..Default::default() }; channels];
            let header = BatchHeader { channel, ..BatchHeader::default() };
            let sealed = bodies.map(|body| body.seal(header.clone()));
            let opened = open(&sealed[0].value).unwrap();
            let batch = Batch { header: opened.header.encode_to_vec().into(), body: opened.body.clone() };
            assert_eq!(sealed[0].value, batch.encode_to_vec());
            assert!(sealed.iter().all(|s| s.value == sealed[0].value && s.hash == sealed[0].hash));
            let found: Vec<&[u8]> = items(&opened.body).map(Result::unwrap).collect();
            let expected: Vec<Vec<u8>> = ids.iter().map(|id| key(id).encode_to_vec()).collect();
            assert_eq!(found, expected);
        }
        assert!(items(&[0x0a, 9, 1]).any(|item| item.is_err()));
        assert!(items(&[0x12, 1, 1]).any(|item| item.is_err()));
    }
}
