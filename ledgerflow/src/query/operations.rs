//! Status, topics, audit, backup, bills: what an operator asks.

use super::books::Books;
use super::figures::{self, Figures, StageFigures};
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use crate::runtime::Role;
use anyhow::Context;
use reconcile::import::Import;
use reconcile::join::Gate;
use schemas::dates::{Day, format_instant};
use schemas::topics::{Retention, Topic};
use schemas::wire::{BillEnd, BillFile};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use stream::log::{Isolation, Log, LogError, Offset, OutRecord, TopicPartition};
use stream::processor::{Processor, SlotState, Stop};
use stream::worker::Worker;

/// Bytes of one append of a bill import.
const APPEND_BYTES: usize = 4 << 20;
/// State of a stage that works.
pub const RUNNING: &str = "running";

/// `topics list`.
pub(super) fn topics(books: &Books) -> anyhow::Result<Answer> {
    if books.log.features().compaction { topics_on_kafka(books) } else { topics_embedded(books) }
}

fn topics_embedded(books: &Books) -> anyhow::Result<Answer> {
    let columns = ["topic", "partitions", "records", "removed", "retention", "value"];
    let mut table = Table::new("topics", &columns);
    for topic in Topic::ALL {
        let Held { partitions, low, high, .. } = held(books, *topic)?;
        let (kept, value) = (kept(*topic).into(), topic.value().into());
        table.row([topic.name().into(), partitions.into(), (high - low).into(), low.into(), kept, value]);
    }
    Ok(Answer::tables(vec![table]))
}

/// On Kafka, commit markers take offsets too, and a transaction that is open holds back what was written after it.
fn topics_on_kafka(books: &Books) -> anyhow::Result<Answer> {
    let columns = ["topic", "partitions", "offsets", "removed", "held_back", "retention", "value"];
    let mut table = Table::new("topics", &columns);
    for topic in Topic::ALL {
        let Held { partitions, low, high, end } = held(books, *topic)?;
        let (offsets, held_back) = (high - low, (end - high).max(0));
        table.row([
            topic.name().into(),
            partitions.into(),
            offsets.into(),
            low.into(),
            held_back.into(),
            kept_on_kafka(*topic).into(),
            topic.value().into(),
        ]);
    }
    Ok(Answer::tables(vec![table]))
}

/// Bounds of a topic's partitions, added up.
#[derive(Default)]
struct Held {
    partitions: u32,
    low: Offset,
    /// Of what is committed.
    high: Offset,
    /// Of everything.
    end: Offset,
}

fn held(books: &Books, topic: Topic) -> anyhow::Result<Held> {
    let mut held = Held { partitions: books.log.partitions(topic)?, ..Held::default() };
    for partition in 0..held.partitions {
        let at = TopicPartition::new(topic, partition);
        let committed = books.log.watermarks(at, Isolation::Committed)?;
        held.low += committed.low;
        held.high += committed.high;
        held.end += books.log.watermarks(at, Isolation::Uncommitted)?.high;
    }
    Ok(held)
}

/// How long Kafka keeps records: the settings that `topics create` gives a topic.
fn kept_on_kafka(topic: Topic) -> &'static str {
    match topic.retention() {
        Retention::Forever => "for ever",
        Retention::BelowReaders => "7 days",
        Retention::Compacted => "newest of a key",
    }
}

/// How long the embedded log keeps records; see `retention.*` in the configuration.
fn kept(topic: Topic) -> &'static str {
    match topic.retention() {
        Retention::Forever => "for ever",
        _ if crate::retention::goes_by_age(topic) => "by age",
        _ => "until read",
    }
}

/// `topics describe`.
#[must_use]
pub fn topic(name: &str) -> Answer {
    let Some(topic) = Topic::by_name(name) else {
        let all: Vec<&str> = Topic::ALL.iter().map(|topic| topic.name()).collect();
        return Answer::says(Ending::NotFound, format!("no topic {name:?}; there are {}", all.join(", ")));
    };
    let mut table = Table::new("topic", &["field", "value"]);
    let rows = [
        ("topic", topic.name().to_owned()),
        ("holds", topic.describe().to_owned()),
        ("value", topic.value().to_owned()),
        ("partitioning", format!("{:?}", topic.partitioning()).to_lowercase()),
        ("retention", kept(topic).to_owned()),
        ("retention_on_kafka", kept_on_kafka(topic).to_owned()),
    ];
    for (field, value) in rows {
        table.row([field.into(), value.into()]);
    }
    Answer::tables(vec![table])
}

