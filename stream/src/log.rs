//! The `Log` seam: what the pipeline needs of a log, and nothing more.
//!
//! Phases of an owner: `join` (takes the transactional id and fences its earlier owner) -> `assignment` ->
//! read -> `commit` ... until fenced or dropped. A commit is atomic over any records of any topics and the input
//! positions that produced them. Offsets grow but are not dense (Kafka's commit markers take some).
//!
//! Order relied on: records of one commit to one partition keep their order; a reader with
//! [`Isolation::Committed`] never sees a record of a transaction that is open or aborted, nor anything after an
//! open transaction's first record on that partition.

use bytes::Bytes;
use schemas::topics::Topic;
use std::fmt;
use std::time::Duration;
use thiserror::Error;

/// Place in a partition; the next record read has this offset or a higher one.
pub type Offset = i64;

/// One partition of one topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic.
    pub topic: Topic,
    /// Partition, counted from 0.
    pub partition: u32,
}

impl TopicPartition {
    /// `topic` and `partition` as one.
    #[must_use]
    pub const fn new(topic: Topic, partition: u32) -> Self {
        Self { topic, partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic.name(), self.partition)
    }
}

/// A record header: name and value bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Name, such as `traceparent`.
    pub name: Bytes,
    /// Value.
    pub value: Bytes,
}

impl Header {
    /// A header of two texts.
    #[must_use]
    pub fn text(name: &'static str, value: impl Into<String>) -> Self {
        Self { name: Bytes::from_static(name.as_bytes()), value: Bytes::from(value.into().into_bytes()) }
    }
}

/// The value of the first header named `name`.
#[must_use]
pub fn header<'a>(headers: &'a [Header], name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|h| h.name == name.as_bytes()).map(|h| h.value.as_ref())
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// When it was written, wall clock, microseconds since 1970-01-01T00:00:00Z. Audit only.
    pub timestamp_us: i64,
    /// Key; empty = none.
    pub key: Bytes,
    /// Value.
    pub value: Bytes,
    /// Headers in order.
    pub headers: Vec<Header>,
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRecord {
    /// Where it goes.
    pub to: TopicPartition,
    /// Key; empty = none.
    pub key: Bytes,
    /// Value.
    pub value: Bytes,
    /// Headers in order.
    pub headers: Vec<Header>,
}

impl OutRecord {
    /// A record without key and headers.
    #[must_use]
    pub const fn new(to: TopicPartition, value: Bytes) -> Self {
        Self { to, key: Bytes::new(), value, headers: Vec::new() }
    }

    /// The same with a key.
    #[must_use]
    pub fn keyed(mut self, key: impl Into<Bytes>) -> Self {
        self.key = key.into();
        self
    }
}

/// A committed input position. `metadata` is opaque to the log (at most 1 KiB; the worker writes
/// `epoch:batch:hash:transactional id` there).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Next offset to read.
    pub offset: Offset,
    /// Text kept with it.
    pub metadata: String,
}

/// Which records a reader sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Up to the last stable offset, aborted ones left out.
    Committed,
    /// Everything.
    Uncommitted,
}

/// Bounds of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// First offset still held.
    pub low: Offset,
    /// Offset the next record will have ([`Isolation::Uncommitted`]), or the last stable offset
    /// ([`Isolation::Committed`]).
    pub high: Offset,
}

/// Who wants to own slots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Consumer group: the processor's name.
    pub group: String,
    /// Static member id, unique in the group.
    pub name: String,
    /// Transactional id, from a fixed pool; the same for every incarnation of this member.
    pub transactional_id: String,
    /// Number of slots the group shares.
    pub slots: u32,
}

/// Slots a member owns now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Group generation; every commit of this assignment carries it unchanged.
    pub generation: u64,
    /// Slots, ascending.
    pub slots: Vec<u32>,
}

/// Records and positions that become visible together or not at all.
#[derive(Debug, Clone, Default)]
pub struct Transaction {
    /// Generation of the assignment under which it was decided.
    pub generation: u64,
    /// Records in order.
    pub records: Vec<OutRecord>,
    /// Input positions of the member's group.
    pub positions: Vec<(TopicPartition, Position)>,
}

