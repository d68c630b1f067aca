//! One worker of one processor: the checkpoints that outlive it, and its next incarnation after a death.

use crate::shared::Shared;
use crate::torn::Torn;
use schemas::shards::stable_hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stream::faults;
use stream::log::{FetchLimit, Isolation, Log, Offset, TopicPartition};
use stream::processor::{Changelog, Processor, SlotState, Stop};
use stream::sim::{DiskCounters, Prng};
use stream::store::Label;
use stream::throttle::{Settings, Throttle};
use stream::worker::{
    Checkpoints, DiskCheckpoints, MemoryCheckpoints, Now, Options, Progress, Worker, WorkerError,
};

pub use stream::snapshot::Pairs;

/// Where checkpoints are kept.
#[derive(Debug, Clone)]
pub enum Keep {
    /// In memory; they outlive the worker, not the test.
    Memory(MemoryCheckpoints),
    /// On a simulated disk, which suffers when the worker dies.
    Torn(Torn),
    /// In a directory, one folder a processor.
    Disk(PathBuf),
    /// The same, beside a log whose records come from elsewhere and are waited for.
    Beside(PathBuf),
}

impl Keep {
    fn open(&self, processor: &'static str, log: &Arc<dyn Log>) -> Box<dyn Checkpoints> {
        match self {
            Self::Memory(kept) => Box::new(kept.clone()),
            Self::Torn(torn) => Box::new(DiskCheckpoints::simulated(&torn.disk, processor, Arc::clone(log))),
            Self::Disk(dir) | Self::Beside(dir) => {
                Box::new(DiskCheckpoints::open(dir, processor, Arc::clone(log)).unwrap())
            }
        }
    }
}

/// A worker whatever its processor.
pub trait Seat: Send {
    /// Name of the processor.
    fn processor(&self) -> &'static str;
    /// One step; makes the worker if there is none.
    ///
    /// # Errors
    /// As [`Worker::step`].
    fn step(&mut self, now: Now) -> Result<Progress, WorkerError>;
    /// Slots owned and restored.
    fn slots(&self) -> Vec<u32>;
    /// Up to where the inputs of the slots are worked off.
    fn worked_off(&self) -> Vec<(TopicPartition, Offset)>;
    /// State of an owned slot.
    fn canonical(&self, slot: u32) -> Option<Pairs>;
    /// Whether something of the state of an owned slot cannot be read from the disk: its worker restores it.
    fn is_damaged(&self, slot: u32) -> bool;
    /// The state of an owned slot, built again from the log up to where it stands, and what of the log it holds; `None`
    /// where that cannot be read yet.
    fn replayed(&self, slot: u32, log: &dyn Log) -> Option<(Pairs, Label)>;
    /// A state of nothing but these pairs.
    fn loaded(&self, slot: u32, pairs: &Pairs) -> Pairs;
    /// How many slots were restored from snapshots.
    fn snapshots_used(&self) -> u64;
    /// Slots that cannot go on.
    fn stopped(&self) -> Vec<Stop>;
    /// Writes every checkpoint, as an orderly end does.
    fn checkpoint(&mut self, now: Now);
    /// Drops the worker without closing anything; the next step makes one on `log`.
    fn replace(&mut self, log: Option<Arc<dyn Log>>);
    /// Loses the checkpoints, as a lost disk does.
    fn lose_checkpoints(&mut self);
    /// Its machine has died: what befalls files on a simulated disk.
    fn suffer(&mut self, prng: &mut Prng);
    /// What has befallen them.
    fn disk(&self) -> DiskCounters;
    /// Goes back to checkpoints of some time before, as where a new one was torn; whether there were any.
    fn set_back_checkpoints(&mut self) -> bool;
    /// Whether there is a worker.
    fn works(&self) -> bool;
    /// Leaves the worker and its checkpoints to a seat of its own, and goes on without, as on another machine.
    fn split(&mut self) -> Box<dyn Seat>;
}

