//! The pipeline on Kafka: topics of its own, each processor a process of its own.
//!
//! Throughput: the other processors are ready before ingest is started; the clock runs from the start of its process until
//! the broker has the record that says that every balance is out. The times are those the broker wrote the records at, so
//! watching costs nothing.

pub use super::fail_over::fail_over;
use super::processes::{Process, Processes};
use super::sending::Sending;
use super::{Measured, Run, Stage, commit};
use crate::cli::args::{BenchCommit, BenchPipeline};
use crate::config::Settings;
use crate::kafka;
use crate::measure::latency::{Due, Monitor, Percentiles, percentiles};
use crate::measure::{process, recount};
use crate::runtime::Role;
use anyhow::{Context, bail};
use schemas::balance_json::CompleteUntil;
use schemas::batch;
use schemas::topics::Topic;
use schemas::wire::{JournalBody, journal_item::Item};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock;
use stream::kafka::{KafkaLog, Options};
use stream::log::{Log, TopicPartition};

/// How long the pipeline may take to get through.
const DONE_US: i64 = 900_000_000;
/// What the names of a measurement's topics hold.
pub(super) const OWN: &str = "bench";
/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Measures on topics that are made for it and deleted after it.
pub(super) fn pipeline(
    options: &BenchPipeline,
    settings: &Settings,
    config: Option<&Path>,
    dir: &Path,
) -> anyhow::Result<Measured> {
    let mut reached = kafka::options(settings)?;
    if let Some(internal) = options.partitions {
        reached.counts.internal = internal;
    }
    kafka::with_own_topics(reached, options.bootstrap.as_deref(), OWN, |reached| {
        let processes = Processes::new(dir, config, reached)?;
        Bench { options, settings, processes, reached }.measure()
    })
}

/// Measures commits alone.
pub(super) fn commit(options: &BenchCommit, settings: &Settings) -> anyhow::Result<commit::Measured> {
    let reached = Options { counts: commit::counts(options), ..kafka::options(settings)? };
    kafka::with_own_topics(reached, options.bootstrap.as_deref(), OWN, |reached| {
        commit::measure(options, &KafkaLog::open(reached.clone())?, "kafka")
    })
}

struct Bench<'a> {
    options: &'a BenchPipeline,
    settings: &'a Settings,
    processes: Processes<'a>,
    reached: &'a Options,
}

impl Bench<'_> {
    fn measure(&self) -> anyhow::Result<Measured> {
        let log = KafkaLog::open(self.reached.clone())?;
        let partitions = self.reached.counts.events;
        let sending = Sending::new(self.options, &log, partitions);
        let Some(rate) = self.options.rate else {
            let events = self.options.events;
            sending.preload(events)?;
            let mut processes = self.processes.ready(&[Role::Posting, Role::Settlement, Role::Reconcile])?;
            let started_us = clock::wall_us();
            processes.extend(self.processes.ready(&[Role::Ingest])?);
            wait_done(&mut processes)?;
            let elapsed_us = balances_out_us(&log)? - started_us;
            return self.finish(&log, processes, elapsed_us, events, None);
        };
        let total =
            rate.checked_mul(self.options.seconds).context("--rate times --seconds: too many events")?;
        let mut processes = self.processes.ready(&Role::ALL)?;
        // The first day is announced by then: what is measured is the steady state.
        std::thread::sleep(Duration::from_secs(2));
        let due = Arc::new(Due::default());
        let monitor = Monitor::start(Arc::new(log.clone()), Arc::clone(&due), || 0)?;
        let started_us = clock::wall_us();
        sending.on_schedule(rate, total, &due)?;
        wait_done(&mut processes)?;
        let latencies = percentiles(monitor.finish()?);
        let elapsed_us = balances_out_us(&log)? - started_us;
        self.finish(&log, processes, elapsed_us, total, Some(latencies))
    }

    fn finish(
        &self,
        log: &KafkaLog,
        processes: Vec<Process>,
        elapsed_us: i64,
        events: u64,
        latencies: Option<Percentiles>,
    ) -> anyhow::Result<Measured> {
        let (mut stages, mut others, mut cpu_ms, mut rss_mib) = (BTreeMap::new(), BTreeMap::new(), 0, 0);
        for mut process in processes {
            let (of, usage) = (process.stages()?, process::of(process.pid()));
            cpu_ms += usage.cpu_ms;
            rss_mib += usage.rss_mib;
            for (thread, cpu_ms) in usage.threads {
                *others.entry(thread).or_insert(0) += cpu_ms;
            }
            stages.extend(of);
            process.stop()?;
        }
        for (name, stage) in &mut stages {
            let stage: &mut Stage = stage;
            stage.cpu_ms = others.remove(name).unwrap_or(0);
        }
        others.retain(|_, cpu_ms| *cpu_ms > 0);
        Measured::of(
            self.options,
            self.settings,
            Run {
                log: "kafka",
                events,
                micros: u64::try_from(elapsed_us).unwrap_or(1).max(1),
                cpu_ms,
                rss_mib,
                stages,
                other_threads_cpu_ms: others,
                bytes_per_event: None,
                latencies,
                counts: self.reached.counts,
                durability: format!(
                    "acknowledged by {} of {} replicas, not synced",
                    self.reached.min_in_sync, self.reached.replication
                ),
                recount: recount::recount(log)?,
            },
        )
    }
}

