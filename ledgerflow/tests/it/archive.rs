//! `archive`: what it gives up is gone from the log and nobody misses it.

use crate::company::{Company, PATIENCE, Running, within};
use crate::kill::variable;
use crate::traffic::Traffic;
use ledgerflow::query::Question;
use ledgerflow::query::books::STORE;
use rustix::process::Signal;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::Value;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Isolation, Log, TopicPartition};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const CONFIGURATION: &str = "
log: {segment_mib: 1, sync_interval_ms: 5}
partitions: {events: 2, internal: 3}
checkpoint: {seconds: 1}
ingest: {tick_ms: 100}
retention: {interval_seconds: 1, free_percent: 1}
accounts: accounts.yaml
";

/// A company with an archive, files of which are small.
fn company() -> Company {
    Company::with(&format!("{CONFIGURATION}archive: {{dir: archive, file_mib: 1}}\n"))
}

/// Sends events with long notes, waits for their outcomes, imports the bill of it all.
fn work(company: &Company, running: &Running, traffic: &mut Traffic, batches: usize) {
    for _ in 0..batches {
        let batch = traffic.batch(25, 6_000);
        assert!(within(PATIENCE, || traffic.send(running, &batch).then_some(())).is_some());
    }
    let bill = traffic.bill();
    assert!(company.bill(running, &company.write(&format!("{}.csv", traffic.billed), bill)));
    settles(running, traffic);
}

fn settles(running: &Running, traffic: &Traffic) {
    assert!(within(PATIENCE, || traffic.is_settled(running).then_some(())).is_some(), "{}", running.err());
}

/// Work and snapshots, three times over: of each slot there are two, and something after them.
fn busy(company: &Company) -> (Running, Traffic) {
    let (running, mut traffic) = (company.run(), Traffic::new(5));
    for _ in 0..3 {
        work(company, &running, &mut traffic, 4);
        company.cli(&["snapshot"]).ends(0);
    }
    work(company, &running, &mut traffic, 1);
    company.comes_to_rest(&running);
    let head = company.cli(&["head", "-o", "json"]).ends(0);
    company.write("head.json", head.out);
    // What is matched now was asked for a moment ago.
    let rests = within(PATIENCE, || (answers(company) == answers(company)).then_some(()));
    assert!(rests.is_some());
    (running, traffic)
}

/// What people ask; the same before and after.
fn answers(company: &Company) -> Vec<(String, String)> {
    let all: [&[&str]; 8] = [
        &["balance", "users:"],
        &["entries", "users:1:wallet", "--limit", "1000"],
        &["entries", "channel:wechat:main", "--limit", "1000"],
        &["trace", "e-0"],
        &["trace", "e-20"],
        &["receipt", "e-3", "--head", "head.json"],
        &["breaks", "--summary"],
        &["trial-balance"],
    ];
    let answer = |question: &&[&str]| {
        let said = company.cli(question);
        assert!(matches!(said.code, Some(0 | 4)), "{question:?}: {said:?}");
        (question.join(" "), said.out)
    };
    all.iter().map(answer).collect()
}

fn rows(said: &Value) -> &Vec<Value> {
    said.as_array().unwrap_or_else(|| panic!("{said}"))
}

fn given_up(said: &Value) -> usize {
    rows(said).iter().filter(|row| row["given_up_to"].as_i64() > Some(0)).count()
}

fn give_up(company: &Company) -> Value {
    company.cli(&["archive", "--give-up", "-o", "json"]).ends(0).json()
}

fn segments_bytes(company: &Company) -> u64 {
    let files = fs::read_dir(company.books().join("segments")).unwrap().flatten();
    files.map(|file| file.metadata().unwrap().len()).sum()
}

/// Where the log itself begins.
fn begins(company: &Company, topic: Topic) -> Vec<i64> {
    let log = EmbeddedLog::open(&company.books(), Options::new(COUNTS)).unwrap();
    let low = |partition| log.watermarks(TopicPartition::new(topic, partition), Isolation::Committed);
    (0..log.partitions(topic).unwrap()).map(|partition| low(partition).unwrap().low).collect()
}

/// A file of the archive, the first one of a topic.
fn first_file(company: &Company, topic: &str) -> PathBuf {
    let mut all: Vec<PathBuf> = Vec::new();
    for partition in 0..3 {
        let folder = company.path("archive").join(topic).join(partition.to_string());
        all.extend(fs::read_dir(folder).into_iter().flatten().flatten().map(|file| file.path()));
    }
    all.sort();
    all.into_iter().find(|path| path.extension().is_some_and(|ending| ending == "records")).unwrap()
}

