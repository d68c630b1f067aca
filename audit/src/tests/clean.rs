//! A history in which everything holds, whole, cut anywhere, and with its beginning gone.

use super::book_keeper::{DAY, Event, Plan, World, leg, pay};
use super::memory_log::MemoryLog;
use crate::{AuditLimit, Auditor, Check, Report, audit};
use schemas::topics::Topic;
use stream::log::TopicPartition;

pub const QUIESCED: AuditLimit = AuditLimit {
    quiesced: true,
    ids: true,
    settlement: true,
    reconcile: true,
    orders: true,
    order_days: 100,
    findings_max: 20,
    read_ahead: 1000,
    changes_max: 1000,
    step_records: 3,
    fetch_bytes: 1 << 20,
};

fn plan(plan: Plan, event: Event) -> Event {
    Event { plan, ..event }
}

/// Two ingest slots, two posting partitions; payments inside and across partitions, a forwarded one booked and one
/// refused, a refusal, a duplicate, a conflict, dead letters, suspense, a back-dated event, a new owner, a day closed
/// and a bill reconciled.
pub fn history() -> World {
    let mut world = World::new(2, 2);
    let fund = |id: &str, user: u32| Event {
        legs: vec![leg("bank:0:main", 10_000), leg(&format!("users:{user}:wallet"), -10_000)],
        ..pay(id, 0, user, 1)
    };
    world.announce(DAY);
    world.ingest(
        0,
        &[fund("fund-2", 2), fund("fund-1", 1), pay("inside", 2, 4, 300), pay("across", 2, 3, 500)],
        None,
    );
    world.ingest(1, &[pay("odd", 1, 5, 70), plan(Plan::DeadLetter, pay("unreadable", 0, 0, 1))], None);
    (0..2).for_each(|p| world.post(p));
    (0..2).for_each(|p| world.settle(p));
    let forward = |id, ok| Event { home: 0, ..plan(Plan::Forward(ok), pay(id, 1, 2, 40)) };
    world.ingest(
        0,
        &[forward("asked", true), forward("asked-in-vain", false), pay("across", 2, 3, 500)],
        None,
    );
    let suspense =
        Event { legs: vec![leg("users:2:wallet", 9), leg("odd:1:x", -9)], ..pay("lost-payee", 2, 1, 9) };
    let other_body = Event { body: 2, ..pay("across", 2, 3, 501) };
    world.ingest(
        1,
        &[plan(Plan::Refuse, pay("poor", 4, 3, 1)), suspense, Event { home: 0, ..other_body }],
        None,
    );
    (0..2).for_each(|p| world.post(p));
    world.epoch = 2;
    (0..2).rev().for_each(|p| world.post(p));
    world.announce(DAY + 1);
    world.ingest(0, &[], Some(DAY));
    let late = Event { back_dated: true, ..pay("late", 3, 2, 11) };
    let tomorrow = Event { date: DAY + 1, ..pay("tomorrow", 3, 1, 12) };
    world.ingest(1, &[plan(Plan::DeadLetter, pay("unreadable-2", 0, 0, 1))], Some(DAY));
    (0..2).for_each(|p| world.post(p));
    world.ingest(0, &[late, tomorrow, forward_again("asked")], None);
    for _ in 0..2 {
        (0..2).for_each(|p| world.post(p));
    }
    (0..2).for_each(|p| world.settle(p));
    (0..2).for_each(|p| world.close_day(p, DAY));
    world.flow_closed(DAY);
    world.rekey(0);
    world.bill(1, &[("across", 500), ("inside", 300), ("odd", 71), ("asked", 40)]);
    (0..2).for_each(|p| world.rekey(p));
    world.join();
    world
}

fn forward_again(id: &str) -> Event {
    Event { home: 0, date: DAY + 1, ..plan(Plan::Forward(true), pay(id, 1, 2, 40)) }
}

pub fn run(log: &MemoryLog, limit: AuditLimit) -> Report {
    audit(log, log.counts, limit).unwrap()
}

