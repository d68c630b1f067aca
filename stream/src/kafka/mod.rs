//! The log on Apache Kafka: topics as they are, commits as transactions, slots from consumer groups.
//!
//! Phases: [`topics::create`] once by an operator -> [`KafkaLog::open`], which checks the topics -> readers and sessions.
//!
//! Bounds: every call to the client has a deadline ([`watchdog`]); past it the process ends and its successor takes over.
//! What a commit has written is replicated to the in-sync copies when it returns, not synced to their disks.

pub mod acls;
pub mod cluster;
mod errors;
mod ffi;
mod options;
mod producer;
mod reader;
mod session;
pub mod topics;
pub mod watchdog;

pub use options::{OURS, Options, Refused};

use crate::clock;
use crate::log::{
    Features, Isolation, Log, LogError, Member, Offset, OutRecord, Position, Reader, Session, TopicPartition,
    Watermarks,
};
use crate::mutex::lock;
use acls::Operation;
use producer::{Producer, Unsent};
use rdkafka::ClientContext;
use rdkafka::TopicPartitionList;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use reader::KafkaReader;
use schemas::topics::Topic;
use session::KafkaSession;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long a partition's leader is waited for before it is looked up again.
const LEADER_WAIT: Duration = Duration::from_secs(2);
/// How long stable positions are waited for before a transaction counts as being in the way. One that is committed is done
/// with in a few milliseconds.
const STABLE_WAIT: Duration = Duration::from_millis(300);
/// How long a group's coordinator is looked for before it is asked what is in the way.
const COORDINATOR_WAIT: Duration = Duration::from_secs(2);

/// A line of librdkafka's own log.
pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, text: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::debug!(target: "librdkafka", facility, "{text}");
        }
        _ => tracing::trace!(target: "librdkafka", facility, "{text}"),
    }
}

/// A client whose errors come with its answers. Why a connection failed, or who lets it not find a group, does not: a
/// question that is not answered says only that time has passed.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    noted: Mutex<Option<Noted>>,
}

/// What went wrong beside the answers.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    pub(crate) code: RDKafkaErrorCode,
    /// In the client's words.
    pub(crate) why: String,
}

impl Quiet {
    /// The last failure that waiting does not mend, else the last one.
    fn noted(&self) -> Option<Noted> {
        lock(&self.noted).clone()
    }

    /// The client answers: what was noted is over.
    fn forget(&self) {
        *lock(&self.noted) = None;
    }
}

/// Events of a client that are served at a time: errors, lines of its log.
const EVENTS: usize = 100;

/// What a client has noted, after it has been served.
pub(crate) fn noted_by(client: &BaseConsumer<Quiet>) -> Option<Noted> {
    for _ in 0..EVENTS {
        drop(client.poll(Duration::ZERO));
    }
    client.context().noted()
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        log_line(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "client");
        // That all brokers are down says less than why each of them is.
        let Some(code) = error.rdkafka_error_code().filter(|code| *code != RDKafkaErrorCode::AllBrokersDown)
        else {
            return;
        };
        let lasts = |code| errors::is_barring(code) || errors::is_final(code);
        let mut noted = lock(&self.noted);
        if lasts(code) || noted.as_ref().is_none_or(|noted| !lasts(noted.code)) {
            *noted = Some(Noted { code, why: reason.to_owned() });
        }
    }
}

impl ConsumerContext for Quiet {}

/// Clients that are made when they are first needed, and shared by clones of the log.
struct Shared {
    options: Options,
    committed: BaseConsumer<Quiet>,
    uncommitted: BaseConsumer<Quiet>,
    /// By group.
    positions: Mutex<BTreeMap<String, Arc<BaseConsumer<Quiet>>>>,
    appends: Mutex<Option<Producer>>,
    /// When topics were last found to keep what they must.
    kept: Mutex<BTreeMap<Topic, i64>>,
    sequences: Arc<Sequences>,
    /// Whether positions are read without waiting for transactions that are under way.
    observing: bool,
}

