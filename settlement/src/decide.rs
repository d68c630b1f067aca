//! The pure core: reads a slot's state and a window's records, writes a [`Draft`] and nothing else.
//!
//! The draft lies over the state: an account read for the first time in the window is copied into it, and every later
//! entry of the window meets the copy. What comes out is absolute: after-values for `apply`, figures to publish.

use crate::closing::DailyFigure;
use crate::config::SettlementConfig;
use crate::contradiction::{Contradiction, EntryName};
use crate::dual::Account;
use crate::journal_view::{EntryView, Item};
use crate::names::{self, Name, Names};
use crate::state::{Assets, Change, Head, Slot};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use schemas::batch::{self, BatchError, Opened};
use schemas::dates::Day;
use schemas::days::DayAligned;
use schemas::ids::check_account;
use std::collections::hash_map::Entry;
use std::hint::black_box;
use std::sync::Arc;
use stream::log::Record;
use stream::processor::record_hash;

/// So many items are read before they are posted, so that their accounts are fetched together.
const AHEAD: usize = 32;

/// What every slot is judged by.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Settings.
    pub config: SettlementConfig,
    /// The chart's assets.
    pub assets: Arc<Assets>,
}

/// An account that the window has read into.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touched {
    pub(crate) index: u32,
    pub(crate) account: Account,
    /// Booked in this window: its balance is published.
    pub(crate) booked: bool,
    /// Its closing changed in this batch and waits for its revision number.
    pub(crate) revising: bool,
}

/// A window under decision.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) rules: &'a Rules,
    pub(crate) base: &'a Slot,
    pub(crate) head: Head,
    pub(crate) touched: Vec<Touched>,
    place: FxHashMap<u32, usize>,
    opened: Names,
    pub(crate) revised: Vec<usize>,
    /// Daily records, in order.
    pub(crate) dailies: Vec<DailyFigure>,
    /// Days whose last closing of this slot is in `dailies`.
    pub(crate) reported: Vec<Day>,
    /// Days that the last slot has reported.
    pub(crate) closed: Vec<Day>,
    /// Entries posted.
    pub(crate) entries: u64,
}

impl<'a> Draft<'a> {
    pub(crate) fn new(rules: &'a Rules, base: &'a Slot) -> Result<Self, Contradiction> {
        base.check_whole()?;
        Ok(Self {
            rules,
            base,
            head: base.head.clone(),
            touched: Vec::new(),
            place: FxHashMap::default(),
            opened: Names::default(),
            revised: Vec::new(),
            dailies: Vec::new(),
            reported: Vec::new(),
            closed: Vec::new(),
            entries: 0,
        })
    }

    /// Opens a journal record.
    pub(crate) fn open(&self, value: &Bytes) -> Result<Opened, Contradiction> {
        let opened = batch::open(value)?;
        let (slot, found) = (self.base.slot, opened.header.slot);
        if found == slot { Ok(opened) } else { Err(Contradiction::ForeignBatch { slot, found }) }
    }

    /// Takes the journal's next batch.
    pub(crate) fn journal(&mut self, opened: &Opened) -> Result<(), Contradiction> {
        self.head.journal = self.head.journal.accept(opened)?;
        self.head.generation = opened.header.generation;
        self.head.batch = opened.header.batch;
        opened.expect_count(batch::items(&opened.body).count())?;
        // About an account an item.
        let items = opened.header.count as usize;
        self.touched.reserve(items);
        self.place.reserve(items);
        let mut items = batch::items(&opened.body);
        let (mut some, mut entries) = (Vec::with_capacity(AHEAD), Vec::with_capacity(2 * AHEAD));
        loop {
            some.clear();
            entries.clear();
            for item in items.by_ref().take(AHEAD) {
                let item = Item::read(item?, &mut entries).map_err(|e| BatchError::Decode(e.to_string()))?;
                some.push((item, entries.len()));
            }
            if some.is_empty() {
                break;
            }
            self.fetch(&entries);
            let mut first = 0;
            for (item, end) in &some {
                self.item(*item, entries.get(first..*end).unwrap_or_default())?;
                first = *end;
            }
        }
        self.revise_closings();
        self.continue_closing()
    }

    /// Brings the accounts of these entries into the cache. One look-up after the other waits for memory each time; in a
    /// loop that does nothing else, the processor waits for several at once.
    fn fetch(&self, entries: &[EntryView<'_>]) {
        for entry in entries {
            let index = self.rules.assets.number(entry.asset).and_then(|asset| {
                self.base.names.find(names::hash(entry.account, asset), entry.account, asset)
            });
            let account = index.and_then(|index| self.base.accounts.get(index as usize));
            black_box(account.map(|account| account.seq));
        }
    }

    fn item(&mut self, item: Item<'_>, entries: &[EntryView<'_>]) -> Result<(), Contradiction> {
        match item {
            Item::Booking { .. } if entries.is_empty() => Ok(()),
            Item::Booking { book, date } => {
                self.check_book(book)?;
                entries.iter().try_for_each(|entry| self.post(entry, date))
            }
            Item::Tick(business_time_us) => {
                self.head.time.tick(business_time_us, &self.rules.config.calendar);
                Ok(())
            }
            Item::Aligned { book, date } => {
                self.check_book(book)?;
                self.start_closing(date)
            }
            Item::Other => Ok(()),
        }
    }

    fn check_book(&self, found: &[u8]) -> Result<(), Contradiction> {
        let book = &self.rules.config.book;
        if found == book.as_bytes() {
            return Ok(());
        }
        Err(Contradiction::Book { found: String::from_utf8_lossy(found).into_owned(), book: book.clone() })
    }

