//! An independent model of the ledger: walks the journals and says what every line had to be.
//!
//! It knows the events as sent and the order in which they lie in `commands`, and nothing of the code under test
//! but the journal's format. Each partition is replayed naively: every command has exactly one decision, in
//! order, and the decision is the one the figures at that place call for; what one partition says it sent is
//! what the other says it received, in sequence; every batch sums to zero. Order relied on: within a partition
//! the journal's own, between partitions that of each channel.

use crate::cluster::{Cluster, Page, items_of};
use crate::events::{BOOK, Event, LegWords, Op, PlainTerms, To, is_asked, lives_at, rules_of, terms_of};
use prost::Message;
use schemas::amount_wire::value;
use schemas::batch::ChainHead;
use schemas::wire::change_account::Action;
use schemas::wire::{
    Amount, Answered, Clearing, CreditItem, DayMarkerSeen, DayTally, Decision, Entry, HeldLeg, HoldExpired,
    JournalItem, Moved, Outcome, ProposalExpired, Received, Reserved, Resolution, Side, Voided,
    day_tally::Kind, decision, journal_item::Item, proposal_state::State,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most legs of an event.
const LEGS_MAX: usize = 64;
/// Largest amount of a leg that leaves its partition, and largest clearing balance.
const CROSSING_MAX: i128 = 1 << 100;
const CLEARING_MAX: i128 = 1 << 126;
/// Business time after which a proposal is over.
const PROPOSAL_US: i64 = 7 * 86_400_000_000;

/// What became of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Booked,
    Refused(String),
    Pending,
}

/// What a decision had to be.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judged {
    Booked,
    Refused(&'static str),
    Ask(u32),
    /// Every one of these must put its part on hold.
    Group(Parts),
    /// It names an event that has not come.
    Wait,
    Again(Answer),
}

/// By partition: legs of the event by index, and how much of each is put on hold.
type Parts = BTreeMap<u32, Vec<(u32, i128)>>;

/// A sum that cannot leave its range: high part and 64 low bits apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Wide {
    high: i128,
    low: u128,
}

impl Wide {
    pub fn plus(self, by: i128) -> Self {
        let low = self.low + (by as u128 & u128::from(u64::MAX));
        Self { high: self.high + (by >> 64) + (low >> 64) as i128, low: low & u128::from(u64::MAX) }
    }

    /// Zero less it.
    fn negative(self) -> Self {
        let low = (u128::from(u64::MAX) - self.low) + 1;
        Self { high: -1 - self.high + (low >> 64) as i128, low: low & u128::from(u64::MAX) }
    }
}

/// What one partition says it sent on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sent {
    Credit { id: String, leg: LegWords, date: i32, carried_from: i32, back_dated: bool, reserved: bool },
    Reserve { id: String, legs: Vec<(u32, i128)> },
    Answer { id: String, reason: String },
    Void(String),
    Forward(Event),
    Verdict { id: String, outcome: i32, reason: String, detail: String },
    Marker(i32),
    Resend(u64),
}

type Channels = BTreeMap<(u32, u32), BTreeMap<u64, Sent>>;
type DayKey = (Kind, u32, i32);

/// Final result of a walk.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// By event id: its home's first answer, brought up to date by its verdict.
    pub answers: BTreeMap<String, Answer>,
    pub duplicates: usize,
    pub conflicts: usize,
    pub decisions: usize,
    /// Booked legs that went to suspense, by event.
    pub suspended: Vec<(String, LegWords, u32)>,
    /// Events decided by another partition, booked on the next day, and days aligned in a partition.
    pub asked: usize,
    /// Events decided by home with the answers of others.
    pub concluded: usize,
    /// Changes of what an account may be used for.
    pub statuses: usize,
    /// Changes of accounts' limits.
    pub limits: usize,
    /// Changes of what is said of accounts.
    pub described: usize,
    /// What was booked of events that book at most what an account has, minor units, and of how many that was not all.
    pub at_most: BTreeMap<String, i128>,
    pub lowered: usize,
    /// Events that waited for another one.
    pub parked: usize,
    /// Events given back, whole or in part.
    pub reversed: usize,
    /// Holds placed, captures, releases, and holds that were over by time.
    pub holds: [usize; 4],
    /// Adjustments proposed, approved, rejected, over by time, and open again after their approval was refused.
    pub adjustments: [usize; 5],
    /// Cases in suspense that somebody would resolve, and that are resolved.
    pub resolutions: [usize; 2],
    pub carried: usize,
    pub aligned: usize,
}

/// Walks all journals of a cluster at rest and checks every line.
pub fn check(cluster: &Cluster) -> Outcomes {
    let pages: Vec<Vec<Page>> = (0..cluster.partitions()).map(|p| cluster.pages(p)).collect();
    let mut by_body = BTreeMap::new();
    for event in cluster.arrived.iter().flatten() {
        // The first of equal ones is the original; the others may have come by another ingest slot or day.
        let with_legs = || with_legs(event, cluster, &pages);
        by_body.entry((event.id.clone(), event.body_hash().to_vec())).or_insert_with(with_legs);
    }
    let channels = sent(&pages, &by_body);
    credits_chains(cluster, &channels);
    cluster.assert_bytes_are_canonical();
    duplicates_lead_to_their_original(&pages);
    let mut outcomes = Outcomes::default();
    for (slot, pages) in (0..).zip(&pages) {
        let mut books = Books::new(cluster, &channels, slot, &by_body);
        for page in pages {
            books.page(page, &mut outcomes);
        }
        books.at_rest(&mut outcomes);
    }
    totals(cluster, &outcomes, &by_body);
    let refused = outcomes.answers.values().filter(|a| matches!(a, Answer::Refused(_))).count();
    let asked = (pages.iter().flatten().flat_map(|p| &p.items))
        .filter(|i| matches!(&i.item, Some(Item::Resolution(r)) if r.outcome() == Outcome::Refused))
        .count();
    let rejected = refused + outcomes.conflicts;
    assert_eq!(cluster.rejected.len(), rejected, "one record on `rejected` per refusal ({asked} by verdict)");
    outcomes
}

/// The event itself, with the legs that it has without bringing them: an approval books those of its proposal, what resolves a
/// case those that empty it, and one that gives another back whole has the legs of that the other way round.
fn with_legs(event: &Event, cluster: &Cluster, pages: &[Vec<Page>]) -> Event {
    let all = || cluster.arrived.iter().flatten();
    let legs = match &event.op {
        Op::Resolve(_, case, account) => legs_of_case(pages, *case, account),
        Op::Approve(_, proposal) => {
            let mut named = all().filter(|other| other.id == *proposal);
            named
                .find_map(|other| match &other.op {
                    Op::Propose(_) => Some(other.legs.clone()),
                    Op::Resolve(_, case, account) => Some(legs_of_case(pages, *case, account)),
                    _ => None,
                })
                .unwrap_or_default()
        }
        Op::Reverse(of) if event.legs.is_empty() => {
            let other_way = |leg: &LegWords| LegWords {
                side: if leg.side == Side::Debit { Side::Credit } else { Side::Debit },
                overdraft: None,
                ..leg.clone()
            };
            let original = all().find(|other| other.id == *of);
            original.map(|original| original.legs.iter().map(other_way).collect()).unwrap_or_default()
        }
        _ => return event.clone(),
    };
    Event { legs, ..event.clone() }
}

/// Out of suspense, and onto the account.
fn legs_of_case(
    pages: &[Vec<Page>],
    (partition, from, sequence): (u32, u32, u64),
    to: &str,
) -> Vec<LegWords> {
    let pages = pages.get(partition as usize).map_or(&[][..], Vec::as_slice);
    let received = pages.iter().flat_map(|page| &page.items).find_map(|item| match item.item.as_ref() {
        Some(Item::Received(r)) if (r.from, r.sequence) == (from, sequence) => Some(r),
        _ => None,
    });
    let Some(received) = received.filter(|r| !r.suspense_reason.is_empty()) else { return Vec::new() };
    let entry = received.entry.as_ref().unwrap();
    let to = if to.is_empty() { &received.intended_account } else { to };
    moved(partition, entry.side(), entry.amount(), &entry.asset, to)
}

/// Out of the suspense account of a partition, and onto an account.
fn moved(partition: u32, side: Side, minor: i128, asset: &str, to: &str) -> Vec<LegWords> {
    let back = if side == Side::Credit { Side::Debit } else { Side::Credit };
    let leg =
        |side, account: String| LegWords { side, account, minor, asset: asset.to_owned(), overdraft: None };
    vec![leg(back, format!("suspense:p{partition:02}")), leg(side, to.to_owned())]
}

/// A duplicate names the batch that holds the original's decision, unless that is still to come.
fn duplicates_lead_to_their_original(pages: &[Vec<Page>]) {
    let decisions = |page: &Page| -> Vec<Decision> {
        let of = |item: &JournalItem| match &item.item {
            Some(Item::Decision(d)) => Some(d.clone()),
            _ => None,
        };
        page.items.iter().filter_map(of).collect()
    };
    for again in pages.iter().flatten().flat_map(decisions).filter(|d| d.outcome() == Outcome::Duplicate) {
        if again.original_batch == 0 {
            assert_eq!(again.original(), Outcome::Pending, "{again:?}");
            continue;
        }
        let at = &pages[again.original_partition as usize];
        let page = at.iter().find(|page| page.header.batch == again.original_batch).unwrap();
        let is_it = |d: &Decision| {
            d.event == again.event && d.outcome == again.original && d.body_hash == again.body_hash
        };
        assert!(decisions(page).iter().any(is_it), "{again:?}");
    }
}

/// What every journal says it put on every channel; sequences are gapless from 1.
fn sent(pages: &[Vec<Page>], by_body: &BTreeMap<(String, Vec<u8>), Event>) -> Channels {
    let mut channels = Channels::new();
    for (from, pages) in (0_u32..).zip(pages) {
        for page in pages {
            for item in &page.items {
                sent_by(item.item.as_ref().unwrap(), by_body, &mut |to, sequence, what| {
                    let before = channels.entry((from, to)).or_default().insert(sequence, what);
                    assert_eq!(before, None, "p{from} sent sequence {sequence} to p{to} twice");
                });
            }
            for channel in &page.header.channel {
                let last = channels.get(&(from, channel.partition)).map_or(0, |c| c.len() as u64);
                assert_eq!(channel.sequence, last, "p{from} batch {}: head of channel", page.header.batch);
            }
        }
    }
    for ((from, to), items) in &channels {
        let gapless = items.keys().copied().eq(1..=items.len() as u64);
        assert!(gapless, "channel p{from} to p{to}: {:?}", items.keys());
    }
    channels
}

/// The batches on `credits` are one chain for each pair, whose head the sender's journal names, and they hold the
/// items that the sender's journal says it sent, rebuilt from it byte for byte. The sequences go up one by one; where a
/// record was lost they may go back, and then they go up again from there: nothing new before the head is reached.
fn credits_chains(cluster: &Cluster, channels: &Channels) {
    let pairs =
        (0..cluster.partitions()).flat_map(|from| (0..cluster.partitions()).map(move |to| (from, to)));
    for (from, to) in pairs.filter(|(from, to)| from != to) {
        let mut head = ChainHead::default();
        let (mut items, mut before) = (Vec::new(), 0);
        for opened in cluster.written(from, to) {
            head = head.accept(&opened).unwrap();
            let written = items_of(&opened);
            opened.expect_count(written.len()).unwrap();
            for encoded in written {
                let sequence = CreditItem::decode(encoded.clone()).unwrap().sequence;
                let at = format!("p{from} to p{to} item {sequence} after {before}");
                let next = sequence == before + 1;
                assert!(next || (!cluster.lost.is_empty() && sequence <= before && sequence > 0), "{at}");
                match items.get(sequence as usize - 1) {
                    Some(first) => assert!(encoded == *first, "{at}: sent again as another"),
                    None => items.push(encoded),
                }
                before = sequence;
            }
        }
        let counted = channels.get(&(from, to)).map_or(0, BTreeMap::len);
        assert_eq!(items.len(), counted, "items from p{from} to p{to}");
        assert!(cluster.rebuilt_channel(from, to) == items, "p{from} to p{to}: rebuilt from the journal");
        let named = cluster.pages(from).iter().rev().find_map(|page| {
            let mut changed = page.header.channel.iter().filter(|c| c.batch_sequence != 0);
            changed.find(|c| c.partition == to).map(|c| (c.batch_sequence, c.batch_hash.to_vec()))
        });
        let expected = (head.sequence > 0).then(|| (head.sequence, head.hash.to_vec()));
        assert_eq!(named, expected, "head of p{from} to p{to}");
    }
}

