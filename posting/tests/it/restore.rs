//! Rebuilding a slot: from its journal alone, or from any checkpoint and the journal beyond it.

use crate::cluster::{ALL, Cluster, DAY, Written, differing_keys};
use crate::events::{CHART, Event, Op, credit, debit, owner_in};
use prost::Message;
use schemas::batch::BodyBuilder;
use schemas::topics::Topic;
use schemas::wire::{Batch, BatchHeader, PostingRest, journal_item::Item};
use stream::log::TopicPartition;
use stream::processor::{Processor, SlotState};

/// The `n`th payment between two partitions, in turn from either, run to rest.
fn pay(cluster: &mut Cluster, n: usize) {
    let at = (n % 2) as u32;
    let bank = owner_in(&cluster.map, "bank", at, 0);
    let user = owner_in(&cluster.map, "users", 1 - at, n % 3);
    cluster.send(&Event {
        id: format!("e{n}"),
        subject: bank.clone(),
        body: String::new(),
        legs: vec![debit(format!("{bank}:main"), 100, "CNY"), credit(format!("{user}:wallet"), 100, "CNY")],
        date: DAY + i32::from(n > 20),
        back_dated: false,
        op: Op::Book,
        ingest: 0,
    });
    cluster.tick(0, 1_000_000 * n as i64);
    cluster.flush(0);
    cluster.run().unwrap();
}

/// Two partitions after that many payments.
fn busy(payments: usize) -> Cluster {
    let mut cluster = Cluster::new(2, 1);
    (0..payments).for_each(|n| pay(&mut cluster, n));
    cluster
}

/// A checkpoint of any age with the journal beyond it gives the live state, and so does the journal alone.
#[test]
fn every_checkpoint_and_its_tail_give_the_live_state() {
    let mut cluster = Cluster::new(2, 1);
    for n in 0..40 {
        pay(&mut cluster, n);
        if n == 20 {
            cluster.end_day(0, DAY);
        }
        if n % 7 == 3 {
            cluster.checkpoint((n % 2) as u32);
        }
        for slot in 0..2 {
            for from_checkpoint in [false, true] {
                let rebuilt = cluster.rebuilt(slot, from_checkpoint).unwrap();
                let differing = differing_keys(&cluster.slots[slot as usize], &rebuilt);
                assert!(differing.is_empty(), "slot {slot} after {n}: {differing:02x?}");
            }
        }
    }
}

/// A window that is decided and dropped leaves no trace, whatever the next one takes (ARCHITECTURE rule 3).
#[test]
fn a_dropped_window_leaves_no_trace() {
    let run = |drops: bool| {
        let mut cluster = busy(3);
        for n in 3..9 {
            let (bank, user) = (format!("bank:{n}"), format!("users:{n}:wallet"));
            let legs = vec![debit(format!("{bank}:main"), 100, "CNY"), credit(user, 100, "CNY")];
            let (id, body) = (format!("e{n}"), String::new());
            cluster.send(&Event {
                id,
                subject: bank,
                body,
                legs,
                date: DAY,
                back_dated: false,
                op: Op::Book,
                ingest: 0,
            });
            cluster.flush(0);
        }
        cluster.end_day(0, DAY);
        cluster.flush(0);
        for take in [(0, 1), (1, 0), (1, 2), (usize::MAX, 1), ALL, ALL, ALL] {
            for slot in 0..2 {
                let dropped = if drops { vec![ALL, (0, 2), take] } else { Vec::new() };
                dropped.into_iter().for_each(|take| drop(cluster.decide(slot, take).unwrap()));
                cluster.step(slot, take).unwrap();
            }
        }
        let values = |log: &Written| log.0.iter().map(|r| r.value.clone()).collect::<Vec<_>>();
        let logs: Vec<_> = cluster.journal.iter().chain(&cluster.credits).map(values).collect();
        let states: Vec<_> = cluster.slots.iter().map(SlotState::canonical).collect();
        (logs, states, cluster.rejected)
    };
    assert_eq!(run(true), run(false));
}

