//! Events of a small company in which everything happens that the books can hold, for the fixtures.
//!
//! A first day, a second one nine days later on which holds and proposals of the first are over, and a third with which
//! whoever opens the fixture goes on. Each event stands in a file with who sends it; what became of each is kept beside it.

use super::kept::{read, write};
use crate::company::{Company, Running};
use crate::http::{Client, JSON};
use ledgerflow_tests::bill::{self, ACCOUNT, BillRow};
use serde_json::{Value, json};
use std::path::Path;

/// When each day begins, on the clock of business.
pub const STARTS: [&str; 3] = ["2026-03-01T12:00:00Z", "2026-03-10T12:00:00Z", "2026-03-11T11:00:00Z"];
/// When the events of each day happened.
const TIMES: [&str; 3] = ["2026-03-01T11:00:00Z", "2026-03-10T11:00:00Z", "2026-03-11T10:00:00Z"];
/// What is so long that a few of it fill a segment, and packs to next to nothing.
const NOTE_BYTES: usize = 60_000;
/// A rule that books no more than there is.
pub const SWEEP: &str = "
  - type: swept
    at_most: debit
    legs:
      - { debit: \"{data.from}\", asset: \"{data.asset}\", amount: data.amount }
      - { credit: \"{data.to}\", asset: \"{data.asset}\", amount: data.amount }
";

/// The events of a day, in the order in which they are sent. An `as` is who sends it over HTTP; a `then` of those before
/// waits until they have reached every account.
struct Day {
    time: &'static str,
    lines: Vec<Value>,
}

impl Day {
    const fn new(day: usize) -> Self {
        Self { time: TIMES[day], lines: Vec::new() }
    }

    fn event(&self, id: &str, kind: &str, subject: &str, data: Value) -> Value {
        json!({ "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "subject": subject, "time": self.time, "data": data })
    }

    fn add(&mut self, id: &str, kind: &str, subject: &str, data: Value) {
        let event = self.event(id, kind, subject, data);
        self.lines.push(json!({ "event": event }));
    }

    fn by(&mut self, who: &str, id: &str, kind: &str, subject: &str, data: Value) {
        let event = self.event(id, kind, subject, data);
        self.lines.push(json!({ "as": who, "event": event }));
    }

    fn moved(&mut self, id: &str, subject: &str, (from, to): (&str, &str), amount: &str) {
        self.add(id, "transfer", subject, transfer(from, to, amount));
    }

    /// Several payers and a payee.
    fn group(&mut self, id: &str, payers: &[(u32, u32)]) {
        let leg = |user: u32, side: &str, yuan: u32| json!({ "account": wallet(user), "side": side, "asset": "CNY", "amount": format!("{yuan}.00") });
        let sum = payers.iter().map(|(_, yuan)| yuan).sum();
        let debits = payers.iter().map(|(user, yuan)| leg(*user, "debit", *yuan));
        let legs: Vec<Value> = debits.chain([leg(7, "credit", sum)]).collect();
        self.add(id, "transfer", &owner(payers[0].0), json!({ "legs": legs }));
    }

    fn order(&mut self, id: &str, amount: &str) {
        let data = json!({
            "order_id": id, "merchant_id": "7", "provider": "wechat", "provider_account": ACCOUNT, "currency": "CNY",
            "amount": amount, "fee": "0.08", "job_id": "trip-1",
        });
        self.add(id, "order.paid", &format!("orders/{id}"), data);
    }

    fn hold(&mut self, id: &str, user: u32, amount: &str) {
        self.add(
            id,
            "hold.placed",
            &owner(user),
            json!({ "account": wallet(user), "asset": "CNY", "amount": amount }),
        );
    }

    fn capture(&mut self, id: &str, user: u32, hold: &str, amount: &str, last: bool) {
        let data = json!({
            "hold": hold, "account": wallet(user), "to": "merchants:7:payable", "asset": "CNY", "amount": amount, "final": last,
        });
        self.add(id, "hold.captured", &owner(user), data);
    }

    fn propose(&mut self, who: &str, id: &str) {
        let leg = |account: &str, side: &str| json!({ "account": account, "side": side, "asset": "CNY", "amount": "3.00" });
        let legs = [leg("platform:revenue:commission", "debit"), leg("merchants:7:payable", "credit")];
        self.by(
            who,
            id,
            "adjustment.proposed",
            "desk",
            json!({ "legs": legs, "reason": "commission taken twice" }),
        );
    }

    fn raw(&mut self, bytes: &str) {
        self.lines.push(json!({ "raw": bytes }));
    }

    /// What comes next relies on what came before having arrived everywhere.
    fn rest(&mut self) {
        self.lines.push(json!({ "rest": true }));
    }

    fn text(self) -> String {
        self.lines.iter().map(|line| format!("{line}\n")).collect()
    }
}

fn owner(user: u32) -> String {
    format!("users:{user}")
}

fn wallet(user: u32) -> String {
    format!("users:{user}:wallet")
}

fn transfer(from: &str, to: &str, amount: &str) -> Value {
    json!({ "from": from, "to": to, "asset": "CNY", "amount": amount })
}

/// The first day: everything that can be done to an account, booked and refused.
pub fn first() -> String {
    let mut day = Day::new(0);
    for user in 1..=9 {
        day.moved(&format!("f-{user}"), &owner(user), ("funding:cash", &wallet(user)), "100.00");
    }
    for lane in [0, 2] {
        let event = day.event(
            &format!("lane-{lane}"),
            "transfer",
            "users:1",
            transfer("funding:cash", &wallet(1), "1.00"),
        );
        day.lines.push(json!({ "lane": lane, "event": event }));
    }
    day.moved("f-10", "users:10", ("funding:cash", "users:10:card"), "50.00");
    day.rest();
    payments(&mut day);
    groups(&mut day);
    changes(&mut day);
    cases(&mut day);
    day.text()
}

/// Transfers, refusals, repetitions, and what nobody can read.
fn payments(day: &mut Day) {
    for (from, to) in [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)] {
        day.moved(&format!("t-{from}"), &owner(from), (&wallet(from), &wallet(to)), "5.00");
        // At home with the payee: the payer's partition is asked.
        day.moved(&format!("u-{from}"), &owner(to), (&wallet(from), &wallet(to)), "0.50");
        day.moved(&format!("n-{from}"), &owner(to), (&wallet(from), &wallet(to)), "5000.00");
    }
    day.moved("t-1", "users:1", (&wallet(1), &wallet(2)), "5.00");
    day.moved("t-1", "users:1", (&wallet(1), &wallet(2)), "6.00");
    day.moved("t-7", "users:7", (&wallet(7), "merchants:7:payable"), "20.00");
    day.moved("v-1", "users:10", ("users:10:card", "merchants:7:payable"), "4.00");
    day.moved("v-2", "users:10", ("users:10:card", "merchants:7:payable"), "7.00");
    day.add(
        "w-1",
        "swept",
        "users:9",
        json!({ "from": wallet(9), "to": "merchants:9:payable", "asset": "CNY", "amount": "90.00" }),
    );
    day.raw("no event");
    day.raw(r#"{"specversion":"1.0","id":"d-1","source":"/shop","type":"loan.granted","subject":"users:1","time":"2026-03-01T11:00:00Z","data":{}}"#);
}

/// Several payers, linked events, an exchange, and holds.
fn groups(day: &mut Day) {
    for (number, payers) in [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)].into_iter().enumerate() {
        day.group(&format!("g-{number}"), &[(payers.0, 1), (payers.1, 2)]);
        day.group(&format!("m-{number}"), &[(payers.0, 1), (payers.1, 5_000)]);
        // One of all refuses, and the others let go what they had put on hold.
        let all: Vec<(u32, u32)> =
            (1..=6).map(|user| (user, if user == payers.0 { 5_000 } else { 1 })).collect();
        day.group(&format!("k-{number}"), &all);
    }
    let linked = [(7, 8), (8, 3)].map(
        |(from, to)| json!({ "type": "transfer", "data": transfer(&wallet(from), &wallet(to), "1.50") }),
    );
    day.add("l-1", "events.linked", "users:7", json!({ "events": linked }));
    day.add("x-1", "currency.exchanged", "users:8", json!({
        "account": wallet(8), "bank": "icbc", "from_asset": "CNY", "from_amount": "7.12", "to_asset": "USD", "to_amount": "1.00",
        "rate": "7.12", "job_id": "trip-1",
    }));
    day.hold("h-1", 1, "10.00");
    day.hold("h-2", 2, "5.00");
    day.hold("h-3", 3, "5.00");
    day.hold("h-4", 4, "5.00");
    day.rest();
}

/// Captures, reversals, and what becomes of accounts.
fn changes(day: &mut Day) {
    day.capture("c-1", 1, "h-1", "4.00", false);
    day.capture("c-2", 2, "h-2", "5.00", true);
    day.add("c-3", "hold.released", "users:3", json!({ "hold": "h-3" }));
    day.add("r-1", "event.reversed", "users:1", json!({ "event": "t-1" }));
    day.add(
        "r-2",
        "event.refunded",
        "users:7",
        json!({
            "event": "t-7", "from": "merchants:7:payable", "to": wallet(7), "asset": "CNY", "amount": "2.00",
        }),
    );
    day.add(
        "a-1",
        "account.described",
        "users:5",
        json!({ "account": wallet(5), "metadata": { "tier": "gold" } }),
    );
    day.add(
        "a-2",
        "account.limited",
        "users:6",
        json!({ "account": wallet(6), "asset": "CNY", "overdraft": "50.00" }),
    );
    day.add("a-3", "account.frozen", "users:9", json!({ "account": wallet(9), "side": "both" }));
    day.add(
        "a-4",
        "account.opened",
        "users:12",
        json!({ "account": wallet(12), "metadata": { "opened_by": "anna" } }),
    );
    day.add("a-5", "account.closed", "users:13", json!({ "account": wallet(13) }));
    day.rest();
}

/// Suspense, orders and proposals.
fn cases(day: &mut Day) {
    for user in 1..=4 {
        // Where the wallet lives in another partition, nobody asks it: a case in suspense.
        day.moved(&format!("s-{user}"), &owner(user), (&wallet(user), &wallet(9)), "1.00");
    }
    for order in ["o-1", "o-2", "o-3", "o-4"] {
        day.order(order, "12.50");
    }
    for id in ["p-1", "p-2", "p-3"] {
        day.propose("anna", id);
    }
    day.rest();
    day.by("anna", "p-4", "adjustment.approved", "desk", json!({ "proposal": "p-1" }));
    day.by("bert", "p-5", "adjustment.approved", "desk", json!({ "proposal": "p-1" }));
    day.by("bert", "p-6", "adjustment.rejected", "desk", json!({ "proposal": "p-2", "reason": "not so" }));
}
/// The second day: what the first left is over, more is left open, and one event may have been booked long ago.
pub fn second() -> String {
    let mut day = Day::new(1);
    for number in 1..=18 {
        let mut data = transfer("funding:cash", &wallet(1), "0.01");
        data["note"] = "x".repeat(NOTE_BYTES).into();
        day.add(&format!("n2-{number}"), "transfer", "users:1", data);
    }
    day.moved("t2-1", "users:1", (&wallet(1), &wallet(2)), "5.00");
    day.moved("t2-2", "users:2", (&wallet(2), &wallet(3)), "5000.00");
    day.order("o2-1", "20.00");
    day.hold("h2-1", 1, "10.00");
    day.hold("h2-2", 2, "10.00");
    day.rest();
    day.capture("c2-1", 1, "h2-1", "4.00", false);
    day.propose("anna", "p2-1");
    let mut old = day.event("old-1", "transfer", "users:3", transfer(&wallet(3), &wallet(4), "1.00"));
    old["time"] = "2026-02-01T10:00:00Z".into();
    day.lines.push(json!({ "event": old, "waits": true }));
    day.text()
}

/// What whoever opens the fixture goes on with: it ends what the days before have begun.
pub fn third() -> String {
    let mut day = Day::new(2);
    let again = |id: &str, amount: &str| {
        let event = Day::new(1).event(id, "transfer", "users:1", transfer(&wallet(1), &wallet(2), amount));
        json!({ "event": event })
    };
    day.lines.extend([again("t2-1", "5.00"), again("t2-1", "6.00")]);
    day.capture("c3-1", 1, "h2-1", "6.00", true);
    day.add("c3-2", "hold.released", "users:2", json!({ "hold": "h2-2" }));
    day.add("r3-1", "event.reversed", "users:1", json!({ "event": "t2-1" }));
    day.by("anna", "p3-1", "adjustment.approved", "desk", json!({ "proposal": "p2-1" }));
    day.by("bert", "p3-2", "adjustment.approved", "desk", json!({ "proposal": "p2-1" }));
    day.by("bert", "m3-1", "event.admitted", "users:3", json!({ "event": "old-1" }));
    for (from, to) in [(1, 2), (2, 3), (3, 4), (4, 5), (5, 6), (6, 1)] {
        day.moved(&format!("t3-{from}"), &owner(to), (&wallet(from), &wallet(to)), "0.25");
    }
    day.group("g3-1", &[(1, 1), (2, 2)]);
    day.add("a3-1", "account.unfrozen", "users:9", json!({ "account": wallet(9), "side": "both" }));
    day.add(
        "a3-2",
        "account.described",
        "users:5",
        json!({ "account": wallet(5), "metadata": { "tier": null } }),
    );
    day.order("o3-1", "30.00");
    day.raw("still no event");
    day.text()
}

/// The bill of a day: a line that matches, one of another amount, one of another fee, one that is not ours.
pub fn bill(day: usize) -> Vec<u8> {
    let time = format!("{} 19:00:00", &TIMES[day][..10]);
    let row = |order: &str, cents: u64, fee_cents: u64| BillRow {
        time: time.clone(),
        order: order.to_owned(),
        refund: None,
        cents,
        fee_cents,
    };
    bill::text(&match day {
        0 => vec![row("o-1", 1_250, 8), row("o-2", 1_300, 8), row("o-3", 1_250, 9), row("o-9", 100, 1)],
        1 => vec![row("o2-1", 2_000, 8)],
        _ => vec![row("o3-1", 3_000, 8), row("o3-2", 100, 1)],
    })
}

/// The lines up to the first rest, and those after it.
pub fn split(lines: &str) -> (&str, &str) {
    let rest = "{\"rest\":true}\n";
    lines.split_once(rest).unwrap_or((lines, ""))
}

/// Sends such lines; what became of each: id, outcome and reason.
pub fn send(company: &Company, running: &Running, lines: &str, tokens: &Value) -> Vec<Value> {
    let (mut became, mut at_once) = (Vec::new(), Vec::new());
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        if let Some(raw) = line["raw"].as_str() {
            at_once.push(raw.to_owned());
        } else if line["event"].is_object() && ["as", "waits", "lane"].iter().all(|how| line[how].is_null()) {
            at_once.push(line["event"].to_string());
        } else {
            became.extend(send_at_once(company, "1", &mut at_once));
            if line["rest"] == true {
                company.comes_to_rest(running);
            } else if line["lane"].is_u64() {
                let event = line["event"].to_string();
                became.extend(send_at_once(company, &line["lane"].to_string(), &mut vec![event]));
            } else if line["waits"] == true {
                let file = company.write("waits.jsonl", format!("{}\n", line["event"]));
                company.cli(&["send", &file.display().to_string()]).ends(0);
            } else {
                let mut client = Client::of(running);
                client.token = tokens[line["as"].as_str().unwrap()].as_str().map(str::to_owned);
                let reply = client.ask(
                    "POST",
                    "/v1/events?wait=booked&timeout_seconds=60",
                    &[("Content-Type", JSON)],
                    line["event"].to_string().as_bytes(),
                );
                became.push(told(&reply.is(200)["events"][0]));
            }
        }
    }
    became.extend(send_at_once(company, "1", &mut at_once));
    company.comes_to_rest(running);
    // Rows of an answer stand in the order of partitions.
    became.sort_by_key(Value::to_string);
    became
}

fn send_at_once(company: &Company, lane: &str, events: &mut Vec<String>) -> Vec<Value> {
    if events.is_empty() {
        return Vec::new();
    }
    let file = company.write("events.jsonl", events.drain(..).map(|event| event + "\n").collect::<String>());
    let said = company
        .cli(&["send", &file.display().to_string(), "--lane", lane, "--wait", "-o", "json"])
        .ends(0)
        .json();
    said.as_array().unwrap().iter().map(told).collect()
}

/// Of an answer what stays the same wherever the event lies.
fn told(row: &Value) -> Value {
    let text = |field: &str| {
        row[field].as_str().unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
    };
    let id = row["event"].as_str().or(row["id"].as_str());
    json!({ "event": id, "outcome": text("outcome"), "reason": text("reason") })
}

/// Compares what became of the events with what is kept, or keeps it.
pub fn became(of: &Path, found: Vec<Value>, make: bool) {
    match make {
        true => write(of, &json!(found)),
        false => assert_eq!(read(of), json!(found), "{}", of.display()),
    }
}
