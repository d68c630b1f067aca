//! Adjustments over HTTP and the command line: who a principal is says the door, whatever the event says of itself.

use crate::company::{Company, PATIENCE, Running, Said, within};
use crate::http::{Client, JSON};
use ledgerflow::query::Question;
use ledgerflow::query::events::Text;
use serde_json::{Value, json};

/// A company with tokens of anna (two) and bert, its pipeline, and the tokens.
struct Desk {
    company: Company,
    anna: String,
    laptop: String,
    bert: String,
}

impl Desk {
    fn new() -> Self {
        let company = Company::with("");
        let (tokens, file) =
            company.tokens(&[("anna", "send,read"), ("anna-laptop", "send"), ("bert", "send")]);
        let text = std::fs::read_to_string(&file).unwrap();
        let line = text.lines().find(|line| line.contains("anna-laptop")).unwrap();
        let text = text.replace(line, &line.replace("may: [send]}", "may: [send], principal: anna}"));
        assert!(text.contains("principal: anna"));
        company.write("tokens.yaml", text);
        let http = format!("http: {{listen: 127.0.0.1:0, tokens: {}}}\n", file.display());
        company.write("ledgerflow.yaml", http + "ingest: {tick_ms: 100}\n");
        let [anna, laptop, bert] = tokens.try_into().unwrap();
        Self { company, anna, laptop, bert }
    }

    /// Sends an event with that token, as whoever it may claim to be; outcome and reason.
    #[track_caller]
    fn send(&self, running: &Running, token: &str, event: &Value) -> (String, String) {
        let mut client = Client::of(running);
        client.token = Some(token.to_owned());
        let claims = [("Content-Type", JSON), ("ledgerflow-principal", "dora"), ("X-Forwarded-User", "dora")];
        let reply = client.ask(
            "POST",
            "/v1/events?wait=booked&timeout_seconds=60",
            &claims,
            event.to_string().as_bytes(),
        );
        let said = reply.is(200);
        let text = |field: &str| said["events"][0][field].as_str().unwrap_or_default().to_owned();
        (text("outcome"), text("reason"))
    }

    fn cli(&self, arguments: &[&str]) -> Said {
        self.company.cli(arguments)
    }

    /// Adjustments that wait: id, who proposed it, account and amount of each leg.
    fn waiting(&self) -> Vec<[String; 4]> {
        let said = self.cli(&["adjustments", "list", "-o", "json"]).ends(0).json();
        let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
        let row = |row: &Value| ["adjustment", "proposed_by", "account", "amount"].map(|of| text(row, of));
        said.as_array().unwrap().iter().map(row).collect()
    }
}

fn now() -> String {
    schemas::dates::format_instant(stream::clock::wall_us())
}

/// An event with claims of its own about who sends it.
fn event(id: &str, source: &str, kind: &str, mut data: Value) -> Value {
    for claim in ["principal", "proposed_by", "approved_by"] {
        data[claim] = "dora".into();
    }
    json!({
        "specversion": "1.0", "id": id, "source": source, "type": kind, "partitionkey": "p-1", "subject": source,
        "time": now(), "principal": "dora", "ledgerflowprincipal": "dora", "data": data,
    })
}

fn proposed(id: &str, source: &str) -> Value {
    let leg = |account: &str, side: &str| json!({"account": account, "side": side, "asset": "CNY", "amount": "3.00"});
    let legs = [leg("platform:revenue:commission", "debit"), leg("merchants:7:payable", "credit")];
    event(id, source, "adjustment.proposed", json!({"legs": legs, "reason": "commission taken twice"}))
}

fn approved(id: &str, source: &str) -> Value {
    event(id, source, "adjustment.approved", json!({"proposal": "p-1", "proposal_source": "desk"}))
}

#[track_caller]
fn refused(said: &(String, String), reason: &str) {
    assert!(said.0 == "refused" && said.1.starts_with(reason), "{said:?}, expected {reason}");
}

