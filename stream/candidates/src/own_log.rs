//! Candidate: the embedded log of this crate.

use crate::{Candidate, PARTITIONS, SYNC_INTERVAL, Source, Taken};
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{
    CommitOutcome, FetchLimit, Isolation, Log, Member, OutRecord, Position, Reader, Session, TopicPartition,
    Transaction,
};

const TOPICS: [Topic; 3] = [Topic::Commands, Topic::Journal, Topic::ReconSides];

pub struct OwnLog {
    log: EmbeddedLog,
    /// One member for each stage, with its generation.
    sessions: [Mutex<(Box<dyn Session>, u64)>; 3],
}

impl OwnLog {
    pub fn open(directory: &Path) -> Self {
        let mut options = Options::new(PartitionCounts { events: 1, internal: PARTITIONS });
        options.sync_interval = SYNC_INTERVAL;
        let log = EmbeddedLog::open(directory, options).unwrap();
        let sessions = ["a", "b", "c"].map(|stage| {
            let member = Member {
                group: stage.to_owned(),
                name: stage.to_owned(),
                transactional_id: stage.to_owned(),
                slots: PARTITIONS,
            };
            let mut session = log.join(&member).unwrap();
            let generation = session.assignment().unwrap().generation;
            Mutex::new((session, generation))
        });
        Self { log, sessions }
    }
}

impl Candidate for OwnLog {
    fn commit(&self, topic: usize, records: Vec<(u32, Bytes)>, positions: &[(u32, i64)]) {
        let records = records.into_iter();
        let records = records.map(|(p, value)| OutRecord::new(TopicPartition::new(TOPICS[topic], p), value));
        let source = TOPICS[topic.saturating_sub(1)];
        let positions = positions.iter().map(|(p, offset)| {
            (TopicPartition::new(source, *p), Position { offset: *offset, metadata: String::new() })
        });
        let (records, positions) = (records.collect(), positions.collect());
        let mut held = self.sessions[topic].lock().unwrap();
        let generation = held.1;
        let outcome = held.0.commit(Transaction { generation, records, positions });
        assert!(matches!(outcome, CommitOutcome::Committed { .. }), "{outcome:?}");
    }

    fn reader(&self, topic: usize) -> Box<dyn Source + '_> {
        let start: Vec<_> = (0..PARTITIONS).map(|p| (TopicPartition::new(TOPICS[topic], p), 0)).collect();
        Box::new(OwnSource(self.log.reader(&start, Isolation::Committed).unwrap()))
    }

    fn sync(&self) {
        self.log.sync().unwrap();
    }

    fn syncs_itself(&self) -> bool {
        true
    }
}

struct OwnSource(Box<dyn Reader>);

impl Source for OwnSource {
    fn take(&mut self, bytes: usize, wait: Duration) -> Vec<Taken> {
        let fetched = self.0.poll(FetchLimit { records: 1000, bytes, wait }).unwrap();
        let taken = fetched.into_iter().flat_map(|fetch| {
            let partition = fetch.from.partition;
            fetch.records.into_iter().map(move |record| (partition, record.offset + 1, record.value))
        });
        taken.collect()
    }
}
