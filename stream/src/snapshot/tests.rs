use super::*;
use crate::processor::PutPair;
use crate::sim::{SimLog, SimSettings};
use schemas::topics::PartitionCounts;

const OWNER: Owner<'static> = Owner { processor: "posting", slot: 1 };

/// A state that is its pairs.
#[derive(Debug, Default, PartialEq, Eq)]
struct Plain(BTreeMap<Vec<u8>, Vec<u8>>);

impl SlotState for Plain {
    fn take_dirty(&mut self, _put: &mut PutPair<'_>) {}

    fn dirty_bytes(&self) -> usize {
        0
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        if key == b"refused" {
            return Err("refused".to_owned());
        }
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn canonical(&self) -> Pairs {
        self.0.clone().into_iter().collect()
    }
}

fn log() -> SimLog {
    SimLog::new(SimSettings::new(1, PartitionCounts { events: 1, internal: 1 }))
}

fn label(batch: u64) -> Label {
    Label {
        generation: 0,
        epoch: 2,
        batch,
        hash: [7; 32],
        positions: vec![
            (TopicPartition::new(Topic::Commands, 1), 40),
            (TopicPartition::new(Topic::Credits, 1), 41),
        ],
        changelog_offset: 99,
    }
}

/// `count` pairs with values of `bytes` bytes.
fn pairs(count: u32, bytes: usize) -> Pairs {
    (0..count).map(|n| (n.to_be_bytes().to_vec(), vec![u8::try_from(n % 251).unwrap(); bytes])).collect()
}

fn put(log: &dyn Log, batch: u64, pairs: &Pairs, turn: u32) -> u64 {
    let state = Canonical::from(pairs.clone());
    write(log, OWNER, &label(batch), &state, (turn, 1_000_000), Duration::ZERO).unwrap()
}

#[test]
fn what_is_written_is_found_and_gives_the_state() {
    let log = log();
    assert_eq!(find(&log, OWNER).unwrap(), []);
    // Of 3,000 pairs of 1 KB each part holds half a megabyte.
    let small = pairs(3, 5);
    let large = pairs(3_000, 1_000);
    assert_eq!((put(&log, 5, &small, 0), put(&log, 6, &large, 1), put(&log, 7, &Vec::new(), 0)), (1, 6, 1));
    let found = find(&log, OWNER).unwrap();
    assert_eq!(
        found.iter().map(|of| (of.label.clone(), of.turn)).collect::<Vec<_>>(),
        [(label(7), 0), (label(6), 1), (label(5), 0)]
    );
    for (found, pairs) in found.iter().zip([&Vec::new(), &large, &small]) {
        let mut state = Plain::default();
        load(&log, OWNER, found, &mut state).unwrap().unwrap();
        assert_eq!(&state.canonical(), pairs);
        assert_eq!((Canonical::of(&state).hash, found.pairs), (found.state_hash, pairs.len() as u64));
    }
    let others = [Owner { processor: "post", slot: 1 }, Owner { processor: "posting", slot: 11 }];
    assert!(others.iter().all(|other| find(&log, *other).unwrap().is_empty()));
}

#[test]
fn a_pair_larger_than_a_part_has_a_part_of_its_own() {
    let log = log();
    let all = vec![
        (b"a".to_vec(), vec![1; 10]),
        (b"b".to_vec(), vec![2; PART_BYTES_MAX + 1]),
        (b"c".to_vec(), vec![3; 10]),
    ];
    assert_eq!(put(&log, 1, &all, 0), 3);
    let mut state = Plain::default();
    load(&log, OWNER, &find(&log, OWNER).unwrap()[0], &mut state).unwrap().unwrap();
    assert_eq!(state.canonical(), all);
}

/// Every part in turn is lost, comes twice, or is another's.
#[test]
fn a_snapshot_is_whole_or_none() {
    let large = pairs(3_000, 1_000);
    for missing in 0..6 {
        let log = log();
        put(&log, 6, &large, 0);
        let of = find(&log, OWNER).unwrap().remove(0);
        let at = of.at;
        let mut reader = log.reader(&[(at, 0)], Isolation::Committed).unwrap();
        let limit = FetchLimit { records: 100, bytes: 64 << 20, wait: Duration::ZERO };
        let records: Vec<Record> =
            reader.poll(limit).unwrap().into_iter().flat_map(|fetch| fetch.records).collect();
        assert_eq!(records.len(), 6);
        assert!(log.lose(at, records[missing].offset));
        assert_eq!(find(&log, OWNER).unwrap(), [], "without part {missing}");
        let mut state = Plain::default();
        assert!(load(&log, OWNER, &of, &mut state).unwrap().is_err(), "without part {missing}");

        // Sent again whole, twice, as after a lost answer.
        let again = |n: usize| OutRecord::new(at, records[n].value.clone()).keyed(records[n].key.clone());
        log.append((0..6).map(again).chain((0..6).map(again)).collect()).unwrap();
        assert_eq!(find(&log, OWNER).unwrap().len(), 2, "part {missing} sent again");
    }
}

#[test]
fn what_cannot_be_read_is_passed_over() {
    let log = log();
    put(&log, 5, &pairs(3, 5), 0);
    let at = TopicPartition::new(Topic::Snapshots, 0);
    let junk = |value: &'static [u8]| OutRecord::new(at, Bytes::from_static(value)).keyed("posting/1/1/0");
    log.append(vec![junk(b"\xff\xff"), junk(b"\x08\x02")]).unwrap();
    let mut other = snapshot::read(log_values(&log, at).remove(0)).unwrap();
    // Another hash, another number of pairs, a topic that nobody knows.
    let end = other.end.clone().unwrap();
    for wrong in [
        SnapshotEnd { state_hash: Bytes::from_static(&[1; 32]), ..end.clone() },
        SnapshotEnd { pairs: 4, ..end.clone() },
        SnapshotEnd { hash: Bytes::from_static(b"short"), ..end.clone() },
        SnapshotEnd {
            position: vec![SnapshotPosition { topic: "none".to_owned(), partition: 0, offset: 0 }],
            ..end
        },
    ] {
        other.id = Bytes::from_static(b"another");
        other.end = Some(wrong);
        log.append(vec![OutRecord::new(at, snapshot::write(&other)).keyed("posting/1/1/0")]).unwrap();
    }
    assert_eq!(find(&log, OWNER).unwrap().len(), 1);
    put(&log, 6, &vec![(b"refused".to_vec(), Vec::new())], 1);
    let found = find(&log, OWNER).unwrap();
    assert_eq!(load(&log, OWNER, &found[0], &mut Plain::default()).unwrap(), Err("refused".to_owned()));
}

fn log_values(log: &SimLog, at: TopicPartition) -> Vec<Bytes> {
    let mut reader = log.reader(&[(at, 0)], Isolation::Committed).unwrap();
    let limit = FetchLimit { records: 100, bytes: 64 << 20, wait: Duration::ZERO };
    reader
        .poll(limit)
        .unwrap()
        .into_iter()
        .flat_map(|fetch| fetch.records)
        .map(|record| record.value)
        .collect()
}
