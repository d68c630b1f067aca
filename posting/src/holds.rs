//! What is on hold of an account's funds: nobody else spends it until it is booked or let go.
//!
//! What is on hold for debits counts against the limit that debits meet, what is on hold for credits against the other:
//! of an account that may hold only so much, an event that waits keeps its room.
//!
//! A hold belongs to a leg of an event. One that was asked for by its event ([`placed`](place)) is captured in one or more parts,
//! released, or over when its time is; one that a partition put on for an event of several ([`crate::groups`]) is
//! ended by that event's home alone. Bounded by the events that are open. Order relied on: none.

use crate::accounts::Terms;
use crate::config::CROSSING_MAX;
use crate::ids::IdKey;
use crate::overdraft::Overdraft;
use crate::overlay::{Overlay, Refusal, signed};
use crate::room;
use crate::velocity::Volume;
use prost::Message;
use rustc_hash::FxHashMap;
use schemas::amount_wire::value;
use schemas::reason::Reason;
use schemas::wire::{self, EventKey, HoldExpired, HoldLeg, HoldState, Side, journal_item::Item};
use std::collections::{BTreeMap, BTreeSet};

/// An event, its home, and the index of its leg. Another home may know another event by the same source and id.
pub type HoldKey = (IdKey, u32, u32);

/// Something on hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// Account.
    pub account: Box<str>,
    /// Asset.
    pub asset: Box<str>,
    /// Side of the leg.
    pub side: Side,
    /// Minor units; zero where its account only agrees to a leg.
    pub amount: i128,
    /// Partition that decides what becomes of it.
    pub home: u32,
    /// Set where an event asked for it; `None` while an event of several partitions waits.
    pub placed: Option<Placed>,
}

/// A hold that an event asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The event.
    pub event: EventKey,
    /// Business time at which it is over, microseconds; 0 = never.
    pub expires_us: i64,
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
            placed: None,
        }
    }

    /// As the journal has a hold that an event asked for.
    #[must_use]
    pub fn of_state(state: &HoldState, home: u32) -> Self {
        let event = state.event.clone().unwrap_or_default();
        Self {
            account: state.account.as_str().into(),
            asset: state.asset.as_str().into(),
            side: state.side(),
            amount: value(state.amount),
            home,
            placed: Some(Placed { event, expires_us: state.expires_us }),
        }
    }

    fn expires_us(&self) -> i64 {
        self.placed.as_ref().map_or(0, |placed| placed.expires_us)
    }

    fn leg(&self, leg: u32) -> HoldLeg {
        HoldLeg {
            leg,
            account: self.account.to_string(),
            asset: self.asset.to_string(),
            side: self.side as i32,
            amount: Some(self.amount.into()),
            // It was judged when the hold was placed.
            overdraft: None,
            overdraft_unlimited: false,
        }
    }
}

/// How far below zero the legs of an account on the side of one may take it.
fn overdraft_of(legs: &[HoldLeg], of: &HoldLeg) -> Option<Overdraft> {
    let same = |leg: &&HoldLeg| (&leg.account, &leg.asset, leg.side) == (&of.account, &of.asset, of.side);
    let overdraft = |leg: &HoldLeg| Overdraft::of_wire(leg.overdraft, leg.overdraft_unlimited);
    Overdraft::largest(legs.iter().filter(same).map(overdraft))
}

/// Sums by account, asset and side; those of zero are not kept.
#[derive(Debug, Default)]
struct Sums(FxHashMap<Box<str>, Vec<AssetSums>>);

/// Of an asset: on hold for debits, and for credits; minor units and number.
type AssetSums = (Box<str>, [(i128, i64); 2]);

/// Where the sum of a side lies.
const fn place_of(side: Side) -> usize {
    match side {
        Side::Credit => 1,
        _ => 0,
    }
}

impl Sums {
    fn of(&self, account: &str, asset: &str, side: Side) -> (i128, i64) {
        let sums = self.0.get(account).and_then(|sums| sums.iter().find(|(a, _)| &**a == asset));
        sums.and_then(|(_, sums)| sums.get(place_of(side))).copied().unwrap_or_default()
    }

