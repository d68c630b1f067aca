//! The worker cycle as a step function: join -> assignment -> restore -> (poll -> decide -> commit -> apply)*.
//!
//! One worker owns the slots its session assigns and commits them together, one transaction per window. Nothing is
//! applied and nothing leaves before the commit: an abort or an unknown outcome drops the decisions whole, after an
//! unknown outcome the worker also joins anew. A slot that stops leaves the worker's windows; the others go on.
//!
//! The membership outlives assignments. Every step begins with the question for the assignment, so that no window is
//! under way when it changes; then the same session goes on with its new slots. Of the slots it had, those stay as
//! they are whose committed positions are still the worker's own; the others are restored. Leaving the group in
//! between would change the assignment again, for everybody, and no two members would ever come to rest.
//!
//! Bounds: [`Options`]. Order relied on: see [`crate::log`]. Time comes in as [`Now`].

mod checkpoint;
mod look_back;
mod observe;
pub mod position;
mod restore;
mod resume;
mod window;

pub use checkpoint::{Changes, Checkpoints, DiskCheckpoints, MemoryCheckpoints};
pub use position::Metadata;
pub use restore::contradiction;

use crate::faults::{self, Crash};
use crate::log::{
    Assignment, CommitOutcome, Log, LogError, Member, Offset, Reader, Record, Session, TopicPartition,
    Transaction,
};
use crate::processor::{Input, Processor, Stop};
use crate::store::Label;
use crate::throttle::Throttle;
use schemas::batch::Hash;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// Time as an input of a step, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Business clock since 1970-01-01T00:00:00Z.
    pub business_us: i64,
    /// Wall clock since 1970-01-01T00:00:00Z.
    pub wall_us: i64,
    /// Monotonic clock.
    pub monotonic_us: i64,
}

impl Now {
    /// The machine's clocks, with business time from `clock`.
    #[must_use]
    pub fn read(clock: &crate::clock::BusinessClock) -> Self {
        Self {
            business_us: clock.now_us(),
            wall_us: crate::clock::wall_us(),
            monotonic_us: crate::clock::monotonic_us(),
        }
    }
}

/// Bounds of a worker.
#[derive(Debug, Clone)]
pub struct Options {
    /// Least time between two windows, microseconds. One follows at once where a buffer is full, or the one before it was.
    pub window_us: i64,
    /// Value bytes of one poll.
    pub poll_bytes: usize,
    /// How long a poll waits when nothing is buffered.
    pub poll_wait: Duration,
    /// Checkpoint a slot after this long, microseconds.
    pub checkpoint_us: i64,
    /// Checkpoint a slot after about this many bytes of changes.
    pub checkpoint_bytes: usize,
    /// Value bytes after which a window takes no further slot: a log has a limit for one commit, and slots do not depend on
    /// each other. What one slot decides is never parted, and ordinary windows are far below it.
    pub window_bytes: usize,
    /// Value bytes of its own changelog that a slot reads again for one window and for each thing it looks back for.
    /// More than a window writes to it, or what is sent again would never reach the head.
    pub look_back_bytes: usize,
    /// Only reads: joins no group, has every slot as its committed positions name it, and takes no window. Others may
    /// own the slots and go on meanwhile.
    pub observing: bool,
    /// Names that the deployment's members of this processor may have, this one's among them. Where a slot cannot be
    /// restored because of an open transaction, the ids of those that are no members now are fenced.
    pub pool: Vec<String>,
    /// Bounds what is taken of inputs that yield; `None` = they do not.
    pub throttle: Option<Arc<Throttle>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            window_us: 10_000,
            poll_bytes: 8 << 20,
            poll_wait: Duration::from_millis(10),
            checkpoint_us: 5_000_000,
            checkpoint_bytes: 64 << 20,
            window_bytes: 64 << 20,
            look_back_bytes: 4 << 20,
            observing: false,
            pool: Vec::new(),
            throttle: None,
        }
    }
}

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Took its assignment and restored; `replayed` changelog or input records.
    Restored {
        /// Records replayed over all slots.
        replayed: u64,
    },
    /// One more slot is restored; others are still to come.
    Restoring {
        /// Records replayed for it.
        replayed: u64,
    },
    /// Nothing to do.
    Idle,
    /// Restoring waits for something; the text names it.
    Waiting(String),
    /// A window is committed.
    Committed {
        /// Items decided (journal items, events, balances: as the processor counts).
        items: u64,
        /// Records written.
        records: usize,
        /// Write-ahead sequence.
        sequence: u64,
    },
    /// The window was aborted and will be decided again.
    Aborted(String),
    /// The outcome is unknown, or the log was away in the middle of a step: the next step compares with the log again,
    /// after an unknown outcome in a new session.
    Rejoin(String),
}

