//! Whether books may be gone on with under another basis: something may be added, nothing else may change.
//!
//! Pure. Of records in order each counts that keeps what the last one before it that counted says ([`in_force`]). So of
//! two processes that start together with different settings, the one whose record lies first has opened the books; the
//! other's counts for nothing, to every reader alike.

use schemas::basis::{AccountBasis, Basis};
use schemas::chart::overlap;
use thiserror::Error;

/// What may not change about existing books.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BasisError {
    /// A setting has another value.
    #[error(
        "{setting}: these books were opened with {held}, now it is {now}. {effect}. Set it back to {held}, or make new \
         books with {now}"
    )]
    Changed {
        /// Name of the setting.
        setting: String,
        /// Its value in the books.
        held: String,
        /// Its value in the configuration.
        now: String,
        /// What would come of it.
        effect: &'static str,
    },
    /// An asset or a pattern is not there any more.
    #[error("{what}: these books were opened with it, now it is not there. {effect}. Put it back: {entry}")]
    Removed {
        /// The asset or the pattern.
        what: String,
        /// As it must stand in the chart again.
        entry: String,
        /// What would come of it.
        effect: &'static str,
    },
    /// A pattern comes before one that the books were opened with, and takes accounts from it.
    #[error(
        "pattern {pattern:?} ({now}) comes before pattern {from:?}, with which these books were opened ({held}), and \
         takes accounts from it. They would be kept in another way than they were. Let it come after, or be ({held}) too"
    )]
    Taken {
        /// The pattern that comes first.
        pattern: String,
        /// How it keeps accounts.
        now: String,
        /// The pattern that it takes accounts from.
        from: String,
        /// How that one keeps them.
        held: String,
    },
}

impl BasisError {
    /// Whether it is about the chart of accounts, not about the book.
    #[must_use]
    pub fn is_of_chart(&self) -> bool {
        !matches!(self, Self::Changed { setting, .. } if setting.starts_with("book."))
    }
}

/// Whether everything that `held` says still holds in `now`, which may say more.
///
/// # Errors
/// The first thing that does not: book, assets, patterns, their order.
pub fn keeps(held: &Basis, now: &Basis) -> Result<(), BasisError> {
    keeps_book(held, now)?;
    keeps_assets(held, now)?;
    keeps_patterns(held, now)?;
    takes_no_accounts(held, now)
}

/// The basis that records give, in their order on the log.
#[must_use]
pub fn in_force(records: impl IntoIterator<Item = Basis>) -> Option<Basis> {
    records.into_iter().reduce(|held, next| if keeps(&held, &next).is_ok() { next } else { held })
}

fn same(
    setting: impl Into<String>,
    held: impl ToString,
    now: impl ToString,
    effect: &'static str,
) -> Result<(), BasisError> {
    let (held, now) = (held.to_string(), now.to_string());
    if held == now { Ok(()) } else { Err(BasisError::Changed { setting: setting.into(), held, now, effect }) }
}

fn keeps_book(held: &Basis, now: &Basis) -> Result<(), BasisError> {
    const DAYS: &str = "Its business days would begin at other times";
    same("book.name", &held.book, &now.book, "Days and balances are kept under that name")?;
    same("book.time_zone", &held.time_zone, &now.time_zone, DAYS)?;
    same("book.cut_off", &held.cut_off, &now.cut_off, DAYS)
}

fn keeps_assets(held: &Basis, now: &Basis) -> Result<(), BasisError> {
    for of in &held.assets {
        let what = format!("assets.{}", of.asset);
        let Some(found) = now.assets.iter().find(|found| found.asset == of.asset) else {
            let entry = format!("{}: {{ exponent: {} }}", of.asset, of.exponent);
            return Err(BasisError::Removed { what, entry, effect: "Amounts in it could not be read" });
        };
        let effect = "Every amount in the books would be read as another one";
        same(format!("{what}.exponent"), of.exponent, found.exponent, effect)?;
    }
    Ok(())
}

fn keeps_patterns(held: &Basis, now: &Basis) -> Result<(), BasisError> {
    for of in &held.accounts {
        let what = format!("pattern {:?}", of.pattern);
        let Some(found) = now.accounts.iter().find(|found| found.pattern == of.pattern) else {
            let entry = format!("{{ pattern: {:?}, {} }}", of.pattern, kept(of));
            let effect = "Its accounts would be unknown, or those of another pattern";
            return Err(BasisError::Removed { what, entry, effect });
        };
        let turned = "Balances of its accounts would change their sign and limits their side";
        same(format!("{what}: normal"), of.normal.name(), found.normal.name(), turned)?;
        let elsewhere = "Balances of its accounts would stay where they are and be looked for elsewhere";
        same(format!("{what}: shard_segments"), of.shard_segments, found.shard_segments, elsewhere)?;
    }
    Ok(())
}

/// An account goes to the first pattern that matches it. It is kept as it was if that is its old one, or one that keeps
/// it in the same way, or one that came before the old one already: then the account was never the old one's.
fn takes_no_accounts(held: &Basis, now: &Basis) -> Result<(), BasisError> {
    let place = |pattern: &str| held.accounts.iter().position(|of| of.pattern == pattern);
    for (at, first) in now.accounts.iter().enumerate() {
        for of in now.accounts.iter().skip(at + 1) {
            let Some(old) = place(&of.pattern) else { continue };
            let alike = (first.normal, first.shard_segments) == (of.normal, of.shard_segments);
            let before = place(&first.pattern).is_some_and(|place| place < old);
            if !alike && !before && overlap(&first.pattern, &of.pattern) {
                return Err(BasisError::Taken {
                    pattern: first.pattern.clone(),
                    now: kept(first),
                    from: of.pattern.clone(),
                    held: kept(of),
                });
            }
        }
    }
    Ok(())
}

/// How accounts of a pattern are kept, as the chart says it.
fn kept(of: &AccountBasis) -> String {
    format!("normal: {}, shard_segments: {}", of.normal.name(), of.shard_segments)
}

#[cfg(test)]
mod tests;
