//! How figures of the journal are shown: in major units, and balances on the side on which the account normally has them.

use super::books::Books;
use crate::cli::output::Cell;
use schemas::balance_json::NormalSide;
use schemas::money;
use std::collections::{BTreeMap, BTreeSet};

/// How balances of accounts are shown: decimals of every asset, normal side of every account asked for. The side is
/// the one that `balances` is published with, so that every command shows the same sign.
pub(super) struct Shown {
    sides: BTreeMap<String, NormalSide>,
    exponents: BTreeMap<String, u8>,
}

impl Shown {
    /// # Errors
    /// The chart cannot be read.
    pub(super) fn of(books: &Books, accounts: BTreeSet<String>) -> anyhow::Result<Self> {
        let settlement = books.setup.settlement()?;
        let side = |account: String| (account.clone(), settlement.rules().normal_side(&account));
        let assets = books.setup.read_chart()?.assets;
        Ok(Self {
            sides: accounts.into_iter().map(side).collect(),
            exponents: assets.iter().map(|(code, asset)| (code.clone(), asset.exponent)).collect(),
        })
    }

    /// An amount in major units.
    pub(super) fn amount(&self, minor: i128, asset: &str) -> Cell {
        Cell::amount(money::format(minor, self.exponents.get(asset).copied().unwrap_or(0)))
    }

    /// A balance on the account's normal side.
    pub(super) fn balance(&self, account: &str, debit_minus_credit: i128, asset: &str) -> Cell {
        match self.sides.get(account) {
            Some(NormalSide::Credit) => self.amount(debit_minus_credit.saturating_neg(), asset),
            _ => self.amount(debit_minus_credit, asset),
        }
    }
}
