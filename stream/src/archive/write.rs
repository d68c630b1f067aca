//! Taking records into the archive.
//!
//! What is taken is committed, and on the disk of the log, before its file is. A partition's records follow those that are
//! archived without a gap, and the last one of these must be the log's own where the log still has it: files of another
//! history are never gone on with.

use super::file::{Checked, Named, OpenFile, UNFINISHED, damaged};
use super::format::{Block, Entry, FileHead, Trailer};
use super::{Archive, bounds_of};
use crate::faults;
use crate::files::{self, FileWriter};
use crate::log::{FetchLimit, Isolation, Log, LogError, Offset, Reader, Record, TopicPartition, Watermarks};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How much is read at a time, and how long it is waited for.
const LIMIT: FetchLimit = FetchLimit { records: 4_096, bytes: 8 << 20, wait: Duration::from_millis(200) };
/// How often nothing may come of what is there.
const EMPTY_MAX: u32 = 50;
/// How long what is read may take to be on the disk of the log.
const DURABLE_WAIT: Duration = Duration::from_secs(60);

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its name and what it holds.
    pub named: Named,
    /// What was found when it was read again.
    pub checked: Checked,
}

/// Looks at a record before it is archived; the error says what is wrong with it.
pub type See<'a> = dyn FnMut(&Record) -> Result<(), String> + 'a;

/// An archive that one process writes, until it is dropped.
#[derive(Debug)]
pub struct Taking<'a> {
    archive: &'a Archive,
    _lock: File,
}

impl Archive {
    /// Begins to write. The directory is made where it is not there.
    ///
    /// # Errors
    /// [`LogError::Archive`]: another process writes, or the directory cannot be made.
    pub fn taking(&self) -> Result<Taking<'_>, LogError> {
        let wrong =
            |why: &dyn std::fmt::Display| LogError::Archive(format!("{}: {why}", self.root.display()));
        files::make_directories(self.files.as_ref(), &self.root, true).map_err(|why| wrong(&why))?;
        match crate::store::lock(&self.root) {
            Ok(Some(lock)) => Ok(Taking { archive: self, _lock: lock }),
            Ok(None) => Err(wrong(&"another process is writing it")),
            Err(why) => Err(wrong(&why)),
        }
    }
}

impl Taking<'_> {
    /// Archives the committed records of a partition that are not archived yet, in files of about `file_bytes`, until
    /// `go_on` says no. `see` looks at each record before it is written.
    ///
    /// # Errors
    /// [`LogError::Archive`]: the archive does not go with the log, a file cannot be written or is not what was written, or
    /// `see` says so; the log's own.
    pub fn take(
        &self,
        log: &dyn Log,
        at: TopicPartition,
        file_bytes: u64,
        see: &mut See<'_>,
        go_on: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<Taken>, LogError> {
        let names = self.archive.list(at)?;
        let bounds = log.watermarks(at, Isolation::Committed)?;
        log.wait_durable(log.written(), DURABLE_WAIT)?;
        let held = bounds_of(&names);
        let from = self.begins(log, at, held, bounds)?;
        let folder = self.archive.folder(at);
        let mut taken = Vec::new();
        if from >= bounds.high {
            return Ok(taken);
        }
        remove_unfinished(self.archive, &folder)?;
        let mut source = Source::new(log, at, from, bounds.high)?;
        let mut first = from;
        while let Some(record) = source.next()? {
            let file = Writing::begin(self.archive, at, &folder, first)?;
            let (file, more) = file.fill(record, &mut source, file_bytes, see)?;
            first = file.named.next;
            taken.push(file);
            if !more || !go_on() {
                break;
            }
        }
        self.archive.list(at)?;
        Ok(taken)
    }

    /// Makes the names of a partition's files durable, and those of the folders that they lie in: whoever died before may not
    /// have. To be called before anything of it is given up.
    ///
    /// # Errors
    /// [`LogError::Archive`]: a folder cannot be synced.
    pub fn settle(&self, at: TopicPartition) -> Result<(), LogError> {
        let folder = self.archive.folder(at);
        let root = self.archive.root.as_path();
        let within = folder.ancestors().take_while(|folder| folder.starts_with(root));
        for folder in within.chain([files::around(root)]) {
            match self.archive.files.sync_directory(folder) {
                // Who may not read what the archive lies in has not made it.
                Err(why) if !folder.starts_with(root) && why.kind() == ErrorKind::PermissionDenied => {}
                synced => synced.map_err(|why| damaged(folder, why))?,
            }
        }
        Ok(())
    }

    /// Where the log's records follow those that are archived.
    fn begins(
        &self,
        log: &dyn Log,
        at: TopicPartition,
        held: Option<Watermarks>,
        bounds: Watermarks,
    ) -> Result<Offset, LogError> {
        let Some(held) = held else {
            return if bounds.low == 0 { Ok(0) } else { Err(self.archive.gap(at, None, bounds.low)) };
        };
        if held.high > bounds.high {
            return Err(self.archive.ahead(at, held, bounds.high));
        }
        if held.high < bounds.low {
            return Err(self.archive.gap(at, Some(held), bounds.low));
        }
        let file = self.archive.file(at, held.high - 1)?;
        let last = file.last()?.filter(|last| last.offset >= bounds.low);
        if let Some(last) = last {
            let found = Source::new(log, at, last.offset, bounds.high)?.next()?;
            if found.as_ref() != Some(&last) {
                let path = file.path().display();
                let why = format!(
                    "{path}: record {} of {at} is another one than in the log: the archive is of another history",
                    last.offset
                );
                return Err(LogError::Archive(why));
            }
        }
        Ok(held.high)
    }
}

