//! Outcomes of events that were sent, read on from where `journal` and `rejected` ended before they were appended.
//!
//! Bounds: [`EVENTS_MAX`] events a question. What has its outcome is not asked for again, and of what was read nothing is
//! read twice. Order: a decision lies behind the end of its journal partition at the time of the append, a verdict
//! behind its decision.

use super::books::Books;
use super::events::{Rejected, Sent};
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use crate::measure::recount::range;
use anyhow::bail;
use posting::ids::{IdKey, id_key};
use schemas::topics::Topic;
use schemas::wire::{Decision, EventKey, JournalBody, Outcome, Resolution, journal_item::Item};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Isolation, Log, Offset, TopicPartition};

/// Most events of one question: their places fit into a request of the socket twice over.
pub const EVENTS_MAX: usize = 10_000;
/// Records that are read before it is looked whether anything is still missing.
const STEP: Offset = 1_024;

/// Events that have no outcome yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaited {
    /// Where they were appended.
    pub sent: Vec<Sent>,
    /// Those of them whose home has asked another partition.
    pub asked: Vec<Asked>,
    /// Where reading goes on.
    pub from: Ends,
}

/// An event that waits for the verdict of another partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// Its source and id.
    pub key: IdKey,
    /// Where it was appended.
    pub at: Sent,
}

/// An offset per partition; a partition that is not named is read from its first kept record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ends {
    /// Of `journal`.
    pub journal: Vec<Offset>,
    /// Of `rejected`.
    pub rejected: Vec<Offset>,
}

/// Where `journal` and `rejected` end now.
///
/// # Errors
/// The log fails.
pub(super) fn ends(log: &dyn Log) -> anyhow::Result<Ends> {
    let of = |topic| -> anyhow::Result<Vec<Offset>> {
        let partitions = 0..log.partitions(topic)?;
        let highs = partitions.map(|partition| {
            Ok(log.watermarks(TopicPartition::new(topic, partition), Isolation::Committed)?.high)
        });
        highs.collect()
    };
    Ok(Ends { journal: of(Topic::Journal)?, rejected: of(Topic::Rejected)? })
}

/// What became of one event.
struct Became {
    event: String,
    outcome: &'static str,
    original: Option<&'static str>,
    reason: String,
}

/// What is still missing, and what has been found.
struct Search {
    missing: BTreeSet<Sent>,
    asked: BTreeMap<IdKey, Sent>,
    found: BTreeMap<Sent, Became>,
}

impl Search {
    fn decided(&mut self, d: Decision) {
        let Ok(lane) = u8::try_from(d.lane) else { return };
        let at = Sent { lane, partition: d.event_partition, offset: d.event_offset };
        // What is decided for another partition has its outcome there.
        if d.forwarded_from > 0 || !self.missing.contains(&at) {
            return;
        }
        let outcome = d.outcome();
        let original = (outcome == Outcome::Duplicate).then(|| word(d.original()));
        let EventKey { source, id } = d.event.unwrap_or_default();
        if outcome == Outcome::Pending {
            self.asked.insert(id_key(&source, &id), at);
            return;
        }
        if d.concludes {
            self.asked.remove(&id_key(&source, &id));
        }
        let reason = why(&d.reason, &d.detail);
        self.becomes(at, Became { event: id, outcome: word(outcome), original, reason });
    }

    fn resolved(&mut self, r: Resolution) {
        let outcome = word(r.outcome());
        let EventKey { source, id } = r.event.unwrap_or_default();
        if let Some(at) = self.asked.remove(&id_key(&source, &id)) {
            let reason = why(&r.reason, &r.detail);
            self.becomes(at, Became { event: id, outcome, original: None, reason });
        }
    }

    /// Refusals lie on `rejected` too, ahead of the journal batch that says so: they are left to the journal.
    fn rejected(&mut self, rejected: &Rejected) {
        let sent = rejected.sent().filter(|at| rejected.is_dead_letter() && self.missing.contains(at));
        if let Some(at) = sent {
            let reason = why(&rejected.reason, &rejected.detail);
            self.becomes(at, Became { event: String::new(), outcome: rejected.kind, original: None, reason });
        }
    }

    fn becomes(&mut self, at: Sent, became: Became) {
        self.missing.remove(&at);
        self.found.insert(at, became);
    }

