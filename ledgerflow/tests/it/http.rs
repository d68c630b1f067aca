//! The HTTP API of a running pipeline: events in, everything else out, as its description says.

use crate::company::{Company, PATIENCE, Running, within};
use crate::docs::run_examples_at;
use ledgerflow::http::openapi::{self, Columns, Is, OPERATIONS, READY};
use ledgerflow::http::{Bound, Server, Source};
use schemas::topics::Topic;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Deref;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;
use stream::log::{Log, OutRecord, TopicPartition};

/// A client of a server.
pub struct Client {
    address: String,
    pub token: Option<String>,
}

/// A server of a running pipeline, and a client of it.
struct Served {
    company: Company,
    running: Running,
    client: Client,
}

impl Deref for Served {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// What was answered.
#[derive(Debug)]
pub struct Reply {
    status: u16,
    headers: String,
    body: String,
}

impl Reply {
    /// All that has come until the other side hangs up.
    fn of(mut from: BufReader<TcpStream>) -> Self {
        let mut bytes = Vec::new();
        // Hanging up with a body unread ends in a reset, behind the whole answer.
        let _ = from.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (headers, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, headers: headers.to_lowercase(), body: body.to_owned() }
    }

    pub const fn status(&self) -> u16 {
        self.status
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }

    /// The body as it came.
    #[cfg(feature = "otlp")]
    pub fn text(self) -> String {
        self.body
    }

    #[track_caller]
    pub fn is(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.json()
    }

    /// A problem with this code.
    #[track_caller]
    fn problem(self, status: u16, code: &str) -> Value {
        assert!(self.headers.contains("application/problem+json"), "{self:?}");
        let said = self.is(status);
        assert_eq!(
            (said["code"].as_str(), said["status"].as_u64()),
            (Some(code), Some(u64::from(status))),
            "{said}"
        );
        assert_eq!(said["type"], format!("urn:ledgerflow:problem:{code}"));
        said
    }
}

impl Served {
    fn new() -> Self {
        Self::with(Company::with("http: {listen: 127.0.0.1:0}\ningest: {tick_ms: 100}\n"))
    }

    fn with(company: Company) -> Self {
        let running = company.run();
        let client = Client::of(&running);
        Self { company, running, client }
    }
}

impl Client {
    /// Of the server of a process.
    pub fn of(running: &Running) -> Self {
        Self { address: address(running), token: None }
    }

    /// The same, once it is ready: a gateway answers before it has reached its cluster.
    #[track_caller]
    pub fn of_ready(running: &Running) -> Self {
        let client = Self::of(running);
        client.becomes_ready(running);
        client
    }

    #[track_caller]
    pub fn becomes_ready(&self, running: &Running) {
        let ready = within(PATIENCE, || (self.get("/readyz").status == 200).then_some(()));
        assert!(ready.is_some(), "{:?}: {}", self.get("/readyz"), running.err());
    }

    pub fn open(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> BufReader<TcpStream> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: ledgerflow\r\nConnection: close\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(token) = &self.token {
            head += &format!("Authorization: Bearer {token}\r\n");
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        // A server that refuses by the head alone may have hung up by now.
        let _ = stream.write_all(body);
        BufReader::new(stream)
    }

    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        Reply::of(self.open(method, target, headers, body))
    }

    /// Begins to send an event of so many bytes.
    pub fn begin_post(&self, length: usize, first: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {JSON}\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(first.as_bytes()).unwrap();
        stream
    }

    /// Sends the rest of it, and reads the answer.
    pub fn end_post(&self, mut stream: TcpStream, rest: &str) -> Reply {
        stream.write_all(rest.as_bytes()).unwrap();
        Reply::of(BufReader::new(stream))
    }

    /// Whether nobody listens any more.
    pub fn refuses(&self) -> bool {
        TcpStream::connect(&self.address).is_err()
    }

    pub fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, &[], b"")
    }

    pub fn post(&self, query: &str, media: &str, body: impl AsRef<[u8]>) -> Reply {
        self.ask("POST", &format!("/v1/events{query}"), &[("Content-Type", media)], body.as_ref())
    }

    /// Sends a transfer and waits until it is decided.
    pub fn books(&self, id: &str, to: &str, amount: &str) {
        let said = self.post("?wait=booked&timeout_seconds=60", JSON, transfer(id, to, amount)).is(200);
        assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
    }

    /// Waits until a balance is shown.
    #[track_caller]
    pub fn shows(&self, account: &str, balance: &str) {
        let target = format!("/v1/accounts/{account}/balances");
        let shown = || (self.get(&target).json()["balances"][0]["balance"] == balance).then_some(());
        assert!(within(PATIENCE, shown).is_some(), "{:?}", self.get(&target));
    }
}

