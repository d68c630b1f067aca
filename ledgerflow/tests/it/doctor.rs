//! `doctor` on what is whole, and on what was harmed on purpose: each fault is found, with what mends it.

use crate::company::{Company, Said};
use ledgerflow_tests::redis::Redis;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

const PLAIN: &str = "partitions: {events: 2, internal: 3}\naccounts: accounts.yaml\n";

/// A finding by its subject: verdict, what was found, remedy.
#[track_caller]
pub fn finding(said: &Said, subject: &str) -> [String; 3] {
    let rows = said.json();
    let row = rows.as_array().unwrap().iter().find(|row| row["subject"] == subject);
    let row = row.unwrap_or_else(|| panic!("{subject}: {}", said.out));
    ["verdict", "found", "remedy"].map(|column| row[column].as_str().unwrap_or_default().to_owned())
}

/// Subjects that are wrong.
pub fn wrong(said: &Said) -> Vec<String> {
    let rows = said.json();
    let wrong = rows.as_array().unwrap().iter().filter(|row| row["verdict"] == "wrong");
    wrong.map(|row| row["subject"].as_str().unwrap().to_owned()).collect()
}

fn mode(company: &Company, mode: u32) {
    std::fs::set_permissions(company.books(), std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_machine_and_its_books_are_looked_at_before_beside_and_after_a_pipeline() {
    let company = Company::with(PLAIN);
    let said = company.cli(&["doctor", "--json"]).ends(0);
    assert_eq!(finding(&said, "log")[0], "good", "{}", said.out);
    assert!(!company.books().exists(), "looking makes nothing");
    let running = company.run();
    mode(&company, 0o700);
    let said = company.cli(&["doctor", "--json"]).ends(0);
    let told = |pid: u32| format!("{pid} runs and is ready");
    assert_eq!(finding(&said, "process"), ["good".to_owned(), told(running.pid()), String::new()]);
    assert_eq!(finding(&said, "data directory")[0], "good");
    assert!(said.err.contains(" looked at"), "{}", said.err);
    running.stop();
    let said = company.cli(&["doctor", "--json"]).ends(0);
    assert_eq!(finding(&said, "process")[1], "nothing runs on the directory");
    let rows: Value = said.json();
    for row in rows.as_array().unwrap() {
        assert_eq!(row["verdict"] == "good", row["remedy"] == "", "{row}");
    }
    // The pipeline that is stopped in the middle of everything holds the directory and answers nobody.
    let running = company.run();
    running.signal(rustix::process::Signal::STOP);
    let said = company.cli(&["doctor", "--json"]).ends(0);
    let [verdict, found, remedy] = finding(&said, "process");
    assert!(verdict == "warning" && found.contains("does not answer"), "{found}");
    assert!(remedy.contains(&format!("kill {}", running.pid())), "{remedy}");
    running.signal(rustix::process::Signal::CONT);
    running.stop();
}

#[test]
fn a_directory_that_everybody_may_change_is_wrong() {
    let company = Company::with(PLAIN);
    company.run().stop();
    mode(&company, 0o777);
    let said = company.cli(&["doctor", "--json"]).ends(3);
    let [verdict, found, remedy] = finding(&said, "data directory");
    assert!(
        verdict == "wrong" && found.ends_with("has mode 0777: everybody may change the books"),
        "{found}"
    );
    // The remedy is a command.
    let mended = std::process::Command::new("sh").args(["-c", &remedy]).status().unwrap();
    assert!(mended.success(), "{remedy}");
    let said = company.cli(&["doctor", "--json"]).ends(0);
    assert_eq!(finding(&said, "data directory")[0], "good");
}

#[test]
fn books_of_other_partitions_and_damaged_ones_are_wrong() {
    let company = Company::with(PLAIN);
    company.run().stop();
    mode(&company, 0o700);
    company.write("ledgerflow.yaml", "partitions: {events: 4, internal: 3}\naccounts: accounts.yaml\n");
    let said = company.cli(&["doctor", "--json"]).ends(3);
    assert_eq!(
        (wrong(&said), &finding(&said, "log")[2]),
        (vec!["log".to_owned()], &"partitions: {events: 2, internal: 3}".to_owned())
    );
    company.write("ledgerflow.yaml", PLAIN);
    let meta = std::fs::read_to_string(company.books().join("meta")).unwrap();
    std::fs::write(company.books().join("meta"), meta.replace("internal 3", "internal 4")).unwrap();
    let said = company.cli(&["doctor", "--json"]).ends(3);
    assert!(finding(&said, "log")[1].contains("the checksum does not match"), "{}", said.out);
}

#[test]
fn few_files_and_parts_without_a_cluster() {
    let company = Company::with(PLAIN);
    let program = env!("CARGO_BIN_EXE_ledgerflow");
    let mut limited = std::process::Command::new("bash");
    limited
        .args(["-c", &format!("ulimit -n 100; exec {program} doctor --json")])
        .current_dir(company.path("."));
    let said = company.other(&mut limited).ends(3);
    let [_, found, remedy] = finding(&said, "open files");
    assert!(found.starts_with("100 may be open, "), "{found}");
    assert!(remedy.starts_with("LimitNOFILE="), "{remedy}");
    let said = company.cli(&["doctor", "posting"]).ends(2);
    assert!(said.err.contains("the embedded log has no ACLs"), "{}", said.err);
}

#[test]
fn redis_is_reached_or_wrong_and_its_password_is_not_shown() {
    let Some(mut redis) = Redis::start(&["--maxmemory-policy", "allkeys-lru", "--requirepass", "secret"])
    else {
        return;
    };
    let company = Company::with(PLAIN);
    let url = format!("redis://:secret@127.0.0.1:{}", redis.port());
    let doctor =
        || company.cli_with(&company.books(), &[("LEDGERFLOW_REDIS__URL", &url)], &["doctor", "--json"]);
    let said = doctor().ends(0);
    assert_eq!(finding(&said, "redis")[0], "good");
    let [verdict, found, remedy] = finding(&said, "redis maxmemory-policy");
    assert!(verdict == "warning" && found.starts_with("allkeys-lru"), "{found}");
    assert!(remedy.starts_with("redis-cli CONFIG SET maxmemory-policy noeviction"), "{remedy}");
    assert_eq!(finding(&said, "redis mirror")[1], "0 of 3 slots are mirrored");
    redis.kill();
    let said = doctor().ends(3);
    assert_eq!(wrong(&said), ["redis"]);
    assert!(!said.out.contains("secret"), "{}", said.out);
}
