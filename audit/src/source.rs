//! Reading partitions one by one, in the order the audit asks for, with the range that was covered.
//!
//! Every topic has one reader, in which all partitions are held back but the one that is asked for: a window's inputs are
//! read exactly up to the positions its changelog names, whatever other partitions do. Bounded by one poll per partition.

use crate::AuditError;
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use stream::log::{FetchLimit, Isolation, Log, LogError, Offset, Reader, Record, TopicPartition};

/// How long a poll waits for records that are there and were not given yet.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// How often a topic is opened while retention takes away what it begins with.
const OPEN_TRIES: u32 = 10;

/// One partition being read.
pub struct Cursor {
    buffer: VecDeque<Record>,
    /// First offset that was there when reading began.
    pub start: Offset,
    /// Next offset.
    pub next: Offset,
    /// Records read.
    pub records: u64,
    /// Value bytes read.
    pub bytes: u64,
    /// Ranges that retention took away before they were read.
    pub skipped: Vec<(Offset, Offset)>,
}

impl Cursor {
    const fn new(start: Offset) -> Self {
        Self { buffer: VecDeque::new(), start, next: start, records: 0, bytes: 0, skipped: Vec::new() }
    }

    /// Whether it was read from offset 0 without a gap.
    #[must_use]
    pub fn whole(&self) -> bool {
        self.start == 0 && self.skipped.is_empty()
    }

    /// Takes what a reader gives in which all other partitions are held back.
    fn fill(
        &mut self,
        at: TopicPartition,
        reader: &mut dyn Reader,
        limit: FetchLimit,
    ) -> Result<(), LogError> {
        match reader.poll(limit) {
            Ok(fetched) => self.buffer.extend(fetched.into_iter().flat_map(|f| f.records)),
            Err(LogError::OutOfRange { low, .. }) if low > self.next => {
                reader.seek(at, low)?;
                self.skipped.push((self.next, low));
                self.next = low;
            }
            Err(LogError::Retriable(_) | LogError::Unstable { .. }) => {}
            Err(error) => return Err(error),
        }
        if self.buffer.is_empty() {
            self.next = reader.position(at).unwrap_or(self.next).max(self.next);
        }
        Ok(())
    }

    /// Next record in hand with an offset below `to`.
    fn take_below(&mut self, to: Offset) -> Option<Record> {
        if self.buffer.front().is_none_or(|record| record.offset >= to) {
            return None;
        }
        let record = self.buffer.pop_front();
        if let Some(record) = &record {
            self.records += 1;
            self.bytes += record.value.len() as u64;
            self.next = record.offset.saturating_add(1);
        }
        record
    }

    /// Whether every record below `to` was taken.
    fn passed(&self, to: Offset) -> bool {
        self.next >= to || self.buffer.front().is_some_and(|record| record.offset >= to)
    }
}

/// All partitions being read.
pub struct Sources<'a> {
    log: &'a dyn Log,
    readers: BTreeMap<Topic, Box<dyn Reader>>,
    cursors: BTreeMap<TopicPartition, Cursor>,
    fetch: FetchLimit,
    /// Records taken in the present round.
    taken: u64,
    /// Partitions that had nothing to give in the present round.
    wanting: BTreeSet<TopicPartition>,
}

/// What a read gave.
#[derive(Debug)]
pub enum Read {
    /// The next record; whether its partition is whole so far.
    Record(Record, bool),
    /// Every record below the bound was taken.
    Passed,
    /// Nothing more for the moment.
    Empty,
}

impl<'a> Sources<'a> {
    /// Nothing opened yet.
    #[must_use]
    pub fn new(log: &'a dyn Log, bytes: usize) -> Self {
        let fetch = FetchLimit { records: 1024, bytes, wait: Duration::ZERO };
        let (readers, cursors, wanting) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        Self { log, readers, cursors, fetch, taken: 0, wanting }
    }

