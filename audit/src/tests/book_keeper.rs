//! Writes histories by hand: a small book-keeper that fills every topic as the processors would, from a list of events
//! with the outcome each shall have. Drafts stay open until [`World::log`] seals them, so that a test can falsify
//! what a processor would have written and still have envelopes, chains and heads that hold.

use super::memory_log::MemoryLog;
use crate::amount::{date_text, of};
use bytes::Bytes;
use prost::Message;
use schemas::batch::{BodyBuilder, ChainHead, Hash, sha256};
use schemas::topics::{PartitionCounts, Topic};
use schemas::wire::{AdmitEvent, AdmittedState, journal_item::Item, proposal_state::State, *};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Header, Record, TopicPartition};

pub const BOOK: &str = "main";
pub const DAY: i32 = 20_000;

/// A batch before it is sealed.
#[derive(Debug, Clone)]
pub struct Draft {
    pub header: BatchHeader,
    pub items: Vec<Bytes>,
    /// `header.input` and everything else is as stated; sealing fills hashes, count, checksum and root.
    pub falsify: Option<fn(&mut BatchHeader)>,
    /// Written, and vanished before anybody read it.
    pub lost: bool,
}

/// How an event shall end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    Book,
    Refuse,
    /// Decided by the partition of the payer.
    Forward(bool),
    /// Decided by home with the answers of every payer's partition; refused by that one, if any.
    Group(Option<u32>),
    DeadLetter,
}

/// An event: where it comes in, what it is.
#[derive(Debug, Clone)]
pub struct Event {
    pub lane: u32,
    pub id: String,
    pub body: u8,
    pub plan: Plan,
    pub home: u32,
    pub legs: Vec<Leg>,
    pub date: i32,
    pub back_dated: bool,
    pub operation: Option<command::Operation>,
    /// Who sends it; empty = nobody is known.
    pub principal: String,
}

/// Partition of an account: the number in its second segment, modulo the partitions.
pub fn partition_of(account: &str, partitions: u32) -> u32 {
    account.split(':').nth(1).and_then(|n| n.trim_start_matches('p').parse::<u32>().ok()).unwrap_or(0)
        % partitions
}

pub fn leg(account: &str, amount: i128) -> Leg {
    let side = if amount > 0 { Side::Debit } else { Side::Credit };
    let amount = Some(Amount::from(amount.abs()));
    Leg { account: account.into(), asset: "CNY".into(), side: side as i32, amount, ..Leg::default() }
}

/// A leg with an overdraft.
pub fn up_to(leg: Leg, overdraft: i128) -> Leg {
    Leg { overdraft: Some(overdraft.into()), ..leg }
}

fn matched(leg: Leg, order: &str) -> Leg {
    let gross = leg.amount;
    let r#match = Match {
        provider: "wechat".into(),
        account: "1900".into(),
        order: order.into(),
        kind: "payment".into(),
        gross,
        status: "success".into(),
        asset: "CNY".into(),
        ..Match::default()
    };
    Leg { r#match: Some(r#match), ..leg }
}

/// A payment of `amount` from one user to another, of which the provider's bill will have a line.
pub fn pay(id: &str, from: u32, to: u32, amount: i128) -> Event {
    let legs = vec![
        matched(leg(&format!("users:{from}:wallet"), amount), id),
        leg(&format!("users:{to}:wallet"), amount.wrapping_neg()),
    ];
    let (lane, home) = (1, from % 2);
    let (id, plan, operation) = (id.into(), Plan::Book, None);
    let principal = String::new();
    Event { lane, id, body: 1, plan, home, legs, date: DAY, back_dated: false, operation, principal }
}

/// Somebody proposes to give a user money of the bank, at home of partition 0.
pub fn propose(id: &str, who: &str, user: u32, amount: i128) -> Event {
    let operation = Some(command::Operation::ProposeAdjustment(ProposeAdjustment {}));
    let legs = vec![leg("bank:0:main", amount), leg(&format!("users:{user}:wallet"), -amount)];
    Event { legs, operation, principal: who.into(), home: 0, ..pay(id, user, user, 1) }
}

/// Somebody approves what was proposed.
pub fn approve(id: &str, who: &str, of: &str) -> Event {
    let approve = ApproveAdjustment { proposal: key(of), ..ApproveAdjustment::default() };
    let operation = Some(command::Operation::ApproveAdjustment(approve));
    Event { legs: Vec::new(), operation, principal: who.into(), home: 0, ..pay(id, 1, 1, 1) }
}

/// Headers of a record of `rejected`: why, and where the event lies.
fn rejected(reason: &str, lane: u32, partition: u32, offset: i64) -> Vec<Header> {
    vec![
        Header::text("__streams.errors.topic", Topic::LANES[lane as usize].name()),
        Header::text("__streams.errors.partition", partition.to_string()),
        Header::text("__streams.errors.offset", offset.to_string()),
        Header::text("ledgerflow-reason", reason.to_owned()),
    ]
}

/// Somebody rejects what was proposed.
pub fn reject(id: &str, who: &str, of: &str) -> Event {
    let operation = Some(command::Operation::RejectAdjustment(RejectAdjustment { proposal: key(of) }));
    Event { legs: Vec::new(), operation, principal: who.into(), home: 0, ..pay(id, 1, 1, 1) }
}

/// Somebody proposes to give a user of partition 1 what item `sequence` of partition 0 left in suspense there.
pub fn resolve(id: &str, who: &str, sequence: u64, user: u32) -> Event {
    let case = Some(SuspenseCase { partition: 1, from: 0, sequence });
    let account = format!("users:{user}:wallet");
    let operation = Some(command::Operation::ResolveSuspense(ResolveSuspense { case, account }));
    Event { legs: Vec::new(), operation, principal: who.into(), home: 1, ..pay(id, 1, 1, 1) }
}

/// Puts `amount` of a user's money on hold, at the user's own partition.
pub fn hold(id: &str, user: u32, amount: i128, expires_after_us: i64) -> Event {
    let operation = Some(command::Operation::PlaceHold(PlaceHold { expires_after_us }));
    let legs = vec![leg(&format!("users:{user}:wallet"), amount)];
    Event { legs, operation, ..pay(id, user, user, 1) }
}

