//! Sizes of records: whatever backlog a window finds, its journal batch and what it sends stay below Kafka's limit of a
//! message, and neither input waits for the other for ever.

use crate::cluster::{ALL, Cluster, DAY, Page};
use crate::events::{Event, LegWords, Op, credit, debit, owner_in};
use crate::model;
use posting::room::RECORD_BYTES_MAX;
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;

const LEGS: usize = 64;

/// An event with as many legs as there may be, of one minor unit each; `accounts` in turn, debit and credit.
fn event(id: String, subject: &str, accounts: &[String]) -> Event {
    let leg = |n: usize| -> LegWords {
        let account = accounts[n % accounts.len()].clone();
        if n.is_multiple_of(2) { debit(account, 1, "CNY") } else { credit(account, 1, "CNY") }
    };
    Event {
        id,
        subject: subject.into(),
        body: String::new(),
        legs: (0..LEGS).map(leg).collect(),
        date: DAY,
        back_dated: false,
        op: Op::Book,
        ingest: 0,
    }
}

/// Puts batches of commands of about 200 KB before partition `home`, as ingest seals them.
fn backlog(cluster: &mut Cluster, batches: usize, home: u32, accounts: &[String]) {
    let subject = owner_in(&cluster.map, "orders", home, 0);
    for _ in 0..batches {
        for _ in 0..130 {
            let number: usize = cluster.arrived.iter().map(Vec::len).sum();
            let waiting = cluster.waiting();
            cluster.send(&event(format!("e{}", number + waiting), &subject, accounts));
        }
        cluster.flush(0);
    }
    let largest = cluster.commands[home as usize].0.iter().map(|record| record.value.len()).max().unwrap();
    assert!((190_000..256 * 1024).contains(&largest), "{largest} bytes of commands");
}

/// Makes balances that take many bytes: far above zero and far below.
fn swell(cluster: &mut Cluster, accounts: &[String], far: i128) {
    for (n, pair) in accounts.chunks(2).enumerate() {
        let legs = vec![debit(&*pair[0], far, "CNY"), credit(&*pair[1], far, "CNY")];
        let subject = owner_in(&cluster.map, "orders", 0, 0);
        cluster.send(&Event { id: format!("swell{n}"), legs, ..event(String::new(), &subject, accounts) });
    }
    cluster.flush(0);
    cluster.run().unwrap();
}

/// The largest record written to each topic that posting writes.
fn assert_sizes(cluster: &Cluster) -> usize {
    let largest = |logs: &[crate::cluster::Written]| {
        logs.iter().flat_map(|log| &log.0).map(|record| record.value.len()).max().unwrap_or(0)
    };
    let (journal, credits) = (largest(&cluster.journal), largest(&cluster.credits));
    assert!(journal < RECORD_BYTES_MAX, "a journal record of {journal} bytes");
    assert!(credits < RECORD_BYTES_MAX, "a record of credits of {credits} bytes");
    journal
}

/// Offsets that a window read of each input: (credits, commands).
fn read(page: &Page) -> (i64, i64) {
    let of = |topic: Topic| {
        let range = page.header.input.iter().find(|range| range.topic == topic.name()).unwrap();
        range.to - range.from
    };
    (of(Topic::Credits), of(Topic::Commands))
}

#[test]
fn a_backlog_of_full_batches_becomes_several_journal_records() {
    let mut cluster = Cluster::uncounted(1, 1);
    let accounts: Vec<String> =
        (0..LEGS).map(|n| [format!("bank:{n}"), format!("fees:{n}")][n % 2].clone()).collect();
    swell(&mut cluster, &accounts, (1 << 125) + (1 << 63));
    let before = cluster.pages(0).len();
    backlog(&mut cluster, 5, 0, &accounts);
    cluster.run().unwrap();
    let largest = assert_sizes(&cluster);
    let windows = cluster.pages(0).len() - before;
    assert!(
        largest > RECORD_BYTES_MAX / 2 && windows > 2,
        "{windows} windows, the largest of {largest} bytes"
    );
    model::check(&cluster);
}

/// Short commands still go by the hundred thousand bytes.
#[test]
fn a_backlog_of_small_events_fills_its_windows() {
    let mut cluster = Cluster::uncounted(2, 1);
    let subject = owner_in(&cluster.map, "bank", 0, 0);
    for n in 0..3_000 {
        let legs = vec![debit(format!("{subject}:main"), 5, "CNY"), credit("fees:card", 5, "CNY")];
        cluster.send(&Event { id: format!("e{n}"), legs, ..event(String::new(), &subject, &["x".into()]) });
        if n % 1_000 == 999 {
            cluster.flush(0);
        }
    }
    let bytes: Vec<usize> = cluster.commands[0].0.iter().map(|record| record.value.len()).collect();
    assert!(bytes.iter().all(|bytes| *bytes > 130_000), "{bytes:?}");
    cluster.step(0, ALL).unwrap();
    let last = cluster.pages(0).pop().unwrap();
    assert_eq!(read(&last).1, 6, "three records in one window");
    assert_sizes(&cluster);
}

