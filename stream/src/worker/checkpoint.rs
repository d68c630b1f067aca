//! What the worker needs of a checkpoint store: one on disk for processes, one in memory for the simulation.

use crate::log::Log;
use crate::mutex;
use crate::processor::SlotState;
use crate::store::{CheckpointThread, DirtyPairs, Job, Label, NotTaken, Options, Store, StoreError, lock};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Takes one pair of a checkpoint.
pub type LoadPair<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), String> + 'a;

/// Holds checkpoints of one processor's slots. Losing one costs time, never data.
pub trait Checkpoints: Send {
    /// Label of the newest whole checkpoint of a slot.
    fn latest(&mut self, slot: u32) -> Option<Label>;
    /// Hands its pairs to `put`.
    ///
    /// # Errors
    /// A torn checkpoint, or a pair that `put` refuses: what was put so far must be thrown away.
    fn load(&mut self, slot: u32, put: &mut LoadPair<'_>) -> Result<(), String>;
    /// Whether [`Checkpoints::save`] would be taken now (the slot's last one is finished).
    fn ready(&mut self, slot: u32) -> bool;
    /// Takes the pairs changed since the last call (all of them after [`Checkpoints::discard`]). It may count
    /// only once write-ahead sequence `sequence` is durable.
    fn save(&mut self, slot: u32, label: Label, pairs: DirtyPairs, sequence: u64);
    /// Forgets a slot's checkpoint.
    fn discard(&mut self, slot: u32);
    /// Lets a slot's checkpoints go, once what was given to [`Checkpoints::save`] is kept: another worker owns it now.
    fn release(&mut self, slot: u32);
    /// Waits until everything given to [`Checkpoints::save`] is kept.
    fn finish(&mut self);
}

/// Everything a state holds.
pub(crate) fn all_pairs<S: SlotState>(state: &mut S) -> DirtyPairs {
    state.take_dirty(&mut |_, _| {});
    let mut pairs = DirtyPairs::default();
    state.put_all(&mut |key, value| pairs.put(key, value));
    pairs
}

/// Everything that changed.
pub(crate) fn dirty_pairs<S: SlotState>(state: &mut S) -> DirtyPairs {
    let mut pairs = DirtyPairs::default();
    state.take_dirty(&mut |key, value| pairs.put(key, value));
    pairs
}

/// Checkpoints in a directory, one folder a slot, written by a thread of their own.
pub struct DiskCheckpoints {
    dir: PathBuf,
    processor: &'static str,
    log: Arc<dyn Log>,
    stores: BTreeMap<u32, Option<Store>>,
    /// Of the slots whose stores are open.
    locks: BTreeMap<u32, File>,
    thread: Option<CheckpointThread>,
}

/// How long a slot's new owner waits for the one before to let its checkpoints go.
const RELEASE_WAIT: Duration = Duration::from_secs(2);
/// Between two tries.
const RELEASE_TRY: Duration = Duration::from_millis(5);
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
        let thread = Some(CheckpointThread::spawn(processor)?);
        Ok(Self {
            dir: dir.join(processor),
            processor,
            log,
            stores: BTreeMap::new(),
            locks: BTreeMap::new(),
            thread,
        })
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
                Ok(Some(lock)) => match Store::open(&dir, self.processor, slot, Options::default()) {
                    Ok(store) => {
                        self.stores.insert(slot, Some(store));
                        self.locks.insert(slot, lock);
                    }
                    Err(error) => self.warn(slot, &error),
                },
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
        if let Err(error) = &report.result {
            self.warn(slot, error);
        }
        self.stores.insert(slot, Some(report.store));
    }
}

impl Checkpoints for DiskCheckpoints {
    fn latest(&mut self, slot: u32) -> Option<Label> {
        match self.store_within(slot, RELEASE_WAIT)?.latest() {
            Ok(label) => label,
            Err(error) => {
                self.warn(slot, &error);
                self.discard(slot);
                None
            }
        }
    }

    fn load(&mut self, slot: u32, put: &mut LoadPair<'_>) -> Result<(), String> {
        let store = self.store(slot).ok_or("the store is busy")?;
        store.load(put).map(|_| ()).map_err(|e| e.to_string())
    }

    fn ready(&mut self, slot: u32) -> bool {
        self.store(slot).is_some()
    }

    fn save(&mut self, slot: u32, label: Label, pairs: DirtyPairs, sequence: u64) {
        self.collect();
        let Some(store) = self.stores.get_mut(&slot).and_then(Option::take) else {
            tracing::error!(
                processor = self.processor,
                slot,
                "a checkpoint came while the last one is written"
            );
            return;
        };
        let log = Arc::clone(&self.log);
        let wait_durable =
            Box::new(move || log.wait_durable(sequence, DURABLE_WAIT).map_err(|e| e.to_string()));
        let job = Job { store, label, pairs, wait_durable };
        let given_back = match self.thread.as_ref().map(|thread| thread.submit(job)) {
            Some(Ok(())) | None => return,
            Some(Err(NotTaken::Busy(job) | NotTaken::Gone(job))) => job,
        };
        // The thread is behind: write here. A slow window is better than lost pairs.
        let report = given_back.run();
        self.take_back(report);
    }

    fn discard(&mut self, slot: u32) {
        if let Some(Err(error)) = self.store(slot).map(Store::clear) {
            self.warn(slot, &error);
        }
    }

    fn release(&mut self, slot: u32) {
        self.collect();
        if matches!(self.stores.get(&slot), Some(None)) {
            self.finish();
        }
        self.stores.remove(&slot);
        self.locks.remove(&slot);
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

type Kept = BTreeMap<u32, (Label, BTreeMap<Vec<u8>, Vec<u8>>)>;

/// Checkpoints in memory that outlive the worker: clones share them.
#[derive(Debug, Clone, Default)]
pub struct MemoryCheckpoints {
    kept: Arc<Mutex<Kept>>,
}

impl MemoryCheckpoints {
    /// Loses everything, as a lost disk does.
    pub fn clear(&self) {
        self.lock().clear();
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        mutex::lock(&self.kept)
    }
}

impl Checkpoints for MemoryCheckpoints {
    fn latest(&mut self, slot: u32) -> Option<Label> {
        self.lock().get(&slot).map(|(label, _)| label.clone())
    }

    fn load(&mut self, slot: u32, put: &mut LoadPair<'_>) -> Result<(), String> {
        let kept = self.lock();
        let pairs = kept.get(&slot).map(|(_, pairs)| pairs).ok_or("no checkpoint")?;
        pairs.iter().try_for_each(|(key, value)| put(key, value))
    }

    fn ready(&mut self, _slot: u32) -> bool {
        true
    }

    fn save(&mut self, slot: u32, label: Label, pairs: DirtyPairs, _sequence: u64) {
        let mut kept = self.lock();
        let entry = kept.entry(slot).or_insert_with(|| (label.clone(), BTreeMap::new()));
        entry.0 = label;
        for (key, value) in pairs.newest() {
            match value {
                Some(value) => entry.1.insert(key.to_vec(), value.to_vec()),
                None => entry.1.remove(key),
            };
        }
    }

    fn discard(&mut self, slot: u32) {
        self.lock().remove(&slot);
    }

    fn release(&mut self, _slot: u32) {}

    fn finish(&mut self) {}
}