/// Takes `amount` from a hold.
pub fn capture(id: &str, of: &str, user: u32, amount: i128, last: bool) -> Event {
    let operation = Some(command::Operation::CaptureHold(CaptureHold { hold: key(of), r#final: last }));
    let legs = vec![leg(&format!("users:{user}:wallet"), amount), leg("bank:0:main", -amount)];
    Event { legs, operation, ..pay(id, user, user, 1) }
}

/// Changes an account of a user.
pub fn change(id: &str, user: u32, action: change_account::Action) -> Event {
    let account = format!("users:{user}:wallet");
    let change = ChangeAccount { account, action: action as i32, side: 0, metadata: Vec::new() };
    let operation = Some(command::Operation::ChangeAccount(change));
    Event { legs: Vec::new(), operation, ..pay(id, user, user, 1) }
}

/// Says something of an account of a user.
pub fn describe(id: &str, user: u32, value: &str) -> Event {
    let account = format!("users:{user}:wallet");
    let metadata = vec![MetadataChange { key: "tier".into(), value: value.into(), removed: false }];
    let action = change_account::Action::Describe as i32;
    let operation =
        Some(command::Operation::ChangeAccount(ChangeAccount { account, action, side: 0, metadata }));
    Event { legs: Vec::new(), operation, ..pay(id, user, user, 1) }
}

/// Lets a user's balance go up to `highest`, debits minus credits.
pub fn limit(id: &str, user: u32, highest: i128) -> Event {
    let to = Some(limit_change::To::Figure(highest.into()));
    let change = ChangeLimits {
        account: format!("users:{user}:wallet"),
        asset: "CNY".into(),
        least: Some(LimitChange { to }),
        most: None,
    };
    let operation = Some(command::Operation::ChangeLimits(change));
    Event { legs: Vec::new(), operation, ..pay(id, user, user, 1) }
}

/// A payment of at most `amount`.
pub fn pay_at_most(id: &str, from: u32, to: u32, amount: i128) -> Event {
    let operation = Some(command::Operation::BookAtMost(BookAtMost { side: Side::Debit as i32 }));
    let legs =
        vec![leg(&format!("users:{from}:wallet"), amount), leg(&format!("users:{to}:wallet"), -amount)];
    Event { legs, operation, ..pay(id, from, to, amount) }
}

/// Gives `amount` of what a user has paid another back.
pub fn reverse(id: &str, of: &str, user: u32, other: u32, amount: i128) -> Event {
    let operation = Some(command::Operation::ReverseEvent(ReverseEvent { event: key(of) }));
    let legs =
        vec![leg(&format!("users:{other}:wallet"), amount), leg(&format!("users:{user}:wallet"), -amount)];
    Event { legs, operation, ..pay(id, user, user, 1) }
}

/// Ends a hold.
pub fn release(id: &str, of: &str, user: u32) -> Event {
    let operation = Some(command::Operation::ReleaseHold(ReleaseHold { hold: key(of) }));
    Event { legs: Vec::new(), operation, ..pay(id, user, user, 1) }
}

/// By partition asked: its answer, empty = on hold.
type Answers = BTreeMap<u32, Option<String>>;

#[derive(Debug, Default)]
struct Ledger {
    accounts: BTreeMap<(String, String), (u64, i128, u64)>,
    days: BTreeMap<(String, String), BTreeMap<i32, i128>>,
    /// Body, outcome, and where the decision lies; nowhere while it is pending.
    ids: BTreeMap<String, (u8, i32, (u32, u64))>,
    consumed: [usize; 2],
    sent: BTreeMap<u32, u64>,
    /// Everything sent to each partition.
    items: BTreeMap<u32, Vec<CreditItem>>,
    marks: BTreeMap<u32, (u64, Hash)>,
    /// Items above a gap, by sender; what is missing was asked for.
    held: BTreeMap<u32, BTreeMap<u64, Bytes>>,
    /// Events that wait for answers: the command, its ingest slot, and each partition asked with its answer.
    groups: BTreeMap<String, (Command, u32, Answers)>,
    /// Legs by the event that proposed them, who did, and the case that they resolve.
    proposed: BTreeMap<String, (Vec<Leg>, String, Option<SuspenseCase>)>,
    /// What lies in suspense, by sequence: the leg as it was meant.
    suspense: BTreeMap<u64, Leg>,
    /// Approvals to be booked at the end of the window: the command, its ingest slot, and what it approves.
    approvals: Vec<(Command, u32, String)>,
    /// Events that give another back and wait for its legs.
    reversing: Vec<(Command, u32)>,
    /// What of an event is given back, and what it moved.
    returned: BTreeMap<String, (i128, i128)>,
    /// Holds by the event that placed them.
    placed: BTreeMap<String, HoldState>,
    /// First sequence to be sent again, by receiver.
    again: BTreeMap<u32, u64>,
    tallies: BTreeMap<(i32, u32, i32), (u64, i128)>,
    seen: BTreeSet<(i32, bool, u32)>,
    sent_days: BTreeSet<i32>,
    aligned: BTreeSet<i32>,
    touched: BTreeSet<(String, String)>,
    settled: usize,
    keyed: usize,
    bills: usize,
}

#[derive(Debug, Default)]
struct Ingest {
    counts: IngestCounts,
    positions: [i64; 3],
    days: BTreeMap<(u32, i32), (u64, i128)>,
}

/// All topics in the making.
#[derive(Debug)]
pub struct World {
    pub counts: PartitionCounts,
    pub drafts: BTreeMap<TopicPartition, Vec<Draft>>,
    pub plain: BTreeMap<TopicPartition, Vec<Record>>,
    pub epoch: u64,
    /// The account of which debits are counted, and what was counted so far.
    pub counted: Option<String>,
    /// What is booked of events that book at most their amount.
    pub available: i128,
    moved: (i128, u64),
    plans: BTreeMap<String, Plan>,
    ledgers: Vec<Ledger>,
    ingest: Vec<Ingest>,
}

fn signed(side: i32, amount: i128) -> i128 {
    if side == Side::Debit as i32 { amount } else { -amount }
}

fn sum(amount: i128) -> Vec<AssetSum> {
    vec![AssetSum { asset: "CNY".into(), sum: Some(amount.into()) }]
}

fn key(id: &str) -> Option<EventKey> {
    Some(EventKey { source: "shop".into(), id: id.into() })
}

fn check(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(sha256(bytes)[..8].try_into().unwrap())
}

impl World {
    pub fn new(events: u32, internal: u32) -> Self {
        Self {
            counts: PartitionCounts { events, internal },
            drafts: BTreeMap::new(),
            counted: None,
            available: 0,
            moved: (0, 0),
            plain: BTreeMap::new(),
            epoch: 1,
            plans: BTreeMap::new(),
            ledgers: (0..internal).map(|_| Ledger::default()).collect(),
            ingest: (0..events).map(|_| Ingest::default()).collect(),
        }
    }

    pub fn plain(&mut self, topic: Topic, partition: u32, value: impl Into<Bytes>, headers: Vec<Header>) {
        let list = self.plain.entry(TopicPartition::new(topic, partition)).or_default();
        let offset = list.len() as i64;
        list.push(Record { offset, timestamp_us: 0, key: Bytes::new(), value: value.into(), headers });
    }

    fn draft(&mut self, topic: Topic, partition: u32, mut header: BatchHeader, items: Vec<Bytes>) -> u64 {
        let list = self.drafts.entry(TopicPartition::new(topic, partition)).or_default();
        header.epoch = self.epoch;
        header.sequence = 1 + list.iter().filter(|d| d.header.slot == header.slot).count() as u64;
        let sequence = header.sequence;
        list.push(Draft { header, items, falsify: None, lost: false });
        sequence
    }

    pub fn drafts(&mut self, topic: Topic, partition: u32) -> &mut Vec<Draft> {
        self.drafts.get_mut(&TopicPartition::new(topic, partition)).unwrap()
    }

    fn len(&self, topic: Topic, partition: u32) -> usize {
        self.drafts.get(&TopicPartition::new(topic, partition)).map_or(0, Vec::len)
    }

    // --- ingest ---

    /// One window of an ingest slot; `close` = it also switches away from this day.
    pub fn ingest(&mut self, slot: u32, events: &[Event], close: Option<i32>) {
        let partitions = self.counts.internal;
        let mut items: BTreeMap<u32, Vec<Bytes>> = BTreeMap::new();
        let from = self.ingest[slot as usize].positions;
        let mut dead = 0;
        for event in events {
            let offset = self.ingest[slot as usize].positions[event.lane as usize];
            self.ingest[slot as usize].positions[event.lane as usize] += 1;
            self.plain(Topic::LANES[event.lane as usize], slot, event.id.clone(), Vec::new());
            if event.plan == Plan::DeadLetter {
                dead += 1;
                let headers = rejected("not_json", event.lane, slot, offset);
                self.plain(Topic::Rejected, slot % partitions, event.id.clone(), headers);
                continue;
            }
            self.plans.entry(event.id.clone()).or_insert(event.plan);
            let command = command_of(event, slot, offset);
            if !event.back_dated {
                let debits: i128 =
                    event.legs.iter().filter(|l| l.side == 1).map(|l| of(l.amount.as_ref())).sum();
                let day = self.ingest[slot as usize].days.entry((event.home, event.date)).or_default();
                *day = (day.0 + 1, day.1 + debits);
            }
            let item = CommandItem { item: Some(command_item::Item::Command(command)) };
            items.entry(event.home).or_default().push(item.encode_to_vec().into());
        }
        for partition in 0..partitions {
            let tick = Tick { business_time_us: 1, ingest_slot: slot, lane: vec![] };
            let tick = CommandItem { item: Some(command_item::Item::Tick(tick)) };
            items.entry(partition).or_default().push(tick.encode_to_vec().into());
            if let Some(date) = close {
                let (count, total) =
                    self.ingest[slot as usize].days.get(&(partition, date)).copied().unwrap_or_default();
                let marker = DayMarker { book: BOOK.into(), date, count, sum: sum(total), last_sequence: 0 };
                let item = CommandItem { item: Some(command_item::Item::DayMarker(marker)) };
                items.entry(partition).or_default().push(item.encode_to_vec().into());
            }
        }
        self.ingest_state(slot, items, from, events, dead);
    }

    fn ingest_state(
        &mut self,
        slot: u32,
        items: BTreeMap<u32, Vec<Bytes>>,
        from: [i64; 3],
        events: &[Event],
        dead: u64,
    ) {
        let batch = 1 + self.len(Topic::IngestState, slot) as u64;
        let mut state = Vec::new();
        for (partition, items) in items {
            let header = BatchHeader { slot, batch, ..BatchHeader::default() };
            let sequence = self.draft(Topic::Commands, partition, header, items);
            let sent = ChainSent { topic: "commands".into(), partition, sequence, hash: Bytes::new() };
            state.push(ingest_state_item::Item::Sent(sent));
        }
        let ingest = &mut self.ingest[slot as usize];
        for ((partition, date), (count, total)) in &ingest.days {
            let (partition, date, count) = (*partition, *date, *count);
            let day = DayCount { partition, book: BOOK.into(), date, count, sum: sum(*total) };
            state.push(ingest_state_item::Item::DayCount(day));
        }
        let counts = &mut ingest.counts;
        counts.received += events.len() as u64;
        counts.dead_lettered += dead;
        counts.forwarded = counts.received - counts.dead_lettered;
        counts.received_by_lane = ingest.positions.iter().map(|n| *n as u64).collect();
        state.push(ingest_state_item::Item::Counts(counts.clone()));
        let ranges = (0..3).map(|lane| InputRange {
            topic: Topic::LANES[lane].name().into(),
            partition: slot,
            from: from[lane],
            to: ingest.positions[lane],
        });
        let edge = vec![EdgeCount { topic: "rejected".into(), records: dead as u32 }];
        let header = BatchHeader { slot, batch, input: ranges.collect(), edge, ..BatchHeader::default() };
        let items = state.into_iter().map(|item| IngestStateItem { item: Some(item) }.encode_to_vec().into());
        self.draft(Topic::IngestState, slot, header, items.collect());
    }

    // --- posting ---

    /// The last record on `credits` of this partition vanishes.
    pub fn lose(&mut self, p: u32) {
        self.drafts(Topic::Credits, p).last_mut().unwrap().lost = true;
    }

    /// One window of a posting slot: reads everything that is there.
    pub fn post(&mut self, p: u32) {
        let mut window = PostingWindow::new(self, p);
        window.credits(self);
        window.commands(self);
        window.conclude(self);
        window.expire(self);
        window.markers(self);
        window.clear(self);
        window.count_moved(self);
        window.seal(self);
    }

    // --- settlement ---

    /// Publishes the balances of everything journaled so far.
    pub fn settle(&mut self, p: u32) {
        let batch = self.len(Topic::Journal, p) as u64;
        let ledger = &mut self.ledgers[p as usize];
        let touched = std::mem::take(&mut ledger.touched);
        ledger.settled = batch as usize;
        let balance = touched.into_iter().map(|name| {
            let (seq, balance, _) = ledger.accounts[&name];
            let (last_date, last) = ledger.days[&name].last_key_value().map(|(d, a)| (*d, *a)).unwrap();
            Balance {
                account: name.0,
                asset: name.1,
                balance: Some(balance.into()),
                seq,
                last_date,
                previous: Some((balance - last).into()),
                book: BOOK.into(),
            }
        });
        let body = BalancesBody {
            format: 1,
            generation: 0,
            slot: p,
            journal_batch: batch,
            balance: balance.collect(),
        };
        self.plain(Topic::Balances, p, body.encode_to_vec(), Vec::new());
    }

    /// Publishes the closings of a day for every account and tells the slot that announces days.
    pub fn close_day(&mut self, p: u32, date: i32) {
        let lines: Vec<String> = self.ledgers[p as usize]
            .days
            .iter()
            .map(|((account, asset), days)| {
                let closing: i128 = days.range(..=date).map(|(_, sum)| sum).sum();
                format!(
                    r#"{{"format":1,"account":"{account}","asset":"{asset}","book":"{BOOK}","day":"{}","revision":1,"balance_minor":"{}","debit_minus_credit_minor":"{closing}","normal_side":"credit"}}"#,
                    date_text(date),
                    -closing
                )
            })
            .collect();
        for line in lines {
            self.plain(Topic::BalancesDaily, p, line, Vec::new());
        }
        let aligned = format!(r#"{{"format":1,"slot":{p},"book":"{BOOK}","day":"{}"}}"#, date_text(date));
        self.plain(Topic::DaysAligned, 0, aligned, Vec::new());
    }

    /// Announces a day to every ingest slot.
    pub fn announce(&mut self, date: i32) {
        let (slots, day) = (self.ingest.len() as u32, date_text(date));
        let value = format!(r#"{{"format":1,"book":"{BOOK}","day":"{day}","ingest_slots":{slots}}}"#);
        (0..slots).for_each(|slot| self.plain(Topic::Days, slot, value.clone(), Vec::new()));
        let value = format!(r#"{{"format":1,"book":"{BOOK}","day":"{day}","state":"OPEN"}}"#);
        self.plain(Topic::Flow, 0, value, Vec::new());
    }

    pub fn flow_closed(&mut self, date: i32) {
        let value = format!(r#"{{"format":1,"book":"{BOOK}","day":"{}","state":"CLOSED"}}"#, date_text(date));
        self.plain(Topic::Flow, 0, value, Vec::new());
    }

    // --- reconcile ---

    /// Stages a bill with one line per order and amount.
    pub fn bill(&mut self, p: u32, orders: &[(&str, i128)]) {
        let file = BillFile {
            id: "f1".into(),
            provider: "wechat".into(),
            account: "1900".into(),
            day: DAY,
            ..BillFile::default()
        };
        let line = |(line, (order, amount)): (u32, &(&str, i128))| BillLine {
            line,
            order: (*order).into(),
            kind: "payment".into(),
            asset: "CNY".into(),
            gross: Some(Decimal { units: Some((*amount).into()), scale: 2 }),
            status: "success".into(),
            ..BillLine::default()
        };
        let lines: Vec<BillLine> = (1..).zip(orders).map(line).collect();
        let (first, rest) = lines.split_at(lines.len() / 2);
        let end = BillEnd { accepted: true, lines: lines.len() as u64, ..BillEnd::default() };
        for (chunk, lines) in [(0, first), (1, rest)] {
            let (file, line) = (Some(file.clone()), lines.to_vec());
            let end = (chunk == 1).then(|| end.clone());
            let chunk = BillChunk { format: 1, file, chunk, line, end };
            self.plain(Topic::BillsLines, p, chunk.encode_to_vec(), Vec::new());
        }
    }

    /// One window of the re-keying slot: reads everything that is there.
    pub fn rekey(&mut self, p: u32) {
        let mut sides: BTreeMap<u32, Vec<SideItem>> = BTreeMap::new();
        let side = |item| SideItem { journal_partition: 0, item: Some(item) };
        let from = self.ledgers[p as usize].keyed;
        let to = self.len(Topic::Journal, p);
        for draft in self.drafts.get(&TopicPartition::new(Topic::Journal, p)).map_or(&[][..], |d| &d[from..])
        {
            for ours in our_sides(p, draft) {
                let order = &ours.r#match.as_ref().unwrap().order;
                let q = order.len() as u32 % self.counts.internal;
                sides.entry(q).or_default().push(side(side_item::Item::Ours(ours)));
            }
        }
        let chunks = self.plain.get(&TopicPartition::new(Topic::BillsLines, p)).cloned().unwrap_or_default();
        let bills_from = self.ledgers[p as usize].bills;
        let mut staged: BTreeMap<u32, u64> = BTreeMap::new();
        for record in &chunks[bills_from..] {
            let chunk = BillChunk::decode(record.value.clone()).unwrap();
            let file = chunk.file.clone().unwrap();
            for line in chunk.line {
                let q = line.order.len() as u32 % self.counts.internal;
                *staged.entry(q).or_default() += 1;
                let theirs = TheirSide {
                    file: file.id.clone(),
                    provider: file.provider.clone(),
                    account: file.account.clone(),
                    day: DAY,
                    line: Some(line),
                };
                sides.entry(q).or_default().push(side(side_item::Item::Theirs(theirs)));
            }
            for q in (0..self.counts.internal).filter(|_| chunk.end.is_some()) {
                let staged = staged.get(&q).copied().unwrap_or(0);
                let released = FileReleased { file: Some(file.clone()), end: chunk.end.clone(), staged };
                sides.entry(q).or_default().push(side(side_item::Item::Released(released)));
            }
        }
        self.ledgers[p as usize].keyed = to;
        self.ledgers[p as usize].bills = chunks.len();
        let batch = 1 + self.len(Topic::ReconState, p) as u64;
        let mut state = Vec::new();
        for (q, items) in sides {
            let header = BatchHeader { slot: p, batch, ..BatchHeader::default() };
            let items = items.iter().map(|i| i.encode_to_vec().into()).collect();
            let sequence = self.draft(Topic::ReconSides, q, header, items);
            let sent = SideSent { partition: q, sequence, hash: Bytes::new() };
            let item = ReconStateItem { item: Some(recon_state_item::Item::Sent(sent)) };
            state.push(item.encode_to_vec().into());
        }
        let range = |topic: Topic, from: usize, to: usize| InputRange {
            topic: topic.name().into(),
            partition: p,
            from: from as i64,
            to: to as i64,
        };
        let input = vec![range(Topic::Journal, from, to), range(Topic::BillsLines, bills_from, chunks.len())];
        let header = BatchHeader { slot: p, batch, input, ..BatchHeader::default() };
        self.draft(Topic::ReconState, p, header, state);
    }

    // --- sealing ---

    /// Seals everything: chains first, then the changelogs that name their heads.
    pub fn log(&self) -> MemoryLog {
        let log = MemoryLog::new(self.counts);
        for (at, records) in &self.plain {
            records.iter().for_each(|record| log.push(*at, record.clone()));
        }
        let mut heads = Heads::new();
        let first = [Topic::Commands, Topic::Credits];
        let then = [Topic::IngestState, Topic::Journal, Topic::ReconSides, Topic::ReconState];
        for topic in first.into_iter().chain(then) {
            for (at, drafts) in self.drafts.iter().filter(|(at, _)| at.topic == topic) {
                let mut chains: BTreeMap<u32, ChainHead> = BTreeMap::new();
                for (offset, draft) in (0..).zip(drafts) {
                    let chain = chains.entry(draft.header.slot).or_default();
                    let (value, hash) = seal(topic, draft, chain, &heads);
                    *chain = ChainHead { sequence: draft.header.sequence, hash };
                    heads.insert((topic, at.partition, draft.header.slot, draft.header.sequence), hash);
                    let (key, headers) = (Bytes::new(), Vec::new());
                    if !draft.lost {
                        log.push(*at, Record { offset, timestamp_us: 0, key, value, headers });
                    }
                }
            }
        }
        log
    }
}

/// Hashes of sealed batches by topic, partition, slot and sequence.
type Heads = BTreeMap<(Topic, u32, u32, u64), Hash>;

fn head_of(heads: &Heads, key: (Topic, u32, u32, u64)) -> Bytes {
    heads.get(&key).map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(hash))
}

fn seal(topic: Topic, draft: &Draft, chain: &ChainHead, heads: &Heads) -> (Bytes, Hash) {
    let mut header = draft.header.clone();
    let slot = header.slot;
    let mut body = BodyBuilder::new();
    header.previous_hash = chain.previous_hash();
    for channel in header.channel.iter_mut().filter(|c| c.batch_sequence > 0) {
        channel.batch_hash =
            head_of(heads, (Topic::Credits, channel.partition, slot, channel.batch_sequence));
    }
    for mark in header.mark.iter_mut().filter(|m| m.topic == "commands") {
        mark.hash = head_of(heads, (Topic::Commands, slot, mark.slot, mark.sequence));
    }
    for bytes in &draft.items {
        push_item(&mut body, topic, bytes, slot, heads);
    }
    let sealed = body.seal(header);
    let Some(falsify) = draft.falsify else { return (sealed.value, sealed.hash) };
    let batch = Batch::decode(sealed.value).unwrap();
    let mut header = BatchHeader::decode(batch.header).unwrap();
    falsify(&mut header);
    let header: Bytes = header.encode_to_vec().into();
    let hash = sha256(&header);
    (Batch { header, body: batch.body }.encode_to_vec().into(), hash)
}

/// Pushes an item with the chain heads it names filled in, where it is of a kind that names one.
fn push_item(body: &mut BodyBuilder, topic: Topic, bytes: &Bytes, slot: u32, heads: &Heads) {
    match topic {
        Topic::IngestState => {
            let mut item = IngestStateItem::decode(bytes.clone()).unwrap();
            if let Some(ingest_state_item::Item::Sent(sent)) = &mut item.item {
                sent.hash = head_of(heads, (Topic::Commands, sent.partition, slot, sent.sequence));
            }
            body.push(&item);
        }
        Topic::ReconState => {
            let mut item = ReconStateItem::decode(bytes.clone()).unwrap();
            if let Some(recon_state_item::Item::Sent(sent)) = &mut item.item {
                sent.hash = head_of(heads, (Topic::ReconSides, sent.partition, slot, sent.sequence));
            }
            body.push(&item);
        }
        _ => body.push(&Raw(bytes.clone())),
    }
}

/// Bytes that are pushed as they are.
#[derive(Debug, Clone, Default)]
struct Raw(Bytes);

impl Message for Raw {
    fn encode_raw(&self, buf: &mut impl bytes::BufMut) {
        buf.put_slice(&self.0);
    }
    fn merge_field(
        &mut self,
        _: u32,
        _: prost::encoding::WireType,
        _: &mut impl bytes::Buf,
        _: prost::encoding::DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        Ok(())
    }
    fn encoded_len(&self) -> usize {
        self.0.len()
    }
    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}

fn command_of(event: &Event, slot: u32, offset: i64) -> Command {
    Command {
        event: key(&event.id),
        r#type: "transfer".into(),
        subject: "s".into(),
        body_hash: vec![event.body; 16].into(),
        occurred_at_us: 7,
        accounting_date: event.date,
        value_date: DAY,
        back_dated: event.back_dated,
        book: BOOK.into(),
        rule: "transfer".into(),
        rule_version: 1,
        leg: event.legs.clone(),
        lane: event.lane,
        event_partition: slot,
        event_offset: offset,
        traceparent: String::new(),
        tenant: String::new(),
        job: format!("job of {}", event.id),
        rate: "7.1".into(),
        note: format!("why {}", event.id),
        operation: event.operation.clone(),
        principal: event.principal.clone(),
    }
}

fn our_sides(p: u32, draft: &Draft) -> Vec<OurSide> {
    let side = |entry: &Entry, event: &Option<EventKey>, date: i32, occurred_at_us: i64| OurSide {
        r#match: entry.r#match.clone(),
        event: event.clone(),
        leg: entry.leg,
        accounting_date: date,
        occurred_at_us,
        journal_partition: p,
        journal_batch: draft.header.batch,
        entry_account: entry.account.clone(),
        entry_seq: entry.seq,
    };
    let mut out = Vec::new();
    for item in &draft.items {
        match JournalItem::decode(item.clone()).unwrap().item.unwrap() {
            Item::Decision(d) => {
                out.extend(d.entry.iter().map(|e| side(e, &d.event, d.accounting_date, d.occurred_at_us)));
            }
            Item::Received(r) => {
                out.extend(r.entry.iter().map(|e| side(e, &r.event, r.accounting_date, r.occurred_at_us)));
            }
            _ => {}
        }
    }
    out.retain(|ours| ours.r#match.is_some());
    out
}

/// A posting window in the making.
struct PostingWindow {
    p: u32,
    batch: u64,
    items: Vec<Item>,
    out: BTreeMap<u32, Vec<CreditItem>>,
    nets: BTreeMap<(bool, u32, i32), Vec<(u64, i128)>>,
    tallies: BTreeSet<(i32, u32, i32)>,
    refused: u32,
    input: Vec<InputRange>,
    mark: Vec<ChainMark>,
    read: BTreeMap<u32, u64>,
}

impl PostingWindow {
    fn new(world: &World, p: u32) -> Self {
        Self {
            p,
            batch: 1 + world.len(Topic::Journal, p) as u64,
            items: Vec::new(),
            out: BTreeMap::new(),
            nets: BTreeMap::new(),
            tallies: BTreeSet::new(),
            refused: 0,
            input: Vec::new(),
            mark: Vec::new(),
            read: BTreeMap::new(),
        }
    }

    /// New batches of an input of this partition.
    fn take(&mut self, world: &mut World, topic: Topic, which: usize) -> Vec<Draft> {
        let ledger = &mut world.ledgers[self.p as usize];
        let drafts = world.drafts.get(&TopicPartition::new(topic, self.p)).map_or(&[][..], |d| d);
        let from = std::mem::replace(&mut ledger.consumed[which], drafts.len());
        let (topic, partition) = (topic.name().to_owned(), self.p);
        self.input.push(InputRange { topic, partition, from: from as i64, to: drafts.len() as i64 });
        drafts[from..].iter().filter(|draft| !draft.lost).cloned().collect()
    }

    fn book(&mut self, world: &mut World, account: &str, signed: i128, leg: u32, date: i32) -> Entry {
        let ledger = &mut world.ledgers[self.p as usize];
        let name = (account.to_owned(), "CNY".to_owned());
        let (seq, balance, previous_batch) = ledger.accounts.get(&name).copied().unwrap_or_default();
        let side = if signed > 0 { Side::Debit } else { Side::Credit };
        let mut entry = Entry {
            account: name.0.clone(),
            asset: name.1.clone(),
            side: side as i32,
            seq: seq + 1,
            leg,
            previous_batch,
            ..Entry::default()
        };
        entry.set_figures(signed.abs(), balance, balance + signed);
        ledger.accounts.insert(name.clone(), (seq + 1, balance + signed, self.batch));
        *ledger.days.entry(name.clone()).or_default().entry(date).or_default() += signed;
        ledger.touched.insert(name);
        entry
    }

    fn send(&mut self, world: &mut World, peer: u32, item: credit_item::Item) -> u64 {
        let sequence = world.ledgers[self.p as usize].sent.entry(peer).or_default();
        *sequence += 1;
        let (sequence, item) = (*sequence, CreditItem { sequence: *sequence, item: Some(item) });
        self.out.entry(peer).or_default().push(item.clone());
        world.ledgers[self.p as usize].items.entry(peer).or_default().push(item);
        sequence
    }

    fn tally(&mut self, world: &mut World, kind: day_tally::Kind, peer: u32, date: i32, amount: i128) {
        let key = (kind as i32, peer, date);
        let tally = world.ledgers[self.p as usize].tallies.entry(key).or_default();
        *tally = (tally.0 + 1, tally.1 + amount);
        self.tallies.insert(key);
    }

    fn credits(&mut self, world: &mut World) {
        self.send_again(world);
        for draft in self.take(world, Topic::Credits, 1) {
            let from = draft.header.slot;
            draft.items.iter().for_each(|bytes| self.arrive(world, from, bytes));
        }
        let marks = &world.ledgers[self.p as usize].marks;
        let mark = |(slot, (sequence, hash)): (&u32, &(u64, Hash))| ChainMark {
            topic: "credits".into(),
            slot: *slot,
            sequence: *sequence,
            hash: Bytes::copy_from_slice(hash),
        };
        self.mark.extend(marks.iter().map(mark));
    }

    /// Takes the next item of a channel and what waited for it; drops what was taken; holds what is above a gap, and
    /// asks for what is missing where the gap is new.
    fn arrive(&mut self, world: &mut World, from: u32, bytes: &Bytes) {
        let ledger = &mut world.ledgers[self.p as usize];
        let mark = ledger.marks.get(&from).map_or(0, |(sequence, _)| *sequence);
        let sequence = CreditItem::decode(bytes.clone()).unwrap().sequence;
        if sequence <= mark {
            return;
        }
        let held = ledger.held.entry(from).or_default();
        if sequence > mark + 1 {
            let first = held.is_empty();
            if held.insert(sequence, bytes.clone()).is_none() {
                self.items.push(Item::Held(Held { from, sequence, item: bytes.clone(), dropped: false }));
            }
            if first {
                let from_sequence = mark + 1;
                let resend = credit_item::Item::Resend(Resend { from_sequence });
                let sequence = self.send(world, from, resend);
                let (business_time_us, times) = (0, 1);
                let asked = ResendAsked { from, from_sequence, sequence, business_time_us, times };
                self.items.push(Item::ResendAsked(asked));
            }
            return;
        }
        self.accept(world, from, bytes);
        while let Some(next) = self.waiting(world, from) {
            self.accept(world, from, &next);
        }
    }

    fn waiting(&self, world: &mut World, from: u32) -> Option<Bytes> {
        let ledger = &mut world.ledgers[self.p as usize];
        let mark = ledger.marks.get(&from).map_or(0, |(sequence, _)| *sequence);
        let held = ledger.held.get_mut(&from)?;
        held.retain(|sequence, _| *sequence > mark);
        held.remove(&(mark + 1))
    }

    /// What was asked for in the window before goes out with everything after it.
    fn send_again(&mut self, world: &mut World) {
        let ledger = &mut world.ledgers[self.p as usize];
        for (to, next) in std::mem::take(&mut ledger.again) {
            let items = ledger.items[&to].iter().filter(|item| item.sequence >= next).cloned();
            self.out.insert(to, items.collect());
            self.items.push(Item::Resending(Resending { to, next: 0, answered: next }));
        }
    }

    fn accept(&mut self, world: &mut World, from: u32, bytes: &Bytes) {
        let item = CreditItem::decode(bytes.clone()).unwrap();
        let sequence = item.sequence;
        world.ledgers[self.p as usize].marks.insert(from, (sequence, sha256(bytes)));
        match item.item.unwrap() {
            credit_item::Item::Credit(credit) => self.receive(world, from, sequence, credit, check(bytes)),
            credit_item::Item::Forward(forward) => {
                let command = forward.command.unwrap();
                self.decide(world, forward.ingest_slot, &command, (from + 1, sequence, check(bytes)));
            }
            credit_item::Item::Verdict(verdict) => {
                let id = verdict.event.clone().unwrap().id;
                let known = world.ledgers[self.p as usize].ids.get_mut(&id).unwrap();
                (known.1, known.2) = (verdict.outcome, (from, verdict.batch));
                self.items.push(Item::Resolution(Resolution {
                    from,
                    sequence,
                    event: verdict.event,
                    outcome: verdict.outcome,
                    reason: verdict.reason,
                    retryable: verdict.retryable,
                    batch: verdict.batch,
                    accounting_date: verdict.accounting_date,
                    item_check: check(bytes),
                    detail: verdict.detail,
                }));
            }
            credit_item::Item::DayMarker(marker) => {
                world.ledgers[self.p as usize].seen.insert((marker.date, true, from));
                let (credits, marker, item_check) = (true, Some(marker), check(bytes));
                self.items.push(Item::DayMarkerSeen(DayMarkerSeen {
                    credits,
                    from,
                    sequence,
                    marker,
                    item_check,
                }));
            }
            credit_item::Item::Reserve(reserve) => self.reserve(world, from, sequence, reserve, check(bytes)),
            credit_item::Item::Answer(answer) => self.answered(world, from, sequence, answer, check(bytes)),
            credit_item::Item::Void(Void { event }) => {
                self.items.push(Item::Voided(Voided { from, sequence, event, item_check: check(bytes) }));
            }
            credit_item::Item::Resend(Resend { from_sequence }) => {
                let item_check = check(bytes);
                self.items.push(Item::ResendTaken(ResendTaken { from, sequence, from_sequence, item_check }));
                let (to, next, answered) = (from, from_sequence, sequence);
                world.ledgers[self.p as usize].again.insert(to, next);
                self.items.push(Item::Resending(Resending { to, next, answered }));
            }
        }
    }

    fn receive(&mut self, world: &mut World, from: u32, sequence: u64, credit: Credit, item_check: u64) {
        let amount = signed(credit.side, of(credit.amount.as_ref()));
        let suspense = credit.account.starts_with("odd:");
        let account = if suspense { format!("suspense:p{:02}", self.p) } else { credit.account.clone() };
        let mut entry = self.book(world, &account, amount, credit.leg, credit.accounting_date);
        entry.r#match = credit.r#match;
        self.nets.entry((false, from, credit.accounting_date)).or_default().push((sequence, amount));
        if !credit.back_dated {
            self.tally(world, day_tally::Kind::CreditsIn, from, credit.accounting_date, amount);
        }
        if suspense {
            world.ledgers[self.p as usize].suspense.insert(sequence, leg(&credit.account, amount));
        }
        self.items.push(Item::Received(Received {
            from,
            sequence,
            event: credit.event,
            r#type: credit.r#type,
            occurred_at_us: credit.occurred_at_us,
            accounting_date: credit.accounting_date,
            value_date: credit.value_date,
            back_dated: credit.back_dated,
            carried_from: credit.carried_from,
            book: credit.book,
            rule: credit.rule,
            rule_version: credit.rule_version,
            entry: Some(entry),
            suspense_reason: if suspense { "unknown_account".into() } else { String::new() },
            intended_account: if suspense { credit.account } else { String::new() },
            traceparent: credit.traceparent,
            item_check,
            reserved: credit.reserved,
        }));
    }

    fn answered(&mut self, world: &mut World, from: u32, sequence: u64, answer: Answer, item_check: u64) {
        let Answer { event, reason, detail } = answer;
        let id = event.clone().unwrap().id;
        let (.., answers) = world.ledgers[self.p as usize].groups.get_mut(&id).unwrap();
        answers.insert(from, Some(reason.clone()));
        self.items.push(Item::Answered(Answered { from, sequence, event, reason, detail, item_check }));
    }

    fn reserve(&mut self, world: &mut World, from: u32, sequence: u64, reserve: Reserve, item_check: u64) {
        let event = reserve.event;
        let plan = world.plans[&event.clone().unwrap().id];
        let refuses = plan == Plan::Group(Some(self.p));
        let reason = if refuses { "insufficient_funds".to_owned() } else { String::new() };
        let (detail, leg) = (String::new(), if refuses { Vec::new() } else { reserve.leg });
        let answer = Answer { event: event.clone(), reason: reason.clone(), detail: detail.clone() };
        let answer_sequence = self.send(world, from, credit_item::Item::Answer(answer));
        self.items.push(Item::Reserved(Reserved {
            from,
            sequence,
            event,
            leg,
            reason,
            detail,
            answer_sequence,
            item_check,
        }));
    }

    /// Asks the partitions of the payers; the own part is on hold at once.
    fn ask(&mut self, world: &mut World, ingest_slot: u32, command: &Command, decision: &mut Decision) {
        decision.outcome = Outcome::Pending as i32;
        decision.asked = (0..).zip(&command.leg).map(|(n, l)| remote(n, l, 0, 0)).collect();
        let mut parts: BTreeMap<u32, Vec<HoldLeg>> = BTreeMap::new();
        for (n, leg) in (0..).zip(&command.leg).filter(|(_, leg)| leg.side == Side::Debit as i32) {
            let (account, asset, side, amount) =
                (leg.account.clone(), leg.asset.clone(), leg.side, leg.amount);
            let part = parts.entry(partition_of(&account, world.counts.internal)).or_default();
            let (overdraft, overdraft_unlimited) = (leg.overdraft, leg.overdraft_unlimited);
            let hold = HoldLeg { leg: n, account, asset, side, amount, overdraft, overdraft_unlimited };
            part.push(hold);
        }
        let held = |legs: &[HoldLeg]| -> Vec<HeldLeg> {
            legs.iter().map(|leg| HeldLeg { leg: leg.leg, amount: leg.amount }).collect()
        };
        decision.held = parts.remove(&self.p).map(|own| held(&own)).unwrap_or_default();
        for (partition, legs) in &parts {
            let reserve = Reserve { event: command.event.clone(), leg: legs.clone() };
            let sequence = self.send(world, *partition, credit_item::Item::Reserve(reserve));
            decision.reserve.push(ReserveSent { partition: *partition, sequence, leg: held(legs) });
        }
        let answers = parts.keys().map(|partition| (*partition, None)).collect();
        let id = command.event.clone().unwrap().id;
        world.ledgers[self.p as usize].groups.insert(id, (command.clone(), ingest_slot, answers));
    }

    /// What gives another event back waits for its legs.
    fn wait(&mut self, world: &mut World, ingest_slot: u32, command: &Command, decision: &mut Decision) {
        let Some(command::Operation::ReverseEvent(reverse)) = command.operation.clone() else { return };
        decision.outcome = Outcome::Pending as i32;
        decision.asked = (0..).zip(&command.leg).map(|(n, l)| remote(n, l, 0, 0)).collect();
        decision.waits_for.clone_from(&reverse.event);
        decision.operation = Some(decision::Operation::ReverseEvent(reverse));
        world.ledgers[self.p as usize].reversing.push((command.clone(), ingest_slot));
    }

    /// Books what gives another event back: of the 100 that every payment here has moved.
    fn give_back(&mut self, world: &mut World) {
        for (command, ingest_slot) in std::mem::take(&mut world.ledgers[self.p as usize].reversing) {
            let Some(command::Operation::ReverseEvent(reverse)) = &command.operation else { continue };
            let mut decision = Decision { concludes: true, ..decision_of(&command, ingest_slot) };
            self.book_legs(world, &command, &mut decision);
            let ledger = &mut world.ledgers[self.p as usize];
            let (back, moved) = ledger.returned.entry(reverse.event.clone().unwrap().id).or_insert((0, 100));
            *back += of(command.leg[0].amount.as_ref());
            let (sum, moved) = (sum(*back), sum(*moved));
            decision.reversed = Some(ReversedState { event: reverse.event.clone(), sum, moved });
            let known = ledger.ids.get_mut(&command.event.clone().unwrap().id).unwrap();
            (known.1, known.2) = (decision.outcome, (self.p, self.batch));
            self.items.push(Item::Decision(decision));
        }
    }

    #[expect(clippy::too_many_lines, reason = "a table of operations")]
    fn about_hold(
        &mut self,
        world: &mut World,
        command: &Command,
        operation: &command::Operation,
        decision: &mut Decision,
    ) {
        decision.outcome = Outcome::Booked as i32;
        let placed = &mut world.ledgers[self.p as usize].placed;
        let after = match operation {
            command::Operation::PlaceHold(PlaceHold { expires_after_us }) => {
                let leg = &command.leg[0];
                HoldState {
                    event: command.event.clone(),
                    account: leg.account.clone(),
                    asset: leg.asset.clone(),
                    side: leg.side,
                    amount: leg.amount,
                    // Business time stands at 1 here.
                    expires_us: *expires_after_us,
                }
            }
            command::Operation::CaptureHold(capture) => {
                let mut hold = placed[&capture.hold.clone().unwrap().id].clone();
                let left = of(hold.amount.as_ref()) - of(command.leg[0].amount.as_ref());
                hold.amount = Some(if capture.r#final { 0 } else { left }.into());
                hold
            }
            command::Operation::ChangeAccount(ChangeAccount { account, action, metadata, .. }) => {
                if *action == change_account::Action::Describe as i32 {
                    let (account, changed) = (account.clone(), metadata.clone());
                    decision.account_metadata = Some(AccountMetadata { account, changed });
                } else {
                    decision.account_status = Some(status_after(account, *action));
                }
                return;
            }
            command::Operation::ProposeAdjustment(_)
            | command::Operation::ApproveAdjustment(_)
            | command::Operation::RejectAdjustment(_)
            | command::Operation::ResolveSuspense(_) => {
                return self.about_adjustment(world, command, operation, decision);
            }
            command::Operation::ChangeLimits(ChangeLimits { account, asset, least, .. }) => {
                let highest = match least.and_then(|least| least.to) {
                    Some(limit_change::To::Figure(highest)) => Some(highest),
                    _ => None,
                };
                let (account, asset) = (account.clone(), asset.clone());
                decision.account_limits =
                    Some(AccountLimits { account, asset, highest, ..AccountLimits::default() });
                return;
            }
            command::Operation::BookAtMost(_) => {
                let mut lower = command.clone();
                lower.leg.iter_mut().for_each(|leg| leg.amount = Some(world.available.into()));
                return self.book_legs(world, &lower, decision);
            }
            command::Operation::ReverseEvent(_) => return,
            command::Operation::RepairChannel(repair) => {
                decision.repaired = Some(*repair);
                return;
            }
            command::Operation::AdmitEvent(AdmitEvent { event, refuse }) => {
                decision.admitted = Some(AdmittedState { event: event.clone(), refused: *refuse });
                return;
            }
            command::Operation::ReleaseHold(release) => {
                let hold = placed[&release.hold.clone().unwrap().id].clone();
                HoldState { amount: Some(0.into()), ..hold }
            }
        };
        placed.insert(after.event.clone().unwrap().id, after.clone());
        if matches!(operation, command::Operation::CaptureHold(_)) {
            self.book_legs(world, command, decision);
        }
        decision.hold = Some(after);
    }

    fn about_adjustment(
        &self,
        world: &mut World,
        command: &Command,
        operation: &command::Operation,
        decision: &mut Decision,
    ) {
        let ledger = &mut world.ledgers[self.p as usize];
        let id = |event: &Option<EventKey>| event.clone().unwrap().id;
        let state = |event: &Option<EventKey>, state: State, by: &str, approver: &str, expires_us| {
            let (event, proposed_by, approved_by) = (event.clone(), by.into(), approver.into());
            let state = state as i32;
            Some(ProposalState { event, state, proposed_by, approved_by, expires_us, case: None })
        };
        match operation {
            command::Operation::ApproveAdjustment(approve) => {
                decision.outcome = Outcome::Pending as i32;
                let of = id(&approve.proposal);
                let by = ledger.proposed[&of].1.clone();
                decision.waits_for.clone_from(&approve.proposal);
                decision.deadline_us = 10_000_000;
                decision.proposal = state(&approve.proposal, State::Approving, &by, &command.principal, 0);
                decision.operation = Some(decision::Operation::ApproveAdjustment(approve.clone()));
                ledger.approvals.push((command.clone(), decision.ingest_slot, of));
            }
            command::Operation::RejectAdjustment(reject) => {
                let (_, by, _) = ledger.proposed.remove(&id(&reject.proposal)).unwrap();
                decision.proposal = state(&reject.proposal, State::Rejected, &by, "", 0);
            }
            _ => {
                let (mut legs, by, mut case) = (command.leg.clone(), command.principal.clone(), None);
                if let command::Operation::ResolveSuspense(resolve) = operation {
                    case = resolve.case;
                    let onto = &ledger.suspense[&case.unwrap().sequence];
                    let onto = Leg { account: resolve.account.clone(), ..onto.clone() };
                    let out = Leg {
                        account: format!("suspense:p{:02}", self.p),
                        side: 3 - onto.side,
                        ..onto.clone()
                    };
                    legs = vec![out, onto];
                }
                decision.asked = (0..).zip(&legs).map(|(n, l)| remote(n, l, 0, 0)).collect();
                // Business time stands at 1 here.
                let expires_us = if id(&command.event) == "late" { 1 } else { 9 };
                decision.proposal = state(&command.event, State::Open, &by, "", expires_us);
                decision.proposal.as_mut().unwrap().case = case;
                ledger.proposed.insert(id(&command.event), (legs, by, case));
            }
        }
    }

    /// Books what was approved in this window.
    fn book_approved(&mut self, world: &mut World) {
        for (command, ingest_slot, of) in std::mem::take(&mut world.ledgers[self.p as usize].approvals) {
            let (legs, by, case) = world.ledgers[self.p as usize].proposed.remove(&of).unwrap();
            let mut decision = decision_of(&command, ingest_slot);
            decision.concludes = true;
            self.book_legs(world, &Command { leg: legs, ..command.clone() }, &mut decision);
            decision.proposal = Some(ProposalState {
                event: key(&of),
                state: State::Approved as i32,
                proposed_by: by,
                approved_by: command.principal.clone(),
                expires_us: 0,
                case,
            });
            let id = &command.event.clone().unwrap().id;
            let known = world.ledgers[self.p as usize].ids.get_mut(id).unwrap();
            (known.1, known.2) = (decision.outcome, (self.p, self.batch));
            self.items.push(Item::Decision(decision));
        }
    }

    /// Ends the proposals and the holds whose time is over.
    fn expire(&mut self, world: &mut World) {
        if world.ledgers[self.p as usize].proposed.remove("late").is_some() {
            self.items.push(Item::ProposalExpired(ProposalExpired { event: key("late") }));
        }
        let placed = &mut world.ledgers[self.p as usize].placed;
        let over: Vec<HoldState> = (placed.extract_if(.., |_, hold| hold.expires_us == 1))
            .map(|(_, hold)| hold)
            .filter(|hold| of(hold.amount.as_ref()) > 0)
            .collect();
        for HoldState { event, account, asset, amount, .. } in over {
            self.items.push(Item::HoldExpired(HoldExpired { event, account, asset, amount, home: self.p }));
        }
    }

    /// Decides what every partition has answered.
    fn conclude(&mut self, world: &mut World) {
        self.book_approved(world);
        self.give_back(world);
        let ledger = &mut world.ledgers[self.p as usize];
        let ready = ledger.groups.extract_if(.., |_, (.., answers)| answers.values().all(Option::is_some));
        for (id, (command, ingest_slot, answers)) in ready.collect::<Vec<_>>() {
            let mut decision = decision_of(&command, ingest_slot);
            decision.concludes = true;
            let refusal = answers.values().flatten().find(|reason| !reason.is_empty());
            if let Some(reason) = refusal {
                self.refuse(&mut decision, reason);
                for (partition, _) in answers.iter().filter(|(_, answer)| answer.as_deref() == Some("")) {
                    let void = Void { event: command.event.clone() };
                    let sequence = self.send(world, *partition, credit_item::Item::Void(void));
                    let told = ChannelSequence { partition: *partition, sequence, ..Default::default() };
                    decision.voided.push(told);
                }
                self.reject(world, &decision);
            } else {
                self.book_legs(world, &command, &mut decision);
            }
            let known = world.ledgers[self.p as usize].ids.get_mut(&id).unwrap();
            (known.1, known.2) = (decision.outcome, (self.p, self.batch));
            self.items.push(Item::Decision(decision));
        }
    }

    fn reject(&mut self, world: &mut World, decision: &Decision) {
        self.refused += 1;
        let d = decision;
        let mut headers = rejected(&d.reason, d.lane, d.event_partition, d.event_offset);
        headers.push(Header::text("ledgerflow-kind", "refusal"));
        world.plain(Topic::Rejected, self.p, "refused", headers);
    }

    fn commands(&mut self, world: &mut World) {
        for draft in self.take(world, Topic::Commands, 0) {
            let slot = draft.header.slot;
            self.read.insert(slot, draft.header.sequence);
            for bytes in &draft.items {
                match CommandItem::decode(bytes.clone()).unwrap().item.unwrap() {
                    command_item::Item::Command(command) => {
                        if !command.back_dated {
                            let debits = command.leg.iter().filter(|l| l.side == 1);
                            let debits = debits.map(|l| of(l.amount.as_ref())).sum();
                            let kind = day_tally::Kind::CommandsIn;
                            self.tally(world, kind, slot, command.accounting_date, debits);
                        }
                        self.decide(world, slot, &command, (0, 0, 0));
                    }
                    command_item::Item::DayMarker(marker) => {
                        world.ledgers[self.p as usize].seen.insert((marker.date, false, slot));
                        let (from, marker) = (slot, Some(marker));
                        self.items.push(Item::DayMarkerSeen(DayMarkerSeen {
                            from,
                            marker,
                            ..DayMarkerSeen::default()
                        }));
                    }
                    command_item::Item::Tick(tick) => self.items.push(Item::Tick(tick)),
                }
            }
        }
        let mark = |(slot, sequence): (&u32, &u64)| ChainMark {
            topic: "commands".into(),
            slot: *slot,
            sequence: *sequence,
            hash: Bytes::new(),
        };
        self.mark.extend(self.read.iter().map(mark));
    }

    fn decide(&mut self, world: &mut World, ingest_slot: u32, command: &Command, away: (u32, u64, u64)) {
        let (forwarded_from, from_sequence, item_check) = away;
        let id = command.event.clone().unwrap().id;
        let mut decision =
            Decision { forwarded_from, from_sequence, item_check, ..decision_of(command, ingest_slot) };
        let plan = world.plans[&id];
        let known = world.ledgers[self.p as usize].ids.get(&id).copied();
        let body = command.body_hash[0];
        match (forwarded_from, known, plan) {
            (0, Some((before, original, lies)), _) if before == body => {
                decision.outcome = Outcome::Duplicate as i32;
                decision.original = original;
                (decision.original_partition, decision.original_batch) = lies;
            }
            (0, Some(_), _) => self.refuse(&mut decision, "conflict"),
            (0, None, Plan::Forward(_)) => self.forward(world, ingest_slot, command, &mut decision),
            (0, None, Plan::Group(_)) => self.ask(world, ingest_slot, command, &mut decision),
            (_, _, Plan::Refuse) => self.refuse(&mut decision, "insufficient_funds"),
            // Ingest gives this reason too.
            (_, _, Plan::Forward(false)) => self.refuse(&mut decision, "unknown_account"),
            (0, None, _) if matches!(command.operation, Some(command::Operation::ReverseEvent(_))) => {
                self.wait(world, ingest_slot, command, &mut decision);
            }
            _ => match &command.operation {
                None => self.book_legs(world, command, &mut decision),
                Some(operation) => self.about_hold(world, command, operation, &mut decision),
            },
        }
        if forwarded_from == 0 {
            let pending = decision.outcome == Outcome::Pending as i32;
            let lies = if pending { (0, 0) } else { (self.p, self.batch) };
            world.ledgers[self.p as usize].ids.entry(id).or_insert((body, decision.outcome, lies));
        } else {
            let verdict = Verdict {
                event: command.event.clone(),
                outcome: decision.outcome,
                reason: decision.reason.clone(),
                retryable: decision.retryable,
                accounting_date: decision.accounting_date,
                batch: self.batch,
                detail: String::new(),
            };
            decision.verdict_sequence =
                self.send(world, forwarded_from - 1, credit_item::Item::Verdict(verdict));
        }
        if decision.outcome == Outcome::Refused as i32 {
            self.reject(world, &decision);
        }
        self.items.push(Item::Decision(decision));
    }

    fn refuse(&self, decision: &mut Decision, reason: &str) {
        decision.outcome = Outcome::Refused as i32;
        decision.reason = reason.into();
        decision.retryable = reason == "insufficient_funds";
    }

    fn forward(&mut self, world: &mut World, ingest_slot: u32, command: &Command, decision: &mut Decision) {
        let to = partition_of(&command.leg[0].account, world.counts.internal);
        decision.outcome = Outcome::Pending as i32;
        decision.forwarded_to = to;
        decision.operation = match command.operation {
            Some(command::Operation::BookAtMost(book)) => Some(decision::Operation::BookAtMost(book)),
            _ => None,
        };
        let forward = Forward { command: Some(command.clone()), ingest_slot };
        decision.forward_sequence = self.send(world, to, credit_item::Item::Forward(forward));
        decision.asked = (0..).zip(&command.leg).map(|(n, l)| remote(n, l, 0, 0)).collect();
    }

    fn book_legs(&mut self, world: &mut World, command: &Command, decision: &mut Decision) {
        decision.outcome = Outcome::Booked as i32;
        for (n, leg) in (0..).zip(&command.leg) {
            let amount = signed(leg.side, of(leg.amount.as_ref()));
            let to = partition_of(&leg.account, world.counts.internal);
            if to == self.p {
                let mut entry = self.book(world, &leg.account, amount, n, command.accounting_date);
                entry.r#match = leg.r#match.clone();
                decision.entry.push(entry);
                continue;
            }
            let credit = Credit {
                event: command.event.clone(),
                r#type: command.r#type.clone(),
                leg: n,
                account: leg.account.clone(),
                asset: leg.asset.clone(),
                side: leg.side,
                amount: leg.amount,
                occurred_at_us: command.occurred_at_us,
                accounting_date: command.accounting_date,
                value_date: command.value_date,
                back_dated: command.back_dated,
                carried_from: 0,
                book: command.book.clone(),
                rule: command.rule.clone(),
                rule_version: command.rule_version,
                r#match: leg.r#match.clone(),
                traceparent: String::new(),
                reserved: decision.concludes && leg.side == Side::Debit as i32,
            };
            let reserved = credit.reserved;
            let sequence = self.send(world, to, credit_item::Item::Credit(credit));
            decision.remote.push(RemoteLeg { reserved, ..remote(n, leg, to, sequence) });
            self.nets.entry((true, to, command.accounting_date)).or_default().push((sequence, amount));
            if !command.back_dated {
                self.tally(world, day_tally::Kind::CreditsOut, to, command.accounting_date, amount);
            }
        }
    }

    fn markers(&mut self, world: &mut World) {
        let (events, internal) = (world.counts.events, world.counts.internal);
        let days: BTreeSet<i32> =
            world.ledgers[self.p as usize].seen.iter().map(|(date, ..)| *date).collect();
        for date in days {
            let ledger = &world.ledgers[self.p as usize];
            let commands = (0..events).all(|slot| ledger.seen.contains(&(date, false, slot)));
            if commands && !ledger.sent_days.contains(&date) {
                self.send_markers(world, date);
            }
            let ledger = &mut world.ledgers[self.p as usize];
            let peers = (0..internal).all(|q| q == self.p || ledger.seen.contains(&(date, true, q)));
            if commands && peers && ledger.aligned.insert(date) {
                self.items.push(Item::Aligned(Aligned { book: BOOK.into(), date }));
            }
        }
    }

    fn send_markers(&mut self, world: &mut World, date: i32) {
        let (mut sequences, mut markers) = (Vec::new(), Vec::new());
        let own = self.p;
        for peer in (0..world.counts.internal).filter(|q| *q != own) {
            let ledger = &world.ledgers[self.p as usize];
            let key = (day_tally::Kind::CreditsOut as i32, peer, date);
            let (count, total) = ledger.tallies.get(&key).copied().unwrap_or_default();
            let last_sequence = ledger.sent.get(&peer).copied().unwrap_or(0);
            let marker = DayMarker { book: BOOK.into(), date, count, sum: sum(total), last_sequence };
            let sequence = self.send(world, peer, credit_item::Item::DayMarker(marker.clone()));
            markers.push(marker);
            sequences.push(ChannelSequence { partition: peer, sequence, ..ChannelSequence::default() });
        }
        world.ledgers[self.p as usize].sent_days.insert(date);
        let (book, sequence, marker) = (BOOK.into(), sequences, markers);
        self.items.push(Item::DayMarkerSent(DayMarkerSent { book, date, sequence, marker }));
    }

    /// Says what was moved of the account that is counted.
    fn count_moved(&mut self, world: &mut World) {
        let Some(counted) = world.counted.clone() else { return };
        let of = |entry: &&Entry| entry.account == counted && entry.side() == Side::Debit;
        let (amount, count) = world.moved;
        for item in &self.items {
            let Item::Decision(decision) = item else { continue };
            for entry in decision.entry.iter().filter(of) {
                world.moved = (world.moved.0 + entry.amount(), world.moved.1 + 1);
            }
        }
        if world.moved != (amount, count) {
            let (side, amount) = (Side::Debit as i32, Some(world.moved.0.into()));
            let part = vec![MovedPart { side, window_s: 86_400, part: 7, amount, count: world.moved.1 }];
            self.items.push(Item::Moved(Moved { account: counted, asset: "CNY".into(), part }));
        }
    }

    fn clear(&mut self, world: &mut World) {
        for ((outgoing, peer, date), credits) in std::mem::take(&mut self.nets) {
            let net: i128 = credits.iter().map(|(_, amount)| amount).sum();
            let (sender, receiver) = if outgoing { (self.p, peer) } else { (peer, self.p) };
            let side = if outgoing { "out" } else { "in" };
            let account = format!("clearing:{side}:p{sender:02}:p{receiver:02}");
            let booked = if outgoing { net } else { -net };
            let entry = (net != 0).then(|| self.book(world, &account, booked, 0, date));
            self.items.push(Item::Clearing(Clearing {
                peer,
                outgoing,
                asset: "CNY".into(),
                book: BOOK.into(),
                accounting_date: date,
                first_sequence: credits.iter().map(|(s, _)| *s).min().unwrap(),
                last_sequence: credits.iter().map(|(s, _)| *s).max().unwrap(),
                count: credits.len() as u32,
                entry,
            }));
        }
        for (kind, peer, date) in std::mem::take(&mut self.tallies) {
            let (count, total) = world.ledgers[self.p as usize].tallies[&(kind, peer, date)];
            self.items.push(Item::DayTally(DayTally {
                kind,
                peer,
                book: BOOK.into(),
                date,
                count,
                sum: sum(total),
            }));
        }
    }

    fn seal(self, world: &mut World) {
        let mut channel = Vec::new();
        let ledger = &world.ledgers[self.p as usize];
        let (sent, taken, again) = (ledger.sent.clone(), ledger.marks.clone(), ledger.again.clone());
        let mut out = self.out;
        out.retain(|to, _| !again.contains_key(to));
        for partition in sent.keys().chain(taken.keys()).copied().collect::<BTreeSet<u32>>() {
            let batch_sequence = out.remove(&partition).map_or(0, |items| {
                let header = BatchHeader { slot: self.p, batch: self.batch, ..BatchHeader::default() };
                let items = items.iter().map(|i| i.encode_to_vec().into()).collect();
                world.draft(Topic::Credits, partition, header, items)
            });
            channel.push(ChannelSequence {
                partition,
                sequence: sent.get(&partition).copied().unwrap_or(0),
                batch_sequence,
                batch_hash: Bytes::new(),
                taken: taken.get(&partition).map_or(0, |(sequence, _)| *sequence),
            });
        }
        let edge = vec![EdgeCount { topic: "rejected".into(), records: self.refused }];
        let (slot, batch, input, mark) = (self.p, self.batch, self.input, self.mark);
        let header = BatchHeader { slot, batch, input, channel, edge, mark, ..BatchHeader::default() };
        let items =
            self.items.into_iter().map(|item| JournalItem { item: Some(item) }.encode_to_vec().into());
        world.draft(Topic::Journal, self.p, header, items.collect());
    }
}

fn remote(n: u32, leg: &Leg, partition: u32, sequence: u64) -> RemoteLeg {
    RemoteLeg {
        leg: n,
        account: leg.account.clone(),
        asset: leg.asset.clone(),
        side: leg.side,
        amount: leg.amount,
        partition,
        sequence,
        r#match: leg.r#match.clone(),
        reserved: false,
    }
}

fn status_after(account: &str, action: i32) -> AccountStatus {
    let (closed, frozen) = (change_account::Action::Close as i32, change_account::Action::Freeze as i32);
    let (closed, debits_frozen) = (action == closed, action == frozen);
    AccountStatus { account: account.into(), opened: true, closed, debits_frozen, ..AccountStatus::default() }
}

fn overdrafts(command: &Command) -> Vec<LegOverdraft> {
    let of = |(n, leg): (u32, &Leg)| LegOverdraft {
        leg: n,
        overdraft: leg.overdraft,
        unlimited: leg.overdraft_unlimited,
    };
    (0..).zip(&command.leg).map(of).filter(|of| of.unlimited || of.overdraft.is_some()).collect()
}

fn decision_of(command: &Command, ingest_slot: u32) -> Decision {
    Decision {
        event: command.event.clone(),
        job: command.job.clone(),
        rate: command.rate.clone(),
        note: command.note.clone(),
        r#type: command.r#type.clone(),
        body_hash: command.body_hash.clone(),
        occurred_at_us: command.occurred_at_us,
        accounting_date: command.accounting_date,
        value_date: command.value_date,
        back_dated: command.back_dated,
        book: command.book.clone(),
        rule: command.rule.clone(),
        rule_version: command.rule_version,
        lane: command.lane,
        event_partition: command.event_partition,
        event_offset: command.event_offset,
        subject: command.subject.clone(),
        ingest_slot,
        principal: command.principal.clone(),
        overdraft: overdrafts(command),
        ..Decision::default()
    }
}
