//! Restore, in the order of ARCHITECTURE rule 1: the transactional id is taken (by `join`), then committed positions,
//! then the changelog's raw end as the goal, then replay until the reader's own position reaches it, then the last
//! batch against the committed positions. Checkpoints only shorten the replay; a doubtful one is dropped, and the
//! newest snapshot in the log takes its place ([`crate::snapshot`]). A checkpoint that lies ahead of the log proves that a
//! part of the log is lost, as it was written only when its windows were durable: it stops its slot. One slot a step, so
//! that whoever drives the worker can do something else between two slots.
//!
//! A slot that the worker had before and that nobody has committed since needs none of this: its committed positions
//! name the window after which its state stands.

use super::checkpoint::Changes;
use super::look_back::Searches;
use super::resume::Resume;
use super::{InputRun, Metadata, Now, Progress, Run, SlotRun, Worker, WorkerError, transactional_id};
use crate::faults;
use crate::log::{FetchLimit, Isolation, LogError, Offset, Position, TopicPartition};
use crate::processor::{Assigned, Changelog, Input, Processor, SlotState, Stop};
use crate::snapshot::{self, Owner};
use crate::store::Label;
use schemas::batch::{self, Hash};
use schemas::topics::Partitioning;

/// Result of restoring one slot.
enum Restored<S> {
    Done(Box<SlotRun<S>>, u64),
    Wait(String),
    Blocked(Blocked),
    Stopped(Stop),
}

/// Why a slot cannot be restored for the moment.
enum Blocked {
    /// Records of this partition cannot be read up to its end.
    Records(TopicPartition),
    /// An open transaction, whose id may be known, holds the slot's positions.
    Positions(TopicPartition, String),
}

/// What the committed positions say.
pub(super) struct Committed {
    positions: Vec<Offset>,
    pub(super) metadata: Option<Metadata>,
}

impl<S> SlotRun<S> {
    /// A slot that reads no input and has committed nothing.
    fn new(state: S, now: Now) -> Self {
        Self {
            state,
            epoch: 0,
            batch: 0,
            hash: [0; 32],
            first: false,
            inputs: Vec::new(),
            checkpointed_us: now.monotonic_us,
            full_checkpoint: true,
            sequence: 0,
            replayed: (0, 0),
            searches: Searches::default(),
            stopped: None,
            rests: false,
        }
    }

    /// Whether this state is what the committed positions name: then nobody has committed the slot since.
    fn stands_at(&self, committed: &Committed) -> bool {
        let owner = |metadata: &Metadata| metadata.epoch == self.epoch - u64::from(self.first);
        let window = |metadata: &Metadata| (metadata.batch, metadata.hash) == (self.batch, self.hash);
        let places =
            || self.inputs.iter().map(|input| input.position).eq(committed.positions.iter().copied());
        self.stopped.is_none()
            && committed.metadata.as_ref().map_or(self.batch == 0, |m| owner(m) && window(m) && places())
    }
}

impl<S> SlotRun<S> {
    /// What a checkpoint of it says of where it stands; replay of the changelog goes on at `changelog_offset`.
    pub(super) fn label(&self, changelog_offset: Offset) -> Label {
        Label {
            generation: 0,
            // A slot that has committed nothing yet stands at a window of the owner before.
            epoch: self.epoch - u64::from(self.first),
            batch: self.batch,
            hash: self.hash,
            positions: self.inputs.iter().map(|input| (input.at, input.position)).collect(),
            changelog_offset,
        }
    }

    /// What it has read so far, as a checkpoint would hold it; `None` where that is nothing.
    fn seen(self) -> Option<(S, Label)> {
        let label = self.label(self.replayed.1);
        (self.stopped.is_none() && self.batch > 0).then_some((self.state, label))
    }
}

impl<P: Processor> Worker<P> {
    pub(super) fn restore(&mut self, mut run: Run<P>, now: Now) -> Result<Progress, WorkerError> {
        let progress = match self.restore_next(&mut run, now) {
            // The slots that are restored by now stay so.
            Err(WorkerError::Log(error @ (LogError::Retriable(_) | LogError::Unstable { .. }))) => {
                Progress::Waiting(error.to_string())
            }
            other => other?,
        };
        self.run = Some(run);
        if matches!(progress, Progress::Restored { .. }) {
            faults::hit(faults::WORKER_AFTER_RESTORE)?;
        }
        Ok(progress)
    }