fn sent_by(item: &Item, by_body: &BTreeMap<(String, Vec<u8>), Event>, put: &mut dyn FnMut(u32, u64, Sent)) {
    match item {
        Item::Decision(d) => {
            let id = d.event.as_ref().unwrap().id.clone();
            for r in &d.remote {
                let leg = LegWords {
                    side: r.side(),
                    account: r.account.clone(),
                    minor: value(r.amount),
                    asset: r.asset.clone(),
                    overdraft: None,
                };
                let (date, carried_from) = (d.accounting_date, d.carried_from);
                let back_dated = d.back_dated;
                put(
                    r.partition,
                    r.sequence,
                    Sent::Credit {
                        id: id.clone(),
                        leg,
                        date,
                        carried_from,
                        back_dated,
                        reserved: r.reserved,
                    },
                );
            }
            for reserve in &d.reserve {
                let legs = reserve.leg.iter().map(|leg| (leg.leg, value(leg.amount))).collect();
                put(reserve.partition, reserve.sequence, Sent::Reserve { id: id.clone(), legs });
            }
            d.voided.iter().for_each(|v| put(v.partition, v.sequence, Sent::Void(id.clone())));
            if d.outcome() == Outcome::Pending && d.reserve.is_empty() && d.waits_for.is_none() {
                let event = by_body[&(id.clone(), d.body_hash.to_vec())].clone();
                put(d.forwarded_to, d.forward_sequence, Sent::Forward(event));
            }
            if d.forwarded_from != 0 {
                let (outcome, reason, detail) = (d.outcome, d.reason.clone(), d.detail.clone());
                let verdict = Sent::Verdict { id, outcome, reason, detail };
                put(d.forwarded_from - 1, d.verdict_sequence, verdict);
            }
        }
        Item::Reserved(r) => {
            let id = r.event.as_ref().unwrap().id.clone();
            put(r.from, r.answer_sequence, Sent::Answer { id, reason: r.reason.clone() });
        }
        Item::DayMarkerSent(s) => {
            s.sequence.iter().for_each(|c| put(c.partition, c.sequence, Sent::Marker(s.date)));
        }
        Item::ResendAsked(asked) if asked.sequence > 0 => {
            put(asked.from, asked.sequence, Sent::Resend(asked.from_sequence));
        }
        _ => {}
    }
}

/// An event that waits for the partitions asked.
#[derive(Debug, Clone)]
struct Waits {
    event: Event,
    deadline_us: i64,
    /// By partition: its answer, empty = on hold.
    answers: BTreeMap<u32, Option<String>>,
    parts: Parts,
}

/// An account, an asset and a side.
type SideOf = (String, String, i32);
/// A part of a window: side, window in seconds, number.
type PartOf = (i32, u32, i64);

/// A hold that an event has placed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlacedHold {
    account: String,
    asset: String,
    side: Side,
    left: i128,
    expires_us: i64,
}

/// A proposed adjustment.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Proposed {
    by: String,
    legs: Vec<LegWords>,
    expires_us: i64,
    /// The approval whose decision is still to come.
    approval: Option<String>,
    /// The case that it resolves: sender and sequence.
    case: Option<(u32, u64)>,
}

/// What lies in suspense.
#[derive(Debug, Clone, PartialEq, Eq)]
struct InSuspense {
    /// On the account that it was meant for.
    leg: LegWords,
    event: String,
    since_us: i64,
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Net {
    sum: Wide,
    first: u64,
    last: u64,
    count: u32,
}

/// One partition, replayed naively.
struct Books<'a> {
    slot: u32,
    cluster: &'a Cluster,
    channels: &'a Channels,
    by_body: &'a BTreeMap<(String, Vec<u8>), Event>,
    /// Balance, entries, batch of the last entry.
    accounts: BTreeMap<(String, String), (i128, u64, u64)>,
    /// Sum of credits sent and received, as they came, not netted.
    crossed: BTreeMap<(bool, u32, String), i128>,
    ids: BTreeMap<String, (Vec<u8>, Answer)>,
    /// By event and leg: account, asset, side, how much is on hold.
    holds: BTreeMap<(String, u32), (String, String, Side, i128)>,
    waiting: BTreeMap<String, Waits>,
    /// Events that wait for another one, with their deadline.
    parked: BTreeMap<String, (Event, i64)>,
    /// Opened, closed, debits frozen, credits frozen.
    statuses: BTreeMap<String, [bool; 4]>,
    /// What is said of accounts, by key.
    metadata: BTreeMap<String, BTreeMap<String, String>>,
    /// Proposed adjustments, by event.
    proposals: BTreeMap<String, Proposed>,
    /// What lies in suspense, by sender and sequence.
    cases: BTreeMap<(u32, u64), InSuspense>,
    /// By account and asset, as events have said: how little and how much, on the normal side; the ends of the range = no
    /// limit, `None` = the chart's.
    limits: BTreeMap<(String, String), [Option<i128>; 2]>,
    /// What was moved of accounts that have a rule about it, by account, asset and side: when, how much, how many legs.
    moved: BTreeMap<SideOf, Vec<(i64, i128, u64)>>,
    /// Of these, what was moved in this batch: side, window, part.
    moved_now: BTreeMap<(String, String), BTreeSet<PartOf>>,
    /// Holds that events of their own have placed, by event.
    placed: BTreeMap<String, PlacedHold>,
    /// What of an event is given back, sums of debits by asset.
    returned: BTreeMap<String, BTreeMap<String, i128>>,
    /// Partition that decides an event of this home.
    deciders: BTreeMap<String, u32>,
    tick_us: i64,
    next_event: usize,
    taken: BTreeMap<u32, u64>,
    nets: BTreeMap<(bool, u32, String, i32), Net>,
    days: BTreeMap<DayKey, (u64, BTreeMap<String, i128>)>,
    ingest_seen: BTreeSet<(i32, u32)>,
    partitions_seen: BTreeSet<(i32, u32)>,
    marker_sent: Option<i32>,
    batch: u64,
}

impl<'a> Books<'a> {
    fn new(
        cluster: &'a Cluster,
        channels: &'a Channels,
        slot: u32,
        by_body: &'a BTreeMap<(String, Vec<u8>), Event>,
    ) -> Self {
        Self {
            slot,
            cluster,
            channels,
            by_body,
            accounts: BTreeMap::new(),
            crossed: BTreeMap::new(),
            ids: BTreeMap::new(),
            holds: BTreeMap::new(),
            waiting: BTreeMap::new(),
            parked: BTreeMap::new(),
            statuses: BTreeMap::new(),
            metadata: BTreeMap::new(),
            proposals: BTreeMap::new(),
            cases: BTreeMap::new(),
            limits: BTreeMap::new(),
            moved: BTreeMap::new(),
            moved_now: BTreeMap::new(),
            placed: BTreeMap::new(),
            returned: BTreeMap::new(),
            deciders: BTreeMap::new(),
            tick_us: 0,
            next_event: 0,
            taken: BTreeMap::new(),
            nets: BTreeMap::new(),
            days: BTreeMap::new(),
            ingest_seen: BTreeSet::new(),
            partitions_seen: BTreeSet::new(),
            marker_sent: None,
            batch: 0,
        }
    }

    fn page(&mut self, page: &Page, outcomes: &mut Outcomes) {
        assert_eq!(page.header.batch, self.batch + 1, "p{}: batches are gapless", self.slot);
        assert_eq!(page.header.sequence, page.header.batch);
        self.batch += 1;
        let mut sums: BTreeMap<(String, String, i32), Wide> = BTreeMap::new();
        let mut add = |book: &str, date: i32, entry: &Entry| {
            let by = if entry.side() == Side::Credit { 0 - entry.amount() } else { entry.amount() };
            let sum = sums.entry((entry.asset.clone(), book.to_owned(), date)).or_default();
            *sum = sum.plus(by);
        };
        for item in &page.items {
            match item.item.as_ref().unwrap() {
                Item::Decision(d) => {
                    d.entry.iter().for_each(|entry| add(&d.book, d.accounting_date, entry));
                    self.decision(d, outcomes);
                }
                Item::Received(r) => {
                    add(&r.book, r.accounting_date, r.entry.as_ref().unwrap());
                    self.received(r, outcomes);
                }
                Item::Clearing(c) => {
                    c.entry.iter().for_each(|entry| add(&c.book, c.accounting_date, entry));
                    self.clearing(c);
                }
                Item::Resolution(r) => self.resolution(r, outcomes),
                Item::ProposalExpired(over) => self.proposal_over(over, outcomes),
                Item::Reserved(r) => self.reserved(r),
                Item::Answered(a) => self.answered(a),
                Item::HoldExpired(over) => self.expired(over, outcomes),
                Item::Voided(v) => self.voided(v),
                Item::DayMarkerSeen(seen) => self.marker_seen(seen),
                Item::DayMarkerSent(s) => self.marker_sent(s.date),
                Item::Aligned(a) => {
                    outcomes.aligned += 1;
                    self.aligned(a.date);
                }
                Item::DayTally(tally) => self.tally(tally),
                Item::ResendTaken(taken) => {
                    let asked = self.take(taken.from, taken.sequence);
                    assert_eq!(asked, Sent::Resend(taken.from_sequence), "p{}", self.slot);
                }
                Item::Moved(moved) => self.moved(moved),
                Item::Tick(tick) => self.tick_us = self.tick_us.max(tick.business_time_us),
                Item::HeldTick(_) | Item::Chart(_) | Item::IdHorizon(_) => {}
                item @ (Item::Held(_) | Item::ResendAsked(_) | Item::Resending(_)) => {
                    assert!(
                        !self.cluster.lost.is_empty(),
                        "p{}: nothing is missing here: {item:?}",
                        self.slot
                    );
                }
            }
        }
        let open: Vec<_> = sums.iter().filter(|(_, sum)| **sum != Wide::default()).collect();
        assert!(open.is_empty(), "p{} batch {}: does not sum to zero: {open:?}", self.slot, self.batch);
        assert!(self.moved_now.is_empty(), "p{} batch {}: {:?}", self.slot, self.batch, self.moved_now);
        assert!(self.nets.is_empty(), "p{} batch {}: not cleared: {:?}", self.slot, self.batch, self.nets);
    }

    fn voided(&mut self, v: &Voided) {
        let void = self.take(v.from, v.sequence);
        let id = v.event.as_ref().unwrap().id.clone();
        assert_eq!(void, Sent::Void(id.clone()), "p{}", self.slot);
        self.holds.retain(|(of, _), _| *of != id);
    }

    fn decision(&mut self, d: &Decision, outcomes: &mut Outcomes) {
        let id = d.event.as_ref().unwrap().id.clone();
        let at = format!("p{} batch {} event {id}", self.slot, self.batch);
        if d.concludes && self.parked.contains_key(&id) {
            return self.end_of_waiting(&at, d, outcomes);
        }
        if d.concludes {
            return self.conclusion(&at, d, outcomes);
        }
        let (event, judged) = if d.forwarded_from == 0 {
            let event = self.cluster.arrived[self.slot as usize][self.next_event].clone();
            self.next_event += 1;
            outcomes.decisions += 1;
            self.count(Kind::CommandsIn, event.ingest, event.date, event.back_dated, || {
                let debits = event.legs.iter().filter(|l| l.side == Side::Debit);
                debits.map(|l| (l.asset.clone(), l.minor)).collect()
            });
            let judged = self.judge_at_home(&event);
            (event, judged)
        } else {
            let Sent::Forward(event) = self.take(d.forwarded_from - 1, d.from_sequence) else {
                panic!("{at}: was never forwarded")
            };
            let judged = self.judge(&event);
            (event, judged)
        };
        assert_eq!(event.id, id, "{at}: commands are decided in order");
        assert_eq!(event.body_hash(), d.body_hash, "{at}");
        assert_eq!(event.op.principal(), d.principal, "{at}");
        assert_eq!(d.reversed, None, "{at}");
        self.compare(&at, d, &event, &judged);
        if d.forwarded_from == 0 {
            self.remember_judged(&at, d, &event, &judged, outcomes);
        }
        outcomes.asked += usize::from(d.forwarded_from != 0);
        if judged == Judged::Booked {
            outcomes.carried += usize::from(d.carried_from != 0);
            let booked = self.lowered(&event);
            let said = matches!(d.operation, Some(decision::Operation::BookAtMost(_)));
            assert_eq!(said, matches!(event.op, Op::AtMost(_)), "{at}");
            if said {
                outcomes.at_most.insert(id, booked.legs[0].minor);
                outcomes.lowered += usize::from(booked != event);
            }
            self.change_hold(&at, d, &event, outcomes);
            self.book(&at, d, &booked);
        } else {
            assert_eq!((&d.hold, &d.account_status, &d.account_limits), (&None, &None, &None), "{at}");
            assert_eq!(d.account_metadata, None, "{at}");
            self.approving(&at, d, &event, &judged);
        }
    }

    /// What home remembers of a decision.
    fn remember_judged(
        &mut self,
        at: &str,
        d: &Decision,
        event: &Event,
        judged: &Judged,
        outcomes: &mut Outcomes,
    ) {
        if let Judged::Booked | Judged::Refused(_) | Judged::Group(_) | Judged::Wait = judged {
            self.deciders.entry(event.id.clone()).or_insert(self.slot);
        }
        if let Judged::Ask(at) = judged {
            self.deciders.entry(event.id.clone()).or_insert(*at);
        }
        match judged {
            Judged::Again(_) => outcomes.duplicates += 1,
            Judged::Refused("conflict") => outcomes.conflicts += 1,
            Judged::Booked => self.remember(event, Answer::Booked),
            Judged::Refused(reason) => self.remember(event, Answer::Refused((*reason).into())),
            Judged::Ask(_) => self.remember(event, Answer::Pending),
            Judged::Wait => {
                outcomes.parked += 1;
                assert_eq!(d.deadline_us, self.due(), "{at}");
                self.remember(event, Answer::Pending);
                self.parked.insert(event.id.clone(), (event.clone(), d.deadline_us));
            }
            Judged::Group(parts) => {
                self.remember(event, Answer::Pending);
                self.wait(d, event, parts.clone());
            }
        }
    }

