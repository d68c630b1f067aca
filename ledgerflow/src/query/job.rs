//! A job: the events that name it, what they have booked, and what that comes to in each account.
//!
//! An event names its job through its rule's `job`. Its decision says so, the entries in other partitions do not: these are
//! found by the events' ids. So `journal` is read once for the decisions, and once more in the partitions that book for
//! others or whose verdict is awaited. The answer may be as long as the job is.

use super::books::Books;
use super::outcomes::{why, word};
use super::shown::Shown;
use super::trace::{Batch, find};
use super::{Answer, Ending};
use crate::cli::output::Table;
use crate::measure::recount::{each, range};
use schemas::balance_json::NormalSide;
use schemas::dates::Day;
use schemas::topics::Topic;
use schemas::wire::{Decision, Entry, EventKey, JournalBody, Outcome, RemoteLeg, Side, journal_item::Item};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Isolation, Log, Record, TopicPartition};

/// Source and id.
type Key = (String, String);

/// What an event of the job has come to.
pub(super) struct Order {
    pub(super) batch: Batch,
    pub(super) decision: Decision,
    /// How many decisions were read before it.
    index: usize,
}

/// An entry, its event and where it stands.
struct Booked {
    event: Key,
    batch: Batch,
    date: i32,
    entry: Entry,
}

/// Everything of the job.
#[derive(Default)]
pub(super) struct Found {
    /// The last decision of each event at its home, in the order of source and id.
    pub(super) orders: BTreeMap<Key, Order>,
    booked: Vec<Booked>,
    /// Legs sent to other partitions: event, leg.
    sent: BTreeMap<(Key, u32), RemoteLeg>,
    /// Decisions read.
    read: usize,
    /// Partitions that book them.
    partitions: BTreeSet<u32>,
}

/// `job`.
pub(super) fn job(books: &Books, job: &str) -> anyhow::Result<Answer> {
    let found = Found::of(books.log.as_ref(), job)?;
    if found.orders.is_empty() {
        return Ok(Answer::says(Ending::NotFound, format!("no event names job {job:?}")));
    }
    let accounts = found.booked.iter().map(|booked| booked.entry.account.clone()).collect();
    let shown = Shown::of(books, accounts)?;
    let tables = vec![found.events(), found.entries(&shown), found.accounts(&shown), found.sums(&shown)];
    Ok(Answer { message: found.says(), ..Answer::tables(tables) })
}

fn key_of(event: Option<&EventKey>) -> Key {
    event.map(|event| (event.source.clone(), event.id.clone())).unwrap_or_default()
}

impl Found {
    /// Reads the journal for a job.
    ///
    /// # Errors
    /// The log fails, or a record is damaged.
    pub(super) fn of(log: &dyn Log, job: &str) -> anyhow::Result<Self> {
        let mut found = Self::default();
        each(log, Topic::Journal, &mut |fetch| {
            let names_it = |record: &&Record| find(&record.value, job.as_bytes()).is_some();
            for record in fetch.records.iter().filter(names_it) {
                let opened = schemas::batch::open(&record.value)?;
                let (batch, body) = (Batch::of(fetch.from.partition, &opened), opened.body::<JournalBody>()?);
                for item in body.item.into_iter().filter_map(|item| item.item) {
                    if let Item::Decision(decision) = item
                        && decision.job == job
                    {
                        found.take(batch, decision);
                    }
                }
            }
            Ok(())
        })?;
        found.receive(log)?;
        Ok(found)
    }

    /// Its events, those decided last first.
    pub(super) fn newest_first(&self) -> Vec<(&Key, &Order)> {
        let mut all: Vec<(&Key, &Order)> = self.orders.iter().collect();
        all.sort_by_key(|(_, order)| std::cmp::Reverse((order.batch.order(), order.index)));
        all
    }

    /// Event, account, asset and side of each leg that is booked, or sent to be booked.
    pub(super) fn legs(&self) -> impl Iterator<Item = (&Key, &str, &str, Side)> {
        let booked = self.booked.iter().map(|booked| (&booked.event, &booked.entry));
        let booked = booked.map(|(event, e)| (event, e.account.as_str(), e.asset.as_str(), e.side()));
        let sent = self.sent.iter().map(|((event, _), leg)| (event, leg));
        booked.chain(sent.map(|(event, leg)| (event, leg.account.as_str(), leg.asset.as_str(), leg.side())))
    }

    fn take(&mut self, batch: Batch, decision: Decision) {
        let key = key_of(decision.event.as_ref());
        for entry in &decision.entry {
            let (event, date, entry) = (key.clone(), decision.accounting_date, entry.clone());
            self.booked.push(Booked { event, batch, date, entry });
        }
        for leg in &decision.remote {
            self.sent.insert((key.clone(), leg.leg), leg.clone());
            self.partitions.insert(leg.partition);
        }
        // What was decided for another partition's home is told there too; repetitions change nothing.
        let repeats = decision.outcome() == Outcome::Duplicate || decision.reason == "conflict";
        if decision.forwarded_from == 0 && !(repeats && self.orders.contains_key(&key)) {
            self.read += 1;
            self.orders.insert(key, Order { batch, decision, index: self.read });
        }
    }

