//! Balances, entries, days, breaks.

use super::books::Books;
use super::{Answer, Ending, journal};
use crate::cli::output::{Cell, Table};
use anyhow::Context;
use schemas::balance_json::{Balance, NormalSide};
use schemas::dates::{Day, format_instant};
use schemas::money;
use schemas::recon_json::{Case, CaseKind};
use schemas::topics::Topic;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// Most accounts that a prefix lists.
const ACCOUNTS_MAX: usize = 10_000;

fn owned(balance: Balance<'_>) -> Balance<'static> {
    Balance {
        account: balance.account.into_owned().into(),
        asset: balance.asset.into_owned().into(),
        book: balance.book.into_owned().into(),
        ..balance
    }
}

/// Balances of one account over all slots (the ledger's own accounts may live anywhere).
pub(super) fn balances_of(books: &Books, account: &str) -> anyhow::Result<Vec<Balance<'static>>> {
    let account = account.to_owned();
    books
        .settlement(move |worker| {
            let rules = worker.processor().rules();
            let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
            let found = slots.flat_map(|slot| rules.balances_of(slot, &account));
            found.map(owned).collect::<Vec<_>>()
        })
        .map(|found| found.concat())
}

fn balances_below(books: &Books, prefix: &str) -> anyhow::Result<Vec<Balance<'static>>> {
    let prefix = prefix.to_owned();
    let all = books.settlement(move |worker| {
        let rules = worker.processor().rules();
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let found = slots.flat_map(|slot| rules.balances(slot)).filter(|b| b.account.starts_with(&prefix));
        found.map(owned).collect::<Vec<_>>()
    })?;
    let mut all: Vec<Balance<'static>> = all.into_iter().flatten().collect();
    all.sort_by(|a, b| (&a.account, &a.asset).cmp(&(&b.account, &b.asset)));
    Ok(all)
}

/// `balance`.
pub(super) fn balance(books: &Books, account: &str, as_of: Option<&str>) -> anyhow::Result<Answer> {
    if let Some(day) = as_of {
        return closing(books, account, Day::parse(day)?);
    }
    let prefix = account.strip_suffix('*').or_else(|| account.ends_with(':').then_some(account));
    let mut found = match prefix {
        Some(prefix) => balances_below(books, prefix)?,
        None => balances_of(books, account)?,
    };
    if found.is_empty() {
        return Ok(Answer::says(Ending::NotFound, format!("no balance of {account}")));
    }
    let more = found.len().saturating_sub(ACCOUNTS_MAX);
    found.truncate(ACCOUNTS_MAX);
    let mut answer = Answer::tables(vec![table("balances", found)]);
    answer.message = (more > 0).then(|| format!("{more} more are not shown"));
    Ok(answer)
}

fn table(title: &str, balances: impl IntoIterator<Item = Balance<'static>>) -> Table {
    let columns = ["account", "asset", "balance", "normal_side", "entries", "last_date", "previous_balance"];
    let mut table = Table::new(title, &columns);
    for b in balances {
        table.row([
            b.account.into_owned().into(),
            b.asset.into_owned().into(),
            Cell::amount(b.balance),
            b.normal_side.name().into(),
            b.seq.into(),
            b.last_date.into(),
            Cell::amount(b.previous_balance),
        ]);
    }
    table
}

/// A page of accounts: the first `limit` balances behind `after`, in the order of account and asset.
pub(super) fn accounts(
    books: &Books,
    prefix: &str,
    after: Option<&(String, String)>,
    limit: usize,
) -> anyhow::Result<Answer> {
    let (prefix, after) = (prefix.to_owned(), after.cloned());
    let of_workers = books.settlement(move |worker| {
        let rules = worker.processor().rules();
        let mut first: BTreeMap<(String, String), Balance<'static>> = BTreeMap::new();
        for slot in worker.slots().into_iter().filter_map(|slot| worker.slot(slot)) {
            for balance in rules.balances(slot).into_iter().filter(|b| b.account.starts_with(&prefix)) {
                let name = (&*balance.account, &*balance.asset);
                let behind = after.as_ref().is_none_or(|(account, asset)| name > (account, asset));
                let before = || first.last_key_value().is_none_or(|((a, b), _)| name < (a, b));
                if !behind || (first.len() >= limit && !before()) {
                    continue;
                }
                first.insert((balance.account.to_string(), balance.asset.to_string()), owned(balance));
                if first.len() > limit {
                    first.pop_last();
                }
            }
        }
        first
    })?;
    let all: BTreeMap<_, _> = of_workers.into_iter().flatten().collect();
    Ok(Answer::tables(vec![table("accounts", all.into_values().take(limit))]))
}

