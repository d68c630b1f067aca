//! State of one posting slot, and the only code that changes it.

use crate::accounts::{AccountTable, Figures, Terms};
use crate::channels::{Incoming, Outgoing};
use crate::config::PostingConfig;
use crate::days::{BookDays, Tally, TallyKey};
use crate::ids::{IdKey, IdRecord, IdTable, body_hash, key_of};
use prost::Message;
use schemas::batch::{ChainHead, Hash};
use schemas::reason::Reason;
use schemas::topics::Topic;
use schemas::wire::{self, BatchHeader, Decision, Entry, JournalItem, Outcome, journal_item::Item};
use std::collections::BTreeMap;
use stream::processor::{PutPair, SlotState};

/// State of one posting slot.
#[derive(Debug)]
pub struct Slot {
    /// Slot (= partition).
    pub slot: u32,
    /// Accounts.
    pub accounts: AccountTable,
    /// Ids.
    pub ids: IdTable,
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
    /// Highest business time seen in a tick, microseconds.
    pub tick_us: i64,
    /// Hash of the chart last journalled; zeros before the first.
    pub chart_hash: Hash,
    /// Commands forwarded whose verdict is still to come.
    pub pending: u64,
    terms: TermsOf,
}

/// A committed window: its journal batch.
#[derive(Debug)]
pub struct Change {
    /// Header of the journal batch.
    pub header: BatchHeader,
    /// Hash of the journal batch.
    pub hash: Hash,
    /// Its items.
    pub items: Vec<JournalItem>,
}

/// Looks up what the chart says of a new row.
#[derive(Debug, Clone)]
struct TermsOf(std::sync::Arc<PostingConfig>);

impl Slot {
    /// The empty state.
    #[must_use]
    pub fn new(slot: u32, config: std::sync::Arc<PostingConfig>) -> Self {
        Self {
            slot,
            accounts: AccountTable::default(),
            ids: IdTable::default(),
            journal: ChainHead::default(),
            commands: BTreeMap::new(),
            incoming: BTreeMap::new(),
            outgoing: BTreeMap::new(),
            tallies: BTreeMap::new(),
            days: BTreeMap::new(),
            tick_us: 0,
            chart_hash: [0; 32],
            pending: 0,
            terms: TermsOf(config),
        }
    }

    /// What became of an event at its home.
    #[must_use]
    pub fn outcome_of(&self, source: &str, id: &str) -> Option<IdRecord> {
        self.ids.get(&crate::ids::id_key(source, id)).copied()
    }

    /// Figures of an account, if it has an entry here.
    #[must_use]
    pub fn figures_of(&self, account: &str, asset: &str) -> Option<Figures> {
        self.accounts.find(account, asset).map(|row| self.accounts.figures(row))
    }

    /// Applies one journal batch: the live path after its commit, and replay.
    pub fn apply(&mut self, change: Change) {
        let Change { header, hash, items } = change;
        for item in items {
            if let Some(item) = item.item {
                self.apply_item(item, header.batch);
            }
        }
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
        for channel in header.channel {
            let out = self.outgoing.entry(channel.partition).or_default();
            out.sequence = channel.sequence;
            if channel.batch_sequence != 0 {
                let hash = Hash::try_from(channel.batch_hash.as_ref()).unwrap_or_default();
                out.chain = ChainHead { sequence: channel.batch_sequence, hash };
            }
        }
        self.journal = ChainHead { sequence: header.sequence, hash };
    }

