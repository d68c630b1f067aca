//! One archive file: its name, opened for a block at a time, and read through to be checked.

use super::format::{
    self, BLOCK_HEAD, ENTRY_BYTES, Entry, FileHead, HASH_BYTES, HEADER_FIXED, TRAILER_BYTES, Trailer,
};
use crate::log::{LogError, Offset, Record, TopicPartition};
use bytes::Bytes;
use schemas::batch::Hash;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// How the name of a whole file ends.
const ENDING: &str = "records";
/// How the name of one that is being written ends.
pub(super) const UNFINISHED: &str = "new";
/// Bytes hashed at a time.
const HASHED_BYTES: usize = 1 << 20;

/// A file of the archive, as its name says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Named {
    /// First offset.
    pub first: Offset,
    /// Offset after the last one; that of the next file's first.
    pub next: Offset,
    /// Where it lies.
    pub path: PathBuf,
}

impl Named {
    /// The name of a file in the folder of its partition.
    pub(super) fn new(folder: &Path, first: Offset, next: Offset) -> Self {
        Self { first, next, path: folder.join(format!("{first:020}-{next:020}.{ENDING}")) }
    }

    /// What lies at a path; `None` = no whole file of an archive.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let (stem, ending) = (path.file_stem()?.to_str()?, path.extension()?);
        let (first, next) = stem.split_once('-').filter(|_| ending == ENDING)?;
        let number = |text: &str| -> Option<Offset> {
            let digits = text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|_| digits)
        };
        let (first, next) = (number(first)?, number(next)?);
        (first < next).then(|| Self { first, next, path: path.to_path_buf() })
    }
}

/// What is wrong with a file.
pub(super) fn damaged(path: &Path, why: impl std::fmt::Display) -> LogError {
    LogError::Archive(format!("{}: {why}", path.display()))
}

/// What a file that was read through holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// Records.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Its SHA-256, as it stands in its last bytes.
    pub hash: Hash,
}

/// A file with its index.
#[derive(Debug)]
pub(super) struct OpenFile {
    named: Named,
    file: File,
    bytes: u64,
    entries: Vec<Entry>,
    trailer: Trailer,
}

impl OpenFile {
    /// Opens a file and reads its header and its index.
    ///
    /// # Errors
    /// [`LogError::Archive`]: it is not there, damaged, of other books or of another partition.
    pub fn open(named: &Named, identity: Hash, at: TopicPartition) -> Result<Self, LogError> {
        let path = named.path.as_path();
        let file = File::open(path).map_err(|why| damaged(path, why))?;
        let bytes = file.metadata().map_err(|why| damaged(path, why))?.len();
        let head = FileHead { identity, at, first: named.first };
        let head_bytes = head.encode().len();
        let least = (head_bytes.max(HEADER_FIXED) + TRAILER_BYTES) as u64;
        if bytes < least {
            return Err(damaged(path, format!("it has {bytes} bytes, a file has {least} at least")));
        }
        let found = read(&file, 0, head_bytes).map_err(|why| damaged(path, why))?;
        head.check(&found).map_err(|why| damaged(path, why))?;
        let at_end = read(&file, bytes - TRAILER_BYTES as u64, TRAILER_BYTES);
        let trailer = Trailer::decode(&at_end.map_err(|why| damaged(path, why))?);
        let indexed = |trailer: &Trailer| {
            let entries = u64::from(trailer.blocks) * ENTRY_BYTES as u64;
            trailer.index.checked_add(entries + TRAILER_BYTES as u64) == Some(bytes)
        };
        let Some(trailer) = trailer.filter(indexed) else {
            return Err(damaged(path, "its end is missing or damaged"));
        };
        let length = usize::try_from(bytes - trailer.index).unwrap_or(usize::MAX) - HASH_BYTES - 4;
        let index = read(&file, trailer.index, length).map_err(|why| damaged(path, why))?;
        let entries = format::open_index(&index, &trailer, head_bytes as u64);
        let entries = entries.map_err(|why| damaged(path, why))?;
        if trailer.next != named.next {
            let why = format!("it ends at offset {}, its name says {}", trailer.next, named.next);
            return Err(damaged(path, why));
        }
        Ok(Self { named: named.clone(), file, bytes, entries, trailer })
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.named.path
    }

