//! Observing: the states of all slots as their committed positions name them, read while their owners go on.
//!
//! Joins no group, fences nobody, commits nothing. Positions and changelog are read one after the other, so the changelog
//! is mostly ahead of the positions: the state is that after the very window which the positions name. What would stop an
//! owner may only be something that has just moved here; it counts when it is met [`DOUBTS_MAX`] times.
//!
//! An observer that looks again ([`Worker::observe_again`]) reads on from what it has seen.

use super::restore::{Committed, Last};
use super::{Now, Run, Worker, WorkerError};
use crate::processor::Processor;

/// Tries before an observer takes what it sees for what is there.
const DOUBTS_MAX: u32 = 20;

impl<P: Processor> Worker<P> {
    /// Whether what stops a slot may only have moved between two looks.
    pub(super) fn may_have_moved(&self, run: &mut Run<P>) -> bool {
        run.doubts += 1;
        self.options.observing && run.doubts < DOUBTS_MAX
    }

    /// Whether an observer has replayed the window that the committed positions name, or none is named.
    pub(super) fn observed(&self, last: Option<&Last>, committed: &Committed) -> bool {
        let named = match (last, committed.metadata.as_ref()) {
            (Some(last), Some(m)) => (last.epoch, last.batch, last.hash) == (m.epoch, m.batch, m.hash),
            (None, None) => true,
            _ => false,
        };
        self.options.observing && named
    }

    /// Lets the next steps read what has come since.
    pub fn observe_again(&mut self) {
        if self.options.observing {
            self.run = self.run.take().map(|run| Run { doubts: 0, ..run.again() });
        }
    }

    /// Keeps what was observed as checkpoints, so that the next observer reads less.
    ///
    /// # Errors
    /// A fault point fired.
    pub fn keep_observed(&mut self, now: Now) -> Result<(), WorkerError> {
        if let Some(mut run) = self.run.take() {
            let slots = run.slots.iter_mut().filter(|(_, slot)| slot.stopped.is_none() && slot.batch > 0);
            for (number, slot) in slots.filter(|(_, slot)| slot.replayed.0 > 0) {
                self.checkpoint_slot(*number, slot, now)?;
                slot.replayed.0 = 0;
            }
            self.run = Some(run);
        }
        self.checkpoints.finish();
        Ok(())
    }
}