/// Takes away what a process that died has left.
fn remove_unfinished(archive: &Archive, folder: &Path) -> Result<(), LogError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            archive.files.remove(&path).map_err(|why| damaged(&path, why))?;
        }
    }
    Ok(())
}

/// Committed records of a partition, one by one.
struct Source {
    reader: Box<dyn Reader>,
    at: TopicPartition,
    until: Offset,
    records: std::vec::IntoIter<Record>,
}

impl Source {
    fn new(log: &dyn Log, at: TopicPartition, from: Offset, until: Offset) -> Result<Self, LogError> {
        let reader = log.reader(&[(at, from)], Isolation::Committed)?;
        Ok(Self { reader, at, until, records: Vec::new().into_iter() })
    }

    /// The next one below the end.
    fn next(&mut self) -> Result<Option<Record>, LogError> {
        let mut empty = 0;
        loop {
            if let Some(record) = self.records.next() {
                return Ok(Some(record).filter(|record| record.offset < self.until));
            }
            let position = self.reader.position(self.at);
            if position.is_none_or(|position| position >= self.until) {
                return Ok(None);
            }
            let fetches = self.reader.poll(LIMIT)?;
            let records: Vec<Record> = fetches.into_iter().flat_map(|fetch| fetch.records).collect();
            if records.is_empty() && self.reader.position(self.at) == position {
                empty += 1;
                if empty >= EMPTY_MAX {
                    let position = position.unwrap_or_default();
                    return Err(LogError::Retriable(format!("{} cannot be read beyond {position}", self.at)));
                }
            }
            self.records = records.into_iter();
        }
    }
}

/// A file on its way to its name.
struct Writing<'a> {
    archive: &'a Archive,
    at: TopicPartition,
    folder: &'a Path,
    path: PathBuf,
    file: FileWriter,
    hasher: Sha256,
    first: Offset,
    block: Block,
    entries: Vec<Entry>,
    records: u64,
    sealed: Vec<u8>,
}

impl<'a> Writing<'a> {
    fn begin(
        archive: &'a Archive,
        at: TopicPartition,
        folder: &'a Path,
        first: Offset,
    ) -> Result<Self, LogError> {
        let path = folder.join(format!("{first:020}.{UNFINISHED}"));
        files::make_directories(archive.files.as_ref(), folder, true).map_err(|why| damaged(folder, why))?;
        let file = FileWriter::create(&archive.files, &path).map_err(|why| damaged(&path, why))?;
        let mut writing = Self {
            archive,
            at,
            folder,
            path,
            file,
            hasher: Sha256::new(),
            first,
            block: Block::default(),
            entries: Vec::new(),
            records: 0,
            sealed: Vec::new(),
        };
        let head = FileHead { identity: archive.identity, at, first };
        writing.write(&head.encode())?;
        Ok(writing)
    }

    /// Writes records until the file is full or there are no more, and gives it its name. Whether there may be more.
    fn fill(
        mut self,
        record: Record,
        source: &mut Source,
        file_bytes: u64,
        see: &mut See<'_>,
    ) -> Result<(Taken, bool), LogError> {
        let mut next = Some(record);
        let mut end = source.until;
        let mut more = false;
        while let Some(record) = next {
            see(&record).map_err(|why| LogError::Archive(format!("{}@{}: {why}", self.at, record.offset)))?;
            self.put(&record)?;
            if self.file.bytes() + self.block.bytes() >= file_bytes {
                (end, more) = (record.offset + 1, true);
                break;
            }
            next = source.next()?;
        }
        Ok((self.finish(end)?, more))
    }

    fn put(&mut self, record: &Record) -> Result<(), LogError> {
        self.block.put(record).map_err(|why| damaged(&self.path, why))?;
        self.records += 1;
        if self.block.is_full() { self.close_block() } else { Ok(()) }
    }

    fn close_block(&mut self) -> Result<(), LogError> {
        self.entries.push(Entry { place: self.file.bytes(), first: self.block.first() });
        let mut sealed = std::mem::take(&mut self.sealed);
        self.block.seal(&mut sealed).map_err(|why| damaged(&self.path, why))?;
        self.write(&sealed)?;
        self.sealed = sealed;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), LogError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|why| damaged(&self.path, why))
    }

    /// Ends the file, reads it again and gives it its name.
    fn finish(mut self, next: Offset) -> Result<Taken, LogError> {
        if !self.block.is_empty() {
            self.close_block()?;
        }
        let trailer = Trailer::encode(self.file.bytes(), &self.entries, self.records, next);
        let trailer = trailer.map_err(|why| damaged(&self.path, why))?;
        self.write(&trailer)?;
        let hash = std::mem::take(&mut self.hasher).finalize();
        self.write(&hash)?;
        let files: &Arc<dyn files::Files> = &self.archive.files;
        self.file.sync().map_err(|why| damaged(&self.path, why))?;
        let unnamed = Named { first: self.first, next, path: self.path.clone() };
        let checked = OpenFile::open(&unnamed, self.archive.identity, self.at)?.check(&mut |_| Ok(()))?;
        if checked.hash != <[u8; 32]>::from(hash) {
            return Err(damaged(&self.path, "it is not what was written"));
        }
        let crash = |crash: faults::Crash| LogError::Io(crash.to_string());
        faults::hit(faults::ARCHIVE_AFTER_WRITE).map_err(crash)?;
        let named = Named::new(self.folder, self.first, next);
        files.rename(&self.path, &named.path).map_err(|why| damaged(&self.path, why))?;
        faults::hit(faults::ARCHIVE_AFTER_RENAME).map_err(crash)?;
        files.sync_directory(self.folder).map_err(|why| damaged(self.folder, why))?;
        Ok(Taken { named, checked })
    }
}
