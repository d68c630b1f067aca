//! Ids that were decided at more than one home: noted with both of them, whichever was read first, and nothing that
//! one home decides or several partitions book together.

use super::book_keeper::{Event, Plan, World, pay};
use super::clean::{self, QUIESCED, run};
use super::{adjustments, groups};
use crate::finding::Findings;
use crate::ids::{Came, Decided, Ids, Known, key_digest};
use crate::{AuditLimit, Check, CheckResult, Report};
use schemas::wire::{EventKey, IdHorizon, IdMark, Outcome};

/// Checks that are seeded here.
pub const SEEDED: [Check; 1] = [Check::IdReused];

const HOUR_US: i64 = 3_600_000_000;

fn audit(world: &World) -> Report {
    let limit = AuditLimit { settlement: false, reconcile: false, orders: false, ..QUIESCED };
    run(&world.log(), limit)
}

fn of(report: &Report) -> &CheckResult {
    report.check(Check::IdReused).unwrap()
}

/// Forwards, groups, reversals, captures, approvals, repetitions and conflicts have one home each.
#[test]
fn what_one_home_decides_is_not_noted() {
    for world in [clean::history(), groups::history(), adjustments::history()] {
        let report = audit(&world);
        assert_eq!((of(&report).noted, of(&report).wrong), (0, 0), "{report}");
        assert!(of(&report).checked >= 6, "{report}");
    }
}

#[test]
fn an_id_that_is_sent_under_another_key_is_noted_with_both_homes() {
    let rows = [
        (pay("twice", 1, 2, 7), "the same body"),
        (Event { body: 2, ..pay("twice", 1, 2, 8) }, "another body"),
        (Event { plan: Plan::Refuse, ..pay("twice", 1, 2, 7) }, "the same body"),
        (Event { plan: Plan::Forward(true), ..pay("twice", 1, 2, 7) }, "the same body"),
    ];
    for (again, body) in rows {
        let mut world = World::new(1, 3);
        let first = Event { home: 0, ..pay("twice", 1, 2, 7) };
        world.ingest(0, &[pay("once", 1, 2, 7), Event { plan: again.plan, ..first }], None);
        (0..3).for_each(|p| world.post(p));
        // At its home it is known; the other one decides it, and knows it from then on.
        let again = Event { home: 2, ..again };
        world.ingest(0, &[again.clone(), again], None);
        (0..2).for_each(|_| (0..3).for_each(|p| world.post(p)));
        let report = audit(&world);
        assert!(report.passed, "the books are right: {report}");
        let found = of(&report);
        assert_eq!((found.checked, found.noted, found.wrong), (3, 1, 0), "{report}");
        let [finding] = &found.findings[..] else { panic!("{report}") };
        assert_eq!(finding.place, r#"journal/0 batch 1 event "shop" "twice""#);
        let what = format!("its home is 0 by one key, and 2 by another (journal/2 batch 2), with {body}");
        assert_eq!(finding.what, what);
        assert!(report.to_string().contains(&what), "{report}");
    }
}

/// Decisions on one id at several homes, as each home's journal tells of them.
struct Homes {
    ids: Ids,
    found: Findings,
}

/// What a home's journal says: business time, or that an event came and was decided; `old` = it says that it is older
/// than what is recognised.
#[derive(Debug, Clone, Copy)]
enum Says {
    Time(i64),
    Came { batch: u64, old: bool },
}

fn key(id: &str) -> EventKey {
    EventKey { source: "shop".into(), id: id.into() }
}

impl Homes {
    fn new(homes: u32) -> Self {
        Self { ids: Ids::new(homes, true, 9), found: Findings::new(9) }
    }

    /// A batch is an hour. Recognised for 7 days, kept for 400, both counted from the hour.
    fn time(&mut self, home: u32, hour: i64) {
        let from = |days: i64| u64::try_from(hour - 24 * days).unwrap_or(0);
        let after = |days: i64| if hour > 24 * days { (hour - 24 * days) * HOUR_US } else { i64::MIN };
        let mark = vec![IdMark { business_time_us: hour * HOUR_US, batch: hour.cast_unsigned() }];
        let to = IdHorizon {
            recognised_from: from(7),
            recognised_after_us: after(7),
            kept_from: from(400),
            kept_after_us: after(400),
            mark,
        };
        self.ids.remembers(home, hour.cast_unsigned(), &to);
    }

    fn came(&mut self, home: u32, batch: u64, old: bool, id: &str) {
        let decided = Decided::new(Outcome::Booked as i32, home, batch);
        let known = Known { body: 1, decided, came: Came::new(home, batch, old) };
        let event = key(id);
        self.ids.insert(Some(&event), key_digest(Some(&event)), known, &mut self.found);
    }

    fn says(&mut self, home: u32, says: Says) {
        match says {
            Says::Time(hour) => self.time(home, hour),
            Says::Came { batch, old } => self.came(home, batch, old, "it"),
        }
    }

    fn noted(&self) -> CheckResult {
        let mut found = self.found.clone();
        self.ids.report(&mut found);
        found.results().into_iter().find(|result| result.check == Check::IdReused.name()).unwrap()
    }
}

/// A journal of so many days with one event in it.
fn journal(day: i64, old: bool) -> Vec<Says> {
    let last = 24 * (day + 1);
    let at = 24 * day + 1;
    let mut says: Vec<Says> = (1..=last).map(Says::Time).collect();
    let came = says.iter().position(|says| matches!(says, Says::Time(hour) if *hour == at)).unwrap();
    says.insert(came, Says::Came { batch: at.cast_unsigned(), old });
    says
}

/// It is noted where the home of the earlier event would have known the later one, as far apart as the journals are read.
#[test]
fn whether_it_is_noted_is_told_by_business_time_and_by_no_order_of_reading() {
    let rows = [
        // Day of the one, of the other; whether either says that it is old; noted.
        (0, 0, [false, false], true),
        (3, 9, [false, false], true),
        (3, 11, [false, false], false),
        (3, 11, [false, true], true),
        (3, 11, [true, false], false),
        (30, 420, [false, true], true),
        (10, 420, [false, true], false),
    ];
    for (one, other, [one_old, other_old], noted) in rows {
        let journals = [journal(one, one_old), journal(other, other_old)];
        let mut results = Vec::new();
        for order in [[0, 1], [1, 0]] {
            // One journal whole before the other, as far as they go.
            let mut homes = Homes::new(2);
            for home in order {
                journals[home].iter().for_each(|says| homes.says(home as u32, *says));
            }
            results.push(homes.noted());
        }
        // Both side by side.
        let mut homes = Homes::new(2);
        for at in 0..journals[0].len().max(journals[1].len()) {
            for (home, journal) in (0..).zip(&journals) {
                journal.get(at).into_iter().for_each(|says| homes.says(home, *says));
            }
        }
        results.push(homes.noted());
        for result in &results {
            assert_eq!(result.noted, u64::from(noted), "{one} {other} {one_old} {other_old}: {result:?}");
            assert_eq!(result, &results[0]);
        }
    }
}

/// Those found first by time are kept, and all are counted.
#[test]
fn the_findings_that_are_kept_do_not_depend_on_the_order_of_reading() {
    let mut kept = Vec::new();
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut homes = Homes::new(3);
        for home in order {
            for hour in 1..=20_i64 {
                homes.came(home, hour.cast_unsigned(), false, &format!("id-{hour:02}"));
                homes.time(home, hour);
            }
        }
        let noted = homes.noted();
        // Of three homes each pair is one.
        assert_eq!((noted.checked, noted.noted, noted.findings.len()), (60, 60, 9));
        kept.push(noted.findings);
    }
    assert!(kept.iter().all(|findings| *findings == kept[0]), "{kept:#?}");
}