    /// Reads a topic on to its end, or until nothing is missing. Returns where it goes on.
    fn read(
        &mut self,
        log: &dyn Log,
        topic: Topic,
        from: &[Offset],
        see: fn(&mut Self, &stream::log::Fetch) -> anyhow::Result<()>,
    ) -> anyhow::Result<Vec<Offset>> {
        let mut reached = Vec::new();
        for (index, partition) in (0..log.partitions(topic)?).enumerate() {
            let at = TopicPartition::new(topic, partition);
            let bounds = log.watermarks(at, Isolation::Committed)?;
            let mut next = from.get(index).copied().unwrap_or(bounds.low).max(bounds.low);
            while next < bounds.high && !self.missing.is_empty() {
                let until = next.saturating_add(STEP).min(bounds.high);
                range(log, at, next, until, &mut |fetch| see(self, fetch))?;
                next = until;
            }
            reached.push(next);
        }
        Ok(reached)
    }
}

fn see_journal(search: &mut Search, fetch: &stream::log::Fetch) -> anyhow::Result<()> {
    for record in &fetch.records {
        let body: JournalBody = schemas::batch::open(&record.value)?.body()?;
        for item in body.item {
            match item.item {
                Some(Item::Decision(d)) => search.decided(d),
                Some(Item::Resolution(r)) => search.resolved(r),
                _ => {}
            }
        }
    }
    Ok(())
}

fn see_rejected(search: &mut Search, fetch: &stream::log::Fetch) -> anyhow::Result<()> {
    fetch.records.iter().for_each(|record| search.rejected(&Rejected::of(fetch.from, record)));
    Ok(())
}

const COLUMNS: [&str; 7] = ["lane", "partition", "offset", "event", "outcome", "original", "reason"];

/// Outcomes that are there, and what is still awaited.
pub(super) fn outcomes(books: &Books, awaited: &Awaited) -> anyhow::Result<Answer> {
    if awaited.sent.len() > EVENTS_MAX {
        bail!("outcomes of {} events: at most {EVENTS_MAX} at a time", awaited.sent.len());
    }
    let log = books.log.as_ref();
    let mut search = Search {
        missing: awaited.sent.iter().copied().collect(),
        asked: awaited.asked.iter().map(|asked| (asked.key, asked.at)).collect(),
        found: BTreeMap::new(),
    };
    let journal = search.read(log, Topic::Journal, &awaited.from.journal, see_journal)?;
    let rejected = search.read(log, Topic::Rejected, &awaited.from.rejected, see_rejected)?;
    let mut table = Table::new("outcomes", &COLUMNS);
    for (at, became) in search.found {
        table.row([
            Cell::from(u32::from(at.lane)),
            at.partition.into(),
            at.offset.into(),
            became.event.into(),
            became.outcome.into(),
            became.original.into(),
            became.reason.into(),
        ]);
    }
    let awaited = Awaited {
        sent: search.missing.into_iter().collect(),
        asked: search.asked.into_iter().map(|(key, at)| Asked { key, at }).collect(),
        from: Ends { journal, rejected },
    };
    Ok(Answer { awaited: Some(awaited), ..Answer::tables(vec![table]) })
}

/// What became of the only event of an answer.
pub(super) struct Only<'a> {
    /// Its id; empty where it could not be read.
    pub(super) event: &'a str,
    /// Its outcome.
    pub(super) outcome: &'a str,
    /// Outcome of its original; empty where it is none's duplicate.
    pub(super) original: &'a str,
    /// Why it is not booked.
    pub(super) reason: &'a str,
}

/// What became of one event; `None` where it has no outcome yet, or there are several.
pub(super) fn only(outcomes: &Answer) -> Option<Only<'_>> {
    let [table] = &outcomes.tables[..] else { return None };
    let [row] = &table.rows[..] else { return None };
    let text = |of: &str| match COLUMNS.iter().position(|column| *column == of).and_then(|at| row.get(at)) {
        Some(Cell::Text(text)) => text.as_str(),
        _ => "",
    };
    let [event, outcome, original, reason] = ["event", "outcome", "original", "reason"].map(text);
    Some(Only { event, outcome, original, reason })
}

/// Outcomes of several questions.
#[derive(Default)]
pub struct Gathered(Vec<Vec<Cell>>);

impl Gathered {
    /// Takes the outcomes of an answer in.
    pub fn add(&mut self, answer: Answer) {
        self.0.extend(answer.tables.into_iter().flat_map(|table| table.rows));
    }