    /// An approval that waits has made its proposal its own.
    fn approving(&mut self, at: &str, d: &Decision, event: &Event, judged: &Judged) {
        let Op::Approve(who, id) = &event.op else { return assert_eq!(d.proposal, None, "{at}") };
        let waits = matches!(judged, Judged::Wait | Judged::Ask(_) | Judged::Group(_));
        let Some(proposal) = self.proposals.get_mut(id).filter(|_| waits) else {
            return assert_eq!(d.proposal, None, "{at}");
        };
        let own = proposal.approval.is_none() || proposal.approval.as_deref() == Some(&event.id);
        assert!(own && proposal.by != *who && !who.is_empty(), "{at}");
        proposal.approval = Some(event.id.clone());
        let by = proposal.by.clone();
        stated(at, d, id, State::Approving, [&by, who], 0);
    }

    /// An approval is decided.
    fn approval_ended(&mut self, id: &str, booked: bool, outcomes: &mut Outcomes) {
        let mut own = self.proposals.iter().filter(|(_, p)| p.approval.as_deref() == Some(id));
        let Some(of) = own.next().map(|(of, _)| of.clone()) else { return };
        if booked {
            outcomes.adjustments[1] += 1;
            self.proposals.remove(&of);
        } else {
            outcomes.adjustments[4] += 1;
            self.proposals.get_mut(&of).unwrap().approval = None;
        }
    }

    /// Judges an event about a proposal at its home.
    fn judge_adjustment(&self, event: &Event) -> Judged {
        let (who, of) = match &event.op {
            Op::Approve(who, of) | Op::Reject(who, of) => (who, of),
            op if op.principal().is_empty() => return Judged::Refused("no_principal"),
            Op::Resolve(_, case, account) => return self.judge_resolution(*case, account),
            _ => return Judged::Booked,
        };
        if who.is_empty() {
            return Judged::Refused("no_principal");
        }
        if !self.ids.contains_key(of) {
            let waits = self.tick_us > 0 && *of != event.id;
            return if waits { Judged::Wait } else { Judged::Refused("unknown_proposal") };
        }
        match (self.approvable(event), &event.op) {
            (Err(reason), _) => Judged::Refused(reason),
            (Ok(()), Op::Reject(..)) => Judged::Booked,
            (Ok(()), _) => Judged::Wait,
        }
    }

    /// Judges a proposal to resolve a case.
    fn judge_resolution(&self, (partition, from, sequence): (u32, u32, u64), account: &str) -> Judged {
        let key = (from, sequence);
        let case = self.cases.get(&key).filter(|_| partition == self.slot);
        let proposed = self.proposals.values().any(|proposal| proposal.case == Some(key));
        let Some(case) = case.filter(|_| !proposed) else { return Judged::Refused("case_not_open") };
        let to = if account.is_empty() { &case.leg.account } else { account };
        match terms_of(to, &case.leg.asset) {
            Some(_) => Judged::Booked,
            None => Judged::Refused("unknown_account"),
        }
    }

