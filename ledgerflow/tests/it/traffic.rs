//! Events whose outcomes are known beforehand, and the count of what became of them.
//!
//! A quarter are orders that a provider collected; its bill of them comes in between ([`Traffic::bill`]).
//!
//! Wallets may be overdrawn by 1000.00. A sender spends far less than that in all, so that a small transfer is
//! always booked, and 5000.00 is always refused, in whatever order the partitions get to them.

use ledgerflow::measure::recount::{each, recount};
use ledgerflow::query::events::{Sent, Text};
use ledgerflow::query::outcomes::{Awaited, EVENTS_MAX};
use ledgerflow::query::{Ending, Question};
use ledgerflow_tests::bill::{self, ACCOUNT, BillRow};
use ledgerflow_tests::events::yuan;
use schemas::topics::Topic;
use schemas::wire::{Outcome, journal_item::Item};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use stream::embedded::EmbeddedLog;
use stream::log::{Isolation, Log, TopicPartition};
use stream::sim::Prng;

use crate::company::{Asks, PATIENCE, within};

/// Source of all these events.
const SOURCE: &str = "/kill";
/// Customers.
const USERS: u64 = 40;
/// Most cents of a transfer: of all a test's transfers together no sender comes near the limit.
const CENTS_MAX: u64 = 20;

/// What must become of an id.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Booked {
        from: u64,
        to: u64,
        cents: u64,
    },
    /// An order, booked too.
    Paid,
    Refused,
}

/// What became of an id.
#[derive(Debug, Clone, Default)]
struct Became {
    booked: u64,
    refused: BTreeMap<String, u64>,
    duplicate: u64,
    pending: i64,
}

/// Some events that are sent at once, or again with the same bytes.
#[derive(Debug, Clone)]
pub struct Batch {
    lane: u8,
    events: Vec<Text>,
}

impl Batch {
    /// Sends it on this lane.
    pub fn on_lane(self, lane: u8) -> Self {
        Self { lane, ..self }
    }

    /// The lane it is sent on.
    pub fn lane(&self) -> String {
        self.lane.to_string()
    }

    /// Its events, one a line.
    pub fn lines(&self) -> Vec<u8> {
        let bytes = self.events.iter().map(|event| match event {
            Text::Utf8(text) => text.as_bytes(),
            Text::Bytes(bytes) => bytes,
        });
        bytes.collect::<Vec<_>>().join(&b'\n')
    }
}

/// A transfer of so many cents into a wallet; `home` is the customer at whose partition it is decided.
fn transfer(id: &str, home: u64, from: &str, to: u64, cents: u64, note: &str, time: &str) -> Text {
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    let data = format!(
        r#"{{"from":"{from}","to":"users:{to}:wallet","asset":"CNY","amount":"{amount}","note":"{note}"}}"#
    );
    Text::Utf8(format!(
        r#"{{"specversion":"1.0","id":"{id}","source":"{SOURCE}","type":"transfer","subject":"users:{home}","time":"{time}","data":{data}}}"#
    ))
}

/// Money for a customer, from outside: always booked. `note_bytes` longer than it needs to be.
pub fn funded(id: &str, customer: u64, note_bytes: usize) -> Text {
    let time = schemas::dates::format_instant(stream::clock::wall_us());
    transfer(id, customer, "funding:cash", customer, 1, &"x".repeat(note_bytes), &time)
}

/// Everything sent in a test.
#[derive(Debug)]
pub struct Traffic {
    prng: Prng,
    fates: BTreeMap<String, Fate>,
    sent: Vec<Sent>,
    /// Business day of the events, `YYYY-MM-DD`; they happen at noon where the provider is.
    day: String,
    /// Orders that stand in no bill yet.
    unbilled: Vec<BillRow>,
    /// Lines of all bills so far.
    pub billed: usize,
}

impl Traffic {
    pub fn new(seed: u64) -> Self {
        let today = schemas::dates::format_instant(stream::clock::wall_us());
        Self {
            prng: Prng::new(seed),
            fates: BTreeMap::new(),
            sent: Vec::new(),
            day: today[..10].to_owned(),
            unbilled: Vec::new(),
            billed: 0,
        }
    }

    /// What comes from now on happens on another day.
    pub fn on_day(&mut self, day: &str) {
        self.day = day.to_owned();
    }

    /// The provider's bill of all orders that stand in none so far.
    pub fn bill(&mut self) -> Vec<u8> {
        let rows = std::mem::take(&mut self.unbilled);
        self.billed += rows.len();
        bill::text(&rows)
    }

