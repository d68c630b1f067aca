//! Events that several partitions must agree to: accepted when each was asked, has answered and is told; found when
//! anything of that is not so, or something stays on hold.

use super::book_keeper::{
    Event, Plan, World, capture, change, describe, hold, leg, limit, pay, pay_at_most, release, reverse,
    up_to,
};
use super::clean::{QUIESCED, run};
use crate::Check;
use crate::{AuditLimit, Report};
use prost::Message;
use schemas::topics::Topic;
use schemas::wire::{
    Decision, JournalItem, LegOverdraft, Outcome, change_account::Action, journal_item::Item,
};

/// Checks whose defects are seeded here.
pub const SEEDED: [Check; 7] = [
    Check::OutcomeGroup,
    Check::ReversalAmount,
    Check::HoldOwner,
    Check::HoldAmount,
    Check::AccountStatus,
    Check::AccountLimits,
    Check::AccountVelocity,
];

/// Home is partition 0, which has something to put on hold itself; partition 1 and 2 are asked. One event is booked,
/// one is refused by partition 2.
pub fn history() -> World {
    let mut world = World::new(1, 3);
    let fund = |user: u32| Event {
        legs: vec![leg("bank:0:main", 900), leg(&format!("users:{user}:wallet"), -900)],
        home: 0,
        ..pay(&format!("fund-{user}"), 0, user, 1)
    };
    let several = |id: &str, refuses: Option<u32>| Event {
        legs: vec![
            leg("users:3:wallet", 10),
            up_to(leg("users:1:wallet", 20), 5),
            leg("users:2:wallet", 30),
            leg("shops:1:payable", -60),
        ],
        home: 0,
        plan: Plan::Group(refuses),
        ..pay(id, 3, 1, 1)
    };
    world.ingest(0, &[fund(3), fund(1), fund(2)], None);
    (0..3).for_each(|p| world.post(p));
    world.ingest(0, &[several("agreed", None), several("refused", Some(2))], None);
    [0, 1, 2, 0, 1, 2].into_iter().for_each(|p| world.post(p));
    let placed = [hold("kept", 3, 300, 0), hold("freed", 3, 50, 0), hold("short", 3, 70, 1)];
    world.ingest(0, &placed.map(|event| Event { home: 0, ..event }), None);
    let later = [
        capture("first", "kept", 3, 100, false),
        capture("last", "kept", 3, 150, true),
        release("release", "freed", 3),
        change("freeze", 3, Action::Freeze),
        change("unfreeze", 3, Action::Unfreeze),
        pay("thawed", 3, 6, 1),
        pay("paid", 3, 6, 100),
        reverse("a part", "paid", 3, 6, 60),
        reverse("the rest", "paid", 3, 6, 40),
        limit("limit", 3, 0),
        pay("within", 3, 6, 1),
        overdrawn("overdrawn", 3, 6, (540, 2)),
        describe("described", 3, "gold"),
    ];
    world.ingest(0, &later.map(|event| Event { home: 0, ..event }), None);
    // Of another user's wallet is counted what it is debited.
    world.counted = Some("users:9:wallet".into());
    world.post(0);
    world.ingest(0, &[pay("counted", 9, 12, 1), pay("again", 9, 12, 1)].map(at_home), None);
    world.post(0);
    world.ingest(0, &[at_home(pay("later", 9, 12, 1))], None);
    world.post(0);
    world
}

/// A payment whose payer may go so far below zero.
fn overdrawn(id: &str, from: u32, to: u32, (amount, by): (i128, i128)) -> Event {
    let event = pay(id, from, to, amount);
    let legs = vec![up_to(event.legs[0].clone(), by), event.legs[1].clone()];
    Event { legs, ..event }
}

fn at_home(event: Event) -> Event {
    Event { home: 0, ..event }
}

fn audit(world: &World) -> Report {
    let limit = AuditLimit { settlement: false, reconcile: false, orders: false, ..QUIESCED };
    run(&world.log(), limit)
}

#[test]
fn what_every_partition_agreed_to_is_no_defect() {
    let report = audit(&history());
    assert!(report.passed, "{report}");
    let checked = |check: Check| report.check(check).unwrap().checked;
    // On hold: three legs of one, two of the other; ended by a credit: two. What gives back is looked at as a group.
    assert_eq!((checked(Check::OutcomeGroup), checked(Check::HoldOwner)), (8, 7), "{report}");
    assert!(checked(Check::ReversalAmount) >= 2, "{report}");
    assert_eq!((checked(Check::AccountLimits), checked(Check::AccountVelocity)), (2, 2));
    assert_eq!(checked(Check::HoldAmount), 7, "three placed, two captures, a release, one over by time");
    let o = report.conservation.outcomes;
    assert_eq!((o.booked, o.refused, o.pending), (23, 1, 0));
}

