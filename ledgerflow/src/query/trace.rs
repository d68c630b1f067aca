//! `trace`: one event from its arrival to its match.

use super::answers::Shown;
use super::books::Books;
use super::events::word;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use crate::measure::recount::each;
use schemas::dates::{Day, format_instant};
use schemas::topics::Topic;
use schemas::wire::{Decision, Entry, JournalBody, Match, Outcome, Received, Side, journal_item::Item};

#[derive(Default)]
struct Found {
    decisions: Vec<(u32, u64, i64, Decision)>,
    received: Vec<(u32, u64, Received)>,
    resolutions: Vec<(u32, u64, String)>,
}

impl Found {
    /// Slot, batch, accounting date and entry of everything that was booked.
    fn booked(&self) -> impl Iterator<Item = (u32, u64, i32, &Entry)> {
        let decided = self.decisions.iter().flat_map(|(slot, batch, _, d)| {
            d.entry.iter().map(|entry| (*slot, *batch, d.accounting_date, entry))
        });
        let received = self.received.iter().flat_map(|(slot, batch, r)| {
            r.entry.iter().map(|entry| (*slot, *batch, r.accounting_date, entry))
        });
        decided.chain(received)
    }
}

/// Finds everything that carries the event, by reading the journal.
fn find(books: &Books, id: &str, source: Option<&str>) -> anyhow::Result<Found> {
    let mut found = Found::default();
    each(books.log.as_ref(), Topic::Journal, &mut |fetch| {
        for record in &fetch.records {
            let opened = schemas::batch::open(&record.value)?;
            let (slot, batch, at) = (fetch.from.partition, opened.header.batch, opened.header.written_at_us);
            let is_it = |event: &Option<schemas::wire::EventKey>| {
                event.as_ref().is_some_and(|e| e.id == id && source.is_none_or(|s| s == e.source))
            };
            let body: JournalBody = opened.body()?;
            for item in body.item {
                match item.item {
                    Some(Item::Decision(d)) if is_it(&d.event) => found.decisions.push((slot, batch, at, d)),
                    Some(Item::Received(r)) if is_it(&r.event) => found.received.push((slot, batch, r)),
                    Some(Item::Resolution(r)) if is_it(&r.event) => {
                        found.resolutions.push((slot, batch, word(r.outcome()).to_owned()));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// `trace`.
pub(super) fn trace(books: &Books, id: &str, source: Option<&str>) -> anyhow::Result<Answer> {
    let found = find(books, id, source)?;
    if found.decisions.is_empty() {
        return Ok(Answer::says(
            Ending::NotFound,
            format!("no decision on event {id:?}; an unreadable event is in `rejected list`"),
        ));
    }
    let booked: Vec<(u32, u64, i32, &Entry)> = found.booked().collect();
    let accounts = booked.iter().map(|(.., entry)| entry.account.clone()).collect();
    let shown = Shown::of(books, accounts)?;
    let mut entries = Table::new(
        "entries",
        &["account", "asset", "side", "amount", "balance_after", "seq", "date", "journal"],
    );
    let mut matches: Vec<Match> = Vec::new();
    for (slot, batch, date, entry) in booked {
        matches.extend(entry.r#match.clone());
        entries.row([
            entry.account.clone().into(),
            entry.asset.clone().into(),
            if entry.side() == Side::Credit { "credit".into() } else { "debit".into() },
            shown.amount(entry.amount(), &entry.asset),
            shown.balance(&entry.account, entry.after(), &entry.asset),
            entry.seq.into(),
            Day(date).to_string().into(),
            format!("{slot}#{batch}").into(),
        ]);
    }
    let mut tables = vec![decisions(&found), entries];
    if !matches.is_empty() {
        tables.push(cases(books, matches)?);
    }
    Ok(Answer::tables(tables))
}

fn decisions(found: &Found) -> Table {
    let columns = [
        "event",
        "source",
        "type",
        "outcome",
        "reason",
        "occurred_at",
        "date",
        "rule",
        "event_at",
        "journal",
        "decided_at",
    ];
    let mut table = Table::new("decisions", &columns);
    for (slot, batch, at, d) in &found.decisions {
        let event = d.event.clone().unwrap_or_default();
        let lane =
            usize::try_from(d.lane).ok().and_then(|lane| Topic::LANES.get(lane)).map_or("?", |t| t.name());
        let outcome = match d.outcome() {
            Outcome::Pending => format!("forwarded to partition {}", d.forwarded_to),
            outcome if d.forwarded_from > 0 => {
                format!("{} for partition {}", word(outcome), d.forwarded_from - 1)
            }
            outcome => word(outcome).to_owned(),
        };
        let reason =
            if d.detail.is_empty() { d.reason.clone() } else { format!("{}: {}", d.reason, d.detail) };
        table.row([
            event.id.into(),
            event.source.into(),
            d.r#type.clone().into(),
            outcome.into(),
            reason.into(),
            format_instant(d.occurred_at_us).into(),
            Day(d.accounting_date).to_string().into(),
            format!("{} v{}", d.rule, d.rule_version).into(),
            format!("{lane}/{}@{}", d.event_partition, d.event_offset).into(),
            format!("{slot}#{batch}").into(),
            format_instant(*at).into(),
        ]);
    }
    for (slot, batch, outcome) in &found.resolutions {
        table.row([
            Cell::None,
            Cell::None,
            "verdict".into(),
            outcome.clone().into(),
            Cell::None,
            Cell::None,
            Cell::None,
            Cell::None,
            Cell::None,
            format!("{slot}#{batch}").into(),
        ]);
    }
    table
}

fn cases(books: &Books, matches: Vec<Match>) -> anyhow::Result<Table> {
    let cases = books.join(move |worker| {
        let slots: Vec<_> = worker.slots().into_iter().filter_map(|slot| worker.slot(slot)).collect();
        let keys = matches.iter().map(reconcile::match_key::MatchKey::of_ours);
        let found = keys.flat_map(|key| {
            slots.iter().flat_map(|slot| worker.processor().cases_of(slot, &key)).collect::<Vec<_>>()
        });
        found.collect::<Vec<_>>()
    })?;
    let mut table =
        Table::new("reconciliation", &["kind", "provider", "order", "day", "ours", "theirs", "line", "case"]);
    for case in cases {
        table.row([
            case.kind.name().into(),
            case.provider.into(),
            case.order.into(),
            case.day.into(),
            case.ours.map(|o| Cell::amount(o.amount)).unwrap_or(Cell::None),
            case.theirs.as_ref().map(|t| Cell::amount(t.amount.clone())).unwrap_or(Cell::None),
            case.theirs.map(|t| t.line).into(),
            case.case_id.chars().take(12).collect::<String>().into(),
        ]);
    }
    Ok(table)
}
