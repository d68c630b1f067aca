//! Writing: appends, commits with the fault drawn or planned for them, and how transactions end.

use super::group::{Standing, Ticket};
use super::partition::TransactionNo;
use super::settings::{CommitFault, Faults};
use super::state::{Core, DEAD};
use super::transaction::{Event, LateEnd, Phase, Unfinished};
use crate::log::{CommitOutcome, LogError, Member, OutRecord, Position, Record, TopicPartition, Transaction};
use bytes::Bytes;
use std::collections::BTreeSet;

/// Longest metadata of a position.
const METADATA_BYTES_MAX: usize = 1024;
/// What a full disk says.
const FULL: &str = "no space left on device";
/// Holder of transactions that foreign producers leave open.
const FOREIGN: &str = "foreign";

/// What a session is to the log.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) member: Member,
    pub(super) ticket: Ticket,
    pub(super) epoch: u64,
    pub(super) process: u64,
}

impl Core {
    /// Writes records outside any transaction.
    pub(super) fn append(&mut self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        for record in &records {
            self.partition(record.to)?;
        }
        if self.is_full() {
            return Err(LogError::Retriable(FULL.to_owned()));
        }
        self.write(records, None);
        self.counters.appends += 1;
        let sequence = self.next_sequence();
        if self.prng.chance(self.settings.faults.lost_reply) {
            self.counters.lost_replies += 1;
            return Err(LogError::Retriable("the answer is lost".to_owned()));
        }
        Ok(sequence)
    }

    /// Writes records and positions as one transaction, as far as fencing, generation and faults let it.
    /// `begun`: some of them are written already ([`Self::begin_halfway`]).
    pub(super) fn commit(
        &mut self,
        owner: &Owner,
        transaction: Transaction,
        begun: Option<TransactionNo>,
    ) -> CommitOutcome {
        let (commits, refused) = (self.counters.commits, self.counters.refused());
        let outcome = self.judged(owner, transaction, begun);
        if begun.is_some() {
            self.counters.halfway_committed += u64::from(self.counters.commits > commits);
            self.counters.halfway_refused += u64::from(self.counters.refused() > refused);
        }
        let (kind, detail) = match &outcome {
            CommitOutcome::Committed { sequence } => (10, *sequence),
            CommitOutcome::Aborted(_) => (11, 0),
            CommitOutcome::Fenced(_) => (12, 0),
            CommitOutcome::Unknown(_) => (13, 0),
        };
        self.note(kind, detail);
        outcome
    }

    /// Writes the first records of a commit and takes them off, if its owner may commit and there is room. Its transaction
    /// stays open until the rest comes, its time is over, or its epoch.
    pub(super) fn begin_halfway(
        &mut self,
        owner: &Owner,
        transaction: &mut Transaction,
    ) -> Option<TransactionNo> {
        let producer = self.producers.get(&owner.member.transactional_id)?;
        let is_idle = producer.transaction.is_none_or(|no| self.phase(no) != Phase::Open);
        let may = producer.epoch == owner.epoch && is_idle && self.alive(owner.process).is_ok();
        if !may || transaction.records.is_empty() || self.acceptable(transaction).is_err() || self.is_full() {
            return None;
        }
        let no = self.begin(owner, None);
        let rest = transaction.records.split_off(1 + self.prng.index(transaction.records.len()));
        let first = std::mem::replace(&mut transaction.records, rest);
        self.write(first, Some(no));
        self.leave_open(no);
        self.counters.halfway += 1;
        Some(no)
    }

    fn judged(
        &mut self,
        owner: &Owner,
        transaction: Transaction,
        begun: Option<TransactionNo>,
    ) -> CommitOutcome {
        let id = owner.member.transactional_id.as_str();
        if self.alive(owner.process).is_err() {
            return CommitOutcome::Unknown(DEAD.to_owned());
        }
        if let Some(group) = self.groups.get_mut(&owner.member.group) {
            group.see(&owner.member.name, owner.ticket, self.now_us);
        }
        if self.producers.get(id).is_none_or(|producer| producer.epoch != owner.epoch) {
            self.counters.commits_fenced += 1;
            return CommitOutcome::Fenced(format!("the epoch of {id} has ended"));
        }
        if let Err(why) = self.acceptable(&transaction) {
            return CommitOutcome::Aborted(why);
        }
        if transaction.records.is_empty() && transaction.positions.is_empty() && begun.is_none() {
            return CommitOutcome::Committed { sequence: self.sequence };
        }
        if self.is_full() {
            begun.into_iter().for_each(|no| self.decide(no, false));
            return CommitOutcome::Aborted(FULL.to_owned());
        }
        let no = self.begin(owner, begun);
        if let Some(refused) = self.refused(owner, &transaction) {
            self.write(transaction.records, Some(no));
            self.decide(no, false);
            return refused;
        }
        match self.fault_of(id) {
            None => self.send(no, transaction, |core| core.decide(no, true)),
            Some(fault) => return self.faulty(owner, no, transaction, fault),
        }
        CommitOutcome::Committed { sequence: self.sequence }
    }

