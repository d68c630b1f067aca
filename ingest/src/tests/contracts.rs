//! The JSON Schemas of the event types say what the default rules do: examples are booked, required fields are
//! required, amounts are amounts, and no rule reads a field that its schema does not describe. So do the pages for users:
//! their examples are booked, their bounds are those of the code.

use super::*;
use serde_json::{Value, json};

const ENVELOPE: &str = include_str!("../../../schemas/json/events/cloudevent.json");
const SCHEMAS: [&str; 25] = [
    include_str!("../../../schemas/json/events/transfer.json"),
    include_str!("../../../schemas/json/events/order.paid.json"),
    include_str!("../../../schemas/json/events/refund.succeeded.json"),
    include_str!("../../../schemas/json/events/payout.sent.json"),
    include_str!("../../../schemas/json/events/hold.placed.json"),
    include_str!("../../../schemas/json/events/hold.captured.json"),
    include_str!("../../../schemas/json/events/hold.released.json"),
    include_str!("../../../schemas/json/events/event.reversed.json"),
    include_str!("../../../schemas/json/events/event.refunded.json"),
    include_str!("../../../schemas/json/events/currency.exchanged.json"),
    include_str!("../../../schemas/json/events/events.linked.json"),
    include_str!("../../../schemas/json/events/account.opened.json"),
    include_str!("../../../schemas/json/events/account.closed.json"),
    include_str!("../../../schemas/json/events/account.frozen.json"),
    include_str!("../../../schemas/json/events/account.unfrozen.json"),
    include_str!("../../../schemas/json/events/account.limited.json"),
    include_str!("../../../schemas/json/events/account.described.json"),
    include_str!("../../../schemas/json/events/adjustment.proposed.json"),
    include_str!("../../../schemas/json/events/adjustment.approved.json"),
    include_str!("../../../schemas/json/events/adjustment.rejected.json"),
    include_str!("../../../schemas/json/events/suspense.retried.json"),
    include_str!("../../../schemas/json/events/suspense.redirected.json"),
    include_str!("../../../schemas/json/events/channel.repaired.json"),
    include_str!("../../../schemas/json/events/event.admitted.json"),
    include_str!("../../../schemas/json/events/event.turned_away.json"),
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
        for name in rules.for_type(kind).unwrap().fields.iter().map(|field| &field.name) {
            assert!(
                fields.iter().any(|field| *name == format!("data.{field}")),
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

/// The data of an event may hold what its sender keeps there: it changes the body and nothing that is booked. A misspelt
/// field that may be missing is one of these.
#[test]
fn a_field_that_no_rule_uses_changes_the_body_alone() {
    let command = |event: &Value| {
        let came = Rig::open().judge(vec![record(event.to_string())]);
        let commands = came.commands();
        let [command] = &commands[..] else { panic!("{:?}: {event}", came.reasons()) };
        Command::clone(command)
    };
    for schema in schemas() {
        assert_ne!(schema["properties"]["data"]["additionalProperties"], json!(false), "{schema}");
        for example in examples(&schema) {
            let mut more = example.clone();
            more["data"]["shop_floor"] = json!({"till": 7});
            let (plain, more) = (command(&example), command(&more));
            assert_ne!(plain.body_hash, more.body_hash);
            assert_eq!(Command { body_hash: plain.body_hash.clone(), ..more }, plain, "{example}");
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

const EVENTS_PAGE: &str = include_str!("../../../docs/events.md");
const ACCOUNTS_PAGE: &str = include_str!("../../../docs/accounts.md");
const RULES_PAGE: &str = include_str!("../../../docs/rules.md");

/// The blocks of that language in a page.
fn blocks<'p>(page: &'p str, language: &str) -> Vec<&'p str> {
    let fence = format!("```{language}\n");
    page.split(&fence).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn every_event_on_the_page_is_booked_as_the_page_says() {
    let events = blocks(EVENTS_PAGE, "json");
    assert_eq!(events.len(), 20);
    let mut kinds = Vec::new();
    for text in events {
        let event: Value = serde_json::from_str(text).unwrap();
        assert_eq!(outcome(&event), "booked", "{text}");
        kinds.push(event["type"].as_str().unwrap().to_owned());
    }
    kinds.dedup();
    assert_eq!(
        kinds,
        [
            "transfer",
            "order.paid",
            "refund.succeeded",
            "payout.sent",
            "hold.placed",
            "hold.captured",
            "hold.released",
            "event.reversed",
            "event.refunded",
            "currency.exchanged",
            "events.linked",
            "account.frozen",
            "account.described",
            "account.limited",
            "adjustment.proposed",
            "adjustment.approved",
            "suspense.redirected",
            "event.admitted",
            "channel.repaired",
        ]
    );
    // The example of binary mode: headers, an empty line, the data.
    let lines = EVENTS_PAGE.lines().skip_while(|line| !line.starts_with("    ce_specversion"));
    let lines: Vec<&str> =
        lines.map_while(|line| (line.is_empty() || line.starts_with("    ")).then(|| line.trim())).collect();
    let headers = lines.iter().filter_map(|line| line.split_once(": "));
    let headers: Vec<Header> = headers
        .filter(|(name, _)| !name.starts_with('{'))
        .map(|(name, value)| Header::text(name, value))
        .collect();
    assert_eq!(headers.len(), 7);
    let data = lines.iter().find(|line| line.starts_with('{')).unwrap();
    let binary = Record { headers, ..record((*data).to_owned()) };
    assert_eq!(Rig::open().judge(vec![binary]).reasons(), Vec::<String>::new());
}

/// Rows `| side | account | amount |` below each event's heading are the legs that its example becomes.
#[test]
fn the_legs_on_the_page_are_those_of_the_example() {
    for section in EVENTS_PAGE.split("\n### ").filter(|section| section.contains("| side | account |")) {
        let event = blocks(section, "json")[0];
        let rows =
            section.lines().filter(|line| line.starts_with("| debit |") || line.starts_with("| credit |"));
        let rows = rows.map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let account = cells[2].trim_start_matches('`').split('`').next().unwrap();
            format!("{} {account} {}", cells[1], cells[3])
        });
        let mut want: Vec<String> = rows.collect();
        let came = Rig::open().judge(vec![record(event.to_owned())]);
        let legs = came.commands().into_iter().flat_map(|command| &command.leg);
        let mut found: Vec<String> = legs
            .map(|leg| {
                let side = if leg.side() == Side::Debit { "debit" } else { "credit" };
                let amount = i128::from(leg.amount.unwrap_or_default());
                format!("{side} {} {}", leg.account, money::format(amount, 2))
            })
            .collect();
        want.sort();
        found.sort();
        assert_eq!(found, want, "{event}");
    }
}

#[test]
fn the_bounds_on_the_page_of_rules_are_those_of_the_code() {
    use crate::rules::{FIELDS_MAX, LEGS_MAX, MATCH_TEXT_BYTES_MAX, OPTIONAL_FIELDS_MAX};
    for said in [
        format!("2 to {LEGS_MAX} templates"),
        format!("Bounds: {LEGS_MAX} legs, {FIELDS_MAX} fields, {OPTIONAL_FIELDS_MAX} optional fields"),
        format!("Texts of a match have at most {MATCH_TEXT_BYTES_MAX} bytes"),
    ] {
        assert!(RULES_PAGE.contains(&said), "docs/rules.md does not say {said:?}");
    }
    assert!(EVENTS_PAGE.contains(&format!("| more than {LEGS_MAX} legs |")));
}

/// The chart and the rules on the pages are read as they stand there.
#[test]
fn charts_and_rules_on_the_pages_are_valid() {
    let [chart] = blocks(ACCOUNTS_PAGE, "yaml")[..] else { panic!("one block") };
    let [rules, at_most, overdraft, own] = blocks(RULES_PAGE, "yaml")[..] else { panic!("four blocks") };
    let chart = Chart::parse(chart).unwrap();
    for with_it in [RULES, rules] {
        Rules::parse(with_it, &chart).unwrap();
    }
    let chart = Chart::parse(CHART).unwrap();
    for own in [at_most, overdraft, own] {
        Rules::parse(&format!("version: 1\nrules:\n{own}"), &chart).unwrap();
    }
}
