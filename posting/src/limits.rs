//! Limits that events have given single accounts, in place of the chart's. Judged where the account lives.
//!
//! Whether an account is asked at all is told by the chart alone, as every partition knows it: so an event can give an
//! account only limits of a kind that the chart gives it too, or any where the account is guarded. A change moves nothing;
//! a balance beyond a new limit may only come back towards it. Bounded by the accounts that an event has given limits.
//! Order relied on: none.

use crate::accounts::{Range, Terms};
use crate::changed::Changed;
use crate::decide::Booked;
use crate::overlay::{Overlay, Refusal};
use crate::views::{CommandView, LimitTo, LimitsChange};
use prost::Message;
use rustc_hash::FxHashMap;
use schemas::amount_wire::value;
use schemas::limits::Bounds;
use schemas::money;
use schemas::reason::Reason;
use schemas::wire::{AccountLimits, Side};
use std::collections::{BTreeMap, BTreeSet};

/// Limits of one account in one asset, debits minus credits, minor units; `None` = the chart's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnLimits {
    /// Credits may take the balance down to here; the end of the range = no limit.
    pub lowest: Option<i128>,
    /// Debits may take it up to here; the end of the range = no limit.
    pub highest: Option<i128>,
}

/// Account, asset, and the limits that it has from now on.
pub type LimitsOf = (Box<str>, Box<str>, OwnLimits);

impl OwnLimits {
    /// As in the journal.
    #[must_use]
    pub fn from_wire(limits: &AccountLimits) -> Self {
        let figure = |amount: Option<_>| amount.map(|amount| value(Some(amount)));
        Self { lowest: figure(limits.lowest), highest: figure(limits.highest) }
    }

    /// What counts for an account: these, where it may have a limit on the side, else what the chart says.
    #[must_use]
    pub fn over(self, terms: &Terms) -> Range {
        let Range { lowest, highest } = terms.range;
        let own = |limit: Option<i128>, side| limit.filter(|_| terms.may_be_limited(side));
        Range {
            lowest: own(self.lowest, Side::Credit).unwrap_or(lowest),
            highest: own(self.highest, Side::Debit).unwrap_or(highest),
        }
    }

    /// The limit that entries on a side meet.
    const fn of_side(&mut self, side: Side) -> &mut Option<i128> {
        match side {
            Side::Credit => &mut self.lowest,
            _ => &mut self.highest,
        }
    }
}

/// Limits, and the event that made them so.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limited {
    /// Limits.
    pub own: OwnLimits,
    /// Since when.
    pub since: Changed,
}

impl Limited {
    /// As in a checkpoint.
    #[must_use]
    pub fn to_wire(&self, account: &str, asset: &str) -> AccountLimits {
        let (lowest, highest) = (self.own.lowest.map(Into::into), self.own.highest.map(Into::into));
        let (event, date) = (Some(self.since.event.clone()), self.since.date);
        AccountLimits { account: account.to_owned(), asset: asset.to_owned(), lowest, highest, event, date }
    }
}

/// By account, then asset. Looked up by hash for every leg of an account that may refuse it, once there is one; whatever is
/// told of all of them is sorted.
#[derive(Debug)]
pub struct ByAccount<T>(FxHashMap<Box<str>, BTreeMap<Box<str>, T>>);

impl<T> Default for ByAccount<T> {
    fn default() -> Self {
        Self(FxHashMap::default())
    }
}

impl<T> ByAccount<T> {
    fn get(&self, account: &str, asset: &str) -> Option<&T> {
        self.0.get(account).and_then(|assets| assets.get(asset))
    }

    fn set(&mut self, account: &str, asset: &str, limits: T) {
        self.0.entry(account.into()).or_default().insert(asset.into(), limits);
    }
}

/// Accounts to which an event has given limits.
#[derive(Debug, Default)]
pub struct LimitTable {
    /// None that are all the chart's.
    own: ByAccount<Limited>,
    dirty: BTreeSet<(Box<str>, Box<str>)>,
}

