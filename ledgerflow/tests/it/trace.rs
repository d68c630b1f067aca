//! `trace` and `send --wait`: one event from its arrival to its match, and what became of the events just sent.

use crate::company::{Company, PATIENCE, within};
use ledgerflow::query::events::Text;
use ledgerflow::query::outcomes::{Awaited, EVENTS_MAX};
use ledgerflow::query::{Ending, Question};
use ledgerflow_tests::bill::{self, ACCOUNT, BillRow};
use ledgerflow_tests::events::Event;
use schemas::topics::{PartitionCounts, Topic};
use serde_json::{Value, json};
use stream::embedded::{EmbeddedLog, Options};
use stream::log::{Header, Isolation, Log, OutRecord, TopicPartition};

const DAY: &str = "2026-11-21";
const CLOCK: &str = "
partitions: {events: 2, internal: 3}
accounts: accounts.yaml
ingest: {tick_ms: 100}
business_clock: {mode: offset, at: '2026-11-21T09:00:00Z'}
";

fn event(id: &str, kind: &'static str, subject: &str, data: Value) -> String {
    let time = format!("{DAY}T08:00:00Z");
    let event = Event { id: id.into(), kind, subject: subject.into(), time, data };
    String::from_utf8(event.to_bytes()).unwrap()
}

fn transfer(id: &str, home: &str, from: &str, to: &str, amount: &str) -> String {
    event(id, "transfer", home, json!({ "from": from, "to": to, "asset": "CNY", "amount": amount }))
}

fn order(id: &str, order: &str) -> String {
    let data = json!({
        "order_id": order, "merchant_id": "7", "provider": "wechat", "provider_account": ACCOUNT,
        "currency": "CNY", "amount": "12.50", "fee": "0.08",
    });
    event(id, "order.paid", &format!("orders/{order}"), data)
}

/// Sends lines and waits; the rows of the answer.
fn sent(company: &Company, lines: &[String], code: i32) -> Vec<Value> {
    let file = company.write("events.jsonl", lines.join("\n"));
    let said = company.cli(&["send", &file.display().to_string(), "--wait", "-o", "json"]).ends(code);
    said.json().as_array().unwrap().clone()
}

fn traced(company: &Company, words: &[&str]) -> Value {
    company.cli(&[&["trace"], words, &["-o", "json"]].concat()).ends(0).json()
}

/// The cells of a column.
fn column(table: &Value, name: &str) -> Vec<String> {
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    table.as_array().unwrap().iter().map(|row| text(&row[name])).collect()
}

#[test]
fn an_event_is_followed_from_its_arrival_to_its_match() {
    let company = Company::with(CLOCK);
    let running = company.run();
    sent(&company, &[order("p-1", "order-1")], 0);
    let row = |order: &str| BillRow {
        time: format!("{DAY} 16:00:00"),
        order: order.into(),
        refund: None,
        cents: 1_250,
        fee_cents: 8,
    };
    let bill = company.write("bill.csv", bill::text(&[row("order-1"), row("order-2")]));
    assert!(company.bill(&running, &bill));
    let matched = within(PATIENCE, || {
        let trace = traced(&company, &["p-1"]);
        (column(&trace["reconciliation"], "kind") == ["matched"]).then_some(trace)
    });
    let trace = matched.unwrap_or_else(|| panic!("{}", traced(&company, &["p-1"])));
    let names: Vec<&String> = trace.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert_eq!(column(&trace["events"], "event"), ["p-1"]);
    assert_eq!(column(&trace["events"], "subject"), ["orders/order-1"]);
    let data: Value = serde_json::from_str(&column(&trace["events"], "data")[0]).unwrap();
    assert_eq!(data["order_id"], "order-1");
    assert_eq!(column(&trace["decisions"], "outcome"), ["booked"]);
    assert_eq!(column(&trace["decisions"], "rule"), ["order.paid v1"]);
    let mut amounts = column(&trace["entries"], "amount");
    amounts.sort();
    assert_eq!(amounts, ["0.08", "0.08", "12.50", "12.50"]);
    let balances = trace["balances"].as_array().unwrap().iter();
    let balances: Vec<(&str, &str)> =
        balances.map(|row| (row["account"].as_str().unwrap(), row["balance"].as_str().unwrap())).collect();
    let receivable = format!("providers:wechat:{ACCOUNT}:receivable");
    let want = [("merchants:7:payable", "12.50"), ("platform:fees:wechat", "0.08"), (&receivable, "12.42")];
    assert_eq!(balances, want);
    let case = &trace["reconciliation"][0];
    assert_eq!(
        (&case["order"], &case["event"], &case["line"]),
        (&"order-1".into(), &"p-1".into(), &2.into())
    );
    running.stop();
}