    /// Opens every partition of a topic, so that coverage names those that were never needed too.
    ///
    /// # Errors
    /// A partition does not exist.
    pub fn open_all(&mut self, topic: Topic, partitions: u32) -> Result<(), LogError> {
        let all: Vec<_> = (0..partitions).map(|partition| TopicPartition::new(topic, partition)).collect();
        let mut tries = 1;
        let (from, mut reader) = loop {
            let low = |at: &TopicPartition| Ok((*at, self.log.watermarks(*at, Isolation::Committed)?.low));
            let from = all.iter().map(low).collect::<Result<Vec<_>, LogError>>()?;
            match self.log.reader(&from, Isolation::Committed) {
                Ok(reader) => break (from, reader),
                Err(LogError::OutOfRange { .. }) if tries < OPEN_TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        };
        for (at, start) in from {
            reader.hold(at, true)?;
            self.cursors.insert(at, Cursor::new(start));
        }
        self.readers.insert(topic, reader);
        Ok(())
    }

    fn cursor(&mut self, at: TopicPartition) -> Result<&mut Cursor, LogError> {
        if !self.readers.contains_key(&at.topic) {
            self.open_all(at.topic, self.log.partitions(at.topic)?)?;
        }
        self.cursors.get_mut(&at).ok_or(LogError::UnknownPartition(at))
    }

    /// Polls one partition.
    fn fill(&mut self, at: TopicPartition, wait: Duration) -> Result<(), LogError> {
        let limit = FetchLimit { wait, ..self.fetch };
        if let (Some(reader), Some(cursor)) = (self.readers.get_mut(&at.topic), self.cursors.get_mut(&at)) {
            reader.hold(at, false)?;
            let filled = cursor.fill(at, reader.as_mut(), limit);
            reader.hold(at, true)?;
            filled?;
        }
        Ok(())
    }

    /// Whether the log has more of a partition than was given yet: a log on a network gives it when it comes. Waits a
    /// little for it then.
    fn lags(&mut self, at: TopicPartition) -> Result<bool, LogError> {
        let high = self.log.watermarks(at, Isolation::Committed)?.high;
        let cursor = self.cursor(at)?;
        let lags = cursor.buffer.is_empty() && cursor.next < high;
        if lags {
            self.fill(at, POLL_WAIT)?;
        }
        Ok(lags)
    }

    /// Begins a round.
    pub fn begin(&mut self) {
        self.taken = 0;
        self.wanting.clear();
    }

    /// Records taken in this round.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether this round took nothing because there is nothing: every partition that gave nothing is at its end.
    ///
    /// # Errors
    /// The log is away or its bytes are torn.
    pub fn exhausted(&mut self) -> Result<bool, AuditError> {
        if self.taken > 0 {
            return Ok(false);
        }
        for at in self.wanting.clone() {
            if self.lags(at)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Offset of the first record of a partition that was not taken, if there is one; it stays.
    ///
    /// # Errors
    /// The log is away or its bytes are torn.
    pub fn untaken(&mut self, at: TopicPartition) -> Result<Option<Offset>, AuditError> {
        while self.lags(at)? {}
        Ok(self.cursor(at)?.buffer.front().map(|record| record.offset))
    }

    /// Next record of a partition with an offset below `to`.
    ///
    /// # Errors
    /// The log is away or its bytes are torn.
    pub fn read(&mut self, at: TopicPartition, to: Offset) -> Result<Read, AuditError> {
        let cursor = self.cursor(at)?;
        if cursor.buffer.is_empty() && cursor.next < to {
            self.fill(at, Duration::ZERO)?;
        }
        let cursor = self.cursor(at)?;
        let record = cursor.take_below(to);
        let (whole, passed) = (cursor.whole(), cursor.passed(to));
        Ok(match record {
            Some(record) => {
                self.taken += 1;
                Read::Record(record, whole)
            }
            None if passed => Read::Passed,
            None => {
                self.wanting.insert(at);
                Read::Empty
            }
        })
    }

    /// First offset covered without a gap up to now (after the last range lost to retention).
    ///
    /// # Errors
    /// The partition does not exist.
    pub fn covered_from(&mut self, at: TopicPartition) -> Result<Offset, AuditError> {
        let cursor = self.cursor(at)?;
        Ok(cursor.skipped.last().map_or(cursor.start, |(_, to)| *to))
    }

    /// Whether every record below `to` was taken.
    #[must_use]
    pub fn passed(&self, at: TopicPartition, to: Offset) -> bool {
        self.cursors.get(&at).is_some_and(|cursor| cursor.passed(to))
    }

    /// How often retention took records away before they were read.
    #[must_use]
    pub fn skips(&self, at: TopicPartition) -> usize {
        self.cursors.get(&at).map_or(0, |cursor| cursor.skipped.len())
    }

    /// Present committed ends of every opened partition.
    ///
    /// # Errors
    /// The log is away.
    pub fn ends(&self) -> Result<Vec<(TopicPartition, Offset)>, AuditError> {
        let end = |at: &TopicPartition| Ok((*at, self.log.watermarks(*at, Isolation::Committed)?.high));
        self.cursors.keys().map(end).collect()
    }

    /// End of a partition with what is not committed yet.
    ///
    /// # Errors
    /// The log is away.
    pub fn written(&self, at: TopicPartition) -> Result<Offset, AuditError> {
        Ok(self.log.watermarks(at, Isolation::Uncommitted)?.high)
    }

    /// Committed positions of a group, in the order asked. `None` = they cannot be told at the moment.
    ///
    /// # Errors
    /// The log is away.
    pub fn committed(
        &self,
        group: &str,
        at: &[TopicPartition],
    ) -> Result<Option<Vec<Option<Offset>>>, AuditError> {
        match self.log.committed(group, at) {
            Ok(held) => Ok(Some(held.into_iter().map(|held| held.map(|position| position.offset)).collect())),
            Err(LogError::Retriable(_) | LogError::Unstable { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Every partition read, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicPartition, &Cursor)> {
        self.cursors.iter()
    }
}
