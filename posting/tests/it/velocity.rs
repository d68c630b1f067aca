//! Velocity of accounts: how much, and how often, they may be moved within a window. The words are explained in
//! [`crate::script`].

use crate::cluster::{Cluster, DAY};
use crate::events::{Event, Op, credit, debit, owner_in};
use crate::model;
use crate::script::cases;
use schemas::wire::journal_item::Item;
use stream::processor::SlotState;

cases! {
a_leg_of_which_nothing_is_held_counts_for_nothing: "
partitions 2
event e0 users@0 | debit bank@0:main 9.00 CNY ; credit users@0:wallet 9.00 CNY
-> booked
event e1 cards@1 | debit cards@1:main 30.00 CNY ; credit bank@1:main 30.00 CNY
-> booked
chart all amount_max 40 becomes 10
event e2 users@0 | debit cards@1:main 1.00 CNY ; credit bank@1:main 1.00 CNY ; debit users@0:wallet 1.00 CNY ; credit bank@0:main 1.00 CNY
-> refused velocity_exceeded retryable
event e3 users@0 | debit cards@1:main 1.00 CNY ; credit cards@1:main 2.00 CNY ; debit users@0:wallet 1.00 CNY
-> booked
balance cards@1:main 29.00 Dr CNY seq 3
"

an_account_is_moved_so_far_within_each_window: "
tick 1000000
event e1 cards@0 | debit cards@0:main 30.00 CNY ; credit bank@0:main 30.00 CNY
-> booked
event e2 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
tick 2124999
event e3 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
tick 2125000
event e4 cards@0 | debit cards@0:main 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e5 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
tick 17999999
event e6 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
tick 18000000
event e7 cards@0 | debit cards@0:main 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event e8 cards@0 | debit cards@0:main 20.01 CNY ; credit bank@0:main 20.01 CNY
-> refused insufficient_funds retryable
balance cards@0:main 50.00 Dr CNY seq 3
"

an_account_is_moved_so_often: "
event e1 cards@0 | debit cards@0:main 1.00 CNY ; debit cards@0:main 1.00 CNY ; credit bank@0:main 2.00 CNY
-> booked
event e2 cards@0 | debit cards@0:main 1.00 CNY ; debit cards@0:main 1.00 CNY ; debit cards@0:main 1.00 CNY ; credit bank@0:main 3.00 CNY
-> refused velocity_exceeded retryable
event e3 cards@0 | debit cards@0:main 1.00 CNY ; debit cards@0:main 1.00 CNY ; credit bank@0:main 2.00 CNY
-> booked
event e4 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
event e5 cards@0 | debit cards@0:main 1.00 USD ; credit bank@0:main 1.00 USD
-> booked
event e6 cards@0b | debit cards@0b:main 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
balance cards@0:main 4.00 Dr CNY seq 4
"

what_an_event_gives_back_does_not_count: "
event e1 cards@0 | debit cards@0:main 35.00 CNY ; credit cards@0:main 10.00 CNY ; credit bank@0:main 25.00 CNY
-> booked
event e2 cards@0 | debit cards@0:main 5.01 CNY ; credit bank@0:main 5.01 CNY
-> refused velocity_exceeded retryable
event e3 cards@0 | debit bank@0:main 20.00 CNY ; credit cards@0:main 20.00 CNY
-> booked
event e4 cards@0 | debit cards@0:main 5.01 CNY ; credit bank@0:main 5.01 CNY
-> refused velocity_exceeded retryable
event e5 cards@0 | debit cards@0:main 5.00 CNY ; credit bank@0:main 5.00 CNY
-> booked
balance cards@0:main 10.00 Dr CNY seq 4
"

the_other_side_has_a_rule_of_its_own: "
event e1 cards@0 | debit bank@0:main 5.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY
-> booked
event e2 cards@0 | debit bank@0:main 0.01 CNY ; credit cards@0:main 0.01 CNY
-> refused velocity_exceeded retryable
event e3 cards@0 | debit bank@0:main 1 JPY ; credit cards@0:main 1 JPY
-> booked
"

what_is_on_hold_counts_as_moved: "
tick 1000000
event h1 cards@0 | debit cards@0:main 20.00 CNY | hold 0
-> booked
event e1 cards@0 | debit cards@0:main 10.01 CNY ; credit bank@0:main 10.01 CNY
-> refused velocity_exceeded retryable
event h2 cards@0 | debit cards@0:main 10.01 CNY | hold 0
-> refused velocity_exceeded retryable
event e2 cards@0 | debit cards@0:main 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event c1 cards@0 | debit cards@0:main 12.00 CNY ; credit bank@0:main 12.00 CNY | capture h1
-> booked
event e3 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
event r1 cards@0 | | release h1
-> booked
event e4 cards@0 | debit cards@0:main 8.00 CNY ; credit bank@0:main 8.00 CNY
-> booked
event e5 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
balance cards@0:main 30.00 Dr CNY seq 3
"

a_hold_is_captured_though_its_window_is_full: "
tick 1000000
event h1 cards@0 | debit cards@0:main 20.00 CNY | hold 0
-> booked
tick 30000000
event e1 cards@0 | debit cards@0:main 10.00 CNY ; credit bank@0:main 10.00 CNY
-> booked
event c1 cards@0 | debit cards@0:main 20.00 CNY ; credit bank@0:main 20.00 CNY | capture h1 final
-> booked
event e2 cards@0 | debit cards@0:main 0.01 CNY ; credit bank@0:main 0.01 CNY
-> refused velocity_exceeded retryable
"

giving_back_counts_like_a_payment: "
tick 1
event e1 cards@0 | debit bank@0:main 5.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY ; credit cards@0:main 1.00 CNY
-> booked
event e2 cards@0 | debit cards@0:main 1.00 CNY ; credit bank@0:main 1.00 CNY
-> booked
event r1 cards@0 | | reverse e2
event r2 cards@0 | debit bank@0:main 0.50 CNY ; credit cards@0:main 0.50 CNY | reverse e2
-> pending
tick 2
later r1 refused velocity_exceeded retryable
later r2 refused velocity_exceeded retryable
balance cards@0:main 4.00 Cr CNY seq 6
"

accounts_of_several_partitions: "
partitions 2
tick 1000000
event f1 bank@0 | debit bank@0:main 100.00 CNY ; credit users@0:wallet 100.00 CNY
-> booked
event e1 users@0 | debit users@0:wallet 10.00 CNY ; debit cards@1:main 25.00 CNY ; credit cards@1:main 5.00 CNY ; credit bank@1:main 30.00 CNY
-> booked
event e2 users@0 | debit users@0:wallet 1.00 CNY ; debit cards@1:main 10.01 CNY ; credit bank@1:main 11.01 CNY
-> refused velocity_exceeded retryable
event e3 users@0 | debit users@0:wallet 1.00 CNY ; debit cards@1:main 10.00 CNY ; credit bank@1:main 11.00 CNY
-> booked
event e4 users@0 | debit users@0:wallet 5.00 CNY ; credit cards@1:main 1.00 CNY ; credit cards@1:main 1.00 CNY ; credit cards@1:main 1.00 CNY ; credit cards@1:main 1.00 CNY ; credit cards@1:main 1.00 CNY
-> booked
event e5 users@0 | debit users@0:wallet 1.00 CNY ; credit cards@1:main 1.00 CNY
-> refused velocity_exceeded retryable
balance users@0:wallet 84.00 Cr CNY seq 4
balance cards@1:main 25.00 Dr CNY seq 8
"
}

