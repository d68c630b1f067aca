//! `ledgerflow bench pipeline`: the whole pipeline on one log, measured; one line of JSON.
//!
//! Without `--rate`: events are preloaded and durable, then the pipeline is started and works them off; throughput
//! is events over the time from start to the last balance, and latency is not a meaningful figure (null). With
//! `--rate`: events are sent on a schedule and latency is from the scheduled send time to the durable, readable
//! balance. Checkpoints, dedupe, hash chain and Merkle roots are on in both. Windows, sync interval and checkpoints
//! are those of the configuration, as in `run`; chart and rules are the measurement's own.
//!
//! Figures with decimals are counted in whole units and cut, and stand in the JSON as the decimals they are.

use crate::cli::args::BenchPipeline;
use crate::config::Settings;
use crate::generate::{BENCH_CHART, Transfers};
use crate::measure::latency::{Due, Monitor, Percentiles, percentiles};
use crate::measure::{process, recount};
use crate::query::books::checkpoints;
use crate::runtime::{Pipeline, Setup, Share, Start, Work};
use anyhow::{Context, bail};
use bytes::Bytes;
use schemas::topics::Topic;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::embedded::EmbeddedLog;
use stream::log::{Log, Offset, OutRecord, TopicPartition};

/// Events of one preload append.
const PRELOAD_EVENTS: u64 = 1_000;
/// The lane that measurements use.
const LANE: u32 = 1;

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    events: u64,
    seconds: Box<RawValue>,
    events_per_s: u64,
    rate: Option<u64>,
    latency_ms: LatencyMs,
    slowest_stage: Option<String>,
    stages: BTreeMap<String, Stage>,
    other_threads_cpu_ms: BTreeMap<String, u64>,
    window_us: BTreeMap<&'static str, i64>,
    cpu_s: Box<RawValue>,
    cpu_us_per_event: Box<RawValue>,
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

impl Measured {
    /// Whether the books of the measurement are right.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.checks.sum_zero && self.checks.accounted_for
    }
}

/// Null where nothing was sent on a schedule.
#[derive(Debug, Default, Serialize)]
struct LatencyMs {
    p50: Option<Box<RawValue>>,
    p99: Option<Box<RawValue>>,
    max: Option<Box<RawValue>>,
    measured: usize,
}

/// What a processor did. The stage with the most CPU time bounds the throughput.
#[derive(Debug, Serialize)]
struct Stage {
    cpu_ms: u64,
    windows: u64,
    windows_aborted: u64,
    items: u64,
    records_read: u64,
    records_written: u64,
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
pub fn pipeline(options: &BenchPipeline, settings: &Settings, dir: &Path) -> anyhow::Result<Measured> {
    if dir.exists() && std::fs::read_dir(dir)?.next().is_some() {
        bail!("{} is not empty: a measurement makes its own directory", dir.display());
    }
    let mut embedded = settings.embedded();
    if let Some(internal) = options.partitions {
        embedded.counts.internal = internal;
    }
    let log = Arc::new(EmbeddedLog::open(dir, embedded)?);
    let bench = Bench { options, settings, dir, log };
    match options.rate {
        None => bench.throughput(),
        Some(rate) => bench.latency(rate),
    }
}

const TRANSFER_RULES: &str = r#"
version: 1
rules:
  - type: transfer
    legs:
      - { debit: "{data.from}", asset: "{data.asset}", amount: data.amount }
      - { credit: "{data.to}", asset: "{data.asset}", amount: data.amount }
"#;

/// One measurement.
struct Bench<'a> {
    options: &'a BenchPipeline,
    settings: &'a Settings,
    dir: &'a Path,
    log: Arc<EmbeddedLog>,
}