/// Decided at home, and by the partition of the payer.
#[test]
fn no_more_is_booked_than_was_asked_at_most() {
    let rows: [(i128, &[Check]); 5] = [
        (1, &[]),
        (40, &[]),
        (41, &[Check::OutcomeLegs, Check::ChannelContent]),
        (0, &[Check::OutcomeLegs, Check::ChannelContent]),
        (-40, &[Check::OutcomeLegs, Check::ChannelContent]),
    ];
    for (available, expected) in rows {
        let mut world = World::new(1, 2);
        world.available = available;
        let at_home = pay_at_most("here", 2, 3, 40);
        let away = Event { home: 0, plan: Plan::Forward(true), ..pay_at_most("away", 1, 2, 40) };
        world.ingest(0, &[at_home, away], None);
        [0, 1, 0, 1].into_iter().for_each(|p| world.post(p));
        let report = audit(&world);
        let wrong = |check: Check| report.check(check).unwrap().wrong;
        for check in [Check::OutcomeLegs, Check::ChannelContent] {
            assert_eq!(wrong(check) > 0, expected.contains(&check), "{available}: {report}");
        }
    }
}

/// Changes, drops (`None`) or keeps the first journal item of a partition for which `change` returns true.
pub fn falsify(world: &mut World, p: u32, change: impl Fn(&mut Item) -> bool, drop_it: bool) {
    for draft in world.drafts(Topic::Journal, p) {
        let mut items: Vec<JournalItem> =
            draft.items.iter().map(|bytes| JournalItem::decode(bytes.clone()).unwrap()).collect();
        let Some(at) = items.iter_mut().position(|item| item.item.as_mut().is_some_and(&change)) else {
            continue;
        };
        if drop_it {
            items.remove(at);
        }
        draft.items = items.iter().map(|item| item.encode_to_vec().into()).collect();
        return;
    }
    panic!("nothing to falsify in {p}");
}

fn decision(id: &'static str, concludes: bool, change: fn(&mut Decision)) -> impl Fn(&mut Item) -> bool {
    move |item| match item {
        Item::Decision(d) if d.event.as_ref().unwrap().id == id && d.concludes == concludes => {
            change(d);
            true
        }
        _ => false,
    }
}

/// Changes the last figure that is counted of an account.
fn counted(by: i128) -> impl Fn(&mut Item) -> bool {
    move |item| match item {
        Item::Moved(moved) if moved.part[0].count == 3 => {
            moved.part[0].amount = Some((3 + by).into());
            true
        }
        _ => false,
    }
}