/// How a commit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommitOutcome {
    /// Visible. `sequence` is for [`Log::durable`].
    Committed {
        /// Write-ahead sequence of the commit.
        sequence: u64,
    },
    /// Nothing of it is or will be visible; the same session may go on.
    Aborted(String),
    /// Another owner has taken over; nothing of it is or will be visible. The session is dead.
    Fenced(String),
    /// It may or may not be visible. Drop the session, join again, compare the committed positions.
    Unknown(String),
}

/// What a log cannot do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LogError {
    /// A position outside what the partition holds.
    #[error("{at}: offset {offset} is out of range, it holds {low} to {high}")]
    OutOfRange {
        /// Partition.
        at: TopicPartition,
        /// Offset asked for.
        offset: Offset,
        /// First offset held.
        low: Offset,
        /// End.
        high: Offset,
    },
    /// Topic or partition does not exist.
    #[error("{0} does not exist")]
    UnknownPartition(TopicPartition),
    /// An open transaction holds this partition's end or these positions back.
    #[error("{at}: an open transaction of {holder} is in the way")]
    Unstable {
        /// Partition.
        at: TopicPartition,
        /// Its transactional id; empty where it is not known.
        holder: String,
    },
    /// The session was fenced.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Stored bytes that should be whole are not.
    #[error("corrupt log: {0}")]
    Corrupt(String),
    /// What had been durable is no longer there.
    #[error("a part of the log is lost: {0}")]
    Lost(String),
    /// The archive of what the log has given up does not go with it, is away or damaged; or there is none.
    #[error("archive: {0}")]
    Archive(String),
    /// The log is held by somebody else.
    #[error("{path} is in use by process {pid}")]
    InUse {
        /// Directory.
        path: String,
        /// Owner's process id as it stands in the lock file.
        pid: String,
    },
    /// The log cannot be used with these settings: one that is refused, or a cluster that does not let this client in or
    /// is not the one that it trusts.
    #[error("{0}")]
    Misconfigured(String),
    /// Input or output failed for good (disk full included).
    #[error("{0}")]
    Io(String),
    /// May succeed later.
    #[error("not now: {0}")]
    Retriable(String),
}

/// How much one poll returns at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimit {
    /// Records over all partitions.
    pub records: usize,
    /// Value bytes over all partitions (at least one record comes).
    pub bytes: usize,
    /// How long to wait for the first record; zero = not at all. The simulation never waits.
    pub wait: Duration,
}

/// Consecutive records of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Partition.
    pub from: TopicPartition,
    /// Records, ascending.
    pub records: Vec<Record>,
}

/// What a log can do beyond the common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Features {
    /// Keeps the newest record per key of compacted topics; else changes are written as batches and the
    /// processor's store answers queries.
    pub compaction: bool,
}

/// A log.
pub trait Log: Send + Sync {
    /// Number of partitions of a topic.
    ///
    /// # Errors
    /// [`LogError::UnknownPartition`] when there is no such topic.
    fn partitions(&self, topic: Topic) -> Result<u32, LogError>;

    /// Bounds of a partition under an isolation.
    ///
    /// # Errors
    /// Unknown partition, or the log is away.
    fn watermarks(&self, at: TopicPartition, isolation: Isolation) -> Result<Watermarks, LogError>;

    /// Committed positions of a group, in the order asked; `None` = none is held.
    ///
    /// # Errors
    /// [`LogError::Unstable`] while a transaction that holds such positions is open.
    fn committed(&self, group: &str, at: &[TopicPartition]) -> Result<Vec<Option<Position>>, LogError>;

    /// A reader from the given positions.
    ///
    /// # Errors
    /// Unknown partition, out of range.
    fn reader(
        &self,
        start: &[(TopicPartition, Offset)],
        isolation: Isolation,
    ) -> Result<Box<dyn Reader>, LogError>;

    /// Joins a group: takes the transactional id (aborting its open transaction and fencing its earlier owner).
    ///
    /// # Errors
    /// The log is away.
    fn join(&self, member: &Member) -> Result<Box<dyn Session>, LogError>;