    /// Whether its proposal is open, or its own already; an approval is of another principal.
    fn approvable(&self, event: &Event) -> Result<(), &'static str> {
        let (Op::Approve(who, of) | Op::Reject(who, of)) = &event.op else { panic!("{event:?}") };
        let Some(proposal) = self.proposals.get(of) else { return Err("proposal_not_open") };
        if proposal.approval.as_deref() == Some(&event.id) {
            return Ok(());
        }
        let over = (1..=self.tick_us).contains(&proposal.expires_us);
        if over || proposal.approval.is_some() {
            return Err("proposal_not_open");
        }
        if matches!(event.op, Op::Approve(..)) && proposal.by == *who {
            return Err("self_approval");
        }
        Ok(())
    }

    fn proposal_over(&mut self, over: &ProposalExpired, outcomes: &mut Outcomes) {
        outcomes.adjustments[3] += 1;
        let proposal = self.proposals.remove(&over.event.as_ref().unwrap().id).unwrap();
        assert!((1..=self.tick_us).contains(&proposal.expires_us), "{proposal:?}");
        assert_eq!(proposal.approval, None);
    }

    /// Judges the end of an approval's or rejection's wait.
    fn judge_waited_adjustment(&self, event: &Event) -> Judged {
        match (self.approvable(event), &event.op) {
            (Err(reason), _) => Judged::Refused(reason),
            (Ok(()), Op::Reject(..)) => Judged::Booked,
            // What lies in suspense is moved by its own partition.
            (Ok(()), Op::Approve(_, of)) if self.proposals[of].case.is_some() => self.judge(event),
            (Ok(()), _) => self.judge_booking(event),
        }
    }

    fn expired(&mut self, over: &HoldExpired, outcomes: &mut Outcomes) {
        outcomes.holds[3] += 1;
        let hold = self.placed.remove(&over.event.as_ref().unwrap().id).unwrap();
        assert!(hold.expires_us > 0 && hold.expires_us <= self.tick_us, "{hold:?}");
        let stated = (&over.account, &over.asset, value(over.amount));
        assert_eq!(stated, (&hold.account, &hold.asset, hold.left), "p{}", self.slot);
    }

    /// What becomes of a hold when an event about it is booked.
    fn change_hold(&mut self, at: &str, d: &Decision, event: &Event, outcomes: &mut Outcomes) {
        assert_eq!(d.account_limits.is_some(), matches!(event.op, Op::Limits(..)), "{at}");
        let says = matches!(&event.op, Op::Describe(_, opens, changes) if !opens || !changes.is_empty());
        assert_eq!(d.account_metadata.is_some(), says, "{at}");
        let (id, after) = match &event.op {
            Op::Book | Op::AtMost(_) | Op::Reverse(_) => {
                assert_eq!(d.proposal, None, "{at}");
                return assert_eq!((&d.hold, &d.account_status), (&None, &None), "{at}");
            }
            Op::Propose(_) | Op::Approve(..) | Op::Reject(..) | Op::Resolve(..) | Op::Admit(..) => {
                assert_eq!((&d.hold, &d.account_status), (&None, &None), "{at}");
                return self.change_proposal(at, d, event, outcomes);
            }
            Op::Account(account, action, side) => {
                outcomes.statuses += 1;
                return self.change_status(at, d, account, *action, *side);
            }
            Op::Describe(account, opens, changes) => {
                outcomes.described += 1;
                match opens {
                    true => self.change_status(at, d, account, Action::Open, Side::Unspecified),
                    false => assert_eq!(d.account_status, None, "{at}"),
                }
                if says {
                    self.change_metadata(at, d, account, changes);
                }
                return;
            }
            Op::Limits(account, asset, least, most) => {
                outcomes.limits += 1;
                return self.change_limits(at, d, (account, asset), [*least, *most]);
            }
            Op::Hold(after) => {
                outcomes.holds[0] += 1;
                let leg = &event.legs[0];
                let expires_us = if *after > 0 { self.tick_us + after } else { 0 };
                let (account, asset) = (leg.account.clone(), leg.asset.clone());
                let hold = PlacedHold { account, asset, side: leg.side, left: leg.minor, expires_us };
                (event.id.clone(), hold)
            }
            Op::Capture(hold, last) => {
                outcomes.holds[1] += 1;
                let mut open = self.placed[hold].clone();
                open.left = if *last { 0 } else { open.left - taken_from(&open, event) };
                (hold.clone(), open)
            }
            Op::Release(hold) => {
                outcomes.holds[2] += 1;
                (hold.clone(), PlacedHold { left: 0, ..self.placed[hold].clone() })
            }
        };
        self.keep_hold(at, d, id, after);
    }

    /// The decision says of the hold what it is from now on.
    fn keep_hold(&mut self, at: &str, d: &Decision, id: String, after: PlacedHold) {
        let stated = d.hold.as_ref().unwrap_or_else(|| panic!("{at}: says nothing of its hold"));
        assert_eq!(stated.event.as_ref().unwrap().id, id, "{at}");
        let found = PlacedHold {
            account: stated.account.clone(),
            asset: stated.asset.clone(),
            side: stated.side(),
            left: value(stated.amount),
            expires_us: stated.expires_us,
        };
        assert_eq!(found, after, "{at}");
        if after.left == 0 {
            self.placed.remove(&id);
        } else {
            self.placed.insert(id, after);
        }
    }

    /// What becomes of a proposal when an event about it is booked.
    fn change_proposal(&mut self, at: &str, d: &Decision, event: &Event, outcomes: &mut Outcomes) {
        let expires_us = self.end_of_a_proposal();
        match &event.op {
            Op::Propose(who) => {
                outcomes.adjustments[0] += 1;
                stated(at, d, &event.id, State::Open, [who, ""], expires_us);
                self.proposed(at, d, event, None);
            }
            Op::Resolve(who, (_, from, sequence), account) => {
                outcomes.resolutions[0] += 1;
                stated(at, d, &event.id, State::Open, [who, ""], expires_us);
                let leg = &self.cases[&(*from, *sequence)].leg;
                let to = if account.is_empty() { &leg.account } else { account };
                let legs = moved(self.slot, leg.side, leg.minor, &leg.asset, to);
                self.proposed(at, d, &Event { legs, ..event.clone() }, Some((*from, *sequence)));
            }
            Op::Reject(_, of) => {
                outcomes.adjustments[2] += 1;
                let proposal = self.proposals.remove(of).unwrap();
                stated(at, d, of, State::Rejected, [&proposal.by, ""], 0);
            }
            Op::Approve(who, of) => {
                let by = d.proposal.as_ref().map_or("", |proposal| &proposal.proposed_by).to_owned();
                assert!(!by.is_empty() && by != *who, "{at}");
                stated(at, d, of, State::Approved, [&by, who], 0);
                if d.forwarded_from == 0 {
                    let proposal = self.proposals.remove(of).unwrap();
                    assert_eq!((&proposal.by, &proposal.legs), (&by, &event.legs), "{at}");
                    outcomes.adjustments[1] += 1;
                    let slot = self.slot;
                    let case = proposal.case.map(|(from, sequence)| (slot, from, sequence));
                    let said = d.proposal.as_ref().unwrap().case;
                    assert_eq!(said.map(|case| (case.partition, case.from, case.sequence)), case, "{at}");
                    if let Some(case) = proposal.case {
                        outcomes.resolutions[1] += 1;
                        assert!(self.cases.remove(&case).is_some(), "{at}: resolved twice");
                    }
                }
            }
            op => panic!("{at}: {op:?}"),
        }
    }

    /// When a proposal that is made now is over.
    const fn end_of_a_proposal(&self) -> i64 {
        if self.tick_us > 0 { self.tick_us + PROPOSAL_US } else { 0 }
    }

    /// A proposal with these legs is made.
    fn proposed(&mut self, at: &str, d: &Decision, event: &Event, case: Option<(u32, u64)>) {
        let asked: Vec<(&str, i128)> =
            d.asked.iter().map(|leg| (leg.account.as_str(), value(leg.amount))).collect();
        let legs: Vec<(&str, i128)> =
            event.legs.iter().map(|leg| (leg.account.as_str(), leg.minor)).collect();
        assert_eq!(asked, legs, "{at}");
        let said = d.proposal.as_ref().unwrap().case;
        assert_eq!(said.map(|case| (case.from, case.sequence)), case, "{at}");
        let (by, legs, approval) = (event.op.principal().to_owned(), event.legs.clone(), None);
        let proposed = Proposed { by, legs, expires_us: self.end_of_a_proposal(), approval, case };
        assert_eq!(self.proposals.insert(event.id.clone(), proposed), None, "{at}");
    }

    /// Judges an event about a hold at its home.
    fn judge_about(&self, event: &Event) -> Judged {
        if let Op::Propose(_) | Op::Approve(..) | Op::Reject(..) | Op::Resolve(..) = event.op {
            return self.judge_adjustment(event);
        }
        let at = match &event.op {
            Op::Reverse(of) => {
                return match self.ids.get(of) {
                    _ if *of == event.id => Judged::Refused("not_reversible"),
                    None if self.tick_us == 0 => Judged::Refused("unknown_event"),
                    Some((_, Answer::Refused(_))) => Judged::Refused("not_reversible"),
                    _ => Judged::Wait,
                };
            }
            Op::Capture(hold, _) | Op::Release(hold) => match self.ids.get(hold) {
                None if self.tick_us > 0 && *hold != event.id => return Judged::Wait,
                None => return Judged::Refused("unknown_hold"),
                Some((_, Answer::Refused(_))) => return Judged::Refused("hold_not_open"),
                Some(_) => self.deciders[hold],
            },
            Op::Account(account, ..) | Op::Limits(account, ..) | Op::Describe(account, ..) => {
                match terms_of(account, "CNY") {
                    None => return Judged::Refused("unknown_account"),
                    Some(_) => self.partition(account),
                }
            }
            _ => self.partition(&event.legs[0].account),
        };
        if at == self.slot { self.judge(event) } else { Judged::Ask(at) }
    }

    fn change_status(&mut self, at: &str, d: &Decision, account: &str, action: Action, side: Side) {
        let status = self.statuses.entry(account.to_owned()).or_default();
        let [opened, closed, debits, credits] = status;
        match action {
            Action::Open => (*opened, *closed) = (true, false),
            Action::Close => *closed = true,
            Action::Freeze | Action::Unfreeze => {
                let frozen = action == Action::Freeze;
                *debits = if side == Side::Credit { *debits } else { frozen };
                *credits = if side == Side::Debit { *credits } else { frozen };
            }
            Action::Describe | Action::Unspecified => {}
        }
        let stated = d.account_status.as_ref().unwrap_or_else(|| panic!("{at}: says nothing of its account"));
        let found = [stated.opened, stated.closed, stated.debits_frozen, stated.credits_frozen];
        assert_eq!((stated.account.as_str(), found), (account, *status), "{at}");
    }

    /// What is said of an account once these changes are made.
    fn metadata_after(
        &self,
        account: &str,
        changes: &[(String, Option<String>)],
    ) -> BTreeMap<String, String> {
        let mut said = self.metadata.get(account).cloned().unwrap_or_default();
        for (key, value) in changes {
            said.remove(key);
            said.extend(value.clone().map(|value| (key.clone(), value)));
        }
        said
    }

    fn judge_describe(&self, account: &str, opens: bool, changes: &[(String, Option<String>)]) -> Judged {
        if !opens && self.statuses.get(account).is_some_and(|status| status[1]) {
            return Judged::Refused("account_closed");
        }
        let long = changes
            .iter()
            .any(|(key, value)| key.len() > 64 || value.as_ref().is_some_and(|value| value.len() > 256));
        if long || self.metadata_after(account, changes).len() > 16 {
            return Judged::Refused("too_much_metadata");
        }
        Judged::Booked
    }

    fn change_metadata(
        &mut self,
        at: &str,
        d: &Decision,
        account: &str,
        changes: &[(String, Option<String>)],
    ) {
        let stated = d.account_metadata.as_ref().unwrap();
        let found: Vec<(String, Option<String>)> = (stated.changed.iter())
            .map(|of| (of.key.clone(), (!of.removed).then(|| of.value.clone())))
            .collect();
        assert_eq!((stated.account.as_str(), &*found), (account, changes), "{at}");
        let after = self.metadata_after(account, changes);
        self.metadata.insert(account.to_owned(), after);
    }

    /// What counts of an account's limits once these changes are made.
    fn limits_after(&self, account: &str, asset: &str, to: [To; 2]) -> [Option<i128>; 2] {
        let mut own = self.limits.get(&(account.to_owned(), asset.to_owned())).copied().unwrap_or_default();
        for ((limit, to), none) in own.iter_mut().zip(to).zip([i128::MIN, i128::MAX]) {
            match to {
                To::Stays => {}
                To::Chart => *limit = None,
                To::Unlimited => *limit = Some(none),
                To::Figure(figure) => *limit = Some(figure),
            }
        }
        own
    }

    fn judge_limits(&self, account: &str, asset: &str, to: [To; 2]) -> Judged {
        if !["CNY", "USD", "JPY"].contains(&asset) {
            return Judged::Refused("unknown_asset");
        }
        let Some(chart) = terms_of(account, asset) else { return Judged::Refused("unknown_account") };
        if self.statuses.get(account).is_some_and(|status| status[1]) {
            return Judged::Refused("account_closed");
        }
        let asked = [chart.least.is_some(), chart.most.is_some()];
        if (0..2).any(|n| to[n] != To::Stays && !asked[n] && !account.starts_with("vault:")) {
            return Judged::Refused("limit_not_in_chart");
        }
        let [least, most] = self.limits_after(account, asset, to);
        let least = least.or(chart.least).unwrap_or(i128::MIN);
        if least > most.or(chart.most).unwrap_or(i128::MAX) {
            return Judged::Refused("limits_contradict");
        }
        Judged::Booked
    }

    fn change_limits(&mut self, at: &str, d: &Decision, (account, asset): (&str, &str), to: [To; 2]) {
        let own = self.limits_after(account, asset, to);
        let stated = d.account_limits.as_ref().unwrap_or_else(|| panic!("{at}: says nothing of its limits"));
        assert_eq!((stated.account.as_str(), stated.asset.as_str()), (account, asset), "{at}");
        let figure = |amount: Option<_>| amount.map(|amount| value(Some(amount)));
        let found = (figure(stated.lowest), figure(stated.highest));
        assert_eq!(found, signed_limits(account, asset, own), "{at}");
        let key = (account.to_owned(), asset.to_owned());
        if own == [None; 2] {
            self.limits.remove(&key);
        } else {
            self.limits.insert(key, own);
        }
    }

    /// What counts for an account now.
    fn terms(&self, account: &str, asset: &str) -> PlainTerms {
        let chart = terms_of(account, asset).unwrap();
        let own = self.limits.get(&(account.to_owned(), asset.to_owned())).copied().unwrap_or_default();
        PlainTerms { least: own[0].or(chart.least), most: own[1].or(chart.most), ..chart }
    }

    /// What counts for an account where legs of an event that move it to a side may take it below zero.
    fn terms_with_overdraft(&self, event: &Event, leg: &LegWords, side: Side) -> PlainTerms {
        let terms = self.terms(&leg.account, &leg.asset);
        let same = |other: &&LegWords| {
            (&other.account, &other.asset, other.side) == (&leg.account, &leg.asset, side)
        };
        let Some(up_to) = event.legs.iter().filter(same).filter_map(|leg| leg.overdraft).max() else {
            return terms;
        };
        match terms.least {
            Some(_) if up_to == i128::MAX => PlainTerms { least: None, ..terms },
            Some(least) => PlainTerms { least: Some(least.min(0 - up_to)), ..terms },
            None => terms,
        }
    }

    /// Why an account takes no entry on that side.
    fn barred(&self, account: &str, side: Side) -> Option<&'static str> {
        let [opened, closed, debits, credits] = self.statuses.get(account).copied().unwrap_or_default();
        if closed {
            return Some("account_closed");
        }
        if account.starts_with("vault:") && !opened {
            return Some("account_not_open");
        }
        (if side == Side::Credit { credits } else { debits }).then_some("account_frozen")
    }

    fn judge_change(&self, account: &str, action: Action) -> Judged {
        let closed = self.statuses.get(account).is_some_and(|status| status[1]);
        if closed && action != Action::Open {
            return Judged::Refused("account_closed");
        }
        let full = |asset: &str| {
            let held = [Side::Debit, Side::Credit].map(|side| self.held(account, asset, side));
            self.balance(account, asset) != 0 || held != [0, 0]
        };
        if action == Action::Close && ["CNY", "USD", "JPY"].into_iter().any(full) {
            return Judged::Refused("account_not_empty");
        }
        Judged::Booked
    }

    /// A hold that is not over.
    fn open(&self, id: &str) -> Option<&PlacedHold> {
        self.placed.get(id).filter(|hold| hold.expires_us == 0 || hold.expires_us > self.tick_us)
    }

    fn judge_capture(&self, event: &Event, hold: &str) -> Judged {
        let Some(hold) = self.open(hold) else { return Judged::Refused("hold_not_open") };
        let taken = taken_from(hold, event);
        if taken <= 0 || payers(event).any(|leg| (&leg.account, &leg.asset) != (&hold.account, &hold.asset)) {
            return Judged::Refused("hold_mismatch");
        }
        if taken > hold.left {
            return Judged::Refused("exceeds_hold");
        }
        self.judge_funds(event, Some(hold))
    }

    fn due(&self) -> i64 {
        if self.tick_us > 0 { self.tick_us + 10_000_000 } else { 0 }
    }

    fn wait(&mut self, d: &Decision, event: &Event, parts: Parts) {
        assert_eq!(d.deadline_us, self.due(), "p{} {}", self.slot, event.id);
        let mut answers: BTreeMap<u32, Option<String>> = parts.keys().map(|p| (*p, None)).collect();
        if let Some(own) = parts.get(&self.slot) {
            answers.remove(&self.slot);
            self.hold(event, own);
        }
        let waits = Waits { event: event.clone(), deadline_us: d.deadline_us, answers, parts };
        self.waiting.insert(event.id.clone(), waits);
    }

    fn hold(&mut self, event: &Event, legs: &[(u32, i128)]) {
        for (n, amount) in legs {
            let leg = &event.legs[*n as usize];
            let held = (leg.account.clone(), leg.asset.clone(), leg.side, *amount);
            let before = self.holds.insert((event.id.clone(), *n), held);
            assert_eq!(before, None, "p{}: {} leg {n} is on hold", self.slot, event.id);
        }
    }

    /// On hold of an account for legs on a side.
    fn held(&self, account: &str, asset: &str, side: Side) -> i128 {
        let key = (account, asset, side);
        let of = self.holds.values().filter(|(a, b, on, _)| (a.as_str(), b.as_str(), *on) == key);
        let placed = self.placed.values().filter(|h| (h.account.as_str(), h.asset.as_str(), h.side) == key);
        of.map(|h| h.3).sum::<i128>() + placed.map(|h| h.left).sum::<i128>()
    }

    /// What an account has on its normal side.
    fn has(&self, account: &str, asset: &str) -> Wide {
        let balance = self.balance(account, asset);
        Wide::default().plus(match terms_of(account, asset).unwrap().normal {
            Side::Credit => 0_i128.saturating_sub(balance),
            _ => balance,
        })
    }

    /// Why an account may not have so much on its normal side after legs of an event that move it to `side`.
    fn passes(&self, event: &Event, leg: &LegWords, side: Side, after: Wide) -> Option<&'static str> {
        let terms = self.terms_with_overdraft(event, leg, side);
        let held = self.held(&leg.account, &leg.asset, side);
        if side == terms.normal {
            let beyond = |most: i128| after.plus(held) > Wide::default().plus(most);
            return terms.most.is_some_and(beyond).then_some("balance_too_high");
        }
        let beyond = |least: i128| after.plus(0 - held) < Wide::default().plus(least);
        terms.least.is_some_and(beyond).then_some("insufficient_funds")
    }

    /// What was moved of an account to a side in the parts from `first` to `last` of a window.
    fn moved_in(&self, key: &SideOf, window_s: u32, first: i64, last: i64) -> (i128, u64) {
        let in_parts = |of: &&(i64, i128, u64)| (first..=last).contains(&part_at(window_s, of.0));
        let moved = self.moved.get(key).into_iter().flatten().filter(in_parts);
        moved.fold((0, 0), |sum, (_, amount, count)| (sum.0.saturating_add(*amount), sum.1 + count))
    }

    /// Whether an account would be moved too far, or too often, if so much more were.
    fn too_fast(&self, account: &str, asset: &str, side: Side, (amount, count): (i128, u64)) -> bool {
        let key = (account.to_owned(), asset.to_owned(), side as i32);
        let of = self.holds.values().filter(|h| (h.0.as_str(), h.1.as_str(), h.2) == (account, asset, side));
        let placed = self
            .placed
            .values()
            .filter(|h| (h.account.as_str(), h.asset.as_str(), h.side) == (account, asset, side));
        let held = (of.filter(|h| h.3 > 0).count() + placed.count()) as u64;
        rules_of(account, asset, side).into_iter().any(|rule| {
            let now = part_at(rule.window_s, self.tick_us);
            let moved = self.moved_in(&key, rule.window_s, now - 8, now);
            let amount = moved.0.saturating_add(self.held(account, asset, side)).saturating_add(amount);
            let count = moved.1 + held + count;
            rule.amount_max.is_some_and(|most| amount > most)
                || rule.count_max.is_some_and(|most| count > most as u64)
        })
    }

    fn count_moved(&mut self, account: &str, asset: &str, side: Side, (amount, count): (i128, u64)) {
        let rules = rules_of(account, asset, side);
        if amount <= 0 || rules.is_empty() {
            return;
        }
        let key = (account.to_owned(), asset.to_owned(), side as i32);
        self.moved.entry(key).or_default().push((self.tick_us, amount, count));
        let now = self.moved_now.entry((account.to_owned(), asset.to_owned())).or_default();
        now.extend(rules.iter().map(|r| (side as i32, r.window_s, part_at(r.window_s, self.tick_us))));
    }

    /// Counts what the legs of an event here have moved.
    fn count_legs(&mut self, event: &Event) {
        let local: Vec<LegWords> =
            event.legs.iter().filter(|leg| self.partition(&leg.account) == self.slot).cloned().collect();
        let accounts: BTreeSet<(&str, &str)> = local.iter().map(|leg| (&*leg.account, &*leg.asset)).collect();
        for (account, asset) in accounts {
            let of = |leg: &&LegWords| (leg.account.as_str(), leg.asset.as_str()) == (account, asset);
            let net = local.iter().filter(of).fold(Wide::default(), |sum, leg| sum.plus(leg.signed()));
            let side = if net < Wide::default() { Side::Credit } else { Side::Debit };
            let more = self.carried(&local, (account, asset), side);
            self.count_moved(account, asset, side, more);
        }
    }

    /// How far legs move an account to a side, and how many of them do so, the first ones first.
    fn carried(&self, legs: &[LegWords], (account, asset): (&str, &str), side: Side) -> (i128, u64) {
        let of = |leg: &&LegWords| (leg.account.as_str(), leg.asset.as_str()) == (account, asset);
        let net = legs.iter().filter(of).fold(Wide::default(), |sum, leg| sum.plus(leg.signed()));
        let net = if side == Side::Credit { net.negative() } else { net };
        let net = net.high.saturating_mul(1 << 64).saturating_add(net.low as i128);
        let (mut left, mut count) = (net, 0);
        for leg in legs.iter().filter(of).filter(|leg| leg.side == side) {
            if left > 0 {
                left = left.saturating_sub(leg.minor);
                count += 1;
            }
        }
        (net, count)
    }

    /// Each part of a window in which something was moved is told once in a batch, with all that was moved in it.
    fn moved(&mut self, moved: &Moved) {
        let name = (moved.account.clone(), moved.asset.clone());
        let at = format!("p{} batch {} {name:?}", self.slot, self.batch);
        let mut due = self.moved_now.remove(&name).unwrap_or_else(|| panic!("{at}: nothing was moved"));
        for part in &moved.part {
            assert!(due.remove(&(part.side, part.window_s, part.part)), "{at}: {part:?}");
            let key = (name.0.clone(), name.1.clone(), part.side);
            let found = (value(part.amount), part.count);
            assert_eq!(found, self.moved_in(&key, part.window_s, part.part, part.part), "{at} {part:?}");
        }
        let later = |(side, window_s, part): &PartOf| {
            let key = (name.0.clone(), name.1.clone(), *side);
            self.moved[&key].iter().any(|of| part_at(*window_s, of.0) > part + 8)
        };
        assert!(due.iter().all(later), "{at}: {due:?} are not told");
    }

    /// What counts, or may count again, is in the slot's state, and nothing else.
    fn moved_at_rest(&self, live: &posting::state::Slot) {
        let mut kept = BTreeMap::new();
        for ((account, asset, side, window_s), meter) in live.velocity.all() {
            let key = (account.to_string(), asset.to_string(), *side);
            for (part, volume) in meter.parts() {
                let found = (volume.amount, volume.count);
                assert_eq!(found, self.moved_in(&key, *window_s, part, part), "p{} {key:?}", self.slot);
                kept.insert((key.clone(), *window_s, part), ());
            }
        }
        for (key, moved) in &self.moved {
            let side = Side::try_from(key.2).unwrap();
            for rule in rules_of(&key.0, &key.1, side) {
                let now = part_at(rule.window_s, self.tick_us);
                let counts =
                    moved.iter().map(|of| part_at(rule.window_s, of.0)).filter(|part| *part >= now - 8);
                for part in counts {
                    assert!(kept.contains_key(&(key.clone(), rule.window_s, part)), "p{} {key:?}", self.slot);
                }
            }
        }
    }

    /// Why a part cannot be put on hold here.
    fn cannot_hold(&self, event: &Event, legs: &[(u32, i128)]) -> Option<&'static str> {
        let mut sums: BTreeMap<(&str, &str, bool), Wide> = BTreeMap::new();
        let mut moved: BTreeMap<(&str, &str, i32), (i128, u64)> = BTreeMap::new();
        for (n, amount) in legs {
            let leg = &event.legs[*n as usize];
            if let Some(reason) = self.barred(&leg.account, leg.side) {
                return Some(reason);
            }
            let terms = terms_of(&leg.account, &leg.asset).unwrap();
            let fills = leg.side == terms.normal;
            let after = sums
                .entry((&leg.account, &leg.asset, fills))
                .or_insert_with(|| self.has(&leg.account, &leg.asset));
            *after = after.plus(if fills { *amount } else { 0 - *amount });
            if let Some(reason) = self.passes(event, leg, leg.side, *after).filter(|_| *amount > 0) {
                return Some(reason);
            }
            if *amount > 0 {
                let more = moved.entry((&leg.account, &leg.asset, leg.side as i32)).or_default();
                *more = (more.0.saturating_add(*amount), more.1 + 1);
                if self.too_fast(&leg.account, &leg.asset, leg.side, *more) {
                    return Some("velocity_exceeded");
                }
            }
            if *amount > CROSSING_MAX {
                return Some("overflow");
            }
        }
        None
    }

    fn reserved(&mut self, r: &Reserved) {
        let at = format!("p{} batch {} reserve {} of p{}", self.slot, self.batch, r.sequence, r.from);
        let Sent::Reserve { id, legs } = self.take(r.from, r.sequence) else {
            panic!("{at}: sent as another")
        };
        assert_eq!(r.event.as_ref().unwrap().id, id, "{at}");
        let mut bodies = self.by_body.iter().filter(|((of, _), _)| *of == id).map(|(_, event)| event);
        let is_it = |event: &&Event| {
            legs.iter().all(|(n, amount)| {
                event
                    .legs
                    .get(*n as usize)
                    .is_some_and(|leg| self.partition(&leg.account) == self.slot && leg.minor >= *amount)
            })
        };
        let event = bodies.find(is_it).unwrap_or_else(|| panic!("{at}: of no event")).clone();
        let reason = self.cannot_hold(&event, &legs);
        assert_eq!(r.reason, reason.unwrap_or_default(), "{at}: {}", r.detail);
        let found: Vec<(u32, i128)> = r.leg.iter().map(|leg| (leg.leg, value(leg.amount))).collect();
        for leg in &r.leg {
            let brings = overdraft_on_wire(leg.overdraft, leg.overdraft_unlimited);
            assert_eq!(brings, event.legs[leg.leg as usize].overdraft, "{at}");
        }
        match reason {
            Some(_) => assert_eq!(found, [], "{at}"),
            None => {
                assert_eq!(found, legs, "{at}");
                self.hold(&event, &legs);
            }
        }
    }

    fn answered(&mut self, a: &Answered) {
        let Sent::Answer { id, reason } = self.take(a.from, a.sequence) else {
            panic!("p{}: {a:?}", self.slot)
        };
        assert_eq!((&a.event.as_ref().unwrap().id, &a.reason), (&id, &reason));
        if let Some(waits) = self.waiting.get_mut(&id) {
            let before = waits.answers.insert(a.from, Some(reason));
            assert_eq!(before, Some(None), "p{}: {id} was asked of p{} once", self.slot, a.from);
        }
    }

    /// An event that waited for another is decided when that has come, or when its time is over.
    fn end_of_waiting(&mut self, at: &str, d: &Decision, outcomes: &mut Outcomes) {
        let id = d.event.as_ref().unwrap().id.clone();
        let (event, deadline_us) = self.parked.remove(&id).unwrap();
        if let Op::Reverse(of) = &event.op {
            return self.end_of_reversal(at, d, &event, (of, deadline_us), outcomes);
        }
        assert_eq!(d.reversed, None, "{at}");
        let event = self.by_body[&(id.clone(), event.body_hash().to_vec())].clone();
        let judged = match &event.op {
            Op::Capture(of, _) | Op::Release(of) | Op::Approve(_, of) | Op::Reject(_, of)
                if !self.ids.contains_key(of) =>
            {
                assert!(self.tick_us >= deadline_us, "{at}: decided too early");
                let adjusts = matches!(event.op, Op::Approve(..) | Op::Reject(..));
                Judged::Refused(if adjusts { "unknown_proposal" } else { "unknown_hold" })
            }
            Op::Capture(..) | Op::Release(_) => self.judge_about(&event),
            Op::Approve(..) | Op::Reject(..) => self.judge_waited_adjustment(&event),
            _ => panic!("{at}: {event:?}"),
        };
        self.compare(at, d, &event, &judged);
        let answer = match &judged {
            Judged::Booked => Answer::Booked,
            Judged::Refused(reason) => Answer::Refused((*reason).into()),
            Judged::Ask(decider) => {
                self.deciders.insert(id.clone(), *decider);
                Answer::Pending
            }
            Judged::Group(parts) => {
                self.wait(d, &event, parts.clone());
                Answer::Pending
            }
            other => panic!("{at}: {other:?}"),
        };
        if let Answer::Refused(_) = answer {
            self.approval_ended(&id, false, outcomes);
        }
        self.remember(&event, answer);
        if judged == Judged::Booked {
            self.change_hold(at, d, &event, outcomes);
            self.book(at, d, &event);
        } else {
            self.approving(at, d, &event, &judged);
        }
    }

    /// A reversal is decided, or asked about, once its event is decided.
    fn end_of_reversal(
        &mut self,
        at: &str,
        d: &Decision,
        event: &Event,
        (of, deadline_us): (&String, i64),
        outcomes: &mut Outcomes,
    ) {
        let late = deadline_us > 0 && self.tick_us >= deadline_us;
        let full = self.by_body[&(event.id.clone(), event.body_hash().to_vec())].clone();
        let judged = match self.ids.get(of) {
            None if late => Judged::Refused("unknown_event"),
            Some((_, Answer::Pending)) if late => Judged::Refused("timed_out"),
            Some((_, Answer::Refused(_))) => Judged::Refused("not_reversible"),
            Some((body, Answer::Booked)) => {
                let original = self.by_body[&(of.clone(), body.clone())].clone();
                self.judge_reversal(&full, &original)
            }
            other => panic!("{at}: decided too early: {other:?}"),
        };
        let legs = if let Judged::Refused("unknown_event" | "timed_out" | "not_reversible") = judged {
            event
        } else {
            &full
        };
        self.compare(at, d, legs, &judged);
        let answer = match &judged {
            Judged::Booked => Answer::Booked,
            Judged::Refused(reason) => Answer::Refused((*reason).into()),
            _ => Answer::Pending,
        };
        self.remember(event, answer);
        match judged {
            Judged::Refused(_) => assert_eq!(d.reversed, None, "{at}"),
            judged => {
                self.give_back(&full, of, 1);
                self.check_returned(at, d, of);
                outcomes.reversed += 1;
                if let Judged::Group(parts) = judged {
                    self.wait(d, &full, parts);
                } else {
                    self.book(at, d, &full);
                }
            }
        }
    }

    fn judge_reversal(&self, full: &Event, original: &Event) -> Judged {
        if !matches!(original.op, Op::Book | Op::Capture(..)) {
            return Judged::Refused("not_reversible");
        }
        let debits = |event: &Event, asset: &str| {
            let of = |leg: &&LegWords| leg.side == Side::Debit && leg.asset == asset;
            event.legs.iter().filter(of).fold(Wide::default(), |sum, leg| sum.plus(leg.minor))
        };
        let most = Wide::default().plus(i128::MAX);
        let beyond = |event: &Event| ["CNY", "USD", "JPY"].iter().any(|asset| debits(event, asset) > most);
        if beyond(original) || beyond(full) {
            return Judged::Refused("overflow");
        }
        for asset in ["CNY", "USD", "JPY"] {
            let before =
                self.returned.get(&original.id).and_then(|sums| sums.get(asset)).copied().unwrap_or(0);
            if debits(full, asset).plus(before) > debits(original, asset) {
                return Judged::Refused("exceeds_original");
            }
        }
        let at: BTreeSet<u32> = payers(full).map(|leg| self.partition(&leg.account)).collect();
        if at.iter().all(|partition| *partition == self.slot) {
            return self.judge(full);
        }
        let parts = self.parts(full);
        let own = parts.get(&self.slot).map_or(&[][..], Vec::as_slice);
        self.cannot_hold(full, own).map_or(Judged::Group(parts.clone()), Judged::Refused)
    }

    /// Counts what an event gives back of another, or takes that off again.
    fn give_back(&mut self, event: &Event, of: &str, sign: i128) {
        let sums = self.returned.entry(of.to_owned()).or_default();
        for leg in event.legs.iter().filter(|leg| leg.side == Side::Debit) {
            *sums.entry(leg.asset.clone()).or_default() += sign * leg.minor;
        }
        sums.retain(|_, sum| *sum != 0);
        if sums.is_empty() {
            self.returned.remove(of);
        }
    }

    fn check_returned(&self, at: &str, d: &Decision, of: &str) {
        let stated = d.reversed.as_ref().unwrap_or_else(|| panic!("{at}: does not say what it gives back"));
        assert_eq!(stated.event.as_ref().unwrap().id, of, "{at}");
        let sums: BTreeMap<String, i128> =
            stated.sum.iter().map(|s| (s.asset.clone(), value(s.sum))).collect();
        assert_eq!(sums, self.returned.get(of).cloned().unwrap_or_default(), "{at}: given back");
    }

    /// Home decides what waited: refused when one has refused or the time is over, else booked.
    fn conclusion(&mut self, at: &str, d: &Decision, outcomes: &mut Outcomes) {
        let id = d.event.as_ref().unwrap().id.clone();
        let waits = self.waiting.remove(&id).unwrap_or_else(|| panic!("{at}: does not wait"));
        outcomes.concluded += 1;
        let event = &waits.event;
        assert_eq!(self.ids[&id].0, d.body_hash, "{at}");
        self.holds.retain(|(of, _), _| *of != id);
        let refused = waits.answers.values().flatten().find(|reason| !reason.is_empty());
        let judged = match refused {
            Some(reason) => Judged::Refused(known(reason)),
            None if waits.answers.values().all(Option::is_some) => self.judge_range(event),
            None => {
                assert!(
                    waits.deadline_us > 0 && self.tick_us >= waits.deadline_us,
                    "{at}: decided too early"
                );
                Judged::Refused("timed_out")
            }
        };
        self.compare(at, d, event, &judged);
        match &event.op {
            Op::Reverse(of) => {
                if judged != Judged::Booked {
                    self.give_back(event, of, -1);
                }
                self.check_returned(at, d, of);
            }
            _ => assert_eq!(d.reversed, None, "{at}"),
        }
        let told: Vec<u32> = d.voided.iter().map(|v| v.partition).collect();
        let holding = |answer: &Option<String>| answer.as_ref().is_none_or(String::is_empty);
        let due: Vec<u32> = waits.answers.iter().filter(|(_, a)| holding(a)).map(|(p, _)| *p).collect();
        assert_eq!(
            told,
            if judged == Judged::Booked { Vec::new() } else { due },
            "{at}: told of the refusal"
        );
        if let (Op::Approve(..), Judged::Booked) = (&event.op, &judged) {
            self.change_proposal(at, d, event, outcomes);
        } else {
            self.approval_ended(&id, false, outcomes);
        }
        let (_, answer) = self.ids.get_mut(&id).unwrap();
        assert_eq!(*answer, Answer::Pending, "{at}");
        match judged {
            Judged::Booked => {
                *answer = Answer::Booked;
                outcomes.carried += usize::from(d.carried_from != 0);
                for r in &d.remote {
                    let part = waits.parts.get(&r.partition);
                    let on_hold = part.is_some_and(|legs| legs.iter().any(|(n, _)| *n == r.leg));
                    assert_eq!(r.reserved, on_hold, "{at} leg {}", r.leg);
                }
                self.book(at, d, event);
            }
            Judged::Refused(reason) => *answer = Answer::Refused(reason.into()),
            other => panic!("{at}: {other:?}"),
        }
    }

    fn remember(&mut self, event: &Event, answer: Answer) {
        self.ids.insert(event.id.clone(), (event.body_hash().to_vec(), answer));
    }

    fn judge_at_home(&self, event: &Event) -> Judged {
        if let Some((body, answer)) = self.ids.get(&event.id) {
            if *body != event.body_hash().to_vec() {
                return Judged::Refused("conflict");
            }
            return Judged::Again(answer.clone());
        }
        if let Some(reason) = fault(event) {
            return Judged::Refused(reason);
        }
        if !matches!(event.op, Op::Book | Op::AtMost(_)) {
            return self.judge_about(event);
        }
        self.judge_booking(event)
    }

    /// Judges what is booked or asked for at an event's home.
    fn judge_booking(&self, event: &Event) -> Judged {
        let at: BTreeSet<u32> = payers(event).map(|leg| self.partition(&leg.account)).collect();
        if at.len() > 1 {
            let parts = self.parts(event);
            let own = parts.get(&self.slot).map_or(&[][..], Vec::as_slice);
            return self.cannot_hold(event, own).map_or(Judged::Group(parts.clone()), Judged::Refused);
        }
        match at.first() {
            Some(decider) if *decider != self.slot => Judged::Ask(*decider),
            _ => self.judge(event),
        }
    }

    /// What each partition must put on hold: what the event takes from an account over all its legs, leg by leg.
    fn parts(&self, event: &Event) -> Parts {
        let mut parts = Parts::new();
        let accounts: BTreeSet<(&str, &str)> =
            payers(event).map(|leg| (leg.account.as_str(), leg.asset.as_str())).collect();
        for (account, asset) in accounts {
            let of = |leg: &&LegWords| (leg.account.as_str(), leg.asset.as_str()) == (account, asset);
            let net = event.legs.iter().filter(of).fold(Wide::default(), |sum, leg| sum.plus(leg.signed()));
            let net = net.high.saturating_mul(1 << 64).saturating_add(net.low as i128);
            let mut left = BTreeMap::from([(true, net), (false, net.saturating_neg())]);
            for (n, leg) in (0_u32..).zip(&event.legs).filter(|(_, leg)| of(leg)) {
                let left = left.get_mut(&(leg.side == Side::Debit)).unwrap();
                let asked = is_asked(account, asset, leg.side) && !forced(event, leg);
                let amount = if asked { leg.minor.min(*left).max(0) } else { 0 };
                *left -= amount;
                parts.entry(self.partition(account)).or_default().push((n, amount));
            }
        }
        parts.values_mut().for_each(|legs| legs.sort_unstable());
        parts
    }

    fn partition(&self, account: &str) -> u32 {
        lives_at(&self.cluster.map, account)
    }

    /// Judges what an event asks for on this partition's figures as they are now.
    fn judge(&self, event: &Event) -> Judged {
        match &event.op {
            Op::Book | Op::Approve(..) | Op::Reverse(_) => self.judge_funds(event, None),
            Op::AtMost(side) => self.judge_at_most(event, *side),
            Op::Hold(_) => {
                let refused = self.cannot_hold(event, &[(0, event.legs[0].minor)]);
                refused.map_or(Judged::Booked, Judged::Refused)
            }
            Op::Capture(hold, _) => self.judge_capture(event, hold),
            Op::Account(account, action, _) => self.judge_change(account, *action),
            Op::Describe(account, opens, changes) => self.judge_describe(account, *opens, changes),
            Op::Propose(_) | Op::Reject(..) | Op::Resolve(..) | Op::Admit(..) => {
                panic!("decided at home alone: {event:?}")
            }
            Op::Limits(account, asset, least, most) => self.judge_limits(account, asset, [*least, *most]),
            Op::Release(hold) => {
                if self.open(hold).is_some() {
                    Judged::Booked
                } else {
                    Judged::Refused("hold_not_open")
                }
            }
        }
    }

    /// What the account on that side has available; more than there is money where nothing bounds it.
    fn available(&self, event: &Event, side: Side) -> i128 {
        let leg = event.legs.iter().find(|leg| leg.side == side).unwrap();
        let terms = self.terms_with_overdraft(event, leg, side);
        let balance = self.balance(&leg.account, &leg.asset);
        let has = if terms.normal == Side::Credit { 0_i128.saturating_sub(balance) } else { balance };
        let held = self.held(&leg.account, &leg.asset, side);
        let room = if side == terms.normal {
            terms.most.filter(|most| *most != i128::MAX).map(|most| most.saturating_sub(has))
        } else {
            terms.least.filter(|least| *least != i128::MIN).map(|least| has.saturating_sub(least))
        };
        room.map_or(i128::MAX, |room| room.saturating_sub(held))
    }

    /// The event with as much as is booked of it.
    fn lowered(&self, event: &Event) -> Event {
        let mut event = event.clone();
        if let Op::AtMost(side) = event.op {
            let available = self.available(&event, side);
            event.legs.iter_mut().for_each(|leg| leg.minor = leg.minor.min(available));
        }
        event
    }

    fn judge_at_most(&self, event: &Event, side: Side) -> Judged {
        let mut local = event.legs.iter().filter(|leg| self.partition(&leg.account) == self.slot);
        if let Some(reason) = local.find_map(|leg| self.barred(&leg.account, leg.side)) {
            return Judged::Refused(reason);
        }
        if self.available(event, side) <= 0 {
            return Judged::Refused("insufficient_funds");
        }
        self.judge_funds(&self.lowered(event), None)
    }

    /// Judges funds and ranges; the account of `hold` is good for what is taken from it.
    fn judge_funds(&self, event: &Event, hold: Option<&PlacedHold>) -> Judged {
        let local: Vec<&LegWords> =
            event.legs.iter().filter(|leg| self.partition(&leg.account) == self.slot).collect();
        if let Some(reason) = local.iter().find_map(|leg| self.barred(&leg.account, leg.side)) {
            return Judged::Refused(reason);
        }
        let mut wide: BTreeMap<(&str, &str), Wide> = BTreeMap::new();
        let mut narrow: BTreeMap<(&str, &str), i128> = BTreeMap::new();
        let mut overflow = false;
        for leg in &local {
            let key = (leg.account.as_str(), leg.asset.as_str());
            let before = self.balance(&leg.account, &leg.asset);
            let sum = wide.entry(key).or_insert_with(|| Wide::default().plus(before));
            *sum = sum.plus(leg.signed());
            let balance = narrow.entry(key).or_insert(before);
            match balance.checked_add(leg.signed()) {
                Some(after) => *balance = after,
                None => overflow = true,
            }
        }
        let all: Vec<LegWords> = local.iter().map(|leg| (*leg).clone()).collect();
        let mut reasons = BTreeSet::new();
        for leg in &local {
            // A suspense account refuses nothing.
            if forced(event, leg) || terms_of(&leg.account, &leg.asset).is_none() {
                continue;
            }
            if hold.is_some_and(|hold| (&hold.account, &hold.asset) == (&leg.account, &leg.asset)) {
                continue;
            }
            let after = wide[&(leg.account.as_str(), leg.asset.as_str())];
            let before = Wide::default().plus(self.balance(&leg.account, &leg.asset));
            let side = if after > before { Side::Debit } else { Side::Credit };
            let turned = terms_of(&leg.account, &leg.asset).unwrap().normal == Side::Credit;
            let stands = if turned { after.negative() } else { after };
            if after != before {
                reasons.extend(self.passes(event, leg, side, stands));
                let more = self.carried(&all, (&leg.account, &leg.asset), side);
                let fast = self.too_fast(&leg.account, &leg.asset, side, more);
                reasons.extend(fast.then_some("velocity_exceeded"));
            }
        }
        let precedence = ["insufficient_funds", "balance_too_high", "velocity_exceeded"];
        if let Some(reason) = precedence.into_iter().find(|r| reasons.contains(r)) {
            return Judged::Refused(reason);
        }
        if overflow || self.crossing_too_large(event) {
            return Judged::Refused("overflow");
        }
        Judged::Booked
    }

    /// Judges ranges alone: funds are on hold.
    fn judge_range(&self, event: &Event) -> Judged {
        let mut local = event.legs.iter().filter(|leg| self.partition(&leg.account) == self.slot);
        if let Some(reason) = local.find_map(|leg| self.barred(&leg.account, leg.side)) {
            return Judged::Refused(reason);
        }
        let mut balances: BTreeMap<(&str, &str), i128> = BTreeMap::new();
        for leg in event.legs.iter().filter(|leg| self.partition(&leg.account) == self.slot) {
            let before = self.balance(&leg.account, &leg.asset);
            let balance = balances.entry((&leg.account, &leg.asset)).or_insert(before);
            match balance.checked_add(leg.signed()) {
                Some(after) => *balance = after,
                None => return Judged::Refused("overflow"),
            }
        }
        if self.crossing_too_large(event) { Judged::Refused("overflow") } else { Judged::Booked }
    }

    fn crossing_too_large(&self, event: &Event) -> bool {
        let mut sums: BTreeMap<(u32, &str), i128> = BTreeMap::new();
        event.legs.iter().filter(|leg| self.partition(&leg.account) != self.slot).any(|leg| {
            let peer = self.partition(&leg.account);
            if leg.minor > CROSSING_MAX {
                return true;
            }
            let crossed = self.crossed.get(&(true, peer, leg.asset.clone())).copied().unwrap_or(0);
            let sum = sums.entry((peer, &leg.asset)).or_insert(crossed);
            *sum += leg.signed();
            sum.abs() > CLEARING_MAX
        })
    }

    fn balance(&self, account: &str, asset: &str) -> i128 {
        self.accounts.get(&(account.to_owned(), asset.to_owned())).map_or(0, |(balance, ..)| *balance)
    }

    fn compare(&self, at: &str, d: &Decision, event: &Event, judged: &Judged) {
        let found = match d.outcome() {
            Outcome::Booked => Judged::Booked,
            Outcome::Refused => Judged::Refused(known(&d.reason)),
            Outcome::Pending if d.waits_for.is_some() => Judged::Wait,
            Outcome::Pending if d.reserve.is_empty() => Judged::Ask(d.forwarded_to),
            Outcome::Pending => {
                let of = |legs: &[HeldLeg]| legs.iter().map(|leg| (leg.leg, value(leg.amount))).collect();
                let mut parts: Parts = d.reserve.iter().map(|r| (r.partition, of(&r.leg))).collect();
                if !d.held.is_empty() {
                    parts.insert(self.slot, of(&d.held));
                }
                Judged::Group(parts)
            }
            Outcome::Duplicate => Judged::Again(match Outcome::try_from(d.original).unwrap() {
                Outcome::Booked => Answer::Booked,
                Outcome::Pending => Answer::Pending,
                _ => Answer::Refused(d.reason.clone()),
            }),
            Outcome::Unspecified => panic!("{at}: no outcome"),
        };
        assert_eq!(&found, judged, "{at}: {} {event:?}", d.detail);
        let said: Vec<(u32, Option<i128>)> =
            d.overdraft.iter().map(|o| (o.leg, overdraft_on_wire(o.overdraft, o.unlimited))).collect();
        let bring = (0..).zip(&event.legs).map(|(n, leg)| (n, leg.overdraft)).filter(|(_, o)| o.is_some());
        let moves = matches!(d.outcome(), Outcome::Booked | Outcome::Pending);
        assert_eq!(said, bring.filter(|_| moves).collect::<Vec<_>>(), "{at}: overdrafts");
        if *judged != Judged::Booked {
            assert!(d.entry.is_empty() && d.remote.is_empty(), "{at}: only what is booked has entries");
            assert_eq!((d.accounting_date, d.carried_from), (event.date, 0), "{at}");
        }
        if let Judged::Ask(_) | Judged::Group(_) | Judged::Wait = judged {
            let asked: Vec<(String, i128)> =
                d.asked.iter().map(|leg| (leg.account.clone(), value(leg.amount))).collect();
            let legs: Vec<(String, i128)> =
                event.legs.iter().map(|leg| (leg.account.clone(), leg.minor)).collect();
            assert_eq!(asked, legs, "{at}: the legs asked for");
        }
    }

    fn book(&mut self, at: &str, d: &Decision, event: &Event) {
        let dates = match self.marker_sent {
            Some(sent) if event.date <= sent && !event.back_dated => (sent + 1, event.date),
            _ => (event.date, 0),
        };
        assert_eq!((d.accounting_date, d.carried_from), dates, "{at}: dates");
        assert_eq!((d.value_date, d.back_dated), (event.date, event.back_dated), "{at}");
        let booked =
            if let Op::Hold(_) | Op::Propose(_) | Op::Resolve(..) = event.op { &[][..] } else { &event.legs };
        if !booked.is_empty() {
            self.count_legs(event);
        }
        let legs = (0_u32..).zip(booked);
        let (local, mut remote): (Vec<_>, Vec<_>) =
            legs.partition(|(_, leg)| self.partition(&leg.account) == self.slot);
        let on_hold = |n: u32| d.remote.iter().any(|leg| leg.leg == n && leg.reserved);
        remote.sort_by_key(|(n, _)| !on_hold(*n));
        assert_eq!(d.entry.len(), local.len(), "{at}: an entry for each leg here");
        for (entry, (n, leg)) in d.entry.iter().zip(local) {
            assert_eq!(entry.leg, n, "{at}");
            self.entry(at, entry, leg);
        }
        assert_eq!(d.remote.len(), remote.len(), "{at}: a credit for each leg elsewhere");
        for (r, (n, leg)) in d.remote.iter().zip(remote) {
            let found = (r.leg, r.partition, r.side(), r.account.as_str(), value(r.amount), r.asset.as_str());
            let peer = self.partition(&leg.account);
            assert_eq!(
                found,
                (n, peer, leg.side, leg.account.as_str(), leg.minor, leg.asset.as_str()),
                "{at}"
            );
            self.cross(true, peer, r.sequence, &leg.asset, leg.signed(), dates.0);
            self.count(Kind::CreditsOut, peer, dates.0, event.back_dated, || {
                vec![(leg.asset.clone(), leg.signed())]
            });
        }
    }

    /// Checks one entry against the leg it comes from and the figures of its account.
    fn entry(&mut self, at: &str, entry: &Entry, leg: &LegWords) {
        let key = (leg.account.clone(), leg.asset.clone());
        let (before, seq, last_batch) = self.accounts.get(&key).copied().unwrap_or_default();
        let after = before.checked_add(leg.signed()).unwrap();
        assert_eq!((&entry.account, &entry.asset), (&leg.account, &leg.asset), "{at}");
        assert_eq!((entry.side(), entry.amount()), (leg.side, leg.minor), "{at} {}", leg.account);
        assert_eq!((entry.before(), entry.after()), (before, after), "{at} {}", leg.account);
        assert_eq!((entry.seq, entry.previous_batch), (seq + 1, last_batch), "{at} {}", leg.account);
        self.accounts.insert(key, (after, seq + 1, self.batch));
    }

    fn cross(&mut self, outgoing: bool, peer: u32, sequence: u64, asset: &str, by: i128, date: i32) {
        *self.crossed.entry((outgoing, peer, asset.to_owned())).or_default() += by;
        let net = self.nets.entry((outgoing, peer, asset.to_owned(), date)).or_default();
        net.sum = net.sum.plus(by);
        net.first = if net.count == 0 { sequence } else { net.first };
        net.last = sequence;
        net.count += 1;
    }

    /// The next item of the channel from `from`; its sequence must be the next.
    fn take(&mut self, from: u32, sequence: u64) -> Sent {
        let mark = self.taken.entry(from).or_default();
        *mark += 1;
        assert_eq!(*mark, sequence, "p{}: channel from p{from} is taken in order", self.slot);
        self.channels[&(from, self.slot)][&sequence].clone()
    }

    fn received(&mut self, r: &Received, outcomes: &mut Outcomes) {
        let at = format!("p{} batch {} credit {} of p{}", self.slot, self.batch, r.sequence, r.from);
        let Sent::Credit { id, leg, date, carried_from, back_dated, reserved } =
            self.take(r.from, r.sequence)
        else {
            panic!("{at}: was sent as something else")
        };
        assert_eq!(r.reserved, reserved, "{at}");
        let mut moved = leg.minor;
        if reserved {
            let key = (id.clone(), r.entry.as_ref().unwrap().leg);
            let held = self.holds.remove(&key);
            moved = held.unwrap_or_else(|| panic!("{at}: {key:?} is not on hold")).3;
        }
        assert_eq!(r.event.as_ref().unwrap().id, id, "{at}");
        let found = (r.accounting_date, r.carried_from, r.back_dated);
        assert_eq!(found, (date, carried_from, back_dated), "{at}: the decider's dates");
        let fits = self.balance(&leg.account, &leg.asset).checked_add(leg.signed()).is_some();
        let reason = match terms_of(&leg.account, &leg.asset) {
            None => "unknown_account",
            Some(_) if !reserved && self.barred(&leg.account, leg.side).is_some() => {
                self.barred(&leg.account, leg.side).unwrap()
            }
            Some(_) if !fits => "overflow",
            Some(_) => "",
        };
        assert_eq!(r.suspense_reason, reason, "{at}");
        let mut booked = leg.clone();
        if !reason.is_empty() {
            assert_eq!(r.intended_account, leg.account, "{at}");
            booked.account = format!("suspense:p{:02}", self.slot);
            let case = InSuspense { leg: leg.clone(), event: id.clone(), since_us: self.tick_us };
            assert_eq!(self.cases.insert((r.from, r.sequence), case), None, "{at}");
            outcomes.suspended.push((id, leg.clone(), self.slot));
        } else {
            self.count_moved(&leg.account, &leg.asset, leg.side, (moved, 1));
        }
        self.entry(&at, r.entry.as_ref().unwrap(), &booked);
        self.cross(false, r.from, r.sequence, &leg.asset, 0 - leg.signed(), date);
        self.count(Kind::CreditsIn, r.from, date, back_dated, || vec![(leg.asset.clone(), leg.signed())]);
    }

    fn clearing(&mut self, c: &Clearing) {
        let at = format!("p{} batch {} clearing with p{}", self.slot, self.batch, c.peer);
        assert_eq!(c.book, BOOK, "{at}");
        let key = (c.outgoing, c.peer, c.asset.clone(), c.accounting_date);
        let net = self.nets.remove(&key).unwrap_or_else(|| panic!("{at}: nothing crossed"));
        assert_eq!((c.first_sequence, c.last_sequence, c.count), (net.first, net.last, net.count), "{at}");
        let (from, to) = if c.outgoing { (self.slot, c.peer) } else { (c.peer, self.slot) };
        let way = if c.outgoing { "out" } else { "in" };
        match &c.entry {
            None => assert_eq!(net.sum, Wide::default(), "{at}"),
            Some(entry) => {
                let account = format!("clearing:{way}:p{from:02}:p{to:02}");
                let leg = LegWords {
                    side: entry.side(),
                    account,
                    minor: entry.amount(),
                    asset: c.asset.clone(),
                    overdraft: None,
                };
                assert_eq!(Wide::default().plus(leg.signed()), net.sum, "{at}");
                assert!(leg.minor > 0, "{at}");
                self.entry(&at, entry, &leg);
            }
        }
    }

    fn resolution(&mut self, r: &Resolution, outcomes: &mut Outcomes) {
        let at = format!("p{} batch {} verdict {} of p{}", self.slot, self.batch, r.sequence, r.from);
        let Sent::Verdict { id, outcome, reason, detail } = self.take(r.from, r.sequence) else {
            panic!("{at}: was sent as something else")
        };
        assert_eq!((&r.event.as_ref().unwrap().id, r.outcome, &r.reason), (&id, outcome, &reason), "{at}");
        assert_eq!(r.detail, detail, "{at}");
        self.approval_ended(&id, r.outcome() == Outcome::Booked, outcomes);
        let (_, answer) = self.ids.get_mut(&id).unwrap();
        assert_eq!(*answer, Answer::Pending, "{at}: one verdict for each question");
        *answer = match r.outcome() {
            Outcome::Booked => Answer::Booked,
            Outcome::Refused => Answer::Refused(reason),
            other => panic!("{at}: a verdict is booked or refused, not {other:?}"),
        };
    }

    fn count(
        &mut self,
        kind: Kind,
        peer: u32,
        date: i32,
        back_dated: bool,
        amounts: impl FnOnce() -> Vec<(String, i128)>,
    ) {
        if back_dated {
            return;
        }
        let (count, sums) = self.days.entry((kind, peer, date)).or_default();
        *count += 1;
        for (asset, by) in amounts() {
            let sum = sums.entry(asset).or_default();
            *sum = sum.wrapping_add(by);
        }
    }

    fn counted(&self, key: DayKey) -> (u64, Vec<(String, i128)>) {
        let (count, sums) = self.days.get(&key).cloned().unwrap_or_default();
        (count, sums.into_iter().filter(|(_, sum)| *sum != 0).collect())
    }

    fn marker_seen(&mut self, seen: &DayMarkerSeen) {
        let marker = seen.marker.as_ref().unwrap();
        let kind = if seen.credits { Kind::CreditsIn } else { Kind::CommandsIn };
        let sums = marker.sum.iter().map(|s| (s.asset.clone(), value(s.sum))).filter(|(_, sum)| *sum != 0);
        let stated = (marker.count, sums.collect::<Vec<_>>());
        assert_eq!(stated, self.counted((kind, seen.from, marker.date)), "p{}: {seen:?}", self.slot);
        let set = if seen.credits {
            let sent = self.take(seen.from, seen.sequence);
            assert_eq!(sent, Sent::Marker(marker.date));
            &mut self.partitions_seen
        } else {
            &mut self.ingest_seen
        };
        assert!(set.insert((marker.date, seen.from)), "p{}: twice: {seen:?}", self.slot);
    }

    fn marker_sent(&mut self, date: i32) {
        let all_in = (0..self.cluster.ingest_slots).all(|i| self.ingest_seen.contains(&(date, i)));
        assert!(all_in, "p{}: marker of {date} went out early", self.slot);
        assert!(self.marker_sent.is_none_or(|sent| sent < date), "p{}: marker of {date} twice", self.slot);
        self.marker_sent = Some(date);
    }

    fn aligned(&self, date: i32) {
        assert!(self.marker_sent >= Some(date), "p{}: aligned before its own marker", self.slot);
        let mut others = (0..self.cluster.partitions()).filter(|p| *p != self.slot);
        let all_in = others.all(|p| self.partitions_seen.contains(&(date, p)));
        assert!(all_in, "p{}: {date} aligned early", self.slot);
    }

    fn tally(&self, tally: &DayTally) {
        let sums = tally.sum.iter().map(|s| (s.asset.clone(), value(s.sum))).collect();
        let counted = self.counted((tally.kind(), tally.peer, tally.date));
        assert_eq!((tally.count, sums), counted, "p{} batch {}: {tally:?}", self.slot, self.batch);
    }

    fn limits_at_rest(&self, live: &posting::state::Slot) {
        let limits: Vec<_> = live.limits.sorted();
        let limits: BTreeMap<(&str, &str), _> =
            limits.into_iter().map(|(a, b, l)| ((a, b), (l.own.lowest, l.own.highest))).collect();
        let own =
            self.limits.iter().map(|((a, b), own)| ((a.as_str(), b.as_str()), signed_limits(a, b, *own)));
        assert_eq!(limits, own.collect(), "p{}: limits", self.slot);
    }

    /// Everything sent was read, nothing is pending, and the slot's figures are the model's.
    /// Proposals and what lies in suspense are in the state as in the model.
    fn two_principals_at_rest(&self, live: &posting::state::Slot) {
        let slot = self.slot;
        let proposals: BTreeMap<String, Proposed> = (live.proposals.all())
            .map(|(_, p)| {
                let legs = p.legs.iter().map(|leg| LegWords {
                    side: leg.side(),
                    account: leg.account.clone(),
                    minor: value(leg.amount),
                    asset: leg.asset.clone(),
                    overdraft: overdraft_on_wire(leg.overdraft, leg.overdraft_unlimited),
                });
                let (by, legs, expires_us) = (p.proposed_by.clone(), legs.collect(), p.expires_us);
                let approval = p.approval.as_ref().map(|approval| approval.id.clone());
                let case = p.case.map(|case| (case.from, case.sequence));
                (p.event.id.clone(), Proposed { by, legs, expires_us, approval, case })
            })
            .collect();
        let cases: BTreeMap<(u32, u64), InSuspense> = (live.cases.all())
            .map(|(key, case)| {
                let (account, asset) = (case.meant.clone(), case.asset.clone());
                let (side, minor) = (case.side, case.amount);
                let leg = LegWords { side, account, minor, asset, overdraft: None };
                (*key, InSuspense { leg, event: case.event.id.clone(), since_us: case.since_us })
            })
            .collect();
        assert_eq!(cases, self.cases, "p{slot}: in suspense");
        assert_eq!(proposals, self.proposals, "p{slot}: proposals");
        assert!(proposals.values().all(|p| p.approval.is_none()), "p{slot}: {proposals:?}");
    }

    /// What accounts may be used for, and what is said of them.
    fn accounts_at_rest(&self, live: &posting::state::Slot) {
        let slot = self.slot;
        let statuses: BTreeMap<String, [bool; 4]> = (live.statuses.sorted().into_iter())
            .map(|(account, stated)| (account, stated.status))
            .map(|(account, s)| (account.to_owned(), [s.opened, s.closed, s.debits_frozen, s.credits_frozen]))
            .collect();
        assert_eq!(statuses, self.statuses, "p{slot}: statuses");
        let said = live.metadata.all().map(|(account, said)| {
            let said = said.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            (account.to_owned(), said.collect::<BTreeMap<_, _>>())
        });
        let own = self.metadata.iter().filter(|(_, said)| !said.is_empty());
        let own = own.map(|(account, said)| (account.clone(), said.clone()));
        assert_eq!(said.collect::<BTreeMap<_, _>>(), own.collect(), "p{slot}: metadata");
    }

    fn at_rest(self, outcomes: &mut Outcomes) {
        let slot = self.slot;
        self.two_principals_at_rest(&self.cluster.slots[slot as usize]);
        assert_eq!(
            self.next_event,
            self.cluster.arrived[slot as usize].len(),
            "p{slot}: events without decision"
        );
        for ((from, to), items) in self.channels {
            if *to == slot {
                let taken = self.taken.get(from).copied().unwrap_or(0);
                assert_eq!(taken, items.len() as u64, "channel p{from} to p{to} is not empty");
            }
        }
        self.moved_at_rest(&self.cluster.slots[slot as usize]);
        self.limits_at_rest(&self.cluster.slots[slot as usize]);
        self.accounts_at_rest(&self.cluster.slots[slot as usize]);
        for (id, (body, answer)) in self.ids {
            assert_ne!(answer, Answer::Pending, "p{slot}: {id} waits for ever");
            let event = &self.by_body[&(id.clone(), body)];
            assert_eq!(self.cluster.map.partition_of(&event.subject), slot);
            outcomes.answers.insert(id, answer);
        }
        assert!(self.holds.is_empty(), "p{slot}: on hold for ever: {:?}", self.holds);
        assert!(self.waiting.is_empty(), "p{slot}: waits for ever: {:?}", self.waiting);
        assert!(self.parked.is_empty(), "p{slot}: waits for ever: {:?}", self.parked);
        let live = &self.cluster.slots[slot as usize];
        assert!(live.groups.is_empty(), "p{slot}: {:?}", live.groups);
        let held: BTreeMap<String, PlacedHold> = (live.holds.all())
            .map(|(_, hold)| {
                let placed = hold.placed.clone().unwrap();
                let (account, asset) = (hold.account.to_string(), hold.asset.to_string());
                let (side, left, expires_us) = (hold.side, hold.amount, placed.expires_us);
                (placed.event.id, PlacedHold { account, asset, side, left, expires_us })
            })
            .collect();
        assert_eq!(held, self.placed, "p{slot}: on hold");
        let returned: BTreeMap<String, BTreeMap<String, i128>> = live
            .reversals
            .all()
            .map(|(_, reversed)| (reversed.event.id.clone(), reversed.sums.clone()))
            .collect();
        assert_eq!(returned, self.returned, "p{slot}: given back");
        for (from, channel) in &live.incoming {
            assert!(
                !channel.gap() && channel.held.is_empty() && channel.asked.is_none(),
                "p{from}: {channel:?}"
            );
        }
        assert!(live.outgoing.values().all(|out| out.again.next == 0), "p{slot}: {:?}", live.outgoing);
        assert_eq!(live.ids.pending(), 0, "p{slot}");
        let found: BTreeMap<(String, String), (i128, u64, u64)> = (live.accounts.sorted().into_iter())
            .map(|(account, asset, f)| ((account.into(), asset.into()), (f.balance, f.seq, f.last_batch)))
            .collect();
        assert_eq!(found, self.accounts, "p{slot}: figures");
    }
}

