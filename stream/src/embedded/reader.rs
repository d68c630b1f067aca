//! A reader: from memory where the tail cache still has the run, else by one read of that run from its segment.
//!
//! It keeps the run it is in, so that a small limit does not read a big run twice. Records share the run's buffer
//! (the whole frame's, when it came from the cache): who keeps a record for long should copy what it keeps.

use super::core::Core;
use super::format::{Run, take_record, value_bytes};
use super::index::SegmentIndex;
use super::segment::{corrupt, io_error, read_header};
use super::state::{CachedRun, ClosedSegment, LoadedSegment, Place, State};
use crate::log::{Fetch, FetchLimit, LogError, Offset, Reader, Record, TopicPartition};
use crate::mutex::lock;
use bytes::Bytes;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How often a segment may be replaced under a reader's hands before it gives up.
const REPLACED_MAX: u32 = 8;

/// A run being read.
#[derive(Debug)]
struct Cursor {
    run: Run,
    /// Offset of the first record in `rest`.
    at: Offset,
    rest: Bytes,
}

#[derive(Debug)]
struct ReadPart {
    of: TopicPartition,
    position: Offset,
    cursor: Option<Cursor>,
    held: bool,
}

/// Reads some partitions.
pub(super) struct EmbeddedReader {
    core: Arc<Core>,
    parts: Vec<ReadPart>,
    /// Which partition is first in the next poll.
    turn: usize,
}

impl EmbeddedReader {
    /// # Errors
    /// Unknown partition, out of range.
    pub(super) fn new(core: &Arc<Core>, start: &[(TopicPartition, Offset)]) -> Result<Self, LogError> {
        core.check_alive()?;
        let state = lock(&core.state);
        start.iter().try_for_each(|(of, offset)| state.check_offset(*of, *offset))?;
        drop(state);
        let parts = start.iter().map(|(of, position)| ReadPart {
            of: *of,
            position: *position,
            cursor: None,
            held: false,
        });
        Ok(Self { core: Arc::clone(core), parts: parts.collect(), turn: 0 })
    }

    /// Waits for a record at one of the positions.
    fn wait(&self, wait: Duration) -> Result<(), LogError> {
        let mut state = lock(&self.core.state);
        state.waiting += 1;
        let nothing = |state: &mut State| {
            let new = |part: &ReadPart| {
                !part.held && state.bounds(part.of).is_ok_and(|bounds| bounds.next > part.position)
            };
            !self.parts.iter().any(new) && self.core.check_alive().is_ok()
        };
        let (mut state, _) = self
            .core
            .changed
            .wait_timeout_while(state, wait, nothing)
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        state.waiting = state.waiting.saturating_sub(1);
        drop(state);
        self.core.check_alive()
    }

    fn fetch(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        let mut left = Left { records: limit.records, bytes: limit.bytes, any: false };
        let mut fetched = Vec::new();
        let count = self.parts.len();
        let turn = self.turn;
        for step in 0..count {
            let Some(part) = self.parts.get_mut((turn + step) % count).filter(|part| !part.held) else {
                continue;
            };
            let mut records = Vec::new();
            let end = part.read(&self.core, &mut left, &mut records);
            if !records.is_empty() {
                fetched.push(Fetch { from: part.of, records });
            }
            match end {
                // What was read before the fault is handed out; the fault comes back with the next poll.
                Err(_) if !fetched.is_empty() => break,
                end => end?,
            }
            if left.full() {
                self.turn = (turn + step + 1) % count;
                break;
            }
        }
        Ok(fetched)
    }
}

impl Reader for EmbeddedReader {
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        self.core.check_alive()?;
        let fetched = self.fetch(limit)?;
        if !fetched.is_empty() || limit.wait.is_zero() || limit.records == 0 {
            return Ok(fetched);
        }
        self.wait(limit.wait)?;
        self.fetch(limit)
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        self.parts.iter().find(|part| part.of == at).map(|part| part.position)
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        lock(&self.core.state).check_offset(at, offset)?;
        let part = self.parts.iter_mut().find(|part| part.of == at);
        let part = part.ok_or(LogError::UnknownPartition(at))?;
        part.position = offset;
        part.cursor = None;
        Ok(())
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        let part = self.parts.iter_mut().find(|part| part.of == at);
        part.ok_or(LogError::UnknownPartition(at))?.held = held;
        Ok(())
    }
}

/// What a poll may still take.
struct Left {
    records: usize,
    bytes: usize,
    any: bool,
}

impl Left {
    fn full(&self) -> bool {
        self.records == 0 || (self.any && self.bytes == 0)
    }

    /// Whether a value of this many bytes still fits; the first record always does.
    fn take(&mut self, bytes: usize) -> bool {
        if self.records == 0 || (self.any && bytes > self.bytes) {
            self.bytes = 0;
            return false;
        }
        self.records -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
        self.any = true;
        true
    }
}

