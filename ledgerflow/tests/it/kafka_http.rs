//! The HTTP API over topics on a broker, served by a process that runs no processor.

use crate::company::{PATIENCE, within};
use crate::http::{Client, JSON, next_change, transfer};
use crate::kafka::OnKafka;
use rustix::process::Signal;
use serde_json::{Value, json};

/// A job is given back by the command line, which runs no processor either, and by the gateway.
fn gives_jobs_back(on: &OnKafka, client: &Client) {
    for (n, job) in ["k-1", "k-2"].into_iter().enumerate() {
        let event = |id: String, from: &str, to: &str| {
            let mut event: Value = serde_json::from_str(&transfer(&id, "users:1:wallet", "1.00")).unwrap();
            event["data"] =
                json!({ "from": from, "to": to, "asset": "CNY", "amount": "1.00", "job_id": job });
            event.to_string()
        };
        let events = [
            event(format!("{job}-a"), "funding:cash", "users:1:wallet"),
            event(format!("{job}-b"), "users:1:wallet", "users:2:wallet"),
        ];
        for event in &events {
            let said = client.post("?wait=booked&timeout_seconds=60", JSON, event).is(200);
            assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
        }
        if n == 0 {
            let said = on.company.cli(&["reverse", "job", job, "-o", "json"]).ends(0).json();
            assert!(said.as_array().unwrap().iter().all(|row| row["state"] == "reversed"), "{said}");
        } else {
            let done = within(PATIENCE, || {
                let said = client.ask("POST", &format!("/v1/jobs/{job}/reversal"), &[], b"").json();
                let rows = said["reversal"].as_array()?.clone();
                rows.iter().all(|row| row["state"] == "reversed").then_some(())
            });
            assert!(done.is_some());
        }
    }
}

#[test]
fn a_gateway_sends_and_answers_over_all_partitions() {
    let on = OnKafka::with("http: {listen: 127.0.0.1:0}\n");
    let mut processes = on.processes();
    let gateway = on.company.begin(&["http"]);
    let client = Client::of_ready(&gateway);
    client.get("/livez").is(200);
    assert_eq!(client.get("/readyz").is(200), json!({"stages": [], "status": "ready"}));
    let mut changes = client.open("GET", "/v1/balances/changes?account=users:*", &[], b"");
    let events: Vec<String> =
        (0..9).map(|n| transfer(&format!("g-{n}"), &format!("users:{n}:wallet"), "1.00")).collect();
    let said =
        client.post("?wait=booked&timeout_seconds=60", "application/x-ndjson", events.join("\n")).is(200);
    assert!(said["events"].as_array().unwrap().iter().all(|event| event["outcome"] == "booked"), "{said}");
    for user in 0..9 {
        client.shows(&format!("users:{user}:wallet"), "1.00");
    }
    let mut seen: Vec<_> =
        (0..9).map(|_| next_change(&mut changes).1["account"].as_str().unwrap().to_owned()).collect();
    seen.sort();
    assert_eq!(seen, (0..9).map(|user| format!("users:{user}:wallet")).collect::<Vec<_>>());
    // Another owner of all slots changes nothing for who reads.
    processes.remove("settlement").unwrap().signal(Signal::KILL);
    processes.insert("settlement", on.company.ready(on.company.process("two", "settlement", None)));
    client.books("g-9", "users:0:wallet", "2.00");
    client.shows("users:0:wallet", "3.00");
    let whole =
        || (client.get("/v1/trial-balance").json()["trial_balance"][0]["difference"] == "0.00").then_some(());
    assert!(within(PATIENCE, whole).is_some());
    let shown = client.get("/v1/accounts?prefix=users:").is(200);
    let balances: Vec<_> =
        shown["accounts"].as_array().unwrap().iter().map(|row| row["balance"].clone()).collect();
    assert_eq!(balances, ["3.00", "1.00", "1.00", "1.00", "1.00", "1.00", "1.00", "1.00", "1.00"]);
    let again = client.post("?wait=booked&timeout_seconds=60", JSON, &events[3]).is(200);
    assert_eq!(
        (again["events"][0]["outcome"].as_str(), again["events"][0]["original"].as_str()),
        (Some("duplicate"), Some("booked"))
    );
    gives_jobs_back(&on, &client);
    client.shows("users:1:wallet", "1.00");
    client.shows("users:2:wallet", "1.00");
    gateway.stop();
}

#[test]
fn a_gateway_is_not_ready_while_the_cluster_is_away() {
    let on = OnKafka::with("http: {listen: 127.0.0.1:0}\n");
    on.broker().signal("STOP");
    let gateway = on.company.begin(&["http"]);
    let client = Client::of(&gateway);
    client.get("/livez").is(200);
    let said = client.get("/readyz").is(503);
    assert!(said["detail"].as_str().unwrap().starts_with("the cluster has not answered yet"), "{said}");
    on.broker().signal("CONT");
    client.becomes_ready(&gateway);
    on.broker().signal("STOP");
    let away = within(PATIENCE, || Some(client.get("/readyz")).filter(|said| said.status() == 503));
    on.broker().signal("CONT");
    let said = away.unwrap_or_else(|| panic!("{}", gateway.err())).is(503);
    assert!(!said["detail"].as_str().unwrap().is_empty(), "{said}");
    client.becomes_ready(&gateway);
    gateway.stop();
}

/// Its body is on its way when the signal comes.
#[test]
fn a_gateway_that_is_stopped_answers_what_is_under_way() {
    let on = OnKafka::with("http: {listen: 127.0.0.1:0}\n");
    let mut gateway = on.company.begin(&["http"]);
    let client = Client::of_ready(&gateway);
    let event = transfer("s-1", "users:1:wallet", "1.00");
    let (first, rest) = event.split_at(event.len() / 2);
    let under_way = client.begin_post(event.len(), first);
    gateway.signal(Signal::TERM);
    assert!(within(PATIENCE, || client.refuses().then_some(())).is_some(), "{}", gateway.err());
    let said = client.end_post(under_way, rest).is(202);
    assert_eq!(said["events"][0]["outcome"], "accepted", "{said}");
    let ended = gateway.wait(std::time::Duration::from_secs(10));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", gateway.err());
}

#[test]
fn a_gateway_without_an_address_is_refused() {
    let on = OnKafka::new();
    let said = on.company.cli(&["http"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("http.listen: found nothing"), "{}", said.err);
}