    fn restore_next(&mut self, run: &mut Run<P>, now: Now) -> Result<Progress, WorkerError> {
        let mut missing = run.assignment.slots.iter().filter(|slot| !run.slots.contains_key(slot));
        if let Some(slot) = missing.next().copied() {
            let last = missing.next().is_none();
            match self.restore_slot(run, slot, now)? {
                Restored::Done(restored, replayed) => {
                    run.slots.insert(slot, *restored);
                    run.replayed += replayed;
                    if !last {
                        return Ok(Progress::Restoring { replayed });
                    }
                }
                Restored::Wait(why) => return Ok(Progress::Waiting(why)),
                Restored::Blocked(blocked) => return self.wait_for(run, slot, blocked),
                Restored::Stopped(stop) if self.may_have_moved(run) => {
                    return Ok(Progress::Waiting(stop.why));
                }
                // Whoever owns the slot by now may have committed it while this worker read: then nothing is wrong.
                Restored::Stopped(_) if self.assignment()? != run.assignment => {
                    return Ok(Progress::Waiting("the slots are shared out anew".to_owned()));
                }
                Restored::Stopped(stop) => {
                    let stopped = self.stopped_slot(slot, stop, now);
                    run.slots.insert(slot, stopped);
                    if !last {
                        return Ok(Progress::Restoring { replayed: 0 });
                    }
                }
            }
        }
        if !self.options.observing {
            let live = run.slots.values().filter(|slot| slot.stopped.is_none());
            let start: Vec<_> =
                live.flat_map(|slot| slot.inputs.iter().map(|input| (input.at, input.position))).collect();
            run.reader = match self.log.reader(&start, Isolation::Committed) {
                // It was there when the slot's place was judged.
                Err(LogError::OutOfRange { at, .. }) if run.slots.remove(&at.partition).is_some() => {
                    return Ok(Progress::Waiting(format!("{at}: what was to be read has gone meanwhile")));
                }
                made => Some(made?),
            };
        }
        run.kept.clear();
        run.restored = true;
        Ok(Progress::Restored { replayed: std::mem::take(&mut run.replayed) })
    }

    /// Names who is in the way, and fences every id of the pool that belongs to no current member: those will never
    /// end what they have begun. A member that lives ends it itself.
    fn wait_for(&self, run: &mut Run<P>, slot: u32, blocked: Blocked) -> Result<Progress, WorkerError> {
        let (at, holders) = match blocked {
            Blocked::Positions(at, holder) => (at, holder),
            Blocked::Records(at) => {
                let end = |isolation| self.log.watermarks(at, isolation).map(|bounds| bounds.high);
                if end(Isolation::Committed)? == end(Isolation::Uncommitted)? {
                    return Ok(Progress::Waiting(format!("slot {slot}: {at} cannot be read to its end yet")));
                }
                (at, self.log.holders(at)?.join(", "))
            }
        };
        let group = self.processor.name();
        let members = self.log.members(group)?;
        let dead = self.options.pool.iter().filter(|name| !members.contains(name));
        for id in dead.map(|name| transactional_id(group, name)) {
            if run.fenced.contains(&id) {
                continue;
            }
            tracing::warn!(processor = group, slot, %at, id, "fencing an id that belongs to no member");
            self.log.fence(&id)?;
            run.fenced.insert(id);
        }
        let who = if holders.is_empty() { "an unknown producer" } else { holders.as_str() };
        Ok(Progress::Waiting(format!("slot {slot}: an open transaction of {who} is in the way on {at}")))
    }

