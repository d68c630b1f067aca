//! Channels between partitions (ARCHITECTURE rule 6): each item once, in order, whatever arrives.

use crate::cluster::{ALL, Cluster, DAY, credits_batch};
use crate::events::{BOOK, Event, Op, credit, debit, owner_in};
use bytes::Bytes;
use posting::config::{HELD_MAX, RECENT_CHECKS};
use posting::state::Slot;
use prost::Message;
use schemas::wire::{
    Command, Credit, CreditItem, DayMarker, Forward, Match, PostingRest, Side, credit_item,
    journal_item::Item,
};
use stream::processor::SlotState;

const BANK: &str = "bank";

/// Two partitions; partition 0 has sent `count` credits of 1.00, 2.00, 3.00 ... to a merchant in partition 1,
/// which has read none of them. Returns the encoded items.
fn sent(count: usize) -> (Cluster, Vec<Bytes>, String) {
    let mut cluster = Cluster::uncounted(2, 1);
    let bank = owner_in(&cluster.map, BANK, 0, 0);
    let merchant = format!("{}:payable", owner_in(&cluster.map, "merchants", 1, 0));
    for n in 1..=count as i128 {
        let legs = vec![debit(format!("{bank}:main"), 100 * n, "CNY"), credit(&*merchant, 100 * n, "CNY")];
        cluster.send(&Event {
            id: format!("e{n}"),
            subject: bank.clone(),
            body: String::new(),
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
    }
    cluster.flush(0);
    cluster.run_slots(&[0]).unwrap();
    let items = cluster.channel(0, 1);
    assert_eq!(items.len(), count);
    cluster.credits[1].0.clear();
    (cluster, items, merchant)
}

/// Lets these items arrive in partition 1 as one batch of partition 0.
fn arrive(cluster: &mut Cluster, items: &[Bytes]) -> Result<bool, String> {
    cluster.credits[1].push(credits_batch(0, items));
    cluster.step(1, ALL).map_err(|stop| stop.to_string())
}

fn changed(item: &Bytes, change: impl FnOnce(&mut CreditItem)) -> Bytes {
    let mut item = CreditItem::decode(item.clone()).unwrap();
    change(&mut item);
    item.encode_to_vec().into()
}

fn held(cluster: &Cluster) -> (Vec<u64>, u64) {
    let channel = &cluster.slots[1].incoming[&0];
    (channel.held.keys().copied().collect(), channel.dropped)
}

#[test]
fn a_second_delivery_changes_nothing() {
    let (mut cluster, items, merchant) = sent(3);
    arrive(&mut cluster, &items).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-600, 3));
    let accounts = |c: &Cluster| format!("{:?}", c.slots[1].accounts.sorted());
    let (before, channel) = (accounts(&cluster), cluster.slots[1].incoming[&0].clone());
    arrive(&mut cluster, &items).unwrap();
    arrive(&mut cluster, &items[1..2]).unwrap();
    assert_eq!(accounts(&cluster), before);
    assert_eq!(cluster.slots[1].incoming[&0], channel);
    let pages = cluster.pages(1);
    let kinds: Vec<usize> = pages.iter().map(|page| page.items.len()).collect();
    assert_eq!(kinds[1..], [0, 0], "nothing is journalled for a second delivery");
    cluster.crash(1, false);
}

/// A second delivery inside one window, and one that overlaps what is new.
#[test]
fn repeated_and_new_items_in_one_batch() {
    let (mut cluster, items, merchant) = sent(4);
    let twice = [&items[..2], &items[..3]].concat();
    arrive(&mut cluster, &twice).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-600, 3));
    arrive(&mut cluster, &items[1..]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-1000, 4));
}

#[test]
fn another_item_under_a_sequence_taken_before_stops_the_slot() {
    let (mut cluster, items, _) = sent(3);
    arrive(&mut cluster, &items).unwrap();
    let other = changed(&items[1], |item| {
        if let Some(credit_item::Item::Credit(credit)) = &mut item.item {
            credit.amount = Some(201.into());
        }
    });
    let before = cluster.slots[1].canonical();
    let stop = arrive(&mut cluster, &[other]).unwrap_err();
    assert!(stop.contains("credits/1@2: channel p00: sequence 2 came before with another content"), "{stop}");
    assert_eq!(cluster.slots[1].canonical(), before);
}

