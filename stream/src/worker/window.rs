//! One window: poll, decide every slot, commit them together, apply, checkpoint.

use super::checkpoint::Changes;
use super::{InputRun, Metadata, Now, Progress, Run, SlotRun, Worker, WorkerError};
use crate::faults;
use crate::log::{
    CommitOutcome, FetchLimit, Isolation, LogError, Offset, Position, TopicPartition, Transaction,
};
use crate::processor::{Changelog, Decision, InputRecords, Processor, SlotState, Stop, Window};
use crate::throttle::Took;
use std::time::Duration;

/// A decided slot, waiting for its commit.
struct Decided<C> {
    slot: u32,
    decision: Decision<C>,
    positions: Vec<(TopicPartition, Offset)>,
}

impl<P: Processor> Worker<P> {
    pub(super) fn window(&mut self, mut run: Run<P>, now: Now) -> Result<Progress, WorkerError> {
        if let Some(why) = self.drop_damaged(&mut run) {
            self.run = Some(run.again());
            return Ok(Progress::Rejoin(why));
        }
        self.poll(&mut run, now)?;
        faults::hit(faults::WORKER_AFTER_POLL)?;
        let more = std::mem::take(&mut run.more);
        let due = more || now.monotonic_us.saturating_sub(run.last_window_us) >= self.options.window_us;
        let share = self.share(&run, now);
        if !due && !full(&run, &share) {
            self.run = Some(run);
            return Ok(Progress::Idle);
        }
        let mut decided = self.decide(&mut run, now, &share)?;
        if let Some(why) = self.drop_damaged(&mut run) {
            self.run = Some(run.again());
            return Ok(Progress::Rejoin(why));
        }
        faults::hit(faults::WORKER_AFTER_DECIDE)?;
        if decided.is_empty() {
            self.checkpoint_one(&mut run, now)?;
            self.run = Some(run);
            return Ok(Progress::Idle);
        }
        run.last_window_us = now.monotonic_us;
        let more = decided.iter().any(|one| one.decision.more);
        let transaction = self.transaction(&run, &mut decided);
        let records = transaction.records.len();
        faults::hit(faults::WORKER_BEFORE_COMMIT)?;
        match self.commit(transaction) {
            CommitOutcome::Committed { sequence } => {
                faults::hit(faults::WORKER_AFTER_COMMIT)?;
                let items = self.apply(&mut run, decided, sequence, now);
                run.more = more;
                faults::hit(faults::WORKER_AFTER_APPLY)?;
                self.checkpoint_one(&mut run, now)?;
                self.run = Some(run);
                Ok(Progress::Committed { items, records, sequence })
            }
            CommitOutcome::Aborted(why) => {
                self.run = Some(run);
                Ok(Progress::Aborted(why))
            }
            CommitOutcome::Fenced(who) => Err(WorkerError::Fenced(who)),
            CommitOutcome::Unknown(why) => {
                self.run = Some(run.again());
                Ok(Progress::Rejoin(why))
            }
        }
    }

    /// Drops states that may have answered wrongly, with their checkpoints: they are restored from the log. Why, of the
    /// last of them.
    fn drop_damaged(&mut self, run: &mut Run<P>) -> Option<String> {
        let damaged = |(number, slot): (&u32, &SlotRun<P::Slot>)| Some((*number, slot.state.damaged()?));
        let damaged: Vec<(u32, String)> = run.slots.iter().filter_map(damaged).collect();
        for (number, why) in &damaged {
            let name = self.processor.name();
            tracing::error!(
                processor = name,
                slot = number,
                why,
                "checkpoint damaged, the slot is restored from the log"
            );
            run.slots.remove(number);
            self.checkpoints.discard(*number);
        }
        damaged.into_iter().next_back().map(|(number, why)| format!("slot {number}: {why}"))
    }

