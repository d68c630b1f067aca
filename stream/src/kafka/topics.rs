//! Topics on the cluster: made by an operator's command, checked at every start, never made by processors.

use super::acls::Operation;
use super::{KafkaLog, Noted, Options, Quiet, errors, noted_by, watchdog};
use crate::clock;
use crate::log::{LogError, Offset, TopicPartition};
use crate::mutex::lock;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::topic_partition_list::Offset as KafkaOffset;
use schemas::topics::{Retention, Topic};
use std::time::Duration;
use thiserror::Error;

/// Largest record that the pipeline writes, and what the broker adds around it.
pub const RECORD_BYTES_MAX: u32 = 1_048_576;

/// The settings that a topic is made with and must keep, by name.
#[must_use]
pub fn settings(topic: Topic, options: &Options) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("min.insync.replicas", options.min_in_sync.to_string()),
        ("max.message.bytes", RECORD_BYTES_MAX.to_string()),
        ("message.timestamp.type", "LogAppendTime".to_owned()),
        ("unclean.leader.election.enable", "false".to_owned()),
    ];
    match topic.retention() {
        Retention::Forever => {
            all.extend(
                [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")].map(text),
            );
        }
        Retention::BelowReaders => {
            all.extend([("cleanup.policy", "delete"), ("retention.ms", BELOW_READERS_MS)].map(text));
        }
        Retention::Compacted => all.extend([("cleanup.policy", "compact")].map(text)),
    }
    all
}

fn text((name, value): (&'static str, &'static str)) -> (&'static str, String) {
    (name, value.to_owned())
}

/// Seven days: longer than any reader may be away.
const BELOW_READERS_MS: &str = "604800000";

/// How long a topic's settings count as known. An administrator's client is a connection of its own: with one for every
/// slot, a member that takes slots over would stand still for a third of a second for each.
const SETTINGS_HOLD_US: i64 = 60_000_000;

pub(super) struct Admin {
    pub(super) client: AdminClient<Quiet>,
    pub(super) options: AdminOptions,
    deadline: Duration,
}

impl Admin {
    pub(super) fn new(options: &Options) -> Result<Self, LogError> {
        let config = options.client(&options.name("ledgerflow"));
        let client = AdminClient::from_config_and_context(&config, Quiet::default());
        let client = client.map_err(|error| LogError::Io(error.to_string()))?;
        let patience = options.deadline / 3;
        let admin = AdminOptions::new().request_timeout(Some(patience)).operation_timeout(Some(patience));
        Ok(Self { client, options: admin, deadline: options.deadline })
    }

    /// Settings of topics, in the order asked.
    fn configs(&self, names: &[String]) -> Result<Vec<Vec<ConfigEntry>>, LogError> {
        let _watched = watchdog::watch("describe_configs", self.deadline);
        let of: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        let asked = self.client.describe_configs(&of, &self.options);
        let answers =
            pollster::block_on(asked).map_err(|error| errors::asked("settings of topics", &error))?;
        let mut answers = answers.into_iter();
        let settings = |name: &String| match answers.next() {
            // A topic has settings; the crate does not hand on why a cluster tells none.
            Some(Ok(found)) if found.entries.is_empty() => {
                let (code, operation) =
                    (RDKafkaErrorCode::TopicAuthorizationFailed, Operation::DescribeConfigs);
                let lacking = errors::lacking(code, operation, name);
                Err(LogError::Io(format!("settings of {name}: the cluster tells none{lacking}")))
            }
            Some(Ok(found)) => Ok(found.entries),
            Some(Err(code)) => Err(LogError::Io(format!("settings of {name}: {code}"))),
            None => Err(LogError::Retriable(format!("settings of {name}: no answer"))),
        };
        names.iter().map(settings).collect()
    }
}

/// What became of a topic that was to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// It was made.
    New,
    /// It was there.
    There,
}

