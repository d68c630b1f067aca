//! Commands about holds: placed, captured in one or more parts, released. Judged where the hold's account lives.
//!
//! A hold is named by the event that placed it, and its home knows which partition that is. Order relied on: commands of
//! one home reach another partition in the order in which home read them, so that a capture never comes before its hold.

use crate::decide::{self, Booked, Funds, Placed};
use crate::holds::{self, Hold, HoldKey};
use crate::ids::{IdKey, id_key};
use crate::overlay::{Overlay, Refusal};
use crate::views::{CommandView, EventView};
use schemas::money;
use schemas::reason::Reason;
use schemas::wire::{EventKey, HoldLeg, Outcome, PlaceHold};

/// The partition that decides about a hold, as its home knows it.
///
/// # Errors
/// [`Reason::UnknownHold`], [`Reason::HoldNotOpen`].
pub fn decider(o: &Overlay<'_>, hold: &EventView<'_>) -> Result<u32, Refusal> {
    match o.known(&key_of(hold)) {
        None => Err(Refusal::new(Reason::UnknownHold, format!("{} {}", hold.source, hold.id))),
        Some(record) if record.outcome == Outcome::Refused => Err(not_open(hold)),
        Some(record) => Ok(record.decider.into()),
    }
}

fn key_of(event: &EventView<'_>) -> IdKey {
    id_key(event.source, event.id)
}

fn not_open(hold: &EventView<'_>) -> Refusal {
    Refusal::new(Reason::HoldNotOpen, format!("{} {}", hold.source, hold.id))
}

/// Puts the only leg of a command on hold.
///
/// # Errors
/// As [`Overlay::put_on_hold`].
pub fn place<'c>(
    o: &mut Overlay<'_>,
    command: &CommandView<'c>,
    legs: &[Placed<'c>],
    place: PlaceHold,
    home: u32,
) -> Result<Booked<'c>, Refusal> {
    let event = &command.facts.event;
    let key = (key_of(event), home, 0);
    let asked: Vec<HoldLeg> = legs.iter().map(|leg| leg.hold_leg(0, leg.amount)).collect();
    o.put_on_hold(key.0, &asked, home)?;
    let over_us =
        if place.expires_after_us > 0 { o.tick_us.saturating_add(place.expires_after_us) } else { 0 };
    let placed = EventKey { source: event.source.to_owned(), id: event.id.to_owned() };
    let hold = o.hold(&key).cloned();
    let hold =
        hold.map(|hold| Hold { placed: Some(holds::Placed { event: placed, expires_us: over_us }), ..hold });
    if let Some(hold) = hold.clone() {
        o.place_hold(key, hold);
    }
    Ok(Booked::nothing(o, command).about(hold.map(|hold| (key, hold))))
}

/// Ends a hold.
///
/// # Errors
/// [`Reason::HoldNotOpen`].
pub fn release<'c>(
    o: &mut Overlay<'_>,
    command: &CommandView<'c>,
    hold: &EventView<'_>,
    home: u32,
) -> Result<Booked<'c>, Refusal> {
    let key = (key_of(hold), home, 0);
    let open = o.open_hold(&key).cloned().ok_or_else(|| not_open(hold))?;
    o.end_hold(key);
    Ok(Booked::nothing(o, command).about(Some((key, Hold { amount: 0, ..open }))))
}

/// Books legs that take from a hold.
///
/// # Errors
/// [`Reason::HoldNotOpen`], [`Reason::HoldMismatch`], [`Reason::ExceedsHold`], and what booking may be refused for.
pub fn capture<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    legs: &[Placed<'c>],
    (hold, last): (&EventView<'_>, bool),
    home: u32,
) -> Result<Booked<'c>, Refusal> {
    let key: HoldKey = (key_of(hold), home, 0);
    let open = o.open_hold(&key).cloned().ok_or_else(|| not_open(hold))?;
    let taken = taken_from(&open, legs);
    if taken <= 0 {
        let what = format!("it takes nothing from {} in {}", open.account, open.asset);
        return Err(Refusal::new(Reason::HoldMismatch, what));
    }
    // Wherever it lives: what is refused must not depend on the number of partitions.
    if let Some(leg) = legs.iter().find(|leg| leg.may_refuse() && !leg.is_of(&open.account, &open.asset)) {
        return Err(Refusal::new(Reason::HoldMismatch, format!("{} is limited too", leg.account())));
    }
    if taken > open.amount {
        let exponent = o.config.chart.assets.get(&*open.asset).map_or(0, |asset| asset.exponent);
        let what = format!("{} {} is left on hold", money::format(open.amount, exponent), open.asset);
        return Err(Refusal::new(Reason::ExceedsHold, what));
    }
    let booked = decide::book(o, command, legs, Funds::Held(&open))?;
    let left = if last { 0 } else { open.amount - taken };
    let after = Hold { amount: left, ..open };
    match left {
        0 => drop(o.end_hold(key)),
        _ => o.place_hold(key, after.clone()),
    }
    Ok(booked.about(Some((key, after))))
}

/// What the legs together take from the account of a hold.
fn taken_from(hold: &Hold, legs: &[Placed<'_>]) -> i128 {
    let of_hold = legs.iter().filter(|leg| leg.is_of(&hold.account, &hold.asset));
    of_hold.fold(0_i128, |sum, leg| sum.saturating_add(leg.towards(hold.side)))
}
