//! A member of a consumer group with its transactional id: slots from the group, commits as transactions.
//!
//! Order: the id is taken first, then the group joined; see rule 1. The group is a classic one with the range assignor
//! and static members; the consumer that sits in it reads nothing, its partitions are the slots. Its metadata is
//! captured when an assignment comes and goes unchanged with every commit of that assignment, so that the group's
//! coordinator refuses what an earlier generation decided.
//!
//! A transaction during which the network or a broker failed is *tainted*: its end request may be under way still and could
//! end a later transaction of the same producer epoch. After such a one the producer is made anew, which raises the epoch.
//! What failed is read from the client's debug log of its connections: the client tells of a lost connection below the
//! level of an error, and of the same loss within half a minute in no other place.

use super::acls::Operation;
use super::ffi::{self, CallError, GroupMetadata};
use super::options::Options;
use super::producer::{Producer, Unsent};
use super::{Sequences, errors, log_line, watchdog};
use crate::faults;
use crate::log::{
    Assignment, CommitOutcome, LogError, Member, Position, Session, TopicPartition, Transaction,
};
use crate::mutex::lock;
use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::bindings::rd_kafka_resp_err_t;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use schemas::topics::Topic;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long one question for the assignment serves the group.
const SERVE: Duration = Duration::from_millis(20);
/// Events of the group that are served at a time.
const EVENTS: usize = 4;

/// What the group has assigned.
#[derive(Debug, Default)]
struct Place {
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    assignment: Assignment,
    metadata: Arc<GroupMetadata>,
}

/// The consumer's side of a member: takes down what the group assigns.
struct Membership {
    place: Mutex<Place>,
}

impl Membership {
    fn place(&self) -> std::sync::MutexGuard<'_, Place> {
        lock(&self.place)
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "group member");
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: rd_kafka_resp_err_t,
        partitions: &mut TopicPartitionList,
    ) {
        let assigned = what == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        let metadata = assigned.then(|| GroupMetadata::capture(consumer.client().native_ptr())).flatten();
        self.place().current = metadata.map(|metadata| {
            let slots =
                partitions.elements().iter().filter_map(|of| u32::try_from(of.partition()).ok()).collect();
            let generation = u64::try_from(metadata.generation()).unwrap_or(0);
            let mut assignment = Assignment { generation, slots };
            assignment.slots.sort_unstable();
            Current { assignment, metadata: Arc::new(metadata) }
        });
        // Nothing is read by this consumer: what it is assigned is a name for slots.
        let taken = if assigned { consumer.assign(&TopicPartitionList::new()) } else { consumer.unassign() };
        if let Err(error) = taken {
            tracing::warn!(%error, "group assignment");
        }
    }
}

/// A producer with its transactional id taken: an open transaction of it is aborted, its earlier owner fenced.
fn take(options: &Options, transactional_id: &str) -> Result<Producer, LogError> {
    let id = options.name(transactional_id);
    let mut config = options.producer(&id);
    config
        .set("transactional.id", &id)
        .set("transaction.timeout.ms", options.transaction_timeout.as_millis().to_string())
        .set("debug", watched_contexts(options))
        .set_log_level(RDKafkaLogLevel::Debug);
    let producer = Producer::start(&config)?;
    let _watched = watchdog::watch("init_transactions", options.deadline);
    let busy = producer.busy();
    // Why it does not answer, taking the id tells.
    ffi::meet(producer.native(), options.deadline / 4);
    ffi::init_transactions(producer.native(), options.deadline / 2)
        .map_err(|error| errors::taking(&id, &error))?;
    drop(busy);
    // What failed until now is none of a transaction's.
    producer.settle();
    producer.seen.clear();
    Ok(producer)
}

/// Contexts of the client's debug log: those asked for, and the one in which connections fail.
fn watched_contexts(options: &Options) -> String {
    let asked = options.properties.get("debug").map(|asked| format!("{asked},"));
    asked.unwrap_or_default() + "broker"
}

/// Takes a transactional id and gives it up at once: its open transaction is aborted, its owner fenced.
pub(super) fn fence(options: &Options, transactional_id: &str) -> Result<(), LogError> {
    take(options, transactional_id).map(drop)
}

/// See the module.
pub(super) struct KafkaSession {
    options: Options,
    member: Member,
    topic: String,
    consumer: BaseConsumer<Membership>,
    producer: Option<Producer>,
    sequences: Arc<Sequences>,
    dead: Option<String>,
}

impl KafkaSession {
    /// Takes the member's transactional id and its place in the group. `topic` has a partition for each slot.
    pub(super) fn join(
        options: &Options,
        member: &Member,
        topic: String,
        sequences: Arc<Sequences>,
    ) -> Result<Self, LogError> {
        let producer = take(options, &member.transactional_id)?;
        let group = options.name(&member.group);
        let mut config = options.consumer(&options.name(&member.name), "read_committed");
        config
            .set("group.id", &group)
            .set("group.instance.id", format!("{group}.{}", member.name))
            .set("group.protocol", "classic")
            .set("partition.assignment.strategy", "range")
            .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
            .set("heartbeat.interval.ms", (options.session_timeout.as_millis() / 5).max(100).to_string())
            .set("max.poll.interval.ms", options.step_timeout.as_millis().to_string());
        let membership = Membership { place: Mutex::default() };
        let consumer = BaseConsumer::from_config_and_context(&config, membership)
            .map_err(|error| LogError::Io(format!("group {group}: {error}")))?;
        consumer.subscribe(&[&topic]).map_err(|error| errors::asked("joining the group", &error))?;
        let (options, member) = (options.clone(), member.clone());
        let producer = Some(producer);
        Ok(Self { options, member, topic, consumer, producer, sequences, dead: None })
    }