/// Numbers of commits and appends, growing over restarts: they begin at the microsecond of the start. What has one is
/// acknowledged.
#[derive(Debug)]
pub(crate) struct Sequences(AtomicU64);

impl Default for Sequences {
    fn default() -> Self {
        Self(AtomicU64::new(u64::try_from(clock::wall_us()).unwrap_or(0)))
    }
}

impl Sequences {
    fn last(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }
}

/// When `wait` will have passed, on the monotonic clock.
fn deadline_us(wait: Duration) -> i64 {
    clock::monotonic_us().saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX))
}

/// See the module.
#[derive(Clone)]
pub struct KafkaLog {
    shared: Arc<Shared>,
}

impl KafkaLog {
    /// Reaches the cluster and checks every topic's number of partitions.
    ///
    /// # Errors
    /// A property that is the log's own, a topic that is missing or has another number of partitions (each named),
    /// [`LogError::Retriable`] when the cluster does not answer.
    pub fn open(options: Options) -> Result<Self, LogError> {
        Self::open_as(options, false)
    }

    /// As [`Self::open`], for whoever only reads: committed positions are those of now, whatever transactions are under
    /// way, and those of one call are of one moment.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_observing(options: Options) -> Result<Self, LogError> {
        Self::open_as(options, true)
    }

    fn open_as(options: Options, observing: bool) -> Result<Self, LogError> {
        options.check().map_err(|error| LogError::Misconfigured(error.to_string()))?;
        let looker = |isolation| {
            BaseConsumer::from_config_and_context(
                &options.consumer(&options.name("ledgerflow"), isolation),
                Quiet::default(),
            )
            .map_err(|error| LogError::Misconfigured(error.to_string()))
        };
        let (committed, uncommitted) = (looker("read_committed")?, looker("read_uncommitted")?);
        let (positions, appends, kept) = (Mutex::default(), Mutex::default(), Mutex::default());
        let sequences = Arc::default();
        let shared =
            Shared { options, committed, uncommitted, positions, appends, kept, sequences, observing };
        let log = Self { shared: Arc::new(shared) };
        topics::check(&log)?;
        Ok(log)
    }

    /// How it was opened.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.shared.options
    }

    fn watched(&self, what: &'static str) -> watchdog::Watched {
        watchdog::watch(what, self.options().deadline)
    }

    /// What a call may take by itself, so that it answers before the deadline.
    fn patience(&self) -> Duration {
        self.options().deadline / 3
    }

    fn known(&self, at: TopicPartition) -> Result<i32, LogError> {
        let partition = i32::try_from(at.partition).ok();
        let known = at.partition < at.topic.partition_count(self.options().counts);
        partition.filter(|_| known).ok_or(LogError::UnknownPartition(at))
    }

    fn positions_of(&self, group: &str) -> Result<Arc<BaseConsumer<Quiet>>, LogError> {
        let mut clients = lock(&self.shared.positions);
        if let Some(client) = clients.get(group) {
            return Ok(Arc::clone(client));
        }
        let options = self.options();
        // The broker holds positions back from read_committed clients while a transaction that has them is open.
        let level = if self.shared.observing { "read_uncommitted" } else { "read_committed" };
        let mut config = options.consumer(&options.name("ledgerflow"), level);
        config.set("group.id", options.name(group));
        let client = BaseConsumer::from_config_and_context(&config, Quiet::default());
        let client = Arc::new(client.map_err(|error| LogError::Io(format!("group {group}: {error}")))?);
        clients.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }

    /// Positions as the client tells them. Where it has no leave to find the group's coordinator it goes on looking for it.
    fn committed_offsets(
        &self,
        group: &str,
        client: &BaseConsumer<Quiet>,
        asked: &TopicPartitionList,
        wait: Duration,
    ) -> Result<Result<TopicPartitionList, KafkaError>, LogError> {
        let (first, mut left) = (wait.min(COORDINATOR_WAIT), wait);
        loop {
            let now = if left == wait { first } else { left };
            left -= now;
            let error = match client.committed_offsets(asked.clone(), now) {
                Ok(found) => {
                    client.context().forget();
                    return Ok(Ok(found));
                }
                Err(error) => error,
            };
            if let Some(Noted { code: code @ RDKafkaErrorCode::GroupAuthorizationFailed, why }) =
                noted_by(client)
            {
                let lacking = errors::lacking(code, Operation::Describe, &self.options().name(group));
                return Err(LogError::Io(format!("committed positions: {why}{lacking}")));
            }
            if left.is_zero() {
                return Ok(Err(error));
            }
        }
    }

    /// Positions in the order asked, all of one moment.
    fn positions(
        &self,
        group: &str,
        client: &BaseConsumer<Quiet>,
        at: &[TopicPartition],
        wait: Duration,
    ) -> Result<Vec<Option<Position>>, LogError> {
        let mut asked = TopicPartitionList::with_capacity(at.len());
        for at in at {
            asked.add_partition(&self.options().topic(at.topic), self.known(*at)?);
        }
        let found = self.committed_offsets(group, client, &asked, wait)?.map_err(|error| {
            match (error.rdkafka_error_code(), at.first()) {
                (
                    Some(RDKafkaErrorCode::OperationTimedOut | RDKafkaErrorCode::UnstableOffsetCommit),
                    Some(at),
                ) if !self.shared.observing => LogError::Unstable { at: *at, holder: String::new() },
                _ => errors::needing(
                    "committed positions",
                    &error,
                    Operation::Describe,
                    &self.options().name(group),
                ),
            }
        })?;
        let position = |at: &TopicPartition| {
            let of = found.find_partition(&self.options().topic(at.topic), self.known(*at)?);
            let Some(of) = of else { return Ok(None) };
            let of_topic = self.options().topic(at.topic);
            of.error().map_err(|error| {
                errors::needing("committed positions", &error, Operation::Describe, &of_topic)
            })?;
            let offset = of.offset().to_raw().filter(|offset| *offset >= 0);
            Ok(offset.map(|offset| Position { offset, metadata: of.metadata().to_owned() }))
        };
        at.iter().map(position).collect()
    }
}