/// An entry stays while any home may still ask for it, and goes when the slowest has come so far.
#[test]
fn what_nobody_can_ask_for_is_dropped() {
    let mut homes = Homes::new(2);
    homes.came(0, 1, false, "first");
    homes.came(1, 1, false, "first");
    homes.came(0, 24 * 300, false, "later");
    assert_eq!((homes.ids.len(), homes.noted().noted), (3, 1));
    let digest = key_digest(Some(&key("first")));
    (1..=24 * 402).for_each(|hour| homes.time(0, hour));
    assert_eq!(homes.ids.len(), 3, "the other home has read nothing yet");
    assert!(homes.ids.get(&digest, 0).is_none() && homes.ids.get(&digest, 1).is_some());
    (1..=24 * 402).for_each(|hour| homes.time(1, hour));
    assert_eq!(homes.ids.len(), 1);
    assert!(homes.ids.get(&key_digest(Some(&key("later"))), 0).is_some());
    // What waits is kept however long it does.
    let waits = Known { body: 1, decided: Decided::pending(), came: Came::new(0, 2, false) };
    homes.ids.insert(Some(&key("waits")), key_digest(Some(&key("waits"))), waits, &mut homes.found);
    (24 * 402 + 1..24 * 500).for_each(|hour| (0..2).for_each(|home| homes.time(home, hour)));
    assert!(homes.ids.get(&key_digest(Some(&key("waits"))), 0).is_some());
}

#[test]
fn an_entry_takes_as_many_bytes_as_is_said() {
    let mut homes = Homes::new(8);
    let (mut least, mut most) = (u64::MAX, 0);
    for n in 1..=300_000_u64 {
        homes.came((n % 8) as u32, 1, false, &n.to_string());
        if n > 50_000 && n.is_multiple_of(1_000) {
            let each = homes.ids.bytes() as u64 / n;
            (least, most) = (least.min(each), most.max(each));
        }
    }
    assert!((46..60).contains(&least) && (81..=94).contains(&most), "{least} to {most}");
}

/// Memory of the process for each event key, as the kernel counts it; with the program's own allocator it is up to 115.
#[test]
#[ignore = "measures; run with --ignored --nocapture"]
fn bytes_of_an_event_key() {
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        4096 * text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let (before, mut homes) = (resident(), Homes::new(8));
    for n in 1..=8_000_000_u64 {
        homes.came((n % 8) as u32, 1, false, &n.to_string());
        if n.is_multiple_of(500_000) {
            let (is, counted) = ((resident() - before) / n, homes.ids.bytes() as u64 / n);
            println!("{n} keys: {is} bytes each resident, {counted} in tables");
        }
    }
}
