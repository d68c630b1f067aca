//! The worker cycle holds exactly-once on the simulated log: every input record's effect is visible once, the state
//! equals its replay, whatever dies where. The processor under test is [`crate::tally`].

use crate::tally::{SLOTS, TallyProcessor};
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use stream::faults;
use stream::log::{Log, OutRecord, TopicPartition};
use stream::processor::SlotState;
use stream::sim::{Faults, Prng, SimLog, SimSettings};
use stream::worker::{MemoryCheckpoints, Now, Options, Progress, Worker, WorkerError};

struct Simulation {
    log: SimLog,
    process: SimLog,
    kept: MemoryCheckpoints,
    worker: Option<Worker<TallyProcessor>>,
    prng: Prng,
    sent: u64,
    restarts: u64,
}

fn options() -> Options {
    Options { window_us: 0, checkpoint_us: 400_000, ..Options::default() }
}

impl Simulation {
    fn new(seed: u64, with: Faults) -> Self {
        let counts = PartitionCounts { events: 1, internal: SLOTS };
        let log = SimLog::new(SimSettings::new(seed, counts).with_faults(with));
        let process = log.process();
        Self {
            log,
            process,
            kept: MemoryCheckpoints::default(),
            worker: None,
            prng: Prng::new(seed),
            sent: 0,
            restarts: 0,
        }
    }

    fn now(&self) -> Now {
        let us = self.log.now_us();
        Now { business_us: us, wall_us: self.log.wall_us(), monotonic_us: us }
    }

    fn send(&mut self) {
        for _ in 0..self.prng.below(4) {
            self.sent += 1;
            let topic = if self.prng.below(3) == 0 { Topic::Credits } else { Topic::Commands };
            let to = TopicPartition::new(topic, self.prng.below(u64::from(SLOTS)) as u32);
            let record = OutRecord::new(to, Bytes::copy_from_slice(&self.sent.to_be_bytes()));
            while self.log.append(vec![record.clone()]).is_err() {
                self.log.advance(1_000);
            }
        }
    }

    /// One step of the worker; a dead one is replaced by a new process.
    fn step(&mut self) -> Option<Progress> {
        let now = self.now();
        let (process, kept) = (&self.process, &self.kept);
        let worker = self.worker.get_or_insert_with(|| {
            let checkpoints = Box::new(kept.clone());
            Worker::new(TallyProcessor, Arc::new(process.clone()), "1", options(), checkpoints)
        });
        let outcome = worker.step(now);
        let stopped = worker.stopped();
        assert!(stopped.is_empty(), "{stopped:?}");
        self.log.advance(20_000);
        match outcome {
            Ok(progress) if !self.process.is_dead() => Some(progress),
            Err(WorkerError::Log(error)) if !self.process.is_dead() => panic!("{error}"),
            _ => {
                self.restarts += 1;
                self.worker = None;
                self.log.crash("ledgerflow-tally-1");
                self.process = self.log.process();
                if self.prng.below(4) == 0 {
                    self.kept.clear();
                }
                None
            }
        }
    }

    /// Works everything off, then holds outputs and state against what was sent.
    fn check(&mut self) {
        self.log.set_faults(Faults::NONE);
        let mut idle = 0;
        for _ in 0..4_000 {
            idle = if self.step() == Some(Progress::Idle) { idle + 1 } else { 0 };
            if idle > 50 {
                break;
            }
        }
        let mut seen: BTreeMap<u64, u32> = BTreeMap::new();
        self.log.for_each_visible(Topic::Rejected, &mut |_, record| {
            *seen.entry(u64::from_be_bytes(record.value.as_ref().try_into().unwrap())).or_default() += 1;
        });
        let expected: BTreeMap<u64, u32> = (1..=self.sent).map(|n| (n, 1)).collect();
        assert_eq!(seen, expected, "each number's effect is visible once");
        let worker = self.worker.as_ref().unwrap();
        let live: Vec<_> = (0..SLOTS).map(|slot| worker.slot(slot).unwrap().canonical()).collect();
        self.kept.clear();
        self.worker = None;
        while !matches!(self.step(), Some(Progress::Restored { .. })) {}
        let worker = self.worker.as_ref().unwrap();
        let replayed: Vec<_> = (0..SLOTS).map(|slot| worker.slot(slot).unwrap().canonical()).collect();
        assert!(live == replayed, "state = replay of the log alone");
    }
}

#[test]
fn a_quiet_log_is_worked_off_once() {
    let mut simulation = Simulation::new(1, Faults::NONE);
    for _ in 0..100 {
        simulation.send();
        simulation.step();
    }
    simulation.check();
    assert_eq!(simulation.restarts, 0);
}

#[test]
fn every_fault_of_the_log_leaves_each_effect_once() {
    let mut restarts = 0;
    for seed in 0..200 {
        let mut simulation = Simulation::new(seed, Faults::ALL);
        for _ in 0..150 {
            simulation.send();
            simulation.step();
        }
        simulation.check();
        restarts += simulation.restarts;
    }
    assert!(restarts > 200, "processes died {restarts} times");
}

#[test]
fn a_crash_at_every_fault_point_leaves_each_effect_once() {
    let points: Vec<_> = faults::ALL.iter().filter(|p| p.name().starts_with("worker.")).collect();
    assert!(points.len() >= 6);
    let fired = Rc::new(RefCell::new(BTreeMap::new()));
    for (at, point) in points.iter().enumerate() {
        for nth in 1..12_u64 {
            let mut simulation = Simulation::new(nth * 31 + at as u64, Faults::NONE);
            let count = Rc::clone(&fired);
            let (wanted, mut hits) = (**point, 0);
            let armed = faults::arm_thread(move |point, _| {
                hits += u64::from(point == wanted);
                let fires = point == wanted && hits % nth == 0;
                *count.borrow_mut().entry(point.name()).or_insert(0_u32) += u32::from(fires);
                // The first owner must get somewhere: a point that fires at every hit would never let it.
                fires && hits < 40
            });
            for _ in 0..60 {
                simulation.send();
                simulation.step();
            }
            drop(armed);
            simulation.check();
        }
    }
    for point in points {
        assert!(fired.borrow().get(point.name()).is_some_and(|n| *n > 10), "{point} fired");
    }
}
