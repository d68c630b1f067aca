//! Cases against what the sides come to: every kind as it must be, and each thing that can be wrong with it.

use super::book_keeper::DAY;
use super::clean::{QUIESCED, history};
use super::joined::case;
use crate::case_json::{self, KINDS};
use crate::cases::{Cases, Upto};
use crate::finding::{Check, Findings, Place};
use crate::{AuditLimit, Auditor};
use schemas::topics::Topic;
use schemas::wire::{
    Amount, BillEnd, BillFile, BillLine, Decimal, EventKey, FileReleased, Match, OurSide, TheirSide,
};
use serde_json::Value;
use stream::log::TopicPartition;

/// Checks that are seeded here.
pub const SEEDED: [Check; 3] = [Check::CaseContent, Check::CaseMissing, Check::CaseInvented];

const NOON_US: i64 = DAY as i64 * 86_400_000_000 + 43_200_000_000;

/// An entry: asset, gross and fee in minor units, status.
type Ours = (&'static str, i128, Option<i128>, &'static str);
/// A line: asset, gross and fee as units and decimals, status, file.
type Theirs = (&'static str, (i128, u32), Option<(i128, u32)>, &'static str, &'static str);
/// A case: its kind, which entry it names, which line.
type Is = (&'static str, Option<usize>, Option<usize>);

struct Row {
    name: &'static str,
    kind: &'static str,
    ours: Vec<Ours>,
    theirs: Vec<Theirs>,
    /// By occurrence.
    cases: Vec<Is>,
}

fn row(name: &'static str, ours: &[Ours], theirs: &[Theirs], cases: &[Is]) -> Row {
    Row { name, kind: "payment", ours: ours.to_vec(), theirs: theirs.to_vec(), cases: cases.to_vec() }
}

fn entry(row: &Row, number: usize) -> OurSide {
    let (asset, gross, fee, status) = row.ours[number];
    let matched = Match {
        provider: "wechat".into(),
        account: "1900".into(),
        order: "o".into(),
        kind: row.kind.into(),
        refund: String::new(),
        gross: Some(gross.into()),
        fee: fee.map(Amount::from),
        status: status.into(),
        asset: asset.into(),
    };
    OurSide {
        r#match: Some(matched),
        event: Some(EventKey { source: "shop".into(), id: format!("e-{number}") }),
        accounting_date: DAY,
        occurred_at_us: NOON_US,
        journal_batch: 1,
        entry_account: "users:1:wallet".into(),
        entry_seq: 1 + number as u64,
        ..OurSide::default()
    }
}

fn line(row: &Row, number: usize) -> TheirSide {
    let (asset, gross, fee, status, file) = row.theirs[number];
    let decimal = |(units, scale): (i128, u32)| Decimal { units: Some(units.into()), scale };
    let line = BillLine {
        line: 1 + number as u32,
        provider_order: "p".into(),
        order: "o".into(),
        kind: row.kind.into(),
        asset: asset.into(),
        gross: Some(decimal(gross)),
        fee: fee.map(decimal),
        status: status.into(),
        ..BillLine::default()
    };
    let (provider, account) = ("wechat".into(), "1900".into());
    TheirSide { file: file.into(), provider, account, day: DAY, line: Some(line) }
}

fn place(topic: Topic, offset: i64) -> Place {
    Place { at: TopicPartition::new(topic, 0), offset, batch: 0 }
}

/// Files that a row may have: accepted, of the same source, and set aside; those of the two days of noon UTC.
const FILES: [(&str, bool, i32); 4] =
    [("a", true, 0), ("b", true, 0), ("aside", false, 0), ("next", true, 1)];

fn release(cases: &mut Cases, name: &str, accepted: bool, day: i32, offset: i64) {
    let file = BillFile {
        id: name.into(),
        source: "s".into(),
        provider: "wechat".into(),
        account: "1900".into(),
        day: DAY + day,
        ..BillFile::default()
    };
    let end = Some(BillEnd { accepted, ..BillEnd::default() });
    cases.released(place(Topic::ReconSides, offset), &FileReleased { file: Some(file), end, staged: 0 });
}

/// Reads the sides of a row; bills of `days` days are there.
fn sides(row: &Row, days: i32) -> Cases {
    let mut cases = Cases::new(100);
    for number in 0..row.ours.len() {
        cases.our_side(place(Topic::ReconSides, 1), &entry(row, number));
    }
    for number in 0..row.theirs.len() {
        cases.their_side(place(Topic::ReconSides, 2), &line(row, number));
    }
    for (name, accepted, _) in FILES.iter().filter(|(_, _, day)| *day < days) {
        let day = FILES.iter().find(|(of, ..)| of == name).unwrap().2;
        release(&mut cases, name, *accepted, day, 3);
    }
    cases
}

fn record(row: &Row, occurrence: usize, (kind, ours, theirs): Is) -> Value {
    let kind = KINDS.iter().position(|of| *of == kind).unwrap();
    let (ours, theirs) = (ours.map(|n| entry(row, n)), theirs.map(|n| line(row, n)));
    case(kind, occurrence as u32, ours.as_ref(), theirs.as_ref(), DAY)
}

fn topic_of(record: &Value) -> Topic {
    if record["kind"] == "matched" { Topic::Matches } else { Topic::Breaks }
}

fn read(cases: &mut Cases, records: &[(Topic, Value)], found: &mut Findings) {
    for (offset, (topic, record)) in (0..).zip(records) {
        let read = case_json::read(record.to_string().as_bytes()).unwrap();
        cases.case(place(*topic, offset), &read, found);
    }
}

/// Names of what is wrong with these records at rest.
fn wrong(row: &Row, days: i32, records: &[(Topic, Value)]) -> Vec<&'static str> {
    let (mut cases, mut found) = (sides(row, days), Findings::new(9));
    read(&mut cases, records, &mut found);
    cases.report(true, &mut found);
    let results = found.results();
    results.iter().filter(|check| check.wrong > 0).map(|check| check.check).collect()
}

const PAID: Ours = ("CNY", 1_000, Some(6), "success");
const LINE: Theirs = ("CNY", (1_000, 2), Some((600, 4)), "success", "a");

fn rows() -> Vec<Row> {
    pairs().into_iter().chain(unlike_numbers()).collect()
}

/// An entry and a line, or one of them.
fn pairs() -> Vec<Row> {
    let unknown = ("CNY", 1_000, None, "");
    let refund = Row {
        kind: "refund",
        ..row(
            "a refund's fee has no sign",
            &[PAID],
            &[("CNY", (1_000, 2), Some((-6, 2)), "success", "a")],
            &[("matched", Some(0), Some(0))],
        )
    };
    vec![
        row("matched", &[PAID], &[LINE], &[("matched", Some(0), Some(0))]),
        row(
            "with other zeros",
            &[PAID],
            &[("CNY", (10, 0), Some((6, 2)), "success", "a")],
            &[("matched", Some(0), Some(0))],
        ),
        row(
            "not known is not compared",
            &[unknown],
            &[("CNY", (1_000, 2), Some((9, 2)), "failed", "a")],
            &[("matched", Some(0), Some(0))],
        ),
        refund,
        row("currency", &[PAID], &[("USD", (7, 0), None, "failed", "a")], &[("currency", Some(0), Some(0))]),
        row(
            "amount",
            &[PAID],
            &[("CNY", (10_001, 3), Some((7, 2)), "failed", "a")],
            &[("amount", Some(0), Some(0))],
        ),
        row(
            "fee",
            &[PAID],
            &[("CNY", (1_000, 2), Some((7, 2)), "failed", "a")],
            &[("fee", Some(0), Some(0))],
        ),
        row("status", &[PAID], &[("CNY", (1_000, 2), None, "failed", "a")], &[("status", Some(0), Some(0))]),
        row("ours only", &[PAID], &[], &[("ours_only", Some(0), None)]),
        row("theirs only", &[], &[LINE], &[("theirs_only", None, Some(0))]),
        row(
            "a file that is set aside",
            &[PAID],
            &[("CNY", (1_000, 2), None, "success", "aside")],
            &[("ours_only", Some(0), None)],
        ),
    ]
}

/// Several of one side or of both.
fn unlike_numbers() -> Vec<Row> {
    let other = ("CNY", 2_000, Some(6), "success");
    vec![
        row(
            "one more of ours",
            &[other, PAID],
            &[LINE],
            &[("matched", Some(1), Some(0)), ("duplicate", Some(0), None)],
        ),
        row(
            "one more of theirs",
            &[PAID],
            &[("CNY", (3_000, 2), None, "success", "a"), LINE],
            &[("matched", Some(0), Some(1)), ("duplicate", None, Some(0))],
        ),
        row(
            "the same line in two files",
            &[PAID],
            &[LINE, ("CNY", (1_000, 2), Some((6, 2)), "success", "b")],
            &[("matched", Some(0), Some(0))],
        ),
        row(
            "twice in one file",
            &[PAID],
            &[LINE, LINE],
            &[("matched", Some(0), Some(0)), ("duplicate", None, Some(1))],
        ),
        row(
            "two of each",
            &[PAID, other],
            &[("CNY", (2_000, 2), None, "success", "a"), LINE],
            &[("matched", Some(0), Some(1)), ("matched", Some(1), Some(0))],
        ),
    ]
}

fn right(row: &Row) -> Vec<(Topic, Value)> {
    let records = row.cases.iter().enumerate().map(|(occurrence, is)| record(row, occurrence, *is));
    records.map(|record| (topic_of(&record), record)).collect()
}

#[test]
fn every_kind_is_found_right() {
    for row in rows() {
        assert_eq!(wrong(&row, 2, &right(&row)), Vec::<&str>::new(), "{}", row.name);
    }
}

#[test]
fn a_case_of_another_kind_is_found() {
    let mut planted = 0;
    for row in rows() {
        for place in 0..row.cases.len() {
            let is = row.cases[place];
            for kind in KINDS.into_iter().filter(|kind| *kind != is.0) {
                let mut records = right(&row);
                let record = record(&row, place, (kind, is.1, is.2));
                records[place] = (topic_of(&record), record);
                assert_eq!(wrong(&row, 2, &records), ["cases.content"], "{}: {kind}", row.name);
                planted += 1;
            }
        }
    }
    assert!(planted > 100, "{planted}");
}

#[test]
fn a_case_that_is_not_there_or_has_ended_is_found() {
    for row in rows() {
        for place in 0..row.cases.len() {
            let mut records = right(&row);
            let (topic, ended) = records[place].clone();
            records[place].1["state"] = if topic == Topic::Matches { "retracted" } else { "resolved" }.into();
            assert_eq!(wrong(&row, 2, &records), ["cases.missing"], "{}", row.name);
            // An older record that comes again changes nothing.
            records[place].1["revision"] = 2.into();
            records.push((topic, ended));
            assert_eq!(wrong(&row, 2, &records), ["cases.missing"], "{}", row.name);
            let again = records.pop().unwrap();
            records.remove(place);
            assert_eq!(wrong(&row, 2, &records), ["cases.missing"], "{}", row.name);
            records.push(again);
            assert_eq!(wrong(&row, 2, &records), Vec::<&str>::new(), "{}", row.name);
        }
    }
}

#[test]
fn a_case_without_a_side_is_found() {
    for row in rows() {
        let mut records = right(&row);
        let more = record(&row, row.cases.len(), row.cases[0]);
        records.push((topic_of(&more), more));
        assert_eq!(wrong(&row, 2, &records), ["cases.invented"], "{}", row.name);
        // Of sides that never came.
        let none = Row { ours: Vec::new(), theirs: Vec::new(), ..row };
        let of_row = rows().into_iter().find(|of| of.name == none.name).unwrap();
        assert_eq!(wrong(&none, 0, &right(&of_row)), ["cases.invented"], "{}", none.name);
    }
}

#[test]
fn a_case_on_the_other_topic_or_on_both_is_found() {
    for row in rows() {
        let records = right(&row);
        let mut moved = records.clone();
        let other = if moved[0].0 == Topic::Matches { Topic::Breaks } else { Topic::Matches };
        moved[0].0 = other;
        assert_eq!(wrong(&row, 2, &moved), ["cases.content"], "{}", row.name);
        moved.push(records[0].clone());
        assert_eq!(wrong(&row, 2, &moved), ["cases.content"], "{}", row.name);
    }
}

#[test]
fn a_case_of_other_sides_is_found() {
    let fields = [
        "/ours/event_id",
        "/ours/entry_seq",
        "/ours/amount_minor",
        "/ours/status",
        "/theirs/amount",
        "/theirs/fee",
        "/theirs/time",
        "/day",
    ];
    let mut planted = 0;
    for row in rows() {
        for field in fields {
            let mut records = right(&row);
            let Some(value) = records[0].1.pointer_mut(field).filter(|value| !value.is_null()) else {
                continue;
            };
            *value = match field {
                "/ours/entry_seq" => 77.into(),
                "/ours/amount_minor" => "1234".into(),
                "/theirs/amount" | "/theirs/fee" => "12.34".into(),
                "/day" => "2001-01-01".into(),
                _ => "another".into(),
            };
            if field == "/ours/amount_minor" {
                records[0].1["ours"]["amount"] = "12.34".into();
            }
            assert_eq!(wrong(&row, 2, &records), ["cases.content"], "{}: {field}", row.name);
            planted += 1;
        }
        for gone in ["ours", "theirs"] {
            let mut records = right(&row);
            if !records[0].1[gone].is_null() {
                records[0].1[gone] = Value::Null;
                assert_eq!(wrong(&row, 2, &records), ["cases.content"], "{} without {gone}", row.name);
            }
        }
    }
    assert!(planted > 60, "{planted}");
}

/// Two cases that name the same entry leave another one out.
#[test]
fn an_entry_that_two_cases_name_is_found() {
    let row = row(
        "twice",
        &[PAID, PAID],
        &[LINE, LINE],
        &[("matched", Some(0), Some(0)), ("matched", Some(0), Some(1))],
    );
    assert_eq!(wrong(&row, 2, &right(&row)), ["cases.content"]);
    let cases = vec![("matched", Some(1), Some(1)), ("matched", Some(0), Some(0))];
    let row = Row { cases, ..row };
    assert_eq!(wrong(&row, 2, &right(&row)), Vec::<&str>::new(), "which of two equal ones says nothing");
}

/// Noon UTC lies on two days by the clocks of the world: with one of their bills it may wait or not, by a setting.
#[test]
fn an_entry_waits_for_the_bill_of_its_day() {
    let row = row("waits", &[PAID], &[], &[("ours_only", Some(0), None)]);
    let published = right(&row);
    assert_eq!(wrong(&row, 0, &[]), Vec::<&str>::new());
    assert_eq!(wrong(&row, 0, &published), ["cases.content"]);
    assert_eq!(wrong(&row, 1, &[]), Vec::<&str>::new());
    assert_eq!(wrong(&row, 1, &published), Vec::<&str>::new());
    assert_eq!(wrong(&row, 2, &[]), ["cases.missing"]);
}

/// A fee of half a minor unit is what the provider's rounding makes of it; one of more is rounded alike by two of three.
#[test]
fn a_fee_that_the_rounding_decides_is_right_either_way() {
    let line = ("CNY", (1_000, 2), Some((65, 3)), "success", "a");
    for (ours, kinds) in [(7, vec!["matched", "fee"]), (6, vec!["matched", "fee"]), (5, vec!["fee"])] {
        for kind in ["matched", "fee"] {
            let row =
                row("half", &[("CNY", 1_000, Some(ours), "success")], &[line], &[(kind, Some(0), Some(0))]);
            assert_eq!(wrong(&row, 2, &right(&row)).is_empty(), kinds.contains(&kind), "{ours} {kind}");
        }
    }
}

#[test]
fn what_comes_beyond_a_cut_waits_for_the_next_one() {
    let row = row("fee", &[PAID], &[LINE], &[("fee", Some(0), Some(0))]);
    let upto = |sides: i64, cases: [i64; 2]| Upto::from([(0, (sides, cases))]);
    for (cut, judged) in [
        (upto(3, [9, 9]), false),
        (upto(4, [9, 0]), false),
        (Upto::new(), false),
        (upto(4, [0, 1]), true),
        (upto(9, [9, 9]), true),
    ] {
        let (mut cases, mut found) = (sides(&row, 2), Findings::new(9));
        read(&mut cases, &right(&row), &mut found);
        cases.judge(&cut, &mut found);
        assert_eq!((found.wrong_total() > 0, cases.wait()), (judged, !judged), "{cut:?}");
        cases.report(false, &mut found);
        let check = found.results().into_iter().find(|check| check.check == "cases.content").unwrap();
        assert_eq!(check.open, u64::from(!judged), "{cut:?}");
        // What was judged is judged again when something comes to it.
        let before = found.wrong_total();
        release(&mut cases, "a", true, 0, 20);
        cases.case(
            place(Topic::Breaks, 20),
            &case_json::read(right(&row)[0].1.to_string().as_bytes()).unwrap(),
            &mut found,
        );
        cases.judge(&upto(99, [99, 99]), &mut found);
        assert_eq!(found.wrong_total(), before + 1);
    }
}

#[test]
fn keys_are_kept_for_so_many_days_and_older_ones_are_not_judged() {
    let (mut cases, mut found) = (Cases::new(10), Findings::new(9));
    let one = row("matched", &[PAID], &[LINE], &[("matched", Some(0), Some(0))]);
    for day in 0..100 {
        let mut side = entry(&one, 0);
        side.accounting_date = DAY + day;
        side.r#match.as_mut().unwrap().order = format!("o-{day}");
        cases.our_side(place(Topic::ReconSides, 1), &side);
        assert!(cases.kept().0 <= 10, "{} keys", cases.kept().0);
    }
    // A line of the first order comes late: its entry is known no more.
    let mut late = line(&one, 0);
    (late.day, late.file) = (DAY + 99, "late".into());
    let mut first = entry(&one, 0);
    (first.r#match.as_mut().unwrap().order, late.line.as_mut().unwrap().order) = ("o-0".into(), "o-0".into());
    cases.their_side(place(Topic::ReconSides, 2), &late);
    // One of a new order is in no case.
    let mut alone = late.clone();
    alone.line.as_mut().unwrap().order = "new".into();
    cases.their_side(place(Topic::ReconSides, 7), &alone);
    release(&mut cases, "late", true, 99, 3);
    let published = case(0, 0, Some(&first), Some(&late), DAY).to_string();
    cases.case(place(Topic::Matches, 0), &case_json::read(published.as_bytes()).unwrap(), &mut found);
    cases.report(true, &mut found);
    let results = found.results();
    let uncovered: u64 = results.iter().map(|check| check.uncovered).sum();
    assert!(uncovered > 80, "{uncovered} {results:?}");
    let first = found.first().unwrap();
    assert_eq!((found.wrong_total(), first.check.as_str()), (1, "cases.missing"), "{first}");
    assert_eq!(first.place, "recon.sides/0@7");
}

/// What `docs/operating.md` says that a key takes, with 48 bytes of its own in a table that is half full or more.
#[test]
fn a_key_takes_so_many_bytes() {
    let row = row("matched", &[PAID], &[LINE], &[("matched", Some(0), Some(0))]);
    let (mut cases, mut found) = (sides(&row, 2), Findings::new(9));
    read(&mut cases, &right(&row), &mut found);
    cases.judge(&Upto::from([(0, (9, [9, 9]))]), &mut found);
    let (keys, bytes) = cases.kept();
    assert!(keys == 1 && (90..=130).contains(&bytes), "{keys} keys, {bytes} bytes");
}

/// In a log that grows on, a case is wrong once the join has read what it comes from, and not before.
#[test]
fn a_follower_finds_a_wrong_case_once_the_join_has_read_its_sides() {
    let mut world = history();
    let record = world.plain.get_mut(&TopicPartition::new(Topic::Matches, 0)).unwrap().first_mut().unwrap();
    let text = String::from_utf8(record.value.to_vec()).unwrap();
    record.value = text.replace(r#""kind":"matched""#, r#""kind":"status""#).into();
    let log = world.log();
    let limit = AuditLimit { quiesced: false, ..QUIESCED };
    let mut auditor = Auditor::new(&log, log.counts, limit).unwrap();
    while !auditor.step().unwrap().at_end {}
    assert_eq!(auditor.look().wrong, 0, "{}", auditor.report());
    for q in 0..2 {
        let at = TopicPartition::new(Topic::ReconSides, q);
        log.committed.lock().unwrap().insert(at, 99);
    }
    assert!(auditor.step().unwrap().at_end);
    let look = auditor.look();
    assert_eq!(look.wrong, 1, "{}", auditor.report());
    let first = look.first.unwrap();
    assert_eq!((first.check.as_str(), first.place.as_str()), ("cases.content", "matches/0@0"), "{first}");
    assert!(first.what.contains("is status, its sides come to matched"), "{first}");
    assert!(auditor.report().check(Check::CaseContent).unwrap().checked >= 4, "the others are judged too");
}
