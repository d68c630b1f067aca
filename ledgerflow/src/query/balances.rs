//! Balances: now, at the end of a day, page by page, and per asset.

use super::books::Books;
use super::in_flight::InFlight;
use super::shown::Shown;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use anyhow::Context;
use schemas::balance_json::{Balance, DailyBalance, NormalSide};
use schemas::dates::Day;
use schemas::money;
use schemas::topics::Topic;
use std::collections::BTreeMap;
use stream::log::Offset;

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
    Ok(settled(books, account)?.0)
}

/// The same, and up to where each partition of `journal` was read for them.
fn settled(books: &Books, account: &str) -> anyhow::Result<(Vec<Balance<'static>>, BTreeMap<u32, Offset>)> {
    let account = account.to_owned();
    let found = books.settlement(move |worker| {
        let rules = worker.processor().rules();
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let found = slots.flat_map(|slot| rules.balances_of(slot, &account));
        let read = worker.positions().into_iter().filter(|(at, _)| at.topic == Topic::Journal);
        (found.map(owned).collect::<Vec<_>>(), read.collect::<Vec<_>>())
    })?;
    let (balances, read): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    Ok((balances.concat(), read.concat().into_iter().map(|(at, offset)| (at.partition, offset)).collect()))
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
    let Some(prefix) = prefix else { return of_one(books, account) };
    let mut found = balances_below(books, prefix)?;
    if found.is_empty() {
        return Ok(none(account));
    }
    let more = found.len().saturating_sub(ACCOUNTS_MAX);
    found.truncate(ACCOUNTS_MAX);
    let mut answer = Answer::tables(vec![table("balances", found)]);
    answer.message = (more > 0).then(|| format!("{more} more are not shown"));
    Ok(answer)
}

fn none(account: &str) -> Answer {
    Answer::says(Ending::NotFound, format!("no balance of {account}"))
}

/// Balances of one account with what is on its way to it.
fn of_one(books: &Books, account: &str) -> anyhow::Result<Answer> {
    let (found, read) = settled(books, account)?;
    let on_its_way = InFlight::to(books, account, &read)?;
    let shown = Shown::of(books, [account.to_owned()].into())?;
    let mut table = Table::new("balances", &[&COLUMNS[..], &["pending", "estimated"]].concat());
    for balance in &found {
        let pending = on_its_way.of(&balance.asset);
        let net: i128 = balance.debit_minus_credit_minor.parse()?;
        let estimated = net.checked_add(pending).context("the estimated balance is too large")?;
        let asset = balance.asset.to_string();
        let more = [shown.balance(account, pending, &asset), shown.balance(account, estimated, &asset)];
        table.row(cells(balance.clone()).into_iter().chain(more));
    }
    let side = books.setup.settlement()?.rules().normal_side(account);
    for asset in on_its_way.assets().filter(|asset| found.iter().all(|balance| balance.asset != *asset)) {
        let [nothing, pending] = [0, on_its_way.of(asset)].map(|net| shown.balance(account, net, asset));
        let (account, estimated) = (account.into(), pending.clone());
        let row =
            [account, asset.into(), nothing.clone(), side.name().into(), 0_u64.into(), "".into(), nothing];
        table.row(row.into_iter().chain([pending, estimated]));
    }
    Ok(if table.rows.is_empty() { none(account) } else { Answer::tables(vec![table]) })
}

const COLUMNS: [&str; 7] =
    ["account", "asset", "balance", "normal_side", "entries", "last_date", "previous_balance"];

fn cells(balance: Balance<'static>) -> [Cell; 7] {
    [
        balance.account.into_owned().into(),
        balance.asset.into_owned().into(),
        Cell::amount(balance.balance),
        balance.normal_side.name().into(),
        balance.seq.into(),
        balance.last_date.into(),
        Cell::amount(balance.previous_balance),
    ]
}

fn table(title: &str, balances: impl IntoIterator<Item = Balance<'static>>) -> Table {
    let mut table = Table::new(title, &COLUMNS);
    balances.into_iter().for_each(|balance| table.row(cells(balance)));
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
    // By asset: day and revision, then what the record says.
    let mut newest: BTreeMap<String, ((String, u32), String, NormalSide)> = BTreeMap::new();
    crate::measure::recount::each(books.log.as_ref(), Topic::BalancesDaily, &mut |fetch| {
        for record in &fetch.records {
            let daily = DailyBalance::parse(&record.value).context("balances.daily")?;
            if daily.account != account || Day::parse(&daily.day)? > day {
                continue;
            }
            let (asset, of) = (daily.asset.into_owned(), (daily.day, daily.revision));
            if newest.get(&asset).is_none_or(|(known, ..)| of >= *known) {
                newest.insert(asset, (of, daily.balance, daily.normal_side));
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
    for (asset, ((on, revision), balance, side)) in newest {
        table.row([
            account.into(),
            asset.into(),
            day.to_string().into(),
            Cell::amount(balance),
            side.name().into(),
            on.into(),
            revision.into(),
        ]);
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
