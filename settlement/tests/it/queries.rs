//! What the CLI may ask of a slot.

use crate::journal::{SATURDAY, at, decision};
use crate::world::{World, config};
use schemas::balance_json::{DayState, NormalSide};
use schemas::dates::Day;
use schemas::wire::journal_item::Item;
use settlement::query::Closing;
use settlement::state::Slot;
use stream::processor::{Processor, SlotState};

fn world() -> World {
    let mut world = World::new(config(1));
    let journal = &mut world.journals[0];
    journal.tick(at(SATURDAY, 9));
    journal.book(SATURDAY, &[("users:9:wallet", -700), ("bank:icbc", 700)]);
    let yen = vec![journal.entry("bank:icbc", "JPY", 5), journal.entry("users:9:wallet", "JPY", -5)];
    journal.batch(vec![Item::Decision(decision(SATURDAY, yen))]);
    journal.book(SATURDAY + 1, &[("users:1:wallet", -50), ("users:9:wallet", 50)]);
    journal.book(SATURDAY + 1, &[("suspense:p00", -3), ("clearing:in:p01:p00", 3)]);
    world.drain(0);
    world
}

#[test]
fn balances_stand_on_their_normal_side_in_order_of_name() {
    let world = world();
    let rules = world.settlement.rules();
    let balances = rules.balances(&world.slots[0]);
    let rows: Vec<_> = balances
        .iter()
        .map(|b| format!("{} {} {} {:?}", b.account, b.asset, b.balance, b.normal_side))
        .collect();
    assert_eq!(
        rows,
        [
            "bank:icbc CNY 7.00 Debit",
            "bank:icbc JPY 5 Debit",
            "clearing:in:p01:p00 CNY 0.03 Debit",
            "suspense:p00 CNY 0.03 Credit",
            "users:1:wallet CNY 0.50 Credit",
            "users:9:wallet CNY 6.50 Credit",
            "users:9:wallet JPY 5 Credit",
        ]
    );
    let one = rules.balances_of(&world.slots[0], "users:9:wallet");
    assert_eq!(one.iter().map(|b| &*b.asset).collect::<Vec<_>>(), ["CNY", "JPY"]);
    assert_eq!(
        (one[0].seq, one[0].previous_balance.as_str(), one[0].normal_side),
        (2, "7.00", NormalSide::Credit)
    );
    assert!(
        rules.balances_of(&world.slots[0], "users:404:wallet").is_empty(),
        "no account is not a zero balance"
    );
}

#[test]
fn the_trial_balance_is_zero_for_every_asset() {
    let world = world();
    let sums = world.settlement.rules().trial_balance(&world.slots[0]);
    assert_eq!(sums.into_iter().collect::<Vec<_>>(), [("CNY", Some(0)), ("JPY", Some(0))]);
    let mut one_sided = World::new(config(1));
    one_sided.journals[0].book(SATURDAY, &[("bank:icbc", 7)]);
    one_sided.drain(0);
    let slot = &one_sided.slots[0];
    let sums = one_sided.settlement.rules().trial_balance(slot);
    assert_eq!(sums.get("CNY"), Some(&Some(7)), "a journal that does not balance shows");
    let kept = |slot: &Slot| slot.sums().find(|(asset, _)| *asset == "CNY").map(|(_, sum)| sum);
    assert_eq!(kept(slot), Some(Some(7)), "also in the sums that are kept");
    let mut restored = one_sided.settlement.open(0);
    for (key, value) in slot.canonical() {
        restored.load(&key, &value).unwrap();
    }
    assert_eq!(kept(&restored), kept(slot), "and after a restore");
}

#[test]
fn closings_days_and_how_far() {
    let mut world = world();
    let closing = |world: &World, account: &str, day: i32| {
        world.settlement.rules().closing(&world.slots[0], account, "CNY", Day(day))
    };
    assert_eq!(closing(&world, "users:9:wallet", SATURDAY), Closing::Is(-700));
    assert_eq!(closing(&world, "users:9:wallet", SATURDAY + 1), Closing::Is(-650));
    assert_eq!(closing(&world, "users:9:wallet", SATURDAY - 1), Closing::InDailyBalances);
    assert_eq!(closing(&world, "users:404:wallet", SATURDAY), Closing::NoAccount);
    world.journals[0].tick(at(SATURDAY + 1, 1)).aligned(SATURDAY).tick(at(SATURDAY + 1, 2));
    world.drain(0);
    let days: Vec<_> = world.settlement.rules().days(&world.slots[0]);
    let rows: Vec<_> = days.iter().map(|d| (d.day.0 - SATURDAY, d.state, d.aligned, d.slots)).collect();
    assert_eq!(rows, [(0, DayState::Closed, 1, 1), (1, DayState::Open, 0, 1)]);
    let complete = world.settlement.rules().complete_until(&world.slots[0]);
    assert_eq!((complete.journal_batch, complete.business_time_us), (8, Some(at(SATURDAY + 1, 2))));
    assert_eq!((complete.closed_through, complete.held_ticks), (Some(Day(SATURDAY)), 0));
    // The bank was not booked after Saturday: Saturday's record still answers for later and for Saturday.
    world.journals[0].book(SATURDAY + 2, &[("bank:icbc", 1), ("users:1:wallet", -1)]);
    world.drain(0);
    assert_eq!(closing(&world, "bank:icbc", SATURDAY + 1), Closing::Is(700));
    assert_eq!(closing(&world, "bank:icbc", SATURDAY), Closing::Is(700));
    assert_eq!(closing(&world, "bank:icbc", SATURDAY - 1), Closing::InDailyBalances);
}
