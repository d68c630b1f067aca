//! `ledgerflow demo`: a day of a payment company on one machine, and what came out of it.
//!
//! Phases: wallets are funded and that is worked off -> paced traffic, through the day's cut-over, for latency ->
//! the rest as fast as it goes, for throughput -> the day closes -> both providers' bills are written with planted
//! errors, imported and reconciled -> everything is counted again from the topics and compared with what was sent.
//!
//! Of a configuration the demo takes how the log and the workers are run, and the partitions. Book, clock, chart, rules,
//! bills and directory are its own; on Kafka the topics are too, and are deleted at the end.
//!
//! Bounds: events are made one at a time and never all in memory. The demo's directory is made anew; one that it
//! did not make is refused.
//!
//! Order relied on: business time is moved by the demo and never back.

mod bill;
mod checks;
mod directory;
#[cfg_attr(not(feature = "kafka"), path = "without_kafka.rs")]
mod kafka;
mod malformed;
mod pipeline;
mod provider;
mod report;
mod traffic;

#[cfg(test)]
mod tests;

pub use directory::default_dir;

use crate::cli::args;
use crate::cli::output::{Screen, write};
use crate::config::Settings;
use crate::measure::latency::{Due, Monitor, Percentiles, percentiles};
use crate::measure::recount::{self, Recount};
use anyhow::bail;
use bill::{Bill, Cases};
use indicatif::{ProgressBar, ProgressStyle};
use pipeline::{Company, LedgerLog};
use report::Account;
use schemas::dates::{Day, format_instant};
use settlement::query::DayStatus;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use stream::clock;
use traffic::{Expected, Scale, Traffic};

/// The day: the busiest of a Chinese payment company's year.
const DAY: &str = "2026-11-11";
const MINUTE_US: i64 = 60 * 1_000_000;
/// Business time begins this long before the day's end, and paced traffic ends three quarters of an hour after it.
const BEFORE_US: i64 = 120 * MINUTE_US;
const PACED_US: i64 = 165 * MINUTE_US;
const BACKLOG_US: i64 = 60 * MINUTE_US;
/// Share of the traffic that is sent on a schedule, percent: with it the bills of a day of 200,000 events have 50,000 lines.
const PACED_PERCENT: u64 = 55;
/// Events a second of that schedule, unless it would be over in less than [`PACED_SECONDS_MIN`].
const RATE_MAX: u64 = 10_000;
const PACED_SECONDS_MIN: u64 = 2;
/// Fewest events: half of them may fund wallets, and the rest must hold the orders that are planted with errors.
const EVENTS_MIN: u64 = 10_000;
/// Fewest customers: those that are shown are among them.
const ACCOUNTS_MIN: u64 = 10;
/// Events of one append when speed counts.
const CHUNK: u64 = 1_000;
/// How long a phase may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a demo found.
struct Found {
    dir: PathBuf,
    expected: Expected,
    sent: u64,
    counted: Recount,
    /// What the independent auditor says.
    audited: audit::Report,
    /// Events and microseconds of the backlog.
    backlog: (u64, u64),
    /// Microseconds of all traffic.
    traffic_us: u64,
    rate: u64,
    latency: Percentiles,
    days: Vec<DayStatus>,
    /// Decimals of each asset.
    exponents: BTreeMap<String, u8>,
    scale: Scale,
    day: Day,
    accounts: Vec<Account>,
    /// What the bills must show, pairs that agree among it.
    planted: Cases,
    found: Cases,
    /// Id of an event whose order is in a bill as we booked it.
    traced: String,
    bills: Vec<Bill>,
    /// Of the embedded log.
    disk_bytes: Option<u64>,
}

impl Found {
    /// Whether the books are still there for other commands: topics on Kafka are not.
    const fn stays(&self) -> bool {
        self.disk_bytes.is_some()
    }
}

