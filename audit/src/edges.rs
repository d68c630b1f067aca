//! The JSON edge topics: dead letters and refusals, balances, closings, days and what reconcile found.
//!
//! Field names are those of the JSON Schemas in `schemas/json`, stated here a second time. Bounded by accounts, and
//! by business days without their accounts: a day's closings go when the next day's are there, and were judged.

use crate::accounts::Accounts;
use crate::amount::{self, date_text};
use crate::announced::Announced;
use crate::finding::{Check, Findings, Place};
use schemas::topics::Topic;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Header, header};

/// A record of `rejected`, by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejected {
    /// Ingest could not read or map the event at (lane, partition, offset).
    DeadLetter(u32, u32, i64),
    /// Posting refused.
    Refusal,
    /// Neither.
    Unknown,
}

/// Reads the headers of a `rejected` record.
#[must_use]
pub fn rejected(headers: &[Header]) -> Rejected {
    let text = |name: &str| header(headers, name).and_then(|value| std::str::from_utf8(value).ok());
    if text("ledgerflow-reason").is_none() {
        return Rejected::Unknown;
    }
    // Not by the reason: some that ingest gives posting gives too.
    if text("ledgerflow-kind") == Some("refusal") {
        return Rejected::Refusal;
    }
    let lane =
        text("__streams.errors.topic").and_then(|name| Topic::LANES.iter().position(|l| l.name() == name));
    let partition = text("__streams.errors.partition").and_then(|p| p.parse().ok());
    let offset = text("__streams.errors.offset").and_then(|o| o.parse().ok());
    match (lane.and_then(|lane| u32::try_from(lane).ok()), partition, offset) {
        (Some(lane), Some(partition), Some(offset)) => Rejected::DeadLetter(lane, partition, offset),
        _ => Rejected::Unknown,
    }
}

#[derive(Deserialize)]
struct BalanceJson<'a> {
    #[serde(borrow)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    asset: Cow<'a, str>,
    #[serde(borrow)]
    balance_minor: Cow<'a, str>,
    #[serde(borrow)]
    debit_minus_credit_minor: Cow<'a, str>,
    #[serde(borrow)]
    normal_side: Cow<'a, str>,
    seq: u64,
}

#[derive(Deserialize)]
struct ClosingJson<'a> {
    #[serde(borrow)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    asset: Cow<'a, str>,
    #[serde(borrow)]
    balance_minor: Cow<'a, str>,
    #[serde(borrow)]
    debit_minus_credit_minor: Cow<'a, str>,
    #[serde(borrow)]
    normal_side: Cow<'a, str>,
    #[serde(borrow)]
    day: Cow<'a, str>,
    revision: u64,
}

/// A figure on the account's normal side and as debits minus credits, where both say the same.
fn agreed(balance_minor: &str, debit_minus_credit_minor: &str, normal_side: &str) -> Option<i128> {
    let shown: i128 = balance_minor.parse().ok()?;
    let figure: i128 = debit_minus_credit_minor.parse().ok()?;
    let turned = match normal_side {
        "debit" => shown,
        "credit" => shown.checked_neg()?,
        _ => return None,
    };
    (turned == figure).then_some(figure)
}

const FIGURE_DIFFERS: &str = "balance_minor on its normal_side is not debit_minus_credit_minor";

/// Marks a record of `balances` that says how far a slot is complete, and is no balance.
#[derive(Deserialize)]
struct KindJson<'a> {
    #[serde(borrow, default)]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct DayJson<'a> {
    #[serde(borrow)]
    book: Cow<'a, str>,
    #[serde(borrow)]
    day: Cow<'a, str>,
    #[serde(borrow, default)]
    state: Cow<'a, str>,
    slot: Option<u32>,
}

/// A published balance: account, asset, seq, debits minus credits.
pub type BalanceRead = (String, String, u64, i128);