/// `status`.
pub(super) fn status(books: &Books) -> anyhow::Result<Answer> {
    let Some(pipeline) = books.pipeline() else { return at_rest(books) };
    let failed: BTreeMap<&str, String> =
        pipeline.failures().into_iter().map(|f| (f.processor, f.error.to_string())).collect();
    let stopped = pipeline.stopped_slots();
    let blocked: BTreeMap<&str, String> =
        pipeline.blocked().into_iter().map(|blocked| (blocked.processor, blocked.why)).collect();
    let stages = pipeline.stages().map(|stage| {
        let name = stage.name();
        let state = match failed.get(name) {
            Some(error) => format!("ended: {error}"),
            None if stopped.iter().any(|(other, _)| *other == name) => "slot stopped".into(),
            None => blocked.get(name).cloned().unwrap_or_else(|| RUNNING.into()),
        };
        let (slots, done) = (stage.slots().len() as u64, Some(figures::done(stage)));
        StageFigures { name: name.to_owned(), slots, state, done, ..StageFigures::default() }
    });
    let figures = figures::gather(books, stages.collect(), &figures::reached(pipeline))?;
    let slowest = figures.stages.iter().max_by_key(|stage| stage.lag.records);
    let message = match slowest.filter(|stage| stage.lag.records > 0) {
        Some(stage) => format!("slowest stage: {}, {} records behind", stage.name, stage.lag.records),
        None => "everything is read".into(),
    };
    let mut answer = told_of(books, figures)?;
    answer.message = Some(message);
    tell_stopped(&mut answer, stopped);
    Ok(answer)
}

/// What figures and slots have to say.
fn told_of(books: &Books, figures: Figures) -> anyhow::Result<Answer> {
    let mut stages = Table::new("stages", &["stage", "slots", "state", "behind_records"]);
    for stage in &figures.stages {
        let (name, state) = (stage.name.as_str().into(), stage.state.as_str().into());
        stages.row([name, stage.slots.into(), state, stage.lag.records.into()]);
    }
    let mut answer = Answer::tables(vec![stages]);
    answer.tables.extend(figures.tables());
    let notes = [alarms(books)?, held_ticks(books)?, books.mirrored.table(books)?];
    answer.tables.extend(notes.into_iter().flatten());
    answer.figures = Some(Box::new(figures));
    Ok(answer)
}

/// What an operator should know of posting's slots; no table when that is nothing.
fn alarms(books: &Books) -> anyhow::Result<Option<Table>> {
    let alarms = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| Some((slot, worker.slot(slot)?.alarms())));
        slots.flat_map(|(slot, all)| all.into_iter().map(move |alarm| (slot, alarm))).collect::<Vec<_>>()
    })?;
    let mut alarms: Vec<_> = alarms.into_iter().flatten().collect();
    alarms.sort();
    let mut table = None;
    for (slot, alarm) in alarms {
        let table = table.get_or_insert_with(|| Table::new("alarms", &["stage", "slot", "alarm"]));
        table.row(["posting".into(), slot.into(), alarm.into()]);
    }
    Ok(table)
}

/// Ticks of business time that were too far ahead to be believed; no table when there are none.
fn held_ticks(books: &Books) -> anyhow::Result<Option<Table>> {
    let mut table = Table::new("held ticks", &["slot", "held", "last", "business_time"]);
    let held = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|number| worker.slot(number));
        let held = slots.filter(|slot| slot.held_ticks > 0);
        held.map(|slot| (slot.slot, slot.held_ticks, slot.held_tick_us, slot.tick_us)).collect::<Vec<_>>()
    })?;
    let mut held: Vec<_> = held.into_iter().flatten().collect();
    held.sort_unstable();
    for (slot, count, last_us, time_us) in &held {
        let (last, time) = (format_instant(*last_us), format_instant(*time_us));
        table.row([(*slot).into(), (*count).into(), last.into(), time.into()]);
    }
    Ok((!held.is_empty()).then_some(table))
}

