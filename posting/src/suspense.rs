//! Cases in suspense: what came by a channel and could not be booked, one case for each item, until it is moved to an
//! account.
//!
//! Phases: OPEN (it lies in suspense) -> PROPOSED (a proposal that would move it is open, [`crate::adjustment`]) -> RESOLVED
//! (approved by another principal and booked; the case is gone). A proposal that ends otherwise leaves it OPEN. The
//! partition whose suspense account holds it is its one owner: nobody else proposes, approves or books it.
//!
//! Bounded by what lies in suspense. Order relied on: none.

use crate::accounts::{Counted, Range, Terms};
use crate::adjustment::Move;
use crate::lines::ReceivedLine;
use crate::overlay::{Overlay, Refusal};
use prost::Message;
use schemas::amount_wire::value;
use schemas::reason::Reason;
use schemas::wire::{EventKey, Leg, Received, Side, StoredCase, SuspenseCase};
use std::collections::{BTreeMap, BTreeSet};

/// A case by its item: the partition that sent it, and its sequence on that channel.
pub type CaseKey = (u32, u64);

/// What lies in suspense for one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Account that it was meant for.
    pub meant: String,
    /// Asset.
    pub asset: String,
    /// Side of the entry in suspense: that which it was to have on the account.
    pub side: Side,
    /// Amount, minor units.
    pub amount: i128,
    /// Code of the reason why it could not be booked.
    pub reason: String,
    /// The event whose leg it is.
    pub event: EventKey,
    /// Business time when it came, microseconds; 0 = before the first tick.
    pub since_us: i64,
}

impl Case {
    /// What a credit left in suspense; `None` where it was booked.
    #[must_use]
    pub fn of_line(line: &ReceivedLine<'_>) -> Option<Self> {
        let (reason, meant) = line.suspense?;
        let event = &line.facts.event;
        Some(Self {
            meant: meant.to_owned(),
            asset: line.entry.asset.to_owned(),
            side: line.entry.side,
            amount: line.entry.amount,
            reason: reason.code().to_owned(),
            event: EventKey { source: event.source.to_owned(), id: event.id.to_owned() },
            since_us: 0,
        })
    }

    /// The same from the journal.
    #[must_use]
    pub fn of_received(received: &Received) -> Option<Self> {
        let entry = received.entry.as_ref().filter(|_| !received.suspense_reason.is_empty())?;
        Some(Self {
            meant: received.intended_account.clone(),
            asset: entry.asset.clone(),
            side: entry.side(),
            amount: entry.amount(),
            reason: received.suspense_reason.clone(),
            event: received.event.clone().unwrap_or_default(),
            since_us: 0,
        })
    }

    /// The legs that move it from the suspense account of partition `slot` to an account.
    fn legs(&self, slot: u32, to: &str) -> Vec<Leg> {
        let back = if self.side == Side::Credit { Side::Debit } else { Side::Credit };
        let leg = |account: String, side: Side| Leg {
            account,
            asset: self.asset.clone(),
            side: side as i32,
            amount: Some(self.amount.into()),
            ..Leg::default()
        };
        vec![leg(account_of(slot), back), leg(to.to_owned(), self.side)]
    }

    pub(crate) fn encode(&self, (from, sequence): CaseKey) -> Vec<u8> {
        let Self { meant, asset, side, amount, reason, event, since_us } = self.clone();
        StoredCase {
            from,
            sequence,
            meant,
            asset,
            side: side as i32,
            amount: Some(amount.into()),
            reason,
            event: Some(event),
            since_us,
        }
        .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<(CaseKey, Self)> {
        let stored = StoredCase::decode(bytes).ok()?;
        let (key, side, amount) = ((stored.from, stored.sequence), stored.side(), value(stored.amount));
        let StoredCase { meant, asset, reason, event, since_us, .. } = stored;
        Some((key, Self { meant, asset, side, amount, reason, event: event?, since_us }))
    }
}

/// The suspense account of a partition.
#[must_use]
pub fn account_of(slot: u32) -> String {
    format!("suspense:p{slot:02}")
}

/// What the suspense account refuses: nothing.
#[must_use]
pub const fn terms() -> Terms {
    Terms {
        normal: Side::Credit,
        range: Range::ALL,
        opened_first: false,
        guarded: false,
        counted: Counted { debits: false, credits: false },
        vouched: false,
        reversals_forced: false,
        forced: false,
    }
}

/// Cases that are not resolved.
#[derive(Debug, Default)]
pub struct CaseTable {
    cases: BTreeMap<CaseKey, Case>,
    dirty: BTreeSet<CaseKey>,
}

impl CaseTable {
    /// Number of cases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cases.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cases.is_empty()
    }