/// A decision says this of a proposal.
fn stated(at: &str, d: &Decision, id: &str, state: State, [by, approved_by]: [&str; 2], expires_us: i64) {
    let p = d.proposal.as_ref().unwrap_or_else(|| panic!("{at}: says nothing of its proposal"));
    let found = (&*p.event.as_ref().unwrap().id, p.state(), &*p.proposed_by, &*p.approved_by, p.expires_us);
    assert_eq!(found, (id, state, by, approved_by, expires_us), "{at}");
}

/// Reasons as the model names them.
fn known(code: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "conflict",
        "no_legs",
        "too_many_legs",
        "bad_amount",
        "unknown_asset",
        "unknown_account",
        "unbalanced",
        "insufficient_funds",
        "balance_too_high",
        "velocity_exceeded",
        "overflow",
        "timed_out",
        "unknown_hold",
        "hold_not_open",
        "hold_mismatch",
        "exceeds_hold",
        "account_not_open",
        "account_closed",
        "account_frozen",
        "account_not_empty",
        "too_much_metadata",
        "no_principal",
        "self_approval",
        "unknown_proposal",
        "proposal_not_open",
        "case_not_open",
        "at_most_mismatch",
        "limit_not_in_chart",
        "limits_contradict",
        "unknown_event",
        "not_reversible",
        "exceeds_original",
    ];
    KNOWN.iter().find(|known| **known == code).unwrap_or_else(|| panic!("unknown reason {code:?}"))
}

