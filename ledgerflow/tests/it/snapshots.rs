//! `snapshot`: what it writes is what a slot without its checkpoint is restored from.

use crate::company::{Company, PATIENCE, Running, within};
use crate::traffic::funded;
use ledgerflow::query::books::STORE;
use ledgerflow::query::events::Text;
use schemas::dates::format_instant;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::{Value, json};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Isolation, Log, TopicPartition};
use stream::snapshot::{Canonical, Owner};
use stream::store::runs::Settled;
use stream::store::{DirtyPairs, Job, Store};

fn send(company: &Company, from: u64, to: u64) {
    let line = |n: u64| match funded(&format!("s-{n}"), n % 7, 0) {
        Text::Utf8(line) => line,
        Text::Bytes(bytes) => panic!("{bytes:?}"),
    };
    let events: Vec<String> = (from..to).map(line).collect();
    company.write("events.jsonl", events.join("\n"));
    company.cli(&["send", "events.jsonl", "--wait"]).ends(0);
}

fn rows(said: &Value) -> &Vec<Value> {
    said.as_array().unwrap_or_else(|| panic!("{said}"))
}

/// Rows of slots that have committed something.
fn with_windows(said: &Value) -> Vec<&Value> {
    rows(said).iter().filter(|row| row["batch"].as_u64() > Some(0)).collect()
}

fn snapshot(company: &Company) -> Value {
    company.cli(&["snapshot", "-o", "json"]).ends(0).json()
}

/// How many slots a process has restored from snapshots.
fn restored(running: &Running) -> usize {
    running.err().lines().filter(|line| line.contains("restoring from a snapshot")).count()
}

#[test]
fn a_slot_without_its_checkpoint_begins_with_its_snapshot() {
    let company = Company::new();
    let running = company.run();
    send(&company, 0, 40);
    let first = snapshot(&company);
    assert_eq!(rows(&first).len(), 14);
    let moved = with_windows(&first);
    assert!(moved.len() >= 8, "{first}");
    for row in &moved {
        assert!(row["equal"] == true && row["from"] == "first record" && row["parts"] == 1, "{row}");
    }
    send(&company, 40, 60);
    let before = company.balances(&company.books(), "users:");
    running.stop();
    // The disk with the checkpoints is lost.
    std::fs::remove_dir_all(company.books().join(STORE)).unwrap();
    // Who asks while slots are restored waits for all of them.
    let running = company.launch(None);
    within(PATIENCE, || company.books().join(ledgerflow::socket::NAME).exists().then_some(())).unwrap();
    assert_eq!(company.balances(&company.books(), "users:"), before);
    assert_eq!(rows(&company.cli(&["verify", "-o", "json"]).ends(0).json()).len(), 14);
    let running = company.ready(running);
    assert_eq!(restored(&running), moved.len(), "{}", running.err());
    assert_eq!(company.balances(&company.books(), "users:"), before);
    company.cli(&["verify"]).ends(0);
    let since = company.cli(&["verify", "--since-snapshot", "-o", "json"]).ends(0).json();
    for row in since.as_array().unwrap().iter().filter(|row| row["batch"].as_u64() > Some(0)) {
        assert!(row["equal"] == true && row["from"].as_str().unwrap().starts_with("snapshot "), "{row}");
    }
    // What was sent before the snapshot is known still.
    send(&company, 0, 60);
    assert_eq!(company.balances(&company.books(), "users:"), before);
    let replayed = company.cli(&["replay", "-o", "json"]).ends(0).json();
    for row in with_windows(&replayed) {
        assert_eq!((&row["snapshots"], &row["snapshots_equal"]), (&json!(1), &json!(1)), "{row}");
        assert!(row["equal"] == true && row["from"] == "first record", "{row}");
    }
    running.stop();
    company.cli(&["audit", "--quiesced"]).ends(0);
}

/// A snapshot that is whole and says something else than the log is found, and named.
#[test]
fn a_snapshot_that_is_not_what_the_log_says_is_named() {
    let company = Company::new();
    let running = company.run();
    send(&company, 0, 20);
    snapshot(&company);
    running.stop();
    company.cli(&["replay"]).ends(0);
    let log = EmbeddedLog::open(&company.books(), Options::new(PartitionCounts { events: 2, internal: 3 }))
        .unwrap();
    let owner = Owner { processor: "posting", slot: 1 };
    let written = stream::snapshot::find(&log, owner).unwrap().remove(0);
    let other = Canonical::from(vec![(b"key".to_vec(), b"value".to_vec())]);
    let stamp = (1 - written.turn, written.written_us + 1);
    stream::snapshot::write(&log, owner, &written.label, &other, stamp, PATIENCE).unwrap();
    drop(log);
    let said = company.cli(&["replay"]).ends(3);
    let named = format!("not what the log says: slot 1 of posting, snapshot {}", written.label.batch);
    assert!(said.err.contains(&named) && !said.err.contains("state in use"), "{}", said.err);
}

