//! Accounts by what events have made of them: opened, closed, frozen, or given limits of their own.
//!
//! Bounds: a page of accounts; they come by name, so that the next page begins behind the last one.

use super::books::Books;
use super::shown::Shown;
use super::{Answer, Ending};
use crate::cli::output::{Cell, Table};
use anyhow::Context;
use posting::accounts::Terms;
use posting::limits::Limited;
use posting::state::Slot;
use posting::status::{Stated, Status};
use schemas::chart::Chart;
use schemas::dates::Day;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What events have made of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// An event has opened it, and it is not closed.
    Opened,
    /// Nothing is booked to it any more.
    Closed,
    /// It takes no debits, no credits, or neither.
    Frozen,
    /// An event has given it limits of its own.
    Limited,
}

impl AccountStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Opened, Self::Closed, Self::Frozen, Self::Limited];

    /// Its name on the command line and in an address.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Frozen => "frozen",
            Self::Limited => "limited",
        }
    }

    fn holds(self, status: Status) -> bool {
        match self {
            Self::Opened => status.opened && !status.closed,
            Self::Closed => status.closed,
            Self::Frozen => status.debits_frozen || status.credits_frozen,
            Self::Limited => false,
        }
    }
}

/// What events have made of one account: its status, and its limits by asset.
#[derive(Debug, Clone, Default)]
struct Account {
    stated: Option<Stated>,
    limits: Vec<(String, Limited)>,
}

const STATUS_COLUMNS: [&str; 7] = ["account", "status", "frozen", "opened", "changed_on", "event", "source"];
const LIMIT_COLUMNS: [&str; 7] =
    ["account", "asset", "min_balance", "max_balance", "changed_on", "event", "source"];

/// `accounts --status`: the first `limit` of them behind `after`.
pub(super) fn accounts(
    books: &Books,
    status: AccountStatus,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> anyhow::Result<Answer> {
    let (prefix, after) = (prefix.to_owned(), after.unwrap_or_default().to_owned());
    let found = books.posting(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let page = |slot| page_of(slot, status, &prefix, &after, limit);
        slots.flat_map(page).collect::<BTreeMap<String, Account>>()
    })?;
    let all: BTreeMap<String, Account> = found.into_iter().flatten().collect();
    let more = all.len() > limit;
    let page: BTreeMap<String, Account> = all.into_iter().take(limit).collect();
    let chart = books.setup.read_chart()?;
    let tables = vec![statuses(&page), limits(&shown(books, &page)?, &chart, &page)?];
    let mut answer = Answer::tables(tables);
    answer.message = match page.last_key_value() {
        None => Some(format!("no account is {}", status.name())),
        Some((last, _)) if more => Some(format!("there are more: --after {last}")),
        Some(_) => None,
    };
    answer.ending = Ending::Done;
    Ok(answer)
}

fn shown(books: &Books, page: &BTreeMap<String, Account>) -> anyhow::Result<Shown> {
    Shown::of(books, page.keys().cloned().collect())
}

/// The first accounts of a slot, and one more, which says that there are more.
fn page_of(
    slot: &Slot,
    status: AccountStatus,
    prefix: &str,
    after: &str,
    limit: usize,
) -> BTreeMap<String, Account> {
    let stated = slot.statuses.sorted().into_iter();
    let limited = slot.limits.sorted();
    let wanted = |account: &str| account > after && account.starts_with(prefix);
    let names: BTreeSet<&str> = match status {
        AccountStatus::Limited => {
            limited.iter().map(|(account, ..)| *account).filter(|a| wanted(a)).collect()
        }
        _ => stated.filter(|(a, s)| status.holds(s.status) && wanted(a)).map(|(a, _)| a).collect(),
    };
    let of = |name: &str| {
        let mine = limited.iter().filter(|(account, ..)| *account == name);
        let limits = mine.map(|(_, asset, limited)| ((*asset).to_owned(), (*limited).clone())).collect();
        (name.to_owned(), Account { stated: slot.statuses.stated(name).cloned(), limits })
    };
    names.into_iter().take(limit.saturating_add(1)).map(of).collect()
}

fn statuses(page: &BTreeMap<String, Account>) -> Table {
    let mut table = Table::new("account statuses", &STATUS_COLUMNS);
    for (name, account) in page {
        let status = account.stated.as_ref().map(|stated| stated.status).unwrap_or_default();
        let frozen = match (status.debits_frozen, status.credits_frozen) {
            (false, false) => None,
            (true, false) => Some("debit"),
            (false, true) => Some("credit"),
            (true, true) => Some("both"),
        };
        let said = match frozen {
            _ if status.closed => "closed",
            Some(_) => "frozen",
            None => "open",
        };
        let since = account.stated.as_ref().map(|stated| &stated.since);
        table.row([
            name.clone().into(),
            said.into(),
            frozen.into(),
            status.opened.into(),
            since.map(|since| Day(since.date).to_string()).into(),
            since.map(|since| since.event.id.clone()).into(),
            since.map(|since| since.event.source.clone()).into(),
        ]);
    }
    table
}

/// Limits on the account's normal side; a minimum below zero is an overdraft, an empty one is the chart's.
fn limits(shown: &Shown, chart: &Chart, page: &BTreeMap<String, Account>) -> anyhow::Result<Table> {
    let mut table = Table::new("account limits", &LIMIT_COLUMNS);
    for (name, account) in page {
        for (asset, limited) in &account.limits {
            let class = chart.resolve(name);
            let terms = class.and_then(|class| Terms::of(class, asset));
            let normal =
                terms.with_context(|| format!("the chart has no {name} in {asset} any more"))?.normal;
            let own = limited.own;
            let [least, most] = match normal {
                schemas::wire::Side::Credit => [own.highest, own.lowest],
                _ => [own.lowest, own.highest],
            };
            let figure = |limit: Option<i128>| match limit {
                None => Cell::None,
                Some(i128::MIN | i128::MAX) => "unlimited".into(),
                Some(minor) => shown.balance(name, minor, asset),
            };
            table.row([
                name.clone().into(),
                asset.clone().into(),
                figure(least),
                figure(most),
                Day(limited.since.date).to_string().into(),
                limited.since.event.id.clone().into(),
                limited.since.event.source.clone().into(),
            ]);
        }
    }
    Ok(table)
}
