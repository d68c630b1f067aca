//! `ledgerflow bench posting`: posting without the other processors, on commands made before.
//!
//! Phases: its core in memory on one thread ([`core`]) -> posting alone works off commands that lie durable on the embedded
//! log, with its workers, checkpoints and group fsync -> it is offered half of that rate on a schedule, on another log, and
//! each window is measured ([`offered`]).

mod commands;
mod core;
mod offered;

use self::commands::{Commands, Made};
use self::offered::Schedule;
use super::{Checks, cores, decimal, embedded, is_its_own};
use crate::cli::args::BenchPosting;
use crate::config::Settings;
use crate::measure::latency::Percentiles;
use crate::measure::{process, recount};
use crate::runtime::{Pipeline, Role, Share};
use anyhow::{Context, bail};
use schemas::shards::PartitionMap;
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::Path;
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::log::Log;

/// Commands of a batch on the log, about as many as ingest writes for one home in a window.
const OF_BATCH: u32 = 250;
/// Batches of one append.
const APPEND_BATCHES: usize = 64;
/// How long working everything off may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    accounts: u64,
    hot_percent: u8,
    events: u64,
    decide_apply_per_s: u64,
    bytes_to_bytes_per_s: u64,
    /// Of the core: nothing crosses there.
    core_bytes_per_transfer: u64,
    seconds: Box<RawValue>,
    transfers_per_s: u64,
    /// Growth of the log: most transfers cross.
    bytes_per_transfer: u64,
    cpu_us_per_transfer: Box<RawValue>,
    /// Transfers a second that were offered: half of what was reached.
    offered_per_s: u64,
    windows: usize,
    window_p50_ms: Box<RawValue>,
    window_p99_ms: Box<RawValue>,
    window_max_ms: Box<RawValue>,
    partitions: u32,
    workers: u32,
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

/// Runs the measurement in `dir` (made new).
///
/// # Errors
/// The directory holds something, the log fails, or posting does not get through.
pub fn posting(options: &BenchPosting, settings: &Settings, dir: &Path) -> anyhow::Result<Measured> {
    is_its_own(dir)?;
    std::fs::create_dir_all(dir)?;
    let core = core::core(options.accounts, options.hot, options.events)?;
    let bench = Bench { options, settings };
    let reached = bench.reach(&dir.join("throughput"))?;
    let rate = (reached.per_s() / 2).max(1);
    let (windows, offered) = bench.offer(&dir.join("offered"), rate)?;
    let ms = |us: i64| decimal(u64::try_from(us).unwrap_or(0), 1_000, 3);
    let ends = [&reached.checks, &offered];
    Ok(Measured {
        log: "embedded",
        accounts: options.accounts,
        hot_percent: options.hot,
        events: reached.events,
        decide_apply_per_s: core.decide_apply_per_s,
        bytes_to_bytes_per_s: core.bytes_to_bytes_per_s,
        core_bytes_per_transfer: core.bytes_per_transfer,
        seconds: decimal(reached.micros, 1_000_000, 6)?,
        transfers_per_s: reached.per_s(),
        bytes_per_transfer: reached.bytes / reached.events.max(1),
        cpu_us_per_transfer: decimal(reached.cpu_ms.saturating_mul(1_000), reached.events.max(1), 2)?,
        offered_per_s: rate,
        windows: windows.count,
        window_p50_ms: ms(windows.p50_us)?,
        window_p99_ms: ms(windows.p99_us)?,
        window_max_ms: ms(windows.max_us)?,
        partitions: reached.partitions,
        workers: settings.workers().posting_workers.get(),
        durability: format!("group fsync every {} ms, one disk", settings.log.sync_interval_ms),
        cores: cores(),
        checks: Checks {
            sum_zero: ends.iter().all(|checks| checks.sum_zero),
            accounted_for: ends.iter().all(|checks| checks.accounted_for),
            ..reached.checks
        },
    })
}

/// What posting alone has reached on the log.
struct Reached {
    events: u64,
    micros: u64,
    cpu_ms: u64,
    bytes: u64,
    partitions: u32,
    checks: Checks,
}

impl Reached {
    fn per_s(&self) -> u64 {
        self.events.saturating_mul(1_000_000) / self.micros.max(1)
    }
}

struct Bench<'a> {
    options: &'a BenchPosting,
    settings: &'a Settings,
}

impl Bench<'_> {
    /// So many commands in batches, for the partitions of that log.
    fn made(&self, log: &EmbeddedLog, events: u64) -> anyhow::Result<Vec<Made>> {
        let map = PartitionMap::even(log.counts().internal).context("partitions")?;
        let mut commands = Commands::new(map, self.options.accounts, self.options.hot, OF_BATCH);
        let (mut made, mut count) = (Vec::new(), 0);
        while count < events {
            let batch = commands.next();
            count += batch.commands;
            made.push(batch);
        }
        Ok(made)
    }

    fn reach(&self, dir: &Path) -> anyhow::Result<Reached> {
        let log = embedded::open(self.settings, self.options.partitions, dir)?;
        let made = self.made(&log, self.options.events)?;
        let events = made.iter().map(|made| made.commands).sum();
        for some in made.chunks(APPEND_BATCHES) {
            log.append(some.iter().map(offered::record).collect()).context("writing commands")?;
        }
        drop(made);
        log.wait_durable(log.last_sequence(), Duration::from_secs(60))?;
        let (begin_us, cpu_ms, bytes) = (clock::monotonic_us(), process::cpu_ms(), log.disk_bytes());
        let pipeline = embedded::start(self.settings, &log, dir, &Share::of(Role::Posting, "alone"))?;
        // Before that it has no inputs to be drained.
        embedded::wait_ready(&pipeline, PATIENCE)?;
        embedded::drain(&pipeline, PATIENCE)?;
        log.wait_durable(log.last_sequence(), Duration::from_secs(60))?;
        let micros = u64::try_from(clock::monotonic_us() - begin_us)?;
        let cpu_ms = process::cpu_ms() - cpu_ms;
        let bytes = log.disk_bytes().saturating_sub(bytes);
        stop(&pipeline)?;
        let checks = Checks::of(&recount::recount(log.as_ref())?, events);
        Ok(Reached { events, micros, cpu_ms, bytes, partitions: log.counts().internal, checks })
    }

    fn offer(&self, dir: &Path, rate: u64) -> anyhow::Result<(Percentiles, Checks)> {
        let log = embedded::open(self.settings, self.options.partitions, dir)?;
        let events = rate.saturating_mul(self.options.seconds);
        let made = self.made(&log, events)?;
        let events = made.iter().map(|made| made.commands).sum();
        let schedule = Schedule::of(made, rate, log.counts().internal);
        let pipeline = embedded::start(self.settings, &log, dir, &Share::of(Role::Posting, "alone"))?;
        embedded::wait_ready(&pipeline, Duration::from_secs(30))?;
        let windows = offered::windows(&log, &schedule, || embedded::drain(&pipeline, PATIENCE))?;
        stop(&pipeline)?;
        Ok((windows, Checks::of(&recount::recount(log.as_ref())?, events)))
    }
}

fn stop(pipeline: &Pipeline) -> anyhow::Result<()> {
    match pipeline.stop(Duration::from_secs(60))?.first() {
        Some(failure) => bail!("{} failed: {}", failure.processor, failure.error),
        None => Ok(()),
    }
}
