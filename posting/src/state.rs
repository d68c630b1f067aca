//! State of one posting slot, and the only code that changes it.

use crate::accounts::{AccountTable, Figures};
use crate::channels::{Incoming, Outgoing};
use crate::days::{BookDays, Tally, TallyKey};
use crate::effects::Effect;
use crate::gaps;
use crate::groups::{Group, GroupTable};
use crate::holds::{Hold, HoldKey, HoldTable};
use crate::horizon::Horizon;
use crate::id_table::{IdTable, PAGE_ROWS};
use crate::ids::{IdKey, IdRecord, key_of};
use crate::limits::LimitTable;
use crate::metadata::{self, MetadataTable};
use crate::proposals::{Proposal, ProposalTable};
use crate::resend::Again;
use crate::reversal::{ReversalTable, Reversed};
use crate::status::StatusTable;
use crate::suspense::{Case, CaseKey, CaseTable};
use crate::velocity::VelocityTable;
use prost::Message;
use schemas::batch::{ChainHead, Hash};
use schemas::topics::Topic;
use schemas::wire::{self, BatchHeader, Outcome};
use std::collections::BTreeMap;
use stream::processor::{PutPair, SlotState};
use stream::store::runs::{ClosedRuns, RowKey, Settled};

/// State of one posting slot.
#[derive(Debug)]
pub struct Slot {
    /// Slot (= partition).
    pub slot: u32,
    /// Events of this home that came again with the same body.
    pub duplicates: u64,
    /// Events of this home that came again with another body, and were refused for it.
    pub conflicts: u64,
    /// Accounts.
    pub accounts: AccountTable,
    /// Ids.
    pub ids: IdTable,
    /// What is on hold.
    pub holds: HoldTable,
    /// Events of this home that wait for answers of other partitions.
    pub groups: GroupTable,
    /// Proposed adjustments of this home.
    pub proposals: ProposalTable,
    /// Cases in suspense here.
    pub cases: CaseTable,
    /// Accounts that an event has opened, closed or frozen.
    pub statuses: StatusTable,
    /// Accounts of which an event has said something.
    pub metadata: MetadataTable,
    /// Accounts to which an event has given limits.
    pub limits: LimitTable,
    /// What was moved of accounts that have a rule about velocity.
    pub velocity: VelocityTable,
    /// Events of this home of which something is given back.
    pub reversals: ReversalTable,
    /// Last batch of the own journal.
    pub journal: ChainHead,
    /// Last batch accepted from every ingest slot.
    pub commands: BTreeMap<u32, ChainHead>,
    /// Receiving ends of channels, by sender.
    pub incoming: BTreeMap<u32, Incoming>,
    /// Sending ends of channels, by receiver.
    pub outgoing: BTreeMap<u32, Outgoing>,
    /// Tallies of days not yet aligned.
    pub tallies: BTreeMap<TallyKey, Tally>,
    /// Markers per book.
    pub days: BTreeMap<String, BookDays>,
    /// Highest business time believed of a tick, microseconds; 0 = no tick yet.
    pub tick_us: i64,
    /// Ticks that were not believed.
    pub held_ticks: u64,
    /// The last of them, microseconds.
    pub held_tick_us: i64,
    /// Hash of the chart last journalled; zeros before the first.
    pub chart_hash: Hash,
}

/// A committed window: its journal batch and what that changes.
#[derive(Debug)]
pub struct Change {
    /// Header of the journal batch.
    pub header: BatchHeader,
    /// Hash of the journal batch.
    pub hash: Hash,
    /// What its items change, in order.
    pub effects: Vec<Effect>,
    /// Figures from now on of accounts that have a row, each of them once.
    pub rows: Vec<(u32, Figures)>,
}

impl Slot {
    /// The empty state.
    #[must_use]
    pub fn new(slot: u32) -> Self {
        Self::with_id_pages(slot, PAGE_ROWS)
    }

    /// The empty state, with pages of so many ids.
    #[must_use]
    pub fn with_id_pages(slot: u32, id_page_rows: usize) -> Self {
        Self {
            slot,
            duplicates: 0,
            conflicts: 0,
            accounts: AccountTable::default(),
            ids: IdTable::with_pages(id_page_rows),
            holds: HoldTable::default(),
            groups: GroupTable::default(),
            proposals: ProposalTable::default(),
            cases: CaseTable::default(),
            statuses: StatusTable::default(),
            metadata: MetadataTable::default(),
            limits: LimitTable::default(),
            velocity: VelocityTable::default(),
            reversals: ReversalTable::default(),
            journal: ChainHead::default(),
            commands: BTreeMap::new(),
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            tallies: BTreeMap::new(),
            days: BTreeMap::new(),
            tick_us: 0,
            held_ticks: 0,
            held_tick_us: 0,
            chart_hash: [0; 32],
        }
    }

