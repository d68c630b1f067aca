//! `ledgerflow bench commit`: how long one commit takes, on its own.
//!
//! A member commits the same transaction again and again: so many records of so many bytes over the partitions of
//! `journal`, and a position of every slot. On the embedded log the wait for the disk is measured apart.

use super::{cores, decimal, is_its_own};
use crate::cli::args::{BenchCommit, LogChoice};
use crate::config::Settings;
use crate::measure::latency::percentiles;
use anyhow::bail;
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::Path;
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::log::{
    CommitOutcome, Log, LogError, Member, OutRecord, Position, Session, TopicPartition, Transaction,
};

/// How long the group may take to share its slots out.
const JOIN_US: i64 = 30_000_000;

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    commits: u32,
    records: u32,
    bytes: u32,
    partitions: u32,
    commit_ms: Spread,
    /// Until what was committed is on the disk; null on Kafka, where a commit is acknowledged by its replicas.
    durable_ms: Option<Spread>,
    cores: usize,
}

#[derive(Debug, Serialize)]
struct Spread {
    p50: Box<RawValue>,
    p99: Box<RawValue>,
    max: Box<RawValue>,
}

impl Spread {
    fn of(values_us: Vec<i64>) -> anyhow::Result<Self> {
        let found = percentiles(values_us);
        let ms = |us: i64| decimal(u64::try_from(us).unwrap_or(0), 1_000, 3);
        Ok(Self { p50: ms(found.p50_us)?, p99: ms(found.p99_us)?, max: ms(found.max_us)? })
    }
}

/// Runs it; on Kafka with topics of its own, on the embedded log in `dir`, which must be empty.
///
/// # Errors
/// The log fails, or a commit is not taken.
pub fn commit(options: &BenchCommit, settings: &Settings, dir: &Path) -> anyhow::Result<Measured> {
    match options.log {
        LogChoice::Embedded => {
            is_its_own(dir)?;
            let mut embedded = settings.embedded();
            embedded.counts = counts(options);
            measure(options, &EmbeddedLog::open(dir, embedded)?, "embedded")
        }
        LogChoice::Kafka => super::kafka::commit(options, settings),
    }
}

pub(super) const fn counts(options: &BenchCommit) -> PartitionCounts {
    PartitionCounts { events: 1, internal: options.partitions }
}

pub(super) fn measure(options: &BenchCommit, log: &dyn Log, name: &'static str) -> anyhow::Result<Measured> {
    let member = Member {
        group: "bench".to_owned(),
        name: "1".to_owned(),
        transactional_id: "ledgerflow-bench-1".to_owned(),
        slots: options.partitions,
    };
    let mut session = log.join(&member)?;
    let generation = assigned(session.as_mut(), options.partitions)?;
    let value = Bytes::from(vec![b'x'; options.bytes as usize]);
    let place = |number: u32| TopicPartition::new(Topic::Journal, number % options.partitions);
    let records: Vec<OutRecord> =
        (0..options.records).map(|number| OutRecord::new(place(number), value.clone())).collect();
    let (mut commits, mut durable) = (Vec::new(), Vec::new());
    for number in 0..options.commits {
        let position = |slot| {
            let at = TopicPartition::new(Topic::Commands, slot);
            (at, Position { offset: 0, metadata: format!("bench:{number}") })
        };
        let positions = (0..options.partitions).map(position).collect();
        let transaction = Transaction { generation, records: records.clone(), positions };
        let begun_us = clock::monotonic_us();
        match session.commit(transaction) {
            CommitOutcome::Committed { sequence } => {
                commits.push(clock::monotonic_us() - begun_us);
                log.wait_durable(sequence, Duration::from_secs(10))?;
                durable.push(clock::monotonic_us() - begun_us);
            }
            other => bail!("commit {number}: {other:?}"),
        }
    }
    Ok(Measured {
        log: name,
        commits: options.commits,
        records: options.records,
        bytes: options.bytes,
        partitions: options.partitions,
        commit_ms: Spread::of(commits)?,
        durable_ms: if name == "embedded" { Some(Spread::of(durable)?) } else { None },
        cores: cores(),
    })
}

/// Waits until every slot is this member's.
fn assigned(session: &mut dyn Session, slots: u32) -> anyhow::Result<u64> {
    let until_us = clock::monotonic_us() + JOIN_US;
    loop {
        match session.assignment() {
            Ok(assignment) if assignment.slots.len() == slots as usize => return Ok(assignment.generation),
            Ok(_) | Err(LogError::Retriable(_)) if clock::monotonic_us() < until_us => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(assignment) => bail!("{} of {slots} slots are assigned", assignment.slots.len()),
            Err(error) => return Err(error.into()),
        }
    }
}
