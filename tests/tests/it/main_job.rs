//! The main job on real input: a provider's bill of 45 lines, and events made from its rows, through the whole
//! pipeline on the embedded log. Once with the bill that lies there, once with the one of our own.

use audit::AuditLimit;
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::source;
use ledgerflow_tests::books::{self, Books};
use ledgerflow_tests::events::Event;
use ledgerflow_tests::forty_five::{self, Day, MORNING};
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use stream::faults;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
const SECOND: i64 = 1_000_000;

/// The day of the bill that lies there, and that of our own bill.
fn days() -> [Day; 2] {
    [forty_five::day(), forty_five::day_of(forty_five::ours())]
}

fn cast() -> Cast {
    Cast::new(Setup { time_zone: "Asia/Shanghai".into(), ..Setup::new(COUNTS) })
}

fn world(dir: &Path) -> World {
    World::embedded(&cast(), dir, parse_instant(MORNING).unwrap())
}

pub fn send(world: &mut World, events: &[Event]) {
    for (number, event) in events.iter().enumerate() {
        world.send(number % 3, number as u32, event.to_bytes());
    }
}

/// Auditor and accountant agree that nothing is lost, then: how many match, and what does not.
pub fn judged(world: &World) -> (usize, Vec<(String, &'static str)>) {
    let limit = AuditLimit { quiesced: true, ..AuditLimit::default() };
    let report = audit::audit(world.log(), world.counts(), limit).unwrap();
    assert!(report.passed, "{:#?}", report.wrong().collect::<Vec<_>>());
    Books::read(world).assert_kept(world);
    let (matched, breaks): (Vec<_>, Vec<_>) =
        books::cases(world).into_iter().partition(|(_, kind)| *kind == "matched");
    (matched.len(), breaks)
}

/// Everybody dies in the middle of a day's traffic, and no checkpoint is left.
pub fn send_and_lose(world: &mut World, day: &Day) {
    send(world, &day.events);
    // Some windows of each processor, not all.
    (0..40).for_each(|_| world.step());
    world.crash_all();
    world.lose_all_checkpoints();
}

/// Runs a day, one side after the other with a crash between; gives how many match, and what does not.
fn run(day: &Day, bill_first: bool) -> (usize, Vec<(String, &'static str)>) {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world(dir.path());
    if bill_first {
        world.import(&source(), day.bill.as_bytes());
        world.run_for(SECOND);
        world.crash_all();
        send(&mut world, &day.events);
    } else {
        send_and_lose(&mut world, day);
        world.import(&source(), day.bill.as_bytes());
    }
    world.run_for(SECOND);
    judged(&world)
}

/// A change of events or bill. Changes of the bill rewrite its control totals, the last one excepted.
type Change = fn(&mut Day);

fn replace(bill: &mut String, from: &str, to: &str) {
    assert_eq!(bill.matches(from).count(), 1, "{from:?}");
    *bill = bill.replace(from, to);
}

fn line_of(bill: &str, number: usize) -> String {
    bill.lines().nth(number - 1).unwrap().to_owned()
}

/// Line 4 of the file: a payment of 0.03 with a fee of 0.01000.
const PAYMENT: usize = 4;
/// Line 2: a refund of 0.01.
const REFUND: usize = 2;

/// Name, matches, breaks by line of the file, what is changed.
type Mutation = (&'static str, usize, &'static [(usize, &'static str)], Change);

const MUTATIONS: [Mutation; 9] = [
    ("missing on ours", 44, &[(PAYMENT, "theirs_only")], |day| {
        day.events.remove(2);
    }),
    ("missing on theirs", 44, &[(PAYMENT, "ours_only")], |day| {
        let line = line_of(&day.bill, 4);
        let ending = if day.bill.contains("\r\n") { "\r\n" } else { "\n" };
        replace(&mut day.bill, &format!("{line}{ending}"), "");
        replace(&mut day.bill, "`45.0,`0.47,`0.14,`0.0,`0.08,`0.47,", "`44.0,`0.44,`0.14,`0.0,`0.07,`0.44,");
    }),
    ("amount", 44, &[(PAYMENT, "amount")], |day| day.events[2].data["amount"] = json!("0.04")),
    ("fee", 44, &[(PAYMENT, "fee")], |day| {
        let line = line_of(&day.bill, 4);
        replace(&mut day.bill, &line, &line.replace("`0.01000", "`0.02000"));
        replace(&mut day.bill, "`0.0,`0.08,", "`0.0,`0.09,");
    }),
    ("currency", 44, &[(PAYMENT, "currency")], |day| {
        let line = line_of(&day.bill, 4);
        replace(&mut day.bill, &line, &line.replace("`CNY", "`USD"));
    }),
    ("status", 44, &[(REFUND, "status")], |day| {
        let line = line_of(&day.bill, 2);
        replace(&mut day.bill, &line, &line.replace("`ORIGINAL,`SUCCESS", "`ORIGINAL,`PROCESSING"));
    }),
    ("duplicate line", 45, &[(PAYMENT, "duplicate")], |day| {
        let line = line_of(&day.bill, 4);
        let ending = if day.bill.contains("\r\n") { "\r\n" } else { "\n" };
        replace(&mut day.bill, &line, &format!("{line}{ending}{line}"));
        replace(&mut day.bill, "`45.0,`0.47,`0.14,`0.0,`0.08,`0.47,", "`46.0,`0.50,`0.14,`0.0,`0.09,`0.50,");
    }),
    ("duplicate event", 45, &[], |day| {
        let again = day.events[2].clone();
        day.events.push(again);
    }),
    ("wrong control total", 0, &[], |day| replace(&mut day.bill, "`0.0,`0.08,", "`0.0,`0.09,")),
];

#[test]
fn all_45_lines_of_the_real_bill_match_in_either_order() {
    for day in days() {
        for bill_first in [true, false] {
            assert_eq!(run(&day, bill_first), (45, Vec::new()), "bill first: {bill_first}");
        }
    }
}

#[test]
fn each_of_nine_mutations_gives_exactly_its_break() {
    for day in days() {
        for (name, matched, breaks, change) in MUTATIONS {
            let mut changed = day.clone();
            change(&mut changed);
            let breaks: Vec<_> = breaks.iter().map(|(line, kind)| (day.key(*line), *kind)).collect();
            for bill_first in [true, false] {
                assert_eq!(
                    run(&changed, bill_first),
                    (matched, breaks.clone()),
                    "{name}, bill first: {bill_first}"
                );
            }
        }
    }
}

#[test]
fn a_late_counterpart_turns_a_break_into_a_match() {
    let mut day = forty_five::day();
    let payment = day.key(PAYMENT);
    let late = day.events.remove(2);
    let dir = tempfile::tempdir().unwrap();
    let mut world = world(dir.path());
    send(&mut world, &day.events);
    world.import(&source(), day.bill.as_bytes());
    world.run_for(SECOND);
    assert_eq!(judged(&world), (44, vec![(payment, "theirs_only")]));
    send(&mut world, &[late]);
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}

#[test]
fn a_crash_at_any_point_of_any_processor_gives_the_same_matches() {
    let day = forty_five::day();
    let points = faults::ALL.iter().filter(|point| point.name().starts_with("worker."));
    for (number, point) in points.enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = world(dir.path());
        world.import(&source(), day.bill.as_bytes());
        send(&mut world, &day.events);
        let crashed = Rc::new(Cell::new(0));
        let (counted, wanted, mut hits) = (Rc::clone(&crashed), *point, number);
        let armed = faults::arm_thread(move |point, _| {
            hits += usize::from(point == wanted);
            let fires = point == wanted && hits % 3 == 0 && counted.get() < 12;
            counted.set(counted.get() + u32::from(fires));
            fires
        });
        world.run_for(2 * SECOND);
        drop(armed);
        assert!(crashed.get() > 0, "no crash at {point}");
        assert_eq!(judged(&world), (45, Vec::new()), "{point}");
    }
}
