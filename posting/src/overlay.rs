//! What a window would change: figures, ids, channels and tallies over the slot's state, the journal items that say
//! so, and the same as effects for `apply`. Dropped whole when the commit fails; nothing here touches the state.

use crate::accounts::{AccountTable, Figures, Terms};
use crate::adjustment;
use crate::changed::Changed;
use crate::channels::Incoming;
use crate::clearing::{Cleared, ClearingNets, Side as ClearingSide};
use crate::config::PostingConfig;
use crate::days::{BookDays, Kind, Tally, TallyKey};
use crate::effects::{self, Effect};
use crate::groups::Group;
use crate::holds::{Hold, HoldChanges};
use crate::id_table;
use crate::ids::{IdKey, IdRecord};
use crate::limits::{ByAccount, Limited, OwnLimits};
use crate::lines::{ClearingLine, DecisionLine, ReceivedLine};
use crate::metadata::{self, Metadata};
use crate::outbox::Outbox;
use crate::overdraft::Overdraft;
use crate::proposals::Proposal;
use crate::refusal;
use crate::resend::Again;
use crate::reversal::{self, Reversed};
use crate::state::Slot;
use crate::status::{Stated, Status};
use crate::suspense::{Case, CaseKey};
use crate::velocity::Moves;
use prost::Message;
use schemas::batch::{BodyBuilder, ChainHead};
use schemas::dates::{TickFate, tick_fate};
use schemas::reason::Reason;
use schemas::wire::{CreditItem, HoldLeg, JournalItem, Outcome, Side, credit_item, journal_item::Item};
use schemas::wire_write::Fields;
use std::collections::BTreeMap;
use stream::log::OutRecord;
use stream::processor::LookedBack;
use stream::table::ByKey;

/// A refusal: reason and, for people, which account or figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Reason.
    pub reason: Reason,
    /// Detail.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its detail.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }
}

/// A leg to be booked in this partition.
#[derive(Debug, Clone, Copy)]
pub struct LocalLeg<'a> {
    /// Index in the event.
    pub leg: u32,
    /// Account.
    pub account: &'a str,
    /// Asset.
    pub asset: &'a str,
    /// Side.
    pub side: Side,
    /// Amount above zero.
    pub amount: i128,
    /// Encoded `Match`.
    pub matched: Option<&'a [u8]>,
    /// What the chart says; `None` for the ledger's own accounts.
    pub terms: Option<Terms>,
    /// The account's row in the state, where that is known.
    pub row: Option<u32>,
    /// How far below zero it may take its account.
    pub overdraft: Option<Overdraft>,
}

/// Debits count up, credits down.
#[must_use]
pub const fn signed(side: Side, amount: i128) -> i128 {
    match side {
        Side::Credit => -amount,
        _ => amount,
    }
}

/// The side whose signed amount has this sign.
#[must_use]
pub const fn side_of(signed: i128) -> Side {
    if signed < 0 { Side::Credit } else { Side::Debit }
}

/// An entry worked out, its texts where the command has them.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Index of the leg in the event.
    pub leg: u32,
    /// Account.
    pub account: &'a str,
    /// Asset.
    pub asset: &'a str,
    /// Side.
    pub side: Side,
    /// Minor units.
    pub amount: i128,
    /// Debits minus credits before.
    pub before: i128,
    /// Debits minus credits after.
    pub after: i128,
    /// Number of this entry on its account.
    pub seq: u64,
    /// Batch of the entry before; 0 = none.
    pub previous_batch: u64,
    /// Encoded `Match`.
    pub matched: Option<&'a [u8]>,
    pub(crate) row: u32,
    /// Where the window has the figures of its row.
    pub(crate) place: u32,
}

/// Figures of an account that the window has looked at.
#[derive(Debug, Clone, Copy)]
struct Seen {
    figures: Figures,
    changed: bool,
}