    fn apply_item(&mut self, item: Item, batch: u64) {
        match item {
            Item::Decision(decision) => self.apply_decision(&decision, batch),
            Item::Received(r) => {
                if let Some(entry) = &r.entry {
                    self.set_entry(entry, batch);
                }
                self.arrived(r.from, r.sequence, r.item_check);
            }
            Item::Clearing(clearing) => {
                if let Some(entry) = &clearing.entry {
                    self.set_entry(entry, batch);
                }
            }
            Item::Resolution(r) => self.apply_resolution(&r),
            Item::Tick(tick) => self.tick_us = self.tick_us.max(tick.business_time_us),
            Item::DayMarkerSeen(seen) => {
                if let Some(marker) = seen.marker {
                    let days = self.days.entry(marker.book).or_default();
                    let set = if seen.credits { &mut days.partitions_seen } else { &mut days.ingest_seen };
                    set.insert((marker.date, seen.from));
                }
                if seen.credits {
                    self.arrived(seen.from, seen.sequence, seen.item_check);
                }
            }
            Item::DayMarkerSent(sent) => self.days.entry(sent.book).or_default().sent = Some(sent.date),
            Item::Aligned(aligned) => {
                self.tallies.retain(|key, _| key.book != aligned.book || key.date > aligned.date);
                self.days.entry(aligned.book).or_default().align(aligned.date);
            }
            Item::Held(held) => {
                let channel = self.incoming.entry(held.from).or_default();
                if held.dropped {
                    channel.dropped += 1;
                } else {
                    channel.held.insert(held.sequence, held.item);
                }
            }
            Item::Chart(chart) => {
                self.chart_hash = Hash::try_from(chart.hash.as_ref()).unwrap_or_default();
            }
            Item::DayTally(tally) => {
                let (key, tally) = TallyKey::from_wire(tally);
                self.tallies.insert(key, tally);
            }
        }
    }

    fn apply_decision(&mut self, decision: &Decision, batch: u64) {
        for entry in &decision.entry {
            self.set_entry(entry, batch);
        }
        if decision.forwarded_from != 0 {
            self.arrived(decision.forwarded_from - 1, decision.from_sequence, decision.item_check);
            return;
        }
        let Some(record) = remembered(decision, self.slot, batch) else { return };
        if record.outcome == Outcome::Pending {
            self.pending += 1;
        }
        self.ids.set(key_of(decision.event.as_ref()), record);
    }

    fn apply_resolution(&mut self, r: &wire::Resolution) {
        self.arrived(r.from, r.sequence, r.item_check);
        let key = key_of(r.event.as_ref());
        let Some(mut record) = self.ids.get(&key).copied() else { return };
        record.outcome = r.outcome();
        record.reason = Reason::by_code(&r.reason);
        record.decider = r.from;
        record.batch = r.batch;
        self.pending = self.pending.saturating_sub(1);
        self.ids.set(key, record);
    }

    fn arrived(&mut self, from: u32, sequence: u64, check: u64) {
        self.incoming.entry(from).or_default().advance(sequence, check);
    }

    fn set_entry(&mut self, entry: &Entry, batch: u64) {
        let figures = Figures { balance: entry.after(), seq: entry.seq, last_batch: batch };
        let terms = self.terms.clone();
        self.accounts
            .set(&entry.account, &entry.asset, figures, || Terms::of(&terms.0, &entry.account, &entry.asset));
    }
}

/// What home remembers of a decision; `None` for duplicates and conflicts, whose original stands.
#[must_use]
pub fn remembered(decision: &Decision, slot: u32, batch: u64) -> Option<IdRecord> {
    let outcome = decision.outcome();
    let reason = Reason::by_code(&decision.reason);
    if outcome == Outcome::Duplicate || reason == Some(Reason::Conflict) {
        return None;
    }
    let decider = if outcome == Outcome::Pending { decision.forwarded_to } else { slot };
    Some(IdRecord { body: body_hash(&decision.body_hash), outcome, reason, decider, batch })
}

const KEY_ACCOUNT: u8 = b'a';
const KEY_ID: u8 = b'i';
const KEY_REST: u8 = b'm';