    /// Whether it holds an offset.
    pub fn holds(&self, offset: Offset) -> bool {
        (self.named.first..self.named.next).contains(&offset)
    }

    /// Offset after its last.
    pub const fn next(&self) -> Offset {
        self.named.next
    }

    /// Number of the last block.
    pub const fn last_block(&self) -> usize {
        self.entries.len().saturating_sub(1)
    }

    /// Number of the block in which an offset lies, or of the first one.
    pub fn block_of(&self, offset: Offset) -> usize {
        self.entries.partition_point(|entry| entry.first <= offset).saturating_sub(1)
    }

    /// The records of a block; none where there is no block of that number.
    ///
    /// # Errors
    /// [`LogError::Archive`]: file, offset and what is wrong.
    pub fn block(&self, number: usize) -> Result<Vec<Record>, LogError> {
        let Some(entry) = self.entries.get(number) else { return Ok(Vec::new()) };
        let ends = self.entries.get(number + 1);
        let end = ends.map_or(self.trailer.index, |next| next.place);
        let (first, next) = (entry.first, ends.map_or(self.named.next, |next| next.first));
        let wrong = |why: String| damaged(&self.named.path, format!("offset {first}: {why}"));
        let length = usize::try_from(end - entry.place).unwrap_or(usize::MAX);
        if length < BLOCK_HEAD {
            return Err(wrong("a block is cut short".to_owned()));
        }
        let bytes = read(&self.file, entry.place, length).map_err(|why| wrong(why.to_string()))?;
        let records = format::open_block(&Bytes::from(bytes)).map_err(wrong)?;
        let begins = records.first().is_some_and(|record| record.offset == first);
        if !begins || records.last().is_some_and(|last| last.offset >= next) {
            return Err(wrong("a block holds other records than the index says".to_owned()));
        }
        Ok(records)
    }

    /// The last record.
    ///
    /// # Errors
    /// As [`OpenFile::block`].
    pub fn last(&self) -> Result<Option<Record>, LogError> {
        Ok(self.block(self.last_block())?.pop())
    }

    /// Reads everything and holds it against checksums and hash.
    ///
    /// # Errors
    /// [`LogError::Archive`]: file, offset and what is wrong; or what `see` says of a record.
    pub fn check(&self, see: &mut dyn FnMut(&Record) -> Result<(), String>) -> Result<Checked, LogError> {
        let path = self.named.path.as_path();
        let hash = self.hash()?;
        let mut records = 0;
        for number in 0..self.entries.len() {
            for record in self.block(number)? {
                let wrong = |why| damaged(path, format!("offset {}: {why}", record.offset));
                see(&record).map_err(wrong)?;
                records += 1;
            }
        }
        if records != self.trailer.records {
            let said = self.trailer.records;
            return Err(damaged(path, format!("it says {said} records and holds {records}")));
        }
        Ok(Checked { records, bytes: self.bytes, hash })
    }

    /// Holds the bytes against the SHA-256 at their end.
    fn hash(&self) -> Result<Hash, LogError> {
        let path = self.named.path.as_path();
        let (mut hasher, mut left) = (Sha256::new(), self.bytes - HASH_BYTES as u64);
        let mut from = File::open(path).map_err(|why| damaged(path, why))?;
        let mut buffer = vec![0; HASHED_BYTES];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(HASHED_BYTES);
            let Some(buffer) = buffer.get_mut(..part) else { break };
            from.read_exact(buffer).map_err(|why| damaged(path, why))?;
            hasher.update(&*buffer);
            left -= part as u64;
        }
        let hash: Hash = hasher.finalize().into();
        let stated = read(&self.file, self.bytes - HASH_BYTES as u64, HASH_BYTES);
        if stated.map_err(|why| damaged(path, why))? == hash {
            Ok(hash)
        } else {
            Err(damaged(path, "its SHA-256 is not that of its bytes"))
        }
    }
}

fn read(file: &File, at: u64, length: usize) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes)
}