    /// Whether there is no room on the disk: now and then it becomes full, for a while.
    fn is_full(&mut self) -> bool {
        let Faults { full, delay_us_max, .. } = self.settings.faults;
        if self.now_us >= self.full_until_us && self.prng.chance(full) {
            self.full_until_us = self.now_us + self.prng.delay_us(delay_us_max);
        }
        let is_full = full > 0 && self.now_us < self.full_until_us;
        self.counters.refused_full += u64::from(is_full);
        is_full
    }

    fn acceptable(&self, transaction: &Transaction) -> Result<(), String> {
        for to in transaction.records.iter().map(|record| record.to) {
            self.partition(to).map_err(|error| error.to_string())?;
        }
        for (at, position) in &transaction.positions {
            self.partition(*at).map_err(|error| error.to_string())?;
            if position.metadata.len() > METADATA_BYTES_MAX {
                return Err(format!("{at}: metadata is longer than {METADATA_BYTES_MAX} bytes"));
            }
        }
        Ok(())
    }

    /// Positions are taken only from the member in its generation. Records without positions are not checked,
    /// on Kafka neither.
    fn refused(&mut self, owner: &Owner, transaction: &Transaction) -> Option<CommitOutcome> {
        if transaction.positions.is_empty() {
            return None;
        }
        let group = self.groups.get(&owner.member.group)?;
        let (standing, generation) = (group.standing(&owner.member.name, owner.ticket), group.generation);
        let name = &owner.member.name;
        match standing {
            Standing::Seated if transaction.generation == generation => None,
            Standing::Replaced => {
                self.counters.commits_fenced += 1;
                Some(CommitOutcome::Fenced(format!("another session has joined as {name}")))
            }
            Standing::Seated | Standing::Gone => {
                self.counters.commits_stale += 1;
                let stale = transaction.generation;
                Some(CommitOutcome::Aborted(format!("generation {stale} has ended, it is {generation}")))
            }
        }
    }

    /// The transaction that the session's records go into: a new one, or the one that an unknown outcome left
    /// open, exactly as a producer that is not made anew would go on. `begun` is the one in which it stopped halfway.
    fn begin(&mut self, owner: &Owner, begun: Option<TransactionNo>) -> TransactionNo {
        let id = &owner.member.transactional_id;
        let before = self.producers.get(id).and_then(|producer| producer.transaction);
        if let Some(no) = before {
            if self.phase(no) == Phase::Open {
                self.counters.reused_after_unknown += u64::from(begun != Some(no));
                return no;
            }
            self.finish(no);
        }
        let no = self.open(id.clone(), owner.member.group.clone());
        if let Some(producer) = self.producers.get_mut(id) {
            producer.transaction = Some(no);
        }
        no
    }

    fn open(&mut self, holder: String, group: String) -> TransactionNo {
        let no = TransactionNo::try_from(self.phases.len()).unwrap_or(TransactionNo::MAX);
        self.phases.push(Phase::Open);
        let unmarked = BTreeSet::new();
        self.unfinished.insert(no, Unfinished { holder, group, unmarked, positions: Vec::new(), records: 0 });
        no
    }

    /// Writes a whole transaction and then ends it.
    fn send(&mut self, no: TransactionNo, transaction: Transaction, end: impl FnOnce(&mut Self)) {
        self.write(transaction.records, Some(no));
        self.hold_positions(no, transaction.positions);
        end(self);
    }

    fn faulty(
        &mut self,
        owner: &Owner,
        no: TransactionNo,
        mut transaction: Transaction,
        fault: CommitFault,
    ) -> CommitOutcome {
        let unknown = |why: &str| CommitOutcome::Unknown(why.to_owned());
        match fault {
            CommitFault::CrashBeforeEnd => {
                let written = self.prng.index(transaction.records.len() + 1);
                if written < transaction.records.len() {
                    transaction.positions.clear();
                }
                transaction.records.truncate(written);
                self.send(no, transaction, |core| core.leave_open(no));
                self.counters.crashes_before_end += 1;
                self.dead.insert(owner.process);
                unknown(DEAD)
            }
            CommitFault::CrashAfterEnd => {
                self.send(no, transaction, |core| core.decide(no, true));
                self.counters.crashes_after_end += 1;
                self.dead.insert(owner.process);
                unknown(DEAD)
            }
            CommitFault::Abort => {
                self.send(no, transaction, |core| core.decide(no, false));
                self.counters.commits_aborted += 1;
                CommitOutcome::Aborted("the log has aborted the transaction".to_owned())
            }
            CommitFault::UnknownCommitted => {
                self.send(no, transaction, |core| core.decide(no, true));
                self.counters.unknown_committed += 1;
                unknown("no answer to the end request")
            }
            CommitFault::UnknownAborted => {
                self.send(no, transaction, |core| core.decide(no, false));
                self.counters.unknown_aborted += 1;
                unknown("no answer to the end request")
            }
            CommitFault::UnknownLost => {
                self.send(no, transaction, |core| core.leave_open(no));
                self.counters.unknown_open += 1;
                unknown("the end request is lost")
            }
            CommitFault::Late { delay_us, commit } => {
                let holder = owner.member.transactional_id.clone();
                let rest = self.rest_of(&mut transaction);
                self.send(no, transaction, |core| core.leave_open(no));
                self.after(delay_us, Event::End(LateEnd { holder, epoch: owner.epoch, no, rest, commit }));
                self.counters.unknown_open += 1;
                unknown("the end request is under way")
            }
        }
    }

