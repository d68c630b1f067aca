//! Cases about readers: order, bytes, limits, positions, bounds.

use super::exam::{
    COUNTS, Exam, Failure, Verdict, brief, content, expect, partition, record, same, texts, written,
};
use super::{Case, Need};
use crate::log::{Header, Isolation, LogError, Offset, OutRecord, TopicPartition};
use bytes::Bytes;
use schemas::topics::Topic;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "partition_counts",
        "Every topic has the number of partitions that the registry gives it.",
        Need::Nothing,
        partition_counts,
    ),
    Case::new(
        "append_read_order",
        "Appended records come back in order, at growing offsets, on their partition alone.",
        Need::Nothing,
        append_read_order,
    ),
    Case::new(
        "bytes_identical",
        "Keys, values and headers come back byte for byte: empty, binary, repeated names, in order.",
        Need::Nothing,
        bytes_identical,
    ),
    Case::new(
        "large_records",
        "Records of 600 KB come back whole, also where the byte limit is below one of them.",
        Need::Nothing,
        large_records,
    ),
    Case::new("limits", "A poll returns no more records and bytes than its limit.", Need::Nothing, limits),
    Case::new(
        "empty_partition",
        "An empty partition has equal watermarks; its reader stands there and gets what comes later.",
        Need::Nothing,
        empty_partition,
    ),
    Case::new(
        "start_in_the_middle",
        "A reader from a record's offset gets that record first.",
        Need::Nothing,
        start_in_the_middle,
    ),
    Case::new(
        "position_at_end",
        "Having read everything, a reader's own position is the committed watermark, whatever the offsets were.",
        Need::Nothing,
        position_at_end,
    ),
    Case::new(
        "held_partition",
        "A held partition gives nothing and keeps its position, the others go on; released, it goes on there.",
        Need::Nothing,
        held_partition,
    ),
    Case::new("seek_back", "Going back delivers the same records again.", Need::Nothing, seek_back),
    Case::new(
        "out_of_range",
        "A position outside the partition is refused with the bounds, by the reader's start and by seek.",
        Need::Nothing,
        out_of_range,
    ),
    Case::new(
        "unknown_partition",
        "A partition that does not exist is named by every call that meets it.",
        Need::Nothing,
        unknown_partition,
    ),
    Case::new(
        "no_partition_starves",
        "A partition that always has more does not keep the others' records from coming.",
        Need::Nothing,
        no_partition_starves,
    ),
    Case::new(
        "truncation",
        "When the low watermark has passed a reader, it gets the bounds, not a silent gap.",
        Need::Truncation,
        truncation,
    ),
];

fn partition_counts(exam: &mut Exam<'_>) -> Verdict {
    for topic in Topic::ALL {
        same(topic.name(), &exam.log().partitions(*topic)?, &topic.partition_count(COUNTS))?;
    }
    Ok(())
}

fn append_read_order(exam: &mut Exam<'_>) -> Verdict {
    let values: Vec<String> = (0..300).map(|n| format!("record {n}")).collect();
    for some in values.chunks(7) {
        exam.log().append(some.iter().map(|value| record(partition(1), value.clone())).collect())?;
    }
    let read = exam.read(partition(1), Isolation::Committed, values.len())?;
    same("values", &texts(&read), &values)?;
    expect(
        read.iter().zip(read.iter().skip(1)).all(|(one, next)| one.offset < next.offset),
        "offsets do not grow",
    )?;
    exam.holds(partition(0), &[])
}

fn bytes_identical(exam: &mut Exam<'_>) -> Verdict {
    let header = |name: &'static [u8], value: &'static [u8]| Header {
        name: Bytes::from_static(name),
        value: Bytes::from_static(value),
    };
    let rows: [(&'static [u8], &'static [u8], Vec<Header>); 6] = [
        (b"", b"", vec![]),
        (b"key", b"", vec![]),
        (b"", b"value", vec![header(b"traceparent", b"00-4bf92f35-00f067aa-01")]),
        (
            b"\x00\xff\x00",
            b"\xff\xfe\x00\n\r",
            vec![header(b"a", b""), header(b"a", b"\xff"), header(b"A", b"3")],
        ),
        ("账户".as_bytes(), "微信订单号".as_bytes(), vec![header("标题".as_bytes(), "值".as_bytes())]),
        (b"k", b"{\"format\":1}", vec![header(b"z", b"first"), header(b"a", b"second")]),
    ];
    let records: Vec<OutRecord> = rows
        .into_iter()
        .map(|(key, value, headers)| OutRecord {
            to: partition(2),
            key: Bytes::from_static(key),
            value: Bytes::from_static(value),
            headers,
        })
        .collect();
    let expected: Vec<_> = records.iter().map(written).collect();
    exam.log().append(records)?;
    let read = exam.read(partition(2), Isolation::Committed, expected.len())?;
    for (index, (found, expected)) in read.iter().map(content).zip(&expected).enumerate() {
        same(&format!("record {index}"), &found, expected)?;
    }
    same("records", &read.len(), &expected.len())
}

