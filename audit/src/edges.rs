//! The JSON edge topics: dead letters and refusals, balances, closings, days and what reconcile found.
//!
//! Field names are those of the JSON Schemas in `schemas/json`, stated here a second time. Bounded by accounts and business days.

use crate::amount;
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

/// Account, asset and day.
pub type ClosingKey = (String, String, i32);

/// What the edge topics say.
#[derive(Debug, Default)]
pub struct Edges {
    /// Newest closings per settlement slot.
    pub closings: BTreeMap<u32, BTreeMap<ClosingKey, Closing>>,
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
                Ok(((c.account.into_owned(), c.asset.into_owned(), date), closing))
            });
        let (key, closing) = match read {
            Ok(read) => read,
            Err(why) => return found.wrong(Check::Format, place, why),
        };
        let closings = self.closings.entry(place.at.partition).or_default();
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

    /// Takes a record of `flow`; only closed days matter.
    pub fn flow(&mut self, place: Place, value: &[u8]) {
        if let Some((book, date, state, _)) = day(value)
            && state.eq_ignore_ascii_case("closed")
        {
            self.closed.entry((book, date)).or_insert(place);
        }
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

fn day(value: &[u8]) -> Option<(String, i32, String, Option<u32>)> {
    let read: DayJson<'_> = serde_json::from_slice(value).ok()?;
    let date = amount::date_days(&read.day)?;
    Some((read.book.into_owned(), date, read.state.into_owned(), read.slot))
}
