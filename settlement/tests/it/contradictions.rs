//! A slot stops at the first thing that contradicts what it knows, and says what and where.

use crate::journal::{Journal, SATURDAY, aligned, at, decision};
use crate::world::{World, config};
use bytes::Bytes;
use proptest::prelude::*;
use schemas::wire::journal_item::Item;
use schemas::wire::{self, Entry, Side};
use stream::log::Record;

const WALLET: &str = "users:1:wallet";

/// A journal of one slot with two good transfers and then `last`; returns the text of the stop at it.
fn stop_of(last: impl FnOnce(&mut Journal)) -> String {
    let mut world = World::new(config(2));
    let journal = &mut world.journals[1];
    journal.book(SATURDAY, &[("bank:icbc", 100), (WALLET, -100)]);
    journal.book(SATURDAY, &[("bank:icbc", 50), (WALLET, -50)]);
    last(journal);
    let before = world.settlement.rules().balances(&world.slots[1]).len();
    let stop = world.window(1, usize::MAX, 0, false).expect_err("must stop");
    assert_eq!(world.settlement.rules().balances(&world.slots[1]).len(), before, "a stop changes nothing");
    assert_eq!((stop.slot, stop.at.as_str()), (1, "journal/1@4"));
    stop.why
}

/// The same with one more entry of 10 to the wallet's credit, spoiled.
fn stop_of_entry(spoil: impl FnOnce(&mut Entry)) -> String {
    stop_of(|journal| {
        let mut entry = journal.entry(WALLET, "CNY", -10);
        spoil(&mut entry);
        journal.batch(vec![Item::Decision(decision(SATURDAY, vec![entry]))]);
    })
}

#[test]
fn an_entry_that_contradicts_its_account() {
    let name = "account users:1:wallet CNY seq";
    let rows = [
        (stop_of_entry(|e| e.seq = 4), format!("{name} 4: expected seq 3")),
        (stop_of_entry(|e| e.seq = 2), format!("{name} 2: expected seq 3")),
        (
            stop_of_entry(|e| e.set_figures(10, -149, -159)),
            format!(
                "{name} 3: balance before is stated as -149, here it is -150 (debits - credits, minor units)"
            ),
        ),
        (
            stop_of_entry(|e| e.set_figures(10, -150, -161)),
            format!(
                "{name} 3: balance after is stated as -161, it comes to -160 (debits - credits, minor units)"
            ),
        ),
        (
            stop_of_entry(|e| e.side = Side::Debit.into()),
            format!(
                "{name} 3: balance after is stated as -160, it comes to -140 (debits - credits, minor units)"
            ),
        ),
        (
            stop_of_entry(|e| e.side = Side::Unspecified.into()),
            format!("{name} 3: amount 10 without a side, or not above zero"),
        ),
        (
            stop_of_entry(|e| e.set_figures(0, -150, -150)),
            format!("{name} 3: amount 0 without a side, or not above zero"),
        ),
        (stop_of_entry(|e| e.set_figures(i128::MAX, -150, 0)), format!("{name} 3: balance is out of range")),
        (
            stop_of_entry(|e| e.asset = "EUR".into()),
            "account users:1:wallet EUR seq 3: asset is not in the chart".into(),
        ),
        (
            stop_of_entry(|e| e.account = "users:1|CNY".into()),
            "account users:1|CNY CNY seq 3: account name has a character outside A-Z a-z 0-9 _ - . @ and ':'"
                .into(),
        ),
        (
            stop_of_entry(|e| e.account = "users:2:wallet".into()),
            "account users:2:wallet CNY seq 3: expected seq 1".into(),
        ),
    ];
    for (found, expected) in rows {
        assert_eq!(found, expected);
    }
}

#[test]
fn a_batch_that_is_not_the_next_of_its_chain() {
    let spoiled = |spoil: fn(&mut wire::BatchHeader)| {
        stop_of(|journal| {
            let item = journal.booked(SATURDAY, &[("bank:icbc", 1), (WALLET, -1)]);
            journal.spoiled_batch(vec![item], &spoil);
        })
    };
    assert_eq!(spoiled(|h| h.sequence = 4), "slot 1: expected sequence 3, found 4");
    assert_eq!(spoiled(|h| h.sequence = 2), "slot 1: expected sequence 3, found 2");
    let text = spoiled(|h| h.previous_hash = Bytes::from_static(&[7; 32]));
    assert_eq!(text, "slot 1: batch at sequence 3 does not name its predecessor's hash");
    assert_eq!(spoiled(|h| h.slot = 0), "journal of slot 1 holds a batch of slot 0");
    let repeated = stop_of(|journal| {
        let value = journal.records[1].value.clone();
        journal.push_value(value);
    });
    assert_eq!(repeated, "slot 1: expected sequence 3, found 2");
    let torn = stop_of(|journal| journal.push_value(Bytes::from_static(b"\xff")));
    assert!(torn.starts_with("record does not decode"), "{torn}");
}

