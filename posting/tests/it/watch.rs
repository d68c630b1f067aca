//! What must hold after each window, looked at as soon as it is written: the batch sums to zero for each book, date and
//! asset; no account skips an entry or goes beyond its limits; the journal alone gives the same state.
//!
//! Knows nothing of the code under test but the journal's format. Order relied on: the journal's own.

use crate::cluster::{Cluster, Page, differing_keys};
use crate::events::terms_of;
use crate::model::Wide;
use schemas::wire::{Decision, Entry, Side, journal_item::Item};
use std::collections::{BTreeMap, BTreeSet};

/// A slot is rebuilt after each of its first windows, then after each of so many.
const REBUILT_EACH: usize = 16;

type Account = (String, String);

/// What the windows so far have shown.
#[derive(Debug, Default)]
pub struct Watch {
    /// Balance and entries of each account and asset.
    figures: BTreeMap<Account, (i128, u64)>,
    /// Those that an event has given limits of their own, or for one of its legs an overdraft.
    exempt: BTreeSet<Account>,
    windows: usize,
}

/// The entries of an item, in order, and the book and date that they count in.
fn entries(item: &Item) -> (&str, i32, Vec<&Entry>) {
    match item {
        Item::Decision(d) => (&d.book, d.accounting_date, d.entry.iter().collect()),
        Item::Received(r) => (&r.book, r.accounting_date, r.entry.iter().collect()),
        Item::Clearing(c) => (&c.book, c.accounting_date, c.entry.iter().collect()),
        _ => ("", 0, Vec::new()),
    }
}

/// Whether both are legs of one event that came from another partition.
fn is_of_one_event(one: &Item, next: &Item) -> bool {
    matches!((one, next), (Item::Received(one), Item::Received(next)) if one.event == next.event && one.from == next.from)
}

fn signed(entry: &Entry) -> i128 {
    if entry.side() == Side::Credit { 0 - entry.amount() } else { entry.amount() }
}

/// The entries of a batch sum to zero for each book, date and asset.
pub fn balances(page: &Page) {
    let mut sums: BTreeMap<(&str, i32, &str), Wide> = BTreeMap::new();
    for (book, date, entries) in page.items.iter().filter_map(|item| item.item.as_ref()).map(entries) {
        for entry in entries {
            let sum = sums.entry((book, date, &entry.asset)).or_default();
            *sum = sum.plus(signed(entry));
        }
    }
    let unequal: Vec<_> = sums.iter().filter(|(_, sum)| **sum != Wide::default()).collect();
    assert!(unequal.is_empty(), "batch {} does not sum to zero: {unequal:?}", page.header.batch);
}

/// Accounts that a decision gives limits of their own, or lets go below zero.
fn exempt(d: &Decision) -> Vec<Account> {
    let entries = d.entry.iter().map(|leg| (leg.leg, &leg.account, &leg.asset));
    let others = d.asked.iter().chain(&d.remote).map(|leg| (leg.leg, &leg.account, &leg.asset));
    let overdrawn = |leg: u32| d.overdraft.iter().any(|of| of.leg == leg);
    let of_legs = entries.chain(others).filter(|(leg, ..)| overdrawn(*leg));
    // A hold is captured though its account has no more than what was overdrawn when it was placed.
    let held = d.hold.iter().filter(|_| overdrawn(0)).map(|hold| (hold.account.clone(), hold.asset.clone()));
    let limited = d.account_limits.iter().map(|limits| (limits.account.clone(), limits.asset.clone()));
    limited.chain(held).chain(of_legs.map(|(_, account, asset)| (account.clone(), asset.clone()))).collect()
}

impl Watch {
    /// Looks at the last window of a slot.
    pub fn window(&mut self, cluster: &Cluster, slot: u32) {
        let page = cluster.page(slot, cluster.journal[slot as usize].0.len() - 1);
        balances(&page);
        let items: Vec<&Item> = page.items.iter().filter_map(|item| item.item.as_ref()).collect();
        // Legs that come from elsewhere for one event count together: one that gives a transfer of an account to itself back
        // takes from it first.
        items.chunk_by(|one, next| is_of_one_event(one, next)).for_each(|together| self.items(together));
        self.windows += 1;
        if self.windows <= 2 * REBUILT_EACH || self.windows.is_multiple_of(REBUILT_EACH) {
            let rebuilt = cluster.rebuilt(slot, false).unwrap();
            let differing = differing_keys(&cluster.slots[slot as usize], &rebuilt);
            assert!(differing.is_empty(), "slot {slot}, rebuilt: {differing:02x?}");
        }
    }

    fn items(&mut self, together: &[&Item]) {
        let mut before: BTreeMap<Account, i128> = BTreeMap::new();
        together.iter().for_each(|item| self.item(item, &mut before));
        for (account, before) in before {
            self.is_within_limits(&account, before, together);
        }
    }

    fn item(&mut self, item: &Item, before: &mut BTreeMap<Account, i128>) {
        if let Item::Decision(d) = item {
            self.exempt.extend(exempt(d));
        }
        for entry in entries(item).2 {
            let account = (entry.account.clone(), entry.asset.clone());
            let (balance, seq) = self.figures.get(&account).copied().unwrap_or_default();
            assert_eq!((entry.before(), entry.seq), (balance, seq + 1), "{entry:?}");
            assert_eq!(balance.checked_add(signed(entry)), Some(entry.after()), "{entry:?}");
            before.entry(account.clone()).or_insert(balance);
            self.figures.insert(account, (entry.after(), entry.seq));
        }
    }

    /// An account is within the chart's limits, or nearer to them than before. Left out are those with limits of their
    /// own, and those that a reversal may take beyond.
    fn is_within_limits(&self, of: &Account, before: i128, items: &[&Item]) {
        let Some(terms) = terms_of(&of.0, &of.1) else { return };
        if self.exempt.contains(of) || of.0.ends_with(":credit") {
            return;
        }
        let on_normal_side = |figure: i128| if terms.normal == Side::Debit { figure } else { 0 - figure };
        let after = self.figures.get(of).map_or(0, |(balance, _)| *balance);
        let (before, after) = (on_normal_side(before), on_normal_side(after));
        let is_low = terms.least.is_some_and(|least| after < least && after < before);
        let is_high = terms.most.is_some_and(|most| after > most && after > before);
        assert!(!is_low && !is_high, "{of:?} from {before} to {after}: {items:?}");
    }
}
