//! A log under a tally: the numbers sent, the members stepped by hand, what lies on the topics afterwards.

use crate::tally::{SLOTS, TallyProcessor};
use bytes::Bytes;
use schemas::batch;
use schemas::topics::{PartitionCounts, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stream::embedded::{EmbeddedLog, Options as EmbeddedOptions};
use stream::log::{FetchLimit, Isolation, Log, OutRecord, Record, TopicPartition};
use stream::sim::{SimLog, SimSettings};
use stream::worker::{Checkpoints, MemoryCheckpoints, Now, Options, Progress, Worker, WorkerError};

pub const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: SLOTS };
/// Steps within which members that nobody disturbs must have come to rest.
const STEPS_MAX: usize = 60;

/// A log, what time it is there, and the numbers sent.
pub struct Ground {
    pub log: Arc<dyn Log>,
    pub sim: Option<SimLog>,
    pub embedded: Option<Arc<EmbeddedLog>>,
    now_us: i64,
    sent: u64,
    _dir: Option<tempfile::TempDir>,
}

impl Ground {
    pub fn sim(settings: SimSettings) -> Self {
        let sim = SimLog::new(settings);
        Self { log: Arc::new(sim.clone()), sim: Some(sim), embedded: None, now_us: 0, sent: 0, _dir: None }
    }

    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(EmbeddedLog::open(dir.path(), EmbeddedOptions::new(COUNTS)).unwrap());
        let shared = Arc::clone(&log) as Arc<dyn Log>;
        Self { log: shared, sim: None, embedded: Some(log), now_us: 0, sent: 0, _dir: Some(dir) }
    }

    /// Each log there is, the simulated one with members that leave when they are dropped and with static ones.
    pub fn all() -> [Self; 3] {
        let leaving = SimSettings::new(3, COUNTS);
        let fixed = SimSettings { leave_on_drop: false, ..SimSettings::new(3, COUNTS) };
        [Self::sim(leaving), Self::sim(fixed), Self::embedded()]
    }

    pub fn member(&self, name: &'static str) -> Member {
        self.member_with(name, Box::new(MemoryCheckpoints::default()))
    }

    pub fn member_with(&self, name: &'static str, checkpoints: Box<dyn Checkpoints>) -> Member {
        let log: Arc<dyn Log> = match &self.sim {
            Some(sim) => Arc::new(sim.process()),
            None => Arc::clone(&self.log),
        };
        let pool = ["a", "b", "c"].map(str::to_owned).to_vec();
        let options = Options { window_us: 0, poll_wait: Duration::ZERO, pool, ..Options::default() };
        Member { name, worker: Worker::new(TallyProcessor, log, name, options, checkpoints) }
    }

    pub fn pass(&mut self, us: i64) {
        self.now_us += us;
        if let Some(sim) = &self.sim {
            sim.advance(us);
        }
    }

    /// One number to every slot.
    pub fn send(&mut self) {
        for partition in 0..SLOTS {
            self.sent += 1;
            let to = TopicPartition::new(Topic::Commands, partition);
            self.log
                .append(vec![OutRecord::new(to, Bytes::copy_from_slice(&self.sent.to_be_bytes()))])
                .unwrap();
        }
    }

    pub fn now(&self) -> Now {
        Now { business_us: self.now_us, wall_us: self.now_us, monotonic_us: self.now_us }
    }

    pub fn step(&mut self, member: &mut Member) -> Result<Progress, WorkerError> {
        let progress = member.worker.step(self.now());
        assert_eq!(member.worker.stopped(), [], "{}", member.name);
        self.pass(10_000);
        progress
    }

    /// Steps a member whose slots need not all go on until it is restored.
    pub fn restore(&mut self, member: &mut Member) {
        let now = self.now();
        while !matches!(member.worker.step(now).unwrap(), Progress::Restored { .. }) {
            self.pass(10_000);
        }
    }

    /// Steps the members in turn until nobody has anything to do; gives the slots of each.
    pub fn rest(&mut self, members: &mut [&mut Member]) -> Vec<Vec<u32>> {
        let mut quiet = 0;
        for step in 0..STEPS_MAX * members.len() {
            let at = step % members.len();
            let progress = self.step(members[at]).unwrap();
            quiet = if progress == Progress::Idle { quiet + 1 } else { 0 };
            if quiet == 3 * members.len() {
                return members.iter().map(|member| member.worker.slots()).collect();
            }
        }
        panic!("no rest after {STEPS_MAX} steps each");
    }

    pub fn read(&self, topic: Topic) -> Vec<(u32, Record)> {
        let mut all = Vec::new();
        for partition in 0..SLOTS {
            let at = TopicPartition::new(topic, partition);
            let low = self.log.watermarks(at, Isolation::Committed).unwrap().low;
            let mut reader = self.log.reader(&[(at, low)], Isolation::Committed).unwrap();
            let limit = FetchLimit { records: 10_000, bytes: 64 << 20, wait: Duration::ZERO };
            loop {
                let fetched = reader.poll(limit).unwrap();
                if fetched.is_empty() {
                    break;
                }
                all.extend(fetched.into_iter().flat_map(|f| f.records).map(|record| (partition, record)));
            }
        }
        all
    }

    /// Retention takes the records of a partition below `low`.
    pub fn give_up(&self, at: TopicPartition, low: i64) {
        match (&self.sim, &self.embedded) {
            (Some(sim), _) => sim.truncate(at, low).unwrap(),
            (_, Some(embedded)) => drop(embedded.clean(&[(at, low)]).unwrap().wait().unwrap()),
            _ => panic!("no log"),
        }
    }

    /// Every number sent has had its effect once.
    #[track_caller]
    pub fn assert_each_once(&self) {
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        for (_, record) in self.read(Topic::Rejected) {
            *seen.entry(u64::from_be_bytes(record.value.as_ref().try_into().unwrap())).or_default() += 1;
        }
        assert_eq!(seen, (1..=self.sent).map(|number| (number, 1)).collect());
    }

    /// Owner epochs that each slot's changelog names.
    pub fn epochs(&self) -> Vec<BTreeSet<u64>> {
        let mut epochs = vec![BTreeSet::new(); SLOTS as usize];
        for (slot, record) in self.read(Topic::Journal) {
            epochs[slot as usize].insert(batch::open(&record.value).unwrap().header.epoch);
        }
        epochs
    }
}

pub struct Member {
    pub name: &'static str,
    pub worker: Worker<TallyProcessor>,
}
