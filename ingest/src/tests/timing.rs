//! Prints what a window costs per event: `cargo test --profile fast -p ledgerflow-ingest -- --ignored --nocapture`.

use super::*;
use schemas::body_hash::{AmountFields, Canonical};
use schemas::cloudevents;
use schemas::json::Document;
use schemas::rejection::Faults;
use std::hint::black_box;
use stream::clock::monotonic_us;

/// The best of many rounds: what it costs when nobody else has the processor.
fn per_event_ns(label: &str, rounds: usize, events: usize, mut work: impl FnMut()) {
    let mut round_us = || {
        let start = monotonic_us();
        work();
        u64::try_from(monotonic_us() - start).unwrap()
    };
    let best_us = (0..rounds).map(|_| round_us()).min().unwrap();
    println!("{label:<40} {:>6} ns per event", best_us * 1000 / events as u64);
}

#[test]
#[ignore = "prints timings, asserts nothing"]
fn what_an_event_costs() {
    let config = config();
    let events: Vec<Record> = (0..2000).map(|n| transfer(&format!("evt-{n:0>12}"), NOON, "12.50")).collect();
    println!("event of {} bytes", events[0].value.len());
    let each = |mut work: Box<dyn FnMut(&Record)>, label: &str| {
        per_event_ns(label, 200, events.len(), || events.iter().for_each(&mut work));
    };
    each(
        Box::new(|e| {
            black_box(schemas::batch::sha256(&e.value[..120]));
        }),
        "SHA-256 of 120 bytes",
    );
    each(
        Box::new(|e| {
            black_box(schemas::dates::parse_instant(black_box(NOON))).unwrap();
            let _ = e;
        }),
        "instant",
    );
    each(Box::new(|e| drop(black_box(Document::parse(&e.value, 1 << 16)))), "JSON");
    each(
        Box::new(|e| drop(black_box(cloudevents::read([], &e.value, 1 << 16, &mut Faults::default())))),
        "CloudEvent",
    );
    let amounts = AmountFields::new(["amount"]);
    let mut canonical = Canonical::default();
    each(
        Box::new(move |e| {
            let event = cloudevents::read([], &e.value, 1 << 16, &mut Faults::default()).unwrap();
            let hash = canonical.body_hash(&event.kind, event.subject.as_deref(), event.data(), &amounts);
            let _ = black_box(hash);
        }),
        "CloudEvent and body hash",
    );
    let chart = config.chart.clone();
    each(
        Box::new(move |_| {
            black_box(chart.resolve(black_box("platform:fees:wechat")));
        }),
        "class of an account",
    );
    let rules = config.rules.clone();
    let chart = config.chart.clone();
    let mut mapped = crate::mapping::Mapped::default();
    each(
        Box::new(move |e| {
            let mut faults = Faults::default();
            let event = cloudevents::read([], &e.value, 1 << 16, &mut faults).unwrap();
            let rule = rules.for_type(&event.kind).unwrap();
            crate::mapping::map_event(rule, &chart, event.data(), &mut mapped, &mut faults);
            black_box(&mapped);
        }),
        "CloudEvent and legs",
    );
}

#[test]
#[ignore = "prints timings, asserts nothing"]
fn what_a_window_costs() {
    let events: Vec<Record> = (0..2000).map(|n| transfer(&format!("evt-{n:0>12}"), NOON, "12.50")).collect();
    let rig = Rig::open();
    let window = rig.to_window(Given { lanes: [events.clone(), vec![], vec![]], ..Given::default() });
    let decision = rig.processor.decide(&rig.slot, window.clone()).unwrap().unwrap();
    println!(
        "{} bytes written",
        decision.records.iter().map(|r| r.value.len()).sum::<usize>() / events.len()
    );
    per_event_ns("clone window", 200, events.len(), || {
        black_box(window.clone());
    });
    per_event_ns("decide, with sealed batches", 400, events.len(), || {
        drop(black_box(rig.processor.decide(&rig.slot, window.clone())));
    });
}
