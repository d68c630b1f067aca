//! The way back from a backup: taken under load, restored elsewhere, and gone on from.

use crate::company::{Company, PATIENCE, within};
use crate::traffic::{Batch, Traffic};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Value of a field of the table `restored`.
fn field(restored: &Value, name: &str) -> Value {
    let rows = restored["restored"].as_array().unwrap();
    rows.iter().find(|row| row["field"] == name).unwrap_or_else(|| panic!("{name}: {restored}"))["value"]
        .clone()
}

/// A company that works, and a backup taken in the middle of it; every batch that was sent.
fn backed_up(company: &Company, copy: &Path, traffic: &mut Traffic) -> Vec<Batch> {
    let running = company.run();
    let mut batches: Vec<Batch> = (0..30).map(|_| traffic.batch(25, 0)).collect();
    let (before, meanwhile) = batches.split_at_mut(10);
    for batch in before {
        assert!(traffic.send(&running, batch));
    }
    std::thread::scope(|scope| {
        let sending = scope.spawn(|| meanwhile.iter().all(|batch| traffic.send(&running, batch)));
        let said = company.cli(&["backup", &copy.display().to_string(), "-o", "json"]).ends(0).json();
        assert!(
            said[0]["last_commit"].as_u64().unwrap() > 0 && said[0]["bytes"].as_u64().unwrap() > 0,
            "{said}"
        );
        assert!(sending.join().unwrap(), "{}", running.err());
    });
    // Every slot has work that the backup does not know.
    for _ in 0..3 {
        let batch = traffic.batch(25, 0);
        assert!(traffic.send(&running, &batch), "{}", running.err());
        batches.push(batch);
    }
    running.stop();
    batches
}

#[test]
fn a_backup_taken_under_load_is_restored_checked_and_gone_on_from() {
    let (company, second) = (Company::new(), Company::new());
    let (copy, mut traffic) = (company.path("copy"), Traffic::new(23));
    let batches = backed_up(&company, &copy, &mut traffic);
    let restored = second.cli(&["restore", &copy.display().to_string(), "-o", "json"]).ends(0).json();
    let (commit, age) = (field(&restored, "last commit"), field(&restored, "age"));
    assert!(commit.as_u64().unwrap() > 0 && age.as_str().unwrap().ends_with(" s"), "{restored}");
    let days = restored["days"].as_array().unwrap();
    assert!(days.iter().any(|day| day["state"] == "OPEN" && day["book"] == "main"), "{restored}");
    assert_eq!(restored["checkpoints not taken"], serde_json::json!([]));
    // As it lies there, in the middle of the work.
    second.cli(&["audit"]).ends(0);
    second.cli(&["verify"]).ends(0);
    // It goes on: what the backup had not seen is sent again, and all of it is booked once.
    let running = second.run();
    let mut traffic = traffic.again();
    for batch in &batches {
        assert!(traffic.send(&running, batch));
    }
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    running.stop();
    second.is_whole();
    traffic.is_booked_once(&second.books());
    traffic.are_the_wallets(&second.balances(&second.books(), "users:"));
    // The backup is what it was.
    let third = Company::new();
    third.cli(&["restore", &copy.display().to_string()]).ends(0);
}

fn segments(of: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(of.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect();
    found.sort();
    found
}

#[test]
fn a_damaged_backup_is_refused_by_file_and_place() {
    let (company, second) = (Company::new(), Company::new());
    let copy = company.path("copy");
    backed_up(&company, &copy, &mut Traffic::new(29));
    let first = segments(&copy).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&first, &bytes).unwrap();
    let said = second.cli(&["restore", &copy.display().to_string()]).ends(3);
    assert!(said.err.contains(&format!("{} at byte ", first.display())), "{}", said.err);
    assert!(!second.books().join("meta").exists());
    bytes[place] ^= 1;
    std::fs::write(&first, &bytes).unwrap();
    second.cli(&["restore", &copy.display().to_string()]).ends(0);
}

#[test]
fn a_directory_that_holds_something_is_left_alone() {
    let (company, second) = (Company::new(), Company::new());
    let copy = company.path("copy");
    backed_up(&company, &copy, &mut Traffic::new(31));
    std::fs::create_dir(second.books()).unwrap();
    std::fs::write(second.books().join("mine"), "precious").unwrap();
    let said = second.cli(&["restore", &copy.display().to_string()]).ends(1);
    assert!(said.err.contains(&format!("{} is not empty", second.books().display())), "{}", said.err);
    assert_eq!(std::fs::read(second.books().join("mine")).unwrap(), b"precious");
    let said =
        second.cli_on(&second.path("deep/er"), &["restore", &company.path("none").display().to_string()]);
    assert!(said.ends(3).err.contains("there is no manifest"), "no backup there");
}

