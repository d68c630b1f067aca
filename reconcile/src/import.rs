//! The edge that turns a bill file into records: `bills.raw` (the bytes as received), then `bills.lines`.
//!
//! Phases, each one pass over the content, so that a file of any size takes the memory of one chunk:
//! 1. hash (the file's id = SHA-256 of source name, a zero byte, [`BillFormat::id_part`], content) and size;
//! 2. parse to the end: the gate's verdict, the number of lines, the bill's day;
//! 3. [`Import::records`]: raw chunks, then line chunks. The last chunk holds the `BillEnd`. A file that is set
//!    aside has one chunk without lines; its bytes lie in `bills.raw`.
//!
//! The same file under the same source gives the same records in the same order, so an import may be repeated after
//! any failure: readers know a chunk by (file, chunk).
//!
//! Bill day: the earliest local date among the rows' times (a bill holds one day's movements; a refund's own time
//! may be later than the day it is billed for, never earlier). Only a bill without rows takes a day that it is given:
//! the same lines under two days would be two bills.

use crate::bill::{Bill, BillFormat, BillReader};
use crate::quarantine::{BillError, Quarantine, QuarantineReason};
use prost::Message;
use schemas::batch::{FORMAT, Hash};
use schemas::dates::Day;
use schemas::hex;
use schemas::shards::stable_hash;
use schemas::topics::Topic;
use schemas::wire::{BillChunk, BillEnd, BillFile, BillLine};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use stream::log::{Header, OutRecord, TopicPartition};
use thiserror::Error;

/// Most bytes of a `bills.raw` record.
pub const RAW_CHUNK_BYTES_MAX: usize = 512 * 1024;
/// Most lines of a `bills.lines` record.
pub const CHUNK_LINES_MAX: usize = 1_000;
/// A chunk of lines is closed when it has passed this size; one line is far below the difference to 1 MB.
pub const CHUNK_BYTES_SOFT: usize = 384 * 1024;

/// Header of `bills.raw`: id of the file.
pub const HEADER_FILE: &str = "ledgerflow-file";
/// Header of `bills.raw`: name of the file.
pub const HEADER_NAME: &str = "ledgerflow-file-name";
/// Header of `bills.raw`: number of the chunk, counted from 0.
pub const HEADER_CHUNK: &str = "ledgerflow-chunk";
/// Header of `bills.raw`: number of chunks.
pub const HEADER_CHUNKS: &str = "ledgerflow-chunks";

/// Where bill files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillSource {
    /// Name of the source; part of every file's id.
    pub name: String,
    /// Provider, as posting rules name it in `match`.
    pub provider: String,
    /// Our account at the provider (merchant number); empty = the one of the first row.
    pub account: String,
    /// Format of its files.
    pub format: BillFormat,
}

impl BillSource {
    fn open<S: Read + Seek>(&self, content: S) -> Result<BillReader<S>, BillError> {
        self.format.open(content, &self.account)
    }

    /// What a file's id begins with.
    fn hasher(&self) -> Sha256 {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([0]);
        hasher.update(self.format.id_part());
        hasher
    }
}

/// Why a file was not imported.
#[derive(Debug, Error)]
pub enum ImportError {
    /// It cannot be read; try again.
    #[error("bill file {name:?} cannot be read")]
    Io {
        /// Name of the file.
        name: String,
        /// Cause.
        source: io::Error,
    },
    /// It was written to while it was read; import it again.
    #[error("bill file {name:?} changed while it was read")]
    Changed {
        /// Name of the file.
        name: String,
    },
    /// It is a folder, a pipe or a device: what comes from there need not end.
    #[error("bill file {name:?} is not a regular file")]
    NotAFile {
        /// Name of the file.
        name: String,
    },
    /// Its rows are of another day than the one that was given.
    #[error("bill file {name:?} is of {own}, as its rows say, and not of {given}; leave the day out")]
    OtherDay {
        /// Name of the file.
        name: String,
        /// Day of its rows.
        own: Day,
        /// Day given.
        given: Day,
    },
    /// There is no partition to write to.
    #[error("topic bills.lines has no partition")]
    NoPartition,
}

/// A file hashed and parsed, ready to give its records.
#[derive(Debug)]
pub struct Import<S> {
    content: S,
    source: BillSource,
    file: BillFile,
    end: BillEnd,
    bytes: u64,
    partition: u32,
}

/// Partition of `bills.raw` and `bills.lines` that holds a file.
#[must_use]
pub fn partition_of_file(file: &str, partitions: u32) -> u32 {
    u32::try_from(stable_hash(file.as_bytes()) % u64::from(partitions.max(1))).unwrap_or(0)
}