#[test]
fn the_two_newest_of_each_slot_stay() {
    let company = Company::new();
    let running = company.run();
    let mut all = Vec::new();
    for round in 0..4 {
        send(&company, round * 10, round * 10 + 10);
        all.push(snapshot(&company));
    }
    for row in with_windows(&all[3]) {
        let begins = row["from"].as_str().unwrap();
        assert!(begins.starts_with("snapshot ") && row["equal"] == true, "{row}");
    }
    // Nothing has moved: nothing is written.
    let at_rest = within(PATIENCE, || {
        let said = snapshot(&company);
        with_windows(&said).iter().any(|row| row["parts"].is_null()).then_some(said)
    });
    assert!(at_rest.is_some());
    running.stop();
    let counts = PartitionCounts { events: 2, internal: 3 };
    let log = EmbeddedLog::open(&company.books(), Options::new(counts)).unwrap();
    for partition in 0..counts.internal {
        let at = TopicPartition::new(Topic::Snapshots, partition);
        let bounds = log.watermarks(at, Isolation::Committed).unwrap();
        assert!(0 < bounds.low && bounds.high - bounds.low >= 2, "{bounds:?}");
    }
}

/// Lines told so far.
fn told(running: &Running) -> Vec<Value> {
    running.out().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn each_day_that_closes_has_its_round() {
    let company = Company::new();
    // The day of the events that are sent now.
    let today = format_instant(stream::clock::wall_us())[..10].to_owned();
    company.set_clock(&format!("{today}T23:59:54Z"));
    let running = company.run();
    let mut rounds = company.begin(&["snapshot", "--each-day", "-o", "json"]);
    let first = within(PATIENCE, || told(&rounds).into_iter().next());
    assert!(first.is_some(), "{}", rounds.err());
    send(&company, 0, 10);
    let line = within(PATIENCE, || told(&rounds).into_iter().find(|line| line["closed"] == today.as_str()));
    let line = line.unwrap_or_else(|| panic!("{} {}", rounds.out(), rounds.err()));
    let slots = line["slots"].as_array().unwrap();
    assert!(slots.len() == 14 && slots.iter().all(|slot| slot["equal"] == true), "{line}");
    rounds.signal(rustix::process::Signal::TERM);
    assert_eq!(rounds.wait(PATIENCE).unwrap().code(), Some(0), "{}", rounds.err());
    let mut ends = company.begin(&["snapshot", "--each-day"]);
    within(PATIENCE, || ends.out().contains(&format!("{today} is closed: store = replay; ")).then_some(()))
        .unwrap();
    running.stop();
    assert_eq!(ends.wait(PATIENCE).unwrap().code(), Some(0), "{}", ends.err());
    assert!(ends.err().contains("any more"), "{}", ends.err());
    company.cli(&["snapshot", "--each-day", "-o", "csv"]).ends(2);
}

/// Takes a pair away from a checkpoint of settlement, so that it is whole and wrong.
fn spoil(company: &Company, slot: u32) -> bool {
    let dir = company.books().join(STORE).join(format!("settlement/{slot:03}"));
    let mut store = Store::open(&dir, "settlement", slot, stream::store::Options::default()).unwrap();
    let Some(label) = store.latest().unwrap() else { return false };
    let (mut first, mut pairs) = (None, DirtyPairs::default());
    store
        .load(|key, _| {
            first.get_or_insert(key.to_vec());
            Ok(())
        })
        .unwrap();
    let Some(key) = first else { return false };
    pairs.put(&key, None);
    let job = Job { store, label, pairs, settled: Settled::default(), wait_durable: Box::new(|| Ok(())) };
    job.run().result.unwrap();
    true
}

/// A state that is another than its replay is told, and nothing is written of it.
#[test]
fn a_state_that_differs_is_told_and_not_written() {
    let company = Company::new();
    let running = company.run();
    send(&company, 0, 20);
    running.stop();
    assert!((0..3).filter(|slot| spoil(&company, *slot)).count() > 0);
    let said = company.cli(&["snapshot", "-o", "json"]).ends(3);
    assert!(said.err.contains("a state differs from its replay"), "{said:?}");
    let answer = said.json();
    let (wrong, right): (Vec<&Value>, Vec<&Value>) =
        with_windows(&answer).into_iter().partition(|row| row["equal"] == false);
    assert!(!wrong.is_empty() && wrong.iter().all(|row| row["processor"] == "settlement"), "{answer}");
    assert!(wrong.iter().all(|row| row["parts"].is_null()), "{answer}");
    assert!(!right.is_empty() && right.iter().all(|row| row["parts"] == 1), "{answer}");
}
