//! The pipeline, or a process's part of it: workers of some or all processors, each on its thread; on any log.
//!
//! Phases: start (every worker joins and restores) -> run -> stop (ingest first, then the rest once they have read
//! what it wrote) -> checkpoint. Queries run on the worker's own thread between two windows, so that they see a
//! committed state and need no lock.

mod pressure;
mod setup;
mod share;
mod timed;
mod worker_thread;
mod workers;

pub use pressure::WATCHED;
pub use setup::{DEFAULT_CHART, DEFAULT_RULES, NoSource, Setup};
pub use share::{Role, Share, worker_name};
pub use timed::{Durations, TimedLog};
pub use worker_thread::{Blocked, Cause, Failure, Work, WorkerThread};
pub use workers::{Reached, Stage, Workers};

use crate::measure::behind::behind;
use crate::traces::Tracer;
use pressure::Pressure;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::BusinessClock;
use stream::log::{Isolation, Log, LogError, Offset, TopicPartition};
use stream::processor::Stop;
use stream::throttle::{Reading, Throttle};
use stream::worker::{Checkpoints, Options};

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
    /// How many workers posting has in a process.
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

/// Opens a log for whoever only looks, where somebody does.
pub type OpenObserved<'a> = dyn Fn() -> anyhow::Result<Arc<dyn Log>> + 'a;

/// What workers are started with, whichever processor they are of.
pub struct Start<'a> {
    /// The log.
    pub log: &'a Arc<dyn Log>,
    /// Which processors run here, and under which names their workers join.
    pub share: &'a Share,
    /// Business time.
    pub clock: &'a BusinessClock,
    /// Opens checkpoint stores.
    pub checkpoints: &'a OpenCheckpoints<'a>,
    /// Where spans go; `None` = nobody traces.
    pub traces: Option<&'a Tracer>,
    /// Opens the log for whoever only looks, where that is another one: it tells positions at once, whatever transactions
    /// are open.
    pub observed: Option<&'a OpenObserved<'a>>,
}

/// A running pipeline, or a process's part of it: of a processor that does not run here there are no workers.
pub struct Pipeline {
    log: Arc<dyn Log>,
    /// Tells ingest's throttle how far the others are behind.
    pressure: Option<Pressure>,
    /// Ingest's threads.
    pub ingest: Workers<ingest::processor::IngestProcessor>,
    /// Posting's threads.
    pub posting: Workers<posting::Posting>,
    /// Settlement's threads.
    pub settlement: Workers<settlement::Settlement>,
    /// Threads of reconcile's re-keying half.
    pub rekey: Workers<reconcile::rekey::Rekey>,
    /// Threads of reconcile's joining half.
    pub join: Workers<reconcile::join::Join>,
}

