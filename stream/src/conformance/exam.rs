//! What the cases are written in: records, commits, readings and expectations, with the log's patience.

use super::{Abilities, Harness};
use crate::log::{
    Assignment, CommitOutcome, Fetch, FetchLimit, Header, Isolation, Log, LogError, Member, Offset,
    OutRecord, Position, Reader, Record, Session, TopicPartition, Transaction,
};
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use std::fmt::Debug;

/// Partitions of every log under test.
pub(super) const COUNTS: PartitionCounts = PartitionCounts { events: 4, internal: 8 };
/// The topic most cases write to.
pub(super) const TOPIC: Topic = Topic::Commands;
/// Longest text of a failure.
const FOUND_CHARS_MAX: usize = 400;

/// An expectation that was not met.
#[derive(Debug)]
pub(super) struct Failure(pub(super) String);

impl From<LogError> for Failure {
    fn from(error: LogError) -> Self {
        Self(format!("the log answered: {error}"))
    }
}

/// What a case ends in.
pub(super) type Verdict = Result<(), Failure>;

/// Fails unless `holds`.
pub(super) fn expect(holds: bool, what: impl Into<String>) -> Verdict {
    if holds { Ok(()) } else { Err(Failure(what.into())) }
}

/// Fails unless both are equal.
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Verdict {
    expect(found == expected, format!("{what}: {}, expected {}", brief(found), brief(expected)))
}

/// At most [`FOUND_CHARS_MAX`] characters of a value.
pub(super) fn brief(value: &impl Debug) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(FOUND_CHARS_MAX) {
        Some((end, _)) => format!("{} ...", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Partition of [`TOPIC`].
pub(super) const fn partition(number: u32) -> TopicPartition {
    TopicPartition::new(TOPIC, number)
}

/// A record with a text as its value.
pub(super) fn record(to: TopicPartition, text: impl Into<String>) -> OutRecord {
    OutRecord::new(to, Bytes::from(text.into().into_bytes()))
}

/// A member with its name as transactional id.
pub(super) fn member(group: &str, name: &str, slots: u32) -> Member {
    Member {
        group: group.to_owned(),
        name: name.to_owned(),
        transactional_id: format!("{group}.{name}"),
        slots,
    }
}

/// A position with metadata.
pub(super) fn position(offset: Offset, metadata: &str) -> Position {
    Position { offset, metadata: metadata.to_owned() }
}

/// What of a record must come back: key, value, headers.
pub(super) type Content = (Bytes, Bytes, Vec<Header>);

/// The content of a record as read.
pub(super) fn content(record: &Record) -> Content {
    (record.key.clone(), record.value.clone(), record.headers.clone())
}

/// The content of a record to be written.
pub(super) fn written(record: &OutRecord) -> Content {
    (record.key.clone(), record.value.clone(), record.headers.clone())
}

/// Values of records as text.
pub(super) fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}

/// A case at work on its log.
pub(super) struct Exam<'a> {
    pub(super) harness: &'a mut dyn Harness,
    pub(super) abilities: Abilities,
}

impl<'a> Exam<'a> {
    pub(super) fn new(harness: &'a mut dyn Harness) -> Self {
        let abilities = harness.abilities();
        Self { harness, abilities }
    }

    pub(super) fn log(&self) -> &dyn Log {
        self.harness.log()
    }

    /// A limit that no case reaches.
    pub(super) fn wide(&self) -> FetchLimit {
        FetchLimit { records: 100_000, bytes: 64 << 20, wait: self.abilities.wait }
    }

    /// A limit of some records.
    pub(super) fn at_most(&self, records: usize) -> FetchLimit {
        FetchLimit { records, ..self.wide() }
    }

    /// A reader of one partition from its low watermark.
    pub(super) fn reader(
        &self,
        at: TopicPartition,
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        let low = self.log().watermarks(at, isolation)?.low;
        self.log().reader(&[(at, low)], isolation)
    }