fn large_records(exam: &mut Exam<'_>) -> Verdict {
    let large = |seed: u8| -> Vec<u8> {
        (0..600 * 1024_u32)
            .map(|n| n.to_le_bytes().iter().fold(seed, |folded, b| folded.wrapping_mul(31) ^ b))
            .collect()
    };
    let values: Vec<Vec<u8>> = (1..=4).map(large).collect();
    for value in &values {
        exam.log().append(vec![OutRecord::new(partition(3), Bytes::from(value.clone()))])?;
    }
    let mut reader = exam.reader(partition(3), Isolation::Committed)?;
    let mut limit = exam.wide();
    limit.bytes = 1024;
    let mut found = Vec::new();
    for _ in 0..values.len().saturating_mul(usize::try_from(exam.abilities.patience).unwrap_or(1)) {
        found.extend(reader.poll(limit)?.into_iter().flat_map(|fetch| fetch.records));
        if found.len() >= values.len() {
            break;
        }
    }
    found.extend(reader.poll(limit)?.into_iter().flat_map(|fetch| fetch.records));
    same("large records", &found.len(), &values.len())?;
    for (index, (record, value)) in found.iter().zip(&values).enumerate() {
        expect(record.value == *value, format!("large record {index} is not what was written"))?;
    }
    Ok(())
}

fn limits(exam: &mut Exam<'_>) -> Verdict {
    let all: Vec<TopicPartition> = (0..3).map(partition).collect();
    for at in &all {
        exam.log().append((0..20).map(|n| record(*at, format!("{at} {n:0>50}"))).collect())?;
    }
    let start: Vec<(TopicPartition, Offset)> = all.iter().map(|at| (*at, 0)).collect();
    let mut reader = exam.log().reader(&start, Isolation::Committed)?;
    let (mut got, mut empty) = (0, 0);
    while got < 60 && empty < exam.abilities.patience {
        let narrow = got % 2 == 0;
        let mut limit = exam.at_most(if narrow { 7 } else { 1000 });
        limit.bytes = if narrow { limit.bytes } else { 500 };
        let fetches = reader.poll(limit)?;
        let records: usize = fetches.iter().map(|fetch| fetch.records.len()).sum();
        let bytes: usize =
            fetches.iter().flat_map(|fetch| &fetch.records).map(|record| record.value.len()).sum();
        expect(records <= limit.records, format!("{records} records, limit {}", limit.records))?;
        expect(bytes <= limit.bytes || records == 1, format!("{bytes} bytes, limit {}", limit.bytes))?;
        empty = if records == 0 { empty + 1 } else { 0 };
        got += records;
    }
    same("records over all polls", &got, &60)
}

fn empty_partition(exam: &mut Exam<'_>) -> Verdict {
    let at = partition(5);
    let mut reader = exam.reader(at, Isolation::Committed)?;
    for isolation in [Isolation::Committed, Isolation::Uncommitted] {
        let marks = exam.log().watermarks(at, isolation)?;
        same("high watermark of an empty partition", &marks.high, &marks.low)?;
        same("position of its reader", &reader.position(at), &Some(marks.low))?;
    }
    let fetched = reader.poll(exam.wide())?;
    expect(fetched.is_empty(), format!("an empty partition gave {}", brief(&fetched)))?;
    exam.log().append(vec![record(at, "first")])?;
    let came: Vec<_> = exam.fetch(reader.as_mut(), 1)?.into_iter().flat_map(|fetch| fetch.records).collect();
    same("what came later", &texts(&came), &vec!["first".to_owned()])
}