/// Why a worker ends.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WorkerError {
    /// Another owner has taken this member's place.
    #[error("another process has taken over: {0}")]
    Fenced(String),
    /// The log failed for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A fault point fired.
    #[error("crash at fault point {0}")]
    Crash(&'static str),
}

impl From<Crash> for WorkerError {
    fn from(crash: Crash) -> Self {
        Self::Crash(crash.0.name())
    }
}

pub(crate) struct SlotRun<S> {
    pub(crate) state: S,
    pub(crate) epoch: u64,
    pub(crate) batch: u64,
    pub(crate) hash: Hash,
    pub(crate) first: bool,
    pub(crate) inputs: Vec<InputRun>,
    pub(crate) checkpointed_us: i64,
    pub(crate) full_checkpoint: bool,
    pub(crate) sequence: u64,
    /// Records replayed when it was restored, and the changelog's position after them.
    pub(crate) replayed: (u64, Offset),
    pub(crate) searches: look_back::Searches,
    pub(crate) stopped: Option<Stop>,
    /// What is buffered waits for more: the processor need not be asked again before there is more.
    pub(crate) rests: bool,
}

pub(crate) struct InputRun {
    pub(crate) at: TopicPartition,
    pub(crate) records_max: usize,
    /// Whether it waits while those behind are late.
    pub(crate) yields: bool,
    /// Committed position.
    pub(crate) position: Offset,
    /// Records read and not yet consumed.
    pub(crate) buffer: VecDeque<Record>,
    /// Reader's position after the newest buffered record.
    pub(crate) read_to: Offset,
    pub(crate) drained: bool,
    /// Whether the reader holds it back.
    pub(crate) held: bool,
}

impl<S> SlotRun<S> {
    /// Goes on from the committed positions: what was read beyond them is read again.
    fn rewind(&mut self) {
        self.rests = false;
        for input in &mut self.inputs {
            input.buffer.clear();
            input.read_to = input.position;
            input.drained = false;
            input.held = false;
        }
    }
}

impl InputRun {
    /// An input of which nothing has been read beyond its committed position.
    const fn new(at: TopicPartition, input: Input, position: Offset) -> Self {
        Self {
            at,
            records_max: input.records_max,
            yields: input.yields,
            position,
            buffer: VecDeque::new(),
            read_to: position,
            drained: false,
            held: false,
        }
    }

    /// Records buffered before reading pauses: two windows' worth.
    fn buffer_max(&self) -> usize {
        self.records_max.saturating_mul(2)
    }

    /// Takes what was read after what is buffered.
    fn take(&mut self, records: Vec<Record>) {
        if self.buffer.is_empty() {
            self.buffer = records.into();
        } else {
            self.buffer.extend(records);
        }
    }
}

/// A worker: one processor on one log.
pub struct Worker<P: Processor> {
    processor: P,
    log: Arc<dyn Log>,
    member: Member,
    options: Options,
    checkpoints: Box<dyn Checkpoints>,
    session: Option<Box<dyn Session>>,
    /// Whether the outcome of the session's last commit is unknown: it may not be used again.
    doubtful: bool,
    run: Option<Run<P>>,
    from_snapshots: u64,
}

/// What lives from an assignment to the next.
pub(crate) struct Run<P: Processor> {
    assignment: Assignment,
    reader: Option<Box<dyn Reader>>,
    slots: BTreeMap<u32, SlotRun<P::Slot>>,
    /// Slots of earlier assignments, as they were left: good as long as nobody has committed them since.
    kept: BTreeMap<u32, SlotRun<P::Slot>>,
    /// Ids fenced under this assignment.
    fenced: BTreeSet<String>,
    last_window_us: i64,
    /// The window before left something over because it was full.
    more: bool,
    /// Records replayed so far, while not every slot is restored.
    replayed: u64,
    /// How often an observer met something that only a slot's owner can judge.
    doubts: u32,
    restored: bool,
}