/// Where a process says that it listens.
fn address(running: &Running) -> String {
    let told = || {
        let err = running.err();
        let line = err.lines().find(|line| line.contains(": HTTP address="))?;
        Some(line.split_once("address=")?.1.trim().to_owned())
    };
    within(PATIENCE, told).unwrap_or_else(|| panic!("{}", running.err()))
}

pub const JSON: &str = "application/json";

pub fn transfer(id: &str, to: &str, amount: &str) -> String {
    let time = schemas::dates::format_instant(stream::clock::wall_us());
    let data = json!({"from": "funding:cash", "to": to, "asset": "CNY", "amount": amount});
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "transfer", "subject": to.rsplit_once(':').unwrap().0,
        "time": time, "data": data,
    })
    .to_string()
}

#[test]
fn events_go_in_and_their_outcomes_come_back() {
    let served = Served::new();
    let one = transfer("a-1", "users:1:wallet", "10.00");
    let said = served.post("?wait=booked", JSON, &one).is(200);
    assert_eq!(
        (said["accepted"].as_u64(), said["events"][0]["outcome"].as_str()),
        (Some(1), Some("booked")),
        "{said}"
    );
    assert_eq!(
        (said["events"][0]["id"].as_str(), said["events"][0]["lane"].as_u64()),
        (Some("a-1"), Some(1))
    );
    let array = format!("[{one}, {}]", transfer("a-2", "users:1:wallet", "2.50"));
    let said = served
        .post("?wait=booked&lane=0", "application/cloudevents-batch+json; charset=utf-8", array)
        .is(200);
    let outcomes: Vec<_> =
        said["events"].as_array().unwrap().iter().map(|event| event["outcome"].clone()).collect();
    assert_eq!(outcomes, ["duplicate", "booked"], "{said}");
    assert_eq!(said["events"][0]["original"], "booked");
    let spends = transfer("a-3", "users:2:wallet", "5000.00").replace("funding:cash", "users:1:wallet");
    let lines = format!("{}\n\n{spends}\n", transfer("a-4", "users:1:wallet", "0.50"));
    let said = served.post("?wait=booked", "application/x-ndjson", lines).is(200);
    assert_eq!(
        (said["events"][0]["outcome"].as_str(), said["events"][1]["outcome"].as_str()),
        (Some("booked"), Some("refused"))
    );
    assert!(said["events"][1]["reason"].as_str().unwrap().starts_with("insufficient_funds"), "{said}");
    let said = served.post("", JSON, transfer("a-5", "users:1:wallet", "1.00")).is(202);
    assert_eq!(said["events"][0]["outcome"], "accepted", "{said}");
    served.shows("users:1:wallet", "14.00");
    served.running.stop();
    served.company.is_whole();
}

