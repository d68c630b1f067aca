//! The JSON records that the pipeline writes are what the schemas in `schemas/json` say, and so are the examples of
//! `docs/topics.md`.

use crate::tidy::root;
use ledgerflow::basis;
use ledgerflow::runtime::Setup;
use ledgerflow_tests::bill::{self, ACCOUNT, BillRow, source};
use ledgerflow_tests::events::Event;
use ledgerflow_tests::json_schema::check;
use ledgerflow_tests::world::{Cast, World};
use schemas::dates::parse_instant;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use stream::log::header;
use stream::sim::Faults;

const SECOND: i64 = 1_000_000;
const EVENING: &str = "2026-03-15T23:59:50Z";
const TIME: &str = "2026-03-15T12:00:00Z";

/// Topics whose records are JSON on the embedded log, with the schema of each.
const JSON: [(Topic, &str); 8] = [
    (Topic::Days, "days"),
    (Topic::DaysAligned, "days.aligned"),
    (Topic::Rejected, "rejected"),
    (Topic::BalancesDaily, "balances.daily"),
    (Topic::Flow, "flow"),
    (Topic::Matches, "matches"),
    (Topic::Breaks, "breaks"),
    (Topic::Books, "books"),
];

fn schema(name: &str) -> Value {
    let path = root().join("schemas/json").join(format!("{name}.json"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn order(order: &str) -> Event {
    let data = json!({
        "order_id": order, "merchant_id": "7", "provider": "wechat", "provider_account": ACCOUNT,
        "currency": "CNY", "amount": "12.50", "fee": "0.08",
    });
    Event {
        id: order.into(),
        kind: "order.paid",
        subject: format!("orders/{order}"),
        time: TIME.into(),
        data,
    }
}

/// A day that ends, with a match, a break, a dead letter, and one refusal of each kind.
fn a_day() -> World {
    let setup = Setup::new(PartitionCounts { events: 2, internal: 3 });
    let cast = Cast::new(setup.clone());
    let mut world = World::simulated(&cast, 1, Faults::NONE, 1, parse_instant(EVENING).unwrap());
    basis::open(world.log(), &setup).unwrap();
    world.run_for(2 * SECOND);
    let payers = json!({ "legs": [
        { "account": "users:1:wallet", "side": "debit", "asset": "CNY", "amount": "1.00" },
        { "account": "users:2:wallet", "side": "debit", "asset": "CNY", "amount": "1.00" },
        { "account": "users:3:wallet", "side": "credit", "asset": "CNY", "amount": "2.00" },
    ] });
    let several = Event {
        id: "s-1".into(),
        kind: "transfer",
        subject: "users:1".into(),
        time: TIME.into(),
        data: payers,
    };
    let (cash, wallet) = ("funding:cash", "users:42:wallet");
    let transfer = |id: &str, from: &str, to: &str, amount: &str| {
        Event::transfer(id, "users:42", TIME, (from, to), amount).to_bytes()
    };
    for event in [
        order("order-1").to_bytes(),
        several.to_bytes(),
        transfer("t-1", cash, wallet, "5.00"),
        transfer("t-1", cash, wallet, "6.00"),
        transfer("t-2", wallet, "users:7:wallet", "100.00"),
        b"no event".to_vec(),
    ] {
        world.send(1, 0, event);
    }
    let row = |order: &str| BillRow {
        time: "2026-03-15 20:00:00".into(),
        order: order.into(),
        refund: None,
        cents: 1_250,
        fee_cents: 8,
    };
    world.import(&source(), &bill::text(&[row("order-1"), row("order-2")]));
    world.run_for(30 * SECOND);
    world
}

#[test]
fn every_record_is_what_its_schema_says() {
    let world = a_day();
    for (topic, name) in JSON {
        let schema = schema(name);
        let records = world.read(topic).into_iter();
        let dead = |kind: Option<&[u8]>| topic == Topic::Rejected && kind != Some(b"refusal");
        let records = records.filter(|(_, record)| !dead(header(&record.headers, "ledgerflow-kind")));
        let values: Vec<Value> =
            records.map(|(_, record)| serde_json::from_slice(&record.value).unwrap()).collect();
        assert!(!values.is_empty(), "nothing on {name}");
        for value in &values {
            check(&schema, &schema, value, name).unwrap_or_else(|why| panic!("{why}\n{value}"));
        }
        // The schema is no wider than the record: a field more, or one less, is found.
        let mut more = values[0].clone();
        more["more"] = 1.into();
        assert!(check(&schema, &schema, &more, name).is_err(), "{name}");
        let mut less = values[0].clone();
        less.as_object_mut().unwrap().remove("format");
        assert!(check(&schema, &schema, &less, name).is_err(), "{name}");
    }
    let reasons = world.read(Topic::Rejected).into_iter();
    let reasons: BTreeSet<String> = reasons
        .map(|(_, record)| header(&record.headers, "ledgerflow-reason").unwrap().to_vec())
        .map(|code| String::from_utf8(code).unwrap())
        .collect();
    let want = ["conflict", "insufficient_funds", "not_json"].map(str::to_owned);
    assert_eq!(reasons, want.into_iter().collect());
}

#[test]
fn every_json_topic_has_its_schema() {
    for topic in Topic::ALL.iter().filter(|topic| topic.value().contains("JSON")) {
        let checked = JSON.iter().any(|(known, _)| known == topic);
        // Events have a schema for each type; balances are JSON where there is compaction.
        assert!(checked || Topic::LANES.contains(topic) || *topic == Topic::Balances, "{}", topic.name());
    }
    let files = std::fs::read_dir(root().join("schemas/json")).unwrap().map(|entry| entry.unwrap().path());
    let files: BTreeSet<String> = files
        .filter(|path| path.is_file())
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    let known: BTreeSet<String> =
        JSON.iter().map(|(_, name)| (*name).to_owned()).chain(["balances".to_owned()]).collect();
    assert_eq!(files, known);
}

#[test]
fn the_examples_on_the_page_of_topics_are_records() {
    let page = std::fs::read_to_string(root().join("docs/topics.md")).unwrap();
    let blocks: Vec<&str> =
        page.split("```json\n").skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect();
    let values = |block: &str| -> Vec<Value> {
        serde_json::Deserializer::from_str(block).into_iter().map(Result::unwrap).collect()
    };
    let found: Vec<Value> = blocks.into_iter().flat_map(values).collect();
    assert_eq!(found.len(), 4, "{found:?}");
    for (value, name) in found.iter().zip(["rejected", "days", "days.aligned", "books"]) {
        let schema = schema(name);
        check(&schema, &schema, value, name).unwrap_or_else(|why| panic!("{why}\n{value}"));
    }
    for (_, name) in JSON {
        assert!(
            page.contains(&format!("`schemas/json/{name}.json`")),
            "docs/topics.md does not name {name}.json"
        );
    }
}
