//! What an account may be used for: opened, closed, frozen on a side. In all its assets, and judged where it lives.
//!
//! Bounded by the accounts that an event has opened, closed or frozen; all others have the usual status. Order relied on:
//! none.

use crate::accounts::Terms;
use crate::changed::Changed;
use crate::decide::Booked;
use crate::metadata;
use crate::overlay::{Overlay, Refusal};
use crate::views::{AccountChange, CommandView};
use prost::Message;
use schemas::money;
use schemas::reason::Reason;
use schemas::wire::{AccountStatus, Side, change_account::Action};
use std::collections::{BTreeMap, BTreeSet};

/// What an account may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Status {
    /// An event has opened it.
    pub opened: bool,
    /// Nothing is booked to it any more.
    pub closed: bool,
    /// No debits.
    pub debits_frozen: bool,
    /// No credits.
    pub credits_frozen: bool,
}

impl Status {
    /// As in the journal.
    #[must_use]
    pub const fn from_wire(status: &AccountStatus) -> Self {
        Self {
            opened: status.opened,
            closed: status.closed,
            debits_frozen: status.debits_frozen,
            credits_frozen: status.credits_frozen,
        }
    }

    /// Why an entry on `side` is refused.
    fn refusal(self, side: Side, terms: &Terms) -> Option<Reason> {
        let frozen = if side == Side::Credit { self.credits_frozen } else { self.debits_frozen };
        if self.closed {
            return Some(Reason::AccountClosed);
        }
        if terms.opened_first && !self.opened {
            return Some(Reason::AccountNotOpen);
        }
        frozen.then_some(Reason::AccountFrozen)
    }

    fn after(self, change: &AccountChange<'_>) -> Self {
        let (debits, credits) = match change.side() {
            Side::Debit => (true, false),
            Side::Credit => (false, true),
            Side::Unspecified => (true, true),
        };
        match change.action() {
            Action::Open => Self { opened: true, closed: false, ..self },
            Action::Close => Self { closed: true, ..self },
            Action::Freeze => Self {
                debits_frozen: self.debits_frozen || debits,
                credits_frozen: self.credits_frozen || credits,
                ..self
            },
            Action::Unfreeze => Self {
                debits_frozen: self.debits_frozen && !debits,
                credits_frozen: self.credits_frozen && !credits,
                ..self
            },
            Action::Describe | Action::Unspecified => self,
        }
    }
}

/// A status, and the event that made it so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stated {
    /// Status.
    pub status: Status,
    /// Since when.
    pub since: Changed,
}

impl Stated {
    /// As in a checkpoint.
    #[must_use]
    pub fn to_wire(&self, account: &str) -> AccountStatus {
        let Status { opened, closed, debits_frozen, credits_frozen } = self.status;
        let (account, event, date) = (account.to_owned(), Some(self.since.event.clone()), self.since.date);
        AccountStatus { account, opened, closed, debits_frozen, credits_frozen, event, date }
    }
}

/// Accounts whose status an event has changed.
#[derive(Debug, Default)]
pub struct StatusTable {
    by_account: BTreeMap<Box<str>, Stated>,
    dirty: BTreeSet<Box<str>>,
}

impl StatusTable {
    /// Whether every account has the usual status.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_account.is_empty()
    }

    /// Status of an account.
    #[must_use]
    pub fn of(&self, account: &str) -> Status {
        self.by_account.get(account).map(|stated| stated.status).unwrap_or_default()
    }

    /// Status of an account and the event that made it so; `None` = the usual one.
    #[must_use]
    pub fn stated(&self, account: &str) -> Option<&Stated> {
        self.by_account.get(account)
    }

    /// Every account whose status an event has changed, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &Stated)> {
        self.by_account.iter().map(|(account, stated)| (&**account, stated)).collect()
    }

    pub(crate) fn set(&mut self, account: Box<str>, status: Stated) {
        self.dirty.insert(account.clone());
        self.by_account.insert(account, status);
    }

    pub(crate) fn load(&mut self, value: &[u8]) -> Option<()> {
        let stored = AccountStatus::decode(value).ok()?;
        let status = Status::from_wire(&stored);
        // Without its event it is a checkpoint of before that was kept: the journal has it.
        let since = Changed { event: stored.event?, date: stored.date };
        self.by_account.insert(stored.account.as_str().into(), Stated { status, since });
        Some(())
    }

    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(&str, &Stated)) {
        for account in std::mem::take(&mut self.dirty) {
            if let Some(stated) = self.by_account.get(&account) {
                each(&account, stated);
            }
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 96
    }
}

impl Overlay<'_> {
    /// Status of an account.
    #[must_use]
    pub fn status(&self, account: &str) -> Status {
        self.statuses.get(account).copied().unwrap_or_else(|| self.base.statuses.of(account))
    }

    /// Judges whether an account may have an entry on that side.
    ///
    /// # Errors
    /// [`Reason::AccountClosed`], [`Reason::AccountNotOpen`], [`Reason::AccountFrozen`].
    pub fn check_status(&self, account: &str, side: Side, terms: &Terms) -> Result<(), Refusal> {
        if self.base.statuses.is_empty() && self.statuses.is_empty() && !terms.opened_first {
            return Ok(());
        }
        match self.status(account).refusal(side, terms) {
            None => Ok(()),
            Some(reason) => Err(Refusal::new(reason, account)),
        }
    }
}

/// Changes the status of an account, and what is said of it.
///
/// # Errors
/// [`Reason::AccountClosed`], [`Reason::AccountNotEmpty`], [`Reason::TooMuchMetadata`]; nothing is changed.
pub fn change<'c>(
    o: &mut Overlay<'_>,
    command: &CommandView<'c>,
    change: &AccountChange<'_>,
) -> Result<Booked<'c>, Refusal> {
    let before = o.status(change.account);
    if before.closed && change.action() != Action::Open {
        return Err(Refusal::new(Reason::AccountClosed, change.account));
    }
    if change.action() == Action::Close {
        check_empty(o, change.account)?;
    }
    let account: Box<str> = change.account.into();
    if let Some(said) = metadata::after(o, change)? {
        o.metadata.insert(account.clone(), said);
    }
    if change.action() == Action::Describe {
        return Ok(Booked::nothing(o, command));
    }
    let after = before.after(change);
    o.statuses.insert(account.clone(), after);
    Ok(Booked::nothing(o, command).with_status(account, after))
}

fn check_empty(o: &Overlay<'_>, account: &str) -> Result<(), Refusal> {
    for (code, asset) in &o.config.chart.assets {
        let held = |side| o.held(account, code, side);
        let (balance, held) =
            (o.balance_of(account, code), held(Side::Debit).saturating_add(held(Side::Credit)));
        if balance != 0 || held != 0 {
            let shown = |minor| money::format(minor, asset.exponent);
            let what =
                format!("{account} has {} {code}, {} on hold", shown(balance.saturating_abs()), shown(held));
            return Err(Refusal::new(Reason::AccountNotEmpty, what));
        }
    }
    Ok(())
}