impl LimitTable {
    /// Whether the chart's limits count everywhere.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.own.0.is_empty()
    }

    /// Limits of an account in an asset.
    #[must_use]
    pub fn of(&self, account: &str, asset: &str) -> OwnLimits {
        self.own.get(account, asset).map(|limited| limited.own).unwrap_or_default()
    }

    /// Every account and asset to which an event has given limits, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<(&str, &str, &Limited)> {
        let mut all: Vec<_> = self.own.0.iter().collect();
        all.sort_unstable_by_key(|(account, _)| *account);
        all.into_iter()
            .flat_map(|(account, assets)| {
                assets.iter().map(move |(asset, limits)| (&**account, &**asset, limits))
            })
            .collect()
    }

    pub(crate) fn set(&mut self, account: Box<str>, asset: Box<str>, limits: Limited) {
        self.keep(&account, &asset, limits);
        self.dirty.insert((account, asset));
    }

    fn keep(&mut self, account: &str, asset: &str, limits: Limited) {
        if limits.own != OwnLimits::default() {
            return self.own.set(account, asset, limits);
        }
        if let Some(assets) = self.own.0.get_mut(account) {
            assets.remove(asset);
            if assets.is_empty() {
                self.own.0.remove(account);
            }
        }
    }

    pub(crate) fn load(&mut self, stored: &[u8]) -> Option<()> {
        let limits = AccountLimits::decode(stored).ok()?;
        let own = OwnLimits::from_wire(&limits);
        // Without its event it is a checkpoint of before that was kept: the journal has it.
        let since = Changed { event: limits.event?, date: limits.date };
        self.keep(&limits.account, &limits.asset, Limited { own, since });
        Some(())
    }

    /// Accounts and assets changed since the last call, with their limits; `None` = the chart's.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(&str, &str, Option<&Limited>)) {
        for (account, asset) in std::mem::take(&mut self.dirty) {
            each(&account, &asset, self.own.get(&account, &asset));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 128
    }
}

impl Overlay<'_> {
    /// Limits that events have given an account in an asset.
    fn own_limits(&self, account: &str, asset: &str) -> OwnLimits {
        self.limits.get(account, asset).copied().unwrap_or_else(|| self.base.limits.of(account, asset))
    }

    /// Terms of an account, with the limits that events have given it.
    #[must_use]
    pub fn terms_now(&self, account: &str, asset: &str, terms: Terms) -> Terms {
        if self.base.limits.is_empty() && self.limits.0.is_empty() {
            return terms;
        }
        Terms { range: self.own_limits(account, asset).over(&terms), ..terms }
    }
}