/// What is wrong with an event whatever the balances are.
fn fault(event: &Event) -> Option<&'static str> {
    let (least, most) = match event.op {
        Op::Book | Op::AtMost(_) | Op::Capture(..) | Op::Propose(_) => (1, LEGS_MAX),
        Op::Reverse(_) => (0, LEGS_MAX),
        Op::Hold(_) => (1, 1),
        Op::Release(_) | Op::Account(..) | Op::Limits(..) | Op::Describe(..) => (0, 0),
        Op::Approve(..) | Op::Reject(..) | Op::Resolve(..) | Op::Admit(..) => (0, 0),
    };
    if event.legs.len() < least {
        return Some("no_legs");
    }
    if event.legs.len() > most {
        return Some("too_many_legs");
    }
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for leg in &event.legs {
        if leg.minor <= 0 || leg.side == Side::Unspecified {
            return Some("bad_amount");
        }
        if !["CNY", "USD", "JPY"].contains(&leg.asset.as_str()) {
            return Some("unknown_asset");
        }
        if terms_of(&leg.account, &leg.asset).is_none() {
            return Some("unknown_account");
        }
        let sum = sums.entry(&leg.asset).or_default();
        match sum.checked_add(leg.signed()) {
            Some(next) => *sum = next,
            None => return Some("overflow"),
        }
    }
    let balanced = matches!(event.op, Op::Hold(_)) || sums.values().all(|sum| *sum == 0);
    if !balanced {
        return Some("unbalanced");
    }
    let Op::AtMost(side) = event.op else { return None };
    let mut others = event.legs.iter().filter(|leg| leg.side != side);
    let asked = others.any(|leg| is_asked(&leg.account, &leg.asset, leg.side));
    let named = event.legs.iter().any(|leg| leg.side == side);
    (asked || event.legs.len() != 2 || !named).then_some("at_most_mismatch")
}