    /// Reads what the inputs have room for. An input whose buffer is full is held back, so that it neither grows
    /// nor keeps another input of its slot from being read.
    fn poll(&self, run: &mut Run<P>, now: Now) -> Result<(), WorkerError> {
        let until_due =
            run.last_window_us.saturating_add(self.options.window_us).saturating_sub(now.monotonic_us);
        let wait = if run.more {
            Duration::ZERO
        } else if buffered(run) == 0 {
            self.options.poll_wait
        } else {
            Duration::from_micros(u64::try_from(until_due).unwrap_or(0)).min(self.options.poll_wait)
        };
        let Some(reader) = run.reader.as_mut() else { return Ok(()) };
        let mut room = 0;
        for slot in run.slots.values_mut() {
            for input in &mut slot.inputs {
                let full = slot.stopped.is_some() || input.buffer.len() >= input.buffer_max();
                if full != input.held {
                    reader.hold(input.at, full)?;
                    input.held = full;
                }
                room += if full { 0 } else { input.records_max };
            }
        }
        if room == 0 {
            return Ok(());
        }
        let fetches = match reader.poll(FetchLimit { records: room, bytes: self.options.poll_bytes, wait }) {
            // What is buffered can still be worked off.
            Err(LogError::Retriable(_)) => return Ok(()),
            // A slot has inputs of its own number: it would step over what is gone, and the others go on.
            Err(LogError::OutOfRange { at, offset, low, high }) if run.slots.contains_key(&at.partition) => {
                let why = format!("what is read next is gone, the log holds {low} to {high}");
                let stop = Stop::at(at.partition, at, offset, why);
                run.slots.get_mut(&at.partition).into_iter().for_each(|slot| self.stop(slot, stop.clone()));
                return Ok(());
            }
            other => other?,
        };
        for input in run.slots.values_mut().flat_map(|slot| &mut slot.inputs) {
            input.drained = !input.held;
        }
        for fetch in fetches {
            // A slot reads partitions of its own number alone (see [`Assigned`]).
            let Some(slot) = run.slots.get_mut(&fetch.from.partition) else { continue };
            if let Some(input) = slot.inputs.iter_mut().find(|input| input.at == fetch.from) {
                input.drained = false;
                input.take(fetch.records);
                slot.rests = false;
            }
        }
        for input in run.slots.values_mut().flat_map(|slot| &mut slot.inputs) {
            if let Some(position) = reader.position(input.at) {
                input.read_to = position;
            }
        }
        Ok(())
    }