#[test]
fn what_cannot_be_read_is_refused_whole() {
    let served = Served::new();
    let good = transfer("b-1", "users:1:wallet", "10.00");
    let said = served
        .post("", JSON, format!("[{good}, {{\"specversion\": \"1.0\"}}, 7]"))
        .problem(422, "invalid_events");
    let errors: Vec<_> = said["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| (e["index"].as_u64(), e["code"].as_str()))
        .collect();
    assert_eq!(errors, [(Some(1), Some("missing_field")), (Some(2), Some("not_json"))], "{said}");
    served.post("", JSON, "{\"specversion\":").problem(400, "malformed_body");
    served.post("", JSON, "").problem(400, "malformed_body");
    served.post("", "text/csv", &good).problem(415, "unsupported_media_type");
    let binary = [("Content-Type", JSON), ("ce-specversion", "1.0")];
    served.ask("POST", "/v1/events", &binary, b"{}").problem(415, "unsupported_media_type");
    served.post("?lane=3", JSON, &good).problem(400, "bad_parameter");
    served.post("?wait=booked&timeout_seconds=0", JSON, &good).problem(400, "bad_parameter");
    for (query, why) in [
        ("?lanes=1", "there is no parameter \"lanes\"; this address takes lane, wait, timeout_seconds"),
        ("?lane=300", "lane: found \"300\", expected 0, 1 or 2"),
        ("?wait=forever", "wait: found \"forever\", expected booked"),
        ("?wait=booked&timeout_seconds=soon", "timeout_seconds: found \"soon\", expected 1 to 60"),
    ] {
        assert_eq!(served.post(query, JSON, &good).problem(400, "bad_parameter")["detail"], why, "{query}");
    }
    served.post("", JSON, vec![b' '; (8 << 20) + 1]).problem(413, "too_large");
    served.post("", JSON, format!("[{}]", vec!["1"; 10_001].join(","))).problem(413, "too_large");
    let packed = [("Content-Type", "application/json"), ("Content-Encoding", "gzip")];
    let refused = served.ask("POST", "/v1/events", &packed, good.as_bytes());
    refused.problem(415, "unsupported_media_type");
    let long = good.replace("\"data\"", &format!("\"note\":\"{}\",\"data\"", "x".repeat(70_000)));
    let said = served.post("", JSON, long).problem(422, "invalid_events");
    assert_eq!(said["errors"][0]["code"], "too_large", "{said}");
    // Nothing of all that was taken.
    served.get("/v1/accounts/users:1:wallet/balances").problem(404, "not_found");
    assert_eq!(served.get("/v1/rejected").is(200)["rejected"], json!([]));
    served.running.stop();
}

#[test]
fn a_parameter_that_cannot_be_read_is_named_with_what_may_stand_there() {
    let served = Served::new();
    // What an address takes is told as its description has it.
    for operation in OPERATIONS {
        let path = ["{account}", "{id}", "{job}", "{position}"]
            .into_iter()
            .fold(operation.path.to_owned(), |path, part| path.replace(part, "users:1:wallet"));
        let said = served.get(&format!("{path}?none=1")).problem(400, "bad_parameter");
        let takes = match operation.parameters {
            [] => "none".to_owned(),
            of => of.join(", "),
        };
        let why = format!("there is no parameter \"none\"; this address takes {takes}");
        assert_eq!(said["detail"], why, "{path}");
    }
    for (target, why) in [
        ("/v1/accounts?limit=many", "limit: found \"many\", expected 1 to 10000"),
        ("/v1/channels?from=-1", "from: found \"-1\", expected the number of a partition"),
        ("/v1/accounts/%ff/balances", "a part of the address is not UTF-8, once its %XX are read"),
        ("/v1/balances/changes?since=1", "there is no parameter \"since\"; this address takes account"),
    ] {
        assert_eq!(served.get(target).problem(400, "bad_parameter")["detail"], why, "{target}");
    }
    served.running.stop();
}

#[test]
fn addresses_methods_and_parameters_that_are_none_are_told() {
    let served = Served::new();
    served.get("/v1/nothing").problem(404, "not_found");
    served.ask("DELETE", "/v1/days", &[], b"").problem(405, "method_not_allowed");
    for target in [
        "/v1/accounts?limit=0",
        "/v1/accounts?limit=many",
        "/v1/accounts?after=x",
        "/v1/accounts?page=2",
        "/v1/accounts/users:1:wallet/balances?as_of=yesterday",
        "/v1/accounts/users:1:wallet/entries?after=7",
        "/v1/accounts/no%20account",
        "/v1/accounts/no%20account/balances",
        "/v1/accounts/%ff/balances",
        "/v1/breaks?kind=odd",
        "/v1/holds?account=users::wallet",
        "/v1/rejected?reason=odd",
        "/v1/rejected/first",
        "/v1/days?limit=1",
    ] {
        served.get(target).problem(400, "bad_parameter");
    }
    // No id, one of fewer partitions, one beyond the end of all of them.
    let beyond = ["9999999"; 4].join("-");
    for last in ["x", "0", &beyond] {
        served
            .ask("GET", "/v1/balances/changes", &[("Last-Event-ID", last)], b"")
            .problem(400, "bad_parameter");
    }
    for account in ["", "users::wallet", "us*ers", "users:1:wallet%20"] {
        served.get(&format!("/v1/balances/changes?account={account}")).problem(400, "bad_parameter");
    }
    for target in ["/v1/accounts/users:9:wallet/balances", "/v1/events/none", "/v1/rejected/0@99"] {
        served.get(target).problem(404, "not_found");
    }
    let entries = |asset: &str| {
        let said = served.get(&format!("/v1/accounts/users:9:wallet/entries?asset={asset}"));
        said.problem(404, "not_found")["detail"].as_str().unwrap().to_owned()
    };
    assert_eq!(entries("XXX"), "asset \"XXX\" is not known; known are BTC, CNY, EUR, JPY, POINTS, USD, USDT");
    assert_eq!(entries("CNY"), "no entry of users:9:wallet in CNY");
    assert_eq!(served.get("/livez").is(200), json!({"status": "alive"}));
    served.running.stop();
}

/// Whether a member is what the description says.
fn is(value: &Value, kind: Is) -> bool {
    let amount = |value: &Value| value.as_str().is_some_and(|text| text.parse::<f64>().is_ok());
    match kind {
        Is::Text => value.is_string(),
        Is::MaybeText => value.is_string() || value.is_null(),
        Is::Amount => amount(value),
        Is::MaybeAmount => amount(value) || value.is_null(),
        Is::Number => value.is_i64(),
        Is::MaybeNumber => value.is_i64() || value.is_null(),
        Is::Flag => value.is_boolean(),
    }
}

#[track_caller]
pub fn has_columns(rows: &Value, columns: Columns) {
    let rows = rows.as_array().unwrap();
    assert!(!rows.is_empty(), "nothing to compare with {columns:?}");
    for row in rows {
        let names: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, columns.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (name, kind) in columns {
            assert!(is(&row[name], *kind), "{name} of {row} is not {kind:?}");
        }
    }
}

/// An adjustment that waits, a payment of which a part is given back, and a case in suspense: what came from elsewhere for an account that was frozen.
fn four_eyes(served: &Served) {
    let propose = "adjustments propose --id p-1 --debit platform:revenue:commission --credit merchants:7:payable \
                   --asset CNY --amount 3.00 --reason wrong";
    served.company.cli(&propose.split_whitespace().collect::<Vec<_>>()).ends(0);
    let sent = |id: &str, kind: &str, key: &str, data: Value| {
        let time = "2026-11-22T12:30:00Z";
        let event = json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "partitionkey": key,
            "time": time, "data": data });
        served.post("?wait=booked", JSON, event.to_string()).is(200)
    };
    let payable = json!({
        "event": "c-3", "from": "merchants:7:payable", "to": "platform:revenue:commission", "asset": "CNY", "amount": "1.00",
    });
    let limited = json!({ "account": "users:9:wallet", "asset": "CNY", "overdraft": "5.00" });
    sent("l-1", "account.limited", "users:9", limited);
    sent("b-1", "event.refunded", "orders:order-2", payable);
    sent("f-1", "account.frozen", "users:9", json!({ "account": "users:9:wallet" }));
    for n in 0..12 {
        let data =
            json!({ "from": "funding:cash", "to": "users:9:wallet", "asset": "CNY", "amount": "2.00" });
        sent(&format!("f-1-{n}"), "transfer", &format!("k-{n}"), data);
    }
    let lies = || served.get("/v1/suspense").json()["suspense"].as_array().is_some_and(|all| !all.is_empty());
    assert!(within(PATIENCE, || lies().then_some(())).is_some(), "{:?}", served.get("/v1/suspense"));
}