/// A leg's overdraft; the end of the range = no limit.
fn overdraft_on_wire(up_to: Option<Amount>, unlimited: bool) -> Option<i128> {
    if unlimited { Some(i128::MAX) } else { up_to.map(|up_to| value(Some(up_to))) }
}

/// The part of a window of so many seconds that a moment lies in: an eighth of it.
fn part_at(window_s: u32, at_us: i64) -> i64 {
    at_us * 8 / (i64::from(window_s) * 1_000_000)
}

/// How far down and up a balance may go, debits minus credits, with these limits on its normal side.
fn signed_limits(
    account: &str,
    asset: &str,
    [least, most]: [Option<i128>; 2],
) -> (Option<i128>, Option<i128>) {
    if terms_of(account, asset).unwrap().normal == Side::Debit {
        return (least, most);
    }
    let turned = |limit: i128| match limit {
        i128::MIN => i128::MAX,
        i128::MAX => i128::MIN,
        limit => 0 - limit,
    };
    (most.map(turned), least.map(turned))
}

/// What an event takes from the account of a hold.
fn taken_from(hold: &PlacedHold, event: &Event) -> i128 {
    let of = event.legs.iter().filter(|leg| (&leg.account, &leg.asset) == (&hold.account, &hold.asset));
    of.map(|leg| if leg.side == hold.side { leg.minor } else { 0 - leg.minor }).sum()
}

