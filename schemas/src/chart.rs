//! The chart of accounts: assets, account patterns, normal sides, limits, shard keys (`accounts.yaml`).
//!
//! ```yaml
//! version: 1
//! assets:
//!   CNY: { exponent: 2 }
//! accounts:
//!   - { pattern: "users:*:wallet", normal: credit, limit: { overdraft: "0" } }
//!   - { pattern: "merchants:*:payable", normal: credit }
//!   - { pattern: "bank:**", normal: debit, unlimited: true }
//! ```
//!
//! `*` matches one segment, `**` the rest (one segment or more). The first pattern that matches decides; each stands once. An account
//! without `limit` or `velocity` never refuses; [`crate::limits`] and [`crate::velocity`] say what these are.
//! `opened_first: true` says that an event must open the account before it is used, `guarded: true` that it is asked about
//! every leg, wherever the event is decided. `reversals: force` says that neither limit nor velocity is asked about what
//! gives an event back.
//! `shard_segments` (default 2) says how many leading segments are the shard key.

use crate::balance_json::NormalSide;
use crate::ids;
use crate::limits::{LimitEntry, Limits};
use crate::money;
use crate::velocity::{self, VelocityEntry, VelocityRule};
use crate::wire::Side;
use crate::yaml::{YamlError, is_empty};
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use thiserror::Error;

/// Shard key segments unless a pattern says otherwise: the owner part, such as `users:42`.
pub const SHARD_SEGMENTS_DEFAULT: usize = 2;

/// An asset and its number of decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asset {
    /// Decimals of the minor unit: 2 for CNY, 0 for JPY.
    pub exponent: u8,
}

/// What a pattern says of the accounts that match it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountClass {
    /// The pattern, as written.
    pub pattern: String,
    /// Side on which the account normally has its balance.
    pub normal: Side,
    /// How little and how much its accounts may hold.
    pub limits: Limits,
    /// How much, and how often, they may be moved.
    pub velocity: Vec<VelocityRule>,
    /// Leading segments that make the shard key.
    pub shard_segments: usize,
    /// Assets it may hold; empty = all.
    pub assets: Vec<String>,
    /// An event must open the account before it is used; else its first entry opens it.
    pub opened_first: bool,
    /// It is asked about every leg before anything is booked, as an account with a limit is about some.
    pub guarded: bool,
    /// Its limit is not asked about what gives an event back.
    pub reversals_forced: bool,
    segments: Vec<Segment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Segment {
    Exact(String),
    One,
    Rest,
}

/// The chart, read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Version stated in the file.
    pub version: u32,
    /// Assets by code.
    pub assets: BTreeMap<String, Asset>,
    /// Patterns in order.
    pub classes: Vec<AccountClass>,
}

/// Why a chart is refused; the text names file line and expectation.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct ChartError {
    /// Line in the text, counted from 1; 0 = unknown.
    pub line: u64,
    /// What is wrong and what was expected, with the line.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: u32,
    assets: BTreeMap<String, Spanned<AssetEntry>>,
    accounts: Spanned<Vec<Spanned<ClassEntry>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AssetEntry {
    exponent: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassEntry {
    pattern: String,
    normal: NormalSide,
    limit: Option<LimitEntry>,
    #[serde(default)]
    unlimited: bool,
    shard_segments: Option<usize>,
    assets: Option<Vec<String>>,
    #[serde(default)]
    opened_first: bool,
    #[serde(default)]
    guarded: bool,
    #[serde(default)]
    velocity: Vec<VelocityEntry>,
    #[serde(default)]
    reversals: Reversals,
}

/// What becomes of a reversal that would take an account past its limit.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Reversals {
    /// It is refused.
    #[default]
    Refuse,
    /// It is booked.
    Force,
}

impl Chart {
    /// Most rules about velocity that an account has.
    #[must_use]
    pub fn velocity_rules_max(&self) -> usize {
        self.classes.iter().map(|class| class.velocity.len()).max().unwrap_or(0)
    }

