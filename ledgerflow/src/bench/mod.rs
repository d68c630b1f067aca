//! `ledgerflow bench`: the whole pipeline on a log ([`pipeline`]), one account moved by many events beside others ([`hot`]), a
//! start over what lies there ([`restart`]), posting without the others ([`posting`]), a bill joined with the journal
//! ([`reconcile`]), or commits alone ([`commit`]), measured; one line of JSON.
//!
//! Without `--rate`: events are preloaded and durable, then the pipeline is started and works them off; throughput
//! is events over the time from start to the last balance, and latency is not a meaningful figure (null). With
//! `--rate`: events are sent on a schedule and latency is from the scheduled send time to the durable, readable
//! balance. Checkpoints, dedupe, hash chain and Merkle roots are on in both. Windows, sync interval and checkpoints
//! are those of the configuration, as in `run`; chart and rules are the measurement's own.
//!
//! Figures with decimals are counted in whole units and cut, and stand in the JSON as the decimals they are.

pub mod commit;
mod embedded;
#[cfg(feature = "kafka")]
mod fail_over;
pub mod hot;
#[cfg_attr(not(feature = "kafka"), path = "without_kafka.rs")]
mod kafka;
pub mod plot;
pub mod posting;
#[cfg(feature = "kafka")]
mod processes;
pub mod reconcile;
pub mod restart;
mod sending;

pub use kafka::fail_over;

use crate::cli::args::{BenchPipeline, LogChoice};
use crate::config::Settings;
use crate::measure::latency::Percentiles;
use crate::measure::{decimal, recount};
use anyhow::bail;
use schemas::topics::PartitionCounts;
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::path::Path;

const TRANSFER_RULES: &str = r#"
version: 1
rules:
  - type: transfer
    each: data.legs
    legs:
      - { debit: "{data.from}", asset: "{data.asset}", amount: data.amount }
      - { credit: "{data.to}", asset: "{data.asset}", amount: data.amount }
"#;

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
    /// The stage's `cpu_ms` divided by the events.
    stage_cpu_ns_per_event: BTreeMap<String, u64>,
    other_threads_cpu_ms: BTreeMap<String, u64>,
    window_us: BTreeMap<&'static str, i64>,
    cpu_s: Box<RawValue>,
    cpu_us_per_event: Box<RawValue>,
    rss_mib: u64,
    /// On the disk of this process; null on Kafka.
    bytes_per_event: Option<u64>,
    accounts: u64,
    hot_percent: u8,
    two_payers_percent: u8,
    duplicates_percent: u8,
    partitions: [u32; 2],
    durability: String,
    cores: usize,
    checks: Checks,
}

/// What a log's own measurement gives.
struct Run {
    log: &'static str,
    events: u64,
    micros: u64,
    cpu_ms: u64,
    rss_mib: u64,
    stages: BTreeMap<String, Stage>,
    other_threads_cpu_ms: BTreeMap<String, u64>,
    bytes_per_event: Option<u64>,
    latencies: Option<Percentiles>,
    counts: PartitionCounts,
    durability: String,
    recount: recount::Recount,
}

impl Measured {
    fn of(options: &BenchPipeline, settings: &Settings, run: Run) -> anyhow::Result<Self> {
        let slowest = run.stages.iter().max_by_key(|(_, stage)| stage.cpu_ms).map(|(name, _)| name.clone());
        let per_event = |stage: &Stage| stage.cpu_ms.saturating_mul(1_000_000) / run.events.max(1);
        let stage_cpu_ns_per_event =
            run.stages.iter().map(|(name, stage)| (name.clone(), per_event(stage))).collect();
        Ok(Self {
            log: run.log,
            events: run.events,
            seconds: decimal(run.micros, 1_000_000, 6)?,
            events_per_s: run.events.saturating_mul(1_000_000) / run.micros,
            rate: options.rate,
            latency_ms: run.latencies.map_or_else(|| Ok(LatencyMs::default()), LatencyMs::of)?,
            slowest_stage: slowest,
            stages: run.stages,
            stage_cpu_ns_per_event,
            other_threads_cpu_ms: run.other_threads_cpu_ms,
            window_us: settings.workers().each().map(|(name, of)| (name, of.window_us)).collect(),
            cpu_s: decimal(run.cpu_ms, 1_000, 2)?,
            cpu_us_per_event: decimal(run.cpu_ms.saturating_mul(1_000), run.events.max(1), 2)?,
            rss_mib: run.rss_mib,
            bytes_per_event: run.bytes_per_event,
            accounts: options.accounts,
            hot_percent: options.hot,
            two_payers_percent: options.two_payers,
            duplicates_percent: options.duplicates,
            partitions: [run.counts.events, run.counts.internal],
            durability: run.durability,
            cores: cores(),
            checks: Checks::of(&run.recount, run.events),
        })
    }

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

/// Runs the measurement in `dir` (made new) and returns its one line. `config` is the file that was named.
///
/// # Errors
/// The directory holds something, the log fails, or the pipeline does not get through.
pub fn pipeline(
    options: &BenchPipeline,
    settings: &Settings,
    config: Option<&Path>,
    dir: &Path,
) -> anyhow::Result<Measured> {
    is_its_own(dir)?;
    match options.log {
        LogChoice::Embedded => embedded::pipeline(options, settings, dir),
        LogChoice::Kafka => kafka::pipeline(options, settings, config, dir),
    }
}

/// A measurement goes over nothing that is there.
fn is_its_own(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() && std::fs::read_dir(dir)?.next().is_some() {
        bail!("{} is not empty: a measurement makes its own directory", dir.display());
    }
    Ok(())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(0, usize::from)
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
    Ok(RawValue::from_string(decimal::decimal(value, unit, digits))?)
}
