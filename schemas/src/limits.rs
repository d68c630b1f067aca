//! Limits of an account class: how little and how much its accounts may hold of an asset (`limit` in `accounts.yaml`).
//!
//! ```yaml
//! limit: { overdraft: "0", max_balance: "20000.00", by_asset: { JPY: { max_balance: "400000" } } }
//! ```
//!
//! All figures are on the account's normal side, in major units of the asset. `overdraft` is how far the balance may
//! pass zero against that side, `min_balance` how far above zero it must stay; the two are one limit, so only one of them
//! is given. `max_balance` is how much it may be at most. What stands under `by_asset` counts for that asset in place of
//! what is said for all.

use crate::money;
use serde::Deserialize;
use std::collections::BTreeMap;

/// How little and how much an account may hold of an asset, minor units on its normal side. The ends of the range are no
/// limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Least balance: below zero where an overdraft is allowed.
    pub least: i128,
    /// Largest balance.
    pub most: i128,
}

impl Bounds {
    /// No limit at all.
    pub const NONE: Self = Self { least: i128::MIN, most: i128::MAX };

    /// Whether there is a limit below.
    #[must_use]
    pub const fn has_least(&self) -> bool {
        self.least != i128::MIN
    }

    /// Whether there is a limit above.
    #[must_use]
    pub const fn has_most(&self) -> bool {
        self.most != i128::MAX
    }
}

impl Default for Bounds {
    fn default() -> Self {
        Self::NONE
    }
}

/// Limits of an account class, by asset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    by_asset: BTreeMap<String, Bounds>,
}

/// `limit` as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LimitEntry {
    overdraft: Option<String>,
    min_balance: Option<String>,
    max_balance: Option<String>,
    #[serde(default)]
    by_asset: BTreeMap<String, AssetLimitEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssetLimitEntry {
    overdraft: Option<String>,
    min_balance: Option<String>,
    max_balance: Option<String>,
}

impl Limits {
    /// Limits in an asset.
    #[must_use]
    pub fn of_asset(&self, asset: &str) -> Bounds {
        self.by_asset.get(asset).copied().unwrap_or_default()
    }

    /// Limits as written, for the assets that the accounts may hold, with the exponent of each.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub(crate) fn of<'a>(
        entry: &LimitEntry,
        assets: impl Iterator<Item = (&'a str, u8)>,
    ) -> Result<Self, String> {
        if [&entry.overdraft, &entry.min_balance, &entry.max_balance].iter().all(|figure| figure.is_none())
            && entry.by_asset.is_empty()
        {
            return Err("limit: expected overdraft, min_balance, max_balance or by_asset".into());
        }
        one_of(entry.overdraft.is_some(), entry.min_balance.is_some())?;
        let mut by_asset = BTreeMap::new();
        for (code, exponent) in assets {
            by_asset.insert(code.to_owned(), bounds(entry, code, exponent)?);
        }
        match entry.by_asset.keys().find(|code| !by_asset.contains_key(*code)) {
            Some(code) => Err(format!("limit: by_asset: {code:?} is not an asset of these accounts")),
            None => Ok(Self { by_asset }),
        }
    }
}

fn one_of(overdraft: bool, min_balance: bool) -> Result<(), String> {
    if overdraft && min_balance {
        return Err("`overdraft` and `min_balance` exclude each other".into());
    }
    Ok(())
}

fn bounds(entry: &LimitEntry, code: &str, exponent: u8) -> Result<Bounds, String> {
    let own = entry.by_asset.get(code);
    let (mut overdraft, mut min_balance) = (entry.overdraft.as_ref(), entry.min_balance.as_ref());
    if let Some(own) = own {
        one_of(own.overdraft.is_some(), own.min_balance.is_some())?;
        if own.overdraft.is_some() || own.min_balance.is_some() {
            (overdraft, min_balance) = (own.overdraft.as_ref(), own.min_balance.as_ref());
        }
    }
    let max_balance = own.and_then(|own| own.max_balance.as_ref()).or(entry.max_balance.as_ref());
    let figure = |name: &str, text: Option<&String>| {
        let Some(text) = text else { return Ok(None) };
        let minor = money::parse(text, exponent).map_err(|e| format!("{name} {text:?} in {code}: {e}"))?;
        if minor < 0 {
            return Err(format!("{name} is below zero"));
        }
        Ok(Some(minor))
    };
    // A figure is not below zero, so its negative is exact.
    let overdraft = figure("overdraft", overdraft)?.map(|minor| -minor);
    let least = overdraft.or(figure("min_balance", min_balance)?).unwrap_or(Bounds::NONE.least);
    let most = figure("max_balance", max_balance)?.unwrap_or(Bounds::NONE.most);
    if least > most {
        return Err(format!("min_balance is above max_balance in {code}"));
    }
    Ok(Bounds { least, most })
}

