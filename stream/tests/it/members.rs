//! Several members of one processor share its slots, on every log: they come to rest, slots move in the middle of
//! windows, and whoever has lost a slot writes nothing to it any more.

use crate::tally::{SLOTS, TallyProcessor};
use bytes::Bytes;
use schemas::batch;
use schemas::topics::{PartitionCounts, Topic};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use stream::embedded::{EmbeddedLog, Options as EmbeddedOptions};
use stream::faults;
use stream::log::{FetchLimit, Isolation, Log, OutRecord, Record, TopicPartition};
use stream::sim::{CommitFault, SimLog, SimSettings};
use stream::worker::{MemoryCheckpoints, Now, Options, Progress, Worker, WorkerError};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: SLOTS };
/// Steps within which members that nobody disturbs must have come to rest.
const STEPS_MAX: usize = 60;

/// A log, what time it is there, and the numbers sent.
struct Ground {
    log: Arc<dyn Log>,
    sim: Option<SimLog>,
    now_us: i64,
    sent: u64,
    _dir: Option<tempfile::TempDir>,
}

impl Ground {
    fn sim(settings: SimSettings) -> Self {
        let sim = SimLog::new(settings);
        Self { log: Arc::new(sim.clone()), sim: Some(sim), now_us: 0, sent: 0, _dir: None }
    }

    fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(dir.path(), EmbeddedOptions::new(COUNTS)).unwrap();
        Self { log: Arc::new(log), sim: None, now_us: 0, sent: 0, _dir: Some(dir) }
    }

    /// Each log there is, the simulated one with members that leave when they are dropped and with static ones.
    fn all() -> [Self; 3] {
        let leaving = SimSettings::new(3, COUNTS);
        let fixed = SimSettings { leave_on_drop: false, ..SimSettings::new(3, COUNTS) };
        [Self::sim(leaving), Self::sim(fixed), Self::embedded()]
    }

    fn member(&self, name: &'static str) -> Member {
        let log: Arc<dyn Log> = match &self.sim {
            Some(sim) => Arc::new(sim.process()),
            None => Arc::clone(&self.log),
        };
        let options = Options { window_us: 0, poll_wait: Duration::ZERO, ..Options::default() };
        let checkpoints = Box::new(MemoryCheckpoints::default());
        Member { name, worker: Worker::new(TallyProcessor, log, name, options, checkpoints) }
    }

    fn pass(&mut self, us: i64) {
        self.now_us += us;
        if let Some(sim) = &self.sim {
            sim.advance(us);
        }
    }

    /// One number to every slot.
    fn send(&mut self) {
        for partition in 0..SLOTS {
            self.sent += 1;
            let to = TopicPartition::new(Topic::Commands, partition);
            self.log
                .append(vec![OutRecord::new(to, Bytes::copy_from_slice(&self.sent.to_be_bytes()))])
                .unwrap();
        }
    }

    fn step(&mut self, member: &mut Member) -> Result<Progress, WorkerError> {
        let now = Now { business_us: self.now_us, wall_us: self.now_us, monotonic_us: self.now_us };
        let progress = member.worker.step(now);
        assert_eq!(member.worker.stopped(), [], "{}", member.name);
        self.pass(10_000);
        progress
    }

    /// Steps the members in turn until nobody has anything to do; gives the slots of each.
    fn rest(&mut self, members: &mut [&mut Member]) -> Vec<Vec<u32>> {
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

    fn read(&self, topic: Topic) -> Vec<(u32, Record)> {
        let mut all = Vec::new();
        for partition in 0..SLOTS {
            let at = TopicPartition::new(topic, partition);
            let mut reader = self.log.reader(&[(at, 0)], Isolation::Committed).unwrap();
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

    /// Every number sent has had its effect once.
    #[track_caller]
    fn assert_each_once(&self) {
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        for (_, record) in self.read(Topic::Rejected) {
            *seen.entry(u64::from_be_bytes(record.value.as_ref().try_into().unwrap())).or_default() += 1;
        }
        assert_eq!(seen, (1..=self.sent).map(|number| (number, 1)).collect());
    }

    /// Owner epochs that each slot's changelog names.
    fn epochs(&self) -> Vec<BTreeSet<u64>> {
        let mut epochs = vec![BTreeSet::new(); SLOTS as usize];
        for (slot, record) in self.read(Topic::Journal) {
            epochs[slot as usize].insert(batch::open(&record.value).unwrap().header.epoch);
        }
        epochs
    }
}

struct Member {
    name: &'static str,
    worker: Worker<TallyProcessor>,
}

#[test]
fn members_that_join_and_leave_come_to_rest_and_each_number_counts_once() {
    for mut ground in Ground::all() {
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.send();
        assert_eq!(ground.rest(&mut [&mut a]), [vec![0, 1, 2]]);
        ground.send();
        assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
        ground.send();
        let mut c = ground.member("c");
        assert_eq!(ground.rest(&mut [&mut a, &mut b, &mut c]), [vec![0], vec![1], vec![2]]);
        ground.send();
        drop(b);
        // Where members are static, their slots wait for them until their session has timed out.
        for _ in 0..3 {
            ground.pass(1_000_000);
            ground.step(&mut a).unwrap();
            ground.step(&mut c).unwrap();
        }
        assert_eq!(ground.rest(&mut [&mut a, &mut c]), [vec![0, 1], vec![2]]);
        ground.assert_each_once();
    }
}

#[test]
fn a_slot_that_stays_goes_on_and_is_not_restored() {
    for mut ground in Ground::all() {
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.send();
        ground.rest(&mut [&mut a]);
        ground.step(&mut b).unwrap();
        // Two slots stay, one a step.
        let retaken = [ground.step(&mut a).unwrap(), ground.step(&mut a).unwrap()];
        assert_eq!(retaken, [Progress::Restoring { replayed: 0 }, Progress::Restored { replayed: 0 }]);
        ground.send();
        ground.rest(&mut [&mut a, &mut b]);
        ground.send();
        ground.rest(&mut [&mut a, &mut b]);
        let epochs = ground.epochs();
        assert_eq!(epochs, [BTreeSet::from([1]), BTreeSet::from([1]), BTreeSet::from([1, 2])]);
        ground.assert_each_once();
    }
}

#[test]
fn a_slot_that_was_another_s_in_between_is_restored() {
    for mut ground in Ground::all() {
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.send();
        ground.rest(&mut [&mut a]);
        // While `a` takes no step, slot 2 goes to `b`, which commits, and comes back.
        ground.step(&mut b).unwrap();
        ground.send();
        while !matches!(ground.step(&mut b), Ok(Progress::Committed { .. })) {}
        drop(b);
        ground.pass(1_500_000);
        ground.step(&mut a).unwrap();
        ground.pass(1_500_000);
        assert_eq!(ground.rest(&mut [&mut a]), [vec![0, 1, 2]]);
        assert_eq!(ground.epochs()[2], BTreeSet::from([1, 2, 3]));
        ground.assert_each_once();
    }
}

/// After an unknown outcome a member needs another session, and not other slots. A static one does not even see
/// another generation: it must compare all the same.
#[test]
fn joining_anew_after_an_unknown_outcome_moves_no_slot() {
    for fault in [CommitFault::UnknownCommitted, CommitFault::UnknownAborted, CommitFault::UnknownLost] {
        for leave_on_drop in [true, false] {
            let mut ground = Ground::sim(SimSettings { leave_on_drop, ..SimSettings::new(5, COUNTS) });
            let sim = ground.sim.clone().unwrap();
            let (mut a, mut b) = (ground.member("a"), ground.member("b"));
            ground.rest(&mut [&mut a, &mut b]);
            ground.send();
            sim.plan("ledgerflow-tally-a", fault);
            let generations = sim.counters().rebalances + u64::from(leave_on_drop);
            assert!(matches!(ground.step(&mut a), Ok(Progress::Rejoin(_))), "{fault:?}");
            assert_eq!(b.worker.slots(), [2]);
            assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
            assert_eq!(sim.counters().rebalances, generations, "{fault:?}");
            assert_eq!(
                ground.epochs()[2],
                BTreeSet::from([1]),
                "{fault:?}: the other's slot is not disturbed"
            );
            ground.assert_each_once();
        }
    }
}

/// A member hangs between its decision and its commit, for longer than its session; the slots are another's by then.
#[test]
fn a_member_that_wakes_up_in_the_middle_of_a_window_writes_nothing() {
    for leave_on_drop in [true, false] {
        let mut ground = Ground::sim(SimSettings { leave_on_drop, ..SimSettings::new(9, COUNTS) });
        let sim = ground.sim.clone().unwrap();
        let (mut a, mut b) = (ground.member("a"), ground.member("b"));
        ground.rest(&mut [&mut a, &mut b]);
        ground.send();
        let hangs = sim.clone();
        let armed = faults::arm_thread(move |point, _| {
            if point == faults::WORKER_BEFORE_COMMIT {
                hangs.advance(2_500_000);
            }
            false
        });
        let written = ground.read(Topic::Journal).len();
        let late = ground.step(&mut a).unwrap();
        drop(armed);
        assert!(matches!(late, Progress::Aborted(_)), "{late:?}");
        assert_eq!(ground.read(Topic::Journal).len(), written);
        assert_eq!(sim.counters().commits_stale, 1);
        // The other member takes all slots before the first one asks again.
        assert_eq!(ground.rest(&mut [&mut b]), [vec![0, 1, 2]]);
        assert_eq!(ground.rest(&mut [&mut a, &mut b]), [vec![0, 1], vec![2]]);
        ground.assert_each_once();
    }
}
