//! Records of `credits` that vanished and were sent again: accepted when all is as it was, found when anything is not.

use super::book_keeper::{DAY, Event, World, leg, pay};
use super::clean::{QUIESCED, run};
use crate::{AuditLimit, Check};
use bytes::Bytes;
use prost::Message;
use schemas::topics::Topic;
use schemas::wire::{CreditItem, DayMarker, JournalItem, credit_item, journal_item::Item};

/// A payment that is lost between partitions 0 and 1, one after it that shows the gap, and the repair; then a day closes.
/// `windows` are left out from the end.
fn history(windows: usize) -> World {
    let mut world = World::new(1, 2);
    let fund =
        Event { legs: vec![leg("bank:0:main", 900), leg("users:2:wallet", -900)], ..pay("fund", 0, 2, 1) };
    world.ingest(0, &[fund, pay("first", 2, 3, 5), pay("back", 3, 2, 1)], None);
    [0, 1, 0].into_iter().for_each(|p| world.post(p));
    world.ingest(0, &[pay("lost", 2, 3, 7)], None);
    world.post(0);
    world.lose(1);
    world.ingest(0, &[pay("after", 2, 3, 9)], None);
    // Sent, held and asked for; the request is taken while something new is decided; sent again; taken.
    world.post(0);
    world.post(1);
    world.ingest(0, &[pay("meanwhile", 2, 3, 11)], None);
    let rest: [fn(&mut World); 6] = [
        |world| world.post(0),
        |world| world.post(0),
        |world| world.post(1),
        |world| world.ingest(0, &[], Some(DAY)),
        |world| (0..2).for_each(|p| world.post(p)),
        |world| (0..2).for_each(|p| world.post(p)),
    ];
    rest[..rest.len() - windows].iter().for_each(|step| step(&mut world));
    world
}

fn limit(quiesced: bool) -> AuditLimit {
    AuditLimit { quiesced, settlement: false, reconcile: false, orders: false, ..QUIESCED }
}

fn wrong(world: &World, quiesced: bool) -> Vec<(&'static str, u64)> {
    run(&world.log(), limit(quiesced)).wrong().map(|check| (check.check, check.wrong)).collect()
}

#[test]
fn a_loss_that_was_repaired_is_no_defect() {
    let report = run(&history(0).log(), limit(true));
    assert!(report.passed, "{report}");
    let of = |check: Check| report.check(check).unwrap();
    assert_eq!(of(Check::Sequence).uncovered, 1, "the batch that is gone");
    assert_eq!(
        of(Check::ChannelRepeat).checked,
        1,
        "one item came twice, one for the first time, one is new"
    );
}

/// At any moment of the repair something is open and nothing wrong.
#[test]
fn a_repair_under_way_is_open() {
    for windows in 0..=6 {
        let world = history(windows);
        assert_eq!(wrong(&world, false), [], "{windows} windows before the end");
        let quiesced = wrong(&world, true);
        assert_eq!(quiesced.iter().any(|(check, _)| *check == "channel.lost"), windows > 4, "{quiesced:?}");
    }
}

fn edit<M: Message + Default>(world: &mut World, topic: Topic, p: u32, change: impl Fn(&mut M) -> bool) {
    for draft in world.drafts(topic, p).iter_mut().rev() {
        for bytes in draft.items.iter_mut().rev() {
            let mut item = M::decode(bytes.clone()).unwrap();
            if change(&mut item) {
                *bytes = Bytes::from(item.encode_to_vec());
                return;
            }
        }
    }
    panic!("nothing to falsify");
}

fn journal(world: &mut World, p: u32, change: impl Fn(&mut Item) -> bool) {
    edit(world, Topic::Journal, p, |item: &mut JournalItem| item.item.as_mut().is_some_and(&change));
}

/// Changes an item of partition 0 as it was sent the last time.
fn sent(world: &mut World, sequence: u64, change: impl Fn(&mut CreditItem)) {
    edit(world, Topic::Credits, 1, |item: &mut CreditItem| {
        let is_it = item.sequence == sequence;
        if is_it {
            change(item);
        }
        is_it
    });
}

fn dearer(item: &mut CreditItem) {
    if let Some(credit_item::Item::Credit(credit)) = &mut item.item {
        credit.amount = Some(1.into());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn whatever_is_not_as_it_was_is_found() {
    // Sequences of partition 0: the payments `first`, `lost`, `after`, `meanwhile`; the answer to `back` is none.
    type Falsify = fn(&mut World);
    let rows: [(&str, Falsify, &[&str]); 8] = [
        ("what was lost comes as another", |w| sent(w, 2, dearer), &["channel.content"]),
        ("what had come comes as another", |w| sent(w, 3, dearer), &["channel.repeat"]),
        ("what was decided meanwhile comes as another", |w| sent(w, 4, dearer), &["channel.content"]),
        (
            "nobody asked",
            |w| {
                journal(w, 1, |item| match item {
                    Item::ResendAsked(asked) => {
                        (asked.from, asked.sequence) = (1, 0);
                        true
                    }
                    _ => false,
                });
            },
            &["envelope.sequence", "channel.sequence", "channel.invented"],
        ),
        (
            "asked for something else",
            |w| {
                journal(w, 1, |item| match item {
                    Item::ResendAsked(asked) => {
                        asked.from_sequence = 1;
                        true
                    }
                    _ => false,
                });
            },
            &["channel.content"],
        ),
        (
            "taken as something else",
            |w| {
                journal(w, 0, |item| match item {
                    Item::ResendTaken(taken) => {
                        taken.from_sequence = 1;
                        true
                    }
                    _ => false,
                });
            },
            &["channel.content"],
        ),
        (
            "taken with another check",
            |w| {
                journal(w, 0, |item| match item {
                    Item::ResendTaken(taken) => {
                        taken.item_check ^= 1;
                        true
                    }
                    _ => false,
                });
            },
            &["channel.content", "envelope.head"],
        ),
        (
            "a marker is journaled as another",
            |w| {
                journal(w, 0, |item| match item {
                    Item::DayMarkerSent(sent) => {
                        sent.marker = vec![DayMarker { count: 40, ..sent.marker[0].clone() }];
                        true
                    }
                    _ => false,
                });
            },
            &["days.marker"],
        ),
    ];
    for (name, falsify, expected) in rows {
        let mut world = history(0);
        falsify(&mut world);
        let mut found: Vec<&str> = wrong(&world, true).into_iter().map(|(check, _)| check).collect();
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

/// What is left out when all is sent again is lost.
#[test]
fn what_is_never_sent_again_is_lost() {
    let mut world = history(0);
    sent(&mut world, 2, |item| item.sequence = 3);
    let found: Vec<&str> = wrong(&world, true).into_iter().map(|(check, _)| check).collect();
    assert!(found.contains(&"channel.lost") && found.contains(&"channel.repeat"), "{found:?}");
}
