//! Balances published: coalesced, complete up to the position, in both forms.

use crate::journal::{SATURDAY, at, decision, tick};
use crate::world::{Out, World, config};
use prost::Message;
use schemas::balance_json::{Balance, CompleteUntil};
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;
use schemas::wire::{BalancesBody, Clearing, Received};

fn bodies(out: &Out) -> Vec<BalancesBody> {
    out.of(Topic::Balances).iter().map(|r| BalancesBody::decode(r.value.clone()).unwrap()).collect()
}

#[test]
fn a_window_gives_one_balance_for_each_account_it_changed() {
    let mut world = World::new(config(1));
    for amount in [100, 20, 3] {
        world.journals[0].book(SATURDAY, &[("bank:icbc", amount), ("users:1:wallet", -amount)]);
    }
    let out = world.window(0, 3, 0, false).unwrap().unwrap();
    let [body] = &bodies(&out)[..] else { panic!("one record per window") };
    assert_eq!((body.format, body.slot, body.journal_batch), (1, 0, 3));
    let rows: Vec<_> =
        body.balance.iter().map(|b| (b.account.as_str(), b.seq, i128::from(b.balance.unwrap()))).collect();
    assert_eq!(rows, [("bank:icbc", 3, 123), ("users:1:wallet", 3, -123)]);

    world.journals[0].book(SATURDAY + 1, &[("bank:icbc", 1), ("users:2:wallet", -1)]);
    let out = world.drain(0);
    let body = &bodies(&out)[0];
    let rows: Vec<_> = body
        .balance
        .iter()
        .map(|b| (b.account.as_str(), b.last_date, i128::from(b.previous.unwrap())))
        .collect();
    assert_eq!(rows, [("bank:icbc", SATURDAY + 1, 123), ("users:2:wallet", SATURDAY + 1, 0)]);
}

#[test]
fn every_kind_of_entry_counts() {
    let mut world = World::new(config(1));
    let journal = &mut world.journals[0];
    let decided = decision(SATURDAY, vec![journal.entry("users:1:wallet", "CNY", 70)]);
    let out = journal.entry("clearing:out:p00:p01", "CNY", -70);
    let received = journal.entry("users:2:wallet", "CNY", -5);
    let arrived = journal.entry("clearing:in:p01:p00", "CNY", 5);
    let clearing = |entry, date| Clearing {
        book: "main".into(),
        accounting_date: date,
        entry: Some(entry),
        ..Clearing::default()
    };
    journal.batch(vec![
        Item::Decision(decided),
        Item::Clearing(clearing(out, SATURDAY)),
        Item::Received(Received {
            book: "main".into(),
            accounting_date: SATURDAY + 1,
            entry: Some(received),
            ..Received::default()
        }),
        Item::Clearing(clearing(arrived, SATURDAY + 1)),
        Item::Clearing(Clearing { book: "main".into(), ..Clearing::default() }),
    ]);
    let out = world.drain(0);
    let rows: Vec<_> = bodies(&out)[0]
        .balance
        .iter()
        .map(|b| (b.account.clone(), i128::from(b.balance.unwrap()), b.last_date - SATURDAY))
        .collect();
    let expected = [
        ("users:1:wallet", 70, 0),
        ("clearing:out:p00:p01", -70, 0),
        ("users:2:wallet", -5, 1),
        ("clearing:in:p01:p00", 5, 1),
    ];
    assert_eq!(rows, expected.map(|(account, balance, day)| (account.to_owned(), balance, day)));
}

#[test]
fn a_window_without_entries_still_says_how_far_it_is_complete() {
    let mut world = World::new(config(2));
    world.journals[1].tick(at(SATURDAY, 9));
    let out = world.drain(1);
    let [body] = &bodies(&out)[..] else { panic!("one record") };
    assert_eq!((body.journal_batch, body.slot, body.balance.len()), (1, 1, 0));
}

