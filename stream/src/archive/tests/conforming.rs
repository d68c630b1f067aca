//! The suite that every log passes, on a log whose records go to files as it is read.

use super::*;
use crate::conformance::{Abilities, Harness, run_all};
use crate::log::{Features, Member, Position, Reader, Session, Watermarks};

/// A simulated log that archives everything and gives a share of it up whenever a reader is opened.
struct Moving {
    sim: SimLog,
    log: Archived,
    archive: Arc<Archive>,
    /// Percent of the records held that are given up.
    percent: i64,
    _dir: tempfile::TempDir,
}

impl Moving {
    fn new(counts: PartitionCounts, percent: i64) -> Self {
        let (dir, sim) = (scratch(), SimLog::new(SimSettings::new(1, counts)));
        let archive = Arc::new(Archive::new(dir.path(), IDENTITY, Topic::ALL.to_vec()));
        let log = Archived::new(Arc::new(sim.clone()), Arc::clone(&archive));
        Self { sim, log, archive, percent, _dir: dir }
    }

    fn give_up(&self, at: TopicPartition) -> Result<(), LogError> {
        let bounds = self.sim.watermarks(at, Isolation::Committed)?;
        if bounds.high == bounds.low {
            return Ok(());
        }
        take(&self.archive, &self.sim, at, SMALL_FILE)?;
        let reached = self.archive.bounds(at)?.map_or(0, |held| held.high);
        let low = bounds.low + (bounds.high - bounds.low) * self.percent / 100;
        self.sim.truncate(at, low.min(reached).max(bounds.low))
    }
}

impl Log for Moving {
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
        start
            .iter()
            .filter(|(at, _)| self.watermarks(*at, isolation).is_ok())
            .try_for_each(|(at, _)| self.give_up(*at))?;
        self.log.reader(start, isolation)
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

impl Harness for Moving {
    fn log(&self) -> &dyn Log {
        self
    }
    fn abilities(&self) -> Abilities {
        Abilities { whole_commits: false, ..Abilities::PLAIN }
    }
}

#[test]
fn a_log_with_a_part_of_its_records_in_files_conforms() {
    for percent in [0, 50, 100] {
        let report = run_all(&mut |counts| Box::new(Moving::new(counts, percent)) as Box<dyn Harness>);
        assert_eq!(report.failed(), Vec::<&str>::new(), "{percent}\n{report}");
    }
}
