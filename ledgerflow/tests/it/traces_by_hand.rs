//! Traces of a pipeline stepped by hand on a simulated log that aborts windows: what is written is the same with and
//! without them, and every step is told once, whatever is decided again or restored.

use crate::collector::{Came, Collector};
use ledgerflow::config;
use ledgerflow::runtime::{Durations, Setup, TimedLog};
use ledgerflow::traces::Tracer;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use stream::log::{Header, Log, OutRecord, TopicPartition};
use stream::processor::Processor;
use stream::sim::{Faults, SimLog, SimSettings};
use stream::worker::{MemoryCheckpoints, Now, Options, Worker};

const COUNTS: PartitionCounts = PartitionCounts { events: 1, internal: 2 };
/// 2026-01-01T00:00:00Z, where a simulated log begins.
const BEGIN_US: i64 = 1_767_225_600_000_000;
/// Steps of every worker within which all is at rest, aborts included.
const ROUNDS: i64 = 600;
/// For what must not take long.
const PATIENCE: Duration = Duration::from_secs(60);

type Step = Box<dyn FnMut(Now)>;

fn worker<P>(processor: P, log: &Arc<dyn Log>, tracer: Option<&Tracer>) -> Step
where
    P: Processor + 'static,
    P::Slot: 'static,
{
    let inputs = processor.inputs().into_iter().map(|input| input.topic).collect();
    let stage = tracer.and_then(|tracer| tracer.follow(log, processor.name()));
    let log = TimedLog::new(Arc::clone(log), inputs, Durations::default()).followed(stage);
    let options = Options { window_us: 0, poll_wait: Duration::ZERO, ..Options::default() };
    let checkpoints = Box::new(MemoryCheckpoints::default());
    let mut worker = Worker::new(processor, Arc::new(log), "1", options, checkpoints);
    Box::new(move |now| drop(worker.step(now).unwrap()))
}

/// Steps new workers without checkpoints over what lies on the log and what `comes` before each round.
fn work(sim: &SimLog, begin_us: i64, tracer: Option<&Tracer>, comes: impl Fn(i64)) {
    let log: Arc<dyn Log> = Arc::new(sim.clone());
    let made = Setup::new(COUNTS).processors().unwrap();
    let mut all = [
        worker(made.ingest, &log, tracer),
        worker(made.posting, &log, tracer),
        worker(made.settlement, &log, tracer),
        worker(made.rekey, &log, tracer),
        worker(made.join, &log, tracer),
    ];
    for round in 0..ROUNDS {
        comes(round);
        let us = begin_us + round * 10_000;
        for step in &mut all {
            step(Now { business_us: us, wall_us: us, monotonic_us: us - BEGIN_US });
        }
        sim.advance(10_000);
    }
}

fn log(sync_delay_us: i64) -> SimLog {
    let faults = Faults { abort: 200, ..Faults::NONE };
    SimLog::new(SimSettings { sync_delay_us, ..SimSettings::new(7, COUNTS).with_faults(faults) })
}

/// Appends an event whose home is the partition of users:42, which is not that of `funding:cash` and users:2.
fn append(sim: &SimLog, id: &str, from: &str, to: &str, traceparent: &str) {
    let data = json!({"from": from, "to": to, "asset": "CNY", "amount": "1.00"});
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "transfer", "subject": "users:42",
        "time": "2026-01-01T00:00:00Z", "data": data,
    });
    let to = TopicPartition::new(Topic::Events1, 0);
    let record = OutRecord::new(to, event.to_string().into_bytes().into());
    let headers = vec![Header::text("traceparent", traceparent)];
    sim.append(vec![OutRecord { headers, ..record }]).unwrap();
}

fn traceparent(number: u8, flags: &str) -> String {
    format!("00-{number:032x}-{number:016x}-{flags}")
}