impl<P: Processor> Run<P> {
    fn new(assignment: Assignment) -> Self {
        Self {
            assignment,
            reader: None,
            slots: BTreeMap::new(),
            kept: BTreeMap::new(),
            fenced: BTreeSet::new(),
            last_window_us: i64::MIN,
            more: false,
            replayed: 0,
            doubts: 0,
            restored: false,
        }
    }

    /// The same under another assignment, nothing restored yet.
    fn under(mut self, assignment: Assignment) -> Self {
        self.kept.append(&mut self.slots);
        let (slots, fenced) = (BTreeMap::new(), BTreeSet::new());
        Self { assignment, reader: None, slots, fenced, restored: false, ..self }
    }

    /// The same from the start: every slot is compared with the log before it goes on.
    fn again(self) -> Self {
        let assignment = self.assignment.clone();
        self.under(assignment)
    }
}

impl<P: Processor> Worker<P> {
    /// A worker that joins at its first step.
    #[must_use]
    pub fn new(
        processor: P,
        log: Arc<dyn Log>,
        name: &str,
        options: Options,
        checkpoints: Box<dyn Checkpoints>,
    ) -> Self {
        let group = processor.name();
        let member = Member {
            group: group.to_owned(),
            name: name.to_owned(),
            transactional_id: transactional_id(group, name),
            slots: processor.slots(),
        };
        let (session, run) = (None, None);
        Self {
            processor,
            log,
            member,
            options,
            checkpoints,
            session,
            doubtful: false,
            run,
            from_snapshots: 0,
        }
    }