#[test]
fn a_break_is_shown_where_a_match_would_stand() {
    let company = Company::with(CLOCK);
    let running = company.run();
    sent(&company, &[order("p-1", "order-1")], 0);
    let row = BillRow {
        time: format!("{DAY} 16:00:00"),
        order: "order-1".into(),
        refund: None,
        cents: 1_300,
        fee_cents: 8,
    };
    let bill = company.write("bill.csv", bill::text(&[row]));
    assert!(company.bill(&running, &bill));
    let found = within(PATIENCE, || {
        let trace = traced(&company, &["p-1"]);
        (column(&trace["reconciliation"], "kind") == ["amount"]).then_some(trace)
    });
    let trace = found.unwrap_or_else(|| panic!("{}", traced(&company, &["p-1"])));
    assert_eq!(column(&trace["reconciliation"], "ours"), ["12.50"]);
    assert_eq!(column(&trace["reconciliation"], "theirs"), ["13.00"]);
    running.stop();
}

/// Rows of `later`: what, by which event, outcome, amount, what is left.
fn later(company: &Company, id: &str) -> Vec<[String; 5]> {
    let trace = traced(company, &[id]);
    let rows = trace["later"].as_array().unwrap().iter();
    rows.map(|row| {
        ["what", "event", "outcome", "amount", "left"].map(|name| match &row[name] {
            Value::String(text) => text.clone(),
            _ => "-".to_owned(),
        })
    })
    .collect()
}

#[test]
fn what_came_of_a_hold_and_what_was_given_back_stand_beside_it() {
    let company = Company::with(&format!("rules: rules.yaml\n{CLOCK}"));
    let rules = ledgerflow::runtime::DEFAULT_RULES;
    let short = rules.replace("expires_after_s: 604800", "expires_after_s: 3600");
    assert_ne!(short, rules);
    company.write("rules.yaml", short);
    let running = company.run();
    let of = |id: &str, kind: &'static str, data: Value| event(id, kind, "users:42", data);
    let hold = json!({ "account": "users:42:wallet", "asset": "CNY", "amount": "80.00" });
    let part = json!({
        "hold": "h-1", "account": "users:42:wallet", "to": "merchants:7:payable", "asset": "CNY", "amount": "30.00",
        "final": false,
    });
    let back = json!({
        "event": "t-1", "from": "users:42:wallet", "to": "funding:cash", "asset": "CNY", "amount": "40.00",
    });
    let lines = [
        transfer("t-1", "users:42", "funding:cash", "users:42:wallet", "100.00"),
        of("h-1", "hold.placed", hold.clone()),
        of("h-2", "hold.placed", hold),
        of("c-1", "hold.captured", part),
        of("x-1", "hold.released", json!({ "hold": "h-1" })),
        of("r-1", "event.refunded", back),
    ];
    sent(&company, &lines, 0);
    // What is refused names nothing; it is known by what it waited for.
    let whole = of("r-2", "event.reversed", json!({ "event": "t-1" }));
    let rows = sent(&company, &[whole], 3);
    assert!(rows[0]["reason"].as_str().unwrap().starts_with("exceeds_original"), "{rows:?}");
    assert_eq!(
        later(&company, "h-1"),
        [["capture", "c-1", "booked", "30.00", "50.00"], ["release", "x-1", "booked", "50.00", "0.00"]]
    );
    let trace = traced(&company, &["t-1"]);
    assert_eq!(
        later(&company, "t-1"),
        [["reversal", "r-1", "booked", "40.00", "60.00"], ["reversal", "r-2", "refused", "-", "-"]],
        "{trace}"
    );
    assert!(trace["later"][1]["reason"].as_str().unwrap().starts_with("exceeds_original"), "{trace}");
    assert_eq!(later(&company, "r-1"), [[""; 5]; 0]);
    running.stop();
    // Two hours on, the other hold is over by itself.
    let on = format!("rules: rules.yaml\n{CLOCK}").replace("T09:00", "T11:00");
    company.write("ledgerflow.yaml", on);
    let running = company.run();
    let over = within(PATIENCE, || Some(later(&company, "h-2")).filter(|rows| !rows.is_empty()));
    assert_eq!(over, Some(vec![["end of its time", "-", "-", "80.00", "0.00"].map(str::to_owned)]));
    running.stop();
    company.is_whole();
}