/// The overlay of one window.
pub struct Overlay<'a> {
    /// State underneath.
    pub base: &'a Slot,
    /// Configuration.
    pub config: &'a PostingConfig,
    /// Number of this window.
    pub batch: u64,
    /// Figures of the rows that were looked at.
    figures: ByKey<u32, Seen>,
    fresh: AccountTable,
    ids: ByKey<IdKey, IdRecord>,
    /// What is put on hold and let go.
    pub(crate) holds: HoldChanges,
    /// Events that wait for answers: `None` = decided in this window.
    pub(crate) groups: BTreeMap<IdKey, Option<Group>>,
    /// Proposals: `None` = over in this window.
    pub(crate) proposals: BTreeMap<IdKey, Option<Proposal>>,
    /// Cases in suspense: `None` = resolved in this window.
    pub(crate) cases: BTreeMap<CaseKey, Option<Case>>,
    /// Accounts whose status changed.
    pub(crate) statuses: BTreeMap<Box<str>, Status>,
    /// What is said of accounts of which this window has said something.
    pub(crate) metadata: BTreeMap<Box<str>, Metadata>,
    /// Limits that events of this window have given accounts.
    pub(crate) limits: ByAccount<OwnLimits>,
    /// What was moved of accounts that have a rule about velocity.
    pub(crate) moves: Moves,
    /// Events of which more or less is given back.
    pub(crate) reversals: BTreeMap<IdKey, Reversed>,
    tallies: Vec<(TallyKey, Tally)>,
    clearing: ClearingNets,
    scratch: Vec<u8>,
    /// Chains of commands read in this window.
    pub commands: BTreeMap<u32, ChainHead>,
    /// Receiving channels changed in this window.
    pub incoming: BTreeMap<u32, Incoming>,
    /// Items to send, by partition.
    pub sent: BTreeMap<u32, Outbox>,
    /// Books changed in this window.
    pub days: BTreeMap<String, BookDays>,
    /// Highest business time so far, microseconds; 0 = no tick yet.
    pub tick_us: i64,
    /// The journal batch so far.
    pub journal: BodyBuilder,
    /// What the journal batch changes.
    pub effects: Vec<Effect>,
    /// Figures from now on of accounts that have a row.
    pub rows: Vec<(u32, Figures)>,
    /// Refusals, as they go to `rejected`.
    pub refusals: Vec<OutRecord>,
    /// What the window brought of what was looked back for.
    pub looked_back: Vec<LookedBack>,
    /// Channels on which sending again has changed in this window.
    pub again: BTreeMap<u32, Again>,
}

/// Memory for the header of a window's journal batch: about 32 channels.
const JOURNAL_HEADER: usize = 4 << 10;
/// Bytes of input an item of the journal comes from, at least, about.
const INPUT_BYTES: usize = 128;

impl<'a> Overlay<'a> {
    /// Nothing changed yet. `input_bytes` says how much the window is about to read, so that memory for what it
    /// writes is made at once.
    #[must_use]
    pub fn new(base: &'a Slot, config: &'a PostingConfig, batch: u64, input_bytes: usize) -> Self {
        let items = input_bytes / INPUT_BYTES + 16;
        Self {
            base,
            config,
            batch,
            figures: ByKey::with_capacity(items),
            fresh: AccountTable::default(),
            ids: ByKey::with_capacity(items),
            holds: HoldChanges::default(),
            groups: BTreeMap::new(),
            proposals: BTreeMap::new(),
            cases: BTreeMap::new(),
            statuses: BTreeMap::new(),
            metadata: BTreeMap::new(),
            limits: ByAccount::default(),
            moves: Moves::default(),
            reversals: BTreeMap::new(),
            tallies: Vec::new(),
            clearing: ClearingNets::default(),
            scratch: Vec::with_capacity(512),
            commands: BTreeMap::new(),
            incoming: BTreeMap::new(),
            sent: BTreeMap::new(),
            days: BTreeMap::new(),
            tick_us: base.tick_us,
            journal: BodyBuilder::with_capacity(2 * input_bytes, items, JOURNAL_HEADER),
            effects: Vec::with_capacity(items),
            rows: Vec::new(),
            refusals: Vec::new(),
            looked_back: Vec::new(),
            again: BTreeMap::new(),
        }
    }

