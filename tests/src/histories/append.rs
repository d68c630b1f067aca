//! List-append: each event adds entries to the lists of several accounts, all of them or none. An account's list is its
//! entries by `seq`; readers see prefixes of it.

use super::bank::{ASSET, Order, wallet};
use super::record::{Account, Asked};
use crate::events::{Event, yuan};
use serde_json::json;
use stream::sim::Prng;

/// The first customer whose wallet is a list, and how many there are.
const FIRST: u64 = 100;
const LISTS: u64 = 6;
/// Most transfers that are linked.
const LINKED_MAX: u64 = 3;
const CENTS_MAX: u64 = 5;

/// The wallets whose entries are the lists.
#[must_use]
pub fn lists() -> Vec<Account> {
    (FIRST..FIRST + LISTS).map(wallet).collect()
}

/// Linked transfers out of one wallet into others; an account may get several entries.
#[must_use]
pub fn linked(id: &str, time: &str, prng: &mut Prng) -> Order {
    let (mut events, mut legs) = (Vec::new(), Vec::new());
    let from = prng.below(LISTS);
    for _ in 0..2 + prng.below(LINKED_MAX - 1) {
        let to = (from + 1 + prng.below(LISTS - 1)) % LISTS;
        let cents = 1 + prng.below(CENTS_MAX);
        let (payer, payee, amount) = (wallet(FIRST + from), wallet(FIRST + to), i128::from(cents));
        let data = json!({ "from": payer.0, "to": payee.0, "asset": ASSET, "amount": yuan(cents) });
        events.push(json!({ "type": "transfer", "data": data }));
        legs.extend([(payer, amount), (payee, -amount)]);
    }
    let event = Event {
        id: id.to_owned(),
        kind: "events.linked",
        subject: format!("users:{}", FIRST + from),
        time: time.to_owned(),
        data: json!({ "events": events }),
    };
    Order { event, asked: Asked::Book { event: id.to_owned(), legs } }
}