    fn restore_slot(
        &mut self,
        run: &mut Run<P>,
        slot: u32,
        now: Now,
    ) -> Result<Restored<P::Slot>, WorkerError> {
        let inputs = self.inputs_of(slot);
        let at: Vec<TopicPartition> = inputs.iter().map(|(at, _)| *at).collect();
        let mut committed = match self.committed_of(slot, &at)? {
            Ok(committed) => committed,
            Err(none) => return Ok(none),
        };
        // Whether no checkpoint holds what was seen before.
        let mut whole = false;
        let seen = match run.kept.remove(&slot) {
            Some(mut kept) if kept.stands_at(&committed) => {
                kept.rewind();
                return Ok(Restored::Done(Box::new(kept), 0));
            }
            // An observer reads on; an owner begins with its checkpoint, as after a start.
            Some(kept) if self.options.observing => {
                whole = kept.full_checkpoint;
                kept.seen()
            }
            _ => None,
        };
        if let Some(stop) = self.place(slot, &at, &mut committed)? {
            return Ok(Restored::Stopped(stop));
        }
        let outcome = match self.processor.changelog() {
            Changelog::Own(topic) => {
                self.restore_own(slot, seen, TopicPartition::new(topic, slot), &at, &committed)?
            }
            Changelog::Inputs => self.restore_inputs(slot, seen, &at, &committed)?,
        };
        let (state, replayed, full) = match outcome {
            Rebuilt::Done { state, records, full, to } => (state, (records, to), full),
            Rebuilt::Blocked(at) => return Ok(Restored::Blocked(Blocked::Records(at))),
            Rebuilt::Stopped(stop) => return Ok(Restored::Stopped(stop)),
        };
        // An observer reads nothing on.
        let resume =
            if self.options.observing { Resume::Fits } else { self.compare_last_read(slot, &state)? };
        match resume {
            Resume::Fits => {}
            Resume::Wait(why) => return Ok(Restored::Wait(why)),
            Resume::Stopped(stop) => return Ok(Restored::Stopped(stop)),
        }
        let (epoch, batch, hash) =
            committed.metadata.as_ref().map_or((0, 0, [0; 32]), |m| (m.epoch, m.batch, m.hash));
        let inputs = inputs.into_iter().zip(&committed.positions);
        let restored = SlotRun {
            epoch: epoch + 1,
            batch,
            hash,
            first: true,
            inputs: inputs.map(|((at, input), position)| InputRun::new(at, input, *position)).collect(),
            full_checkpoint: full || whole,
            checkpointed_us: self.staggered(slot, now),
            replayed,
            ..SlotRun::new(state, now)
        };
        Ok(Restored::Done(Box::new(restored), replayed.0))
    }

    /// What the committed positions of a slot's inputs say; `Err` = why the slot cannot be restored by them.
    fn committed_of(
        &self,
        slot: u32,
        at: &[TopicPartition],
    ) -> Result<Result<Committed, Restored<P::Slot>>, WorkerError> {
        let held = match self.log.committed(&self.member.group, at) {
            Err(LogError::Unstable { at, holder }) => {
                return Ok(Err(Restored::Blocked(Blocked::Positions(at, holder))));
            }
            other => other?,
        };
        Ok(judge_committed(slot, at, held).map_err(Restored::Stopped))
    }

    /// Holds committed positions against what the inputs hold. Where none is committed, the beginning is the position: of what
    /// comes from outside as much as is there, of everything else all that was ever written.
    fn place(
        &self,
        slot: u32,
        at: &[TopicPartition],
        committed: &mut Committed,
    ) -> Result<Option<Stop>, WorkerError> {
        for (at, position) in at.iter().zip(&mut committed.positions) {
            if committed.metadata.is_none() {
                *position = self.log.watermarks(*at, Isolation::Committed)?.low;
                if *position > 0 && at.topic.partitioning() != Partitioning::Free && !self.options.observing {
                    let why = "the slot has read nothing yet, and what came before is gone";
                    return Ok(Some(Stop::at(slot, *at, *position, why.to_owned())));
                }
            } else if let Some(stop) = self.in_range(slot, *at, *position)? {
                return Ok(Some(stop));
            }
        }
        Ok(None)
    }

    fn inputs_of(&self, slot: u32) -> Vec<(TopicPartition, Input)> {
        let inputs = self.processor.inputs().into_iter();
        inputs
            .filter(|input| input.assigned == Assigned::SameNumber || slot == 0)
            .map(|input| (TopicPartition::new(input.topic, slot), input))
            .collect()
    }

