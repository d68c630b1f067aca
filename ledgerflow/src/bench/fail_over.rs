//! `ledgerflow bench fail-over`: how long partitions of posting stand still when their process is killed.
//!
//! Two processes of posting share the partitions, and ingest's ticks give every one of them something to commit ten times a
//! second. One is killed by SIGKILL; each of its partitions is back with the first committed batch of a new owner. Measured
//! from the kill to the last of them, by a reader of `journal`. Then the other way: the process is killed and started again
//! in its folder at once, as `run` does.

use super::kafka::OWN;
use super::processes::{Process, Processes};
use super::{cores, decimal, is_its_own};
use crate::cli::args::BenchFailOver;
use crate::config::Settings;
use crate::kafka;
use crate::measure::latency::percentiles;
use crate::runtime::Role;
use anyhow::{Context, bail};
use schemas::batch;
use schemas::topics::Topic;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use stream::clock;
use stream::kafka::{KafkaLog, Options};
use stream::log::{FetchLimit, Isolation, Log, Reader, TopicPartition};

/// How long partitions may stand still before the measurement is given up.
const BACK_US: i64 = 60_000_000;
/// Between two kills, so that one does not meet what the last has left.
const REST: Duration = Duration::from_secs(3);
/// Settings of every process.
const MORE: [(&str, &str); 2] = [("LEDGERFLOW_INGEST__TICK_MS", "100"), ("LEDGERFLOW_POSTING__WORKERS", "1")];

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    session_ms: u128,
    transaction_ms: u128,
    partitions: u32,
    /// Until another process has committed on every partition of the one killed, each round.
    taken_over_ms: Vec<Box<RawValue>>,
    taken_over_p50_ms: Box<RawValue>,
    taken_over_max_ms: Box<RawValue>,
    /// Until the same process, started again, has.
    restarted_ms: Vec<Box<RawValue>>,
    restarted_p50_ms: Box<RawValue>,
    restarted_max_ms: Box<RawValue>,
    cores: usize,
}

/// Follows the owners of the journal's partitions.
struct Owners {
    reader: Box<dyn Reader>,
    /// Epoch of the newest batch of each.
    epochs: BTreeMap<u32, u64>,
}

impl Owners {
    fn follow(log: &dyn Log, partitions: u32) -> anyhow::Result<Self> {
        let start = (0..partitions).map(|partition| {
            let at = TopicPartition::new(Topic::Journal, partition);
            Ok((at, log.watermarks(at, Isolation::Committed)?.low))
        });
        let start: Vec<_> = start.collect::<anyhow::Result<_>>()?;
        Ok(Self { reader: log.reader(&start, Isolation::Committed)?, epochs: BTreeMap::new() })
    }

    /// Partitions whose newest batches are of another owner than before.
    fn changed(&mut self) -> anyhow::Result<BTreeSet<u32>> {
        let limit = FetchLimit { records: 4_096, bytes: 8 << 20, wait: Duration::from_millis(5) };
        let mut changed = BTreeSet::new();
        for fetch in self.reader.poll(limit)? {
            let Some(last) = fetch.records.last() else { continue };
            let epoch = batch::open(&last.value)?.header.epoch;
            if self.epochs.insert(fetch.from.partition, epoch).is_some_and(|known| known != epoch) {
                changed.insert(fetch.from.partition);
            }
        }
        Ok(changed)
    }

    /// Reads on for a while and takes note of who owns what.
    fn rest(&mut self) -> anyhow::Result<()> {
        let until_us = clock::monotonic_us() + i64::try_from(REST.as_micros()).unwrap_or(0);
        while clock::monotonic_us() < until_us {
            self.changed()?;
        }
        Ok(())
    }

    /// Waits until so many partitions have another owner. Returns how long after `since_us` that was, microseconds.
    fn wait_for(&mut self, count: usize, since_us: i64) -> anyhow::Result<i64> {
        let mut all = BTreeSet::new();
        while all.len() < count {
            all.extend(self.changed()?);
            if clock::monotonic_us() - since_us > BACK_US {
                bail!("{} of {count} partitions are back after a minute", all.len());
            }
        }
        Ok(clock::monotonic_us() - since_us)
    }
}

/// Runs it.
///
/// # Errors
/// The cluster fails, or partitions do not come back.
pub fn fail_over(
    options: &BenchFailOver,
    settings: &Settings,
    config: Option<&Path>,
    dir: &Path,
) -> anyhow::Result<Measured> {
    is_its_own(dir)?;
    kafka::with_own_topics(kafka::options(settings)?, options.bootstrap.as_deref(), OWN, |reached| {
        let processes = Processes::new(dir, config, reached)?;
        measure(options.rounds, &processes, reached)
    })
}

fn measure(rounds: u32, processes: &Processes<'_>, reached: &Options) -> anyhow::Result<Measured> {
    let partitions = reached.counts.internal;
    // The range assignor gives the first member one more where they do not divide.
    let share = usize::try_from(partitions / 2).context("partitions")?.max(1);
    let log = KafkaLog::open(reached.clone())?;
    let start = |role, place: &str| -> anyhow::Result<Process> {
        let mut process = processes.start(role, place, &MORE)?;
        process.wait_ready()?;
        Ok(process)
    };
    let _ingest = start(Role::Ingest, "ticks")?;
    let mut pair = [Some(start(Role::Posting, "one")?), Some(start(Role::Posting, "two")?)];
    let mut owners = Owners::follow(&log, partitions)?;
    let (mut taken_over, mut restarted) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (victim, place) = if round % 2 == 0 { (0, "one") } else { (1, "two") };
        let process = |pair: &mut [Option<Process>; 2]| pair.get_mut(victim).and_then(Option::take);
        owners.rest()?;
        let killed_us = clock::monotonic_us();
        process(&mut pair).context("a process")?.kill()?;
        taken_over.push(owners.wait_for(share, killed_us)?);
        pair[victim] = Some(start(Role::Posting, place)?);
        owners.rest()?;
        let killed_us = clock::monotonic_us();
        process(&mut pair).context("a process")?.kill()?;
        let mut again = processes.start(Role::Posting, place, &MORE)?;
        restarted.push(owners.wait_for(share, killed_us)?);
        again.wait_ready()?;
        pair[victim] = Some(again);
    }
    let ms = |us: i64| decimal(u64::try_from(us).unwrap_or(0), 1_000, 0);
    let all = |values: &[i64]| values.iter().map(|us| ms(*us)).collect::<anyhow::Result<Vec<_>>>();
    let (over, back) = (percentiles(taken_over.clone()), percentiles(restarted.clone()));
    Ok(Measured {
        session_ms: reached.session_timeout.as_millis(),
        transaction_ms: reached.transaction_timeout.as_millis(),
        partitions,
        taken_over_ms: all(&taken_over)?,
        taken_over_p50_ms: ms(over.p50_us)?,
        taken_over_max_ms: ms(over.max_us)?,
        restarted_ms: all(&restarted)?,
        restarted_p50_ms: ms(back.p50_us)?,
        restarted_max_ms: ms(back.max_us)?,
        cores: cores(),
    })
}