    fn decide(
        &self,
        run: &mut Run<P>,
        now: Now,
        share: &Share,
    ) -> Result<Vec<Decided<P::Change>>, WorkerError> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        for (slot, run) in run.slots.iter_mut().filter(|(_, run)| run.stopped.is_none() && !run.rests) {
            if bytes >= self.options.window_bytes {
                break; // the rest is decided in the next window
            }
            for input in &mut run.inputs {
                input.buffer.make_contiguous();
            }
            let mut window = Window {
                slot: *slot,
                epoch: run.epoch,
                batch: run.batch + 1,
                previous_hash: run.hash,
                first: run.first,
                business_us: now.business_us,
                wall_us: now.wall_us,
                inputs: run.inputs.iter().map(|input| offer(input, share.of(input))).collect(),
                looked_back: Vec::new(),
            };
            let offered: Vec<_> = window.inputs.iter().map(|input| (input.from, input.next)).collect();
            let mut searching = false;
            let found = self.look_back(*slot, &run.state, &mut run.searches, &window)?;
            let decided = found.and_then(|found| {
                searching = found.iter().any(|answer| !answer.complete);
                window.looked_back = found;
                self.processor.decide(&run.state, window)
            });
            match decided {
                Ok(None) => run.rests = !searching && !self.processor.reads_clock(),
                Ok(Some(decision)) => {
                    let positions = offered.into_iter().map(|(at, next)| {
                        let consumed = decision.consumed.iter().find(|(a, _)| *a == at);
                        (at, consumed.map_or(next, |(_, offset)| *offset))
                    });
                    let positions = positions.collect();
                    bytes += decision.records.iter().map(|record| record.value.len()).sum::<usize>();
                    all.push(Decided { slot: *slot, decision, positions });
                }
                Err(stop) => self.stop(run, stop),
            }
        }
        Ok(all)
    }

    /// A slot goes no further. What it has read and not worked off is read again by whoever starts it anew.
    fn stop(&self, slot: &mut SlotRun<P::Slot>, stop: Stop) {
        let name = self.processor.name();
        tracing::error!(processor = name, slot = stop.slot, at = stop.at, why = stop.why, "slot stopped");
        slot.inputs.iter_mut().for_each(|input| input.buffer.clear());
        slot.stopped = Some(stop);
    }

    fn transaction(&self, run: &Run<P>, decided: &mut [Decided<P::Change>]) -> Transaction {
        let mut transaction = Transaction { generation: run.assignment.generation, ..Transaction::default() };
        for one in decided {
            let Some(slot) = run.slots.get(&one.slot) else { continue };
            let metadata = Metadata {
                epoch: slot.epoch,
                batch: slot.batch + 1,
                hash: one.decision.hash,
                transactional_id: self.member.transactional_id.clone(),
            }
            .to_text();
            transaction.records.append(&mut one.decision.records);
            for (at, offset) in &one.positions {
                transaction.positions.push((*at, Position { offset: *offset, metadata: metadata.clone() }));
            }
        }
        transaction
    }

    fn apply(&self, run: &mut Run<P>, decided: Vec<Decided<P::Change>>, sequence: u64, now: Now) -> u64 {
        let (mut items, mut yielding, mut others) = (0, 0, false);
        for one in decided {
            let Some(slot) = run.slots.get_mut(&one.slot) else { continue };
            items += one.decision.items;
            slot.batch += 1;
            slot.hash = one.decision.hash;
            slot.first = false;
            slot.sequence = sequence;
            for (at, offset) in one.positions {
                for input in slot.inputs.iter_mut().filter(|input| input.at == at) {
                    input.position = offset;
                    let consumed = input.buffer.partition_point(|record| record.offset < offset);
                    input.buffer.drain(..consumed);
                    if input.yields {
                        yielding += consumed;
                    } else {
                        others |= consumed > 0;
                    }
                }
            }
            self.processor.apply(&mut slot.state, one.decision.change);
        }
        if let Some(throttle) = &self.options.throttle {
            let held_back = yields(run).any(|input| !input.buffer.is_empty());
            throttle.took(now.monotonic_us, Took { yielding, held_back, others });
        }
        items
    }

    /// What slots may take of their yielding inputs in this window.
    fn share(&self, run: &Run<P>, now: Now) -> Share {
        let throttle = self.options.throttle.as_ref();
        let each = throttle.and_then(|throttle| throttle.allowance(now.monotonic_us)).map(|records| {
            let hungry = yields(run).filter(|input| !input.buffer.is_empty()).count();
            // At least one, so that a window that is due is never empty while records wait.
            records.div_ceil(hungry.max(1)).max(1)
        });
        Share { each }
    }

    /// When a slot that is restored now counts as checkpointed, so that slots do not come due all at once, one behind the
    /// other, for ever after.
    pub(super) fn staggered(&self, slot: u32, now: Now) -> i64 {
        let share =
            i64::from(slot).saturating_mul(self.options.checkpoint_us) / i64::from(self.member.slots.max(1));
        now.monotonic_us.saturating_sub(share)
    }

    /// Checkpoints at most one slot that is due, so that no window waits for all of them.
    fn checkpoint_one(&mut self, run: &mut Run<P>, now: Now) -> Result<(), WorkerError> {
        for (number, slot) in &mut run.slots {
            if let Some(closed) = self.checkpoints.closed(*number) {
                slot.state.adopt(closed);
            }
        }
        let (every_us, bytes) = (self.options.checkpoint_us, self.options.checkpoint_bytes);
        let due = run.slots.iter_mut().find(|(_, slot)| {
            let waited = now.monotonic_us.saturating_sub(slot.checkpointed_us) >= every_us;
            slot.stopped.is_none() && slot.batch > 0 && (waited || slot.state.dirty_bytes() >= bytes)
        });
        let Some((number, slot)) = due else { return Ok(()) };
        for alarm in slot.state.alarms() {
            tracing::warn!(processor = self.processor.name(), slot = number, alarm);
        }
        self.checkpoint_slot(*number, slot, now)
    }

    pub(super) fn checkpoint_slot(
        &mut self,
        number: u32,
        slot: &mut SlotRun<P::Slot>,
        now: Now,
    ) -> Result<(), WorkerError> {
        slot.checkpointed_us = now.monotonic_us;
        if !self.checkpoints.ready(number) {
            return Ok(());
        }
        let changelog_offset = match self.processor.changelog() {
            Changelog::Own(_) if self.options.observing => slot.replayed.1,
            Changelog::Own(topic) => {
                let end = self.log.watermarks(TopicPartition::new(topic, number), Isolation::Committed);
                match end {
                    Ok(bounds) => bounds.high,
                    // Losing a checkpoint costs time only.
                    Err(LogError::Retriable(_)) => return Ok(()),
                    Err(error) => return Err(error.into()),
                }
            }
            Changelog::Inputs => 0,
        };
        let label = slot.label(changelog_offset);
        faults::hit(faults::CHECKPOINT_BEFORE_WRITE)?;
        let full = slot.full_checkpoint;
        if full && !self.checkpoints.discard(number) {
            return Ok(());
        }
        let changes = if full { Changes::all(&mut slot.state) } else { Changes::of(&mut slot.state) };
        slot.full_checkpoint = false;
        self.checkpoints.save(number, label, changes, slot.sequence)?;
        Ok(())
    }

    /// Checkpoints every slot that has changed and waits until all are kept: the last act of an orderly end.
    ///
    /// # Errors
    /// The log is away.
    pub fn checkpoint_all(&mut self, now: Now) -> Result<(), WorkerError> {
        self.checkpoints.finish();
        if let Some(mut run) = self.run.take() {
            for (number, slot) in &mut run.slots {
                if run.restored && slot.stopped.is_none() && slot.batch > 0 && !slot.first {
                    self.checkpoint_slot(*number, slot, now)?;
                }
            }
            self.run = Some(run);
        }
        self.checkpoints.finish();
        Ok(())
    }
}

