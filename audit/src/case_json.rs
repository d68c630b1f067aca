//! Records of `matches` and `breaks` as the auditor reads them: names and shapes of `schemas/json`, stated a second time.

use crate::amount::date_days;
use crate::figure::Figure;
use crate::merkle::sha256;
use serde::Deserialize;
use std::borrow::Cow;

/// What a case is, in the order in which differences name it.
pub const KINDS: [&str; 8] =
    ["matched", "currency", "amount", "fee", "status", "ours_only", "theirs_only", "duplicate"];

#[derive(Deserialize)]
struct CaseJson<'a> {
    format: u32,
    #[serde(borrow)]
    case_id: Cow<'a, str>,
    revision: u64,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    state: Cow<'a, str>,
    #[serde(borrow)]
    provider: Cow<'a, str>,
    #[serde(borrow)]
    account: Cow<'a, str>,
    #[serde(borrow)]
    order: Cow<'a, str>,
    #[serde(borrow)]
    order_kind: Cow<'a, str>,
    #[serde(borrow)]
    refund: Cow<'a, str>,
    occurrence: u32,
    #[serde(borrow)]
    day: Cow<'a, str>,
    #[serde(borrow)]
    ours: Option<OursJson<'a>>,
    #[serde(borrow)]
    theirs: Option<TheirsJson<'a>>,
}

#[derive(Deserialize)]
struct OursJson<'a> {
    #[serde(borrow)]
    event_source: Cow<'a, str>,
    #[serde(borrow)]
    event_id: Cow<'a, str>,
    leg: u32,
    #[serde(borrow)]
    entry_account: Cow<'a, str>,
    entry_seq: u64,
    journal_partition: u32,
    journal_batch: u64,
    #[serde(borrow)]
    accounting_date: Cow<'a, str>,
    #[serde(borrow)]
    asset: Cow<'a, str>,
    #[serde(borrow)]
    amount: Cow<'a, str>,
    #[serde(borrow)]
    amount_minor: Cow<'a, str>,
    #[serde(borrow)]
    fee_minor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct TheirsJson<'a> {
    #[serde(borrow)]
    provider_order: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    asset: Cow<'a, str>,
    #[serde(borrow)]
    amount: Cow<'a, str>,
    #[serde(borrow)]
    fee: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status: Cow<'a, str>,
}

/// A published case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its match key, see [`key_mark`].
    pub key: u128,
    pub occurrence: u32,
    pub revision: u64,
    /// Place in [`KINDS`].
    pub kind: usize,
    /// In force, not resolved or retracted.
    pub open: bool,
    /// Bill day, days since 1970-01-01.
    pub day: i32,
    /// Earliest day that it names.
    pub earliest: i32,
    /// Our entry, see [`OurMark`].
    pub ours: Option<u64>,
    /// The provider's line, see [`TheirMark`].
    pub theirs: Option<u64>,
    /// Asset of our entry, and with how many decimals it is shown.
    pub shown: Option<(String, u8)>,
}

/// SHA-256 of texts, none of which can run into the next.
fn hash(parts: &[&str]) -> [u8; 32] {
    let text: String = parts.iter().map(|part| format!("{}:{part}", part.len())).collect();
    sha256(text.as_bytes())
}

/// Mark of a match key: provider, account, order, kind, refund.
#[must_use]
pub fn key_mark(key: [&str; 5]) -> u128 {
    hash(&key).first_chunk::<16>().map_or(0, |first| u128::from_be_bytes(*first))
}

fn short(parts: &[&str]) -> u64 {
    hash(parts).first_chunk::<8>().map_or(0, |first| u64::from_be_bytes(*first))
}

/// What makes one of our entries this one: its event, its place, its content.
#[derive(Debug, Clone, Copy)]
pub struct OurMark<'a> {
    /// Source and id.
    pub event: (&'a str, &'a str),
    pub leg: u32,
    /// Account and number there.
    pub entry: (&'a str, u64),
    /// Partition and batch.
    pub journal: (u32, u64),
    /// Accounting date, `YYYY-MM-DD`.
    pub date: &'a str,
    pub asset: &'a str,
    /// Minor units.
    pub gross: i128,
    pub fee: Option<i128>,
    /// Empty = not known.
    pub status: &'a str,
}