    fn stopped_slot(&self, slot: u32, stop: Stop, now: Now) -> SlotRun<P::Slot> {
        tracing::error!(
            processor = self.processor.name(),
            slot,
            at = stop.at,
            why = stop.why,
            "slot stopped"
        );
        SlotRun { stopped: Some(stop), ..SlotRun::new(self.processor.open(slot), now) }
    }

    /// Loads the newest checkpoint; a doubtful one is dropped.
    ///
    /// # Errors
    /// It is of a window that the log does not know.
    fn load_checkpoint(
        &mut self,
        slot: u32,
        at: &str,
        committed: &Committed,
    ) -> Result<Option<(P::Slot, Label)>, Stop> {
        let Some(label) = self.checkpoints.latest(slot) else { return Ok(None) };
        let mut state = self.processor.open(slot);
        let loaded = match contradiction(&label, committed.metadata.as_ref()) {
            // What an observer has kept may be newer than its look at the positions; only an owner's proves a loss.
            Some(why) if self.options.observing => Err(why),
            Some(why) => return Err(Stop { slot, at: at.to_owned(), why }),
            None => self.checkpoints.load(slot, &mut state),
        };
        match loaded {
            Ok(()) => Ok(Some((state, label))),
            Err(why) => {
                tracing::warn!(processor = self.processor.name(), slot, why, "checkpoint dropped");
                self.checkpoints.discard(slot);
                Ok(None)
            }
        }
    }

    /// Loads the newest snapshot that the log's positions have passed.
    fn load_snapshot(&self, slot: u32, committed: &Committed) -> Result<Option<(P::Slot, Label)>, LogError> {
        if committed.metadata.is_none() {
            return Ok(None);
        }
        let (log, owner) = (self.log.as_ref(), Owner { processor: self.processor.name(), slot });
        for found in snapshot::find(log, owner)? {
            // One that is ahead was written after an observer looked at the positions.
            if contradiction(&found.label, committed.metadata.as_ref()).is_some() {
                continue;
            }
            let mut state = self.processor.open(slot);
            match snapshot::load(log, owner, &found, &mut state)? {
                Ok(()) => {
                    let batch = found.label.batch;
                    tracing::info!(processor = owner.processor, slot, batch, "restoring from a snapshot");
                    return Ok(Some((state, found.label)));
                }
                Err(why) => {
                    tracing::warn!(processor = owner.processor, slot, why, "snapshot passed over");
                }
            }
        }
        Ok(None)
    }

    /// Where a replay may begin, the one that reads least first: what was seen before, the checkpoint, a snapshot.
    fn first_start(
        &mut self,
        slot: u32,
        seen: Option<(P::Slot, Label)>,
        at: &str,
        committed: &Committed,
    ) -> Result<Begun<P::Slot>, LogError> {
        let loaded = match seen {
            Some(seen) => Ok(Some(seen)),
            None => self.load_checkpoint(slot, at, committed),
        };
        match loaded {
            Ok(Some((state, label))) => Ok(Ok(Some(Start { state, label, kept: true }))),
            Ok(None) => self.next_start(slot, true, committed).map(Ok),
            Err(stop) => Ok(Err(stop)),
        }
    }

    /// Where it may begin when a start is of no use, `kept` by a checkpoint or a snapshot itself.
    fn next_start(
        &mut self,
        slot: u32,
        kept: bool,
        committed: &Committed,
    ) -> Result<Option<Start<P::Slot>>, LogError> {
        let loaded = if kept { self.load_snapshot(slot, committed)? } else { None };
        self.from_snapshots += u64::from(loaded.is_some());
        Ok(loaded.map(|(state, label)| Start { state, label, kept: false }))
    }

    /// A start that the log contradicts.
    fn drop_start(&mut self, slot: u32, kept: bool, stop: &Stop) {
        let what = if kept { "checkpoint" } else { "snapshot" };
        tracing::warn!(slot, at = stop.at, why = stop.why, "{what} contradicts the log, dropped");
        if kept {
            self.checkpoints.discard(slot);
        }
    }

