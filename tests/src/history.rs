//! A random day of a payment company, and what must come of it whatever happens to the machines.
//!
//! Made whole before the first step, from a plan: transfers within and across partitions and beyond what is there,
//! payments, refunds, payouts, events sent twice, ids used for two bodies, events nobody can read, events of days
//! long gone, and the provider's bill for the payments with planted differences, drawn one after the other from those
//! generators that the plan has. The order in which they are booked is not fixed, so that an expectation says only what
//! holds in every order.

use crate::bill::{self, ACCOUNT, BillRow};
use crate::books::{Books, Fate};
use crate::events::{Event, yuan};
use crate::operator::VERDICT;
use crate::plan::Plan;
use serde_json::json;
use std::collections::BTreeMap;
use stream::sim::Prng;

/// The business day that ends in the middle of the traffic.
pub const DAY: &str = "2026-03-15";
/// When it ends: 2026-03-16T00:00:00+08:00.
pub const CUT_OVER: &str = "2026-03-15T16:00:00Z";
const NOON: &str = "2026-03-15T12:00:00+08:00";
const NEXT_MORNING: &str = "2026-03-16T08:00:00+08:00";
const LONG_GONE: &str = "2026-03-01T08:00:00+08:00";

const USERS: u64 = 8;

/// A rule of the company's own, behind those that are built in: it lets an account go below zero.
pub const OWN_RULE: &str = r#"
  - type: charge.drawn
    legs:
      - { debit: "{data.from}", asset: CNY, amount: data.amount, overdraft: data.overdraft }
      - { debit: "{data.other}", asset: CNY, amount: data.amount, overdraft: "15.00", if_present: data.other }
      - { credit: "{data.to}", asset: CNY, amount: data.amount }
      - { credit: "{data.to}", asset: CNY, amount: data.amount, if_present: data.other }
  - type: wallet.swept
    at_most: debit
    legs:
      - { debit: "{data.from}", asset: CNY, amount: data.amount }
      - { credit: "bank:main", asset: CNY, amount: data.amount }
"#;

/// Accounts of the company's own, behind those that are built in: they may be moved so much and so often in two seconds.
pub const OWN_ACCOUNTS: &str = r#"
  - { pattern: "riders:*:card", normal: credit, limit: { overdraft: "60" }, velocity: [{ side: debit, window_s: 2, amount_max: "30", count_max: 3 }] }
"#;

/// What must become of an id's first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    Booked,
    /// Booked, or refused for want of funds: it depends on what came before.
    IfFunded,
    /// Booked, or refused for what it says of a hold or a proposal: it depends on what came before, and on the lane.
    IfOpen,
    /// Booked, or refused for what it says of the event that it gives back: it depends on what came before.
    IfThere,
    /// Booked, or refused for want of funds, or as too much was moved: it depends on the time, too.
    IfSlow,
}

/// One thing that comes from outside.
#[derive(Debug, Clone)]
pub enum Arrival {
    /// An event on a lane's partition.
    Event {
        /// Lane, 0 high.
        lane: usize,
        /// Partition of the lane, below any number of them after a remainder.
        partition: u32,
        /// Record value.
        value: Vec<u8>,
    },
    /// The bill file.
    Bill(Vec<u8>),
}

