//! Judging the entries of an event against the limits of their accounts.
//!
//! What counts is where an account stands after all entries of the event, and what is on hold besides. Of two limits only the
//! one towards which the event moves the account is judged, and a leg's overdraft widens it ([`crate::overdraft`]). Bounded by the legs of an event. Order relied on: none.

use crate::accounts::Terms;
use crate::overdraft::Overdraft;
use crate::overlay::{Line, LocalLeg, Overlay, Refusal, signed};
use crate::velocity::volume;
use schemas::money;
use schemas::reason::Reason;
use schemas::wire::Side;
use std::cmp::Ordering;

impl Overlay<'_> {
    /// Judges entries that were worked out; `overflowed` where a balance left its range on the way.
    ///
    /// # Errors
    /// [`Reason::InsufficientFunds`], [`Reason::BalanceTooHigh`], [`Reason::VelocityExceeded`].
    pub(crate) fn check_limits(
        &self,
        legs: &[LocalLeg<'_>],
        lines: &[Line<'_>],
        overflowed: bool,
    ) -> Result<(), Refusal> {
        let (mut too_high, mut too_fast) = (None, None);
        for (leg, line) in legs.iter().zip(lines) {
            let Some(terms) = leg.terms.filter(|t| t.may_refuse(leg.side)) else { continue };
            let of_row = |other: &&Line<'_>| other.row == line.row;
            let before = lines.iter().find(of_row).map_or(line.before, |first| first.before);
            let after = match overflowed {
                true => stands_at(before, lines.iter().filter(of_row)),
                false => lines.iter().rev().find(of_row).map_or(line.after, |last| last.after),
            };
            // Only the limit that it moves towards: an event may always move an account back, however far it is beyond.
            let side = match after.cmp(&before) {
                Ordering::Equal => continue,
                Ordering::Greater => Side::Debit,
                Ordering::Less => Side::Credit,
            };
            let held = self.held(leg.account, leg.asset, side);
            let mut terms = self.terms_now(leg.account, leg.asset, terms);
            if !terms.range.allows(side, after, held) {
                terms = terms.with_overdraft(overdraft_of(legs, leg, side));
            }
            if !terms.range.allows(side, after, held) {
                let what = self.beyond_limit(leg.account, leg.asset, &terms, (side, after, held));
                match terms.beyond(side) {
                    // Another account's comes before it.
                    Reason::BalanceTooHigh => too_high = too_high.or(Some(what)),
                    reason => return Err(Refusal::new(reason, what)),
                }
            }
            if terms.counted.has(side) && !terms.forced && too_high.is_none() && too_fast.is_none() {
                let net = after.saturating_sub(before).saturating_abs();
                let more = volume(side, net, lines.iter().filter(of_row));
                too_fast = self.check_velocity(leg.account, leg.asset, side, more).err();
            }
        }
        match too_high {
            Some(what) => Err(Refusal::new(Reason::BalanceTooHigh, what)),
            None => too_fast.map_or(Ok(()), Err),
        }
    }

    /// Where entries on a side would take an account (debits minus credits), what is on hold on that side besides, and
    /// the limit there, in words.
    pub(crate) fn beyond_limit(
        &self,
        account: &str,
        asset: &str,
        terms: &Terms,
        (side, after, held): (Side, i128, i128),
    ) -> String {
        let exponent = self.config.chart.assets.get(asset).map_or(0, |asset| asset.exponent);
        let shown = |minor| money::format(minor, exponent);
        let held = if held == 0 { String::new() } else { format!(" with {} on hold", shown(held)) };
        let limit = if side == Side::Credit { terms.range.lowest } else { terms.range.highest };
        let (after, limit) = (shown(terms.signed(after)), shown(terms.signed(limit)));
        format!("{account} would stand at {after} {asset}{held}, its limit is {limit}")
    }
}

/// How far below zero the legs of an account that move it to a side may take it.
fn overdraft_of(legs: &[LocalLeg<'_>], of: &LocalLeg<'_>, side: Side) -> Option<Overdraft> {
    let same = |leg: &&LocalLeg<'_>| leg.side == side && (leg.account, leg.asset) == (of.account, of.asset);
    Overdraft::largest(legs.iter().filter(same).map(|leg| leg.overdraft))
}

/// The balance after these entries, whatever it passes on the way; the end of the range where it is beyond that, which is
/// beyond any limit.
fn stands_at<'l, 'c: 'l>(before: i128, lines: impl Iterator<Item = &'l Line<'c>>) -> i128 {
    const LOW: i128 = (1 << 64) - 1;
    // High parts and 64 low bits apart: neither sum of an event's entries leaves its range.
    let halves = |figure: i128| (figure >> 64, figure & LOW);
    let (high, low) = lines.map(|line| signed(line.side, line.amount)).fold(halves(before), |sum, by| {
        let (high, low) = halves(by);
        (sum.0 + high, sum.1 + low)
    });
    let (high, low) = (high + (low >> 64), low & LOW);
    match i64::try_from(high) {
        Ok(high) => (i128::from(high) << 64) + low,
        Err(_) if high.is_negative() => i128::MIN,
        Err(_) => i128::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_balance_may_leave_its_range_on_the_way() {
        let line = |by: i128| Line {
            leg: 0,
            account: "a",
            asset: "A",
            side: if by < 0 { Side::Credit } else { Side::Debit },
            amount: by.saturating_abs(),
            before: 0,
            after: 0,
            seq: 1,
            previous_batch: 0,
            matched: None,
            row: 0,
            place: 0,
        };
        let rows: [(i128, &[i128], i128); 7] = [
            (5, &[7, -9], 3),
            (-1, &[1, -1, -1], -2),
            (5, &[i128::MAX, -i128::MAX], 5),
            (-5, &[-i128::MAX, i128::MAX, 1], -4),
            (i128::MAX, &[i128::MAX, i128::MAX, -i128::MAX], i128::MAX),
            (-7, &[-i128::MAX, -i128::MAX], i128::MIN),
            (i128::MAX, &[1, -1, -i128::MAX, -i128::MAX], -i128::MAX),
        ];
        for (before, moved, expected) in rows {
            let lines: Vec<Line<'_>> = moved.iter().map(|by| line(*by)).collect();
            assert_eq!(stands_at(before, lines.iter()), expected, "{before} {moved:?}");
        }
    }
}