/// Legs whose accounts may refuse them.
fn payers(event: &Event) -> impl Iterator<Item = &LegWords> {
    event.legs.iter().filter(|leg| {
        let asked = is_asked(&leg.account, &leg.asset, leg.side) && !forced(event, leg);
        leg.account.starts_with("vault:") || asked
    })
}

/// Whether the leg's account is not asked about its limit: credit accounts take what gives an event back.
fn forced(event: &Event, leg: &LegWords) -> bool {
    matches!(event.op, Op::Reverse(_))
        && leg.account.starts_with("users:")
        && leg.account.ends_with(":credit")
}

/// Balances are the sum of booked legs and nothing else; clearing pairs are zero; limits hold.
fn totals(cluster: &Cluster, outcomes: &Outcomes, by_body: &BTreeMap<(String, Vec<u8>), Event>) {
    let mut sums: BTreeMap<(String, String), i128> = BTreeMap::new();
    // Modulo 2^128: legs are summed in another order than they were booked in.
    let add = |sums: &mut BTreeMap<(String, String), i128>, account: &str, asset: &str, by: i128| {
        let sum = sums.entry((account.to_owned(), asset.to_owned())).or_default();
        *sum = sum.wrapping_add(by);
    };
    let mut first: BTreeSet<&str> = BTreeSet::new();
    for event in cluster.arrived.iter().flatten() {
        // A later event of the same id is a duplicate or a conflict; homes of one id are the same in these tests.
        if first.insert(&event.id) && outcomes.answers[&event.id] == Answer::Booked {
            let booked = &by_body[&(event.id.clone(), event.body_hash().to_vec())];
            let most = outcomes.at_most.get(&event.id).copied().unwrap_or(i128::MAX);
            let moves = !matches!(booked.op, Op::Hold(_) | Op::Propose(_) | Op::Resolve(..));
            for leg in booked.legs.iter().filter(|_| moves) {
                let leg = LegWords { minor: leg.minor.min(most), ..leg.clone() };
                add(&mut sums, &leg.account, &leg.asset, leg.signed());
            }
        }
    }
    for (_, leg, slot) in &outcomes.suspended {
        add(&mut sums, &leg.account, &leg.asset, 0 - leg.signed());
        add(&mut sums, &format!("suspense:p{slot:02}"), &leg.asset, leg.signed());
    }
    let mut pairs: BTreeMap<(String, String), i128> = BTreeMap::new();
    let mut found: BTreeMap<(String, String), i128> = BTreeMap::new();
    for (account, asset, figures) in cluster.slots.iter().flat_map(|slot| slot.accounts.sorted()) {
        match account.strip_prefix("clearing:") {
            Some(way) => {
                let pair = way.trim_start_matches("out:").trim_start_matches("in:");
                *pairs.entry((pair.to_owned(), asset.to_owned())).or_default() += figures.balance;
            }
            None => {
                found.insert((account.to_owned(), asset.to_owned()), figures.balance);
            }
        }
    }
    // An account to which nothing came, because all of it went to suspense, has no figures.
    sums.retain(|key, sum| *sum != 0 || found.contains_key(key));
    assert_eq!(found, sums, "balances are the sum of booked legs");
    let open: Vec<_> = pairs.iter().filter(|(_, sum)| **sum != 0).collect();
    assert!(open.is_empty(), "clearing is not zero at rest: {open:?}");
}
