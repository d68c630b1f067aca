//! What is counted as moved of accounts that have a rule about velocity: it grows by what their entries carry, and no more.
//!
//! The rules are in no record, and neither is how much of an entry counts: of an account that an event also gives something
//! back, the difference. So what is judged is a bound. Bounded by the accounts that have a rule.

use crate::amount;
use crate::finding::{Check, Findings, Place};
use schemas::wire::{Entry, Moved, journal_item::Item};
use std::collections::HashMap;

/// Account, asset, side.
type Name<'b> = (&'b str, &'b str, i32);

/// Account, asset, side, length of the window.
type Window = (String, String, i32, u32);

/// What was counted last, by account, asset, side and window: the part, the amount, the number of legs.
#[derive(Debug, Default)]
pub struct Velocity {
    last: HashMap<Window, (i64, i128, u64)>,
}

impl Velocity {
    /// Judges what a batch says was moved.
    pub fn batch(&mut self, place: Place, items: &[Item], found: &mut Findings) {
        let moved = |item: &Item| matches!(item, Item::Moved(_));
        if !items.iter().any(moved) {
            return;
        }
        let carried = carried(items);
        for item in items {
            if let Item::Moved(moved) = item {
                self.judge(place, moved, &carried, found);
            }
        }
    }

    /// Parts of one window stand one after the other.
    fn judge(
        &mut self,
        place: Place,
        moved: &Moved,
        carried: &HashMap<Name<'_>, (i128, u64)>,
        found: &mut Findings,
    ) {
        let (mut left, mut window) = ((0, 0), None);
        for part in &moved.part {
            if window != Some((part.side, part.window_s)) {
                window = Some((part.side, part.window_s));
                let name = (moved.account.as_str(), moved.asset.as_str(), part.side);
                left = carried.get(&name).copied().unwrap_or_default();
            }
            let key = (moved.account.clone(), moved.asset.clone(), part.side, part.window_s);
            let (amount, count) = (amount::of(part.amount.as_ref()), part.count);
            let last = self.last.insert(key, (part.part, amount, count));
            let before = last.filter(|(at, ..)| *at == part.part).map_or((0, 0), |last| (last.1, last.2));
            let forward = last.is_none_or(|(at, ..)| at <= part.part);
            let (more, legs) = (amount.saturating_sub(before.0), count.saturating_sub(before.1));
            let fits = forward && more > 0 && legs > 0 && more <= left.0 && legs <= left.1;
            left = (left.0.saturating_sub(more), left.1.saturating_sub(legs));
            found.that(Check::AccountVelocity, fits, || {
                let what = format!("part {} grows by {more} in {legs} legs, beyond its entries", part.part);
                (format!("{place} {} {}", moved.account, moved.asset), what)
            });
        }
    }
}

/// What the entries of a batch carry, and how many they are.
fn carried(items: &[Item]) -> HashMap<Name<'_>, (i128, u64)> {
    let mut carried: HashMap<Name<'_>, (i128, u64)> = HashMap::new();
    for entry in items.iter().flat_map(entries) {
        let sum = carried.entry((&entry.account, &entry.asset, entry.side)).or_default();
        let amount = amount::joined(entry.amount_lo, entry.amount_hi);
        *sum = (sum.0.saturating_add(amount), sum.1 + 1);
    }
    carried
}

fn entries(item: &Item) -> &[Entry] {
    match item {
        Item::Decision(decision) => &decision.entry,
        Item::Received(received) => received.entry.as_slice(),
        _ => &[],
    }
}