/// Closing balance: the newest record of `balances.daily` on or before the day, highest revision.
fn closing(books: &Books, account: &str, day: Day) -> anyhow::Result<Answer> {
    let mut newest: BTreeMap<String, (String, u64, serde_json::Value)> = BTreeMap::new();
    crate::measure::recount::each(books.log.as_ref(), Topic::BalancesDaily, &mut |fetch| {
        for record in &fetch.records {
            let daily: serde_json::Value = serde_json::from_slice(&record.value).context("balances.daily")?;
            let text = |field: &str| daily.get(field).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
            let (of, on) = (text("account"), text("day"));
            let revision = daily.get("revision").and_then(serde_json::Value::as_u64).unwrap_or(0);
            if of != account || Day::parse(&on)? > day {
                continue;
            }
            let known = newest.get(&text("asset"));
            if known.is_none_or(|(known_on, known_revision, _)| {
                (on.as_str(), revision) >= (known_on.as_str(), *known_revision)
            }) {
                newest.insert(text("asset"), (on, revision, daily));
            }
        }
        Ok(())
    })?;
    if newest.is_empty() {
        return Ok(Answer::says(
            Ending::NotFound,
            format!("no closing balance of {account} on or before {day}"),
        ));
    }
    let mut table = Table::new(
        "closing balances",
        &["account", "asset", "as_of", "balance", "normal_side", "closed_on", "revision"],
    );
    for (asset, (on, revision, daily)) in newest {
        let text = |field: &str| daily.get(field).and_then(|v| v.as_str()).unwrap_or_default().to_owned();
        table.row([
            account.into(),
            asset.into(),
            day.to_string().into(),
            Cell::amount(text("balance")),
            text("normal_side").into(),
            on.into(),
            revision.into(),
        ]);
    }
    Ok(Answer::tables(vec![table]))
}

/// How balances of accounts are shown: decimals of every asset, normal side of every account asked for. The side is
/// the one that `balances` is published with, so that every command shows the same sign.
pub(super) struct Shown {
    sides: BTreeMap<String, NormalSide>,
    exponents: BTreeMap<String, u8>,
}

impl Shown {
    /// # Errors
    /// The chart cannot be read.
    pub(super) fn of(books: &Books, accounts: BTreeSet<String>) -> anyhow::Result<Self> {
        let settlement = books.setup.settlement()?;
        let side = |account: String| (account.clone(), settlement.rules().normal_side(&account));
        let assets = books.setup.read_chart()?.assets;
        Ok(Self {
            sides: accounts.into_iter().map(side).collect(),
            exponents: assets.iter().map(|(code, asset)| (code.clone(), asset.exponent)).collect(),
        })
    }

    /// An amount in major units.
    pub(super) fn amount(&self, minor: i128, asset: &str) -> Cell {
        Cell::amount(money::format(minor, self.exponents.get(asset).copied().unwrap_or(0)))
    }

    /// A balance on the account's normal side.
    pub(super) fn balance(&self, account: &str, debit_minus_credit: i128, asset: &str) -> Cell {
        match self.sides.get(account) {
            Some(NormalSide::Credit) => self.amount(debit_minus_credit.saturating_neg(), asset),
            _ => self.amount(debit_minus_credit, asset),
        }
    }
}

/// Where the entries behind a page begin: the last one that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    slot: u32,
    asset: String,
    batch: u64,
    seq: u64,
}

impl FromStr for Cursor {
    type Err = ();

