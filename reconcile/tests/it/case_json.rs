//! The JSON of a case is what the schemas in `schemas/json` say.

use crate::flow::{Flow, MadeBill, ours_of, theirs_of};
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

/// The part of JSON Schema the two schemas use: type, const, enum, properties, required, additionalProperties,
/// items, $ref to $defs, pattern left out.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).ok_or(format!("{name} is not there"))?;
        return check(root, target, value, at);
    }
    let is = |name: &str| match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_u64(),
        "null" => value.is_null(),
        other => panic!("type {other} in a schema"),
    };
    if let Some(any) = schema["anyOf"].as_array() {
        return match any.iter().any(|one| check(root, one, value, at).is_ok()) {
            true => Ok(()),
            false => Err(format!("{at}: {value} fits none")),
        };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    if !types.is_empty() && !types.into_iter().any(is) {
        return Err(format!("{at}: {value} is no {}", schema["type"]));
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return Err(format!("{at}: {value} is not {}", schema["const"]));
    }
    if schema["enum"].as_array().is_some_and(|all| !all.contains(value)) {
        return Err(format!("{at}: {value} is not listed"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(root, &schema["items"], item, &format!("{at}[{index}]"))?;
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    let known = schema["properties"].as_object().ok_or(format!("{at}: no properties"))?;
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let found: BTreeSet<&str> = object.keys().map(String::as_str).collect();
    let named: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    if found != named || required != named || schema["additionalProperties"] != Value::Bool(false) {
        return Err(format!("{at}: fields {found:?}, the schema has {named:?} and requires {required:?}"));
    }
    object.iter().try_for_each(|(name, value)| check(root, &known[name], value, &format!("{at}.{name}")))
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
