//! A log whose beginning lies in an archive: below its low watermark records come from files, and go over to the log.
//!
//! Nothing is done above the low watermark but to pass calls on. A reader learns from the log's own answer
//! ([`LogError::OutOfRange`]) that a position lies below it, when it is opened, moved, or overtaken by what is given up while
//! it reads. Then that partition is held back in the log's reader, its records come from files up to the low watermark of
//! that moment, and the log's reader goes on from there.
//!
//! [`Log::watermarks`] tells the archive's first offset as low. Where the archive does not reach the log, or is away, it tells
//! 0, and whoever reads there gets the error that names both ends: nobody takes a part for the whole.

use super::Archive;
use super::file::OpenFile;
use crate::log::{
    Features, Fetch, FetchLimit, Isolation, Log, LogError, Member, Offset, OutRecord, Position, Reader,
    Record, Session, TopicPartition, Watermarks,
};
use schemas::topics::Topic;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How often a low watermark may rise under the hands of who opens a reader or goes over to the log.
const RISES_MAX: u32 = 16;

/// See the module.
pub struct Archived {
    log: Arc<dyn Log>,
    archive: Arc<Archive>,
}

impl Archived {
    /// A log with an archive below it.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, archive: Arc<Archive>) -> Self {
        Self { log, archive }
    }

    /// Whether the archive is of a time that the log has had: it holds nothing beyond the log's end. An archive that is away
    /// is no hindrance.
    ///
    /// # Errors
    /// [`LogError::Archive`] names the partition and both ends; the log's own.
    pub fn check_end(&self) -> Result<(), LogError> {
        for topic in self.archive.topics() {
            for partition in 0..self.log.partitions(*topic)? {
                let at = TopicPartition::new(*topic, partition);
                let Ok(Some(held)) = self.archive.bounds(at) else { continue };
                let high = self.log.watermarks(at, Isolation::Uncommitted)?.high;
                if held.high > high {
                    return Err(self.archive.ahead(at, held, high));
                }
            }
        }
        Ok(())
    }

    /// Opens a reader some of whose partitions begin below the log.
    fn reader_below(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        for _ in 0..RISES_MAX {
            let (mut from, mut below) = (start.to_vec(), Vec::new());
            for (at, offset) in &mut from {
                let bounds = self.log.watermarks(*at, Isolation::Uncommitted)?;
                if *offset < bounds.low && self.archive.covers(at.topic) {
                    self.archive.reaches(*at, *offset, bounds)?;
                    below.push(Part::new(*at, *offset, bounds.low));
                    *offset = bounds.low;
                }
            }
            let mut reader = match self.log.reader(&from, isolation) {
                Err(LogError::OutOfRange { at, low, offset, .. })
                    if offset < low && self.archive.covers(at.topic) =>
                {
                    continue;
                }
                reader => reader.map_err(|error| self.archive.explained(error))?,
            };
            below.iter().try_for_each(|part| reader.hold(part.at, true))?;
            return Ok(self.reading(reader, below));
        }
        Err(LogError::Retriable("the log gives up records faster than a reader opens".to_owned()))
    }

    fn reading(&self, reader: Box<dyn Reader>, below: Vec<Part>) -> Box<dyn Reader> {
        let archive = Arc::clone(&self.archive);
        Box::new(ArchivedReader { archive, reader, below, held: BTreeSet::new(), log_first: false })
    }
}

impl Log for Archived {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }

    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError> {
        let bounds = self.log.watermarks(at, isolation)?;
        Ok(Watermarks { low: self.archive.begins(at, bounds.low), ..bounds })
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        self.log.committed(group, at)
    }

    fn reader(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        let covered = |at: &TopicPartition| self.archive.covers(at.topic);
        match self.log.reader(start, isolation) {
            Ok(reader) if start.iter().any(|(at, _)| covered(at)) => Ok(self.reading(reader, Vec::new())),
            Err(LogError::OutOfRange { at, offset, low, .. }) if offset < low && covered(&at) => {
                self.reader_below(start, isolation)
            }
            other => other.map_err(|error| self.archive.explained(error)),
        }
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        self.log.join(member)
    }

    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        self.log.append(records)
    }

    fn durable(&self) -> u64 {
        self.log.durable()
    }

    fn written(&self) -> u64 {
        self.log.written()
    }

    fn wait_durable(&self, sequence: u64, wait: Duration) -> Result<(), LogError> {
        self.log.wait_durable(sequence, wait)
    }

    fn fence(&self, transactional_id: &str) -> Result<(), LogError> {
        self.log.fence(transactional_id)
    }

    fn members(&self, group: &str) -> Result<Vec<String>, LogError> {
        self.log.members(group)
    }

    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError> {
        self.log.holders(at)
    }

    fn features(&self) -> Features {
        self.log.features()
    }

    fn check_retention(&self, topic: Topic) -> Result<Result<(), String>, LogError> {
        self.log.check_retention(topic)
    }
}