#[test]
fn nobody_approves_his_own_adjustment_under_another_name() {
    let desk = Desk::new();
    let running = desk.company.run();
    assert_eq!(desk.send(&running, &desk.anna, &proposed("p-1", "desk")).0, "booked");
    assert_eq!(
        desk.waiting(),
        [
            ["p-1", "anna", "platform:revenue:commission", "3.00"],
            ["p-1", "anna", "merchants:7:payable", "3.00"]
        ]
    );
    // Another source, another subject, another token, other claims: it is she all the same.
    for (token, id, source) in
        [(&desk.anna, "a-1", "desk"), (&desk.anna, "a-2", "bert"), (&desk.laptop, "a-3", "bert")]
    {
        refused(&desk.send(&running, token, &approved(id, source)), "self_approval");
    }
    desk.cli(&["balance", "merchants:7:payable"]).ends(4);
    // The proposal outlives its process.
    running.stop();
    let running = desk.company.run();
    assert_eq!(desk.waiting().len(), 2);
    let listed = desk.cli(&["adjustments", "list", "-o", "json"]).ends(0).json();
    assert_eq!(listed[0]["note"], "commission taken twice", "{listed}");
    refused(&desk.send(&running, &desk.anna, &approved("a-4", "other")), "self_approval");
    assert_eq!(desk.send(&running, &desk.bert, &approved("a-5", "desk")).0, "booked");
    refused(&desk.send(&running, &desk.bert, &approved("a-6", "desk")), "proposal_not_open");
    assert_eq!(desk.send(&running, &desk.bert, &approved("a-5", "desk")).0, "duplicate");
    let shown = || {
        (desk.company.balances(&desk.company.books(), "merchants:").values().next()? == "3.00").then_some(())
    };
    assert!(
        within(PATIENCE, shown).is_some(),
        "{:?}",
        desk.company.balances(&desk.company.books(), "merchants:")
    );
    assert!(desk.waiting().is_empty());
    let trace = desk.cli(&["trace", "a-5", "-o", "json"]).ends(0).json();
    let decision =
        trace["decisions"].as_array().unwrap().iter().find(|row| row["outcome"] == "booked").unwrap();
    let told = ["principal", "proposed_by", "about"].map(|of| decision[of].as_str());
    assert_eq!(told, [Some("bert"), Some("anna"), Some("p-1")], "{trace}");
    let trace = desk.cli(&["trace", "p-1", "-o", "json"]).ends(0).json();
    assert_eq!(trace["decisions"][0]["principal"], "anna", "{trace}");
    assert_eq!(trace["decisions"][0]["about"], Value::Null, "{trace}");
    let later = trace["later"].as_array().unwrap().iter();
    let booked: Vec<&Value> = later.filter(|row| row["outcome"] == "booked").collect();
    let told = ["what", "event", "amount"].map(|of| booked[0][of].as_str());
    assert_eq!((booked.len(), told), (1, [Some("approval"), Some("a-5"), Some("3.00")]), "{trace}");
    assert_eq!(trace["decisions"][0]["note"], "commission taken twice", "{trace}");
    running.stop();
    desk.company.is_whole();
}

/// What one is proposed with on the command line.
const PROPOSE: [&str; 14] = [
    "adjustments",
    "propose",
    "--id",
    "p-1",
    "--debit",
    "platform:revenue:commission",
    "--credit",
    "merchants:7:payable",
    "--asset",
    "CNY",
    "--amount",
    "3.00",
    "--reason",
    "commission taken twice",
];

/// What is left to do is said when the outcome is known, and not before.
#[test]
fn what_a_proposal_leaves_to_be_done_is_told_by_its_outcome() {
    let desk = Desk::new();
    let running = desk.company.run();
    let next = "another principal approves it with `adjustments approve p-1`";
    for (outcome, first) in [("booked", "nothing is booked yet: "), ("duplicate", "it was proposed before; ")]
    {
        let said = desk.cli(&PROPOSE).ends(0);
        assert!(said.out.contains(outcome) && said.err.contains(first), "{said:?}");
        assert!(said.err.contains(next), "{said:?}");
    }
    let nowhere = PROPOSE.map(|word| match word {
        "p-1" => "p-2",
        "merchants:7:payable" => "nowhere:7:payable",
        word => word,
    });
    let said = desk.cli(&nowhere).ends(3);
    assert!(said.err.contains("the proposal is dead-lettered: unknown_account"), "{said:?}");
    assert!(said.err.contains("nothing waits to be approved"), "{said:?}");
    assert!(!said.err.contains("another principal approves it"), "{said:?}");
    running.stop();
}