    /// Reads what came in, where legs were sent, and what became of events that another partition decided.
    fn receive(&mut self, log: &dyn Log) -> anyhow::Result<()> {
        let open = self.orders.values().filter(|order| order.decision.outcome() == Outcome::Pending);
        let homes = open.map(|order| order.batch.slot);
        let partitions: BTreeSet<u32> = self.partitions.iter().copied().chain(homes).collect();
        for partition in partitions {
            let at = TopicPartition::new(Topic::Journal, partition);
            let bounds = log.watermarks(at, Isolation::Committed)?;
            range(log, at, 0, bounds.high, &mut |fetch| {
                for record in fetch.records.iter() {
                    let opened = schemas::batch::open(&record.value)?;
                    let (batch, body) = (Batch::of(partition, &opened), opened.body::<JournalBody>()?);
                    body.item
                        .into_iter()
                        .filter_map(|item| item.item)
                        .for_each(|item| self.heard(batch, item));
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    fn heard(&mut self, batch: Batch, item: Item) {
        match item {
            Item::Received(received) => {
                let (event, Some(entry)) = (key_of(received.event.as_ref()), received.entry) else { return };
                if self.sent.contains_key(&(event.clone(), entry.leg)) {
                    self.booked.push(Booked { event, batch, date: received.accounting_date, entry });
                }
            }
            Item::Resolution(said) => {
                let Some(order) = self.orders.get_mut(&key_of(said.event.as_ref())) else { return };
                if order.decision.outcome() == Outcome::Pending {
                    order.decision.outcome = said.outcome;
                    order.decision.reason = said.reason;
                    order.decision.accounting_date = said.accounting_date;
                }
            }
            _ => {}
        }
    }

    fn events(&self) -> Table {
        let columns = ["event", "source", "type", "outcome", "reason", "date", "rate", "journal"];
        let mut table = Table::new("events", &columns);
        for ((source, id), Order { batch, decision: d, .. }) in &self.orders {
            table.row([
                id.clone().into(),
                source.clone().into(),
                d.r#type.clone().into(),
                word(d.outcome()).into(),
                why(&d.reason, &d.detail).into(),
                Day(d.accounting_date).to_string().into(),
                (!d.rate.is_empty()).then(|| d.rate.clone()).into(),
                batch.place(),
            ]);
        }
        table
    }

    fn entries(&self, shown: &Shown) -> Table {
        let columns = ["event", "account", "asset", "side", "amount", "balance_after", "date", "journal"];
        let mut table = Table::new("entries", &columns);
        for Booked { event, batch, date, entry } in &self.booked {
            table.row([
                event.1.clone().into(),
                entry.account.clone().into(),
                entry.asset.clone().into(),
                NormalSide::from(entry.side()).name().into(),
                shown.amount(entry.amount(), &entry.asset),
                shown.balance(&entry.account, entry.after(), &entry.asset),
                Day(*date).to_string().into(),
                batch.place(),
            ]);
        }
        table
    }

    /// Debits less credits, by account and asset.
    fn nets(&self) -> BTreeMap<(&str, &str), [i128; 2]> {
        let mut nets: BTreeMap<(&str, &str), [i128; 2]> = BTreeMap::new();
        for Booked { entry, .. } in &self.booked {
            let [debits, credits] = nets.entry((&entry.account, &entry.asset)).or_default();
            let sum = if entry.side() == Side::Debit { debits } else { credits };
            *sum = sum.saturating_add(entry.amount());
        }
        nets
    }

    fn accounts(&self, shown: &Shown) -> Table {
        let mut table = Table::new("accounts", &["account", "asset", "debits", "credits", "net"]);
        for ((account, asset), [debits, credits]) in self.nets() {
            table.row([
                account.into(),
                asset.into(),
                shown.amount(debits, asset),
                shown.amount(credits, asset),
                shown.balance(account, debits.saturating_sub(credits), asset),
            ]);
        }
        table
    }

    fn assets(&self) -> BTreeMap<&str, [i128; 2]> {
        let mut sums: BTreeMap<&str, [i128; 2]> = BTreeMap::new();
        for ((_, asset), [debits, credits]) in self.nets() {
            let sum = sums.entry(asset).or_default();
            *sum = [sum[0].saturating_add(debits), sum[1].saturating_add(credits)];
        }
        sums
    }

    fn sums(&self, shown: &Shown) -> Table {
        let mut table = Table::new("sums", &["asset", "debits", "credits", "difference"]);
        for (asset, [debits, credits]) in self.assets() {
            table.row([
                asset.into(),
                shown.amount(debits, asset),
                shown.amount(credits, asset),
                shown.amount(debits.saturating_sub(credits), asset),
            ]);
        }
        table
    }

    fn says(&self) -> Option<String> {
        let received = self.booked.iter().filter(|b| self.sent.contains_key(&(b.event.clone(), b.entry.leg)));
        let on_the_way = self.sent.len().saturating_sub(received.count());
        let nets = self.assets().values().all(|[debits, credits]| debits == credits);
        match (nets, on_the_way) {
            (true, _) => None,
            (false, 0) => Some("debits and credits differ".to_owned()),
            (false, n) => Some(format!("{n} legs are on their way to other partitions")),
        }
    }
}
