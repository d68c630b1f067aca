//! The auditor's report as tables.

use super::books::Books;
use super::follow::Follower;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use schemas::dates::format_instant;
use std::sync::{Arc, Mutex};
use stream::clock;
use stream::mutex::lock;

/// What an audit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audited {
    /// Findings that are wrong.
    pub wrong: u64,
    /// What somebody must look at though the books are right.
    pub noted: u64,
    /// When it ended, microseconds since 1970-01-01T00:00:00Z, by the machine's clock.
    pub ended_us: i64,
}

/// The last audit that this process has run, for whoever scrapes it, and the one that goes on.
#[derive(Debug, Clone, Default)]
pub struct Audits {
    last: Arc<Mutex<Option<Audited>>>,
    follower: Arc<Mutex<Option<Follower>>>,
}

impl Audits {
    /// What the last one came to; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<Audited> {
        *lock(&self.last)
    }

    /// The one that goes on.
    pub(super) fn follower(&self) -> &Mutex<Option<Follower>> {
        &self.follower
    }

    /// For the one that goes on, to tell of itself: it does not hold itself.
    pub(super) fn telling(&self) -> Self {
        Self { last: Arc::clone(&self.last), follower: Arc::default() }
    }

    pub(super) fn ended(&self, wrong: u64, noted: u64) {
        *lock(&self.last) = Some(Audited { wrong, noted, ended_us: clock::wall_us() });
    }
}

/// How often something is wrong, and how often it is noted.
pub(super) fn counted(report: &audit::Report) -> (u64, u64) {
    report.checks.iter().fold((0, 0), |(wrong, noted), check| (wrong + check.wrong, noted + check.noted))
}

/// `audit`.
pub(super) fn audit(books: &Books, quiesced: bool) -> anyhow::Result<Answer> {
    let limit = audit::AuditLimit { quiesced, ..audit::AuditLimit::default() };
    // Retention of this process waits for what the auditor has not read.
    let hold = books.retention.hold();
    let mut auditor = audit::Auditor::new(books.log.as_ref(), books.setup.counts, limit)?;
    let report = auditor.run(|auditor| hold.reached(auditor.positions()))?;
    // One that takes a running pipeline for one at rest finds what is on its way.
    if !quiesced {
        let (wrong, noted) = counted(&report);
        books.audits.ended(wrong, noted);
    }
    Ok(answer(&report))
}

/// A report as tables.
pub(super) fn answer(report: &audit::Report) -> Answer {
    let records: u64 = report.coverage.iter().map(|range| range.records).sum();
    let gone = report.coverage.iter().filter(|range| range.from > 0).count();
    let partitions = report.coverage.len();
    let (_, noted) = counted(report);
    let word = if report.passed { "nothing wrong" } else { "something is wrong" };
    let mut message = format!("{records} records of {partitions} partitions read");
    if gone > 0 {
        message += &format!(", {gone} of them from where retention has left off");
    }
    if noted > 0 {
        message +=
            &format!("\n{noted} noted: no booking is wrong by that, but somebody must look at what was sent");
    }
    message += &format!("\n{}", equation(&report.conservation, report.holds(audit::Check::Conservation)));
    if let Some(first) = &report.first {
        message += &format!("\nfirst: {first}");
    }
    message += &format!("\n{word}; digest {}", report.digest);
    // What matters most stands last, where the screen ends.
    let tables = vec![
        ranges(report),
        checks(report),
        first(report),
        conservation(report),
        areas(report),
        findings(report),
    ];
    let ending = if report.passed { Ending::Done } else { Ending::Wrong };
    Answer { ending, message: Some(message), ..Answer::tables(tables) }
}

/// Where every event went, as a line for people.
#[must_use]
pub fn equation(of: &audit::Conservation, holds: bool) -> String {
    let audit::Conservation { received, dead_lettered, outcomes, not_yet_read, .. } = of;
    let audit::Outcomes { booked, duplicate, refused, parked, pending } = outcomes;
    let is = if holds { "=" } else { "IS NOT" };
    format!(
        "received {received} {is} booked {booked} + duplicate {duplicate} + refused {refused} + dead-lettered {dead_lettered} \
         + parked {parked} + pending {pending} + on its way {not_yet_read}"
    )
}

/// The same for programs.
fn conservation(report: &audit::Report) -> Table {
    let c = &report.conservation;
    let o = &c.outcomes;
    let columns =
        ["received", "booked", "duplicate", "refused", "dead_lettered", "parked", "pending", "on_its_way"];
    let mut table = Table::new("conservation", &columns).for_programs();
    let counts =
        [c.received, o.booked, o.duplicate, o.refused, c.dead_lettered, o.parked, o.pending, c.not_yet_read];
    table.row(counts.map(Cell::from));
    table
}

/// The first finding, in the order of reading, with the record that showed it.
fn first(report: &audit::Report) -> Table {
    let columns = ["check", "place", "finding", "topic", "partition", "offset", "time"];
    let mut table = Table::new("first", &columns).for_programs();
    if let Some(first) = &report.first {
        let shown = first.shown.as_ref().map(|shown| {
            let time = format_instant(shown.time_us);
            let cells: [Cell; 4] = [
                shown.topic.as_str().into(),
                shown.partition.into(),
                shown.offset.into(),
                time.as_str().into(),
            ];
            cells
        });
        let finding = [first.check.as_str(), first.place.as_str(), first.what.as_str()].map(Cell::from);
        table.row(finding.into_iter().chain(shown.into_iter().flatten()));
    }
    table
}

/// Checks counted together by the first word of their names.
fn areas(report: &audit::Report) -> Table {
    let mut areas: Vec<(&str, [u64; 6])> = Vec::new();
    for check in &report.checks {
        let area = check.check.split_once('.').map_or(check.check, |(area, _)| area);
        let counts = [1, check.checked, check.wrong, check.open, check.uncovered, check.noted];
        match areas.iter_mut().find(|(name, _)| *name == area) {
            Some((_, sums)) => sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count),
            None => areas.push((area, counts)),
        }
    }
    let columns = ["area", "checks", "checked", "wrong", "open", "uncovered", "noted"];
    let mut table = Table::new("areas", &columns);
    for (area, counts) in areas {
        table.row(std::iter::once(area.into()).chain(counts.map(Cell::from)));
    }
    table
}

fn checks(report: &audit::Report) -> Table {
    let columns = ["check", "checked", "wrong", "open", "uncovered", "noted"];
    let mut table = Table::new("checks", &columns).for_programs();
    for check in &report.checks {
        let counts = [check.checked, check.wrong, check.open, check.uncovered, check.noted];
        table.row(std::iter::once(check.check.into()).chain(counts.map(Cell::from)));
    }
    table
}

fn findings(report: &audit::Report) -> Table {
    let mut table = Table::new("findings", &["check", "place", "finding"]);
    for check in report.wrong().chain(report.noted()) {
        for finding in &check.findings {
            let (place, what) = (finding.place.to_string(), finding.what.clone());
            table.row([check.check.into(), place.into(), what.into()]);
        }
    }
    table
}

fn ranges(report: &audit::Report) -> Table {
    let columns = ["topic", "partition", "from", "to", "records", "bytes", "removed_meanwhile"];
    let mut table = Table::new("ranges read", &columns).for_programs();
    for range in &report.coverage {
        let removed = range.skipped.iter().map(|(from, to)| format!("{from} to {to}")).collect::<Vec<_>>();
        table.row([
            range.topic.into(),
            range.partition.into(),
            range.from.into(),
            range.to.into(),
            range.records.into(),
            range.bytes.into(),
            removed.join(", ").into(),
        ]);
    }
    table
}