    /// Replays the slot's own changelog and compares its last batch with the committed positions.
    fn restore_own(
        &mut self,
        slot: u32,
        seen: Option<(P::Slot, Label)>,
        changelog: TopicPartition,
        at: &[TopicPartition],
        committed: &Committed,
    ) -> Result<Rebuilt<P::Slot>, WorkerError> {
        if !self.options.observing
            && let Err(setting) = self.log.check_retention(changelog.topic)?
        {
            return Ok(Rebuilt::Stopped(Stop { slot, at: changelog.to_string(), why: setting }));
        }
        let goal = self.log.watermarks(changelog, Isolation::Uncommitted)?;
        let mut start = match self.first_start(slot, seen, &changelog.to_string(), committed)? {
            Ok(start) => start,
            Err(stop) => return Ok(Rebuilt::Stopped(stop)),
        };
        while let Some(Start { state, label, kept }) = start {
            if label.changelog_offset <= goal.high {
                let last = Last { epoch: label.epoch, batch: label.batch, hash: label.hash, input: None };
                let replay = Replay { slot, changelog, from: label.changelog_offset, goal: goal.high };
                let rebuilt = self.replay_own(state, &replay, (Some(last), !kept), at, committed);
                match unless_gone(slot, &changelog.to_string(), rebuilt)? {
                    Rebuilt::Stopped(stop) => self.drop_start(slot, kept, &stop),
                    other => return Ok(other),
                }
            }
            start = self.next_start(slot, kept, committed)?;
        }
        let replay = Replay { slot, changelog, from: goal.low, goal: goal.high };
        let state = self.processor.open(slot);
        let rebuilt = self.replay_own(state, &replay, (None, true), at, committed);
        Ok(unless_gone(slot, &changelog.to_string(), rebuilt)?.explained(goal.low))
    }

    fn replay_own(
        &mut self,
        mut state: P::Slot,
        replay: &Replay,
        // `full`: no checkpoint holds what was replayed.
        (mut last, mut full): (Option<Last>, bool),
        at: &[TopicPartition],
        committed: &Committed,
    ) -> Result<Rebuilt<P::Slot>, WorkerError> {
        if self.observed(last.as_ref(), committed) {
            return Ok(Rebuilt::Done { state, records: 0, full, to: replay.from });
        }
        let mut reader = self.log.reader(&[(replay.changelog, replay.from)], Isolation::Committed)?;
        let mut records = 0;
        while reader.position(replay.changelog).is_some_and(|position| position < replay.goal) {
            let before = reader.position(replay.changelog);
            let fetches = reader.poll(limit())?;
            if fetches.is_empty() && reader.position(replay.changelog) == before {
                return Ok(Rebuilt::Blocked(replay.changelog));
            }
            for record in fetches.iter().flat_map(|fetch| &fetch.records) {
                if let Err(stop) = self.processor.replay(&mut state, replay.changelog, record) {
                    return Ok(Rebuilt::Stopped(stop));
                }
                records += 1;
                match batch::open(&record.value) {
                    Ok(opened) => {
                        let h = opened.header;
                        let input = Some(h.input);
                        last = Some(Last { epoch: h.epoch, batch: h.batch, hash: opened.hash, input });
                        full &= !self.checkpoint_replayed(
                            replay.slot,
                            &mut state,
                            last.as_ref(),
                            (record.offset + 1, full),
                        )?;
                        if self.observed(last.as_ref(), committed) {
                            let to = record.offset + 1;
                            return Ok(Rebuilt::Done { state, records, full, to });
                        }
                    }
                    Err(e) => {
                        return Ok(Rebuilt::Stopped(Stop::at(
                            replay.slot,
                            replay.changelog,
                            record.offset,
                            e,
                        )));
                    }
                }
            }
        }
        let to = reader.position(replay.changelog).unwrap_or(replay.goal);
        Ok(match agree(replay, last.as_ref(), at, committed) {
            Ok(()) => Rebuilt::Done { state, records, full, to },
            Err(stop) => Rebuilt::Stopped(stop),
        })
    }

