//! `ledgerflow bench hot`: many events that move one account, beside others at a steady rate, on the embedded log.
//!
//! Phases: the pipeline is ready -> the others are sent on their schedule -> a third of the way through all events of the one
//! account are sent at once, on the low lane, by a thread of their own; they were made before -> everything is worked off.
//! Latency is from when an event was due until its last balance is durable and can be read, of the others apart: those due
//! before the account's events were, and those due while some of these were not readable.

use super::sending::{LANE, Sending, made};
use super::{Checks, LatencyMs, cores, decimal, embedded, is_its_own};
use crate::cli::args::BenchHot;
use crate::config::Settings;
use crate::generate::Transfers;
use crate::measure::latency::{Due, Monitor, Seen, percentiles};
use crate::measure::recount;
use crate::runtime::Share;
use anyhow::{Context, anyhow, bail};
use schemas::topics::Topic;
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock;
use stream::embedded::EmbeddedLog;
use stream::log::{Log, OutRecord};

/// The lane of the account's events: the low one.
const HOT_LANE: u32 = 2;
/// Events of one append.
const APPEND_EVENTS: usize = 1_000;
/// How long working everything off may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    accounts: u64,
    rate: u64,
    adjustments: u64,
    /// From when the adjustments were due until the last balance of the last of them.
    seconds: Box<RawValue>,
    adjustments_per_s: u64,
    /// Latency of the others that were due before, and beside them.
    others_ms_before: LatencyMs,
    others_ms_beside: LatencyMs,
    /// What p99 is beside them, in percent of what it was before.
    p99_percent: u64,
    window_records: u32,
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
/// The directory holds something, the log fails, or the pipeline does not get through.
pub fn hot(options: &BenchHot, settings: &Settings, dir: &Path) -> anyhow::Result<Measured> {
    is_its_own(dir)?;
    let log = embedded::open(settings, None, dir)?;
    let total =
        options.rate.checked_mul(options.seconds).context("--rate times --seconds: too many events")?;
    let seen = run(options, settings, dir, &log, total)?;
    let of_lane = |lane: u32| seen.iter().filter(move |seen| seen.lane == lane);
    let due_us = of_lane(HOT_LANE).map(|seen| seen.due_us).min().context("no adjustment was booked")?;
    let micros = of_lane(HOT_LANE).map(|seen| seen.took_us).max().unwrap_or(0).max(1);
    let others = |from_us: i64, to_us: i64| {
        let due = of_lane(LANE).filter(|seen| (from_us..to_us).contains(&seen.due_us));
        percentiles(due.map(|seen| seen.took_us).collect())
    };
    let (before, beside) = (others(i64::MIN, due_us), others(due_us, due_us.saturating_add(micros)));
    let percent = beside.p99_us.saturating_mul(100) / before.p99_us.max(1);
    let micros = u64::try_from(micros)?;
    Ok(Measured {
        log: "embedded",
        accounts: options.accounts,
        rate: options.rate,
        adjustments: options.adjustments,
        seconds: decimal(micros, 1_000_000, 6)?,
        adjustments_per_s: options.adjustments.saturating_mul(1_000_000) / micros,
        others_ms_before: LatencyMs::of(before)?,
        others_ms_beside: LatencyMs::of(beside)?,
        p99_percent: u64::try_from(percent).unwrap_or(0),
        window_records: settings.ingest.window_records,
        durability: format!("group fsync every {} ms, one disk", settings.log.sync_interval_ms),
        cores: cores(),
        checks: Checks::of(&recount::recount(log.as_ref())?, total + options.adjustments),
    })
}

/// Sends everything and waits until it is worked off: what was seen of each event that was booked.
fn run(
    options: &BenchHot,
    settings: &Settings,
    dir: &Path,
    log: &Arc<EmbeddedLog>,
    total: u64,
) -> anyhow::Result<Vec<Seen>> {
    let partitions = log.counts().events;
    let now = schemas::dates::format_instant(clock::wall_us());
    let mut to_one = Transfers::new(2, options.accounts, 100, 0).from_source("/adjustments");
    let adjustments = made(&mut to_one, Topic::Events2, partitions, options.adjustments, &now);
    let pipeline = embedded::start(settings, log, dir, &Share::whole())?;
    embedded::wait_ready(&pipeline, Duration::from_secs(30))?;
    // The first day is announced by then: what is measured is the steady state.
    std::thread::sleep(Duration::from_secs(1));
    let due = Arc::new(Due::default());
    let (shared, newest): (Arc<dyn Log>, _) = (Arc::clone(log) as Arc<dyn Log>, Arc::clone(log));
    let monitor = Monitor::start(shared, Arc::clone(&due), move || newest.last_sequence())?;
    let others = Sending::of(Transfers::new(1, options.accounts, 0, 0), log.as_ref(), partitions);
    let third = Duration::from_millis(options.seconds.saturating_mul(1_000) / 3);
    std::thread::scope(|scope| {
        let sent = scope.spawn(|| {
            std::thread::sleep(third);
            (0..partitions).for_each(|partition| due.note(HOT_LANE, partition, 0, clock::wall_us()));
            append(log, adjustments)
        });
        others.on_schedule(options.rate, total, &due)?;
        sent.join().map_err(|_| anyhow!("the sender of adjustments panicked"))?
    })?;
    embedded::drain(&pipeline, PATIENCE)?;
    let seen = monitor.finish_each()?;
    let failures = pipeline.stop(Duration::from_secs(10))?;
    match failures.first() {
        Some(failure) => bail!("{} failed: {}", failure.processor, failure.error),
        None => Ok(seen),
    }
}

fn append(log: &EmbeddedLog, records: Vec<OutRecord>) -> anyhow::Result<()> {
    let mut records = records.into_iter();
    loop {
        let some: Vec<_> = records.by_ref().take(APPEND_EVENTS).collect();
        if some.is_empty() {
            return Ok(());
        }
        log.append(some).context("sending adjustments")?;
    }
}