/// A partition that is read from files.
struct Part {
    at: TopicPartition,
    position: Offset,
    /// Where the log's reader stands, at its low watermark of the moment when this began.
    until: Offset,
    file: Option<OpenFile>,
    block: usize,
    /// Of that block, what was not handed out.
    records: VecDeque<Record>,
}

/// What a poll may still take.
struct Left {
    records: usize,
    bytes: usize,
    any: bool,
}

impl Left {
    const fn full(&self) -> bool {
        self.records == 0 || (self.any && self.bytes == 0)
    }

    /// Whether a record of that size fits; then it is taken.
    fn takes(&mut self, bytes: usize) -> bool {
        if self.records == 0 || (self.any && bytes > self.bytes) {
            return false;
        }
        (self.records, self.bytes, self.any) = (self.records - 1, self.bytes.saturating_sub(bytes), true);
        true
    }
}

impl Part {
    const fn new(at: TopicPartition, position: Offset, until: Offset) -> Self {
        Self { at, position, until, file: None, block: 0, records: VecDeque::new() }
    }

    /// Hands out what fits; at its end its position is `until`.
    fn read(&mut self, archive: &Archive, left: &mut Left, out: &mut Vec<Record>) -> Result<(), LogError> {
        while self.position < self.until {
            while let Some(record) = self.records.front() {
                if record.offset < self.position {
                    self.records.pop_front();
                    continue;
                }
                if record.offset >= self.until {
                    // It stays: more of the log may go before this reader is over there.
                    self.position = self.until;
                    return Ok(());
                }
                if !left.takes(record.value.len()) {
                    return Ok(());
                }
                if let Some(record) = self.records.pop_front() {
                    self.position = record.offset + 1;
                    out.push(record);
                }
            }
            if self.position < self.until {
                match self.next_block(archive) {
                    // What was read before it is handed out; the fault comes back with the next poll.
                    Err(_) if !out.is_empty() => return Ok(()),
                    read => read?,
                }
            }
        }
        Ok(())
    }

    /// Reads on in the file, or in the one that follows.
    fn next_block(&mut self, archive: &Archive) -> Result<(), LogError> {
        match self.file.as_ref().filter(|file| file.holds(self.position)) {
            None => {
                let file = archive.file(self.at, self.position)?;
                self.block = file.block_of(self.position);
                self.records = file.block(self.block)?.into();
                self.file = Some(file);
            }
            Some(file) => {
                let records = file.block(self.block + 1)?;
                self.block += 1;
                self.records = records.into();
            }
        }
        let behind = self.records.back().is_none_or(|last| last.offset < self.position);
        if let Some(file) = self.file.as_ref().filter(|_| behind) {
            // Nothing is left of this block; of the last one, nothing of the file.
            if self.block >= file.last_block() {
                self.position = file.next().min(self.until);
            }
            self.records.clear();
        }
        Ok(())
    }
}

struct ArchivedReader {
    archive: Arc<Archive>,
    reader: Box<dyn Reader>,
    /// Partitions that are read from files; the log's reader holds them back.
    below: Vec<Part>,
    /// Partitions that the reader's owner holds back.
    held: BTreeSet<TopicPartition>,
    /// Which of both is asked first, in turn.
    log_first: bool,
}

