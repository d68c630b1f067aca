//! A slot whose records wait for more is not asked again before there are more, and holds nobody up.

use crate::nothing::Nothing;
use schemas::topics::{PartitionCounts, Topic};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stream::log::{Log, OutRecord, Record, TopicPartition};
use stream::processor::{Assigned, Changelog, Decision, Input, Processor, Stop, Window};
use stream::sim::{Faults, SimLog, SimSettings};
use stream::worker::{MemoryCheckpoints, Now, Options, Progress, Worker};

/// Commits when it has three records.
struct ByThrees {
    reads_clock: bool,
    asked: Arc<AtomicU32>,
}

impl Processor for ByThrees {
    type Slot = Nothing;
    type Change = ();

    fn name(&self) -> &'static str {
        "by-threes"
    }
    fn inputs(&self) -> Vec<Input> {
        vec![Input::new(Topic::Commands, Assigned::SameNumber, 100)]
    }
    fn changelog(&self) -> Changelog {
        Changelog::Inputs
    }
    fn reads_clock(&self) -> bool {
        self.reads_clock
    }
    fn slots(&self) -> u32 {
        1
    }
    fn open(&self, _: u32) -> Nothing {
        Nothing
    }
    fn decide(&self, _: &Nothing, window: Window) -> Result<Option<Decision<()>>, Stop> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let records = window.inputs[0].records.len();
        let decision = Decision {
            change: (),
            records: vec![],
            consumed: vec![],
            hash: [1; 32],
            items: records as u64,
            more: false,
        };
        Ok((window.first || records >= 3).then_some(decision))
    }
    fn apply(&self, _: &mut Nothing, (): ()) {}
    fn replay(&self, _: &mut Nothing, _: TopicPartition, _: &Record) -> Result<(), Stop> {
        Ok(())
    }
}

fn at() -> TopicPartition {
    TopicPartition::new(Topic::Commands, 0)
}

#[test]
fn what_waits_is_asked_about_once_and_counts_as_worked_off() {
    for reads_clock in [false, true] {
        let counts = PartitionCounts { events: 1, internal: 1 };
        let log = SimLog::new(SimSettings::new(1, counts).with_faults(Faults::NONE));
        let asked = Arc::new(AtomicU32::new(0));
        let processor = ByThrees { reads_clock, asked: Arc::clone(&asked) };
        let options = Options { window_us: 0, ..Options::default() };
        let kept = Box::new(MemoryCheckpoints::default());
        let mut worker = Worker::new(processor, Arc::new(log.process()), "1", options, kept);
        let steps = |worker: &mut Worker<ByThrees>| {
            let before = asked.load(Ordering::Relaxed);
            let mut items = 0;
            for _ in 0..10 {
                log.advance(10_000);
                let us = log.now_us();
                let now = Now { business_us: us, wall_us: us, monotonic_us: us };
                if let Progress::Committed { items: more, .. } = worker.step(now).unwrap() {
                    items += more;
                }
            }
            (items, asked.load(Ordering::Relaxed) - before)
        };
        let send = |count: usize| log.append(vec![OutRecord::new(at(), "x".into()); count]).unwrap();
        steps(&mut worker);
        send(2);
        let (items, times) = steps(&mut worker);
        assert_eq!((items, worker.positions()), (0, vec![(at(), 0)]), "nothing is committed");
        // Whoever reads the clock is asked at every step, and what it leaves lying is work to be done.
        assert_eq!(
            (times > 1, worker.worked_off()),
            (reads_clock, vec![(at(), if reads_clock { 0 } else { 2 })])
        );
        send(1);
        let (items, _) = steps(&mut worker);
        assert_eq!((items, worker.positions()), (3, vec![(at(), 3)]), "all three are committed together");
        assert_eq!(worker.worked_off(), worker.positions());
    }
}
