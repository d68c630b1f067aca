//! The same source and id under subjects of different homes: these are different events, and what each has on hold is its
//! own. The model knows one event by an id, so it does not walk these.

use crate::cluster::{Cluster, DAY};
use crate::events::{Event, LegWords, Op, credit, debit, owner_in};

fn send(cluster: &mut Cluster, id: &str, home: u32, legs: Vec<LegWords>, op: Op) {
    let subject = owner_in(&cluster.map, "orders", home, 0);
    let (id, body) = (id.to_owned(), String::new());
    cluster.send(&Event { id, subject, body, legs, date: DAY, back_dated: false, op, ingest: 0 });
    cluster.flush(0);
}

fn wallet(cluster: &Cluster, partition: u32) -> String {
    format!("{}:wallet", owner_in(&cluster.map, "users", partition, 0))
}

fn funded(partitions: u32) -> Cluster {
    let mut cluster = Cluster::new(partitions, 1);
    for partition in 0..partitions {
        let legs = vec![debit("bank:1:main", 100, "CNY"), credit(wallet(&cluster, partition), 100, "CNY")];
        send(&mut cluster, &format!("fund-{partition}"), 0, legs, Op::Book);
    }
    cluster.run().unwrap();
    cluster
}

#[test]
fn payers_are_put_on_hold_for_each_of_them() {
    let mut cluster = funded(4);
    let legs = vec![
        debit(wallet(&cluster, 1), 10, "CNY"),
        debit(wallet(&cluster, 2), 20, "CNY"),
        credit("fees:card", 30, "CNY"),
    ];
    for home in [0, 3] {
        send(&mut cluster, "same", home, legs.clone(), Op::Book);
    }
    cluster.run().unwrap();
    assert_eq!(cluster.balance(&wallet(&cluster, 1), "CNY"), (-80, 3));
    assert_eq!(cluster.balance(&wallet(&cluster, 2), "CNY"), (-60, 3));
    for slot in 0..4 {
        cluster.crash(slot, slot % 2 == 0);
        assert!(
            cluster.slots[slot as usize].holds.is_empty() && cluster.slots[slot as usize].groups.is_empty()
        );
    }
}

#[test]
fn each_captures_and_releases_its_own_hold() {
    let mut cluster = funded(4);
    let account = wallet(&cluster, 1);
    for home in [0, 3] {
        let legs = vec![debit(&*account, 30 + i128::from(home), "CNY")];
        send(&mut cluster, "hold", home, legs, Op::Hold(0));
    }
    cluster.run().unwrap();
    let held = |cluster: &Cluster| cluster.slots[1].holds.held(&account, "CNY", schemas::wire::Side::Debit);
    assert_eq!(held(&cluster), 63);
    let legs = vec![debit(&*account, 5, "CNY"), credit("fees:card", 5, "CNY")];
    send(&mut cluster, "capture", 3, legs, Op::Capture("hold".into(), false));
    cluster.run().unwrap();
    assert_eq!(held(&cluster), 58);
    send(&mut cluster, "release", 3, Vec::new(), Op::Release("hold".into()));
    cluster.run().unwrap();
    assert_eq!(held(&cluster), 30);
    // An event of several partitions under the same name ends nobody else's hold.
    let legs =
        vec![debit(&*account, 1, "CNY"), debit(wallet(&cluster, 2), 1, "CNY"), credit("fees:card", 2, "CNY")];
    send(&mut cluster, "hold", 2, legs, Op::Book);
    cluster.run().unwrap();
    (0..4).for_each(|slot| cluster.crash(slot, slot % 2 == 0));
    assert_eq!(held(&cluster), 30);
}
