//! What lies on the topics, read as an accountant would: outcomes per event, entries carried forward by hand, balances,
//! days and cases. It reads the journal for itself and believes no figure that it can add up.

use crate::world::World;
use prost::Message;
use schemas::balance_json::{Balance, DailyBalance, DayState, FlowStatus};
use schemas::batch;
use schemas::dates::Day;
use schemas::recon_json::{Case, CaseState};
use schemas::topics::Topic;
use schemas::wire::journal_item::Item;
use schemas::wire::{BalancesBody, Decision, Entry, JournalBody, JournalItem, Outcome, Resolution, Side};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Offset, Record, header};

/// Lane, partition and offset of an event.
pub type EventPlace = (usize, u32, Offset);

/// What became of one event record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// CloudEvents id; empty for a dead letter.
    pub id: String,
    /// `booked`, `refused:reason`, `duplicate`, `pending`, `dead:reason`.
    pub outcome: String,
    /// Hash of the body as the journal has it.
    pub body: Vec<u8>,
    /// Whether it was parked: nobody could tell whether it had been booked.
    pub parked: bool,
}

/// An account's line in the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Line {
    /// Sequence of the last entry.
    pub seq: u64,
    /// Debits minus credits.
    pub balance: i128,
}

/// Account and asset.
pub type AccountKey = (String, String);

/// The books.
#[derive(Debug, Default)]
pub struct Books {
    /// What became of every event record.
    pub fates: BTreeMap<EventPlace, Fate>,
    /// Every account, carried forward entry by entry.
    pub accounts: BTreeMap<AccountKey, Line>,
    /// Debits minus credits of each account by accounting date.
    pub by_date: BTreeMap<(AccountKey, i32), i128>,
    /// Entries that broke a law of bookkeeping, in words.
    pub wrong: Vec<String>,
    /// Decisions that home made with the answers of other partitions, by outcome.
    pub with_others: BTreeMap<String, u64>,
    /// Newest state of every business day.
    pub days: BTreeMap<String, FlowStatus>,
    /// What became of pending events, by id; of one that was forgotten and came again, one after the other.
    resolutions: BTreeMap<String, Vec<String>>,
    /// Wallets with entries since they were last looked at.
    touched: BTreeSet<AccountKey>,
}

impl Books {
    /// Reads a world's topics.
    #[must_use]
    pub fn read(world: &World) -> Self {
        let mut books = Self::default();
        for (at, record) in world.read(Topic::Journal) {
            let opened = batch::open(&record.value).unwrap();
            let body: JournalBody = opened.body().unwrap();
            let mut sums: BTreeMap<(i32, String), i128> = BTreeMap::new();
            body.item.into_iter().for_each(|item| books.take(item, &mut sums));
            if !world.has_lost_records() {
                books.check_wallets();
            }
            for ((date, asset), sum) in sums {
                if sum != 0 {
                    books.wrong.push(format!("{at}@{}: {asset} of day {date} sums to {sum}", record.offset));
                }
            }
        }
        for (_, record) in world.read(Topic::Rejected) {
            books.dead_letter(&record);
        }
        books.check_wallets();
        books.resolve();
        for (_, record) in world.read(Topic::Flow) {
            let status: FlowStatus = serde_json::from_slice(&record.value).unwrap();
            books.days.insert(status.day.clone(), status);
        }
        books
    }

    fn take(&mut self, item: JournalItem, sums: &mut BTreeMap<(i32, String), i128>) {
        match item.item {
            Some(Item::Decision(decision)) => {
                let date = decision.accounting_date;
                decision.entry.iter().for_each(|entry| self.entry(entry, date, sums));
                if decision.concludes && decision.outcome() == Outcome::Pending {
                    // It waited for another event, and another partition decides it now.
                } else if decision.concludes {
                    let outcome = outcome_text(decision.outcome, &decision.reason);
                    *self.with_others.entry(outcome).or_default() += 1;
                    let (outcome, reason) = (decision.outcome, decision.reason.clone());
                    let event = decision.event.clone();
                    self.resolution(Resolution { event, outcome, reason, ..Resolution::default() });
                } else if decision.forwarded_from == 0 {
                    self.decision(decision);
                }
            }
            Some(Item::Received(received)) => {
                received.entry.iter().for_each(|entry| self.entry(entry, received.accounting_date, sums));
            }
            Some(Item::Clearing(clearing)) => {
                clearing.entry.iter().for_each(|entry| self.entry(entry, clearing.accounting_date, sums));
            }
            Some(Item::Resolution(resolution)) => self.resolution(resolution),
            _ => {}
        }
    }