impl Import<File> {
    /// Opens a file by path; its name is the path's last part.
    ///
    /// # Errors
    /// The file cannot be read, or is no regular file.
    pub fn open_path(
        source: &BillSource,
        path: &Path,
        day: Option<Day>,
        partitions: u32,
    ) -> Result<Self, ImportError> {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let io = |source| ImportError::Io { name: name.clone(), source };
        // Opening a pipe waits for who writes to it.
        if !std::fs::metadata(path).map_err(io)?.is_file() {
            return Err(ImportError::NotAFile { name });
        }
        let content = File::open(path).map_err(io)?;
        Self::open(source, &name, content, day, partitions)
    }
}

impl<S: Read + Seek> Import<S> {
    /// Hashes and parses `content`. `day` is the day of a bill without rows. `partitions` is the number of partitions of
    /// `bills.lines`.
    ///
    /// # Errors
    /// The content cannot be read, or its rows are of another day than `day`. A file at fault is no error: its [`Import::end`] says why it is quarantined.
    pub fn open(
        source: &BillSource,
        name: &str,
        mut content: S,
        day: Option<Day>,
        partitions: u32,
    ) -> Result<Self, ImportError> {
        if partitions == 0 {
            return Err(ImportError::NoPartition);
        }
        let io = |source: io::Error| ImportError::Io { name: name.to_owned(), source };
        let (hash, bytes) = hash_content(source, &mut content).map_err(io)?;
        let id = hex::text(&hash);
        content.seek(SeekFrom::Start(0)).map_err(io)?;
        let survey = Survey::take(source, &mut content, day).map_err(io)?;
        let partition = partition_of_file(&id, partitions);
        if let (Some(own), Some(given)) = (survey.day, day)
            && own != given
        {
            return Err(ImportError::OtherDay { name: name.to_owned(), own, given });
        }
        let file = BillFile {
            id,
            source: source.name.clone(),
            name: name.to_owned(),
            provider: source.provider.clone(),
            account: survey.account,
            day: survey.day.unwrap_or_default().0,
        };
        Ok(Self { content, source: source.clone(), file, end: survey.end, bytes, partition })
    }

    /// The file: id, account, day.
    #[must_use]
    pub const fn file(&self) -> &BillFile {
        &self.file
    }

    /// The gate's verdict.
    #[must_use]
    pub const fn end(&self) -> &BillEnd {
        &self.end
    }

    /// The records to append, in order. An error ends them; what was appended until then is harmless, the same
    /// import gives it again.
    #[must_use]
    pub fn records(self) -> Records<S> {
        let chunks = self.bytes.div_ceil(RAW_CHUNK_BYTES_MAX as u64);
        let hasher = self.source.hasher();
        let file = self.file.clone();
        let raw = RawChunks { file: file.clone(), partition: self.partition, chunks, next: 0, hasher };
        Records { phase: Phase::Start(self.content), raw, file, end: self.end, source: self.source, chunk: 0 }
    }
}

/// What the first parse found.
struct Survey {
    account: String,
    day: Option<Day>,
    end: BillEnd,
}

impl Survey {
    fn take<S: Read + Seek>(source: &BillSource, content: S, day: Option<Day>) -> io::Result<Self> {
        let mut account = source.account.clone();
        let mut found = day;
        let result = Self::read(source, content, &mut account, &mut found);
        let end = match result {
            Ok(end) => end,
            Err(BillError::Io(error)) => return Err(error),
            Err(BillError::Quarantine(why)) => quarantined(&why, 0),
        };
        Ok(Self { account, day: found, end })
    }

    fn read<S: Read + Seek>(
        source: &BillSource,
        content: S,
        account: &mut String,
        day: &mut Option<Day>,
    ) -> Result<BillEnd, BillError> {
        let mut bill = source.open(content)?;
        while let Some(line) = bill.next_line()? {
            if account.is_empty() {
                account.clone_from(&line.account);
            }
            if line.account != *account {
                let detail = format!("line {}: account {}, expected {account}", line.line, line.account);
                return Err(Quarantine::new(QuarantineReason::WrongAccount, detail).into());
            }
        }
        *day = bill.first_day().or(*day);
        let end = bill.end().cloned().unwrap_or_default();
        if end.accepted && day.is_none() {
            let why = Quarantine::new(QuarantineReason::NoDay, "the bill has no row and no day was given");
            return Ok(BillEnd { total: end.total, ..quarantined(&why, 0) });
        }
        Ok(end)
    }
}

fn quarantined(why: &Quarantine, lines: u64) -> BillEnd {
    BillEnd {
        accepted: false,
        reason: why.reason.code().to_owned(),
        detail: why.detail.clone(),
        lines,
        total: Vec::new(),
    }
}

