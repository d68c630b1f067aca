//! One checkpoint file: pairs ascending by key, each key once, in blocks with a checksum each.
//!
//! Layout, little-endian: `LFCP`, format version (u32), file number (u64); then blocks of
//! payload length (u32), CRC-32C of (file number, block number, payload) (u32), payload. How many bytes and
//! pairs there are and the CRC-32C of the whole file stand in the manifest, so that a file cut at a block's end
//! is found too. Bounds: a reader holds one block.

use super::manifest::FileEntry;
use super::pairs::{self, Pair};
use super::{FORMAT, Refusal, StoreError};
use crate::files::{FileWriter, Files};
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::Arc;

const MAGIC: [u8; 4] = *b"LFCP";
const HEADER_BYTES: u64 = 16;
/// A block is closed when it has this many bytes; one large pair may make it longer.
const BLOCK_BYTES: usize = 64 * 1024;

fn block_crc(number: u64, block: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32c::crc32c(&number.to_le_bytes());
    crc = crc32c::crc32c_append(crc, &block.to_le_bytes());
    crc32c::crc32c_append(crc, payload)
}

/// Writes a file from the beginning to its end.
pub(super) struct PairWriter {
    file: FileWriter,
    entry: FileEntry,
    block: Vec<u8>,
    blocks: u64,
}

impl PairWriter {
    /// Starts file `entry` in `dir`.
    pub fn create(files: &Arc<dyn Files>, dir: &Path, entry: FileEntry) -> io::Result<Self> {
        let file = FileWriter::create(files, &dir.join(entry.name()))?;
        let mut writer = Self { file, entry, block: Vec::with_capacity(BLOCK_BYTES + 4096), blocks: 0 };
        let mut header = Vec::with_capacity(16);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&FORMAT.to_le_bytes());
        header.extend_from_slice(&writer.entry.number.to_le_bytes());
        writer.write(&header)?;
        Ok(writer)
    }

    /// Adds a pair whose key is higher than the one before.
    pub fn put(&mut self, pair: Pair<'_>) -> io::Result<()> {
        pairs::encode(&mut self.block, pair.key, pair.value);
        self.entry.pairs += 1;
        if self.block.len() >= BLOCK_BYTES { self.close_block() } else { Ok(()) }
    }

    /// Closes the file; with `sync` it is on the disk when this returns.
    pub fn finish(mut self, sync: bool) -> io::Result<FileEntry> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        if sync {
            self.file.sync()?;
        }
        Ok(self.entry)
    }

    fn close_block(&mut self) -> io::Result<()> {
        let block = std::mem::take(&mut self.block);
        let length =
            u32::try_from(block.len()).map_err(|_| io::Error::other("a pair is larger than 4 GiB"))?;
        let mut head = [0; 8];
        let (first, second) = head.split_at_mut(4);
        first.copy_from_slice(&length.to_le_bytes());
        second.copy_from_slice(&block_crc(self.entry.number, self.blocks, &block).to_le_bytes());
        self.write(&head)?;
        self.write(&block)?;
        self.blocks += 1;
        self.block = block;
        self.block.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.entry.bytes += bytes.len() as u64;
        self.entry.crc = crc32c::crc32c_append(self.entry.crc, bytes);
        Ok(())
    }
}

/// Reads a file pair by pair and checks all of it on the way.
pub(super) struct PairReader {
    file: File,
    entry: FileEntry,
    /// Bytes, checksum and pairs met so far; equal to `entry` at the end.
    seen: FileEntry,
    block: Vec<u8>,
    blocks: u64,
    /// Where the current pair ends in `block`.
    next: usize,
    at: Option<Current>,
}

/// Where the current pair's parts stand in the block.
#[derive(Clone, Copy)]
struct Current {
    key: (usize, usize),
    value: Option<(usize, usize)>,
}