/// What was moved is rebuilt from a checkpoint and the journal, and forgotten when nothing of it counts any more.
#[test]
fn what_was_moved_is_rebuilt_and_forgotten() {
    let mut cluster = Cluster::new(1, 1);
    let owners: Vec<String> = (0..3).map(|n| owner_in(&cluster.map, "cards", 0, n)).collect();
    let meters = |cluster: &Cluster| cluster.slots[0].velocity.all().count();
    for n in 0..12_usize {
        let card = format!("{}:main", owners[n % 3]);
        cluster.send(&Event {
            id: format!("e{n}"),
            subject: owners[n % 3].clone(),
            body: String::new(),
            legs: vec![debit(card, 100, "CNY"), credit("bank:0:main", 100, "CNY")],
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
        cluster.tick(0, 100_000 * (n as i64 + 1));
        cluster.flush(0);
        cluster.run().unwrap();
        if n == 5 {
            cluster.checkpoint(0);
        }
        for from_checkpoint in [false, true] {
            let rebuilt = cluster.rebuilt(0, from_checkpoint).unwrap();
            assert_eq!(rebuilt.canonical(), cluster.slots[0].canonical(), "after {n}");
        }
    }
    assert_eq!(meters(&cluster), 6, "two windows of each of three");
    cluster.tick(0, 11_000_000);
    cluster.flush(0);
    cluster.run().unwrap();
    assert_eq!(meters(&cluster), 3, "the short window is over");
    cluster.tick(0, 40_000_000);
    cluster.flush(0);
    cluster.run().unwrap();
    assert_eq!(meters(&cluster), 0);
    let moved = cluster.items(0).into_iter().filter(|(_, item)| matches!(item, Item::Moved(_))).count();
    assert_eq!(moved, 12, "one item for each account of a batch");
    let restored = cluster.rebuilt(0, true).unwrap();
    assert_eq!(restored.canonical(), cluster.slots[0].canonical());
    model::check(&cluster);
}