/// Its name in a plan, its weight, and what it makes.
type Generator = (&'static str, u64, fn(&mut History));

/// What a history is drawn from: its name in a plan, how often beside the others, and one more of it.
const GENERATORS: [Generator; 13] = [
    ("transfers", 30, History::transfer),
    ("several_payers", 3, History::several_payers),
    ("linked", 4, History::linked),
    ("holds", 8, History::hold),
    ("statuses", 3, History::status),
    ("overdrafts", 7, History::overdraft),
    ("cards", 12, History::card),
    ("sweeps", 4, History::sweep),
    ("exchanges", 4, History::exchange),
    ("descriptions", 5, History::description),
    ("adjustments", 8, History::adjustment),
    ("payments", 18, History::payment),
    ("unreadable", 6, History::unreadable),
];

/// A history and its expectations.
#[derive(Debug)]
pub struct History {
    /// Of what is made just now.
    prng: Prng,
    events: u64,
    orders: u64,
    /// Whether events are given back, and ids used twice.
    gives_back: bool,
    uses_ids_twice: bool,
    /// Whether ids are forgotten soon.
    forgets: bool,
    /// Where each stands among the others, and what arrives.
    drawn: Vec<(u64, Arrival)>,
    /// In the order in which they arrive.
    pub arrivals: Vec<Arrival>,
    expected: BTreeMap<String, (Expect, usize)>,
    conflicting: Vec<String>,
    unreadable: BTreeMap<Vec<u8>, &'static str>,
    cases: Vec<(String, &'static str)>,
    rows: Vec<BillRow>,
}

impl History {
    /// The history of a plan.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut history = Self {
            prng: plan.own("funding"),
            events: 0,
            orders: 0,
            gives_back: plan.has("refunds"),
            uses_ids_twice: plan.has("conflicts"),
            forgets: plan.forgets,
            drawn: Vec::new(),
            arrivals: Vec::new(),
            expected: BTreeMap::new(),
            conflicting: Vec::new(),
            unreadable: BTreeMap::new(),
            cases: Vec::new(),
            rows: Vec::new(),
        };
        history.fund();
        for number in 0..plan.units {
            history.unit(plan, number);
        }
        if !history.rows.is_empty() {
            history.prng = plan.own("bill");
            history.bill();
        }
        history.drawn.sort_by_key(|(place, _)| *place);
        history.arrivals = history.drawn.drain(..).map(|(_, arrival)| arrival).collect();
        history
    }

    /// One thing more, drawn by itself: what is left out leaves the others as they are, and where they are.
    fn unit(&mut self, plan: &Plan, number: u64) {
        self.prng = plan.own(&format!("unit {number}"));
        let mut drawn = self.prng.below(GENERATORS.iter().map(|(_, weight, _)| weight).sum());
        for (name, weight, generate) in GENERATORS {
            match drawn.checked_sub(weight) {
                Some(rest) => drawn = rest,
                // Which day a parked payment is booked on depends on who judges it, and so does its case; a proposal that
                // is forgotten is taken once more.
                None if plan.forgets && ["payments", "adjustments"].contains(&name) => return,
                None if plan.has(name) => return generate(self),
                None => return,
            }
        }
    }

    fn bill(&mut self) {
        let bill = Arrival::Bill(bill::text(&self.rows));
        self.drawn.push((self.prng.next_u64(), bill.clone()));
        if self.prng.below(4) == 0 {
            self.drawn.push((u64::MAX, bill));
        }
    }

    fn id(&mut self) -> String {
        self.events += 1;
        format!("e-{}", self.events)
    }

    fn wallet(&mut self) -> String {
        format!("users:{}:wallet", self.prng.below(USERS))
    }

    fn time(&mut self) -> &'static str {
        [NOON, NOON, NOON, NEXT_MORNING, NEXT_MORNING, LONG_GONE][self.prng.index(6)]
    }

    /// Sends an event, now and then twice.
    fn send(&mut self, event: &Event, expect: Expect) {
        let times = if self.prng.below(6) == 0 { 2 + self.prng.index(2) } else { 1 };
        (0..times).for_each(|_| self.arrive(event.to_bytes()));
        let known = self.expected.entry(event.id.clone()).or_insert((expect, 0));
        known.1 += times;
    }

    fn arrive(&mut self, value: Vec<u8>) {
        let (lane, partition) = (self.prng.index(3), self.prng.below(16) as u32);
        self.drawn.push((self.prng.next_u64(), Arrival::Event { lane, partition, value }));
    }

    fn transfer(&mut self) {
        let (id, from, to, time) = (self.id(), self.wallet(), self.wallet(), self.time());
        let cents = 1 + self.prng.below(9_000);
        let subject = if self.prng.below(2) == 0 { from.clone() } else { self.wallet() };
        if from == to {
            return;
        }
        let event = Event::transfer(&id, &subject, time, (&from, &to), &yuan(cents));
        self.send(&event, Expect::IfFunded);
        if self.gives_back && self.prng.below(4) == 0 {
            self.give_back(&event, cents);
        }
        if self.uses_ids_twice && self.prng.below(8) == 0 {
            let other = Event::transfer(&id, &subject, time, (&from, &to), &yuan(cents + 1));
            self.send(&other, Expect::IfFunded);
            self.conflicting.push(id);
        }
    }

    fn several_payers(&mut self) {
        let (id, time) = (self.id(), self.time());
        let leg = |account: &str, side: &str, amount: &str| json!({ "account": account, "side": side, "asset": "CNY", "amount": amount });
        let legs = [
            leg("users:1:wallet", "debit", "1"),
            leg("users:2:wallet", "debit", "1"),
            leg("bank:main", "credit", "2"),
        ];
        let mut event = Event::transfer(&id, "users:1", time, ("", ""), "");
        event.data = json!({ "legs": legs });
        self.send(&event, Expect::IfFunded);
    }

    /// Money of one asset becomes money of another, at home or elsewhere.
    fn exchange(&mut self) {
        let (id, account, time) = (self.id(), self.wallet(), self.time().into());
        let subject = if self.prng.below(2) == 0 { account.clone() } else { self.wallet() };
        let cents = 1 + self.prng.below(700);
        let data = json!({ "account": account, "bank": "icbc", "from_asset": "CNY", "from_amount": yuan(7 * cents),
            "to_asset": "USD", "to_amount": yuan(cents), "rate": "7" });
        self.send(&Event { id, kind: "currency.exchanged", subject, time, data }, Expect::IfFunded);
    }

    /// Transfers that are booked all or not at all, and now and then given back together.
    fn linked(&mut self) {
        let (id, time, subject) = (self.id(), self.time(), self.wallet());
        let members: Vec<_> = (0..2 + self.prng.below(2))
            .map(|_| {
                let (from, to, cents) = (self.wallet(), self.wallet(), 1 + self.prng.below(2_000));
                let data = json!({ "from": from, "to": to, "asset": "CNY", "amount": yuan(cents) });
                json!({ "type": "transfer", "data": data })
            })
            .collect();
        let mut event = Event::transfer(&id, &subject, time, ("", ""), "");
        (event.kind, event.data) = ("events.linked", json!({ "events": members, "job_id": "linked" }));
        self.send(&event, Expect::IfFunded);
        if self.gives_back && self.prng.below(2) == 0 {
            let (id, data) = (self.id(), json!({ "event": event.id }));
            self.send(&Event { id, kind: "event.reversed", data, ..event }, Expect::IfThere);
        }
    }

    /// A transfer is given back, whole or in parts, in any order and by any lane.
    fn give_back(&mut self, transfer: &Event, cents: u64) {
        for _ in 0..1 + self.prng.below(3) {
            let id = self.id();
            let mut event = Event { id, kind: "event.reversed", ..transfer.clone() };
            event.data = json!({ "event": transfer.id });
            if self.prng.below(3) > 0 {
                let (from, to) = (&transfer.data["to"], &transfer.data["from"]);
                let part = yuan(1 + self.prng.below(cents));
                event.kind = "event.refunded";
                event.data =
                    json!({ "event": transfer.id, "from": from, "to": to, "asset": "CNY", "amount": part });
            }
            self.send(&event, Expect::IfThere);
        }
        let (id, data) = (self.id(), json!({ "event": "never" }));
        let nothing = Event { id, kind: "event.reversed", data, ..transfer.clone() };
        self.send(&nothing, Expect::IfThere);
    }

    /// Money on hold, captured in parts and released, in any order and by any lane.
    fn hold(&mut self) {
        let (hold, wallet, time) = (self.id(), self.wallet(), self.time());
        let subject = if self.prng.below(2) == 0 { "users:1".to_owned() } else { self.wallet() };
        let cents = 1 + self.prng.below(3_000);
        let event = |id: &str, kind, data| {
            let (id, subject, time) = (id.to_owned(), subject.clone(), time.into());
            Event { id, kind, subject, time, data }
        };
        let data = json!({ "account": wallet, "asset": "CNY", "amount": yuan(cents) });
        self.send(&event(&hold, "hold.placed", data), Expect::IfOpen);
        for part in 0..self.prng.below(3) {
            let (id, to) = (self.id(), self.wallet());
            let data = json!({ "hold": hold, "account": wallet, "to": to, "asset": "CNY",
                "amount": yuan(1 + self.prng.below(cents)), "final": part == 1 });
            self.send(&event(&id, "hold.captured", data), Expect::IfOpen);
        }
        if self.prng.below(3) == 0 {
            let id = self.id();
            self.send(&event(&id, "hold.released", json!({ "hold": hold })), Expect::IfOpen);
        }
        if self.prng.below(4) == 0 {
            let id = self.id();
            self.send(&event(&id, "hold.released", json!({ "hold": "nothing" })), Expect::IfOpen);
        }
    }

    /// An account frozen and thawed, or one with a limit of its own.
    fn status(&mut self) {
        if self.prng.below(2) == 0 {
            for kind in ["account.frozen", "account.unfrozen"] {
                let (id, time) = (self.id(), self.time().into());
                let data = json!({ "account": "users:3:wallet", "side": "debit" });
                self.send(&Event { id, kind, subject: "users:3".into(), time, data }, Expect::Booked);
            }
            return;
        }
        let limits = [
            ("users:4:wallet", "min_balance", "1.00"),
            ("users:4:wallet", "overdraft", "0"),
            ("users:4:wallet", "overdraft", "chart"),
            ("users:5:credit", "overdraft", "0"),
        ];
        let (account, limit, figure) = limits[self.prng.index(limits.len())];
        let (id, kind, time, subject) = (self.id(), "account.limited", self.time().into(), self.wallet());
        let data = json!({ "account": account, "asset": "CNY", limit: figure });
        self.send(&Event { id, kind, subject, time, data }, Expect::Booked);
    }

    /// What is said of accounts, at their opening and later.
    fn description(&mut self) {
        let number = self.prng.below(5);
        let (id, time, subject) = (self.id(), self.time().into(), self.wallet());
        let kind = if number == 0 { "account.opened" } else { "account.described" };
        let (account, tier) = (self.wallet(), self.prng.below(3));
        let mut metadata = json!({ "tier": format!("tier {tier}") });
        metadata[format!("seen_{number}")] = if tier > 0 { json!(subject) } else { json!(null) };
        let data = json!({ "account": account, "metadata": metadata });
        self.send(&Event { id, kind, subject, time, data }, Expect::Booked);
    }

    /// Charges that take accounts further below zero than they may go by themselves, also those of several partitions.
    fn overdraft(&mut self) {
        let number = self.prng.below(6);
        let (id, to, time) = (self.id(), self.wallet(), self.time().into());
        let drawn = |prng: &mut Prng| format!("users:{}:credit", 4 + prng.below(3));
        let (from, other) = (drawn(&mut self.prng), drawn(&mut self.prng));
        let amount = yuan(1 + self.prng.below(2_000));
        let mut data = json!({ "from": from, "to": to, "amount": amount });
        if !number.is_multiple_of(3) {
            data["overdraft"] = json!(yuan(self.prng.below(3_000)));
        }
        if !number.is_multiple_of(2) {
            data["other"] = json!(other);
        }
        let subject = if self.prng.below(2) == 0 { from } else { self.wallet() };
        self.send(&Event { id, kind: "charge.drawn", subject, time, data }, Expect::IfFunded);
    }

    /// Payments by cards that may be moved so much and so often, within a partition and over two, and put on hold.
    fn card(&mut self) {
        let (id, to, time) = (self.id(), self.wallet(), self.time());
        let card = format!("riders:{}:card", self.prng.below(2));
        let subject = if self.prng.below(2) == 0 { card.clone() } else { self.wallet() };
        let amount = yuan(1 + self.prng.below(1_200));
        if self.prng.below(5) == 0 {
            let data = json!({ "account": card, "asset": "CNY", "amount": amount });
            let event = Event { id, kind: "hold.placed", subject, time: time.into(), data };
            self.send(&event, Expect::IfSlow);
            return;
        }
        let event = Event::transfer(&id, &subject, time, (&card, &to), &amount);
        self.send(&event, Expect::IfSlow);
        if self.gives_back && self.prng.below(4) == 0 {
            let (id, data) = (self.id(), json!({ "event": event.id }));
            self.send(&Event { id, kind: "event.reversed", data, ..event }, Expect::IfThere);
        }
    }

    /// What is in wallets goes to the bank, up to an amount.
    fn sweep(&mut self) {
        let (id, from, time) = (self.id(), self.wallet(), self.time().into());
        let subject = if self.prng.below(2) == 0 { from.clone() } else { self.wallet() };
        let data = json!({ "from": from, "amount": yuan(1 + self.prng.below(9_000)) });
        self.send(&Event { id, kind: "wallet.swept", subject, time, data }, Expect::IfFunded);
    }

    /// Adjustments proposed, approved and rejected in any order and by any lane: who sends them is whose lane it is. And
    /// moves of what may lie in suspense.
    fn adjustment(&mut self) {
        let (proposal, wallet, time) = (self.id(), self.wallet(), self.time());
        let subject = format!("desks:{}", self.prng.below(4));
        let event = |id: &str, kind, data| {
            let (id, subject, time) = (id.to_owned(), subject.clone(), time.into());
            Event { id, kind, subject, time, data }
        };
        let amount = yuan(1 + self.prng.below(3_000));
        let leg = |account: &str, side| json!({ "account": account, "side": side, "asset": "CNY", "amount": amount });
        let legs = match self.prng.below(3) {
            0 => [leg("bank:main", "debit"), leg(&wallet, "credit")],
            1 => [leg(&wallet, "debit"), leg("bank:main", "credit")],
            _ => [leg(&wallet, "debit"), leg(&self.wallet(), "credit")],
        };
        self.send(&event(&proposal, "adjustment.proposed", json!({ "legs": legs })), Expect::IfOpen);
        for _ in 0..2 + self.prng.below(3) {
            let id = self.id();
            let kind = if self.prng.below(6) == 0 { "adjustment.rejected" } else { "adjustment.approved" };
            self.send(&event(&id, kind, json!({ "proposal": proposal })), Expect::IfOpen);
        }
        let (id, case) = (self.id(), format!("p0{}-p0{}-1", self.prng.below(3), self.prng.below(3)));
        self.send(&event(&id, "suspense.retried", json!({ "case": case })), Expect::IfOpen);
        let approval = json!({ "proposal": id });
        let id = self.id();
        self.send(&event(&id, "adjustment.approved", approval), Expect::IfOpen);
    }

    /// A payment or a refund, nearly always of a day whose bill comes; a payout.
    fn payment(&mut self) {
        self.orders += 1;
        let number = self.orders;
        match self.prng.below(10) {
            // The next day's bill has not come: it waits.
            0 => self.pay(&format!("early-{number}"), None, (500, 3), NEXT_MORNING),
            1 => self.payout(),
            _ => self.billed(number),
        }
    }

    /// What is on the bill, ours, or both; the first one is always on it.
    fn billed(&mut self, number: u64) {
        let (order, cents, fee) =
            (format!("order-{number}"), 100 + self.prng.below(50_000), self.prng.below(60));
        let refund = (number % 4 == 3).then(|| format!("refund-{number}"));
        let differs = self.prng.below(8);
        if differs != 1 {
            self.pay(&order, refund.as_deref(), (cents, fee), NOON);
        }
        let time = format!("{DAY} 11:59:0{}", number % 10);
        let mut row = BillRow { time, order: order.clone(), refund: refund.clone(), cents, fee_cents: fee };
        let kind = match differs {
            0 if !self.rows.is_empty() => "ours_only",
            1 => "theirs_only",
            2 => {
                row.cents += 1;
                "amount"
            }
            3 => {
                row.fee_cents += 1;
                "fee"
            }
            _ => "matched",
        };
        if kind != "ours_only" {
            self.rows.push(row);
        }
        self.cases.push((format!("{order}/{}", refund.unwrap_or_default()), kind));
    }

    fn payout(&mut self) {
        let (id, kind, time, subject) = (self.id(), "payout.sent", self.time().into(), "merchants:1".into());
        let data = json!({ "payout_id": id, "merchant_id": self.prng.below(4).to_string(), "bank": "icbc",
            "currency": "CNY", "amount": "12.00", "fee": "0.50" });
        self.send(&Event { id, kind, subject, time, data }, Expect::Booked);
    }

    fn pay(&mut self, order: &str, refund: Option<&str>, (cents, fee): (u64, u64), time: &str) {
        let (id, merchant) = (self.id(), self.prng.below(4));
        let mut data = json!({ "order_id": order, "merchant_id": merchant.to_string(), "provider": "wechat",
            "provider_account": ACCOUNT, "currency": "CNY", "amount": yuan(cents), "fee": yuan(fee) });
        let mut kind = "order.paid";
        if let Some(number) = refund {
            data["refund_id"] = json!(number);
            kind = "refund.succeeded";
        } else if merchant == 0 {
            data["commission"] = json!("0.20");
        }
        let event = Event { id, kind, subject: format!("merchants:{merchant}"), time: time.into(), data };
        self.send(&event, Expect::Booked);
    }

    fn unreadable(&mut self) {
        let good = Event::transfer("x", "users:1", NOON, ("users:1:wallet", "users:2:wallet"), "1.00");
        let good = String::from_utf8(good.to_bytes()).unwrap();
        let with = |from: &str, to: &str| good.replace(from, to).into_bytes();
        let values = [
            (b"{\"specversion\":".to_vec(), "not_json"),
            (b"\xff\xfe".to_vec(), "not_utf8"),
            (with("\"1.00\"", "1.00"), "amount_not_text"),
            (with("\"1.00\"", "\"1.005\""), "too_many_decimals"),
            (with("users:1:wallet", "users:1:purse"), "unknown_account"),
            (with("\"CNY\"", "\"XXX\""), "unknown_asset"),
        ];
        let (value, reason) = values[self.prng.index(values.len())].clone();
        self.arrive(value.clone());
        self.unreadable.insert(value, reason);
    }

    /// Money comes in first, so that most transfers find some.
    fn fund(&mut self) {
        for user in 0..USERS {
            let (id, wallet) = (self.id(), format!("users:{user}:wallet"));
            let event = Event::transfer(&id, "funding:main", NOON, ("funding:main", &wallet), "50.00");
            self.send(&event, Expect::Booked);
        }
        self.drawn.iter_mut().for_each(|(place, _)| *place = 0);
    }

    /// Holds outcomes and cases against what must be.
    ///
    /// # Panics
    /// They differ.
    pub fn check(&self, books: &Books, cases: &[(String, &'static str)]) {
        let mut fates: BTreeMap<&str, Vec<&Fate>> = BTreeMap::new();
        let mut dead: BTreeMap<&[u8], &str> = BTreeMap::new();
        for fate in books.fates.values() {
            match fate.outcome.strip_prefix("dead:") {
                Some(reason) => drop(dead.insert(&fate.body, reason)),
                None if fate.id.starts_with(VERDICT) => {}
                None => fates.entry(&fate.id).or_default().push(fate),
            }
        }
        let expected: BTreeMap<&[u8], &str> =
            self.unreadable.iter().map(|(v, r)| (v.as_slice(), *r)).collect();
        assert_eq!(dead, expected, "dead letters");
        assert_eq!(fates.len(), self.expected.len(), "ids");
        for (id, (expect, times)) in &self.expected {
            self.check_id(id, *expect, *times, &fates[id.as_str()]);
        }
        let mut expected = self.cases.clone();
        expected.sort();
        assert_eq!(cases, expected, "matches and breaks");
        // Where the first window came after the cut-over, the books begin with the next day.
        let begun = books.days.contains_key(DAY);
        assert!(!begun || books.closed() == [DAY], "{DAY} is closed, no other: {:?}", books.days);
    }

    fn check_id(&self, id: &str, expect: Expect, times: usize, fates: &[&Fate]) {
        // An answer that is lost has an event sent again.
        assert!(fates.len() >= times, "{id}: {fates:?}");
        let (firsts, repeats): (Vec<&Fate>, Vec<&Fate>) = fates.iter().partition(|fate| {
            let outcome = fate.outcome.as_str();
            outcome != "duplicate" && outcome != "refused:conflict"
        });
        for first in &firsts {
            let judged = first.parked && ["pending", "refused:turned_away"].contains(&first.outcome.as_str());
            assert!(judged || may_be(expect, &first.outcome), "{id}: {first:?}, expected {expect:?}");
        }
        if self.forgets {
            let once = |of: &[&Fate]| of.len() <= 1;
            let booked: Vec<&Fate> = firsts.iter().copied().filter(|fate| fate.outcome == "booked").collect();
            let unasked: Vec<&Fate> = firsts.iter().copied().filter(|fate| !fate.parked).collect();
            assert!(once(&booked) && once(&unasked) && !firsts.is_empty(), "{id}: {fates:?}");
            return;
        }
        let [first] = firsts[..] else { panic!("{id} has one first outcome: {fates:?}") };
        for repeat in repeats {
            let same = repeat.body == first.body;
            assert_eq!(repeat.outcome == "duplicate", same, "{id}: {fates:?}");
            assert!(same || self.conflicting.iter().any(|c| c == id), "{id}: {fates:?}");
        }
    }
}

/// Whether an outcome is one that is expected.
fn may_be(expect: Expect, outcome: &str) -> bool {
    match expect {
        Expect::Booked => outcome == "booked",
        Expect::IfFunded => stands(outcome, &["timed_out"]),
        Expect::IfOpen => {
            let reasons = [
                "unknown_hold",
                "hold_not_open",
                "hold_mismatch",
                "exceeds_hold",
                "no_principal",
                "self_approval",
                "unknown_proposal",
                "proposal_not_open",
                "case_not_open",
                "timed_out",
            ];
            stands(outcome, &reasons)
        }
        Expect::IfThere => {
            stands(outcome, &["unknown_event", "not_reversible", "exceeds_original", "timed_out"])
        }
        Expect::IfSlow => stands(outcome, &["velocity_exceeded", "timed_out"]),
    }
}

/// Whether an event is booked, or refused for want of funds, as its account is frozen, or for one of these reasons.
fn stands(outcome: &str, reasons: &[&str]) -> bool {
    let refused =
        |reason| ["insufficient_funds", "account_frozen"].contains(&reason) || reasons.contains(&reason);
    outcome == "booked" || outcome.strip_prefix("refused:").is_some_and(refused)
}