impl Log for KafkaLog {
    fn partitions(&self, topic: Topic) -> Result<u32, LogError> {
        Ok(topic.partition_count(self.options().counts))
    }

    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError> {
        let partition = self.known(at)?;
        let client = match isolation {
            Isolation::Committed => &self.shared.committed,
            Isolation::Uncommitted => &self.shared.uncommitted,
        };
        let _watched = self.watched("query_watermark_offsets");
        drop(client.poll(Duration::ZERO));
        let (topic, until_us) = (self.options().topic(at.topic), deadline_us(self.patience()));
        loop {
            match client.fetch_watermarks(&topic, partition, self.patience().min(LEADER_WAIT)) {
                Ok((low, high)) => return Ok(Watermarks { low, high }),
                // Partitions that have just been made or moved find their leader in a moment, and those whose leader has
                // died another one. The client does not look for it by itself: it keeps what it was told last for many
                // minutes, and waits for a broker that is no more.
                Err(error) if errors::is_moving(&error) && clock::monotonic_us() < until_us => {
                    std::thread::sleep(Duration::from_millis(10));
                    drop(client.fetch_metadata(Some(&topic), self.patience().min(LEADER_WAIT)));
                }
                Err(error) => {
                    let what = format!("bounds of {at}");
                    return Err(errors::needing(&what, &error, Operation::Describe, &topic));
                }
            }
        }
    }

    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError> {
        let client = self.positions_of(group)?;
        let _watched = self.watched("committed");
        drop(client.poll(Duration::ZERO));
        if self.shared.observing {
            return self.positions(group, &client, at, self.patience());
        }
        let mut all = Vec::with_capacity(at.len());
        for of in at {
            all.extend(self.positions(group, &client, &[*of], STABLE_WAIT)?);
        }
        Ok(all)
    }

