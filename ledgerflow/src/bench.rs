//! `ledgerflow bench pipeline`: the whole pipeline on one log, measured; one line of JSON.
//!
//! Without `--rate`: events are preloaded and durable, then the pipeline is started and works them off; throughput
//! is events over the time from start to the last balance, and latency is not a meaningful figure (null). With
//! `--rate`: events are sent on a schedule and latency is from the scheduled send time to the durable, readable
//! balance. Checkpoints, dedupe, hash chain and Merkle roots are on in both.

use crate::cli::args::BenchPipeline;
use crate::generate::{BENCH_CHART, Transfers};
use crate::measure::latency::{Due, Monitor, Percentiles, percentiles};
use crate::measure::{process, recount};
use crate::runtime::{Pipeline, Setup, Windows};
use anyhow::{Context, bail};
use bytes::Bytes;
use schemas::topics::{PartitionCounts, Topic};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Log, Offset, OutRecord, TopicPartition};
use stream::worker::{Checkpoints, DiskCheckpoints};

/// Partitions of each event lane of a measurement.
const EVENT_PARTITIONS: u32 = 4;
/// Events of one preload append.
const PRELOAD_EVENTS: u64 = 1_000;
/// The lane that measurements use.
const LANE: u32 = 1;

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    events: u64,
    seconds: String,
    events_per_s: u64,
    rate: Option<u64>,
    latency_ms: Option<LatencyMs>,
    stages: BTreeMap<String, StageMs>,
    cpu_s: String,
    cpu_us_per_event: String,
    rss_mib: u64,
    bytes_per_event: u64,
    accounts: u64,
    hot_percent: u8,
    duplicates_percent: u8,
    partitions: [u32; 2],
    durability: String,
    cores: usize,
    checks: Checks,
}

#[derive(Debug, Serialize)]
struct LatencyMs {
    p50: String,
    p99: String,
    max: String,
    measured: usize,
}

#[derive(Debug, Serialize)]
struct StageMs {
    cpu_ms: u64,
}

#[derive(Debug, Serialize)]
struct Checks {
    sum_zero: bool,
    accounted_for: bool,
    booked: u64,
    duplicate: u64,
    refused: u64,
    dead_lettered: u64,
}

/// Runs the measurement in `dir` (made new) and returns its one line.
///
/// # Errors
/// The directory holds something, the log fails, or the pipeline does not get through.
pub fn pipeline(options: &BenchPipeline, dir: &Path) -> anyhow::Result<Measured> {
    if dir.exists() && std::fs::read_dir(dir)?.next().is_some() {
        bail!("{} is not empty: a measurement makes its own directory", dir.display());
    }
    let log = Arc::new(EmbeddedLog::open(dir, Options::new(counts(options)))?);
    match options.rate {
        None => throughput(options, dir, &log),
        Some(rate) => latency(options, dir, &log, rate),
    }
}

const fn counts(options: &BenchPipeline) -> PartitionCounts {
    PartitionCounts { events: EVENT_PARTITIONS, internal: options.partitions }
}

fn setup(counts: PartitionCounts) -> Setup {
    let mut setup = Setup::new(counts);
    setup.chart = (BENCH_CHART.to_owned(), "chart of measurements".to_owned());
    setup.rules = (TRANSFER_RULES.to_owned(), "rules of measurements".to_owned());
    setup
}

const TRANSFER_RULES: &str = r#"
version: 1
rules:
  - type: transfer
    legs:
      - { debit: "{data.from}", asset: "{data.asset}", amount: data.amount }
      - { credit: "{data.to}", asset: "{data.asset}", amount: data.amount }
"#;

fn start(dir: &Path, log: &Arc<EmbeddedLog>) -> anyhow::Result<Pipeline> {
    let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let store = dir.join("store");
    let for_stores = Arc::clone(&shared);
    let open = move |name: &'static str| -> anyhow::Result<Box<dyn Checkpoints>> {
        Ok(Box::new(DiskCheckpoints::open(&store, name, Arc::clone(&for_stores))?))
    };
    Pipeline::start(
        shared,
        setup(log.counts()).processors()?,
        &Windows::default(),
        &BusinessClock::Wall,
        &open,
    )
}

