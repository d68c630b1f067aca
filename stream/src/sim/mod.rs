//! The simulated log: in memory, seeded, single-stepped, and able to show what Kafka shows.
//!
//! Phases: [`SimLog::new`] -> the driver lets its workers call the [`Log`] and calls [`SimLog::advance`] between
//! their steps; nothing happens by itself and nothing waits. The same seed and the same calls give the same answers,
//! proven by [`SimLog::digest`].
//!
//! What it shows, each counted in [`SimCounters`]: offsets that are not dense (commit and abort markers, aborted
//! records, foreign producers' records), a last stable offset below the high watermark, transactions that end
//! only by time-out, end requests that arrive late, decided transactions whose markers are still under way,
//! unknown outcomes of both kinds, fencing, generations that end, members that fall silent, positions that
//! expire, low watermarks that move up, records that vanish, slow partitions, short reads, a log that is away, wall
//! clocks that jump, and processes that die before, in and after a commit, or stop in the middle of one and go on later.
//!
//! A process is a [`SimLog::process`] handle: when it dies, every call through it fails from then on, so that
//! the driver may drop the dead worker without its last calls reaching the log.

mod commit;
mod counters;
mod disk;
mod group;
mod membership;
mod partition;
mod prng;
mod settings;
mod state;
mod transaction;

#[cfg(test)]
mod tests;

pub use counters::SimCounters;
pub use disk::{DiskCounters, SimDisk};
pub use prng::Prng;
pub use settings::{CommitFault, Faults, SimSettings};

use crate::log::{
    Assignment, CommitOutcome, Features, Fetch, FetchLimit, Isolation, Log, LogError, Member, Offset,
    OutRecord, Position, Reader, Record, Session, TopicPartition, Transaction, Watermarks,
};
use crate::mutex::lock;
use commit::Owner;
use schemas::topics::Topic;
use state::Core;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Where the commits of a process stop halfway, if whoever drives the simulation wants them to.
pub trait Halfway: fmt::Debug + Send + Sync {
    /// Whether the next commit shall.
    fn is_wanted(&self) -> bool;
    /// It has written some of its records, and its transaction is open. It goes on when this returns.
    fn stop(&self);
}

/// A handle on a simulated log. Clones share log and process.
#[derive(Debug, Clone)]
pub struct SimLog {
    core: Arc<Mutex<Core>>,
    process: u64,
    halfway: Option<Arc<dyn Halfway>>,
}

/// What the driver of a simulation may do. None of it is subject to faults.
impl SimLog {
    /// An empty log. This handle belongs to no process: only its sessions can die, each alone.
    #[must_use]
    pub fn new(settings: SimSettings) -> Self {
        Self { core: Arc::new(Mutex::new(Core::new(settings))), process: 0, halfway: None }
    }

    /// A handle for a new process on the same log.
    #[must_use]
    pub fn process(&self) -> Self {
        let process = self.core().new_process();
        Self { core: Arc::clone(&self.core), process, halfway: None }
    }

    /// The same handle, whose commits may stop halfway.
    #[must_use]
    pub fn stopping(self, halfway: Arc<dyn Halfway>) -> Self {
        Self { halfway: Some(halfway), ..self }
    }