    /// Reads `accounts.yaml`.
    ///
    /// # Errors
    /// [`ChartError`] names the line and what was expected there.
    pub fn parse(yaml: &str) -> Result<Self, ChartError> {
        if is_empty(yaml) {
            return Err(at(1, "the file is empty, expected version, assets and accounts".into()));
        }
        let file: File = serde_saphyr::from_str(yaml).map_err(|e| {
            let YamlError { line, why, .. } = e.into();
            at(line.max(1), why)
        })?;
        let mut assets = BTreeMap::new();
        for (code, entry) in file.assets {
            let asset = asset(&code, entry.value.exponent).map_err(|why| at(entry.referenced.line(), why))?;
            assets.insert(code, asset);
        }
        let mut classes = Vec::with_capacity(file.accounts.value.len());
        let mut lines = BTreeMap::new();
        for spanned in file.accounts.value {
            let line = spanned.referenced.line();
            if let Some(first) = lines.insert(spanned.value.pattern.clone(), line) {
                let why = "the first one that matches decides, this one never would";
                let pattern = &spanned.value.pattern;
                return Err(at(line, format!("pattern {pattern:?} stands in line {first} too: {why}")));
            }
            classes.push(class(spanned.value, &assets, line)?);
        }
        if classes.is_empty() {
            let line = file.accounts.referenced.line();
            return Err(at(line, "accounts: expected at least one pattern".into()));
        }
        Ok(Self { version: file.version, assets, classes })
    }

    /// The class of an account: the first pattern that matches.
    #[must_use]
    pub fn resolve(&self, account: &str) -> Option<&AccountClass> {
        self.resolve_numbered(account).map(|(_, class)| class)
    }

    /// The class of an account and its place among [`classes`](Self::classes).
    #[must_use]
    pub fn resolve_numbered(&self, account: &str) -> Option<(usize, &AccountClass)> {
        self.classes.iter().enumerate().find(|(_, class)| class.matches(account))
    }

    /// Shard key of an account: its leading segments, as its class says.
    #[must_use]
    pub fn shard_key<'a>(&self, account: &'a str) -> &'a str {
        let segments = self.resolve(account).map_or(SHARD_SEGMENTS_DEFAULT, |class| class.shard_segments);
        ids::prefix(account, segments)
    }
}

fn at(line: u64, message: String) -> ChartError {
    let message = if line == 0 { message } else { format!("line {line}: {message}") };
    ChartError { line, message }
}

fn asset(code: &str, exponent: u32) -> Result<Asset, String> {
    if !ids::is_asset(code) {
        return Err(format!("asset code {code:?}: expected 1 to 16 of A-Z 0-9 _ . -, a letter first"));
    }
    let known = u8::try_from(exponent).ok().filter(|exponent| *exponent <= money::EXPONENT_MAX);
    let wrong = || format!("asset {code}: exponent {exponent}, expected 0 to {}", money::EXPONENT_MAX);
    known.map(|exponent| Asset { exponent }).ok_or_else(wrong)
}

fn class(entry: ClassEntry, assets: &BTreeMap<String, Asset>, line: u64) -> Result<AccountClass, ChartError> {
    let segments = segments(&entry.pattern).map_err(|m| at(line, m))?;
    let in_pattern = |why: String| at(line, format!("pattern {:?}: {why}", entry.pattern));
    let only = named_assets(entry.assets, assets).map_err(in_pattern)?;
    let held = assets.iter().map(|(code, asset)| (code.as_str(), asset.exponent));
    let held = held.filter(|(code, _)| only.is_empty() || only.iter().any(|a| a == code));
    let limited = entry.limit.is_some();
    let limits = match (entry.limit, entry.unlimited) {
        (Some(_), true) => Err("`limit` and `unlimited` exclude each other".to_owned()),
        (None, _) => Ok(Limits::default()),
        (Some(limit), false) => Limits::of(&limit, held.clone()),
    };
    let (limits, velocity) = (limits.map_err(in_pattern)?, velocity::rules(&entry.velocity, held));
    let velocity = velocity.map_err(in_pattern)?;
    let reversals_forced = entry.reversals == Reversals::Force;
    if reversals_forced && !limited && velocity.is_empty() {
        return Err(in_pattern(
            "`reversals: force` is for accounts with a limit or velocity, the others never refuse".into(),
        ));
    }
    let shard_segments = entry.shard_segments.unwrap_or(SHARD_SEGMENTS_DEFAULT);
    if shard_segments == 0 || shard_segments > ids::ACCOUNT_SEGMENTS_MAX {
        return Err(at(line, format!("pattern {:?}: shard_segments: expected 1 to 8", entry.pattern)));
    }
    Ok(AccountClass {
        pattern: entry.pattern,
        normal: entry.normal.into(),
        limits,
        velocity,
        shard_segments,
        assets: only,
        opened_first: entry.opened_first,
        guarded: entry.guarded,
        reversals_forced,
        segments,
    })
}