/// `original` says what became of the first, `original_at` where that is written.
#[test]
fn a_duplicate_leads_to_its_original() {
    let company = Company::with(CLOCK);
    let running = company.run();
    // Homes at the payer's and, the second time, at the payee's partition: one decides alone, one asks.
    let booked = transfer("t-1", "users:42", "funding:cash", "users:42:wallet", "5.00");
    let refused = transfer("t-2", "users:42", "users:42:wallet", "users:7:wallet", "9000.00");
    let rows = sent(&company, &[booked.clone(), booked, refused.clone(), refused], 0);
    let outcomes: Vec<(&str, Option<&str>)> =
        rows.iter().map(|row| (row["outcome"].as_str().unwrap(), row["original"].as_str())).collect();
    let want =
        [("booked", None), ("duplicate", Some("booked")), ("refused", None), ("duplicate", Some("refused"))];
    assert_eq!(outcomes, want);
    let trace = traced(&company, &["t-1"]);
    assert_eq!(column(&trace["decisions"], "outcome"), ["booked", "duplicate"]);
    assert_eq!(column(&trace["decisions"], "original"), ["null", "booked"]);
    let journal = column(&trace["decisions"], "journal");
    assert_eq!(column(&trace["decisions"], "original_at"), ["null".to_owned(), journal[0].clone()]);
    // Each arrival lies somewhere, and both have the same data.
    assert_eq!(column(&trace["events"], "event"), ["t-1", "t-1"]);
    let places = column(&trace["events"], "lies_at");
    assert!(places[0] != places[1], "{places:?}");
    running.stop();
}

#[test]
fn a_dead_letter_is_found_by_its_id_and_a_refusal_is_none() {
    let company = Company::with(CLOCK);
    let running = company.run();
    let lines = [
        transfer("d-1", "users:42", "funding:cash", "users:42:wallet", "1e3"),
        r#"{"specversion":"1.0","id":"d-2","source":"/shop","#.to_owned(),
        transfer("t-1", "users:42", "users:42:wallet", "users:7:wallet", "9000.00"),
    ];
    // None of them is booked.
    let rows = sent(&company, &lines, 3);
    assert_eq!(rows.len(), 3, "{rows:?}");
    for (id, reason) in [("d-1", "amount_exponent"), ("d-2", "not_json")] {
        let trace = traced(&company, &[id]);
        assert_eq!(column(&trace["decisions"], "outcome"), ["dead-lettered"], "{trace}");
        assert!(column(&trace["decisions"], "reason")[0].starts_with(reason), "{trace}");
        assert_eq!(column(&trace["events"], "lies_at").len(), 1, "{trace}");
        for table in ["entries", "balances", "reconciliation"] {
            assert_eq!(trace[table], json!([]), "{trace}");
        }
    }
    assert_eq!(column(&traced(&company, &["d-1", "--source", "/shop"])["events"], "source"), ["/shop"]);
    company.cli(&["trace", "d-1", "--source", "/other"]).ends(4);
    let trace = traced(&company, &["t-1"]);
    assert_eq!(column(&trace["decisions"], "outcome"), ["refused"], "the refusal on `rejected` is no other");
    company.cli(&["trace", "d-3"]).ends(4);
    running.stop();
}