    /// Every case, by sender and sequence.
    pub fn all(&self) -> impl Iterator<Item = (&CaseKey, &Case)> {
        self.cases.iter()
    }

    /// A case that is not resolved.
    #[must_use]
    pub fn get(&self, key: CaseKey) -> Option<&Case> {
        self.cases.get(&key)
    }

    pub(crate) fn load(&mut self, key: CaseKey, case: Case) {
        self.cases.insert(key, case);
    }

    /// `None` = it is resolved.
    pub(crate) fn change(&mut self, key: CaseKey, case: Option<Case>) {
        match case {
            Some(case) => drop(self.cases.insert(key, case)),
            None => drop(self.cases.remove(&key)),
        }
        self.dirty.insert(key);
    }

    /// Keys changed since the last call, with what is there now.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(CaseKey, Option<&Case>)) {
        for key in std::mem::take(&mut self.dirty) {
            each(key, self.cases.get(&key));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 192
    }
}

impl Overlay<'_> {
    /// A case that is not resolved.
    fn case(&self, key: CaseKey) -> Option<&Case> {
        self.cases.get(&key).map_or_else(|| self.base.cases.get(key), Option::as_ref)
    }

    /// The legs that resolve the case which a command names.
    ///
    /// # Errors
    /// [`Reason::CaseNotOpen`].
    pub fn resolution(&self, resolve: &Move<'_>) -> Result<Vec<Leg>, Refusal> {
        let SuspenseCase { partition, from, sequence } = resolve.case.unwrap_or_default();
        let (slot, key) = (self.base.slot, (from, sequence));
        let refused = |why: &str| {
            let what = format!("case p{partition:02}-p{from:02}-{sequence} {why}");
            Refusal::new(Reason::CaseNotOpen, what)
        };
        if partition != slot {
            return Err(refused("lies in another partition than its event's home"));
        }
        let case = self.case(key).ok_or_else(|| refused("is resolved, or there is none"))?;
        if self.is_proposed(key) {
            return Err(refused("has a proposal already"));
        }
        let to = if resolve.account.is_empty() { &case.meant } else { resolve.account };
        Ok(case.legs(slot, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(side: Side) -> Case {
        Case {
            meant: "merchants:7:payable".into(),
            asset: "CNY".into(),
            side,
            amount: 500,
            reason: "account_closed".into(),
            event: EventKey { source: "/shop".into(), id: "e-1".into() },
            since_us: 7,
        }
    }

    #[test]
    fn a_case_survives_its_encoding() {
        let case = case(Side::Credit);
        assert_eq!(Case::decode(&case.encode((3, 17))), Some(((3, 17), case)));
        assert_eq!(Case::decode(&[0xff]), None);
    }

    #[test]
    fn its_legs_empty_suspense_and_go_on_the_side_that_was_meant() {
        let sides = |of: Side| case(of).legs(2, "users:1:wallet").iter().map(Leg::side).collect::<Vec<_>>();
        assert_eq!(sides(Side::Credit), [Side::Debit, Side::Credit]);
        assert_eq!(sides(Side::Debit), [Side::Credit, Side::Debit]);
        let legs = case(Side::Credit).legs(2, "users:1:wallet");
        let names: Vec<_> = legs.iter().map(|leg| (leg.account.as_str(), value(leg.amount))).collect();
        assert_eq!(names, [("suspense:p02", 500), ("users:1:wallet", 500)]);
    }

    #[test]
    fn a_table_says_what_changed() {
        let mut table = CaseTable::default();
        table.change((1, 1), Some(case(Side::Credit)));
        table.change((1, 2), Some(case(Side::Debit)));
        table.change((1, 1), None);
        let mut changed = Vec::new();
        table.take_dirty(|key, case| changed.push((key, case.is_some())));
        assert_eq!(changed, [((1, 1), false), ((1, 2), true)]);
        assert_eq!((table.len(), table.is_empty(), table.get((1, 1))), (1, false, None));
        table.take_dirty(|key, _| panic!("{key:?} is told twice"));
    }
}
