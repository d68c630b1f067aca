use super::*;

const CHART: &str = include_str!("../../../ledgerflow/defaults/accounts.yaml");
const RULES: &str = include_str!("../../../ledgerflow/defaults/rules.yaml");

fn chart() -> Chart {
    Chart::parse(CHART).unwrap()
}

#[test]
fn the_default_rules_are_good() {
    let rules = Rules::parse(RULES, &chart()).unwrap();
    let kinds: Vec<&str> = rules.iter().map(|rule| rule.kind.as_str()).collect();
    assert_eq!(
        kinds,
        [
            "account.closed",
            "account.described",
            "account.frozen",
            "account.limited",
            "account.opened",
            "account.unfrozen",
            "adjustment.approved",
            "adjustment.proposed",
            "adjustment.rejected",
            "channel.repaired",
            "currency.exchanged",
            "event.admitted",
            "event.refunded",
            "event.reversed",
            "event.turned_away",
            "events.linked",
            "hold.captured",
            "hold.placed",
            "hold.released",
            "order.paid",
            "payout.sent",
            "refund.succeeded",
            "suspense.redirected",
            "suspense.retried",
            "transfer"
        ]
    );
    let paid = rules.for_type("order.paid").unwrap();
    assert_eq!(paid.amounts, AmountFields::new(["amount", "fee", "commission"]));
    let limited = rules.for_type("account.limited").unwrap();
    assert_eq!(limited.amounts, AmountFields::new(["overdraft", "min_balance", "max_balance"]));
    let transfer = rules.for_type("transfer").unwrap();
    assert_eq!(transfer.amounts, AmountFields::new(["amount", "legs[].amount"]));
}

const RULE: &str = r#"version: 3
rules:
  - type: t
    legs:
      - debit: "users:{data.user}:wallet"
        asset: CNY
        amount: data.a
        minus: data.b
        match: { provider: p, account: x, order: "{data.o}", kind: payment, gross: data.a, status: success }
      - { credit: "bank:main", asset: CNY, amount: data.a }
      - { debit: "platform:fees:p", asset: CNY, amount: data.b, if_present: data.b }
"#;

