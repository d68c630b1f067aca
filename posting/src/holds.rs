//! What is on hold of an account's funds: nobody else spends it until it is booked or let go.
//!
//! A hold belongs to a leg of an event, and only the home of that event ends it. Bounded by the legs of the events that
//! are open. Order relied on: none.

use crate::accounts::Terms;
use crate::config::CROSSING_MAX;
use crate::ids::IdKey;
use crate::overlay::{Overlay, Refusal};
use prost::Message;
use rustc_hash::FxHashMap;
use schemas::amount_wire::value;
use schemas::reason::Reason;
use schemas::wire::{self, HoldLeg, Side};
use std::collections::{BTreeMap, BTreeSet};

/// An event and the index of its leg.
pub type HoldKey = (IdKey, u32);

/// Something on hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Account.
    pub account: Box<str>,
    /// Asset.
    pub asset: Box<str>,
    /// Side of the leg.
    pub side: Side,
    /// Minor units, above zero.
    pub amount: i128,
    /// Partition that decides what becomes of it.
    pub home: u32,
}

impl Hold {
    /// What a leg asks for, decided by partition `home`.
    #[must_use]
    pub fn of(leg: &HoldLeg, home: u32) -> Self {
        Self {
            account: leg.account.as_str().into(),
            asset: leg.asset.as_str().into(),
            side: leg.side(),
            amount: value(leg.amount),
            home,
        }
    }

    fn leg(&self, leg: u32) -> HoldLeg {
        HoldLeg {
            leg,
            account: self.account.to_string(),
            asset: self.asset.to_string(),
            side: self.side as i32,
            amount: Some(self.amount.into()),
        }
    }
}

/// Sums by account and asset; those of zero are not kept.
#[derive(Debug, Default)]
struct Sums(FxHashMap<Box<str>, Vec<(Box<str>, i128)>>);

impl Sums {
    fn of(&self, account: &str, asset: &str) -> i128 {
        let sums = self.0.get(account);
        sums.and_then(|sums| sums.iter().find(|(a, _)| &**a == asset)).map_or(0, |(_, sum)| *sum)
    }

    fn add(&mut self, hold: &Hold, by: i128) {
        let Some(sums) = self.0.get_mut(&hold.account) else {
            self.0.insert(hold.account.clone(), vec![(hold.asset.clone(), by)]);
            return;
        };
        match sums.iter().position(|(asset, _)| *asset == hold.asset) {
            Some(at) => {
                if let Some((_, sum)) = sums.get_mut(at) {
                    *sum = sum.saturating_add(by);
                }
                sums.retain(|(_, sum)| *sum != 0);
            }
            None => sums.push((hold.asset.clone(), by)),
        }
        if sums.is_empty() {
            self.0.remove(&hold.account);
        }
    }
}

/// What a slot has on hold.
#[derive(Debug, Default)]
pub struct HoldTable {
    holds: BTreeMap<HoldKey, Hold>,
    sums: Sums,
    dirty: BTreeSet<HoldKey>,
}

impl HoldTable {
    /// Whether nothing is on hold.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Number of holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.holds.len()
    }

    /// On hold of an account, minor units.
    #[must_use]
    pub fn held(&self, account: &str, asset: &str) -> i128 {
        self.sums.of(account, asset)
    }

    /// Every hold, by event and leg.
    pub fn all(&self) -> impl Iterator<Item = (&HoldKey, &Hold)> {
        self.holds.iter()
    }

    fn of_event(&self, event: IdKey) -> impl Iterator<Item = (&HoldKey, &Hold)> {
        self.holds.range((event, 0)..=(event, u32::MAX))
    }

    pub(crate) fn place(&mut self, key: HoldKey, hold: Hold) {
        self.dirty.insert(key);
        self.load(key, hold);
    }

    pub(crate) fn load(&mut self, key: HoldKey, hold: Hold) {
        self.sums.add(&hold, hold.amount);
        if let Some(before) = self.holds.insert(key, hold) {
            self.sums.add(&before, -before.amount);
        }
    }

    pub(crate) fn end(&mut self, key: HoldKey) {
        if let Some(hold) = self.holds.remove(&key) {
            self.sums.add(&hold, -hold.amount);
            self.dirty.insert(key);
        }
    }

    pub(crate) fn end_all(&mut self, event: IdKey) {
        let keys: Vec<HoldKey> = self.of_event(event).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.end(key));
    }

    /// Keys changed since the last call, with what is there now.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(HoldKey, Option<&Hold>)) {
        for key in std::mem::take(&mut self.dirty) {
            each(key, self.holds.get(&key));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 128
    }
}

impl Hold {
    pub(crate) fn encode(&self, (_, leg): HoldKey) -> Vec<u8> {
        wire::StoredHold { leg: Some(self.leg(leg)), home: self.home }.encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = wire::StoredHold::decode(bytes).ok()?;
        Some(Self::of(&stored.leg?, stored.home))
    }
}

/// What a window changes of holds.
#[derive(Debug, Default)]
pub struct HoldChanges {
    changed: BTreeMap<HoldKey, Option<Hold>>,
    sums: Sums,
}

