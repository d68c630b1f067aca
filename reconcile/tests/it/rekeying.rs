//! Re-keying: which journal items and chunks become which sides, chains, progress, restore.

use crate::flow::{Flow, MadeBill, Ours, PARTITIONS, checkpoint, journal_item, ours_of, theirs_of};
use prost::Message;
use reconcile::match_key::{MatchKey, partition_of_key};
use reconcile::rekey::TICK_EVERY_US;
use schemas::batch::{self, ChainHead};
use schemas::topics::Topic;
use schemas::wire::journal_item::Item as Journal;
use schemas::wire::side_item::Item;
use schemas::wire::{
    Aligned, BillChunk, Decision, Entry, EventKey, JournalItem, Outcome, Received, ReconStateBody, SideItem,
    SidesBody, Tick,
};
use std::collections::BTreeMap;
use stream::log::{OutRecord, TopicPartition};
use stream::processor::{Processor, SlotState};

fn sides(flow: &Flow, partition: u32) -> Vec<SideItem> {
    let mut heads = [ChainHead::default(); PARTITIONS as usize];
    let mut out = Vec::new();
    for record in flow.topics.read(Topic::ReconSides, partition) {
        let opened = batch::open(&record.value).unwrap();
        let head = &mut heads[opened.header.slot as usize];
        *head = head.accept(&opened).unwrap();
        let body: SidesBody = opened.body().unwrap();
        opened.expect_count(body.item.len()).unwrap();
        out.extend(body.item);
    }
    out
}

fn run_rekey(flow: &mut Flow, slot: u32, records_max: usize) {
    while flow.rekey.step(slot, &mut flow.topics, records_max).unwrap() {}
}

