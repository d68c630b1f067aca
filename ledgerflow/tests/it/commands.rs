//! Commands where something is not as it should be: no books, a backup, a stopped slot, files that are wrong.

use crate::company::{Company, PATIENCE, within};
use ledgerflow::query::{Ending, Question};
use ledgerflow::restore::is_backup;
use ledgerflow_tests::bill;
use ledgerflow_tests::events::Event;
use schemas::topics::{PartitionCounts, Topic};
use std::path::Path;
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Log, OutRecord, TopicPartition};

const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };
const SMALL: &str = "partitions: {events: 2, internal: 3}\n";

fn funding(id: &str) -> Vec<u8> {
    let now = schemas::dates::format_instant(stream::clock::wall_us());
    Event::transfer(id, "users:42", &now, ("funding:cash", "users:42:wallet"), "5.00").to_bytes()
}

/// Books with one event, at rest.
fn books() -> Company {
    let company = Company::with(SMALL);
    let running = company.run();
    company.write("one.json", funding("t-1"));
    company.cli(&["send", "one.json", "--wait"]).ends(0);
    running.stop();
    company
}

/// Every file below a folder with its content, the lock left out.
fn contents(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            all.extend(contents(&entry));
        } else if entry.file_name().is_some_and(|name| name != "lock") {
            all.push((entry.clone(), std::fs::read(&entry).unwrap()));
        }
    }
    all.sort();
    all
}

#[test]
fn only_run_makes_books() {
    let company = Company::with(SMALL);
    company.write("one.json", funding("t-1"));
    let bill = company.write("bill.csv", bill::text(&[])).display().to_string();
    let misspelt = company.path("boks");
    let commands: [&[&str]; 4] = [
        &["send", "one.json"],
        &["send", "one.json", "--wait"],
        &["bill", &bill],
        &["balance", "users:42:wallet"],
    ];
    for command in commands {
        let said = company.cli_on(&misspelt, command).ends(1);
        assert!(said.err.contains("holds no books") && said.err.contains("boks"), "{}", said.err);
        assert!(!misspelt.exists(), "{command:?} made a folder");
    }
}

#[test]
fn a_topic_is_described_without_books() {
    let company = Company::with(SMALL);
    let said = company.cli(&["topics", "describe", "journal"]).ends(0);
    assert!(said.out.contains("Batch of JournalItem"), "{}", said.out);
    let said = company.cli(&["topics", "describe", "jurnal"]).ends(4);
    assert!(said.err.contains("days.aligned"), "{}", said.err);
    assert!(!company.books().exists());
}

/// The configuration may be written first.
#[test]
fn a_token_is_made_before_the_file_of_tokens_is_there() {
    let company = Company::with("http: {tokens: tokens.yaml}\n");
    let said = company.cli(&["show-config"]).ends(2);
    assert!(said.err.contains("http.tokens: found \"tokens.yaml\""), "{}", said.err);
    company.tokens(&[("shop", "send")]);
    company.cli(&["show-config"]).ends(0);
}

#[test]
fn a_list_of_no_rows_is_a_wrong_use_of_the_command() {
    let company = Company::with(SMALL);
    for list in [
        "entries users:42:wallet",
        "holds",
        "breaks",
        "adjustments list",
        "suspense list",
        "parked list",
        "rejected list",
        "accounts",
    ] {
        let words: Vec<&str> = list.split(' ').chain(["--limit", "0"]).collect();
        let said = company.cli(&words).ends(2);
        assert!(
            said.err.contains("invalid value '0' for '--limit <LIMIT>': 0 is not in 1.."),
            "{list}: {said:?}"
        );
    }
}

