//! The same source and id under subjects of different homes: these are different events, and what each has on hold is its
//! own. The model knows one event by an id, so it does not walk these.

use crate::cluster::{Cluster, DAY, credits_batch};
use crate::events::{Event, LegWords, Op, credit, debit, owner_in};
use prost::Message;
use schemas::wire::{CreditItem, Forward, Outcome, credit_item, journal_item::Item};

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

/// Whatever another partition says.
#[test]
fn what_its_home_alone_decides_is_refused_elsewhere() {
    let mut cluster = Cluster::new(2, 1);
    let subject = owner_in(&cluster.map, "orders", 0, 0);
    let approve = Op::Approve("bert".into(), "p1".into());
    let propose = Op::Propose("anna".into());
    let legs = vec![debit("bank:1:main", 1, "CNY"), credit("fees:card", 1, "CNY")];
    let rows = [
        (approve, Vec::new(), "unknown_proposal"),
        (propose, legs, "unknown_proposal"),
        (Op::Admit("anna".into(), "e1".into(), false), Vec::new(), "not_parked"),
    ];
    for (sequence, (op, legs, reason)) in (1..).zip(rows) {
        let (id, subject, body) = (format!("e{sequence}"), subject.clone(), String::new());
        let event = Event { id, subject, body, legs, date: DAY, back_dated: false, op, ingest: 0 };
        let forward = Forward { command: Some(event.command()), ingest_slot: 0 };
        let item = CreditItem { sequence, item: Some(credit_item::Item::Forward(forward)) };
        cluster.credits[1].push(credits_batch(0, &[item.encode_to_vec().into()]));
        cluster.run_slots(&[1]).unwrap();
        let Some((_, Item::Decision(decision))) = cluster.items(1).pop() else { panic!("no decision") };
        assert_eq!((decision.outcome(), &*decision.reason), (Outcome::Refused, reason));
    }
}
