//! The pipeline on Kafka: topics of its own, each processor a process of its own.
//!
//! Throughput: the other processors are ready before ingest is started; the clock runs from the start of its process until
//! the broker has the record that says that every balance is out. The times are those the broker wrote the records at, so
//! watching costs nothing.

use super::sending::Sending;
use super::{Checks, LatencyMs, Measured, Stage, TRANSFER_RULES, decimal};
use crate::cli::args::BenchPipeline;
use crate::cli::output::Cell;
use crate::config::Settings;
use crate::generate::BENCH_CHART;
use crate::kafka;
use crate::measure::latency::{Due, Monitor, Percentiles, percentiles};
use crate::measure::{process, recount};
use crate::query::{Answer, Ending, Question};
use crate::runtime::Role;
use crate::socket;
use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use schemas::balance_json::CompleteUntil;
use schemas::batch;
use schemas::topics::Topic;
use schemas::wire::{JournalBody, journal_item::Item};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::Duration;
use stream::clock;
use stream::kafka::{KafkaLog, Options, topics};
use stream::log::{Log, TopicPartition};

/// How long the pipeline may take to be ready, and to get through.
const READY_US: i64 = 60_000_000;
const DONE_US: i64 = 900_000_000;
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
    if let Some(bootstrap) = &options.bootstrap {
        reached.bootstrap.clone_from(bootstrap);
    }
    if let Some(internal) = options.partitions {
        reached.counts.internal = internal;
    }
    reached.prefix = format!("{}bench-{}-", reached.prefix, std::process::id());
    std::fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    std::fs::write(dir.join("accounts.yaml"), BENCH_CHART)?;
    std::fs::write(dir.join("rules.yaml"), TRANSFER_RULES)?;
    topics::create(&reached, Topic::ALL).context("topics of the measurement")?;
    let measured = Bench { options, settings, config, dir, reached: &reached }.measure();
    if let Err(error) = topics::delete(&reached, Topic::ALL) {
        tracing::warn!(%error, prefix = reached.prefix, "topics of the measurement are left");
    }
    measured
}

struct Bench<'a> {
    options: &'a BenchPipeline,
    settings: &'a Settings,
    config: Option<&'a Path>,
    dir: &'a Path,
    reached: &'a Options,
}