fn hash_content<S: Read>(source: &BillSource, content: &mut S) -> io::Result<(Hash, u64)> {
    let mut hasher = source.hasher();
    let mut buffer = vec![0_u8; 64 * 1024];
    let mut bytes = 0_u64;
    loop {
        match content.read(&mut buffer) {
            Ok(0) => return Ok((hasher.finalize().into(), bytes)),
            Ok(count) => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                bytes += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The records of an import, in order.
pub struct Records<S: Read + Seek> {
    phase: Phase<S>,
    raw: RawChunks,
    file: BillFile,
    end: BillEnd,
    source: BillSource,
    chunk: u32,
}

enum Phase<S: Read> {
    /// Nothing read yet.
    Start(S),
    /// Giving raw chunks.
    Raw(S),
    /// Giving line chunks.
    Lines(BillReader<S>),
    /// Everything is given, or an error was.
    Done,
}

struct RawChunks {
    file: BillFile,
    partition: u32,
    chunks: u64,
    next: u64,
    hasher: Sha256,
}

impl RawChunks {
    /// The next raw chunk; `None` when all are given and the bytes were those that were hashed first.
    fn next<S: Read>(&mut self, content: &mut S) -> Result<Option<OutRecord>, ImportError> {
        let name = || self.file.name.clone();
        let mut chunk = Vec::new();
        let taken = content.by_ref().take(RAW_CHUNK_BYTES_MAX as u64).read_to_end(&mut chunk);
        taken.map_err(|source| ImportError::Io { name: name(), source })?;
        if chunk.is_empty() {
            let same = hex::text(&self.hasher.clone().finalize()) == self.file.id;
            return if same { Ok(None) } else { Err(ImportError::Changed { name: name() }) };
        }
        self.hasher.update(&chunk);
        let to = TopicPartition::new(Topic::BillsRaw, self.partition);
        let mut record = OutRecord::new(to, chunk.into()).keyed(self.file.id.clone());
        record.headers = vec![
            Header::text(HEADER_FILE, self.file.id.clone()),
            Header::text(HEADER_NAME, self.file.name.clone()),
            Header::text(HEADER_CHUNK, self.next.to_string()),
            Header::text(HEADER_CHUNKS, self.chunks.to_string()),
        ];
        self.next += 1;
        Ok(Some(record))
    }
}

impl<S: Read + Seek> Records<S> {
    fn step(&mut self) -> Result<Option<OutRecord>, ImportError> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Done) {
                Phase::Start(mut content) => {
                    self.rewind(&mut content)?;
                    self.phase = Phase::Raw(content);
                }
                Phase::Raw(mut content) => match self.raw.next(&mut content)? {
                    Some(record) => {
                        self.phase = Phase::Raw(content);
                        return Ok(Some(record));
                    }
                    None if self.end.accepted => {
                        self.rewind(&mut content)?;
                        let bill = self.source.open(content);
                        self.phase = Phase::Lines(bill.map_err(|e| self.failed(e))?);
                    }
                    None => return Ok(Some(self.chunk(Vec::new(), true))),
                },
                Phase::Lines(mut bill) => {
                    return self.lines(&mut bill).map(|(record, ended)| {
                        if !ended {
                            self.phase = Phase::Lines(bill);
                        }
                        Some(record)
                    });
                }
                Phase::Done => return Ok(None),
            }
        }
    }

    fn rewind(&self, content: &mut S) -> Result<(), ImportError> {
        let rewound = content.seek(SeekFrom::Start(0));
        rewound.map(drop).map_err(|source| ImportError::Io { name: self.file.name.clone(), source })
    }

    /// A file that was accepted in the first parse can only fail now when it has changed.
    fn failed(&self, error: BillError) -> ImportError {
        let name = self.file.name.clone();
        match error {
            BillError::Io(source) => ImportError::Io { name, source },
            BillError::Quarantine(_) => ImportError::Changed { name },
        }
    }

    /// One chunk of lines, and whether it is the last.
    fn lines(&mut self, bill: &mut BillReader<S>) -> Result<(OutRecord, bool), ImportError> {
        let mut lines: Vec<BillLine> = Vec::new();
        let mut bytes = 0_usize;
        while lines.len() < CHUNK_LINES_MAX && bytes < CHUNK_BYTES_SOFT {
            match bill.next_line().map_err(|e| self.failed(e))? {
                Some(line) => {
                    bytes += line.encoded_len();
                    lines.push(line);
                }
                None if bill.end() == Some(&self.end) => return Ok((self.chunk(lines, true), true)),
                None => return Err(ImportError::Changed { name: self.file.name.clone() }),
            }
        }
        Ok((self.chunk(lines, false), false))
    }

    fn chunk(&mut self, line: Vec<BillLine>, last: bool) -> OutRecord {
        let end = last.then(|| self.end.clone());
        let chunk = BillChunk { format: FORMAT, file: Some(self.file.clone()), chunk: self.chunk, line, end };
        self.chunk = self.chunk.saturating_add(1);
        let to = TopicPartition::new(Topic::BillsLines, self.raw.partition);
        OutRecord::new(to, chunk.encode_to_vec().into()).keyed(self.file.id.clone())
    }
}

impl<S: Read + Seek> Iterator for Records<S> {
    type Item = Result<OutRecord, ImportError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}
