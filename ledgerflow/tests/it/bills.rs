//! Where a bill comes from is what the configuration says of its source.

use crate::company::{Company, PATIENCE, within};
use ledgerflow_tests::alipay::{self, ALIPAY_ACCOUNT, AlipayRow};
use serde_json::json;
use std::path::{Path, PathBuf};

const SOURCES: &str = "
partitions: {events: 2, internal: 3}
bills:
  sources:
  - {name: shop, account: '1900000109', provider: other, dir: inbox}
  - {name: game, account: '1900000110', dir: games}
";

/// A bill of account 1900000109.
fn bill() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../reconcile/fixtures/wechat_all.csv")
}

/// Provider, account and gate of every file, once there are `files`.
fn files(company: &Company, files: usize) -> Vec<[String; 3]> {
    let found = within(PATIENCE, || {
        let summary = company.cli(&["breaks", "--summary", "-o", "json"]).ends(0).json();
        let rows = summary["bills"].as_array().unwrap().clone();
        (rows.len() == files).then_some(rows)
    });
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let found = found.unwrap_or_else(|| panic!("never {files} files"));
    found.iter().map(|row| ["provider", "account", "gate"].map(|field| text(row, field))).collect()
}

#[test]
fn the_source_says_provider_and_account() {
    let company = Company::with(SOURCES);
    let bill = bill().display().to_string();
    for folder in ["inbox", "games"] {
        std::fs::create_dir(company.path(folder)).unwrap();
    }
    let running = company.run();
    for (source, want) in [(vec!["--source", "wechat"], "\"wechat\""), (vec![], "several")] {
        let said = company.cli(&[&["bill", &bill], &source[..]].concat()).ends(4);
        assert!(said.err.contains(want) && said.err.contains("game, shop"), "{}", said.err);
    }
    let said = company.cli(&["bill", &bill, "--source", "game", "-o", "json"]).ends(3).json();
    assert_eq!(said[0]["reason"], "wrong_account", "{said}");
    let said = company.cli(&["bill", &bill, "--source", "shop", "-o", "json"]).ends(0).json();
    assert_eq!(
        (&said[0]["provider"], &said[0]["account"]),
        (&"other".into(), &"1900000109".into()),
        "{said}"
    );
    let want = [
        ["other", "1900000109", "accepted"].map(str::to_owned),
        ["wechat", "1900000110", "quarantined"].map(str::to_owned),
    ];
    let mut found = files(&company, 2);
    found.sort();
    assert_eq!(found, want);
    running.stop();
}

#[test]
fn a_bill_given_again_is_told_as_it_was_and_never_for_another_day() {
    let company = Company::with("partitions: {events: 2, internal: 3}\n");
    let first = bill().display().to_string();
    let again = company.path("again.csv").display().to_string();
    std::fs::copy(bill(), &again).unwrap();
    let running = company.run();
    company.cli(&["bill", &first]).ends(0);
    assert_eq!(files(&company, 1).len(), 1);
    let breaks = || company.cli(&["breaks", "-o", "json"]).ends(0).json();
    let found = within(PATIENCE, || Some(breaks()).filter(|rows| rows.as_array().unwrap().len() == 6));
    let before = found.unwrap_or_else(|| panic!("{}", breaks()));
    for file in [&first, &again] {
        let said = company.cli(&["bill", file, "--day", "2019-02-20"]).ends(1);
        assert!(
            said.err.contains("is of 2019-02-19, as its rows say, and not of 2019-02-20"),
            "{}",
            said.err
        );
        let said = company.cli(&["bill", file, "-o", "json"]).ends(0);
        assert!(said.err.contains("imported before"), "{}", said.err);
        let said = said.json();
        assert_eq!((&said[0]["day"], &said[0]["name"]), (&"2019-02-19".into(), &"wechat_all.csv".into()));
    }
    assert_eq!(breaks(), before);
    running.stop();
}

#[test]
fn a_watched_folder_is_its_source() {
    let company = Company::with(SOURCES);
    for folder in ["inbox", "games"] {
        std::fs::create_dir(company.path(folder)).unwrap();
    }
    std::fs::copy(bill(), company.path("inbox/today.csv")).unwrap();
    let running = company.run();
    assert_eq!(files(&company, 1), [["other", "1900000109", "accepted"].map(str::to_owned)]);
    running.stop();
}

const MAPPED: &str = "
partitions: {events: 2, internal: 3}
bills:
  sources:
  - {name: alipay, provider: alipay, account: '20880000000000000156', format: alipay_detail, dir: alipay}
  - {name: till, provider: till, account: till-1, format: {mapping: till.yaml}, dir: till}
reconcile: {providers: [{name: till, time_zone: Asia/Shanghai}]}
";

/// A payment of an order, or a refund of it, with its fee.
fn event(
    provider: &str,
    account: &str,
    order: &str,
    refund: Option<&str>,
    time: &str,
    figures: [&str; 2],
) -> String {
    let [amount, fee] = figures;
    let mut data = json!({
        "order_id": order, "merchant_id": "7", "provider": provider, "provider_account": account,
        "currency": "CNY", "amount": amount, "fee": fee,
    });
    if let Some(refund) = refund {
        data["refund_id"] = refund.into();
    }
    json!({
        "specversion": "1.0", "id": format!("{provider}-{order}-{}", refund.unwrap_or("paid")), "source": "/shop",
        "type": if refund.is_some() { "refund.succeeded" } else { "order.paid" }, "subject": format!("orders/{order}"),
        "partitionkey": "merchants:7", "time": time, "data": data,
    })
    .to_string()
}