impl PairReader {
    /// Opens what the manifest names and stands before its first pair.
    pub fn open(dir: &Path, entry: FileEntry) -> Result<Self, StoreError> {
        let name = entry.name();
        let path = dir.join(&name);
        let file = match File::open(&path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::refused(dir, Refusal::Missing { file: name }));
            }
            opened => opened.map_err(|why| StoreError::io(&path, why))?,
        };
        let mut reader = Self {
            file,
            entry,
            seen: FileEntry::new(entry.kind, entry.number),
            block: Vec::new(),
            blocks: 0,
            next: 0,
            at: None,
        };
        let found = reader.file.metadata().map_err(|why| StoreError::io(&path, why))?.len();
        reader.header(found).map_err(|why| StoreError::refused(dir, why))?;
        Ok(reader)
    }

    fn header(&mut self, found: u64) -> Result<(), Refusal> {
        let file = self.entry.name();
        if found != self.entry.bytes {
            return Err(Refusal::Size { file, expected: self.entry.bytes, found });
        }
        let mut header = Vec::new();
        self.take(HEADER_BYTES, &mut header)?;
        let (magic, rest) = header.split_at_checked(4).unwrap_or_default();
        let (format, number) = rest.split_at_checked(4).unwrap_or_default();
        if magic != MAGIC {
            return Err(Refusal::Corrupt { file, block: 0 });
        }
        if format != FORMAT.to_le_bytes() {
            let found = format.iter().rev().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
            return Err(Refusal::Format { file, found });
        }
        if number != self.entry.number.to_le_bytes() {
            return Err(Refusal::Corrupt { file, block: 0 });
        }
        Ok(())
    }

    /// Moves to the next pair; `false` = there is none and the file was whole.
    pub fn advance(&mut self) -> Result<bool, Refusal> {
        if self.next >= self.block.len() && !self.next_block()? {
            self.at = None;
            return Ok(false);
        }
        let rest = self.block.get(self.next..).unwrap_or_default();
        let Some((pair, after)) = pairs::decode(rest) else {
            return Err(Refusal::Corrupt { file: self.entry.name(), block: self.blocks });
        };
        let end = self.block.len() - after.len();
        let value_start = end - pair.value.map_or(0, <[u8]>::len);
        self.at = Some(Current {
            key: (value_start - pair.key.len(), value_start),
            value: pair.value.map(|_| (value_start, end)),
        });
        self.next = end;
        self.seen.pairs += 1;
        Ok(true)
    }

    /// The current pair; `None` at the end.
    pub fn pair(&self) -> Option<Pair<'_>> {
        let at = self.at?;
        let part = |(from, to): (usize, usize)| self.block.get(from..to).unwrap_or_default();
        Some(Pair { key: part(at.key), value: at.value.map(part) })
    }

    fn next_block(&mut self) -> Result<bool, Refusal> {
        if self.seen.bytes >= self.entry.bytes {
            return if self.seen == self.entry { Ok(false) } else { Err(self.corrupt()) };
        }
        let mut head = Vec::new();
        self.take(8, &mut head)?;
        let (length, crc) = head.split_at_checked(4).unwrap_or_default();
        let length = <[u8; 4]>::try_from(length).map_or(0, u32::from_le_bytes);
        let mut block = std::mem::take(&mut self.block);
        self.take(u64::from(length), &mut block)?;
        if block.is_empty() || block_crc(self.entry.number, self.blocks, &block).to_le_bytes() != crc {
            return Err(self.corrupt());
        }
        self.block = block;
        self.next = 0;
        self.blocks += 1;
        Ok(true)
    }

    /// Reads exactly `length` bytes; the manifest's size bounds what is taken into memory.
    fn take(&mut self, length: u64, into: &mut Vec<u8>) -> Result<(), Refusal> {
        into.clear();
        let left = self.entry.bytes.saturating_sub(self.seen.bytes);
        if length > left {
            return Err(self.corrupt());
        }
        let read = (&mut self.file).take(length).read_to_end(into);
        if read.is_err() || into.len() as u64 != length {
            return Err(self.corrupt());
        }
        self.seen.bytes += length;
        self.seen.crc = crc32c::crc32c_append(self.seen.crc, into);
        Ok(())
    }

    fn corrupt(&self) -> Refusal {
        Refusal::Corrupt { file: self.entry.name(), block: self.blocks }
    }
}

/// Several files read as one: ascending by key, the newest pair of every key.
pub(super) struct Merged {
    /// Newest first.
    readers: Vec<PairReader>,
    current: Option<usize>,
}

impl Merged {
    /// Opens `files`, which stand oldest first.
    pub fn open(dir: &Path, files: &[FileEntry]) -> Result<Self, StoreError> {
        let mut readers = Vec::with_capacity(files.len());
        for entry in files.iter().rev() {
            let mut reader = PairReader::open(dir, *entry)?;
            reader.advance().map_err(|why| StoreError::refused(dir, why))?;
            readers.push(reader);
        }
        Ok(Self { readers, current: None })
    }

    /// The next pair, removals among them; `None` = all files were read whole.
    pub fn next(&mut self) -> Result<Option<Pair<'_>>, Refusal> {
        self.step_over_current()?;
        let mut lowest: Option<(usize, &[u8])> = None;
        for (index, reader) in self.readers.iter().enumerate() {
            if let Some(pair) = reader.pair()
                && lowest.is_none_or(|(_, key)| pair.key < key)
            {
                lowest = Some((index, pair.key));
            }
        }
        self.current = lowest.map(|(index, _)| index);
        Ok(self.current.and_then(|index| self.readers.get(index)).and_then(PairReader::pair))
    }

    /// Moves every reader that stands at the current key; older ones first, as the newest one holds the key.
    fn step_over_current(&mut self) -> Result<(), Refusal> {
        let Some(index) = self.current else { return Ok(()) };
        let Some((newest, older)) = self.readers.get_mut(index..).and_then(<[_]>::split_first_mut) else {
            return Ok(());
        };
        if let Some(current) = newest.pair() {
            for reader in older {
                if reader.pair().is_some_and(|pair| pair.key == current.key) {
                    reader.advance()?;
                }
            }
        }
        newest.advance()?;
        Ok(())
    }
}