/// Records that the next window may take.
fn buffered<P: Processor>(run: &Run<P>) -> usize {
    run.slots
        .values()
        .filter(|slot| !slot.rests)
        .flat_map(|slot| &slot.inputs)
        .map(|input| input.buffer.len())
        .sum()
}

/// How many records of an input that yields a slot may take; `None` = as many as of another.
struct Share {
    each: Option<usize>,
}

impl Share {
    fn of(&self, input: &InputRun) -> usize {
        self.each.filter(|_| input.yields).map_or(input.records_max, |most| most.min(input.records_max))
    }
}

/// Inputs that yield.
fn yields<P: Processor>(run: &Run<P>) -> impl Iterator<Item = &InputRun> {
    run.slots.values().flat_map(|slot| &slot.inputs).filter(|input| input.yields)
}

/// Whether some input has all that a window takes. One that yields waits for the window's time.
fn full<P: Processor>(run: &Run<P>, share: &Share) -> bool {
    let slots = run.slots.values().filter(|slot| !slot.rests);
    let mut inputs =
        slots.flat_map(|slot| &slot.inputs).filter(|input| !(input.yields && share.each.is_some()));
    inputs.any(|input| input.buffer.len() >= input.records_max)
}

/// What an input gives to a window: the first of its buffered records, at most so many, in place.
fn offer(input: &InputRun, records_max: usize) -> InputRecords<'_> {
    // The buffer was made contiguous.
    let (buffered, _) = input.buffer.as_slices();
    let records = buffered.get(..records_max).unwrap_or(buffered);
    let all = records.len() == input.buffer.len();
    let next = match records.last() {
        _ if all => input.read_to,
        Some(last) => last.offset + 1,
        None => input.position,
    };
    let drained = all && input.drained;
    InputRecords { from: input.at, position: input.position, next, records: records.into(), drained }
}