    /// Whether this handle's process has died.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.core().alive(self.process).is_err()
    }

    /// This handle's process dies between two calls. False if it was dead, or if the handle has no process.
    pub fn die(&self) -> bool {
        self.core().kill(self.process)
    }

    /// The process that owns a transactional id dies between two commits. False if nobody owned it or its owner
    /// was dead.
    pub fn crash(&self, transactional_id: &str) -> bool {
        self.core().crash(transactional_id)
    }

    /// Lets virtual time pass, in microseconds; what falls due happens.
    pub fn advance(&self, by_us: i64) {
        self.core().advance(by_us);
    }

    /// Moves the wall clock by so many microseconds, back if negative. Time-outs do not notice.
    pub fn jump(&self, by_us: i64) {
        let mut core = self.core();
        core.wall_offset_us = core.wall_offset_us.saturating_add(by_us);
        core.counters.time_jumps += 1;
        core.note(3, by_us.unsigned_abs());
    }

    /// Virtual microseconds since the start.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.core().now_us
    }

    /// Simulated wall clock, microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn wall_us(&self) -> i64 {
        self.core().wall_us()
    }

    /// Plans the fault of the next commit of an id that has none planned yet; planned ones come before drawn
    /// ones, in order. Commits that are fenced or stale do not use one up.
    pub fn plan(&self, transactional_id: &str, fault: CommitFault) {
        self.core().planned.entry(transactional_id.to_owned()).or_default().push_back(fault);
    }

    /// The rates of the faults drawn at random.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.core().settings.faults
    }

    /// Replaces the rates of the faults drawn at random.
    pub fn set_faults(&self, faults: Faults) {
        self.core().settings.faults = faults;
    }

    /// A member leaves its group in good order. False if it has no seat.
    pub fn leave(&self, group: &str, member: &str) -> bool {
        let mut core = self.core();
        let ticket = core.groups.get(group).and_then(|group| group.ticket(member));
        ticket.is_some_and(|ticket| core.leave(group, member, ticket))
    }

    /// The committed positions of a group vanish. False if there were none.
    pub fn expire_positions(&self, group: &str) -> bool {
        self.core().forget_positions(group)
    }

    /// Moves the low watermark of a partition up to `low`, at most to the last stable offset.
    ///
    /// # Errors
    /// Unknown partition.
    pub fn truncate(&self, at: TopicPartition, low: Offset) -> Result<(), LogError> {
        self.core().truncate(at, low)
    }

    /// Loses one committed record, as no log may: readers step over its offset. False if there was none.
    #[must_use]
    pub fn lose(&self, at: TopicPartition, offset: Offset) -> bool {
        self.core().lose(at, offset)
    }

    /// The position that a group has committed of a partition, whatever is under way.
    #[must_use]
    pub fn committed_at(&self, group: &str, at: TopicPartition) -> Option<Offset> {
        self.core().groups.get(group)?.positions.get(&at).map(|position| position.offset)
    }

    /// What was truncated, was lost or has expired is there again, as from a backup. Positions that were committed since
    /// then stay.
    pub fn put_back(&self) {
        self.core().put_back();
    }

    /// What [`Log::check_retention`] finds wrong with a topic; `None` = nothing.
    pub fn set_retention_fault(&self, topic: Topic, fault: Option<String>) {
        let mut core = self.core();
        match fault {
            Some(text) => core.finite.insert(topic, text),
            None => core.finite.remove(&topic),
        };
    }

    /// How often each fault has happened.
    #[must_use]
    pub fn counters(&self) -> SimCounters {
        self.core().counters
    }

    /// A number that stands for every call and every answer so far: equal runs have equal digests.
    #[must_use]
    pub fn digest(&self) -> u64 {
        self.core().digest()
    }

    /// Transactional ids with a transaction that is open or waits for markers, each with its partitions.
    #[must_use]
    pub fn unfinished(&self) -> Vec<(String, Vec<TopicPartition>)> {
        let core = self.core();
        core.unfinished.values().map(|u| (u.holder.clone(), u.unmarked.iter().copied().collect())).collect()
    }

    /// Hands every record of a topic that a committed reader may see to `see`, partition by partition. Slow
    /// partitions hide nothing from it. `see` must not call the log.
    pub fn for_each_visible(&self, topic: Topic, see: &mut dyn FnMut(TopicPartition, &Record)) {
        let core = self.core();
        let partitions = core.partitions.get(usize::from(topic.index())).into_iter().flatten();
        for (partition, number) in partitions.zip(0..) {
            for record in partition.visible(|no| core.is_aborted(no)) {
                see(TopicPartition::new(topic, number), record);
            }
        }
    }

    /// Number of records that readers see, or will see whatever happens: written outside of transactions or by one that is
    /// decided to commit, its markers written or not.
    #[must_use]
    pub fn records_decided(&self) -> usize {
        let core = self.core();
        let all = core.partitions.iter().flatten();
        all.map(|partition| partition.decided(|no| core.is_committed(no))).sum()
    }

    /// Copies of every record of a topic that a committed reader may see.
    #[must_use]
    pub fn visible(&self, topic: Topic) -> Vec<(TopicPartition, Record)> {
        let mut records = Vec::new();
        self.for_each_visible(topic, &mut |at, record| records.push((at, record.clone())));
        records
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        lock(&self.core)
    }
}