/// Runs the demo in `dir`, writes what came out on standard output, progress on standard error.
///
/// # Errors
/// The directory is not the demo's, the pipeline does not get through, or one of the demo's own checks fails.
pub fn run(
    options: &args::Demo,
    settings: &Settings,
    dir: &Path,
    output: args::Output,
) -> anyhow::Result<()> {
    let dir = options.keep.as_deref().unwrap_or(dir);
    let found = a_day(options, settings, dir)?;
    let checks = checks::of(&found);
    let mut out = std::io::stdout().lock();
    if output == args::Output::Table {
        writeln!(out, "{}\n", report::headline(&found))?;
    }
    write(&mut out, &report::tables(&found, &checks, output), output, Screen::stdout())?;
    if output == args::Output::Table {
        out.write_all(report::closing_words(&found, &checks).as_bytes())?;
    }
    out.flush()?;
    match checks.iter().find(|check| !check.passed) {
        None => Ok(()),
        Some(failed) => bail!("check failed: {}: {}", failed.name, failed.detail),
    }
}

/// Runs everything and gathers what came out.
fn a_day(options: &args::Demo, settings: &Settings, dir: &Path) -> anyhow::Result<Found> {
    if options.events < EVENTS_MIN {
        bail!(
            "--events: {}, expected at least {EVENTS_MIN}: the day needs orders for the errors planted in its bills",
            options.events
        );
    }
    if options.accounts < ACCOUNTS_MIN || options.events < options.accounts.saturating_mul(2) {
        bail!("--accounts: {}, expected {ACCOUNTS_MIN} to half of --events", options.accounts);
    }
    match options.log {
        args::LogChoice::Embedded => {
            directory::clear(dir)?;
            on(&LedgerLog::embedded(settings, dir)?, options, settings, dir)
        }
        // What was shown last time goes when there is a cluster to show it on.
        args::LogChoice::Kafka => kafka::with_log(settings, options.bootstrap.as_deref(), |log| {
            directory::clear(dir)?;
            on(log, options, settings, dir)
        }),
    }
}

/// The day on a log on which there is nothing yet.
fn on(log: &LedgerLog, options: &args::Demo, settings: &Settings, dir: &Path) -> anyhow::Result<Found> {
    let day = Day::parse(DAY)?;
    directory::mark(dir)?;
    let mut company = Company::open(settings, log.clone(), dir, day)?;
    let midnight_us = company.midnight_us;
    let scale = Scale {
        events: options.events,
        accounts: options.accounts,
        seed: options.seed,
        partitions: company.counts().events,
        midnight_us,
    };
    let mut traffic = Traffic::new(scale);
    let bar = progress(options.events);
    company.wait_ready()?;

    let Sent { rate, latency, backlog, traffic_us } = send_all(&mut company, &mut traffic, scale, &bar)?;
    bar.set_message("closing the day");
    let days = company.wait_closed(day, PATIENCE)?;
    bar.set_message("reconciling the bills");
    let (bills, planted) = bill::write_all(&traffic.movements, options.seed, day, dir)?;
    bills.iter().try_for_each(|bill| company.import(bill.provider, &bill.path))?;
    company.drain(PATIENCE)?;
    let (found, traced) = company.cases(day)?;
    bar.set_message("counting again");
    let accounts = report::SHOWN.iter().map(|name| company.account(name)).collect::<Result<_, _>>()?;
    if log.embedded.is_some() {
        directory::configure(dir, company.counts(), &format_instant(company.now_us()))?;
    }
    let (sent, counts) = (company.sent(), company.counts());
    let exponents = company.exponents();
    let log = company.stop()?;
    let counted = recount::recount(log.log.as_ref())?;
    bar.set_message("auditing");
    let limit = audit::AuditLimit { quiesced: true, ..audit::AuditLimit::default() };
    let audited = audit::audit(log.log.as_ref(), counts, limit)?;
    bar.finish_and_clear();
    Ok(Found {
        dir: dir.to_owned(),
        expected: traffic.expected,
        sent,
        counted,
        audited,
        backlog,
        traffic_us,
        rate,
        latency,
        days,
        exponents,
        scale,
        day,
        accounts,
        planted,
        found,
        traced,
        bills,
        disk_bytes: log.embedded.as_ref().map(|embedded| embedded.disk_bytes()),
    })
}

/// How the traffic went.
struct Sent {
    rate: u64,
    latency: Percentiles,
    backlog: (u64, u64),
    traffic_us: u64,
}