/// Waits until nobody has anything to read: an event goes through posting as often as it is asked about elsewhere.
fn wait_done(processes: &mut [Process]) -> anyhow::Result<()> {
    const ROUNDS: u32 = 4;
    let until_us = clock::monotonic_us() + DONE_US;
    let mut quiet = 0;
    while quiet < ROUNDS {
        if clock::monotonic_us() > until_us {
            bail!("the pipeline did not get through");
        }
        std::thread::sleep(LOOK);
        let mut all = true;
        for process in processes.iter_mut() {
            all &= process.has_read_everything()?;
        }
        quiet = if all { quiet + 1 } else { 0 };
    }
    Ok(())
}

/// When the broker had the last record of `balances` that says that everything booked is out, microseconds since
/// 1970-01-01T00:00:00Z.
fn balances_out_us(log: &dyn Log) -> anyhow::Result<i64> {
    // Last journal batch of each slot that holds more than time.
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    recount::each(log, Topic::Journal, &mut |fetch| {
        for record in &fetch.records {
            let opened = batch::open(&record.value)?;
            let body: JournalBody = opened.body()?;
            let books = |item: &Item| {
                matches!(
                    item,
                    Item::Decision(_) | Item::Received(_) | Item::Clearing(_) | Item::Resolution(_)
                )
            };
            if body.item.iter().filter_map(|item| item.item.as_ref()).any(books) {
                last.insert(fetch.from.partition, opened.header.batch);
            }
        }
        Ok(())
    })?;
    let mut out_us: BTreeMap<u32, i64> = BTreeMap::new();
    recount::each(log, Topic::Balances, &mut |fetch| {
        for record in fetch.records.iter().filter(|record| record.key.starts_with(b"complete_until|")) {
            let complete: CompleteUntil = serde_json::from_slice(&record.value)?;
            let wanted = last.get(&complete.slot).copied().unwrap_or(u64::MAX);
            if complete.journal_batch >= wanted {
                let at = out_us.entry(complete.slot).or_insert(record.timestamp_us);
                *at = (*at).min(record.timestamp_us);
            }
        }
        Ok(())
    })?;
    if out_us.len() != last.len() {
        let missing = last.keys().find(|slot| !out_us.contains_key(slot)).copied().unwrap_or(0);
        bail!("{} is not published to its end", TopicPartition::new(Topic::Balances, missing));
    }
    out_us.into_values().max().context("nothing was booked")
}