    /// Keeps what was replayed so far, where it is much: memory stays bounded, and a start that ends early is not in vain.
    /// Whether a checkpoint holds it now.
    fn checkpoint_replayed(
        &mut self,
        slot: u32,
        state: &mut P::Slot,
        last: Option<&Last>,
        (changelog_offset, full): (Offset, bool),
    ) -> Result<bool, WorkerError> {
        if let Some(closed) = self.checkpoints.closed(slot) {
            state.adopt(closed);
        }
        let much = state.dirty_bytes() >= self.options.checkpoint_bytes;
        let Some((last, input)) = last.and_then(|last| Some((last, last.input.as_ref()?))) else {
            return Ok(false);
        };
        if !much || self.options.observing || !self.checkpoints.ready(slot) {
            return Ok(false);
        }
        faults::hit(faults::CHECKPOINT_BEFORE_WRITE)?;
        let at = |range: &schemas::wire::InputRange| {
            let topic = schemas::topics::Topic::by_name(&range.topic)?;
            Some((TopicPartition::new(topic, range.partition), range.to))
        };
        let label = Label {
            generation: 0,
            epoch: last.epoch,
            batch: last.batch,
            hash: last.hash,
            positions: input.iter().filter_map(at).collect(),
            changelog_offset,
        };
        if full && !self.checkpoints.discard(slot) {
            return Ok(false);
        }
        let changes = if full { Changes::all(state) } else { Changes::of(state) };
        // The worker that had the slot before may have written some of it a moment ago.
        self.checkpoints.save(slot, label, changes, self.log.written())?;
        Ok(true)
    }

    /// Replays the inputs up to the committed positions.
    fn restore_inputs(
        &mut self,
        slot: u32,
        seen: Option<(P::Slot, Label)>,
        at: &[TopicPartition],
        committed: &Committed,
    ) -> Result<Rebuilt<P::Slot>, WorkerError> {
        let witnesses = if committed.metadata.is_none() { self.processor.witnesses() } else { &[] };
        for witness in witnesses.iter().map(|topic| TopicPartition::new(*topic, slot)) {
            match self.holds_records(witness)? {
                Some(false) => {}
                Some(true) => {
                    let why =
                        format!("no committed position, but {witness} has been written: positions are lost");
                    return Ok(Rebuilt::Stopped(Stop { slot, at: witness.to_string(), why }));
                }
                None => return Ok(Rebuilt::Blocked(witness)),
            }
        }
        let first = at.first().map(ToString::to_string).unwrap_or_default();
        let mut start = match self.first_start(slot, seen, &first, committed)? {
            Ok(start) => start,
            Err(stop) => return Ok(Rebuilt::Stopped(stop)),
        };
        while let Some(Start { state, label, kept }) = start {
            let rebuilt = self.replay_inputs(state, slot, &label.positions, at, committed);
            match unless_gone(slot, &first, rebuilt)? {
                Rebuilt::Stopped(stop) => self.drop_start(slot, kept, &stop),
                Rebuilt::Done { state, records, to, .. } => {
                    return Ok(Rebuilt::Done { state, records, full: !kept, to });
                }
                waiting => return Ok(waiting),
            }
            start = self.next_start(slot, kept, committed)?;
        }
        let mut low = Vec::with_capacity(at.len());
        for at in at {
            low.push((*at, self.log.watermarks(*at, Isolation::Committed)?.low));
        }
        let begins = low.iter().map(|(_, low)| *low).max().unwrap_or(0);
        let rebuilt = self.replay_inputs(self.processor.open(slot), slot, &low, at, committed);
        Ok(unless_gone(slot, &first, rebuilt)?.explained(begins))
    }

    fn replay_inputs(
        &mut self,
        mut state: P::Slot,
        slot: u32,
        start: &[(TopicPartition, Offset)],
        at: &[TopicPartition],
        committed: &Committed,
    ) -> Result<Rebuilt<P::Slot>, WorkerError> {
        let mut records = 0;
        for (at, goal) in at.iter().zip(&committed.positions) {
            let from = start.iter().find(|(a, _)| a == at).map_or(0, |(_, offset)| *offset);
            if from >= *goal {
                continue;
            }
            match self.replay_input(&mut state, slot, *at, from, *goal)? {
                Ok(read) => records += read,
                Err(stop) => return Ok(Rebuilt::Stopped(stop)),
            }
        }
        if let (Some(metadata), Some(hash), Some(at)) =
            (&committed.metadata, state.position_hash(), at.first())
            && metadata.hash != hash
        {
            let why = format!(
                "what was read up to the committed positions is not what batch {} had read",
                metadata.batch
            );
            return Ok(Rebuilt::Stopped(Stop { slot, at: at.to_string(), why }));
        }
        Ok(Rebuilt::Done { state, records, full: true, to: 0 })
    }

