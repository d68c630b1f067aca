//! An input that yields is taken at the throttle's rate while others are busy, never not at all, and freely when it is
//! alone.

use crate::copies::Copies;
use schemas::topics::{PartitionCounts, Topic};
use std::sync::Arc;
use stream::log::{Log, OutRecord, TopicPartition};
use stream::processor::{Assigned, Input};
use stream::sim::{Faults, SimLog, SimSettings};
use stream::throttle::{LEAST_PER_S, Settings, Throttle};
use stream::worker::{MemoryCheckpoints, Now, Options, Worker};

const SLOTS: u32 = 2;
const BULK: Topic = Topic::Commands;
const OTHERS: Topic = Topic::Credits;

/// A worker of a second in steps of 10 ms, and the log it reads.
struct Bench {
    log: SimLog,
    worker: Worker<Copies>,
    throttle: Arc<Throttle>,
}

impl Bench {
    fn new() -> Self {
        let counts = PartitionCounts { events: 1, internal: SLOTS };
        let log = SimLog::new(SimSettings::new(1, counts).with_faults(Faults::NONE));
        let throttle = Arc::new(Throttle::new(Settings { slower_percent: 20 }));
        let options = Options { throttle: Some(Arc::clone(&throttle)), ..Options::default() };
        let kept = Box::new(MemoryCheckpoints::default());
        let input = |topic| Input::new(topic, Assigned::SameNumber, 10_000);
        let inputs = vec![input(OTHERS), Input { yields: true, ..input(BULK) }];
        let copies = Copies { slots: SLOTS, inputs, most: usize::MAX };
        let worker = Worker::new(copies, Arc::new(log.process()), "1", options, kept);
        let mut bench = Self { log, worker, throttle };
        bench.second(0, |_| 0);
        bench
    }

    fn send(&self, topic: Topic, each: usize) {
        let of = |slot| TopicPartition::new(topic, slot);
        let sent = (0..SLOTS).flat_map(|slot| vec![OutRecord::new(of(slot), "x".into()); each]);
        self.log.append(sent.collect()).unwrap();
    }

    fn taken(&self, topic: Topic) -> i64 {
        let of_topic = self.worker.positions().into_iter().filter(|(at, _)| at.topic == topic);
        of_topic.map(|(_, position)| position).sum()
    }

    /// A second in which so many records of the others come to each slot every 10 ms, and those behind are as far behind
    /// as what was taken of the bulk in a step makes them: what was taken of it.
    fn second(&mut self, others: usize, behind_us: impl Fn(i64) -> i64) -> i64 {
        let before = self.taken(BULK);
        let mut last = before;
        for _ in 0..100 {
            if others > 0 {
                self.send(OTHERS, others);
            }
            self.log.advance(10_000);
            let us = self.log.now_us();
            let taken = self.taken(BULK);
            self.throttle.observe(us, behind_us(taken - last));
            last = taken;
            self.worker.step(Now { business_us: us, wall_us: us, monotonic_us: us }).unwrap();
        }
        self.taken(BULK) - before
    }
}

/// Nothing makes them slower.
const fn always_fast(_: i64) -> i64 {
    5_000
}

#[test]
fn bulk_alone_is_taken_as_it_comes() {
    let mut bench = Bench::new();
    bench.send(BULK, 30_000);
    assert_eq!(bench.second(0, always_fast), 60_000);
}

#[test]
fn bulk_beside_others_rises_until_it_makes_those_behind_late() {
    let mut bench = Bench::new();
    bench.second(3, always_fast);
    bench.send(BULK, 200_000);
    let least = i64::try_from(LEAST_PER_S).unwrap();
    // 60 in 10 ms are too many.
    let slowed = |taken: i64| if taken > 60 { 12_000 } else { 5_000 };
    let first = bench.second(3, slowed);
    assert!((least..3 * least).contains(&first), "{first}");
    let seconds: Vec<i64> = (0..20).map(|_| bench.second(3, slowed)).collect();
    assert!(seconds[0] > first && seconds[1] > seconds[0], "{seconds:?}");
    let later = &seconds[5..];
    assert!(later.iter().all(|taken| (3_000..8_000).contains(taken)), "{seconds:?}");
    // The others were never held back.
    let sent = 100 * 3 * i64::from(SLOTS) * 22;
    assert!(sent - bench.taken(OTHERS) <= 3 * i64::from(SLOTS), "{} of {sent}", bench.taken(OTHERS));
}

#[test]
fn bulk_never_stands_still_even_where_everything_is_jammed() {
    let mut bench = Bench::new();
    bench.second(3, always_fast);
    bench.send(BULK, 10_000);
    bench.second(3, |_| 900_000);
    let taken = bench.second(3, |_| 900_000);
    // One record a slot and window of 10 ms.
    assert_eq!(taken, 100 * i64::from(SLOTS));
}
