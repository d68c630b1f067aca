//! Tables: one row an event, its legs or its reason.

use super::*;
use schemas::reason::Reason;

/// `Ok`: the legs as lines; `Err`: reason and a part of the detail.
fn judge(record: Record) -> Result<Vec<String>, (Reason, String)> {
    let came = Rig::open().judge(vec![record]);
    match (came.commands().as_slice(), came.rejected.as_slice()) {
        ([command], []) => Ok(command.leg.iter().map(line).collect()),
        ([], [rejected]) => {
            let reason = Reason::by_code(&text_header(rejected, "ledgerflow-reason")).unwrap();
            Err((reason, text_header(rejected, "__streams.errors.message")))
        }
        other => panic!("an event has one outcome, found {other:?}"),
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn events_become_legs() {
    let rows: &[(&str, &str, &[&str])] = &[
        (
            "transfer",
            r#"{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"12.50"}"#,
            &["D users:1:wallet CNY 12.50", "C users:2:wallet CNY 12.50"],
        ),
        (
            "transfer",
            r#"{"from":"users:1:wallet","to":"funding:main","asset":"JPY","amount":"007.000","legs":null}"#,
            &["D users:1:wallet JPY 7", "C funding:main JPY 7"],
        ),
        (
            "transfer",
            r#"{"legs":[{"account":"users:1:wallet","side":"debit","asset":"CNY","amount":"70"},
                        {"account":"bank:fx","side":"credit","asset":"CNY","amount":"69.5"},
                        {"account":"platform:revenue:fx","side":"credit","asset":"CNY","amount":"0.5"},
                        {"account":"bank:fx","side":"debit","asset":"USD","amount":"10"},
                        {"account":"platform:fees:fx","side":"debit","asset":"USD","amount":"0"},
                        {"account":"users:1:wallet","side":"credit","asset":"USD","amount":"10.00"}]}"#,
            &[
                "D users:1:wallet CNY 70.00",
                "C bank:fx CNY 69.50",
                "C platform:revenue:fx CNY 0.50",
                "D bank:fx USD 10.00",
                "C users:1:wallet USD 10.00",
            ],
        ),
        (
            "order.paid",
            r#"{"order_id":"A-1","merchant_id":7,"provider":"wechat","provider_account":"19","currency":"CNY","amount":"100"}"#,
            &[
                "D providers:wechat:19:receivable CNY 100.00 [wechat 19 payment A-1 100.00 fee - CNY success]",
                "C merchants:7:payable CNY 100.00",
            ],
        ),
        (
            "order.paid",
            r#"{"order_id":"订单 1","merchant_id":"7","provider":"wechat","provider_account":"19","currency":"CNY",
                "amount":"100","fee":"0.60","commission":"2"}"#,
            &[
                "D providers:wechat:19:receivable CNY 100.00 [wechat 19 payment 订单 1 100.00 fee 0.60 CNY success]",
                "C merchants:7:payable CNY 98.00",
                "C platform:revenue:commission CNY 2.00",
                "D platform:fees:wechat CNY 0.60",
                "C providers:wechat:19:receivable CNY 0.60",
            ],
        ),
        (
            "order.paid",
            r#"{"order_id":"A","merchant_id":"7","provider":"wechat","provider_account":"19","currency":"CNY",
                "amount":"0.03","fee":"0.00000","commission":null}"#,
            &[
                "D providers:wechat:19:receivable CNY 0.03 [wechat 19 payment A 0.03 fee 0.00 CNY success]",
                "C merchants:7:payable CNY 0.03",
            ],
        ),
        (
            "refund.succeeded",
            r#"{"order_id":"A-1","refund_id":"R-1","merchant_id":"7","provider":"wechat","provider_account":"19",
                "currency":"CNY","amount":"10","fee":"0.06"}"#,
            &[
                "D merchants:7:payable CNY 10.00",
                "C providers:wechat:19:receivable CNY 10.00 [wechat 19 refund A-1/R-1 10.00 fee 0.06 CNY success]",
                "D providers:wechat:19:receivable CNY 0.06",
                "C platform:fees:wechat CNY 0.06",
            ],
        ),
        (
            "payout.sent",
            r#"{"payout_id":"P-1","merchant_id":"7","bank":"icbc","currency":"CNY","amount":"500","fee":"1"}"#,
            &[
                "D merchants:7:payable CNY 500.00",
                "C bank:icbc:payouts CNY 500.00",
                "D platform:fees:icbc CNY 1.00",
                "C bank:icbc:payouts CNY 1.00",
            ],
        ),
        (
            "hold.placed",
            r#"{"account":"users:1:wallet","asset":"CNY","amount":"80"}"#,
            &["D users:1:wallet CNY 80.00"],
        ),
        (
            "hold.captured",
            r#"{"hold":"h-1","account":"users:1:wallet","to":"merchants:7:payable","asset":"CNY","amount":"30"}"#,
            &["D users:1:wallet CNY 30.00", "C merchants:7:payable CNY 30.00"],
        ),
        ("hold.released", r#"{"hold":"h-1"}"#, &[]),
        (
            "adjustment.proposed",
            r#"{"legs":[{"account":"platform:revenue:x","side":"debit","asset":"CNY","amount":"3"},
                {"account":"users:1:wallet","side":"credit","asset":"CNY","amount":"3.00"}],"reason":"x"}"#,
            &["D platform:revenue:x CNY 3.00", "C users:1:wallet CNY 3.00"],
        ),
        ("adjustment.approved", r#"{"proposal":"p-1"}"#, &[]),
        ("adjustment.rejected", r#"{"proposal":"p-1","proposal_source":"/desk"}"#, &[]),
        ("suspense.retried", r#"{"case":"p02-p00-17"}"#, &[]),
        ("suspense.redirected", r#"{"case":"p02-p00-17","account":"users:1:wallet"}"#, &[]),
        ("channel.repaired", r#"{"item":"p02-p00-17"}"#, &[]),
        ("event.reversed", r#"{"event":"t-1"}"#, &[]),
        (
            "currency.exchanged",
            r#"{"account":"users:1:wallet","bank":"icbc","from_asset":"CNY","from_amount":"71.2","to_asset":"USD","to_amount":"10","rate":"7.12"}"#,
            &[
                "D users:1:wallet CNY 71.20",
                "C bank:icbc:fx CNY 71.20",
                "D bank:icbc:fx USD 10.00",
                "C users:1:wallet USD 10.00",
            ],
        ),
        (
            "events.linked",
            r#"{"events":[{"type":"transfer","data":{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"1"}},{"type":"payout.sent","data":{"payout_id":"p","merchant_id":7,"bank":"icbc","currency":"CNY","amount":"5","fee":"0"}}]}"#,
            &[
                "D users:1:wallet CNY 1.00",
                "C users:2:wallet CNY 1.00",
                "D merchants:7:payable CNY 5.00",
                "C bank:icbc:payouts CNY 5.00",
            ],
        ),
        (
            "event.refunded",
            r#"{"event":"t-1","from":"merchants:7:payable","to":"users:1:wallet","asset":"CNY","amount":"30"}"#,
            &["D merchants:7:payable CNY 30.00", "C users:1:wallet CNY 30.00"],
        ),
        ("account.frozen", r#"{"account":"users:1:wallet","side":"debit"}"#, &[]),
        ("account.closed", r#"{"account":"users:1:wallet"}"#, &[]),
        ("account.opened", r#"{"account":"users:1:wallet","metadata":{"tier":"gold"}}"#, &[]),
        ("account.described", r#"{"account":"users:1:wallet","metadata":{"tier":"gold","old":null}}"#, &[]),
        (
            "account.limited",
            r#"{"account":"users:1:wallet","asset":"CNY","overdraft":"500","max_balance":"unlimited"}"#,
            &[],
        ),
        ("account.limited", r#"{"account":"users:1:wallet","asset":"CNY","min_balance":"chart"}"#, &[]),
    ];
    for (kind, data, legs) in rows {
        assert_eq!(
            judge(event("1", kind, NOON, data)).as_deref(),
            Ok(legs.map_to_strings().as_slice()),
            "{data}"
        );
    }
}

trait MapToStrings {
    fn map_to_strings(&self) -> Vec<String>;
}

impl MapToStrings for &[&str] {
    fn map_to_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn every_bad_input_has_its_own_reason_and_names_the_field() {
    use Reason::*;
    let good = r#"{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"12.50"}"#;
    let with = |from: &str, to: &str| good.replace(from, to);
    let limits = |more: &str| {
        let more = if more.is_empty() { String::new() } else { format!(",{more}") };
        format!(r#"{{"account":"users:1:wallet","asset":"CNY"{more}}}"#)
    };
    let said = |metadata: &str| format!(r#"{{"account":"users:1:wallet","metadata":{metadata}}}"#);
    let many_keys = |count: usize| {
        let keys: Vec<String> = (0..count).map(|n| format!(r#""k{n}":"x""#)).collect();
        format!("{{{}}}", keys.join(","))
    };
    let leg = |account: &str, side: &str, amount: &str| {
        format!(r#"{{"account":"{account}","side":"{side}","asset":"CNY","amount":"{amount}"}}"#)
    };
    let (debit, credit) = (leg("users:1:wallet", "debit", "1"), leg("users:2:wallet", "credit", "1"));
    let listed = |legs: &[String]| format!(r#"{{"legs":[{}]}}"#, legs.join(","));
    let long = "x".repeat(200);
    let rows: Vec<(&str, String, Reason, &str)> = vec![
        ("suspense.retried", r#"{"case":"p2-p0-17"}"#.into(), BadField, "data.case"),
        ("channel.repaired", r#"{"item":"17"}"#.into(), BadField, "data.item"),
        ("suspense.redirected", r#"{"case":"p02-p00-17"}"#.into(), MissingField, "data.account"),
        (
            "suspense.redirected",
            r#"{"case":"p02-p00-17","account":"suspense:p01"}"#.into(),
            UnknownAccount,
            "suspense:p01",
        ),
        ("transfer", "null".into(), MissingField, "data"),
        ("transfer", "[]".into(), BadField, "data"),
        ("transfer", with("\"asset\":\"CNY\",", ""), MissingField, "data.asset"),
        ("transfer", with("\"12.50\"", "null"), MissingField, "data.amount"),
        ("transfer", with("users:1:wallet", ""), MissingField, "data.from"),
        ("transfer", with("\"12.50\"", "12.50"), AmountNotText, "data.amount: amount must be a string"),
        ("transfer", with("\"12.50\"", "1e400"), AmountNotText, "data.amount: amount must be a string"),
        ("transfer", with("\"12.50\"", "1e999999999"), AmountNotText, "data.amount"),
        ("transfer", with("\"12.50\"", "[\"12.50\"]"), AmountNotText, "data.amount"),
        ("transfer", with("\"12.50\"", "true"), AmountNotText, "data.amount"),
        ("transfer", with("\"CNY\"", "true"), BadField, "data.asset"),
        ("transfer", with("\"CNY\"", "\"CNY\",\"weight\":1e999999999"), BadField, "data.weight"),
        ("no.such.type", good.into(), UnknownType, "no.such.type"),
        ("transfer", with("12.50", ""), BadAmount, "data.amount"),
        ("transfer", with("12.50", "-12.50"), BadAmount, "below zero"),
        ("transfer", with("12.50", "1e3"), AmountExponent, "1e3"),
        ("transfer", with("12.50", "1.5E+3"), AmountExponent, "1.5E+3"),
        ("transfer", with("12.50", "-12e-1"), AmountExponent, "-12e-1"),
        ("transfer", with("12.50", "1e999999999"), AmountExponent, "1e999999999"),
        ("transfer", with("12.50", "1e"), BadAmount, "1e"),
        ("transfer", with("12.50", "e3"), BadAmount, "e3"),
        ("transfer", with("12.50", "1e3.5"), BadAmount, "1e3.5"),
        ("transfer", with("12.50", "12,50"), BadAmount, "12,50"),
        ("transfer", with("12.50", "NaN"), BadAmount, "NaN"),
        ("transfer", with("12.50", &"9".repeat(39)), BadAmount, "range"),
        ("transfer", with("12.50", &"9".repeat(38)), BadAmount, "range"),
        ("transfer", with("12.50", &"9".repeat(65)), BadAmount, "64 bytes"),
        ("transfer", with("12.50", "12.505"), TooManyDecimals, "2 of CNY"),
        ("transfer", with("CNY", "JPY"), TooManyDecimals, "0 of JPY"),
        ("transfer", with("CNY", "XYZ"), UnknownAsset, "XYZ"),
        ("transfer", with("CNY", "cny"), UnknownAsset, "cny"),
        ("transfer", with("users:1:wallet", "users::wallet"), BadAccount, "data.from"),
        ("transfer", with("users:1:wallet", "users:1 :wallet"), BadAccount, "character"),
        ("transfer", with("users:1:wallet", "users:用户:wallet"), BadAccount, "character"),
        ("transfer", with("users:1:wallet", "users:1\\u0000:wallet"), BadAccount, "character"),
        ("transfer", with("users:1:wallet", "a:b:c:d:e:f:g:h:i"), BadAccount, "8 segments"),
        ("transfer", with("users:1:wallet", &long), BadAccount, "128 bytes"),
        ("transfer", with("users:1:wallet", "users:1:savings"), UnknownAccount, "users:1:savings"),
        ("transfer", with("users:1:wallet", "users:1:points"), UnknownAccount, "may not hold CNY"),
        ("transfer", with("users:1:wallet", "clearing:out:p00:p01"), UnknownAccount, "only the ledger"),
        ("transfer", with("users:1:wallet", "suspense:p00"), UnknownAccount, "only the ledger"),
        ("transfer", with("12.50", "0.00"), NoLegs, "no leg"),
        ("transfer", listed(&[]), NoLegs, "no leg"),
        ("transfer", listed(std::slice::from_ref(&debit)), Unbalanced, "CNY 1.00"),
        (
            "transfer",
            listed(&[debit.clone(), leg("users:2:wallet", "credit", "1.05")]),
            Unbalanced,
            "CNY -0.05",
        ),
        (
            "transfer",
            listed(&[debit.clone(), leg("users:2:wallet", "credit", "2").replace("CNY", "USD")]),
            Unbalanced,
            "CNY 1.00, USD -2.00",
        ),
        (
            "transfer",
            listed(&[leg("users:1:wallet", "left", "1"), credit.clone()]),
            BadField,
            "data.legs[0].side",
        ),
        ("transfer", listed(&[debit.clone(), "7".into()]), BadField, "data.legs[1]"),
        (
            "transfer",
            listed(&[debit.clone(), credit.replace("\"1\"", "1")]),
            AmountNotText,
            "data.legs[1].amount",
        ),
        (
            "transfer",
            listed(&[debit.clone(), leg("users:2:wallet", "credit", "1e0")]),
            AmountExponent,
            "data.legs[1].amount",
        ),
        ("transfer", listed(&[debit.clone(), "{}".into()]), MissingField, "data.legs[1].account"),
        (
            "account.limited",
            limits(""),
            MissingField,
            "data.overdraft or data.min_balance or data.max_balance",
        ),
        ("account.described", r#"{"account":"users:1:wallet"}"#.into(), MissingField, "data.metadata"),
        ("account.described", said("{}"), BadField, "data.metadata: expected an object with 1 to 16 keys"),
        ("account.described", said(r#""gold""#), BadField, "data.metadata: expected an object"),
        ("account.described", said(r#"["gold"]"#), BadField, "data.metadata: expected an object"),
        ("account.described", said(r#"{"tier":1}"#), BadField, "expected a text, or null"),
        ("account.described", said(r#"{"tier":{"a":"b"}}"#), BadField, "expected a text, or null"),
        ("account.described", said(r#"{"tier":""}"#), BadField, "expected 1 to 256 bytes"),
        ("account.described", said(r#"{"":"gold"}"#), BadField, "expected 1 to 64 bytes"),
        ("account.described", said(r#"{"tier":"a\u0007"}"#), BadField, "without control characters"),
        ("account.described", said(&format!(r#"{{"tier":"{}"}}"#, "x".repeat(257))), BadField, "256 bytes"),
        ("account.described", said(&format!(r#"{{"{}":"x"}}"#, "x".repeat(65))), BadField, "64 bytes"),
        ("account.described", said(&many_keys(17)), BadField, "1 to 16 keys"),
        ("account.opened", said("[]"), BadField, "data.metadata: expected an object"),
        ("account.described", said(r#"{"a":"1","a":"2"}"#), DuplicateKey, "a"),
        ("account.limited", limits(r#""overdraft":1"#), AmountNotText, "data.overdraft"),
        ("account.limited", limits(r#""overdraft":"none""#), BadAmount, "data.overdraft"),
        ("account.limited", limits(r#""max_balance":"-1""#), BadAmount, "data.max_balance"),
        ("account.limited", limits(r#""max_balance":"0.001""#), TooManyDecimals, "data.max_balance"),
        (
            "account.limited",
            limits(r#""overdraft":"1","min_balance":"1""#),
            BadField,
            "data.min_balance: not expected beside data.overdraft",
        ),
        (
            "account.limited",
            r#"{"account":"users:1:points","asset":"CNY","overdraft":"1"}"#.into(),
            UnknownAccount,
            "users:1:points: may not hold CNY",
        ),
        ("transfer", r#"{"legs":{}}"#.into(), BadField, "data.legs: expected a list"),
        (
            "transfer",
            with("{\"from\"", &format!("{{\"legs\":[{debit},{credit}],\"from\"")),
            BadField,
            "beside data.legs",
        ),
        ("transfer", listed(&vec![[debit, credit].join(","); 51]), TooManyLegs, "102 legs"),
        (
            "transfer",
            listed(&[
                leg("bank:a", "debit", &format!("1{}", "0".repeat(36))),
                leg("bank:a", "debit", &format!("1{}", "0".repeat(36))),
                leg("bank:b", "credit", "1"),
            ]),
            BadAmount,
            "sum of the legs",
        ),
    ];
    for (kind, data, reason, detail) in rows {
        let (found, text) = judge(event("1", kind, NOON, &data)).unwrap_err();
        assert_eq!(found, reason, "{text} for {data}");
        assert!(text.contains(detail), "{text:?} does not name {detail:?}");
    }
}

#[test]
fn fields_cannot_reach_out_of_their_segment() {
    let good = r#"{"order_id":"A-1","merchant_id":"7","provider":"wechat","provider_account":"19","currency":"CNY",
        "amount":"100","fee":"1","commission":"2"}"#;
    let with = |from: &str, to: &str| good.replace(from, to);
    use Reason::*;
    for (data, reason, detail) in [
        (with("\"7\"", "\"7:payable:x\""), BadAccount, "data.merchant_id"),
        (with("\"wechat\"", "\"wechat:1\""), BadAccount, "data.provider"),
        (with("\"7\"", "\"{data.order_id}\""), BadAccount, "data.merchant_id"),
        (with("\"7\"", "\"\""), MissingField, "data.merchant_id"),
        (with("\"7\"", "-7"), BadField, "data.merchant_id"),
        (with("\"7\"", "7.0"), BadField, "data.merchant_id"),
        (with("\"7\"", &format!("\"{}\"", "7".repeat(120))), BadAccount, "longer than 128 bytes"),
        (with("\"A-1\"", "\"A\\n1\""), BadField, "data.order_id"),
        (with("\"A-1\"", &format!("\"{}\"", "A".repeat(129))), BadField, "data.order_id"),
        (
            with("\"commission\":\"2\"", "\"commission\":\"101\""),
            BadAmount,
            "data.amount less data.commission",
        ),
        (with("\"fee\":\"1\"", "\"fee\":\"-1\""), BadAmount, "data.fee"),
        (with("\"fee\":\"1\"", "\"fee\":1"), AmountNotText, "data.fee"),
        (with("\"fee\":\"1\"", "\"fee\":\"1e0\""), AmountExponent, "data.fee"),
        (with("\"commission\":\"2\"", "\"commission\":2.0"), AmountNotText, "data.commission"),
        (with("\"fee\":\"1\"", "\"fee\":\"0.006\""), TooManyDecimals, "data.fee"),
    ] {
        let (found, text) = judge(event("1", "order.paid", NOON, &data)).unwrap_err();
        assert_eq!(found, reason, "{text} for {data}");
        assert!(text.contains(detail), "{text:?} does not name {detail:?}");
    }
}

#[test]
fn a_rule_of_listed_legs_alone_requires_the_list() {
    let mut config = config();
    config.rules = Rules::parse("{version: 1, rules: [{type: t, each: data.parts}]}", &config.chart).unwrap();
    let leg =
        |side: &str| format!(r#"{{"account":"bank:{side}","side":"{side}","asset":"JPY","amount":"5.0"}}"#);
    let good = format!(r#"{{"parts":[{},{}]}}"#, leg("debit"), leg("credit"));
    let came = Rig::open_with(config).judge(vec![event("1", "t", NOON, &good), event("2", "t", NOON, "{}")]);
    assert_eq!(
        came.commands()[0].leg.iter().map(line).collect::<Vec<_>>(),
        ["D bank:debit JPY 5", "C bank:credit JPY 5"]
    );
    assert_eq!(came.reasons(), ["missing_field"]);
    assert!(text_header(&came.rejected[0], "__streams.errors.message").contains("data.parts"));
}

#[test]
fn where_several_reasons_hold_the_first_in_order_is_given() {
    // Each row adds a fault that comes earlier in the order, whatever the order of checks.
    let mut data =
        r#"{"from":"users:1:savings","to":"users:2:wallet","asset":"CNY","amount":"0"}"#.to_owned();
    let mut expect = |from: &str, to: &str, reason| {
        data = data.replace(from, to);
        assert_eq!(judge(event("1", "transfer", NOON, &data)).unwrap_err().0, reason, "{data}");
    };
    expect("", "", Reason::UnknownAccount);
    expect("users:2:wallet", "users:2::wallet", Reason::BadAccount);
    expect("CNY", "XYZ", Reason::UnknownAsset);
    expect("\"0\"", "\"-1\"", Reason::BadAmount);
    expect("\"-1\"", "\"-1e0\"", Reason::AmountExponent);
    expect("\"asset\"", "\"weight\":1e99999,\"asset\"", Reason::BadField);
    expect("\"-1e0\"", "-1", Reason::AmountNotText);
    expect("\"from\"", "\"form\"", Reason::MissingField);
    let bad_time = event("1", "no.such.type", "yesterday", "{}");
    assert_eq!(judge(bad_time).unwrap_err().0, Reason::BadField);
}

#[test]
fn a_dead_letter_is_the_input_byte_for_byte_with_its_reason() {
    let mut rig = Rig::open();
    let mut bad = record(b"\xff\x00not json".to_vec());
    bad.headers = vec![
        Header::text("traceparent", "00-abc"),
        Header { name: Bytes::from_static(b"\xfe"), value: Bytes::from_static(b"\xff") },
    ];
    bad.key = Bytes::from_static(b"\x00key");
    let came = rig.judge(vec![transfer("1", NOON, "1"), bad.clone()]);
    let [dead] = came.rejected.as_slice() else { panic!("one dead letter") };
    assert_eq!(dead.to, TopicPartition::new(Topic::Rejected, SLOT));
    assert_eq!((&dead.key, &dead.value, &dead.headers[..2]), (&bad.key, &bad.value, &bad.headers[..]));
    for (name, value) in [
        ("__streams.errors.exception", "not_utf8"),
        ("__streams.errors.topic", "events.p1"),
        ("__streams.errors.partition", "1"),
        ("__streams.errors.offset", "3"),
        ("ledgerflow-reason", "not_utf8"),
        ("ledgerflow-retryable", "false"),
    ] {
        assert_eq!(text_header(dead, name), value, "{name}");
    }
    assert!(text_header(dead, "__streams.errors.message").contains("byte 0"));
    let counts = rig.slot.counts();
    assert_eq!((counts.received, counts.forwarded, counts.dead_lettered), (2, 1, 1));
    assert_eq!(counts.received_by_lane, [0, 2, 0]);
}

/// Who sends a record of `rejected` again as it is sends its headers along; who wants to deceive sends others.
#[test]
fn a_dead_letter_says_what_became_of_it_whatever_the_input_says() {
    let mut rig = Rig::open();
    let mut bad = record("hello");
    bad.headers = vec![
        Header::text("ledgerflow-kind", "refusal"),
        Header::text("ledgerflow-reason", "conflict"),
        Header::text("__streams.errors.offset", "77"),
        Header::text("traceparent", "00-abc"),
    ];
    let came = rig.judge(vec![transfer("1", NOON, "1"), bad]);
    let [dead] = came.rejected.as_slice() else { panic!("one dead letter") };
    assert_eq!(text_header(dead, "ledgerflow-reason"), "not_json");
    assert_eq!(text_header(dead, "__streams.errors.offset"), "3");
    assert_eq!(text_header(dead, "traceparent"), "00-abc");
    assert_eq!(header(&dead.headers, "ledgerflow-kind"), None);
    assert_eq!(dead.headers.len(), 8, "each name once: {:?}", dead.headers);
}

#[test]
fn envelopes_that_cannot_be_read_have_their_own_reasons() {
    use Reason::*;
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (value, reason) in [
        (Bytes::from("x".repeat(64 * 1024 + 1)), TooLarge),
        (Bytes::from_static(b"{\"id\":\"\xc3\x28\"}"), NotUtf8),
        (Bytes::from_static(b"hello"), NotJson),
        (Bytes::from_static(b""), NotJson),
        (event("1", "transfer", NOON, &deep).value, TooDeep),
        (event("1", "transfer", NOON, r#"{"amount":"1","amount":"2"}"#).value, DuplicateKey),
        (Bytes::from_static(b"{}"), NotCloudEvent),
        (event("", "transfer", NOON, "{}").value, MissingField),
        (transfer("1\\u0007", NOON, "1").value, BadField),
        (event("1", "transfer", "2026-11-24T04:00:00Z", "{}").value, MissingField),
        (transfer("1", "2026-11-24T04:00:00Z", "1").value, BadField),
    ] {
        let shown = String::from_utf8_lossy(&value[..value.len().min(80)]).into_owned();
        let (found, detail) = judge(record(value)).unwrap_err();
        assert_eq!(found, reason, "{detail} for {shown}");
    }
}

#[test]
fn a_command_says_where_it_comes_from_and_goes_to_its_home() {
    let mut rig = Rig::open();
    let mut binary = record(r#"{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"1"}"#);
    for (name, value) in [
        ("ce_specversion", "1.0"),
        ("ce_id", "77"),
        ("ce_source", "shop"),
        ("ce_type", "transfer"),
        ("ce_time", NOON),
        ("ce_subject", "users:1"),
        ("ce_partitionkey", "order-9"),
        ("traceparent", "00-abc"),
    ] {
        binary.headers.push(Header::text(name, value));
    }
    let came = rig.judge(vec![transfer("1", NOON, "1"), binary]);
    let home = |key: &str| rig.processor.config().map.partition_of(key);
    let at = |id: &str| {
        let of = |item: &&Item| matches!(item, Item::Command(c) if c.event.as_ref().unwrap().id == id);
        let mut found = came.items.iter().filter_map(|(p, items)| Some((*p, items.iter().find(of)?)));
        let Some((partition, Item::Command(command))) = found.next() else { panic!("{id} not sent") };
        (partition, command)
    };
    assert_eq!(at("1").0, home("users:1"));
    let (partition, command) = at("77");
    assert_eq!(partition, home("order-9"));
    assert_eq!(command.event.as_ref().unwrap().source, "shop");
    assert_eq!((command.subject.as_str(), command.traceparent.as_str()), ("users:1", "00-abc"));
    assert_eq!((command.rule.as_str(), command.rule_version, command.book.as_str()), ("transfer", 1, "main"));
    assert_eq!((command.lane, command.event_partition, command.event_offset), (1, SLOT, 3));
    assert_eq!(command.occurred_at_us, us(NOON));
    assert_eq!(command.body_hash.len(), 16);
}

#[test]
fn the_body_hash_is_of_the_meaning_and_not_of_the_writing() {
    let hash = |record: Record| Rig::open().judge(vec![record]).commands()[0].body_hash.clone();
    let base = hash(transfer("1", NOON, "12.50"));
    // Another id, time, spelling of the amount, order of keys, escapes: the same body.
    assert_eq!(base, hash(transfer("2", "2026-11-21T05:00:00Z", "012.500")));
    let other_order =
        r#"{"amount":"12.5", "to":"users:2:wallet","from":"users\u003a1:wallet","asset":"CNY"}"#;
    assert_eq!(base, hash(event("1", "transfer", NOON, other_order)));
    assert_ne!(base, hash(transfer("1", NOON, "12.51")));
    let commented =
        r#"{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"12.50","note":""}"#;
    assert_ne!(base, hash(event("1", "transfer", NOON, commented)));
}

/// Linked events that cannot be booked all: what is wrong, and with which of them.
#[test]
fn linked_events_are_read_whole() {
    let good = r#"{"type":"transfer","data":{"from":"users:1:wallet","to":"users:2:wallet","asset":"CNY","amount":"1"}}"#;
    let legs = |n: usize| vec![good; n].join(",");
    let apart = r#"{"type":"transfer","data":{"legs":[{"account":"users:1:wallet","side":"debit","asset":"CNY","amount":"1"}]}}"#;
    let back = r#"{"type":"transfer","data":{"legs":[{"account":"users:1:wallet","side":"credit","asset":"CNY","amount":"1"}]}}"#;
    let rows: [(String, Reason, &str); 14] = [
        ("{}".into(), Reason::MissingField, "data.events"),
        (r#"{"events":7}"#.into(), Reason::BadField, "data.events: expected a list of events"),
        (r#"{"events":[]}"#.into(), Reason::NoLegs, "data.events: no event"),
        (format!(r#"{{"events":[{good},7]}}"#), Reason::BadField, "data.events[1]: expected an object"),
        (r#"{"events":[{"data":{}}]}"#.into(), Reason::MissingField, "data.events[0].type"),
        (r#"{"events":[{"type":7}]}"#.into(), Reason::BadField, "data.events[0].type: expected a text"),
        (
            r#"{"events":[{"type":"nothing"}]}"#.into(),
            Reason::UnknownType,
            "data.events[0].type: \"nothing\"",
        ),
        (
            r#"{"events":[{"type":"hold.released","data":{"hold":"h"}}]}"#.into(),
            Reason::BadField,
            "data.events[0].type: \"hold.released\", expected a type whose legs are booked",
        ),
        (
            r#"{"events":[{"type":"events.linked","data":{"events":[]}}]}"#.into(),
            Reason::BadField,
            "data.events[0].type: \"events.linked\", expected a type whose legs are booked",
        ),
        (r#"{"events":[{"type":"transfer"}]}"#.into(), Reason::MissingField, "data.events[0].data"),
        (
            format!(r#"{{"events":[{good},{}]}}"#, good.replace("\"1\"", "\"1.005\"")),
            Reason::TooManyDecimals,
            "data.events[1].data.amount: more decimals than the 2 of CNY",
        ),
        (format!(r#"{{"events":[{apart},{back}]}}"#), Reason::Unbalanced, "debits less credits: CNY 1.00"),
        (format!(r#"{{"events":[{}]}}"#, legs(33)), Reason::TooManyLegs, "66 legs, the limit is 64"),
        (format!(r#"{{"events":[{}]}}"#, legs(65)), Reason::TooManyLegs, "65 events, the limit is 64"),
    ];
    for (data, reason, expected) in rows {
        assert_eq!(
            judge(event("1", "events.linked", NOON, &data)),
            Err((reason, expected.to_owned())),
            "{data}"
        );
    }
    let most = format!(r#"{{"events":[{}]}}"#, legs(32));
    assert_eq!(judge(event("1", "events.linked", NOON, &most)).unwrap().len(), 64);
}

/// Each of them keeps its match, and amounts within are amounts: written otherwise they are the same event.
#[test]
fn linked_events_keep_their_matches_and_are_hashed_as_amounts() {
    let paid = |order: &str, amount: &str| {
        format!(
            r#"{{"type":"order.paid","data":{{"order_id":"{order}","merchant_id":"7","provider":"wechat","provider_account":"1900","currency":"CNY","amount":"{amount}"}}}}"#
        )
    };
    let linked = |amount: &str| {
        let data = format!(r#"{{"events":[{},{}],"job_id":"trip-9"}}"#, paid("a", "3"), paid("b", amount));
        let came = Rig::open().judge(vec![event("1", "events.linked", NOON, &data)]);
        Command::clone(came.commands()[0])
    };
    let command = linked("5");
    let orders: Vec<_> =
        command.leg.iter().map(|leg| leg.r#match.as_ref().map(|of| of.order.clone())).collect();
    assert_eq!(orders, [Some("a".to_owned()), None, Some("b".to_owned()), None]);
    assert_eq!((&*command.job, &*command.rate), ("trip-9", ""));
    assert_eq!(command.body_hash, linked("5.00").body_hash);
    assert_ne!(command.body_hash, linked("5.01").body_hash);
}

#[test]
fn a_job_and_a_rate_are_texts_of_bounded_length() {
    let exchanged = |job: &str, rate: &str| {
        let data = format!(
            r#"{{"account":"users:1:wallet","bank":"icbc","from_asset":"CNY","from_amount":"71.2","to_asset":"USD","to_amount":"10","rate":{rate},"job_id":{job}}}"#
        );
        let came = Rig::open().judge(vec![event("1", "currency.exchanged", NOON, &data)]);
        match came.commands().first() {
            Some(command) => Ok((command.job.clone(), command.rate.clone())),
            None => Err(text_header(&came.rejected[0], "__streams.errors.message")),
        }
    };
    let noted = |job: &str, rate: &str| Ok((job.to_owned(), rate.to_owned()));
    assert_eq!(exchanged("\"trip-9\"", "\"7.120\""), noted("trip-9", "7.120"));
    assert_eq!(exchanged("9", "null"), noted("9", ""));
    assert_eq!(exchanged("null", "null"), noted("", ""));
    for (job, rate, expected) in [
        (
            format!("\"{}\"", "x".repeat(129)),
            "null",
            "data.job_id: expected at most 128 bytes without control characters",
        ),
        ("\"a\\nb\"".into(), "null", "data.job_id: expected at most 128 bytes without control characters"),
        ("[]".into(), "null", "data.job_id: expected a text"),
        ("null".into(), "7.1", "data.rate: amount must be a string such as \"12.50\""),
        ("null".into(), "\"0.00\"", "data.rate: a rate is above zero"),
        ("null".into(), "\"-1\"", "data.rate: \"-1\" is below zero"),
        ("null".into(), "\"1e3\"", "data.rate: \"1e3\":"),
    ] {
        let said = exchanged(&job, rate).unwrap_err();
        assert!(said.starts_with(expected), "{said}");
    }
}

/// Why somebody proposes an adjustment goes with it: nobody else keeps it.
#[test]
fn a_note_is_a_text_of_bounded_length() {
    let proposed = |reason: &str| {
        let leg = |account: &str, side: &str| {
            format!(r#"{{"account":"{account}","side":"{side}","asset":"CNY","amount":"3.00"}}"#)
        };
        let legs = [leg("funding:cash", "debit"), leg("merchants:7:payable", "credit")].join(",");
        let data = format!(r#"{{"legs":[{legs}]{reason}}}"#);
        let came = Rig::open().judge(vec![event("1", "adjustment.proposed", NOON, &data)]);
        match came.commands().first() {
            Some(command) => Ok(command.note.clone()),
            None => Err(text_header(&came.rejected[0], "__streams.errors.message")),
        }
    };
    assert_eq!(proposed(""), Ok(String::new()));
    assert_eq!(proposed(r#","reason":null"#), Ok(String::new()));
    assert_eq!(proposed(r#","reason":"taken twice, 佣金""#), Ok("taken twice, 佣金".to_owned()));
    let longest = "x".repeat(512);
    assert_eq!(proposed(&format!(r#","reason":"{longest}""#)), Ok(longest.clone()));
    for (reason, expected) in [
        (
            format!(r#","reason":"{longest}x""#),
            "data.reason: expected at most 512 bytes without control characters",
        ),
        (r#","reason":"a\nb""#.into(), "data.reason: expected at most 512 bytes without control characters"),
        (r#","reason":"""#.into(), "data.reason"),
        (r#","reason":{}"#.into(), "data.reason: expected a text"),
    ] {
        let said = proposed(&reason).unwrap_err();
        assert!(said.starts_with(expected), "{said}");
    }
}
