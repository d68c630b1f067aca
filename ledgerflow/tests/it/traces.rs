//! Traces of the running program: one from the call to the balance, whichever partitions the event goes through.

use crate::collector::{Came, Collector};
use crate::company::{Company, PATIENCE, within};
use crate::http::{Client, JSON, transfer};
use serde_json::Value;
use std::net::TcpListener;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-00f067aa0ba902b7-{flags}")
}

fn company(collector: &str, sample: u32) -> Company {
    company_with(collector, sample, 65_536)
}

/// The same with another limit of an event's bytes.
fn company_with(collector: &str, sample: u32, event_bytes_max: usize) -> Company {
    Company::with(&format!(
        "http: {{listen: 127.0.0.1:0}}\ningest: {{tick_ms: 100, event_bytes_max: {event_bytes_max}}}\nlog: {{sync_interval_ms: 5}}\n\
         traces: {{endpoint: '{collector}', sample: {sample}}}\nshutdown_seconds: 30\n"
    ))
}

fn post(client: &Client, headers: &[(&str, &str)], body: &str) -> Value {
    let headers = [&[("Content-Type", JSON)], headers].concat();
    client.ask("POST", "/v1/events?wait=booked&timeout_seconds=60", &headers, body.as_bytes()).is(200)
}

/// Spans of an event's trace once there are so many.
#[track_caller]
fn traced(collector: &Collector, event: &str, count: usize) -> Vec<Came> {
    let of_event = || {
        let all = collector.spans();
        let trace = &all.iter().find(|span| span.says("cloudevents.event_id") == event)?.trace;
        let spans: Vec<Came> = all.iter().filter(|span| span.trace == *trace).cloned().collect();
        (spans.len() >= count).then_some(spans)
    };
    let spans = within(PATIENCE, of_event).unwrap_or_else(|| panic!("{event}: {:#?}", collector.spans()));
    assert_eq!(spans.len(), count, "{spans:#?}");
    spans
}

/// The spans from the one with this parent on, each line the depth, the scope, the name and the outcome, children by name:
/// what runs at the same time may begin in any order. On the way every child is held against its parent.
fn tree(spans: &[Came], parent: &str, depth: usize, lines: &mut Vec<String>) {
    let mut children: Vec<&Came> = spans.iter().filter(|span| span.parent == parent).collect();
    children.sort_by_key(|span| span.name.clone());
    for child in children {
        assert!(child.begun_ns <= child.ended_ns && child.begun_ns > 0, "{child:?}");
        if let Some(of) = spans.iter().find(|span| span.id == parent) {
            assert!(of.begun_ns <= child.begun_ns, "{of:?} {child:?}");
        }
        lines.push(format!("{depth} {} {} {}", child.scope, child.name, child.says("ledgerflow.outcome")));
        tree(spans, &child.id, depth + 1, lines);
    }
}

fn tree_of(spans: &[Came], root: &str) -> Vec<String> {
    let mut lines = Vec::new();
    tree(spans, root, 0, &mut lines);
    assert_eq!(lines.len(), spans.len(), "a span without its parent: {spans:#?}");
    lines
}

#[test]
fn one_trace_goes_from_the_call_to_the_balance() {
    let collector = Collector::start();
    let company = company(&collector.url(), 1_000_000);
    let running = company.run();
    let client = Client::of(&running);
    // A leg in another partition than that of the payee, who is at home.
    let said = post(&client, &[], &transfer("t-1", "users:42:wallet", "100.00"));
    assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
    let spans = traced(&collector, "t-1", 7);
    assert_eq!(
        tree_of(&spans, ""),
        [
            "0 http POST /v1/events ",
            "1 http send events.p1 ",
            "2 ingest process events.p1 forwarded",
            "3 posting process commands booked",
            "4 posting process credits booked",
            "5 settlement process journal ",
            "4 settlement process journal ",
        ]
        .map(str::to_owned),
    );
    // Home is not where the payer is, who alone may refuse: home asks, and the payer's partition decides.
    let pays = transfer("t-2", "users:7:wallet", "12.50").replace("funding:cash", "users:42:wallet");
    let said = post(&client, &[("traceparent", &traceparent("01"))], &pays);
    assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
    let spans = traced(&collector, "t-2", 8);
    assert!(spans.iter().all(|span| span.trace == TRACE && span.service == "ledgerflow"), "{spans:#?}");
    assert_eq!(
        tree_of(&spans, "00f067aa0ba902b7"),
        [
            "0 http POST /v1/events ",
            "1 http send events.p1 ",
            "2 ingest process events.p1 forwarded",
            "3 posting process commands pending",
            "4 posting process credits booked",
            "5 posting process credits booked",
            "6 settlement process journal ",
            "5 settlement process journal ",
        ]
        .map(str::to_owned),
    );
    for span in &spans {
        let said = span.attributes.values().any(|value| value.contains("12.5") || value.contains("wallet"));
        assert!(!said, "an amount or an account: {span:?}");
        if span.scope != "http" {
            assert_eq!(span.says("messaging.operation.type"), "process");
            assert!(span.says("ledgerflow.batch").parse::<u64>().unwrap() > 0, "{span:?}");
        }
    }
    running.stop();
    company.is_whole();
}

