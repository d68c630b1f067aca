//! Events that book at most what one account has available.
//!
//! The amount is fixed where that account lives, from its balance, its limits and what is on hold of it. The other account has
//! no say: it would have to agree to an amount that nobody knows yet. Bounded by two legs. Order relied on: none.

use crate::decide::{self, Booked, Funds, Placed};
use crate::overlay::{Overlay, Refusal};
use crate::views::CommandView;
use schemas::reason::Reason;
use schemas::wire::Side;

/// Judges whether the legs, which balance, are two, one of them on the side that is named, and only that one may be refused.
///
/// # Errors
/// [`Reason::AtMostMismatch`].
pub fn check(legs: &[Placed<'_>], side: Side) -> Result<(), Refusal> {
    let mismatch = |what: String| Err(Refusal::new(Reason::AtMostMismatch, what));
    let (2, Some(other)) = (legs.len(), legs.iter().find(|leg| leg.side != side)) else {
        return mismatch(format!("{} legs, expected one debit and one credit", legs.len()));
    };
    if !legs.iter().any(|leg| leg.side == side) {
        return mismatch("it names neither debit nor credit".into());
    }
    if other.may_refuse() {
        return mismatch(format!("{} may refuse it too", other.account()));
    }
    Ok(())
}

/// Books as much as there is, up to the amount of the legs.
///
/// # Errors
/// As [`decide::book`]; [`Reason::InsufficientFunds`] where there is nothing.
pub fn book<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    legs: &[Placed<'c>],
    side: Side,
) -> Result<Booked<'c>, Refusal> {
    let own = o.base.slot;
    for leg in legs.iter().filter(|leg| leg.partition == own) {
        o.check_status(leg.account(), leg.side, &leg.terms)?;
    }
    let bounded = legs.iter().find(|leg| leg.side == side);
    let most = bounded.map_or(i128::MAX, |leg| available(o, leg));
    if most <= 0 {
        let what =
            bounded.map_or_else(String::new, |leg| format!("{} has no {}", leg.account(), leg.asset()));
        return Err(Refusal::new(Reason::InsufficientFunds, format!("{what} available")));
    }
    let legs: Vec<Placed<'c>> = legs.iter().map(|leg| leg.up_to(most)).collect();
    decide::book(o, command, &legs, Funds::Judged)
}

/// How far an account may still be moved to the side of a leg, the leg's overdraft counted in.
fn available(o: &Overlay<'_>, leg: &Placed<'_>) -> i128 {
    let (account, asset, side) = (leg.account(), leg.asset(), leg.side);
    let range = o.terms_now(account, asset, leg.terms).with_overdraft(leg.overdraft()).range;
    if !range.limits(side) {
        return i128::MAX;
    }
    let balance = o.balance_of(account, asset);
    let room = match side {
        Side::Credit => balance.saturating_sub(range.lowest),
        _ => range.highest.saturating_sub(balance),
    };
    room.saturating_sub(o.held(account, asset, side))
}