#[cfg(test)]
mod tests {
    use crate::chart::Chart;

    fn chart(limit: &str) -> Result<Chart, String> {
        let text = format!(
            "version: 1\nassets:\n  CNY: {{ exponent: 2 }}\n  JPY: {{ exponent: 0 }}\n  USD: {{ exponent: 2 }}\naccounts:\n  \
             - {{ pattern: \"users:*:wallet\", normal: credit, assets: [CNY, JPY], limit: {limit} }}\n"
        );
        Chart::parse(&text).map_err(|e| e.message)
    }

    #[test]
    fn limits_are_read_for_each_asset() {
        let (none, no) = (i128::MIN, i128::MAX);
        let rows = [
            (r#"{ overdraft: "0" }"#, [(0, no), (0, no)]),
            (r#"{ overdraft: 7 }"#, [(-700, no), (-7, no)]),
            (r#"{ min_balance: "3" }"#, [(300, no), (3, no)]),
            (r#"{ max_balance: "20000" }"#, [(none, 2_000_000), (none, 20_000)]),
            (
                r#"{ overdraft: "1", max_balance: "9.50", by_asset: { JPY: { max_balance: "8", min_balance: "2" } } }"#,
                [(-100, 950), (2, 8)],
            ),
            (r#"{ by_asset: { CNY: { max_balance: 0.50 } } }"#, [(none, 50), (none, no)]),
            (r#"{ min_balance: "5", max_balance: "5" }"#, [(500, 500), (5, 5)]),
        ];
        for (limit, expected) in rows {
            let chart = chart(limit).unwrap();
            let limits = &chart.resolve("users:1:wallet").unwrap().limits;
            let found = ["CNY", "JPY"].map(|asset| {
                let bounds = limits.of_asset(asset);
                assert_eq!(
                    (bounds.has_least(), bounds.has_most()),
                    (bounds.least != none, bounds.most != no)
                );
                (bounds.least, bounds.most)
            });
            assert_eq!(found, expected, "{limit}");
        }
    }

    #[test]
    fn a_wrong_limit_says_what_was_expected() {
        let rows = [
            ("{}", "expected overdraft, min_balance, max_balance or by_asset"),
            (r#"{ overdraft: "0", min_balance: "1" }"#, "exclude each other"),
            (
                r#"{ by_asset: { CNY: { overdraft: "0", min_balance: "1" } } }"#,
                "`overdraft` and `min_balance` exclude",
            ),
            (r#"{ overdraft: "-1" }"#, "overdraft is below zero"),
            (r#"{ max_balance: "-1" }"#, "max_balance is below zero"),
            (r#"{ max_balance: "1.5" }"#, "max_balance \"1.5\" in JPY"),
            (r#"{ min_balance: "5", max_balance: "4" }"#, "min_balance is above max_balance in CNY"),
            (r#"{ by_asset: { USD: { overdraft: "1" } } }"#, "\"USD\" is not an asset of these accounts"),
            (r#"{ by_asset: { EUR: { overdraft: "1" } } }"#, "\"EUR\" is not an asset of these accounts"),
            (r#"{ most: "4" }"#, "most"),
            (r#"{ overdraft: "0" }, unlimited: true"#, "`limit` and `unlimited` exclude each other"),
        ];
        for (limit, expected) in rows {
            let error = chart(limit).unwrap_err();
            assert!(error.contains(expected) && error.contains("line 7"), "{limit}: {error}");
        }
    }
}