    /// An order that the provider collected, under a new id.
    fn order(&mut self) -> Text {
        let (id, day) = (format!("e-{}", self.fates.len()), &self.day);
        let (order, cents, fee_cents) =
            (format!("order-{id}"), 100 + self.prng.below(900), self.prng.below(10));
        let data = format!(
            r#"{{"order_id":"{order}","merchant_id":"{}","provider":"wechat","provider_account":"{ACCOUNT}","currency":"CNY","amount":"{}","fee":"{}"}}"#,
            self.prng.below(5),
            yuan(cents),
            yuan(fee_cents),
        );
        let event = format!(
            r#"{{"specversion":"1.0","id":"{id}","source":"{SOURCE}","type":"order.paid","subject":"orders/{order}","time":"{day}T12:00:00+08:00","data":{data}}}"#
        );
        let time = format!("{day} 12:00:00");
        self.unbilled.push(BillRow { time, order, refund: None, cents, fee_cents });
        self.fates.insert(id, Fate::Paid);
        Text::Utf8(event)
    }

    /// The same events, none of which was sent to the process that is asked next.
    pub fn again(&self) -> Self {
        Self {
            prng: self.prng.clone(),
            fates: self.fates.clone(),
            sent: Vec::new(),
            day: self.day.clone(),
            unbilled: self.unbilled.clone(),
            billed: self.billed,
        }
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.prng.below(bound)
    }

    /// New events, `note_bytes` longer than they need to be; now and then one twice, one with another body under
    /// an id that is taken, one that nobody can read.
    pub fn batch(&mut self, events: usize, note_bytes: usize) -> Batch {
        let mut batch = Batch { lane: u8::try_from(self.below(3)).unwrap(), events: Vec::new() };
        while batch.events.len() < events {
            if self.below(4) == 0 {
                let order = self.order();
                let times = if self.below(10) == 0 { 2 } else { 1 };
                batch.events.extend(vec![order; times]);
                continue;
            }
            let id = format!("e-{}", self.fates.len());
            let from = self.below(USERS);
            let to = (from + 1 + self.below(USERS - 1)) % USERS;
            // A third has its home at the payee's, so that the payer's partition is asked.
            let home = if self.below(3) == 0 { to } else { from };
            let refused = self.below(8) == 0;
            let cents = if refused { 500_000 } else { 1 + self.below(CENTS_MAX) };
            let note: String = (0..note_bytes)
                .map(|_| char::from(b'a' + u8::try_from(self.prng.below(26)).unwrap()))
                .collect();
            let (payer, time) = (format!("users:{from}:wallet"), format!("{}T12:00:00+08:00", self.day));
            let event = |cents: u64| transfer(&id, home, &payer, to, cents, &note, &time);
            let first = event(cents);
            batch.events.push(first.clone());
            match self.prng.below(20) {
                0 | 1 => batch.events.push(first),
                2 => batch.events.push(event(cents + 1)),
                3 => batch.events.push(Text::Bytes(vec![b'{', 0xff, 0xfe])),
                _ => {}
            }
            let fate = if refused { Fate::Refused } else { Fate::Booked { from, to, cents } };
            self.fates.insert(id, fate);
        }
        batch
    }

    /// Sends a batch; `false` = nobody said that it was taken.
    pub fn send(&mut self, to: &impl Asks, batch: &Batch) -> bool {
        let question = Question::send(batch.lane, batch.events.clone());
        let Some(answer) = to.ask(&question).filter(|answer| answer.ending == Ending::Done) else {
            return false;
        };
        let sent = answer.awaited.unwrap().sent;
        assert_eq!(sent.len(), batch.events.len());
        self.sent.extend(sent);
        true
    }

    /// Whether everything that was taken has its outcome.
    pub fn is_settled(&self, running: &impl Asks) -> bool {
        let sent: BTreeSet<&Sent> = self.sent.iter().collect();
        assert_eq!(sent.len(), self.sent.len(), "two events were acknowledged at one place");
        // As many as one question takes.
        self.sent.chunks(EVENTS_MAX).all(|sent| {
            let of = Awaited { sent: sent.to_vec(), ..Awaited::default() };
            let answer = running.ask(&Question::Outcomes { of });
            let answer = answer.filter(|answer| answer.ending == Ending::Done);
            answer.and_then(|answer| answer.awaited).is_some_and(|left| left.sent.is_empty())
        })
    }

