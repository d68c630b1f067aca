//! The JSON of a case is what the schemas in `schemas/json` say.

use crate::flow::{Flow, MadeBill, ours_of, theirs_of};
use crate::json_schema::check;
use schemas::recon_json::{Case, CaseKind};
use schemas::topics::Topic;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

fn schema(name: &str) -> Value {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = std::fs::read_to_string(root.join("schemas/json").join(name)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// One case of every kind, with the records they leave on both topics.
fn every_kind() -> Flow {
    let mut flow = Flow::new();
    let good = "CNY 1.00 0.01 success";
    #[rustfmt::skip]
    let rows: [(&str, &[&str], &[&str]); 9] = [
        ("matched", &[good], &[good]),
        ("no fee", &["CNY 1.00 - -"], &[good]),
        ("currency", &[good], &["USD 1.00 0.01 success"]),
        ("amount", &[good], &["CNY 1.001 0.01 success"]),
        ("fee", &[good], &["CNY 1.00 0.01600 success"]),
        ("status", &[good], &["CNY 1.00 0.01 failed"]),
        ("ours_only", &[good], &[]),
        ("theirs_only", &[], &[good]),
        ("duplicate", &[good], &[good, good]),
    ];
    let mut lines = Vec::new();
    for (order, ours, theirs) in rows {
        for (number, text) in ours.iter().enumerate() {
            flow.book(0, &ours_of(text, order, &format!("{order}-{number}")));
        }
        for text in theirs {
            lines.push(theirs_of(text, order, lines.len() as u32 + 2));
        }
    }
    let bill = MadeBill { name: "f".into(), day: "2019-02-19", accepted: true, lines };
    bill.chunks(100).into_iter().for_each(|chunk| flow.topics.append(chunk));
    flow.run(100);
    // A late entry, and a late line that sorts before the matched one.
    flow.book(1, &ours_of(good, "theirs_only", "late"));
    let lines = vec![theirs_of("CNY 0.50 0.01 success", "matched", 2)];
    let bill = MadeBill { name: "g".into(), day: "2019-02-20", accepted: true, lines };
    bill.chunks(1).into_iter().for_each(|chunk| flow.topics.append(chunk));
    flow.run(100);
    flow
}

#[test]
fn records_are_as_the_schemas_say() {
    let flow = every_kind();
    let mut kinds = BTreeSet::new();
    let mut states = BTreeSet::new();
    for (topic, name) in [(Topic::Matches, "matches.json"), (Topic::Breaks, "breaks.json")] {
        let schema = schema(name);
        for partition in 0..crate::flow::PARTITIONS {
            for record in flow.topics.read(topic, partition) {
                let value: Value = serde_json::from_slice(&record.value).unwrap();
                check(&schema, &schema, &value, name).unwrap_or_else(|why| panic!("{why}\n{value:#}"));
                let case: Case = serde_json::from_value(value.clone()).unwrap();
                assert_eq!(serde_json::to_value(&case).unwrap(), value);
                kinds.insert(case.kind);
                states.insert(case.state);
                let mut other = value.clone();
                other["more"] = Value::Null;
                assert!(check(&schema, &schema, &other, name).is_err());
            }
        }
    }
    assert_eq!(kinds.into_iter().collect::<Vec<_>>(), CaseKind::ALL);
    assert_eq!(states.len(), 3);
}

#[test]
fn kinds_have_one_name_in_json_and_on_the_command_line() {
    for kind in CaseKind::ALL {
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        assert_eq!(CaseKind::by_name(kind.name()), Some(kind));
    }
    assert_eq!(CaseKind::by_name("other"), None);
}
