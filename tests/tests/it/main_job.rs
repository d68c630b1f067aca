//! The main job on real input: a provider's bill of 45 lines, and events made from its rows, through the whole
//! pipeline on the embedded log.
//!
//! The bill is read from `LEDGERFLOW_SAMPLES`, else `../shared/samples` beside the workspace; a missing file fails
//! only when the variable is set. Merchants are invented, everything else of an event stands in the bill.

use audit::AuditLimit;
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::source;
use ledgerflow_tests::books::{self, Books};
use ledgerflow_tests::events::Event;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::PartitionCounts;
use serde_json::json;
use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use stream::faults;

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 4 };
/// Business time at the start: the morning of the bill's day where the provider is.
const MORNING: &str = "2019-02-19T09:00:00+08:00";
const SECOND: i64 = 1_000_000;

fn sample() -> Option<String> {
    let set = std::env::var_os("LEDGERFLOW_SAMPLES");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = set.as_ref().map_or_else(|| root.join("../shared/samples"), PathBuf::from);
    let path = folder.join("wechat_merchant/bill.ALL.csv");
    match std::fs::read_to_string(&path) {
        Ok(content) => {
            println!("samples: 1 file read, {}", path.display());
            Some(content)
        }
        Err(error) if set.is_some() => panic!("{}: {error}", path.display()),
        Err(_) => {
            println!("samples: 0 files read, {} is not there", path.display());
            None
        }
    }
}

/// What we booked and what the provider says.
#[derive(Clone)]
struct Day {
    events: Vec<Event>,
    bill: String,
}

/// The event behind a row of the bill.
fn event(row: &str) -> Event {
    let cells: Vec<&str> = row.trim_start_matches('`').split(",`").collect();
    let refund = cells[9] == "REFUND";
    let mut data = json!({
        "order_id": cells[6], "merchant_id": "7", "provider": "wechat", "provider_account": cells[2],
        "currency": cells[11], "amount": cells[if refund { 16 } else { 24 }], "fee": cells[22],
    });
    let mut id = format!("paid-{}", cells[6]);
    if refund {
        data["refund_id"] = json!(cells[15]);
        id = format!("refunded-{}", cells[15]);
    }
    let kind = if refund { "refund.succeeded" } else { "order.paid" };
    let time = format!("{}+08:00", cells[0].replace(' ', "T"));
    Event { id, kind, subject: format!("orders:{}", cells[6]), time, data }
}

fn day() -> Option<Day> {
    let bill = sample()?;
    let rows: Vec<&str> = bill.lines().skip(1).take_while(|line| line.starts_with('`')).collect();
    let events: Vec<Event> = rows.into_iter().map(event).collect();
    assert_eq!(events.iter().filter(|event| event.kind == "order.paid").count(), 31);
    assert_eq!(events.len(), 45);
    Some(Day { events, bill })
}

fn cast() -> Cast {
    Cast::new(Setup { time_zone: "Asia/Shanghai".into(), ..Setup::new(COUNTS) })
}

fn world(dir: &Path) -> World {
    World::embedded(&cast(), dir, parse_instant(MORNING).unwrap())
}

fn send(world: &mut World, events: &[Event]) {
    for (number, event) in events.iter().enumerate() {
        world.send(number % 3, number as u32, event.to_bytes());
    }
}

/// Auditor and accountant agree that nothing is lost, then: how many match, and what does not.
fn judged(world: &World) -> (usize, Vec<(String, &'static str)>) {
    let limit = AuditLimit { quiesced: true, ..AuditLimit::default() };
    let report = audit::audit(world.log(), world.counts(), limit).unwrap();
    assert!(report.passed, "{:#?}", report.wrong().collect::<Vec<_>>());
    Books::read(world).assert_kept(world);
    let (matched, breaks): (Vec<_>, Vec<_>) =
        books::cases(world).into_iter().partition(|(_, kind)| *kind == "matched");
    (matched.len(), breaks)
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
        send(&mut world, &day.events);
        // Some windows of each processor, not all.
        (0..40).for_each(|_| world.step());
        world.crash_all();
        world.lose_all_checkpoints();
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
const PAYMENT: &str = "autotest_20190219015232_89201/";
/// Line 2: a refund of 0.01.
const REFUND: &str = "autotest_20190216081946_82335/REF4200000263201902167700963919";

type Mutation = (&'static str, usize, &'static [(&'static str, &'static str)], Change);

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
    let Some(day) = day() else { return };
    for bill_first in [true, false] {
        assert_eq!(run(&day, bill_first), (45, Vec::new()), "bill first: {bill_first}");
    }
}

#[test]
fn each_of_nine_mutations_gives_exactly_its_break() {
    let Some(day) = day() else { return };
    for (name, matched, breaks, change) in MUTATIONS {
        let mut changed = day.clone();
        change(&mut changed);
        let breaks: Vec<(String, &str)> =
            breaks.iter().map(|(key, kind)| ((*key).to_owned(), *kind)).collect();
        for bill_first in [true, false] {
            assert_eq!(
                run(&changed, bill_first),
                (matched, breaks.clone()),
                "{name}, bill first: {bill_first}"
            );
        }
    }
}

#[test]
fn a_late_counterpart_turns_a_break_into_a_match() {
    let Some(mut day) = day() else { return };
    let late = day.events.remove(2);
    let dir = tempfile::tempdir().unwrap();
    let mut world = world(dir.path());
    send(&mut world, &day.events);
    world.import(&source(), day.bill.as_bytes());
    world.run_for(SECOND);
    assert_eq!(judged(&world), (44, vec![(PAYMENT.to_owned(), "theirs_only")]));
    send(&mut world, &[late]);
    world.run_for(SECOND);
    assert_eq!(judged(&world), (45, Vec::new()));
}

#[test]
fn a_crash_at_any_point_of_any_processor_gives_the_same_matches() {
    let Some(day) = day() else { return };
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
