//! Two programs in turn over one log: an older version and this build, each going on with what the other one left.
//!
//! A turn is a business day: start -> the days before close -> what the other program has begun is ended (holds captured,
//! payments given back, ids recognised), more is begun -> stop, or `kill -9` with events on their way. After each turn both
//! programs audit and verify the books, and the wallets hold what was sent. `UPGRADE_OLD` is the older program (`.ci/upgrade`
//! builds it); without it this build takes both parts, which shows no more than that the turns work. `ROUNDS` repeats them.

use crate::company::{Company, Running};
use crate::kill::variable;
use ledgerflow_tests::bill::{self, ACCOUNT, BillRow};
use ledgerflow_tests::events::yuan;
use ledgerflow_tests::proof::Proof;
use schemas::dates::Day;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

const FIRST_DAY: &str = "2026-04-01";
const USERS: u64 = 8;
/// Of each day: paid into each wallet, paid on, on hold, given together with another payer.
const FUNDED: i64 = 10_000;
const PAID: i64 = 130;
const HELD: i64 = 500;
const SHARED: i64 = 70;
/// Events that are on their way when a program is killed.
const ON_THEIR_WAY: u64 = 300;

/// How a turn ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Stopped,
    Killed,
}

/// The books over all turns: what lies in them, and what must come of it.
struct Turns {
    company: Company,
    day: Day,
    /// Which turn this is, from 1.
    number: u64,
    wallets: BTreeMap<String, i64>,
    /// Sent, and nobody knows whether it was taken.
    unknown: Option<String>,
}

fn owner(user: u64) -> String {
    format!("users:{}", user % USERS)
}

fn wallet(user: u64) -> String {
    format!("{}:wallet", owner(user))
}

fn amount(cents: i64) -> String {
    yuan(u64::try_from(cents).unwrap())
}

impl Turns {
    fn event(&self, id: &str, kind: &str, subject: &str, data: &Value) -> String {
        let time = format!("{}T11:00:00Z", self.day);
        json!({ "specversion": "1.0", "id": id, "source": "/upgrade", "type": kind, "subject": subject, "time": time, "data": data })
            .to_string()
    }

    fn transfer(&mut self, id: &str, (from, to): (&str, &str), cents: i64, counts: bool) -> String {
        if counts {
            *self.wallets.entry(from.to_owned()).or_default() -= cents;
            *self.wallets.entry(to.to_owned()).or_default() += cents;
        }
        let subject = to.trim_end_matches(":wallet").to_owned();
        let data = json!({ "from": from, "to": to, "asset": "CNY", "amount": amount(cents) });
        self.event(id, "transfer", &subject, &data)
    }

    /// Money for everybody: with it the rest of the day has what it needs.
    fn funding(&mut self, turn: u64) -> Vec<(String, &'static str)> {
        (0..USERS)
            .map(|user| {
                let event =
                    self.transfer(&format!("f-{turn}-{user}"), ("funding:cash", &wallet(user)), FUNDED, true);
                (event, "booked")
            })
            .collect()
    }