/// Assets that accounts may hold; empty = all.
fn named_assets(named: Option<Vec<String>>, assets: &BTreeMap<String, Asset>) -> Result<Vec<String>, String> {
    let Some(named) = named else { return Ok(Vec::new()) };
    if named.is_empty() {
        return Err("assets: expected one at least, or no `assets` for all".to_owned());
    }
    match named.iter().find(|asset| !assets.contains_key(*asset)) {
        Some(asset) => Err(format!("unknown asset {asset:?}")),
        None => Ok(named),
    }
}

fn segments(pattern: &str) -> Result<Vec<Segment>, String> {
    let mut out = Vec::new();
    let parts: Vec<&str> = pattern.split(':').collect();
    for (index, part) in parts.iter().enumerate() {
        out.push(match *part {
            "*" => Segment::One,
            "**" if index + 1 == parts.len() && index > 0 => Segment::Rest,
            exact if ids::check_account(exact).is_ok() => Segment::Exact(exact.to_owned()),
            _ => return Err(format!("pattern {pattern:?}: expected segments, `*`, or `**` at the end")),
        });
    }
    if matches!(out.first(), Some(Segment::Exact(first)) if first == "clearing" || first == "suspense") {
        return Err(format!("pattern {pattern:?}: `clearing` and `suspense` are the ledger's own"));
    }
    Ok(out)
}

/// Whether there may be an account that both patterns match.
#[must_use]
pub fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split(':'), other.split(':'));
    loop {
        match (one.next(), other.next()) {
            (None, None) => return true,
            (None, _) | (_, None) => return false,
            (Some("**"), _) | (_, Some("**")) => return true,
            (Some(this), Some(that)) if this != that && this != "*" && that != "*" => return false,
            _ => {}
        }
    }
}

impl AccountClass {
    fn matches(&self, account: &str) -> bool {
        // What is left of the name; `None` after its last segment.
        let mut left = Some(account.as_bytes());
        for segment in &self.segments {
            let Some(bytes) = left else { return false };
            left = match segment {
                Segment::Rest => return true,
                Segment::Exact(want) => match bytes.strip_prefix(want.as_bytes()) {
                    Some([]) => None,
                    Some([b':', after @ ..]) => Some(after),
                    _ => return false,
                },
                Segment::One => {
                    let end = bytes.iter().position(|byte| *byte == b':');
                    end.and_then(|end| bytes.get(end + 1..))
                }
            };
        }
        left.is_none()
    }