    /// Figures of an account, if it has an entry here.
    #[must_use]
    pub fn figures_of(&self, account: &str, asset: &str) -> Option<Figures> {
        self.accounts.find(account, asset).map(|row| self.accounts.figures(row))
    }

    /// Applies one journal batch: the live path after its commit, and replay.
    pub fn apply(&mut self, change: Change) {
        let Change { header, hash, effects, rows } = change;
        rows.into_iter().for_each(|(row, figures)| self.accounts.set(row, figures));
        effects.into_iter().for_each(|effect| self.take(effect));
        for mark in header.mark {
            let head = ChainHead {
                sequence: mark.sequence,
                hash: Hash::try_from(mark.hash.as_ref()).unwrap_or_default(),
            };
            if mark.topic == Topic::Commands.name() {
                self.commands.insert(mark.slot, head);
            } else {
                self.incoming.entry(mark.slot).or_default().hash = head.hash;
            }
        }
        for channel in header.channel.into_iter().filter(|channel| channel.sequence > 0) {
            let out = self.outgoing.entry(channel.partition).or_default();
            out.sequence = channel.sequence;
            if channel.batch_sequence != 0 {
                let hash = Hash::try_from(channel.batch_hash.as_ref()).unwrap_or_default();
                out.chain = ChainHead { sequence: channel.batch_sequence, hash };
            }
        }
        self.journal = ChainHead { sequence: header.sequence, hash };
    }

    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Account { account, asset, figures } => {
                let row = self.accounts.find_or_insert(&account, &asset);
                self.accounts.set(row, figures);
            }
            Effect::Id { key, record } => {
                self.ids.set(key, record);
                self.groups.came(key, record.outcome != Outcome::Pending);
            }
            Effect::Resolved { key, outcome, reason, decider, batch } => {
                if let Some(before) = self.ids.known(&key) {
                    self.ids.set(key, before.resolved(outcome, reason, decider, batch));
                    self.groups.came(key, outcome != Outcome::Pending);
                }
                self.proposals.decided(&key, outcome);
            }
            Effect::Horizon(to) => self.ids.move_horizon(Horizon::from_wire(&to)),
            Effect::Reversed { key, reversed } => self.reversals.set(key, *reversed),
            Effect::Status { account, status } => self.statuses.set(account, *status),
            Effect::Described { account, changes } => self.metadata.change(account, changes),
            Effect::Limits { account, asset, limits } => self.limits.set(account, asset, *limits),
            Effect::Moved(of) => self.velocity.set(*of),
            Effect::Repeated { conflict } => {
                let count = if conflict { &mut self.conflicts } else { &mut self.duplicates };
                *count = count.saturating_add(1);
            }
            Effect::Tick(business_time_us) => {
                self.tick_us = self.tick_us.max(business_time_us);
                self.velocity.forget(self.tick_us);
            }
            Effect::HeldTick(business_time_us) => {
                self.held_ticks = self.held_ticks.saturating_add(1);
                self.held_tick_us = business_time_us;
            }
            Effect::Chart(hash) => self.chart_hash = hash,
            waits @ (Effect::GroupOpened { .. }
            | Effect::GroupAnswered { .. }
            | Effect::GroupClosed(_)
            | Effect::Admitted { .. }
            | Effect::HoldPlaced { .. }
            | Effect::HoldEnded(_)
            | Effect::HoldsEnded { .. }
            | Effect::Proposal { .. }
            | Effect::Case { .. }) => self.take_of_waiting(waits),
            day @ (Effect::MarkerSeen { .. }
            | Effect::MarkerSent { .. }
            | Effect::Aligned { .. }
            | Effect::Tally(_)) => self.take_of_days(day),
            channel @ (Effect::Arrived { .. }
            | Effect::Held { .. }
            | Effect::Dropped { .. }
            | Effect::Asked { .. }
            | Effect::Again { .. }) => self.take_of_channels(channel),
        }
    }

    /// Of what waits: for other partitions, for another event, for another principal.
    fn take_of_waiting(&mut self, effect: Effect) {
        match effect {
            Effect::GroupOpened { key, mut group } => {
                let other = group.waits_for.as_ref().map(|event| key_of(Some(event)));
                let known = |record: &IdRecord| !group.decided || record.outcome != Outcome::Pending;
                group.came =
                    other.is_some_and(|other| self.ids.known(&other).is_some_and(|record| known(&record)));
                self.groups.open(key, *group);
            }
            Effect::GroupAnswered { key, from, answer } => self.groups.answer(key, from, answer),
            Effect::GroupClosed(key) => self.groups.close(key),
            Effect::Admitted { key, refuse, deadline_us } => self.groups.admit(key, refuse, deadline_us),
            Effect::HoldPlaced { key, hold } => self.holds.place(key, *hold),
            Effect::HoldEnded(key) => self.holds.end(key),
            Effect::HoldsEnded { event, home } => self.holds.end_all(event, home),
            Effect::Proposal { key, change } => self.proposals.change(key, change),
            Effect::Case { key, case } => {
                let since_us = self.tick_us;
                self.cases.change(key, case.map(|case| Case { since_us, ..*case }));
            }
            _ => {}
        }
    }

    fn take_of_days(&mut self, effect: Effect) {
        match effect {
            Effect::MarkerSeen { book, date, credits, from } => {
                let days = self.days.entry(book).or_default();
                let seen = if credits { &mut days.partitions_seen } else { &mut days.ingest_seen };
                seen.insert((date, from));
            }
            Effect::MarkerSent { book, date } => self.days.entry(book).or_default().sent = Some(date),
            Effect::Aligned { book, date } => {
                self.tallies.retain(|key, _| key.book != book || key.date > date);
                self.days.entry(book).or_default().align(date);
            }
            Effect::Tally(tally) => {
                let (key, tally) = *tally;
                self.tallies.insert(key, tally);
            }
            _ => {}
        }
    }

    fn take_of_channels(&mut self, effect: Effect) {
        match effect {
            Effect::Arrived { from, sequence, check } => {
                let channel = self.incoming.entry(from).or_default();
                channel.advance(sequence, check);
                channel.forget();
            }
            Effect::Held { from, sequence, item } => {
                self.incoming.entry(from).or_default().hold(sequence, Some(item));
            }
            Effect::Dropped { from, sequence } => {
                self.incoming.entry(from).or_default().hold(sequence, None);
            }
            Effect::Asked { from, asked } => self.incoming.entry(from).or_default().asked = Some(asked),
            Effect::Again { to, again } => self.outgoing.entry(to).or_default().again = again,
            _ => {}
        }
    }
}