/// All of the day's traffic: funding, the paced part, the backlog.
fn send_all(
    company: &mut Company,
    traffic: &mut Traffic,
    scale: Scale,
    bar: &ProgressBar,
) -> anyhow::Result<Sent> {
    let Scale { events, accounts, midnight_us, .. } = scale;
    let begin_us = midnight_us - BEFORE_US;
    let started_us = clock::monotonic_us();
    bar.set_message("funding wallets");
    fund(company, traffic, accounts, begin_us, bar)?;
    let rest = events - accounts;
    let paced = rest * PACED_PERCENT / 100;
    bar.set_message("steady, through midnight");
    let (rate, latency) = steady(company, traffic, paced, begin_us, bar)?;
    bar.set_message("as fast as it goes");
    let backlog = backlog(company, traffic, rest - paced, begin_us + PACED_US, bar)?;
    Ok(Sent { rate, latency, backlog, traffic_us: since(started_us) })
}

/// Every wallet gets its money, and that is booked before anything is spent.
fn fund(
    company: &mut Company,
    traffic: &mut Traffic,
    accounts: u64,
    now_us: i64,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut user = 0;
    while user < accounts {
        let until = (user + CHUNK).min(accounts);
        let events = (user..until).map(|user| traffic.funding(user, now_us)).collect();
        company.send(events)?;
        bar.inc(until - user);
        user = until;
    }
    company.drain(PATIENCE)
}

/// Sends on a schedule, whatever the pipeline does, while business time passes midnight. Latency is from the moment
/// an event was due to be sent to its readable, durable balance.
fn steady(
    company: &mut Company,
    traffic: &mut Traffic,
    events: u64,
    from_us: i64,
    bar: &ProgressBar,
) -> anyhow::Result<(u64, Percentiles)> {
    let rate = (events / PACED_SECONDS_MIN).clamp(1, RATE_MAX);
    let due = Arc::new(Due::default());
    let log = company.log();
    let monitor = Monitor::start(Arc::clone(&log.log), Arc::clone(&due), move || log.last_sequence())?;
    let begin = clock::wall_us();
    let mut sent = 0;
    while sent < events {
        let elapsed = u64::try_from(clock::wall_us() - begin).unwrap_or(0);
        let should = (rate.saturating_mul(elapsed) / 1_000_000).min(events);
        if should > sent {
            let due_us = begin + i64::try_from(sent.saturating_mul(1_000_000) / rate).unwrap_or(0);
            company.note_due(&due, due_us);
            let step = |at: u64| from_us + share(PACED_US, at, events);
            let made = (sent..should).map(|at| traffic.next(step(at))).collect();
            company.set_clock(step(should));
            company.send(made)?;
            bar.inc(should - sent);
            sent = should;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    company.drain(PATIENCE)?;
    // What is drained becomes durable with the next sync.
    std::thread::sleep(Duration::from_millis(100));
    Ok((rate, percentiles(monitor.finish()?)))
}

/// Sends the rest at once; events and the microseconds until the last balance is durable.
fn backlog(
    company: &mut Company,
    traffic: &mut Traffic,
    events: u64,
    from_us: i64,
    bar: &ProgressBar,
) -> anyhow::Result<(u64, u64)> {
    let started_us = clock::monotonic_us();
    let mut sent = 0;
    while sent < events {
        let until = (sent + CHUNK).min(events);
        let step = |at: u64| from_us + share(BACKLOG_US, at, events);
        let made = (sent..until).map(|at| traffic.next(step(at))).collect();
        company.set_clock(step(until));
        company.send(made)?;
        bar.inc(until - sent);
        sent = until;
    }
    company.drain(PATIENCE)?;
    company.wait_durable()?;
    Ok((events, since(started_us)))
}

/// `part` of `whole`, of a stretch of time.
fn share(stretch_us: i64, part: u64, whole: u64) -> i64 {
    let part = i128::from(stretch_us) * i128::from(part) / i128::from(whole.max(1));
    i64::try_from(part).unwrap_or(stretch_us)
}

fn since(monotonic_us: i64) -> u64 {
    u64::try_from(clock::monotonic_us() - monotonic_us).unwrap_or(1).max(1)
}

/// A bar on standard error; none when that is not a terminal.
fn progress(events: u64) -> ProgressBar {
    let bar = ProgressBar::new(events);
    let style = ProgressStyle::with_template("{elapsed:>4} {bar:24} {human_pos:>9} events  {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