    /// `SLOT#BATCH/SEQ/ASSET`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let (place, seq, asset) = (parts.next().ok_or(())?, parts.next().ok_or(())?, parts.next().ok_or(())?);
        let (slot, batch) = place.split_once('#').ok_or(())?;
        let number = |text: &str| text.parse().map_err(drop);
        Ok(Self {
            slot: slot.parse().map_err(drop)?,
            asset: asset.to_owned(),
            batch: number(batch)?,
            seq: number(seq)?,
        })
    }
}

/// Slot, asset and batch of the newest entry of each of an account's balances, by slot and asset.
fn heads(books: &Books, account: &str, asset: Option<&str>) -> anyhow::Result<Vec<(u32, String, u64)>> {
    let of = account.to_owned();
    let assets: Vec<String> = books.setup.read_chart()?.assets.keys().cloned().collect();
    let assets: Vec<String> = assets.into_iter().filter(|of| asset.is_none_or(|asset| asset == of)).collect();
    let heads: Vec<Vec<(u32, String, u64)>> = books.posting(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let heads = slots.flat_map(|slot| {
            let figures = assets.iter().map(|asset| (asset, slot.figures_of(&of, asset)));
            let known = figures.filter_map(|(asset, f)| f.map(|f| (slot.slot, asset.clone(), f.last_batch)));
            known.collect::<Vec<_>>()
        });
        heads.collect()
    })?;
    let mut heads = heads.concat();
    heads.sort();
    Ok(heads)
}

const ENTRY_COLUMNS: [&str; 11] =
    ["account", "asset", "seq", "side", "amount", "balance", "date", "event", "source", "type", "batch"];

fn entry_row(table: &mut Table, shown: &Shown, slot: u32, booked: journal::Booked) {
    let entry = &booked.entry;
    table.row([
        entry.account.clone().into(),
        entry.asset.clone().into(),
        entry.seq.into(),
        NormalSide::from(entry.side()).name().into(),
        shown.amount(entry.amount(), &entry.asset),
        shown.balance(&entry.account, entry.after(), &entry.asset),
        Day(booked.accounting_date).to_string().into(),
        booked.event.1.into(),
        booked.event.0.into(),
        booked.kind.into(),
        format!("{slot}#{}", booked.batch).into(),
    ]);
}

/// `entries`: the newest `limit` of each balance.
pub(super) fn entries(
    books: &Books,
    account: &str,
    asset: Option<&str>,
    limit: usize,
) -> anyhow::Result<Answer> {
    let mut table = Table::new("entries", &ENTRY_COLUMNS);
    let shown = Shown::of(books, BTreeSet::from([account.to_owned()]))?;
    for (slot, asset, last_batch) in heads(books, account, asset)? {
        let from = journal::From { batch: last_batch, below: u64::MAX };
        let found = journal::last_entries(books.log.as_ref(), slot, account, &asset, from, limit)?;
        found.into_iter().for_each(|booked| entry_row(&mut table, &shown, slot, booked));
    }
    if table.rows.is_empty() {
        return no_entry(books, account, asset);
    }
    Ok(Answer::tables(vec![table]))
}

/// An asset that is not known is told with those that are.
fn no_entry(books: &Books, account: &str, asset: Option<&str>) -> anyhow::Result<Answer> {
    let known = books.setup.read_chart()?.assets;
    let told = match asset {
        Some(asset) if !known.contains_key(asset) => {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("asset {asset:?} is not known; known are {}", known.join(", "))
        }
        Some(asset) => format!("no entry of {account} in {asset}"),
        None => format!("no entry of {account}"),
    };
    Ok(Answer::says(Ending::NotFound, told))
}

