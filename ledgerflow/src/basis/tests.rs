use super::*;
use schemas::topics::PartitionCounts;
use std::sync::Barrier;
use stream::embedded::{EmbeddedLog, Options};
use stream::sim::{SimLog, SimSettings};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 1 };

fn books() -> (tempfile::TempDir, EmbeddedLog) {
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(dir.path(), Options::new(COUNTS)).unwrap();
    (dir, log)
}

/// The default setup in another zone, with assets added to its chart.
fn setup(zone: &str, assets: &str) -> Setup {
    let mut setup = Setup { time_zone: zone.to_owned(), ..Setup::new(COUNTS) };
    setup.chart.0 = setup.chart.0.replace("assets:\n", &format!("assets:\n{assets}"));
    setup
}

const UTC: &str = "UTC";
const POUND: &str = "  GBP: { exponent: 2 }\n";
const GOLD: &str = "  XAU: { exponent: 4 }\n";

fn in_books(log: &dyn Log) -> Option<Basis> {
    in_force(records(log).unwrap())
}

#[test]
fn books_say_once_what_they_were_opened_with() {
    let (_dir, log) = books();
    // A question binds nobody.
    check(&log, &setup("Asia/Tokyo", GOLD)).unwrap();
    assert_eq!(in_books(&log), None);
    for _ in 0..3 {
        open(&log, &setup("asia/shanghai", "")).unwrap();
    }
    assert_eq!(records(&log).unwrap().len(), 1);
    // As the database writes it, not as the operator did.
    assert_eq!(in_books(&log).unwrap().time_zone, "Asia/Shanghai");
    check(&log, &setup("Asia/Shanghai", GOLD)).unwrap();
    assert_eq!(records(&log).unwrap().len(), 1);
    open(&log, &setup("Asia/Shanghai", GOLD)).unwrap();
    assert_eq!(in_books(&log), Some(of(&setup("Asia/Shanghai", GOLD)).unwrap()));
    // It is there for good: it can neither be left out nor be asked without.
    for with in [open, check] {
        let why = format!("{:#}", with(&log, &setup("Asia/Shanghai", "")).unwrap_err());
        assert!(why.starts_with("built-in accounts.yaml: assets.XAU: these books"), "{why}");
        let why = format!("{:#}", with(&log, &setup("UTC", GOLD)).unwrap_err());
        assert!(why.starts_with("book.time_zone: these books"), "{why}");
    }
    assert_eq!(records(&log).unwrap().len(), 2);
}

/// Two at once, however their steps fall: how many of them may go on, and whose settings the books have then.
#[test]
fn of_two_who_open_at_once_with_different_settings_one_is_refused() {
    let rows = [
        ("first settings", None, [setup(UTC, ""), setup("Asia/Tokyo", "")], 1..=1),
        ("additions", Some(setup(UTC, "")), [setup(UTC, POUND), setup(UTC, GOLD)], 1..=1),
        ("an addition beside none", None, [setup(UTC, ""), setup(UTC, POUND)], 1..=2),
        ("the same", None, [setup(UTC, POUND), setup(UTC, POUND)], 2..=2),
    ];
    for (what, opened, both, may_go_on) in rows {
        for _ in 0..200 {
            let log = SimLog::new(SimSettings::new(1, COUNTS));
            opened.iter().for_each(|setup| open(&log, setup).unwrap());
            let (log, barrier) = (&log, &Barrier::new(2));
            let went_on: Vec<&Setup> = std::thread::scope(|scope| {
                let opening = both.each_ref().map(|setup| {
                    scope.spawn(move || {
                        barrier.wait();
                        open(log, setup).is_ok().then_some(setup)
                    })
                });
                opening.into_iter().filter_map(|opened| opened.join().unwrap()).collect()
            });
            assert!(may_go_on.contains(&went_on.len()), "{what}: {} went on", went_on.len());
            let held = in_books(log).unwrap();
            let last = went_on.iter().map(|setup| of(setup).unwrap()).find(|ours| *ours == held);
            assert!(last.is_some(), "{what}: the books have the settings of somebody who was refused");
        }
    }
}

#[test]
fn what_is_no_basis_stops_by_its_place() {
    let (_dir, log) = books();
    open(&log, &setup(UTC, "")).unwrap();
    log.append(vec![OutRecord::new(AT, b"{\"format\":2}".to_vec().into())]).unwrap();
    for with in [open, check] {
        let why = format!("{:#}", with(&log, &setup(UTC, "")).unwrap_err());
        assert_eq!(why, "books/0 offset 1: format version 2, this program reads 1");
    }
}
