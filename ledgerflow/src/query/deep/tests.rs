//! Logs that were altered in every way, and what is said of them.

use super::*;
use crate::query::deep::finding::Finding;
use bytes::Bytes;
use prost::Message;
use schemas::batch::{BodyBuilder, ChainHead, Sealed, checksum, merkle_leaf, merkle_root};
use schemas::head::Head;
use schemas::topics::PartitionCounts;
use schemas::wire::{Batch, ChainMark, JournalItem, Tick, journal_item::Item};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Member, OutRecord, Position, Transaction};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 2 };
/// Batches of each partition of the journal.
const BATCHES: u64 = 6;

fn item(n: i64) -> JournalItem {
    JournalItem { item: Some(Item::Tick(Tick { business_time_us: n, ..Tick::default() })) }
}

fn body(numbers: &[i64]) -> BodyBuilder {
    let mut body = BodyBuilder::new();
    numbers.iter().for_each(|n| body.push(&item(*n)));
    body
}

/// The journal of a partition; batch `other` has another item than it had, and all after it are computed again.
fn journal(partition: u32, other: Option<u64>) -> Vec<Sealed> {
    let (mut head, mut all) = (ChainHead::default(), Vec::new());
    for batch in 1..=BATCHES {
        let first = if other == Some(batch) { 99 } else { 0 };
        let sealed = body(&[first, batch as i64, 7]).seal(BatchHeader {
            slot: partition,
            epoch: 1 + batch / 4,
            batch,
            sequence: batch,
            previous_hash: head.previous_hash(),
            written_at_us: 1_000 * batch as i64 + i64::from(partition),
            ..BatchHeader::default()
        });
        head = head.advanced(sealed.hash);
        all.push(sealed);
    }
    all
}

/// What re-keying has noted of a journal: batches 2, 4 and 6.
fn notes(of: &[Sealed]) -> Vec<Bytes> {
    let (mut head, mut all) = (ChainHead::default(), Vec::new());
    for (number, noted) in (1..).zip([1, 3, 5].map(|at| &of[at])) {
        let mark = ChainMark {
            topic: "journal".into(),
            slot: noted.header.slot,
            sequence: noted.header.sequence,
            hash: noted.hash.to_vec().into(),
        };
        let sealed = body(&[]).seal(BatchHeader {
            slot: noted.header.slot,
            batch: number,
            sequence: number,
            previous_hash: head.previous_hash(),
            mark: vec![mark],
            ..BatchHeader::default()
        });
        head = head.advanced(sealed.hash);
        all.push(sealed.value);
    }
    all
}

fn values(sealed: &[Sealed]) -> Vec<Bytes> {
    sealed.iter().map(|sealed| sealed.value.clone()).collect()
}

/// A log with these journals; with notes of the journals as they were.
struct Altered {
    log: EmbeddedLog,
    _folder: tempfile::TempDir,
}

impl Altered {
    fn new(first: Vec<Bytes>, noted: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), Options::new(COUNTS)).unwrap();
        let append = |topic: Topic, partition: u32, values: Vec<Bytes>| {
            let at = TopicPartition::new(topic, partition);
            log.append(values.into_iter().map(|value| OutRecord::new(at, value)).collect()).unwrap();
        };
        append(Topic::Journal, 0, first);
        append(Topic::Journal, 1, values(&journal(1, None)));
        for partition in (0..2).filter(|_| noted) {
            append(Topic::ReconState, partition, notes(&journal(partition, None)));
        }
        Self { log, _folder: folder }
    }

    fn found(&self, heads: &[HeadAsked]) -> (Vec<Finding>, Vec<bool>) {
        let mut walk = walk(&self.log).unwrap();
        let table = heads::compare(&walk.histories, heads, &mut walk.found).unwrap();
        let holds = table.rows.iter().map(|row| row[1] == true.into()).collect();
        (walk.found.kept().to_vec(), holds)
    }
}

/// The head of everything up to so many batches in both partitions.
fn head(batches: u64) -> Head {
    let walk = walk(&Altered::new(values(&journal(0, None)), false).log).unwrap();
    let partitions = walk.histories.partitions.iter().map(|history| history.at(batches).unwrap()).collect();
    Head { partitions }
}