/// Reads a JSON record of `balances`; `None` = it is no balance.
pub fn balance(place: Place, value: &[u8], found: &mut Findings) -> Option<BalanceRead> {
    if serde_json::from_slice(value).is_ok_and(|KindJson { kind }| kind.is_some()) {
        return None;
    }
    let read = serde_json::from_slice::<BalanceJson<'_>>(value).map_err(|e| e.to_string()).and_then(|b| {
        let balance =
            agreed(&b.balance_minor, &b.debit_minus_credit_minor, &b.normal_side).ok_or(FIGURE_DIFFERS)?;
        Ok((b.account.into_owned(), b.asset.into_owned(), b.seq, balance))
    });
    read.map_err(|why| found.wrong(Check::Format, place, why)).ok()
}

/// Newest published closing of one account and day.
#[derive(Debug, Clone, Copy)]
pub struct Closing {
    /// Revision, rising.
    pub revision: u64,
    /// Debits minus credits.
    pub balance: i128,
    /// Where it lies.
    pub place: Place,
}

/// Newest closings of one day, by account and asset.
pub type DayClosings = BTreeMap<(String, String), Closing>;

/// What the edge topics say.
#[derive(Debug, Default)]
pub struct Edges {
    /// Closings per settlement slot and day that are not judged yet.
    pub closings: BTreeMap<u32, BTreeMap<i32, DayClosings>>,
    /// Newest day per settlement slot whose closings were judged.
    pub judged: BTreeMap<u32, i32>,
    /// Days announced.
    pub announced: Announced,
    /// Slots that aligned a (book, date) on `days.aligned`.
    pub aligned: BTreeMap<(String, i32), BTreeSet<u32>>,
    /// Days that `flow` says are closed, and where.
    pub closed: BTreeMap<(String, i32), Place>,
    /// Records that changelogs say were written, per edge topic: by ingest, by posting, by reconcile.
    pub stated: BTreeMap<(String, &'static str), u64>,
    /// Dead letters found.
    pub dead_letters: u64,
    /// Refusals found.
    pub refusals: u64,
}

impl Edges {
    /// Takes a record of `balances.daily`.
    pub fn closing(&mut self, place: Place, value: &[u8], found: &mut Findings) {
        let read =
            serde_json::from_slice::<ClosingJson<'_>>(value).map_err(|e| e.to_string()).and_then(|c| {
                let balance = agreed(&c.balance_minor, &c.debit_minus_credit_minor, &c.normal_side)
                    .ok_or(FIGURE_DIFFERS)?;
                let date = amount::date_days(&c.day).ok_or("day is not YYYY-MM-DD")?;
                let closing = Closing { revision: c.revision, balance, place };
                Ok((date, (c.account.into_owned(), c.asset.into_owned()), closing))
            });
        let (date, key, closing) = match read {
            Ok(read) => read,
            Err(why) => return found.wrong(Check::Format, place, why),
        };
        let closings = self.closings.entry(place.at.partition).or_default().entry(date).or_default();
        if closings.get(&key).is_none_or(|before| before.revision <= closing.revision) {
            closings.insert(key, closing);
        }
    }

    /// Takes a record of `days.aligned`.
    pub fn day_aligned(&mut self, place: Place, value: &[u8], found: &mut Findings) {
        match day(value) {
            Some((book, date, _, Some(slot))) => {
                self.aligned.entry((book, date)).or_default().insert(slot);
            }
            _ => found.wrong(Check::Format, place, "not an alignment: expected slot, book and day"),
        }
    }

    /// Takes a record of `flow`; those that are not of days matter nothing.
    pub fn flow(&mut self, place: Place, value: &[u8], found: &mut Findings) {
        let Some((book, date, state, _)) = day(value) else { return };
        let is_closed = |date| self.closed.contains_key(&(book.clone(), date));
        let opens = state.eq_ignore_ascii_case("open");
        self.announced.told(place, (&book, date), opens, is_closed, found);
        if state.eq_ignore_ascii_case("closed") {
            self.closed.entry((book, date)).or_insert(place);
        }
    }

    /// Oldest day of a slot whose closings nothing can change any more: the slot has published a later day's, and its journal
    /// (`aligned`: newest day by book) has aligned the day after, so that no entry can be dated in it.
    pub fn settled<'a>(&self, slot: u32, mut aligned: impl Iterator<Item = (&'a str, i32)>) -> Option<i32> {
        let mut dates = self.closings.get(&slot)?.keys();
        let (date, _later) = (*dates.next()?, dates.next()?);
        let closed = |book: &str| self.closed.contains_key(&(book.to_owned(), date));
        let (first, newest) = aligned.next()?;
        let past = |book: &str, newest: i32| newest > date && closed(book);
        (past(first, newest) && aligned.all(|(book, newest)| past(book, newest))).then_some(date)
    }

    /// Takes a day's closings out, which are judged now.
    pub fn take_settled(&mut self, slot: u32, date: i32) -> DayClosings {
        let judged = self.judged.entry(slot).or_insert(date);
        *judged = (*judged).max(date);
        self.closings.get_mut(&slot).and_then(|days| days.remove(&date)).unwrap_or_default()
    }

    /// Adds what a changelog window says that it wrote.
    pub fn wrote(&mut self, by: &'static str, edges: &[schemas::wire::EdgeCount]) {
        for edge in edges {
            *self.stated.entry((edge.topic.clone(), by)).or_default() += u64::from(edge.records);
        }
    }

    /// Holds `rejected` against the changelogs.
    pub fn report_rejected(&self, covered: bool, ended: bool, found: &mut Findings) {
        if !covered {
            found.uncovered(Check::EdgeRejected, self.dead_letters + self.refusals);
            return;
        }
        for (by, found_records, kind) in
            [("ingest", self.dead_letters, "dead letters"), ("posting", self.refusals, "refusals")]
        {
            let stated = self.stated.get(&(Topic::Rejected.name().to_owned(), by)).copied().unwrap_or(0);
            if stated == found_records {
                found.holds(Check::EdgeRejected, found_records);
            } else {
                let what =
                    format!("changelogs of {by} state {stated} records, {found_records} {kind} are there");
                found.overdue(ended, Check::EdgeRejected, Topic::Rejected.name(), what);
            }
        }
    }
}

