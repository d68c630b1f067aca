//! The auditor's report as tables.

use super::books::Books;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
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

/// The last audit that this process has run, for whoever scrapes it.
#[derive(Debug, Clone, Default)]
pub struct Audits(Arc<Mutex<Option<Audited>>>);

impl Audits {
    /// What the last one came to; `None` before the first.
    #[must_use]
    pub fn last(&self) -> Option<Audited> {
        *lock(&self.0)
    }

    fn ended(&self, report: &audit::Report) {
        let wrong = report.checks.iter().map(|check| check.wrong).sum();
        *lock(&self.0) = Some(Audited { wrong, noted: noted(report), ended_us: clock::wall_us() });
    }
}

fn noted(report: &audit::Report) -> u64 {
    report.checks.iter().map(|check| check.noted).sum()
}

/// `audit`.
pub(super) fn audit(books: &Books, quiesced: bool) -> anyhow::Result<Answer> {
    let limit = audit::AuditLimit { quiesced, ..audit::AuditLimit::default() };
    // Retention of this process waits for what the auditor has not read.
    let hold = books.retention.hold();
    let mut auditor = audit::Auditor::new(books.log.as_ref(), books.setup.counts, limit)?;
    let report = auditor.run(|auditor| hold.reached(auditor.positions()))?;
    let records: u64 = report.coverage.iter().map(|range| range.records).sum();
    let gone = report.coverage.iter().filter(|range| range.from > 0).count();
    let partitions = report.coverage.len();
    // One that takes a running pipeline for one at rest finds what is on its way.
    if !quiesced {
        books.audits.ended(&report);
    }
    let noted = noted(&report);
    let word = if report.passed { "nothing wrong" } else { "something is wrong" };
    let mut message = format!("{records} records of {partitions} partitions read");
    if gone > 0 {
        message += &format!(", {gone} of them from where retention has left off");
    }
    if noted > 0 {
        message +=
            &format!("\n{noted} noted: no booking is wrong by that, but somebody must look at what was sent");
    }
    message += &format!("\n{word}; digest {}", report.digest);
    // What matters most stands last, where the screen ends.
    let tables = vec![ranges(&report), checks(&report), areas(&report), findings(&report)];
    let ending = if report.passed { Ending::Done } else { Ending::Wrong };
    Ok(Answer { ending, message: Some(message), ..Answer::tables(tables) })
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
