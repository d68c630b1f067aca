//! Published balances of one posting partition against its replay.
//!
//! `balances` comes in two forms: a `BalancesBody` per slot and window (exact at the journal batch it names), or one
//! JSON record per account (newest per key; compared when its `seq` is the replay's). Bounded by the accounts changed
//! between the replay and settlement; past `changes_max` the oldest windows are not compared and are counted so. Where
//! retention took the beginning, comparing starts after the first record that is left.

use crate::accounts::Accounts;
use crate::amount;
use crate::finding::{Check, Findings, Place};
use rustc_hash::FxHashMap;
use schemas::wire::{Balance, BalancesBody};
use std::collections::{BTreeMap, VecDeque};

/// An account as it stood after a journal batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stand {
    account: u32,
    seq: u64,
    balance: i128,
    last_date: i32,
    previous: i128,
}

/// A JSON balance, sign already turned to debits minus credits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonBalance {
    /// Last entry in it.
    pub seq: u64,
    /// Debits minus credits.
    pub balance: i128,
    /// Where it was read.
    pub place: String,
}

/// What settlement published of one slot.
#[derive(Debug, Default)]
pub struct Published {
    queue: VecDeque<(u64, Vec<Stand>)>,
    queued: usize,
    due: BTreeMap<u32, Stand>,
    batch: u64,
    dropped_to: u64,
    /// Records are gone before the next one: what they published is not known.
    gone: bool,
    json: FxHashMap<(String, String), JsonBalance>,
    early: VecDeque<(Place, BalancesBody)>,
}

impl Published {
    /// A journal batch was replayed; `changed` may name an account more than once.
    pub fn replayed(&mut self, batch: u64, mut changed: Vec<u32>, accounts: &Accounts, changes_max: usize) {
        changed.sort_unstable();
        changed.dedup();
        let stand = |number: u32| {
            accounts.get(number).map(|a| Stand {
                account: number,
                seq: a.seq,
                balance: a.balance,
                last_date: a.last_date(),
                previous: a.previous(),
            })
        };
        let stands: Vec<Stand> = changed.into_iter().filter_map(stand).collect();
        self.queued += stands.len();
        self.queue.push_back((batch, stands));
        while self.queued > changes_max {
            let Some((batch, stands)) = self.queue.pop_front() else { break };
            self.queued -= stands.len();
            self.dropped_to = batch;
        }
    }

    /// Retention took records away before the next one.
    pub const fn gone(&mut self) {
        self.gone = true;
    }

    /// Takes a `BalancesBody`; it waits when the replay has not reached the batch it names.
    pub fn take(
        &mut self,
        place: Place,
        body: BalancesBody,
        replayed: u64,
        accounts: &Accounts,
        found: &mut Findings,
    ) {
        if std::mem::take(&mut self.gone) {
            self.dropped_to = self.dropped_to.max(body.journal_batch);
        }
        self.early.push_back((place, body));
        self.release(replayed, accounts, found);
    }

    /// Compares what waited for the replay to reach batch `replayed`.
    pub fn release(&mut self, replayed: u64, accounts: &Accounts, found: &mut Findings) {
        while self.early.front().is_some_and(|(_, body)| body.journal_batch <= replayed) {
            let Some((place, body)) = self.early.pop_front() else { return };
            self.compare(place, &body, accounts, found);
        }
    }

    fn compare(&mut self, place: Place, body: &BalancesBody, accounts: &Accounts, found: &mut Findings) {
        if body.journal_batch < self.batch {
            let (is, was) = (body.journal_batch, self.batch);
            found.wrong(Check::BalanceValue, place, format_args!("journal batch {is} after {was}"));
            return;
        }
        if body.journal_batch > self.batch {
            self.missing(accounts, true, found);
            self.batch = body.journal_batch;
        }
        while self.queue.front().is_some_and(|(batch, _)| *batch <= self.batch) {
            for stand in self.queue.pop_front().map_or(Vec::new(), |(_, stands)| stands) {
                self.queued -= 1;
                self.due.insert(stand.account, stand);
            }
        }
        if self.batch <= self.dropped_to {
            found.uncovered(Check::BalanceValue, body.balance.len() as u64);
            self.due.clear();
            return;
        }
        for balance in &body.balance {
            self.compare_one(place, balance, accounts, found);
        }
    }

