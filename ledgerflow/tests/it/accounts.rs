//! `accounts`: what events have made of accounts, by which event and since when, page by page.

use crate::company::{Company, PATIENCE, within};
use crate::http::{Client, JSON};
use serde_json::{Value, json};

const DAY: &str = "2026-11-21";
const CONFIGURATION: &str = "
http: {listen: 127.0.0.1:0}
partitions: {events: 2, internal: 3}
ingest: {tick_ms: 100}
business_clock: {mode: offset, at: '2026-11-21T09:00:00Z'}
";

fn told(client: &Client, id: &str, kind: &str, user: u32, mut data: Value) {
    data["account"] = format!("users:{user}:wallet").into();
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/desk", "type": kind, "subject": format!("users:{user}"),
        "time": format!("{DAY}T08:00:00Z"), "data": data,
    });
    let said = client.post("?wait=booked&timeout_seconds=60", JSON, event.to_string()).is(200);
    assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
}

/// Account, status, frozen side, whether an event opened it, and the event that changed it.
fn row(row: &Value) -> [String; 5] {
    ["account", "status", "frozen", "opened", "event"].map(|name| match &row[name] {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    })
}

fn listed(said: &Value) -> Vec<[String; 5]> {
    said["account_statuses"].as_array().unwrap().iter().map(row).collect()
}

#[test]
fn accounts_are_listed_by_what_events_have_made_of_them() {
    let company = Company::with(CONFIGURATION);
    let running = company.run();
    let client = Client::of(&running);
    told(&client, "f-1", "account.frozen", 1, json!({ "side": "debit" }));
    told(&client, "f-2", "account.frozen", 2, json!({}));
    told(&client, "c-3", "account.closed", 3, json!({}));
    told(&client, "o-4", "account.opened", 4, json!({}));
    told(&client, "l-5", "account.limited", 5, json!({ "asset": "CNY", "overdraft": "50.00" }));
    told(&client, "f-6", "account.frozen", 6, json!({}));
    told(&client, "u-6", "account.unfrozen", 6, json!({}));
    told(&client, "l-1", "account.limited", 1, json!({ "asset": "CNY", "min_balance": "unlimited" }));
    let asked = |what: &str| client.get(&format!("/v1/accounts?status={what}")).is(200);
    let frozen = asked("frozen");
    let want = [
        ["users:1:wallet", "frozen", "debit", "false", "f-1"],
        ["users:2:wallet", "frozen", "both", "false", "f-2"],
    ];
    assert_eq!(listed(&frozen), want, "{frozen}");
    assert_eq!(frozen["account_statuses"][0]["changed_on"], DAY);
    assert_eq!(frozen["account_statuses"][0]["source"], "/desk");
    let limits = |said: &Value| {
        let rows = said["account_limits"].as_array().unwrap().iter();
        let of = |row: &Value| {
            ["account", "min_balance", "event"].map(|name| row[name].as_str().unwrap().to_owned())
        };
        rows.map(of).collect::<Vec<_>>()
    };
    assert_eq!(limits(&frozen), [["users:1:wallet", "unlimited", "l-1"]]);
    assert_eq!(listed(&asked("closed")), [["users:3:wallet", "closed", "-", "false", "c-3"]]);
    assert_eq!(listed(&asked("opened")), [["users:4:wallet", "open", "-", "true", "o-4"]]);
    let limited = asked("limited");
    assert_eq!(
        limits(&limited),
        [["users:1:wallet", "unlimited", "l-1"], ["users:5:wallet", "-50.00", "l-5"]],
        "{limited}"
    );
    assert_eq!(limited["account_limits"][1]["max_balance"], Value::Null, "{limited}");
    assert_eq!(listed(&limited)[1], ["users:5:wallet", "open", "-", "false", "-"]);
    let wrong = client.get("/v1/accounts?status=asleep").is(400);
    assert!(wrong["detail"].as_str().unwrap().contains("opened, closed, frozen, limited"), "{wrong}");
    // Page by page, and the same with nothing running, from a checkpoint and from the journal alone.
    let first = client.get("/v1/accounts?status=frozen&limit=1").is(200);
    assert_eq!((listed(&first), &first["next"]), (listed(&frozen)[..1].to_vec(), &json!("users:1:wallet")));
    let second = client.get("/v1/accounts?status=frozen&limit=1&after=users:1:wallet").is(200);
    assert_eq!(listed(&second), listed(&frozen)[1..]);
    running.stop();
    let cli = |words: &[&str]| company.cli(&[&["accounts"], words, &["-o", "json"]].concat()).ends(0);
    for round in 0..2 {
        let said = cli(&["users:", "--status", "frozen", "--limit", "1"]);
        assert!(said.err.contains("--after users:1:wallet"), "{round}: {said:?}");
        let whole = cli(&["--status", "frozen"]).json();
        assert_eq!(whole["account statuses"], frozen["account_statuses"], "{round}");
        assert_eq!(whole["account limits"], frozen["account_limits"], "{round}");
        let store = company.books().join(ledgerflow::query::books::STORE);
        std::fs::remove_dir_all(store).unwrap();
    }
    assert!(cli(&["merchants:", "--status", "closed"]).err.contains("no account is closed"));
    company.is_whole();
}

#[test]
fn accounts_without_a_status_come_with_their_balances() {
    let company = Company::with(CONFIGURATION);
    let running = company.run();
    let client = Client::of(&running);
    for user in 1..=3 {
        let data = json!({ "from": "funding:cash", "to": format!("users:{user}:wallet"), "asset": "CNY", "amount": "1.00" });
        told(&client, &format!("t-{user}"), "transfer", user, data);
    }
    let rows = |words: &[&str]| {
        let said = company.cli(&[&["accounts", "users:"], words, &["-o", "json"]].concat()).ends(0).json();
        let of = |row: &Value| row["account"].as_str().unwrap().to_owned();
        said.as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    let all = ["users:1:wallet", "users:2:wallet", "users:3:wallet"];
    assert!(within(PATIENCE, || (rows(&[]) == all).then_some(())).is_some(), "{:?}", rows(&[]));
    assert_eq!(rows(&["--limit", "2"]), all[..2]);
    assert_eq!(rows(&["--limit", "2", "--after", "users:2:wallet/CNY"]), all[2..]);
    company.cli(&["accounts", "--after", "users:2:wallet"]).ends(2);
    running.stop();
}