    fn reader(
        &self,
        from: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError> {
        let options = self.options();
        let level = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        let client = BaseConsumer::from_config_and_context(
            &options.consumer(&options.name("ledgerflow"), level),
            Quiet::default(),
        );
        let client = client.map_err(|error| LogError::Io(error.to_string()))?;
        let mut named = Vec::with_capacity(from.len());
        for (at, offset) in from {
            self.known(*at)?;
            named.push((*at, options.topic(at.topic), *offset));
        }
        let log = self.clone();
        let bounds = Box::new(move |at, isolation| log.watermarks(at, isolation));
        Ok(Box::new(KafkaReader::start(client, &named, bounds, options.deadline)?))
    }

    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError> {
        let options = self.options();
        let mut slots = [Topic::Commands, Topic::Events1].into_iter();
        let topic = slots.find(|topic| topic.partition_count(options.counts) == member.slots);
        let topic = topic.ok_or_else(|| {
            LogError::Io(format!("group {}: no topic has {} partitions", member.group, member.slots))
        })?;
        // It finds the group's coordinator while the group shares its slots out.
        drop(self.positions_of(&member.group)?);
        let sequences = Arc::clone(&self.shared.sequences);
        Ok(Box::new(KafkaSession::join(options, member, options.topic(topic), sequences)?))
    }

    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError> {
        let _watched = watchdog::watch("append", self.options().deadline.saturating_mul(4));
        let mut appends = lock(&self.shared.appends);
        if appends.is_none() {
            *appends = Some(Producer::start(&self.options().producer(&self.options().name("ledgerflow")))?);
        }
        let Some(producer) = appends.as_ref() else {
            return Err(LogError::Retriable("no producer".to_owned()));
        };
        records.iter().try_for_each(|record| self.known(record.to).map(drop))?;
        producer.settle();
        producer.seen.clear();
        producer
            .send(self.options(), &records)
            .map_err(|Unsent { record, error }| errors::asked(&format!("record to {record}"), &error))?;
        // The crate's own flush looks every 100 ms only.
        if !producer.flush(self.patience()) {
            return Err(LogError::Retriable(
                "append: the broker has not acknowledged everything in time".to_owned(),
            ));
        }
        producer.settle();
        match producer.seen.undelivered() {
            None => Ok(self.shared.sequences.next()),
            Some(error) => {
                let topics: BTreeSet<String> =
                    records.iter().map(|record| self.options().topic(record.to.topic)).collect();
                let topics = topics.into_iter().collect::<Vec<_>>().join(", ");
                Err(errors::needing("append", &error, Operation::Write, &topics))
            }
        }
    }

    fn durable(&self) -> u64 {
        self.shared.sequences.last()
    }

    fn written(&self) -> u64 {
        self.durable()
    }

    fn wait_durable(&self, _sequence: u64, _wait: Duration) -> Result<(), LogError> {
        Ok(())
    }

    fn fence(&self, transactional_id: &str) -> Result<(), LogError> {
        session::fence(self.options(), transactional_id)
    }

    fn members(&self, group: &str) -> Result<Vec<String>, LogError> {
        let _watched = self.watched("list of groups");
        let name = self.options().name(group);
        let found = self.shared.committed.fetch_group_list(Some(&name), self.patience());
        let found = found.map_err(|error| errors::asked(&format!("members of {group}"), &error))?;
        let groups = found.groups().iter().filter(|found| found.name() == name);
        let mut members: Vec<String> = groups
            .flat_map(rdkafka::groups::GroupInfo::members)
            .filter_map(|member| member.client_id().strip_prefix(&self.options().prefix))
            .map(str::to_owned)
            .collect();
        members.sort();
        Ok(members)
    }

    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError> {
        // The client cannot ask a broker for it: who is in the way is found by the pool of ids.
        self.known(at).map(|_| Vec::new())
    }

    fn features(&self) -> Features {
        Features { compaction: true }
    }

    fn check_retention(&self, topic: Topic) -> Result<Result<(), String>, LogError> {
        topics::check_retention(self, topic)
    }
}
