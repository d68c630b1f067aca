//! Command chains: a batch torn, missing, repeated, out of order or of another version stops the slot and says
//! which slot and sequence. A stopped window changes nothing.

use crate::cluster::{ALL, Cluster, DAY};
use crate::events::{Event, Op, credit, debit, owner_in};
use bytes::Bytes;
use prost::Message;
use schemas::batch::Sealed;
use schemas::wire::{Batch, BatchHeader, CommandItem};
use stream::processor::SlotState;

/// A cluster of one partition that has booked one batch of ingest slot 1 (of two), and its next three batches.
fn three_batches() -> (Cluster, [Bytes; 3]) {
    let mut cluster = Cluster::new(1, 2);
    let user = owner_in(&cluster.map, "users", 0, 0);
    let mut sealed: Vec<Sealed> = Vec::new();
    for n in 0..4 {
        let legs = vec![debit("bank:0:main", 100, "CNY"), credit(format!("{user}:wallet"), 100, "CNY")];
        cluster.send(&Event {
            id: format!("e{n}"),
            subject: user.clone(),
            body: String::new(),
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 1,
        });
        sealed.extend(cluster.seal_commands(1, 0));
    }
    cluster.commands[0].push(sealed[0].value.clone());
    cluster.run().unwrap();
    let next = [1, 2, 3].map(|n| sealed[n].value.clone());
    (cluster, next)
}

/// Rewrites a batch; the checksum is left as it was.
fn rewritten(value: &Bytes, change: impl FnOnce(&mut BatchHeader, &mut Vec<u8>)) -> Bytes {
    let batch = Batch::decode(value.clone()).unwrap();
    let (mut header, mut body) = (BatchHeader::decode(batch.header).unwrap(), batch.body.to_vec());
    change(&mut header, &mut body);
    Batch { header: header.encode_to_vec().into(), body: body.into() }.encode_to_vec().into()
}

/// Writes these batches and expects the slot to stop with that text, unchanged.
#[track_caller]
fn stops(batches: &[Bytes], expected: &str) {
    let (mut cluster, _) = three_batches();
    let before = cluster.slots[0].canonical();
    batches.iter().for_each(|value| cluster.commands[0].push(value.clone()));
    let stop = cluster.decide(0, ALL).expect_err(expected);
    assert_eq!(stop.slot, 0);
    let text = stop.to_string();
    assert!(text.starts_with("slot 0 stopped at commands/0@"), "{text}");
    assert!(text.contains(expected), "expected {expected:?}, found {text:?}");
    assert_eq!(cluster.slots[0].canonical(), before);
}

#[test]
fn only_the_next_batch_of_a_chain_is_read() {
    let (mut cluster, [second, third, fourth]) = three_batches();
    stops(std::slice::from_ref(&third), "slot 1: expected sequence 2, found 3");
    stops(&[third.clone(), second.clone()], "slot 1: expected sequence 2, found 3");
    stops(&[second.clone(), second.clone()], "@4: slot 1: expected sequence 3, found 2");
    stops(&[second.clone(), fourth.clone()], "@4: slot 1: expected sequence 3, found 4");
    [second, third, fourth].into_iter().for_each(|value| cluster.commands[0].push(value));
    cluster.run().unwrap();
    assert_eq!(cluster.balance("bank:0:main", "CNY"), (400, 4));
}

#[test]
fn a_repeated_batch_is_found_after_a_restart_too() {
    let (mut cluster, [second, ..]) = three_batches();
    cluster.crash(0, false);
    let first = cluster.commands[0].0[0].value.clone();
    cluster.commands[0].push(first);
    let stop = cluster.decide(0, ALL).unwrap_err().to_string();
    assert!(stop.contains("slot 1: expected sequence 2, found 1"), "{stop}");
    let mut fresh = three_batches().0;
    fresh.commands[0].push(second);
    fresh.run().unwrap();
}

#[test]
fn a_batch_changed_after_sealing_stops_the_slot() {
    let (_, [second, third, _]) = three_batches();
    let torn = rewritten(&second, |_, body| *body.last_mut().unwrap() ^= 1);
    stops(&[torn], "checksum of batch 2 of slot 1");
    let stranger = rewritten(&second, |header, _| header.previous_hash = vec![7; 32].into());
    stops(&[stranger], "slot 1: batch at sequence 2 does not name its predecessor's hash");
    // A changed header is a batch of its own; the next one names the hash of what was sealed.
    let relabelled = rewritten(&second, |header, _| header.written_at_us = 1);
    stops(&[relabelled, third], "slot 1: batch at sequence 3 does not name its predecessor's hash");
    let counted = rewritten(&second, |header, _| header.count = 2);
    stops(&[counted], "batch 2 of slot 1 names 2 items and holds 1");
    stops(&[second.slice(..second.len() - 9)], "does not decode");
    stops(&[Bytes::from_static(b"\xff\xff")], "does not decode");
}

#[test]
fn another_format_stops_the_slot() {
    let (_, [second, ..]) = three_batches();
    let newer = rewritten(&second, |header, _| header.format = 2);
    stops(&[newer], "format version 2, this program reads 1");
    // A batch without any header reads as format 0.
    stops(&[Bytes::new()], "format version 0, this program reads 1");
}

#[test]
fn an_item_of_an_unknown_kind_stops_the_slot() {
    let (mut cluster, _) = three_batches();
    let (_, [second, third, fourth]) = three_batches();
    [second, third, fourth].into_iter().for_each(|value| cluster.commands[0].push(value));
    cluster.run().unwrap();
    let empty = schemas::batch::BodyBuilder::new();
    let mut body = empty;
    body.push(&CommandItem { item: None });
    let head = cluster.slots[0].commands[&1];
    let sealed = body.seal(BatchHeader {
        slot: 1,
        sequence: head.sequence + 1,
        previous_hash: head.previous_hash(),
        ..BatchHeader::default()
    });
    cluster.commands[0].push(sealed.value);
    let stop = cluster.decide(0, ALL).unwrap_err().to_string();
    assert!(stop.contains("a command item is empty or of a kind this version does not know"), "{stop}");
}

#[test]
fn a_batch_of_an_ingest_slot_that_is_not_configured_stops_the_slot() {
    let (_, [second, ..]) = three_batches();
    let stranger = rewritten(&second, |header, _| {
        (header.slot, header.sequence, header.previous_hash) = (2, 1, Bytes::new());
    });
    stops(&[stranger], "ingest slot 2, but there are 2");
    let far = rewritten(&second, |header, _| {
        (header.slot, header.sequence, header.previous_hash) = (u32::MAX, 1, Bytes::new());
    });
    stops(&[far], "ingest slot 4294967295, but there are 2");
}

/// The chain's last sequence cannot be passed by counting over it.
#[test]
fn the_last_sequence_there_is_does_not_panic() {
    let (_, [second, ..]) = three_batches();
    let last = rewritten(&second, |header, _| header.sequence = u64::MAX);
    stops(&[last], "slot 1: expected sequence 2, found 18446744073709551615");
}