/// Makes the topics that are missing, and waits until all are known; those that are there stay as they are.
///
/// # Errors
/// Names the topic that the cluster refuses, and why; `Retriable` where it does not answer or has too few brokers yet.
pub fn create(options: &Options, topics: &[Topic]) -> Result<Vec<(Topic, Made)>, LogError> {
    let looker = looker(options)?;
    {
        // An administrator's client does not say why it gets no answer.
        let _watched = watchdog::watch("metadata", options.deadline);
        metadata(&looker, options.deadline / 3)?;
    }
    let admin = Admin::new(options)?;
    let named: Vec<_> =
        topics.iter().map(|topic| (*topic, options.topic(*topic), settings(*topic, options))).collect();
    let wanted: Vec<NewTopic<'_>> = named
        .iter()
        .map(|(topic, name, settings)| {
            let partitions = i32::try_from(topic.partition_count(options.counts)).unwrap_or(1);
            let copies = TopicReplication::Fixed(i32::from(options.replication));
            let new = NewTopic::new(name, partitions, copies);
            settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let _watched = watchdog::watch("create_topics", admin.deadline);
    let answers = pollster::block_on(admin.client.create_topics(&wanted, &admin.options));
    let answers = answers.map_err(|error| errors::asked("making topics", &error))?;
    let outcome = |(topic, answer): (&Topic, Result<String, (String, RDKafkaErrorCode)>)| match answer {
        Ok(_) => Ok((*topic, Made::New)),
        Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => Ok((*topic, Made::There)),
        // A cluster that is starting may not have all its brokers yet.
        Err((name, code @ RDKafkaErrorCode::InvalidReplicationFactor)) => {
            Err(LogError::Retriable(format!("making topic {name} in {} copies: {code}", options.replication)))
        }
        Err((name, code)) => {
            let lacking = errors::lacking(code, Operation::Create, &name);
            Err(LogError::Io(format!("making topic {name}: {code}{lacking}")))
        }
    };
    let made: Vec<_> = topics.iter().zip(answers).map(outcome).collect::<Result<_, _>>()?;
    wait_known(&looker, options, topics)?;
    Ok(made)
}

pub(super) fn looker(options: &Options) -> Result<BaseConsumer<Quiet>, LogError> {
    options.check().map_err(|error| LogError::Misconfigured(error.to_string()))?;
    let config = options.client(&options.name("ledgerflow"));
    let client = BaseConsumer::from_config_and_context(&config, Quiet::default());
    client.map_err(|error| LogError::Misconfigured(error.to_string()))
}

/// What a cluster that lets this client in needs at most to say so: after each of these the client is asked what its
/// connections have failed of. A broker that is starting may let nobody in at first.
const FIRST: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// The cluster's topics.
pub(super) fn metadata(client: &BaseConsumer<Quiet>, patience: Duration) -> Result<Metadata, LogError> {
    let mut left = patience;
    for first in FIRST.into_iter().map(Some).chain([None]) {
        let wait = first.unwrap_or(left).min(left);
        left -= wait;
        let error = match client.fetch_metadata(None, wait) {
            Ok(found) => {
                client.context().forget();
                return Ok(found);
            }
            Err(error) => error,
        };
        let noted = noted_by(client);
        if first == Some(FIRST[0]) && !left.is_zero() {
            continue;
        }
        match (noted, errors::asked("the cluster's topics", &error)) {
            (Some(Noted { code, why }), _) if errors::is_barring(code) => {
                return Err(LogError::Misconfigured(format!("the cluster cannot be used: {why}")));
            }
            (_, LogError::Retriable(_)) if !left.is_zero() => {}
            (Some(Noted { why, .. }), LogError::Retriable(text)) => {
                return Err(LogError::Retriable(format!("{text}: {why}")));
            }
            (_, error) => return Err(error),
        }
    }
    Err(LogError::Retriable("the cluster's topics: not asked".to_owned()))
}

/// Brokers hear of new topics a moment after the controller has made them.
fn wait_known(client: &BaseConsumer<Quiet>, options: &Options, topics: &[Topic]) -> Result<(), LogError> {
    let until_us = clock::monotonic_us() + i64::try_from(options.deadline.as_micros()).unwrap_or(i64::MAX);
    loop {
        let wrong = wrong_in(client, options, topics, options.deadline / 3)?;
        match wrong.first() {
            None => return Ok(()),
            Some(_) if clock::monotonic_us() < until_us => std::thread::sleep(Duration::from_millis(20)),
            Some(wrong) => return Err(LogError::Retriable(wrong.clone())),
        }
    }
}

/// Deletes topics with all their records. For measurements and tests, which make their own.
///
/// # Errors
/// Names the topic that the cluster refuses to delete, and why.
pub fn delete(options: &Options, topics: &[Topic]) -> Result<(), LogError> {
    let admin = Admin::new(options)?;
    let names: Vec<String> = topics.iter().map(|topic| options.topic(*topic)).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let _watched = watchdog::watch("delete_topics", admin.deadline);
    let answers = pollster::block_on(admin.client.delete_topics(&names, &admin.options));
    let answers = answers.map_err(|error| errors::asked("deleting topics", &error))?;
    let gone = |answer: Result<String, (String, RDKafkaErrorCode)>| match answer {
        Ok(_) | Err((_, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)) => {
            Ok(())
        }
        Err((name, code)) => Err(LogError::Io(format!("deleting topic {name}: {code}"))),
    };
    answers.into_iter().try_for_each(gone)
}

/// Gives the records of a partition up that lie below `low`.
///
/// # Errors
/// The cluster refuses, or does not answer.
pub fn give_up(options: &Options, at: TopicPartition, low: Offset) -> Result<(), LogError> {
    let admin = Admin::new(options)?;
    let partition = i32::try_from(at.partition).map_err(|_| LogError::UnknownPartition(at))?;
    let what = format!("giving up {at} below {low}");
    let mut list = TopicPartitionList::with_capacity(1);
    list.add_partition_offset(&options.topic(at.topic), partition, KafkaOffset::Offset(low))
        .map_err(|error| errors::asked(&what, &error))?;
    let _watched = watchdog::watch("delete_records", admin.deadline);
    let answer = pollster::block_on(admin.client.delete_records(&list, &admin.options));
    let answer = answer.map_err(|error| errors::asked(&what, &error))?;
    answer.elements().iter().try_for_each(|of| of.error()).map_err(|error| errors::asked(&what, &error))
}

/// Whether every topic is there with as many partitions as it must have.
pub(super) fn check(log: &KafkaLog) -> Result<(), LogError> {
    let wrong = wrong_in(&log.shared.committed, log.options(), Topic::ALL, log.patience())?;
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(LogError::Io(format!(
            "{}; `ledgerflow topics create` makes what is missing",
            wrong.join("; ")
        ))),
    }
}

/// What is wrong with the partitions of topics, each in a text.
fn wrong_in(
    client: &BaseConsumer<Quiet>,
    options: &Options,
    topics: &[Topic],
    patience: Duration,
) -> Result<Vec<String>, LogError> {
    let _watched = watchdog::watch("metadata", options.deadline);
    let found = metadata(client, patience)?;
    let mut wrong = Vec::new();
    for topic in topics {
        let (name, wanted) = (options.topic(*topic), topic.partition_count(options.counts));
        let there = found.topics().iter().find(|found| found.name() == name && found.error().is_none());
        match there.map(|found| u32::try_from(found.partitions().len()).unwrap_or(0)) {
            None => wrong.push(missing(client, &name, patience)?),
            Some(partitions) if partitions != wanted => {
                wrong.push(format!("topic {name} has {partitions} partitions, expected {wanted}"));
            }
            Some(_) => {}
        }
    }
    Ok(wrong)
}

/// A list of topics leaves those out that a client has no leave to see: only a question for one by name tells.
pub(super) fn missing(
    client: &BaseConsumer<Quiet>,
    name: &str,
    patience: Duration,
) -> Result<String, LogError> {
    let found = client.fetch_metadata(Some(name), patience);
    let found = found.map_err(|error| errors::asked(&format!("topic {name}"), &error))?;
    let error = found.topics().iter().find(|of| of.name() == name).and_then(|of| of.error());
    let code = error.map_or(RDKafkaErrorCode::UnknownTopic, RDKafkaErrorCode::from);
    match errors::lacking(code, Operation::Describe, name) {
        lacking if lacking.is_empty() => Ok(format!("topic {name} is missing")),
        lacking => {
            Err(LogError::Io(format!("topic {name} cannot be seen{lacking} (Read and Write include it)")))
        }
    }
}

/// A setting of a topic that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("topic {topic} has {setting}={found}, expected {wanted}")]
pub struct Differing {
    /// Name on the cluster.
    pub topic: String,
    /// Setting.
    pub setting: &'static str,
    /// What it is.
    pub found: String,
    /// What it must be, or be at least.
    pub wanted: String,
}

impl Differing {
    /// Whether records are lost by it that must stay.
    fn takes_away(&self) -> bool {
        matches!(self.setting, "cleanup.policy" | "retention.ms" | "retention.bytes")
    }
}

/// What of topics' settings is not as it must be.
///
/// # Errors
/// The cluster does not answer, or refuses.
pub fn differing(log: &KafkaLog, topics: &[Topic]) -> Result<Vec<Differing>, LogError> {
    let asked_us = clock::monotonic_us();
    let (mut all, found) = (Vec::new(), differing_on(log.options(), topics)?);
    let mut kept = lock(&log.shared.kept);
    for (topic, of_topic) in found {
        match of_topic.iter().any(Differing::takes_away) {
            true => kept.remove(&topic),
            false => kept.insert(topic, asked_us),
        };
        all.extend(of_topic);
    }
    Ok(all)
}

/// The same topic by topic, of topics that are there.
pub(super) fn differing_on(
    options: &Options,
    topics: &[Topic],
) -> Result<Vec<(Topic, Vec<Differing>)>, LogError> {
    let names: Vec<String> = topics.iter().map(|topic| options.topic(*topic)).collect();
    let found = Admin::new(options)?.configs(&names)?;
    let of_topic = |((topic, name), found): ((&Topic, String), Vec<ConfigEntry>)| {
        let differing = |(setting, wanted): (&'static str, String)| {
            let entry = found.iter().find(|entry| entry.name == setting);
            let found = entry.and_then(|entry| entry.value.clone()).unwrap_or_default();
            let suffices = suffices(setting, &found, &wanted);
            (!suffices).then(|| Differing { topic: name.clone(), setting, found, wanted })
        };
        (*topic, settings(*topic, options).into_iter().filter_map(differing).collect())
    };
    Ok(topics.iter().zip(names).zip(found).map(of_topic).collect())
}

/// Whether a setting does what the wanted one does.
fn suffices(name: &str, found: &str, wanted: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    match name {
        "max.message.bytes" | "min.insync.replicas" => number(found) >= number(wanted),
        "retention.ms" if wanted != "-1" => found == "-1" || number(found) >= number(wanted),
        // When a record was written is for audit only.
        "message.timestamp.type" => true,
        _ => found == wanted,
    }
}

/// See [`crate::log::Log::check_retention`].
pub(super) fn check_retention(log: &KafkaLog, topic: Topic) -> Result<Result<(), String>, LogError> {
    let asked_us = lock(&log.shared.kept).get(&topic).copied();
    let lately = asked_us.is_some_and(|asked_us| clock::monotonic_us() - asked_us < SETTINGS_HOLD_US);
    if lately || topic.retention() != Retention::Forever {
        return Ok(Ok(()));
    }
    let finite = differing(log, &[topic])?.into_iter().find(Differing::takes_away);
    Ok(finite.map_or(Ok(()), |Differing { topic, setting, found, wanted }| {
        Err(format!(
            "topic {topic} has {setting}={found}, its records must stay for ever: set {setting}={wanted}"
        ))
    }))
}