#[test]
fn a_clean_history_passes_with_every_check_made() {
    let log = history().log();
    let report = run(&log, QUIESCED);
    assert!(report.passed, "{report}");
    let idle: Vec<&str> = report.checks.iter().filter(|c| c.checked == 0).map(|c| c.check).collect();
    // Of what is on hold tells [`super::groups`], of what two principals do [`super::adjustments`].
    let holds = ["outcome.group", "channel.repeat", "holds.owner", "holds.amount"];
    let accounts = ["accounts.status", "accounts.limits", "accounts.velocity", "adjustments.four_eyes"];
    let elsewhere = [&["ids.horizon"][..], &holds, &accounts].concat();
    assert_eq!(idle, elsewhere, "checks that were never made\n{report}");
    let c = report.conservation;
    assert_eq!(
        (c.received, c.events_found, c.dead_lettered, c.commands, c.commands_found),
        (16, 16, 2, 14, 14)
    );
    let o = c.outcomes;
    assert_eq!((o.booked, o.duplicate, o.refused, o.pending, c.not_yet_read), (9, 2, 3, 0, 0));
    assert!(report.to_string().ends_with("passed\n"));
    assert_eq!(report.digest, run(&log, QUIESCED).digest);
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["conservation"]["booked"], 9);
}

#[test]
fn an_audit_of_a_log_that_grows_on_judges_what_names_a_side() {
    let report = run(&history().log(), AuditLimit { quiesced: false, ..QUIESCED });
    let named = report.check(Check::ReconNamed).unwrap();
    assert_eq!((named.checked, named.open), (4, 0), "{report}");
}

#[test]
fn a_history_cut_anywhere_has_open_things_and_nothing_wrong() {
    // Every prefix of every single partition, the others whole: as a log looks while commits become visible one
    // partition after the other.
    let whole = history().log();
    let partitions: Vec<_> = whole.partitions.lock().unwrap().keys().copied().collect();
    let (mut cuts, mut with_open) = (0, 0);
    for at in partitions {
        let records = whole.partitions.lock().unwrap()[&at].records.clone();
        for keep in 0..records.len() {
            let log = history().log();
            log.change(at.topic, at.partition, |held| {
                held.records.truncate(keep);
                held.high = keep as i64;
            });
            let report = run(&log, AuditLimit { quiesced: false, ..QUIESCED });
            let wrong: Vec<_> = report.wrong().collect();
            assert!(wrong.is_empty(), "{at} cut at {keep}: {wrong:#?}");
            cuts += 1;
            with_open += u32::from(report.checks.iter().any(|c| c.open > 0));
        }
    }
    assert!(cuts > 60 && with_open > cuts / 2, "{cuts} cuts, {with_open} with open things");
}

#[test]
fn steps_beside_a_growing_log_end_like_one_audit() {
    let whole = history().log();
    let growing = MemoryLog::new(whole.counts);
    let all = whole.partitions.lock().unwrap().clone();
    let mut auditor = Auditor::new(&growing, growing.counts, QUIESCED).unwrap();
    let longest = all.values().map(|held| held.records.len()).max().unwrap();
    for n in 0..longest {
        for (at, held) in &all {
            if let Some(record) = held.records.get(n) {
                growing.push(*at, record.clone());
            }
        }
        auditor.step().unwrap();
    }
    while !auditor.step().unwrap().at_end {}
    let report = auditor.report();
    assert!(report.passed, "{report}");
    let once = run(&whole, QUIESCED);
    assert_eq!(report.coverage, once.coverage);
    assert_eq!(report.digest, once.digest);
}

#[test]
fn what_retention_has_passed_is_named_and_not_judged() {
    let log = history().log();
    let trimmed = [
        (Topic::Events1, 0),
        (Topic::Commands, 0),
        (Topic::Commands, 1),
        (Topic::Credits, 1),
        (Topic::Rejected, 0),
    ];
    for (topic, partition) in trimmed {
        log.change(topic, partition, |held| {
            held.low = 2;
            held.records.retain(|r| r.offset >= 2);
        });
    }
    let report = run(&log, QUIESCED);
    assert!(report.passed, "{report}");
    for (topic, partition) in trimmed {
        let covered =
            report.coverage.iter().find(|c| c.topic == topic.name() && c.partition == partition).unwrap();
        assert_eq!(covered.from, 2);
    }
    for check in [Check::IngestWindow, Check::OutcomeInvented, Check::Chain, Check::EdgeRejected] {
        assert!(report.check(check).unwrap().uncovered > 0, "{}", check.name());
    }
}

