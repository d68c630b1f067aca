//! What the worker needs of a checkpoint store: one on disk, the simulated one too, and one in memory for the other simulations.

use crate::faults::Crash;
use crate::files::{Files, SystemFiles};
use crate::log::Log;
use crate::mutex;
use crate::processor::SlotState;
use crate::sim::SimDisk;
use crate::store::runs::{self, ClosedRuns, RowKey, Run, Settled, Source};
use crate::store::{CheckpointThread, DirtyPairs, Job, Label, NotTaken, Options, Store, StoreError, lock};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Holds checkpoints of one processor's slots. Losing one costs time, never data.
pub trait Checkpoints: Send {
    /// Label of the newest whole checkpoint of a slot.
    fn latest(&mut self, slot: u32) -> Option<Label>;
    /// Loads it into an empty state.
    ///
    /// # Errors
    /// A torn checkpoint, or a pair that the state refuses: the state must be thrown away.
    fn load(&mut self, slot: u32, state: &mut dyn SlotState) -> Result<(), String>;
    /// Whether [`Checkpoints::save`] would be taken now (the slot's last one is finished).
    fn ready(&mut self, slot: u32) -> bool;
    /// Takes what has changed since the last call (everything after [`Checkpoints::discard`]). It may count
    /// only once write-ahead sequence `sequence` is durable.
    ///
    /// # Errors
    /// A fault point has crashed this thread.
    fn save(&mut self, slot: u32, label: Label, changes: Changes, sequence: u64) -> Result<(), Crash>;
    /// The closed runs of a slot, as a checkpoint that counts has them, if they have changed since the last call.
    fn closed(&mut self, slot: u32) -> Option<ClosedRuns>;
    /// Forgets a slot's checkpoint. `false` = it could not be removed: it is not read again, and nothing may be saved, as it
    /// would mix with it, before another call removes it.
    fn discard(&mut self, slot: u32) -> bool;
    /// Lets a slot's checkpoints go, once what was given to [`Checkpoints::save`] is kept: another worker owns it now.
    fn release(&mut self, slot: u32);
    /// Waits until everything given to [`Checkpoints::save`] is kept.
    fn finish(&mut self);
}

/// What a checkpoint adds to the one before.
#[derive(Debug, Default)]
pub struct Changes {
    /// Pairs that have changed.
    pub pairs: DirtyPairs,
    /// Rows that have been added.
    pub settled: Settled,
}

impl Changes {
    /// Everything a state holds.
    pub fn all<S: SlotState>(state: &mut S) -> Self {
        state.take_dirty(&mut |_, _| {});
        let mut pairs = DirtyPairs::default();
        state.put_all(&mut |key, value| pairs.put(key, value));
        Self { pairs, settled: state.take_settled(true) }
    }

    /// What has changed in a state since the last call.
    pub fn of<S: SlotState>(state: &mut S) -> Self {
        let mut pairs = DirtyPairs::default();
        state.take_dirty(&mut |key, value| pairs.put(key, value));
        Self { pairs, settled: state.take_settled(false) }
    }
}

/// Checkpoints in a directory, one folder a slot, written by a thread of their own; in a simulation by the worker's.
pub struct DiskCheckpoints {
    dir: PathBuf,
    processor: &'static str,
    log: Arc<dyn Log>,
    files: Arc<dyn Files>,
    options: Options,
    stores: BTreeMap<u32, Option<Store>>,
    /// Of the slots whose stores are open.
    locks: BTreeMap<u32, File>,
    /// None in a simulation, and where the system gives none.
    thread: Option<CheckpointThread>,
    closed: BTreeMap<u32, ClosedRuns>,
    /// Slots whose checkpoint is no good and could not be removed: it is not looked at again.
    doubtful: BTreeSet<u32>,
    crashed: Option<Crash>,
}