#[test]
fn what_is_archived_leaves_the_log_and_every_answer_is_as_before() {
    let company = company();
    let (running, traffic) = busy(&company);
    let would = company.cli(&["archive", "--give-up", "--dry-run", "-o", "json"]).ends(0).json();
    assert!(given_up(&would) >= 5 && !company.path("archive").exists(), "{would}");
    let (before, held) = (answers(&company), segments_bytes(&company));
    let said = give_up(&company);
    assert!(given_up(&said) >= 5, "{said}");
    let left = segments_bytes(&company);
    assert!(left < held, "{held} bytes before, {left} after");
    assert_eq!(answers(&company), before);
    company.cli(&["archive", "--verify"]).ends(0);
    company.cli(&["verify"]).ends(0);
    company.cli(&["verify", "--deep"]).ends(0);
    company.cli(&["audit"]).ends(0);
    // Nothing new, or next to nothing: it may be run at any time.
    give_up(&company);
    running.stop();
    assert!(begins(&company, Topic::Journal).iter().any(|low| *low > 0));
    company.is_whole();
    // The disk with the checkpoints is lost: from the snapshots, and where there are none, from the files alone.
    fs::remove_dir_all(company.books().join(STORE)).unwrap();
    let running = company.run();
    assert!(running.err().contains("restoring from a snapshot"), "{}", running.err());
    assert_eq!(answers(&company), before);
    running.stop();
    fs::remove_dir_all(company.books().join(STORE)).unwrap();
    loses_its_snapshots(&company);
    let running = company.run();
    assert!(!running.err().contains("restoring from a snapshot"), "{}", running.err());
    assert_eq!(answers(&company), before);
    settles(&running, &traffic);
    running.stop();
    company.is_whole();
    traffic.are_the_wallets(&company.balances(&company.books(), "users:"));
}

/// Gives up every snapshot.
fn loses_its_snapshots(company: &Company) {
    let log = EmbeddedLog::open(&company.books(), Options::new(COUNTS)).unwrap();
    let all = (0..COUNTS.internal).map(|partition| TopicPartition::new(Topic::Snapshots, partition));
    let below: Vec<_> = all.map(|at| (at, log.watermarks(at, Isolation::Committed).unwrap().high)).collect();
    log.clean(&below).unwrap().wait().unwrap();
}

#[test]
fn nothing_is_given_up_before_there_are_two_snapshots() {
    let company = company();
    let (running, mut traffic) = (company.run(), Traffic::new(6));
    work(&company, &running, &mut traffic, 2);
    company.cli(&["snapshot"]).ends(0);
    let said = give_up(&company);
    let changelogs = |row: &&Value| {
        ["journal", "ingest.state", "recon.state", "recon.sides"].iter().any(|of| row["topic"] == *of)
    };
    assert!(rows(&said).iter().filter(changelogs).all(|row| row["given_up_to"].is_null()), "{said}");
    running.stop();
    assert!(begins(&company, Topic::Journal).iter().all(|low| *low == 0));
    // At rest it is the same command.
    company.cli(&["archive"]).ends(0);
    company.cli(&["archive", "--verify"]).ends(0);
    let said = Company::new().cli(&["archive"]).ends(1);
    assert!(said.err.contains("holds no books"), "{said:?}");
}

#[test]
fn without_the_archive_it_is_named_where_records_are_missed() {
    let company = company();
    let (running, _) = busy(&company);
    give_up(&company);
    running.stop();
    let moved = company.path("elsewhere");
    fs::rename(company.path("archive"), &moved).unwrap();
    let said = company.cli(&["verify"]).ends(1);
    assert!(said.err.contains("archive.dir") && said.err.contains("is not there"), "{said:?}");
    company.cli(&["entries", "users:1:wallet", "--limit", "1000"]).ends(1);
    let said = company.cli(&["archive"]).ends(1);
    assert!(said.err.contains("holds nothing of it"), "{said:?}");
    company.cli(&["archive", "--verify"]).ends(3);
    // What needs none of it works.
    company.cli(&["balance", "users:"]).ends(0);
    company.cli(&["verify", "--since-snapshot"]).ends(0);
    company.run().stop();
    // And without the setting.
    company.write("ledgerflow.yaml", CONFIGURATION);
    let said = company.cli(&["receipt", "e-3"]).ends(1);
    assert!(said.err.contains("archive.dir names no archive"), "{said:?}");
    let said = company.cli(&["archive"]).ends(1);
    assert!(said.err.contains("archive.dir is not set"), "{said:?}");
    let dir = company.books().join("archive");
    let said = company.cli_with(
        &company.books(),
        &[("LEDGERFLOW_ARCHIVE__DIR", dir.to_str().unwrap())],
        &["archive"],
    );
    assert!(said.ends(2).err.contains("a folder outside of log.dir"));
}

