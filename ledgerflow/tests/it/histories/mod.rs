//! Clients of the real program under kills, pauses and a broker that fails; their histories are checked against the journal at
//! rest (`tests/src/histories`).
//!
//! A run: clients and readers ask, a nemesis does one thing after the other to processes -> everything runs again and is
//! worked off -> processes stop, the books are audited -> the histories are checked. `HISTORY_SECONDS` says how long the nemesis
//! goes on at least (5), `ROUNDS` how many runs there are (1), `SEED` what is asked and done. It does each thing that it knows at
//! least once, and a run without one of the things that it should have shown fails.

mod embedded;
#[cfg(feature = "kafka")]
mod kafka;

use crate::kill::variable;
use ledgerflow_tests::histories::append::linked;
use ledgerflow_tests::histories::bank::{Order, transfer};
use ledgerflow_tests::histories::books::Books;
use ledgerflow_tests::histories::check::check;
use ledgerflow_tests::histories::record::{Asked, Ended, Recorder, Seen};
use ledgerflow_tests::proof::Proof;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use stream::clock::{monotonic_us, wall_us};
use stream::sim::Prng;

/// Between two questions of a client; a machine of two cores has a pipeline to run beside it.
const PAUSE: Duration = Duration::from_millis(20);
/// One of so many events is sent a second time.
const AGAIN_ONE_IN: u64 = 8;
/// Most anomalies that are told.
const TOLD_MAX: usize = 20;

/// What all clients of a run share.
struct Run {
    recorder: Recorder,
    over: AtomicBool,
    began_us: i64,
    until_us: i64,
}

impl Run {
    fn new(seconds: u64) -> Self {
        let began_us = monotonic_us();
        let until_us = began_us + i64::try_from(seconds * 1_000_000).unwrap();
        Self { recorder: Recorder::new(), over: AtomicBool::new(false), began_us, until_us }
    }

    /// Whether the nemesis may end.
    fn is_long_enough(&self) -> bool {
        monotonic_us() >= self.until_us
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Clients end when it goes, whatever becomes of the nemesis.
    const fn over_at_last(&self) -> Over<'_> {
        Over(&self.over)
    }
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy)]
enum Workload {
    Bank,
    Append,
}

/// Sends events until the run is over, each of them once the one before has its outcome or was given up.
fn write(run: &Run, workload: Workload, seed: u64, mut book: impl FnMut(&Order, &mut Prng) -> Ended) {
    let (mut prng, mut process) = (Prng::new(seed), run.recorder.process());
    let mut number = 0;
    while !run.is_over() {
        let (id, time) = (format!("h-{seed}-{number}"), schemas::dates::format_instant(wall_us()));
        number += 1;
        let order = match workload {
            Workload::Bank => transfer(&id, &time, &mut prng),
            Workload::Append => linked(&id, &time, &mut prng),
        };
        let times = if prng.below(AGAIN_ONE_IN) == 0 { 2 } else { 1 };
        for _ in 0..times {
            run.recorder.run(&mut process, order.asked.clone(), || book(&order, &mut prng));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Legs of every event that somebody acknowledged.
fn acknowledged(recorder: &Recorder) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    for operation in recorder.history() {
        if let (Asked::Book { event, legs }, Ended::Ok(Seen::Accepted | Seen::Became(_))) =
            (operation.asked, operation.ended)
        {
            all.insert(event, legs.len());
        }
    }
    all
}

/// Holds a run against the books at rest, says in one line what there was, and counts what it has shown. `done` = what the
/// nemesis did; `kinds` = which operations there must have been.
#[track_caller]
fn is_right(
    on: &str,
    proof: &mut Proof,
    run: &Run,
    books: &Books,
    done: &[(&str, u64)],
    kinds: &[(&'static str, &[&'static str])],
) {
    let (history, counts) = (run.recorder.history(), run.recorder.counts());
    let done_told: Vec<String> = done.iter().map(|(what, times)| format!("{what} {times}")).collect();
    println!("histories {on}: {counts}; {}; batches {}", done_told.join(", "), books.batches());
    let anomalies = check(&history, books);
    let mut told = String::new();
    for anomaly in anomalies.iter().take(TOLD_MAX) {
        writeln!(told, "{anomaly}").unwrap();
        for index in anomaly.operations.iter().take(3) {
            writeln!(told, "    {index}: {:.300}", format!("{:?}", history[*index])).unwrap();
        }
    }
    assert!(anomalies.is_empty(), "{} anomalies\n{told}", anomalies.len());
    for (what, times) in done {
        assert!(*times > 0, "there was no {what}");
    }
    for &(asked, all) in kinds {
        let times: u64 = all.iter().map(|ended| counts.of(asked, ended)).sum();
        assert!(times > 0, "no {asked} ended {all:?}");
    }
    let us = history.last().map_or(0, |last| last.ended_us - run.began_us);
    proof.count("runs", 1);
    proof.count("seconds", u64::try_from(us / 1_000_000).unwrap());
    proof.count("operations", history.len() as u64);
}

/// `ROUNDS` runs, each with another seed.
fn runs(test: &str, suite: &'static str, one: impl Fn(u64, u64, &mut Proof)) {
    let [seed, rounds, seconds] = [("SEED", 1), ("ROUNDS", 1), ("HISTORY_SECONDS", 5)]
        .map(|(name, usual)| variable(name).unwrap_or(usual));
    let mut proof = Proof::of(suite);
    for round in 0..rounds {
        let seed = seed + round;
        println!("again with: SEED={seed} HISTORY_SECONDS={seconds} make test TESTS=histories::{test}");
        one(seed, seconds, &mut proof);
    }
}
