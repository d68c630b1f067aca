//! The cluster as an operator would look at it: brokers and their settings, partitions, what this client may do.
//!
//! Nothing is judged here, and what cannot be asked of one broker or topic does not hide the others.

use super::acls::{Acl, Operation, Resource};
use super::topics::{self, Admin, Differing};
use super::{KafkaLog, Options, errors, ffi, watchdog};
use crate::log::{FetchLimit, Isolation, Log, LogError, TopicPartition};
use rdkafka::admin::ResourceSpecifier;
use rdkafka::metadata::MetadataTopic;
use schemas::topics::Topic;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A broker that the cluster names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its number.
    pub id: i32,
    /// `host:port`, as it is told to clients.
    pub address: String,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// The broker that leads it; `None` = nobody does.
    pub leader: Option<i32>,
    /// Brokers that keep a copy.
    pub copies: Vec<i32>,
    /// Those of them that are in step.
    pub in_step: Vec<i32>,
}

/// What is seen of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Its partitions.
    Partitions(Vec<Partition>),
    /// There is none of that name.
    Missing,
    /// This client may not see it, or its state could not be asked: why.
    Hidden(String),
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Brokers that are there.
    pub brokers: Vec<Broker>,
    /// Every topic of the pipeline.
    pub topics: Vec<(Topic, Seen)>,
}

/// A broker's settings by name, or why they are not told.
pub type BrokerSettings = Result<BTreeMap<String, String>, String>;

/// Reaches the cluster and looks at it. Topics that are missing are no error here.
///
/// # Errors
/// The cluster does not answer, or does not let this client in.
pub fn look(options: &Options) -> Result<Cluster, LogError> {
    let client = topics::looker(options)?;
    let patience = options.deadline / 3;
    let found = {
        let _watched = watchdog::watch("metadata", options.deadline);
        topics::metadata(&client, patience)?
    };
    let broker = |of: &rdkafka::metadata::MetadataBroker| {
        let address = format!("{}:{}", of.host(), of.port());
        Broker { id: of.id(), address }
    };
    let brokers = found.brokers().iter().map(broker).collect();
    let mut topics = Vec::with_capacity(Topic::ALL.len());
    for topic in Topic::ALL {
        let name = options.topic(*topic);
        let there = found.topics().iter().find(|found| found.name() == name && found.error().is_none());
        let seen = match there {
            Some(found) => Seen::Partitions(partitions(found)),
            None => {
                let _watched = watchdog::watch("metadata", options.deadline);
                match topics::missing(&client, &name, patience) {
                    Ok(_) => Seen::Missing,
                    Err(why) => Seen::Hidden(why.to_string()),
                }
            }
        };
        topics.push((*topic, seen));
    }
    Ok(Cluster { brokers, topics })
}

fn partitions(of: &MetadataTopic) -> Vec<Partition> {
    let partition = |of: &rdkafka::metadata::MetadataPartition| Partition {
        id: of.id(),
        leader: Some(of.leader()).filter(|leader| *leader >= 0),
        copies: of.replicas().to_vec(),
        in_step: of.isr().to_vec(),
    };
    of.partitions().iter().map(partition).collect()
}

/// Settings of brokers in the order asked.
///
/// # Errors
/// A wrong configuration of the client.
pub fn broker_settings(options: &Options, ids: &[i32]) -> Result<Vec<BrokerSettings>, LogError> {
    let admin = Admin::new(options)?;
    // One at a time: a request about a broker goes to that broker.
    let settings = |id: &i32| {
        let _watched = watchdog::watch("describe_configs", options.deadline);
        let of = [ResourceSpecifier::Broker(*id)];
        let answers = pollster::block_on(admin.client.describe_configs(&of, &admin.options));
        let answers = answers.map_err(|error| errors::asked("settings of a broker", &error).to_string())?;
        let answer = answers.into_iter().next().ok_or("no answer")?;
        let entries = answer.map_err(|code| code.to_string())?.entries;
        // A broker has settings; the crate does not hand on why it tells none.
        if entries.is_empty() {
            return Err("it tells none; needed: DescribeConfigs on cluster".to_owned());
        }
        Ok(entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
    };
    Ok(ids.iter().map(settings).collect())
}

/// What of the settings of topics that are there is not as it must be; see [`topics::differing`].
///
/// # Errors
/// The cluster does not answer, or refuses.
pub fn differing(options: &Options, topics: &[Topic]) -> Result<Vec<Differing>, LogError> {
    let all = topics::differing_on(options, topics)?;
    Ok(all.into_iter().flat_map(|(_, differing)| differing).collect())
}

/// What of these ACLs this client lacks. Only topics are asked for: a cluster tells nothing of a group or of a transactional
/// id before there is one.
///
/// # Errors
/// The cluster does not answer.
pub fn lacking(options: &Options, needed: &[Acl]) -> Result<Vec<Acl>, LogError> {
    let of_topics: Vec<&Acl> = needed.iter().filter(|acl| acl.resource == Resource::Topic).collect();
    let names: BTreeSet<&str> = of_topics.iter().map(|acl| acl.name.as_str()).collect();
    let admin = Admin::new(options)?;
    let _watched = watchdog::watch("describe_topics", options.deadline);
    let client = admin.client.inner().native_ptr();
    let granted = ffi::granted(client, &names.into_iter().collect::<Vec<_>>(), options.deadline / 3)
        .map_err(|why| LogError::Retriable(format!("rights on topics: {why}")))?;
    let has = |acl: &Acl| granted.get(&acl.name).is_some_and(|operations| may(operations, acl.operation));
    Ok(of_topics.into_iter().filter(|acl| !has(acl)).cloned().collect())
}

fn may(granted: &BTreeSet<Operation>, operation: Operation) -> bool {
    let stronger = operation == Operation::Describe
        && [Operation::Read, Operation::Write].iter().any(|of| granted.contains(of));
    stronger || granted.contains(&operation)
}

/// Offsets below the end of a partition in which its newest record is looked for: the markers of transactions lie behind it.
const MARKERS: i64 = 8;

/// When the newest record of a topic was written, by its broker's clock, microseconds since 1970-01-01T00:00:00Z; `None` =
/// there is none.
///
/// # Errors
/// The cluster does not answer, or topics are missing.
pub fn newest_us(options: &Options, topic: Topic) -> Result<Option<i64>, LogError> {
    let log = KafkaLog::open_observing(options.clone())?;
    let mut newest = None;
    for partition in 0..log.partitions(topic)? {
        let at = TopicPartition::new(topic, partition);
        let bounds = log.watermarks(at, Isolation::Committed)?;
        let from = bounds.high.saturating_sub(MARKERS).max(bounds.low);
        if from < bounds.high {
            let mut reader = log.reader(&[(at, from)], Isolation::Committed)?;
            let limit = FetchLimit { records: 8, bytes: 8 << 20, wait: Duration::from_millis(500) };
            for record in reader.poll(limit)?.iter().flat_map(|fetch| &fetch.records) {
                newest = newest.max(Some(record.timestamp_us));
            }
        }
    }
    Ok(newest)
}
