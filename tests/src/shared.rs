//! One configured processor for every incarnation of its worker: reading chart and rules again for each of some
//! thousand restarts would be most of a simulation's time.

use bytes::Bytes;
use schemas::batch::Opened;
use std::sync::Arc;
use stream::log::{Record, TopicPartition};
use stream::processor::{Changelog, Decision, Input, LookBack, Processor, Stop, Window};

/// A processor that several workers use, one after the other or side by side.
#[derive(Debug)]
pub struct Shared<P>(Arc<P>);

impl<P> Shared<P> {
    /// Takes a processor.
    pub fn new(processor: P) -> Self {
        Self(Arc::new(processor))
    }
}

impl<P> Clone for Shared<P> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<P: Processor + Sync> Processor for Shared<P> {
    type Slot = P::Slot;
    type Change = P::Change;

    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn inputs(&self) -> Vec<Input> {
        self.0.inputs()
    }
    fn changelog(&self) -> Changelog {
        self.0.changelog()
    }
    fn witnesses(&self) -> &'static [schemas::topics::Topic] {
        self.0.witnesses()
    }
    fn reads_clock(&self) -> bool {
        self.0.reads_clock()
    }
    fn slots(&self) -> u32 {
        self.0.slots()
    }
    fn open(&self, slot: u32) -> Self::Slot {
        self.0.open(slot)
    }
    fn looks_back(&self, slot: &Self::Slot, window: &Window) -> Vec<LookBack> {
        self.0.looks_back(slot, window)
    }
    fn glean(&self, slot: u32, sought: &LookBack, batch: &Opened) -> Result<Vec<Bytes>, String> {
        self.0.glean(slot, sought, batch)
    }
    fn decide(&self, slot: &Self::Slot, window: Window) -> Result<Option<Decision<Self::Change>>, Stop> {
        self.0.decide(slot, window)
    }
    fn apply(&self, slot: &mut Self::Slot, change: Self::Change) {
        self.0.apply(slot, change);
    }
    fn replay(&self, slot: &mut Self::Slot, from: TopicPartition, record: &Record) -> Result<(), Stop> {
        self.0.replay(slot, from, record)
    }
}