#[test]
fn a_backup_answers_and_stays_a_backup() {
    let company = books();
    let backup = company.path("backup");
    company.cli(&["backup", "backup"]).ends(0);
    assert!(is_backup(&backup) && !is_backup(&company.books()));
    let before = contents(&backup);
    let questions: [&[&str]; 13] = [
        &["balance", "users:42:wallet"],
        &["entries", "users:42:wallet"],
        &["trace", "t-1"],
        &["trial-balance"],
        &["days"],
        &["status"],
        &["rejected", "list"],
        &["verify"],
        &["replay"],
        &["verify", "--deep"],
        &["head"],
        &["receipt", "t-1"],
        &["audit"],
    ];
    for question in questions {
        company.cli_on(&backup, question).ends(0);
        assert!(contents(&backup) == before, "{question:?} changed the backup");
    }
    let bill = company.write("bill.csv", bill::text(&[])).display().to_string();
    let writes: [&[&str]; 2] = [&["send", "one.json"], &["bill", &bill]];
    for command in writes {
        let said = company.cli_on(&backup, command).ends(1);
        assert!(said.err.contains("is a backup"), "{}", said.err);
    }
    assert!(contents(&backup) == before);
    let restored = company.path("restored");
    company.cli_on(&restored, &["restore", "backup"]).ends(0);
    assert!(!is_backup(&restored));
    company.cli_on(&restored, &["send", "one.json"]).ends(0);
    let said = company.cli_on(&backup, &["balance", "users:42:wallet"]);
    assert!(said.ends(0).out.contains("5.00"));
}

#[test]
fn other_partitions_than_those_of_a_backup_are_refused() {
    let company = books();
    company.cli(&["backup", "backup"]).ends(0);
    company.write("ledgerflow.yaml", "partitions: {events: 2, internal: 5}\n");
    let said = company.cli_on(&company.path("backup"), &["balance", "users:42:wallet"]).ends(1);
    let want = "backup: partitions.internal: it was made with 3, now it is 5. ";
    assert!(said.err.contains(want) && !said.err.contains("events"), "{}", said.err);
    company.write("ledgerflow.yaml", "partitions: {events: 1, internal: 5}\n");
    for command in [&["run"][..], &["balance", "users:42:wallet"], &["send", "one.json"]] {
        let said = company.cli(command).ends(1);
        let want = "books: partitions.events: it was made with 2, now it is 1; partitions.internal: it was made with 3, \
                    now it is 5. ";
        assert!(said.err.contains(want) && said.err.contains("Set them back"), "{command:?}: {}", said.err);
    }
}

#[test]
fn status_at_rest_shows_stages_and_stopped_slots() {
    let company = books();
    let said = company.cli(&["status", "-o", "json"]).ends(0).json();
    let stages = said["stages"].as_array().unwrap();
    let slots: Vec<(&str, u64)> =
        stages.iter().map(|row| (row["stage"].as_str().unwrap(), row["slots"].as_u64().unwrap())).collect();
    assert_eq!(slots, [("ingest", 2), ("posting", 3), ("settlement", 3), ("rekey", 3), ("join", 3)]);
    for stage in stages {
        assert_eq!(stage["state"], "at rest", "{stage}");
        // Re-keying leaves ticks lying for a while, for itself and for those behind it.
        let lies = matches!(stage["stage"].as_str(), Some("rekey" | "join"));
        assert!(lies || stage["behind_records"] == 0, "{stage}");
    }
    assert!(said.get("stopped slots").is_none(), "{said}");
    // A record in a journal that nobody of ours has written.
    let log = EmbeddedLog::open(&company.books(), Options::new(COUNTS)).unwrap();
    let at = TopicPartition::new(Topic::Journal, 1);
    log.append(vec![OutRecord::new(at, b"nobody's".to_vec().into())]).unwrap();
    log.sync().unwrap();
    drop(log);
    let said = company.cli(&["status", "-o", "json"]).ends(3).json();
    let stopped = said["stopped slots"].as_array().unwrap();
    assert!(
        stopped.iter().any(|row| row["stage"] == "posting" && row["slot"] == 1 && !row["why"].is_null()),
        "{said}"
    );
    let posting = said["stages"].as_array().unwrap().iter().find(|row| row["stage"] == "posting").unwrap();
    assert_eq!(posting["state"], "slot stopped");
    let table = company.cli(&["status"]).ends(3);
    assert!(table.out.contains("stopped slots"), "{}", table.out);

    // Running, settlement comes to it too: nobody is told that all is well, or that an account does not exist.
    let running = company.launch(None);
    let unwell = within(PATIENCE, || {
        let health = running.ask(&Question::Health)?;
        (health.message?.contains("slots are stopped") && health.ending == Ending::Wrong).then_some(())
    });
    assert!(unwell.is_some(), "{}", running.err());
    let said = within(PATIENCE, || {
        let said = company.cli(&["balance", "users:"]);
        said.err.contains("slots 1 of settlement are stopped").then(|| said.ends(3))
    });
    assert!(said.is_some(), "{}", running.err());
    running.stop();
}

