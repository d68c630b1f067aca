//! What became of events against what was asked and told: lost, duplicate, aborted.

use super::super::books::Books;
use super::super::record::{Account, Asked, Ended, Operation, Seen};
use super::{Found, Kind, Senders};
use schemas::wire::Outcome;
use std::collections::BTreeMap;

pub(super) fn check(history: &[Operation], books: &Books, senders: &Senders<'_>, found: &mut Found) {
    for (event, operations) in senders {
        outcomes(history, books, event, operations, found);
        entries(history, books, event, operations, found);
    }
    for event in books.events().into_iter().filter(|event| !senders.contains_key(event)) {
        found.tell(Kind::Aborted, &[], format!("{event} is in the books, and nobody has sent it"));
    }
}

/// Outcomes that were told, and those that are.
fn outcomes(history: &[Operation], books: &Books, event: &str, operations: &[usize], found: &mut Found) {
    let times = |outcome| books.became(event).iter().filter(|became| became.outcome == outcome).count();
    let (booked, refused) = (times(Outcome::Booked), times(Outcome::Refused));
    if booked > 1 {
        found.tell(Kind::Duplicate, operations, format!("{event} is booked {booked} times"));
    }
    let failed = |index: &usize| matches!(history[*index].ended, Ended::Fail);
    if operations.iter().all(failed) && !books.became(event).is_empty() {
        found.tell(Kind::Aborted, operations, format!("{event} failed, and is in the books"));
    }
    for index in operations {
        let Ended::Ok(seen) = &history[*index].ended else { continue };
        if booked + refused == 0 {
            found.tell(Kind::Lost, &[*index], format!("{event} was acknowledged and has no outcome"));
        }
        let Seen::Became(told) = seen else { continue };
        if booked + refused > 0 && times(*told) == 0 {
            let told = format!("{event} was told to be {told:?}; booked {booked}, refused {refused} times");
            found.tell(Kind::Aborted, &[*index], told);
        }
    }
}

/// Entries that were asked for, and those that are.
fn entries(history: &[Operation], books: &Books, event: &str, operations: &[usize], found: &mut Found) {
    let Some(Asked::Book { legs, .. }) = operations.first().map(|index| &history[*index].asked) else {
        return;
    };
    let booked = books.became(event).iter().any(|became| became.outcome == Outcome::Booked);
    let mut missing: BTreeMap<&(Account, i128), i64> = BTreeMap::new();
    for leg in legs.iter().filter(|_| booked) {
        *missing.entry(leg).or_default() += 1;
    }
    for leg in books.booked(event) {
        *missing.entry(leg).or_default() -= 1;
    }
    for ((account, amount), count) in missing.into_iter().filter(|(_, count)| *count != 0) {
        let (kind, what) = match (booked, count > 0) {
            (_, true) => (Kind::Lost, "too few"),
            (true, false) => (Kind::Duplicate, "too many"),
            (false, false) => (Kind::Aborted, "not booked, and has"),
        };
        let count = count.unsigned_abs();
        let told = format!("{event}: {what}: {count} entries of {amount} on {}", account.0);
        found.tell(kind, operations, told);
    }
}