    /// Polls until `count` records have come, or patience ends; then once more, so that surplus shows.
    pub(super) fn fetch(&self, reader: &mut dyn Reader, count: usize) -> Result<Vec<Fetch>, LogError> {
        let mut fetches: Vec<Fetch> = Vec::new();
        let mut empty = 0;
        let mut got = 0;
        while got < count && empty < self.abilities.patience {
            let more = reader.poll(self.wide())?;
            empty = if more.is_empty() { empty + 1 } else { 0 };
            got += more.iter().map(|fetch| fetch.records.len()).sum::<usize>();
            fetches.extend(more);
        }
        fetches.extend(reader.poll(self.wide())?);
        Ok(fetches)
    }

    /// Polls until the reader's position is `end`, or patience ends.
    pub(super) fn read_to(
        &self,
        reader: &mut dyn Reader,
        at: TopicPartition,
        end: Offset,
    ) -> Result<(), LogError> {
        for _ in 0..self.abilities.patience {
            reader.poll(self.wide())?;
            if reader.position(at) == Some(end) {
                break;
            }
        }
        Ok(())
    }

    /// The records of one partition that a reader sees from its start; waits for `count` of them.
    pub(super) fn read(
        &self,
        at: TopicPartition,
        isolation: Isolation,
        count: usize,
    ) -> Result<Vec<Record>, LogError> {
        let mut reader = self.reader(at, isolation)?;
        Ok(self.fetch(reader.as_mut(), count)?.into_iter().flat_map(|fetch| fetch.records).collect())
    }

    /// Fails unless a committed reader sees exactly these values.
    pub(super) fn holds(&self, at: TopicPartition, values: &[&str]) -> Verdict {
        let found = texts(&self.read(at, Isolation::Committed, values.len())?);
        let expected: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        same(&format!("committed records of {at}"), &found, &expected)
    }

    /// Joins and waits until the assignment has slots.
    pub(super) fn join(&self, member: &Member) -> Result<Box<dyn Session>, Failure> {
        let mut session = self.log().join(member)?;
        self.assigned(session.as_mut())?;
        Ok(session)
    }

    /// The session's assignment, as soon as it has slots.
    pub(super) fn assigned(&self, session: &mut dyn Session) -> Result<Assignment, Failure> {
        for _ in 0..self.abilities.patience {
            if let Some(assignment) = asked(session)?.filter(|assignment| !assignment.slots.is_empty()) {
                return Ok(assignment);
            }
            self.pause();
        }
        Err(Failure("the member got no slots".to_owned()))
    }

    /// Between two questions of the same kind, on a log that takes its time.
    pub(super) fn pause(&self) {
        std::thread::sleep(self.abilities.wait / 4);
    }

    /// Commits under the current generation and tells how it ended.
    pub(super) fn attempt(
        &self,
        session: &mut dyn Session,
        records: Vec<OutRecord>,
        positions: Vec<(TopicPartition, Position)>,
    ) -> Result<CommitOutcome, Failure> {
        let generation = self.assigned(session)?.generation;
        Ok(session.commit(Transaction { generation, records, positions }))
    }

    /// Commits under the current generation; returns the sequence.
    pub(super) fn commit(
        &self,
        session: &mut dyn Session,
        records: Vec<OutRecord>,
        positions: Vec<(TopicPartition, Position)>,
    ) -> Result<u64, Failure> {
        match self.attempt(session, records, positions)? {
            CommitOutcome::Committed { sequence } => Ok(sequence),
            other => Err(Failure(format!("the commit ended as {}", brief(&other)))),
        }
    }
}

/// The session's assignment now; `None` while the next one is not known yet.
pub(super) fn asked(session: &mut dyn Session) -> Result<Option<Assignment>, LogError> {
    match session.assignment() {
        Err(LogError::Retriable(_)) => Ok(None),
        other => other.map(Some),
    }
}

/// Fails unless the commit was fenced.
pub(super) fn fenced(what: &str, outcome: &CommitOutcome) -> Verdict {
    expect(
        matches!(outcome, CommitOutcome::Fenced(_)),
        format!("{what}: {}, expected Fenced", brief(outcome)),
    )
}

/// Fails unless the commit was aborted and the session may go on.
pub(super) fn aborted(what: &str, outcome: &CommitOutcome) -> Verdict {
    expect(
        matches!(outcome, CommitOutcome::Aborted(_)),
        format!("{what}: {}, expected Aborted", brief(outcome)),
    )
}
