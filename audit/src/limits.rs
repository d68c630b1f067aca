//! Limits that events have given single accounts: what is decided afterwards takes no account beyond its own.
//!
//! The chart's limits are in no record, and not judged. A leg may go beyond them by the overdraft that its decision says it
//! brings; that this is its command's is judged with the legs. What was on hold when a limit changed is good for its entries, so
//! events that conclude, captures and legs that come from another partition are not judged either. Bounded by the accounts
//! that events have given limits.

use crate::amount::{self, joined};
use crate::finding::{Check, Findings, Place};
use schemas::wire::{AccountLimits, Decision, Entry, Side};
use std::collections::HashMap;

/// Limits as the journal last said them, by account and asset.
#[derive(Debug, Default)]
pub struct Limits {
    of: HashMap<(String, String), AccountLimits>,
}

impl Limits {
    /// Another chart: whether an account is asked about its own limits is told by that.
    pub fn forget(&mut self) {
        self.of.clear();
    }

    /// Judges a decision, and notes what it changes.
    pub fn decision(&mut self, place: Place, decision: &Decision, found: &mut Findings) {
        if !self.of.is_empty() && !decision.concludes && decision.hold.is_none() {
            decision.entry.iter().for_each(|entry| self.judge(place, decision, entry, found));
        }
        if let Some(limits) = &decision.account_limits {
            self.of.insert((limits.account.clone(), limits.asset.clone()), limits.clone());
        }
    }

    /// The first entry of an account stands for all of the event.
    fn judge(&self, place: Place, decision: &Decision, entry: &Entry, found: &mut Findings) {
        let Some(limits) = self.of.get(&(entry.account.clone(), entry.asset.clone())) else { return };
        let same = |other: &&Entry| other.account == entry.account && other.asset == entry.asset;
        let is_first = decision.entry.iter().find(same).is_some_and(|first| first.seq == entry.seq);
        let Some(last) = decision.entry.iter().rev().find(same).filter(|_| is_first) else { return };
        let before = joined(entry.before_lo, entry.before_hi);
        let after = joined(last.after_lo, last.after_hi);
        let figure = |limit: &Option<_>, none| limit.as_ref().map_or(none, |amount| amount::of(Some(amount)));
        // So far below zero legs on a side may take it, whatever its limit is.
        let brought = |side: Side| {
            let legs = decision.entry.iter().filter(same).filter(|entry| entry.side == side as i32);
            legs.filter_map(|entry| amount::overdraft_of(decision, entry.leg)).max().unwrap_or(i128::MIN)
        };
        let highest = figure(&limits.highest, i128::MAX).max(brought(Side::Debit));
        let lowest = figure(&limits.lowest, i128::MIN).min(brought(Side::Credit).saturating_neg());
        let above = after > before && after > highest;
        let below = after < before && after < lowest;
        found.that(Check::AccountLimits, !above && !below, || {
            let name = format!("{place} {} {}", entry.account, entry.asset);
            (name, format!("goes from {before} to {after}, beyond the limit that an event has given it"))
        });
    }
}