#[test]
fn a_count_that_does_not_hold() {
    let text = stop_of(|journal| {
        // `seal` states the count itself; take it apart and state another.
        journal.batch(vec![aligned(SATURDAY)]);
        let record: Record = journal.records.pop().unwrap();
        let mut batch = <wire::Batch as prost::Message>::decode(record.value).unwrap();
        let mut header = <wire::BatchHeader as prost::Message>::decode(batch.header).unwrap();
        header.count = 2;
        batch.header = prost::Message::encode_to_vec(&header).into();
        journal.push_value(prost::Message::encode_to_vec(&batch).into());
    });
    assert_eq!(text, "batch 3 of slot 1 names 2 items and holds 1");
}

#[test]
fn a_date_or_a_book_that_cannot_be() {
    let foreign = stop_of(|journal| {
        let mut other = decision(SATURDAY, vec![journal.entry(WALLET, "CNY", -10)]);
        other.book = "branch".into();
        journal.batch(vec![Item::Decision(other)]);
    });
    assert_eq!(foreign, "book \"branch\", configured is \"main\"");
    let twice = stop_of(|journal| {
        journal.batch(vec![aligned(SATURDAY), aligned(SATURDAY)]);
    });
    assert_eq!(twice, "aligned(2026-11-21) while the closings of 2026-11-21 are not out");
}

#[test]
fn days_align_one_after_the_other_and_open_only_when_the_day_before_last_is_out() {
    for (next, expected) in [
        (aligned(SATURDAY), "aligned(2026-11-21) follows aligned(2026-11-21)"),
        (aligned(SATURDAY + 2), "aligned(2026-11-23) follows aligned(2026-11-21)"),
    ] {
        let mut world = World::new(config(1));
        world.journals[0].aligned(SATURDAY).batch(vec![next]);
        let stop = world.window(0, 9, 0, false).unwrap_err();
        assert_eq!(stop.why, expected);
    }
    let mut world = World::new(config(1));
    world.journals[0].aligned(SATURDAY).book(SATURDAY + 2, &[("bank:icbc", 1), (WALLET, -1)]);
    assert!(world.window(0, 9, 0, false).is_ok());
    world.journals[0].book(SATURDAY + 3, &[("bank:icbc", 1), (WALLET, -1)]);
    assert_eq!(
        world.window(0, 9, 0, false).unwrap_err().why,
        "account bank:icbc CNY seq 2 is dated 2026-11-24, but nothing after 2026-11-23 may be booked before earlier \
         closings are out"
    );
}

#[test]
fn a_report_that_is_none_stops_slot_zero() {
    for (value, expected) in [
        (r#"{"format":1,"book":"main","day":"2026-11-21","slot":2}"#, "report of slot 2, there are 2"),
        (
            r#"{"format":2,"book":"main","day":"2026-11-21","slot":1}"#,
            "format version 2, this program reads 1",
        ),
        (r#"{"format":1,"book":"b","day":"2026-11-21","slot":1}"#, "configured is \"main\""),
        (r#"{"format":1,"book":"main","day":"21.11.2026","slot":1}"#, "is not a day"),
        (r#"{"format":1,"book":"main"}"#, "missing field"),
        ("\u{0}", "expected value"),
    ] {
        let mut world = World::new(config(2));
        let value = Bytes::from_static(value.as_bytes());
        world.reports.push(Record { offset: 7, timestamp_us: 0, key: Bytes::new(), value, headers: vec![] });
        let stop = world.window(0, 9, 9, false).unwrap_err();
        assert_eq!((stop.slot, stop.at.as_str()), (0, "days.aligned/0@7"));
        assert!(stop.why.contains(expected), "{}", stop.why);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Whatever bytes lie in the journal, the slot goes on or stops; it never panics, and never takes a changed body.
    #[test]
    fn no_bytes_are_taken_unchecked(place in any::<prop::sample::Index>(), flip in 1_u8.., cut in any::<bool>()) {
        let mut world = World::new(config(1));
        world.journals[0].book(SATURDAY, &[("bank:icbc", 100), (WALLET, -100)]).tick(at(SATURDAY, 9));
        let mut value = world.journals[0].records[0].value.to_vec();
        let place = place.index(value.len());
        if cut { value.truncate(place) } else { value[place] ^= flip }
        world.journals[0].records[0].value = value.into();
        prop_assert!(world.window(0, 2, 0, false).is_err(), "the second batch names the first one's hash");
    }
}
