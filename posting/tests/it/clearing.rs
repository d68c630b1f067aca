//! What a partition sends another one is bounded as a whole. The clearing account is put near its bound, which events take
//! years to reach; so the model does not walk these.

use crate::cluster::{Cluster, DAY};
use crate::events::{Event, LegWords, Op, credit, debit, owner_in};
use posting::config::{CLEARING_MAX, CROSSING_MAX};
use schemas::wire::{Outcome, journal_item::Item};
use stream::processor::SlotState;

/// What becomes of an event of partition 0 with these credits, where so much more may be sent to partition 1 in yen.
fn sent(left: i128, credits: &[(u32, &str)]) -> (Outcome, String) {
    let mut cluster = Cluster::new(3, 1);
    let mut figures = [0; 32];
    figures[..16].copy_from_slice(&(left - CLEARING_MAX).to_be_bytes());
    cluster.slots[0].load(b"aclearing:out:p00:p01\0JPY", &figures).unwrap();
    let bank = format!("{}:main", owner_in(&cluster.map, "bank", 0, 0));
    let legs = |(partition, asset): &(u32, &str)| -> [LegWords; 2] {
        let merchant = format!("{}:payable", owner_in(&cluster.map, "merchants", *partition, 0));
        [debit(&*bank, CROSSING_MAX, asset), credit(merchant, CROSSING_MAX, asset)]
    };
    let legs = credits.iter().flat_map(legs).collect();
    let (id, subject, body) = ("e1".into(), owner_in(&cluster.map, "bank", 0, 0), String::new());
    cluster.send(&Event { id, subject, body, legs, date: DAY, back_dated: false, op: Op::Book, ingest: 0 });
    cluster.flush(0);
    cluster.run_slots(&[0]).unwrap();
    let decision = cluster.items(0).into_iter().find_map(|(_, item)| match item {
        Item::Decision(decision) => Some(decision),
        _ => None,
    });
    let decision = decision.unwrap();
    (decision.outcome(), decision.reason)
}

#[test]
fn the_legs_of_an_event_count_together() {
    let (booked, overflow) = ((Outcome::Booked, String::new()), (Outcome::Refused, "overflow".to_owned()));
    let one_and_a_half = CROSSING_MAX / 2 * 3;
    assert_eq!(sent(one_and_a_half, &[(1, "JPY")]), booked);
    assert_eq!(sent(one_and_a_half, &[(1, "JPY"), (1, "JPY")]), overflow);
    assert_eq!(sent(2 * CROSSING_MAX, &[(1, "JPY"), (1, "JPY")]), booked);
    assert_eq!(sent(2 * CROSSING_MAX - 1, &[(1, "JPY"), (1, "JPY")]), overflow);
    // To another partition, or in another asset.
    assert_eq!(sent(one_and_a_half, &[(2, "JPY"), (1, "CNY"), (1, "JPY")]), booked);
}
