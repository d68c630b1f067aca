//! The join in ledger words: ours and theirs under one key, and the cases they make.

use crate::flow::{Flow, MadeBill, PARTITIONS, ours_of, theirs_of};
use reconcile::join::{CaseFilter, Gate, Summary};
use reconcile::match_key::{MatchKey, partition_of_key};
use schemas::batch::{BodyBuilder, ChainHead, Sealed};
use schemas::dates::Day;
use schemas::recon_json::{Case, CaseKind, CaseState};
use schemas::topics::Topic;
use schemas::wire::side_item::Item;
use schemas::wire::{BatchHeader, BillEnd, FileReleased, OurSide, SideItem, TheirSide};
use stream::log::{OutRecord, TopicPartition};

const DAY: &str = "2019-02-19";
const GOOD: &str = "CNY 12.50 0.08 success";
const LINE: &str = "CNY 12.50 0.07500 success";

/// Name, ours, theirs, cases.
type Row = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    ("both agree",             &[GOOD], &[LINE], &["matched"]),
    ("fee rounds down",        &["CNY 12.50 0.07 success"], &["CNY 12.50 0.07499 success"], &["matched"]),
    ("fee of a refund",        &["CNY 12.50 -0.08 success"], &["CNY 12.50 -0.07500 success"], &["matched"]),
    ("we know no fee",         &["CNY 12.50 - success"], &[LINE], &["matched"]),
    ("we know no status",      &["CNY 12.50 0.08 -"], &["CNY 12.50 0.07500 processing"], &["matched"]),
    ("trailing zeros",         &[GOOD], &["CNY 12.5000 0.08 success"], &["matched"]),
    ("finer than a fen",       &[GOOD], &["CNY 12.501 0.08 success"], &["amount"]),
    ("amount",                 &[GOOD], &["CNY 12.51 0.07500 success"], &["amount"]),
    ("fee",                    &["CNY 12.50 0.07 success"], &[LINE], &["fee"]),
    ("currency",               &[GOOD], &["USD 12.50 0.07500 success"], &["currency"]),
    ("status",                 &[GOOD], &["CNY 12.50 0.07500 processing"], &["status"]),
    ("currency before amount", &[GOOD], &["USD 1.00 0.00 failed"], &["currency"]),
    ("amount before fee",      &[GOOD], &["CNY 1.00 0.00 failed"], &["amount"]),
    ("fee before status",      &[GOOD], &["CNY 12.50 0.00 failed"], &["fee"]),
    ("missing on theirs",      &[GOOD], &[], &["ours_only"]),
    ("missing on ours",        &[], &[LINE], &["theirs_only"]),
    ("twice on theirs",        &[GOOD], &[LINE, LINE], &["matched", "duplicate"]),
    ("twice on ours",          &[GOOD, GOOD], &[LINE], &["matched", "duplicate"]),
    ("twice on both",          &[GOOD, GOOD], &[LINE, LINE], &["matched", "matched"]),
    ("two, none on theirs",    &[GOOD, GOOD], &[], &["ours_only", "ours_only"]),
    ("two, none on ours",      &[], &[LINE, LINE], &["theirs_only", "theirs_only"]),
    ("thrice on theirs",       &[GOOD], &[LINE, LINE, LINE], &["matched", "duplicate", "duplicate"]),
    ("pairs by content",       &["CNY 2.00 0.02 success", "CNY 1.00 0.01 success"],
                               &["CNY 1.00 0.01 success", "CNY 2.00 0.02 success"], &["matched", "matched"]),
];

fn flow_of(ours: &[&str], theirs: &[&str], accepted: bool) -> Flow {
    let mut flow = Flow::new();
    for (number, text) in ours.iter().enumerate() {
        flow.book(number as u32 % PARTITIONS, &ours_of(text, "o", &format!("e-{number}")));
    }
    let lines = theirs.iter().enumerate().map(|(at, text)| theirs_of(text, "o", at as u32 + 2)).collect();
    let bill = MadeBill { name: "f".into(), day: DAY, accepted, lines };
    bill.chunks(2).into_iter().for_each(|chunk| flow.topics.append(chunk));
    flow.run(4);
    flow
}

