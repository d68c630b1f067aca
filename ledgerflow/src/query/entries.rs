//! Entries of an account, the newest first: so many of each balance, or page by page.

use super::books::Books;
use super::shown::Shown;
use super::{Answer, Ending, journal};
use crate::cli::output::Table;
use schemas::balance_json::NormalSide;
use schemas::dates::Day;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::str::FromStr;

/// Where the entries behind a page begin: the last one that was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    slot: u32,
    asset: String,
    batch: u64,
    seq: u64,
}

impl FromStr for Cursor {
    type Err = ();

    /// `SLOT#BATCH/SEQ/ASSET`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '/');
        let (place, seq, asset) = (parts.next().ok_or(())?, parts.next().ok_or(())?, parts.next().ok_or(())?);
        let (slot, batch) = place.split_once('#').ok_or(())?;
        let number = |text: &str| text.parse().map_err(drop);
        Ok(Self {
            slot: slot.parse().map_err(drop)?,
            asset: asset.to_owned(),
            batch: number(batch)?,
            seq: number(seq)?,
        })
    }
}

/// Slot, asset and batch of the newest entry of each of an account's balances, by slot and asset.
fn heads(books: &Books, account: &str, asset: Option<&str>) -> anyhow::Result<Vec<(u32, String, u64)>> {
    let of = account.to_owned();
    let assets: Vec<String> = books.setup.read_chart()?.assets.keys().cloned().collect();
    let assets: Vec<String> = assets.into_iter().filter(|of| asset.is_none_or(|asset| asset == of)).collect();
    let heads: Vec<Vec<(u32, String, u64)>> = books.posting(move |worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let heads = slots.flat_map(|slot| {
            let figures = assets.iter().map(|asset| (asset, slot.figures_of(&of, asset)));
            let known = figures.filter_map(|(asset, f)| f.map(|f| (slot.slot, asset.clone(), f.last_batch)));
            known.collect::<Vec<_>>()
        });
        heads.collect()
    })?;
    let mut heads = heads.concat();
    heads.sort();
    Ok(heads)
}

const ENTRY_COLUMNS: [&str; 11] =
    ["account", "asset", "seq", "side", "amount", "balance", "date", "event", "source", "type", "batch"];

fn entry_row(table: &mut Table, shown: &Shown, slot: u32, booked: journal::Booked) {
    let entry = &booked.entry;
    table.row([
        entry.account.clone().into(),
        entry.asset.clone().into(),
        entry.seq.into(),
        NormalSide::from(entry.side()).name().into(),
        shown.amount(entry.amount(), &entry.asset),
        shown.balance(&entry.account, entry.after(), &entry.asset),
        Day(booked.accounting_date).to_string().into(),
        booked.event.1.into(),
        booked.event.0.into(),
        booked.kind.into(),
        format!("{slot}#{}", booked.batch).into(),
    ]);
}

/// `entries`: the newest `limit` of each balance.
pub(super) fn entries(
    books: &Books,
    account: &str,
    asset: Option<&str>,
    limit: usize,
) -> anyhow::Result<Answer> {
    let mut table = Table::new("entries", &ENTRY_COLUMNS);
    let shown = Shown::of(books, BTreeSet::from([account.to_owned()]))?;
    for (slot, asset, last_batch) in heads(books, account, asset)? {
        let from = journal::From { batch: last_batch, below: u64::MAX };
        let found = journal::last_entries(books.log.as_ref(), slot, account, &asset, from, limit)?;
        found.into_iter().for_each(|booked| entry_row(&mut table, &shown, slot, booked));
    }
    if table.rows.is_empty() {
        return no_entry(books, account, asset);
    }
    Ok(Answer::tables(vec![table]))
}

/// An asset that is not known is told with those that are.
fn no_entry(books: &Books, account: &str, asset: Option<&str>) -> anyhow::Result<Answer> {
    let known = books.setup.read_chart()?.assets;
    let told = match asset {
        Some(asset) if !known.contains_key(asset) => {
            let known: Vec<&str> = known.keys().map(String::as_str).collect();
            format!("asset {asset:?} is not known; known are {}", known.join(", "))
        }
        Some(asset) => format!("no entry of {account} in {asset}"),
        None => format!("no entry of {account}"),
    };
    Ok(Answer::says(Ending::NotFound, told))
}

/// A page of entries: `limit` in all, by slot and asset, the newest first.
pub(super) fn entries_page(
    books: &Books,
    account: &str,
    asset: Option<&str>,
    after: Option<&Cursor>,
    limit: usize,
) -> anyhow::Result<Answer> {
    let mut table = Table::new("entries", &ENTRY_COLUMNS);
    let shown = Shown::of(books, BTreeSet::from([account.to_owned()]))?;
    for (slot, asset, last_batch) in heads(books, account, asset)? {
        let mut from = journal::From { batch: last_batch, below: u64::MAX };
        match after.map(|after| ((slot, asset.as_str()).cmp(&(after.slot, &after.asset)), after)) {
            Some((Ordering::Less, _)) => continue,
            Some((Ordering::Equal, after)) => {
                from = journal::From { batch: after.batch.min(last_batch), below: after.seq };
            }
            Some((Ordering::Greater, _)) | None => {}
        }
        let left = limit.saturating_sub(table.rows.len());
        let found = journal::last_entries(books.log.as_ref(), slot, account, &asset, from, left)?;
        found.into_iter().for_each(|booked| entry_row(&mut table, &shown, slot, booked));
    }
    if table.rows.is_empty() && after.is_none() {
        return no_entry(books, account, asset);
    }
    Ok(Answer::tables(vec![table]))
}