/// How long a slot's new owner waits for the one before to let its checkpoints go.
const RELEASE_WAIT: Duration = Duration::from_secs(2);
/// Between two tries.
const RELEASE_TRY: Duration = Duration::from_millis(5);
/// Bytes of deltas that are worth a new base in a simulation, whose histories are short.
const MERGE_SOON: u64 = 400;
/// How long a checkpoint waits for the log's sync.
const DURABLE_WAIT: Duration = Duration::from_secs(60);

/// The lock of a slot's directory; waits for a worker that has it still.
fn lock_within(dir: &Path, wait: Duration) -> Result<Option<File>, StoreError> {
    let mut waited = Duration::ZERO;
    loop {
        let found = lock(dir)?;
        if found.is_some() || waited >= wait {
            return Ok(found);
        }
        std::thread::sleep(RELEASE_TRY);
        waited += RELEASE_TRY;
    }
}

impl DiskCheckpoints {
    /// Checkpoints of `processor` below `dir`.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn open(dir: &Path, processor: &'static str, log: Arc<dyn Log>) -> std::io::Result<Self> {
        let thread = CheckpointThread::spawn(processor)?;
        Ok(Self { thread: Some(thread), ..Self::with(dir, processor, log, Arc::new(SystemFiles)) })
    }

    /// The same on a simulated disk. Each is written before [`Checkpoints::save`] returns, and files are merged soon.
    #[must_use]
    pub fn simulated(disk: &SimDisk, processor: &'static str, log: Arc<dyn Log>) -> Self {
        let options = Options { merge_bytes_min: MERGE_SOON, ..Options::default() };
        Self { options, ..Self::with(disk.dir(), processor, log, Arc::new(disk.clone())) }
    }

    fn with(dir: &Path, processor: &'static str, log: Arc<dyn Log>, files: Arc<dyn Files>) -> Self {
        Self {
            dir: dir.join(processor),
            processor,
            log,
            files,
            options: Options::default(),
            stores: BTreeMap::new(),
            locks: BTreeMap::new(),
            thread: None,
            closed: BTreeMap::new(),
            doubtful: BTreeSet::new(),
            crashed: None,
        }
    }

    fn store(&mut self, slot: u32) -> Option<&mut Store> {
        self.store_within(slot, Duration::ZERO)
    }

    /// As [`Self::store`]; where another worker still has it, waits for that one.
    fn store_within(&mut self, slot: u32, wait: Duration) -> Option<&mut Store> {
        self.collect();
        if !self.stores.contains_key(&slot) {
            let dir = self.dir.join(format!("{slot:03}"));
            match lock_within(&dir, wait) {
                Ok(Some(lock)) => {
                    let files = Arc::clone(&self.files);
                    match Store::open_with(&dir, (self.processor, slot), self.options, files) {
                        Ok(store) => {
                            self.stores.insert(slot, Some(store));
                            self.locks.insert(slot, lock);
                        }
                        Err(error) => self.warn(slot, &error),
                    }
                }
                Ok(None) => {
                    tracing::warn!(processor = self.processor, slot, "another worker has its checkpoints");
                }
                Err(error) => self.warn(slot, &error),
            }
        }
        self.stores.get_mut(&slot)?.as_mut()
    }

    fn warn(&self, slot: u32, error: &StoreError) {
        tracing::warn!(processor = self.processor, slot, %error, "no checkpoint");
    }

    /// Takes finished stores back.
    fn collect(&mut self) {
        let reports: Vec<_> = self.thread.iter().flat_map(|t| std::iter::from_fn(|| t.poll())).collect();
        reports.into_iter().for_each(|report| self.take_back(report));
    }

    fn take_back(&mut self, report: crate::store::Report) {
        let slot = report.store.slot();
        match report.result {
            Ok(written) => drop(written.closed.map(|closed| self.closed.insert(slot, closed))),
            Err(StoreError::Crash(crash)) => self.crashed = Some(crash),
            Err(error) => self.warn(slot, &error),
        }
        self.stores.insert(slot, Some(report.store));
    }
}