#[test]
fn an_event_that_no_log_can_keep_is_refused_by_its_line() {
    let company = books();
    let huge = format!("{{\"id\":\"{}\"}}", "x".repeat(5_000_000)).into_bytes();
    company.write("three.json", [funding("t-2"), huge, funding("t-3")].join(&b'\n'));
    let said = company.cli(&["send", "three.json"]).ends(1);
    assert!(said.err.contains("three.json:2: 5000009 bytes; an event has at most 921600"), "{}", said.err);
}

#[test]
fn show_config_refuses_what_run_would_refuse() {
    let company = Company::with("partitions: {events: 2, internal: 3}\naccounts: mine.yaml\n");
    let missing = company.cli(&["show-config"]).ends(2);
    assert!(missing.err.contains("ledgerflow.yaml:2:11: accounts: found \"mine.yaml\""), "{}", missing.err);
    company.write("mine.yaml", "version: 1\nassets: {CNY: {exponent: 2}}\nassets: {}\naccounts: []\n");
    let broken = company.cli(&["show-config"]).ends(2);
    assert!(broken.err.contains("mine.yaml: line 3: key assets stands here a second time"), "{}", broken.err);
    company.write("mine.yaml", ledgerflow::runtime::DEFAULT_CHART);
    company.cli(&["show-config"]).ends(0);
}

#[test]
fn a_bill_that_is_wrong_is_told_once_and_without_a_day_that_nobody_said() {
    let company = books();
    let said = company.cli(&["bill", "nowhere.csv"]).ends(1);
    assert_eq!(said.err.matches("No such file").count(), 1, "{}", said.err);
    let empty = company.write("empty.csv", "").display().to_string();
    let said = company.cli(&["bill", &empty, "-o", "json"]).ends(3);
    assert!(said.json()[0]["day"].is_null(), "{}", said.out);
    assert!(said.err.contains("quarantined"), "{}", said.err);
    let said = company.cli(&["breaks", "--summary", "-o", "json"]).ends(0);
    assert!(!said.out.contains("1970"), "{}", said.out);
}

/// Nobody knows which events of a cut-off `send` were taken; all of them may be sent again.
#[test]
fn a_send_that_is_cut_off_says_that_it_may_be_repeated() {
    let company = books();
    company.write("two.json", funding("t-2"));
    let said = company.cli(&["send", "two.json", "--wait"]).ends(1);
    assert!(said.err.contains("nothing runs") && said.err.contains("again is safe"), "{}", said.err);
    let running = company.run();
    let said = company.cli(&["send", "two.json", "--wait", "-o", "json"]).ends(0).json();
    assert_eq!((&said[0]["outcome"], &said[0]["original"]), (&"duplicate".into(), &"booked".into()));
    running.stop();
}

#[test]
fn a_folder_with_other_files_is_no_data_directory() {
    let company = Company::with(SMALL);
    std::fs::create_dir(company.path("docs")).unwrap();
    company.write("docs/page.md", "a page");
    let said = company.cli_on(&company.path("docs"), &["run"]).ends(1);
    assert!(said.err.contains("is no data directory: it holds page.md"), "{}", said.err);
    assert_eq!(contents(&company.path("docs")).len(), 1);
}

#[test]
fn a_word_that_means_nothing_is_refused_with_those_that_do() {
    let company = Company::with(SMALL);
    let rows: [(&[&str], &[&str]); 9] = [
        (&["rejected", "list", "--reason", "nope"], &["nope", "too_large", "insufficient_funds"]),
        (&["breaks", "--kind", "nope"], &["nope", "currency", "theirs_only"]),
        (&["breaks", "--kind", "matched"], &["matched", "duplicate"]),
        (&["entries", "users:*"], &["one account", "`ledgerflow balance` takes prefixes"]),
        (&["entries", "users:"], &["one account", "`ledgerflow balance` takes prefixes"]),
        (&["rejected", "show", "17"], &["a position such as 0@17"]),
        (&["rejected", "show", "0@-1"], &["a position such as 0@17"]),
        (&["bill", "bill.csv", "--day", "tomorrow"], &["tomorrow"]),
        (&["balance", "users:42:wallet", "--as-of", "2025-02-30"], &["2025-02-30"]),
    ];
    for (command, wanted) in rows {
        let said = company.cli(command).ends(2);
        assert!(wanted.iter().all(|wanted| said.err.contains(wanted)), "{}", said.err);
    }
}