/// Only what changed since the last call is handed to the next checkpoint.
#[test]
fn a_checkpoint_holds_changed_pairs_only() {
    let mut cluster = busy(4);
    let pairs = |cluster: &mut Cluster| {
        let mut keys = Vec::new();
        cluster.slots[0].take_dirty(&mut |key, value| {
            assert!(value.is_some());
            keys.push(key.to_vec());
        });
        (keys, cluster.slots[0].take_settled(false).bytes())
    };
    assert!(cluster.slots[0].dirty_bytes() > 0);
    let (keys, settled) = pairs(&mut cluster);
    assert!(keys.len() > 4 && settled > 0, "{keys:02x?} {settled}");
    assert_eq!(pairs(&mut cluster), (vec![b"m".to_vec()], 0), "heads and marks are always written");
    assert_eq!(cluster.slots[0].dirty_bytes(), 0);
    cluster.tick(0, 9_000_000_000);
    cluster.flush(0);
    cluster.run().unwrap();
    assert_eq!(pairs(&mut cluster), (vec![b"m".to_vec()], 0));
}

/// The journal's own chain is checked while it is replayed.
#[test]
fn a_journal_that_is_not_whole_stops_the_restore() {
    let cluster = busy(4);
    let rebuilt = |change: &dyn Fn(&mut Vec<stream::log::Record>)| {
        let mut changed = busy(4);
        change(&mut changed.journal[0].0);
        changed.rebuilt(0, false).map(|_| ()).unwrap_err().to_string()
    };
    assert!(differing_keys(&cluster.slots[0], &cluster.rebuilt(0, false).unwrap()).is_empty());
    let missing = rebuilt(&|journal| drop(journal.remove(1)));
    assert!(missing.contains("journal/0@4: slot 0: expected sequence 2, found 3"), "{missing}");
    let swapped = rebuilt(&|journal| journal.swap(1, 2));
    assert!(swapped.contains("expected sequence 2, found 3"), "{swapped}");
    let flipped = rebuilt(&|journal| {
        let mut batch = Batch::decode(journal[1].value.clone()).unwrap();
        let mut body = batch.body.to_vec();
        *body.last_mut().unwrap() ^= 1;
        batch.body = body.into();
        journal[1].value = batch.encode_to_vec().into();
    });
    assert!(flipped.contains("journal/0@2: checksum of batch 2 of slot 0"), "{flipped}");
    let forged = rebuilt(&|journal| {
        let mut body = BodyBuilder::new();
        body.push(&schemas::wire::JournalItem::default());
        journal[1].value = body.seal(BatchHeader { sequence: 2, batch: 2, ..BatchHeader::default() }).value;
    });
    assert!(forged.contains("does not name its predecessor's hash"), "{forged}");
    let newer = rebuilt(&|journal| {
        let batch = Batch::decode(journal[0].value.clone()).unwrap();
        let header = BatchHeader { format: 9, ..BatchHeader::decode(batch.header).unwrap() };
        let batch = Batch { header: header.encode_to_vec().into(), body: batch.body };
        journal[0].value = batch.encode_to_vec().into();
    });
    assert!(newer.contains("format version 9"), "{newer}");
    let unknown = rebuilt(&|journal| {
        let header = BatchHeader::decode(Batch::decode(journal[0].value.clone()).unwrap().header).unwrap();
        let mut body = BodyBuilder::new();
        body.push(&schemas::wire::JournalItem::default());
        journal[0].value = body.seal(header).value;
    });
    assert!(unknown.contains("an item of a kind this program does not know"), "{unknown}");
}

/// A pair that is not of this format is refused, so that the checkpoint is dropped.
#[test]
fn foreign_pairs_are_refused() {
    let posting = posting::Posting::new(
        posting::PostingConfig::new(CHART, schemas::shards::PartitionMap::even(1).unwrap(), 1).unwrap(),
    );
    let mut slot = posting.open(0);
    let rows: [(&[u8], &[u8]); 7] = [
        (b"", b""),
        (b"x", b"1"),
        (b"ausers:1:wallet", &[0; 32]),
        (b"ausers:1:wallet\0CNY", &[0; 31]),
        (b"ishort", &[0; 30]),
        (b"i0123456789abcdef", &[9; 30]),
        (b"m", &[0xff; 5]),
    ];
    for (key, value) in rows {
        assert!(slot.load(key, value).is_err(), "{key:?}");
    }
    assert_eq!(slot.canonical(), posting.open(0).canonical());
}