impl Checkpoints for DiskCheckpoints {
    fn latest(&mut self, slot: u32) -> Option<Label> {
        if self.doubtful.contains(&slot) && !self.discard(slot) {
            return None;
        }
        match self.store_within(slot, RELEASE_WAIT)?.latest() {
            Ok(label) => label,
            Err(error) => {
                self.warn(slot, &error);
                self.discard(slot);
                None
            }
        }
    }

    fn load(&mut self, slot: u32, state: &mut dyn SlotState) -> Result<(), String> {
        let store = self.store(slot).ok_or("the store is busy")?;
        store.load(|key, value| state.load(key, value)).map_err(|e| e.to_string())?;
        let closed = store.load_runs(|key, value| state.load_row(key, value)).map_err(|e| e.to_string())?;
        state.adopt(closed);
        self.closed.remove(&slot);
        Ok(())
    }

    fn ready(&mut self, slot: u32) -> bool {
        self.store(slot).is_some()
    }

    fn closed(&mut self, slot: u32) -> Option<ClosedRuns> {
        self.collect();
        self.closed.remove(&slot)
    }

    fn save(&mut self, slot: u32, label: Label, changes: Changes, sequence: u64) -> Result<(), Crash> {
        self.collect();
        let Some(store) = self.stores.get_mut(&slot).and_then(Option::take) else {
            tracing::error!(
                processor = self.processor,
                slot,
                "a checkpoint came while the last one is written"
            );
            return Ok(());
        };
        let log = Arc::clone(&self.log);
        let wait_durable =
            Box::new(move || log.wait_durable(sequence, DURABLE_WAIT).map_err(|e| e.to_string()));
        let Changes { pairs, settled } = changes;
        let job = Job { store, label, pairs, settled, wait_durable };
        let given_back = match &self.thread {
            None => Box::new(job),
            Some(thread) => match thread.submit(job) {
                Ok(()) => return Ok(()),
                Err(NotTaken::Busy(job) | NotTaken::Gone(job)) => job,
            },
        };
        // The thread is behind: write here. A slow window is better than lost pairs.
        let report = given_back.run();
        self.take_back(report);
        self.crashed.take().map_or(Ok(()), Err)
    }

    fn discard(&mut self, slot: u32) -> bool {
        let gone = match self.store(slot).map(Store::clear) {
            Some(Ok(())) => true,
            Some(Err(error)) => {
                self.warn(slot, &error);
                false
            }
            None => false,
        };
        if gone {
            self.doubtful.remove(&slot)
        } else {
            self.doubtful.insert(slot)
        };
        gone
    }

    fn release(&mut self, slot: u32) {
        self.collect();
        if matches!(self.stores.get(&slot), Some(None)) {
            self.finish();
        }
        self.stores.remove(&slot);
        self.locks.remove(&slot);
        self.closed.remove(&slot);
        self.doubtful.remove(&slot);
    }

    fn finish(&mut self) {
        if let Some(thread) = self.thread.take() {
            for report in thread.finish() {
                self.take_back(report);
            }
            match CheckpointThread::spawn(self.processor) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => tracing::warn!(processor = self.processor, %error, "no checkpoint thread"),
            }
        }
    }
}

/// The checkpoint of a slot, kept in memory.
#[derive(Debug, Clone)]
struct Kept {
    label: Label,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Oldest first.
    open: Vec<Arc<Run>>,
    closed: ClosedRuns,
    /// Whether the state has been told of them.
    told: bool,
    /// Something was not kept: it is no checkpoint, until all is given anew.
    lost: bool,
}

