//! `trace`: one event from its arrival to its match.
//!
//! The answer always has the same tables: events, decisions, entries, later, balances, reconciliation. A source may use an id
//! that another uses too, repeat it, and entries of one event lie in several partitions, so `journal` and `rejected` are
//! read once; of the journal only those records are decoded that hold the id's bytes.

use super::balances::balances_of;
use super::books::Books;
use super::events::{Rejected, record_at};
use super::later::Later;
use super::outcomes::{why, word};
use super::shown::Shown;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use crate::measure::recount::each;
use reconcile::match_key::MatchKey;
use schemas::balance_json::NormalSide;
use schemas::batch::Opened;
use schemas::dates::{Day, format_instant};
use schemas::topics::Topic;
use schemas::wire::{
    Decision, Entry, EventKey, JournalBody, Match, Outcome, Received, Reserved, Resolution,
    decision::Operation, journal_item::Item,
};
use std::collections::BTreeSet;
use stream::log::{Log, Record, TopicPartition, header};

/// What stands for the data of an event whose record is no longer kept.
const GIVEN_UP: &str = "given up by retention";

/// What is looked for.
pub(super) struct Wanted<'a> {
    id: &'a str,
    source: Option<&'a str>,
}

impl Wanted<'_> {
    pub(super) fn is(&self, event: Option<&EventKey>) -> bool {
        event.is_some_and(|e| e.id == self.id && self.source.is_none_or(|source| source == e.source))
    }

    /// Whether a dead letter is it: by its id, or, where it is no JSON, by what stands after `"id":`.
    fn is_letter(&self, letter: &Letter) -> bool {
        let Some(id) = letter.attribute("id") else {
            return letter.event.is_none() && self.source.is_none() && has_id(&letter.record.value, self.id);
        };
        id == self.id
            && self.source.is_none_or(|source| letter.attribute("source").as_deref() == Some(source))
    }
}

/// Where `part` begins in `bytes`.
pub(super) fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() { Some(0) } else { bytes.windows(part.len()).position(|window| window == part) }
}