    /// The day's payments, in both directions, with those that are refused.
    fn payments(&mut self, turn: u64) -> Vec<(String, &'static str)> {
        let mut events = Vec::new();
        for user in 0..USERS {
            let (from, to) = (wallet(user), wallet(user + 1));
            events.push((self.transfer(&format!("t-{turn}-{user}"), (&from, &to), PAID, true), "booked"));
            events.push((
                self.transfer(&format!("n-{turn}-{user}"), (&from, &to), 90_000_000, false),
                "refused",
            ));
            let leg = |user, side: &str, cents| json!({ "account": wallet(user), "side": side, "asset": "CNY", "amount": amount(cents) });
            let legs = [
                leg(user, "debit", SHARED),
                leg(user + 1, "debit", SHARED),
                leg(user + 2, "credit", 2 * SHARED),
            ];
            for (of, cents) in [(user, -SHARED), (user + 1, -SHARED), (user + 2, 2 * SHARED)] {
                *self.wallets.entry(wallet(of)).or_default() += cents;
            }
            events.push((
                self.event(&format!("g-{turn}-{user}"), "transfer", &owner(user), &json!({ "legs": legs })),
                "booked",
            ));
            let data = json!({ "account": from, "asset": "CNY", "amount": amount(HELD) });
            events.push((
                self.event(&format!("h-{turn}-{user}"), "hold.placed", &owner(user), &data),
                "booked",
            ));
        }
        let data = json!({
            "order_id": format!("order-{turn}"), "merchant_id": "7", "provider": "wechat", "provider_account": ACCOUNT,
            "currency": "CNY", "amount": "12.50", "fee": "0.08",
        });
        events.push((
            self.event(&format!("o-{turn}"), "order.paid", &format!("orders/{turn}"), &data),
            "booked",
        ));
        events
    }

    /// What ends what the turn before has begun, under the other program.
    fn endings(&mut self, before: u64) -> Vec<(String, &'static str)> {
        let mut events = Vec::new();
        for user in 0..USERS {
            let (from, to) = (wallet(user), wallet(user + 1));
            events
                .push((self.transfer(&format!("t-{before}-{user}"), (&from, &to), PAID, false), "duplicate"));
            events.push((
                self.transfer(&format!("t-{before}-{user}"), (&from, &to), PAID + 1, false),
                "refused",
            ));
            let data = json!({
                "hold": format!("h-{before}-{user}"), "account": from, "to": to, "asset": "CNY", "amount": amount(HELD), "final": true,
            });
            *self.wallets.entry(from).or_default() -= HELD;
            *self.wallets.entry(to).or_default() += HELD;
            events.push((
                self.event(&format!("c-{before}-{user}"), "hold.captured", &owner(user), &data),
                "booked",
            ));
        }
        // Where the payee is at home, there its event is known.
        let (from, to) = (wallet(0), wallet(1));
        let data = json!({ "event": format!("t-{before}-0") });
        events.push((self.event(&format!("r-{before}"), "event.reversed", &owner(1), &data), "booked"));
        *self.wallets.entry(from).or_default() += PAID;
        *self.wallets.entry(to).or_default() -= PAID;
        events
    }

