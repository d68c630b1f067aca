//! Where a bill comes from is what the configuration says of its source.

use crate::company::{Company, PATIENCE, within};
use std::path::{Path, PathBuf};

const SOURCES: &str = "
partitions: {events: 2, internal: 3}
bills:
  sources:
  - {name: shop, account: '1900000109', provider: other, dir: inbox}
  - {name: game, account: '1900000110', dir: games}
";

/// A bill of account 1900000109.
fn bill() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reconcile/fixtures/wechat_all.csv")
}

/// Provider, account and gate of every file, once there are `files`.
fn files(company: &Company, files: usize) -> Vec<[String; 3]> {
    let found = within(PATIENCE, || {
        let summary = company.cli(&["breaks", "--summary", "-o", "json"]).ends(0).json();
        let rows = summary["bills"].as_array().unwrap().clone();
        (rows.len() == files).then_some(rows)
    });
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let found = found.unwrap_or_else(|| panic!("never {files} files"));
    found.iter().map(|row| ["provider", "account", "gate"].map(|field| text(row, field))).collect()
}

#[test]
fn the_source_says_provider_and_account() {
    let company = Company::with(SOURCES);
    let bill = bill().display().to_string();
    for folder in ["inbox", "games"] {
        std::fs::create_dir(company.path(folder)).unwrap();
    }
    let running = company.run();
    for (source, want) in [(vec!["--source", "wechat"], "\"wechat\""), (vec![], "several")] {
        let said = company.cli(&[&["bill", &bill], &source[..]].concat()).ends(4);
        assert!(said.err.contains(want) && said.err.contains("game, shop"), "{}", said.err);
    }
    let said = company.cli(&["bill", &bill, "--source", "game", "-o", "json"]).ends(3).json();
    assert_eq!(said[0]["reason"], "wrong_account", "{said}");
    let said = company.cli(&["bill", &bill, "--source", "shop", "-o", "json"]).ends(0).json();
    assert_eq!(
        (&said[0]["provider"], &said[0]["account"]),
        (&"other".into(), &"1900000109".into()),
        "{said}"
    );
    let want = [
        ["other", "1900000109", "accepted"].map(str::to_owned),
        ["wechat", "1900000110", "quarantined"].map(str::to_owned),
    ];
    let mut found = files(&company, 2);
    found.sort();
    assert_eq!(found, want);
    running.stop();
}

#[test]
fn a_bill_given_again_is_told_as_it_was_and_never_for_another_day() {
    let company = Company::with("partitions: {events: 2, internal: 3}\n");
    let first = bill().display().to_string();
    let again = company.path("again.csv").display().to_string();
    std::fs::copy(bill(), &again).unwrap();
    let running = company.run();
    company.cli(&["bill", &first]).ends(0);
    assert_eq!(files(&company, 1).len(), 1);
    let breaks = || company.cli(&["breaks", "-o", "json"]).ends(0).json();
    let found = within(PATIENCE, || Some(breaks()).filter(|rows| rows.as_array().unwrap().len() == 6));
    let before = found.unwrap_or_else(|| panic!("{}", breaks()));
    for file in [&first, &again] {
        let said = company.cli(&["bill", file, "--day", "2019-02-20"]).ends(1);
        assert!(
            said.err.contains("is of 2019-02-19, as its rows say, and not of 2019-02-20"),
            "{}",
            said.err
        );
        let said = company.cli(&["bill", file, "-o", "json"]).ends(0);
        assert!(said.err.contains("imported before"), "{}", said.err);
        let said = said.json();
        assert_eq!((&said[0]["day"], &said[0]["name"]), (&"2019-02-19".into(), &"wechat_all.csv".into()));
    }
    assert_eq!(breaks(), before);
    running.stop();
}

#[test]
fn a_watched_folder_is_its_source() {
    let company = Company::with(SOURCES);
    for folder in ["inbox", "games"] {
        std::fs::create_dir(company.path(folder)).unwrap();
    }
    std::fs::copy(bill(), company.path("inbox/today.csv")).unwrap();
    let running = company.run();
    assert_eq!(files(&company, 1), [["other", "1900000109", "accepted"].map(str::to_owned)]);
    running.stop();
}
