//! Bytes of an archive file: a header, blocks of records, an index of the blocks, a trailer.
//!
//! Layout, little-endian:
//!
//! ```text
//! header   `LFAR`, format (u32), identity (32), first offset (i64), partition (u32), length of the topic's name (u16),
//!          the name, CRC-32C of all this (u32)
//! block    payload length (u32), records (u32), first offset (i64), CRC-32C of these and the payload (u32), payload
//! record   offset (i64), time in microseconds (i64), length of key and value (u32 each), number of headers (u32),
//!          key, value; for each header the length of name and value (u32 each), name, value
//! index    for each block its place (u64) and first offset (i64)
//! trailer  place of the index (u64), blocks (u32), records (u64), next offset (i64), CRC-32C of the index and of
//!          these (u32), SHA-256 of everything before it (32)
//! ```
//!
//! Every length is held against what is left before anything is read by it. Bound: a block is [`BLOCK_BYTES`] or one record.

use crate::log::{Header, Offset, Record, TopicPartition};
use bytes::{Buf, BufMut, Bytes};
use schemas::batch::Hash;

/// Number of the format.
pub const FORMAT: u32 = 1;
const MAGIC: [u8; 4] = *b"LFAR";
/// A block is closed when its payload has this many bytes.
pub(super) const BLOCK_BYTES: usize = 256 << 10;
/// Bytes before a block's payload.
pub(super) const BLOCK_HEAD: usize = 20;
/// Bytes of the index for each block.
pub(super) const ENTRY_BYTES: usize = 16;
/// Bytes at the end.
pub(super) const TRAILER_BYTES: usize = 64;
/// Bytes of the SHA-256, the last ones.
pub(super) const HASH_BYTES: usize = 32;
/// Bytes of the header before the topic's name.
pub(super) const HEADER_FIXED: usize = 54;
/// Bytes of a record before its key.
const RECORD_FIXED: usize = 28;

/// Whose records a file holds, and from where on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileHead {
    pub identity: Hash,
    pub at: TopicPartition,
    pub first: Offset,
}

impl FileHead {
    pub fn encode(&self) -> Vec<u8> {
        let name = self.at.topic.name().as_bytes();
        let mut bytes = Vec::with_capacity(HEADER_FIXED + name.len() + 4);
        bytes.put_slice(&MAGIC);
        bytes.put_u32_le(FORMAT);
        bytes.put_slice(&self.identity);
        bytes.put_i64_le(self.first);
        bytes.put_u32_le(self.at.partition);
        bytes.put_u16_le(u16::try_from(name.len()).unwrap_or(u16::MAX));
        bytes.put_slice(name);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32_le(crc);
        bytes
    }

    /// What is wrong with the beginning of a file that shall be this one's.
    pub fn check(&self, found: &[u8]) -> Result<(), String> {
        let expected = self.encode();
        if found == expected {
            return Ok(());
        }
        let Some((magic, mut rest)) = found.split_at_checked(4).filter(|_| found.len() == expected.len())
        else {
            return Err("it is cut short".to_owned());
        };
        if magic != MAGIC {
            return Err("it is no archive file".to_owned());
        }
        let format = rest.get_u32_le();
        if format != FORMAT {
            return Err(format!("its format is {format}, this program knows {FORMAT}"));
        }
        let whole = found.split_at_checked(found.len() - 4);
        let crc = whole.map(|(head, crc)| crc32c::crc32c(head).to_le_bytes() == crc);
        if crc != Some(true) {
            return Err("its header is damaged".to_owned());
        }
        if rest.get(..HASH_BYTES) != Some(self.identity.as_slice()) {
            return Err("it is of other books".to_owned());
        }
        Err(format!("its header is not that of {} from {} on", self.at, self.first))
    }
}

/// A block that is being filled.
#[derive(Debug, Default)]
pub(super) struct Block {
    payload: Vec<u8>,
    records: u32,
    first: Offset,
}

impl Block {
    pub fn is_full(&self) -> bool {
        self.payload.len() >= BLOCK_BYTES
    }

    pub const fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes that it has so far.
    pub const fn bytes(&self) -> u64 {
        self.payload.len() as u64
    }

    pub const fn first(&self) -> Offset {
        self.first
    }

    /// Adds a record.
    ///
    /// # Errors
    /// A part of it is longer than the format holds.
    pub fn put(&mut self, record: &Record) -> Result<(), String> {
        let length = |bytes: usize| {
            u32::try_from(bytes).map_err(|_| format!("a part of record {} has 4 GiB", record.offset))
        };
        if self.records == 0 {
            self.first = record.offset;
        }
        let out = &mut self.payload;
        out.put_i64_le(record.offset);
        out.put_i64_le(record.timestamp_us);
        out.put_u32_le(length(record.key.len())?);
        out.put_u32_le(length(record.value.len())?);
        out.put_u32_le(length(record.headers.len())?);
        out.put_slice(&record.key);
        out.put_slice(&record.value);
        for header in &record.headers {
            out.put_u32_le(length(header.name.len())?);
            out.put_u32_le(length(header.value.len())?);
            out.put_slice(&header.name);
            out.put_slice(&header.value);
        }
        self.records += 1;
        Ok(())
    }