    /// No wallet is overdrawn after all entries of an event, whatever it passes on the way. What comes in from elsewhere for
    /// one event comes in one batch, unless some of it was lost and is sent again.
    fn check_wallets(&mut self) {
        for key in std::mem::take(&mut self.touched) {
            let balance = self.accounts[&key].balance;
            if balance > 0 {
                self.wrong.push(format!("{key:?} is overdrawn by {balance}"));
            }
        }
    }

    fn entry(&mut self, entry: &Entry, date: i32, sums: &mut BTreeMap<(i32, String), i128>) {
        let key = (entry.account.clone(), entry.asset.clone());
        let signed = if entry.side == i32::from(Side::Debit) { entry.amount() } else { -entry.amount() };
        let line = self.accounts.entry(key.clone()).or_default();
        let carried = Line { seq: line.seq + 1, balance: line.balance + signed };
        let stated = Line { seq: entry.seq, balance: entry.after() };
        if carried != stated || entry.before() != line.balance || entry.amount() <= 0 {
            self.wrong.push(format!("{key:?}: carried {carried:?}, stated {stated:?}"));
        }
        *line = carried;
        if entry.account.starts_with("users:") && entry.account.ends_with(":wallet") {
            self.touched.insert(key.clone());
        }
        *self.by_date.entry((key, date)).or_default() += signed;
        *sums.entry((date, entry.asset.clone())).or_default() += signed;
    }

    fn decision(&mut self, decision: Decision) {
        let place = (decision.lane as usize, decision.event_partition, decision.event_offset);
        let outcome = outcome_text(decision.outcome, &decision.reason);
        let (id, parked) = (decision.event.unwrap_or_default().id, decision.parked);
        self.fate(place, Fate { id, outcome, body: decision.body_hash.to_vec(), parked });
    }

    fn fate(&mut self, place: EventPlace, fate: Fate) {
        if let Some(before) = self.fates.insert(place, fate) {
            self.wrong.push(format!("{place:?} has a second outcome besides {before:?}"));
        }
    }

    fn resolution(&mut self, resolution: Resolution) {
        let id = resolution.event.unwrap_or_default().id;
        let outcome = outcome_text(resolution.outcome, &resolution.reason);
        self.resolutions.entry(id).or_default().push(outcome);
    }

    fn dead_letter(&mut self, record: &Record) {
        let text =
            |name: &str| header(&record.headers, name).map(|v| String::from_utf8_lossy(v).into_owned());
        if text("ledgerflow-kind").as_deref() == Some("refusal") {
            return;
        }
        let reason = text("ledgerflow-reason").unwrap();
        let number = |name: &str| text(name).unwrap().parse::<i64>().unwrap();
        let topic = Topic::by_name(&text("__streams.errors.topic").unwrap()).unwrap();
        let lane = Topic::LANES.iter().position(|lane| *lane == topic).unwrap();
        let partition = u32::try_from(number("__streams.errors.partition")).unwrap();
        let (outcome, body) = (format!("dead:{reason}"), record.value.to_vec());
        let fate = Fate { id: String::new(), outcome, body, parked: false };
        self.fate((lane, partition, number("__streams.errors.offset")), fate);
    }

    /// What was pending has the outcome of its verdict.
    fn resolve(&mut self) {
        let mut left = std::mem::take(&mut self.resolutions);
        // What was parked came when the first outcome was forgotten.
        for parked in [false, true] {
            let pending = |fate: &&mut Fate| fate.outcome == "pending" && fate.parked == parked;
            for fate in self.fates.values_mut().filter(pending) {
                if let Some(outcomes) = left.get_mut(&fate.id).filter(|outcomes| !outcomes.is_empty()) {
                    fate.outcome = outcomes.remove(0);
                }
            }
        }
        for (id, outcomes) in left.into_iter().filter(|(_, outcomes)| !outcomes.is_empty()) {
            self.wrong.push(format!("{id} was not pending, or is resolved once more: {outcomes:?}"));
        }
    }