fn start_in_the_middle(exam: &mut Exam<'_>) -> Verdict {
    let at = partition(0);
    let mut session = exam.join(&super::exam::member("posting", "a", 8))?;
    for n in 0..6 {
        exam.commit(session.as_mut(), vec![record(at, format!("{n}"))], vec![])?;
    }
    let all = exam.read(at, Isolation::Committed, 6)?;
    for (index, first) in all.iter().enumerate() {
        let mut reader = exam.log().reader(&[(at, first.offset)], Isolation::Committed)?;
        let wanted = all.get(index..).unwrap_or_default();
        let found: Vec<_> =
            exam.fetch(reader.as_mut(), wanted.len())?.into_iter().flat_map(|f| f.records).collect();
        same(&format!("records from offset {}", first.offset), &found, &wanted.to_vec())?;
    }
    Ok(())
}

fn position_at_end(exam: &mut Exam<'_>) -> Verdict {
    let at = partition(4);
    let mut session = exam.join(&super::exam::member("posting", "a", 8))?;
    for n in 0..5 {
        exam.commit(session.as_mut(), vec![record(at, format!("{n}"))], vec![])?;
        exam.log().append(vec![record(at, format!("{n} appended"))])?;
    }
    exam.commit(session.as_mut(), vec![record(at, "last")], vec![])?;
    for isolation in [Isolation::Committed, Isolation::Uncommitted] {
        let mut reader = exam.reader(at, isolation)?;
        let records: Vec<_> =
            exam.fetch(reader.as_mut(), 11)?.into_iter().flat_map(|fetch| fetch.records).collect();
        same("records", &records.len(), &11)?;
        let high = exam.log().watermarks(at, isolation)?.high;
        same("position at the end", &reader.position(at), &Some(high))?;
        let last = records.last().map_or(high, |record| record.offset);
        expect(last < high, format!("last record at {last}, watermark {high}"))?;
        exam.log().reader(&[(at, high)], isolation)?;
    }
    Ok(())
}

fn held_partition(exam: &mut Exam<'_>) -> Verdict {
    let (here, there) = (partition(0), partition(1));
    exam.log()
        .append((0..20).map(|n| record(if n % 2 == 0 { here } else { there }, format!("{n}"))).collect())?;
    let mut reader = exam.log().reader(&[(here, 0), (there, 0)], Isolation::Committed)?;
    reader.hold(here, true)?;
    let others = exam.fetch(reader.as_mut(), 10)?;
    let of_here = others.iter().filter(|fetch| fetch.from == here).count();
    same("fetches of the held partition", &of_here, &0)?;
    same("position of the held partition", &reader.position(here), &Some(0))?;
    reader.hold(here, false)?;
    let released = exam.fetch(reader.as_mut(), 10)?;
    let records: usize = released.iter().filter(|f| f.from == here).map(|f| f.records.len()).sum();
    same("records after the release", &records, &10)?;
    let unknown = reader.hold(partition(2), true).err();
    same("a partition it does not read", &unknown, &Some(LogError::UnknownPartition(partition(2))))
}

fn seek_back(exam: &mut Exam<'_>) -> Verdict {
    let (here, there) = (partition(0), partition(1));
    exam.log()
        .append((0..40).map(|n| record(if n % 2 == 0 { here } else { there }, format!("{n}"))).collect())?;
    let mut reader = exam.log().reader(&[(here, 0), (there, 0)], Isolation::Committed)?;
    let of_here = |fetches: Vec<crate::log::Fetch>| -> Vec<_> {
        fetches.into_iter().filter(|fetch| fetch.from == here).flat_map(|fetch| fetch.records).collect()
    };
    let once = of_here(exam.fetch(reader.as_mut(), 40)?);
    same("records of the first reading", &once.len(), &20)?;
    for from in [0, 7, 19] {
        let wanted = once.get(from..).unwrap_or_default().to_vec();
        let offset = wanted.first().map_or(0, |record| record.offset);
        reader.seek(here, offset)?;
        same("position after seek", &reader.position(here), &Some(offset))?;
        let again = exam.fetch(reader.as_mut(), wanted.len())?;
        let others = again.iter().filter(|fetch| fetch.from != here).count();
        same("records of the partition that stood still", &others, &0)?;
        same("records after going back", &of_here(again), &wanted)?;
    }
    Ok(())
}