    /// All of them as one answer, in the order of their places. It ends with [`Ending::Failed`] when outcomes are
    /// `missing`, else with [`Ending::Wrong`] when there are events and none of them is in the books.
    #[must_use]
    pub fn answer(self, missing: usize) -> Answer {
        let mut table = Table::new("outcomes", &COLUMNS);
        table.rows = self.0;
        let number = |cell: &Cell| if let Cell::Number(number) = cell { *number } else { 0 };
        table.rows.sort_by_key(|row| row.iter().take(3).map(number).collect::<Vec<_>>());
        // Columns `outcome` and `original`; an original that is pending may still be booked.
        let kept = [word(Outcome::Booked), word(Outcome::Pending)].map(Cell::from);
        let booked = |row: &Vec<Cell>| row.iter().skip(4).take(2).any(|cell| kept.contains(cell));
        let none = !table.rows.is_empty() && !table.rows.iter().any(booked);
        let events = table.rows.len();
        let mut answer = Answer::tables(vec![table]);
        if missing > 0 {
            answer.ending = Ending::Failed;
            answer.message = Some(format!(
                "{missing} events have no outcome yet. They are accepted; sending them again is safe: an event is \
                 booked once under its source and id"
            ));
        } else if none {
            answer.ending = Ending::Wrong;
            answer.message = Some(match events {
                1 => "the event is not booked".to_owned(),
                events => format!("none of {events} events is booked"),
            });
        }
        answer
    }
}

/// Name of an outcome on the command line.
pub(crate) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Booked => "booked",
        Outcome::Refused => "refused",
        Outcome::Duplicate => "duplicate",
        Outcome::Pending => "pending",
        Outcome::Unspecified => "unknown",
    }
}

/// A reason code with what it says for people.
pub(crate) fn why(code: &str, detail: &str) -> String {
    if detail.is_empty() { code.to_owned() } else { format!("{code}: {detail}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[(i64, &str, Option<&str>)]) -> Answer {
        let mut table = Table::new("outcomes", &COLUMNS);
        for (offset, outcome, original) in rows {
            let text = |text: &str| Cell::from(text);
            table.row([
                Cell::Number(1),
                Cell::Number(0),
                Cell::Number(*offset),
                text("booked"),
                text(outcome),
                original.map(text).into(),
                text(""),
            ]);
        }
        Answer::tables(vec![table])
    }

    fn ending(rows: &[(i64, &str, Option<&str>)], missing: usize) -> Ending {
        let mut all = Gathered::default();
        all.add(answer(rows));
        all.answer(missing).ending
    }

    #[test]
    fn an_answer_says_whether_anything_is_in_the_books() {
        let (booked, refused) = ((0, "booked", None), (1, "refused", None));
        assert_eq!(ending(&[booked, refused], 0), Ending::Done);
        assert_eq!(ending(&[(2, "duplicate", Some("booked"))], 0), Ending::Done);
        assert_eq!(
            ending(&[(2, "duplicate", Some("refused")), (3, "dead-lettered", None)], 0),
            Ending::Wrong
        );
        assert_eq!(ending(&[refused], 0), Ending::Wrong);
        assert_eq!(ending(&[refused], 1), Ending::Failed);
        assert_eq!(ending(&[], 0), Ending::Done);
    }

    #[test]
    fn outcomes_of_several_questions_come_in_the_order_of_their_places() {
        let mut all = Gathered::default();
        all.add(answer(&[(10, "booked", None), (30, "refused", None)]));
        all.add(answer(&[(9, "booked", None), (20, "booked", None)]));
        let rows = &all.answer(0).tables[0].rows;
        let offsets: Vec<&Cell> = rows.iter().map(|row| &row[2]).collect();
        assert_eq!(offsets, [9, 10, 20, 30].map(Cell::Number).iter().collect::<Vec<_>>());
    }

    #[test]
    fn the_largest_question_fits_into_a_request() {
        let at = Sent { lane: 2, partition: u32::MAX, offset: Offset::MAX };
        let asked = Asked { key: [255; 16], at };
        let of = Awaited {
            sent: vec![at; EVENTS_MAX],
            asked: vec![asked; EVENTS_MAX],
            from: Ends { journal: vec![Offset::MAX; 256], rejected: vec![Offset::MAX; 256] },
        };
        let request = serde_json::to_vec(&super::super::Question::Outcomes { of }).expect("JSON");
        assert!((request.len() as u64) < crate::socket::REQUEST_BYTES_MAX, "{} bytes", request.len());
    }
}