    /// Everything that must hold of any world at rest, whatever its history.
    ///
    /// # Panics
    /// It does not hold.
    pub fn assert_kept(&self, world: &World) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        let mut received: Vec<EventPlace> = Vec::new();
        for (lane, topic) in Topic::LANES.into_iter().enumerate() {
            received.extend(world.read(topic).iter().map(|(at, r)| (lane, at.partition, r.offset)));
        }
        received.sort_unstable();
        let judged: Vec<EventPlace> = self.fates.keys().copied().collect();
        assert!(judged == received, "{} events, {} outcomes", received.len(), judged.len());
        let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
        for ((_, asset), line) in &self.accounts {
            *sums.entry(asset).or_default() += line.balance;
        }
        assert!(sums.values().all(|sum| *sum == 0), "trial balance {sums:?}");
        let clearing = |key: &AccountKey| key.0.strip_prefix("clearing:out:").map(str::to_owned);
        for (key, line) in &self.accounts {
            if let Some(pair) = clearing(key) {
                let other = (format!("clearing:in:{pair}"), key.1.clone());
                let received = self.accounts.get(&other).map_or(0, |line| line.balance);
                assert_eq!(line.balance + received, 0, "{key:?}: something is still in flight");
            }
        }
        assert_eq!(published(world), self.accounts, "published balances against the journal carried forward");
        self.assert_closings(world);
    }

    fn assert_closings(&self, world: &World) {
        let mut closings: BTreeMap<AccountKey, BTreeMap<(i32, u32), i128>> = BTreeMap::new();
        for (_, record) in world.read(Topic::BalancesDaily) {
            let daily: DailyBalance<'_> = serde_json::from_slice(&record.value).unwrap();
            let key = (daily.account.to_string(), daily.asset.to_string());
            let day = Day::parse(&daily.day).unwrap().0;
            let figure = daily.debit_minus_credit_minor.parse().unwrap();
            closings.entry(key).or_default().insert((day, daily.revision), figure);
        }
        for status in self.days.values().filter(|status| status.state == DayState::Closed) {
            assert_eq!(status.aligned, world.counts().internal, "{status:?}");
            let day = Day::parse(&status.day).unwrap().0;
            for key in self.accounts.keys() {
                let dated = self.by_date.iter().filter(|((of, date), _)| of == key && *date <= day);
                let sum: i128 = dated.map(|(_, sum)| sum).sum();
                let published = closings.get(key).and_then(|of| of.range(..=(day, u32::MAX)).next_back());
                let published = published.map_or(0, |(_, figure)| *figure);
                assert_eq!(published, sum, "{key:?} at the close of {}", status.day);
            }
        }
    }

    /// Outcomes of all records with an id, sorted.
    #[must_use]
    pub fn outcomes(&self, id: &str) -> Vec<String> {
        let mut all: Vec<String> =
            self.fates.values().filter(|fate| fate.id == id).map(|fate| fate.outcome.clone()).collect();
        all.sort();
        all
    }

    /// Days that are closed.
    #[must_use]
    pub fn closed(&self) -> Vec<String> {
        let closed = self.days.values().filter(|status| status.state == DayState::Closed);
        closed.map(|status| status.day.clone()).collect()
    }

    /// Debits minus credits of an account in CNY.
    #[must_use]
    pub fn balance(&self, account: &str) -> i128 {
        self.accounts.get(&(account.to_owned(), "CNY".to_owned())).map_or(0, |line| line.balance)
    }
}

fn outcome_text(outcome: i32, reason: &str) -> String {
    match Outcome::try_from(outcome) {
        Ok(Outcome::Booked) => "booked".into(),
        Ok(Outcome::Refused) => format!("refused:{reason}"),
        Ok(Outcome::Duplicate) => "duplicate".into(),
        Ok(Outcome::Pending) => "pending".into(),
        other => format!("{other:?}"),
    }
}

/// Newest balance of every account on `balances`, in whichever of its two forms.
fn published(world: &World) -> BTreeMap<AccountKey, Line> {
    let mut all = BTreeMap::new();
    for (_, record) in world.read(Topic::Balances) {
        if record.value.first() == Some(&b'{') {
            if record.key.starts_with(b"complete_until|") {
                continue;
            }
            let balance: Balance<'_> = serde_json::from_slice(&record.value).unwrap();
            let key = (balance.account.to_string(), balance.asset.to_string());
            let figure = balance.debit_minus_credit_minor.parse().unwrap();
            all.insert(key, Line { seq: balance.seq, balance: figure });
        } else {
            for balance in BalancesBody::decode(record.value).unwrap().balance {
                let figure = schemas::amount_wire::value(balance.balance);
                all.insert((balance.account, balance.asset), Line { seq: balance.seq, balance: figure });
            }
        }
    }
    all
}

/// Cases in force: `order/refund` and what they are, sorted.
#[must_use]
pub fn cases(world: &World) -> Vec<(String, &'static str)> {
    let mut all = Vec::new();
    for topic in [Topic::Matches, Topic::Breaks] {
        let mut newest: BTreeMap<String, Case> = BTreeMap::new();
        for (_, record) in world.read(topic) {
            let case: Case = serde_json::from_slice(&record.value).unwrap();
            let known = newest.get(&case.case_id).map(|known| known.revision);
            assert!(
                known < Some(case.revision),
                "{} revision {} after {known:?}",
                case.case_id,
                case.revision
            );
            newest.insert(case.case_id.clone(), case);
        }
        let open = newest.into_values().filter(|case| case.state == CaseState::Open);
        all.extend(open.map(|case| (format!("{}/{}", case.order, case.refund), case.kind.name())));
    }
    all.sort();
    all
}
