//! `reverse job`: a job is given back as one, whatever happens in between, and nothing moves twice.

use crate::company::{Company, Running};
use crate::http::{Client, JSON};
use ledgerflow::query::events::Text;
use ledgerflow::query::{Ending, Question};
use serde_json::{Value, json};

const CONFIGURATION: &str = "
http: {listen: 127.0.0.1:0}
partitions: {events: 2, internal: 3}
ingest: {tick_ms: 100}
business_clock: {mode: offset, at: '2026-11-21T09:00:00Z'}
";

struct Desk {
    company: Company,
    running: Running,
    client: Client,
}

impl Desk {
    fn new() -> Self {
        let company = Company::with(CONFIGURATION);
        let running = company.run();
        let client = Client::of(&running);
        Self { company, running, client }
    }

    /// Sends an event; its outcome.
    fn send(&self, id: &str, kind: &str, key: &str, data: Value) -> String {
        let said =
            self.client.post("?wait=booked&timeout_seconds=60", JSON, event(id, kind, key, data)).is(200);
        said["events"][0]["outcome"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn pays(&self, id: &str, (from, to): (&str, &str), amount: &str, job: Option<&str>) {
        let mut data = json!({ "from": from, "to": to, "asset": "CNY", "amount": amount });
        if let Some(job) = job {
            data["job_id"] = job.into();
        }
        let key = if from == "funding:cash" { to } else { from };
        let key = key.rsplit_once(':').unwrap().0;
        assert_eq!(self.send(id, "transfer", key, data), "booked", "{id}");
    }

    /// Event, state, wave of each row of the plan; and what is said of it.
    #[track_caller]
    fn reverses(&self, job: &str, more: &[&str], code: i32) -> (Vec<[String; 3]>, String) {
        let said = self.company.cli(&[&["reverse", "job", job, "-o", "json"], more].concat()).ends(code);
        (rows(&said.json()), said.err)
    }

    /// Net of each account of a job.
    fn nets(&self, job: &str) -> Vec<(String, String)> {
        let said = self.company.cli(&["job", job, "-o", "json"]).ends(0).json();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
        said["accounts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (text(row, "account"), text(row, "net")))
            .collect()
    }

    fn done(self) {
        self.running.stop();
        self.company.is_whole();
    }
}

fn event(id: &str, kind: &str, key: &str, data: Value) -> String {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "subject": key,
        "time": "2026-11-21T08:00:00Z", "data": data,
    })
    .to_string()
}

fn rows(plan: &Value) -> Vec<[String; 3]> {
    let text = |cell: &Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    let rows = plan.as_array().unwrap().iter();
    rows.map(|row| ["event", "state", "wave"].map(|name| text(&row[name]))).collect()
}

#[test]
fn a_job_is_given_back_newest_first_and_once() {
    let desk = Desk::new();
    desk.pays("j-1", ("funding:cash", "users:5:wallet"), "20.00", Some("trip-5"));
    desk.pays("j-2", ("users:5:wallet", "users:6:wallet"), "20.00", Some("trip-5"));
    desk.pays("j-3", ("users:6:wallet", "merchants:5:payable"), "12.00", Some("trip-5"));
    desk.pays("other", ("funding:cash", "users:5:wallet"), "1.00", Some("trip-50"));
    let planned = [["j-3", "to be sent", "1"], ["j-2", "to be sent", "2"], ["j-1", "to be sent", "3"]];
    let (plan, said) = desk.reverses("trip-5", &["--dry-run"], 0);
    assert_eq!(plan, planned, "{said}");
    assert!(said.contains("0 reversed, 0 on their way, 3 to be sent, 0 cannot be reversed"), "{said}");
    // Whoever dies after the first wave has sent it; who comes next sends the rest.
    let answer = desk.running.ask(&Question::Reversal { job: "trip-5".into() }).unwrap();
    let plan = answer.plan.unwrap();
    let events: Vec<Text> = plan.events.iter().map(|planned| Text::Utf8(planned.event.clone())).collect();
    let sent = desk.running.ask(&Question::send(1, events[..1].to_vec())).unwrap();
    assert_eq!(sent.ending, Ending::Done);
    let (plan, said) = desk.reverses("trip-5", &[], 0);
    let done = ["j-3", "j-2", "j-1"].map(|id| [id, "reversed", "null"]);
    assert_eq!(plan, done, "{said}");
    assert!(said.contains("are sent, 0 have no outcome yet") && said.contains("3 reversed"), "{said}");
    // Again, and again by hand: nothing moves.
    assert_eq!(desk.reverses("trip-5", &[], 0).0, done);
    let again = desk.running.ask(&Question::send(1, events)).unwrap();
    let mut left = again.awaited.unwrap();
    let told = crate::company::within(crate::company::PATIENCE, || {
        let answer = desk.running.ask(&Question::Outcomes { of: left.clone() }).unwrap();
        left = answer.awaited.unwrap();
        left.sent.is_empty().then_some(())
    });
    assert!(told.is_some());
    let mut all = desk.nets("trip-5");
    let back = desk.nets("reversal:trip-5");
    assert_eq!(all.len(), back.len());
    for ((account, net), (of, back)) in all.drain(..).zip(back) {
        let minor = |net: &str| net.replace('.', "").parse::<i64>().unwrap();
        assert_eq!((account, minor(&net)), (of, -minor(&back)));
    }
    let balances = desk.company.balances(&desk.company.books(), "users:");
    assert_eq!(balances["users:5:wallet"], "1.00", "{balances:?}");
    desk.company.cli(&["reverse", "job", "trip-0"]).ends(4);
    desk.done();
}

#[test]
fn what_cannot_be_given_back_is_said_with_its_reason_and_tried_again_where_that_helps() {
    let desk = Desk::new();
    desk.pays("s-1", ("funding:cash", "users:7:wallet"), "20.00", Some("trip-7"));
    desk.pays("s-2", ("funding:cash", "users:8:wallet"), "20.00", Some("trip-7"));
    desk.pays("s-3", ("funding:cash", "users:9:wallet"), "20.00", Some("trip-7"));
    // Spent elsewhere; given back in part; given back whole.
    desk.pays("o-1", ("users:7:wallet", "merchants:1:payable"), "15.00", None);
    let part = |event: &str, from: &str, amount: &str| json!({ "event": event, "from": from, "to": "funding:cash", "asset": "CNY", "amount": amount });
    assert_eq!(
        desk.send("b-1", "event.refunded", "users:8", part("s-2", "users:8:wallet", "4.00")),
        "booked"
    );
    assert_eq!(
        desk.send("b-2", "event.refunded", "users:9", part("s-3", "users:9:wallet", "20.00")),
        "booked"
    );
    let (plan, said) = desk.reverses("trip-7", &[], 3);
    let state = |plan: &[[String; 3]], id: &str| plan.iter().find(|row| row[0] == id).unwrap()[1].clone();
    assert_eq!(state(&plan, "s-1"), "to be sent", "{said}");
    assert_eq!(state(&plan, "s-2"), "cannot be reversed", "{said}");
    assert_eq!(state(&plan, "s-3"), "nothing to give back", "{said}");
    let said = desk.company.cli(&["reverse", "job", "trip-7", "--dry-run", "-o", "json"]).ends(3).json();
    let row = said.as_array().unwrap().iter().find(|row| row["event"] == "s-1").unwrap();
    assert!(row["reason"].as_str().unwrap().starts_with("insufficient_funds"), "{row}");
    assert_eq!(row["may_refuse"], "users:7:wallet", "{row}");
    desk.pays("o-2", ("funding:cash", "users:7:wallet"), "15.00", None);
    let (plan, _) = desk.reverses("trip-7", &[], 3);
    assert_eq!(state(&plan, "s-1"), "reversed");
    // An event that waits for another one keeps the whole job as it is.
    desk.pays("w-1", ("funding:cash", "users:3:wallet"), "20.00", Some("trip-3"));
    let capture = json!({
        "hold": "h-none", "account": "users:3:wallet", "to": "merchants:1:payable", "asset": "CNY", "amount": "1.00",
        "job_id": "trip-3",
    });
    desk.client.post("", JSON, event("w-2", "hold.captured", "users:3", capture)).is(202);
    let question = Question::Reversal { job: "trip-3".into() };
    let waits = || desk.running.ask(&question).filter(|answer| answer.ending == Ending::Wrong);
    assert!(crate::company::within(crate::company::PATIENCE, waits).is_some());
    let (plan, said) = desk.reverses("trip-3", &[], 3);
    assert!(said.contains("1 events of the job are not decided yet, the first is w-2"), "{said}");
    assert_eq!(state(&plan, "w-2"), "pending");
    assert_eq!(desk.nets("trip-3").len(), 2, "nothing is sent");
    // No hold came for it: it is refused, and what is booked can be given back.
    let over = || desk.running.ask(&question).filter(|answer| answer.plan.is_some());
    assert!(crate::company::within(crate::company::PATIENCE, over).is_some());
    let (plan, _) = desk.reverses("trip-3", &[], 0);
    assert_eq!((state(&plan, "w-1"), state(&plan, "w-2")), ("reversed".to_owned(), "refused".to_owned()));
    desk.done();
}

#[test]
fn over_http_a_job_is_given_back_wave_by_wave() {
    let desk = Desk::new();
    desk.pays("j-1", ("funding:cash", "users:5:wallet"), "20.00", Some("trip-5"));
    desk.pays("j-2", ("users:5:wallet", "merchants:5:payable"), "20.00", Some("trip-5"));
    let post = |query: &str| desk.client.ask("POST", &format!("/v1/jobs/trip-5/reversal{query}"), &[], b"");
    let plan = post("?dry_run=true").is(200);
    assert_eq!((rows(&plan["reversal"]).len(), &plan["sent"]), (2, &json!(0)), "{plan}");
    crate::http::has_columns(&plan["reversal"], ledgerflow::http::openapi::REVERSAL);
    let mut sent = 0;
    let done = crate::company::within(crate::company::PATIENCE, || {
        let said = post("?lane=0").json();
        sent += said["sent"].as_u64()?;
        rows(&said["reversal"]).iter().all(|row| row[1] == "reversed").then_some(())
    });
    assert!(done.is_some() && sent >= 2, "{sent}");
    post("?lane=3").is(400);
    desk.client.ask("POST", "/v1/jobs/trip-0/reversal", &[], b"").is(404);
    assert_eq!(desk.nets("reversal:trip-5").len(), 3);
    desk.done();
}
