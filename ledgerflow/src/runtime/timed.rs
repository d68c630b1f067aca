//! How long commits take, measured around a worker's log: the worker itself reads no clock.
//!
//! A reader of the processor's inputs notes when records first come, a session notes the answer to its commit. What a
//! worker reads in order to restore does not count: the reader with which it goes on is opened last, and begins anew.
//! Traces are taken from the same places ([`Stage`]); where there are none, that is one look an answer.

use crate::traces::Stage;
use prometheus_client::metrics::histogram::Histogram;
use schemas::topics::Topic;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use stream::clock::monotonic_us;
use stream::log::{
    Assignment, CommitOutcome, Features, Fetch, FetchLimit, Isolation, Log, LogError, Member, Offset,
    OutRecord, Position, Reader, Session, TopicPartition, Transaction, Watermarks,
};

/// Upper bounds of the histograms' buckets, seconds: from a commit in memory to one that a cluster takes its time for.
const BUCKETS_S: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

/// Durations of the commits of a processor's workers, seconds.
#[derive(Debug, Clone)]
pub struct Durations {
    /// The call that commits.
    pub commit: Histogram,
    /// From the first record read since the window before to the answer of the commit, windows decided again included.
    pub window: Histogram,
    /// What the calls that commit took together, microseconds.
    spent_us: Arc<AtomicU64>,
}

impl Durations {
    /// What all commits took together, microseconds.
    #[must_use]
    pub fn spent_us(&self) -> u64 {
        self.spent_us.load(Ordering::Relaxed)
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            commit: Histogram::new(BUCKETS_S),
            window: Histogram::new(BUCKETS_S),
            spent_us: Arc::default(),
        }
    }
}

fn seconds_since(since_us: i64, now_us: i64) -> f64 {
    Duration::from_micros(u64::try_from(now_us.saturating_sub(since_us)).unwrap_or(0)).as_secs_f64()
}

/// When a worker first read a record that it has not committed, monotonic microseconds; [`NOTHING_READ`] = none.
type FirstRead = Arc<AtomicI64>;

const NOTHING_READ: i64 = i64::MIN;

/// A log whose commits are measured, for one worker.
pub struct TimedLog {
    log: Arc<dyn Log>,
    /// Input topics of the worker's processor.
    inputs: Vec<Topic>,
    durations: Durations,
    first_read: FirstRead,
    /// Follows the worker's traces.
    stage: Option<Arc<Stage>>,
}

impl TimedLog {
    /// Measures one worker of a processor with these inputs.
    #[must_use]
    pub fn new(log: Arc<dyn Log>, inputs: Vec<Topic>, durations: Durations) -> Self {
        Self { log, inputs, durations, first_read: Arc::new(AtomicI64::new(NOTHING_READ)), stage: None }
    }

    /// The same with its traces followed.
    #[must_use]
    pub fn followed(mut self, stage: Option<Stage>) -> Self {
        self.stage = stage.map(Arc::new);
        self
    }
}

impl Log for TimedLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }

    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError> {
        self.log.watermarks(at, isolation)
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        self.log.committed(group, at)
    }

    fn reader(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        let reader = self.log.reader(start, isolation)?;
        if !start.iter().all(|(at, _)| self.inputs.contains(&at.topic)) {
            return Ok(reader);
        }
        self.first_read.store(NOTHING_READ, Ordering::Relaxed);
        if let Some(stage) = &self.stage {
            stage.begins_anew();
        }
        let (first_read, stage) = (Arc::clone(&self.first_read), self.stage.clone());
        Ok(Box::new(TimedReader { reader, first_read, stage }))
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        let (session, durations) = (self.log.join(member)?, self.durations.clone());
        let (first_read, stage) = (Arc::clone(&self.first_read), self.stage.clone());
        Ok(Box::new(TimedSession { session, durations, first_read, stage }))
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

struct TimedReader {
    reader: Box<dyn Reader>,
    first_read: FirstRead,
    stage: Option<Arc<Stage>>,
}

impl Reader for TimedReader {
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        let fetches = self.reader.poll(limit)?;
        if !fetches.is_empty() && self.first_read.load(Ordering::Relaxed) == NOTHING_READ {
            self.first_read.store(monotonic_us(), Ordering::Relaxed);
        }
        if let Some(stage) = &self.stage {
            stage.read(&fetches);
        }
        Ok(fetches)
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        self.reader.position(at)
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        if let Some(stage) = &self.stage {
            stage.went_back(at, offset);
        }
        self.reader.seek(at, offset)
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        self.reader.hold(at, held)
    }
}