/// A closed day with entries, a bill's break and an event that was not booked; the next day runs.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of operations")]
fn every_operation_answers_as_it_is_described() {
    let company = Company::with("http: {listen: 127.0.0.1:0}\n");
    // Nothing is known of the first day on the next one.
    let ids = "posting: {id_days: 1, id_days_kept: 1}\ningest: {tick_ms: 100, future_seconds_max: 86400}\n";
    let clock = format!("{ids}business_clock: {{mode: offset, at: '2026-11-21T12:00:00Z'}}\n");
    company.write("ledgerflow.yaml", format!("http: {{listen: 127.0.0.1:0}}\n{clock}"));
    let served = Served::with(company);
    let at = |id: &str| {
        transfer(id, "users:1:wallet", "1.00")
            .replace(&schemas::dates::format_instant(stream::clock::wall_us())[..10], "2026-11-21")
    };
    let mut first: Value = serde_json::from_str(&at("c-1")).unwrap();
    first["data"]["job_id"] = "trip-1".into();
    served.post("?wait=booked", JSON, first.to_string()).is(200);
    let mut held: Value = serde_json::from_str(&at("c-4")).unwrap();
    held["type"] = "hold.placed".into();
    held["data"] = json!({ "account": "users:1:wallet", "asset": "CNY", "amount": "0.40" });
    served.post("?wait=booked", JSON, held.to_string()).is(200);
    let holds = served.get("/v1/holds?account=users:1:").is(200);
    let funds = json!([{
        "account": "users:1:wallet", "asset": "CNY", "balance": "1.00", "on_hold": "0.40", "available": "0.60",
    }]);
    assert_eq!((&holds["funds"], &holds["holds"][0]["event"]), (&funds, &json!("c-4")), "{holds}");
    assert_eq!(served.get("/v1/holds?account=users:2:").is(200)["holds"], json!([]));
    let mut said: Value = serde_json::from_str(&at("c-5")).unwrap();
    said["type"] = "account.described".into();
    said["data"] = json!({ "account": "users:1:wallet", "metadata": { "tier": "gold", "note": "a b" } });
    served.post("?wait=booked", JSON, said.to_string()).is(200);
    let account = served.get("/v1/accounts/users:1:wallet").is(200);
    let metadata = json!([{ "key": "note", "value": "a b" }, { "key": "tier", "value": "gold" }]);
    assert_eq!(account["metadata"], metadata, "{account}");
    assert_eq!(account["account"][0]["closed"], json!(false), "{account}");
    assert_eq!(served.get("/v1/accounts/users:2:wallet").is(200)["metadata"], json!([]));
    assert_eq!(served.get("/v1/accounts/nobody:1").is(200)["account"], json!([]));
    served.post("?wait=booked", JSON, at("c-2").replace("CNY", "XXX")).is(200);
    let data = json!({
        "order_id": "order-2", "merchant_id": "7", "provider": "wechat", "provider_account": ledgerflow_tests::bill::ACCOUNT,
        "currency": "CNY", "amount": "12.50", "fee": "0.08",
    });
    let mut paid: Value = serde_json::from_str(&at("c-3")).unwrap();
    (paid["type"], paid["subject"], paid["data"]) = ("order.paid".into(), "orders:order-2".into(), data);
    served.post("?wait=booked", JSON, paid.to_string()).is(200);
    let rows = ["order-1", "order-2"].map(|order| ledgerflow_tests::bill::BillRow {
        time: "2026-11-21 20:00:00".to_owned(),
        order: order.to_owned(),
        refund: None,
        cents: 1_250,
        fee_cents: 8,
    });
    let bill = served.company.write("bill.csv", ledgerflow_tests::bill::text(&rows));
    served.company.cli(&["bill", &bill.display().to_string()]).ends(0);
    let broken = || (served.get("/v1/breaks").json()["breaks"].as_array()?.len() == 1).then_some(());
    assert!(within(PATIENCE, broken).is_some(), "{:?}", served.get("/v1/breaks"));
    let matched =
        || (served.get("/v1/events/c-3").json()["reconciliation"][0]["kind"] == "matched").then_some(());
    assert!(within(PATIENCE, matched).is_some(), "{:?}", served.get("/v1/events/c-3"));
    let Served { company, running, .. } = served;
    running.stop();
    company.write(
        "ledgerflow.yaml",
        format!("http: {{listen: 127.0.0.1:0}}\n{}", clock.replace("-21T12", "-22T13")),
    );
    let served = Served::with(company);
    let closed = || (served.get("/v1/days").json()["days"][0]["state"] == "CLOSED").then_some(());
    assert!(within(PATIENCE, closed).is_some(), "{:?}", served.get("/v1/days"));
    four_eyes(&served);
    let mut old: Value = serde_json::from_str(&at("old-1")).unwrap();
    old["time"] = "2026-11-20T10:00:00Z".into();
    served.post("", JSON, old.to_string()).is(202);
    let parked = || (served.get("/v1/parked").json()["parked"][0]["event"] == "old-1").then_some(());
    assert!(within(PATIENCE, parked).is_some(), "{:?}", served.get("/v1/parked"));
    let document = served.get("/openapi.json").is(200);
    assert_eq!(document, openapi::document());
    let mut seen = BTreeSet::new();
    for operation in OPERATIONS {
        let path = operation.path.replace("{account}", "users:1:wallet");
        let path = path.replace("{id}", "c-3").replace("{job}", "trip-1");
        let targets = match operation.path {
            "/v1/accounts" => vec![path.clone(), format!("{path}?status=frozen")],
            "/v1/accounts/{account}/balances" => vec![path.clone(), format!("{path}?as_of=2026-11-21")],
            _ => vec![path.replace("{position}", "0@0")],
        };
        let targets = if operation.path == "/v1/rejected/{position}" {
            let at =
                served.get("/v1/rejected").is(200)["rejected"][0]["position"].as_str().unwrap().to_owned();
            vec![operation.path.replace("{position}", &at)]
        } else {
            targets
        };
        for target in targets {
            let said = served.get(&target).is(200);
            assert_eq!(said.get("next").is_some(), operation.pages, "{target}: {said}");
            assert!(said.get("wrong").is_none(), "{target}: {said}");
            for (title, columns) in operation.tables {
                let name = title.trim_start_matches('?').replace(' ', "_");
                if let Some(rows) = said.get(&name) {
                    has_columns(rows, columns);
                    seen.insert(name);
                } else {
                    assert!(title.starts_with('?'), "{target} has no {name}: {said}");
                }
            }
        }
    }
    let all: BTreeSet<String> = OPERATIONS
        .iter()
        .flat_map(|operation| operation.tables)
        .map(|(title, _)| title.trim_start_matches('?').replace(' ', "_"))
        .collect();
    assert_eq!(seen, all);
    has_columns(&served.get("/readyz").is(200)["stages"], READY);
    served.running.stop();
}