    /// Sends events and compares what became of them.
    #[track_caller]
    fn send(&self, running: &Running, events: &[(String, &'static str)]) {
        let lines: String = events.iter().map(|(event, _)| format!("{event}\n")).collect();
        let file = self.company.write("events.jsonl", lines).display().to_string();
        let said = self.company.cli(&["send", &file, "--wait", "-o", "json"]).ends(0).json();
        // Rows stand in the order of partitions.
        let row = |row: &Value| ["event", "outcome"].map(|of| row[of].as_str().unwrap().to_owned());
        let mut found: Vec<[String; 2]> = said.as_array().unwrap().iter().map(row).collect();
        let id =
            |event: &str| serde_json::from_str::<Value>(event).unwrap()["id"].as_str().unwrap().to_owned();
        let mut due: Vec<[String; 2]> =
            events.iter().map(|(event, outcome)| [id(event), (*outcome).to_owned()]).collect();
        found.sort();
        due.sort();
        assert_eq!(found, due, "{}", running.err());
        self.company.comes_to_rest(running);
    }

    /// Events that are on their way when the program dies; whether it has taken them nobody knows.
    fn send_and_kill(&mut self, running: Running, turn: u64) {
        let lines: String = (0..ON_THEIR_WAY)
            .map(|number| {
                let (from, to) = (wallet(number), wallet(number + 3));
                self.transfer(&format!("k-{turn}-{number}"), (&from, &to), 1, true) + "\n"
            })
            .collect();
        let file = self.company.write("unknown.jsonl", &lines).display().to_string();
        self.company.cli(&["send", &file]).ends(0);
        self.unknown = Some(file);
        // Its handle goes, and with it the process, by SIGKILL.
        drop(running);
    }

    /// One day under one program.
    fn turn(&mut self, program: &std::path::Path, end: End) {
        self.company.works_with(program);
        self.company.set_clock(&format!("{}T12:00:00Z", self.day));
        let running = self.company.run();
        self.company.cli(&["verify"]).ends(0);
        if let Some(file) = self.unknown.take() {
            let said = self.company.cli(&["send", &file, "--wait", "-o", "json"]).ends(0).json();
            let known = |row: &Value| ["booked", "duplicate"].contains(&row["outcome"].as_str().unwrap());
            assert!(said.as_array().unwrap().iter().all(known), "{said}");
        }
        self.company.closes_its_days(&running);
        let turn = self.number;
        let funding = self.funding(turn);
        self.send(&running, &funding);
        if turn > 1 {
            let endings = self.endings(turn - 1);
            self.send(&running, &endings);
        }
        let payments = self.payments(turn);
        self.send(&running, &payments);
        self.import(turn);
        match end {
            End::Stopped => drop(running.stop()),
            End::Killed => self.send_and_kill(running, turn),
        }
        self.number += 1;
        self.day = self.day.next();
    }

    /// The provider's bill of the day's order.
    fn import(&self, turn: u64) {
        let (time, order) = (format!("{} 19:00:00", self.day), format!("order-{turn}"));
        let bill = bill::text(&[BillRow { time, order, refund: None, cents: 1_250, fee_cents: 8 }]);
        let bill = self.company.write(&format!("bill-{turn}.csv"), bill).display().to_string();
        self.company.cli(&["bill", &bill, "--source", "wechat"]).ends(0);
    }

    /// The books at rest are right, whoever reads them.
    fn are_right(&mut self, readers: &[PathBuf]) {
        for program in readers {
            self.company.works_with(program);
            self.company.is_whole();
            let shown = self.company.balances(&self.company.books(), "users:").into_iter();
            let shown: BTreeMap<String, i64> = shown
                .map(|(account, balance)| (account, balance.replace('.', "").parse().unwrap()))
                .collect();
            let mut due = self.wallets.clone();
            due.retain(|account, _| account.starts_with("users:"));
            assert_eq!(shown, due, "{}", program.display());
            assert_eq!(self.company.cases()["matched"], self.number - 1, "{}", program.display());
        }
    }
}

#[test]
fn old_and_new_take_turns_over_one_log() {
    let new = PathBuf::from(env!("CARGO_BIN_EXE_ledgerflow"));
    let old = std::env::var_os("UPGRADE_OLD").map(PathBuf::from);
    let mut proof = old.as_ref().map(|_| Proof::of("upgrade"));
    let (old, turns) = match old {
        Some(old) => {
            let once = [End::Stopped, End::Stopped, End::Killed, End::Killed, End::Stopped, End::Stopped];
            (old, once.repeat(usize::try_from(variable("ROUNDS").unwrap_or(1)).unwrap()))
        }
        None => (new.clone(), vec![End::Stopped, End::Killed, End::Stopped]),
    };
    let day = Day::parse(FIRST_DAY).unwrap();
    let mut books =
        Turns { company: Company::new(), day, number: 1, wallets: BTreeMap::new(), unknown: None };
    let readers = if old == new { vec![new.clone()] } else { vec![old.clone(), new.clone()] };
    for (number, end) in turns.into_iter().enumerate() {
        let program = if number % 2 == 0 { &old } else { &new };
        println!("turn {}: {} {end:?}", number + 1, program.display());
        books.turn(program, end);
        if end == End::Stopped {
            books.are_right(&readers);
        }
        if let Some(proof) = &mut proof {
            proof.count("turns", 1);
            proof.count("kills", u64::from(end == End::Killed));
        }
    }
}
