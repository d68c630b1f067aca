//! The close of a day, from announcement to CLOSED, as rule 7 has it.

use crate::journal::{SATURDAY, aligned, at, tick};
use crate::world::{World, config};
use schemas::dates::{Calendar, Day};
use schemas::topics::Topic;
use settlement::SettlementConfig;
use settlement::query::Closing;
use stream::processor::Processor;

const WALLET: &str = "users:1:wallet";

#[test]
fn the_first_tick_opens_its_day_and_time_opens_the_next() {
    let mut world = World::new(config(1));
    assert!(world.window(0, 9, 9, false).unwrap().is_none(), "nothing read, nothing to commit");
    world.journals[0].tick(at(SATURDAY, 9));
    let out = world.drain(0);
    assert_eq!(out.announced(), ["0 2026-11-21", "1 2026-11-21"], "one record for each ingest slot");
    assert_eq!(out.flow(), ["2026-11-21 Open 0/1"]);
    world.journals[0].tick(at(SATURDAY + 1, 0) - 1);
    assert!(world.drain(0).announced().is_empty());
    world.journals[0].tick(at(SATURDAY + 1, 0)).tick(at(SATURDAY, 10));
    let out = world.drain(0);
    assert_eq!(out.announced(), ["0 2026-11-22", "1 2026-11-22"]);
    assert_eq!(out.flow(), ["2026-11-21 Cutting 0/1", "2026-11-22 Open 0/1"]);
}

#[test]
fn a_book_s_own_calendar_decides() {
    let calendar = Calendar::new("Asia/Shanghai", "05:30").unwrap();
    let mut world = World::new(SettlementConfig { calendar, ..config(1) });
    world.journals[0].tick(at(SATURDAY, 21));
    assert_eq!(world.drain(0).announced(), ["0 2026-11-21", "1 2026-11-21"]);
    world.journals[0].tick(at(SATURDAY, 21) + 30 * 60_000_000);
    assert_eq!(world.drain(0).announced(), ["0 2026-11-22", "1 2026-11-22"]);
}

#[test]
fn a_missing_slot_blocks_the_close_and_nothing_else() {
    let mut world = World::new(config(3));
    world.journals[0].tick(at(SATURDAY, 9)).tick(at(SATURDAY + 1, 1)).tick(at(SATURDAY + 2, 1));
    let out = world.drain(0);
    assert_eq!(out.announced().len(), 4, "Saturday and Sunday, not Monday: {:?}", out.announced());
    for slot in [0, 2] {
        world.journals[slot as usize].book(SATURDAY, &[("bank:icbc", 5), (WALLET, -5)]).aligned(SATURDAY);
        let out = world.drain(slot);
        assert_eq!((out.dailies().len(), out.reports()), (2, 1));
    }
    world.journals[0].tick(at(SATURDAY + 2, 9)).book(SATURDAY + 1, &[("bank:icbc", 1), (WALLET, -1)]);
    let out = world.drain(0);
    assert!(out.announced().is_empty(), "Monday waits for Saturday's close");
    assert!(out.flow().is_empty());
    assert_eq!(out.of(Topic::Balances).len(), 1, "posting goes on");

    world.journals[1].aligned(SATURDAY);
    assert_eq!(world.drain(1).reports(), 1, "an empty slot reports too");
    let out = world.drain(0);
    assert_eq!(out.announced(), ["0 2026-11-23", "1 2026-11-23"]);
    assert_eq!(out.flow(), ["2026-11-21 Closed 3/3", "2026-11-22 Cutting 0/3", "2026-11-23 Open 0/3"]);
}

#[test]
fn days_behind_are_caught_up_one_at_a_time() {
    let mut world = World::new(config(1));
    for day in 0..5 {
        world.journals[0].tick(at(SATURDAY + day, 1));
    }
    let mut announced = world.drain(0).announced();
    for day in 0..3 {
        assert_eq!(announced.len(), 2 * (usize::try_from(day).unwrap() + 2));
        world.journals[0].aligned(SATURDAY + day);
        announced.extend(world.drain(0).announced());
    }
    let first: Vec<_> = announced.iter().filter(|text| text.starts_with('0')).collect();
    assert_eq!(first, ["0 2026-11-21", "0 2026-11-22", "0 2026-11-23", "0 2026-11-24", "0 2026-11-25"]);
}

