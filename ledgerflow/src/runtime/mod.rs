//! The pipeline in one process: one worker per processor, each on its thread, several for posting; on any log.
//!
//! Phases: start (every worker joins and restores) -> run -> stop (ingest first, then the rest once they have read
//! what it wrote) -> checkpoint. Queries run on the worker's own thread between two windows, so that they see a
//! committed state and need no lock.

mod setup;
mod worker_thread;
mod workers;

pub use setup::{DEFAULT_CHART, DEFAULT_RULES, NoSource, Setup};
pub use worker_thread::{Blocked, Cause, Failure, Work, WorkerThread};
pub use workers::Workers;

use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::BusinessClock;
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};
use stream::processor::{Processor, Stop};
use stream::worker::{Checkpoints, Options, Worker};

/// The five processors' configurations.
pub struct Processors {
    /// Ingest.
    pub ingest: ingest::processor::IngestProcessor,
    /// Posting.
    pub posting: posting::Posting,
    /// Settlement.
    pub settlement: settlement::Settlement,
    /// Reconcile: re-keying half.
    pub rekey: reconcile::rekey::Rekey,
    /// Reconcile: joining half.
    pub join: reconcile::join::Join,
}

/// Windows of the workers.
#[derive(Debug, Clone)]
pub struct Windows {
    /// Ingest.
    pub ingest: Options,
    /// Posting.
    pub posting: Options,
    /// Settlement.
    pub settlement: Options,
    /// Both halves of reconcile.
    pub reconcile: Options,
    /// How many workers posting has.
    pub posting_workers: NonZero<u32>,
}

/// Workers of posting where nothing else is said: it decides most, and two of them keep two cores busy.
pub const POSTING_WORKERS: u32 = 2;

impl Default for Windows {
    fn default() -> Self {
        Self {
            ingest: Options::default(),
            posting: Options::default(),
            settlement: Options { window_us: 20_000, ..Options::default() },
            reconcile: Options { window_us: 50_000, ..Options::default() },
            posting_workers: NonZero::new(POSTING_WORKERS).unwrap_or(NonZero::<u32>::MIN),
        }
    }
}

impl Windows {
    /// Each with its name in the configuration.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Options)> {
        let Self { ingest, posting, settlement, reconcile, posting_workers: _ } = self;
        [("ingest", ingest), ("posting", posting), ("settlement", settlement), ("reconcile", reconcile)]
            .into_iter()
    }
}

/// Makes the checkpoint store of a processor.
pub type OpenCheckpoints<'a> = dyn Fn(&'static str) -> anyhow::Result<Box<dyn Checkpoints>> + 'a;

/// A running pipeline.
pub struct Pipeline {
    log: Arc<dyn Log>,
    /// Ingest's thread.
    pub ingest: WorkerThread<ingest::processor::IngestProcessor>,
    /// Posting's threads.
    pub posting: Workers<posting::Posting>,
    /// Settlement's thread.
    pub settlement: WorkerThread<settlement::Settlement>,
    /// Thread of reconcile's re-keying half.
    pub rekey: WorkerThread<reconcile::rekey::Rekey>,
    /// Thread of reconcile's joining half.
    pub join: WorkerThread<reconcile::join::Join>,
}