#[test]
fn what_processors_have_read_may_be_gone_altogether() {
    let lanes = [Topic::Events0, Topic::Events1, Topic::Events2];
    let sets: [&[Topic]; 5] = [
        &lanes,
        &[Topic::Commands],
        &[Topic::Credits],
        &[Topic::BillsLines],
        &[Topic::Events1, Topic::Commands, Topic::Credits, Topic::BillsLines],
    ];
    for topics in sets {
        let log = history().log();
        for held in log.partitions.lock().unwrap().iter_mut().filter(|(at, _)| topics.contains(&at.topic)) {
            held.1.low = held.1.high;
            held.1.records.clear();
        }
        let report = run(&log, QUIESCED);
        assert!(report.passed, "{topics:?}: {report}");
        assert!(report.checks.iter().any(|check| check.uncovered > 0), "{topics:?}");
    }
}

#[test]
fn edge_topics_may_begin_anywhere() {
    let whole = history().log();
    let mut cuts = 0;
    for topic in [Topic::Rejected, Topic::Balances, Topic::Matches, Topic::Breaks] {
        for partition in 0..topic.partition_count(whole.counts) {
            let held = whole.partitions.lock().unwrap().get(&TopicPartition::new(topic, partition)).cloned();
            let offsets: Vec<_> = held.iter().flat_map(|held| &held.records).map(|r| r.offset).collect();
            // The newest record of a partition always stays.
            for low in offsets {
                let log = history().log();
                log.change(topic, partition, |held| {
                    held.low = low;
                    held.records.retain(|r| r.offset >= low);
                });
                let report = run(&log, QUIESCED);
                assert!(report.passed, "{topic:?}/{partition} from {low}: {report}");
                let uncovered = |check: Check| report.check(check).unwrap().uncovered > 0;
                if low > 0 && topic == Topic::Balances {
                    assert!(uncovered(Check::BalanceValue), "{partition} from {low}: {report}");
                }
                cuts += 1;
            }
        }
    }
    assert!(cuts >= 8, "{cuts} cuts");
}

#[test]
fn an_event_that_nobody_has_read_is_not_rest() {
    let log = history().log();
    log.change(Topic::Events1, 0, |held| {
        let mut waiting = held.records.last().unwrap().clone();
        waiting.offset = held.high;
        held.high += 1;
        held.records.push(waiting);
    });
    assert!(run(&log, AuditLimit { quiesced: false, ..QUIESCED }).passed, "it may be on its way");
    let report = run(&log, QUIESCED);
    assert_eq!(report.check(Check::Conservation).unwrap().wrong, 1, "{report}");
}

#[test]
fn a_topic_kept_for_ever_must_begin_at_its_beginning() {
    let log = history().log();
    log.change(Topic::Journal, 0, |held| {
        held.low = 1;
        held.records.remove(0);
    });
    let report = run(&log, QUIESCED);
    assert_eq!(report.check(Check::Coverage).unwrap().wrong, 1);
}

#[test]
fn checks_can_be_left_out() {
    let mut world = history();
    for topic in [
        Topic::Balances,
        Topic::BalancesDaily,
        Topic::Flow,
        Topic::DaysAligned,
        Topic::Matches,
        Topic::Breaks,
    ] {
        world.plain.retain(|at, _| at.topic != topic);
    }
    world.drafts.retain(|at, _| !matches!(at.topic, Topic::ReconState | Topic::ReconSides));
    let limit = AuditLimit { settlement: false, reconcile: false, ids: false, orders: false, ..QUIESCED };
    let report = run(&world.log(), limit);
    assert!(report.passed, "{report}");
    assert_eq!((report.event_keys, report.check(Check::OutcomeTwice).unwrap().checked), (0, 0));
}