    /// Checks an entry against the account's own figures and posts it.
    fn post(&mut self, entry: &EntryView<'_>, date: Day) -> Result<(), Contradiction> {
        if let Some(latest) = self.head.closing.latest_open().filter(|latest| date > *latest) {
            return Err(Contradiction::TooEarly { entry: entry_name(entry), date, latest });
        }
        let index = self.number(entry)?;
        let closed = self.head.closing.closed_for(index);
        let at = self.place(index);
        let Some(touched) = self.touched.get_mut(at) else { return Ok(()) };
        let amount = check_figures(&touched.account, entry)?;
        let revises = touched
            .account
            .post(date, amount, closed)
            .ok_or_else(|| Contradiction::OutOfRange { entry: entry_name(entry) })?;
        touched.booked = true;
        if revises && !touched.revising {
            touched.revising = true;
            self.revised.push(at);
        }
        if closed.is_some_and(|closed| date < closed) {
            self.head.deep_back_dated += 1;
        }
        self.entries += 1;
        Ok(())
    }

    /// Number of the entry's account; a new account gets the next one.
    fn number(&mut self, entry: &EntryView<'_>) -> Result<u32, Contradiction> {
        let asset = self
            .rules
            .assets
            .number(entry.asset)
            .ok_or_else(|| Contradiction::Asset { entry: entry_name(entry) })?;
        let hash = names::hash(entry.account, asset);
        if let Some(index) = self.base.names.find(hash, entry.account, asset) {
            return Ok(index);
        }
        let first = u32::try_from(self.base.names.len()).map_err(|_| Contradiction::TooManyAccounts)?;
        let within = match self.opened.find(hash, entry.account, asset) {
            Some(within) => Some(within),
            None => {
                let account = String::from_utf8_lossy(entry.account);
                check_account(&account)
                    .map_err(|why| Contradiction::Account { entry: entry_name(entry), why })?;
                self.opened.push(Name::new(&account, asset))
            }
        };
        within.and_then(|within| first.checked_add(within)).ok_or(Contradiction::TooManyAccounts)
    }

    fn place(&mut self, index: u32) -> usize {
        match self.place.entry(index) {
            Entry::Occupied(at) => *at.get(),
            Entry::Vacant(free) => {
                let account = self.base.accounts.get(index as usize).copied().unwrap_or(Account::EMPTY);
                self.touched.push(Touched { index, account, booked: false, revising: false });
                *free.insert(self.touched.len() - 1)
            }
        }
    }

    /// The window's own copy of an account.
    #[allow(clippy::indexing_slicing)] // `place` answers with a place that exists
    pub(crate) fn touch(&mut self, index: u32) -> &mut Touched {
        let at = self.place(index);
        &mut self.touched[at]
    }

    /// An account as it is at this point of the window.
    pub(crate) fn account(&self, index: u32) -> Option<&Account> {
        let touched = self.place.get(&index).and_then(|at| self.touched.get(*at));
        touched.map(|touched| &touched.account).or_else(|| self.base.accounts.get(index as usize))
    }

    /// Number of accounts at this point of the window.
    pub(crate) const fn accounts_len(&self) -> usize {
        self.base.names.len() + self.opened.len()
    }

    /// Name of an account by number.
    pub(crate) fn name(&self, index: u32) -> Option<&Name> {
        let (index, own) = (index as usize, self.base.names.len());
        if index < own { self.base.names.get(index) } else { self.opened.get(index - own) }
    }

    /// Account and asset of a number, for errors.
    pub(crate) fn name_text(&self, index: u32) -> (String, String) {
        self.name(index).map_or_else(Default::default, |name| {
            let (asset, _) = self.rules.assets.get(name.asset()).unwrap_or_default();
            (name.account().to_owned(), asset.to_owned())
        })
    }

    /// Takes a record of `days.aligned`. One at or below the last taken changes nothing.
    pub(crate) fn report(&mut self, record: &Record) -> Result<(), Contradiction> {
        if record.offset < self.head.reports_next {
            return Ok(());
        }
        let report = DayAligned::parse(&record.value)?;
        self.check_book(report.book.as_bytes())?;
        let (slot, slots) = (report.slot, self.rules.config.partitions.internal);
        if slot >= slots {
            return Err(Contradiction::ReportSlot { slot, slots });
        }
        self.closed.extend(self.head.reports.take(report.day, slot, slots));
        self.head.reports_next = record.offset + 1;
        self.head.reports_hash = record_hash(record);
        Ok(())
    }

    /// What `apply` will do.
    pub(crate) fn into_change(self) -> Change {
        Change { head: self.head, names: self.opened, accounts: self.touched }
    }
}

/// Compares sequence, before and after with the account; gives the signed amount.
fn check_figures(account: &Account, entry: &EntryView<'_>) -> Result<i128, Contradiction> {
    let expected = account.seq + 1;
    if entry.seq != expected {
        return Err(Contradiction::Sequence { entry: entry_name(entry), expected });
    }
    let amount = entry
        .signed()
        .ok_or_else(|| Contradiction::Amount { entry: entry_name(entry), amount: entry.amount() })?;
    let own = account.dual.current;
    if entry.before() != own {
        return Err(Contradiction::Before { entry: entry_name(entry), stated: entry.before(), own });
    }
    let own =
        own.checked_add(amount).ok_or_else(|| Contradiction::OutOfRange { entry: entry_name(entry) })?;
    if entry.after() != own {
        return Err(Contradiction::After { entry: entry_name(entry), stated: entry.after(), own });
    }
    Ok(amount)
}

fn entry_name(entry: &EntryView<'_>) -> EntryName {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..128).unwrap_or(bytes)).into_owned();
    EntryName { account: text(entry.account), asset: text(entry.asset), seq: entry.seq }
}