    /// Adds a hold, or takes it off; one of zero is no hold of anything.
    fn add(&mut self, hold: &Hold, by: i128) {
        if by == 0 {
            return;
        }
        let one = if by.is_positive() { 1 } else { -1 };
        if !self.0.contains_key(&hold.account) {
            self.0.insert(hold.account.clone(), Vec::new());
        }
        let Some(sums) = self.0.get_mut(&hold.account) else { return };
        if !sums.iter().any(|(asset, _)| *asset == hold.asset) {
            sums.push((hold.asset.clone(), [(0, 0); 2]));
        }
        let of_asset = sums.iter_mut().find(|(asset, _)| *asset == hold.asset);
        if let Some(sum) = of_asset.and_then(|(_, sums)| sums.get_mut(place_of(hold.side))) {
            *sum = (sum.0.saturating_add(by), sum.1.saturating_add(one));
        }
        sums.retain(|(_, sums)| *sums != [(0, 0); 2]);
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
    /// Those that are over some time.
    expiring: BTreeSet<(i64, HoldKey)>,
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

    /// On hold of an account for entries on a side, minor units.
    #[must_use]
    pub fn held(&self, account: &str, asset: &str, side: Side) -> i128 {
        self.sums.of(account, asset, side).0
    }

    /// Every hold, by event and leg.
    pub fn all(&self) -> impl Iterator<Item = (&HoldKey, &Hold)> {
        self.holds.iter()
    }

    fn of_event(&self, event: IdKey, home: u32) -> impl Iterator<Item = (&HoldKey, &Hold)> {
        self.holds.range((event, home, 0)..=(event, home, u32::MAX))
    }

    pub(crate) fn place(&mut self, key: HoldKey, hold: Hold) {
        self.dirty.insert(key);
        self.load(key, hold);
    }

    pub(crate) fn load(&mut self, key: HoldKey, hold: Hold) {
        self.forget(key);
        self.sums.add(&hold, hold.amount);
        if hold.expires_us() > 0 {
            self.expiring.insert((hold.expires_us(), key));
        }
        self.holds.insert(key, hold);
    }

    /// Whether there was one.
    fn forget(&mut self, key: HoldKey) -> bool {
        let Some(hold) = self.holds.remove(&key) else { return false };
        self.sums.add(&hold, -hold.amount);
        self.expiring.remove(&(hold.expires_us(), key));
        true
    }

    pub(crate) fn end(&mut self, key: HoldKey) {
        if self.forget(key) {
            self.dirty.insert(key);
        }
    }

    pub(crate) fn end_all(&mut self, event: IdKey, home: u32) {
        let keys: Vec<HoldKey> = self.of_event(event, home).map(|(key, _)| *key).collect();
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
    pub(crate) fn encode(&self, (_, _, leg): HoldKey) -> Vec<u8> {
        let event = self.placed.as_ref().map(|placed| placed.event.clone());
        let (leg, home, expires_us) = (Some(self.leg(leg)), self.home, self.expires_us());
        wire::StoredHold { leg, home, event, expires_us }.encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let stored = wire::StoredHold::decode(bytes).ok()?;
        let placed = stored.event.map(|event| Placed { event, expires_us: stored.expires_us });
        Some(Self { placed, ..Self::of(&stored.leg?, stored.home) })
    }
}

/// What a window changes of holds.
#[derive(Debug, Default)]
pub struct HoldChanges {
    changed: BTreeMap<HoldKey, Option<Hold>>,
    sums: Sums,
}

impl Overlay<'_> {
    /// On hold of an account for entries on a side, minor units.
    #[must_use]
    pub fn held(&self, account: &str, asset: &str, side: Side) -> i128 {
        if self.nothing_on_hold() {
            return 0;
        }
        self.base.holds.held(account, asset, side).saturating_add(self.holds.sums.of(account, asset, side).0)
    }

    /// Whether nothing is on hold of any account.
    fn nothing_on_hold(&self) -> bool {
        self.base.holds.is_empty() && self.holds.changed.is_empty()
    }

    /// On hold of an account for entries on a side, with the number of holds.
    pub(crate) fn volume_held(&self, account: &str, asset: &str, side: Side) -> Volume {
        if self.nothing_on_hold() {
            return Volume::default();
        }
        let base = self.base.holds.sums.of(account, asset, side);
        let changed = self.holds.sums.of(account, asset, side);
        let count = u64::try_from(base.1.saturating_add(changed.1)).unwrap_or(0);
        Volume { amount: base.0.saturating_add(changed.0), count }
    }

    /// Puts something on hold, in the place of what was under its key.
    pub fn place_hold(&mut self, key: HoldKey, hold: Hold) {
        self.end_hold(key);
        self.holds.sums.add(&hold, hold.amount);
        self.holds.changed.insert(key, Some(hold));
    }

    /// What is on hold under a key.
    #[must_use]
    pub fn hold(&self, key: &HoldKey) -> Option<&Hold> {
        self.holds.changed.get(key).map_or_else(|| self.base.holds.holds.get(key), Option::as_ref)
    }

    /// A hold that an event asked for and that is not over.
    #[must_use]
    pub fn open_hold(&self, key: &HoldKey) -> Option<&Hold> {
        let over = |hold: &&Hold| (1..=self.tick_us).contains(&hold.expires_us());
        self.hold(key).filter(|hold| hold.placed.is_some() && !over(hold))
    }

    /// Ends a hold; `None` where there is none.
    pub fn end_hold(&mut self, key: HoldKey) -> Option<Hold> {
        let hold = self.hold(&key)?.clone();
        self.holds.sums.add(&hold, -hold.amount);
        self.holds.changed.insert(key, None);
        Some(hold)
    }

    /// Ends everything that is on hold for an event of that home.
    pub fn end_holds(&mut self, event: IdKey, home: u32) {
        let range = (event, home, 0)..=(event, home, u32::MAX);
        let mut keys: BTreeSet<HoldKey> =
            self.base.holds.of_event(event, home).map(|(key, _)| *key).collect();
        keys.extend(self.holds.changed.range(range).map(|(key, _)| *key));
        for key in keys {
            self.end_hold(key);
        }
    }

    /// Puts legs of an event on hold, all or none. A leg of zero is agreed to, and nothing of it is held. Accounts that the chart gives no limit are held without a check.
    ///
    /// # Errors
    /// [`Reason::UnknownAccount`], as [`Overlay::check_status`], [`Reason::InsufficientFunds`],
    /// [`Reason::BalanceTooHigh`], [`Reason::VelocityExceeded`], [`Reason::Overflow`]; nothing is changed.
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
            self.check_status(&hold.account, hold.side, &terms)?;
            so_far.add(&hold, hold.amount);
            let terms = self.terms_now(&hold.account, &hold.asset, terms);
            let terms = terms.with_overdraft(overdraft_of(legs, leg));
            self.check_hold(&hold, &terms, so_far.of(&hold.account, &hold.asset, hold.side))?;
            holds.push(((event, home, leg.leg), hold));
        }
        holds.into_iter().for_each(|(key, hold)| self.place_hold(key, hold));
        Ok(())
    }

    /// Judges whether so much may be on hold of an account beside what is already.
    fn check_hold(&self, hold: &Hold, terms: &Terms, (of_event, count): (i128, i64)) -> Result<(), Refusal> {
        let Hold { account, asset, side, amount, .. } = hold;
        let (side, amount) = (*side, *amount);
        let held = self.held(account, asset, side).saturating_add(of_event);
        let balance = self.balance_of(account, asset);
        if amount > 0 && !terms.range.allows(side, balance, held) {
            let after = balance.saturating_add(signed(side, amount));
            let what = self.beyond_limit(account, asset, terms, (side, after, held.saturating_sub(amount)));
            return Err(Refusal::new(terms.beyond(side), what));
        }
        if amount > 0 && terms.counted.has(side) {
            let more = Volume { amount: of_event, count: u64::try_from(count).unwrap_or(0) };
            self.check_velocity(account, asset, side, more)?;
        }
        if !(0..=CROSSING_MAX).contains(&amount) {
            let what = format!("what would be on hold of {account} in {asset}");
            return Err(Refusal::new(Reason::Overflow, what));
        }
        Ok(())
    }
}