#[test]
fn pages_hold_everything_once() {
    let served = Served::new();
    let many: Vec<String> =
        (0..40).map(|n| transfer(&format!("d-{n}"), &format!("users:{}:wallet", n % 7), "1.00")).collect();
    served.post("?wait=booked&timeout_seconds=60", "application/x-ndjson", many.join("\n")).is(200);
    served.shows("users:0:wallet", "6.00");
    served.shows("users:6:wallet", "5.00");
    let pages = |path: &str, title: &str, more: &str| {
        let (mut rows, mut next) = (Vec::new(), None::<String>);
        loop {
            let after = next.map(|next| format!("&after={}", next.replace('#', "%23"))).unwrap_or_default();
            let said = served.get(&format!("{path}?limit=3{more}{after}")).is(200);
            rows.extend(said[title].as_array().unwrap().clone());
            next = said["next"].as_str().map(str::to_owned);
            if next.is_none() {
                return rows;
            }
        }
    };
    let whole = served.get("/v1/accounts?limit=10000").is(200);
    assert_eq!(whole["next"], Value::Null);
    assert_eq!(pages("/v1/accounts", "accounts", ""), *whole["accounts"].as_array().unwrap());
    let users = pages("/v1/accounts", "accounts", "&prefix=users:");
    assert_eq!(users.len(), 7);
    // The cash account is one of the ledger's own: it has a balance on every partition that paid from it.
    for account in ["users:0:wallet", "funding:cash"] {
        let path = format!("/v1/accounts/{account}/entries");
        let whole = served.get(&format!("{path}?limit=10000")).is(200);
        let whole = whole["entries"].as_array().unwrap();
        assert!(whole.len() >= 6, "{whole:?}");
        assert_eq!(pages(&path, "entries", ""), *whole, "{account}");
        assert_eq!(pages(&path, "entries", "&asset=CNY"), *whole, "{account}");
    }
    served.running.stop();
}