fn account_key(account: &str, asset: &str) -> Vec<u8> {
    [&[KEY_ACCOUNT], account.as_bytes(), &[0], asset.as_bytes()].concat()
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
            incoming: self
                .incoming
                .iter()
                .map(|(from, c)| wire::IncomingChannel {
                    from: *from,
                    mark: c.mark,
                    hash: c.hash.to_vec().into(),
                    recent: c.recent.iter().copied().collect(),
                    held: c
                        .held
                        .iter()
                        .map(|(sequence, item)| wire::Held {
                            from: *from,
                            sequence: *sequence,
                            item: item.clone(),
                            dropped: false,
                        })
                        .collect(),
                    dropped: c.dropped,
                })
                .collect(),
            outgoing: self
                .outgoing
                .iter()
                .map(|(to, out)| wire::ChannelSequence {
                    partition: *to,
                    sequence: out.sequence,
                    batch_sequence: out.chain.sequence,
                    batch_hash: out.chain.hash.to_vec().into(),
                })
                .collect(),
            tally: self.tallies.iter().map(|(key, tally)| key.to_wire(tally)).collect(),
            days: self
                .days
                .iter()
                .map(|(book, days)| wire::BookDays {
                    book: book.clone(),
                    ingest_seen: days.ingest_seen.iter().map(|(d, p)| seen(*d, *p)).collect(),
                    partitions_seen: days.partitions_seen.iter().map(|(d, p)| seen(*d, *p)).collect(),
                    sent: days.sent,
                    aligned: days.aligned,
                })
                .collect(),
            tick_us: self.tick_us,
            chart_hash: self.chart_hash.to_vec().into(),
            pending: self.pending,
        }
    }

    fn load_rest(&mut self, rest: wire::PostingRest) {
        let hash = |bytes: &[u8]| Hash::try_from(bytes).unwrap_or_default();
        let head = |m: &wire::ChainMark| ChainHead { sequence: m.sequence, hash: hash(&m.hash) };
        self.journal = rest.journal.as_ref().map(head).unwrap_or_default();
        self.commands = rest.commands.iter().map(|m| (m.slot, head(m))).collect();
        self.incoming = rest
            .incoming
            .into_iter()
            .map(|c| {
                let held = c.held.into_iter().map(|h| (h.sequence, h.item)).collect();
                let recent = c.recent.into();
                (c.from, Incoming { mark: c.mark, hash: hash(&c.hash), recent, held, dropped: c.dropped })
            })
            .collect();
        self.outgoing = rest
            .outgoing
            .iter()
            .map(|c| {
                let chain = ChainHead { sequence: c.batch_sequence, hash: hash(&c.batch_hash) };
                (c.partition, Outgoing { sequence: c.sequence, chain })
            })
            .collect();
        self.tallies = rest.tally.into_iter().map(TallyKey::from_wire).collect();
        self.days = rest
            .days
            .into_iter()
            .map(|d| {
                let pairs = |seen: &[wire::MarkerSeen]| seen.iter().map(|s| (s.date, s.peer)).collect();
                let days = BookDays {
                    ingest_seen: pairs(&d.ingest_seen),
                    partitions_seen: pairs(&d.partitions_seen),
                    sent: d.sent,
                    aligned: d.aligned,
                };
                (d.book, days)
            })
            .collect();
        self.tick_us = rest.tick_us;
        self.chart_hash = hash(&rest.chart_hash);
        self.pending = rest.pending;
    }
}

const fn seen(date: i32, peer: u32) -> wire::MarkerSeen {
    wire::MarkerSeen { date, peer }
}

impl SlotState for Slot {
    fn take_dirty(&mut self, put: &mut PutPair<'_>) {
        self.accounts.take_dirty(|account, asset, figures| {
            put(&account_key(account, asset), Some(&account_value(figures)));
        });
        for (key, record) in self.ids.take_dirty() {
            put(&[&[KEY_ID][..], &key].concat(), Some(&record.encode()));
        }
        put(&[KEY_REST], Some(&self.rest().encode_to_vec()));
    }

    fn dirty_bytes(&self) -> usize {
        self.accounts.dirty_bytes() + self.ids.dirty_bytes()
    }

    fn load(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let wrong = || format!("checkpoint pair of posting does not decode: key {key:02x?}");
        match key.split_first() {
            Some((&KEY_ACCOUNT, rest)) => {
                let (account, asset, figures) = account_of(rest, value).ok_or_else(wrong)?;
                let terms = self.terms.clone();
                self.accounts.load(&account, &asset, figures, || Terms::of(&terms.0, &account, &asset));
            }
            Some((&KEY_ID, rest)) => {
                let key = IdKey::try_from(rest).map_err(|_| wrong())?;
                self.ids.load(key, IdRecord::decode(value).ok_or_else(wrong)?);
            }
            Some((&KEY_REST, [])) => {
                self.load_rest(wire::PostingRest::decode(value).map_err(|_| wrong())?);
            }
            _ => return Err(wrong()),
        }
        Ok(())
    }

    fn canonical(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all: Vec<(Vec<u8>, Vec<u8>)> = self
            .accounts
            .sorted()
            .into_iter()
            .map(|(account, asset, figures)| (account_key(account, asset), account_value(figures).to_vec()))
            .collect();
        all.extend(
            self.ids.sorted().into_iter().map(|(k, r)| ([&[KEY_ID][..], &k].concat(), r.encode().to_vec())),
        );
        all.push((vec![KEY_REST], self.rest().encode_to_vec()));
        all
    }
}
