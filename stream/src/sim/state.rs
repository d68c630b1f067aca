//! The state behind every handle, reader and session of a simulated log, and the passing of virtual time.
//!
//! Order relied on: everything happens inside one lock, in the order of the calls; what is due happens inside
//! `advance`, by time, then by the order in which it was put off. Nothing iterates over a hash map.

use super::counters::SimCounters;
use super::group::Group;
use super::partition::{Budget, Partition, TransactionNo};
use super::prng::{Prng, mix};
use super::settings::{CommitFault, SimSettings};
use super::transaction::{Event, Phase, Producer, Unfinished};
use crate::log::{
    Fetch, FetchLimit, Isolation, LogError, Offset, OutRecord, Position, Record, TopicPartition,
};
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Answer to every call of a process that has died.
pub(super) const DEAD: &str = "this process has died";

/// State of a simulated log.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) settings: SimSettings,
    pub(super) prng: Prng,
    pub(super) now_us: i64,
    pub(super) full_until_us: i64,
    pub(super) wall_offset_us: i64,
    pub(super) partitions: Vec<Vec<Partition>>,
    pub(super) phases: Vec<Phase>,
    pub(super) unfinished: BTreeMap<TransactionNo, Unfinished>,
    pub(super) producers: BTreeMap<String, Producer>,
    pub(super) groups: BTreeMap<String, Group>,
    pub(super) planned: BTreeMap<String, VecDeque<CommitFault>>,
    pub(super) finite: BTreeMap<Topic, String>,
    pub(super) sequence: u64,
    pub(super) durable: u64,
    pub(super) tickets: u64,
    pub(super) processes: u64,
    pub(super) dead: BTreeSet<u64>,
    pub(super) counters: SimCounters,
    queue: BTreeMap<(i64, u64), Event>,
    queued: u64,
    digest: u64,
}

impl Core {
    pub(super) fn new(settings: SimSettings) -> Self {
        let partitions = Topic::ALL
            .iter()
            .map(|topic| (0..topic.partition_count(settings.counts)).map(|_| Partition::default()).collect())
            .collect();
        Self {
            prng: Prng::new(settings.seed),
            digest: mix(settings.seed),
            settings,
            now_us: 0,
            full_until_us: 0,
            wall_offset_us: 0,
            partitions,
            phases: Vec::new(),
            unfinished: BTreeMap::new(),
            producers: BTreeMap::new(),
            groups: BTreeMap::new(),
            planned: BTreeMap::new(),
            finite: BTreeMap::new(),
            sequence: 0,
            durable: 0,
            tickets: 0,
            processes: 0,
            dead: BTreeSet::new(),
            counters: SimCounters::default(),
            queue: BTreeMap::new(),
            queued: 0,
        }
    }

    /// Wall clock, microseconds since 1970-01-01T00:00:00Z.
    pub(super) fn wall_us(&self) -> i64 {
        self.settings.wall_start_us.saturating_add(self.now_us).saturating_add(self.wall_offset_us)
    }