/// Changes the limits of an account.
///
/// # Errors
/// [`Reason::UnknownAsset`], [`Reason::UnknownAccount`], [`Reason::AccountClosed`], [`Reason::LimitNotInChart`],
/// [`Reason::LimitsContradict`]; nothing is changed.
pub fn change<'c>(
    o: &mut Overlay<'_>,
    command: &CommandView<'c>,
    change: &LimitsChange<'_>,
) -> Result<Booked<'c>, Refusal> {
    let (account, asset) = (change.account, change.asset);
    let Some(exponent) = o.config.chart.assets.get(asset).map(|asset| asset.exponent) else {
        return Err(Refusal::new(Reason::UnknownAsset, asset));
    };
    let Some((_, terms)) = o.config.place(account, asset) else {
        return Err(Refusal::new(Reason::UnknownAccount, format!("{account} {asset}")));
    };
    if o.status(account).closed {
        return Err(Refusal::new(Reason::AccountClosed, account));
    }
    let mut own = o.own_limits(account, asset);
    let spends = if terms.normal == Side::Credit { Side::Debit } else { Side::Credit };
    for (to, side, none) in
        [(change.least, spends, Bounds::NONE.least), (change.most, terms.normal, Bounds::NONE.most)]
    {
        let figure = match to {
            LimitTo::Stays => continue,
            LimitTo::Chart => None,
            LimitTo::Unlimited => Some(none),
            LimitTo::Figure(figure) => Some(figure),
        };
        if !terms.may_be_limited(side) {
            let which = if side == spends { "overdraft or minimum" } else { "maximum" };
            let what = format!("the chart gives {account} no {which} in {asset}");
            return Err(Refusal::new(Reason::LimitNotInChart, what));
        }
        *own.of_side(side) = figure.map(|figure| terms.signed(figure));
    }
    let range = own.over(&terms);
    if range.lowest > range.highest {
        let shown = |figure| money::format(terms.signed(figure), exponent);
        let (one, other) = (shown(range.lowest), shown(range.highest));
        let what = format!("{account} could hold nothing between {one} and {other} {asset}");
        return Err(Refusal::new(Reason::LimitsContradict, what));
    }
    o.limits.set(account, asset, own);
    let limits = (account.into(), asset.into(), own);
    Ok(Booked::nothing(o, command).with_limits(limits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounts::Counted;
    use schemas::wire::EventKey;

    #[test]
    fn an_own_limit_counts_where_the_account_is_asked() {
        let chart = Range { lowest: i128::MIN, highest: 0 };
        let terms = Terms {
            normal: Side::Credit,
            range: chart,
            opened_first: false,
            guarded: false,
            counted: Counted::default(),
            vouched: false,
            reversals_forced: false,
            forced: false,
        };
        let own = OwnLimits { lowest: Some(-50), highest: Some(70) };
        assert_eq!(own.over(&terms), Range { highest: 70, ..chart });
        assert_eq!(own.over(&Terms { guarded: true, ..terms }), Range { lowest: -50, highest: 70 });
        assert_eq!(own.over(&terms.unjudged()), chart);
        assert_eq!(OwnLimits::default().over(&terms), chart);
    }

    #[test]
    fn limits_are_kept_until_they_are_the_chart_s_again() {
        let mut table = LimitTable::default();
        let own = OwnLimits { lowest: None, highest: Some(i128::MAX) };
        let event = EventKey { source: "/shop".into(), id: "l-1".into() };
        let by = |own| Limited { own, since: Changed { event: event.clone(), date: 20_000 } };
        let limited = by(own);
        table.set("b".into(), "CNY".into(), limited.clone());
        table.set("a".into(), "USD".into(), by(OwnLimits { lowest: Some(0), ..own }));
        table.set("a".into(), "CNY".into(), limited.clone());
        table.set("a".into(), "USD".into(), by(OwnLimits::default()));
        assert_eq!(table.sorted(), [("a", "CNY", &limited), ("b", "CNY", &limited)]);
        assert!(table.dirty_bytes() > 3 * 64);
        let mut changed = Vec::new();
        table.take_dirty(|account, asset, limits| {
            changed.push((account.to_owned(), asset.to_owned(), limits.cloned()));
        });
        let expected: [(&str, &str, Option<&Limited>); 3] =
            [("a", "CNY", Some(&limited)), ("a", "USD", None), ("b", "CNY", Some(&limited))];
        assert_eq!(
            changed,
            expected
                .map(|(account, asset, limits)| { (account.to_owned(), asset.to_owned(), limits.cloned()) })
        );
        let mut again = LimitTable::default();
        let before = AccountLimits { event: None, ..limited.to_wire("a", "CNY") };
        assert_eq!(again.load(&before.encode_to_vec()), None, "a checkpoint that lacks the event");
        for (account, asset, limits) in table.sorted() {
            again.load(&limits.to_wire(account, asset).encode_to_vec()).unwrap();
        }
        assert_eq!(again.sorted(), table.sorted());
        for (account, asset) in [("a", "CNY"), ("b", "CNY")] {
            table.set(account.into(), asset.into(), by(OwnLimits::default()));
        }
        assert!(table.is_empty());
    }
}
