//! What a window would change: figures, ids, channels and tallies over the slot's state, and the journal items
//! that say so. Dropped whole when the commit fails; nothing here touches the state.

use crate::accounts::{AccountTable, Figures, Terms};
use crate::channels::Incoming;
use crate::config::{CLEARING_MAX, PostingConfig};
use crate::days::{BookDays, Tally, TallyKey};
use crate::ids::{IdKey, IdRecord};
use crate::state::Slot;
use rustc_hash::FxHashMap;
use schemas::batch::ChainHead;
use schemas::reason::Reason;
use schemas::wire::{Clearing, CreditItem, Entry, JournalItem, Side, credit_item, journal_item::Item};
use std::collections::BTreeMap;

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

/// One clearing entry's key; the order is the order in the journal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClearingKey {
    /// Credits sent (true) or received.
    pub outgoing: bool,
    /// The other partition.
    pub peer: u32,
    /// Asset.
    pub asset: String,
    /// Book.
    pub book: String,
    /// Accounting date.
    pub date: i32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Net {
    sum: i128,
    first: u64,
    last: u64,
    count: u32,
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
    /// What the chart says; `None` for the ledger's own accounts.
    pub terms: Option<Terms>,
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

/// Entries worked out but not yet part of the overlay.
#[derive(Debug, Default)]
pub struct Tentative {
    /// The entries.
    pub entries: Vec<Entry>,
    figures: Vec<(u32, Figures)>,
}

/// The overlay of one window.
pub struct Overlay<'a> {
    /// State underneath.
    pub base: &'a Slot,
    /// Configuration.
    pub config: &'a PostingConfig,
    /// Number of this window.
    pub batch: u64,
    touched: FxHashMap<u32, Figures>,
    fresh: AccountTable,
    ids: FxHashMap<IdKey, IdRecord>,
    tallies: Vec<(TallyKey, Tally)>,
    clearing: BTreeMap<ClearingKey, Net>,
    clearing_total: BTreeMap<(bool, u32, String), i128>,
    /// Chains of commands read in this window.
    pub commands: BTreeMap<u32, ChainHead>,
    /// Receiving channels changed in this window.
    pub incoming: BTreeMap<u32, Incoming>,
    /// Items to send, by partition.
    pub sent: BTreeMap<u32, Vec<CreditItem>>,
    /// Books changed in this window.
    pub days: BTreeMap<String, BookDays>,
    /// Journal items so far.
    pub items: Vec<JournalItem>,
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    #[must_use]
    pub fn new(base: &'a Slot, config: &'a PostingConfig, batch: u64) -> Self {
        Self {
            base,
            config,
            batch,
            touched: FxHashMap::default(),
            fresh: AccountTable::default(),
            ids: FxHashMap::default(),
            tallies: Vec::new(),
            clearing: BTreeMap::new(),
            clearing_total: BTreeMap::new(),
            commands: BTreeMap::new(),
            incoming: BTreeMap::new(),
            sent: BTreeMap::new(),
            days: BTreeMap::new(),
            items: Vec::new(),
        }
    }

    /// Adds a journal item.
    pub fn journal(&mut self, item: Item) {
        self.items.push(JournalItem { item: Some(item) });
    }

    /// What became of an event.
    #[must_use]
    pub fn id(&self, key: &IdKey) -> Option<IdRecord> {
        self.ids.get(key).or_else(|| self.base.ids.get(key)).copied()
    }

    /// Remembers an event.
    pub fn set_id(&mut self, key: IdKey, record: IdRecord) {
        self.ids.insert(key, record);
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
    pub fn tally<'b>(&mut self, key: TallyKey, amounts: impl IntoIterator<Item = (&'b str, i128)>) {
        if let Some((_, tally)) = self.tallies.iter_mut().find(|(k, _)| *k == key) {
            return tally.add(amounts);
        }
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

    /// Next sequence on the channel to `to`.
    #[must_use]
    pub fn next_sequence(&self, to: u32) -> u64 {
        let sent = self.sent.get(&to).map_or(0, |items| items.len() as u64);
        self.base.outgoing.get(&to).map_or(0, |out| out.sequence) + sent + 1
    }

    /// Puts an item on the channel to `to` and returns its sequence.
    pub fn send(&mut self, to: u32, item: credit_item::Item) -> u64 {
        let sequence = self.next_sequence(to);
        self.sent.entry(to).or_default().push(CreditItem { sequence, item: Some(item) });
        sequence
    }

    /// What the chart says of an account in an asset; rows of this slot remember it.
    #[must_use]
    pub fn terms(&self, account: &str, asset: &str) -> Option<Terms> {
        match self.base.accounts.find(account, asset) {
            Some(row) => self.base.accounts.terms(row),
            None => Terms::of(self.config, account, asset),
        }
    }

    fn row(&mut self, account: &str, asset: &str, terms: Option<Terms>) -> u32 {
        if let Some(row) = self.base.accounts.find(account, asset) {
            return row;
        }
        let offset = u32::try_from(self.base.accounts.len()).unwrap_or(u32::MAX);
        if self.fresh.find(account, asset).is_none() {
            self.fresh.set(account, asset, Figures::default(), || terms);
        }
        self.fresh.find(account, asset).map_or(u32::MAX, |row| row.saturating_add(offset))
    }

    fn figures(&self, row: u32) -> Figures {
        if let Some(figures) = self.touched.get(&row) {
            return *figures;
        }
        self.base.accounts.figures(row)
    }

    /// Works out the entries of an event's local legs and judges limits on the figures after all of them.
    ///
    /// # Errors
    /// [`Reason::InsufficientFunds`], then [`Reason::Overflow`]; the overlay is unchanged.
    pub fn try_book(&mut self, legs: &[LocalLeg<'_>]) -> Result<Tentative, Refusal> {
        let mut tentative = Tentative { entries: Vec::with_capacity(legs.len()), figures: Vec::new() };
        let mut overflow = None;
        for leg in legs {
            let row = self.row(leg.account, leg.asset, leg.terms);
            let at = tentative.figures.iter().position(|(r, _)| *r == row);
            let before = at
                .and_then(|at| tentative.figures.get(at))
                .map_or_else(|| self.figures(row), |(_, figures)| *figures);
            let by = signed(leg.side, leg.amount);
            let after = before.balance.checked_add(by).unwrap_or_else(|| {
                overflow = Some(Refusal::new(Reason::Overflow, format!("{} {}", leg.account, leg.asset)));
                // The limits are judged first, and the end of the range is beyond any limit.
                before.balance.saturating_add(by)
            });
            let figures = Figures { balance: after, seq: before.seq + 1, last_batch: self.batch };
            match at.and_then(|at| tentative.figures.get_mut(at)) {
                Some(slot) => slot.1 = figures,
                None => tentative.figures.push((row, figures)),
            }
            let mut entry = Entry {
                account: leg.account.to_owned(),
                asset: leg.asset.to_owned(),
                side: leg.side as i32,
                seq: figures.seq,
                leg: leg.leg,
                previous_batch: before.last_batch,
                ..Entry::default()
            };
            entry.set_figures(leg.amount, before.balance, after);
            tentative.entries.push(entry);
        }
        self.check_limits(legs, &tentative)?;
        overflow.map_or(Ok(tentative), Err)
    }

    fn check_limits(&mut self, legs: &[LocalLeg<'_>], tentative: &Tentative) -> Result<(), Refusal> {
        for leg in legs {
            let Some(terms) = leg.terms.filter(|t| t.may_refuse(leg.side)) else { continue };
            let row = self.row(leg.account, leg.asset, leg.terms);
            let before = self.figures(row).balance;
            let Some((_, after)) = tentative.figures.iter().find(|(r, _)| *r == row) else { continue };
            // An event may always move an account back towards its limit, however far it is beyond.
            let worse = match terms.normal {
                Side::Credit => after.balance > before,
                _ => after.balance < before,
            };
            if worse && !terms.allows(after.balance) {
                return Err(Refusal::new(Reason::InsufficientFunds, self.shortfall(leg, after.balance)));
            }
        }
        Ok(())
    }

    fn shortfall(&self, leg: &LocalLeg<'_>, after: i128) -> String {
        let exponent = self.config.chart.assets.get(leg.asset).map_or(0, |asset| asset.exponent);
        let (normal, overdraft) =
            leg.terms.map_or((Side::Debit, 0), |t| (t.normal, t.overdraft.unwrap_or(0)));
        let shown = if normal == Side::Credit { after.checked_neg().unwrap_or(after) } else { after };
        format!(
            "{} would stand at {} {}, its limit is {}",
            leg.account,
            schemas::money::format(shown, exponent),
            leg.asset,
            schemas::money::format(-overdraft, exponent)
        )
    }

    /// Makes tentative entries part of the overlay and hands them out for the journal.
    pub fn settle(&mut self, tentative: Tentative) -> Vec<Entry> {
        for (row, figures) in tentative.figures {
            self.touched.insert(row, figures);
        }
        tentative.entries
    }

    /// Whether a clearing account could still take `by` (signed) within [`CLEARING_MAX`]. Both ends of a channel
    /// judge the same figures, so what the sender lets out the receiver can clear.
    #[must_use]
    pub fn clearing_fits(&self, outgoing: bool, peer: u32, asset: &str, by: i128) -> bool {
        let after = self.clearing_balance(outgoing, peer, asset).checked_add(by);
        after.is_some_and(|after| after.unsigned_abs() <= CLEARING_MAX.unsigned_abs())
    }

    fn clearing_balance(&self, outgoing: bool, peer: u32, asset: &str) -> i128 {
        if let Some(total) = self.clearing_total.get(&(outgoing, peer, asset.to_owned())) {
            return *total;
        }
        let account = self.clearing_account(outgoing, peer);
        self.base.figures_of(&account, asset).map_or(0, |figures| figures.balance)
    }

    fn clearing_account(&self, outgoing: bool, peer: u32) -> String {
        let own = self.base.slot;
        if outgoing {
            format!("clearing:out:p{own:02}:p{peer:02}")
        } else {
            format!("clearing:in:p{peer:02}:p{own:02}")
        }
    }

    /// Counts one credit into its window's clearing entry; `by` is signed as the clearing account moves.
    pub fn clear(&mut self, key: ClearingKey, sequence: u64, by: i128) {
        let total = self.clearing_balance(key.outgoing, key.peer, &key.asset).saturating_add(by);
        self.clearing_total.insert((key.outgoing, key.peer, key.asset.clone()), total);
        let net = self.clearing.entry(key).or_default();
        net.sum = net.sum.saturating_add(by);
        net.first = if net.count == 0 { sequence } else { net.first };
        net.last = sequence;
        net.count += 1;
    }

    /// Writes the window's clearing entries and tallies: the last items of the journal batch.
    ///
    /// # Errors
    /// A clearing account would leave the 128-bit range (excluded by [`Self::clearing_fits`]).
    pub fn close_window(&mut self) -> Result<(), Refusal> {
        for (key, net) in std::mem::take(&mut self.clearing) {
            let account = self.clearing_account(key.outgoing, key.peer);
            let mut entry = None;
            if net.sum != 0 {
                let leg = LocalLeg {
                    leg: 0,
                    account: &account,
                    asset: &key.asset,
                    side: side_of(net.sum),
                    amount: net.sum.saturating_abs(),
                    terms: None,
                };
                let tentative = self.try_book(&[leg])?;
                entry = self.settle(tentative).pop();
            }
            self.journal(Item::Clearing(Clearing {
                peer: key.peer,
                outgoing: key.outgoing,
                asset: key.asset,
                book: key.book,
                accounting_date: key.date,
                first_sequence: net.first,
                last_sequence: net.last,
                count: net.count,
                entry,
            }));
        }
        let mut tallies = std::mem::take(&mut self.tallies);
        tallies.sort_by(|a, b| a.0.cmp(&b.0));
        for (key, tally) in &tallies {
            let aligned = self.read_days(&key.book).and_then(|days| days.aligned);
            if aligned.is_none_or(|date| key.date > date) {
                self.journal(Item::DayTally(key.to_wire(tally)));
            }
        }
        Ok(())
    }
}
