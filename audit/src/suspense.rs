//! Cases in suspense of one partition: opened by what could not be booked, moved once, by a proposal that was approved.
//!
//! Bounded by what lies in suspense. Order relied on: that of the journal.

use crate::accounts::Accounts;
use crate::channel::LegClaim;
use crate::finding::{Check, Findings, Place};
use crate::outcome::{event_name, legs_remote};
use schemas::wire::{Decision, Outcome, Received, Side, SuspenseCase, proposal_state::State};
use std::collections::{BTreeMap, BTreeSet};

/// What lies in suspense for one item.
#[derive(Debug)]
struct Case {
    asset: String,
    side: i32,
    amount: i128,
    meant: String,
}

/// Cases of one partition that are not resolved.
#[derive(Debug, Default)]
pub struct Suspense {
    /// By sender and sequence.
    open: BTreeMap<(u32, u64), Case>,
    /// Assets in which something has moved since the last batch.
    changed: BTreeSet<String>,
}

/// The suspense account of a partition.
#[must_use]
pub fn account_of(partition: u32) -> String {
    format!("suspense:p{partition:02}")
}

impl Suspense {
    /// A credit that could not be booked opens a case.
    pub fn received(&mut self, received: &Received) {
        let Some(entry) = received.entry.as_ref().filter(|_| !received.suspense_reason.is_empty()) else {
            return;
        };
        let (asset, side, amount) = (entry.asset.clone(), entry.side, entry.amount());
        self.changed.insert(asset.clone());
        let case = Case { asset, side, amount, meant: received.intended_account.clone() };
        self.open.insert((received.from, received.sequence), case);
    }

    /// Takes what a decision says of a case, and what it moves.
    pub fn decided(&mut self, place: Place, decision: &Decision, found: &mut Findings) {
        let own = |account: &str| account.starts_with("suspense:");
        let entries = decision.entry.iter().filter(|entry| own(&entry.account));
        self.changed.extend(entries.map(|entry| entry.asset.clone()));
        let Some(state) = &decision.proposal else { return };
        let Some(case) = state.case else { return };
        let wrong = match (state.state(), decision.outcome()) {
            (State::Open, Outcome::Booked) => self.proposed(place.at.partition, &case, decision),
            (State::Approved, Outcome::Booked) => self.moved(&case),
            _ => Some("is in a state that this outcome does not make"),
        };
        found.that(Check::Suspense, wrong.is_none(), || {
            let SuspenseCase { partition, from, sequence } = case;
            let named = format!("p{partition:02}-p{from:02}-{sequence}");
            let what = format!("{place} {}, case {named}", event_name(decision.event.as_ref()));
            (what, wrong.unwrap_or_default())
        });
    }

    /// Its legs take all of the case out of suspense, and put it on an account on the side that was meant.
    fn proposed(&self, partition: u32, of: &SuspenseCase, decision: &Decision) -> Option<&'static str> {
        let Some(case) = self.open.get(&(of.from, of.sequence)).filter(|_| of.partition == partition) else {
            return Some("is not open here");
        };
        let back = if case.side == Side::Credit as i32 { Side::Debit } else { Side::Credit } as i32;
        let legs = legs_remote(decision);
        let [out, onto] = legs.as_slice() else { return Some("is moved by other legs than two") };
        let is = |leg: &LegClaim, side: i32| {
            (leg.side, &leg.asset, leg.amount) == (side, &case.asset, case.amount)
        };
        let suspense = account_of(partition);
        let whole =
            is(out, back) && out.account == suspense && is(onto, case.side) && onto.account != suspense;
        (!whole || case.meant.is_empty()).then_some("is moved by other legs than those that empty it")
    }

    /// Its legs are held against the proposal's elsewhere.
    fn moved(&mut self, of: &SuspenseCase) -> Option<&'static str> {
        let Some(case) = self.open.remove(&(of.from, of.sequence)) else {
            return Some("is moved and was not open");
        };
        self.changed.insert(case.asset);
        None
    }

    /// At the end of a batch the account holds what its open cases come to.
    pub fn balanced(&mut self, place: Place, accounts: &Accounts, found: &mut Findings) {
        let account = account_of(place.at.partition);
        for asset in std::mem::take(&mut self.changed) {
            let of_asset = self.open.values().filter(|case| case.asset == asset);
            let signed = of_asset
                .map(|case| if case.side == Side::Credit as i32 { -case.amount } else { case.amount });
            let sum = signed.fold(0_i128, i128::wrapping_add);
            let number = accounts.find(&account, &asset);
            let balance = number.and_then(|number| accounts.get(number)).map_or(0, |account| account.balance);
            found.that(Check::Suspense, balance == sum, || {
                (
                    format!("{place} {account} {asset}"),
                    format!("holds {balance}, its open cases come to {sum}"),
                )
            });
        }
    }
}
