//! What is mirrored: balances with their versions, out of either form of the topic `balances`.

use crate::runtime::Setup;
use prost::Message;
use schemas::balance_json::{Balance, FORMAT};
use schemas::dates::format_instant;
use schemas::wire::BalancesBody;
use serde::Deserialize;
use settlement::decide::Rules;
use settlement::query::Complete;
use std::borrow::Cow;
use stream::log::{Log, Record};

/// Which of two balances of an account is newer: of the higher generation, then of the later entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Generation of the books.
    pub generation: u32,
    /// Sequence of the account's last entry.
    pub seq: u64,
}

/// A balance as it is mirrored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Account.
    pub account: String,
    /// Asset.
    pub asset: String,
    /// Version.
    pub version: Version,
    /// A [`Balance`] as JSON.
    pub json: String,
}

impl Entry {
    /// A balance.
    #[must_use]
    pub fn of(balance: &Balance<'_>) -> Self {
        Self {
            account: balance.account.clone().into_owned(),
            asset: balance.asset.clone().into_owned(),
            version: Version { generation: balance.generation, seq: balance.seq },
            // A struct of texts and numbers: writing it cannot fail.
            json: serde_json::to_string(balance).unwrap_or_default(),
        }
    }
}

/// How far the balances of a slot are complete.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reached {
    /// Generation of the books.
    pub generation: u32,
    /// Journal batch.
    pub journal_batch: u64,
    /// Its business time, RFC 3339, where the record says it.
    pub business_time: Option<String>,
}

impl From<Complete> for Reached {
    fn from(complete: Complete) -> Self {
        let Complete { generation, journal_batch, business_time_us, .. } = complete;
        Self { generation, journal_batch, business_time: business_time_us.map(format_instant) }
    }
}

/// What a record of `balances` says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Said {
    /// Balances.
    pub entries: Vec<Entry>,
    /// How far the slot is complete, once everything is read that was written together with this record.
    pub reached: Option<Reached>,
}

/// In which form a log has the topic.
#[derive(Debug, Clone)]
pub enum Form {
    /// JSON of one account, or of how far a slot is complete: on a log with key compaction.
    Records,
    /// Everything that a window changed as one [`BalancesBody`]: on the embedded log.
    Batches(Box<Rules>),
}

/// What of a JSON record decides.
#[derive(Deserialize)]
struct Line<'a> {
    format: u32,
    #[serde(borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    account: Option<Cow<'a, str>>,
    #[serde(borrow)]
    asset: Option<Cow<'a, str>>,
    seq: Option<u64>,
    generation: u32,
    journal_batch: u64,
    business_time: Option<String>,
}

impl Form {
    /// The form that it has on a log.
    ///
    /// # Errors
    /// A wrong configuration.
    pub fn of(log: &dyn Log, setup: &Setup) -> anyhow::Result<Self> {
        Ok(match log.features().compaction {
            true => Self::Records,
            false => Self::Batches(Box::new(setup.settlement()?.rules().clone())),
        })
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Why it cannot be understood.
    pub fn read(&self, record: &Record) -> Result<Said, String> {
        match self {
            Self::Records => read_json(record),
            Self::Batches(rules) => read_batch(rules, record),
        }
    }
}

fn format_is_known(format: u32) -> Result<(), String> {
    if format == FORMAT { Ok(()) } else { Err(format!("format {format}, expected {FORMAT}")) }
}

fn read_json(record: &Record) -> Result<Said, String> {
    let json = std::str::from_utf8(&record.value).map_err(|why| why.to_string())?;
    let line: Line<'_> = serde_json::from_str(json).map_err(|why| why.to_string())?;
    format_is_known(line.format)?;
    match line {
        Line { kind: Some(kind), generation, journal_batch, business_time, .. }
            if kind == "complete_until" =>
        {
            let reached = Reached { generation, journal_batch, business_time };
            Ok(Said { entries: Vec::new(), reached: Some(reached) })
        }
        Line {
            kind: None, account: Some(account), asset: Some(asset), seq: Some(seq), generation, ..
        } => {
            let (account, asset, json) = (account.into_owned(), asset.into_owned(), json.to_owned());
            let entry = Entry { account, asset, version: Version { generation, seq }, json };
            Ok(Said { entries: vec![entry], reached: None })
        }
        _ => Err("neither a balance nor how far they are complete".to_owned()),
    }
}

fn read_batch(rules: &Rules, record: &Record) -> Result<Said, String> {
    let body = BalancesBody::decode(record.value.clone()).map_err(|why| why.to_string())?;
    format_is_known(body.format)?;
    let shown = |balance| {
        let shown = rules.balance_of(&body, balance);
        shown.as_ref().map(Entry::of).ok_or_else(|| format!("asset {} is not in the chart", balance.asset))
    };
    let entries = body.balance.iter().map(shown).collect::<Result<_, _>>()?;
    let (generation, journal_batch) = (body.generation, body.journal_batch);
    Ok(Said { entries, reached: Some(Reached { generation, journal_batch, business_time: None }) })
}