    /// Whether accounts of this class may hold `asset`.
    #[must_use]
    pub fn holds(&self, asset: &str) -> bool {
        self.assets.is_empty() || self.assets.iter().any(|a| a == asset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: &str = r#"
version: 1
assets:
  CNY: { exponent: 2 }
  JPY: { exponent: 0 }
accounts:
  - { pattern: "users:*:wallet", normal: credit, limit: { overdraft: "0" } }
  - { pattern: "users:*:credit", normal: credit, limit: { overdraft: "100" } }
  - { pattern: "merchants:*:**", normal: credit, assets: [CNY] }
  - { pattern: "bank:**", normal: debit, unlimited: true, shard_segments: 3 }
"#;

    #[test]
    fn the_first_pattern_decides() {
        let chart = Chart::parse(CHART).unwrap();
        let pattern = |account: &str| chart.resolve(account).map(|c| c.pattern.as_str());
        assert_eq!(pattern("users:42:wallet"), Some("users:*:wallet"));
        assert_eq!(pattern("users:42:wallet:x"), None);
        assert_eq!(pattern("users:42"), None);
        assert_eq!(pattern("merchants:7:payable:cny"), Some("merchants:*:**"));
        assert_eq!(pattern("merchants:7"), None);
        assert_eq!(pattern("bank"), None);
        let credit = &chart.resolve("users:42:credit").unwrap().limits;
        assert_eq!((credit.of_asset("CNY").least, credit.of_asset("JPY").least), (-10_000, -100));
        assert_eq!(chart.shard_key("users:42:wallet"), "users:42");
        assert_eq!(chart.shard_key("bank:icbc:main:x"), "bank:icbc:main");
        assert!(!chart.resolve("merchants:7:payable").unwrap().holds("JPY"));
    }

    /// Every text of one to `length` of these segments.
    fn texts(of: &[&str], length: usize) -> Vec<String> {
        let mut all: Vec<String> = of.iter().map(|&segment| segment.to_owned()).collect();
        let mut longest = all.clone();
        for _ in 1..length {
            longest = longest
                .iter()
                .flat_map(|text| of.iter().map(move |segment| format!("{text}:{segment}")))
                .collect();
            all.extend(longest.iter().cloned());
        }
        all
    }

    #[test]
    fn patterns_overlap_where_an_account_matches_both() {
        let accounts = texts(&["a", "b", "c"], 4);
        let patterns: Vec<String> = texts(&["a", "b", "*"], 3);
        let open =
            patterns.iter().filter(|text| text.split(':').count() < 3).map(|text| format!("{text}:**"));
        let patterns: Vec<String> = open.chain(patterns.iter().cloned()).collect();
        let matches = |pattern: &str| -> std::collections::BTreeSet<&String> {
            let text =
                format!("version: 1\nassets: {{}}\naccounts: [{{pattern: \"{pattern}\", normal: debit}}]\n");
            let chart = Chart::parse(&text).unwrap();
            accounts.iter().filter(|account| chart.resolve(account).is_some()).collect()
        };
        let matched: Vec<_> = patterns.iter().map(|pattern| (pattern, matches(pattern))).collect();
        for (one, its) in &matched {
            for (other, others) in &matched {
                assert_eq!(overlap(one, other), !its.is_disjoint(others), "{one} and {other}");
            }
        }
    }

    #[test]
    fn a_wrong_chart_names_line_and_expectation() {
        let rows = [
            (CHART.replace("normal: debit", "normal: left"), "10", "debit"),
            (CHART.replace("\"100\"", "\"1.5\""), "8", "decimals"),
            (CHART.replace("bank:**", "ba nk:**"), "10", "expected segments"),
            (CHART.replace("bank:**", "clearing:**"), "10", "ledger's own"),
            (CHART.replace("bank:**", "users:*:wallet"), "10", "\"users:*:wallet\" stands in line 7 too"),
            (CHART.replace("[CNY]", "[EUR]"), "9", "unknown asset"),
            (CHART.replace("[CNY]", "[]"), "9", "expected one at least"),
            (CHART.replace("unlimited: true", "limitless: true"), "10", "limitless"),
            (CHART.replace("exponent: 2", "exponent: 99"), "4", "asset CNY: exponent 99, expected 0 to 24"),
            (CHART.replace("exponent: 2", "exponent: 999"), "4", "asset CNY: exponent 999, expected 0 to 24"),
            (CHART.replace("exponent: 2", "exponent: two"), "4", "expected a whole number"),
            (CHART.replace("  CNY:", "  1CNY:"), "4", "asset code"),
            (CHART.replace("version: 1", "version: one"), "2", "expected a whole number"),
            (
                format!("{}accounts: []\n", CHART.split_once("accounts:").unwrap().0),
                "6",
                "at least one pattern",
            ),
            (String::new(), "1", "the file is empty"),
            ("# to be written\n\n".to_owned(), "1", "the file is empty"),
            ("null".to_owned(), "1", "version"),
        ];
        for (yaml, line, expected) in rows {
            let error = Chart::parse(&yaml).unwrap_err();
            assert!(error.message.contains(&format!("line {line}")), "{error}");
            assert!(error.message.contains(expected), "{error}");
        }
    }
}