#[test]
fn a_token_may_do_what_its_line_says() {
    let company = Company::with("");
    let (made, tokens) = company.tokens(&[("shop", "send"), ("desk", "read")]);
    let [sender, reader] = made.try_into().unwrap();
    assert!(!std::fs::read_to_string(&tokens).unwrap().contains(&sender));
    company
        .write("ledgerflow.yaml", format!("http: {{listen: 127.0.0.1:0, tokens: {}}}\n", tokens.display()));
    let mut served = Served::with(company);
    let event = transfer("e-1", "users:1:wallet", "1.00");
    served.get("/livez").is(200);
    served.get("/readyz").is(200);
    let refused = served.get("/v1/days");
    assert!(refused.headers.contains("www-authenticate: bearer"), "{refused:?}");
    refused.problem(401, "unauthorized");
    served.post("", JSON, &event).problem(401, "unauthorized");
    served.client.token = Some("0".repeat(64));
    served.get("/v1/days").problem(401, "unauthorized");
    served.client.token = Some(sender);
    served.post("?wait=booked", JSON, &event).is(200);
    served.get("/v1/days").problem(403, "forbidden");
    served.client.token = Some(reader);
    served.get("/v1/days").is(200);
    served.post("", JSON, &event).problem(403, "forbidden");
    served.running.stop();
    served.company.write("tokens.yaml", "tokens: [{name: a, sha256: 12, may: [read]}]\n");
    let said = served.company.cli(&["run"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("tokens.yaml") && said.err.contains("64 hex digits"), "{}", said.err);
}

#[test]
fn who_stands_still_keeps_nobody_else_out_for_long() {
    let served = Served::with(Company::with("http: {listen: 127.0.0.1:0, connections_max: 2}\n"));
    let mut slow = TcpStream::connect(&served.client.address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(
        b"POST /v1/events HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{",
    )
    .unwrap();
    let idle = TcpStream::connect(&served.client.address).unwrap();
    // Both places are taken: this one is answered when one of them is free.
    let mut third = served.open("GET", "/livez", &[], b"");
    drop(idle);
    let mut line = String::new();
    third.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");
    // A body that does not come is given up.
    let mut told = String::new();
    slow.read_to_string(&mut told).unwrap();
    assert!(told.starts_with("HTTP/1.1 408") && told.contains("\"code\":\"timeout\""), "{told}");
    served.running.stop();
}

/// Reads one answer from a connection that stays open.
fn next_reply(from: &mut BufReader<TcpStream>) -> (u16, String) {
    let mut head = Vec::new();
    while head.last().is_none_or(|line: &String| line != "\r\n") {
        let mut line = String::new();
        assert!(from.read_line(&mut line).unwrap() > 0, "{head:?}");
        head.push(line.to_lowercase());
    }
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap().trim();
    let mut body = vec![0; length.parse().unwrap()];
    from.read_exact(&mut body).unwrap();
    (head[0].split(' ').nth(1).unwrap().parse().unwrap(), String::from_utf8(body).unwrap())
}

/// Soft and hard limit of open files of a process.
fn files_max(running: &Running) -> [u64; 2] {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", running.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut numbers = line.split_whitespace().map(|number| number.parse().unwrap_or(u64::MAX));
    [numbers.next().unwrap(), numbers.next().unwrap()]
}

#[test]
fn a_process_has_as_many_files_as_it_may_and_is_not_ready_without_any() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let company = Company::with("http: {listen: 127.0.0.1:0}\n");
    let running = company.run_limited("-S -n 200");
    let [soft, hard] = files_max(&running);
    assert!(soft == hard && hard > 200, "{soft} {hard}");
    let client = Client::of(&running);
    let mut kept = BufReader::new(TcpStream::connect(&client.address).unwrap());
    kept.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    let mut asks = || {
        kept.get_mut().write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        next_reply(&mut kept)
    };
    let becomes = |asks: &mut dyn FnMut() -> (u16, String), status: u16, told: &str| {
        let mut last = (0, String::new());
        let found = within(PATIENCE, || {
            last = asks();
            (last.0 == status && last.1.contains(told)).then_some(())
        });
        assert!(found.is_some(), "{status} {told:?}, not {last:?}");
    };
    becomes(&mut asks, 200, "ready");
    let limited = |files: u64| {
        let limit = Rlimit { current: Some(files), maximum: Some(hard) };
        prlimit(Pid::from_raw(i32::try_from(running.pid()).unwrap()), Resource::Nofile, limit).unwrap();
    };
    // Whoever comes now is not taken.
    limited(3);
    becomes(&mut asks, 503, "no file can be opened in ");
    let waiting = TcpStream::connect(&client.address).unwrap();
    becomes(&mut asks, 503, "no connection can be taken: ");
    limited(hard);
    becomes(&mut asks, 200, "ready");
    drop(waiting);
    running.stop();
}

#[test]
fn an_address_that_is_taken_is_told_before_books_are_opened() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let company = Company::with(&format!("http: {{listen: '{address}'}}\n"));
    let said = company.cli(&["run"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(said.err.contains(&format!("http.listen: {address}")), "{}", said.err);
    assert!(!company.books().exists(), "books were made");
}

/// The next event of a stream: its id, its data.
pub fn next_change(stream: &mut BufReader<TcpStream>) -> (String, Value) {
    let (mut id, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(stream.read_line(&mut line).unwrap() > 0, "the stream ended");
        if let Some(of) = line.trim_end().strip_prefix("id: ") {
            of.clone_into(&mut id);
        }
        if let Some(data) = line.trim_end().strip_prefix("data: ") {
            return (id, serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn changes_come_as_they_happen_and_none_is_missed() {
    let served = Served::new();
    served.books("f-0", "users:1:wallet", "1.00");
    served.shows("users:1:wallet", "1.00");
    let watch = |last: Option<&str>| {
        let headers: Vec<_> = last.map(|last| ("Last-Event-ID", last)).into_iter().collect();
        let mut stream = served.open("GET", "/v1/balances/changes?account=users:*", &headers, b"");
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        assert!(line.contains("200"), "{line}");
        stream
    };
    let mut stream = watch(None);
    served.books("f-1", "users:1:wallet", "1.00");
    let (id, change) = next_change(&mut stream);
    assert_eq!(
        (change["account"].as_str(), change["balance"].as_str()),
        (Some("users:1:wallet"), Some("2.00"))
    );
    drop(stream);
    served.books("f-2", "users:2:wallet", "5.00");
    served.books("f-3", "users:1:wallet", "1.00");
    let mut stream = watch(Some(&id));
    let mut missed: Vec<_> =
        (0..2).map(|_| next_change(&mut stream).1["balance"].as_str().unwrap().to_owned()).collect();
    missed.sort();
    assert_eq!(missed, ["3.00", "5.00"]);
    // Open streams do not keep the process from ending.
    served.running.stop();
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    served.company.is_whole();
}

/// What leaves the process waits for the disk: here it is synced only when the test says so.
#[test]
fn a_change_is_shown_once_it_is_on_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let variables =
        [("LOG__SYNC_INTERVAL_MS", "10000"), ("HTTP__LISTEN", "127.0.0.1:0"), ("INGEST__TICK_MS", "100")];
    let variables = variables.map(|(name, value)| (format!("LEDGERFLOW_{name}"), value.to_owned()));
    let dir = [("log.dir", "--dir", folder.path().join("books").display().to_string())];
    let (settings, _) = ledgerflow::config::load(None, variables, &dir).unwrap();
    let (books, _) = ledgerflow::serve::start(&settings).unwrap();
    let books = Arc::new(books);
    let (log, asked) = (books.embedded.clone().unwrap(), Arc::clone(&books));
    let bound = Bound::new(&settings.http).unwrap().unwrap();
    let source: Source = Arc::new(move || Ok(Arc::clone(&asked)));
    let server = Server::start(bound, &settings.http, source, folder.path()).unwrap();
    let client = Client { address: server.address().to_string(), token: None };
    let mut stream = client.open("GET", "/v1/balances/changes?account=users:*", &[], b"");
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    assert!(line.contains("200"), "{line}");
    let (shown, changes) = mpsc::channel();
    let durable = Arc::clone(&log);
    let reader = std::thread::spawn(move || {
        let (_, change) = next_change(&mut stream);
        shown.send((change["balance"].clone(), durable.durable())).unwrap();
    });
    let lane = TopicPartition::new(Topic::Events0, 0);
    let event = transfer("f-0", "users:1:wallet", "1.00");
    let written = log.append(vec![OutRecord::new(lane, event.into())]).unwrap();
    // A stream that does not wait shows it within this time; one that waits needs the sync.
    let (balance, durable) = changes.recv_timeout(Duration::from_secs(3)).unwrap_or_else(|_| {
        log.sync().unwrap();
        changes.recv_timeout(PATIENCE).unwrap()
    });
    assert_eq!(balance, "1.00");
    assert!(written <= durable, "commit {written} is shown, up to {durable} all is durable");
    reader.join().unwrap();
    drop(server);
    assert!(books.pipeline().unwrap().stop(PATIENCE).unwrap().is_empty());
}

#[test]
fn the_page_on_http_says_what_it_says() {
    let served = Served::new();
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/http.md")).unwrap();
    assert!(run_examples_at(&page, &served.company.path(""), &served.address) >= 8);
    for kind in ledgerflow::http::ProblemKind::ALL {
        let row = format!("| `{}` | {} | {} |", kind.code(), kind.status().as_u16(), kind.title());
        assert!(page.contains(&row), "docs/http.md has no line {row}");
    }
    let document = ledgerflow::http::openapi::document();
    for path in document["paths"].as_object().unwrap().keys() {
        assert!(page.contains(path), "docs/http.md does not say {path}");
    }
    served.running.stop();
}
