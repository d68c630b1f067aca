//! `ledgerflow bench restart`: how long a start takes over what lies there, on the embedded log.
//!
//! Phases: another process makes the books (`bench pipeline`) and ends -> this one opens them and starts the pipeline, with
//! the checkpoints as they are -> it stops, loses the checkpoints, and starts again: everything is read from the log -> it
//! loses them once more and starts posting alone, as a process of its own machine would. Before each start of the whole one
//! event lies on the log; the clock runs from before the log is opened.

use super::sending::Sending;
use super::{cores, decimal, embedded, is_its_own};
use crate::cli::args::BenchRestart;
use crate::config::Settings;
use crate::generate::Transfers;
use crate::measure::{process, recount};
use crate::query::books::STORE;
use crate::runtime::{Role, Share};
use anyhow::{Context, bail};
use serde::Serialize;
use serde_json::value::RawValue;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use stream::clock;
use stream::log::Log;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// Between two looks whether a window was committed.
const LOOK: Duration = Duration::from_millis(1);

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    accounts: u64,
    events: u64,
    entries: u64,
    log_bytes: u64,
    with_checkpoints: Started,
    without: Started,
    /// Entries by the time until all slots of all processors were restored without checkpoints.
    entries_per_s: u64,
    /// Until all slots of posting were restored without checkpoints, where nothing else runs.
    posting_alone_s: Box<RawValue>,
    /// Entries by that time.
    posting_alone_entries_per_s: u64,
    durability: String,
    cores: usize,
}

/// What a start took.
#[derive(Debug, Serialize)]
struct Started {
    /// Until posting committed a window.
    first_commit_s: Box<RawValue>,
    /// Until all slots of all processors were restored.
    ready_s: Box<RawValue>,
    /// Until the event that lay there was booked and its balances were durable.
    booked_s: Box<RawValue>,
    /// Resident memory then.
    resident_mib: u64,
    #[serde(skip)]
    ready_us: u64,
}

/// Runs the measurement in `dir` (made new). `config` is the file that was named.
///
/// # Errors
/// The directory holds something, the books cannot be made, or a start fails.
pub fn restart(
    options: &BenchRestart,
    settings: &Settings,
    config: Option<&Path>,
    dir: &Path,
) -> anyhow::Result<Measured> {
    is_its_own(dir)?;
    make_books(options, config, dir)?;
    let lose_checkpoints = || std::fs::remove_dir_all(dir.join(STORE)).context("losing the checkpoints");
    let with_checkpoints = start(1, options, settings, dir)?;
    lose_checkpoints()?;
    let without = start(2, options, settings, dir)?;
    lose_checkpoints()?;
    let alone_us = posting_alone(settings, dir)?;
    let log = embedded::open(settings, None, dir)?;
    let entries = recount::recount(log.as_ref())?.entries;
    Ok(Measured {
        log: "embedded",
        accounts: options.accounts,
        events: options.events,
        entries,
        log_bytes: log.disk_bytes(),
        entries_per_s: entries.saturating_mul(1_000_000) / without.ready_us.max(1),
        posting_alone_s: decimal(alone_us, 1_000_000, 3)?,
        posting_alone_entries_per_s: entries.saturating_mul(1_000_000) / alone_us.max(1),
        with_checkpoints,
        without,
        durability: format!("group fsync every {} ms, one disk", settings.log.sync_interval_ms),
        cores: cores(),
    })
}

/// In another process, so that the memory of this one is that of a start.
fn make_books(options: &BenchRestart, config: Option<&Path>, dir: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(config) = config {
        command.arg("--config").arg(config);
    }
    command.arg("--dir").arg(dir).args(["bench", "pipeline", "--duplicates", "0"]);
    command.args(["--events", &options.events.to_string(), "--accounts", &options.accounts.to_string()]);
    let ended = command.stdout(Stdio::null()).status().context("making the books")?;
    if !ended.success() {
        bail!("making the books: {ended}");
    }
    Ok(())
}

/// Microseconds until posting alone has restored its slots.
fn posting_alone(settings: &Settings, dir: &Path) -> anyhow::Result<u64> {
    let begin = clock::monotonic_us();
    let log = embedded::open(settings, None, dir)?;
    let pipeline = embedded::start(settings, &log, dir, &Share::of(Role::Posting, "alone"))?;
    embedded::wait_ready(&pipeline, PATIENCE)?;
    let us = u64::try_from(clock::monotonic_us() - begin)?;
    if let Some(failure) = pipeline.stop(Duration::from_secs(60))?.first() {
        bail!("{} failed: {}", failure.processor, failure.error);
    }
    Ok(us)
}

/// Start number `number`.
fn start(number: u64, options: &BenchRestart, settings: &Settings, dir: &Path) -> anyhow::Result<Started> {
    let begin = clock::monotonic_us();
    let since = || u64::try_from(clock::monotonic_us() - begin).unwrap_or(0);
    let log = embedded::open(settings, None, dir)?;
    let one = Transfers::new(number, options.accounts, 0, 0).from_source(&format!("/restart/{number}"));
    Sending::of(one, log.as_ref(), log.counts().events).preload(1)?;
    let pipeline = embedded::start(settings, &log, dir, &Share::whole())?;
    let (mut first_commit_us, mut ready_us) = (None, None);
    while first_commit_us.is_none() || ready_us.is_none() {
        if u128::from(since()) > PATIENCE.as_micros() || !pipeline.failures().is_empty() {
            bail!("the pipeline is not ready: {:?}", pipeline.failures());
        }
        std::thread::sleep(LOOK);
        let committed = pipeline.work().get("posting").is_some_and(|work| work.windows > 0);
        first_commit_us = first_commit_us.or(committed.then(since));
        ready_us = ready_us.or(pipeline.ready().then(since));
    }
    embedded::drain(&pipeline, PATIENCE)?;
    log.wait_durable(log.last_sequence(), Duration::from_secs(60))?;
    let (booked_us, resident_mib) = (since(), process::resident_bytes().unwrap_or(0) >> 20);
    if let Some(failure) = pipeline.stop(Duration::from_secs(60))?.first() {
        bail!("{} failed: {}", failure.processor, failure.error);
    }
    let seconds = |us: Option<u64>| decimal(us.unwrap_or(0), 1_000_000, 3);
    Ok(Started {
        first_commit_s: seconds(first_commit_us)?,
        ready_s: seconds(ready_us)?,
        booked_s: seconds(Some(booked_us))?,
        resident_mib,
        ready_us: ready_us.unwrap_or(0),
    })
}