/// A table of the slots that cannot go on; with one of them something is wrong.
fn tell_stopped(answer: &mut Answer, stopped: Vec<(&'static str, Stop)>) {
    if stopped.is_empty() {
        return;
    }
    let mut table = Table::new("stopped slots", &["stage", "slot", "at", "why"]);
    for (stage, stop) in stopped {
        table.row([stage.into(), stop.slot.into(), stop.at.into(), stop.why.into()]);
    }
    answer.tables.push(table);
    answer.ending = Ending::Wrong;
}

/// A restored worker that does not work: its slots, those that cannot go on, up to where its inputs are worked off.
type Rested = (usize, Vec<Stop>, Vec<(TopicPartition, Offset)>);

fn rested<P: Processor>(worker: &Worker<P>) -> Rested {
    (worker.slots().len(), worker.stopped(), worker.worked_off())
}

/// The workers of one stage.
fn together(workers: Vec<Rested>) -> Rested {
    workers.into_iter().fold(Rested::default(), |(slots, mut stopped, mut reached), worker| {
        stopped.extend(worker.1);
        reached.extend(worker.2);
        (slots + worker.0, stopped, reached)
    })
}

/// `status` where nothing runs, or elsewhere: how far each stage is, and what a start would stop at.
fn at_rest(books: &Books) -> anyhow::Result<Answer> {
    let all: [(&'static str, Rested); 5] = [
        ("ingest", together(books.ingest(rested)?)),
        ("posting", together(books.posting(rested)?)),
        ("settlement", together(books.settlement(rested)?)),
        ("rekey", together(books.rekey(rested)?)),
        ("join", together(books.join(rested)?)),
    ];
    let (mut stages, mut stopped, mut all_reached) = (Vec::new(), Vec::new(), figures::Reached::new());
    for (stage, (slots, stops, reached)) in all {
        let state = match (&books.embedded, stops.is_empty()) {
            (_, false) => "slot stopped",
            (Some(_), true) => "at rest",
            (None, true) => "as committed",
        };
        let (name, state, slots) = (stage.to_owned(), state.to_owned(), slots as u64);
        stages.push(StageFigures { name, slots, state, ..StageFigures::default() });
        all_reached.insert(stage, reached);
        stopped.extend(stops.into_iter().map(|stop| (stage, stop)));
    }
    let mut answer = told_of(books, figures::gather(books, stages, &all_reached)?)?;
    answer.message = Some("nothing runs on this directory".into());
    if books.embedded.is_none() {
        answer.tables.push(members(books)?);
        answer.message = None;
    }
    tell_stopped(&mut answer, stopped);
    Ok(answer)
}

/// Who works on Kafka, on whatever machine.
fn members(books: &Books) -> anyhow::Result<Table> {
    let mut table = Table::new("members", &["stage", "workers", "names"]);
    for stage in Role::ALL.iter().flat_map(|role| role.groups()) {
        let names = books.log.members(stage)?;
        table.row([(*stage).into(), names.len().into(), names.join(", ").into()]);
    }
    Ok(table)
}

/// What the stages that run here have done.
pub(super) fn work(books: &Books) -> anyhow::Result<Answer> {
    let columns =
        ["stage", "windows", "aborted", "items", "records_read", "records_written", "behind_records"];
    let mut table = Table::new("work", &columns);
    let Some(pipeline) = books.pipeline() else {
        return Ok(Answer::says(Ending::Failed, "nothing runs on this directory"));
    };
    let lag = pipeline.lag()?;
    for (stage, work) in pipeline.work() {
        table.row([
            stage.into(),
            work.windows.into(),
            work.aborted.into(),
            work.items.into(),
            work.records_read.into(),
            work.records_written.into(),
            lag.get(stage).copied().unwrap_or(0).into(),
        ]);
    }
    Ok(Answer::tables(vec![table]))
}

/// `health`.
pub(super) fn health(books: &Books) -> Answer {
    match books.pipeline() {
        Some(pipeline) if !pipeline.blocked().is_empty() => Answer::says(Ending::Wrong, "cannot write"),
        Some(pipeline) if pipeline.ready() && pipeline.failures().is_empty() => {
            match pipeline.stopped_slots().len() {
                0 => Answer::says(Ending::Done, "ready"),
                stopped => Answer::says(
                    Ending::Wrong,
                    format!("{stopped} slots are stopped, see `ledgerflow status`"),
                ),
            }
        }
        Some(_) => Answer::says(Ending::Wrong, "not ready"),
        None => Answer::says(Ending::Wrong, "nothing runs on this directory"),
    }
}

/// Whether this process is ready, stage by stage.
pub(super) fn ready(books: &Books) -> anyhow::Result<Answer> {
    let mut table = Table::new("stages", &["stage", "slots", "restored", "last_commit_seconds"]);
    let Some(pipeline) = books.pipeline() else {
        books.log.watermarks(TopicPartition::new(Topic::Journal, 0), Isolation::Committed)?;
        return Ok(Answer::tables(vec![table]));
    };
    let (work, now_us) = (pipeline.work(), stream::clock::monotonic_us());
    for stage in pipeline.stages() {
        let committed_us = work.get(stage.name()).map_or(0, |work| work.committed_us);
        let age = (committed_us > 0).then(|| now_us.saturating_sub(committed_us).max(0) / 1_000_000);
        table.row([stage.name().into(), stage.slots().len().into(), stage.ready().into(), age.into()]);
    }
    let health = health(books);
    Ok(Answer { tables: vec![table], ..health })
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
    let word = if report.passed { "nothing wrong" } else { "something is wrong" };
    let mut message = format!("{records} records of {partitions} partitions read");
    if gone > 0 {
        message += &format!(", {gone} of them from where retention has left off");
    }
    message += &format!("\n{word}; digest {}", report.digest);
    // What matters most stands last, where the screen ends.
    let tables = vec![ranges(&report), checks(&report), areas(&report), findings(&report)];
    let ending = if report.passed { Ending::Done } else { Ending::Wrong };
    Ok(Answer { ending, message: Some(message), ..Answer::tables(tables) })
}

/// Checks counted together by the first word of their names.
fn areas(report: &audit::Report) -> Table {
    let mut areas: Vec<(&str, [u64; 5])> = Vec::new();
    for check in &report.checks {
        let area = check.check.split_once('.').map_or(check.check, |(area, _)| area);
        let counts = [1, check.checked, check.wrong, check.open, check.uncovered];
        match areas.iter_mut().find(|(name, _)| *name == area) {
            Some((_, sums)) => sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count),
            None => areas.push((area, counts)),
        }
    }
    let mut table = Table::new("areas", &["area", "checks", "checked", "wrong", "open", "uncovered"]);
    for (area, counts) in areas {
        table.row(std::iter::once(area.into()).chain(counts.map(Cell::from)));
    }
    table
}

fn checks(report: &audit::Report) -> Table {
    let mut table = Table::new("checks", &["check", "checked", "wrong", "open", "uncovered"]).for_programs();
    for check in &report.checks {
        let counts = [check.checked, check.wrong, check.open, check.uncovered];
        table.row(std::iter::once(check.check.into()).chain(counts.map(Cell::from)));
    }
    table
}

fn findings(report: &audit::Report) -> Table {
    let mut table = Table::new("findings", &["check", "place", "finding"]);
    for check in report.wrong() {
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

/// `backup`.
pub(super) fn backup(books: &Books, to: &str) -> anyhow::Result<Answer> {
    let Some(log) = &books.embedded else {
        let why = "a backup is of the embedded log; topics on Kafka are kept by its replicas";
        return Ok(Answer::says(Ending::Failed, why));
    };
    let report = match log.backup(Path::new(to)) {
        Err(LogError::Corrupt(why)) => {
            let message = format!("the log is damaged, no backup is made: {why}");
            return Ok(Answer::says(Ending::Wrong, message));
        }
        report => report?,
    };
    let mut table = Table::new("backup", &["directory", "last_commit", "files", "bytes"]);
    let bytes: u64 = report.files.iter().map(|file| file.bytes).sum();
    table.row([to.into(), report.sequence.into(), report.files.len().into(), bytes.into()]);
    Ok(Answer::tables(vec![table]))
}

/// `bill`.
pub(super) fn bill(
    books: &Books,
    file: &str,
    source: Option<&str>,
    day: Option<&str>,
) -> anyhow::Result<Answer> {
    let source = match books.setup.source(source) {
        Ok(source) => source,
        Err(none) => return Ok(Answer::says(Ending::NotFound, none.to_string())),
    };
    let day = day.map(Day::parse).transpose()?;
    let import = Import::open_path(source, Path::new(file), day, books.setup.counts.internal)?;
    let (bill, end) = (import.file().clone(), import.end().clone());
    if let Some(known) = known_bill(books, &bill.id)? {
        return Ok(known);
    }
    let sequence = append_bill(books.log.as_ref(), import)?;
    books.log.wait_durable(sequence, std::time::Duration::from_secs(30)).context("waiting for the disk")?;
    Ok(told(&bill, &end))
}

/// Appends a bill piece by piece; the write-ahead sequence of the last.
///
/// # Errors
/// The file cannot be read or has changed, or the log is away.
pub(crate) fn append_bill(log: &dyn Log, import: Import<File>) -> anyhow::Result<u64> {
    let mut records: Vec<OutRecord> = Vec::new();
    let (mut bytes, mut sequence) = (0, 0);
    for record in import.records() {
        let record = record?;
        bytes += record.value.len();
        records.push(record);
        if bytes >= APPEND_BYTES {
            sequence = log.append(std::mem::take(&mut records))?;
            bytes = 0;
        }
    }
    if !records.is_empty() {
        sequence = log.append(records)?;
    }
    Ok(sequence)
}

/// Where a bill file stands.
fn told(bill: &BillFile, end: &BillEnd) -> Answer {
    let columns =
        ["file", "name", "source", "provider", "account", "day", "lines", "accepted", "reason", "detail"];
    let mut table = Table::new("bill", &columns);
    table.row([
        bill.id.chars().take(12).collect::<String>().into(),
        bill.name.as_str().into(),
        bill.source.as_str().into(),
        bill.provider.as_str().into(),
        bill.account.as_str().into(),
        // Where neither the file nor anybody said so there is none.
        (bill.day != 0).then(|| Day(bill.day).to_string()).into(),
        end.lines.into(),
        end.accepted.into(),
        end.reason.as_str().into(),
        end.detail.as_str().into(),
    ]);
    let mut answer = Answer::tables(vec![table]);
    if !end.accepted {
        answer.ending = Ending::Wrong;
        answer.message = Some("the file is quarantined: nothing of it is reconciled".into());
    }
    answer
}

/// What became of a file that was imported before: its first import counts, under the name and for the day it had then.
fn known_bill(books: &Books, id: &str) -> anyhow::Result<Option<Answer>> {
    let id = id.to_owned();
    let found = books.join(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let mut files = slots.flat_map(|slot| slot.files());
        files.find(|file| file.id == id && file.gate != Gate::Staged)
    })?;
    let Some(file) = found.into_iter().flatten().next() else { return Ok(None) };
    let bill = BillFile {
        id: file.id,
        source: file.source,
        name: file.name,
        provider: file.provider,
        account: file.account,
        day: file.day.unwrap_or_default().0,
    };
    let end = BillEnd {
        accepted: file.gate == Gate::Accepted,
        reason: file.reason,
        detail: file.detail,
        lines: file.lines,
        total: file.totals,
    };
    let mut answer = told(&bill, &end);
    let before = "this file was imported before; nothing changes";
    answer.message =
        Some(answer.message.map_or_else(|| before.to_owned(), |said| format!("{before}\n{said}")));
    Ok(Some(answer))
}