    /// Whether a partition holds a committed record; `None` = it cannot be told yet. Its watermarks do not tell:
    /// records of an aborted first window, and their markers, take offsets too.
    fn holds_records(&self, at: TopicPartition) -> Result<Option<bool>, WorkerError> {
        let bounds = self.log.watermarks(at, Isolation::Uncommitted)?;
        if bounds.low > 0 {
            return Ok(Some(true));
        }
        let mut reader = self.log.reader(&[(at, bounds.low)], Isolation::Committed)?;
        while let Some(before) = reader.position(at).filter(|position| *position < bounds.high) {
            if reader.poll(limit())?.iter().any(|fetch| !fetch.records.is_empty()) {
                return Ok(Some(true));
            }
            if reader.position(at) == Some(before) {
                return Ok(None);
            }
        }
        Ok(Some(false))
    }

    fn replay_input(
        &mut self,
        state: &mut P::Slot,
        slot: u32,
        at: TopicPartition,
        from: Offset,
        goal: Offset,
    ) -> Result<Result<u64, Stop>, WorkerError> {
        let mut reader = self.log.reader(&[(at, from)], Isolation::Committed)?;
        let mut records = 0;
        while reader.position(at).is_some_and(|position| position < goal) {
            let before = reader.position(at);
            let fetches = reader.poll(limit())?;
            if fetches.is_empty() && reader.position(at) == before {
                if self.log.watermarks(at, Isolation::Uncommitted)?.high >= goal {
                    let why = format!("{at}: what was committed up to {goal} cannot be read yet");
                    return Err(LogError::Retriable(why).into());
                }
                let why = format!("the log ends below the committed position {goal}: it was truncated");
                return Ok(Err(Stop::at(slot, at, before.unwrap_or(from), why)));
            }
            for record in fetches.iter().flat_map(|fetch| &fetch.records).filter(|r| r.offset < goal) {
                if let Err(stop) = self.processor.replay(state, at, record) {
                    return Ok(Err(stop));
                }
                records += 1;
            }
        }
        Ok(Ok(records))
    }
}

enum Rebuilt<S> {
    /// `to`: the changelog's position after the last record replayed.
    Done {
        state: S,
        records: u64,
        full: bool,
        to: Offset,
    },
    Blocked(TopicPartition),
    Stopped(Stop),
}

impl<S> Rebuilt<S> {
    /// Says what is missing where a replay began at the first record that is held, and that is not the first there was.
    fn explained(self, low: Offset) -> Self {
        match self {
            Self::Stopped(Stop { slot, at, why }) if low > 0 => {
                let why = format!(
                    "{why} (what is held begins at offset {low}, and neither a checkpoint nor a snapshot of slot {slot} holds what was before; archive.dir names no archive of it)"
                );
                Self::Stopped(Stop { slot, at, why })
            }
            other => other,
        }
    }
}

/// A replay that would read what the log has given up and no archive gives is one that cannot be done: a start that lies later
/// may do, and no other slot ends for it.
fn unless_gone<S>(
    slot: u32,
    at: &str,
    rebuilt: Result<Rebuilt<S>, WorkerError>,
) -> Result<Rebuilt<S>, WorkerError> {
    let why = match rebuilt {
        Err(WorkerError::Log(LogError::OutOfRange { at, offset, low, .. })) if offset < low => {
            format!(
                "{at}: offset {offset} was given up, the log begins at {low}; archive.dir names no archive of it"
            )
        }
        Err(WorkerError::Log(error @ LogError::Archive(_))) => error.to_string(),
        other => return other,
    };
    Ok(Rebuilt::Stopped(Stop { slot, at: at.to_owned(), why }))
}