    /// Takes off the last records of every second late commit: they too are under way.
    fn rest_of(&mut self, transaction: &mut Transaction) -> Vec<OutRecord> {
        if transaction.records.len() < 2 || self.prng.chance(500) {
            return Vec::new();
        }
        self.counters.late_split += 1;
        let written = 1 + self.prng.index(transaction.records.len() - 1);
        transaction.records.split_off(written)
    }

    /// The fault planned for this id, else one drawn at the rates set.
    fn fault_of(&mut self, id: &str) -> Option<CommitFault> {
        if let Some(planned) = self.planned.get_mut(id).and_then(std::collections::VecDeque::pop_front) {
            return Some(planned);
        }
        for (rate, fault) in self.settings.faults.of_commit() {
            if self.prng.chance(rate) {
                return Some(match fault {
                    CommitFault::Late { delay_us, commit } => {
                        CommitFault::Late { delay_us: self.prng.delay_us(delay_us), commit }
                    }
                    other => other,
                });
            }
        }
        None
    }

    /// Writes records; a foreign producer may write among those of a transaction, and one partition may be slow
    /// to show them.
    fn write(&mut self, records: Vec<OutRecord>, transaction: Option<TransactionNo>) {
        let faults = self.settings.faults;
        let foreign = transaction.is_some() && !records.is_empty() && self.prng.chance(faults.foreign);
        let foreign_at = foreign.then(|| self.prng.index(records.len()));
        let slow = !records.is_empty() && self.prng.chance(faults.slow_partition);
        let slow_at = slow.then(|| self.prng.index(records.len()));
        for (index, record) in records.into_iter().enumerate() {
            let to = record.to;
            if foreign_at == Some(index) {
                self.write_foreign(to);
            }
            if slow_at == Some(index) {
                self.slow_down(to);
            }
            let record = self.stamped(record);
            self.write_one(to, record, transaction);
        }
    }

    fn write_one(&mut self, to: TopicPartition, record: Record, transaction: Option<TransactionNo>) {
        self.note(u64::from(crc32c::crc32c(&record.value)), u64::from(crc32c::crc32c(&record.key)));
        if let Some(unfinished) = transaction.and_then(|no| self.unfinished.get_mut(&no)) {
            unfinished.unmarked.insert(to);
            unfinished.records += 1;
        }
        let interleaved =
            self.partition_mut(to).is_some_and(|partition| partition.write(record, transaction));
        self.counters.interleaved += u64::from(interleaved);
    }

    fn write_foreign(&mut self, to: TopicPartition) {
        let no = self.open(FOREIGN.to_owned(), FOREIGN.to_owned());
        let record = self.stamped(OutRecord::new(to, Bytes::from_static(b"never committed")));
        self.write_one(to, record, Some(no));
        let delay_us = self.prng.delay_us(self.settings.faults.delay_us_max);
        self.after(delay_us, Event::ForeignEnd { no });
        self.counters.foreign_records += 1;
    }

    fn slow_down(&mut self, to: TopicPartition) {
        let now_us = self.now_us;
        let until_us = now_us.saturating_add(self.prng.delay_us(self.settings.faults.delay_us_max));
        if let Some(partition) = self.partition_mut(to) {
            partition.stall(partition.high(), now_us, until_us);
            self.counters.slow_partitions += 1;
        }
    }

    fn hold_positions(&mut self, no: TransactionNo, positions: Vec<(TopicPartition, Position)>) {
        if let Some(unfinished) = self.unfinished.get_mut(&no) {
            unfinished.positions.extend(positions);
        }
    }

    fn leave_open(&mut self, no: TransactionNo) {
        self.after(self.settings.transaction_timeout_us, Event::TransactionTimeout { no });
    }