#[test]
fn what_is_not_sampled_is_not_told_and_goes_on_with_the_event() {
    let collector = Collector::start();
    let company = company(&collector.url(), 0);
    let running = company.run();
    let client = Client::of(&running);
    post(&client, &[], &transfer("u-1", "users:1:wallet", "1.00"));
    post(&client, &[("traceparent", "00-malformed-01")], &transfer("u-2", "users:1:wallet", "1.00"));
    // Too much for the wallet: refusals carry the context on.
    let spends = transfer("u-3", "users:2:wallet", "5000.00").replace("funding:cash", "users:1:wallet");
    let said = post(&client, &[("traceparent", &traceparent("00"))], &spends);
    assert_eq!(said["events"][0]["outcome"], "refused", "{said}");
    // The event's own context, where the call has none.
    let own = format!(r#"{{"traceparent":"{}","#, traceparent("01"));
    post(&client, &[], &transfer("u-4", "users:42:wallet", "1.00").replacen('{', &own, 1));
    let spans = traced(&collector, "u-4", 6);
    assert_eq!(tree_of(&spans, "00f067aa0ba902b7")[0], "0 http send events.p1 ");
    let posted = within(PATIENCE, || {
        let rows = company.cli(&["rejected", "list", "-o", "json"]).ends(0).json();
        Some(rows[0]["position"].as_str()?.to_owned())
    });
    let shown = company.cli(&["rejected", "show", &posted.unwrap(), "-o", "json"]).ends(0).out;
    assert!(shown.contains(&traceparent("00")), "{shown}");
    running.stop();
    let told: Vec<Came> = collector.spans();
    assert!(told.iter().all(|span| span.says("cloudevents.event_id") == "u-4"), "{told:#?}");
}

/// Value of a metric in the process's own words.
fn metric(client: &Client, name: &str) -> u64 {
    let text = client.get("/metrics").text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{text}"));
    value.trim().parse().unwrap()
}

#[test]
fn without_a_collector_nothing_waits_and_what_is_dropped_is_counted() {
    // A port where nobody listens, for as long as it is held.
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let company = company(&format!("http://{}", held.local_addr().unwrap()), 1_000_000);
    drop(held);
    let running = company.run();
    let client = Client::of(&running);
    for number in 0..20 {
        let said = post(&client, &[], &transfer(&format!("w-{number}"), "users:1:wallet", "1.00"));
        assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
    }
    let dropped = || {
        let dropped = metric(&client, "ledgerflow_trace_spans_dropped_total{cause=\"collector\"}");
        (dropped > 0).then_some(())
    };
    assert!(within(PATIENCE, dropped).is_some(), "{}", running.err());
    assert_eq!(metric(&client, "ledgerflow_trace_spans_exported_total"), 0);
    let told = || running.err().contains("the collector takes no spans").then_some(());
    assert!(within(PATIENCE, told).is_some(), "{}", running.err());
    running.stop();
    company.is_whole();
}

/// The limit counts headers: with one more an event that was taken would be too large.
#[test]
fn an_event_that_has_no_room_for_the_header_goes_without() {
    let collector = Collector::start();
    let fits = transfer("x", "users:42:wallet", "1.00");
    let full = fits.replace("\"x\"", "\"xx\"");
    let header = "traceparent".len() + traceparent("01").len();
    let company = company_with(&collector.url(), 1_000_000, fits.len() + header);
    let running = company.run();
    let client = Client::of(&running);
    for event in [&full, &fits] {
        assert_eq!(post(&client, &[], event)["events"][0]["outcome"], "booked");
    }
    let of_event = |span: &Came| span.says("cloudevents.event_id") == "x";
    let told =
        || collector.spans().iter().any(|span| span.scope == "settlement" && of_event(span)).then_some(());
    assert!(within(PATIENCE, told).is_some(), "{:#?}", collector.spans());
    assert!(collector.spans().iter().all(|span| span.scope == "http" || of_event(span)));
    running.stop();
}

#[test]
fn a_wrong_variable_is_told_before_anything_is_opened() {
    let company = Company::new();
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", "grpc://collector:4317")];
    let said = company.cli_with(&company.books(), &variables, &["run"]).ends(2);
    assert!(
        said.err.contains("OTEL_EXPORTER_OTLP_ENDPOINT: found \"grpc://collector:4317\""),
        "{}",
        said.err
    );
    assert!(!company.books().exists());
}

/// Five processes that share nothing but topics.
#[cfg(feature = "kafka")]
#[test]
fn on_kafka_the_trace_goes_through_the_headers_of_records() {
    let collector = Collector::start();
    let lines = format!("http: {{listen: 127.0.0.1:0}}\ntraces: {{endpoint: '{}'}}\n", collector.url());
    let on = crate::kafka::OnKafka::with(&lines);
    let processes = on.processes();
    let gateway = on.company.begin(&["http"]);
    let client = Client::of_ready(&gateway);
    let said =
        post(&client, &[("traceparent", &traceparent("01"))], &transfer("k-1", "users:7:wallet", "1.00"));
    assert_eq!(said["events"][0]["outcome"], "booked", "{said}");
    let whole = || {
        let spans = collector.spans();
        (spans.len() >= 7).then_some(spans)
    };
    let spans = within(PATIENCE, whole).unwrap_or_else(|| panic!("{:#?}", collector.spans()));
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let prefix = on.prefix();
    assert_eq!(
        tree_of(&spans, "00f067aa0ba902b7"),
        [
            "0 http POST /v1/events ".to_owned(),
            format!("1 http send {prefix}events.p1 "),
            format!("2 ingest process {prefix}events.p1 forwarded"),
            format!("3 posting process {prefix}commands booked"),
            format!("4 posting process {prefix}credits booked"),
            format!("5 settlement process {prefix}journal "),
            format!("4 settlement process {prefix}journal "),
        ],
    );
    gateway.stop();
    processes.into_values().for_each(|process| drop(process.stop()));
}
