//! A log with one flaw each: what the cases must find.

use crate::log::{
    Assignment, CommitOutcome, Features, Fetch, FetchLimit, Isolation, Log, LogError, Member, Offset,
    OutRecord, Position, Reader, Session, TopicPartition, Transaction, Watermarks,
};
use crate::sim::SimLog;
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What the log does wrong; the name says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    OnePartitionMore,
    AppendsBackwards,
    AppendsWithoutHeaders,
    AppendsNoEmptyValues,
    AppendsSomeTwice,
    CutsLargeValues,
    NoRecordLimit,
    NoByteLimit,
    WatermarkOneMore,
    StartsOneBehind,
    PositionIsLastRecordPlusOne,
    SeeksNowhere,
    HoldsNothing,
    ClampsOffsets,
    IgnoresUnknownPartitions,
    FirstPartitionFirst,
    StepsOverTruncation,
    CommitsOneTopic,
    CommitsRecordByRecord,
    CommitsBackwards,
    CommitsAtMost64Partitions,
    CommitsWithoutHeaders,
    LosesMetadata,
    AnswersSorted,
    PositionsNeedRecords,
    PositionsFirst,
    NoPositionIsZero,
    OneGroup,
    SequenceStandsStill,
    NeverDurable,
    NeverFences,
    AnyGeneration,
    AllSlotsToAll,
    JoinsDisturbEverybody,
    AskingDisturbs,
    KeepsTheFirstAssignment,
    EarlierSessionsEmptyTheSeat,
    NamesNoMember,
    TheDeadStayMembers,
    NamesNoHolder,
    FencesOnlyKnownIds,
    FencesNothing,
    TimeStandsStill,
    SeesUncommitted,
    UnstableIsNone,
    ReopensEmpty,
}

/// A simulated log behind a flaw.
#[derive(Debug, Clone)]
pub(super) struct FlawedLog {
    pub(super) sim: SimLog,
    pub(super) flaw: Option<Flaw>,
    polls: Arc<AtomicU64>,
}

impl FlawedLog {
    pub(super) fn new(sim: SimLog, flaw: Option<Flaw>) -> Self {
        Self { sim, flaw, polls: Arc::default() }
    }

    /// Lets readers of other threads, if there are any, look twice at everything.
    fn let_others_look(&self) {
        let before = self.polls.load(Ordering::Acquire);
        for _ in 0..200 {
            if self.polls.load(Ordering::Acquire) >= before + 16 {
                return;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    fn group(&self, group: &str) -> String {
        if self.has(Flaw::OneGroup) { "one".to_owned() } else { group.to_owned() }
    }

    fn clamped(&self, at: TopicPartition, offset: Offset) -> Result<Offset, LogError> {
        let marks = self.sim.watermarks(at, Isolation::Uncommitted)?;
        Ok(match self.flaw {
            Some(Flaw::ClampsOffsets) => offset.clamp(marks.low, marks.high),
            Some(Flaw::StartsOneBehind) => (offset + 1).min(marks.high),
            _ => offset,
        })
    }

    fn appended(&self, mut records: Vec<OutRecord>) -> Vec<OutRecord> {
        match self.flaw {
            Some(Flaw::AppendsBackwards) => records.reverse(),
            Some(Flaw::AppendsWithoutHeaders) => records.iter_mut().for_each(|r| r.headers.clear()),
            Some(Flaw::AppendsNoEmptyValues) => records.retain(|r| !r.value.is_empty()),
            Some(Flaw::AppendsSomeTwice) => {
                let twice: Vec<_> = records.iter().filter(|r| r.value.ends_with(b"77")).cloned().collect();
                records.extend(twice);
            }
            Some(Flaw::CutsLargeValues) => {
                records.iter_mut().for_each(|r| r.value = r.value.slice(..r.value.len().min(512 * 1024)));
            }
            Some(Flaw::IgnoresUnknownPartitions) => {
                records.retain(|r| self.sim.watermarks(r.to, Isolation::Committed).is_ok());
            }
            _ => {}
        }
        records
    }
}

impl Log for FlawedLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        Ok(self.sim.partitions(topic)? + u32::from(self.has(Flaw::OnePartitionMore)))
    }

    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError> {
        let marks = self.sim.watermarks(at, isolation)?;
        Ok(Watermarks { high: marks.high + i64::from(self.has(Flaw::WatermarkOneMore)), ..marks })
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        let mut asked = at.to_vec();
        if self.has(Flaw::AnswersSorted) {
            asked.sort();
        }
        let mut held = match self.sim.committed(&self.group(group), &asked) {
            Err(LogError::Unstable { .. }) if self.has(Flaw::UnstableIsNone) => vec![None; at.len()],
            other => other?,
        };
        if self.has(Flaw::LosesMetadata) {
            held.iter_mut().flatten().for_each(|position| position.metadata.clear());
        }
        if self.has(Flaw::NoPositionIsZero) {
            let zero = || Position { offset: 0, metadata: String::new() };
            held = held.into_iter().map(|position| Some(position.unwrap_or_else(zero))).collect();
        }
        Ok(held)
    }

    fn reader(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        let mut from = Vec::new();
        for (at, offset) in start {
            from.push((*at, self.clamped(*at, *offset)?));
        }
        let isolation = if self.has(Flaw::SeesUncommitted) { Isolation::Uncommitted } else { isolation };
        let sim = self.sim.reader(&from, isolation)?;
        Ok(Box::new(FlawedReader { log: self.clone(), sim, from, isolation, read: BTreeMap::new() }))
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        let mut member = Member { group: self.group(&member.group), ..member.clone() };
        if self.has(Flaw::NeverFences) {
            let joined = self.sim.counters().joins;
            member.transactional_id.push_str(&joined.to_string());
            member.name.push_str(&joined.to_string());
        }
        if self.has(Flaw::JoinsDisturbEverybody) {
            for group in ["posting", "settlement"] {
                let ghost = Member { group: group.into(), name: "ghost".into(), ..member.clone() };
                drop(self.sim.join(&ghost)?);
            }
        }
        let sim = self.sim.join(&member)?;
        Ok(Box::new(FlawedSession { log: self.clone(), sim, member, first: None, looked: false }))
    }

    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        let sequence = self.sim.append(self.appended(records))?;
        Ok(if self.has(Flaw::SequenceStandsStill) { 1 } else { sequence })
    }