/// Questions of one partition, each with all its legs, come as credits beside the other's own full batches.
#[test]
fn credits_and_commands_that_do_not_fit_together_take_turns() {
    let mut cluster = Cluster::uncounted(2, 1);
    let till = format!("{}:cash", owner_in(&cluster.map, "till", 1, 0));
    let banks: Vec<String> = (0..LEGS / 2).map(|n| owner_in(&cluster.map, "bank", 1, n)).collect();
    let funding: Vec<String> = banks.iter().flat_map(|bank| [till.clone(), bank.clone()]).collect();
    swell(&mut cluster, &funding, (1 << 99) + (1 << 63));
    // Every second leg is a credit of the one account that may refuse; it lives in partition 1.
    let asked: Vec<String> = funding.chunks(2).flat_map(|pair| [pair[1].clone(), pair[0].clone()]).collect();
    backlog(&mut cluster, 4, 0, &asked);
    cluster.run_slots(&[0]).unwrap();
    let own: Vec<String> = (0..LEGS).map(|n| owner_in(&cluster.map, "bank", 1, n)).collect();
    backlog(&mut cluster, 4, 1, &own);
    let before = cluster.pages(1).len();
    cluster.run_slots(&[1]).unwrap();
    let pages = cluster.pages(1).split_off(before);
    let read: Vec<(bool, bool)> = pages.iter().map(read).map(|(a, b)| (a > 0, b > 0)).collect();
    assert!(read.len() > 4 && read.iter().any(|read| *read != (true, true)), "{read:?}");
    // While both have something, each is read in one of two windows.
    let both = read.iter().rposition(|read| read.0).min(read.iter().rposition(|read| read.1)).unwrap();
    for two in read[..both].windows(2) {
        assert!(two.iter().any(|read| read.0) && two.iter().any(|read| read.1), "{read:?}");
    }
    cluster.run().unwrap();
    assert_sizes(&cluster);
    let decided = |(_, item): &(u64, Item)| matches!(item, Item::Decision(d) if d.forwarded_from != 0);
    assert_eq!(cluster.items(1).iter().filter(|item| decided(item)).count(), 4 * 130);
    model::check(&cluster);
}

/// What is counted of accounts is written beside their entries: batches are cut smaller, and fewer go into a window.
#[test]
fn a_backlog_of_counted_accounts_becomes_several_journal_records() {
    let mut cluster = Cluster::new(1, 1);
    let subject = owner_in(&cluster.map, "orders", 0, 0);
    let mut sent = 0;
    for batch in 0..6 {
        // Legs of a full event each move another card, which has two rules about debits; as ingest seals them.
        for n in 0..40 {
            let cards = (0..LEGS / 2).map(|leg| format!("cards:{}:main", (batch * 40 + n) * LEGS + leg));
            let accounts: Vec<String> = cards.flat_map(|card| [card, "bank:0:main".into()]).collect();
            cluster.send(&event(format!("e{sent}"), &subject, &accounts));
            sent += 1;
        }
        cluster.flush(0);
    }
    let fullest = cluster.commands[0].0.iter().map(|record| record.value.len()).max().unwrap();
    assert!((60_000..100_000).contains(&fullest), "{fullest} bytes of commands");
    cluster.run().unwrap();
    assert_sizes(&cluster);
    let moved = cluster.items(0).into_iter().filter(|(_, item)| matches!(item, Item::Moved(_))).count();
    assert_eq!(moved, sent * LEGS / 2);
    assert!(cluster.pages(0).len() > 2, "{} windows", cluster.pages(0).len());
    model::check(&cluster);
}

/// However much there is to read, a part of each window is left to events that have waited.
#[test]
fn what_has_waited_is_decided_beside_a_backlog() {
    let mut cluster = Cluster::uncounted(1, 1);
    cluster.tick(0, 1_000_000);
    let subject = owner_in(&cluster.map, "orders", 0, 0);
    let accounts: Vec<String> =
        (0..LEGS).map(|n| [format!("bank:{n}"), format!("fees:{n}")][n % 2].clone()).collect();
    for n in 0..40 {
        let op = Op::Capture("h1".into(), false);
        cluster.send(&Event { op, ..event(format!("c{n}"), &subject, &accounts) });
    }
    cluster.flush(0);
    cluster.run().unwrap();
    let hold = Event { op: Op::Hold(0), ..event("h1".into(), &subject, &accounts) };
    cluster.send(&Event { legs: vec![debit("bank:0", 1_000, "CNY")], ..hold });
    for n in 0..400 {
        cluster.flush(0);
        cluster.send(&event(format!("e{n}"), &subject, &accounts));
    }
    cluster.flush(0);
    cluster.step(0, ALL).unwrap();
    let page = cluster.pages(0).pop().unwrap();
    assert!(read(&page).1 < 2 * 400, "all of it is read");
    let waited =
        page.items.iter().filter(|item| matches!(&item.item, Some(Item::Decision(d)) if d.concludes));
    // A capture takes less than 7 KB, and 128 KiB are left to them.
    assert!(waited.count() >= 128 * 1024 / 7_000);
    cluster.run().unwrap();
    model::check(&cluster);
}