/// What cannot be booked where it should go is no line of anybody's bill.
#[test]
fn what_goes_to_suspense_matches_nothing() {
    let (mut cluster, items, _) = sent(2);
    let matched = Match { provider: "wechat".into(), order: "o-1".into(), ..Match::default() };
    let with = |n: usize, account: Option<&str>| {
        changed(&items[n], |item| {
            let Some(credit_item::Item::Credit(credit)) = &mut item.item else { panic!("no credit") };
            credit.r#match = Some(matched.clone());
            credit.account = account.map_or(std::mem::take(&mut credit.account), str::to_owned);
        })
    };
    arrive(&mut cluster, &[with(0, None), with(1, Some("nobody:1:payable"))]).unwrap();
    let entries: Vec<_> = (cluster.items(1).into_iter())
        .filter_map(|(_, item)| match item {
            Item::Received(received) => received.entry.map(|entry| (entry.account, entry.r#match)),
            _ => None,
        })
        .collect();
    assert_eq!(entries[0].1, Some(matched));
    assert_eq!(entries[1], ("suspense:p01".to_owned(), None));
}

#[test]
fn a_gap_is_held_and_applied_in_order_when_the_missing_one_comes() {
    let (mut cluster, items, merchant) = sent(5);
    arrive(&mut cluster, &items[..1]).unwrap();
    arrive(&mut cluster, &[items[3].clone(), items[2].clone()]).unwrap();
    arrive(&mut cluster, &items[4..]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-100, 1));
    assert_eq!(held(&cluster), (vec![3, 4, 5], 0));
    // Held items survive their owner, by journal and by checkpoint.
    cluster.crash(1, false);
    cluster.checkpoint(1);
    cluster.crash(1, true);
    assert_eq!(held(&cluster), (vec![3, 4, 5], 0));
    // A held item again is dropped; another one under its sequence stops the slot.
    arrive(&mut cluster, &items[2..3]).unwrap();
    let other = changed(&items[2], |item| item.sequence = 4);
    let position = cluster.credits[1].0.len();
    let stop = arrive(&mut cluster, &[other]).unwrap_err();
    assert!(stop.contains("channel p00: sequence 4 came before with another content"), "{stop}");
    cluster.credits[1].0.truncate(position);
    // The source sends from the gap on again.
    arrive(&mut cluster, &items[1..]).unwrap();
    assert_eq!(held(&cluster), (vec![], 0));
    assert_eq!(cluster.balance(&merchant, "CNY"), (-1500, 5));
    let order: Vec<u64> = (cluster.items(1).into_iter())
        .filter_map(|(_, item)| match item {
            Item::Received(r) => Some(r.sequence),
            _ => None,
        })
        .collect();
    assert_eq!(order, [1, 2, 3, 4, 5]);
    cluster.crash(1, true);
}

/// A checkpoint of before the highest sequence seen was kept: what waits says that something is missing.
#[test]
fn a_gap_is_known_from_what_waits() {
    let (mut cluster, items, _) = sent(5);
    arrive(&mut cluster, &items[2..4]).unwrap();
    cluster.checkpoint(1);
    let (key, value) = cluster.slots[1].canonical().pop().unwrap();
    let mut rest = PostingRest::decode(&value[..]).unwrap();
    assert_eq!(rest.incoming[0].seen, 4);
    rest.incoming[0].seen = 0;
    let mut slot = Slot::new(1);
    slot.load(&key, &rest.encode_to_vec()).unwrap();
    assert_eq!(slot.canonical().pop().unwrap().1, value);
}

#[test]
fn a_gap_stops_its_channel_alone() {
    let mut cluster = Cluster::new(3, 1);
    let merchant = format!("{}:payable", owner_in(&cluster.map, "merchants", 2, 0));
    for (from, id) in [(0, "a1"), (0, "a2"), (1, "b1")] {
        let bank = owner_in(&cluster.map, BANK, from, 0);
        let legs = vec![debit(format!("{bank}:main"), 100, "CNY"), credit(&*merchant, 100, "CNY")];
        cluster.send(&Event {
            id: id.into(),
            subject: bank,
            body: String::new(),
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
    }
    cluster.flush(0);
    cluster.run_slots(&[0, 1]).unwrap();
    let (from_0, from_1) = (cluster.channel(0, 2), cluster.channel(1, 2));
    cluster.credits[2].0.clear();
    cluster.credits[2].push(credits_batch(0, &from_0[1..]));
    cluster.credits[2].push(credits_batch(1, &from_1));
    cluster.run_slots(&[2]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-100, 1), "b1 alone");
    cluster.credits[2].push(credits_batch(0, &from_0[..1]));
    cluster.run_slots(&[2]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-300, 3));
}

#[test]
fn past_the_bound_items_are_dropped_and_counted() {
    let (mut cluster, items, merchant) = sent(HELD_MAX + 6);
    arrive(&mut cluster, &items[1..]).unwrap();
    let (waiting, dropped) = held(&cluster);
    assert_eq!((waiting.len(), dropped), (HELD_MAX, 5));
    assert_eq!(waiting.last(), Some(&(HELD_MAX as u64 + 1)));
    arrive(&mut cluster, &items[HELD_MAX + 5..]).unwrap();
    assert_eq!(held(&cluster).1, 6, "once for every arrival");
    cluster.crash(1, false);
    cluster.checkpoint(1);
    cluster.crash(1, true);
    assert_eq!(held(&cluster).1, 6);
    // The first one releases all that waited; what was dropped must come again.
    arrive(&mut cluster, &items[..1]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY").1, HELD_MAX as u64 + 1);
    arrive(&mut cluster, &items[HELD_MAX + 1..]).unwrap();
    let all = HELD_MAX as u64 + 6;
    assert_eq!(cluster.balance(&merchant, "CNY").1, all);
    assert_eq!(cluster.slots[1].incoming[&0].mark, all);
}

/// Sends credits 1 to `count` to partition 1 in records of `each`, a window for every record.
fn taken_in_windows(count: usize, each: usize) -> (Cluster, Vec<Bytes>, String) {
    let (mut cluster, items, merchant) = sent(count);
    for chunk in items.chunks(each) {
        arrive(&mut cluster, chunk).unwrap();
    }
    (cluster, items, merchant)
}

#[test]
fn an_item_older_than_what_is_remembered_is_compared_with_the_journal() {
    let (mut cluster, items, merchant) = taken_in_windows(RECENT_CHECKS + 40, 10);
    let before = (cluster.balance(&merchant, "CNY"), cluster.slots[1].incoming[&0].clone());
    assert_eq!(before.1.recent.len(), RECENT_CHECKS);
    cluster.crash(1, false);
    // Alone, in one record with others as old, and with some that are still remembered.
    for range in [0..1, 39..40, 5..33, 0..items.len(), 30..50] {
        assert!(arrive(&mut cluster, &items[range.clone()]).unwrap(), "{range:?}");
        assert_eq!(cluster.pages(1).last().unwrap().items, [], "{range:?}: nothing is journalled for it");
    }
    assert_eq!((cluster.balance(&merchant, "CNY"), cluster.slots[1].incoming[&0].clone()), before);
    cluster.crash(1, true);
}

#[test]
fn another_item_under_a_sequence_taken_long_ago_stops_the_slot() {
    let other = |items: &[Bytes], n: usize| {
        changed(&items[n], |item| {
            if let Some(credit_item::Item::Credit(credit)) = &mut item.item {
                credit.value_date += 1;
            }
        })
    };
    // Items of the record by index, and which of them are others than before.
    for (record, others) in [
        (&[0][..], &[0][..]),
        (&[39], &[39]),
        (&[3, 4, 5], &[4]),
        // Of two the first is named, whether it is as old or not.
        (&[39, 40], &[39, 40]),
        (&[40, 39], &[40, 39]),
    ] {
        let (mut cluster, items, _) = taken_in_windows(RECENT_CHECKS + 40, 10);
        let one = |n: &usize| if others.contains(n) { other(&items, *n) } else { items[*n].clone() };
        let record: Vec<Bytes> = record.iter().map(one).collect();
        let before = cluster.slots[1].canonical();
        let stop = arrive(&mut cluster, &record).unwrap_err();
        let expected = format!("channel p00: sequence {} came before with another content", others[0] + 1);
        assert!(stop.contains(&expected), "{expected:?}, found {stop:?}");
        assert_eq!(cluster.slots[1].canonical(), before);
    }
}

/// The record with an old item waits while the journal is looked back at; what came before it, and commands, do not.
#[test]
fn credits_behind_an_old_item_wait_and_commands_do_not() {
    let (mut cluster, items, merchant) = taken_in_windows(RECENT_CHECKS + 40, 10);
    let all = items.len();
    let late = |cluster: &mut Cluster, id: &str| {
        let legs = vec![debit(&*merchant, 1, "USD"), credit("fees:card", 1, "USD")];
        let subject = merchant.trim_end_matches(":payable").into();
        let (id, body) = (id.into(), String::new());
        cluster.send(&Event {
            id,
            subject,
            body,
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
        cluster.flush(0);
    };
    cluster.look_back_pages = 0;
    for record in [&items[all - 2..], &items[..20], &items[..1]] {
        cluster.credits[1].push(credits_batch(0, record));
    }
    late(&mut cluster, "while");
    assert!(cluster.step(1, ALL).unwrap());
    assert_eq!(cluster.balance(&merchant, "USD").1, 1, "commands go on");
    let read = |cluster: &Cluster| {
        let header = cluster.pages(1).pop().unwrap().header;
        header.input.iter().find(|i| i.topic == "credits").unwrap().to
    };
    let waiting = cluster.credits[1].0[cluster.credits[1].0.len() - 2].offset;
    assert_eq!(read(&cluster), waiting - 1, "the record before the old item was taken");
    assert!(
        !cluster.step(1, ALL).unwrap(),
        "a window with nothing but the record that waits commits nothing"
    );
    // One page is not enough for twenty items taken in two windows.
    cluster.look_back_pages = 1;
    assert!(!cluster.step(1, ALL).unwrap());
    cluster.look_back_pages = 2;
    assert!(cluster.step(1, ALL).unwrap());
    assert_eq!(read(&cluster), waiting + 1, "that record alone");
    assert!(cluster.step(1, ALL).unwrap());
    assert_eq!(read(&cluster), waiting + 4);
    cluster.crash(1, false);
}

/// Within one window nothing is forgotten: what it took itself is not in the journal yet.
#[test]
fn a_flood_and_its_repetition_in_one_window() {
    let (mut cluster, items, merchant) = sent(RECENT_CHECKS + 200);
    cluster.credits[1].push(credits_batch(0, &items));
    cluster.credits[1].push(credits_batch(0, &items));
    assert!(cluster.step(1, ALL).unwrap());
    assert!(!cluster.step(1, ALL).unwrap(), "both were read");
    assert_eq!(cluster.balance(&merchant, "CNY").1, items.len() as u64);
    cluster.crash(1, false);
}

/// Items that no partition writes into one record cannot be compared.
#[test]
fn old_items_that_are_no_run_stop_the_slot() {
    let (mut cluster, items, _) = taken_in_windows(RECENT_CHECKS + 40, 100);
    let stop = arrive(&mut cluster, &[items[0].clone(), items[30].clone()]).unwrap_err();
    assert!(stop.contains("channel p00: sequence 1 is too old to be compared"), "{stop}");
}

/// Credits come first in a window, within a share of it: commands advance however many credits wait.
#[test]
fn commands_advance_under_a_flood_of_credits() {
    let (mut cluster, items, merchant) = sent(6_000);
    for chunk in items.chunks(500) {
        cluster.credits[1].push(credits_batch(0, chunk));
    }
    let bytes: usize = cluster.credits[1].0.iter().map(|record| record.value.len()).sum();
    assert!(bytes > schemas::batch::BODY_BYTES_MAX, "{bytes}");
    for n in 0..1_000 {
        let legs = vec![debit(&*merchant, 1, "USD"), credit("fees:card", 1, "USD")];
        let (id, subject) = (format!("late{n}"), merchant.trim_end_matches(":payable").into());
        cluster.send(&Event {
            id,
            subject,
            body: String::new(),
            legs,
            date: DAY,
            back_dated: false,
            op: Op::Book,
            ingest: 0,
        });
    }
    cluster.flush(0);
    cluster.step(1, ALL).unwrap();
    assert_eq!(cluster.balance(&merchant, "USD").1, 1_000, "the commands are decided in the first window");
    let after_one = cluster.balance(&merchant, "CNY").1;
    assert!(after_one > 500 && after_one < 6_000, "{after_one} credits in the first window");
    cluster.run_slots(&[1]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY").1, 6_000);
}

fn item(sequence: u64, item: credit_item::Item) -> Bytes {
    CreditItem { sequence, item: Some(item) }.encode_to_vec().into()
}

/// A credits batch that no posting slot writes stops the slot; nothing panics.
#[test]
fn what_no_partition_sends_stops_the_slot() {
    let credit_of = |minor: i128, side: Side| Credit {
        account: "fees:card".into(),
        asset: "CNY".into(),
        side: side as i32,
        amount: Some(minor.into()),
        accounting_date: DAY,
        book: BOOK.into(),
        ..Credit::default()
    };
    let marker = |last_sequence, count| DayMarker {
        book: BOOK.into(),
        date: DAY,
        count,
        last_sequence,
        ..Default::default()
    };
    let forward = Forward { command: Some(Command::default()), ingest_slot: 0 };
    use credit_item::Item as I;
    let rows: [(u32, Bytes, &str); 11] = [
        (0, item(1, I::Credit(credit_of(0, Side::Credit))), "credit 1 of 0 cannot be cleared"),
        (0, item(1, I::Credit(credit_of(-5, Side::Debit))), "credit 1 of -5 cannot be cleared"),
        (0, item(1, I::Credit(credit_of(i128::MIN, Side::Credit))), "cannot be cleared"),
        (0, item(1, I::Credit(credit_of(i128::MAX, Side::Credit))), "cannot be cleared"),
        (0, item(1, I::DayMarker(marker(0, 1))), "marker of day 100 states 1 items"),
        (0, item(1, I::DayMarker(marker(3, 0))), "marker of day 100 is out of place"),
        (0, item(1, I::DayMarker(marker(u64::MAX, 0))), "marker of day 100 is out of place"),
        (0, CreditItem { sequence: 1, item: None }.encode_to_vec().into(), "item 1 is empty"),
        (0, item(0, I::Credit(credit_of(5, Side::Credit))), "sequence 0 is too old"),
        (2, item(1, I::Forward(forward.clone())), "partition 2, but there are 2"),
        (u32::MAX, item(1, I::Forward(forward)), "partition 4294967295, but there are 2"),
    ];
    for (from, item, expected) in rows {
        let mut cluster = Cluster::new(2, 1);
        cluster.credits[1].push(credits_batch(from, &[item]));
        let stop = cluster.decide(1, ALL).expect_err(expected).to_string();
        assert!(stop.contains(expected), "expected {expected:?}, found {stop:?}");
    }
}

/// After a partition's marker of a day, nothing of that day comes on its channel unless back-dated.
#[test]
fn a_credit_after_its_senders_marker_stops_the_slot() {
    let (mut cluster, items, merchant) = sent(1);
    arrive(&mut cluster, &items).unwrap();
    cluster.end_day(0, DAY);
    cluster.flush(0);
    cluster.run_slots(&[0]).unwrap();
    let marker = cluster.channel(0, 1).pop().unwrap();
    cluster.credits[1].0.truncate(1);
    arrive_without_commands(&mut cluster, &[marker]).unwrap();
    let late = |sequence, back_dated| {
        changed(&items[0], |item| {
            item.sequence = sequence;
            if let Some(credit_item::Item::Credit(credit)) = &mut item.item {
                credit.back_dated = back_dated;
            }
        })
    };
    arrive_without_commands(&mut cluster, &[late(3, true)]).unwrap();
    assert_eq!(cluster.balance(&merchant, "CNY"), (-200, 2));
    let stop = arrive_without_commands(&mut cluster, &[late(4, false)]).unwrap_err();
    assert!(stop.contains("channel p00: credit 4 is dated before the marker"), "{stop}");
}

/// The second marker of a day on one channel is no marker.
#[test]
fn a_second_marker_on_a_channel_stops_the_slot() {
    let (mut cluster, items, _) = sent(1);
    arrive(&mut cluster, &items).unwrap();
    cluster.end_day(0, DAY);
    cluster.flush(0);
    cluster.run_slots(&[0]).unwrap();
    let marker = cluster.channel(0, 1).pop().unwrap();
    cluster.credits[1].0.truncate(1);
    arrive(&mut cluster, std::slice::from_ref(&marker)).unwrap();
    let again = changed(&marker, |item| {
        item.sequence = 3;
        if let Some(credit_item::Item::DayMarker(marker)) = &mut item.item {
            marker.last_sequence = 2;
        }
    });
    let stop = arrive(&mut cluster, &[again]).unwrap_err();
    assert!(stop.contains("partition 0: second marker of day 100"), "{stop}");
}

fn arrive_without_commands(cluster: &mut Cluster, items: &[Bytes]) -> Result<bool, String> {
    cluster.credits[1].push(credits_batch(0, items));
    cluster.step(1, (usize::MAX, 0)).map_err(|stop| stop.to_string())
}
