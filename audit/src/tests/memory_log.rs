//! A log in memory that can be read and nothing else.

use schemas::topics::{PartitionCounts, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use stream::log::*;

/// Records of every partition, with the first offset that is still there.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    pub counts: PartitionCounts,
    pub partitions: Arc<Mutex<BTreeMap<TopicPartition, Held>>>,
    /// Positions of whoever is asked for.
    pub committed: Arc<Mutex<BTreeMap<TopicPartition, Offset>>>,
}

#[derive(Debug, Clone, Default)]
pub struct Held {
    pub low: Offset,
    pub high: Offset,
    pub records: Vec<Record>,
}

impl MemoryLog {
    pub fn new(counts: PartitionCounts) -> Self {
        Self { counts, partitions: Arc::default(), committed: Arc::default() }
    }

    pub fn push(&self, at: TopicPartition, record: Record) {
        let mut partitions = self.partitions.lock().unwrap();
        let held = partitions.entry(at).or_default();
        held.high = record.offset + 1;
        held.records.push(record);
    }

    /// Changes the records of one partition.
    pub fn change(&self, topic: Topic, partition: u32, change: impl FnOnce(&mut Held)) {
        let mut partitions = self.partitions.lock().unwrap();
        change(partitions.get_mut(&TopicPartition::new(topic, partition)).unwrap());
    }

    fn held(&self, at: TopicPartition) -> Held {
        self.partitions.lock().unwrap().get(&at).cloned().unwrap_or_default()
    }
}

struct MemoryReader {
    log: MemoryLog,
    positions: BTreeMap<TopicPartition, Offset>,
    held: BTreeSet<TopicPartition>,
}

impl Reader for MemoryReader {
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        let mut out = Vec::new();
        let partitions = self.log.partitions.lock().unwrap();
        for (at, position) in self.positions.iter_mut().filter(|(at, _)| !self.held.contains(at)) {
            let Some(held) = partitions.get(at) else { continue };
            let (low, high) = (held.low, held.high);
            if *position < low {
                return Err(LogError::OutOfRange { at: *at, offset: *position, low, high });
            }
            let first = held.records.partition_point(|r| r.offset < *position);
            let records: Vec<Record> = held.records[first..].iter().take(limit.records).cloned().collect();
            *position = records.last().map_or(high, |last| last.offset + 1);
            if !records.is_empty() {
                out.push(Fetch { from: *at, records });
            }
        }
        Ok(out)
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        self.positions.get(&at).copied()
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        if held {
            self.held.insert(at)
        } else {
            self.held.remove(&at)
        };
        Ok(())
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        self.positions.insert(at, offset);
        Ok(())
    }
}

impl Log for MemoryLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        Ok(topic.partition_count(self.counts))
    }

    fn watermarks(&self, at: TopicPartition, _: Isolation) -> Result<Watermarks, LogError> {
        let held = self.held(at);
        Ok(Watermarks { low: held.low, high: held.high })
    }

    fn committed(&self, _: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        let committed = self.committed.lock().unwrap();
        let position = |at| Some(Position { offset: *committed.get(at)?, metadata: String::new() });
        Ok(at.iter().map(position).collect())
    }

    fn reader(&self, start: &[(TopicPartition, Offset)], _: Isolation) -> Result<Box<dyn Reader>, LogError> {
        let positions = start.iter().copied().collect();
        Ok(Box::new(MemoryReader { log: self.clone(), positions, held: BTreeSet::new() }))
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        Err(LogError::Io(format!("{}: this log is for reading", member.name)))
    }

    fn append(&self, _: Vec<OutRecord>) -> Result<u64, LogError> {
        Err(LogError::Io("this log is for reading".into()))
    }

    fn durable(&self) -> u64 {
        0
    }

    fn written(&self) -> u64 {
        self.durable()
    }

    fn wait_durable(&self, _: u64, _: Duration) -> Result<(), LogError> {
        Ok(())
    }

    fn fence(&self, _: &str) -> Result<(), LogError> {
        Ok(())
    }

    fn members(&self, _: &str) -> Result<Vec<String>, LogError> {
        Ok(Vec::new())
    }

    fn holders(&self, _: TopicPartition) -> Result<Vec<String>, LogError> {
        Ok(Vec::new())
    }

    fn features(&self) -> Features {
        Features { compaction: false }
    }

    fn check_retention(&self, _: Topic) -> Result<Result<(), String>, LogError> {
        Ok(Ok(()))
    }
}
