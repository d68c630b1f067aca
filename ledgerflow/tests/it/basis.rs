//! Settings that may not change once books are open: another value is refused at the start and by every command.

use crate::company::{Company, Said};
use ledgerflow_tests::events::Event;
use std::path::Path;

const SMALL: &str = "partitions: {events: 2, internal: 3}\naccounts: accounts.yaml\n";
const BOOK: &str = "book: {name: main, time_zone: Asia/Shanghai, cut_off: '00:00'}\n";

fn transfer(id: &str, asset: &str) -> Vec<u8> {
    let now = schemas::dates::format_instant(stream::clock::wall_us());
    let event = Event::transfer(id, "users:42", &now, ("funding:cash", "users:42:wallet"), "5.00");
    String::from_utf8(event.to_bytes()).unwrap().replace("CNY", asset).into_bytes()
}

/// A company with settings of its own and the default chart.
fn company(settings: &str) -> Company {
    let company = Company::with(&format!("{SMALL}{settings}"));
    company.write("accounts.yaml", ledgerflow::runtime::DEFAULT_CHART);
    company.write("one.json", transfer("t-1", "CNY"));
    company
}

/// The same with an entry in its books, at rest.
fn books() -> Company {
    let company = company(BOOK);
    let running = company.run();
    company.cli(&["send", "one.json", "--wait"]).ends(0);
    running.stop();
    company
}

fn wallet(company: &Company, dir: &Path) -> Said {
    company.cli_on(dir, &["balance", "users:42:wallet", "-o", "csv"])
}

#[track_caller]
fn holds(company: &Company, dir: &Path, row: &str) {
    let said = wallet(company, dir).ends(0);
    assert!(said.out.contains(row), "{}", said.out);
}