#[test]
fn a_tick_outside_the_calendar_is_held_and_counted() {
    let mut world = World::new(config(1));
    world.journals[0].tick(at(SATURDAY, 9)).tick(i64::MAX).tick(at(SATURDAY, 10));
    let out = world.drain(0);
    assert_eq!(out.announced(), ["0 2026-11-21", "1 2026-11-21"]);
    let complete = world.settlement.rules().complete_until(&world.slots[0]);
    assert_eq!((complete.held_ticks, complete.held_us), (1, Some(i64::MAX)));
    assert_eq!(complete.business_time_us, Some(at(SATURDAY, 10)));
}

#[test]
fn a_new_owner_commits_at_once_and_repeats_the_newest_announcement() {
    let mut world = World::new(config(1));
    let out = world.window(0, 0, 0, true).unwrap().expect("a first window commits even when it read nothing");
    assert!(out.records.is_empty());
    world.journals[0].tick(at(SATURDAY, 9)).tick(at(SATURDAY + 1, 9));
    world.drain(0);
    let out = world.window(0, 0, 0, true).unwrap().unwrap();
    assert_eq!(out.announced(), ["0 2026-11-22", "1 2026-11-22"]);
    assert!(out.flow().is_empty(), "its state did not change");
}

#[test]
fn what_was_announced_is_repeated_without_the_store() {
    let mut world = World::new(config(1));
    // How far ahead a tick may lie is posting's to judge.
    world.journals[0].tick(at(SATURDAY, 9)).tick(at(SATURDAY + 300, 9));
    assert_eq!(world.drain(0).announced().len(), 4);
    let mut again = World::new(config(1));
    let from = stream::log::TopicPartition::new(Topic::Journal, 0);
    for record in &world.journals[0].records {
        again.settlement.replay(&mut again.slots[0], from, record).unwrap();
    }
    let out = again.window(0, 0, 0, true).unwrap().unwrap();
    assert_eq!(
        out.announced(),
        ["0 2026-11-22", "1 2026-11-22"],
        "announced, although no window saw it happen"
    );
}

#[test]
fn closing_publishes_the_accounts_booked_since_their_last_record() {
    let mut world = World::new(config(1));
    let journal = &mut world.journals[0];
    journal.book(SATURDAY, &[("bank:icbc", 100), (WALLET, -100)]);
    journal.book(SATURDAY + 1, &[(WALLET, 30), ("users:2:wallet", -30)]);
    journal.aligned(SATURDAY);
    assert_eq!(world.drain(0).dailies(), ["bank:icbc 2026-11-21 r1 100", "users:1:wallet 2026-11-21 r1 100"]);
    world.journals[0].aligned(SATURDAY + 1);
    // The bank was not booked on Sunday: its Saturday record answers for Sunday.
    assert_eq!(
        world.drain(0).dailies(),
        ["users:1:wallet 2026-11-22 r1 70", "users:2:wallet 2026-11-22 r1 30"]
    );
    world.journals[0].aligned(SATURDAY + 2);
    assert!(world.drain(0).dailies().is_empty());
}

#[test]
fn an_entry_back_into_a_closed_day_revises_its_closing() {
    let mut world = World::new(config(1));
    world.journals[0].book(SATURDAY, &[("bank:icbc", 100), (WALLET, -100)]).aligned(SATURDAY);
    world.drain(0);
    let journal = &mut world.journals[0];
    journal.book(SATURDAY + 1, &[("bank:icbc", 1), (WALLET, -1)]);
    journal.book(SATURDAY + 2, &[("bank:icbc", 1), (WALLET, -1)]);
    let twice = vec![
        journal.booked(SATURDAY, &[("bank:icbc", 10), (WALLET, -10)]),
        journal.booked(SATURDAY, &[("bank:icbc", 10), ("users:2:wallet", -10)]),
    ];
    journal.batch(twice);
    journal.book(SATURDAY, &[("bank:icbc", -7), (WALLET, 7)]);
    // One revision for each batch, although both came in one window; a new account starts at 1.
    assert_eq!(
        world.drain(0).dailies(),
        [
            "bank:icbc 2026-11-21 r2 120",
            "users:1:wallet 2026-11-21 r2 110",
            "users:2:wallet 2026-11-21 r1 10",
            "bank:icbc 2026-11-21 r3 113",
            "users:1:wallet 2026-11-21 r3 103",
        ]
    );
    world.journals[0].aligned(SATURDAY + 1);
    assert_eq!(world.drain(0).dailies(), ["bank:icbc 2026-11-22 r1 114", "users:1:wallet 2026-11-22 r1 104"]);
    let complete = world.settlement.rules().complete_until(&world.slots[0]);
    assert_eq!(complete.deep_back_dated, 0);
}

