//! What the worker needs of a checkpoint store, and one in memory for the simulation.

use crate::log::{Offset, TopicPartition};
use crate::processor::SlotState;
use schemas::batch::Hash;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Key-value pairs of a checkpoint; `None` = removed.
pub type Pairs = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Up to where a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label {
    /// Owner epoch of the last window in it.
    pub epoch: u64,
    /// Last window in it.
    pub batch: u64,
    /// Hash of that window's changelog batch (or of its last input record).
    pub hash: Hash,
    /// Input positions after that window.
    pub positions: Vec<(TopicPartition, Offset)>,
    /// Where the changelog goes on after that window; 0 when the slot has none.
    pub changelog_offset: Offset,
    /// Write-ahead sequence of that window's commit: the checkpoint may be finished only once it is durable.
    pub sequence: u64,
}

/// Holds checkpoints of one processor's slots. Losing one costs time, never data.
pub trait Checkpoints: Send {
    /// The newest whole checkpoint of a slot.
    fn latest(&mut self, slot: u32) -> Option<(Label, Pairs)>;
    /// Takes the pairs changed since the last call (`full`: all pairs, the earlier ones are void).
    /// Returns `false` when the last one could not be kept, so that the next must be full.
    fn save(&mut self, slot: u32, label: Label, pairs: Pairs, full: bool) -> bool;
    /// Forgets a slot's checkpoint: it contradicts the log.
    fn discard(&mut self, slot: u32);
    /// Waits until everything given to [`Checkpoints::save`] is kept.
    fn finish(&mut self);
}

/// Everything a state holds, as pairs.
pub(crate) fn all_pairs<S: SlotState>(state: &mut S) -> Pairs {
    state.take_dirty(&mut |_, _| {});
    state.canonical().into_iter().map(|(key, value)| (key, Some(value))).collect()
}

/// Everything that changed, as pairs.
pub(crate) fn dirty_pairs<S: SlotState>(state: &mut S) -> Pairs {
    let mut pairs = Pairs::new();
    state.take_dirty(&mut |key, value| pairs.push((key.to_vec(), value.map(<[u8]>::to_vec))));
    pairs
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
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Number of slots with a checkpoint.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Checkpoints for MemoryCheckpoints {
    fn latest(&mut self, slot: u32) -> Option<(Label, Pairs)> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (label, pairs) = kept.get(&slot)?;
        let pairs = pairs.iter().map(|(key, value)| (key.clone(), Some(value.clone()))).collect();
        Some((label.clone(), pairs))
    }

    fn save(&mut self, slot: u32, label: Label, pairs: Pairs, full: bool) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = kept.entry(slot).or_insert_with(|| (label.clone(), BTreeMap::new()));
        entry.0 = label;
        if full {
            entry.1.clear();
        }
        for (key, value) in pairs {
            match value {
                Some(value) => entry.1.insert(key, value),
                None => entry.1.remove(&key),
            };
        }
        true
    }

    fn discard(&mut self, slot: u32) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }

    fn finish(&mut self) {}
}
