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