#[test]
fn the_command_line_is_the_user_who_runs_it() {
    let desk = Desk::new();
    let me = format!("unix:{}", rustix::process::geteuid().as_raw());
    // Nobody vouches for whoever opens a directory that no pipeline runs on: who may do that may write anything there.
    let running = desk.company.run();
    running.stop();
    let said = desk.cli(&PROPOSE);
    assert!(said.code != Some(0) && said.err.contains("nobody vouches for who you are"), "{said:?}");
    let running = desk.company.run();
    let said = desk.cli(&PROPOSE).ends(0);
    assert!(said.out.contains("booked"), "{said:?}");
    assert_eq!(desk.waiting().iter().map(|row| row[1].clone()).collect::<Vec<_>>(), [me.clone(), me.clone()]);
    let said = desk.cli(&["adjustments", "approve", "p-1"]);
    assert!(said.out.contains("self_approval"), "{said:?}");
    // Whoever writes to the socket can say what it wants.
    let forged = json!({
        "ask": "adjust", "what": {"do": "approve", "id": "p-1", "source": null}, "principal": "bert",
    });
    let Ok(Question::Adjust { principal, .. }) = serde_json::from_value(forged) else { panic!("a question") };
    assert_eq!(principal, "", "a question brings no principal with it");
    let sent = approved("a-1", "desk")
        .to_string()
        .replace(r#""proposal_source":"desk""#, r#""proposal_source":"/ledgerflow/adjustments""#);
    running.ask(&Question::send(0, vec![Text::Utf8(sent.clone())])).unwrap();
    let told = || {
        let said = desk.cli(&["trace", "a-1", "-o", "json"]);
        (said.code == Some(0)).then(|| said.json())?["decisions"][0]["reason"].as_str().map(str::to_owned)
    };
    let reason = within(PATIENCE, told).unwrap();
    assert!(reason.starts_with("self_approval"), "{reason}");
    let sent = sent.replace("\"a-1\"", "\"a-2\"");
    assert_eq!(desk.send(&running, &desk.bert, &serde_json::from_str(&sent).unwrap()).0, "booked");
    assert!(desk.waiting().is_empty());
    let said = desk.cli(&["adjustments", "approve", "p-1"]).ends(4);
    assert!(said.err.contains("no adjustment \"p-1\" waits"), "{said:?}");
    // One's own proposal may be taken back.
    let again = PROPOSE.map(|word| if word == "p-1" { "p-2" } else { word });
    desk.cli(&again).ends(0);
    let said = desk.cli(&["adjustments", "reject", "p-2", "-o", "json"]).ends(0);
    assert_eq!(said.json()[0]["outcome"], "booked", "{said:?}");
    let rejection = said.json()[0]["event"].as_str().unwrap().to_owned();
    let trace = desk.cli(&["trace", &rejection, "-o", "json"]).ends(0).json();
    assert!(trace["decisions"].as_array().unwrap().iter().all(|row| row["about"] == "p-2"), "{trace}");
    assert!(desk.waiting().is_empty());
    running.stop();
    desk.company.is_whole();
}

#[test]
fn without_tokens_nobody_is_known() {
    let company = Company::with("http: {listen: 127.0.0.1:0}\ningest: {tick_ms: 100}\n");
    let running = company.run();
    let client = Client::of(&running);
    let said =
        client.post("?wait=booked&timeout_seconds=60", JSON, proposed("p-1", "desk").to_string()).is(200);
    assert!(said["events"][0]["reason"].as_str().unwrap().starts_with("no_principal"), "{said}");
    assert_eq!(client.get("/v1/adjustments").is(200)["adjustments"], json!([]));
    running.stop();
    company.is_whole();
}

/// A transfer to users:9 whose home is that of a key.
fn paid(id: &str, key: &str) -> Value {
    let data = json!({"from": "funding:cash", "to": "users:9:wallet", "asset": "CNY", "amount": "2.00"});
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": "transfer", "partitionkey": key,
        "time": now(), "data": data,
    })
}