    fn durable(&self) -> u64 {
        if self.has(Flaw::NeverDurable) { 0 } else { self.sim.durable() }
    }

    fn written(&self) -> u64 {
        if self.has(Flaw::NeverDurable) { 0 } else { self.sim.written() }
    }

    fn wait_durable(&self, sequence: u64, wait: Duration) -> Result<(), LogError> {
        self.sim.wait_durable(sequence, wait)
    }

    fn fence(&self, transactional_id: &str) -> Result<(), LogError> {
        if self.has(Flaw::FencesOnlyKnownIds) && transactional_id.ends_with("nobody") {
            return Err(LogError::Io("no such id".to_owned()));
        }
        if self.has(Flaw::FencesNothing) { Ok(()) } else { self.sim.fence(transactional_id) }
    }

    fn members(&self, group: &str) -> Result<Vec<String>, LogError> {
        let mut members = self.sim.members(&self.group(group))?;
        match self.flaw {
            Some(Flaw::NamesNoMember) => members.clear(),
            Some(Flaw::TheDeadStayMembers) if !members.contains(&"b".to_owned()) => {
                members.push("b".to_owned())
            }
            _ => {}
        }
        Ok(members)
    }

    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError> {
        let holders = self.sim.holders(at)?;
        Ok(if self.has(Flaw::NamesNoHolder) { Vec::new() } else { holders })
    }

    fn features(&self) -> Features {
        self.sim.features()
    }

    fn check_retention(&self, topic: Topic) -> Result<Result<(), String>, LogError> {
        self.sim.check_retention(topic)
    }
}

struct FlawedReader {
    log: FlawedLog,
    sim: Box<dyn Reader>,
    from: Vec<(TopicPartition, Offset)>,
    isolation: Isolation,
    /// Last offset read and one.
    read: BTreeMap<TopicPartition, Offset>,
}

impl FlawedReader {
    /// A new reader from where this one stands, or from the low watermark where that is higher.
    fn begin_again(&mut self) -> Result<(), LogError> {
        for (at, offset) in &mut self.from {
            let low = self.log.sim.watermarks(*at, Isolation::Committed)?.low;
            *offset = self.sim.position(*at).unwrap_or(low).max(low);
        }
        self.sim = self.log.sim.reader(&self.from, self.isolation)?;
        Ok(())
    }
}

