//! Retention and who still reads: the processors and audits that run beside them.

use crate::company::{PATIENCE, within};
use crate::traffic::funded;
use audit::{AuditLimit, Auditor};
use ledgerflow::query::books::Books;
use ledgerflow::query::events::Text;
use ledgerflow::query::{self, Answer, Ending, Question};
use ledgerflow::retention::Ages;
use ledgerflow::{config, serve};
use schemas::topics::{Retention, Topic};
use std::collections::BTreeMap;
use std::path::Path;
use stream::log::{Isolation, Log, Offset, TopicPartition};

/// A pipeline in this process, nothing else of which cleans, and events that it has worked off.
fn books(folder: &Path, events: u64) -> Books {
    let file = folder.join("ledgerflow.yaml");
    let text = "log: {segment_mib: 1, sync_interval_ms: 5}\npartitions: {events: 2, internal: 3}\n";
    std::fs::write(&file, text).unwrap();
    let dir = [("log.dir", "--dir", folder.join("books").display().to_string())];
    let (settings, _) = config::load(Some(&file), [], &dir).unwrap();
    let (books, _) = serve::start(&settings).unwrap();
    let events = (0..events).map(|n| funded(&format!("r-{n}"), n % 30, 0)).collect();
    assert_eq!(query::answer(&books, &Question::send(1, events)).ending, Ending::Done);
    let drained = books.pipeline().unwrap().drain(PATIENCE).unwrap();
    assert!(drained, "{:?}", books.pipeline().unwrap().failures());
    books
}

/// Nothing is old.
const YOUNG: Ages = Ages { now_us: 0, rejected_days: 1, published_days: 1 };

fn clean(books: &Books) {
    let log = books.embedded.as_ref().unwrap();
    books.retention.clean(log, &books.pipeline().unwrap().positions(), &YOUNG).unwrap();
}

fn low(books: &Books, at: TopicPartition) -> Offset {
    books.log.watermarks(at, Isolation::Committed).unwrap().low
}

/// First offsets kept of the topics that processors read and let go.
fn lows(books: &Books) -> BTreeMap<TopicPartition, Offset> {
    let read = books.pipeline().unwrap().positions().into_keys().map(|(_, at)| at);
    read.filter(|at| at.topic.retention() == Retention::BelowReaders).map(|at| (at, low(books, at))).collect()
}

fn ended(books: Books) {
    let query::books::Answering::Running(pipeline) = books.answering else { panic!("it runs") };
    assert!(pipeline.stop(PATIENCE).unwrap().is_empty());
}

#[test]
fn retention_stays_behind_an_auditor_that_reads() {
    let folder = tempfile::tempdir().unwrap();
    let books = books(folder.path(), 500);
    let hold = books.retention.hold();
    clean(&books);
    assert!(lows(&books).values().all(|low| *low == 0), "held whole before the first step");
    let limit = AuditLimit { step_records: 1, ..AuditLimit::default() };
    let mut auditor = Auditor::new(books.log.as_ref(), books.setup.counts, limit).unwrap();
    let mut behind = 0;
    let report = auditor
        .run(|auditor| {
            hold.reached(auditor.positions());
            clean(&books);
            let read: BTreeMap<_, _> = auditor.positions().collect();
            for (at, low) in lows(&books) {
                assert!(low <= read[&at], "{at}: kept from {low}, read to {}", read[&at]);
                behind += i32::from(low > 0 && low == read[&at]);
            }
        })
        .unwrap();
    assert!(behind > 0, "what the auditor has passed may go while it reads on");
    assert!(report.passed, "{report}");
    assert!(report.conservation.events_found == 500 && report.conservation.received == 500, "{report}");
    for range in &report.coverage {
        assert!(range.from == 0 && range.skipped.is_empty(), "{range:?}");
    }
    drop(hold);
    clean(&books);
    let read = books.pipeline().unwrap().positions();
    let events = TopicPartition::new(Topic::Events1, 0);
    assert_eq!(low(&books, events), read[&("ingest", events)], "nobody else reads");
    ended(books);
}

/// Offsets of the ranges that an audit names, beginning and end.
fn ranges(audit: &Answer) -> BTreeMap<(String, String), (String, String)> {
    let text = |cell: &ledgerflow::cli::output::Cell| cell.to_string();
    let table = audit.tables.iter().find(|table| table.title == "ranges read").unwrap();
    let row = |row: &Vec<ledgerflow::cli::output::Cell>| {
        assert_eq!(text(&row[6]), "", "removed while it was read: {row:?}");
        ((text(&row[0]), text(&row[1])), (text(&row[2]), text(&row[3])))
    };
    table.rows.iter().map(row).collect()
}

