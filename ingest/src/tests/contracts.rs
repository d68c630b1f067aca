//! The JSON Schemas of the event types say what the default rules do: examples are booked, required fields are
//! required, amounts are amounts, and no rule reads a field that its schema does not describe.

use super::*;
use serde_json::{Value, json};

const ENVELOPE: &str = include_str!("../../../schemas/json/events/cloudevent.json");
const SCHEMAS: [&str; 4] = [
    include_str!("../../../schemas/json/events/transfer.json"),
    include_str!("../../../schemas/json/events/order.paid.json"),
    include_str!("../../../schemas/json/events/refund.succeeded.json"),
    include_str!("../../../schemas/json/events/payout.sent.json"),
];

fn schemas() -> impl Iterator<Item = Value> {
    SCHEMAS.iter().map(|text| serde_json::from_str(text).unwrap())
}

/// Reason code, or `booked`.
fn outcome(event: &Value) -> String {
    let came = Rig::open().judge(vec![record(event.to_string())]);
    came.reasons().pop().unwrap_or_else(|| "booked".into())
}

fn examples(schema: &Value) -> Vec<Value> {
    let examples = schema["examples"].as_array().unwrap();
    assert!(!examples.is_empty());
    examples.clone()
}

fn keys(object: &Value) -> Vec<String> {
    object.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn there_is_a_schema_for_every_default_rule_and_for_nothing_else() {
    let described: Vec<String> =
        schemas().map(|s| s["properties"]["type"]["const"].as_str().unwrap().into()).collect();
    let chart = Chart::parse(CHART).unwrap();
    let rules = Rules::parse(RULES, &chart).unwrap();
    let mut ruled: Vec<&str> = rules.iter().map(|rule| rule.kind.as_str()).collect();
    ruled.sort_unstable();
    let mut described: Vec<&str> = described.iter().map(String::as_str).collect();
    described.sort_unstable();
    assert_eq!(described, ruled);
    for schema in schemas() {
        let kind = schema["properties"]["type"]["const"].as_str().unwrap();
        let fields = keys(&schema["properties"]["data"]["properties"]);
        for name in rules.for_type(kind).unwrap().field_names() {
            assert!(
                fields.iter().any(|field| name == format!("data.{field}")),
                "{kind}: {name} is not described"
            );
        }
    }
}

#[test]
fn examples_are_booked_and_required_fields_are_required() {
    let envelope: Value = serde_json::from_str(ENVELOPE).unwrap();
    for schema in schemas() {
        let data_schema = &schema["properties"]["data"];
        for example in examples(&schema) {
            assert_eq!(outcome(&example), "booked", "{example}");
            for name in envelope["required"].as_array().unwrap() {
                let mut without = example.clone();
                without.as_object_mut().unwrap().remove(name.as_str().unwrap());
                let reason = if name == "specversion" { "not_cloudevent" } else { "missing_field" };
                assert_eq!(outcome(&without), reason, "without {name}: {without}");
            }
            let required: Vec<&str> = match data_schema["required"].as_array() {
                Some(names) => names.iter().map(|name| name.as_str().unwrap()).collect(),
                None if example["data"].get("legs").is_some() => vec![],
                None => vec!["from", "to", "asset", "amount"],
            };
            for name in keys(&example["data"]) {
                let mut without = example.clone();
                without["data"].as_object_mut().unwrap().remove(&name);
                let expected = if required.contains(&name.as_str()) || name == "legs" {
                    "missing_field"
                } else {
                    "booked"
                };
                assert_eq!(outcome(&without), expected, "without data.{name}: {without}");
            }
        }
    }
}

#[test]
fn amounts_and_names_are_held_to_what_the_schema_says() {
    for schema in schemas() {
        for example in examples(&schema) {
            for name in keys(&example["data"]) {
                let described =
                    schema["properties"]["data"]["properties"][&name]["$ref"].as_str().unwrap_or_default();
                let wrong = match described.rsplit('/').next().unwrap() {
                    "amount" => vec![
                        (json!(1), "amount_not_text"),
                        (json!("1e3"), "amount_exponent"),
                        (json!("1,5"), "bad_amount"),
                        (json!("-1"), "bad_amount"),
                    ],
                    "asset" => vec![(json!("cny"), "unknown_asset"), (json!(["CNY"]), "bad_field")],
                    "account" => {
                        vec![(json!("users::x"), "bad_account"), (json!("nobody:1"), "unknown_account")]
                    }
                    "segment" => vec![(json!("a:b"), "bad_account"), (json!(-1), "bad_field")],
                    _ => vec![],
                };
                for (value, reason) in wrong {
                    let mut event = example.clone();
                    event["data"][&name] = value;
                    assert_eq!(outcome(&event), reason, "{event}");
                }
            }
        }
    }
}