/// A new owner commits an empty batch of its epoch before it has read anything.
#[test]
fn the_first_window_of_an_owner_commits_even_when_empty() {
    let mut cluster = busy(2);
    let epochs = |cluster: &Cluster| -> Vec<(u64, u64)> {
        cluster.pages(0).iter().map(|page| (page.header.batch, page.header.epoch)).collect()
    };
    let before = epochs(&cluster);
    assert!(!cluster.step(0, ALL).unwrap(), "nothing to read");
    cluster.crash(0, false);
    assert!(cluster.step(0, ALL).unwrap());
    assert!(!cluster.step(0, ALL).unwrap());
    let batch = before.last().unwrap().0 + 1;
    assert_eq!(epochs(&cluster), [before, vec![(batch, 2)]].concat());
}

/// The journal names the chart in force: once, and again when it changes.
#[test]
fn a_changed_chart_is_journalled_once() {
    let mut cluster = busy(2);
    let other = CHART.replace("version: 1", "version: 2");
    cluster.restart_with(&[0], &other);
    for n in 0..3 {
        cluster.tick(0, n);
        cluster.flush(0);
        cluster.run().unwrap();
    }
    let versions: Vec<u32> = (cluster.items(0).into_iter())
        .filter_map(|(_, item)| if let Item::Chart(chart) = item { Some(chart.version) } else { None })
        .collect();
    assert_eq!(versions, [1, 2]);
    cluster.crash(0, false);
}

/// Business time is the highest tick and never goes back.
#[test]
fn ticks_never_go_back() {
    let mut cluster = Cluster::new(1, 2);
    for (from, at) in [(0, 5), (1, 9), (0, 7), (1, 8)] {
        cluster.tick(from, at);
        cluster.flush(from);
        cluster.run().unwrap();
    }
    assert_eq!(cluster.slots[0].tick_us, 9);
    let passed_on = cluster.items(0).into_iter().filter(|(_, item)| matches!(item, Item::Tick(_))).count();
    assert_eq!(passed_on, 4);
    cluster.crash(0, false);
}

/// A tick too far ahead of the highest is journalled as held, and time goes on with the next that can be true. What was
/// made of it is in the journal: another bound changes nothing of the past.
#[test]
fn a_tick_too_far_ahead_is_held_for_ever() {
    let bound = schemas::dates::TICK_AHEAD_US_MAX_DEFAULT;
    let mut cluster = Cluster::new(1, 2);
    for (from, at) in [(0, 10), (1, 11 + bound), (0, 12), (1, i64::MAX), (0, 12 + bound), (1, 13)] {
        cluster.tick(from, at);
        cluster.flush(from);
        cluster.run().unwrap();
    }
    let slot = &cluster.slots[0];
    assert_eq!((slot.tick_us, slot.held_ticks, slot.held_tick_us), (12 + bound, 2, i64::MAX));
    let ticks = cluster.items(0).into_iter().filter_map(|(_, item)| match item {
        Item::Tick(tick) => Some((true, tick.business_time_us)),
        Item::HeldTick(tick) => Some((false, tick.business_time_us)),
        _ => None,
    });
    let wanted =
        [(true, 10), (false, 11 + bound), (true, 12), (false, i64::MAX), (true, 12 + bound), (true, 13)];
    assert_eq!(ticks.collect::<Vec<_>>(), wanted);
    cluster.checkpoint(0);
    cluster.crash(0, true);
    cluster.restart_with_bound(0, 1);
    assert_eq!((cluster.slots[0].tick_us, cluster.slots[0].held_ticks), (12 + bound, 2));
    cluster.tick(0, 14 + bound);
    cluster.flush(0);
    cluster.run().unwrap();
    assert_eq!((cluster.slots[0].tick_us, cluster.slots[0].held_ticks), (12 + bound, 3));
}