fn frozen(id: &str, kind: &str) -> Value {
    json!({
        "specversion": "1.0", "id": id, "source": "/shop", "type": kind, "partitionkey": "users:9", "time": now(),
        "data": {"account": "users:9:wallet"},
    })
}

#[test]
fn what_lies_in_suspense_is_moved_with_four_eyes() {
    let desk = Desk::new();
    let running = desk.company.run();
    assert_eq!(desk.send(&running, &desk.anna, &frozen("f-1", "account.frozen")).0, "booked");
    // Those that are decided where the account lives are refused; the others have been decided when they come there.
    let decided: Vec<bool> = (0..12)
        .map(|n| desk.send(&running, &desk.anna, &paid(&format!("t-{n}"), &format!("k-{n}"))).0 == "booked")
        .collect();
    let away = decided.iter().filter(|booked| **booked).count();
    assert!(away >= 2, "{decided:?}");
    let list = || desk.cli(&["suspense", "list", "-o", "json"]).ends(0).json().as_array().unwrap().clone();
    let all = within(PATIENCE, || Some(list()).filter(|cases| cases.len() == away));
    let all = all.unwrap_or_else(|| panic!("{:?}", list()));
    for case in &all {
        let told = ["amount", "meant_for", "reason", "state"].map(|of| case[of].as_str().unwrap());
        assert_eq!(told, ["2.00", "users:9:wallet", "account_frozen", "open"], "{case}");
    }
    let name = |n: usize| all[n]["case"].as_str().unwrap().to_owned();
    let said = desk.cli(&["suspense", "redirect", &name(0), "users:8:wallet"]).ends(0);
    let id = desk.waiting()[0][0].clone();
    assert!(said.out.contains("booked"), "{said:?}");
    let next =
        format!("nothing is booked yet: another principal approves it with `adjustments approve {id}`");
    assert!(said.err.contains(&next), "{said:?}");
    let said = desk.cli(&["suspense", "retry", &name(0)]);
    assert!(said.out.contains("case_not_open"), "{said:?}");
    let nothing = "the proposal is refused: case_not_open: ";
    assert!(said.err.contains(nothing) && said.err.contains("; nothing waits to be approved"), "{said:?}");
    assert!(!said.err.contains("another principal approves it"), "{said:?}");
    desk.cli(&["suspense", "retry", "p99-p00-1"]).ends(4);
    assert_eq!(list().iter().filter(|case| case["state"] == "proposed").count(), 1);
    let waits = || desk.cli(&["adjustments", "list", "-o", "json"]).ends(0).json()[0].clone();
    let approve = |id: &str, token: &str| {
        let row = waits();
        let text = |of: &str| row[of].as_str().unwrap().to_owned();
        let data = json!({"proposal": text("adjustment"), "proposal_source": text("source")});
        let mut event = event(id, "desk", "adjustment.approved", data);
        event["partitionkey"] = text("partitionkey").into();
        desk.send(&running, token, &event)
    };
    assert_eq!(waits()["case"], name(0));
    let said = desk.cli(&["adjustments", "approve", waits()["adjustment"].as_str().unwrap()]);
    assert!(said.out.contains("self_approval"), "{said:?}");
    assert_eq!(approve("a-1", &desk.bert).0, "booked");
    assert_eq!(list().len(), away - 1);
    let shows = |account: &str, balance: &str| {
        let balances = || desk.company.balances(&desk.company.books(), "users:");
        let shown = || (balances().get(account)? == balance).then_some(());
        assert!(within(PATIENCE, shown).is_some(), "{account} {:?}", balances());
    };
    shows("users:8:wallet", "2.00");
    // Where it was meant to go, when that can take it again.
    desk.cli(&["suspense", "retry", &name(1)]).ends(0);
    refused(&approve("a-2", &desk.bert), "account_frozen");
    assert_eq!(desk.send(&running, &desk.anna, &frozen("f-2", "account.unfrozen")).0, "booked");
    assert_eq!(approve("a-3", &desk.bert).0, "booked");
    shows("users:9:wallet", "2.00");
    assert_eq!(list().len(), away - 2);
    let mut client = Client::of(&running);
    client.token = Some(desk.anna.clone());
    assert_eq!(client.get("/v1/suspense").is(200)["suspense"], json!(list()));
    running.stop();
    desk.company.is_whole();
}