/// Settings of the book, a text of the chart and what is there instead, and what the refusal says.
const CHANGES: [(&str, [&str; 2], &str); 7] = [
    (
        "book: {name: other, time_zone: Asia/Shanghai}\n",
        ["", ""],
        "book.name: these books were opened with main, now it is other. ",
    ),
    ("book: {}\n", ["", ""], "book.time_zone: these books were opened with Asia/Shanghai, now it is UTC. "),
    (
        "book: {time_zone: Asia/Shanghai, cut_off: '04:00'}\n",
        ["", ""],
        "book.cut_off: these books were opened with 00:00, now it is 04:00. ",
    ),
    (
        BOOK,
        ["CNY: { exponent: 2 }", "CNY: { exponent: 3 }"],
        "accounts.yaml: assets.CNY.exponent: these books were opened with 2, now it is 3. ",
    ),
    (
        BOOK,
        ["  JPY: { exponent: 0 }\n", ""],
        "accounts.yaml: assets.JPY: these books were opened with it, now it is not there. ",
    ),
    (
        BOOK,
        [r#""funding:**", normal: debit"#, r#""funding:**", normal: credit"#],
        "accounts.yaml: pattern \"funding:**\": normal: these books were opened with debit, now it is credit. ",
    ),
    (
        BOOK,
        ["  - { pattern: \"bank:**\", normal: debit, unlimited: true }\n", ""],
        "accounts.yaml: pattern \"bank:**\": these books were opened with it, now it is not there. ",
    ),
];

fn change(company: &Company, book: &str, [old, new]: [&str; 2]) {
    let chart = ledgerflow::runtime::DEFAULT_CHART;
    assert!(chart.contains(old), "{old}");
    company.write("accounts.yaml", chart.replacen(old, new, 1));
    company.write("ledgerflow.yaml", format!("{SMALL}{book}"));
}

#[test]
fn another_value_is_refused_at_the_start_and_by_every_command() {
    let company = books();
    for (book, chart, said) in CHANGES {
        change(&company, book, chart);
        for command in [&["run"][..], &["balance", "users:42:wallet"], &["send", "one.json"], &["audit"]] {
            let refused = company.cli(command).ends(2);
            assert!(refused.err.contains(said), "{command:?}: {}", refused.err);
        }
    }
    change(&company, BOOK, ["", ""]);
    holds(&company, &company.books(), "users:42:wallet,CNY,5.00,credit,1,");
    company.is_whole();
}

#[test]
fn a_backup_and_what_is_restored_of_it_refuse_as_well() {
    let company = books();
    company.cli(&["backup", "backup"]).ends(0);
    let (backup, restored) = (company.path("backup"), company.path("restored"));
    let (book, chart, said) = CHANGES[3];
    change(&company, book, chart);
    company.cli_on(&restored, &["restore", "backup"]).ends(0);
    for dir in [&backup, &restored] {
        let refused = wallet(&company, dir).ends(2);
        assert!(refused.err.contains(said), "{}", refused.err);
    }
    let refused = company.cli_on(&restored, &["run"]).ends(2);
    assert!(refused.err.contains(said), "{}", refused.err);
    change(&company, BOOK, ["", ""]);
    holds(&company, &backup, "users:42:wallet,CNY,5.00,credit,1,");
    holds(&company, &restored, "users:42:wallet,CNY,5.00,credit,1,");
}

#[test]
fn an_asset_and_a_pattern_are_added_and_stay() {
    let company = books();
    let pound = ["assets:\n", "assets:\n  GBP: { exponent: 2 }\n"];
    change(&company, BOOK, pound);
    // A question does not add it.
    holds(&company, &company.books(), "users:42:wallet,CNY,5.00,credit,1,");
    change(&company, BOOK, ["", ""]);
    holds(&company, &company.books(), "users:42:wallet,CNY,5.00,credit,1,");
    change(&company, BOOK, pound);
    let running = company.run();
    company.write("pound.json", transfer("t-2", "GBP"));
    company.cli(&["send", "pound.json", "--wait"]).ends(0);
    running.stop();
    holds(&company, &company.books(), "users:42:wallet,GBP,5.00,credit,1,");
    company.is_whole();
    change(&company, BOOK, ["", ""]);
    let refused = wallet(&company, &company.books()).ends(2);
    assert!(refused.err.contains("Put it back: GBP: { exponent: 2 }"), "{}", refused.err);
    // A pattern that takes accounts from an old one, and the same after it.
    let users = "  - { pattern: \"users:42:*\", normal: debit }\n";
    let chart = ledgerflow::runtime::DEFAULT_CHART.replace(pound[0], pound[1]);
    company.write("accounts.yaml", chart.replace("accounts:\n", &format!("accounts:\n{users}")));
    let refused = company.cli(&["run"]).ends(2);
    let taken =
        "pattern \"users:42:*\" (normal: debit, shard_segments: 2) comes before pattern \"users:*:wallet\"";
    assert!(refused.err.contains(taken), "{}", refused.err);
    company.write("accounts.yaml", format!("{chart}{users}"));
    company.run().stop();
    holds(&company, &company.books(), "users:42:wallet,CNY,5.00,credit,1,");
    let topics = company.cli(&["topics", "list", "-o", "json"]).ends(0).json();
    let books = topics.as_array().unwrap().iter().find(|row| row["topic"] == "books").unwrap();
    // The first start, the asset, the pattern.
    assert_eq!((&books["records"], &books["retention"]), (&3.into(), &"for ever".into()), "{books}");
}

#[test]
fn a_measurement_and_a_demo_open_books_too() {
    let company = company("");
    let measured = company.path("measured");
    company.cli_on(&measured, &["bench", "pipeline", "--events", "200", "--accounts", "10"]).ends(0);
    company.cli_on(&measured, &["trial-balance"]).ends(0);
    let demo = company.path("demo");
    company.cli_on(&demo, &["demo", "--events", "10000", "--accounts", "500"]).ends(0);
    let config = demo.join("ledgerflow.yaml").display().to_string();
    company.cli_on(&demo, &["--config", &config, "trial-balance"]).ends(0);
    let of_demo = std::fs::read_to_string(&config).unwrap();
    company.write("utc.yaml", of_demo.replace("Asia/Shanghai", "UTC"));
    let refused = company.cli_on(&demo, &["--config", "utc.yaml", "trial-balance"]).ends(2);
    assert!(
        refused.err.contains("book.time_zone: these books were opened with Asia/Shanghai"),
        "{}",
        refused.err
    );
    company.write("ledgerflow.yaml", format!("{SMALL}{BOOK}"));
    let refused = company.cli_on(&measured, &["trial-balance"]).ends(2);
    assert!(refused.err.contains("book.time_zone: these books were opened with UTC"), "{}", refused.err);
}
