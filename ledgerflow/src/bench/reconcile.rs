//! `ledgerflow bench reconcile`: a provider's bill joined with as many entries of ours, on the embedded log.
//!
//! Phases: the journal is written as posting writes it, with an entry for each order, and the bill as WeChat Pay writes it,
//! both with planted breaks -> the clock starts -> both halves of reconcile start, the file is imported as `ledgerflow
//! bill` does -> everything is worked off and durable: the clock stops -> the cases are counted and compared with what was
//! planted.
//!
//! Bounds: orders are made one at a time, journal batches of [`BATCH_ENTRIES`] appended one at a time. So what the
//! process holds beyond its start is reconcile's.

use super::{cores, decimal, embedded, is_its_own};
use crate::basis;
use crate::cli::args::BenchReconcile;
use crate::config::Settings;
use crate::generate::bill::Line;
use crate::generate::wechat;
use crate::measure::process;
use crate::query::bill::append_bill;
use crate::query::books::checkpoints;
use crate::runtime::{Deadline, Pipeline, Role, Setup, Share, Start, Work};
use anyhow::{Context, anyhow, bail};
use reconcile::import::Import;
use reconcile::join::{Gate, JoinSlot, Summary};
use schemas::batch::{BodyBuilder, ChainHead};
use schemas::dates::parse_instant;
use schemas::recon_json::CaseKind;
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;
use schemas::wire::{BatchHeader, Decision, Entry, EventKey, JournalItem, Match, Outcome, Side};
use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use stream::clock::{self, BusinessClock};
use stream::log::{Log, OutRecord, TopicPartition};

/// Our account at the provider.
const ACCOUNT: &str = "1900000109";
/// The source of bills without a configuration.
const SOURCE: &str = "wechat";
/// Noon of the bill's day at the provider.
const NOON: &str = "2026-11-11T04:00:00Z";
/// Entries of a journal batch.
const BATCH_ENTRIES: u64 = 500;
/// One order in eight is a refund.
const REFUND_EVERY: u64 = 8;
/// In each run of so many orders one break of each kind is planted.
const PLANTED_EVERY: u64 = 1_000;
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

/// Result of a measurement.
#[derive(Debug, Serialize)]
pub struct Measured {
    log: &'static str,
    lines: u64,
    entries: u64,
    file_bytes: u64,
    seconds: Box<RawValue>,
    lines_per_s: u64,
    /// Of them, until the file lay on the log.
    import_seconds: Box<RawValue>,
    cpu_s: Box<RawValue>,
    /// Largest resident memory before the clock started, and of all.
    rss_mib_before: u64,
    rss_mib: u64,
    stages: BTreeMap<&'static str, Stage>,
    matched: Counted,
    breaks: BTreeMap<&'static str, Counted>,
    partitions: u32,
    durability: String,
    cores: usize,
    checks: Checks,
}

/// Cases of a kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
struct Counted {
    planted: u64,
    found: u64,
}

/// What one half of reconcile did.
#[derive(Debug, Serialize)]
struct Stage {
    windows: u64,
    items: u64,
    records_read: u64,
    records_written: u64,
}

impl Stage {
    const fn of(work: Work) -> Self {
        let Work { windows, items, records_read, records_written, .. } = work;
        Self { windows, items, records_read, records_written }
    }
}

#[derive(Debug, Serialize)]
struct Checks {
    /// Every kind was found as often as it was planted.
    as_planted: bool,
    /// No entry waits for its bill.
    none_waiting: bool,
}

impl Measured {
    /// Whether what was found is what was planted.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.checks.as_planted && self.checks.none_waiting
    }
}

/// What becomes of order number `order`.
const fn case_of(order: u64) -> CaseKind {
    match order % PLANTED_EVERY {
        1 => CaseKind::Currency,
        2 => CaseKind::Amount,
        3 => CaseKind::Fee,
        4 => CaseKind::OursOnly,
        5 => CaseKind::TheirsOnly,
        6 => CaseKind::Duplicate,
        // A refund: only these have a state that may differ.
        7 => CaseKind::Status,
        _ => CaseKind::Matched,
    }
}

const _: () = assert!(7 % REFUND_EVERY == REFUND_EVERY - 1 && PLANTED_EVERY.is_multiple_of(REFUND_EVERY));

/// An order as both sides report it where they agree.
fn line(order: u64, noon_us: i64) -> Line {
    let refund = order % REFUND_EVERY == REFUND_EVERY - 1;
    let cents = 100 + order.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 50_000;
    Line {
        time_us: noon_us,
        paid_us: noon_us,
        order: format!("M{}-{order:010}", order % 997),
        refund: if refund { format!("R{order:010}") } else { String::new() },
        cents,
        fee_fine: if refund { 0 } else { cents * 6 },
        currency: "CNY",
        refund_status: if refund { "SUCCESS" } else { "" },
        user: order % 100_003,
    }
}