/// A page of entries: `limit` in all, by slot and asset, the newest first.
pub(super) fn entries_page(
    books: &Books,
    account: &str,
    asset: Option<&str>,
    after: Option<&Cursor>,
    limit: usize,
) -> anyhow::Result<Answer> {
    let mut table = Table::new("entries", &ENTRY_COLUMNS);
    let shown = Shown::of(books, BTreeSet::from([account.to_owned()]))?;
    for (slot, asset, last_batch) in heads(books, account, asset)? {
        let mut from = journal::From { batch: last_batch, below: u64::MAX };
        match after.map(|after| ((slot, asset.as_str()).cmp(&(after.slot, &after.asset)), after)) {
            Some((Ordering::Less, _)) => continue,
            Some((Ordering::Equal, after)) => {
                from = journal::From { batch: after.batch.min(last_batch), below: after.seq };
            }
            Some((Ordering::Greater, _)) | None => {}
        }
        let left = limit.saturating_sub(table.rows.len());
        let found = journal::last_entries(books.log.as_ref(), slot, account, &asset, from, left)?;
        found.into_iter().for_each(|booked| entry_row(&mut table, &shown, slot, booked));
    }
    if table.rows.is_empty() && after.is_none() {
        return no_entry(books, account, asset);
    }
    Ok(Answer::tables(vec![table]))
}

/// `trial-balance`.
pub(super) fn trial_balance(books: &Books) -> anyhow::Result<Answer> {
    type Sums = BTreeMap<String, (u64, Option<i128>, Option<i128>)>;
    let of_workers = books.settlement(|worker| {
        let rules = worker.processor().rules();
        let mut sums = Sums::new();
        for slot in worker.slots().into_iter().filter_map(|slot| worker.slot(slot)) {
            for balance in rules.balances(slot) {
                let minor: i128 = balance.debit_minus_credit_minor.parse().unwrap_or(0);
                let sum = sums.entry(balance.asset.into_owned()).or_insert((0, Some(0), Some(0)));
                sum.0 += 1;
                let of = if minor >= 0 { &mut sum.1 } else { &mut sum.2 };
                *of = of.and_then(|sum| sum.checked_add(minor));
            }
        }
        sums
    })?;
    let mut sums = Sums::new();
    let add = |a: Option<i128>, b: Option<i128>| a?.checked_add(b?);
    for (asset, (accounts, debit, credit)) in of_workers.into_iter().flatten() {
        let sum = sums.entry(asset).or_insert((0, Some(0), Some(0)));
        *sum = (sum.0 + accounts, add(sum.1, debit), add(sum.2, credit));
    }
    let chart = books.setup.read_chart()?;
    let mut table = Table::new(
        "trial balance",
        &["asset", "accounts", "debit_balances", "credit_balances", "difference"],
    );
    let mut zero = true;
    for (asset, (accounts, debit, credit)) in sums {
        let exponent = chart.assets.get(&asset).map_or(0, |a| a.exponent);
        let (debit, credit) =
            (debit.context("debits out of range")?, credit.context("credits out of range")?);
        let difference = debit.checked_add(credit).context("difference out of range")?;
        zero &= difference == 0;
        table.row([
            asset.into(),
            accounts.into(),
            Cell::amount(money::format(debit, exponent)),
            Cell::amount(money::format(credit.saturating_neg(), exponent)),
            Cell::amount(money::format(difference, exponent)),
        ]);
    }
    let mut answer = Answer::tables(vec![table]);
    if !zero {
        answer.ending = Ending::Wrong;
        answer.message = Some("not zero: the books are wrong; see `audit`".into());
    }
    Ok(answer)
}

