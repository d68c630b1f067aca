//! Cases about commits: whole, with their positions, in order, durable.

use super::exam::{
    COUNTS, Exam, TOPIC, Verdict, aborted, content, expect, member, partition, position, record, same, texts,
    written,
};
use super::{Case, Need};
use crate::log::{Header, Isolation, OutRecord, Position, TopicPartition};
use bytes::Bytes;
use schemas::topics::Topic;
use std::time::Duration;

pub(super) const CASES: &[Case] = &[
    Case::new(
        "commit_is_atomic",
        "One commit writes to several topics and partitions, and everything of it is there.",
        Need::Nothing,
        commit_is_atomic,
    ),
    Case::new(
        "positions_come_back",
        "Positions commit with records; offset and metadata come back equal, up to 1 KiB, any text.",
        Need::Nothing,
        positions_come_back,
    ),
    Case::new(
        "positions_only",
        "A transaction without records commits its positions.",
        Need::Nothing,
        positions_only,
    ),
    Case::new(
        "positions_of_unknown_group",
        "A group that never committed has no positions, nor has a partition it never committed.",
        Need::Nothing,
        positions_of_unknown_group,
    ),
    Case::new(
        "groups_are_apart",
        "Two groups hold different positions of the same partition.",
        Need::Nothing,
        groups_are_apart,
    ),
    Case::new(
        "refused_commit_leaves_nothing",
        "A commit with a record for an unknown partition is aborted whole; the session goes on.",
        Need::Nothing,
        refused_commit_leaves_nothing,
    ),
    Case::new(
        "order_in_a_commit",
        "Records of one commit keep their order on each partition, also when they alternate.",
        Need::Nothing,
        order_in_a_commit,
    ),
    Case::new(
        "many_partitions",
        "One commit reaches every partition of every topic.",
        Need::Nothing,
        many_partitions,
    ),
    Case::new(
        "committed_bytes_identical",
        "Keys, values, headers and 600 KB values come back byte for byte from a commit too.",
        Need::Nothing,
        committed_bytes_identical,
    ),
    Case::new(
        "durable_sequence",
        "Sequences of commits and appends grow, and waiting for one ends with it durable.",
        Need::Nothing,
        durable_sequence,
    ),
];

fn commit_is_atomic(exam: &mut Exam<'_>) -> Verdict {
    let places = [
        partition(0),
        partition(7),
        TopicPartition::new(Topic::Journal, 3),
        TopicPartition::new(Topic::Events1, 2),
        TopicPartition::new(Topic::Flow, 0),
    ];
    let mut session = exam.join(&member("posting", "a", 8))?;
    for at in places {
        exam.holds(at, &[])?;
    }
    let records = places.iter().flat_map(|at| [record(*at, "debit"), record(*at, "credit")]).collect();
    let input = TopicPartition::new(Topic::Credits, 1);
    exam.commit(session.as_mut(), records, vec![(input, position(0, "1:1"))])?;
    for at in places {
        exam.holds(at, &["debit", "credit"])?;
    }
    same("position", &exam.log().committed("posting", &[input])?, &vec![Some(position(0, "1:1"))])
}

fn positions_come_back(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    let metadata = [
        String::new(),
        "7:42:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08:posting.a".to_owned(),
        "账期 \u{1F4D2} \t\"\\ \n".to_owned(),
        "m".repeat(1024),
    ];
    let positions: Vec<(TopicPartition, Position)> = (0..)
        .zip(&metadata)
        .map(|(number, text)| (partition(number), position(1000 + i64::from(number), text)))
        .collect();
    exam.commit(session.as_mut(), vec![record(partition(0), "with positions")], positions.clone())?;
    let backwards: Vec<TopicPartition> = positions.iter().rev().map(|(at, _)| *at).collect();
    let expected: Vec<Option<Position>> = positions.iter().rev().map(|(_, p)| Some(p.clone())).collect();
    same("positions, in the order asked", &exam.log().committed("posting", &backwards)?, &expected)?;
    exam.commit(session.as_mut(), vec![], vec![(partition(0), position(7, "moved back"))])?;
    let found = exam.log().committed("posting", &[partition(0), partition(1)])?;
    let one = positions.get(1).map(|(_, position)| position.clone());
    same("after one has moved", &found, &vec![Some(position(7, "moved back")), one])
}

fn positions_only(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("settlement", "a", 8))?;
    let before = exam.log().watermarks(partition(0), Isolation::Uncommitted)?;
    for n in 0..3 {
        let at = vec![(partition(0), position(0, &format!("epoch {n}")))];
        exam.commit(session.as_mut(), vec![], at)?;
        let expected = vec![Some(position(0, &format!("epoch {n}")))];
        same("position", &exam.log().committed("settlement", &[partition(0)])?, &expected)?;
    }
    same("watermarks", &exam.log().watermarks(partition(0), Isolation::Uncommitted)?, &before)
}