/// The lines of the bill that report one order.
fn billed(order: u64, noon_us: i64) -> impl Iterator<Item = Line> {
    let mut line = line(order, noon_us);
    let kind = case_of(order);
    line.differ(kind);
    let times = match kind {
        CaseKind::OursOnly => 0,
        CaseKind::Duplicate => 2,
        _ => 1,
    };
    std::iter::repeat_n(line, times)
}

/// What an entry of ours says of one order; `None` = we have none.
fn booked(order: u64, noon_us: i64) -> Option<JournalItem> {
    if case_of(order) == CaseKind::TheirsOnly {
        return None;
    }
    let line = line(order, noon_us);
    let matched = Match {
        provider: SOURCE.into(),
        account: ACCOUNT.into(),
        kind: if line.is_refund() { "refund" } else { "payment" }.into(),
        order: line.order,
        refund: line.refund,
        gross: Some(i128::from(line.cents).into()),
        // Rounded to cents, halves up.
        fee: Some(i128::from((line.fee_fine + 500) / 1_000).into()),
        status: "success".into(),
        asset: line.currency.into(),
    };
    let mut entry = Entry {
        account: format!("providers:{SOURCE}:{ACCOUNT}:receivable"),
        asset: line.currency.into(),
        side: Side::Debit.into(),
        seq: order + 1,
        r#match: Some(matched),
        ..Entry::default()
    };
    entry.set_figures(i128::from(line.cents), 0, i128::from(line.cents));
    let decision = Decision {
        event: Some(EventKey { source: "/orders".into(), id: format!("order-{order}") }),
        outcome: Outcome::Booked.into(),
        occurred_at_us: noon_us,
        entry: vec![entry],
        ..Decision::default()
    };
    Some(JournalItem { item: Some(Item::Decision(decision)) })
}

/// Writes the journal: batches go to one partition after the other. The number of entries.
fn write_journal(log: &dyn Log, lines: u64, partitions: u32, noon_us: i64) -> anyhow::Result<u64> {
    let mut heads = vec![ChainHead::default(); usize::try_from(partitions)?];
    let (mut entries, mut partition, mut order) = (0, 0, 0);
    while order < lines {
        let until = (order + BATCH_ENTRIES).min(lines);
        let mut body = BodyBuilder::new();
        for item in (order..until).filter_map(|order| booked(order, noon_us)) {
            entries += 1;
            body.push(&item);
        }
        order = until;
        let head = heads.get_mut(usize::try_from(partition)?).context("partition")?;
        let sealed = body.seal(BatchHeader {
            slot: partition,
            epoch: 1,
            batch: head.sequence + 1,
            sequence: head.sequence + 1,
            previous_hash: head.previous_hash(),
            ..BatchHeader::default()
        });
        *head = head.advanced(sealed.hash);
        log.append(vec![OutRecord::new(TopicPartition::new(Topic::Journal, partition), sealed.value)])?;
        partition = (partition + 1) % partitions;
    }
    Ok(entries)
}

/// Writes the bill; the number of its lines.
fn write_bill(path: &Path, orders: u64, noon_us: i64) -> anyhow::Result<u64> {
    let mut file = BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
    let lines = wechat::write(&mut file, ACCOUNT, (0..orders).flat_map(|order| billed(order, noon_us)))?;
    file.flush()?;
    Ok(lines)
}