impl Log for SimLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        let core = self.core();
        core.alive(self.process)?;
        Ok(topic.partition_count(core.settings.counts))
    }

    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        Ok(core.partition(at)?.watermarks(isolation))
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        core.committed(group, at)
    }

    fn reader(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        for (at, offset) in start {
            core.in_range(*at, *offset)?;
        }
        Ok(Box::new(SimReader {
            log: self.clone(),
            positions: start.to_vec(),
            isolation,
            turn: 0,
            held: Vec::new(),
        }))
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        let owner = core.join(self.process, member);
        Ok(Box::new(SimSession { log: self.clone(), owner }))
    }

    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        core.append(records)
    }

    fn durable(&self) -> u64 {
        self.core().durable
    }

    fn written(&self) -> u64 {
        self.durable()
    }

    fn wait_durable(&self, sequence: u64, _wait: Duration) -> Result<(), LogError> {
        let core = self.core();
        core.alive(self.process)?;
        if core.durable >= sequence {
            return Ok(());
        }
        Err(LogError::Retriable(format!("durable up to {}, not yet {sequence}", core.durable)))
    }

    fn fence(&self, transactional_id: &str) -> Result<(), LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        if core.producers.contains_key(transactional_id) {
            let aborted = core.end_epoch(transactional_id, 0);
            core.counters.aborted_by_fence += u64::from(aborted);
        }
        Ok(())
    }

    fn members(&self, group: &str) -> Result<Vec<String>, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        Ok(core.groups.get(group).map(|group| group.members()).unwrap_or_default())
    }

    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        core.partition(at)?;
        let open = core.unfinished.values().filter(|unfinished| unfinished.unmarked.contains(&at));
        Ok(open.map(|unfinished| unfinished.holder.clone()).collect())
    }

    fn features(&self) -> Features {
        self.core().settings.features
    }

    fn check_retention(&self, topic: Topic) -> Result<Result<(), String>, LogError> {
        let mut core = self.core();
        core.reachable(self.process)?;
        Ok(core.finite.get(&topic).map_or(Ok(()), |fault| Err(fault.clone())))
    }
}

struct SimReader {
    log: SimLog,
    positions: Vec<(TopicPartition, Offset)>,
    isolation: Isolation,
    /// Which position the next poll begins with, so that none starves.
    turn: usize,
    /// Partitions held back.
    held: Vec<TopicPartition>,
}

impl Reader for SimReader {
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        let mut core = self.log.core();
        core.reachable(self.log.process)?;
        let mut open = self.positions.clone();
        open.retain(|(at, _)| !self.held.contains(at));
        let fetches = core.poll(&mut open, self.turn, self.isolation, limit)?;
        for (at, offset) in &mut self.positions {
            if let Some((_, moved)) = open.iter().find(|(of, _)| of == at) {
                *offset = *moved;
            }
        }
        self.turn = (self.turn + 1) % self.positions.len().max(1);
        Ok(fetches)
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        self.positions.iter().find(|(of, _)| *of == at).map(|(_, offset)| *offset)
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        let mut core = self.log.core();
        core.alive(self.log.process)?;
        let position =
            self.positions.iter_mut().find(|(of, _)| *of == at).ok_or(LogError::UnknownPartition(at))?;
        core.in_range(at, offset)?;
        core.counters.seeks_back += u64::from(offset < position.1);
        position.1 = offset;
        Ok(())
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        if !self.positions.iter().any(|(of, _)| *of == at) {
            return Err(LogError::UnknownPartition(at));
        }
        self.held.retain(|of| *of != at);
        if held {
            self.held.push(at);
        }
        Ok(())
    }
}

struct SimSession {
    log: SimLog,
    owner: Owner,
}

impl Session for SimSession {
    fn assignment(&mut self) -> Result<Assignment, LogError> {
        self.log.core().assignment(&self.owner)
    }

    fn commit(&mut self, mut transaction: Transaction) -> CommitOutcome {
        let halfway = self.log.halfway.as_ref().filter(|halfway| halfway.is_wanted());
        let begun = halfway.and_then(|halfway| {
            let begun = self.log.core().begin_halfway(&self.owner, &mut transaction);
            begun.inspect(|_| halfway.stop())
        });
        self.log.core().commit(&self.owner, transaction, begun)
    }
}

impl Drop for SimSession {
    fn drop(&mut self) {
        let mut core = self.log.core();
        if core.settings.leave_on_drop && core.alive(self.owner.process).is_ok() {
            core.leave(&self.owner.member.group, &self.owner.member.name, self.owner.ticket);
        }
    }
}