    /// Open -> Committing or Aborting; the markers follow at once or one by one.
    pub(super) fn decide(&mut self, no: TransactionNo, commit: bool) {
        if self.phase(no) != Phase::Open {
            return;
        }
        self.set_phase(no, Phase::decided(commit));
        let Some(unfinished) = self.unfinished.get(&no) else { return };
        let (records, unmarked) = (unfinished.records, unfinished.unmarked.clone());
        if commit {
            self.counters.commits += 1;
            self.next_sequence();
        } else {
            self.counters.aborted_records += records;
        }
        if !self.prng.chance(self.settings.faults.slow_markers) {
            return self.finish(no);
        }
        self.counters.slow_markers += 1;
        for at in unmarked.into_iter().map(Some).chain([None]) {
            let delay_us = self.prng.delay_us(self.settings.faults.delay_us_max);
            self.after(delay_us, Event::Mark { no, at });
        }
    }

    /// A marker reaches a partition, or the positions; after the last one the transaction is finished.
    pub(super) fn mark(&mut self, no: TransactionNo, at: Option<TopicPartition>) {
        let commit = self.phase(no) == Phase::Committing;
        let Some(unfinished) = self.unfinished.get_mut(&no) else { return };
        match at {
            Some(at) if unfinished.unmarked.remove(&at) => {
                let marked = self.partition_mut(at).is_some_and(|partition| partition.mark(no));
                self.counters.commit_markers += u64::from(marked && commit);
                self.counters.abort_markers += u64::from(marked && !commit);
            }
            Some(_) => {}
            None => {
                let moved = std::mem::take(&mut unfinished.positions);
                let group = unfinished.group.clone();
                if commit && !moved.is_empty() {
                    self.groups.entry(group).or_default().positions.extend(moved);
                }
            }
        }
        let done = self.unfinished.get(&no).is_some_and(Unfinished::is_done);
        if let Some(finished) = done.then(|| self.unfinished.remove(&no)).flatten() {
            self.set_phase(no, self.phase(no).finished());
            let producer = self.producers.get_mut(&finished.holder);
            if let Some(producer) = producer.filter(|producer| producer.transaction == Some(no)) {
                producer.transaction = None;
            }
        }
    }

    /// Brings every marker that is outstanding.
    fn finish(&mut self, no: TransactionNo) {
        let Some(unfinished) = self.unfinished.get(&no) else { return };
        for at in unfinished.unmarked.clone().into_iter().map(Some).chain([None]) {
            self.mark(no, at);
        }
    }

    /// Ends the epoch of an id: its open transaction is aborted, a decided one finished. True if one was open.
    pub(super) fn end_epoch(&mut self, id: &str, process: u64) -> bool {
        let producer = self.producers.entry(id.to_owned()).or_default();
        producer.epoch += 1;
        producer.process = process;
        let Some(no) = producer.transaction else { return false };
        let open = self.phase(no) == Phase::Open;
        self.decide(no, false);
        self.finish(no);
        open
    }

    /// An end request arrives late. It ends whatever its producer's epoch has open.
    pub(super) fn late_end(&mut self, end: LateEnd) {
        let producer = self.producers.get(&end.holder).filter(|producer| producer.epoch == end.epoch);
        let Some(producer) = producer else {
            self.counters.late_fenced += 1;
            return;
        };
        let open = producer.transaction.filter(|no| self.phase(*no) == Phase::Open);
        let Some(no) = open else {
            self.counters.late_void += 1;
            return;
        };
        if no == end.no {
            self.write(end.rest, Some(no));
        } else {
            self.counters.late_misdirected += 1;
        }
        self.counters.late_committed += u64::from(end.commit);
        self.counters.late_aborted += u64::from(!end.commit);
        self.decide(no, end.commit);
    }

    /// A transaction has been open too long: it is aborted, and its producer's epoch ends.
    pub(super) fn transaction_timeout(&mut self, no: TransactionNo) {
        if self.phase(no) != Phase::Open {
            return;
        }
        self.counters.transactions_timed_out += 1;
        let holder = self.unfinished.get(&no).map(|unfinished| unfinished.holder.clone());
        if let Some(producer) = holder.and_then(|holder| self.producers.get_mut(&holder)) {
            producer.epoch += 1;
        }
        self.decide(no, false);
    }

    fn phase(&self, no: TransactionNo) -> Phase {
        usize::try_from(no).ok().and_then(|no| self.phases.get(no)).copied().unwrap_or(Phase::Aborted)
    }

    fn set_phase(&mut self, no: TransactionNo, to: Phase) {
        if let Some(phase) = usize::try_from(no).ok().and_then(|no| self.phases.get_mut(no)) {
            *phase = to;
        }
    }

    fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        if self.settings.sync_delay_us == 0 {
            self.durable = self.sequence;
        } else {
            let sequence = self.sequence;
            self.after(self.settings.sync_delay_us, Event::Synced { sequence });
        }
        self.sequence
    }
}