const KEY_ACCOUNT: u8 = b'a';
const KEY_METADATA: u8 = b'd';
const KEY_GROUP: u8 = b'g';
const KEY_HOLD: u8 = b'h';
const KEY_ID: u8 = b'i';
const KEY_LIMITS: u8 = b'l';
const KEY_REST: u8 = b'm';
const KEY_PROPOSAL: u8 = b'p';
const KEY_REVERSED: u8 = b'r';
const KEY_STATUS: u8 = b's';
const KEY_CASE: u8 = b'u';
pub(crate) const KEY_VELOCITY: u8 = b'v';

fn account_key(key: &mut Vec<u8>, account: &str, asset: &str) {
    named(key, KEY_ACCOUNT, account, asset);
}

fn limits_key(account: &str, asset: &str) -> Vec<u8> {
    let mut key = Vec::new();
    named(&mut key, KEY_LIMITS, account, asset);
    key
}

fn named(key: &mut Vec<u8>, kind: u8, account: &str, asset: &str) {
    key.clear();
    key.push(kind);
    key.extend_from_slice(account.as_bytes());
    key.push(0);
    key.extend_from_slice(asset.as_bytes());
}

fn id_key(id: &IdKey) -> [u8; 17] {
    keyed(KEY_ID, id)
}

fn status_key(account: &str) -> Vec<u8> {
    [&[KEY_STATUS], account.as_bytes()].concat()
}

fn metadata_key(account: &str) -> Vec<u8> {
    [&[KEY_METADATA], account.as_bytes()].concat()
}

fn keyed(kind: u8, id: &IdKey) -> [u8; 17] {
    let mut key = [kind; 17];
    key.split_at_mut(1).1.copy_from_slice(id);
    key
}

fn reversed_key(id: &IdKey) -> [u8; 17] {
    keyed(KEY_REVERSED, id)
}

fn group_key(id: &IdKey) -> [u8; 17] {
    keyed(KEY_GROUP, id)
}