#[test]
fn a_damaged_file_is_named() {
    let company = company();
    let (running, _) = busy(&company);
    give_up(&company);
    running.stop();
    let file = first_file(&company, "journal");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    let name = file.strip_prefix(company.path("")).unwrap().display().to_string();
    for (command, code) in [(&["archive", "--verify"][..], 3), (&["verify"], 1), (&["audit"], 1)] {
        let said = company.cli(command).ends(code);
        assert!(said.err.contains(&name), "{command:?}: {said:?}");
    }
    fs::remove_file(&file).unwrap();
    company.cli(&["archive", "--verify"]).ends(3);
    company.cli(&["verify"]).ends(1);
}

/// A backup that is older than the archive: what is archived of a time that the log has lost is not gone on with.
#[test]
fn an_older_backup_is_told_which_files_are_ahead_of_it() {
    let company = company();
    let (running, mut traffic) = busy(&company);
    give_up(&company);
    company.cli(&["backup", "backup"]).ends(0);
    work(&company, &running, &mut traffic, 2);
    company.cli(&["archive"]).ends(0);
    running.stop();
    // With its archive a backup answers everything.
    company.cli_on(&company.path("backup"), &["verify"]).ends(0);
    let restored = company.path("restored");
    company.cli_on(&restored, &["restore", "backup"]).ends(0);
    let said = company.cli_on(&restored, &["run"]).ends(1);
    assert!(said.err.contains("older than the archive"), "{said:?}");
    for path in ahead(&company, &restored) {
        fs::rename(&path, path.with_extension("of-another-time")).unwrap();
    }
    company.cli_on(&restored, &["verify"]).ends(0);
    company.cli_on(&restored, &["archive"]).ends(0);
    company.cli_on(&restored, &["audit", "--quiesced"]);
}

/// Files that end above the log's end.
fn ahead(company: &Company, dir: &Path) -> Vec<PathBuf> {
    let log = EmbeddedLog::open(dir, Options::new(COUNTS)).unwrap();
    let mut all = Vec::new();
    for topic in stream::archive::topics() {
        for partition in 0..log.partitions(topic).unwrap() {
            let at = TopicPartition::new(topic, partition);
            let high = log.watermarks(at, Isolation::Committed).unwrap().high;
            let folder = company.path("archive").join(topic.name()).join(partition.to_string());
            for file in fs::read_dir(folder).into_iter().flatten().flatten() {
                let next: i64 = file.file_name().to_str().unwrap()[21..41].parse().unwrap();
                all.extend((next > high).then(|| file.path()));
            }
        }
    }
    all
}

/// The process dies at each point of a round, is started again, and the next round goes on.
#[test]
fn a_process_that_dies_while_it_archives_loses_nothing() {
    let points = [
        "archive.after_write",
        "archive.after_rename",
        "archive.before_give_up",
        "embedded.clean.before_delete",
        "embedded.clean.after_delete",
    ];
    for (point, nth) in points.into_iter().zip([1, 2, 1, 1, 1].into_iter().cycle()) {
        for round in 0..variable("ROUNDS").unwrap_or(1) {
            let company = company();
            company.write(
                "ledgerflow.yaml",
                format!("{CONFIGURATION}archive: {{dir: archive, file_mib: 1}}\n")
                    .replace("interval_seconds: 1", "interval_seconds: 3600"),
            );
            let (running, traffic) = busy(&company);
            let before = answers(&company);
            running.stop();
            let fault = format!("{point}:{}=kill", nth + round);
            let mut running = company.ready(company.launch(Some(&fault)));
            let asked = running.begin(&Question::Archive { give_up: true, dry_run: false });
            let died = running.wait(PATIENCE).map(|status| status.signal());
            assert_eq!(died, Some(Some(Signal::KILL.as_raw())), "{fault}: {}", running.err());
            drop(asked);
            let running = company.run();
            assert_eq!(answers(&company), before, "{fault}");
            give_up(&company);
            company.cli(&["archive", "--verify"]).ends(0);
            assert_eq!(answers(&company), before, "{fault}");
            settles(&running, &traffic);
            running.stop();
            company.is_whole();
        }
    }
}