#[test]
fn checkpoints_of_another_time_are_named_and_not_taken() {
    let (company, second) = (Company::new(), Company::new());
    let copy = company.path("copy");
    backed_up(&company, &copy, &mut Traffic::new(37));
    // Checkpoints as they are now, beside a log as it was: what a copy of the whole folder at another time gives.
    let store = company.books().join(ledgerflow::query::books::STORE);
    let copied = std::process::Command::new("cp").arg("-r").args([&store, &copy]).status().unwrap();
    assert!(copied.success());
    let said = second.cli(&["restore", &copy.display().to_string(), "-o", "json"]).ends(0);
    assert!(said.err.contains("the log is the truth"), "{}", said.err);
    let restored = said.json();
    let dropped = restored["checkpoints not taken"].as_array().unwrap();
    let of = |processor: &str| dropped.iter().filter(|row| row["processor"] == processor).count();
    assert_eq!([of("ingest"), of("posting"), of("settlement"), of("rekey"), of("join")], [2, 3, 3, 3, 3]);
    for row in dropped {
        assert_eq!(row["checkpoint_is"], "newer than the log", "{row}");
        assert!(row["window_of_checkpoint"].as_u64() > row["window_of_log"].as_u64(), "{row}");
    }
    assert!(!second.books().join(ledgerflow::query::books::STORE).exists());
    second.cli(&["verify"]).ends(0);
    second.cli(&["audit"]).ends(0);
}

#[test]
fn a_damaged_log_gives_no_backup() {
    let company = Company::new();
    let (copy, mut traffic) = (company.path("copy"), Traffic::new(41));
    let running = company.run();
    assert!((0..10).all(|_| {
        let batch = traffic.batch(25, 0);
        traffic.send(&running, &batch)
    }));
    let first = segments(&company.books()).remove(0);
    let mut bytes = std::fs::read(&first).unwrap();
    let place = bytes.len() / 2;
    bytes[place] ^= 1;
    std::fs::write(&first, &bytes[..]).unwrap();
    let said = company.cli(&["backup", &copy.display().to_string()]).ends(3);
    assert!(said.err.contains(&format!("{} at byte ", first.display())), "{}", said.err);
    assert!(!copy.exists());
    drop(running);
}

/// The log as it was some time ago, beside checkpoints and a `meta` file that know more; then the newest segment gone.
#[test]
fn a_start_on_a_log_that_lost_its_end_is_refused_and_what_is_left_is_taken_only_when_told() {
    let (company, second) = (Company::new(), Company::new());
    let mut traffic = Traffic::new(43);
    let send = |traffic: &mut Traffic| {
        let running = company.run();
        let batches: Vec<Batch> = (0..5).map(|_| traffic.batch(25, 0)).collect();
        assert!(batches.iter().all(|batch| traffic.send(&running, batch)), "{}", running.err());
        running.stop();
        batches
    };
    let mut batches = send(&mut traffic);
    let earlier: Vec<_> =
        segments(&company.books()).into_iter().map(|path| (std::fs::read(&path).unwrap(), path)).collect();
    let meta = std::fs::read(company.books().join("meta")).unwrap();
    batches.extend(send(&mut traffic));
    let store = company.books().join(ledgerflow::query::books::STORE);
    for path in segments(&company.books()) {
        std::fs::remove_file(path).unwrap();
    }
    let refused = |wanted: &[&str]| {
        let mut running = company.launch(None);
        let status = running.wait(PATIENCE).unwrap_or_else(|| panic!("it runs"));
        assert_eq!(status.code(), Some(1), "{}", running.err());
        let asked = company.cli(&["balance", "users:"]).ends(1);
        for said in [running.err(), asked.err] {
            assert!(wanted.iter().all(|wanted| said.contains(wanted)), "{said}");
        }
    };
    refused(&["a part of the log is lost", "0000000001.seg", "ends with commit 0", "--accept-loss"]);
    for (bytes, path) in &earlier {
        std::fs::write(path, bytes).unwrap();
    }
    refused(&["a part of the log is lost", "which was durable", "--accept-loss"]);
    // A log that knows nothing of it: its checkpoints do.
    std::fs::write(company.books().join("meta"), meta).unwrap();
    refused(&["the checkpoint is of window", "a part of the log is lost", "--accept-loss"]);
    assert!(store.exists());

    let books = company.books().display().to_string();
    let said = second.cli(&["restore", &books]).ends(3);
    assert!(said.err.contains("there is no manifest"), "{}", said.err);
    let said = second.cli(&["restore", &books, "--accept-loss", "-o", "json"]).ends(0);
    assert!(said.err.contains("send the events of that time again"), "{}", said.err);
    let restored = said.json();
    assert!(field(&restored, "last commit").as_u64().unwrap() > 0, "{restored}");
    let dropped = restored["checkpoints not taken"].as_array().unwrap();
    assert!(dropped.iter().any(|row| row["checkpoint_is"] == "newer than the log"), "{restored}");
    // What was lost is sent again, and all of it is booked once.
    let running = second.run();
    let mut traffic = traffic.again();
    assert!(batches.iter().all(|batch| traffic.send(&running, batch)));
    let settled = within(PATIENCE, || traffic.is_settled(&running).then_some(()));
    assert!(settled.is_some(), "{}", running.err());
    running.stop();
    second.is_whole();
    traffic.is_booked_once(&second.books());
}