impl Bench<'_> {
    fn start(&self) -> anyhow::Result<Pipeline> {
        let shared: Arc<dyn Log> = Arc::clone(&self.log) as Arc<dyn Log>;
        let store = checkpoints(self.dir, &shared);
        let setup = Setup {
            chart: (BENCH_CHART.to_owned(), "chart of measurements".to_owned()),
            rules: (TRANSFER_RULES.to_owned(), "rules of measurements".to_owned()),
            ..Setup::new(self.log.counts())
        };
        let (share, clock) = (Share::whole(), BusinessClock::Wall);
        let start = Start { log: &shared, share: &share, clock: &clock, checkpoints: &store };
        Pipeline::start(&setup.processors()?, &self.settings.workers(), &start)
    }

    fn transfers(&self) -> Transfers {
        let BenchPipeline { accounts, hot, duplicates, .. } = *self.options;
        Transfers::new(1, accounts, hot, duplicates)
    }

    fn throughput(&self) -> anyhow::Result<Measured> {
        let time = schemas::dates::format_instant(clock::wall_us());
        let mut transfers = self.transfers();
        let mut offsets = BTreeMap::new();
        let events = self.options.events;
        let mut sent = 0;
        while sent < events {
            let now = PRELOAD_EVENTS.min(events - sent);
            send(&self.log, &mut transfers, now, &time, &mut offsets)?;
            sent += now;
        }
        self.log.wait_durable(self.log.last_sequence(), Duration::from_secs(60))?;
        let from = Point::now(&self.log, None);
        let pipeline = self.start()?;
        drain(&pipeline, Duration::from_secs(600))?;
        self.log.wait_durable(self.log.last_sequence(), Duration::from_secs(60))?;
        self.finish(pipeline, &from, events, None)
    }

    fn latency(&self, rate: u64) -> anyhow::Result<Measured> {
        let total =
            rate.checked_mul(self.options.seconds).context("--rate times --seconds: too many events")?;
        let pipeline = self.start()?;
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
        let newest = Arc::clone(&self.log);
        let shared: Arc<dyn Log> = Arc::clone(&self.log) as Arc<dyn Log>;
        let monitor = Monitor::start(shared, Arc::clone(&due), move || newest.last_sequence())?;
        let from = Point::now(&self.log, Some(&pipeline));
        self.send_on_schedule(rate, total, &due)?;
        drain(&pipeline, Duration::from_secs(60))?;
        std::thread::sleep(Duration::from_millis(200));
        let latencies = percentiles(monitor.finish()?);
        self.finish(pipeline, &from, total, Some(latencies))
    }

    /// One send a millisecond, of as many events as are due by then.
    fn send_on_schedule(&self, rate: u64, total: u64, due: &Due) -> anyhow::Result<()> {
        let mut transfers = self.transfers();
        let mut offsets = BTreeMap::new();
        let begin = clock::wall_us();
        let mut sent = 0;
        while sent < total {
            let elapsed_us = u64::try_from(clock::wall_us() - begin).unwrap_or(0);
            let should = u128::from(rate) * u128::from(elapsed_us) / 1_000_000;
            let should = u64::try_from(should).unwrap_or(u64::MAX).min(total);
            if should > sent {
                let after_us = u128::from(sent) * 1_000_000 / u128::from(rate.max(1));
                let due_us = begin + i64::try_from(after_us).unwrap_or(0);
                for partition in 0..self.log.counts().events {
                    due.note(LANE, partition, offsets.get(&partition).copied().unwrap_or(0), due_us);
                }
                let time = schemas::dates::format_instant(due_us);
                send(&self.log, &mut transfers, should - sent, &time, &mut offsets)?;
                sent = should;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn finish(
        &self,
        pipeline: Pipeline,
        from: &Point,
        events: u64,
        latencies: Option<Percentiles>,
    ) -> anyhow::Result<Measured> {
        let (to, rss_mib) = (Point::now(&self.log, Some(&pipeline)), process::rss_mib());
        let failures = pipeline.stop(Duration::from_secs(10))?;
        if let Some(failure) = failures.first() {
            bail!("{} failed: {}", failure.processor, failure.error);
        }
        let micros = u64::try_from(to.wall_us - from.wall_us).unwrap_or(1).max(1);
        let cpu_ms = to.cpu_ms - from.cpu_ms;
        let (stages, other_threads_cpu_ms) = stages(from, &to);
        let slowest = stages.iter().max_by_key(|(_, stage)| stage.cpu_ms).map(|(name, _)| name.clone());
        let (counts, options) = (self.log.counts(), self.options);
        Ok(Measured {
            log: "embedded",
            events,
            seconds: decimal(micros, 1_000_000, 6)?,
            events_per_s: events.saturating_mul(1_000_000) / micros,
            rate: options.rate,
            latency_ms: latencies.map_or_else(|| Ok(LatencyMs::default()), LatencyMs::of)?,
            slowest_stage: slowest,
            stages,
            other_threads_cpu_ms,
            window_us: self.settings.workers().each().map(|(name, of)| (name, of.window_us)).collect(),
            cpu_s: decimal(cpu_ms, 1_000, 2)?,
            cpu_us_per_event: decimal(cpu_ms.saturating_mul(1_000), events.max(1), 2)?,
            rss_mib,
            bytes_per_event: to.disk.saturating_sub(from.disk) / events.max(1),
            accounts: options.accounts,
            hot_percent: options.hot,
            duplicates_percent: options.duplicates,
            partitions: [counts.events, counts.internal],
            durability: format!("group fsync every {} ms, one disk", self.settings.log.sync_interval_ms),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            checks: Checks::of(&recount::recount(self.log.as_ref())?, events),
        })
    }
}

fn drain(pipeline: &Pipeline, wait: Duration) -> anyhow::Result<()> {
    if pipeline.drain(wait)? {
        return Ok(());
    }
    bail!("the pipeline did not get through: {:?} {:?}", pipeline.failures(), pipeline.stopped_slots())
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
        let partition = u32::try_from(made.key % u64::from(log.counts().events.max(1))).unwrap_or(0);
        *offsets.entry(partition).or_insert(0) += 1;
        let to = TopicPartition::new(Topic::Events1, partition);
        records.push(OutRecord::new(to, Bytes::from(made.json)));
    }
    log.append(records).context("sending events")?;
    Ok(())
}

/// What has been used and done by a moment.
struct Point {
    wall_us: i64,
    cpu_ms: u64,
    disk: u64,
    threads: BTreeMap<String, u64>,
    work: BTreeMap<&'static str, Work>,
}

impl Point {
    fn now(log: &EmbeddedLog, pipeline: Option<&Pipeline>) -> Self {
        Self {
            wall_us: clock::monotonic_us(),
            cpu_ms: process::cpu_ms(),
            disk: log.disk_bytes(),
            threads: process::thread_cpu_ms(),
            work: pipeline.map(Pipeline::work).unwrap_or_default(),
        }
    }
}

/// What each processor did between two moments, and the CPU time of the threads that are no processor's.
fn stages(from: &Point, to: &Point) -> (BTreeMap<String, Stage>, BTreeMap<String, u64>) {
    let mut others = BTreeMap::new();
    for (name, cpu_ms) in &to.threads {
        others.insert(name.clone(), cpu_ms.saturating_sub(from.threads.get(name).copied().unwrap_or(0)));
    }
    let stages = to.work.iter().map(|(name, after)| {
        let before = from.work.get(name).copied().unwrap_or_default();
        let stage = Stage {
            cpu_ms: others.remove(*name).unwrap_or(0),
            windows: after.windows - before.windows,
            windows_aborted: after.aborted - before.aborted,
            items: after.items - before.items,
            records_read: after.records_read - before.records_read,
            records_written: after.records_written - before.records_written,
        };
        ((*name).to_owned(), stage)
    });
    let stages = stages.collect();
    others.retain(|_, cpu_ms| *cpu_ms > 0);
    (stages, others)
}

impl LatencyMs {
    fn of(found: Percentiles) -> anyhow::Result<Self> {
        let ms = |us: i64| decimal(u64::try_from(us).unwrap_or(0), 1_000, 3).map(Some);
        let Percentiles { count, p50_us, p99_us, max_us } = found;
        Ok(Self { p50: ms(p50_us)?, p99: ms(p99_us)?, max: ms(max_us)?, measured: count })
    }
}

impl Checks {
    fn of(counted: &recount::Recount, events: u64) -> Self {
        Self {
            sum_zero: counted.sum_zero(),
            accounted_for: counted.accounted_for() == events && counted.pending == 0,
            booked: counted.booked,
            duplicate: counted.duplicate,
            refused: counted.refused.values().sum(),
            dead_lettered: counted.dead_lettered.values().sum(),
        }
    }
}

/// `value / unit` as a JSON number with `digits` decimals, cut.
fn decimal(value: u64, unit: u64, digits: u32) -> anyhow::Result<Box<RawValue>> {
    let scale = 10_u128.pow(digits);
    let scaled = u128::from(value) * scale / u128::from(unit.max(1));
    let (whole, rest) = (scaled / scale, scaled % scale);
    Ok(RawValue::from_string(format!("{whole}.{rest:0width$}", width = digits as usize))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_cut_and_stand_as_they_are() {
        for (value, unit, digits, want) in [
            (1_234_567, 1_000_000, 6, "1.234567"),
            (7, 1_000_000, 6, "0.000007"),
            (14_999, 1_000, 2, "14.99"),
            (u64::MAX, 1, 3, "18446744073709551615.000"),
            (5, 0, 1, "5.0"),
        ] {
            let json = serde_json::to_string(&decimal(value, unit, digits).expect("number")).expect("json");
            assert_eq!(json, want);
        }
    }
}