fn proposal_key(id: &IdKey) -> [u8; 17] {
    keyed(KEY_PROPOSAL, id)
}

/// Sender, sequence.
fn case_key((from, sequence): CaseKey) -> [u8; 13] {
    let mut key = [KEY_CASE; 13];
    let (of_from, of_sequence) = key.split_at_mut(1).1.split_at_mut(4);
    of_from.copy_from_slice(&from.to_be_bytes());
    of_sequence.copy_from_slice(&sequence.to_be_bytes());
    key
}

/// Event, home, leg.
fn hold_key((id, home, leg): &HoldKey) -> [u8; 25] {
    let mut key = [KEY_HOLD; 25];
    let (event, rest) = key.split_at_mut(1).1.split_at_mut(16);
    let (of, index) = rest.split_at_mut(4);
    event.copy_from_slice(id);
    of.copy_from_slice(&home.to_be_bytes());
    index.copy_from_slice(&leg.to_be_bytes());
    key
}

fn hold_key_of(rest: &[u8]) -> Option<HoldKey> {
    let (id, rest) = rest.split_at_checked(16)?;
    let (home, leg) = rest.split_at_checked(4)?;
    let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.try_into().ok()?));
    Some((id.try_into().ok()?, number(home)?, number(leg)?))
}

fn account_value(figures: Figures) -> [u8; 32] {
    let mut out = [0; 32];
    let (balance, rest) = out.split_at_mut(16);
    let (seq, last_batch) = rest.split_at_mut(8);
    balance.copy_from_slice(&figures.balance.to_be_bytes());
    seq.copy_from_slice(&figures.seq.to_be_bytes());
    last_batch.copy_from_slice(&figures.last_batch.to_be_bytes());
    out
}

fn account_of(key: &[u8], value: &[u8]) -> Option<(String, String, Figures)> {
    let at = key.iter().position(|b| *b == 0)?;
    let (account, asset) = (key.get(..at)?, key.get(at + 1..)?);
    let value: &[u8; 32] = value.try_into().ok()?;
    let (balance, rest) = value.split_at(16);
    let (seq, last_batch) = rest.split_at(8);
    let figures = Figures {
        balance: i128::from_be_bytes(balance.try_into().ok()?),
        seq: u64::from_be_bytes(seq.try_into().ok()?),
        last_batch: u64::from_be_bytes(last_batch.try_into().ok()?),
    };
    Some((String::from_utf8(account.to_vec()).ok()?, String::from_utf8(asset.to_vec()).ok()?, figures))
}

impl Slot {
    /// Everything that is neither account nor id, as one journal-shaped value: heads, marks, tallies, days.
    fn rest(&self) -> wire::PostingRest {
        let chain = |head: &ChainHead| wire::ChainMark {
            sequence: head.sequence,
            hash: head.hash.to_vec().into(),
            ..wire::ChainMark::default()
        };
        wire::PostingRest {
            journal: Some(chain(&self.journal)),
            commands: self
                .commands
                .iter()
                .map(|(slot, head)| wire::ChainMark { slot: *slot, ..chain(head) })
                .collect(),
            incoming: self.incoming.iter().map(|(from, channel)| channel.to_wire(*from)).collect(),
            outgoing: self.outgoing.iter().map(|(to, channel)| channel.to_wire(*to)).collect(),
            tally: self.tallies.iter().map(|(key, tally)| key.to_wire(tally)).collect(),
            days: self.days.iter().map(|(book, days)| days.to_wire(book)).collect(),
            tick_us: self.tick_us,
            held_ticks: self.held_ticks,
            held_tick_us: self.held_tick_us,
            duplicates: Some(self.duplicates),
            conflicts: Some(self.conflicts),
            cases: Some(self.cases.len() as u64),
            ids: Some(self.ids.to_wire()),
            chart_hash: self.chart_hash.to_vec().into(),
            resending: self
                .outgoing
                .iter()
                .filter(|(_, out)| out.again != Again::default())
                .map(|(to, out)| out.again.to_wire(*to))
                .collect(),
        }
    }