/// How far everything has been read.
pub type Positions = BTreeMap<(&'static str, TopicPartition), Offset>;

impl Pipeline {
    /// Starts the workers; each joins and restores on its own thread.
    ///
    /// # Errors
    /// A checkpoint store that cannot be opened, a thread that cannot be started.
    pub fn start(processors: &Processors, windows: &Windows, start: &Start<'_>) -> anyhow::Result<Self> {
        let one = NonZero::<u32>::MIN;
        let Windows { ingest, posting, settlement, reconcile, posting_workers } = windows;
        let throttle = ingest.throttle.as_ref().filter(|_| start.share.has(Role::Ingest));
        let watch = |throttle: &Arc<Throttle>| -> anyhow::Result<Pressure> {
            let log = start.observed.map_or_else(|| Ok(Arc::clone(start.log)), |open| open())?;
            Ok(Pressure::watch(log, Arc::clone(throttle))?)
        };
        Ok(Self {
            pressure: throttle.map(watch).transpose()?,
            ingest: Workers::spawn(Role::Ingest, one, &processors.ingest, ingest, start)?,
            posting: Workers::spawn(Role::Posting, *posting_workers, &processors.posting, posting, start)?,
            settlement: Workers::spawn(Role::Settlement, one, &processors.settlement, settlement, start)?,
            rekey: Workers::spawn(Role::Reconcile, one, &processors.rekey, reconcile, start)?,
            join: Workers::spawn(Role::Reconcile, one, &processors.join, reconcile, start)?,
            log: Arc::clone(start.log),
        })
    }

    /// What ingest's throttle does at the moment; `None` where ingest does not run, or takes the low lane as it comes.
    #[must_use]
    pub fn throttle(&self) -> Option<Reading> {
        self.pressure.as_ref().map(Pressure::reading)
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn Log> {
        &self.log
    }

    /// The stages that run here, in the order of the flow.
    pub fn stages(&self) -> impl Iterator<Item = &(dyn Stage + 'static)> {
        let all: [&(dyn Stage + 'static); 5] =
            [&self.ingest, &self.posting, &self.settlement, &self.rekey, &self.join];
        all.into_iter().filter(|stage| stage.runs())
    }

    fn gather<T>(&self, of: impl Fn(&(dyn Stage + 'static)) -> Vec<T>) -> Vec<T> {
        self.stages().flat_map(of).collect()
    }

    /// Committed positions of every worker's inputs.
    #[must_use]
    pub fn positions(&self) -> Positions {
        self.places(Deadline::after(ANSWER_WAIT), |stage, wait| stage.positions(wait))
    }

    /// Up to where every worker has worked its inputs off; where it has nothing to commit yet, that is beyond
    /// [`Self::positions`].
    #[must_use]
    pub fn worked_off(&self) -> Positions {
        self.worked_off_within(Deadline::after(ANSWER_WAIT))
    }

    fn worked_off_within(&self, wait: Deadline) -> Positions {
        self.places(wait, |stage, wait| stage.worked_off(wait))
    }

    fn places(
        &self,
        wait: Deadline,
        of: impl Fn(&(dyn Stage + 'static), Deadline) -> Vec<(TopicPartition, Offset)>,
    ) -> Positions {
        let of = |stage: &(dyn Stage + 'static)| {
            let name = stage.name();
            of(stage, wait).into_iter().map(|(at, offset)| ((name, at), offset)).collect()
        };
        self.gather(of).into_iter().collect()
    }

    /// Whether every worker has joined and restored its slots, and, where the whole processor runs in this process,
    /// every slot is restored.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.stages().all(Stage::ready)
    }

    /// Workers that have ended by themselves, and why.
    #[must_use]
    pub fn failures(&self) -> Vec<Failure> {
        self.gather(Stage::failures)
    }

    /// Workers whose windows are not written now, and why.
    #[must_use]
    pub fn blocked(&self) -> Vec<Blocked> {
        self.gather(Stage::blocked)
    }

    /// Slots that cannot go on.
    #[must_use]
    pub fn stopped_slots(&self) -> Vec<(&'static str, Stop)> {
        self.gather(|stage| {
            let name = stage.name();
            stage.stopped().into_iter().map(|stop| (name, stop)).collect()
        })
    }

    /// Slots that are restored here, per stage.
    #[must_use]
    pub fn slots(&self) -> Vec<(&'static str, Vec<u32>)> {
        self.stages().map(|stage| (stage.name(), stage.slots())).collect()
    }

    /// Records not yet worked off, per processor.
    ///
    /// # Errors
    /// The log is away.
    pub fn lag(&self) -> Result<BTreeMap<&'static str, i64>, LogError> {
        let mut reached: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for ((name, at), position) in self.worked_off() {
            reached.entry(name).or_default().push((at, position));
        }
        reached.into_iter().map(|(name, places)| Ok((name, behind(self.log.as_ref(), &places)?))).collect()
    }

    /// What every worker has done since it was started.
    #[must_use]
    pub fn work(&self) -> BTreeMap<&'static str, Work> {
        let mut all: BTreeMap<_, _> = self.stages().map(|stage| (stage.name(), stage.work())).collect();
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
            for (reader, at) in self.positions().into_keys() {
                goal.insert((reader, at), self.end(at)?);
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

    /// Where a partition ends, with what an open transaction holds back: a commit may be answered before its records
    /// can be read.
    fn end(&self, at: TopicPartition) -> Result<Offset, LogError> {
        Ok(self.log.watermarks(at, Isolation::Uncommitted)?.high)
    }

    /// Whether every input is worked off so far. A worker that has not answered has not said so.
    fn reached(&self, goal: &Positions) -> bool {
        let positions = self.worked_off();
        let passed = |(input, goal)| positions.get(input).is_some_and(|position| position >= goal);
        !goal.is_empty() && goal.iter().all(passed)
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
        // Where others write too, there is no end to wait for.
        if self.ingest.runs() && !self.drain_without_ingest(Deadline::after(wait * 2 / 3))? {
            tracing::warn!("stopping before everything is drained; the rest is read at the next start");
        }
        self.stages().for_each(Stage::request_stop);
        for stage in self.stages() {
            if !stage.end_within(until) {
                tracing::warn!(processor = stage.name(), "did not end in time, left behind");
            }
        }
        Ok(self.failures())
    }

    fn drain_without_ingest(&self, until: Deadline) -> Result<bool, LogError> {
        loop {
            let mut done = true;
            for ((name, at), position) in self.worked_off_within(until) {
                done &= name == "ingest" || position >= self.end(at)?;
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
pub struct Deadline {
    at_us: i64,
}

impl Deadline {
    /// So long from now.
    #[must_use]
    pub fn after(wait: Duration) -> Self {
        Self { at_us: stream::clock::monotonic_us().saturating_add(duration_us(wait)) }
    }

    /// What is left until then.
    #[must_use]
    pub fn left(self) -> Duration {
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

/// Topics whose old records may go once every reader has passed them.
#[must_use]
pub fn disposable() -> Vec<Topic> {
    let below = |topic: &Topic| topic.retention() == schemas::topics::Retention::BelowReaders;
    Topic::ALL.iter().copied().filter(below).collect()
}