impl OurMark<'_> {
    /// As a number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let Self { event, leg, entry, journal, date, asset, gross, fee, status } = self;
        let numbers = format!("{leg} {} {} {}", entry.1, journal.0, journal.1);
        let fee = fee.map_or_else(String::new, |fee| fee.to_string());
        short(&[event.0, event.1, entry.0, &numbers, date, asset, &gross.to_string(), &fee, status])
    }
}

/// What makes a line this one: its content and the day of its bill. A second file may hold the same line.
#[derive(Debug, Clone, Copy)]
pub struct TheirMark<'a> {
    /// The provider's number and time.
    pub name: (&'a str, &'a str),
    pub asset: &'a str,
    /// None is zero.
    pub gross: Option<Figure>,
    pub fee: Option<Figure>,
    pub status: &'a str,
    /// Days since 1970-01-01.
    pub day: i32,
}

impl TheirMark<'_> {
    /// As a number.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let Self { name, asset, gross, fee, status, day } = self;
        let (gross, fee) = (gross.unwrap_or_default().text(), fee.map(Figure::text).unwrap_or_default());
        short(&[name.0, name.1, asset, &gross, &fee, status, &day.to_string()])
    }
}

impl OursJson<'_> {
    /// Its mark, its asset with the decimals that it is shown with, and its accounting date.
    fn read(&self) -> Result<(u64, (String, u8), i32), &'static str> {
        let number = |text: &str| text.parse::<i128>().map_err(|_| "a minor amount is no number");
        let gross = number(&self.amount_minor)?;
        let (shown, decimals) = Figure::parse(&self.amount).ok_or("ours.amount is no figure")?;
        if Figure::new(gross, decimals) != Some(shown) {
            return Err("ours.amount is not ours.amount_minor");
        }
        let date = date_days(&self.accounting_date).ok_or("accounting_date is not YYYY-MM-DD")?;
        let mark = OurMark {
            event: (&self.event_source, &self.event_id),
            leg: self.leg,
            entry: (&self.entry_account, self.entry_seq),
            journal: (self.journal_partition, self.journal_batch),
            date: &self.accounting_date,
            asset: &self.asset,
            gross,
            fee: self.fee_minor.as_deref().map(number).transpose()?,
            status: self.status.as_deref().unwrap_or_default(),
        };
        Ok((mark.hash(), (self.asset.clone().into_owned(), decimals), date))
    }
}

impl TheirsJson<'_> {
    fn mark(&self, day: i32) -> Result<u64, &'static str> {
        let figure = |text: &str| Figure::parse(text).ok_or("a figure of theirs is none").map(|read| read.0);
        let mark = TheirMark {
            name: (&self.provider_order, &self.time),
            asset: &self.asset,
            gross: Some(figure(&self.amount)?),
            fee: self.fee.as_deref().map(figure).transpose()?,
            status: &self.status,
            day,
        };
        Ok(mark.hash())
    }
}

/// Reads a record.
///
/// # Errors
/// What of it is no case.
pub fn read(value: &[u8]) -> Result<Published, String> {
    let case: CaseJson<'_> = serde_json::from_slice(value).map_err(|e| e.to_string())?;
    if case.format != 1 {
        return Err(format!("case of format {}", case.format));
    }
    let key = [&case.provider, &case.account, &case.order, &case.order_kind, &case.refund].map(AsRef::as_ref);
    let texts: String = key.iter().map(|part: &&str| format!("{}:{part}", part.len())).collect();
    let id = sha256(format!("{texts}#{}", case.occurrence).as_bytes());
    if *case.case_id != *id.iter().map(|byte| format!("{byte:02x}")).collect::<String>() {
        return Err("case_id is not the hash of its key and occurrence".to_owned());
    }
    let kind = KINDS.iter().position(|kind| *kind == case.kind).ok_or("kind is not known")?;
    let day = date_days(&case.day).ok_or("day is not YYYY-MM-DD")?;
    let ours = case.ours.map(|ours| ours.read()).transpose()?;
    let theirs = case.theirs.map(|theirs| theirs.mark(day)).transpose()?;
    let (ours, shown, date) =
        ours.map_or((None, None, None), |(mark, shown, date)| (Some(mark), Some(shown), Some(date)));
    let (occurrence, revision, open) = (case.occurrence, case.revision, case.state == "open");
    let earliest = date.map_or(day, |date| date.min(day));
    Ok(Published { key: key_mark(key), occurrence, revision, kind, open, day, earliest, ours, theirs, shown })
}