impl Reader for FlawedReader {
    fn poll(&mut self, mut limit: FetchLimit) -> Result<Vec<Fetch>, LogError> {
        match self.log.flaw {
            Some(Flaw::NoRecordLimit) => limit.records = usize::MAX,
            Some(Flaw::NoByteLimit) => limit.bytes = usize::MAX,
            Some(Flaw::FirstPartitionFirst | Flaw::StepsOverTruncation) => self.begin_again()?,
            _ => {}
        }
        let fetches = self.sim.poll(limit)?;
        self.log.polls.fetch_add(1, Ordering::AcqRel);
        let last = |fetch: &Fetch| fetch.records.last().map(|record| (fetch.from, record.offset + 1));
        self.read.extend(fetches.iter().filter_map(last));
        Ok(fetches)
    }

    fn position(&self, at: TopicPartition) -> Option<Offset> {
        let read = self.read.get(&at).filter(|_| self.log.has(Flaw::PositionIsLastRecordPlusOne));
        read.copied().or_else(|| self.sim.position(at))
    }

    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError> {
        if self.log.has(Flaw::SeeksNowhere) { Ok(()) } else { self.sim.seek(at, offset) }
    }

    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError> {
        if self.log.has(Flaw::HoldsNothing) { Ok(()) } else { self.sim.hold(at, held) }
    }
}

struct FlawedSession {
    log: FlawedLog,
    sim: Box<dyn Session>,
    member: Member,
    first: Option<Assignment>,
    /// Others have had time to look between two records.
    looked: bool,
}

impl FlawedSession {
    fn record_by_record(&mut self, transaction: &Transaction) -> CommitOutcome {
        let mut outcome = self.sim.commit(Transaction { records: vec![], ..transaction.clone() });
        for record in &transaction.records {
            let one = Transaction { records: vec![record.clone()], positions: vec![], ..*transaction };
            outcome = self.sim.commit(one);
            if !std::mem::replace(&mut self.looked, true) {
                self.log.let_others_look();
            }
        }
        outcome
    }
}

impl Drop for FlawedSession {
    fn drop(&mut self) {
        if self.log.has(Flaw::EarlierSessionsEmptyTheSeat) {
            self.log.sim.leave(&self.member.group, &self.member.name);
        }
    }
}

impl Session for FlawedSession {
    fn assignment(&mut self) -> Result<Assignment, LogError> {
        if self.log.has(Flaw::AskingDisturbs) {
            self.sim = self.log.sim.join(&self.member)?;
        }
        let mut assignment = self.sim.assignment()?;
        if self.log.has(Flaw::AllSlotsToAll) {
            assignment.slots = (0..self.member.slots).collect();
        }
        let first = self.first.get_or_insert_with(|| assignment.clone());
        Ok(if self.log.has(Flaw::KeepsTheFirstAssignment) { first.clone() } else { assignment })
    }

    fn commit(&mut self, mut transaction: Transaction) -> CommitOutcome {
        match self.log.flaw {
            Some(Flaw::CommitsOneTopic) => {
                let topic = transaction.records.first().map(|record| record.to.topic);
                transaction.records.retain(|record| Some(record.to.topic) == topic);
            }
            Some(Flaw::CommitsRecordByRecord) => return self.record_by_record(&transaction),
            Some(Flaw::CommitsBackwards) => transaction.records.reverse(),
            Some(Flaw::CommitsAtMost64Partitions) => {
                let mut met = BTreeSet::new();
                transaction.records.retain(|r| met.contains(&r.to) || (met.len() < 64 && met.insert(r.to)));
            }
            Some(Flaw::CommitsWithoutHeaders) => {
                transaction.records.iter_mut().for_each(|record| record.headers.clear());
            }
            Some(Flaw::PositionsNeedRecords) if transaction.records.is_empty() => {
                transaction.positions.clear()
            }
            Some(Flaw::PositionsFirst) => {
                self.sim.commit(Transaction { records: vec![], ..transaction.clone() });
            }
            Some(Flaw::AnyGeneration) => {
                transaction.generation = self.sim.assignment().unwrap().generation;
            }
            _ => {}
        }
        match self.sim.commit(transaction) {
            CommitOutcome::Committed { .. } if self.log.has(Flaw::SequenceStandsStill) => {
                CommitOutcome::Committed { sequence: 1 }
            }
            other => other,
        }
    }
}