impl Overlay<'_> {
    /// On hold of an account, minor units.
    #[must_use]
    pub fn held(&self, account: &str, asset: &str) -> i128 {
        if self.base.holds.is_empty() && self.holds.changed.is_empty() {
            return 0;
        }
        self.base.holds.held(account, asset).saturating_add(self.holds.sums.of(account, asset))
    }

    fn place_hold(&mut self, key: HoldKey, hold: Hold) {
        self.holds.sums.add(&hold, hold.amount);
        self.holds.changed.insert(key, Some(hold));
    }

    /// Ends a hold; `None` where there is none.
    pub fn end_hold(&mut self, key: HoldKey) -> Option<Hold> {
        let changed = self.holds.changed.get(&key);
        let hold = changed.map_or_else(|| self.base.holds.holds.get(&key), Option::as_ref)?.clone();
        self.holds.sums.add(&hold, -hold.amount);
        self.holds.changed.insert(key, None);
        Some(hold)
    }

    /// Ends everything that is on hold for an event.
    pub fn end_holds(&mut self, event: IdKey) {
        let range = (event, 0)..=(event, u32::MAX);
        let mut keys: BTreeSet<HoldKey> = self.base.holds.of_event(event).map(|(key, _)| *key).collect();
        keys.extend(self.holds.changed.range(range).map(|(key, _)| *key));
        for key in keys {
            self.end_hold(key);
        }
    }

    /// Puts legs of an event on hold, all or none. Accounts that the chart gives no limit are held without a check.
    ///
    /// # Errors
    /// [`Reason::UnknownAccount`], [`Reason::InsufficientFunds`], [`Reason::Overflow`]; nothing is changed.
    pub fn put_on_hold(&mut self, event: IdKey, legs: &[HoldLeg], home: u32) -> Result<(), Refusal> {
        let mut so_far = Sums::default();
        let mut holds = Vec::with_capacity(legs.len());
        for leg in legs {
            let hold = Hold::of(leg, home);
            let placed = self.config.place(&hold.account, &hold.asset);
            let Some((_, terms)) = placed.filter(|(partition, _)| *partition == self.base.slot) else {
                let what = format!("{} {}", hold.account, hold.asset);
                return Err(Refusal::new(Reason::UnknownAccount, what));
            };
            if hold.amount <= 0 || hold.amount > CROSSING_MAX {
                let what = format!("{} {} on hold for {}", hold.amount, hold.asset, hold.account);
                return Err(Refusal::new(Reason::Overflow, what));
            }
            so_far.add(&hold, hold.amount);
            let held = self.held(&hold.account, &hold.asset);
            let held = held.saturating_add(so_far.of(&hold.account, &hold.asset));
            let balance = self.balance_of(&hold.account, &hold.asset);
            if !terms.allows(balance, held) {
                let after = after_hold(&terms, balance, hold.amount);
                let held = held.saturating_sub(hold.amount);
                let what = self.shortfall(&hold.account, &hold.asset, &terms, after, held);
                return Err(Refusal::new(Reason::InsufficientFunds, what));
            }
            holds.push(((event, leg.leg), hold));
        }
        holds.into_iter().for_each(|(key, hold)| self.place_hold(key, hold));
        Ok(())
    }
}

/// The balance once a hold is booked, debits minus credits.
const fn after_hold(terms: &Terms, balance: i128, amount: i128) -> i128 {
    match terms.normal {
        Side::Credit => balance.saturating_add(amount),
        _ => balance.saturating_sub(amount),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(account: &str, amount: i128) -> Hold {
        Hold { account: account.into(), asset: "CNY".into(), side: Side::Debit, amount, home: 3 }
    }

    #[test]
    fn sums_follow_what_is_on_hold() {
        let mut table = HoldTable::default();
        let (a, b) = ([1; 16], [2; 16]);
        table.place((a, 0), hold("users:1:wallet", 5));
        table.place((a, 2), hold("users:1:wallet", 7));
        table.place((b, 0), hold("users:1:wallet", 11));
        table.place((b, 0), hold("users:1:wallet", 13));
        assert_eq!((table.held("users:1:wallet", "CNY"), table.held("users:1:wallet", "USD")), (25, 0));
        table.end_all(a);
        assert_eq!((table.held("users:1:wallet", "CNY"), table.len()), (13, 1));
        table.end((b, 0));
        table.end((b, 0));
        assert!(table.is_empty() && table.sums.0.is_empty());
        let mut gone = Vec::new();
        table.take_dirty(|key, hold| gone.push((key, hold.is_some())));
        assert_eq!(gone, [((a, 0), false), ((a, 2), false), ((b, 0), false)]);
    }

    #[test]
    fn a_hold_survives_its_encoding() {
        let hold = hold("users:1:wallet", i128::MAX);
        assert_eq!(Hold::decode(&hold.encode(([7; 16], 9))), Some(hold));
        assert_eq!(Hold::decode(&[0xff]), None);
    }
}