    /// `None`: what is in it is not all that is kept now, as its checkpoint is of before. The journal has it.
    fn load_rest(&mut self, rest: wire::PostingRest) -> Option<()> {
        self.duplicates = rest.duplicates?;
        self.conflicts = rest.conflicts?;
        rest.cases?;
        self.ids.load_rest(rest.ids.as_ref()?);
        let hash = |bytes: &[u8]| Hash::try_from(bytes).unwrap_or_default();
        let head = |m: &wire::ChainMark| ChainHead { sequence: m.sequence, hash: hash(&m.hash) };
        self.journal = rest.journal.as_ref().map(head).unwrap_or_default();
        self.commands = rest.commands.iter().map(|m| (m.slot, head(m))).collect();
        self.incoming = rest.incoming.into_iter().map(|c| (c.from, Incoming::from_wire(c))).collect();
        self.outgoing = rest.outgoing.iter().map(|c| (c.partition, Outgoing::from_wire(c))).collect();
        for again in &rest.resending {
            self.outgoing.entry(again.to).or_default().again = Again::from_wire(again);
        }
        self.tallies = rest.tally.into_iter().map(TallyKey::from_wire).collect();
        self.days = rest.days.into_iter().map(BookDays::from_wire).collect();
        self.tick_us = rest.tick_us;
        self.held_ticks = rest.held_ticks;
        self.held_tick_us = rest.held_tick_us;
        self.chart_hash = hash(&rest.chart_hash);
        Some(())
    }
}

impl SlotState for Slot {
    fn take_dirty(&mut self, put: &mut PutPair<'_>) {
        let mut key = Vec::with_capacity(64);
        self.accounts.take_dirty(|account, asset, figures| {
            account_key(&mut key, account, asset);
            put(&key, Some(&account_value(figures)));
        });
        for (key, record) in self.ids.take_dirty() {
            put(&id_key(&key), record.map(|record| record.encode()).as_ref().map(|record| &record[..]));
        }
        self.holds.take_dirty(|key, hold| put(&hold_key(&key), hold.map(|hold| hold.encode(key)).as_deref()));
        self.groups.take_dirty(|key, group| put(&group_key(&key), group.map(Group::encode).as_deref()));
        self.proposals.take_dirty(|key, proposal| {
            put(&proposal_key(&key), proposal.map(Proposal::encode).as_deref());
        });
        self.cases.take_dirty(|key, case| put(&case_key(key), case.map(|case| case.encode(key)).as_deref()));
        self.statuses.take_dirty(|account, status| {
            put(&status_key(account), Some(&status.to_wire(account).encode_to_vec()));
        });
        self.metadata.take_dirty(|account, said| put(&metadata_key(account), said.as_deref()));
        self.limits.take_dirty(|account, asset, limits| {
            let stored = limits.map(|limits| limits.to_wire(account, asset).encode_to_vec());
            put(&limits_key(account, asset), stored.as_deref());
        });
        self.velocity.take_dirty(|key, stored| put(key, stored));
        self.reversals.take_dirty(|key, reversed| {
            put(&reversed_key(&key), reversed.map(Reversed::encode).as_deref());
        });
        put(&[KEY_REST], Some(&self.rest().encode_to_vec()));
    }

    fn dirty_bytes(&self) -> usize {
        self.accounts.dirty_bytes()
            + self.ids.dirty_bytes()
            + self.holds.dirty_bytes()
            + self.groups.dirty_bytes()
            + self.proposals.dirty_bytes()
            + self.cases.dirty_bytes()
            + self.statuses.dirty_bytes()
            + self.metadata.dirty_bytes()
            + self.limits.dirty_bytes()
            + self.velocity.dirty_bytes()
            + self.reversals.dirty_bytes()
    }

    fn take_settled(&mut self, all: bool) -> Settled {
        self.ids.take_settled(all)
    }

    fn load_row(&mut self, key: &RowKey, value: &[u8]) -> Result<(), String> {
        self.ids.load_row(key, value)
    }

    fn adopt(&mut self, closed: ClosedRuns) {
        self.ids.adopt(closed);
    }

    fn damaged(&self) -> Option<String> {
        self.ids.damaged()
    }