struct TimedSession {
    session: Box<dyn Session>,
    durations: Durations,
    first_read: FirstRead,
    stage: Option<Arc<Stage>>,
}

impl Session for TimedSession {
    fn assignment(&mut self) -> Result<Assignment, LogError> {
        self.session.assignment()
    }

    fn commit(&mut self, transaction: Transaction) -> CommitOutcome {
        let sealed = self.stage.as_ref().map(|stage| (stage, stage.sealed(&transaction)));
        let begun_us = monotonic_us();
        let outcome = self.session.commit(transaction);
        if let CommitOutcome::Committed { sequence } = outcome {
            if let Some((stage, sealed)) = sealed {
                stage.committed(sealed, sequence);
            }
            let now_us = monotonic_us();
            self.durations.commit.observe(seconds_since(begun_us, now_us));
            let took_us = u64::try_from(now_us.saturating_sub(begun_us)).unwrap_or(0);
            self.durations.spent_us.fetch_add(took_us, Ordering::Relaxed);
            let first_us = self.first_read.swap(NOTHING_READ, Ordering::Relaxed);
            if first_us != NOTHING_READ {
                self.durations.window.observe(seconds_since(first_us, now_us));
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use schemas::topics::PartitionCounts;
    use stream::sim::{SimLog, SimSettings};

    /// How many commits, and how many windows with records, were measured.
    fn measured(durations: &Durations) -> (u64, u64) {
        let mut registry = Registry::default();
        registry.register("commit", "", durations.commit.clone());
        registry.register("window", "", durations.window.clone());
        let mut text = String::new();
        encode(&mut text, &registry).expect("text");
        let count = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a count");
            line.trim().parse().expect("number")
        };
        (count("commit_count"), count("window_count"))
    }

    #[test]
    fn a_window_lasts_from_its_first_record_to_the_answer_of_its_commit() {
        let counts = PartitionCounts { events: 1, internal: 1 };
        let sim = SimLog::new(SimSettings::new(1, counts));
        let (input, journal) =
            (TopicPartition::new(Topic::Commands, 0), TopicPartition::new(Topic::Journal, 0));
        let durations = Durations::default();
        let log = TimedLog::new(Arc::new(sim), vec![Topic::Commands], durations.clone());
        let member = Member { group: "g".into(), name: "1".into(), transactional_id: "t".into(), slots: 1 };
        let mut session = log.join(&member).expect("joins");
        let generation = session.assignment().expect("assigned").generation;
        let transaction = |generation, n: u8| Transaction {
            generation,
            records: vec![OutRecord::new(journal, Bytes::from(vec![n]))],
            positions: vec![(input, Position { offset: n.into(), metadata: String::new() })],
        };
        let committed = |outcome: CommitOutcome| {
            assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}")
        };
        // A window without records: a tick.
        committed(session.commit(transaction(generation, 0)));
        assert_eq!(measured(&durations), (1, 0));

        log.append(vec![OutRecord::new(input, Bytes::from_static(b"a"))]).expect("appended");
        let limit = FetchLimit { records: 10, bytes: 1 << 20, wait: Duration::ZERO };
        let mut other = log.reader(&[(journal, 0)], Isolation::Committed).expect("reader");
        assert!(!other.poll(limit).expect("read").is_empty());
        committed(session.commit(transaction(generation, 0)));
        assert_eq!(measured(&durations), (2, 0), "what is no input begins no window");

        let mut reader = log.reader(&[(input, 0)], Isolation::Committed).expect("reader");
        assert!(!reader.poll(limit).expect("read").is_empty());
        let aborted = session.commit(transaction(generation + 1, 1));
        assert!(matches!(aborted, CommitOutcome::Aborted(_)), "{aborted:?}");
        assert_eq!(measured(&durations), (2, 0));
        committed(session.commit(transaction(generation, 1)));
        assert_eq!(measured(&durations), (3, 1), "the window that was aborted goes on");
        committed(session.commit(transaction(generation, 1)));
        assert_eq!(measured(&durations), (4, 1), "it is measured once");
    }
}
