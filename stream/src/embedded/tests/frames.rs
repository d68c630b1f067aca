//! The codec of frames, by law.

use super::super::format::*;
use super::super::index::SegmentIndex;
use super::*;
use proptest::prelude::*;

fn partition() -> impl Strategy<Value = TopicPartition> {
    (0..Topic::ALL.len(), 0_u32..4).prop_map(|(topic, number)| TopicPartition::new(Topic::ALL[topic], number))
}

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn record() -> impl Strategy<Value = OutRecord> {
    let header = (bytes(12), bytes(20)).prop_map(|(name, value)| Header { name, value });
    let headers = proptest::collection::vec(header, 0..3);
    (partition(), bytes(20), bytes(200), headers).prop_map(|(to, key, value, headers)| OutRecord {
        to,
        key,
        value,
        headers,
    })
}

fn positions() -> impl Strategy<Value = Vec<GroupPosition>> {
    let position = (any::<i64>(), "[a-f0-9:é]{0,40}");
    let position = position.prop_map(|(offset, metadata)| Position { offset, metadata });
    proptest::collection::vec(("[a-z]{1,9}", partition(), position), 0..4)
}

fn seal(records: &[OutRecord], positions: &[GroupPosition], log_id: u64) -> Sealed {
    let extras = Extras { positions, ..Extras::default() };
    let draft = Draft::new(records, &extras, 77).unwrap();
    draft.seal(log_id, 5, 4, |of, _| i64::from(of.partition) * 100)
}

proptest! {
    #[test]
    fn a_frame_gives_back_what_was_put_in(
        records in proptest::collection::vec(record(), 0..12), positions in positions(), log_id: u64,
    ) {
        let frame = seal(&records, &positions, log_id);
        let head = decode_head(&frame.bytes, log_id).unwrap();
        prop_assert_eq!((head.sequence, head.durable, head.wall_us), (5, 4, 77));
        prop_assert_eq!(head.frame_bytes(), frame.bytes.len());
        prop_assert_eq!(&head.positions, &positions);
        prop_assert_eq!(&head.runs, &frame.runs);
        let mut back = Vec::new();
        for (of, run) in head.runs {
            let start = run.at as usize;
            let mut rest = frame.bytes.slice(start..start + run.len as usize);
            prop_assert_eq!(crc32c::crc32c(&rest), run.crc);
            for offset in run.first..run.next() {
                prop_assert_eq!(run.first, i64::from(of.partition) * 100);
                let Record { key, value, headers, .. } = take_record(&mut rest, offset, 0).unwrap();
                back.push(OutRecord { to: of, key, value, headers });
            }
            prop_assert!(rest.is_empty());
        }
        let mut sorted = records;
        sorted.sort_by_key(|record| record.to);
        prop_assert_eq!(back, sorted);
    }

    #[test]
    fn a_frame_with_a_changed_bit_does_not_pass(
        records in proptest::collection::vec(record(), 1..4), positions in positions(), at: prop::sample::Index, bit in 0_u8..8,
    ) {
        let frame = seal(&records, &positions, 1);
        let mut spoilt = frame.bytes.to_vec();
        let at = at.index(spoilt.len());
        spoilt[at] ^= 1 << bit;
        let whole = decode_head(&spoilt, 1).is_ok_and(|head| {
            head.runs.iter().all(|(_, run)| {
                let start = run.at as usize;
                spoilt.get(start..start + run.len as usize).is_some_and(|bytes| crc32c::crc32c(bytes) == run.crc)
            })
        });
        prop_assert!(!whole);
    }

    #[test]
    fn bytes_of_any_kind_are_judged_without_a_panic(noise in bytes(300), log_id: u64) {
        let mut framed = FRAME_MAGIC.to_vec();
        framed.extend_from_slice(&noise);
        prop_assert!(decode_head(&noise, log_id).is_err());
        prop_assert!(decode_head(&framed, log_id).is_err());
        let mut rest = noise.clone();
        while !rest.is_empty() && take_record(&mut rest, 0, 0).is_some() {}
    }

    #[test]
    fn the_index_finds_the_run_of_every_offset(counts in proptest::collection::vec((0_u32..3, 1_u32..9), 1..40)) {
        let mut next = [0_i64; 3];
        let mut runs = Vec::new();
        for (number, (partition, count)) in counts.into_iter().enumerate() {
            let first = next[partition as usize];
            next[partition as usize] += i64::from(count);
            let at = u32::try_from(number).unwrap();
            runs.push((TopicPartition::new(Topic::Journal, partition), Run { first, wall_us: 0, at, len: 1, count, crc: 0 }));
        }
        let index = SegmentIndex::new(runs.clone());
        for (of, run) in runs {
            for offset in run.first..run.next() {
                prop_assert_eq!(index.find(of, offset), Some(run));
            }
        }
        for (partition, next) in (0_u32..).zip(next) {
            prop_assert_eq!(index.find(TopicPartition::new(Topic::Journal, partition), next), None);
        }
    }
}

#[test]
fn a_frame_of_another_log_does_not_pass() {
    let frame = seal(&[text(JOURNAL, "entry")], &[], 1);
    assert_eq!(decode_head(&frame.bytes, 2), Err(FrameFault::Checksum));
}

#[test]
fn bounds_of_the_format_are_named() {
    let long = vec![("posting".to_owned(), COMMANDS, Position { offset: 0, metadata: "m".repeat(1025) })];
    let extras = Extras { positions: &long, ..Extras::default() };
    assert_eq!(
        Draft::new(&[], &extras, 0).unwrap_err(),
        "commands/1: metadata of a position may have 1024 bytes"
    );
    let mut headers = text(JOURNAL, "entry");
    headers.headers = vec![Header::text("h", ""); 65_536];
    assert_eq!(
        Draft::new(&[headers], &Extras::default(), 0).unwrap_err(),
        "journal/1: the number of headers is beyond the bound of the log"
    );
}
