//! What readers saw against the journal at rest and against what they saw before: aborted, torn, fractured, backward,
//! stale, out of order.

use super::super::books::{Books, Version};
use super::super::record::{Account, Asked, Balance, Batch, Ended, Entry, Listed, Operation, Seen};
use super::{Found, Kind};
use schemas::wire::Outcome;
use std::collections::BTreeMap;

/// What a process has seen.
#[derive(Default)]
struct Known {
    partitions: BTreeMap<u32, Pass>,
    /// Number of the newest entry in balances, by account and by whether one partition or all were asked.
    balances: BTreeMap<(Option<u32>, Account), u64>,
    /// The same in lists.
    lists: BTreeMap<Account, u64>,
}

/// One reading of a partition from its first batch on.
#[derive(Default)]
struct Pass {
    reached: u64,
    /// The furthest that any reading came to.
    furthest: u64,
    sums: BTreeMap<String, i128>,
    events: BTreeMap<String, u64>,
}

pub(super) fn check(history: &[Operation], books: &Books, found: &mut Found) {
    orders(books, found);
    let told = Told::of(history, books);
    let mut known: BTreeMap<u32, Known> = BTreeMap::new();
    for (index, operation) in history.iter().enumerate() {
        let Ended::Ok(seen) = &operation.ended else { continue };
        let known = known.entry(operation.process).or_default();
        match (&operation.asked, seen) {
            (Asked::Journal { partition, again }, Seen::Batches(batches)) => {
                let pass = known.partitions.entry(*partition).or_default();
                if *again {
                    *pass = Pass { furthest: pass.furthest, ..Pass::default() };
                }
                batches.iter().for_each(|batch| see(batch, (index, *partition), books, pass, found));
                reaches(pass, index, found);
                told.is_seen(operation, (index, *partition), pass.reached, found);
            }
            (Asked::Balances { partition }, Seen::Balances(shown)) => {
                balances(shown, index, *partition, books, found);
                let mut shown: BTreeMap<_, _> = shown.iter().map(|b| (&b.account, b.seq)).collect();
                for ((_, account), before) in known.balances.iter_mut().filter(|((p, _), _)| p == partition) {
                    forward(before, shown.remove(account).unwrap_or(0), index, account, found);
                }
                let new = shown.into_iter().map(|(account, seq)| ((*partition, account.clone()), seq));
                known.balances.extend(new);
            }
            (Asked::Entries { account }, Seen::Entries(shown)) => {
                list(shown, account, index, books, found);
                let newest = shown.last().map_or(0, |listed| listed.seq);
                forward(known.lists.entry(account.clone()).or_default(), newest, index, account, found);
            }
            _ => {}
        }
    }
}

/// Entries of an account are numbered from 1 without a gap, and batches of a partition too.
fn orders(books: &Books, found: &mut Found) {
    for (account, versions) in books.accounts() {
        let wrong = (1..).zip(versions).find(|(seq, version)| *seq != version.seq);
        if let Some((seq, version)) = wrong {
            let told =
                format!("{}: entry {} of {} lies in place {seq}", account.0, version.seq, version.event);
            found.tell(Kind::Order, &[], told);
        }
    }
}

/// One batch, in its turn.
fn see(batch: &Batch, (index, partition): (usize, u32), books: &Books, pass: &mut Pass, found: &mut Found) {
    let (number, wanted) = (batch.number, pass.reached + 1);
    if number != wanted {
        let kind = if number < wanted { Kind::Backward } else { Kind::Order };
        found.tell(kind, &[index], format!("journal/{partition}: batch {number} in the place of {wanted}"));
    }
    pass.reached = number;
    match books.batch(partition, number) {
        Some(whole) if whole == batch => {}
        Some(whole) if whole.hash == batch.hash && is_part(batch, whole) => {
            found.tell(Kind::Torn, &[index], format!("journal/{partition}: a part of batch {number}"));
        }
        Some(_) => {
            let told = format!("journal/{partition}: batch {number} is another one at rest");
            found.tell(Kind::Aborted, &[index], told);
        }
        None => {
            found.tell(
                Kind::Aborted,
                &[index],
                format!("journal/{partition}: there is no batch {number} at rest"),
            );
        }
    }
    for part in &batch.parts {
        for entry in &part.entries {
            *pass.sums.entry(entry.account.1.clone()).or_default() += entry.amount;
        }
        let before =
            if part.event.is_empty() { None } else { pass.events.insert(part.event.clone(), number) };
        if let Some(before) = before.filter(|before| *before != number) {
            let told =
                format!("journal/{partition}: entries of {} in batches {before} and {number}", part.event);
            found.tell(Kind::Torn, &[index], told);
        }
    }
    if let Some((asset, sum)) = pass.sums.iter().find(|(_, sum)| **sum != 0) {
        found.tell(
            Kind::Fractured,
            &[index],
            format!("journal/{partition}: {asset} is {sum} after batch {number}"),
        );
    }
}