    fn die(&mut self, why: String) -> CommitOutcome {
        self.dead = Some(why.clone());
        CommitOutcome::Fenced(why)
    }

    /// Lets the group's callbacks run for at most `wait`.
    fn serve(&mut self, wait: Duration) -> Result<(), LogError> {
        let _watched = watchdog::watch("serving the group", self.options.deadline);
        // Events come one a poll, and what an error has led to comes behind it.
        let mut wait = wait;
        for _ in 0..EVENTS {
            if let Some(Err(error)) = self.consumer.poll(wait) {
                self.met(&error)?;
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn met(&mut self, error: &KafkaError) -> Result<(), LogError> {
        let code = error.rdkafka_error_code();
        if code == Some(RDKafkaErrorCode::PollExceeded) {
            // The member has left the group and joins it again.
            self.consumer.context().place().current = None;
        }
        if code.is_some_and(errors::is_fencing) {
            self.dead = Some(format!("{} of {}: {error}", self.member.name, self.member.group));
            return Ok(());
        }
        let group = self.options.name(&self.member.group);
        let lacking = code.map(|code| errors::lacking(code, Operation::Read, &group)).unwrap_or_default();
        let answer = errors::asked(&format!("group {}", self.member.group), error);
        let for_good =
            matches!(error, KafkaError::MessageConsumptionFatal(_)) || matches!(answer, LogError::Io(_));
        if for_good { Err(LogError::Io(answer.to_string() + &lacking)) } else { Ok(()) }
    }

    /// The producer, made anew where what it ended last may still be under way.
    fn ready(&mut self) -> Result<&Producer, LogError> {
        if let Some(producer) = &self.producer {
            producer.settle();
            if producer.seen.trouble.load(Ordering::Acquire) && !self.options.keeps_tainted {
                tracing::info!(id = %self.member.transactional_id, "the network failed during a transaction: a new producer");
                self.producer = None;
            }
        }
        if self.producer.is_none() {
            self.producer = Some(take(&self.options, &self.member.transactional_id)?);
        }
        self.producer.as_ref().ok_or_else(|| LogError::Retriable("no producer".to_owned()))
    }

    fn offsets(&self, positions: &[(TopicPartition, Position)]) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (at, position) in positions {
            let partition = i32::try_from(at.partition).map_err(|_| LogError::UnknownPartition(*at))?;
            let name = self.options.topic(at.topic);
            let bad = |error: KafkaError| LogError::Io(format!("{at}: {error}"));
            let mut of = list.add_partition(&name, partition);
            of.set_offset(KafkaOffset::Offset(position.offset)).map_err(bad)?;
            of.set_metadata(&position.metadata);
        }
        Ok(list)
    }

    fn write(&mut self, transaction: &Transaction, metadata: &GroupMetadata) -> CommitOutcome {
        let offsets = match self.offsets(&transaction.positions) {
            Ok(offsets) => offsets,
            Err(error) => return CommitOutcome::Aborted(error.to_string()),
        };
        let options = self.options.clone();
        let producer = match self.ready() {
            Ok(producer) => producer,
            Err(LogError::Fenced(why)) => return self.die(why),
            Err(error) => return CommitOutcome::Aborted(error.to_string()),
        };
        producer.seen.clear();
        let outcome = filled(producer, &options, transaction, &offsets, metadata);
        let outcome = outcome.and_then(|()| end(producer, &options));
        match outcome {
            Ok(()) => CommitOutcome::Committed { sequence: self.sequences.next() },
            Err(Ended { outcome, usable, code }) => {
                if !usable {
                    self.producer = None;
                }
                match outcome {
                    CommitOutcome::Fenced(why) => self.die(why),
                    CommitOutcome::Aborted(why) => {
                        CommitOutcome::Aborted(why + &self.lacking(code, transaction))
                    }
                    other => other,
                }
            }
        }
    }

    /// What leave a refused transaction lacks. The client does not say which of its topics it is about.
    fn lacking(&self, code: RDKafkaErrorCode, transaction: &Transaction) -> String {
        let names = |topics: BTreeSet<Topic>| {
            topics.into_iter().map(|topic| self.options.topic(topic)).collect::<Vec<_>>().join(", ")
        };
        match code {
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                let written = names(transaction.records.iter().map(|record| record.to.topic).collect());
                let read = names(transaction.positions.iter().map(|(at, _)| at.topic).collect());
                let lacking = |operation, of: String| {
                    if of.is_empty() { of } else { errors::lacking(code, operation, &of) }
                };
                lacking(Operation::Write, written) + &lacking(Operation::Read, read)
            }
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                errors::lacking(code, Operation::Read, &self.options.name(&self.member.group))
            }
            _ => errors::lacking(code, Operation::Write, &self.options.name(&self.member.transactional_id)),
        }
    }
}

