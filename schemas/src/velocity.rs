//! How much, and how often, accounts of a class may be moved within a time (`velocity` in `accounts.yaml`).
//!
//! ```yaml
//! velocity: [{ side: debit, window_s: 86400, amount_max: "5000.00", count_max: 20, assets: [CNY] }]
//! ```
//!
//! A window is a time that goes on with business time. It is kept as [`BUCKETS`] parts of equal length and the one that has
//! begun: what was moved counts for at least `window_s` seconds, and at most for an eighth longer.

use crate::balance_json::NormalSide;
use crate::money;
use crate::wire::Side;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Parts of a window that are over and still count.
pub const BUCKETS: i64 = 8;
/// Shortest and longest window, seconds: up to 366 days.
pub const WINDOW_S: RangeInclusive<u32> = 1..=31_622_400;
/// Most rules of a class.
pub const RULES_MAX: usize = 4;

/// One rule of an account class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VelocityRule {
    /// Side of the entries that count.
    pub side: Side,
    /// Length of the window, seconds.
    pub window_s: u32,
    /// Most entries in a window; the largest number = any number.
    pub count_max: u64,
    /// Most minor units in a window, for the assets that it is about; the largest = any amount.
    amount_max: BTreeMap<String, i128>,
}

impl VelocityRule {
    /// Most minor units of an asset in a window; `None` where the rule is not about the asset.
    #[must_use]
    pub fn amount_max(&self, asset: &str) -> Option<i128> {
        self.amount_max.get(asset).copied()
    }

    /// The part of its window that a moment lies in, counted from 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn part_of(&self, at_us: i64) -> i64 {
        part_of(self.window_s, at_us)
    }
}

/// The part of a window of so many seconds that a moment lies in, counted from 1970-01-01T00:00:00Z.
#[must_use]
pub const fn part_of(window_s: u32, at_us: i64) -> i64 {
    match part_us(window_s) {
        0 => 0,
        part_us => at_us.div_euclid(part_us),
    }
}

/// The moment from which a part counts no more, microseconds since 1970-01-01T00:00:00Z.
#[must_use]
pub const fn over_us(window_s: u32, part: i64) -> i64 {
    part.saturating_add(BUCKETS + 1).saturating_mul(part_us(window_s))
}

const fn part_us(window_s: u32) -> i64 {
    window_s as i64 * (1_000_000 / BUCKETS)
}

const _: () = assert!(1_000_000 % BUCKETS == 0);

/// A rule as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VelocityEntry {
    side: NormalSide,
    window_s: u32,
    amount_max: Option<String>,
    count_max: Option<u64>,
    assets: Option<Vec<String>>,
}

/// The rules of a class, for the assets that its accounts may hold, with the exponent of each.
///
/// # Errors
/// What is wrong, for people.
pub(crate) fn rules<'a>(
    entries: &[VelocityEntry],
    assets: impl Iterator<Item = (&'a str, u8)> + Clone,
) -> Result<Vec<VelocityRule>, String> {
    if entries.len() > RULES_MAX {
        return Err(format!("velocity: {} rules, expected at most {RULES_MAX}", entries.len()));
    }
    let mut rules: Vec<VelocityRule> = Vec::with_capacity(entries.len());
    for entry in entries {
        let rule = rule(entry, assets.clone())?;
        let same = |other: &VelocityRule| (other.side, other.window_s) == (rule.side, rule.window_s);
        let both =
            |other: &VelocityRule| rule.amount_max.keys().any(|code| other.amount_max.contains_key(code));
        if rules.iter().any(|other| same(other) && both(other)) {
            return Err(format!("velocity: window_s {} is there twice for the same side", rule.window_s));
        }
        rules.push(rule);
    }
    Ok(rules)
}