/// Another body in a batch; what its header says of it is made good as far as `repair` goes.
fn edited(value: &Bytes, repair: impl Fn(&mut BatchHeader, &[u8])) -> Bytes {
    let batch = Batch::decode(value.clone()).unwrap();
    let other = Batch::decode(body(&[99, 3, 7]).seal(BatchHeader::default()).value).unwrap().body;
    assert_ne!(batch.body, other);
    let mut header = BatchHeader::decode(batch.header).unwrap();
    repair(&mut header, &other);
    Batch { header: header.encode_to_vec().into(), body: other }.encode_to_vec().into()
}

fn repaired_checksum(header: &mut BatchHeader, body: &[u8]) {
    header.checksum = checksum(body);
}

fn repaired_root(header: &mut BatchHeader, body: &[u8]) {
    repaired_checksum(header, body);
    let leaves: Vec<_> = schemas::batch::items(body).map(|item| merkle_leaf(item.unwrap())).collect();
    header.merkle_root = merkle_root(&leaves).unwrap().to_vec().into();
}

/// An alteration of journal/0, and what must be said of it: kind, batch, a part of the words.
type Case = (&'static str, fn(&mut Vec<Bytes>), &'static [(Kind, Option<u64>, &'static str)]);

const CASES: [Case; 12] = [
    ("nothing", |_| {}, &[]),
    ("item edited", |all| all[2] = edited(&all[2], |_, _| {}), &[(Kind::Edited, Some(3), "checksum")]),
    (
        "item edited, checksum repaired",
        |all| all[2] = edited(&all[2], repaired_checksum),
        &[(Kind::Edited, Some(3), "Merkle root")],
    ),
    (
        "item edited, header repaired",
        |all| all[2] = edited(&all[2], repaired_root),
        &[(Kind::Edited, Some(3), "batch 4 names another hash")],
    ),
    (
        "header edited",
        |all| {
            all[2] = edited(&all[2], |header, body| {
                repaired_root(header, body);
                header.epoch = 0;
            })
        },
        &[(Kind::Edited, Some(3), "owner epoch 0"), (Kind::Edited, Some(3), "batch 4 names another hash")],
    ),
    ("no batch any more", |all| all[2] = Bytes::from_static(b"\xff"), &[(Kind::Edited, None, "is no batch")]),
    ("removed", |all| drop(all.remove(2)), &[(Kind::Removed, Some(3), "is missing")]),
    ("two removed", |all| drop(all.drain(2..4)), &[(Kind::Removed, Some(3), "batches 3 to 4 are missing")]),
    ("first removed", |all| drop(all.remove(0)), &[(Kind::Removed, Some(1), "is missing")]),
    ("reordered", |all| all.swap(2, 3), &[(Kind::Reordered, Some(3), "stands after batch 4")]),
    ("repeated", |all| all.insert(4, all[2].clone()), &[(Kind::Repeated, Some(3), "was there before")]),
    (
        "cut",
        |all| all.truncate(4),
        &[(Kind::Cut, Some(5), "ends at batch 4; recon.state/0 batch 3 names batch 6")],
    ),
];

#[test]
fn every_alteration_is_named_by_kind_and_batch() {
    for (name, alter, expected) in CASES {
        let mut all = values(&journal(0, None));
        alter(&mut all);
        let (found, holds) = Altered::new(all, true).found(&[HeadAsked::Known(head(BATCHES))]);
        let named: Vec<_> = found.iter().map(|f| (f.kind, f.place.unwrap().batch, f.what.as_str())).collect();
        assert_eq!(named.len(), expected.len(), "{name}: {named:?}");
        for ((kind, batch, what), (kind_expected, batch_expected, words)) in named.iter().zip(expected) {
            assert_eq!((kind, batch), (kind_expected, batch_expected), "{name}: {what}");
            assert!(what.contains(words), "{name}: {what}");
        }
        for finding in &found {
            assert_eq!(finding.place.unwrap().at, TopicPartition::new(Topic::Journal, 0), "{name}");
        }
        assert_eq!(holds, [name == "nothing"], "{name}");
    }
}

#[test]
fn a_chain_that_was_computed_again_is_named_by_who_has_seen_the_old_one() {
    let again = values(&journal(0, Some(3)));
    let (found, _) = Altered::new(again.clone(), true).found(&[]);
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.kind, one.place.unwrap().batch), (Kind::Recomputed, Some(4)));
    assert!(one.what.contains("one of the batches 3 to 4 was altered"), "{}", one.what);
    assert!(one.what.contains("recon.state/0 batch 2 names another hash for batch 4"), "{}", one.what);
    // Nobody in the log has seen the old one: only a head tells, and of two heads between which batches.
    let altered = Altered::new(again, false);
    assert_eq!(altered.found(&[]).0, []);
    let heads = [2, 5].map(|batches| HeadAsked::Known(head(batches)));
    let (found, holds) = altered.found(&heads);
    assert_eq!(holds, [true, false]);
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!(one.kind, Kind::Recomputed);
    assert_eq!(one.place, Some(Place::batch(TopicPartition::new(Topic::Journal, 0), 3)));
    assert!(one.what.contains("one of the batches 3 to 5"), "{}", one.what);
}

#[test]
fn a_hash_alone_tells_whether_what_it_was_taken_of_is_there() {
    let whole = Altered::new(values(&journal(0, None)), false);
    for batches in [0, 1, 4, BATCHES] {
        let (found, holds) = whole.found(&[HeadAsked::Hash(head(batches).hash())]);
        assert_eq!((found, holds), (Vec::new(), vec![true]), "{batches}");
    }
    let mut cut = values(&journal(0, None));
    cut.truncate(4);
    for (altered, good, bad) in [(values(&journal(0, Some(3))), 2, 3), (cut, 4, 5)] {
        let altered = Altered::new(altered, false);
        let (found, holds) = altered.found(&[good, bad].map(|batches| HeadAsked::Hash(head(batches).hash())));
        assert_eq!(holds, [true, false]);
        let [one] = &found[..] else { panic!("{found:?}") };
        assert_eq!((one.kind, one.place), (Kind::Recomputed, None));
    }
}

#[test]
fn a_cut_is_named_by_a_head_and_by_the_positions_of_the_writer() {
    let mut cut = values(&journal(0, None));
    cut.truncate(4);
    let altered = Altered::new(cut, false);
    assert_eq!(altered.found(&[]).0, []);
    let (found, _) = altered.found(&[HeadAsked::Known(head(BATCHES))]);
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.kind, one.place.unwrap().batch), (Kind::Cut, Some(5)));
    // The writer has committed batch 6.
    let last = journal(0, None)[5].hash;
    let named = Metadata { epoch: 2, batch: 6, hash: last, transactional_id: "a".into() };
    let member = Member { group: "posting".into(), name: "a".into(), transactional_id: "a".into(), slots: 2 };
    let mut session = altered.log.join(&member).unwrap();
    let assignment = session.assignment().unwrap();
    let at = TopicPartition::new(Topic::Commands, 0);
    let position = Position { offset: 0, metadata: named.to_text() };
    let committed = session.commit(Transaction {
        generation: assignment.generation,
        records: Vec::new(),
        positions: vec![(at, position)],
    });
    assert!(matches!(committed, stream::log::CommitOutcome::Committed { .. }), "{committed:?}");
    let (found, _) = altered.found(&[]);
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!((one.kind, one.place.unwrap().batch), (Kind::Cut, Some(5)));
    assert!(one.what.contains("the committed position on commands/0 names batch 6"), "{}", one.what);
}

#[test]
fn a_head_of_other_partitions_is_refused() {
    let walk = walk(&Altered::new(values(&journal(0, None)), false).log).unwrap();
    let other = HeadAsked::Known(Head { partitions: head(1).partitions[..1].to_vec() });
    let refused = heads::compare(&walk.histories, &[other], &mut Findings::default());
    assert!(refused.unwrap_err().to_string().contains("a journal of 1 partitions, this one has 2"));
}