/// A member of a processor's group.
pub struct Member<P: Processor + Sync> {
    processor: Shared<P>,
    name: String,
    keep: Keep,
    /// Those in memory, of some time before.
    kept_before: Option<MemoryCheckpoints>,
    log: Option<Arc<dyn Log>>,
    worker: Option<Worker<Shared<P>>>,
    /// Of the workers before this one.
    from_snapshots: u64,
    throttle: Arc<Throttle>,
}

impl<P: Processor + Sync> Member<P> {
    /// A member that joins at its first step.
    #[must_use]
    pub fn new(processor: Shared<P>, name: &str, keep: Keep) -> Self {
        Self {
            processor,
            name: name.to_owned(),
            keep,
            kept_before: None,
            log: None,
            worker: None,
            from_snapshots: 0,
            throttle: throttle(),
        }
    }
}

/// Names that the members of a processor may have.
pub const POOL: [&str; 3] = ["1", "2", "3"];

fn throttle() -> Arc<Throttle> {
    Arc::new(Throttle::new(Settings { slower_percent: 20 }))
}

/// Every step is a window, nothing waits, checkpoints come every half second of virtual time.
fn options() -> Options {
    let pool = POOL.map(str::to_owned).to_vec();
    // Few bytes: a replay of a history keeps checkpoints on its way.
    let checkpoint_bytes = 4_000;
    Options {
        window_us: 0,
        poll_wait: Duration::ZERO,
        checkpoint_us: 500_000,
        checkpoint_bytes,
        pool,
        ..Options::default()
    }
}

/// Replays a partition until `done` says so of the records seen and the position; the position then, `None` where that is
/// not readable yet.
fn replay<P: Processor>(
    processor: &P,
    state: &mut P::Slot,
    log: &dyn Log,
    at: TopicPartition,
    done: impl Fn(u64, Offset) -> bool,
) -> Option<Offset> {
    let bounds = log.watermarks(at, Isolation::Committed).ok()?;
    let mut reader = log.reader(&[(at, bounds.low)], Isolation::Committed).ok()?;
    let one = FetchLimit { records: 1, bytes: 16 << 20, wait: Duration::ZERO };
    let mut seen = 0;
    loop {
        let position = reader.position(at)?;
        if done(seen, position) {
            return Some(position);
        }
        let fetched = reader.poll(one).ok()?;
        for record in fetched.iter().flat_map(|fetch| &fetch.records) {
            // The position before was not yet at the end, and what comes next may lie behind it.
            if done(seen, record.offset) {
                return Some(record.offset);
            }
            processor.replay(state, at, record).unwrap();
            seen += 1;
        }
        if reader.position(at)? == position {
            return None;
        }
    }
}

/// How long a poll of a real broker waits.
const BROKER_WAIT: Duration = Duration::from_millis(10);

