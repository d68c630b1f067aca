//! A window ends with the slot that takes it over its bytes; the other slots come in the next one. One that was full is
//! followed at once.

use crate::copies::{BYTES, Copies};
use schemas::topics::{PartitionCounts, Topic};
use std::sync::Arc;
use stream::log::{Log, OutRecord, TopicPartition};
use stream::processor::{Assigned, Input};
use stream::sim::{Faults, SimLog, SimSettings};
use stream::worker::{MemoryCheckpoints, Now, Options, Progress, Worker};

const SLOTS: u32 = 4;
/// Records of each window that commits, when every slot has `each` to read at once.
fn windows(window_bytes: usize, each: usize) -> Vec<usize> {
    let counts = PartitionCounts { events: 1, internal: SLOTS };
    let log = SimLog::new(SimSettings::new(1, counts).with_faults(Faults::NONE));
    let options = Options { window_us: 0, window_bytes, ..Options::default() };
    let kept = Box::new(MemoryCheckpoints::default());
    let inputs = vec![Input::new(Topic::Commands, Assigned::SameNumber, 100)];
    let copies = Copies { slots: SLOTS, inputs, most: usize::MAX };
    let mut worker = Worker::new(copies, Arc::new(log.process()), "1", options, kept);
    let mut step = || {
        log.advance(10_000);
        let us = log.now_us();
        worker.step(Now { business_us: us, wall_us: us, monotonic_us: us }).unwrap()
    };
    // The first window of every owner, without records.
    for _ in 0..10 {
        step();
    }
    let of = |slot| TopicPartition::new(Topic::Commands, slot);
    let sent = (0..SLOTS).flat_map(|slot| vec![OutRecord::new(of(slot), "x".into()); each]);
    log.append(sent.collect()).unwrap();
    let steps = (0..20).map(|_| step());
    steps
        .filter_map(|step| if let Progress::Committed { records, .. } = step { Some(records) } else { None })
        .collect()
}

#[test]
fn a_window_takes_no_further_slot_once_it_has_its_bytes() {
    for (window_bytes, each, want) in [
        (usize::MAX, 3, vec![12]),
        (4 * 3 * BYTES, 3, vec![12]),
        // Two slots and a part of the third come to it.
        (2 * 3 * BYTES + 1, 3, vec![9, 3]),
        (3 * BYTES, 3, vec![3, 3, 3, 3]),
        // What one slot decides is not parted.
        (1, 5, vec![5, 5, 5, 5]),
    ] {
        assert_eq!(windows(window_bytes, each), want, "{window_bytes} bytes, {each} records");
    }
}

#[test]
fn a_window_that_was_full_is_followed_at_once() {
    let counts = PartitionCounts { events: 1, internal: 1 };
    let log = SimLog::new(SimSettings::new(1, counts).with_faults(Faults::NONE));
    let options = Options { window_us: 1_000_000, ..Options::default() };
    let inputs = vec![Input::new(Topic::Commands, Assigned::SameNumber, 100)];
    let copies = Copies { slots: 1, inputs, most: 4 };
    let kept = Box::new(MemoryCheckpoints::default());
    let mut worker = Worker::new(copies, Arc::new(log.process()), "1", options, kept);
    let mut step = |pass_us: i64| {
        log.advance(pass_us);
        let us = log.now_us();
        match worker.step(Now { business_us: us, wall_us: us, monotonic_us: us }).unwrap() {
            Progress::Committed { records, .. } => Some(records),
            _ => None,
        }
    };
    for _ in 0..10 {
        step(500_000);
    }
    let at = TopicPartition::new(Topic::Commands, 0);
    log.append(vec![OutRecord::new(at, "x".into()); 10]).unwrap();
    let first = (0..10).find_map(|_| step(500_000));
    // What is left does not wait for a second; what comes then does.
    let rest: Vec<_> = (0..4).map(|_| step(1_000)).collect();
    assert_eq!((first, rest), (Some(4), vec![Some(4), Some(2), None, None]));
    log.append(vec![OutRecord::new(at, "x".into()); 3]).unwrap();
    let later: Vec<_> = (0..3).map(|_| step(1_000)).collect();
    assert_eq!((later, step(1_000_000)), (vec![None; 3], Some(3)));
}