    /// Adds a journal item of one of the rare kinds and what it changes.
    pub fn journal(&mut self, item: Item) {
        let item = JournalItem { item: Some(item) };
        self.journal.push(&item);
        item.item
            .into_iter()
            .for_each(|item| Effect::of(item, self.base.slot, self.batch, &mut self.effects));
    }

    /// Adds a tick: the encoded `Tick` and its time. One that is too far ahead is journalled as held, and time stays.
    pub fn tick(&mut self, encoded: &[u8], business_time_us: i64) {
        let highest_us = (self.tick_us != 0).then_some(self.tick_us);
        match tick_fate(business_time_us, highest_us, self.config.tick_ahead_us_max) {
            TickFate::Held => {
                self.journal.push_with(|f| f.encoded(15, encoded));
                self.effects.push(Effect::HeldTick(business_time_us));
            }
            TickFate::Taken | TickFate::Passed => {
                self.journal.push_with(|f| f.encoded(5, encoded));
                self.effects.push(Effect::Tick(business_time_us));
                self.tick_us = self.tick_us.max(business_time_us);
            }
        }
    }

    /// Adds a decision to the journal and, when it refuses, to `rejected`.
    pub fn decided(&mut self, line: &DecisionLine<'_>) {
        self.journal.push_with(|f| line.write(f));
        if let Some(forwarded) = line.forwarded {
            let (from, sequence, check) = (forwarded.from, forwarded.sequence, forwarded.check);
            self.effects.push(Effect::Arrived { from, sequence, check });
        } else if let Some(key) = line.concludes {
            let decider = line.asks.map_or(self.base.slot, |(to, _)| to);
            let batch = self.batch;
            let at = (self.base.slot, decider);
            self.effects.extend(effects::concluded(key, line.outcome, line.reason, at, batch));
        } else if line.outcome == Outcome::Duplicate || line.reason == Some(Reason::Conflict) {
            self.effects.push(Effect::Repeated { conflict: line.outcome == Outcome::Refused });
        }
        adjustment::effects(line, &mut self.effects);
        if let Some((account, status)) = line.status {
            let status = Box::new(Stated { status: *status, since: Changed::by(line) });
            self.effects.push(Effect::Status { account: account.clone(), status });
        }
        self.effects.extend(line.describes().map(metadata::effect));
        if let Some((account, asset, limits)) = line.limits {
            let (account, asset) = (account.clone(), asset.clone());
            let limits = Box::new(Limited { own: *limits, since: Changed::by(line) });
            self.effects.push(Effect::Limits { account, asset, limits });
        }
        if let Some((key, hold)) = line.hold {
            self.effects.push(effects::held(*key, hold.clone()));
        }
        if let Some(reversed) = line.reversed {
            self.effects.push(reversal::effect(reversed.clone()));
        }
        if line.outcome == Outcome::Refused {
            self.refusals.push(refusal::record(self.base.slot, self.batch, line));
        }
    }

    /// Adds a credit that was booked.
    pub fn received(&mut self, line: &ReceivedLine<'_>) {
        self.journal.push_with(|f| line.write(f));
        self.effects.push(Effect::Arrived { from: line.from, sequence: line.sequence, check: line.check });
        self.effects.extend(line.reserved.map(Effect::HoldEnded));
        if let Some(case) = Case::of_line(line) {
            let key = (line.from, line.sequence);
            self.cases.insert(key, Some(case.clone()));
            self.effects.push(Effect::Case { key, case: Some(Box::new(case)) });
        }
    }

    /// Whether something became of an event in this window.
    pub(crate) fn came_now(&self, event: &IdKey) -> bool {
        self.id_now(event).is_some()
    }

    /// What became of an event in this window.
    #[inline]
    fn id_now(&self, key: &IdKey) -> Option<IdRecord> {
        self.ids.get(id_table::hash_of(key), key).copied()
    }

    /// Remembers an event that waits for answers, with what is on hold here for it.
    pub fn open_group(&mut self, key: IdKey, group: Group, held: &[HoldLeg]) {
        let home = self.base.slot;
        let placed = |leg: &HoldLeg| Effect::HoldPlaced {
            key: (key, home, leg.leg),
            hold: Box::new(Hold::of(leg, home)),
        };
        self.effects.extend(held.iter().map(placed));
        self.effects.push(Effect::GroupOpened { key, group: Box::new(group.clone()) });
        self.groups.insert(key, Some(group));
    }

