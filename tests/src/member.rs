//! One worker of one processor: the checkpoints that outlive it, and its next incarnation after a death.

use crate::shared::Shared;
use schemas::shards::stable_hash;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use stream::faults;
use stream::log::{FetchLimit, Isolation, Log, Offset, TopicPartition};
use stream::processor::{Changelog, Processor, SlotState, Stop};
use stream::throttle::{Settings, Throttle};
use stream::worker::{
    Checkpoints, DiskCheckpoints, MemoryCheckpoints, Now, Options, Progress, Worker, WorkerError,
};

/// A slot's state, pair by pair.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Where checkpoints are kept.
#[derive(Debug, Clone)]
pub enum Keep {
    /// In memory; they outlive the worker, not the test.
    Memory(MemoryCheckpoints),
    /// In a directory, one folder a processor.
    Disk(PathBuf),
    /// The same, beside a log whose records come from elsewhere and are waited for.
    Beside(PathBuf),
}

impl Keep {
    fn open(&self, processor: &'static str, log: &Arc<dyn Log>) -> Box<dyn Checkpoints> {
        match self {
            Self::Memory(kept) => Box::new(kept.clone()),
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
    /// The state of an owned slot, built again from the log up to where it stands; `None` where that cannot be read yet.
    fn replayed(&self, slot: u32, log: &dyn Log) -> Option<Pairs>;
    /// Slots that cannot go on.
    fn stopped(&self) -> Vec<Stop>;
    /// Writes every checkpoint, as an orderly end does.
    fn checkpoint(&mut self, now: Now);
    /// Drops the worker without closing anything; the next step makes one on `log`.
    fn replace(&mut self, log: Option<Arc<dyn Log>>);
    /// Loses the checkpoints, as a lost disk does.
    fn lose_checkpoints(&mut self);
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

/// Replays a partition until `done` says so of the records seen and the position; `None` where that is not readable yet.
fn replay<P: Processor>(
    processor: &P,
    state: &mut P::Slot,
    log: &dyn Log,
    at: TopicPartition,
    done: impl Fn(u64, Offset) -> bool,
) -> Option<()> {
    let bounds = log.watermarks(at, Isolation::Committed).ok()?;
    let mut reader = log.reader(&[(at, bounds.low)], Isolation::Committed).ok()?;
    let one = FetchLimit { records: 1, bytes: 16 << 20, wait: Duration::ZERO };
    let mut seen = 0;
    loop {
        let position = reader.position(at)?;
        if done(seen, position) {
            return Some(());
        }
        let fetched = reader.poll(one).ok()?;
        for record in fetched.iter().flat_map(|fetch| &fetch.records) {
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

    fn replayed(&self, slot: u32, log: &dyn Log) -> Option<Pairs> {
        let (batch, positions) = self.worker.as_ref()?.mark(slot)?;
        let mut state = self.processor.open(slot);
        match self.processor.changelog() {
            // One batch a window.
            Changelog::Own(topic) => {
                replay(&self.processor, &mut state, log, TopicPartition::new(topic, slot), |seen, _| {
                    seen == batch
                })?;
            }
            Changelog::Inputs => {
                for (at, end) in positions {
                    replay(&self.processor, &mut state, log, at, |_, position| position >= end)?;
                }
            }
        }
        Some(state.canonical())
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
        self.worker = None;
        self.log = log;
    }

    fn lose_checkpoints(&mut self) {
        match &self.keep {
            Keep::Memory(kept) => kept.clear(),
            Keep::Disk(dir) | Keep::Beside(dir) => {
                let _ = std::fs::remove_dir_all(dir.join(self.processor.name()));
            }
        }
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
        let old_keep = std::mem::replace(&mut self.keep, Keep::Memory(MemoryCheckpoints::default()));
        Box::new(Self {
            processor: self.processor.clone(),
            name: self.name.clone(),
            keep: old_keep,
            kept_before: self.kept_before.take(),
            log: self.log.clone(),
            worker: self.worker.take(),
            throttle: throttle(),
        })
    }
}