/// How far everything has been read.
pub type Positions = BTreeMap<(&'static str, TopicPartition), Offset>;

impl Pipeline {
    /// Starts all workers; each joins and restores on its own thread.
    ///
    /// # Errors
    /// A checkpoint store that cannot be opened, a thread that cannot be started.
    pub fn start(
        log: Arc<dyn Log>,
        processors: Processors,
        windows: &Windows,
        clock: &BusinessClock,
        checkpoints: &OpenCheckpoints<'_>,
    ) -> anyhow::Result<Self> {
        fn spawn<P>(
            log: &Arc<dyn Log>,
            processor: P,
            options: &Options,
            clock: &BusinessClock,
            checkpoints: &OpenCheckpoints<'_>,
        ) -> anyhow::Result<WorkerThread<P>>
        where
            P: Processor + 'static,
            P::Slot: 'static,
            P::Change: 'static,
        {
            let store = checkpoints(processor.name())?;
            let worker = Worker::new(processor, Arc::clone(log), "1", options.clone(), store);
            WorkerThread::spawn(worker, clock.clone())
        }
        Ok(Self {
            ingest: spawn(&log, processors.ingest, &windows.ingest, clock, checkpoints)?,
            posting: Workers::spawn(
                windows.posting_workers,
                &log,
                &processors.posting,
                &windows.posting,
                clock,
                checkpoints,
            )?,
            settlement: spawn(&log, processors.settlement, &windows.settlement, clock, checkpoints)?,
            rekey: spawn(&log, processors.rekey, &windows.reconcile, clock, checkpoints)?,
            join: spawn(&log, processors.join, &windows.reconcile, clock, checkpoints)?,
            log,
        })
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// Committed positions of every worker's inputs.
    #[must_use]
    pub fn positions(&self) -> Positions {
        let wait = Deadline::after(ANSWER_WAIT);
        let mut all = Positions::new();
        add(&mut all, &self.ingest, wait, Worker::positions);
        self.posting.each().for_each(|thread| add(&mut all, thread, wait, Worker::positions));
        add(&mut all, &self.settlement, wait, Worker::positions);
        add(&mut all, &self.rekey, wait, Worker::positions);
        add(&mut all, &self.join, wait, Worker::positions);
        all
    }

    /// Up to where every worker has worked its inputs off; where it has nothing to commit yet, that is beyond
    /// [`Self::positions`].
    #[must_use]
    pub fn worked_off(&self) -> Positions {
        self.worked_off_within(Deadline::after(ANSWER_WAIT))
    }

    fn worked_off_within(&self, wait: Deadline) -> Positions {
        let mut all = Positions::new();
        add(&mut all, &self.ingest, wait, Worker::worked_off);
        self.posting.each().for_each(|thread| add(&mut all, thread, wait, Worker::worked_off));
        add(&mut all, &self.settlement, wait, Worker::worked_off);
        add(&mut all, &self.rekey, wait, Worker::worked_off);
        add(&mut all, &self.join, wait, Worker::worked_off);
        all
    }

    /// Whether every worker has joined and restored its slots.
    #[must_use]
    pub fn ready(&self) -> bool {
        let ready = [
            is_ready(&self.ingest),
            self.posting.ready(),
            is_ready(&self.settlement),
            is_ready(&self.rekey),
            is_ready(&self.join),
        ];
        ready.into_iter().all(|ready| ready)
    }

    /// Workers that have ended by themselves, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        let all =
            [self.ingest.failure(), self.settlement.failure(), self.rekey.failure(), self.join.failure()];
        all.into_iter().flatten().chain(self.posting.failures()).collect()
    }

    /// Workers whose windows are not written now, and why.
    #[must_use]
    pub fn blocked(&self) -> Vec<Blocked> {
        let all =
            [self.ingest.blocked(), self.settlement.blocked(), self.rekey.blocked(), self.join.blocked()];
        all.into_iter().flatten().chain(self.posting.blocked()).collect()
    }

    /// Slots that cannot go on.
    #[must_use]
    pub fn stopped_slots(&self) -> Vec<(&'static str, Stop)> {
        let mut all = Vec::new();
        let mut add = |name, stops: Option<Vec<Stop>>| {
            all.extend(stops.unwrap_or_default().into_iter().map(|stop| (name, stop)));
        };
        add("ingest", self.ingest.ask(|worker| worker.stopped()));
        add("posting", Some(self.posting.stopped()));
        add("settlement", self.settlement.ask(|worker| worker.stopped()));
        add("rekey", self.rekey.ask(|worker| worker.stopped()));
        add("join", self.join.ask(|worker| worker.stopped()));
        all
    }

    /// Records not yet worked off, per processor.
    ///
    /// # Errors
    /// The log is away.
    pub fn lag(&self) -> Result<BTreeMap<&'static str, i64>, LogError> {
        let mut lag = BTreeMap::new();
        for ((name, at), position) in self.worked_off() {
            let high = self.log.watermarks(at, Isolation::Committed)?.high;
            *lag.entry(name).or_insert(0) += (high - position).max(0);
        }
        Ok(lag)
    }

    /// What every worker has done since it was started.
    #[must_use]
    pub fn work(&self) -> BTreeMap<&'static str, Work> {
        let mut all = BTreeMap::from([
            (self.ingest.name(), self.ingest.work()),
            ("posting", self.posting.work()),
            (self.settlement.name(), self.settlement.work()),
            (self.rekey.name(), self.rekey.work()),
            (self.join.name(), self.join.work()),
        ]);
        for ((name, _), position) in self.positions() {
            if let Some(work) = all.get_mut(name) {
                work.records_read += u64::try_from(position).unwrap_or(0);
            }
        }
        all
    }

    /// Waits until everything that lies on the log now, and what follows from it, has been worked off. Ticks that
    /// keep coming do not count. Returns whether it was reached within `wait`.
    ///
    /// # Errors
    /// The log is away.
    pub fn drain(&self, wait: Duration) -> Result<bool, LogError> {
        let until = stream::clock::monotonic_us().saturating_add(duration_us(wait));
        // An event travels at most: events, commands, credits (asked), credits (verdict and credit), journal,
        // recon.sides. Each round waits for what lay there when it began.
        for _ in 0..HOPS {
            let mut goal = BTreeMap::new();
            for (_, at) in self.positions().into_keys() {
                goal.insert(at, self.log.watermarks(at, Isolation::Committed)?.high);
            }
            while !self.reached(&goal) {
                if stream::clock::monotonic_us() >= until || !self.failures().is_empty() {
                    return Ok(false);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        Ok(true)
    }

    fn reached(&self, goal: &BTreeMap<TopicPartition, Offset>) -> bool {
        let positions = self.worked_off();
        !positions.is_empty()
            && positions.iter().all(|((_, at), position)| goal.get(at).is_none_or(|goal| position >= goal))
    }

    /// Stops in order: ingest, then the others once they have read what lies before them, and writes last
    /// checkpoints; all of it within `wait`, of which two thirds are for reading. A worker that has not ended by then
    /// is left behind: what it did not commit is read at the next start. Returns failures met on the way.
    ///
    /// # Errors
    /// The log is away.
    pub fn stop(&self, wait: Duration) -> Result<Vec<Failure>, LogError> {
        let until = Deadline::after(wait);
        self.ingest.request_stop();
        if !self.drain_without_ingest(Deadline::after(wait * 2 / 3))? {
            tracing::warn!("stopping before everything is drained; the rest is read at the next start");
        }
        self.posting.request_stop();
        self.settlement.request_stop();
        self.rekey.request_stop();
        self.join.request_stop();
        let mut ended = vec![
            ("ingest", self.ingest.end_within(until.left())),
            ("settlement", self.settlement.end_within(until.left())),
            ("rekey", self.rekey.end_within(until.left())),
            ("join", self.join.end_within(until.left())),
        ];
        ended.extend(self.posting.each().map(|thread| ("posting", thread.end_within(until.left()))));
        for (processor, _) in ended.iter().filter(|(_, ended)| !ended) {
            tracing::warn!(processor, "did not end in time, left behind");
        }
        Ok(self.failures())
    }

    fn drain_without_ingest(&self, until: Deadline) -> Result<bool, LogError> {
        loop {
            let mut done = true;
            for ((name, at), position) in self.worked_off_within(until) {
                done &= name == "ingest" || position >= self.log.watermarks(at, Isolation::Committed)?.high;
            }
            if done || until.left().is_zero() || !self.failures().is_empty() {
                return Ok(done && !until.left().is_zero());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A point in time on the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Deadline {
    at_us: i64,
}

impl Deadline {
    fn after(wait: Duration) -> Self {
        Self { at_us: stream::clock::monotonic_us().saturating_add(duration_us(wait)) }
    }

    /// What is left until then.
    fn left(self) -> Duration {
        let us = self.at_us.saturating_sub(stream::clock::monotonic_us());
        Duration::from_micros(u64::try_from(us).unwrap_or(0))
    }
}

/// How long all workers together may take to say how far they are.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Rounds of [`Pipeline::drain`].
const HOPS: usize = 6;

fn duration_us(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

type Places = Vec<(TopicPartition, Offset)>;

fn add<P: Processor + 'static>(
    all: &mut Positions,
    thread: &WorkerThread<P>,
    wait: Deadline,
    of: fn(&Worker<P>) -> Places,
) {
    let name = thread.name();
    let positions = thread.ask_within(wait.left(), of).unwrap_or_default();
    all.extend(positions.into_iter().map(|(at, offset)| ((name, at), offset)));
}

fn is_ready<P: Processor + 'static>(thread: &WorkerThread<P>) -> bool {
    let slots = thread.ask(|worker| (worker.slots().len(), worker.processor().slots() as usize));
    slots.is_some_and(|(owned, of)| owned == of)
}

/// Topics whose old records may go once every reader has passed them.
#[must_use]
pub fn disposable() -> Vec<Topic> {
    let below = |topic: &Topic| topic.retention() == schemas::topics::Retention::BelowReaders;
    Topic::ALL.iter().copied().filter(below).collect()
}