/// Where a replay may begin, or why its slot cannot go on.
type Begun<S> = Result<Option<Start<S>>, Stop>;

/// A state from which a replay may begin.
struct Start<S> {
    state: S,
    label: Label,
    /// Whether a checkpoint holds it.
    kept: bool,
}

struct Replay {
    slot: u32,
    changelog: TopicPartition,
    from: Offset,
    goal: Offset,
}

pub(super) struct Last {
    pub(super) epoch: u64,
    pub(super) batch: u64,
    pub(super) hash: Hash,
    input: Option<Vec<schemas::wire::InputRange>>,
}

/// Why a checkpoint cannot be of the log that says how far the slot is committed; `None` = it can.
#[must_use]
pub fn contradiction(checkpoint: &Label, committed: Option<&Metadata>) -> Option<String> {
    let of = format!("the checkpoint is of window {} of epoch {}", checkpoint.batch, checkpoint.epoch);
    let lost = "a part of the log is lost, or the checkpoint is another log's";
    match committed {
        None => Some(format!("{of}, and the log knows no window of this slot: {lost}")),
        Some(held) if checkpoint.batch > held.batch => {
            Some(format!("{of}, and the log ends with window {} of this slot: {lost}", held.batch))
        }
        Some(held)
            if checkpoint.batch == held.batch
                && (checkpoint.hash, checkpoint.epoch) != (held.hash, held.epoch) =>
        {
            Some(format!("{of}, and the log's window of that number is another: {lost}"))
        }
        Some(_) => None,
    }
}

const fn limit() -> FetchLimit {
    FetchLimit { records: 4_096, bytes: 16 << 20, wait: std::time::Duration::from_millis(200) }
}

/// All positions of a slot were written by one transaction, or none exists.
fn judge_committed(slot: u32, at: &[TopicPartition], held: Vec<Option<Position>>) -> Result<Committed, Stop> {
    let place = || at.first().map(ToString::to_string).unwrap_or_default();
    let stop = |why: String| Stop { slot, at: place(), why };
    let mut texts: Vec<&str> = held.iter().flatten().map(|p| p.metadata.as_str()).collect();
    let present = texts.len();
    texts.dedup();
    match (present, texts.as_slice()) {
        (0, _) => Ok(Committed { positions: vec![0; at.len()], metadata: None }),
        (n, [one]) if n == at.len() => {
            let metadata = Metadata::parse(one).ok_or_else(|| stop(Metadata::refusal(one)))?;
            Ok(Committed {
                positions: held.iter().flatten().map(|p| p.offset).collect(),
                metadata: Some(metadata),
            })
        }
        (n, [_]) => Err(stop(format!("torn commit: {n} of {} input positions are held", at.len()))),
        (_, many) => Err(stop(format!("torn commit: the slot's positions carry {many:?}"))),
    }
}

/// The last batch of the changelog is the one that the committed positions name.
fn agree(
    replay: &Replay,
    last: Option<&Last>,
    at: &[TopicPartition],
    committed: &Committed,
) -> Result<(), Stop> {
    let stop = |why: String| Stop { slot: replay.slot, at: replay.changelog.to_string(), why };
    match (last, committed.metadata.as_ref()) {
        (None, None) => Ok(()),
        (Some(last), None) => {
            Err(stop(format!("the changelog holds batch {} but no position is committed", last.batch)))
        }
        (None, Some(m)) => Err(stop(format!("batch {} is committed but the changelog is empty", m.batch))),
        (Some(last), Some(m)) => {
            if (last.epoch, last.batch, last.hash) != (m.epoch, m.batch, m.hash) {
                return Err(stop(format!(
                    "the changelog ends with batch {} of epoch {}, committed is batch {} of epoch {}",
                    last.batch, last.epoch, m.batch, m.epoch
                )));
            }
            let Some(input) = &last.input else { return Ok(()) };
            for (at, position) in at.iter().zip(&committed.positions) {
                let named = input.iter().find(|r| r.topic == at.topic.name() && r.partition == at.partition);
                if named.is_none_or(|range| range.to != *position) {
                    return Err(stop(format!("batch {} does not end at {at}@{position}", last.batch)));
                }
            }
            Ok(())
        }
    }
}