/// Whether `"id": "<id>"` stands in a text that is no JSON, spaces aside.
fn has_id(text: &[u8], id: &str) -> bool {
    let (name, value) = (br#""id""#, format!("\"{id}\""));
    let mut rest = text;
    while let Some(at) = find(rest, name) {
        rest = rest.get(at + name.len()..).unwrap_or_default();
        let after = rest.trim_ascii_start();
        let given = after.strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        if given.is_some_and(|given| given.starts_with(value.as_bytes())) {
            return true;
        }
    }
    false
}

/// An event that ingest set aside, as it came.
struct Letter {
    rejected: Rejected,
    record: Record,
    event: Option<serde_json::Value>,
}

impl Letter {
    /// A CloudEvents attribute: a header in binary mode, else a field of the JSON.
    fn attribute(&self, name: &str) -> Option<String> {
        let value = |prefix: &str| header(&self.record.headers, &format!("{prefix}{name}"));
        match value("ce_").or_else(|| value("ce-")) {
            Some(text) => Some(String::from_utf8_lossy(text).into_owned()),
            None => Some(self.event.as_ref()?.get(name)?.as_str()?.to_owned()),
        }
    }
}

/// A journal batch: its slot and number, and when it was written.
#[derive(Clone, Copy)]
pub(super) struct Batch {
    pub(super) slot: u32,
    number: u64,
    written_at_us: i64,
}

impl Batch {
    pub(super) const fn of(slot: u32, opened: &Opened) -> Self {
        Self { slot, number: opened.header.batch, written_at_us: opened.header.written_at_us }
    }

    /// Batches of several slots in the order of time.
    pub(super) const fn order(self) -> (i64, u32, u64) {
        (self.written_at_us, self.slot, self.number)
    }

    pub(super) fn place(self) -> Cell {
        format!("{}#{}", self.slot, self.number).into()
    }
}

/// Everything that carries the event.
#[derive(Default)]
struct Found {
    decisions: Vec<(Batch, Decision)>,
    received: Vec<(Batch, Received)>,
    verdicts: Vec<(Batch, Resolution)>,
    reserved: Vec<(Batch, Reserved)>,
    letters: Vec<Letter>,
    later: Later,
}

impl Found {
    fn of(log: &dyn Log, wanted: &Wanted<'_>) -> anyhow::Result<Self> {
        let mut found = Self::default();
        each(log, Topic::Journal, &mut |fetch| {
            let with_id = |record: &&Record| find(&record.value, wanted.id.as_bytes()).is_some();
            for record in fetch.records.iter().filter(with_id) {
                let opened = schemas::batch::open(&record.value)?;
                let batch = Batch::of(fetch.from.partition, &opened);
                let body: JournalBody = opened.body()?;
                body.item
                    .into_iter()
                    .filter_map(|item| item.item)
                    .for_each(|item| found.take(batch, item, wanted));
            }
            Ok(())
        })?;
        found.later.conclude(log)?;
        each(log, Topic::Rejected, &mut |fetch| {
            // A refusal may lie here ahead of the journal batch that says so; the journal tells of it.
            let all = fetch.records.iter().map(|record| (Rejected::of(fetch.from, record), record));
            for (rejected, record) in all.filter(|(rejected, _)| rejected.is_dead_letter()) {
                let event = serde_json::from_slice(&record.value).ok();
                let letter = Letter { rejected, record: record.clone(), event };
                if wanted.is_letter(&letter) {
                    found.letters.push(letter);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }

    fn take(&mut self, batch: Batch, item: Item, wanted: &Wanted<'_>) {
        self.later.take(batch, &item, wanted);
        match item {
            Item::Decision(d) if wanted.is(d.event.as_ref()) => self.decisions.push((batch, d)),
            Item::Received(r) if wanted.is(r.event.as_ref()) => self.received.push((batch, r)),
            Item::Resolution(r) if wanted.is(r.event.as_ref()) => self.verdicts.push((batch, r)),
            Item::Reserved(r) if wanted.is(r.event.as_ref()) => self.reserved.push((batch, r)),
            _ => {}
        }
    }

    /// Entries with their batch and accounting date: those decided, then those received.
    fn entries(&self) -> impl Iterator<Item = (Batch, i32, &Entry)> {
        let decided = self
            .decisions
            .iter()
            .flat_map(|(batch, d)| d.entry.iter().map(move |entry| (*batch, d.accounting_date, entry)));
        let received = self
            .received
            .iter()
            .flat_map(|(batch, r)| r.entry.iter().map(move |entry| (*batch, r.accounting_date, entry)));
        decided.chain(received)
    }
}

/// `trace`.
pub(super) fn trace(books: &Books, id: &str, source: Option<&str>) -> anyhow::Result<Answer> {
    let mut found = Found::of(books.log.as_ref(), &Wanted { id, source })?;
    if found.decisions.is_empty() && found.letters.is_empty() {
        let message = format!("no decision on event {id:?}, and no dead letter with that id");
        return Ok(Answer::says(Ending::NotFound, message));
    }
    let shown = Shown::of(books, found.entries().map(|(_, _, entry)| entry.account.clone()).collect())?;
    let later = std::mem::take(&mut found.later);
    let tables = vec![
        events(books.log.as_ref(), &found)?,
        decisions(&found),
        entries(&shown, &found),
        later.table(&shown),
        balances(books, &found)?,
        cases(books, found.entries().filter_map(|(_, _, entry)| entry.r#match.clone()).collect())?,
    ];
    Ok(Answer::tables(tables))
}

/// The events as they came, each place once.
fn events(log: &dyn Log, found: &Found) -> anyhow::Result<Table> {
    let columns = ["event", "source", "type", "subject", "time", "lies_at", "data"];
    let mut table = Table::new("events", &columns);
    let mut told = BTreeSet::new();
    for (_, d) in &found.decisions {
        if !told.insert((d.lane, d.event_partition, d.event_offset)) {
            continue;
        }
        let record = match lane(d) {
            Some(lane) => record_at(log, TopicPartition::new(lane, d.event_partition), d.event_offset)?,
            None => None,
        };
        let EventKey { source, id } = d.event.clone().unwrap_or_default();
        table.row([
            id.into(),
            source.into(),
            d.r#type.clone().into(),
            d.subject.clone().into(),
            format_instant(d.occurred_at_us).into(),
            lies_at(d),
            record.as_ref().map_or_else(|| GIVEN_UP.to_owned(), data_of).into(),
        ]);
    }
    for letter in &found.letters {
        let mut row =
            ["id", "source", "type", "subject", "time"].map(|name| letter.attribute(name).into()).to_vec();
        row.extend([letter.rejected.place().into(), data_of(&letter.record).into()]);
        table.row(row);
    }
    Ok(table)
}

/// The event's data as JSON; what cannot be read is shown as it is.
fn data_of(record: &Record) -> String {
    let parsed = serde_json::from_slice::<serde_json::Value>(&record.value).ok();
    let structured = parsed.as_ref().filter(|event| event.get("specversion").is_some());
    match structured.and_then(|event| event.get("data")) {
        Some(data) => data.to_string(),
        None => String::from_utf8_lossy(&record.value).into_owned(),
    }
}

fn lane(d: &Decision) -> Option<Topic> {
    usize::try_from(d.lane).ok().and_then(|lane| Topic::LANES.get(lane)).copied()
}

fn lies_at(d: &Decision) -> Cell {
    let lane = lane(d).map_or("?", |topic| topic.name());
    format!("{lane}/{}@{}", d.event_partition, d.event_offset).into()
}

const DECISION_COLUMNS: [&str; 13] = [
    "outcome",
    "reason",
    "original",
    "original_at",
    "date",
    "rule",
    "event_at",
    "journal",
    "decided_at",
    "about",
    "principal",
    "proposed_by",
    "note",
];

fn decisions(found: &Found) -> Table {
    let mut table = Table::new("decisions", &DECISION_COLUMNS);
    for (batch, d) in &found.decisions {
        table.row(decision_row(*batch, d));
    }
    for (batch, reserved) in &found.reserved {
        let did = if reserved.reason.is_empty() { "on hold" } else { "refused" };
        let said = format!("{did} for partition {}", reserved.from);
        table.row(said_row(*batch, said, why(&reserved.reason, &reserved.detail), None));
    }
    for (batch, verdict) in &found.verdicts {
        let said = format!("verdict of partition {}: {}", verdict.from, word(verdict.outcome()));
        let why = why(&verdict.reason, &verdict.detail);
        table.row(said_row(*batch, said, why, Some(verdict.accounting_date)));
    }
    for Letter { rejected, record, .. } in &found.letters {
        table.row([
            rejected.kind.into(),
            why(&rejected.reason, &rejected.detail).into(),
            Cell::None,
            Cell::None,
            Cell::None,
            Cell::None,
            rejected.place().into(),
            format!("rejected/{}", rejected.at).into(),
            format_instant(record.timestamp_us).into(),
            Cell::None,
            Cell::None,
            Cell::None,
            Cell::None,
        ]);
    }
    table
}

/// What else the event is about: the hold that it places, captures or releases, the event that it gives back, an account.
fn about(d: &Decision) -> Option<String> {
    let named = |event: Option<&EventKey>| event.map(|event| event.id.clone());
    match &d.operation {
        Some(Operation::CaptureHold(capture)) => return named(capture.hold.as_ref()),
        Some(Operation::ReleaseHold(release)) => return named(release.hold.as_ref()),
        Some(Operation::ReverseEvent(reverse)) => return named(reverse.event.as_ref()),
        Some(Operation::ChangeAccount(change)) => return Some(change.account.clone()),
        Some(Operation::ChangeLimits(change)) => return Some(change.account.clone()),
        Some(Operation::ApproveAdjustment(approve)) => return named(approve.proposal.as_ref()),
        Some(Operation::RejectAdjustment(reject)) => return named(reject.proposal.as_ref()),
        Some(Operation::ProposeAdjustment(_) | Operation::ResolveSuspense(_)) => {}
        Some(Operation::PlaceHold(_) | Operation::BookAtMost(_)) | None => {}
    }
    if let Some(repaired) = &d.repaired {
        return Some(format!("p{:02} to p{:02} from item {} on", repaired.from, repaired.to, repaired.first));
    }
    let admitted = d.admitted.as_ref().and_then(|admitted| named(admitted.event.as_ref()));
    let hold = d.hold.as_ref().and_then(|hold| named(hold.event.as_ref()));
    let reversed = d.reversed.as_ref().and_then(|reversed| named(reversed.event.as_ref()));
    let proposal = d.proposal.as_ref().filter(|proposal| proposal.event != d.event);
    let proposal = proposal.and_then(|proposal| named(proposal.event.as_ref()));
    let limited = || d.account_limits.as_ref().map(|limits| limits.account.clone());
    let described = || d.account_metadata.as_ref().map(|said| said.account.clone());
    hold.or(admitted)
        .or(reversed)
        .or(proposal)
        .or_else(|| d.account_status.as_ref().map(|status| status.account.clone()))
        .or_else(described)
        .or_else(limited)
}

fn decision_row(batch: Batch, d: &Decision) -> [Cell; DECISION_COLUMNS.len()] {
    let outcome = match d.outcome() {
        Outcome::Pending if !d.reserve.is_empty() => {
            let asked: Vec<String> = d.reserve.iter().map(|r| r.partition.to_string()).collect();
            format!("waits for partitions {}", asked.join(", "))
        }
        Outcome::Pending if d.parked => "parked".to_owned(),
        Outcome::Pending if d.waits_for.is_some() => {
            format!("waits for event {}", d.waits_for.as_ref().map_or("", |event| &event.id))
        }
        Outcome::Pending => format!("forwarded to partition {}", d.forwarded_to),
        outcome if d.forwarded_from > 0 => {
            format!("{} for partition {}", word(outcome), d.forwarded_from - 1)
        }
        outcome => word(outcome).to_owned(),
    };
    let proposed_by = d.proposal.as_ref().filter(|proposal| proposal.event != d.event);
    let repeated = d.outcome() == Outcome::Duplicate;
    let original_at = format!("{}#{}", d.original_partition, d.original_batch);
    [
        outcome.into(),
        why(&d.reason, &d.detail).into(),
        repeated.then(|| word(d.original())).into(),
        (repeated && d.original_batch > 0).then_some(original_at).into(),
        Day(d.accounting_date).to_string().into(),
        (!d.rule.is_empty()).then(|| format!("{} v{}", d.rule, d.rule_version)).into(),
        lies_at(d),
        batch.place(),
        format_instant(batch.written_at_us).into(),
        about(d).into(),
        (!d.principal.is_empty()).then(|| d.principal.clone()).into(),
        proposed_by.map(|proposal| proposal.proposed_by.clone()).into(),
        (!d.note.is_empty()).then(|| d.note.clone()).into(),
    ]
}

/// What another partition said.
fn said_row(batch: Batch, said: String, reason: String, date: Option<i32>) -> [Cell; DECISION_COLUMNS.len()] {
    [
        said.into(),
        reason.into(),
        Cell::None,
        Cell::None,
        date.map(|date| Day(date).to_string()).into(),
        Cell::None,
        Cell::None,
        batch.place(),
        format_instant(batch.written_at_us).into(),
        Cell::None,
        Cell::None,
        Cell::None,
        Cell::None,
    ]
}

fn entries(shown: &Shown, found: &Found) -> Table {
    let columns = ["account", "asset", "side", "amount", "balance_after", "seq", "date", "journal"];
    let mut table = Table::new("entries", &columns);
    for (batch, date, entry) in found.entries() {
        table.row([
            entry.account.clone().into(),
            entry.asset.clone().into(),
            NormalSide::from(entry.side()).name().into(),
            shown.amount(entry.amount(), &entry.asset),
            shown.balance(&entry.account, entry.after(), &entry.asset),
            entry.seq.into(),
            Day(date).to_string().into(),
            batch.place(),
        ]);
    }
    table
}

/// What the accounts of the entries hold now.
fn balances(books: &Books, found: &Found) -> anyhow::Result<Table> {
    let columns = ["account", "asset", "balance", "normal_side", "entries", "last_date"];
    let mut table = Table::new("balances", &columns);
    let accounts: BTreeSet<(&str, &str)> =
        found.entries().map(|(_, _, entry)| (entry.account.as_str(), entry.asset.as_str())).collect();
    for (account, asset) in accounts {
        for balance in balances_of(books, account)?.into_iter().filter(|balance| balance.asset == asset) {
            table.row([
                account.into(),
                asset.into(),
                Cell::amount(balance.balance),
                balance.normal_side.name().into(),
                balance.seq.into(),
                balance.last_date.into(),
            ]);
        }
    }
    Ok(table)
}

/// Matches and breaks of what the entries are matched by, each key once, in the order of the keys.
fn cases(books: &Books, matches: Vec<Match>) -> anyhow::Result<Table> {
    let cases = books.join(move |worker| {
        let slots: Vec<_> = worker.slots().into_iter().filter_map(|slot| worker.slot(slot)).collect();
        let keys: BTreeSet<MatchKey> = matches.iter().map(MatchKey::of_ours).collect();
        let found = keys.iter().flat_map(|key| {
            slots.iter().flat_map(|slot| worker.processor().cases_of(slot, key)).collect::<Vec<_>>()
        });
        found.collect::<Vec<_>>()
    })?;
    let mut cases = cases.concat();
    reconcile::join::sort(&mut cases);
    let columns = ["kind", "provider", "order", "day", "ours", "theirs", "event", "line", "case"];
    let mut table = Table::new("reconciliation", &columns);
    for case in cases {
        table.row([
            case.kind.name().into(),
            case.provider.into(),
            case.order.into(),
            case.day.into(),
            case.ours.as_ref().map(|o| Cell::amount(o.amount.clone())).into(),
            case.theirs.as_ref().map(|t| Cell::amount(t.amount.clone())).into(),
            case.ours.map(|o| o.event_id).into(),
            case.theirs.map(|t| t.line).into(),
            case.case_id.chars().take(12).collect::<String>().into(),
        ]);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_what_is_no_json() {
        let cut = br#"{"specversion":"1.0","id" : "e-1","source":"/shop","data":{"id":"x","order_id":"7""#;
        assert!(has_id(cut, "e-1") && has_id(cut, "x"));
        for id in ["e-", "e-12", "7", "/shop", ""] {
            assert!(!has_id(cut, id), "{id}");
        }
        assert!(!has_id(b"\"id\"", "e-1") && !has_id(b"", "e-1") && !has_id(b"\xff\"id\":", "e-1"));
    }
}