/// Runs the measurement in `dir`, which must be empty.
///
/// # Errors
/// The directory holds something, the log fails, or reconcile does not get through.
pub fn reconcile(options: &BenchReconcile, settings: &Settings, dir: &Path) -> anyhow::Result<Measured> {
    is_its_own(dir)?;
    let embedded = embedded::open(settings, options.partitions, dir)?;
    let counts = embedded.counts();
    let log = Arc::clone(&embedded) as Arc<dyn Log>;
    let setup = Setup::new(counts);
    basis::open(log.as_ref(), &setup)?;
    let noon_us = parse_instant(NOON)?;
    let entries = write_journal(log.as_ref(), options.lines, counts.internal, noon_us)?;
    let bill = dir.join("bill.csv");
    let lines = write_bill(&bill, options.lines, noon_us)?;

    let (before, cpu_before_ms, from_us) = (process::rss_mib(), process::cpu_ms(), clock::monotonic_us());
    let (share, clock) = (Share::of(Role::Reconcile, "1"), BusinessClock::Wall);
    let store = checkpoints(dir, &log);
    let start =
        Start { log: &log, share: &share, clock: &clock, checkpoints: &store, traces: None, observed: None };
    let pipeline = Pipeline::start(&setup.processors()?, &settings.workers(), &start)?;
    let file = import(log.as_ref(), &setup, &bill)?;
    let imported_us = clock::monotonic_us();
    wait_released(&pipeline, &file, counts.internal)?;
    if !pipeline.drain(PATIENCE)? {
        return Err(stuck(&pipeline));
    }
    log.wait_durable(embedded.last_sequence(), PATIENCE)?;
    let until_us = clock::monotonic_us();
    let (rss_mib, cpu_ms) = (process::rss_mib(), process::cpu_ms() - cpu_before_ms);

    let summary = summary(&pipeline)?;
    let stages = pipeline.work().into_iter().map(|(name, work)| (name, Stage::of(work))).collect();
    if let Some(failure) = pipeline.stop(Duration::from_secs(30))?.first() {
        bail!("{} failed: {}", failure.processor, failure.error);
    }
    let mut cases = counted(options.lines, &summary);
    let matched = cases.remove(CaseKind::Matched.name()).unwrap_or_default();
    let as_planted = cases.values().chain([&matched]).all(|of| of.planted == of.found);
    let micros = |until: i64| u64::try_from(until - from_us).unwrap_or(1).max(1);
    Ok(Measured {
        log: "embedded",
        lines,
        entries,
        file_bytes: std::fs::metadata(&bill)?.len(),
        seconds: decimal(micros(until_us), 1_000_000, 3)?,
        lines_per_s: lines.saturating_mul(1_000_000) / micros(until_us),
        import_seconds: decimal(micros(imported_us), 1_000_000, 3)?,
        cpu_s: decimal(cpu_ms, 1_000, 2)?,
        rss_mib_before: before,
        rss_mib,
        stages,
        matched,
        breaks: cases,
        partitions: counts.internal,
        durability: format!("group fsync every {} ms, one disk", settings.log.sync_interval_ms),
        cores: cores(),
        checks: Checks { as_planted, none_waiting: summary.waiting == 0 },
    })
}

/// Imports the bill as `ledgerflow bill` does; the file's id.
fn import(log: &dyn Log, setup: &Setup, bill: &Path) -> anyhow::Result<String> {
    let import = Import::open_path(setup.source(Some(SOURCE))?, bill, None, setup.counts.internal)?;
    if !import.end().accepted {
        bail!("the bill is quarantined: {}: {}", import.end().reason, import.end().detail);
    }
    let file = import.file().id.clone();
    append_bill(log, import)?;
    Ok(file)
}

fn stuck(pipeline: &Pipeline) -> anyhow::Error {
    anyhow!("reconcile did not get through: {:?} {:?}", pipeline.failures(), pipeline.stopped_slots())
}

/// Waits until the file counts in every partition. One that is at it does not answer meanwhile.
fn wait_released(pipeline: &Pipeline, file: &str, partitions: u32) -> anyhow::Result<()> {
    let until = Deadline::after(PATIENCE);
    loop {
        let file = file.to_owned();
        let asked = pipeline.join.ask(move |worker| {
            let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
            let counts = |slot: &&JoinSlot| {
                slot.files().iter().any(|known| known.id == file && known.gate == Gate::Accepted)
            };
            slots.filter(counts).count()
        });
        let released: usize = asked.into_iter().flatten().sum();
        if released == usize::try_from(partitions)? {
            return Ok(());
        }
        if until.left().is_zero() || !pipeline.failures().is_empty() {
            return Err(stuck(pipeline));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The figures of all slots.
fn summary(pipeline: &Pipeline) -> anyhow::Result<Summary> {
    let asked = pipeline.join.ask(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.fold(Summary::default(), |all, slot| all.with(&slot.summary()))
    });
    let asked = asked.context("reconcile does not answer")?;
    Ok(asked.iter().fold(Summary::default(), Summary::with))
}

/// What was planted in so many orders beside what was found.
fn counted(orders: u64, summary: &Summary) -> BTreeMap<&'static str, Counted> {
    let mut all = BTreeMap::new();
    for kind in CaseKind::ALL {
        all.insert(kind.name(), Counted { planted: 0, found: summary.count(kind) });
    }
    for order in 0..orders {
        let kind = case_of(order);
        // An extra line leaves the pair as it is.
        let pair = (kind == CaseKind::Duplicate).then_some(CaseKind::Matched);
        for kind in pair.into_iter().chain([kind]) {
            all.entry(kind.name()).or_default().planted += 1;
        }
    }
    all
}