    fn compare_one(&mut self, place: Place, balance: &Balance, accounts: &Accounts, found: &mut Findings) {
        let named = || format!("{place} {} {}", balance.account, balance.asset);
        let Some(number) = accounts.find(&balance.account, &balance.asset) else {
            found.wrong(Check::BalanceValue, named(), "no entry was ever booked on it");
            return;
        };
        let stated = Stand {
            account: number,
            seq: balance.seq,
            balance: amount::of(balance.balance.as_ref()),
            last_date: balance.last_date,
            previous: amount::of(balance.previous.as_ref()),
        };
        let unchanged = || {
            let account = accounts.get(number).filter(|a| a.batch <= self.batch)?;
            let (seq, balance) = (account.seq, account.balance);
            let (last_date, previous) = (account.last_date(), account.previous());
            Some(Stand { account: number, seq, balance, last_date, previous })
        };
        match self.due.remove(&number).or_else(unchanged) {
            Some(due) => found.that(Check::BalanceValue, due == stated, || {
                let show = |s: &Stand| {
                    format!(
                        "{} seq {} last {} previous {}",
                        s.balance,
                        s.seq,
                        amount::date_text(s.last_date),
                        s.previous
                    )
                };
                (named(), format!("published {}, replay {}", show(&stated), show(&due)))
            }),
            None => found.uncovered(Check::BalanceValue, 1),
        }
    }

    fn missing(&mut self, accounts: &Accounts, ended: bool, found: &mut Findings) {
        found.holds(Check::BalanceComplete, 1);
        for (number, stand) in std::mem::take(&mut self.due) {
            let name = accounts.get(number).map_or("?", |a| &a.name);
            let what = format!("seq {} is not published by journal batch {}", stand.seq, self.batch);
            found.overdue(ended, Check::BalanceComplete, name, what);
        }
    }

    /// Takes a JSON balance; the newest per account counts.
    pub fn take_json(&mut self, account: &str, asset: &str, balance: JsonBalance) {
        self.json.insert((account.to_owned(), asset.to_owned()), balance);
    }

    /// What is published and what is not at the end of what was read.
    pub fn report(&self, partition: u32, accounts: &Accounts, ended: bool, found: &mut Findings) {
        if !self.json.is_empty() {
            self.report_json(partition, accounts, ended, found);
            return;
        }
        for (place, body) in &self.early {
            let what = format!("journal batch {} is not there", body.journal_batch);
            found.overdue(ended, Check::BalanceValue, place, what);
        }
        let open = self.due.values().chain(self.queue.iter().flat_map(|(_, stands)| stands));
        for stand in open {
            let name = accounts.get(stand.account).map_or("?", |a| &a.name);
            let what = format!("seq {} of journal/{partition} is not published", stand.seq);
            found.overdue(ended, Check::BalanceComplete, name, what);
        }
    }

    fn report_json(&self, partition: u32, accounts: &Accounts, ended: bool, found: &mut Findings) {
        for account in accounts.iter() {
            let asset = accounts.asset(account.asset);
            let published = self.json.get(&(account.name.to_string(), asset.to_owned()));
            match published {
                Some(p) if p.seq == account.seq => {
                    found.that(Check::BalanceValue, p.balance == account.balance, || {
                        let (is, replay) = (p.balance, account.balance);
                        (
                            format!("{} {} {asset}", p.place, account.name),
                            format!("published {is}, replay {replay}"),
                        )
                    })
                }
                _ => {
                    let what = format!("seq {} of journal/{partition} is not published", account.seq);
                    found.overdue(ended, Check::BalanceComplete, &account.name, what);
                }
            }
        }
        let known = |key: &&(String, String)| accounts.find(&key.0, &key.1).is_none();
        let mut strangers: Vec<_> = self.json.keys().filter(known).collect();
        strangers.sort();
        for (account, asset) in strangers {
            let what = "published without an entry";
            found.overdue(ended, Check::BalanceValue, format_args!("{account} {asset}"), what);
        }
    }
}