    /// Reads the books at rest: every record of the lanes has one outcome, every id the one it must have.
    #[track_caller]
    pub fn is_booked_once(&self, books: &Path) {
        self.is_booked_once_on(&EmbeddedLog::open_read_only(books).unwrap());
    }

    /// The same on any log.
    #[track_caller]
    pub fn is_booked_once_on(&self, log: &dyn Log) {
        let all = recount(log).unwrap();
        let mut taken = 0;
        for topic in Topic::LANES {
            for partition in 0..log.partitions(topic).unwrap() {
                let at = TopicPartition::new(topic, partition);
                taken += log.watermarks(at, Isolation::Committed).unwrap().high;
            }
        }
        assert_eq!(i64::try_from(all.accounted_for()).unwrap(), taken, "{all:?}");
        assert_eq!(all.pending, 0);
        assert!(all.sum_zero(), "{all:?}");
        let became = became(log);
        assert!(became.keys().all(|id| self.fates.contains_key(id)));
        for (id, fate) in &self.fates {
            let found = became.get(id).unwrap_or_else(|| panic!("{id} has no outcome"));
            let funds = found.refused.get("insufficient_funds").copied().unwrap_or(0);
            let other =
                found.refused.keys().find(|code| !matches!(&***code, "insufficient_funds" | "conflict"));
            let want = if matches!(fate, Fate::Refused) { (0, 1) } else { (1, 0) };
            assert_eq!((found.booked, funds), want, "{id}: {fate:?} {found:?}");
            assert!(found.pending == 0 && other.is_none(), "{id}: {fate:?} {found:?}");
        }
        let repeated: u64 = became.values().map(|found| found.duplicate).sum();
        assert!(repeated > 0, "no event came twice");
    }

    /// What the wallets must hold, in cents.
    pub fn wallets(&self) -> BTreeMap<String, i64> {
        let mut wallets = BTreeMap::new();
        for fate in self.fates.values() {
            if let Fate::Booked { from, to, cents } = fate {
                let cents = i64::try_from(*cents).unwrap();
                *wallets.entry(format!("users:{from}:wallet")).or_insert(0) -= cents;
                *wallets.entry(format!("users:{to}:wallet")).or_insert(0) += cents;
            }
        }
        wallets
    }

    /// Compares shown balances with what the wallets must hold.
    #[track_caller]
    pub fn are_the_wallets(&self, shown: &BTreeMap<String, String>) {
        assert_eq!(in_cents(shown), self.wallets());
    }

    /// The same where the pipeline runs: an event has its outcome before its credit is booked in another partition, and
    /// that before its balance.
    #[track_caller]
    pub fn become_the_wallets(&self, shown: impl Fn() -> BTreeMap<String, String>) {
        let reached = within(PATIENCE, || (in_cents(&shown()) == self.wallets()).then_some(()));
        if reached.is_none() {
            self.are_the_wallets(&shown());
        }
    }
}

fn in_cents(shown: &BTreeMap<String, String>) -> BTreeMap<String, i64> {
    shown.iter().map(|(account, balance)| (account.clone(), cents(balance))).collect()
}

fn cents(balance: &str) -> i64 {
    balance.replace('.', "").parse().unwrap()
}

/// What the journal says of every id.
fn became(log: &dyn Log) -> BTreeMap<String, Became> {
    let mut all: BTreeMap<String, Became> = BTreeMap::new();
    let mut take = |id: String, outcome: Outcome, reason: &str| {
        let became = all.entry(id).or_default();
        match outcome {
            Outcome::Booked => became.booked += 1,
            Outcome::Refused => *became.refused.entry(reason.to_owned()).or_default() += 1,
            Outcome::Duplicate => became.duplicate += 1,
            Outcome::Pending => became.pending += 1,
            Outcome::Unspecified => panic!("a decision without outcome"),
        }
    };
    let mut resolved = Vec::new();
    each(log, Topic::Journal, &mut |fetch| {
        for record in &fetch.records {
            let body: schemas::wire::JournalBody = schemas::batch::open(&record.value)?.body()?;
            for item in body.item.into_iter().filter_map(|item| item.item) {
                match item {
                    Item::Decision(d) if d.forwarded_from == 0 => {
                        take(d.event.clone().unwrap_or_default().id, d.outcome(), &d.reason);
                    }
                    Item::Resolution(r) => {
                        let id = r.event.clone().unwrap_or_default().id;
                        take(id.clone(), r.outcome(), &r.reason);
                        resolved.push(id);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    })
    .unwrap();
    for id in resolved {
        if let Some(became) = all.get_mut(&id) {
            became.pending -= 1;
        }
    }
    all
}