/// How a transaction failed, and whether the producer can go on.
struct Ended {
    outcome: CommitOutcome,
    usable: bool,
    code: RDKafkaErrorCode,
}

/// Begins a transaction and puts everything into it.
fn filled(
    producer: &Producer,
    options: &Options,
    transaction: &Transaction,
    offsets: &TopicPartitionList,
    metadata: &GroupMetadata,
) -> Result<(), Ended> {
    let _watched = watchdog::watch("writing a transaction", options.deadline);
    let client = producer.native();
    ffi::begin_transaction(client).map_err(|error| aborted(producer, options, &error, "begin"))?;
    producer.send(options, &transaction.records).map_err(|Unsent { record, error }| {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail);
        let error = CallError {
            code,
            text: error.to_string(),
            fatal: code == RDKafkaErrorCode::Fatal,
            retriable: false,
            requires_abort: true,
        };
        aborted(producer, options, &error, &format!("record to {record}"))
    })?;
    if !transaction.positions.is_empty() {
        ffi::send_offsets(client, offsets, metadata, options.deadline / 3)
            .map_err(|error| aborted(producer, options, &error, "positions"))?;
    }
    // The commit would wait for it too. A record that fails shows in the commit.
    producer.flush(options.deadline / 3);
    Ok(())
}

/// Asks for the end. What comes after that is not known, unless the answer says so.
fn end(producer: &Producer, options: &Options) -> Result<(), Ended> {
    let code = RDKafkaErrorCode::Unknown;
    let unknown = |why: String| Ended { outcome: CommitOutcome::Unknown(why), usable: false, code };
    faults::hit(faults::KAFKA_BEFORE_END).map_err(|crash| unknown(crash.to_string()))?;
    let _watched = watchdog::watch("commit_transaction", options.deadline);
    match ffi::commit_transaction(producer.native(), options.deadline / 2) {
        Ok(()) if producer.seen.undelivered().is_some() => {
            Err(unknown("committed, though a record was reported as not delivered".to_owned()))
        }
        Ok(()) => Ok(()),
        Err(error) if error.requires_abort || errors::is_fencing(error.code) => {
            Err(aborted(producer, options, &error, "commit"))
        }
        Err(error) => Err(unknown(format!("commit: {} ({})", error.text, error.code))),
    }
}

/// What a transaction has failed of, where a call says only that it has failed before: the client refuses to begin
/// another one for that reason.
fn cause(producer: &Producer, error: &CallError) -> CallError {
    let found = (error.code == RDKafkaErrorCode::State).then(|| ffi::begin_transaction(producer.native()));
    found.and_then(Result::err).unwrap_or_else(|| error.clone())
}

/// Aborts what is open. Where that fails, the next owner of the id does it.
fn aborted(producer: &Producer, options: &Options, error: &CallError, what: &str) -> Ended {
    let error = &cause(producer, error);
    let (outcome, code) = (errors::before_the_end(error, what), error.code);
    if error.fatal || matches!(outcome, CommitOutcome::Fenced(_)) {
        return Ended { outcome, usable: false, code };
    }
    let _watched = watchdog::watch("abort_transaction", options.deadline);
    let _busy = producer.busy();
    match ffi::abort_transaction(producer.native(), options.deadline / 2) {
        Ok(()) => Ended { outcome, usable: true, code },
        Err(error) if errors::is_fencing(error.code) => {
            Ended { outcome: errors::before_the_end(&error, "abort"), usable: false, code }
        }
        Err(_) => Ended { outcome, usable: false, code },
    }
}

impl Session for KafkaSession {
    fn assignment(&mut self) -> Result<Assignment, LogError> {
        let waits = self.consumer.context().place().current.is_none();
        self.serve(if waits { SERVE } else { Duration::ZERO })?;
        if let Some(why) = &self.dead {
            return Err(LogError::Fenced(why.clone()));
        }
        let place = self.consumer.context().place();
        let current = place.current.as_ref().map(|current| current.assignment.clone());
        current
            .ok_or_else(|| LogError::Retriable(format!("group {} shares its slots out", self.member.group)))
    }

    fn commit(&mut self, transaction: Transaction) -> CommitOutcome {
        if let Some(why) = &self.dead {
            return CommitOutcome::Fenced(why.clone());
        }
        let captured = {
            let place = self.consumer.context().place();
            place
                .current
                .as_ref()
                .map(|current| (current.assignment.generation, Arc::clone(&current.metadata)))
        };
        match captured {
            Some((generation, metadata)) if generation == transaction.generation => {
                self.write(&transaction, &metadata)
            }
            Some((generation, _)) => CommitOutcome::Aborted(format!(
                "the commit is of generation {}, the group is at {generation}",
                transaction.generation
            )),
            None => CommitOutcome::Aborted(format!("{} has no slots now", self.topic)),
        }
    }
}