impl<P> Seat for Member<P>
where
    P: Processor + Sync + 'static,
    P::Slot: 'static,
{
    fn processor(&self) -> &'static str {
        self.processor.name()
    }

    fn step(&mut self, now: Now) -> Result<Progress, WorkerError> {
        let (log, processor) = (self.log.as_ref().unwrap(), &self.processor);
        let worker = self.worker.get_or_insert_with(|| {
            let checkpoints = self.keep.open(processor.name(), log);
            let mut options = options();
            if matches!(self.keep, Keep::Beside(_)) {
                options.poll_wait = BROKER_WAIT;
            }
            options.throttle = Some(Arc::clone(&self.throttle));
            Worker::new(processor.clone(), Arc::clone(log), &self.name, options, checkpoints)
        });
        // Those behind are late or not as it comes.
        let late = stable_hash(&now.monotonic_us.to_le_bytes()) % 60_000;
        if let Keep::Memory(kept) = &self.keep
            && late.is_multiple_of(64)
        {
            self.kept_before = Some(kept.copy());
        }
        faults::name_thread(processor.name());
        self.throttle.observe(now.monotonic_us, i64::try_from(late).unwrap_or(0));
        worker.step(now)
    }

    fn slots(&self) -> Vec<u32> {
        self.worker.as_ref().map(Worker::slots).unwrap_or_default()
    }

    fn worked_off(&self) -> Vec<(TopicPartition, Offset)> {
        self.worker.as_ref().map(Worker::worked_off).unwrap_or_default()
    }

    fn canonical(&self, slot: u32) -> Option<Pairs> {
        self.worker.as_ref()?.slot(slot).map(SlotState::canonical)
    }

    fn is_damaged(&self, slot: u32) -> bool {
        let state = self.worker.as_ref().and_then(|worker| worker.slot(slot));
        state.is_some_and(|state| state.damaged().is_some())
    }

    fn replayed(&self, slot: u32, log: &dyn Log) -> Option<(Pairs, Label)> {
        let mut label = self.worker.as_ref()?.label(slot)?;
        let mut state = self.processor.open(slot);
        match self.processor.changelog() {
            // One batch a window.
            Changelog::Own(topic) => {
                let (at, batch) = (TopicPartition::new(topic, slot), label.batch);
                let position = replay(&self.processor, &mut state, log, at, |seen, _| seen == batch)?;
                label.changelog_offset = position;
            }
            Changelog::Inputs => {
                for (at, end) in &label.positions {
                    replay(&self.processor, &mut state, log, *at, |_, position| position >= *end)?;
                }
            }
        }
        Some((state.canonical(), label))
    }

    fn loaded(&self, slot: u32, pairs: &Pairs) -> Pairs {
        let mut state = self.processor.open(slot);
        pairs.iter().for_each(|(key, value)| state.load(key, value).unwrap());
        state.canonical()
    }

    fn snapshots_used(&self) -> u64 {
        self.from_snapshots + self.worker.as_ref().map_or(0, Worker::snapshots_used)
    }

    fn stopped(&self) -> Vec<Stop> {
        self.worker.as_ref().map(Worker::stopped).unwrap_or_default()
    }

    fn checkpoint(&mut self, now: Now) {
        if let Some(worker) = &mut self.worker {
            worker.checkpoint_all(now).unwrap();
        }
    }

    fn replace(&mut self, log: Option<Arc<dyn Log>>) {
        self.from_snapshots = self.snapshots_used();
        self.worker = None;
        self.log = log;
    }

    fn lose_checkpoints(&mut self) {
        match &self.keep {
            Keep::Memory(kept) => kept.clear(),
            Keep::Torn(torn) => torn.disk.clear().unwrap(),
            Keep::Disk(dir) | Keep::Beside(dir) => {
                let _ = std::fs::remove_dir_all(dir.join(self.processor.name()));
            }
        }
    }

    fn suffer(&mut self, prng: &mut Prng) {
        if let Keep::Torn(torn) = &self.keep {
            torn.suffer(prng);
        }
    }

    fn disk(&self) -> DiskCounters {
        if let Keep::Torn(torn) = &self.keep { torn.counters() } else { DiskCounters::default() }
    }

    fn set_back_checkpoints(&mut self) -> bool {
        let Some(before) = self.kept_before.take() else { return false };
        self.keep = Keep::Memory(before);
        true
    }

    fn works(&self) -> bool {
        self.worker.is_some()
    }

    fn split(&mut self) -> Box<dyn Seat> {
        let other = match &self.keep {
            Keep::Torn(_) => Keep::Torn(Torn::default()),
            _ => Keep::Memory(MemoryCheckpoints::default()),
        };
        let old_keep = std::mem::replace(&mut self.keep, other);
        Box::new(Self {
            processor: self.processor.clone(),
            name: self.name.clone(),
            keep: old_keep,
            kept_before: self.kept_before.take(),
            log: self.log.clone(),
            worker: self.worker.take(),
            from_snapshots: 0,
            throttle: throttle(),
        })
    }
}
