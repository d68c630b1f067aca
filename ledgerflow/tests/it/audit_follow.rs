//! `audit --follow` beside a pipeline: looks that hold, what is wrong told at once, and the last report.

use crate::company::{Company, PATIENCE, Running, within};
use crate::follower::{count, holds, looks};
use crate::traffic::funded;
use ledgerflow::query::events::Text;
use rustix::process::Signal;
use schemas::topics::{PartitionCounts, Topic};
use std::path::Path;
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Log, OutRecord, TopicPartition};

fn send(company: &Company, from: u64, to: u64) {
    let line = |n: u64| match funded(&format!("f-{n}"), n % 5, 0) {
        Text::Utf8(line) => line,
        Text::Bytes(bytes) => panic!("{bytes:?}"),
    };
    let events: Vec<String> = (from..to).map(line).collect();
    company.write("events.jsonl", events.join("\n"));
    company.cli(&["send", "events.jsonl", "--wait"]).ends(0);
}

#[test]
fn looks_follow_the_pipeline_and_the_report_comes_at_the_end() {
    let company = Company::new();
    let running = company.run();
    send(&company, 0, 20);
    let mut follower = company.begin(&["audit", "--follow", "--every", "1s", "-o", "json"]);
    let seen = |follower: &Running, received: u64| {
        let all = within(PATIENCE, || {
            let looks = looks(follower);
            let last = looks.last()?;
            (last["at_end"] == true && count(last, "booked") == received).then_some(looks)
        });
        all.unwrap_or_else(|| panic!("never {received}: {} {}", follower.out(), follower.err()))
    };
    seen(&follower, 20);
    send(&company, 20, 60);
    send(&company, 59, 60);
    let all = seen(&follower, 60);
    all.iter().for_each(holds);
    follower.signal(Signal::TERM);
    let status = follower.wait(PATIENCE).unwrap();
    assert_eq!(status.code(), Some(0), "{}", follower.err());
    let last = looks(&follower).pop().unwrap();
    let table = |name: &str| last["report"][name].as_array().unwrap_or_else(|| panic!("{name}: {last}"));
    assert_eq!(table("conservation")[0]["booked"], 60);
    assert_eq!(table("conservation")[0]["parked"], 0);
    assert!(table("first").is_empty() && table("checks").len() > 60, "{last}");
    assert!(follower.err().contains("nothing wrong; digest "), "{}", follower.err());
    running.stop();
    let once = company.cli(&["audit", "--follow"]).ends(0);
    assert!(once.err.contains("nothing runs on ") && once.err.contains("nothing wrong; digest "), "{once:?}");
}

/// A record that is no case, where only the auditor reads.
fn spoil(books: &Path) {
    let counts = PartitionCounts { events: 2, internal: 3 };
    let log = EmbeddedLog::open(books, Options::new(counts)).unwrap();
    let to = TopicPartition::new(Topic::Matches, 1);
    let sequence = log.append(vec![OutRecord::new(to, bytes::Bytes::from_static(b"no case"))]).unwrap();
    log.wait_durable(sequence, PATIENCE).unwrap();
}

#[test]
fn what_is_wrong_is_told_with_its_record_and_ends_with_3() {
    let company = Company::new();
    company.run().stop();
    spoil(&company.books());
    let running = company.run();
    send(&company, 0, 3);
    let said = company.cli(&["audit", "--follow", "--fail-fast"]).ends(3);
    let line = said.out.lines().find(|line| line.starts_with("WRONG ")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(line.starts_with("WRONG envelope.format matches/1@0: "), "{line}");
    assert!(line.ends_with("(shown by matches/1@0)"), "{line}");
    assert!(said.err.contains("\nfirst: envelope.format matches/1@0: "), "{said:?}");
    let mut follower = company.begin(&["audit", "--follow", "-o", "json"]);
    let first = within(PATIENCE, || looks(&follower).into_iter().find(|look| look["wrong"] == 1)).unwrap();
    assert_eq!(first["findings"][0]["shown"]["topic"], "matches", "{first}");
    follower.signal(Signal::INT);
    assert_eq!(follower.wait(PATIENCE).unwrap().code(), Some(3), "{}", follower.err());
    let looks = looks(&follower);
    let told = looks.iter().filter_map(|look| look["findings"].as_array()).map(Vec::len).sum::<usize>();
    assert_eq!(told, 1, "told once: {looks:?}");
    let last = looks.last().unwrap();
    assert_eq!(last["report"]["first"][0]["offset"], 0, "{last}");
    running.stop();
    company.cli(&["audit", "--follow", "--every", "0s"]).ends(2);
    company.cli(&["audit", "--follow", "--quiesced"]).ends(2);
    company.cli(&["audit", "--follow", "-o", "csv"]).ends(2);
}

/// The auditor of a process that has died takes what it found with it: the next one finds it again, and it is told again.
#[test]
fn it_waits_for_the_next_start_and_tells_what_that_finds() {
    let company = Company::new();
    company.run().stop();
    spoil(&company.books());
    let running = company.run();
    send(&company, 0, 3);
    let mut follower = company.begin(&["audit", "--follow", "--every", "1s", "-o", "json"]);
    let told = |wrong: u64| {
        let all = within(PATIENCE, || {
            let looks = looks(&follower);
            let last = looks.last()?;
            (last["at_end"] == true && last["wrong"] == wrong).then_some(looks)
        });
        all.unwrap_or_else(|| panic!("never {wrong}: {} {}", follower.out(), follower.err()))
    };
    let first = told(1).last().unwrap()["auditor"].as_i64().unwrap();
    running.signal(Signal::KILL);
    let waits = within(PATIENCE, || follower.err().contains("waiting for the next start").then_some(()));
    assert!(waits.is_some(), "{}", follower.err());
    drop(running);
    spoil(&company.books());
    let running = company.run();
    let all = told(2);
    let of = |looks: &[serde_json::Value], of_first: bool| -> Vec<serde_json::Value> {
        let its = looks.iter().filter(|look| (look["auditor"] == first) == of_first);
        its.filter_map(|look| look["findings"].as_array().cloned()).flatten().collect()
    };
    let offsets = |findings: Vec<serde_json::Value>| -> Vec<i64> {
        findings.iter().map(|finding| finding["shown"]["offset"].as_i64().unwrap()).collect()
    };
    assert_eq!(offsets(of(&all, true)), [0], "{all:?}");
    assert_eq!(offsets(of(&all, false)), [0, 1], "{all:?}");
    assert!(follower.err().contains("another auditor looks now"), "{}", follower.err());
    running.stop();
    follower.signal(Signal::TERM);
    assert_eq!(follower.wait(PATIENCE).unwrap().code(), Some(3), "{}", follower.err());
    assert!(follower.err().contains("any more: audited once"), "{}", follower.err());
}