    fn alarms(&self) -> Vec<String> {
        gaps::in_words(self).collect()
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let wrong = || format!("checkpoint pair of posting does not decode: key {key:02x?}");
        match key.split_first() {
            Some((&KEY_ACCOUNT, rest)) => {
                let (account, asset, figures) = account_of(rest, value).ok_or_else(wrong)?;
                self.accounts.load(&account, &asset, figures);
            }
            Some((&KEY_ID, rest)) => {
                let key = IdKey::try_from(rest).map_err(|_| wrong())?;
                self.ids.load(key, IdRecord::decode(value).ok_or_else(wrong)?);
            }
            Some((&KEY_HOLD, rest)) => {
                let key = hold_key_of(rest).ok_or_else(wrong)?;
                self.holds.load(key, Hold::decode(value).ok_or_else(wrong)?);
            }
            Some((&KEY_GROUP, rest)) => {
                let key = IdKey::try_from(rest).map_err(|_| wrong())?;
                self.groups.load(key, Group::decode(value).ok_or_else(wrong)?);
            }
            Some((&KEY_PROPOSAL, rest)) => {
                let key = IdKey::try_from(rest).map_err(|_| wrong())?;
                self.proposals.load(key, Proposal::decode(value).ok_or_else(wrong)?);
            }
            Some((&KEY_CASE, _)) => {
                let (key, case) = Case::decode(value).ok_or_else(wrong)?;
                self.cases.load(key, case);
            }
            Some((&KEY_METADATA, _)) => self.metadata.load(value).ok_or_else(wrong)?,
            Some((&KEY_LIMITS, _)) => self.limits.load(value).ok_or_else(wrong)?,
            Some((&KEY_VELOCITY, rest)) => self.velocity.load(rest, value).ok_or_else(wrong)?,
            Some((&KEY_REVERSED, rest)) => {
                let key = IdKey::try_from(rest).map_err(|_| wrong())?;
                self.reversals.load(key, Reversed::decode(value).ok_or_else(wrong)?);
            }
            Some((&KEY_STATUS, _)) => self.statuses.load(value).ok_or_else(wrong)?,
            Some((&KEY_REST, [])) => {
                let rest = wire::PostingRest::decode(value).map_err(|_| wrong())?;
                self.load_rest(rest).ok_or("a checkpoint from before repeated events were counted")?;
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn put_all(&self, put: &mut PutPair<'_>) {
        let mut key = Vec::with_capacity(64);
        for (account, asset, figures) in self.accounts.all() {
            account_key(&mut key, account, asset);
            put(&key, Some(&account_value(figures)));
        }
        for (key, record) in self.ids.all_pending() {
            put(&id_key(key), Some(&record.encode()));
        }
        for (key, hold) in self.holds.all() {
            put(&hold_key(key), Some(&hold.encode(*key)));
        }
        for (key, group) in self.groups.all() {
            put(&group_key(key), Some(&group.encode()));
        }
        for (key, proposal) in self.proposals.all() {
            put(&proposal_key(key), Some(&proposal.encode()));
        }
        for (key, case) in self.cases.all() {
            put(&case_key(*key), Some(&case.encode(*key)));
        }
        for (account, status) in self.statuses.sorted() {
            put(&status_key(account), Some(&status.to_wire(account).encode_to_vec()));
        }
        for (account, said) in self.metadata.all() {
            put(&metadata_key(account), Some(&metadata::encode(account, said)));
        }
        for (account, asset, limits) in self.limits.sorted() {
            put(&limits_key(account, asset), Some(&limits.to_wire(account, asset).encode_to_vec()));
        }
        self.velocity.pairs().iter().for_each(|(key, stored)| put(key, Some(stored)));
        for (key, reversed) in self.reversals.all() {
            put(&reversed_key(key), Some(&reversed.encode()));
        }
        put(&[KEY_REST], Some(&self.rest().encode_to_vec()));
    }

    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all: Vec<(Vec<u8>, Vec<u8>)> = self
            .accounts
            .sorted()
            .into_iter()
            .map(|(account, asset, figures)| {
                let mut key = Vec::new();
                account_key(&mut key, account, asset);
                (key, account_value(figures).to_vec())
            })
            .collect();
        all.extend(self.ids.sorted().into_iter().map(|(k, r)| (id_key(&k).to_vec(), r.encode().to_vec())));
        all.extend(self.holds.all().map(|(k, hold)| (hold_key(k).to_vec(), hold.encode(*k))));
        all.extend(self.groups.all().map(|(k, group)| (group_key(k).to_vec(), group.encode())));
        all.extend(self.proposals.all().map(|(k, proposal)| (proposal_key(k).to_vec(), proposal.encode())));
        all.extend(self.cases.all().map(|(key, case)| (case_key(*key).to_vec(), case.encode(*key))));
        let statuses = self.statuses.sorted().into_iter();
        all.extend(statuses.map(|(account, s)| (status_key(account), s.to_wire(account).encode_to_vec())));
        let said = self.metadata.all();
        all.extend(said.map(|(account, said)| (metadata_key(account), metadata::encode(account, said))));
        let limits = self.limits.sorted().into_iter();
        all.extend(limits.map(|(account, asset, own)| {
            (limits_key(account, asset), own.to_wire(account, asset).encode_to_vec())
        }));
        all.extend(self.velocity.pairs());
        all.extend(self.reversals.all().map(|(k, reversed)| (reversed_key(k).to_vec(), reversed.encode())));
        all.push((vec![KEY_REST], self.rest().encode_to_vec()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::days::Kind;
    use crate::ids::remembered;
    use schemas::wire::{
        AccountLimits, AccountMetadata, AccountStatus, AssetSum, Decision, Entry, EventKey, HoldState,
        MetadataChange, Moved, MovedPart, ProposalState, Received, ReversedState, Side, journal_item::Item,
        proposal_state::State,
    };
    use std::collections::BTreeSet;

    fn event(id: &str) -> Option<EventKey> {
        Some(EventKey { source: "/shop".into(), id: id.into() })
    }

    fn entry(account: &str) -> Entry {
        let (account, asset, side) = (account.into(), "CNY".into(), Side::Debit as i32);
        let mut entry = Entry { account, asset, side, seq: 1, ..Entry::default() };
        entry.set_figures(5, 0, 5);
        entry
    }

    /// A slot with something changed in every table.
    #[expect(clippy::too_many_lines, reason = "a table of changes")]
    fn changed() -> Slot {
        let (account, asset, side) = ("users:1:wallet".to_owned(), "CNY".to_owned(), Side::Debit as i32);
        let amount = Some(5.into());
        let booked = Decision {
            event: event("e1"),
            body_hash: vec![7; 16].into(),
            outcome: Outcome::Booked as i32,
            entry: vec![entry(&account)],
            hold: Some(HoldState {
                event: event("e1"),
                account: account.clone(),
                asset: asset.clone(),
                side,
                amount,
                expires_us: 9,
            }),
            account_status: Some(AccountStatus {
                account: account.clone(),
                closed: true,
                ..Default::default()
            }),
            account_limits: Some(AccountLimits {
                account: account.clone(),
                asset: asset.clone(),
                lowest: amount,
                ..Default::default()
            }),
            account_metadata: Some(AccountMetadata {
                account: account.clone(),
                changed: vec![MetadataChange { key: "tier".into(), value: "gold".into(), removed: false }],
            }),
            reversed: Some(ReversedState {
                event: event("e0"),
                sum: vec![AssetSum { asset: asset.clone(), sum: amount }],
                moved: vec![AssetSum { asset: asset.clone(), sum: amount }],
            }),
            proposal: Some(ProposalState {
                event: event("p1"),
                state: State::Open as i32,
                proposed_by: "anna".into(),
                ..Default::default()
            }),
            ..Decision::default()
        };
        let waits = Decision {
            event: event("c1"),
            body_hash: vec![7; 16].into(),
            outcome: Outcome::Pending as i32,
            waits_for: event("h1"),
            deadline_us: 9,
            ..Decision::default()
        };
        let suspended = Received {
            from: 1,
            sequence: 1,
            event: event("e2"),
            entry: Some(entry("suspense:p00")),
            suspense_reason: "account_closed".into(),
            intended_account: account.clone(),
            ..Received::default()
        };
        let part = MovedPart { side, window_s: 16, part: 3, amount, count: 1 };
        let moved = Moved { account, asset, part: vec![part] };
        let items =
            [Item::Decision(booked), Item::Decision(waits), Item::Received(suspended), Item::Moved(moved)];
        let mut effects = Vec::new();
        items.into_iter().for_each(|item| Effect::of(item, 0, 1, &mut effects));
        let mut slot = Slot::new(0);
        slot.apply(Change { header: BatchHeader::default(), hash: [1; 32], effects, rows: Vec::new() });
        slot
    }

    fn written(put: impl FnOnce(&mut PutPair<'_>)) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut pairs = Vec::new();
        put(&mut |key, value| pairs.extend(value.map(|value| (key.to_vec(), value.to_vec()))));
        pairs.sort();
        pairs
    }

    #[test]
    fn the_changed_bytes_are_those_of_all_tables() {
        let mut slot = changed();
        let tables = [
            slot.accounts.dirty_bytes(),
            slot.ids.dirty_bytes(),
            slot.holds.dirty_bytes(),
            slot.groups.dirty_bytes(),
            slot.proposals.dirty_bytes(),
            slot.cases.dirty_bytes(),
            slot.statuses.dirty_bytes(),
            slot.metadata.dirty_bytes(),
            slot.limits.dirty_bytes(),
            slot.velocity.dirty_bytes(),
            slot.reversals.dirty_bytes(),
        ];
        let counted: usize = tables.iter().sum();
        assert!(tables.iter().all(|bytes| *bytes > 1), "{tables:?}");
        assert_eq!(slot.dirty_bytes(), counted);
        let pairs = written(|put| slot.take_dirty(put));
        let bytes: usize =
            pairs.iter().filter(|(key, _)| *key != [KEY_REST]).map(|(k, v)| k.len() + v.len()).sum();
        assert!((bytes..6 * bytes).contains(&counted), "{counted} counted, {bytes} written");
        drop(slot.take_settled(false));
        assert_eq!(slot.dirty_bytes(), 0);
    }

    #[test]
    fn every_table_is_in_a_checkpoint() {
        let mut slot = changed();
        // Ids that are decided are rows of their own.
        let without_ids = |pairs: Vec<(Vec<u8>, Vec<u8>)>| -> Vec<_> {
            pairs.into_iter().filter(|(key, _)| key[0] != KEY_ID).collect()
        };
        let all = without_ids(slot.canonical());
        let kinds: BTreeSet<u8> = all.iter().map(|(key, _)| key[0]).collect();
        assert!(kinds.into_iter().eq(*b"adghlmprsuv"));
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(without_ids(written(|put| slot.put_all(put))), sorted);
        assert_eq!(without_ids(written(|put| slot.take_dirty(put))), sorted);
        let mut again = Slot::new(0);
        all.iter().for_each(|(key, value)| again.load(key, value).unwrap());
        assert_eq!(without_ids(again.canonical()), all);
    }

    /// A capture waits for a hold that is known, a reversal for an event that is decided.
    #[test]
    fn what_begins_to_wait_knows_whether_the_other_has_come() {
        let mut slot = Slot::new(0);
        let other = key_of(event("e1").as_ref());
        let record = remembered(Outcome::Pending, None, &[7; 16], 1, 1).unwrap();
        slot.take(Effect::Id { key: other, record });
        for decided in [false, true] {
            let group = Box::new(Group { waits_for: event("e1"), decided, ..Group::default() });
            slot.take(Effect::GroupOpened { key: [u8::from(decided); 16], group });
        }
        let came = |slot: &Slot| slot.groups.all().map(|(_, group)| group.came).collect::<Vec<_>>();
        assert_eq!(came(&slot), [true, false]);
        let (outcome, reason, decider, batch) = (Outcome::Booked, None, 1, 2);
        slot.take(Effect::Resolved { key: other, outcome, reason, decider, batch });
        assert_eq!(came(&slot), [true, true]);
        let group = Box::new(Group { waits_for: event("e1"), decided: true, ..Group::default() });
        slot.take(Effect::GroupOpened { key: [2; 16], group });
        assert_eq!(came(&slot), [true, true, true]);
        for (key, left) in [([0; 16], true), ([1; 16], true), ([2; 16], false)] {
            slot.take(Effect::GroupClosed(key));
            assert_eq!(
                !slot.groups.is_empty(),
                left,
                "a window leaves room for what waits while something does"
            );
        }
    }

    #[test]
    fn the_tallies_of_a_day_go_when_its_book_is_aligned() {
        let mut slot = Slot::new(0);
        for (book, date) in [("main", 99), ("main", 100), ("main", 101), ("other", 99), ("other", 100)] {
            let key = TallyKey { kind: Kind::CommandsIn, peer: 1, date, book: book.into() };
            slot.take(Effect::Tally(Box::new((key, Tally::default()))));
        }
        slot.take(Effect::Aligned { book: "main".into(), date: 100 });
        let left: BTreeSet<(&str, i32)> = slot.tallies.keys().map(|key| (&*key.book, key.date)).collect();
        assert_eq!(left, BTreeSet::from([("main", 101), ("other", 99), ("other", 100)]));
    }

    #[test]
    fn a_channel_on_which_nothing_was_sent_is_none() {
        let channel =
            |partition, sequence| wire::ChannelSequence { partition, sequence, ..Default::default() };
        let header = BatchHeader { channel: vec![channel(1, 0), channel(2, 3)], ..Default::default() };
        let mut slot = Slot::new(0);
        slot.apply(Change { header, hash: [1; 32], effects: Vec::new(), rows: Vec::new() });
        assert_eq!(slot.outgoing.iter().map(|(to, out)| (*to, out.sequence)).collect::<Vec<_>>(), [(2, 3)]);
    }
}