    /// Takes its place in the group, as the first step would. Members that have all done so before they restore share
    /// the slots out once.
    ///
    /// # Errors
    /// As [`Worker::step`].
    pub fn join(&mut self) -> Result<(), WorkerError> {
        match self.assignment() {
            Ok(_) | Err(WorkerError::Log(LogError::Retriable(_) | LogError::Unstable { .. })) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One step: at most one window, or one slot restored.
    ///
    /// # Errors
    /// [`WorkerError`]: the worker cannot go on; dropping it and starting another is safe at any time.
    pub fn step(&mut self, now: Now) -> Result<Progress, WorkerError> {
        match self.advance(now) {
            // What was read is gone with the step; nothing of it was applied.
            Err(WorkerError::Log(error @ (LogError::Retriable(_) | LogError::Unstable { .. }))) => {
                Ok(Progress::Rejoin(error.to_string()))
            }
            other => other,
        }
    }

    fn advance(&mut self, now: Now) -> Result<Progress, WorkerError> {
        let assignment = match self.assignment() {
            Err(WorkerError::Log(LogError::Retriable(why))) => return Ok(Progress::Waiting(why)),
            other => other?,
        };
        match self.run.take() {
            Some(run) if run.restored && self.options.observing => {
                self.run = Some(run);
                Ok(Progress::Idle)
            }
            Some(run) if run.assignment == assignment && run.restored => self.window(run, now),
            Some(run) if run.assignment == assignment => self.restore(run, now),
            Some(run) => {
                let mut run = run.under(assignment);
                self.let_go(&mut run);
                self.restore(run, now)
            }
            None => self.restore(Run::new(assignment), now),
        }
    }

    /// Lets the checkpoints of slots go that are another worker's now. Should one come back as it was, its next
    /// checkpoint holds everything.
    fn let_go(&mut self, run: &mut Run<P>) {
        for (slot, kept) in &mut run.kept {
            if !run.assignment.slots.contains(slot) {
                self.checkpoints.release(*slot);
                kept.full_checkpoint = true;
            }
        }
    }

    /// The assignment now. Joins where there is no session that may be used.
    fn assignment(&mut self) -> Result<Assignment, WorkerError> {
        if self.options.observing {
            return Ok(Assignment { generation: 0, slots: (0..self.member.slots).collect() });
        }
        if self.session.is_none() || self.doubtful {
            // The session before is given up once the new one sits in its place: in between, its slots would go to
            // the other members and come back.
            self.session = Some(self.log.join(&self.member)?);
            self.doubtful = false;
            faults::hit(faults::WORKER_AFTER_JOIN)?;
        }
        match &mut self.session {
            Some(session) => session.assignment().map_err(fenced),
            None => Err(LogError::Retriable("there is no session".to_owned()).into()),
        }
    }

    /// Commits in the session of the assignment.
    fn commit(&mut self, transaction: Transaction) -> CommitOutcome {
        let Some(session) = &mut self.session else {
            return CommitOutcome::Aborted("there is no session".to_owned());
        };
        let outcome = session.commit(transaction);
        self.doubtful = matches!(outcome, CommitOutcome::Unknown(_));
        outcome
    }

    /// State of a slot, if this worker owns it and it is restored.
    #[must_use]
    pub fn slot(&self, slot: u32) -> Option<&P::Slot> {
        self.run.as_ref().filter(|run| run.restored)?.slots.get(&slot).map(|s| &s.state)
    }

    /// Last window of a slot and the committed positions of its inputs after it.
    #[must_use]
    pub fn mark(&self, slot: u32) -> Option<(u64, Vec<(TopicPartition, Offset)>)> {
        let slot = self.run.as_ref().filter(|run| run.restored)?.slots.get(&slot)?;
        Some((slot.batch, slot.inputs.iter().map(|input| (input.at, input.position)).collect()))
    }

    /// How many slots it has restored from snapshots in the log.
    #[must_use]
    pub const fn snapshots_used(&self) -> u64 {
        self.from_snapshots
    }

    /// What the state of a slot holds of the log, as a checkpoint would say it; where replay of the slot's own changelog
    /// goes on is left at 0.
    #[must_use]
    pub fn label(&self, slot: u32) -> Option<Label> {
        Some(self.run.as_ref().filter(|run| run.restored)?.slots.get(&slot)?.label(0))
    }

    /// Whether every slot of its assignment is restored.
    #[must_use]
    pub fn restored(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.restored)
    }

    /// Slots owned and restored, ascending.
    #[must_use]
    pub fn slots(&self) -> Vec<u32> {
        self.run
            .as_ref()
            .filter(|r| r.restored)
            .map(|r| r.slots.keys().copied().collect())
            .unwrap_or_default()
    }

    /// How many slots its assignment has, and how many of them are restored.
    #[must_use]
    pub fn owned(&self) -> (usize, usize) {
        self.run.as_ref().map_or((0, 0), |run| (run.assignment.slots.len(), run.slots.len()))
    }

    /// Slots that cannot go on, and why.
    #[must_use]
    pub fn stopped(&self) -> Vec<Stop> {
        let slots = self.run.iter().flat_map(|run| run.slots.values());
        slots.filter_map(|slot| slot.stopped.clone()).collect()
    }

    /// Committed positions of a slot's inputs.
    #[must_use]
    pub fn positions(&self) -> Vec<(TopicPartition, Offset)> {
        let slots = self.run.iter().flat_map(|run| run.slots.values());
        slots.flat_map(|slot| slot.inputs.iter().map(|input| (input.at, input.position))).collect()
    }

    /// Up to where each input is worked off: its committed position, or the end of what was read and needs no commit
    /// of its own yet (see [`Processor::reads_clock`]).
    #[must_use]
    pub fn worked_off(&self) -> Vec<(TopicPartition, Offset)> {
        let slots = self.run.iter().flat_map(|run| run.slots.values());
        let end = |rests: bool, input: &InputRun| if rests { input.read_to } else { input.position };
        slots.flat_map(|slot| slot.inputs.iter().map(|input| (input.at, end(slot.rests, input)))).collect()
    }

    /// The processor.
    #[must_use]
    pub const fn processor(&self) -> &P {
        &self.processor
    }
}

/// The id under which a member of a processor commits.
fn transactional_id(group: &str, name: &str) -> String {
    format!("ledgerflow-{group}-{name}")
}

pub(crate) fn fenced(error: LogError) -> WorkerError {
    match error {
        LogError::Fenced(who) => WorkerError::Fenced(who),
        other => WorkerError::Log(other),
    }
}