fn out_of_range(exam: &mut Exam<'_>) -> Verdict {
    let at = partition(6);
    exam.log().append((0..3).map(|n| record(at, format!("{n}"))).collect())?;
    let high = exam.log().watermarks(at, Isolation::Uncommitted)?.high;
    let mut reader = exam.reader(at, Isolation::Committed)?;
    for offset in [-1, high + 1, high + 1000] {
        let expected = LogError::OutOfRange { at, offset, low: 0, high };
        let refused = exam.log().reader(&[(at, offset)], Isolation::Committed).err();
        same(&format!("reader from {offset}"), &refused, &Some(expected.clone()))?;
        same(&format!("seek to {offset}"), &reader.seek(at, offset).err(), &Some(expected))?;
    }
    same("position after refused seeks", &reader.position(at), &Some(0))?;
    same("records after refused seeks", &exam.fetch(reader.as_mut(), 3)?.len().min(1), &1)
}

fn unknown_partition(exam: &mut Exam<'_>) -> Verdict {
    let at = partition(COUNTS.internal);
    let expected = Some(LogError::UnknownPartition(at));
    same("watermarks", &exam.log().watermarks(at, Isolation::Committed).err(), &expected)?;
    same("reader", &exam.log().reader(&[(at, 0)], Isolation::Committed).err(), &expected)?;
    same(
        "append",
        &exam.log().append(vec![record(partition(0), "good"), record(at, "bad")]).err(),
        &expected,
    )?;
    let mut reader = exam.reader(partition(0), Isolation::Committed)?;
    same("seek", &reader.seek(at, 0).err(), &expected)?;
    same("position", &reader.position(at), &None)?;
    let others = reader.seek(partition(1), 0).err();
    same("seek of a partition it does not read", &others, &Some(LogError::UnknownPartition(partition(1))))
}

fn no_partition_starves(exam: &mut Exam<'_>) -> Verdict {
    let (busy, quiet) = (partition(0), [partition(1), partition(2), partition(3)]);
    let refill = |exam: &Exam<'_>, count: usize| -> Result<(), Failure> {
        exam.log().append((0..count).map(|n| record(busy, format!("{n}"))).collect())?;
        Ok(())
    };
    refill(exam, 64)?;
    for at in quiet {
        exam.log().append((0..5).map(|n| record(at, format!("{n}"))).collect())?;
    }
    let start: Vec<(TopicPartition, Offset)> = [busy].into_iter().chain(quiet).map(|at| (at, 0)).collect();
    let mut reader = exam.log().reader(&start, Isolation::Committed)?;
    let mut waiting = 15;
    for _ in 0..100 {
        let mut from_busy = 0;
        for fetch in reader.poll(exam.at_most(8))? {
            if fetch.from == busy {
                from_busy += fetch.records.len();
            } else {
                waiting -= fetch.records.len().min(waiting);
            }
        }
        refill(exam, from_busy)?;
    }
    same("records of quiet partitions still waiting after 100 polls", &waiting, &0)
}

fn truncation(exam: &mut Exam<'_>) -> Verdict {
    let at = partition(2);
    exam.log().append((0..10).map(|n| record(at, format!("{n}"))).collect())?;
    let mut reader = exam.reader(at, Isolation::Committed)?;
    exam.harness.truncate(at, 4)?;
    let marks = exam.log().watermarks(at, Isolation::Committed)?;
    same("low watermark", &marks.low, &4)?;
    let expected = Some(LogError::OutOfRange { at, offset: 0, low: 4, high: marks.high });
    match exam.fetch(reader.as_mut(), 10) {
        Err(found) => same("poll behind the low watermark", &Some(found), &expected)?,
        // A reader that fetches ahead had them before: all of them.
        Ok(fetches) => {
            let found: Vec<_> = fetches.into_iter().flat_map(|fetch| fetch.records).collect();
            same("records fetched before", &texts(&found), &(0..10).map(|n| format!("{n}")).collect())?;
        }
    }
    same("reader from there", &exam.log().reader(&[(at, 0)], Isolation::Committed).err(), &expected)?;
    reader.seek(at, 4)?;
    let found: Vec<_> = exam.fetch(reader.as_mut(), 6)?.into_iter().flat_map(|fetch| fetch.records).collect();
    let expected: Vec<String> = (4..10).map(|n| format!("{n}")).collect();
    same("records left", &texts(&found), &expected)
}
