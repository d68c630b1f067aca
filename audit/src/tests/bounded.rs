//! Memory over many days: rows that can be judged no more are let go, and what is left finds the same.

use super::book_keeper::{DAY, Event, World, leg, pay};
use super::clean::QUIESCED;
use super::memory_log::MemoryLog;
use crate::finding::{Findings, Place};
use crate::recon::Recon;
use crate::{AuditLimit, Auditor, Check};
use schemas::topics::Topic;
use schemas::wire::{BillLine, Match, OurSide, TheirSide};
use stream::log::TopicPartition;

/// So many days, each with payments inside and across partitions, closed one after the other.
fn many(days: i32) -> World {
    let mut world = World::new(2, 2);
    let fund = |id: &str, user: u32| Event {
        legs: vec![leg("bank:0:main", 10_000), leg(&format!("users:{user}:wallet"), -10_000)],
        ..pay(id, 0, user, 1)
    };
    world.announce(DAY);
    world.ingest(0, &[fund("fund-1", 1), fund("fund-2", 2)], None);
    (0..2).for_each(|p| world.post(p));
    for date in DAY..DAY + days {
        let on = |id: &str, from, to| Event { date, ..pay(&format!("{id}-{date}"), from, to, 1) };
        world.ingest(0, &[on("inside", 2, 4), on("across", 2, 3), on("back", 1, 2)], None);
        (0..2).for_each(|p| world.post(p));
        world.announce(date + 1);
        (0..2).for_each(|slot| world.ingest(slot, &[], Some(date)));
        (0..2).for_each(|_| (0..2).for_each(|p| world.post(p)));
        (0..2).for_each(|p| world.settle(p));
        (0..2).for_each(|p| world.close_day(p, date));
        world.flow_closed(date);
    }
    world
}

/// Closings and days of accounts that are kept after a log was read to its end, and its report.
fn rows(log: &MemoryLog) -> ([usize; 2], crate::Report) {
    let limit = AuditLimit { reconcile: false, ..QUIESCED };
    let mut auditor = Auditor::new(log, log.counts, limit).unwrap();
    while !auditor.step().unwrap().at_end {}
    let closings = auditor.edges.closings.values().flat_map(|days| days.values()).map(|day| day.len()).sum();
    let days = auditor.posting.iter().map(|posting| posting.accounts.days()).sum();
    ([closings, days], auditor.report())
}

#[test]
fn closings_and_days_of_accounts_go_when_nothing_can_change_them() {
    let (few, some) = rows(&many(4).log());
    let (more, all) = rows(&many(40).log());
    assert!(some.passed && all.passed, "{some}\n{all}");
    assert_eq!(few, more, "closings and days of accounts after 4 days and after 40");
    let judged = |report: &crate::Report| report.check(Check::DayClosing).unwrap().checked;
    assert!(judged(&all) > 9 * judged(&some), "{} and {} closings", judged(&all), judged(&some));
}

#[test]
fn a_closing_that_is_wrong_is_found_when_its_day_is_let_go() {
    let log = many(6).log();
    let at = TopicPartition::new(Topic::BalancesDaily, 1);
    log.change(at.topic, at.partition, |held| {
        let text = String::from_utf8(held.records[0].value.to_vec()).unwrap();
        let wrong = text
            .replace(r#""balance_minor":""#, r#""balance_minor":"41","was":""#)
            .replace(r#""debit_minus_credit_minor":""#, r#""debit_minus_credit_minor":"-41","is":""#);
        assert_ne!(text, wrong);
        held.records[0].value = wrong.into();
    });
    let limit = AuditLimit { reconcile: false, quiesced: false, ..QUIESCED };
    let mut auditor = Auditor::new(&log, log.counts, limit).unwrap();
    while !auditor.step().unwrap().at_end {}
    let look = auditor.look();
    let first = look.first.clone().unwrap();
    assert_eq!((look.wrong, first.check.as_str()), (1, "days.closing"), "{look:?}");
    assert!(first.place.starts_with("balances.daily/1@0 "), "{first}");
    assert_eq!(auditor.found_since(0), [first]);
}

#[test]
fn a_day_without_a_closing_is_found_when_it_is_let_go() {
    let log = many(6).log();
    log.change(Topic::BalancesDaily, 1, |held| drop(held.records.remove(0)));
    let limit = AuditLimit { reconcile: false, quiesced: false, ..QUIESCED };
    let report = crate::audit(&log, log.counts, limit).unwrap();
    let check = report.check(Check::DayClosing).unwrap();
    assert_eq!(check.wrong, 1, "{report}");
    assert!(check.findings[0].what.contains("without its closing"), "{report}");
}

fn place(offset: i64) -> Place {
    Place { at: TopicPartition::new(Topic::ReconSides, 0), offset, batch: 0 }
}

#[test]
fn order_numbers_are_kept_for_so_many_days_and_older_cases_are_not_judged() {
    let (mut recon, mut found) = (Recon::new(true, 10), Findings::new(9));
    for day in DAY..DAY + 400 {
        let order = format!("o-{day}");
        let ours = OurSide {
            r#match: Some(Match { order: order.clone(), ..Match::default() }),
            accounting_date: day,
            journal_batch: 1,
            ..OurSide::default()
        };
        recon.our_side(place(0), &ours, 0, &mut found);
        let line = Some(BillLine { order: format!("t-{day}"), ..BillLine::default() });
        recon.their_side(place(0), &TheirSide { day, line, ..TheirSide::default() }, &mut found);
        let kept: usize = recon.orders.values().map(|of_day| of_day.len()).sum();
        assert!(kept <= 20, "{kept} order numbers");
    }
    let newest = DAY + 399;
    let names = |recon: &mut Recon, order: &str, day: i32| recon.names(place(1), (order, ""), Some(day));
    names(&mut recon, &format!("o-{newest}"), newest);
    names(&mut recon, &format!("t-{newest}"), newest);
    names(&mut recon, &format!("o-{DAY}"), DAY);
    names(&mut recon, "nobody's", newest);
    recon.judge_named(&mut found);
    let results = found.results();
    let named = results.iter().find(|check| check.check == Check::ReconNamed.name()).unwrap();
    assert_eq!((named.checked, named.uncovered, named.wrong), (2, 1, 0));
    recon.report(true, |_| u64::MAX, &mut found);
    let results = found.results();
    let named = results.iter().find(|check| check.check == Check::ReconNamed.name()).unwrap();
    assert_eq!(named.wrong, 1, "{:?}", named.findings);
}