impl ReadPart {
    fn read(&mut self, core: &Core, left: &mut Left, records: &mut Vec<Record>) -> Result<(), LogError> {
        while !left.full() {
            if self
                .cursor
                .as_ref()
                .is_some_and(|cursor| cursor.at == self.position && !cursor.rest.is_empty())
            {
                lock(&core.state).check_offset(self.of, self.position)?;
            } else {
                self.cursor = None;
                let Some(cached) = find(core, self.of, self.position)? else { return Ok(()) };
                self.cursor = Some(Cursor { run: cached.run, at: cached.run.first, rest: cached.bytes });
            }
            if let Some(cursor) = &mut self.cursor {
                if records.is_empty() {
                    // Once for all that may come, taking the others to be as long as those of this run.
                    let each = (cursor.run.len / cursor.run.count.max(1)).max(1) as usize;
                    let waiting = lock(&core.state).bounds(self.of)?.next.saturating_sub(self.position);
                    let waiting = usize::try_from(waiting).unwrap_or(0);
                    records.reserve(waiting.min(left.records).min(left.bytes / each + 1));
                }
                let taken = cursor.take(self.of, self.position, left, records);
                self.position = cursor.at.max(self.position);
                if cursor.at >= cursor.run.next() {
                    // Lets go of the frame's buffer.
                    self.cursor = None;
                }
                taken?;
            }
        }
        Ok(())
    }
}

impl Cursor {
    /// Takes records from `from` on, as many as the limit and the run allow.
    fn take(
        &mut self,
        of: TopicPartition,
        from: Offset,
        left: &mut Left,
        records: &mut Vec<Record>,
    ) -> Result<(), LogError> {
        while self.at < self.run.next() {
            let wanted = self.at >= from;
            if wanted && !left.take(value_bytes(&self.rest)) {
                return Ok(());
            }
            let Some(record) = take_record(&mut self.rest, self.at, self.run.wall_us) else {
                return Err(LogError::Corrupt(format!(
                    "{of}: the record at offset {} is not whole",
                    self.at
                )));
            };
            if wanted {
                records.push(record);
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// The run that holds an offset; `None` = the offset is the end.
fn find(core: &Core, of: TopicPartition, offset: Offset) -> Result<Option<CachedRun>, LogError> {
    for _ in 0..REPLACED_MAX {
        let place = lock(&core.state).locate(of, offset)?;
        let (segment, loaded) = match place {
            Place::End => return Ok(None),
            Place::Tail(cached) => return Ok(Some(cached)),
            Place::Open(open, run) => return read_run(&open.path, &open.file, run).map(Some),
            Place::Closed(segment, loaded) => (segment, loaded),
        };
        let Some(loaded) = loaded.map_or_else(|| load(core, &segment), |loaded| Ok(Some(loaded)))? else {
            continue;
        };
        let run = loaded.index.find(of, offset).ok_or_else(|| {
            corrupt(&segment.path, 0, format_args!("{of}: offset {offset} should be in this segment"))
        })?;
        return read_run(&segment.path, &loaded.file, run).map(Some);
    }
    Err(LogError::Retriable(format!("{of}: the segment of offset {offset} is being replaced")))
}

/// Opens a closed segment; `None` = cleaning has replaced it.
fn load(core: &Core, segment: &ClosedSegment) -> Result<Option<Arc<LoadedSegment>>, LogError> {
    let file = match File::open(&segment.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return missing(core, segment, &error),
        Err(error) => return Err(io_error("open", &segment.path, &error)),
    };
    match read_header(&segment.path, &file)? {
        Ok(header) if header == segment.header => {}
        Ok(_) => return missing(core, segment, &io::Error::other("another segment has its name")),
        Err(fault) => return Err(corrupt(&segment.path, 0, fault)),
    }
    let index = match SegmentIndex::stored(&segment.path, &segment.header, segment.bytes) {
        Some((index, _)) => index,
        None => SegmentIndex::scanned(&segment.path, &file, segment.bytes, &segment.header)?.0,
    };
    let loaded = Arc::new(LoadedSegment { file, index });
    lock(&core.state).keep_loaded(segment, Arc::clone(&loaded));
    Ok(Some(loaded))
}

/// A segment file that is not what it was: fine when cleaning has replaced it in the meantime.
fn missing(
    core: &Core,
    segment: &ClosedSegment,
    error: &io::Error,
) -> Result<Option<Arc<LoadedSegment>>, LogError> {
    let state = lock(&core.state);
    let current = state.segments().any(|held| held.header == segment.header);
    match current {
        true => Err(LogError::Corrupt(format!("{}: {error}", segment.path.display()))),
        false => Ok(None),
    }
}

/// Reads `len` bytes at `at`, into memory that is not cleared first.
fn read_at(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let from = at + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), from) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(len);
    Ok(bytes)
}

fn read_run(path: &Path, file: &File, run: Run) -> Result<CachedRun, LogError> {
    let bytes = read_at(file, u64::from(run.at), run.len as usize);
    let bytes = bytes.map_err(|error| io_error("read", path, &error))?;
    if crc32c::crc32c(&bytes) != run.crc {
        return Err(corrupt(path, u64::from(run.at), "the checksum of a run does not match"));
    }
    Ok(CachedRun { run, bytes: Bytes::from(bytes) })
}
