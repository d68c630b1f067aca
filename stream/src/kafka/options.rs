//! How the log on Kafka is reached and what its clients are set to.

use rdkafka::ClientConfig;
use schemas::topics::{PartitionCounts, Topic};
use std::collections::BTreeMap;
use std::time::Duration;
use thiserror::Error;

/// Longer than a window takes to be handed over, shorter than any transaction's time-out.
const LINGER_MS: &str = "500";

/// Names of the property that is [`Options::producer`]'s to choose only where nobody else has.
const COMPRESSION: [&str; 2] = ["compression.type", "compression.codec"];

/// Where the cluster is and how long things may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// `host:port,host:port` of brokers to begin with.
    pub bootstrap: String,
    /// Set before the name of every topic, group and transactional id; empty = none. Deployments that share a cluster
    /// differ in it.
    pub prefix: String,
    /// Partitions the topics must have.
    pub counts: PartitionCounts,
    /// A member that is silent for longer loses its slots. The broker's `group.min.session.timeout.ms` must allow it.
    pub session_timeout: Duration,
    /// A transaction that is open for longer is aborted by the broker.
    pub transaction_timeout: Duration,
    /// A worker that takes no step for longer loses its slots: longer than a slot takes to be restored.
    pub step_timeout: Duration,
    /// A client call that has not returned by then ends the process.
    pub deadline: Duration,
    /// Copies of every topic that [`super::topics::create`] makes.
    pub replication: u16,
    /// Copies that must have a record before it counts.
    pub min_in_sync: u16,
    /// For the test of the rule alone: a producer is kept where the network failed during its transaction, as if the rule
    /// did not exist. Exactly-once does not hold then.
    #[doc(hidden)]
    pub keeps_tainted: bool,
    /// Further properties of librdkafka (security, buffers). Those in [`OURS`] are refused.
    pub properties: BTreeMap<String, String>,
}

impl Options {
    /// Time-outs for a cluster set up as in `compose/`.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>, counts: PartitionCounts) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            prefix: String::new(),
            counts,
            session_timeout: Duration::from_secs(2),
            transaction_timeout: Duration::from_secs(5),
            step_timeout: Duration::from_secs(60),
            deadline: Duration::from_secs(30),
            replication: 1,
            min_in_sync: 1,
            keeps_tainted: false,
            properties: BTreeMap::new(),
        }
    }

    /// A topic's name on the cluster.
    #[must_use]
    pub fn topic(&self, topic: Topic) -> String {
        self.name(topic.name())
    }

    /// The name on the cluster of a group, a member or a transactional id.
    #[must_use]
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// # Errors
    /// A property that is the log's own, by name.
    pub fn check(&self) -> Result<(), Refused> {
        let ours = self.properties.keys().find(|name| OURS.contains(&name.as_str()));
        ours.map_or(Ok(()), |name| Err(Refused(name.clone())))
    }

    /// What all clients have in common.
    pub(super) fn client(&self, name: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", name)
            .set("socket.nagle.disable", "true")
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            // The default of 100 makes transactions that follow each other wait that long.
            .set("retry.backoff.ms", "2")
            .set("retry.backoff.max.ms", "100");
        config
    }

    /// A client that reads.
    pub(super) fn consumer(&self, name: &str, isolation: &str) -> ClientConfig {
        let mut config = self.client(name);
        config
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", isolation)
            .set("allow.auto.create.topics", "false")
            .set("check.crcs", "true")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "20")
            .set("fetch.queue.backoff.ms", "5")
            .set("queued.max.messages.kbytes", "16384");
        config
    }

    /// A client that writes.
    pub(super) fn producer(&self, name: &str) -> ClientConfig {
        let mut config = self.client(name);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            // Everything leaves with a flush; see the module `producer`.
            .set("linger.ms", LINGER_MS)
            .set("delivery.report.only.error", "true")
            .set("message.max.bytes", "1000000")
            .set("batch.size", "1000000")
            .set("batch.num.messages", "10000")
            .set("queue.buffering.max.messages", "2000000")
            .set("queue.buffering.max.kbytes", "1048576");
        if !COMPRESSION.iter().any(|name| self.properties.contains_key(*name)) {
            // Balances are JSON: they take a seventh of the bytes, and a broker spends most of its time on bytes.
            config.set("compression.type", "lz4");
        }
        config
    }
}

/// A property of librdkafka that is not for the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}: set by the log itself, exactly-once rests on it")]
pub struct Refused(pub String);

/// Properties that the log sets itself.
pub const OURS: [&str; 30] = [
    "acks",
    "allow.auto.create.topics",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "auto.offset.reset",
    "bootstrap.servers",
    "check.crcs",
    "client.id",
    "delivery.report.only.error",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "group.instance.id",
    "group.protocol",
    "isolation.level",
    "max.in.flight",
    "max.in.flight.requests.per.connection",
    "max.poll.interval.ms",
    "message.max.bytes",
    "message.timeout.ms",
    "metadata.broker.list",
    "partition.assignment.strategy",
    "request.required.acks",
    "session.timeout.ms",
    "transaction.timeout.ms",
    "transactional.id",
];