/// `days`.
pub(super) fn days(books: &Books) -> anyhow::Result<Answer> {
    let days = books.settlement(|worker| {
        let slot = worker.slot(0)?;
        let rules = worker.processor().rules();
        Some((rules.days(slot), rules.complete_until(slot).business_time_us))
    })?;
    let first = days.into_iter().flatten().next();
    let (days, business_us) = first.context("settlement slot 0 is not there")?;
    let mut table = Table::new("days", &["book", "day", "state", "slots_closed", "slots"]);
    for day in days {
        let state = serde_json::to_value(day.state)?.as_str().unwrap_or_default().to_owned();
        table.row([
            books.setup.book.clone().into(),
            day.day.to_string().into(),
            state.into(),
            day.aligned.into(),
            day.slots.into(),
        ]);
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = business_us.map(|us| format!("business time {}", format_instant(us)));
    Ok(answer)
}

/// `breaks`.
pub(super) fn breaks(
    books: &Books,
    kind: Option<&str>,
    summary: bool,
    limit: usize,
) -> anyhow::Result<Answer> {
    let kind = kind.map(kind_named).transpose()?;
    if summary {
        return break_summary(books);
    }
    let cases = books.join(move |worker| {
        let filter = reconcile::join::CaseFilter { kind, ..Default::default() };
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.flat_map(|slot| worker.processor().breaks(slot, &filter)).collect::<Vec<Case>>()
    })?;
    let mut cases = cases.concat();
    // Slots are read one after the other: their cases are brought into one order.
    reconcile::join::sort(&mut cases);
    let all = cases.len();
    let mut table = Table::new("breaks", &BREAK_COLUMNS);
    cases.into_iter().take(limit).for_each(|case| table.row(break_row(case)));
    let mut answer = Answer::tables(vec![table]);
    answer.message = Some(match all {
        0 => "no open break".to_owned(),
        n if n > limit => format!("{limit} of {n} open breaks; --limit shows more"),
        n => format!("{n} open breaks"),
    });
    Ok(answer)
}

fn kind_named(name: &str) -> anyhow::Result<CaseKind> {
    CaseKind::by_name(name).with_context(|| {
        let known: Vec<_> = CaseKind::ALL.iter().map(|k| k.name()).collect();
        format!("{name:?} is no kind of break; expected one of {}", known.join(", "))
    })
}

const BREAK_COLUMNS: [&str; 11] = [
    "day",
    "kind",
    "provider",
    "order",
    "order_kind",
    "refund",
    "ours",
    "theirs",
    "difference",
    "event",
    "line",
];

fn break_row(case: Case) -> [Cell; 11] {
    let differences = case.differences.iter();
    let difference: Vec<String> =
        differences.map(|d| format!("{} {} / {}", d.field.name(), d.ours, d.theirs)).collect();
    [
        case.day.into(),
        case.kind.name().into(),
        case.provider.into(),
        case.order.into(),
        case.order_kind.into(),
        case.refund.into(),
        case.ours.as_ref().map(|o| Cell::amount(o.amount.clone())).unwrap_or(Cell::None),
        case.theirs.as_ref().map(|t| Cell::amount(t.amount.clone())).unwrap_or(Cell::None),
        difference.join("; ").into(),
        case.ours.map(|o| o.event_id).into(),
        case.theirs.map(|t| t.line).into(),
    ]
}

fn break_summary(books: &Books) -> anyhow::Result<Answer> {
    let of_workers = books.join(|worker| {
        let slots: Vec<_> = worker.slots().into_iter().filter_map(|slot| worker.slot(slot)).collect();
        let total =
            slots.iter().fold(reconcile::join::Summary::default(), |sum, slot| sum.with(&slot.summary()));
        (total, slots.first().map(|slot| slot.files()).unwrap_or_default())
    })?;
    let (totals, files): (Vec<_>, Vec<_>) = of_workers.into_iter().unzip();
    let total = totals.iter().fold(reconcile::join::Summary::default(), |sum, of| sum.with(of));
    // Every slot knows every file.
    let files = files.into_iter().find(|files| !files.is_empty()).unwrap_or_default();
    let mut table = Table::new("cases", &["kind", "count"]);
    for kind in CaseKind::ALL {
        table.row([kind.name().into(), total.count(kind).into()]);
    }
    table.row(["waiting for a bill".into(), total.waiting.into()]);
    let mut bills =
        Table::new("bills", &["file", "name", "provider", "account", "day", "gate", "lines", "reason"]);
    for file in files {
        bills.row([
            file.id.chars().take(12).collect::<String>().into(),
            file.name.into(),
            file.provider.into(),
            file.account.into(),
            // A file that could not be read has no day.
            file.day.filter(|day| day.0 != 0).map(|day| day.to_string()).into(),
            format!("{:?}", file.gate).to_lowercase().into(),
            file.lines.into(),
            file.reason.into(),
        ]);
    }
    Ok(Answer::tables(vec![table, bills]))
}