/// Holds the closings of a day against the replay.
pub fn judge_closings(
    accounts: &Accounts,
    date: i32,
    closings: &DayClosings,
    ended: bool,
    found: &mut Findings,
) {
    for ((account, asset), Closing { balance, revision, place }) in closings {
        let replayed = accounts.find(account, asset).and_then(|n| accounts.get(n));
        let closing = replayed.map_or(0, |a| a.closing(date));
        if closing == *balance {
            found.holds(Check::DayClosing, 1);
            continue;
        }
        let name = format!("{place} {account} {asset} {}", date_text(date));
        let what = format!("revision {revision} states {balance}, entries come to {closing}");
        found.overdue(ended, Check::DayClosing, name, what);
    }
}

/// Names each account that was booked on a closed day and has no closing of it; `day` = its name.
pub fn judge_closed_without(
    accounts: &Accounts,
    date: i32,
    (closings, day): (&DayClosings, &str),
    ended: bool,
    found: &mut Findings,
) {
    for account in accounts.iter().filter(|a| a.booked_on(date)) {
        let asset = accounts.asset(account.asset);
        if !closings.contains_key(&(account.name.to_string(), asset.to_owned())) {
            let name = format!("{} {asset} {day}", account.name);
            found.overdue(ended, Check::DayClosing, name, "the day is closed without its closing");
        }
    }
}

fn day(value: &[u8]) -> Option<(String, i32, String, Option<u32>)> {
    let read: DayJson<'_> = serde_json::from_slice(value).ok()?;
    let date = amount::date_days(&read.day)?;
    Some((read.book.into_owned(), date, read.state.into_owned(), read.slot))
}
