//! What is on hold: the holds of accounts, and what each of these accounts may still spend.

use super::Answer;
use super::books::Books;
use super::shown::Shown;
use crate::cli::output::{Cell, Table};
use posting::accounts::Terms;
use posting::limits::OwnLimits;
use schemas::chart::Chart;
use schemas::dates::format_instant;
use schemas::wire::Side;
use std::collections::{BTreeMap, BTreeSet};

/// A hold with the funds of its account.
type Held = (posting::holds::HoldKey, posting::holds::Hold, Funds);

/// Balance of an account, debits minus credits, what is on hold there for debits and for credits, minor units, and the
/// limits that events have given it.
#[derive(Debug, Clone, Copy)]
struct Funds {
    balance: i128,
    held: [i128; 2],
    own: OwnLimits,
}

const HOLD_COLUMNS: [&str; 6] = ["account", "asset", "amount", "event", "source", "over_at"];
const FUNDS_COLUMNS: [&str; 5] = ["account", "asset", "balance", "on_hold", "available"];

/// `holds`: of one account, of all that begin with a prefix, or of all.
pub(super) fn holds(books: &Books, account: Option<&str>, limit: usize) -> anyhow::Result<Answer> {
    let wanted = account.map(str::to_owned);
    let held = books.posting(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let held = slots.flat_map(|slot| {
            let wanted = slot.holds.all().filter(|(_, hold)| is_wanted(wanted.as_deref(), &hold.account));
            wanted.map(|(key, hold)| {
                let balance = slot.figures_of(&hold.account, &hold.asset).map_or(0, |f| f.balance);
                let held =
                    [Side::Debit, Side::Credit].map(|side| slot.holds.held(&hold.account, &hold.asset, side));
                let own = slot.limits.of(&hold.account, &hold.asset);
                (*key, hold.clone(), Funds { balance, held, own })
            })
        });
        held.collect::<Vec<Held>>()
    })?;
    let mut held = held.concat();
    let order = |(key, hold, ..): &Held| (hold.account.clone(), hold.asset.clone(), *key);
    held.sort_by_key(order);
    let all = held.len();
    held.truncate(limit);
    let accounts: BTreeSet<String> = held.iter().map(|(_, hold, ..)| hold.account.to_string()).collect();
    let shown = Shown::of(books, accounts)?;
    let chart = books.setup.read_chart()?;
    let mut answer = Answer::tables(vec![holds_table(&shown, &held), funds_table(&shown, &chart, &held)]);
    answer.message = match all {
        0 => Some("nothing is on hold".to_owned()),
        n if n > limit => Some(format!("{limit} of {n} holds; --limit shows more")),
        _ => None,
    };
    Ok(answer)
}

/// The same words as `balance` takes.
fn is_wanted(wanted: Option<&str>, account: &str) -> bool {
    let Some(wanted) = wanted else { return true };
    match wanted.strip_suffix('*').or_else(|| wanted.ends_with(':').then_some(wanted)) {
        Some(prefix) => account.starts_with(prefix),
        None => account == wanted,
    }
}

fn holds_table(shown: &Shown, held: &[Held]) -> Table {
    let mut table = Table::new("holds", &HOLD_COLUMNS);
    for (_, hold, ..) in held {
        let placed = hold.placed.as_ref();
        // An event of several partitions has it only until it is decided.
        let event = placed.map(|placed| placed.event.clone());
        let over = placed.filter(|placed| placed.expires_us > 0);
        table.row([
            hold.account.to_string().into(),
            hold.asset.to_string().into(),
            shown.amount(hold.amount, &hold.asset),
            event.as_ref().map(|event| event.id.clone()).into(),
            event.map(|event| event.source).into(),
            over.map(|placed| format_instant(placed.expires_us)).into(),
        ]);
    }
    table
}

/// Of each account its balance, what is on hold of it, and what of the rest may be spent; nothing where it has no limit.
fn funds_table(shown: &Shown, chart: &Chart, held: &[Held]) -> Table {
    let mut table = Table::new("funds", &FUNDS_COLUMNS);
    let funds: BTreeMap<(&str, &str), Funds> =
        held.iter().map(|(_, hold, funds)| ((&*hold.account, &*hold.asset), *funds)).collect();
    for ((account, asset), Funds { balance, held: [debits, credits], own }) in funds {
        let terms = chart.resolve(account).and_then(|class| Terms::of(class, asset));
        // What keeps room for money to come in lowers nothing that may be spent.
        let spent_by =
            terms.map(|terms| if terms.normal == Side::Credit { Side::Debit } else { Side::Credit });
        let sum = if spent_by == Some(Side::Credit) { credits } else { debits };
        let limited = terms.zip(spent_by).map(|(terms, side)| (own.over(&terms), side));
        let available = limited.filter(|(range, side)| range.limits(*side)).map(|(range, side)| {
            let has = match side {
                Side::Credit => balance.saturating_sub(range.lowest),
                _ => range.highest.saturating_sub(balance),
            };
            has.saturating_sub(sum)
        });
        table.row([
            account.into(),
            asset.into(),
            shown.balance(account, balance, asset),
            shown.amount(sum, asset),
            available.map_or(Cell::None, |minor| shown.amount(minor, asset)),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_or_a_prefix_is_asked_for() {
        for (wanted, account, is) in [
            (None, "users:1:wallet", true),
            (Some("users:1:wallet"), "users:1:wallet", true),
            (Some("users:1"), "users:1:wallet", false),
            (Some("users:1:"), "users:1:wallet", true),
            (Some("users:1*"), "users:12:wallet", true),
            (Some("users:1:"), "users:12:wallet", false),
        ] {
            assert_eq!(is_wanted(wanted, account), is, "{wanted:?} {account}");
        }
    }
}