fn throughput(options: &BenchPipeline, dir: &Path, log: &Arc<EmbeddedLog>) -> anyhow::Result<Measured> {
    let time = schemas::dates::format_instant(clock::wall_us());
    let mut transfers = Transfers::new(1, options.accounts, options.hot, options.duplicates);
    let mut offsets = BTreeMap::new();
    let mut sent = 0;
    while sent < options.events {
        let events = PRELOAD_EVENTS.min(options.events - sent);
        send(log, &mut transfers, events, &time, &mut offsets)?;
        sent += events;
    }
    log.wait_durable(log.last_sequence(), Duration::from_secs(60))?;
    let preloaded = Point::now(log);
    let pipeline = start(dir, log)?;
    if !pipeline.drain(Duration::from_secs(600))? {
        bail!("the pipeline did not get through: {:?} {:?}", pipeline.failures(), pipeline.stopped_slots());
    }
    log.wait_durable(log.last_sequence(), Duration::from_secs(60))?;
    finish(options, log, pipeline, &preloaded, None)
}

fn latency(
    options: &BenchPipeline,
    dir: &Path,
    log: &Arc<EmbeddedLog>,
    rate: u64,
) -> anyhow::Result<Measured> {
    let pipeline = start(dir, log)?;
    let started = clock::monotonic_us();
    while !pipeline.ready() {
        if clock::monotonic_us() - started > 30_000_000 {
            bail!("the pipeline is not ready: {:?}", pipeline.failures());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // The first day is announced by then: what is measured is the steady state.
    std::thread::sleep(Duration::from_secs(1));
    let due = Arc::new(Due::default());
    let newest = Arc::clone(log);
    let shared: Arc<dyn Log> = Arc::clone(log) as Arc<dyn Log>;
    let monitor = Monitor::start(shared, Arc::clone(&due), move || newest.last_sequence())?;
    let from = Point::now(log);
    let mut transfers = Transfers::new(1, options.accounts, options.hot, options.duplicates);
    let mut offsets = BTreeMap::new();
    let begin = clock::wall_us();
    // One send a millisecond, of as many events as are due by then.
    let total = rate * options.seconds;
    let mut sent = 0;
    while sent < total {
        let elapsed_us = u64::try_from(clock::wall_us() - begin).unwrap_or(0);
        let should = (rate * elapsed_us / 1_000_000).min(total);
        if should > sent {
            let due_us = begin + i64::try_from(sent * 1_000_000 / rate).unwrap_or(0);
            for (partition, first) in next_offsets(&offsets) {
                due.note(LANE, partition, first, due_us);
            }
            let time = schemas::dates::format_instant(due_us);
            send(log, &mut transfers, should - sent, &time, &mut offsets)?;
            sent = should;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    if !pipeline.drain(Duration::from_secs(60))? {
        bail!("the pipeline did not get through: {:?} {:?}", pipeline.failures(), pipeline.stopped_slots());
    }
    std::thread::sleep(Duration::from_millis(200));
    let latencies = percentiles(monitor.finish()?);
    finish(options, log, pipeline, &from, Some(latencies))
}

fn next_offsets(offsets: &BTreeMap<u32, Offset>) -> Vec<(u32, Offset)> {
    (0..EVENT_PARTITIONS).map(|p| (p, offsets.get(&p).copied().unwrap_or(0))).collect()
}

fn send(
    log: &EmbeddedLog,
    transfers: &mut Transfers,
    events: u64,
    time: &str,
    offsets: &mut BTreeMap<u32, Offset>,
) -> anyhow::Result<()> {
    let mut records = Vec::new();
    for _ in 0..events {
        let made = transfers.next(time);
        let partition = u32::try_from(made.key % u64::from(EVENT_PARTITIONS)).unwrap_or(0);
        *offsets.entry(partition).or_insert(0) += 1;
        let to = TopicPartition::new(Topic::Events1, partition);
        records.push(OutRecord::new(to, Bytes::from(made.json)));
    }
    log.append(records).context("sending events")?;
    Ok(())
}

/// Where a measurement began.
struct Point {
    wall_us: i64,
    cpu_ms: u64,
    disk: u64,
    threads: BTreeMap<String, u64>,
}

impl Point {
    fn now(log: &EmbeddedLog) -> Self {
        Self {
            wall_us: clock::monotonic_us(),
            cpu_ms: process::cpu_ms(),
            disk: log.disk_bytes(),
            threads: process::thread_cpu_ms(),
        }
    }
}

fn finish(
    options: &BenchPipeline,
    log: &Arc<EmbeddedLog>,
    pipeline: Pipeline,
    from: &Point,
    latencies: Option<Percentiles>,
) -> anyhow::Result<Measured> {
    let to = Point::now(log);
    let (threads, rss_mib) = (process::thread_cpu_ms(), process::rss_mib());
    let events = options.rate.map_or(options.events, |rate| rate * options.seconds);
    let failures = pipeline.stop(Duration::from_secs(10))?;
    if let Some(failure) = failures.first() {
        bail!("{} failed: {}", failure.processor, failure.error);
    }
    let counted = recount::recount(log.as_ref())?;
    let micros = u64::try_from(to.wall_us - from.wall_us).unwrap_or(1).max(1);
    let cpu_ms = to.cpu_ms - from.cpu_ms;
    let stages = threads.into_iter().map(|(name, ms)| {
        let before = from.threads.get(&name).copied().unwrap_or(0);
        (name, StageMs { cpu_ms: ms.saturating_sub(before) })
    });
    let wal_bytes = to.disk.saturating_sub(from.disk);
    Ok(Measured {
        log: "embedded",
        events,
        seconds: decimal(micros, 1_000_000, 2),
        events_per_s: events.saturating_mul(1_000_000) / micros,
        rate: options.rate,
        latency_ms: latencies.map(|p| LatencyMs {
            p50: decimal(u64::try_from(p.p50_us).unwrap_or(0), 1_000, 1),
            p99: decimal(u64::try_from(p.p99_us).unwrap_or(0), 1_000, 1),
            max: decimal(u64::try_from(p.max_us).unwrap_or(0), 1_000, 1),
            measured: p.count,
        }),
        stages: stages.filter(|(_, stage)| stage.cpu_ms > 0).collect(),
        cpu_s: decimal(cpu_ms, 1_000, 2),
        cpu_us_per_event: decimal(cpu_ms * 1_000, events.max(1), 2),
        rss_mib,
        bytes_per_event: wal_bytes / events.max(1),
        accounts: options.accounts,
        hot_percent: options.hot,
        duplicates_percent: options.duplicates,
        partitions: [EVENT_PARTITIONS, options.partitions],
        durability: "group fsync every 20 ms, one disk".to_owned(),
        cores: std::thread::available_parallelism().map_or(0, usize::from),
        checks: Checks {
            sum_zero: counted.sum_zero(),
            accounted_for: counted.accounted_for() == events && counted.pending == 0,
            booked: counted.booked,
            duplicate: counted.duplicate,
            refused: counted.refused.values().sum(),
            dead_lettered: counted.dead_lettered.values().sum(),
        },
    })
}

/// `value / unit` as a decimal text with `digits` decimals, cut.
fn decimal(value: u64, unit: u64, digits: u32) -> String {
    let scale = 10_u64.pow(digits);
    let scaled = u128::from(value) * u128::from(scale) / u128::from(unit.max(1));
    let (whole, rest) = (scaled / u128::from(scale), scaled % u128::from(scale));
    format!("{whole}.{rest:0width$}", width = digits as usize)
}