    /// What became of an event that another names.
    #[must_use]
    pub fn known(&self, key: &IdKey) -> Option<IdRecord> {
        match self.id_now(key) {
            Some(record) => record.since(self.base.ids.horizon().kept_from),
            None => self.base.ids.known(key),
        }
    }

    /// What became of an event that comes again, if it does; `before` as [`Self::original_before`] says. One that was decided in
    /// this window, so long after it came that it is forgotten by now, is as unknown as in the next one.
    #[inline]
    #[must_use]
    pub fn original(&self, key: &IdKey, before: Option<IdRecord>, occurred_at_us: i64) -> Option<IdRecord> {
        let Some(record) = self.id_now(key) else { return before };
        let horizon = self.base.ids.horizon();
        record.since(if horizon.is_old(occurred_at_us) { horizon.kept_from } else { horizon.recognised_from })
    }

    /// What became of it before this window: one that says it is old is looked up among all that are kept.
    #[inline]
    #[must_use]
    pub fn original_before(&self, key: &IdKey, occurred_at_us: i64) -> Option<IdRecord> {
        let ids = &self.base.ids;
        if ids.horizon().is_old(occurred_at_us) { ids.known(key) } else { ids.get(key) }
    }

    /// Decides what was pending, as the journal item that was written says. Whether it is known.
    pub fn resolve_id(
        &mut self,
        key: IdKey,
        outcome: Outcome,
        reason: Option<Reason>,
        decider: u32,
        batch: u64,
    ) -> bool {
        let known = self.known(&key);
        if let Some(record) = known {
            self.ids.set(id_table::hash_of(&key), key, record.resolved(outcome, reason, decider, batch));
        }
        known.is_some()
    }

    /// Remembers an event.
    pub fn set_id(&mut self, key: IdKey, record: IdRecord) {
        self.ids.set(id_table::hash_of(&key), key, record);
        self.effects.push(Effect::Id { key, record });
    }

    /// Markers of a book, to be changed.
    pub fn book_days(&mut self, book: &str) -> &mut BookDays {
        if !self.days.contains_key(book) {
            let days = self.base.days.get(book).cloned().unwrap_or_default();
            self.days.insert(book.to_owned(), days);
        }
        self.days.entry(book.to_owned()).or_default()
    }

    /// Markers of a book.
    #[must_use]
    pub fn read_days(&self, book: &str) -> Option<&BookDays> {
        self.days.get(book).or_else(|| self.base.days.get(book))
    }

    /// A receiving channel, to be changed.
    pub fn channel(&mut self, from: u32) -> &mut Incoming {
        let base = self.base;
        self.incoming.entry(from).or_insert_with(|| base.incoming.get(&from).cloned().unwrap_or_default())
    }

    /// Counts an item in a tally.
    pub fn tally<'b>(
        &mut self,
        (kind, peer, date, book): (Kind, u32, i32, &str),
        amounts: impl IntoIterator<Item = (&'b str, i128)>,
    ) {
        let same = |k: &TallyKey| k.peer == peer && k.kind == kind && k.date == date && k.book == book;
        if let Some((_, tally)) = self.tallies.iter_mut().find(|(k, _)| same(k)) {
            return tally.add(amounts);
        }
        let key = TallyKey { kind, peer, date, book: book.to_owned() };
        let mut tally = self.base.tallies.get(&key).cloned().unwrap_or_default();
        tally.add(amounts);
        self.tallies.push((key, tally));
    }

    /// A tally as it stands.
    #[must_use]
    pub fn read_tally(&self, key: &TallyKey) -> Tally {
        let changed = self.tallies.iter().find(|(k, _)| k == key).map(|(_, tally)| tally);
        changed.or_else(|| self.base.tallies.get(key)).cloned().unwrap_or_default()
    }