/// Whether everything in a batch is in another one, which has more.
fn is_part(batch: &Batch, whole: &Batch) -> bool {
    let all =
        |batch: &Batch| batch.parts.iter().flat_map(|part| part.entries.clone()).collect::<Vec<Entry>>();
    let (seen, whole) = (all(batch), all(whole));
    seen.len() < whole.len() && seen.iter().all(|entry| whole.contains(entry))
}

fn reaches(pass: &mut Pass, index: usize, found: &mut Found) {
    if pass.reached < pass.furthest {
        let told = format!("batches to {}, before it were {}", pass.reached, pass.furthest);
        found.tell(Kind::Backward, &[index], told);
    }
    pass.furthest = pass.furthest.max(pass.reached);
}

fn forward(before: &mut u64, seq: u64, index: usize, account: &Account, found: &mut Found) {
    if seq < *before {
        found.tell(
            Kind::Backward,
            &[index],
            format!("{}: entries to {seq}, before it were {before}", account.0),
        );
    }
    *before = seq.max(*before);
}

/// Every balance is one that the account had at rest, and all of them together are zero.
fn balances(shown: &[Balance], index: usize, partition: Option<u32>, books: &Books, found: &mut Found) {
    let mut sums: BTreeMap<&str, i128> = BTreeMap::new();
    for balance in shown {
        *sums.entry(&balance.account.1).or_default() += balance.net;
        let after = books.version(&balance.account, balance.seq).map(|version| version.after);
        if after != Some(balance.net) {
            let Balance { account, seq, net } = balance;
            let told = format!("{}: {net} after entry {seq}, at rest it is {after:?}", account.0);
            found.tell(Kind::Aborted, &[index], told);
        }
    }
    if let Some((asset, sum)) = sums.into_iter().find(|(_, sum)| *sum != 0) {
        found.tell(Kind::Fractured, &[index], format!("balances of {partition:?}: {asset} sums to {sum}"));
    }
}

/// A list is a piece of the account's entries, and ends with all that its last event has there.
fn list(shown: &[Listed], account: &Account, index: usize, books: &Books, found: &mut Found) {
    let first = shown.first().map_or(1, |listed| listed.seq);
    for (seq, listed) in (first..).zip(shown) {
        let at_rest = books.version(account, listed.seq);
        let same = |version: &Version| version.event == listed.event && version.after == listed.after;
        match at_rest {
            None => {
                let told = format!("{}: entry {} of {} is not there", account.0, listed.seq, listed.event);
                found.tell(Kind::Aborted, &[index], told);
            }
            Some(version) if listed.seq != seq || !same(version) => {
                let told = format!("{}: {listed:?} in place {seq}, at rest {version:?}", account.0);
                found.tell(Kind::Order, &[index], told);
            }
            Some(_) => {}
        }
    }
    let Some(last) = shown.last() else { return };
    let next = books.version(account, last.seq + 1);
    if next.is_some_and(|next| !next.event.is_empty() && next.event == last.event) {
        let told = format!("{}: a part of what {} has there, to entry {}", account.0, last.event, last.seq);
        found.tell(Kind::Torn, &[index], told);
    }
}

/// Decisions that somebody was told of: by partition when, the furthest batch with one, and the operation.
struct Told(BTreeMap<u32, Vec<(i64, u64, usize)>>);

impl Told {
    fn of(history: &[Operation], books: &Books) -> Self {
        let mut all: BTreeMap<u32, Vec<(i64, u64, usize)>> = BTreeMap::new();
        for (index, operation) in history.iter().enumerate() {
            let (Asked::Book { event, .. }, Ended::Ok(Seen::Became(outcome))) =
                (&operation.asked, &operation.ended)
            else {
                continue;
            };
            let decided = books.became(event).iter();
            let ends = [Outcome::Booked, Outcome::Refused];
            let Some(became) =
                decided.filter(|b| b.outcome == *outcome && ends.contains(outcome)).min_by_key(|b| b.batch)
            else {
                continue;
            };
            let of = all.entry(became.partition).or_default();
            let furthest = of.last().copied().filter(|(_, batch, _)| *batch >= became.batch);
            let (batch, by) = furthest.map_or((became.batch, index), |(_, batch, by)| (batch, by));
            of.push((operation.ended_us, batch, by));
        }
        Self(all)
    }

    /// Whether a reading that came so far has all that was told before it began.
    fn is_seen(
        &self,
        operation: &Operation,
        (index, partition): (usize, u32),
        reached: u64,
        found: &mut Found,
    ) {
        let Some(of) = self.0.get(&partition) else { return };
        let before = of.partition_point(|(ended_us, ..)| *ended_us < operation.invoked_us);
        let Some((_, batch, by)) = before.checked_sub(1).and_then(|last| of.get(last)) else { return };
        if reached < *batch {
            let told = format!("journal/{partition} ends at batch {reached}, somebody was told of {batch}");
            found.tell(Kind::Stale, &[*by, index], told);
        }
    }
}