#[test]
fn with_compaction_every_account_has_its_record() {
    let mut world = World::new(settlement::SettlementConfig { compaction: true, ..config(1) });
    world.journals[0].book(SATURDAY, &[("bank:icbc", 1250), ("users:1:wallet", -1250)]);
    let item = world.journals[0].booked(SATURDAY, &[("bank:icbc", -50), ("users:1:wallet", 50)]);
    world.journals[0].batch(vec![item, tick(at(SATURDAY, 9))]);
    let out = world.window(0, 9, 0, false).unwrap().unwrap();
    let records = out.of(Topic::Balances);
    let keys: Vec<_> = records.iter().map(|r| String::from_utf8(r.key.to_vec()).unwrap()).collect();
    assert_eq!(keys, ["bank:icbc|CNY", "users:1:wallet|CNY", "complete_until|0"]);
    let wallet: Balance<'_> = serde_json::from_slice(&records[1].value).unwrap();
    assert_eq!((wallet.balance.as_str(), wallet.balance_minor.as_str()), ("12.00", "1200"));
    assert_eq!((wallet.debit_minus_credit_minor.as_str(), wallet.exponent), ("-1200", 2));
    assert_eq!((wallet.seq, wallet.journal_batch, wallet.last_date.as_str()), (2, 2, "2026-11-21"));
    let complete: CompleteUntil = serde_json::from_slice(&records[2].value).unwrap();
    assert_eq!(complete.journal_batch, 2);
    assert_eq!(complete.business_time.as_deref(), Some("2026-11-21T09:00:00Z"));
}

/// The two forms of a window's balances are one: what lies in a batch is shown as the record with compaction is, and as
/// settlement itself shows it, page by page.
#[test]
fn both_forms_show_the_same_balance() {
    let windows: [&[(&str, i128)]; 4] = [
        &[("bank:icbc", 1250), ("users:1:wallet", -1250)],
        &[("users:1:wallet", 3000), ("clearing:in:p01:p00", -1750), ("clearing:out:p00:p01", -1250)],
        &[("suspense:p00", -7), ("users:2:wallet", 7)],
        &[("users:2:wallet", i128::from(u64::MAX)), ("bank:icbc", -i128::from(u64::MAX))],
    ];
    let of = |compaction: bool| {
        let mut world = World::new(settlement::SettlementConfig { compaction, ..config(1) });
        let outs: Vec<Out> = windows
            .iter()
            .zip(SATURDAY..)
            .map(|(legs, day)| {
                world.journals[0].book(day, legs);
                world.drain(0)
            })
            .collect();
        (world, outs)
    };
    let ((batches, outs), (_, records)) = (of(false), of(true));
    let (rules, mut newest) = (batches.settlement.rules(), std::collections::BTreeMap::new());
    for (out, records) in outs.iter().zip(&records) {
        let records = records.of(Topic::Balances);
        let expected: Vec<&[u8]> =
            records.iter().filter(|r| !r.key.starts_with(b"complete")).map(|r| &r.value[..]).collect();
        let [body] = &bodies(out)[..] else { panic!("one record per window") };
        let shown: Vec<Vec<u8>> = body
            .balance
            .iter()
            .map(|balance| serde_json::to_vec(&rules.balance_of(body, balance).unwrap()).unwrap())
            .collect();
        assert_eq!(shown, expected);
        for balance in &body.balance {
            let shown = rules.balance_of(body, balance).unwrap();
            newest.insert(balance.account.clone(), Balance { journal_batch: 4, ..shown }.balance_minor);
        }
    }
    let slot = &batches.slots[0];
    let pages: Vec<_> = (0..3).map(|page| rules.balances_from(slot, page * 4, 4)).collect();
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [4, 2, 0]);
    let paged: std::collections::BTreeMap<_, _> =
        pages.into_iter().flatten().map(|b| (b.account.into_owned(), b.balance_minor)).collect();
    assert_eq!(paged, newest);
    let foreign = schemas::wire::Balance { asset: "XXX".into(), ..Default::default() };
    assert_eq!(rules.balance_of(&BalancesBody::default(), &foreign), None);
}

#[test]
fn a_body_that_grows_too_large_is_split_at_its_bound() {
    let mut world = World::new(config(1));
    let items: Vec<Item> = (0..6_000)
        .map(|n| {
            let wallet = format!("users:{n:0>100}:wallet");
            world.journals[0].booked(SATURDAY, &[("bank:icbc", 1), (&wallet, -1)])
        })
        .collect();
    world.journals[0].batch(items);
    let out = world.drain(0);
    let bodies = bodies(&out);
    assert!(bodies.len() > 1);
    assert!(bodies.iter().all(|b| b.journal_batch == 1 && b.encoded_len() <= 512 * 1024));
    assert_eq!(bodies.iter().map(|b| b.balance.len()).sum::<usize>(), 6_001);
}