#[test]
fn an_audit_of_a_running_pipeline_holds_retention_back_and_names_its_ranges() {
    let folder = tempfile::tempdir().unwrap();
    let books = books(folder.path(), 3_000);
    let met = within(PATIENCE, || {
        let audit = std::thread::scope(|scope| {
            let audit = scope.spawn(|| query::answer(&books, &Question::Audit { quiesced: false }));
            let mut met = false;
            while !audit.is_finished() {
                // Cleaning that finds no audit would be right to take the records away.
                if books.retention.readers() > 0 {
                    clean(&books);
                    met = true;
                }
            }
            (met, audit.join().unwrap())
        });
        let (met, audit) = audit;
        assert_eq!(audit.ending, Ending::Done, "{audit:?}");
        met.then(|| ranges(&audit))
    });
    let ranges = met.expect("cleaning meets an audit");
    for topic in [Topic::Events1, Topic::Commands, Topic::Credits, Topic::Journal] {
        let mut read = 0;
        for partition in 0..books.log.partitions(topic).unwrap() {
            let (from, to) = &ranges[&(topic.name().to_owned(), partition.to_string())];
            assert_eq!(from, "0", "{topic:?}/{partition}");
            read += to.parse::<i64>().unwrap();
        }
        assert!(read > 0, "{topic:?}");
    }
    ended(books);
}

/// First and next offset of every partition of a topic.
fn bounds(log: &dyn Log, topic: Topic) -> Vec<(Offset, Offset)> {
    let of = |partition| log.watermarks(TopicPartition::new(topic, partition), Isolation::Committed);
    let bounds = (0..log.partitions(topic).unwrap()).map(|partition| of(partition).unwrap());
    bounds.map(|bounds| (bounds.low, bounds.high)).collect()
}

#[test]
fn what_no_processor_reads_goes_by_age_and_the_newest_stays() {
    const DAY_US: i64 = 24 * 3_600 * 1_000_000;
    let folder = tempfile::tempdir().unwrap();
    let books = books(folder.path(), 100);
    let odd = (0..20).map(|n| Text::Utf8(format!("no event {n}"))).collect();
    assert_eq!(query::answer(&books, &Question::send(1, odd)).ending, Ending::Done);
    assert!(books.pipeline().unwrap().drain(PATIENCE).unwrap());
    let (log, read) =
        (std::sync::Arc::clone(books.embedded.as_ref().unwrap()), books.pipeline().unwrap().positions());
    ended(books);
    let now_us = stream::clock::wall_us();
    let retention = ledgerflow::retention::Retention::default();
    let clean = |now_us, rejected_days, published_days| {
        let ages = Ages { now_us, rejected_days, published_days };
        retention.clean(&log, &read, &ages).unwrap();
    };
    clean(now_us + 100 * DAY_US, 0, 0);
    clean(now_us, 1, 1);
    for topic in [Topic::Rejected, Topic::Balances] {
        assert!(
            bounds(log.as_ref(), topic).iter().all(|(low, _)| *low == 0),
            "{topic:?}: for ever, or young"
        );
    }
    // Between two records: the older go, the younger stay.
    let (at, (_, next)) = (TopicPartition::new(Topic::Balances, 0), bounds(log.as_ref(), Topic::Balances)[0]);
    let mut reader = log.reader(&[(at, next / 2)], Isolation::Committed).unwrap();
    let limit = stream::log::FetchLimit { records: 1, bytes: 1, wait: PATIENCE };
    let middle = reader.poll(limit).unwrap()[0].records[0].clone();
    clean(middle.timestamp_us + DAY_US, 0, 1);
    let (low, _) = bounds(log.as_ref(), Topic::Balances)[0];
    assert!(0 < low && low <= middle.offset, "from {low}, {} is young", middle.offset);
    assert!(bounds(log.as_ref(), Topic::Rejected).iter().all(|(low, _)| *low == 0));
    // All is old.
    clean(now_us + 400 * DAY_US, 90, 30);
    for topic in [Topic::Rejected, Topic::Balances] {
        let several: Vec<_> = bounds(log.as_ref(), topic).into_iter().filter(|(_, high)| *high > 1).collect();
        assert!(!several.is_empty() && several.iter().all(|(low, high)| high - low == 1), "{several:?}");
    }
    for topic in Topic::ALL.iter().filter(|topic| topic.retention() == Retention::Forever) {
        assert!(bounds(log.as_ref(), *topic).iter().all(|(low, _)| *low == 0), "{topic:?}");
    }
    let limit = AuditLimit { quiesced: true, ..AuditLimit::default() };
    let audit = audit::audit(log.as_ref(), log.counts(), limit).unwrap();
    assert!(audit.passed, "{audit}");
}