/// One line per side item over all partitions, with its partition.
fn summary(flow: &Flow) -> Vec<String> {
    let mut out = Vec::new();
    for partition in 0..PARTITIONS {
        for item in sides(flow, partition) {
            out.push(match item.item.unwrap() {
                Item::Ours(ours) => {
                    let key = MatchKey::of_ours(ours.r#match.as_ref().unwrap());
                    assert_eq!(partition_of_key(&key.text(), PARTITIONS), partition);
                    let event = ours.event.unwrap().id;
                    format!("ours {} {event} leg {} batch {}", key.order, ours.leg, ours.journal_batch)
                }
                Item::Theirs(theirs) => {
                    let key = MatchKey::of_theirs(&theirs);
                    assert_eq!(partition_of_key(&key.text(), PARTITIONS), partition);
                    format!("theirs {} {}", key.order, theirs.file)
                }
                Item::Released(released) => {
                    format!("p{partition} released {} staged {}", released.file.unwrap().id, released.staged)
                }
                Item::Tick(tick) => {
                    format!("p{partition} tick {} from {}", tick.business_time_us, item.journal_partition)
                }
                Item::Aligned(day) => {
                    format!("p{partition} aligned {} from {}", day.date, item.journal_partition)
                }
            });
        }
    }
    out.sort();
    out
}

fn decision(outcome: Outcome, order: &str, id: &str) -> JournalItem {
    let mut item = journal_item(&ours_of("CNY 1.00 - -", order, id));
    if let Some(Journal::Decision(decision)) = &mut item.item {
        decision.outcome = outcome.into();
    }
    item
}

fn received(order: &str, id: &str) -> JournalItem {
    let Some(Journal::Decision(decision)) = decision(Outcome::Booked, order, id).item else { unreachable!() };
    let Decision { event, occurred_at_us, accounting_date, mut entry, .. } = decision;
    let entry = entry.pop().map(|entry| Entry { leg: 1, ..entry });
    let received = Received { event, occurred_at_us, accounting_date, entry, ..Received::default() };
    JournalItem { item: Some(Journal::Received(received)) }
}

fn tick(us: i64) -> JournalItem {
    JournalItem { item: Some(Journal::Tick(Tick { business_time_us: us, ..Tick::default() })) }
}

#[test]
fn what_of_the_journal_goes_on() {
    let mut flow = Flow::new();
    let plain = Decision {
        event: Some(EventKey::default()),
        outcome: Outcome::Booked.into(),
        entry: vec![Entry::default()],
        ..Decision::default()
    };
    let aligned = Aligned { book: "main".into(), date: 17_946 };
    flow.journal(1, &[decision(Outcome::Booked, "o-1", "e-1"), tick(5), tick(9), tick(7)]);
    flow.journal(
        1,
        &[
            decision(Outcome::Refused, "o-2", "e-2"),
            decision(Outcome::Duplicate, "o-1", "e-1"),
            decision(Outcome::Pending, "o-3", "e-3"),
            JournalItem { item: Some(Journal::Decision(plain)) },
            received("o-4", "e-4"),
            JournalItem { item: Some(Journal::Aligned(aligned)) },
        ],
    );
    run_rekey(&mut flow, 1, 10);
    let expected = [
        "ours o-1 e-1 leg 0 batch 1",
        "ours o-4 e-4 leg 1 batch 2",
        "p0 aligned 17946 from 2",
        "p0 tick 9 from 2",
        "p1 aligned 17946 from 2",
        "p1 tick 9 from 2",
        "p2 aligned 17946 from 2",
        "p2 tick 9 from 2",
    ];
    assert_eq!(summary(&flow), expected);
    flow.rekey.assert_restores(&flow.topics);
}

/// Business time goes to every partition, so it goes seldom; nothing else waits for it, so that nothing big is read
/// twice.
#[test]
fn time_alone_waits_and_what_has_a_side_does_not() {
    const MINUTE: i64 = TICK_EVERY_US;
    let late = decision(Outcome::Booked, "o-1", "e-1");
    let mut plain = decision(Outcome::Booked, "o-3", "e-3");
    if let Some(Journal::Decision(decision)) = &mut plain.item {
        decision.entry.iter_mut().for_each(|entry| entry.r#match = None);
    }
    // What the next journal batch holds; ticks and other sides, and changelog batches, that there are then.
    let held = Tick { business_time_us: 90 * MINUTE, ..Tick::default() };
    let rows: [(Vec<JournalItem>, (usize, usize), usize); 8] = [
        (vec![tick(MINUTE)], (3, 0), 1),
        (vec![tick(2 * MINUTE - 2)], (3, 0), 1),
        (vec![tick(2 * MINUTE - 2), decision(Outcome::Refused, "o-2", "e-2")], (3, 0), 2),
        (vec![plain], (3, 0), 3),
        (vec![tick(2 * MINUTE - 1), late], (3, 1), 4),
        (vec![tick(2 * MINUTE)], (6, 1), 5),
        (vec![tick(2 * MINUTE + 1)], (6, 1), 5),
        (vec![JournalItem { item: Some(Journal::HeldTick(held)) }], (6, 1), 5),
    ];
    let mut flow = Flow::new();
    let found = |flow: &Flow| {
        let all = summary(flow);
        let ticks = all.iter().filter(|line| line.contains("tick")).count();
        ((ticks, all.len() - ticks), flow.topics.read(Topic::ReconState, 1).len())
    };
    for (number, (items, sides, batches)) in rows.into_iter().enumerate() {
        flow.journal(1, &items);
        run_rekey(&mut flow, 1, 40);
        assert_eq!(found(&flow), (sides, batches), "row {number}");
    }
    // A full window does not wait: the journal that is read again after a restart stays short.
    (0..30).for_each(|_| flow.journal(1, &[tick(2 * MINUTE + 2)]));
    run_rekey(&mut flow, 1, 40);
    assert_eq!(found(&flow), ((6, 1), 6));
    flow.rekey.assert_restores(&flow.topics);
}

#[test]
fn a_match_without_amount_or_asset_takes_the_entry_s() {
    let mut flow = Flow::new();
    let mut item = decision(Outcome::Booked, "o-1", "e-1");
    if let Some(Journal::Decision(decision)) = &mut item.item {
        let matched = decision.entry[0].r#match.as_mut().unwrap();
        (matched.gross, matched.asset) = (None, String::new());
    }
    flow.journal(0, &[item]);
    run_rekey(&mut flow, 0, 10);
    let all: Vec<SideItem> = (0..PARTITIONS).flat_map(|partition| sides(&flow, partition)).collect();
    let Some(Item::Ours(ours)) = all[0].item.clone() else { panic!("{all:?}") };
    let matched = ours.r#match.unwrap();
    assert_eq!((i128::from(matched.gross.unwrap()), matched.asset.as_str()), (100, "CNY"));
}

fn bill(lines: u32) -> MadeBill {
    let line = |number| theirs_of("CNY 1.00 0.01 success", &format!("o-{number}"), number);
    MadeBill { name: "file".into(), day: "2019-02-19", accepted: true, lines: (0..lines).map(line).collect() }
}

#[test]
fn chunks_count_once_and_in_order() {
    let mut flow = Flow::new();
    let chunks = bill(9).chunks(3);
    let slot = chunks[0].to.partition;
    // An import that broke off after two chunks, was repeated, and then repeated once more.
    for chunk in chunks[..2].iter().chain(&chunks).chain(&chunks) {
        flow.topics.append(chunk.clone());
    }
    run_rekey(&mut flow, slot, 2);
    let found = summary(&flow);
    assert_eq!(found.iter().filter(|line| line.starts_with("theirs")).count(), 9);
    let staged: Vec<&String> = found.iter().filter(|line| line.contains("released")).collect();
    assert_eq!(staged.len(), PARTITIONS as usize);
    for partition in 0..PARTITIONS {
        let theirs = |item: &SideItem| matches!(item.item, Some(Item::Theirs(_)));
        let count = sides(&flow, partition).iter().filter(|item| theirs(item)).count();
        assert!(found.contains(&format!("p{partition} released file staged {count}")), "{found:?}");
    }
    let progress = flow.rekey.slots[slot as usize].bill("file").unwrap();
    assert!(progress.ended && progress.next_chunk == 4);
    flow.rekey.assert_restores(&flow.topics);
}

#[test]
fn the_changelog_says_what_was_read_and_sent() {
    let mut flow = Flow::new();
    flow.topics.append(bill(9).chunks(10).remove(0));
    let slot = bill(9).chunks(10)[0].to.partition;
    flow.journal(slot, &[decision(Outcome::Booked, "o-1", "e-1")]);
    run_rekey(&mut flow, slot, 10);
    let record = &flow.topics.read(Topic::ReconState, slot)[0];
    let opened = batch::open(&record.value).unwrap();
    let header = &opened.header;
    assert_eq!((header.slot, header.epoch, header.batch, header.sequence), (slot, 1, 1, 1));
    let inputs: Vec<&str> = header.input.iter().map(|input| input.topic.as_str()).collect();
    assert_eq!(inputs, ["bills.lines", "journal"]);
    assert_eq!(header.mark.len(), 1);
    assert_eq!(header.channel.iter().map(|c| c.sequence).collect::<Vec<_>>(), [1; PARTITIONS as usize]);
    let body: ReconStateBody = opened.body().unwrap();
    assert_eq!(body.item.len(), PARTITIONS as usize + 2, "chains, bill, position");
}

#[test]
fn a_first_window_commits_without_input() {
    let flow = Flow::new();
    let rekey = &flow.rekey.processor;
    let window = |first| flow.rekey.window(0, &flow.topics, 1, first);
    assert!(rekey.decide(&flow.rekey.slots[0], window(false)).unwrap().is_none());
    let decision = rekey.decide(&flow.rekey.slots[0], window(true)).unwrap().unwrap();
    assert_eq!(decision.records.len(), 1);
    let opened = batch::open(&decision.records[0].value).unwrap();
    assert_eq!((opened.header.count, opened.hash), (0, decision.hash));
    let join = flow.join.processor.decide(&flow.join.slots[0], flow.join.window(0, &flow.topics, 1, true));
    assert!(join.unwrap().unwrap().records.is_empty());
}

/// Appends to slot 0's inputs, runs, and gives what stopped it.
fn stops(make: impl Fn(&mut Flow)) -> String {
    let mut flow = Flow::new();
    make(&mut flow);
    let stop = flow.rekey.step(0, &mut flow.topics, 10).unwrap_err();
    assert_eq!(stop.slot, 0);
    stop.to_string()
}

fn append(flow: &mut Flow, topic: Topic, value: Vec<u8>) {
    flow.topics.append(OutRecord::new(TopicPartition::new(topic, 0), value.into()));
}

#[test]
fn inputs_that_are_not_what_they_must_be_stop_the_slot() {
    let chunk = |number: u32, format: u32| {
        let file = Some(bill(0).file());
        BillChunk { format, file, chunk: number, ..BillChunk::default() }.encode_to_vec()
    };
    let item = || decision(Outcome::Booked, "o-1", "e-1");
    let rows: [(&str, String); 7] = [
        ("chunk 1, expected 0", stops(|flow| append(flow, Topic::BillsLines, chunk(1, 1)))),
        ("format version 2", stops(|flow| append(flow, Topic::BillsLines, chunk(0, 2)))),
        ("bills.lines/0@0", stops(|flow| append(flow, Topic::BillsLines, vec![0xff; 9]))),
        (
            "without a file",
            stops(|flow| {
                let empty = BillChunk { format: 1, ..BillChunk::default() };
                append(flow, Topic::BillsLines, empty.encode_to_vec());
            }),
        ),
        (
            "expected sequence 2, found 1",
            stops(|flow| {
                flow.journal(0, &[item()]);
                let again = flow.topics.read(Topic::Journal, 0)[0].value.to_vec();
                append(flow, Topic::Journal, again);
            }),
        ),
        (
            "batch of slot 1, expected 0",
            stops(|flow| {
                flow.journal(1, &[item()]);
                let strange = flow.topics.read(Topic::Journal, 1)[0].value.to_vec();
                append(flow, Topic::Journal, strange);
            }),
        ),
        (
            "checksum",
            stops(|flow| {
                flow.journal(1, &[item()]);
                let mut torn = flow.topics.read(Topic::Journal, 1)[0].value.to_vec();
                *torn.last_mut().unwrap() ^= 1;
                append(flow, Topic::Journal, torn);
            }),
        ),
    ];
    for (expected, found) in rows {
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }
}

#[test]
fn a_large_window_is_sealed_in_several_batches() {
    let mut flow = Flow::new();
    let order = |number: u32| format!("{number:0>120}");
    for first in (0..6_000).step_by(1_000) {
        let item = |number| decision(Outcome::Booked, &order(number), &order(number));
        let items: Vec<JournalItem> = (first..first + 1_000).map(item).collect();
        flow.journal(0, &items);
    }
    run_rekey(&mut flow, 0, 10);
    let batches: usize = (0..PARTITIONS).map(|p| flow.topics.read(Topic::ReconSides, p).len()).sum();
    assert!(batches > PARTITIONS as usize, "{batches}");
    let read: usize = (0..PARTITIONS).map(|p| sides(&flow, p).len()).sum();
    assert_eq!(read, 6_000);
    flow.run(10);
    flow.join.assert_restores(&flow.topics);
}

#[test]
fn checkpoints_taken_on_the_way_hold_the_whole_state() {
    let mut flow = Flow::new();
    let mut rekeyed: Vec<BTreeMap<_, _>> = vec![BTreeMap::new(); PARTITIONS as usize];
    let mut joined = rekeyed.clone();
    let rejected = MadeBill { name: "rejected".into(), accepted: false, ..bill(5) };
    for made in [bill(6), rejected] {
        for chunk in made.chunks(2) {
            flow.topics.append(chunk);
            let ours: Ours = ours_of("CNY 1.00 - -", "o-1", "e-1");
            flow.book(0, &ours);
            flow.run(1);
            for slot in 0..PARTITIONS as usize {
                checkpoint(&mut flow.rekey.slots[slot], &mut rekeyed[slot]);
                checkpoint(&mut flow.join.slots[slot], &mut joined[slot]);
            }
        }
    }
    for slot in 0..PARTITIONS as usize {
        assert_eq!(Vec::from_iter(rekeyed[slot].clone()), flow.rekey.slots[slot].canonical());
        assert_eq!(Vec::from_iter(joined[slot].clone()), flow.join.slots[slot].canonical());
        assert_eq!(flow.join.slots[slot].dirty_bytes(), 0);
        let mut other = flow.join.processor.open(0);
        assert!(other.load(b"?", b"").is_err() && other.load(b"", b"").is_err());
        assert!(other.load(b"knot a key", b"").is_err());
    }
}