    /// Last sequence on the channel to `to`.
    #[must_use]
    pub fn last_sequence(&self, to: u32) -> u64 {
        let base = || self.base.outgoing.get(&to).map_or(0, |out| out.sequence);
        self.sent.get(&to).map_or_else(base, Outbox::last)
    }

    /// Puts an item of a rare kind on the channel to `to` and returns its sequence.
    pub fn send(&mut self, to: u32, item: credit_item::Item) -> u64 {
        self.send_with(to, |f, sequence| {
            let encoded = CreditItem { sequence, item: Some(item) }.encode_to_vec();
            f.raw(&encoded);
        })
    }

    /// Puts the item that `write` writes on the channel to `to` and returns its sequence.
    pub fn send_with(&mut self, to: u32, write: impl FnOnce(&mut Fields<'_>, u64)) -> u64 {
        let (base, bytes_max) = (self.base, self.config.credits_body_bytes_max());
        let outbox = self.sent.entry(to).or_insert_with(|| {
            Outbox::after(base.outgoing.get(&to).map_or(0, |out| out.sequence), bytes_max)
        });
        let sequence = outbox.last() + 1;
        self.scratch.clear();
        write(&mut Fields::new(&mut self.scratch), sequence);
        outbox.push(&self.scratch);
        sequence
    }

    fn row(&mut self, account: &str, asset: &str) -> u32 {
        if let Some(row) = self.base.accounts.find(account, asset) {
            return row;
        }
        let offset = u32::try_from(self.base.accounts.len()).unwrap_or(u32::MAX);
        self.fresh.find_or_insert(account, asset).saturating_add(offset)
    }

    fn figures(&self, row: u32) -> Figures {
        let seen = self.figures.get(hash_of_row(row), &row);
        seen.map_or_else(|| self.base.accounts.figures(row), |seen| seen.figures)
    }

    /// Figures of a row, and where the window has them from now on.
    #[inline]
    fn look_at(&mut self, row: u32) -> (u32, Figures) {
        let hash = hash_of_row(row);
        if let Some(place) = self.figures.place(hash, &row) {
            return (place, self.figures.at(place).map(|seen| seen.figures).unwrap_or_default());
        }
        let figures = self.base.accounts.figures(row);
        (self.figures.add(hash, row, Seen { figures, changed: false }), figures)
    }

    /// Works out the entries of an event's local legs and judges limits on the figures after all of them.
    ///
    /// # Errors
    /// As [`Overlay::check_status`], then [`Reason::InsufficientFunds`], [`Reason::BalanceTooHigh`],
    /// [`Reason::VelocityExceeded`], [`Reason::Overflow`]; no figure is changed.
    pub fn try_book<'c>(&mut self, legs: &[LocalLeg<'c>]) -> Result<Vec<Line<'c>>, Refusal> {
        let mut lines: Vec<Line<'c>> = Vec::with_capacity(legs.len());
        let mut overflow = None;
        for leg in legs {
            if let Some(terms) = &leg.terms {
                self.check_status(leg.account, leg.side, terms)?;
            }
            let row = leg.row.unwrap_or_else(|| self.row(leg.account, leg.asset));
            let so_far = lines.iter().rev().find(|line| line.row == row);
            let (place, before, seq, previous_batch) = match so_far {
                Some(line) => (line.place, line.after, line.seq, self.batch),
                None => {
                    let (place, figures) = self.look_at(row);
                    (place, figures.balance, figures.seq, figures.last_batch)
                }
            };
            let by = signed(leg.side, leg.amount);
            let after = before.checked_add(by).unwrap_or_else(|| {
                let what =
                    format!("the balance of {} in {} would be beyond any amount", leg.account, leg.asset);
                overflow = Some(Refusal::new(Reason::Overflow, what));
                // The limits are judged first.
                before.saturating_add(by)
            });
            lines.push(Line {
                leg: leg.leg,
                account: leg.account,
                asset: leg.asset,
                side: leg.side,
                amount: leg.amount,
                before,
                after,
                seq: seq + 1,
                previous_batch,
                matched: leg.matched,
                row,
                place,
            });
        }
        self.check_limits(legs, &lines, overflow.is_some())?;
        overflow.map_or(Ok(lines), Err)
    }

    /// Balance of an account, debits minus credits.
    pub(crate) fn balance_of(&self, account: &str, asset: &str) -> i128 {
        let known = u32::try_from(self.base.accounts.len()).unwrap_or(u32::MAX);
        let fresh = || self.fresh.find(account, asset).map(|row| row.saturating_add(known));
        let row = self.base.accounts.find(account, asset).or_else(fresh);
        row.map_or(0, |row| self.figures(row).balance)
    }

    /// Makes entries that were worked out part of the overlay.
    pub fn settle(&mut self, lines: &[Line<'_>]) {
        for line in lines {
            let figures = Figures { balance: line.after, seq: line.seq, last_batch: self.batch };
            if let Some(seen) = self.figures.at_mut(line.place) {
                *seen = Seen { figures, changed: true };
            }
        }
    }

    /// See [`ClearingNets::fits`].
    pub fn clearing_fits(&mut self, side: ClearingSide, asset: &str, by: i128) -> bool {
        let base = self.base;
        self.clearing.fits(side, asset, by, || clearing_balance(base, side, asset))
    }

    /// Counts one credit into its window's clearing entry.
    pub fn clear(&mut self, side: ClearingSide, credit: Cleared<'_>) {
        let base = self.base;
        self.clearing.add(side, credit, || clearing_balance(base, side, credit.asset));
    }

    /// Clearing entries, and tallies beyond one for each, that the window will end with.
    #[must_use]
    pub fn nets(&self) -> usize {
        self.clearing.len().max(self.tallies.len())
    }

    /// Writes the window's clearing entries and tallies: the last items of the journal batch.
    ///
    /// # Errors
    /// A clearing account would leave the 128-bit range (excluded by [`Self::clearing_fits`]).
    pub fn close_window(&mut self) -> Result<(), Refusal> {
        for (side, net) in std::mem::take(&mut self.clearing).sorted() {
            let account = side.account(self.base.slot);
            let leg = LocalLeg {
                leg: 0,
                account: &account,
                asset: &net.asset,
                side: side_of(net.sum),
                amount: net.sum.saturating_abs(),
                matched: None,
                terms: None,
                row: None,
                overdraft: None,
            };
            let lines = if net.sum == 0 { Vec::new() } else { self.try_book(&[leg])? };
            self.settle(&lines);
            let line = ClearingLine {
                peer: side.peer,
                outgoing: side.outgoing,
                asset: &net.asset,
                book: &net.book,
                date: net.date,
                covers: (net.first, net.last, net.count),
                entry: lines.first().copied(),
            };
            self.journal.push_with(|f| line.write(f));
        }
        let mut tallies = std::mem::take(&mut self.tallies);
        tallies.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, tally) in &tallies {
            let aligned = self.read_days(&key.book).and_then(|days| days.aligned);
            if aligned.is_none_or(|date| key.date > date) {
                self.journal(Item::DayTally(key.to_wire(tally)));
            }
        }
        self.journal_moves();
        self.figures_to_effects();
        Ok(())
    }

    /// Each account's last figures of the window: one write an account.
    fn figures_to_effects(&mut self) {
        let known = u32::try_from(self.base.accounts.len()).unwrap_or(u32::MAX);
        let seen = std::mem::take(&mut self.figures).into_rows();
        self.rows.reserve(seen.len());
        for (row, Seen { figures, .. }) in seen.into_iter().filter(|(_, seen)| seen.changed) {
            match row.checked_sub(known).map(|row| self.fresh.name(row)) {
                None => self.rows.push((row, figures)),
                Some(Some((account, asset))) => {
                    let (account, asset) = (account.into(), asset.into());
                    self.effects.push(Effect::Account { account, asset, figures });
                }
                // Every fresh row has a name.
                Some(None) => {}
            }
        }
    }
}

/// Row numbers follow each other: their lowest bits tell them apart.
const fn hash_of_row(row: u32) -> u32 {
    row
}

fn clearing_balance(base: &Slot, side: ClearingSide, asset: &str) -> i128 {
    base.figures_of(&side.account(base.slot), asset).map_or(0, |figures| figures.balance)
}