/// Ends the holds whose time is over, as far as the journal batch has room for that.
pub fn expire(o: &mut Overlay<'_>) {
    let over = o.base.holds.expiring.range(..=(o.tick_us, ([u8::MAX; 16], u32::MAX, u32::MAX)));
    let over: Vec<HoldKey> = over.map(|(_, key)| *key).collect();
    for key in over {
        if !room::has_room_for_expiry(o) {
            return;
        }
        // One that was taken from in this very window has the same time.
        let Some(hold) = o.end_hold(key) else { continue };
        o.journal(Item::HoldExpired(HoldExpired {
            event: hold.placed.map(|placed| placed.event),
            account: hold.account.into(),
            asset: hold.asset.into(),
            amount: Some(hold.amount.into()),
            home: hold.home,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hold(account: &str, amount: i128) -> Hold {
        Hold {
            account: account.into(),
            asset: "CNY".into(),
            side: Side::Debit,
            amount,
            home: 3,
            placed: None,
        }
    }

    #[test]
    fn sums_follow_what_is_on_hold() {
        let mut table = HoldTable::default();
        let (a, b) = ([1; 16], [2; 16]);
        table.place((a, 3, 0), hold("users:1:wallet", 5));
        table.place((a, 3, 2), hold("users:1:wallet", 7));
        table.place((b, 3, 0), hold("users:1:wallet", 11));
        table.place((b, 3, 0), hold("users:1:wallet", 13));
        let held = |table: &HoldTable, asset| table.held("users:1:wallet", asset, Side::Debit);
        assert_eq!((held(&table, "CNY"), held(&table, "USD"), table.len()), (25, 0, 3));
        table.place((b, 3, 1), Hold { side: Side::Credit, ..hold("users:1:wallet", 17) });
        assert_eq!((held(&table, "CNY"), table.held("users:1:wallet", "CNY", Side::Credit)), (25, 17));
        table.end((b, 3, 1));
        table.place((a, 4, 0), hold("users:1:wallet", 1));
        table.end_all(a, 3);
        table.end_all(a, 5);
        assert_eq!(held(&table, "CNY"), 14, "another home's is another event");
        table.end_all(a, 4);
        assert_eq!((held(&table, "CNY"), table.len()), (13, 1));
        table.end((b, 3, 0));
        table.end((b, 3, 0));
        assert!(table.is_empty() && table.sums.0.is_empty());
        assert!(table.dirty_bytes() >= 5 * hold("users:1:wallet", 7).encode((a, 3, 0)).len());
        let mut gone = Vec::new();
        table.take_dirty(|key, hold| gone.push((key, hold.is_some())));
        assert_eq!(
            gone,
            [
                ((a, 3, 0), false),
                ((a, 3, 2), false),
                ((a, 4, 0), false),
                ((b, 3, 0), false),
                ((b, 3, 1), false)
            ]
        );
    }

    #[test]
    fn a_hold_survives_its_encoding() {
        let hold = hold("users:1:wallet", i128::MAX);
        assert_eq!(Hold::decode(&hold.encode(([7; 16], 3, 9))), Some(hold.clone()));
        let event = EventKey { source: "/shop".into(), id: "h-1".into() };
        let hold = Hold { placed: Some(Placed { event, expires_us: 5 }), ..hold };
        assert_eq!(Hold::decode(&hold.encode(([7; 16], 3, 0))), Some(hold));
        assert_eq!(Hold::decode(&[0xff]), None);
    }
}