fn positions_of_unknown_group(exam: &mut Exam<'_>) -> Verdict {
    let asked = [partition(0), partition(1)];
    same("unknown group", &exam.log().committed("nobody", &asked)?, &vec![None, None])?;
    let mut session = exam.join(&member("posting", "a", 8))?;
    same("group before its first commit", &exam.log().committed("posting", &asked)?, &vec![None, None])?;
    exam.commit(session.as_mut(), vec![], vec![(partition(1), position(0, "first"))])?;
    let expected = vec![None, Some(position(0, "first"))];
    same("partition never committed", &exam.log().committed("posting", &asked)?, &expected)
}

fn groups_are_apart(exam: &mut Exam<'_>) -> Verdict {
    let groups = ["settlement", "reconcile"];
    for (offset, group) in (5..).zip(groups) {
        let mut session = exam.join(&member(group, "a", 8))?;
        exam.commit(session.as_mut(), vec![], vec![(partition(0), position(offset, group))])?;
    }
    for (offset, group) in (5..).zip(groups) {
        let expected = vec![Some(position(offset, group))];
        same(group, &exam.log().committed(group, &[partition(0)])?, &expected)?;
    }
    Ok(())
}

fn refused_commit_leaves_nothing(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    let unknown = partition(COUNTS.internal);
    let records =
        vec![record(partition(0), "before"), record(unknown, "nowhere"), record(partition(1), "after")];
    let outcome = exam.attempt(session.as_mut(), records, vec![(partition(2), position(9, "refused"))])?;
    aborted("commit to an unknown partition", &outcome)?;
    exam.holds(partition(0), &[])?;
    exam.holds(partition(1), &[])?;
    same("position", &exam.log().committed("posting", &[partition(2)])?, &vec![None])?;
    exam.commit(session.as_mut(), vec![record(partition(0), "the session goes on")], vec![])?;
    exam.holds(partition(0), &["the session goes on"])
}

fn order_in_a_commit(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    for commit in 0..4 {
        let records = (0..999).map(|n| record(partition(n % 3), format!("{commit} {n:>4}"))).collect();
        exam.commit(session.as_mut(), records, vec![])?;
    }
    for number in 0..3 {
        let found = texts(&exam.read(partition(number), Isolation::Committed, 1332)?);
        let of_here = |commit| (0..999).filter(|n| n % 3 == number).map(move |n| format!("{commit} {n:>4}"));
        let expected: Vec<String> = (0..4).flat_map(of_here).collect();
        same("order", &found, &expected)?;
    }
    Ok(())
}

fn many_partitions(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    let all: Vec<TopicPartition> = Topic::ALL
        .iter()
        .flat_map(|topic| (0..topic.partition_count(COUNTS)).map(|n| TopicPartition::new(*topic, n)))
        .collect();
    // Compacted topics take no record without a key.
    let records = all.iter().map(|at| record(*at, at.to_string()).keyed("key")).collect();
    let positions = all.iter().map(|at| (*at, position(0, &at.to_string()))).collect();
    exam.commit(session.as_mut(), records, positions)?;
    for at in &all {
        exam.holds(*at, &[&at.to_string()])?;
    }
    let expected: Vec<_> = all.iter().map(|at| Some(position(0, &at.to_string()))).collect();
    same("positions", &exam.log().committed("posting", &all)?, &expected)
}

fn committed_bytes_identical(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    let at = TopicPartition::new(TOPIC, 6);
    let headers = vec![Header::text("edge", ""), Header::text("edge", "2"), Header::text("", "no name")];
    let large = Bytes::from(vec![0xA5; 600 * 1024]);
    let records = vec![
        OutRecord { to: at, key: Bytes::new(), value: Bytes::new(), headers: vec![] },
        OutRecord {
            to: at,
            key: Bytes::from_static(b"\xff\x00"),
            value: large.clone(),
            headers: headers.clone(),
        },
        OutRecord { to: at, key: large.slice(..1000), value: Bytes::from_static(b"\0"), headers },
    ];
    let expected: Vec<_> = records.iter().map(written).collect();
    exam.commit(session.as_mut(), records, vec![])?;
    let found: Vec<_> = exam.read(at, Isolation::Committed, 3)?.iter().map(content).collect();
    expect(found == expected, "records of a commit are not what was written")
}

fn durable_sequence(exam: &mut Exam<'_>) -> Verdict {
    let mut session = exam.join(&member("posting", "a", 8))?;
    let mut last = 0;
    for n in 0..20 {
        let sequence = if n % 2 == 0 {
            exam.commit(session.as_mut(), vec![record(partition(0), "c")], vec![])?
        } else {
            exam.log().append(vec![record(partition(0), "a")])?
        };
        expect(sequence > last, format!("sequence {sequence} after {last}"))?;
        last = sequence;
    }
    exam.log().wait_durable(last, Duration::from_secs(10))?;
    let durable = exam.log().durable();
    expect(durable >= last, format!("durable up to {durable} after waiting for {last}"))
}