fn kinds(flow: &Flow) -> Vec<String> {
    flow.in_force().iter().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn cases_of_one_key() {
    for (name, ours, theirs, expected) in TABLE {
        let mut flow = flow_of(ours, theirs, true);
        assert_eq!(kinds(&flow), *expected, "{name}");
        flow.join.assert_restores(&flow.topics);
        flow.rekey.assert_restores(&flow.topics);
    }
}

#[test]
fn nothing_is_said_before_the_bill_passes_its_gate() {
    for (name, ours, theirs, _) in TABLE {
        let flow = flow_of(ours, theirs, false);
        assert!(flow.in_force().is_empty(), "{name}");
        let summary = flow.join.slots.iter().fold(Summary::default(), |sum, slot| sum.with(&slot.summary()));
        assert_eq!(summary.waiting, ours.len() as u64, "{name}");
    }
}

fn only_break(flow: &Flow) -> Case {
    let breaks = flow.published(Topic::Breaks);
    assert_eq!(breaks.len(), 1);
    breaks.into_values().next().unwrap()
}

#[test]
fn every_difference_is_listed_and_the_residue_shown() {
    let flow = flow_of(&[GOOD], &["USD 12.51 0.06400 processing"], true);
    let case = only_break(&flow);
    let listed: Vec<String> =
        case.differences.iter().map(|d| format!("{}: {} / {}", d.field.name(), d.ours, d.theirs)).collect();
    assert_eq!(
        listed,
        [
            "currency: CNY / USD",
            "amount: 12.50 / 12.51",
            "fee: 0.08 / 0.06400",
            "status: success / processing"
        ]
    );
    assert_eq!(case.residue.as_deref(), Some("0.00400"));
    let (ours, theirs) = (case.ours.unwrap(), case.theirs.unwrap());
    assert_eq!((ours.amount.as_str(), ours.amount_minor.as_str()), ("12.50", "1250"));
    assert_eq!((ours.fee.as_deref(), ours.fee_minor.as_deref()), (Some("0.08"), Some("8")));
    assert_eq!((ours.event_source.as_str(), ours.event_id.as_str()), ("/shop", "e-0"));
    assert_eq!((ours.entry_account.as_str(), ours.entry_seq, ours.journal_batch), ("a:1", 1, 1));
    assert_eq!((theirs.file.as_str(), theirs.line, theirs.amount.as_str()), ("f", 2, "12.51"));
    assert_eq!((theirs.amount_minor, theirs.fee_minor), (None, None), "USD is no asset of ours");
    let matched = flow_of(&[GOOD], &[LINE], true).published(Topic::Matches).into_values().next().unwrap();
    assert_eq!(matched.residue.as_deref(), Some("-0.00500"));
    let theirs = matched.theirs.unwrap();
    assert_eq!((theirs.amount_minor.as_deref(), theirs.fee_minor.as_deref()), (Some("1250"), Some("8")));
}

#[test]
fn the_bill_of_exactly_that_day_makes_an_entry_ours_only() {
    // Noon of the 19th, the last and the first instant of the days around, in Shanghai.
    let rows = [
        ("2019-02-19T04:00:00Z", "2019-02-19", true),
        ("2019-02-19T15:59:59Z", "2019-02-19", true),
        ("2019-02-18T16:00:00Z", "2019-02-19", true),
        ("2019-02-19T16:00:00Z", "2019-02-19", false),
        ("2019-02-18T15:59:59Z", "2019-02-19", false),
        ("2019-02-19T04:00:00Z", "2019-02-20", false),
    ];
    for (occurred_at, day, judged) in rows {
        let mut flow = Flow::new();
        let mut ours = ours_of(GOOD, "o", "e");
        ours.occurred_at = occurred_at.into();
        flow.book(0, &ours);
        let bill = MadeBill { name: "f".into(), day, accepted: true, lines: Vec::new() };
        bill.chunks(1).into_iter().for_each(|chunk| flow.topics.append(chunk));
        flow.run(1);
        assert_eq!(!flow.in_force().is_empty(), judged, "{occurred_at} against {day}");
    }
}

fn bill(name: &str, day: &'static str, lines: &[&str]) -> MadeBill {
    let line = |(at, text): (usize, &&str)| theirs_of(text, "o", at as u32 + 2);
    MadeBill { name: name.into(), day, accepted: true, lines: lines.iter().enumerate().map(line).collect() }
}

fn deliver(flow: &mut Flow, bill: &MadeBill) {
    bill.chunks(10).into_iter().for_each(|chunk| flow.topics.append(chunk));
    flow.run(1);
}

#[test]
fn a_late_counterpart_turns_a_break_into_a_match() {
    let mut theirs_first = Flow::new();
    deliver(&mut theirs_first, &bill("f", DAY, &[LINE]));
    assert_eq!(kinds(&theirs_first), ["theirs_only"]);
    theirs_first.book(1, &ours_of(GOOD, "o", "e"));
    theirs_first.run(1);

    let mut ours_first = Flow::new();
    ours_first.book(1, &ours_of(GOOD, "o", "e"));
    deliver(&mut ours_first, &bill("empty", DAY, &[]));
    assert_eq!(kinds(&ours_first), ["ours_only"]);
    deliver(&mut ours_first, &bill("f", "2019-02-20", &[LINE]));

    let mut ids = Vec::new();
    for (flow, kind) in [(&theirs_first, CaseKind::TheirsOnly), (&ours_first, CaseKind::OursOnly)] {
        assert_eq!(kinds(flow), ["matched"]);
        let ended = only_break(flow);
        assert_eq!((ended.kind, ended.state, ended.revision), (kind, CaseState::Resolved, 2));
        let matches = flow.published(Topic::Matches);
        let matched = matches.get(&ended.case_id).unwrap();
        assert_eq!((matched.state, matched.revision), (CaseState::Open, 2));
        ids.push(ended.case_id);
    }
    assert_eq!(ids[0], ids[1], "the case is the same in either order");
}

#[test]
fn a_match_is_retracted_when_more_content_comes_before_it() {
    let mut flow = flow_of(&[GOOD], &[LINE], true);
    assert_eq!(kinds(&flow), ["matched"]);
    // Sorts before LINE, and so takes its place.
    deliver(&mut flow, &bill("g", "2019-02-20", &["CNY 1.00 0.01 success"]));
    assert_eq!(kinds(&flow), ["amount", "duplicate"]);
    let matched = flow.published(Topic::Matches).into_values().next().unwrap();
    assert_eq!((matched.state, matched.revision), (CaseState::Retracted, 2));
    flow.join.assert_restores(&flow.topics);
}

#[test]
fn a_second_file_of_the_day_continues_the_first() {
    let mut flow = Flow::new();
    flow.book(0, &ours_of(GOOD, "o", "e"));
    deliver(&mut flow, &bill("f", DAY, &[LINE]));
    let before = flow.published(Topic::Matches);
    // The same line again: nothing changes. Twice in one file: the second is a duplicate.
    deliver(&mut flow, &bill("b", DAY, &[LINE]));
    assert_eq!(flow.published(Topic::Matches), before);
    deliver(&mut flow, &bill("g", DAY, &[LINE, LINE]));
    assert_eq!(kinds(&flow), ["matched", "duplicate"]);
    // The same line in the bill of another day is another line.
    deliver(&mut flow, &bill("h", "2019-02-20", &[LINE]));
    assert_eq!(kinds(&flow), ["matched", "duplicate", "duplicate"]);
    flow.join.assert_restores(&flow.topics);
}

#[test]
fn what_changes_nothing_publishes_nothing() {
    let mut flow = flow_of(&[GOOD], &[LINE], true);
    let count = |flow: &Flow| -> usize {
        let topics = [Topic::Matches, Topic::Breaks];
        let of = |topic| (0..PARTITIONS).map(|p| flow.topics.read(topic, p).len()).sum::<usize>();
        topics.into_iter().map(of).sum()
    };
    assert_eq!(count(&flow), 1);
    deliver(&mut flow, &bill("other", "2019-02-25", &[]));
    let rejected = MadeBill { accepted: false, ..bill("rejected", DAY, &["CNY 9.99 0.01 success"]) };
    deliver(&mut flow, &rejected);
    assert_eq!(count(&flow), 1);
    assert_eq!(kinds(&flow), ["matched"]);
}

#[test]
fn queries() {
    let mut flow = Flow::new();
    for (order, text) in [("a", GOOD), ("b", "CNY 1.00 - success"), ("c", "CNY 3.00 - success")] {
        flow.book(0, &ours_of(text, order, order));
    }
    let lines = vec![theirs_of(LINE, "a", 2), theirs_of(LINE, "b", 3), theirs_of(LINE, "d", 4)];
    deliver(&mut flow, &MadeBill { name: "f".into(), day: DAY, accepted: true, lines });
    deliver(&mut flow, &MadeBill { accepted: false, ..bill("r", DAY, &[LINE]) });
    let open =
        MadeBill { name: "open".into(), day: DAY, accepted: true, lines: vec![theirs_of(LINE, "z", 2)] };
    let first_chunk = open.chunks(1).remove(0);
    flow.topics.append(first_chunk);
    flow.run(1);

    let ask = |filter: CaseFilter| -> Vec<String> {
        let join = &flow.join.processor;
        let mut cases: Vec<Case> =
            flow.join.slots.iter().flat_map(|slot| join.breaks(slot, &filter)).collect();
        cases.sort_by(|a, b| (a.kind, &a.order).cmp(&(b.kind, &b.order)));
        cases.iter().map(|case| format!("{} {}", case.order, case.kind.name())).collect()
    };
    let all = ["b amount", "c ours_only", "d theirs_only"];
    assert_eq!(ask(CaseFilter::default()), all);
    assert_eq!(ask(CaseFilter { kind: Some(CaseKind::OursOnly), ..CaseFilter::default() }), ["c ours_only"]);
    let day = |text: &str| CaseFilter { day: Some(Day::parse(text).unwrap()), ..CaseFilter::default() };
    assert_eq!((ask(day(DAY)).len(), ask(day("2019-02-20")).len()), (3, 0));
    let of = |name: &str| CaseFilter { provider: Some(name.into()), ..CaseFilter::default() };
    assert_eq!((ask(of("wechat")).len(), ask(of("alipay")).len()), (3, 0));

    let summary = flow.join.slots.iter().fold(Summary::default(), |sum, slot| sum.with(&slot.summary()));
    let counts = [CaseKind::Matched, CaseKind::Amount, CaseKind::OursOnly, CaseKind::TheirsOnly];
    assert_eq!(counts.map(|kind| summary.count(kind)), [1, 1, 1, 1]);
    assert_eq!((summary.waiting, summary.count(CaseKind::Fee)), (0, 0));

    let key = MatchKey::of_ours(&ours_of(GOOD, "a", "a").matched);
    let slot = &flow.join.slots[partition_of_key(&key.text(), PARTITIONS) as usize];
    assert_eq!(flow.join.processor.cases_of(slot, &key)[0].kind, CaseKind::Matched);
    let gates: Vec<Vec<(String, Gate)>> = flow
        .join
        .slots
        .iter()
        .map(|slot| slot.files().into_iter().map(|file| (file.id, file.gate)).collect())
        .collect();
    for gates in &gates {
        assert!(
            gates.contains(&("f".into(), Gate::Accepted)) && gates.contains(&("r".into(), Gate::Quarantined))
        );
    }
    assert!(gates.iter().flatten().any(|file| *file == ("open".into(), Gate::Staged)));
    let quarantined = flow.join.slots[0].files().into_iter().find(|file| file.id == "r").unwrap();
    assert_eq!((quarantined.reason.as_str(), quarantined.lines), ("control_totals", 1));
}

/// Side items as a writer would seal them, for input the re-keying half never gives.
fn seal(head: &ChainHead, writer: u32, items: Vec<Item>) -> Sealed {
    let mut body = BodyBuilder::new();
    for item in items {
        body.push(&SideItem { item: Some(item), journal_partition: 0 });
    }
    body.seal(BatchHeader {
        slot: writer,
        sequence: head.sequence + 1,
        previous_hash: head.previous_hash(),
        ..BatchHeader::default()
    })
}

/// Writer and what it sends.
type Sent = (u32, Vec<Item>);

fn stops(batches: Vec<Sent>) -> String {
    let mut flow = Flow::new();
    let key = MatchKey::of_ours(&ours_of(GOOD, "o", "e").matched);
    let slot = partition_of_key(&key.text(), PARTITIONS);
    let mut head = ChainHead::default();
    for (writer, items) in batches {
        let sealed = seal(&head, writer, items);
        head = head.advanced(sealed.hash);
        flow.topics.append(OutRecord::new(TopicPartition::new(Topic::ReconSides, slot), sealed.value));
    }
    let stop = flow.join.step(slot, &mut flow.topics, 10).unwrap_err();
    assert!(stop.at.starts_with("recon.sides"), "{stop}");
    stop.to_string()
}

#[test]
fn sides_that_are_not_what_they_must_be_stop_the_slot() {
    let ours = |text, order| {
        let ours = ours_of(text, order, "e");
        Item::Ours(OurSide { r#match: Some(ours.matched), ..OurSide::default() })
    };
    let theirs = |order| {
        Item::Theirs(TheirSide {
            file: "f".into(),
            provider: "wechat".into(),
            account: crate::flow::ACCOUNT.into(),
            day: 0,
            line: Some(theirs_of(LINE, order, 2)),
        })
    };
    let released = |staged| {
        let end = BillEnd { accepted: true, ..BillEnd::default() };
        Item::Released(FileReleased { file: Some(bill("f", DAY, &[]).file()), end: Some(end), staged })
    };
    let elsewhere = (0..)
        .map(|n| format!("o-{n}"))
        .find(|order| {
            let text = |order: &str| MatchKey::of_ours(&ours_of(GOOD, order, "e").matched).text();
            partition_of_key(&text(order), PARTITIONS) != partition_of_key(&text("o"), PARTITIONS)
        })
        .unwrap();
    let good = || ours(GOOD, "o");
    let rows: Vec<(&str, Vec<Sent>)> = vec![
        ("1 lines staged, its release names 2", vec![(0, vec![theirs("o"), released(2)])]),
        ("0 lines staged, its release names 1", vec![(0, vec![released(1)])]),
        ("after its release", vec![(0, vec![released(0), theirs("o")])]),
        ("released twice", vec![(0, vec![released(0)]), (0, vec![released(0)])]),
        ("belongs to partition", vec![(0, vec![ours(GOOD, &elsewhere)])]),
        ("\"EUR\", which is not in accounts.yaml", vec![(0, vec![ours("EUR 1.00 - -", "o")])]),
        ("unknown slot 3", vec![(3, vec![good()])]),
        // A batch missing in front, and one chain continued by another writer.
        ("expected sequence 1, found 2", vec![(0, vec![good()]), (1, vec![good()])]),
        ("without a match", vec![(0, vec![Item::Ours(OurSide::default())])]),
        ("without its journal partition", vec![(0, vec![Item::Tick(Default::default())])]),
    ];
    for (expected, batches) in rows {
        let found = stops(batches);
        assert!(found.contains(expected), "{found:?} does not say {expected:?}");
    }
}