/// Checks that a falsified history does not pass.
fn found(p: u32, change: impl Fn(&mut Item) -> bool, drop_it: bool) -> Vec<Check> {
    let mut world = history();
    falsify(&mut world, p, change, drop_it);
    let report = audit(&world);
    let failed = |check: &&Check| report.check(**check).is_some_and(|found| found.wrong > 0);
    Check::ALL.iter().filter(failed).copied().collect()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a row for each defect")]
fn defects_of_groups_and_holds() {
    let rows: [(&str, Check, Vec<Check>); 31] = [
        (
            "gives back what is not counted",
            Check::ReversalAmount,
            found(
                0,
                decision("the rest", true, |d| d.reversed.as_mut().unwrap().sum[0].sum = Some(60.into())),
                false,
            ),
        ),
        (
            "gives back more than was moved",
            Check::ReversalAmount,
            found(
                0,
                decision("the rest", true, |d| d.reversed.as_mut().unwrap().moved[0].sum = Some(99.into())),
                false,
            ),
        ),
        (
            "gives back without waiting",
            Check::ReversalAmount,
            found(
                0,
                decision("paid", false, |d| d.reversed = Some(schemas::wire::ReversedState::default())),
                false,
            ),
        ),
        (
            "gives back other legs than it said",
            Check::OutcomeGroup,
            found(0, decision("a part", true, |d| d.entry[0].account = "users:9:wallet".into()), false),
        ),
        (
            "booked though one refused",
            Check::OutcomeGroup,
            found(0, decision("refused", true, |d| d.outcome = Outcome::Booked as i32), false),
        ),
        (
            "refused though all agreed",
            Check::OutcomeGroup,
            found(
                0,
                decision("agreed", true, |d| {
                    (d.outcome, d.reason) = (Outcome::Refused as i32, "insufficient_funds".into());
                }),
                false,
            ),
        ),
        (
            "refused for another reason",
            Check::OutcomeGroup,
            found(0, decision("refused", true, |d| d.reason = "timed_out".into()), false),
        ),
        (
            "one that holds is not told",
            Check::OutcomeGroup,
            found(0, decision("refused", true, |d| d.voided.clear()), false),
        ),
        (
            "booked without a leg",
            Check::OutcomeGroup,
            found(0, decision("agreed", true, |d| drop(d.remote.pop())), false),
        ),
        ("never decided", Check::OutcomePending, found(0, decision("agreed", true, |_| ()), true)),
        (
            "decided without being asked",
            Check::OutcomeResolution,
            found(
                0,
                decision("agreed", false, |d| {
                    d.reserve.clear();
                    d.forwarded_to = 1;
                }),
                false,
            ),
        ),
        (
            "on hold for less than nothing",
            Check::HoldOwner,
            found(0, decision("agreed", false, |d| d.held[0].amount = Some((-1_i128).into())), false),
        ),
        ("never let go", Check::HoldOwner, found(1, |i| matches!(i, Item::Voided(_)), true)),
        (
            "booked, and still on hold",
            Check::HoldOwner,
            found(
                1,
                |i| match i {
                    Item::Received(r) if r.reserved => {
                        r.reserved = false;
                        true
                    }
                    _ => false,
                },
                false,
            ),
        ),
        (
            "ends what was not on hold",
            Check::HoldOwner,
            found(
                1,
                |i| match i {
                    Item::Reserved(r) if r.event.as_ref().unwrap().id == "agreed" => {
                        r.leg.clear();
                        true
                    }
                    _ => false,
                },
                false,
            ),
        ),
        (
            "answered otherwise than taken",
            Check::ChannelContent,
            found(
                0,
                |i| match i {
                    Item::Answered(a) => {
                        a.detail = "other".into();
                        true
                    }
                    _ => false,
                },
                false,
            ),
        ),
        (
            "more left than was on hold",
            Check::HoldAmount,
            found(0, decision("first", false, |d| d.hold.as_mut().unwrap().amount = Some(201.into())), false),
        ),
        (
            "captured without a hold",
            Check::HoldAmount,
            found(0, decision("kept", false, |d| d.hold.as_mut().unwrap().event = None), false),
        ),
        (
            "another account's hold",
            Check::HoldAmount,
            found(
                0,
                decision("last", false, |d| d.hold.as_mut().unwrap().account = "users:9:wallet".into()),
                false,
            ),
        ),
        (
            "what is on hold is not what was asked",
            Check::OutcomeLegs,
            found(0, decision("kept", false, |d| d.hold.as_mut().unwrap().amount = Some(301.into())), false),
        ),
        (
            "over before its time",
            Check::HoldAmount,
            found(0, decision("short", false, |d| d.hold.as_mut().unwrap().expires_us = 2), false),
        ),
        (
            "over with another amount",
            Check::HoldAmount,
            found(
                0,
                |i| match i {
                    Item::HoldExpired(over) => {
                        over.amount = Some(71.into());
                        true
                    }
                    _ => false,
                },
                false,
            ),
        ),
        (
            "booked to a frozen account",
            Check::AccountStatus,
            found(
                0,
                decision("unfreeze", false, |d| d.account_status.as_mut().unwrap().debits_frozen = true),
                false,
            ),
        ),
        (
            "booked beyond an account's limit",
            Check::AccountLimits,
            found(
                0,
                decision("limit", false, |d| {
                    d.account_limits.as_mut().unwrap().highest = Some((-900).into());
                }),
                false,
            ),
        ),
        (
            "booked beyond the overdraft that it brings",
            Check::AccountLimits,
            found(0, decision("overdrawn", false, |d| d.overdraft[0].overdraft = Some(1.into())), false),
        ),
        (
            "brings an overdraft that its command does not",
            Check::OutcomeLegs,
            found(
                0,
                decision("within", false, |d| {
                    d.overdraft.push(LegOverdraft { leg: 0, overdraft: None, unlimited: true });
                }),
                false,
            ),
        ),
        (
            "says something else of an account than its event",
            Check::OutcomeContent,
            found(
                0,
                decision("described", false, |d| {
                    d.account_metadata.as_mut().unwrap().changed[0].value = "silver".into();
                }),
                false,
            ),
        ),
        (
            "on hold with another overdraft than was asked",
            Check::ChannelContent,
            found(
                1,
                |i| match i {
                    Item::Reserved(r) if r.event.as_ref().unwrap().id == "agreed" => {
                        r.leg[0].overdraft = Some(6.into());
                        true
                    }
                    _ => false,
                },
                false,
            ),
        ),
        ("more was moved than its entries carry", Check::AccountVelocity, found(0, counted(2), false)),
        ("nothing more was moved", Check::AccountVelocity, found(0, counted(-1), false)),
        (
            "booked to a closed account",
            Check::AccountStatus,
            found(
                0,
                decision("unfreeze", false, |d| d.account_status.as_mut().unwrap().closed = true),
                false,
            ),
        ),
    ];
    assert!(SEEDED.iter().all(|seeded| rows.iter().any(|(_, check, _)| check == seeded)));
    for (name, check, found) in rows {
        assert!(found.contains(&check), "{name}: {check:?} is not among {found:?}");
    }
}