    /// Puts an event off.
    pub(super) fn after(&mut self, delay_us: i64, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now_us.saturating_add(delay_us.max(0)), self.queued), event);
    }

    /// Lets virtual time pass; what falls due happens in order.
    pub(super) fn advance(&mut self, by_us: i64) {
        let until = self.now_us.saturating_add(by_us.max(0));
        while let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((at_us, _), event) = entry.remove_entry();
            self.now_us = self.now_us.max(at_us);
            self.happen(event);
        }
        self.now_us = until;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::End(end) => self.late_end(end),
            Event::Mark { no, at } => self.mark(no, at),
            Event::TransactionTimeout { no } => self.transaction_timeout(no),
            Event::ForeignEnd { no } => self.decide(no, false),
            Event::SessionTimeout { group, member, ticket } => self.session_timeout(&group, &member, ticket),
            Event::PositionsExpire { group, generation } => self.positions_expire(&group, generation),
            Event::Synced { sequence } => self.durable = self.durable.max(sequence),
        }
    }

    /// Folds something that a caller could see into the digest.
    pub(super) fn note(&mut self, what: u64, detail: u64) {
        self.digest = mix(self.digest ^ mix(what).rotate_left(17) ^ detail);
    }

    /// A number that stands for every call and answer so far.
    pub(super) fn digest(&self) -> u64 {
        let counted = self.counters.each().iter().fold(0, |folded: u64, (_, count)| mix(folded ^ count));
        mix(self.digest ^ counted ^ self.now_us.unsigned_abs().rotate_left(32)) ^ self.prng.clone().next_u64()
    }

    /// Whether a process may still call.
    pub(super) fn alive(&self, process: u64) -> Result<(), LogError> {
        if self.dead.contains(&process) { Err(LogError::Retriable(DEAD.to_owned())) } else { Ok(()) }
    }

    /// Draws whether the log is away for one call of a living process.
    pub(super) fn reachable(&mut self, process: u64) -> Result<(), LogError> {
        self.alive(process)?;
        if self.prng.chance(self.settings.faults.away) {
            self.counters.away += 1;
            return Err(LogError::Retriable("the log is away".to_owned()));
        }
        Ok(())
    }

    pub(super) fn partition(&self, at: TopicPartition) -> Result<&Partition, LogError> {
        let of_topic = self.partitions.get(usize::from(at.topic.index()));
        let index = usize::try_from(at.partition).ok();
        of_topic
            .zip(index)
            .and_then(|(partitions, index)| partitions.get(index))
            .ok_or(LogError::UnknownPartition(at))
    }

    pub(super) fn partition_mut(&mut self, at: TopicPartition) -> Option<&mut Partition> {
        let index = usize::try_from(at.partition).ok()?;
        self.partitions.get_mut(usize::from(at.topic.index()))?.get_mut(index)
    }

    pub(super) fn is_committed(&self, no: TransactionNo) -> bool {
        let phase = usize::try_from(no).ok().and_then(|no| self.phases.get(no));
        phase.is_some_and(|phase| matches!(phase, Phase::Committing | Phase::Committed))
    }

    pub(super) fn is_aborted(&self, no: TransactionNo) -> bool {
        usize::try_from(no).ok().and_then(|no| self.phases.get(no)).is_some_and(|phase| phase.is_aborted())
    }

    /// The record as it will stand on the log.
    pub(super) fn stamped(&self, record: OutRecord) -> Record {
        Record {
            offset: 0,
            timestamp_us: self.wall_us(),
            key: record.key,
            value: record.value,
            headers: record.headers,
        }
    }

    /// Whether a reader may stand at `offset`.
    pub(super) fn in_range(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        let partition = self.partition(at)?;
        let (low, high) = (partition.low(), partition.high());
        if offset < low || offset > high {
            self.counters.out_of_range += 1;
            return Err(LogError::OutOfRange { at, offset, low, high });
        }
        Ok(())
    }

    /// Reads from every position in turn, the one at `first` before the others. Moves no position on an error.
    pub(super) fn poll(
        &mut self,
        positions: &mut [(TopicPartition, Offset)],
        first: usize,
        isolation: Isolation,
        limit: FetchLimit,
    ) -> Result<Vec<Fetch>, LogError> {
        for (at, offset) in &*positions {
            self.in_range(*at, *offset)?;
        }
        let records = self.shortened(limit.records);
        let mut budget = Budget { records, bytes: limit.bytes, given: 0 };
        let mut fetches = Vec::new();
        let (before, after) = positions.split_at_mut(first.min(positions.len()));
        for (at, position) in after.iter_mut().chain(before) {
            let now_us = self.now_us;
            let partition = self.partition(*at)?;
            let read = partition.read(*position, isolation, now_us, |no| self.is_aborted(no), &mut budget);
            self.counters.stepped_over += read.stepped_over;
            self.counters.slow_reads += u64::from(read.slow);
            self.counters.held_by_open += u64::from(read.held);
            *position = read.next;
            self.note(u64::from(at.topic.index()) << 32 | u64::from(at.partition), read.next.unsigned_abs());
            if !read.records.is_empty() {
                fetches.push(Fetch { from: *at, records: read.records });
            }
        }
        Ok(fetches)
    }

    fn shortened(&mut self, records: usize) -> usize {
        if records > 1 && self.prng.chance(self.settings.faults.short_read) {
            self.counters.short_reads += 1;
            return 1 + self.prng.index(records - 1);
        }
        records
    }

    /// Committed positions, unless an unfinished transaction is about to change one of them.
    pub(super) fn committed(
        &mut self,
        group: &str,
        at: &[TopicPartition],
    ) -> Result<Vec<Option<Position>>, LogError> {
        for at in at {
            self.partition(*at)?;
            let pending = self.unfinished.values().find(|unfinished| {
                unfinished.group == group && unfinished.positions.iter().any(|(moved, _)| moved == at)
            });
            if let Some(pending) = pending {
                let holder = pending.holder.clone();
                self.counters.unstable_positions += 1;
                return Err(LogError::Unstable { at: *at, holder });
            }
        }
        let held = self.groups.get(group).map(|group| &group.positions);
        Ok(at.iter().map(|at| held.and_then(|held| held.get(at)).cloned()).collect())
    }

    /// Loses one record.
    pub(super) fn lose(&mut self, at: TopicPartition, offset: Offset) -> bool {
        let lost = self.partition_mut(at).is_some_and(|partition| partition.lose(offset));
        self.counters.records_lost += u64::from(lost);
        self.note(4, offset.unsigned_abs());
        lost
    }

    /// What was lost, truncated or has expired is there again; positions that were committed since then stay.
    pub(super) fn put_back(&mut self) {
        self.partitions.iter_mut().flatten().for_each(super::partition::Partition::put_back);
        for group in self.groups.values_mut() {
            for (at, position) in std::mem::take(&mut group.expired) {
                group.positions.entry(at).or_insert(position);
            }
        }
        self.note(5, 0);
    }

    /// Moves the low watermark up.
    pub(super) fn truncate(&mut self, at: TopicPartition, low: Offset) -> Result<(), LogError> {
        self.partition(at)?;
        let moved = self.partition_mut(at).is_some_and(|partition| partition.truncate(low));
        self.counters.truncations += u64::from(moved);
        self.note(2, low.unsigned_abs());
        Ok(())
    }
}