/// Events of which some come in one window, and twenty in windows of their own.
fn append_at(sim: &SimLog, round: i64) {
    let (cash, first, second) = ("funding:cash", "users:42:wallet", "users:2:wallet");
    if let Some(number) = u8::try_from(round / 10).ok().filter(|_| round % 10 == 0)
        && (5..25).contains(&number)
    {
        append(sim, &format!("more-{number}"), cash, second, &traceparent(number, "01"));
    }
    if round > 0 {
        return;
    }
    append(sim, "booked", cash, first, &traceparent(1, "01"));
    append(sim, "booked", cash, first, &traceparent(1, "01"));
    append(sim, "refused", second, first, &traceparent(2, "01"));
    append(sim, "set-aside", cash, "no such account", &traceparent(3, "01"));
    append(sim, "not-sampled", cash, first, &traceparent(4, "00"));
    append(sim, "malformed", cash, first, "00-zz-01");
}

fn tracer(collector: &Collector) -> Tracer {
    let variables = [("LEDGERFLOW_TRACES__ENDPOINT".to_owned(), collector.url())];
    let (settings, _) = config::load(None, variables, &[]).unwrap();
    Tracer::start(&settings).unwrap().unwrap()
}

fn outcomes(spans: &[Came], event: &str, scope: &str) -> Vec<String> {
    let of = spans.iter().filter(|span| span.says("cloudevents.event_id") == event && span.scope == scope);
    let mut all: Vec<_> = of.map(|span| span.says("ledgerflow.outcome").to_owned()).collect();
    all.sort();
    all
}

#[test]
fn what_is_written_is_the_same_and_every_step_is_told_once() {
    let collector = Collector::start();
    let tracer = tracer(&collector);
    let (with, without) = (log(0), log(0));
    for (sim, tracer) in [(&with, Some(&tracer)), (&without, None)] {
        work(sim, BEGIN_US, tracer, |round| append_at(sim, round));
    }
    assert!(with.counters().commits_aborted > 10, "{:?}", with.counters());
    for topic in Topic::ALL {
        assert_eq!(with.visible(*topic), without.visible(*topic), "{}", topic.name());
    }
    // Everything is restored from the log, and tells nothing again.
    work(&with, BEGIN_US + ROUNDS * 10_000, Some(&tracer), |_| {});
    tracer.end_within(PATIENCE);
    let spans = collector.spans();
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    assert_eq!(ids.len(), spans.len(), "a step is told twice");
    for (event, scope, want) in [
        ("booked", "ingest", &["forwarded", "forwarded"][..]),
        ("booked", "posting", &["booked", "booked", "duplicate"]),
        ("booked", "settlement", &["", ""]),
        ("refused", "ingest", &["forwarded"]),
        ("refused", "posting", &["pending", "refused"]),
        ("refused", "settlement", &[]),
        ("set-aside", "ingest", &["dead-lettered"]),
        ("set-aside", "posting", &[]),
        ("not-sampled", "ingest", &[]),
        ("malformed", "posting", &[]),
    ] {
        assert_eq!(outcomes(&spans, event, scope), want, "{event} {scope}");
    }
    // Home decides, and both legs are booked elsewhere, in one step.
    for event in (5..25).map(|number| format!("more-{number}")) {
        assert_eq!(outcomes(&spans, &event, "posting"), ["booked", "booked"], "{event}");
        assert_eq!(outcomes(&spans, &event, "settlement"), [""], "{event}");
    }
    let told = tracer.told();
    assert_eq!((told.exported, told.overflowed, told.refused), (spans.len() as u64, 0, 0));
}

#[test]
fn what_is_not_durable_is_not_told() {
    let collector = Collector::start();
    let tracer = tracer(&collector);
    let sim = log(i64::MAX / 4);
    work(&sim, BEGIN_US, Some(&tracer), |round| append_at(&sim, round));
    assert!(!sim.visible(Topic::Balances).is_empty(), "nothing is committed");
    tracer.end_within(PATIENCE);
    assert_eq!(collector.spans(), []);
}