/// Codes as docs/operating.md has them, and one name before whatever is wrong.
#[test]
fn what_is_wrong_has_its_code_and_begins_with_the_programs_name() {
    let company = books();
    let (books, nowhere) = (company.books(), company.path("nowhere"));
    company.write("empty.csv", "");
    company.write("chart.yaml", "accounts: broken.yaml\npartitions: {events: 2, internal: 3}\n");
    company.write("broken.yaml", "version: 1\nassets: {CNY: {exponent: 99}}\naccounts: []\n");
    company.write("rules.yaml", "rules: empty.csv\npartitions: {events: 2, internal: 3}\n");
    company.write("bounds.yaml", "partitions: {events: 0, internal: 3}\n");
    let rows: [(&Path, &[&str], i32); 16] = [
        (&books, &["balances"], 2),
        (&books, &["send"], 2),
        (&books, &["send", "one.json", "--lane", "3"], 2),
        (&books, &["--config", "chart.yaml", "run"], 2),
        (&books, &["--config", "chart.yaml", "balance", "users:"], 2),
        (&books, &["--config", "rules.yaml", "show-config"], 2),
        (&books, &["--config", "bounds.yaml", "days"], 2),
        (&books, &["--config", "none.yaml", "days"], 2),
        (&nowhere, &["days"], 1),
        (&books, &["send", "none.json"], 1),
        (&books, &["bill", "none.csv"], 1),
        (&books, &["backup", "books/backup"], 1),
        (&books, &["health"], 3),
        (&books, &["bill", "empty.csv"], 3),
        (&books, &["balance", "users:43:wallet"], 4),
        (&books, &["topics", "describe", "jurnal"], 4),
    ];
    for (dir, command, code) in rows {
        let said = company.cli_on(dir, command).ends(code);
        assert!(said.err.lines().any(|line| line.starts_with("ledgerflow: ")), "{command:?}: {}", said.err);
        assert!(!said.err.contains("error: "), "{command:?}: {}", said.err);
    }
    let help = company.cli(&["--help"]).ends(0);
    assert!(help.err.is_empty() && help.out.contains("Exit codes"), "{}", help.err);
}

#[test]
fn nothing_to_send_is_said_and_asks_nobody() {
    let company = Company::with(SMALL);
    company.write("blank.json", "\n  \n\t\n");
    for arguments in [&["send", "-"][..], &["send", "-", "--wait"], &["send", "blank.json", "--wait"]] {
        let said = company.cli(arguments).ends(0);
        assert!(said.err.contains("holds no event; nothing was sent"), "{}", said.err);
    }
    assert!(!company.books().exists());
}

/// The greatest amount twice: between partitions it cannot be sent, within one the balance has no room for the second.
#[test]
fn an_amount_that_nothing_can_hold_is_refused_in_words() {
    let company = Company::with(SMALL);
    let running = company.run();
    let greatest = format!("16{}.00", "0".repeat(35));
    let now = schemas::dates::format_instant(stream::clock::wall_us());
    let event =
        |id| Event::transfer(id, "users:42", &now, ("funding:cash", "users:42:wallet"), &greatest).to_bytes();
    company.write("two.json", [event("t-1"), event("t-2")].join(&b'\n'));
    company.cli(&["send", "two.json", "--wait"]);
    let rejected = company.cli(&["rejected", "list", "--reason", "overflow", "-o", "json"]).ends(0).json();
    let rows = rejected.as_array().unwrap();
    assert!(!rows.is_empty(), "{}", running.err());
    for row in rows {
        let detail = row["detail"].as_str().unwrap();
        assert!(detail.contains(" in CNY ") && detail.ends_with("beyond any amount"), "{detail}");
    }
    running.stop();
}