impl ArchivedReader {
    /// Reads a partition from files from now on.
    fn go_below(&mut self, at: TopicPartition, offset: Offset, bounds: Watermarks) -> Result<(), LogError> {
        self.archive.reaches(at, offset, bounds)?;
        let mut until = bounds.low;
        for _ in 0..RISES_MAX {
            match self.reader.seek(at, until) {
                Err(LogError::OutOfRange { low, .. }) if low > until => until = low,
                sought => {
                    sought?;
                    self.reader.hold(at, true)?;
                    self.below.retain(|part| part.at != at);
                    self.below.push(Part::new(at, offset, until));
                    return Ok(());
                }
            }
        }
        Err(LogError::Retriable(format!("{at}: the log gives up records faster than they are read")))
    }

    /// Whether an error of the log says that a position lies below it, in a partition that is archived.
    fn is_below(&self, error: &LogError) -> Option<(TopicPartition, Offset, Watermarks)> {
        match error {
            LogError::OutOfRange { at, offset, low, high }
                if offset < low && self.archive.covers(at.topic) =>
            {
                Some((*at, *offset, Watermarks { low: *low, high: *high }))
            }
            _ => None,
        }
    }

    fn poll_log(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        match self.reader.poll(limit) {
            Err(error) => match self.is_below(&error) {
                Some((at, _, bounds)) => {
                    let position = self.reader.position(at).ok_or(LogError::UnknownPartition(at))?;
                    self.go_below(at, position, bounds)?;
                    self.poll(limit)
                }
                None => Err(error),
            },
            polled => polled,
        }
    }

    /// What files have. Partitions that have reached the log go over to it; whether there was one.
    fn poll_files(&mut self, limit: FetchLimit) -> Result<(Vec<Fetch>, bool), LogError> {
        let mut left = Left { records: limit.records, bytes: limit.bytes, any: false };
        let mut out = Vec::new();
        for part in self.below.iter_mut().filter(|part| !self.held.contains(&part.at)) {
            if left.full() {
                break;
            }
            let mut records = Vec::new();
            let read = part.read(&self.archive, &mut left, &mut records);
            if !records.is_empty() {
                out.push(Fetch { from: part.at, records });
            }
            match read {
                Err(_) if !out.is_empty() => break,
                read => read?,
            }
        }
        let parts = self.below.len();
        self.go_over()?;
        // No partition starves.
        if let Some(last) = self.below.len().checked_sub(1) {
            self.below.rotate_left(last.min(1));
        }
        Ok((out, self.below.len() < parts))
    }

    fn go_over(&mut self) -> Result<(), LogError> {
        let mut at = 0;
        while let Some(part) = self.below.get_mut(at) {
            if part.position < part.until {
                at += 1;
                continue;
            }
            match self.reader.seek(part.at, part.until) {
                // More of the log has gone meanwhile.
                Err(LogError::OutOfRange { low, .. }) if low > part.until => part.until = low,
                sought => {
                    sought?;
                    self.reader.hold(part.at, self.held.contains(&part.at))?;
                    self.below.remove(at);
                }
            }
        }
        Ok(())
    }
}

impl Reader for ArchivedReader {
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        if self.below.is_empty() {
            return self.poll_log(limit);
        }
        let at_once = FetchLimit { wait: Duration::ZERO, ..limit };
        self.log_first = !self.log_first;
        if self.log_first {
            let fetches = self.poll_log(at_once)?;
            if !fetches.is_empty() {
                return Ok(fetches);
            }
        }
        let (fetches, gone_over) = self.poll_files(limit)?;
        if !fetches.is_empty() {
            return Ok(fetches);
        }
        self.poll_log(if gone_over { at_once } else { limit })
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        let below = self.below.iter().find(|part| part.at == at);
        below.map_or_else(|| self.reader.position(at), |part| Some(part.position))
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        match self.reader.seek(at, offset) {
            Ok(()) => {
                self.below.retain(|part| part.at != at);
                self.reader.hold(at, self.held.contains(&at))
            }
            Err(error) => match self.is_below(&error) {
                Some((at, offset, bounds)) => self.go_below(at, offset, bounds),
                None => Err(self.archive.explained(error)),
            },
        }
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        if !self.below.iter().any(|part| part.at == at) {
            self.reader.hold(at, held)?;
        }
        if held {
            self.held.insert(at)
        } else {
            self.held.remove(&at)
        };
        Ok(())
    }
}