/// Two payments and a refund. Ours has another amount for the second payment.
fn alipay_bill() -> Vec<u8> {
    let row = |order: &str, refund: Option<&str>, cents, fee_cents| AlipayRow {
        time: "2024-05-10 12:00:00".to_owned(),
        order: order.to_owned(),
        refund: refund.map(str::to_owned),
        cents,
        discount_cents: 0,
        fee_cents,
    };
    alipay::bill(
        &[row("a-1", None, 2000, 12), row("a-2", None, 1050, 6), row("a-1", Some("r-1"), 500, 3)],
        true,
    )
}

/// Three payments, of which we do not know the last.
const TILL: &str = "# by hand\n\
Order\tType\tRefund number\tAmount\tFee\tDate\tRemark\n\
t-1\tSALE\t\t1.234,50\t7,41\t10.05.2024\t\n\
t-1\tREFUND\tr-1\t34,50\t0,20\t10.05.2024\t\n\
t-2\tSALE\t\t3,00\t\t10.05.2024\t\n\
Total\t3 rows\t1.272,00\n";

#[test]
fn an_alipay_bill_and_a_mapped_one_meet_their_entries() {
    let company = Company::with(MAPPED);
    for folder in ["alipay", "till"] {
        std::fs::create_dir(company.path(folder)).unwrap();
    }
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mappings/hand_made.yaml");
    company.write("till.yaml", std::fs::read(mapping).unwrap());
    let running = company.run();
    let (time, ours) = ("2024-05-10T12:00:00+08:00", ALIPAY_ACCOUNT);
    let events = [
        event("alipay", ours, "a-1", None, time, ["20.00", "0.12"]),
        event("alipay", ours, "a-1", Some("r-1"), time, ["5.00", "0.03"]),
        event("alipay", ours, "a-2", None, time, ["10.51", "0.06"]),
        event("till", "till-1", "t-1", None, time, ["1234.50", "7.41"]),
        event("till", "till-1", "t-1", Some("r-1"), time, ["34.50", "0.20"]),
    ];
    company.write("events.jsonl", events.join("\n"));
    company.cli(&["send", "events.jsonl", "--wait"]).ends(0);
    company.write("alipay.zip", alipay_bill());
    company.write("till.tsv", TILL);
    for (source, file) in [("alipay", "alipay.zip"), ("till", "till.tsv")] {
        let said = company.cli(&["bill", file, "--source", source, "-o", "json"]).ends(0).json();
        assert_eq!((&said[0]["day"], &said[0]["lines"]), (&"2024-05-10".into(), &3.into()), "{said}");
    }
    let want = [
        ["alipay", ALIPAY_ACCOUNT, "accepted"].map(str::to_owned),
        ["till", "till-1", "accepted"].map(str::to_owned),
    ];
    let mut found = files(&company, 2);
    found.sort();
    assert_eq!(found, want);
    let summary = || company.cli(&["breaks", "--summary", "-o", "json"]).ends(0).json();
    let matched = |summary: &serde_json::Value| {
        let cases = summary["cases"].as_array().unwrap().clone();
        cases.iter().find(|row| row["kind"] == "matched").unwrap()["count"].as_u64().unwrap()
    };
    let settled = within(PATIENCE, || {
        let breaks = company.cli(&["breaks", "-o", "json"]).ends(0).json();
        let rows = breaks.as_array().unwrap().clone();
        (rows.len() == 2 && matched(&summary()) == 4).then_some(rows)
    });
    let mut breaks = settled.unwrap_or_else(|| panic!("{}", summary()));
    breaks.sort_by_key(|row| row["order"].as_str().map(str::to_owned));
    let text = |row: &serde_json::Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let told: Vec<String> = breaks
        .iter()
        .map(|row| ["kind", "provider", "order", "ours", "theirs"].map(|field| text(row, field)).join(" "))
        .collect();
    assert_eq!(told, ["amount alipay a-2 10.51 10.50", "theirs_only till t-2  3.00"]);
    running.stop();
}

#[test]
fn a_mapping_that_is_wrong_stops_the_start() {
    let company = Company::with(MAPPED);
    let none = company.cli(&["run"]).ends(2);
    assert!(none.err.contains("bills.sources[1].format.mapping"), "{}", none.err);
    company.write("till.yaml", "version: 1\nfields:\n  order: { colum: x }\n");
    let said = company.cli(&["run"]).ends(2);
    for part in ["bill source till", "till.yaml", "line 3", "colum"] {
        assert!(said.err.contains(part), "{part}: {}", said.err);
    }
    assert!(!company.books().exists());
    let mapping = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/mappings/hand_made.yaml");
    company.write("till.yaml", std::fs::read(mapping).unwrap());
    let shown = company.cli(&["show-config", "-o", "json"]).ends(0).json().to_string();
    assert!(shown.contains("{mapping: till.yaml}") && shown.contains("alipay_detail"), "{shown}");
}
