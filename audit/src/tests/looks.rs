//! Looks at an audit that goes on: the equation at every cut, and the first record that is wrong.

use super::clean::{QUIESCED, history, run};
use super::memory_log::MemoryLog;
use crate::{AuditLimit, Auditor, Check, Look};
use schemas::topics::Topic;

const FOLLOWING: AuditLimit = AuditLimit { quiesced: false, step_records: 1, ..QUIESCED };

/// Every look at a log that grows record by record, and the last one.
fn looks(whole: &MemoryLog) -> Vec<Look> {
    let growing = MemoryLog::new(whole.counts);
    let all = whole.partitions.lock().unwrap().clone();
    let mut auditor = Auditor::new(&growing, growing.counts, FOLLOWING).unwrap();
    let longest = all.values().map(|held| held.records.len()).max().unwrap();
    let mut looks = Vec::new();
    for n in 0..longest {
        for (at, held) in &all {
            if let Some(record) = held.records.get(n) {
                growing.push(*at, record.clone());
                auditor.step().unwrap();
                looks.push(auditor.look());
            }
        }
    }
    while !auditor.step().unwrap().at_end {
        looks.push(auditor.look());
    }
    looks.push(auditor.look());
    looks
}

#[test]
fn the_equation_holds_at_every_cut_and_ends_with_what_one_audit_finds() {
    let log = history().log();
    let looks = looks(&log);
    for look in &looks {
        let c = look.conservation;
        assert!(look.passed(), "{look:?}");
        assert_eq!(c.received, c.accounted(c.dead_lettered), "{look:?}");
    }
    let last = looks.last().unwrap();
    let report = run(&log, QUIESCED);
    assert_eq!(last.conservation, report.conservation);
    assert_eq!(last.records, report.coverage.iter().map(|c| c.records).sum::<u64>());
    let day = |d: &crate::DayTotal| d.debits.parse::<i128>().unwrap();
    assert_eq!(last.assets.len(), 1);
    assert_eq!(last.assets[0].debits, report.days.iter().map(day).sum::<i128>().to_string());
    assert_eq!((last.assets[0].debits.clone(), last.in_flight), (last.assets[0].credits.clone(), 0));
    assert!(looks.iter().any(|look| look.in_flight > 0), "no look had credits in flight");
    assert!(
        looks.iter().any(|look| look.conservation.not_yet_read > 0 || look.conservation.outcomes.pending > 0)
    );
}

#[test]
fn the_first_record_that_is_wrong_is_named_over_all_checks_and_told_once() {
    let log = history().log();
    log.change(Topic::Journal, 1, |held| {
        let mut bytes = held.records[1].value.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        held.records[1].value = bytes.into();
        held.records[1].timestamp_us = 77;
    });
    let mut auditor = Auditor::new(&log, log.counts, FOLLOWING).unwrap();
    let (mut told, mut news) = (0, Vec::new());
    while !auditor.step().unwrap().at_end {
        let found = auditor.found_since(told);
        told = found.last().map_or(told, |last| last.number);
        news.extend(found);
    }
    let first = auditor.look().first.unwrap();
    let shown = first.shown.clone().unwrap();
    assert_eq!((shown.topic.as_str(), shown.partition, shown.offset, shown.time_us), ("journal", 1, 1, 77));
    assert_eq!(first.check, Check::Checksum.name(), "{first}");
    assert!(
        news.len() > 1 && news.iter().map(|finding| finding.number).eq(1..=news.len() as u64),
        "{news:#?}"
    );
    assert_eq!(news[0], first);
    let report = run(&log, QUIESCED);
    assert_eq!(report.first.as_ref().map(|first| first.check.as_str()), Some(Check::Checksum.name()));
    assert!(report.to_string().contains("\nfirst: envelope.checksum journal/1@1"), "{report}");
    assert_eq!(serde_json::to_value(&report).unwrap()["first"]["shown"]["offset"], 1);
    assert_eq!(run(&history().log(), QUIESCED).first, None);
}

#[test]
fn nothing_is_kept_where_no_findings_are_asked_for_and_the_first_is_named_all_the_same() {
    let log = history().log();
    log.change(Topic::Journal, 1, |held| held.records[1].value = bytes::Bytes::from_static(b"none"));
    let report = run(&log, AuditLimit { findings_max: 0, ..QUIESCED });
    assert!(report.wrong().all(|check| check.findings.is_empty()), "{report}");
    assert!(report.first.is_some_and(|first| first.place.starts_with("journal/1@1")));
}