#[test]
#[expect(clippy::too_many_lines, reason = "a table of wrong rules")]
fn a_wrong_rule_names_its_line_and_what_was_expected() {
    assert!(Rules::parse(RULE, &chart()).is_ok());
    let second = RULE.replace("version: 3\nrules:\n", "");
    let rows: Vec<(String, u64, &str)> = vec![
        (
            RULE.replace("        minus: data.b\n", ""),
            3,
            "does not balance in CNY: debits data.a + data.b, credits data.a",
        ),
        (
            RULE.replace(", if_present: data.b", ", if_present: data.o"),
            3,
            "does not balance in CNY without data.o: debits data.a - data.b, credits data.a",
        ),
        (
            RULE.replace("\"bank:main\", asset: CNY", "\"bank:main\", asset: USD"),
            3,
            "does not balance in CNY: debits data.a - data.b + data.b, credits nothing",
        ),
        (
            RULE.replace("\"bank:main\", asset: CNY", "\"bank:main\", asset: \"{data.c}\""),
            3,
            "does not balance in CNY",
        ),
        (RULE.replace("credit:", "debit:"), 3, "credits nothing"),
        (RULE.replace("amount: data.a\n", "amount: data..a\n"), 5, "expected data.<field>"),
        (RULE.replace("amount: data.a\n", "amount: \"12.50\"\n"), 5, "expected data.<field>"),
        (RULE.replace("{data.user}", "{user}"), 5, "expected data.<field>"),
        (RULE.replace("{data.user}", "{data.user"), 5, "expected a '}'"),
        (RULE.replace("{data.user}", "data.user}"), 5, "expected a '{'"),
        (RULE.replace("{data.user}", ""), 5, "empty segment"),
        (RULE.replace("{data.user}:wallet", "u:savings"), 5, "no pattern"),
        (RULE.replace("{data.user}", "a b{data.user}"), 5, "character"),
        (RULE.replace("bank:main", "clearing:out"), 10, "no pattern"),
        (RULE.replace("bank:main\", asset: CNY", "bank:main\", asset: XYZ"), 10, "asset of the chart"),
        (
            RULE.replace("bank:main\", asset: CNY", "bank:main\", asset: \"C{data.c}\""),
            10,
            "asset of the chart",
        ),
        (RULE.replace("{ credit:", "{ debit: x, credit:"), 10, "either `debit` or `credit`"),
        (RULE.replace("kind: payment", "kind: gift"), 9, "payment"),
        (RULE.replace("amount: data.b,", "amount: data.b, times: 2,"), 11, "times"),
        (format!("{RULE}{second}"), 12, "the second"),
        (RULE.replace("type: t", "type: \"\""), 3, "type"),
        ("version: 1\nrules: []\n".into(), 2, "at least one"),
        ("# none yet\n".into(), 1, "the file is empty, expected version and rules"),
        (RULE.replace("version: 3", "version: three"), 1, "expected a whole number"),
        (operation("hold, expires_after_s: 0", ONE_LEG), 3, "expires_after_s: 0, expected 1 to 4294967295"),
        (operation("hold", ""), 3, "legs: expected 1"),
        (
            operation("hold, reference: data.h", ONE_LEG),
            3,
            "reference: expected only with operation capture, release, reverse, approve, reject, resolve, repair, admit or turn_away",
        ),
        (operation("capture", ONE_LEG), 3, "reference: expected the field that names the other event"),
        (operation("approve", ""), 3, "reference: expected the field that names the other event"),
        (operation("reject, reference: data.p", ONE_LEG), 3, "legs: expected 0"),
        (operation("propose", ONE_LEG), 3, "legs: expected 2 to 64"),
        (operation("resolve", ""), 3, "reference: expected the field that names the case"),
        (operation("repair", ""), 3, "reference: expected the field that names the item"),
        (operation("repair, reference: data.i", ONE_LEG), 3, "legs: expected 0"),
        (operation("resolve, reference: data.c", ONE_LEG), 3, "legs: expected 0"),
        (
            operation("release, reference: data.h, reference_source: data.s", ""),
            3,
            "reference_source: expected only with operation approve, reject, admit or turn_away",
        ),
        (operation("capture, reference: data.h", ONE_LEG), 3, "legs: expected 2 to 64"),
        (operation("release, reference: data.h", ONE_LEG), 3, "legs: expected 0"),
        (
            "version: 1\nrules:\n  - { type: t, group: data.e, operation: hold }\n".into(),
            3,
            "group: expected without operation, at_most and each",
        ),
        (
            format!("version: 1\nrules:\n  - {{ type: t, group: data.e, legs: [{ONE_LEG}, {ONE_LEG}] }}\n"),
            3,
            "legs: expected 0",
        ),
        ("version: 1\nrules:\n  - { type: t, group: e, }\n".into(), 3, "data."),
        (operation("reverse", ""), 3, "reference: expected the field that names the other event"),
        (operation("reverse, reference: data.e", ONE_LEG), 3, "legs: expected 2 to 64"),
        (
            operation("reverse, reference: data.e, final: data.f", ""),
            3,
            "final: expected only with operation capture",
        ),
        (
            operation("reverse, reference: data.e, expires_after_s: 5", ""),
            3,
            "expires_after_s: expected only with operation hold",
        ),
        (
            operation("release, reference: data.h, final: data.f", ""),
            3,
            "final: expected only with operation capture",
        ),
        (operation("open", ""), 3, "account: expected the account that it is about"),
        (
            operation("open, account: \"bank:a\", side: data.s", ""),
            3,
            "side: expected only with operation freeze",
        ),
        (operation("close, account: \"nobody:a\"", ""), 3, "no pattern"),
        (
            operation("close, account: \"bank:a\", asset: CNY", ""),
            3,
            "asset: expected only with operation limit",
        ),
        (operation("describe, account: \"bank:a\"", ""), 3, "metadata: expected the field"),
        (operation("describe, metadata: data.m", ""), 3, "account: expected the account"),
        (
            operation("close, account: \"bank:a\", metadata: data.m", ""),
            3,
            "metadata: expected only with operation open or describe",
        ),
        (operation("limit, account: \"bank:a\", max_balance: data.m", ""), 3, "asset: expected the asset"),
        (operation("limit, asset: CNY, max_balance: data.m", ""), 3, "account: expected the account"),
        (
            operation("limit, account: \"bank:a\", asset: CNY", ""),
            3,
            "expected overdraft, min_balance or max_balance",
        ),
        (RULE.replace("  - type: t\n", "  - type: t\n    at_most: debit\n"), 3, "legs: expected 2"),
        (RULE.replace("  - type: t\n", "  - type: t\n    at_most: both\n"), 4, "expected"),
        (
            "version: 3\nrules:\n  - type: t\n    at_most: credit\n    operation: release\n    reference: data.r\n".into(),
            3,
            "at_most: expected without operation and each",
        ),
        (
            "version: 3\nrules:\n  - type: t\n    at_most: credit\n    legs:\n      \
             - { debit: \"bank:a\", asset: CNY, amount: data.a, if_present: data.a }\n      \
             - { credit: \"bank:b\", asset: CNY, amount: data.a, if_present: data.a }\n"
                .into(),
            3,
            "a leg beside `at_most` has neither `match` nor `if_present`",
        ),
        (
            operation("limit, account: \"bank:a\", asset: CNY, overdraft: data.o", ONE_LEG),
            3,
            "legs: expected 0",
        ),
    ];
    for (yaml, line, expected) in rows {
        let error = Rules::parse(&yaml, &chart()).map(|_| yaml.clone()).unwrap_err();
        assert!(error.message.contains(expected), "{error}\nshould say {expected:?}");
        assert!(error.message.contains(&format!("line {line}")), "{error}\nshould name line {line}");
    }
}

const ONE_LEG: &str = "{ debit: \"bank:a\", asset: CNY, amount: data.a }";

/// A rule with that operation and what follows it, and with these legs.
fn operation(is: &str, legs: &str) -> String {
    format!("version: 1\nrules:\n  - {{ type: t, operation: {is}, legs: [{legs}] }}\n")
}

#[test]
fn a_rule_s_size_is_bounded() {
    let leg = "      - { debit: \"bank:a\", asset: CNY, amount: data.a }\n      - { credit: \"bank:b\", asset: CNY, amount: data.a }\n";
    let rule = |legs: &str| format!("version: 1\nrules:\n  - type: t\n    legs:\n{legs}");
    assert!(Rules::parse(&rule(&leg.repeat(LEGS_MAX / 2)), &chart()).is_ok());
    assert!(Rules::parse(&rule(&leg.repeat(LEGS_MAX / 2 + 1)), &chart()).is_err());
    let optional = |count: usize| -> String {
        (0..count).map(|n| leg.replace("data.a", &format!("data.a{n}, if_present: data.a{n}"))).collect()
    };
    assert!(Rules::parse(&rule(&optional(OPTIONAL_FIELDS_MAX)), &chart()).is_ok());
    let error = Rules::parse(&rule(&optional(OPTIONAL_FIELDS_MAX + 1)), &chart()).unwrap_err();
    assert!(error.message.contains("optional fields"), "{error}");
}