    /// Appends records outside any transaction, as upstream producers do. Atomic per call on the embedded log
    /// and in the simulation, per record on Kafka. Returns the write-ahead sequence for [`Log::durable`].
    ///
    /// # Errors
    /// Unknown partition, disk full, the log is away.
    fn append(&self, records: Vec<OutRecord>) -> Result<u64, LogError>;

    /// Write-ahead sequence up to which everything is durable (embedded: fsynced; Kafka: acknowledged).
    fn durable(&self) -> u64;

    /// Write-ahead sequence of the newest commit, durable or not: all that a reader can have seen.
    fn written(&self) -> u64;

    /// Waits until [`Log::durable`] reaches `sequence`.
    ///
    /// # Errors
    /// [`LogError::Io`] when syncing failed, [`LogError::Retriable`] when `wait` passed.
    fn wait_durable(&self, sequence: u64, wait: Duration) -> Result<(), LogError>;

    /// Aborts the open transaction of an id that belongs to no current member, so that readers get past it, and
    /// fences its owner, should it still live.
    ///
    /// # Errors
    /// The log is away.
    fn fence(&self, transactional_id: &str) -> Result<(), LogError>;

    /// Names of the members that sit in a group now ([`Member::name`]), sorted. Who has been silent for longer than its
    /// session is none of them.
    ///
    /// # Errors
    /// The log is away.
    fn members(&self, group: &str) -> Result<Vec<String>, LogError>;

    /// Transactional ids whose open transactions have records on a partition, as far as the log can tell; empty where
    /// there is none, or none whose id is known.
    ///
    /// # Errors
    /// Unknown partition, or the log is away.
    fn holders(&self, at: TopicPartition) -> Result<Vec<String>, LogError>;

    /// What it can do.
    fn features(&self) -> Features;

    /// Whether this topic keeps its records for ever, as [`schemas::topics::Retention::Forever`] demands.
    /// The text names the setting to change when it does not.
    ///
    /// # Errors
    /// The log is away.
    fn check_retention(&self, topic: Topic) -> Result<Result<(), String>, LogError>;
}

/// Reads consecutive records.
pub trait Reader: Send {
    /// Next records, at most `limit`. Empty = none within `limit.wait`, or the position has passed markers and aborted
    /// records up to the end of a partition.
    ///
    /// # Errors
    /// Out of range (retention has passed the position), corrupt, away.
    fn poll(&mut self, limit: FetchLimit) -> Result<Vec<Fetch>, LogError>;

    /// The reader's own position: next offset to read. It steps over commit markers and aborted records, so it
    /// may pass `last record's offset + 1`.
    fn position(&self, at: TopicPartition) -> Option<Offset>;

    /// Moves the position of one partition of this reader.
    ///
    /// # Errors
    /// Unknown partition, out of range.
    fn seek(&mut self, at: TopicPartition, offset: Offset) -> Result<(), LogError>;

    /// Holds one partition of this reader back: polls give nothing of it until it is released, and its position
    /// stays. The others go on. Used where one input's buffer is full and another must not wait behind it. (On
    /// Kafka this is a queue of our own: the client's pause throws away what it has prefetched.)
    ///
    /// # Errors
    /// Unknown partition.
    fn hold(&mut self, at: TopicPartition, held: bool) -> Result<(), LogError>;
}

/// A member's hold on its slots. It lasts over assignments: when others come or go, the same session hands out the
/// next assignment. A member that joins again takes its own place, and no other member's slots change.
///
/// Dropping a session gives its slots up: at once where the log knows that the member is gone, else when its session
/// times out (members of a Kafka group are static). Dropping one whose place is taken gives up nothing.
pub trait Session: Send {
    /// The current assignment. A change of generation means: the old assignment has ended. Asking changes nothing, and
    /// counts as a sign of life. The worker asks before every window and never within one, so this is where a log that
    /// shares slots out by callbacks lets them run, and where it captures what its commits of this generation need.
    ///
    /// # Errors
    /// [`LogError::Fenced`] when another incarnation has taken the member's place; [`LogError::Retriable`] while the
    /// old assignment has ended and the next is not known yet.
    fn assignment(&mut self) -> Result<Assignment, LogError>;

    /// Writes records and positions as one transaction, under the generation that it names. It is aborted when
    /// that is not the current one.
    fn commit(&mut self, transaction: Transaction) -> CommitOutcome;
}