/// What became of every event is counted at its home, whoever decided, and a slot that is restored counts the same. A
/// checkpoint of before repeated events were counted is none.
#[test]
fn outcomes_are_counted_and_restored() {
    let mut cluster = Cluster::new(2, 1);
    let bank = owner_in(&cluster.map, "bank", 0, 0);
    let user = owner_in(&cluster.map, "users", 1, 0);
    let (from_bank, from_user) = (format!("{bank}:main"), format!("{user}:wallet"));
    let legs =
        |payer: &str, payee: &str, amount| vec![debit(payer, amount, "CNY"), credit(payee, amount, "CNY")];
    let mut send = |id: &str, legs| {
        let (id, subject, body) = (id.to_owned(), bank.clone(), String::new());
        cluster.send(&Event {
            id,
            subject,
            body,
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
        cluster.flush(0);
        cluster.run().unwrap();
    };
    for id in ["a", "b", "a", "a", "c"] {
        send(id, legs(&from_bank, &from_user, 5));
    }
    // The wallet is in the other partition, which is asked; the same id with another amount is a conflict.
    send("poor", legs(&from_user, &from_bank, 1 << 60));
    send("poor", legs(&from_user, &from_bank, 1 << 60));
    send("b", legs(&from_bank, &from_user, 6));
    let counted = |slot: &posting::state::Slot| {
        (slot.ids.booked(), slot.ids.refused(), slot.ids.pending(), slot.duplicates, slot.conflicts)
    };
    assert_eq!(counted(&cluster.slots[0]), (3, 1, 0, 3, 1));
    assert_eq!(counted(&cluster.slots[1]), (0, 0, 0, 0, 0), "it is nobody's home");
    for from_checkpoint in [false, true] {
        cluster.checkpoint(0);
        assert_eq!(counted(&cluster.rebuilt(0, from_checkpoint).unwrap()), (3, 1, 0, 3, 1));
    }
    let (key, value) = cluster.slots[0].canonical().pop().unwrap();
    let old = PostingRest { duplicates: None, ..PostingRest::decode(&value[..]).unwrap() };
    posting::state::Slot::new(0).load(&key, &old.encode_to_vec()).unwrap_err();
}

/// Every record goes to its place: journal last and to the own slot, credits to their partition.
#[test]
fn the_journal_batch_is_the_last_record_of_its_window() {
    let mut cluster = busy(3);
    let bank = owner_in(&cluster.map, "bank", 0, 0);
    let user = owner_in(&cluster.map, "users", 0, 0);
    let other = owner_in(&cluster.map, "users", 1, 0);
    let legs = [
        vec![debit(format!("{bank}:main"), 1, "CNY"), credit(format!("{other}:wallet"), 1, "CNY")],
        vec![debit(format!("{user}:wallet"), 1 << 60, "CNY"), credit(format!("{bank}:main"), 1 << 60, "CNY")],
    ];
    for (n, legs) in legs.into_iter().enumerate() {
        let (id, subject, body) = (format!("x{n}"), bank.clone(), String::new());
        cluster.send(&Event {
            id,
            subject,
            body,
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
    }
    cluster.flush(0);
    let decision = cluster.decide(0, ALL).unwrap().unwrap();
    let places: Vec<TopicPartition> = decision.records.iter().map(|record| record.to).collect();
    let expected = [(Topic::Credits, 1), (Topic::Rejected, 0), (Topic::Journal, 0)];
    assert_eq!(places, expected.map(|(topic, partition)| TopicPartition::new(topic, partition)));
    let header = &decision.change.header;
    let edges: Vec<(&str, u32)> = header.edge.iter().map(|e| (e.topic.as_str(), e.records)).collect();
    assert_eq!(edges, [("rejected", 1)]);
    let refusal = &decision.records[1];
    assert_eq!(stream::log::header(&refusal.headers, "ledgerflow-reason"), Some(&b"insufficient_funds"[..]));
    assert_eq!(stream::log::header(&refusal.headers, "ledgerflow-retryable"), Some(&b"true"[..]));
    let json: serde_json::Value = serde_json::from_slice(&refusal.value).unwrap();
    assert_eq!((&json["id"], &json["reason"]), (&"x1".into(), &"insufficient_funds".into()));
}