impl Kept {
    /// As a store on disk does with its files.
    fn take(&mut self, settled: Settled) -> Result<(), String> {
        let failed = |why: &dyn std::fmt::Debug| format!("a run in memory: {why:?}");
        let run = |bytes| Run::open(Source::Memory(bytes), true).map(Arc::new).map_err(|why| failed(&why));
        let merged = |runs: &[Arc<Run>]| {
            let runs: Vec<&Run> = runs.iter().map(|run| &**run).collect();
            runs::merge(&runs, Vec::new()).map_err(|why| failed(&why)).and_then(|(bytes, ..)| run(bytes))
        };
        if let Some((bytes, ..)) = settled.write(|| Ok(Vec::new())).map_err(|why| failed(&why))? {
            self.open.push(run(bytes)?);
        }
        let changed = settled.closes > 0 || !settled.carried.is_empty();
        self.closed.runs.extend(settled.carried);
        if settled.closes > 0 && !self.open.is_empty() {
            self.closed.runs.push(merged(&std::mem::take(&mut self.open))?);
        }
        self.closed.closed = self.closed.closed.max(settled.closes);
        let rows = |runs: &[Arc<Run>]| runs.iter().map(|run| run.rows()).collect::<Vec<_>>();
        while let Some(from) = runs::worth_merging(&rows(&self.closed.runs)) {
            let one = merged(&self.closed.runs.split_off(from))?;
            self.closed.runs.push(one);
        }
        self.told &= !changed;
        Ok(())
    }
}

/// What a state says to a row, or a run to its reader.
struct Unloaded(String);

impl From<runs::Damaged> for Unloaded {
    fn from(why: runs::Damaged) -> Self {
        Self(why.to_string())
    }
}

/// Checkpoints in memory that outlive the worker: clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoints {
    kept: Arc<Mutex<BTreeMap<u32, Kept>>>,
}

impl MemoryCheckpoints {
    /// Loses everything, as a lost disk does.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// As they are now, by themselves: what another disk holds, or what a torn write leaves to go back to.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self { kept: Arc::new(Mutex::new(self.lock().clone())) }
    }

    /// Number of slots with a checkpoint.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Kept>> {
        mutex::lock(&self.kept)
    }
}

impl Checkpoints for MemoryCheckpoints {
    fn latest(&mut self, slot: u32) -> Option<Label> {
        self.lock().get(&slot).filter(|kept| !kept.lost).map(|kept| kept.label.clone())
    }

    fn load(&mut self, slot: u32, state: &mut dyn SlotState) -> Result<(), String> {
        let mut kept = self.lock();
        let kept = kept.get_mut(&slot).ok_or("no checkpoint")?;
        kept.pairs.iter().try_for_each(|(key, value)| state.load(key, value))?;
        let open: Vec<&Run> = kept.open.iter().map(|run| &**run).collect();
        runs::merged(&open, |key: &RowKey, value, _| state.load_row(key, value).map_err(Unloaded))
            .map_err(|Unloaded(why)| why)?;
        state.adopt(ClosedRuns { runs: kept.closed.runs.clone(), closed: 0 });
        (kept.told, kept.closed.closed) = (true, 0);
        Ok(())
    }

    fn ready(&mut self, _slot: u32) -> bool {
        true
    }

    fn closed(&mut self, slot: u32) -> Option<ClosedRuns> {
        let mut all = self.lock();
        let kept = all.get_mut(&slot).filter(|kept| !kept.told)?;
        kept.told = true;
        Some(kept.closed.clone())
    }

    fn save(&mut self, slot: u32, label: Label, changes: Changes, _sequence: u64) -> Result<(), Crash> {
        let mut all = self.lock();
        let kept = all.entry(slot).or_insert_with(|| Kept {
            label: label.clone(),
            pairs: BTreeMap::new(),
            open: Vec::new(),
            closed: ClosedRuns::default(),
            told: true,
            lost: false,
        });
        kept.label = label;
        for (key, value) in changes.pairs.newest() {
            match value {
                Some(value) => kept.pairs.insert(key.to_vec(), value.to_vec()),
                None => kept.pairs.remove(key),
            };
        }
        if let Err(why) = kept.take(changes.settled) {
            tracing::error!(slot, why, "no checkpoint");
            kept.lost = true;
        }
        Ok(())
    }

    fn discard(&mut self, slot: u32) -> bool {
        self.lock().remove(&slot);
        true
    }

    fn release(&mut self, _slot: u32) {}

    fn finish(&mut self) {}
}