#[test]
fn an_entry_behind_the_newest_closed_day_is_counted_and_changes_that_day_s_closing() {
    let mut world = World::new(config(1));
    let journal = &mut world.journals[0];
    journal.book(SATURDAY, &[("bank:icbc", 100), (WALLET, -100)]);
    journal.aligned(SATURDAY).aligned(SATURDAY + 1);
    world.drain(0);
    world.journals[0].book(SATURDAY, &[("bank:icbc", 5), (WALLET, -5)]);
    assert_eq!(world.drain(0).dailies(), ["bank:icbc 2026-11-22 r1 105", "users:1:wallet 2026-11-22 r1 105"]);
    assert_eq!(world.settlement.rules().complete_until(&world.slots[0]).deep_back_dated, 2);
    let closing = world.settlement.rules().closing(&world.slots[0], "bank:icbc", "CNY", Day(SATURDAY + 1));
    assert_eq!(closing, Closing::Is(105));
}

/// 35 accounts, 10 looked at after each batch: ticks carry the closings on, and the report goes out with the last.
#[test]
fn a_large_slot_closes_step_by_step_and_reports_after_the_last_closing() {
    let mut world = World::new(SettlementConfig { closings_per_batch: 10, ..config(1) });
    for n in 0..35 {
        let wallet = format!("users:{n}:wallet");
        world.journals[0].book(SATURDAY, &[(&wallet, if n % 2 == 0 { 1 } else { -1 })]);
    }
    world.drain(0);
    world.journals[0].aligned(SATURDAY);
    for hour in 0..9 {
        world.journals[0].tick(at(SATURDAY + 1, hour));
    }
    let steps: Vec<_> = (0..4)
        .map(|_| {
            let out = world.window(0, usize::MAX, 0, false).unwrap().unwrap();
            (out.consumed, out.dailies().len(), out.reports())
        })
        .collect();
    // A window that holds the bound ends there, whatever else it was given; the last reads on.
    assert_eq!(steps[..3], [(1, 10, 0), (1, 10, 0), (1, 10, 0)]);
    assert_eq!(steps[3], (7, 5, 1), "the last five closings and the report in one transaction");
    assert!(world.window(0, usize::MAX, 0, false).unwrap().is_none());
}

#[test]
fn what_is_booked_while_closings_go_out_is_in_exactly_one_closing() {
    let mut world = World::new(SettlementConfig { closings_per_batch: 1, ..config(1) });
    let journal = &mut world.journals[0];
    journal.book(SATURDAY, &[("users:1:wallet", -10), ("users:2:wallet", -20), ("bank:icbc", 30)]);
    // First step: users:1. Then a late entry for both, and a new account.
    journal.aligned(SATURDAY);
    journal.book(SATURDAY, &[("users:1:wallet", -1), ("users:2:wallet", -2), ("bank:icbc", 3)]);
    journal.book(SATURDAY, &[("users:3:wallet", -4), ("bank:icbc", 4)]);
    journal.tick(at(SATURDAY + 1, 1));
    let mut dailies = Vec::new();
    while let Some(out) = world.window(0, 1, 0, false).unwrap() {
        dailies.extend(out.dailies());
        let done = world.read[0] == 5;
        assert_eq!(out.reports(), usize::from(done), "reported only after the last account");
    }
    assert_eq!(
        dailies,
        [
            "users:1:wallet 2026-11-21 r1 10",
            "users:1:wallet 2026-11-21 r2 11",
            "users:2:wallet 2026-11-21 r1 22",
            "bank:icbc 2026-11-21 r1 37",
            "users:3:wallet 2026-11-21 r1 4",
        ]
    );
}

#[test]
fn an_alignment_and_its_entries_may_share_a_batch() {
    let mut world = World::new(config(1));
    let late = world.journals[0].booked(SATURDAY, &[("bank:icbc", 1), (WALLET, -1)]);
    let next = world.journals[0].booked(SATURDAY + 1, &[("bank:icbc", 2), (WALLET, -2)]);
    world.journals[0].batch(vec![tick(at(SATURDAY + 1, 1)), late, aligned(SATURDAY), next]);
    let out = world.drain(0);
    assert_eq!(out.dailies(), ["bank:icbc 2026-11-21 r1 1", "users:1:wallet 2026-11-21 r1 1"]);
}