/// A processor's process; it is killed when its handle goes.
struct Process {
    role: Role,
    child: Child,
    folder: std::path::PathBuf,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Bench<'_> {
    fn measure(&self) -> anyhow::Result<Measured> {
        let log = KafkaLog::open(self.reached.clone())?;
        let partitions = self.reached.counts.events;
        let sending = Sending::new(self.options, &log, partitions);
        let Some(rate) = self.options.rate else {
            let events = self.options.events;
            sending.preload(events)?;
            let mut processes = self.start(&[Role::Posting, Role::Settlement, Role::Reconcile])?;
            let started_us = clock::wall_us();
            processes.extend(self.start(&[Role::Ingest])?);
            wait_done(&mut processes)?;
            let elapsed_us = balances_out_us(&log)? - started_us;
            return self.finish(&log, processes, elapsed_us, events, None);
        };
        let total =
            rate.checked_mul(self.options.seconds).context("--rate times --seconds: too many events")?;
        let mut processes = self.start(&Role::ALL)?;
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

    /// Starts processes and waits until they are ready.
    fn start(&self, roles: &[Role]) -> anyhow::Result<Vec<Process>> {
        let program = std::env::current_exe().context("path of this program")?;
        let start = |role: &Role| {
            let mut command = Command::new(&program);
            if let Some(config) = self.config {
                command.arg("--config").arg(config);
            }
            let counts = self.reached.counts;
            command
                .args(["run", "--unsupervised", role.name()])
                .env("LEDGERFLOW_LOG__KIND", "kafka")
                .env("LEDGERFLOW_LOG__DIR", self.dir)
                .env("LEDGERFLOW_LOG_LEVEL", "warn")
                .env("LEDGERFLOW_KAFKA__BOOTSTRAP", &self.reached.bootstrap)
                .env("LEDGERFLOW_KAFKA__PREFIX", &self.reached.prefix)
                .env("LEDGERFLOW_PARTITIONS__EVENTS", counts.events.to_string())
                .env("LEDGERFLOW_PARTITIONS__INTERNAL", counts.internal.to_string())
                .env("LEDGERFLOW_ACCOUNTS", self.dir.join("accounts.yaml"))
                .env("LEDGERFLOW_RULES", self.dir.join("rules.yaml"));
            let child = command.spawn().with_context(|| format!("starting {}", role.name()))?;
            Ok(Process { role: *role, child, folder: self.dir.join(role.name()) })
        };
        let mut processes = roles.iter().map(start).collect::<anyhow::Result<Vec<_>>>()?;
        let until_us = clock::monotonic_us() + READY_US;
        for process in &mut processes {
            while process.ask(&Question::Health)?.is_none_or(|answer| answer.ending != Ending::Done) {
                if clock::monotonic_us() > until_us {
                    bail!("{} is not ready", process.role.name());
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(processes)
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
            let (of, usage) = (process.stages()?, process::of(process.child.id()));
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
        let slowest = stages.iter().max_by_key(|(_, stage)| stage.cpu_ms).map(|(name, _)| name.clone());
        let micros = u64::try_from(elapsed_us).unwrap_or(1).max(1);
        let (counts, options) = (self.reached.counts, self.options);
        Ok(Measured {
            log: "kafka",
            events,
            seconds: decimal(micros, 1_000_000, 6)?,
            events_per_s: events.saturating_mul(1_000_000) / micros,
            rate: options.rate,
            latency_ms: latencies.map_or_else(|| Ok(LatencyMs::default()), LatencyMs::of)?,
            slowest_stage: slowest,
            stages,
            other_threads_cpu_ms: others,
            window_us: self.settings.workers().each().map(|(name, of)| (name, of.window_us)).collect(),
            cpu_s: decimal(cpu_ms, 1_000, 2)?,
            cpu_us_per_event: decimal(cpu_ms.saturating_mul(1_000), events.max(1), 2)?,
            rss_mib,
            bytes_per_event: None,
            accounts: options.accounts,
            hot_percent: options.hot,
            duplicates_percent: options.duplicates,
            partitions: [counts.events, counts.internal],
            durability: format!(
                "acknowledged by {} of {} replicas, not synced",
                self.reached.min_in_sync, self.reached.replication
            ),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            checks: Checks::of(&recount::recount(log)?, events),
        })
    }
}

impl Process {
    /// `None` = it does not answer yet.
    fn ask(&mut self, question: &Question) -> anyhow::Result<Option<Answer>> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended: {status}", self.role.name());
        }
        socket::ask(&self.folder, question)
    }

    /// Whether it has worked off what lies before it.
    fn has_read_everything(&mut self) -> anyhow::Result<bool> {
        let answer = self.ask(&Question::Work)?;
        let rows = answer.into_iter().flat_map(|answer| answer.tables).flat_map(|table| table.rows);
        let behind: i64 = rows.filter_map(|row| row.last().map(number)).sum();
        Ok(behind == 0)
    }

    /// What its stages have done, CPU time aside.
    fn stages(&mut self) -> anyhow::Result<BTreeMap<String, Stage>> {
        let answer = self.ask(&Question::Work)?.context("a process does not answer")?;
        let rows = answer.tables.into_iter().flat_map(|table| table.rows);
        let stage = |row: Vec<Cell>| {
            let mut cells = row.iter();
            let name = cells.next().map(Cell::to_string).unwrap_or_default();
            let mut next = || cells.next().map(number).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            let (windows, windows_aborted, items) = (next(), next(), next());
            let (records_read, records_written) = (next(), next());
            (name, Stage { cpu_ms: 0, windows, windows_aborted, items, records_read, records_written })
        };
        Ok(rows.map(stage).collect())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("process id")?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended: {status}", self.role.name());
        }
        Ok(())
    }
}

const fn number(cell: &Cell) -> i64 {
    if let Cell::Number(number) = cell { *number } else { 0 }
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
