//! `docs/proof.md` is the sum of the runs that are written down. `UPDATE=1` (or `make schemas`) writes its tables.

use crate::tidy::root;
use ledgerflow_tests::proof;
use serde_json::Value;

const TABLES: [(&str, &str); 2] = [
    ("<!-- generated from proof-runs.jsonl -->\n", "<!-- end of the runs -->"),
    ("<!-- generated from proof-defects.json -->\n", "<!-- end of the defects -->"),
];

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[test]
fn the_proof_is_current() {
    let runs = proof::table(&read("docs/proof-runs.jsonl")).unwrap();
    let defects = proof::defects(&read("docs/proof-defects.json")).unwrap();
    let committed = read("docs/proof.md");
    let mut text = committed.clone();
    for ((begin, end), table) in TABLES.iter().zip([runs, defects]) {
        let (before, rest) = text.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        text = format!("{before}{begin}{table}{end}{after}");
    }
    if std::env::var_os("UPDATE").is_some() {
        return std::fs::write(root().join("docs/proof.md"), text).unwrap();
    }
    assert!(committed == text, "docs/proof.md is stale: run `make schemas`");
}

/// A defect whose place has changed would be planted no more.
#[test]
fn every_defect_has_its_place() {
    let defects: Vec<Value> = serde_json::from_str(&read("tests/defects.json")).unwrap();
    let found: Vec<Value> = serde_json::from_str(&read("docs/proof-defects.json")).unwrap();
    let names = |rows: &[Value]| rows.iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&defects), names(&found), "run .ci/defects");
    for defect in &defects {
        let text = |name: &str| defect[name].as_str().unwrap();
        let places = read(text("file")).matches(text("from")).count();
        assert_eq!(places, 1, "{}: {}", text("file"), text("name"));
        assert!(text("to").contains("DEFECT") && text("to") != text("from"), "{}", text("name"));
    }
    let unseen = found.iter().filter(|row| row["seen_by"].as_array().unwrap().is_empty());
    assert_eq!(unseen.count(), 0, "a defect that no test sees");
}