fn rule<'a>(
    entry: &VelocityEntry,
    assets: impl Iterator<Item = (&'a str, u8)>,
) -> Result<VelocityRule, String> {
    let VelocityEntry { side, window_s, amount_max: amount, count_max, assets: only } = entry;
    if !WINDOW_S.contains(window_s) {
        let (least, most) = (WINDOW_S.start(), WINDOW_S.end());
        return Err(format!("velocity: window_s: {window_s}, expected {least} to {most}"));
    }
    if amount.is_none() && count_max.is_none() {
        return Err("velocity: expected amount_max or count_max".into());
    }
    if only.as_ref().is_some_and(Vec::is_empty) {
        return Err("velocity: assets: expected one at least, or no `assets` for all".into());
    }
    let only = only.as_deref().unwrap_or_default();
    let mut amount_max = BTreeMap::new();
    for (code, exponent) in assets.filter(|(code, _)| only.is_empty() || only.iter().any(|one| one == code)) {
        let figure = amount.as_ref().map(|text| {
            let figure = money::parse(text, exponent);
            figure.map_err(|e| format!("velocity: amount_max {text:?} in {code}: {e}"))
        });
        let figure = figure.transpose()?.unwrap_or(i128::MAX);
        if figure < 0 {
            return Err("velocity: amount_max is below zero".into());
        }
        amount_max.insert(code.to_owned(), figure);
    }
    if let Some(code) = only.iter().find(|code| !amount_max.contains_key(*code)) {
        return Err(format!("velocity: assets: {code:?} is not an asset of these accounts"));
    }
    let count_max = count_max.unwrap_or(u64::MAX);
    Ok(VelocityRule { side: (*side).into(), window_s: *window_s, count_max, amount_max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::Chart;

    fn chart(velocity: &str) -> Result<Chart, String> {
        let text = format!(
            "version: 1\nassets:\n  CNY: {{ exponent: 2 }}\n  JPY: {{ exponent: 0 }}\n  USD: {{ exponent: 2 }}\naccounts:\n  \
             - {{ pattern: \"users:*:card\", normal: credit, assets: [CNY, JPY], velocity: {velocity} }}\n"
        );
        Chart::parse(&text).map_err(|e| e.message)
    }

    #[test]
    fn rules_are_read_for_each_asset() {
        let day = r#"{ side: debit, window_s: 86400, amount_max: "5000", count_max: 20 }"#;
        let hour = r#"{ side: credit, window_s: 3600, amount_max: "0.50", assets: [CNY] }"#;
        let chart = chart(&format!("[{day}, {hour}]")).unwrap();
        let rules = &chart.resolve("users:1:card").unwrap().velocity;
        let found: Vec<_> = (rules.iter())
            .map(|r| (r.side, r.window_s, r.count_max, ["CNY", "JPY", "USD"].map(|code| r.amount_max(code))))
            .collect();
        let expected = [
            (Side::Debit, 86_400, 20, [Some(500_000), Some(5_000), None]),
            (Side::Credit, 3_600, u64::MAX, [Some(50), None, None]),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_part_counts_for_a_window_at_least_and_an_eighth_more_at_most() {
        let window_us = 80_000_000;
        for at_us in [0, 1, 9_999_999, 10_000_000, 123_456_789] {
            let part = part_of(80, at_us);
            let over_us = over_us(80, part);
            assert!(over_us - at_us > window_us && over_us - at_us <= window_us + window_us / 8, "{at_us}");
            assert!(part_of(80, over_us - 1) - BUCKETS <= part && part_of(80, over_us) - BUCKETS > part);
        }
        assert_eq!((part_of(0, 5), part_of(8, -1)), (0, -1));
    }

    #[test]
    fn a_wrong_rule_says_what_was_expected() {
        let rule = |more: &str| format!("[{{ side: debit, window_s: 80, {more} }}]");
        let rows = [
            (rule("assets: [CNY]"), "expected amount_max or count_max"),
            (rule("count_max: 1, assets: []"), "expected one at least"),
            (rule("count_max: 1, assets: [USD]"), "\"USD\" is not an asset of these accounts"),
            (rule(r#"amount_max: "-1""#), "amount_max is below zero"),
            (rule(r#"amount_max: "1.5""#), "amount_max \"1.5\" in JPY"),
            (rule("count_max: -1"), "whole number"),
            ("[{ side: debit, window_s: 0, count_max: 1 }]".into(), "window_s: 0, expected 1 to 31622400"),
            ("[{ side: left, window_s: 80, count_max: 1 }]".into(), "debit"),
            (
                "[{ side: debit, window_s: 80, count_max: 1 }, { side: debit, window_s: 80, count_max: 2 }]"
                    .into(),
                "window_s 80 is there twice",
            ),
            (format!("[{}]", ["{ side: debit, window_s: 80, count_max: 1 }"; 5].join(", ")), "5 rules"),
        ];
        for (velocity, expected) in rows {
            let error = chart(&velocity).unwrap_err();
            assert!(error.contains(expected) && error.contains("line 7"), "{velocity}: {error}");
        }
    }
}
