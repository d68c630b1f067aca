//! The demo on a real broker: the same day, the same checks and tables, and its topics are gone afterwards.

use crate::company::{Company, PATIENCE};
use crate::kafka::configuration;
use ledgerflow_tests::broker::Broker;
use schemas::topics::PartitionCounts;
use serde_json::Value;
use stream::kafka::KafkaLog;

/// Partitions as [`configuration`] has them.
const COUNTS: PartitionCounts = PartitionCounts { events: 2, internal: 3 };

/// A row of a table by what stands in one of its columns.
fn row<'a>(table: &'a Value, column: &str, name: &str) -> &'a Value {
    let rows = table.as_array().unwrap_or_else(|| panic!("{table}"));
    rows.iter().find(|row| row[column] == name).unwrap_or_else(|| panic!("{name}: {table}"))
}

fn table<'a>(tables: &'a Value, begins: &str) -> &'a Value {
    let tables = tables.as_object().unwrap();
    let found = tables.iter().find(|(title, _)| title.starts_with(begins));
    found.unwrap_or_else(|| panic!("{begins}: {:?}", tables.keys())).1
}

#[test]
fn a_day_on_a_broker_passes_its_checks_and_leaves_nothing() {
    let broker = Broker::shared();
    // Nobody listens where the configuration points to.
    let prefix = Broker::fresh_prefix();
    let company = Company::with(&configuration("127.0.0.1:1", &prefix, ""));
    let words = ["demo", "--log", "kafka", "--events", "10000", "--accounts", "500", "-o", "json"];
    let mut running = company.begin(&[&words[..], &["--bootstrap", &broker.bootstrap()]].concat());
    let status = running.wait(PATIENCE).unwrap_or_else(|| panic!("it does not end: {}", running.err()));
    assert!(status.success(), "{}\n{}", running.out(), running.err());
    let tables: Value = serde_json::from_str(&running.out()).unwrap();
    for check in table(&tables, "Checks").as_array().unwrap() {
        assert_eq!(check["result"], "ok", "{check}");
    }
    for (bill, shown, impossible) in
        [("WeChat bill", "currency", None), ("Alipay bill", "amount", Some("currency"))]
    {
        let cases = table(&tables, bill);
        let shown = row(cases, "case", shown);
        assert!(shown["planted"].as_u64().unwrap() >= 20 && shown["planted"] == shown["found"], "{shown}");
        if let Some(kind) = impossible {
            let row = row(cases, "case", kind);
            assert_eq!((&row["planted"], &row["found"]), (&Value::Null, &0.into()), "{row}");
        }
    }
    // Nothing to try next on books that are gone: no commands, and no configuration for them.
    assert!(!tables.as_object().unwrap().keys().any(|title| title.starts_with("What to try")));
    assert!(!company.books().join("ledgerflow.yaml").exists());
    let own = format!("{prefix}demo-{}-", running.pid());
    let open = KafkaLog::open(broker.options(&own, COUNTS));
    let why = open.err().expect("its topics are deleted").to_string();
    assert!(why.contains(&own), "{why}");
}