/// What posting writes to `rejected` may be read before its journal batch: it is no dead letter.
#[test]
fn a_refusal_ahead_of_its_journal_batch_is_not_dead_lettered() {
    let company = Company::with("partitions: {events: 2, internal: 3}\n");
    let running = company.run();
    sent(&company, &[transfer("t-1", "users:42", "funding:cash", "users:42:wallet", "5.00")], 0);
    running.stop();
    let ahead = transfer("t-9", "users:42", "users:42:wallet", "users:7:wallet", "9000.00");
    let offset = {
        let log =
            EmbeddedLog::open(&company.books(), Options::new(PartitionCounts { events: 2, internal: 3 }))
                .unwrap();
        let at = TopicPartition::new(Topic::Events1, 0);
        let offset = log.watermarks(at, Isolation::Committed).unwrap().high;
        let mut refusal =
            OutRecord::new(TopicPartition::new(Topic::Rejected, 0), br#"{"id":"t-9"}"#.to_vec().into());
        refusal.headers = vec![
            Header::text("ledgerflow-kind", "refusal"),
            Header::text("ledgerflow-reason", "insufficient_funds"),
            Header::text("__streams.errors.topic", "events.p1"),
            Header::text("__streams.errors.partition", "0"),
            Header::text("__streams.errors.offset", offset.to_string()),
        ];
        log.append(vec![OutRecord::new(at, ahead.into_bytes().into()), refusal]).unwrap();
        log.sync().unwrap();
        offset
    };
    company.cli(&["trace", "t-9"]).ends(4);
    let settings = company.path("ledgerflow.yaml");
    let (settings, _) = ledgerflow::config::load(
        Some(&settings),
        [],
        &[("log.dir", "--dir", company.books().display().to_string())],
    )
    .unwrap();
    let sent = vec![ledgerflow::query::events::Sent { lane: 1, partition: 0, offset }];
    let of = Awaited { sent: sent.clone(), ..Awaited::default() };
    let question = Question::Outcomes { of };
    let answer = ledgerflow::cli::ask::Asked::new(&settings).ask(&question).unwrap();
    assert_eq!(answer.ending, Ending::Done, "{answer:?}");
    assert_eq!(answer.awaited.unwrap().sent, sent, "it has no outcome yet");
    assert!(answer.tables[0].rows.is_empty());
}

#[test]
fn the_event_is_shown_as_given_up_once_retention_took_it() {
    let company = Company::new();
    let running = company.run();
    let today = schemas::dates::format_instant(stream::clock::wall_us());
    let first = Event::transfer("t-1", "users:42", &today, ("funding:cash", "users:42:wallet"), "5.00");
    company.write("first.json", first.to_bytes());
    company.cli(&["send", "first.json", "--wait"]).ends(0);
    assert!(column(&traced(&company, &["t-1"])["events"], "data")[0].contains("users:42:wallet"));
    // Enough events for the segments that hold the first one to go.
    let mut number = 0;
    let gone = within(PATIENCE, || {
        let events = (0..40).map(|_| {
            number += 1;
            crate::traffic::funded(&format!("e-{number}"), 42, 30_000)
        });
        let answer = running.ask(&Question::send(1, events.collect()));
        assert!(answer.is_some_and(|answer| answer.ending == Ending::Done), "{}", running.err());
        let trace = traced(&company, &["t-1"]);
        (column(&trace["events"], "data") == ["given up by retention"]).then_some(trace)
    });
    let trace = gone.unwrap_or_else(|| panic!("{}", traced(&company, &["t-1"])));
    assert_eq!(column(&trace["decisions"], "outcome"), ["booked"]);
    assert_eq!(column(&trace["entries"], "amount"), ["5.00", "5.00"]);
    running.stop();
}

/// The answer to `send` says where to read on from, and nothing before that is read for the outcomes.
#[test]
fn outcomes_are_read_on_from_where_the_events_were_sent() {
    let company = Company::with(CLOCK);
    let running = company.run();
    let line = |id: &str| transfer(id, "users:42", "funding:cash", "users:42:wallet", "1.00");
    sent(&company, &(0..50).map(|n| line(&format!("a-{n}"))).collect::<Vec<_>>(), 0);
    let before = company.cli(&["topics", "list", "-o", "json"]).ends(0).json();
    let events = vec![Text::Utf8(line("b-0")), Text::Utf8(line("a-0"))];
    let answer = running.ask(&Question::send(1, events)).unwrap();
    let first = answer.awaited.unwrap();
    assert_eq!(first.sent.len(), 2);
    let records = |name: &str| {
        let row = before.as_array().unwrap().iter().find(|row| row["topic"] == name).unwrap();
        row["records"].as_i64().unwrap()
    };
    assert!(first.from.journal.iter().sum::<i64>() >= records("journal"), "{:?}", first.from);
    // What is asked for from another place is not found: reading begins there and not before.
    let mut left = first.clone();
    let settled = within(PATIENCE, || {
        let answer = running.ask(&Question::Outcomes { of: left.clone() }).unwrap();
        let next = answer.awaited.unwrap();
        let further = next.from.journal.iter().zip(&left.from.journal).all(|(next, left)| next >= left);
        assert!(further, "{next:?} {left:?}");
        left = next;
        left.sent.is_empty().then_some(())
    });
    assert!(settled.is_some(), "{}", running.err());
    let late = Awaited { sent: first.sent.clone(), asked: Vec::new(), from: left.from };
    let answer = running.ask(&Question::Outcomes { of: late }).unwrap();
    assert_eq!(answer.awaited.unwrap().sent.len(), 2, "their outcomes lie before that place");
    let many = Awaited { sent: vec![first.sent[0]; EVENTS_MAX + 1], ..Awaited::default() };
    let answer = running.ask(&Question::Outcomes { of: many }).unwrap();
    assert_eq!(answer.ending, Ending::Failed);
    running.stop();
}

/// Events decided by their home, and by a partition that their home asks.
#[test]
fn send_waits_for_more_events_than_one_question_takes() {
    let company = Company::with(CLOCK);
    let running = company.run();
    let total = EVENTS_MAX + 500;
    let lines: Vec<String> = (0..total)
        .map(|n| {
            // The home is the payee's: the payer's limit is another partition's to judge.
            let (from, to) = (n % 17, n % 40);
            let (payer, payee) = (format!("users:{from}:wallet"), format!("users:p{to}:wallet"));
            transfer(&format!("t-{n}"), &format!("users:p{to}"), &payer, &payee, "0.01")
        })
        .collect();
    let rows = sent(&company, &lines, 0);
    assert_eq!(rows.len(), total);
    assert!(rows.iter().all(|row| row["outcome"] == "booked"), "an outcome is another");
    let places = rows.iter().map(|row| (row["partition"].as_u64().unwrap(), row["offset"].as_u64().unwrap()));
    let places: Vec<(u64, u64)> = places.collect();
    assert!(places.is_sorted(), "outcomes come in the order of their places");
    running.stop();
}

#[test]
fn rejected_list_shows_the_newest() {
    let company = Company::with(CLOCK);
    let running = company.run();
    for n in 0..12 {
        sent(&company, &[format!("no event {n}")], 3);
    }
    let said = company.cli(&["rejected", "list", "--limit", "3", "-o", "json"]).ends(0);
    assert!(said.err.contains("3 of 12 rejected events"), "{}", said.err);
    let offsets = column(&said.json(), "event_at");
    let all = column(&company.cli(&["rejected", "list", "-o", "json"]).ends(0).json(), "event_at");
    assert_eq!((all.len(), &all[9..]), (12, &offsets[..]));
    let some =
        company.cli(&["rejected", "list", "--limit", "3", "--reason", "not_json", "-o", "json"]).ends(0);
    assert_eq!(column(&some.json(), "event_at"), offsets);
    running.stop();
}