    /// Its bytes; it is empty then.
    ///
    /// # Errors
    /// It is longer than the format holds.
    pub fn seal(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        let length = u32::try_from(self.payload.len());
        let length = length.map_err(|_| format!("record {} has 4 GiB", self.first))?;
        out.clear();
        out.put_u32_le(length);
        out.put_u32_le(self.records);
        out.put_i64_le(self.first);
        let crc = crc32c::crc32c_append(crc32c::crc32c(out), &self.payload);
        out.put_u32_le(crc);
        out.put_slice(&self.payload);
        self.payload.clear();
        self.records = 0;
        Ok(())
    }
}

/// The records of a block; `bytes` begin with its head.
pub(super) fn open_block(bytes: &Bytes) -> Result<Vec<Record>, String> {
    let cut = || "a block is cut short".to_owned();
    let (head, payload) = bytes.split_at_checked(BLOCK_HEAD).ok_or_else(cut)?;
    let (checked, mut crc) = head.split_at_checked(BLOCK_HEAD - 4).ok_or_else(cut)?;
    let mut fields = checked;
    let (length, records, first) = (fields.get_u32_le(), fields.get_u32_le(), fields.get_i64_le());
    if length as usize != payload.len() {
        return Err(format!("a block says {length} bytes and has {}", payload.len()));
    }
    if crc32c::crc32c_append(crc32c::crc32c(checked), payload) != crc.get_u32_le() {
        return Err("a block's checksum is wrong".to_owned());
    }
    let mut rest = bytes.slice(BLOCK_HEAD..);
    let mut out: Vec<Record> = Vec::with_capacity((records as usize).min(payload.len() / RECORD_FIXED));
    for _ in 0..records {
        let record = take_record(&mut rest)?;
        let least = out.last().map_or(first, |last: &Record| last.offset.saturating_add(1));
        if record.offset < least || (out.is_empty() && record.offset != first) {
            return Err(format!("record {} stands where {least} is due", record.offset));
        }
        out.push(record);
    }
    if rest.is_empty() { Ok(out) } else { Err("a block has bytes beyond its records".to_owned()) }
}

fn take_record(rest: &mut Bytes) -> Result<Record, String> {
    let mut head = part(rest, RECORD_FIXED)?;
    let (offset, timestamp_us) = (head.get_i64_le(), head.get_i64_le());
    let (key, value, count) = (head.get_u32_le(), head.get_u32_le(), head.get_u32_le());
    let (key, value) = (part(rest, key as usize)?, part(rest, value as usize)?);
    let mut headers = Vec::with_capacity((count as usize).min(rest.len() / 8));
    for _ in 0..count {
        let mut lengths = part(rest, 8)?;
        let (name, value) = (lengths.get_u32_le(), lengths.get_u32_le());
        headers.push(Header { name: part(rest, name as usize)?, value: part(rest, value as usize)? });
    }
    Ok(Record { offset, timestamp_us, key, value, headers })
}

fn part(rest: &mut Bytes, length: usize) -> Result<Bytes, String> {
    if length > rest.len() {
        return Err("a record is cut short".to_owned());
    }
    Ok(rest.split_to(length))
}

/// Where a block begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub place: u64,
    pub first: Offset,
}

/// What stands at the end of a file, but for its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trailer {
    pub index: u64,
    pub blocks: u32,
    pub records: u64,
    pub next: Offset,
    pub crc: u32,
}

impl Trailer {
    /// Index and trailer of a file whose blocks end at `place`.
    ///
    /// # Errors
    /// More blocks than the format counts.
    pub fn encode(place: u64, entries: &[Entry], records: u64, next: Offset) -> Result<Vec<u8>, String> {
        let blocks = u32::try_from(entries.len()).map_err(|_| "more than 2^32 blocks".to_owned())?;
        let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES + TRAILER_BYTES);
        for entry in entries {
            bytes.put_u64_le(entry.place);
            bytes.put_i64_le(entry.first);
        }
        bytes.put_u64_le(place);
        bytes.put_u32_le(blocks);
        bytes.put_u64_le(records);
        bytes.put_i64_le(next);
        let crc = crc32c::crc32c(&bytes);
        bytes.put_u32_le(crc);
        Ok(bytes)
    }

    /// Reads the last bytes of a file.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        (bytes.len() == TRAILER_BYTES).then(|| Self {
            index: bytes.get_u64_le(),
            blocks: bytes.get_u32_le(),
            records: bytes.get_u64_le(),
            next: bytes.get_i64_le(),
            crc: bytes.get_u32_le(),
        })
    }
}

/// The entries of an index, and then the trailer up to its checksum, of a file whose blocks begin at `begins`.
pub(super) fn open_index(bytes: &[u8], trailer: &Trailer, begins: u64) -> Result<Vec<Entry>, String> {
    if crc32c::crc32c(bytes) != trailer.crc {
        return Err("its index is damaged".to_owned());
    }
    let entry = |mut bytes: &[u8]| Entry { place: bytes.get_u64_le(), first: bytes.get_i64_le() };
    let indexed = bytes.get(..trailer.blocks as usize * ENTRY_BYTES).unwrap_or_default();
    let entries: Vec<Entry> = indexed.chunks_exact(ENTRY_BYTES).map(entry).collect();
    let rises = entries.windows(2).all(|pair| match pair {
        [one, two] => one.place < two.place && one.first < two.first,
        _ => true,
    });
    let inside = entries.first().map(|entry| entry.place) == Some(begins)
        && entries.last().is_some_and(|last| last.place < trailer.index && last.first < trailer.next);
    if rises && inside { Ok(entries) } else { Err("its index is in disorder".to_owned()) }
}
