//! Overdrafts of legs: what a rule may say, and what becomes of it in an event.

use super::*;

const OWN: &str = r#"version: 1
rules:
  - type: fee.charged
    legs:
      - { debit: "users:{data.user}:wallet", asset: CNY, amount: data.fee, overdraft: "20.00" }
      - { credit: "platform:revenue:fees", asset: CNY, amount: data.fee }
  - type: chargeback
    legs:
      - { debit: "merchants:{data.merchant}:payable", asset: "{data.currency}", amount: data.amount, overdraft: unlimited }
      - { credit: "{data.to}", asset: "{data.currency}", amount: data.amount }
  - type: drawn
    legs:
      - { debit: "{data.from}", asset: "{data.currency}", amount: data.amount, overdraft: data.line }
      - { credit: "{data.to}", asset: "{data.currency}", amount: data.amount, overdraft: data.line }
"#;

fn open() -> Rig {
    let chart = Chart::parse(CHART).unwrap();
    let rules = Rules::parse(OWN, &chart).unwrap();
    Rig::open_with(IngestConfig { rules, ..config() })
}

#[test]
fn a_leg_carries_the_overdraft_that_its_rule_allows() {
    let rows: [(&str, &str, &[&str]); 7] = [
        (
            "fee.charged",
            r#"{"user":"1","fee":"0.30"}"#,
            &["D users:1:wallet CNY 0.30 overdraft 20.00", "C platform:revenue:fees CNY 0.30"],
        ),
        (
            "chargeback",
            r#"{"merchant":"7","currency":"JPY","amount":"30","to":"users:1:wallet"}"#,
            &["D merchants:7:payable JPY 30 overdraft unlimited", "C users:1:wallet JPY 30"],
        ),
        (
            "drawn",
            r#"{"from":"users:1:wallet","to":"users:2:wallet","currency":"CNY","amount":"3","line":"1.50"}"#,
            &["D users:1:wallet CNY 3.00 overdraft 1.50", "C users:2:wallet CNY 3.00"],
        ),
        (
            "drawn",
            r#"{"from":"users:1:wallet","to":"users:2:wallet","currency":"CNY","amount":"3","line":"0"}"#,
            &["D users:1:wallet CNY 3.00 overdraft 0.00", "C users:2:wallet CNY 3.00"],
        ),
        // Without the field the account's own limit counts alone.
        (
            "drawn",
            r#"{"from":"users:1:wallet","to":"users:2:wallet","currency":"CNY","amount":"3"}"#,
            &["D users:1:wallet CNY 3.00", "C users:2:wallet CNY 3.00"],
        ),
        // Cash is on the debit side: a debit adds to it, a credit takes from it.
        (
            "drawn",
            r#"{"from":"funding:cash","to":"users:2:wallet","currency":"CNY","amount":"3","line":"1"}"#,
            &["D funding:cash CNY 3.00", "C users:2:wallet CNY 3.00"],
        ),
        (
            "drawn",
            r#"{"from":"users:1:wallet","to":"bank:main","currency":"CNY","amount":"3","line":"1"}"#,
            &["D users:1:wallet CNY 3.00 overdraft 1.00", "C bank:main CNY 3.00 overdraft 1.00"],
        ),
    ];
    for (kind, data, expected) in rows {
        let came = open().judge(vec![event("1", kind, NOON, data)]);
        let legs: Vec<String> = came.commands().iter().flat_map(|command| &command.leg).map(line).collect();
        assert_eq!(legs, expected, "{data}: {:?}", came.reasons());
    }
}

#[test]
fn an_overdraft_that_is_no_amount_is_a_dead_letter() {
    for (currency, line, reason) in [
        ("CNY", "-1", "bad_amount"),
        ("CNY", "unlimited", "bad_amount"),
        ("CNY", "0.001", "too_many_decimals"),
        ("JPY", "1.5", "too_many_decimals"),
    ] {
        let data = format!(
            r#"{{"from":"users:1:wallet","to":"users:2:wallet","currency":"{currency}","amount":"3","line":"{line}"}}"#
        );
        let came = open().judge(vec![event("1", "drawn", NOON, &data)]);
        assert_eq!(came.reasons(), [reason], "{data}");
    }
    let data = r#"{"from":"users:1:wallet","to":"users:2:wallet","currency":"CNY","amount":"3","line":2}"#;
    assert_eq!(open().judge(vec![event("1", "drawn", NOON, data)]).reasons(), ["amount_not_text"]);
}

/// Whether two bodies are the same event does not depend on how the overdraft is written.
#[test]
fn an_overdraft_is_an_amount_of_the_body() {
    let data = |line: &str| {
        format!(
            r#"{{"from":"users:1:wallet","to":"users:2:wallet","currency":"CNY","amount":"3","line":"{line}"}}"#
        )
    };
    let hash = |line: &str| {
        let came = open().judge(vec![event("1", "drawn", NOON, &data(line))]);
        came.commands()[0].body_hash.clone()
    };
    assert_eq!(hash("1.5"), hash("1.50"));
    assert_ne!(hash("1.5"), hash("1.51"));
}

#[test]
fn a_wrong_overdraft_names_its_line_and_what_was_expected() {
    let chart = Chart::parse(CHART).unwrap();
    for (old, new, expected) in [
        ("\"20.00\"", "\"-1\"", "overdraft \"-1\": is below zero"),
        ("\"20.00\"", "\"0.001\"", "in CNY"),
        ("\"20.00\"", "lots", "expected a decimal, `unlimited` or data.<field>"),
        ("\"20.00\"", "data.", "expected data.<field>"),
        (
            "amount: data.fee }",
            "amount: data.fee, overdraft: data.x }",
            "this leg adds to platform:revenue:fees",
        ),
        ("overdraft: unlimited", "overdraft: \"1.5\"", "in JPY"),
    ] {
        assert!(OWN.contains(old), "{old}");
        let error = Rules::parse(&OWN.replace(old, new), &chart).map(|_| ()).unwrap_err();
        assert!(error.message.contains(expected) && error.line > 3, "{new}: {error}");
    }
    // In a fixed asset it need not be exact in the others.
    Rules::parse(&OWN.replace("\"20.00\"", "20.5"), &chart).unwrap();
}
