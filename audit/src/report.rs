//! What an audit found: checks with counts, the conservation table, days, clearing, the ranges covered.

use crate::amount::date_text;
use crate::auditor::Auditor;
use crate::conservation::Conservation;
use crate::edges;
use crate::finding::{Check, CheckResult, Findings, NamedFinding};
use crate::outcome::event_name;
use crate::posting::{Posting, Total, clearing_account};
use schemas::topics::Topic;
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use stream::log::{Offset, TopicPartition};

/// Debits and credits of one book, accounting date and asset over all partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayTotal {
    /// Book.
    pub book: String,
    /// Accounting date, `YYYY-MM-DD`.
    pub date: String,
    /// Asset.
    pub asset: String,
    /// Minor units.
    pub debits: String,
    /// Minor units.
    pub credits: String,
    /// Number of entries.
    pub entries: u64,
}

/// Clearing between an ordered pair of partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClearingPair {
    /// Sender.
    pub from: u32,
    /// Receiver.
    pub to: u32,
    /// Asset.
    pub asset: String,
    /// clearing:out + clearing:in, minor units, debits minus credits.
    pub clearing: String,
    /// Credits sent and not received, minor units, debits minus credits.
    pub in_flight: String,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Topic.
    pub topic: &'static str,
    /// Partition.
    pub partition: u32,
    /// First offset that was there.
    pub from: i64,
    /// Offset after the last one read.
    pub to: i64,
    /// Records read.
    pub records: u64,
    /// Value bytes read.
    pub bytes: u64,
    /// Ranges that retention took away while the audit ran.
    pub skipped: Vec<(i64, i64)>,
}

/// Result of an audit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Version of this format. Now 1.
    pub format: u32,
    /// Whether it was judged with everything at rest.
    pub quiesced: bool,
    /// No check is wrong; what is noted is no defect of the books.
    pub passed: bool,
    /// The first finding that is wrong, over all checks, in the order of reading.
    pub first: Option<NamedFinding>,
    /// Every check in order.
    pub checks: Vec<CheckResult>,
    /// Where every event went.
    pub conservation: Conservation,
    /// Day totals.
    pub days: Vec<DayTotal>,
    /// Clearing pairs.
    pub clearing: Vec<ClearingPair>,
    /// Ranges read.
    pub coverage: Vec<Coverage>,
    /// (account, asset) pairs replayed.
    pub accounts: u64,
    /// Event keys kept, once for each home that has one (0 when the check of keys was left out).
    pub event_keys: u64,
    /// SHA-256 over the heads of all chains and the ranges read: two audits of the same log have the same.
    pub digest: String,
}

impl Report {
    /// Findings of one check.
    #[must_use]
    pub fn check(&self, check: Check) -> Option<&CheckResult> {
        self.checks.iter().find(|c| c.check == check.name())
    }

    /// Whether one check is not wrong.
    #[must_use]
    pub fn holds(&self, check: Check) -> bool {
        self.check(check).is_none_or(|check| check.wrong == 0)
    }

    /// Checks that are wrong.
    pub fn wrong(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|c| c.wrong > 0)
    }

    /// Checks that are not wrong, and of which somebody must look at something.
    pub fn noted(&self) -> impl Iterator<Item = &CheckResult> {
        self.checks.iter().filter(|c| c.noted > 0)
    }
}

impl Auditor<'_> {
    /// What was found up to now. Judges what is unfinished without forgetting it, so that the next step may finish
    /// it.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut found = self.found.clone();
        found.reads(None);
        let ended = self.limit.quiesced;
        self.report_ingest(ended, &mut found);
        self.report_posting(ended, &mut found);
        self.ids.report(&mut found);
        let sender_read = |p: u32, batch: u64| self.journal_read(p) >= batch;
        let wrote_past = |(from, to): (u32, u32), batch: u64| {
            self.chains.get(Topic::Credits, to, from).is_some_and(|chain| chain.last_batch() > batch)
        };
        let passed =
            |p: u32, offset: Offset| self.posting.get(p as usize).is_some_and(|p| p.credits_to > offset);
        let asked = |from: u32, to: u32| self.channels.was_asked((from, to));
        self.chains.report_gaps(ended, asked, passed, &mut found);
        self.channels.report(ended, sender_read, wrote_past, &mut found);
        if ended {
            found.holds(Check::ChannelInFlight, 1);
        }
        self.chains.report(ended, |topic, partition| self.whole(topic, partition), &mut found);
        if self.limit.reconcile {
            self.recon.report(ended, |p| self.journal_read(p), &mut found);
        }
        let conservation = self.conservation(ended, &mut found);
        let (days, clearing) = (self.day_totals(&mut found), self.clearing_pairs(&mut found));
        let coverage: Vec<Coverage> = self.coverage();
        Report {
            format: 1,
            quiesced: ended,
            passed: found.wrong_total() == 0,
            digest: self.digest(&coverage),
            first: found.first().cloned(),
            checks: found.results(),
            conservation,
            days,
            clearing,
            coverage,
            accounts: self.posting.iter().map(|p| p.accounts.len() as u64).sum(),
            event_keys: self.ids.len() as u64,
        }
    }

    /// Whether a partition was read from its first record without a gap.
    fn whole(&self, topic: Topic, partition: u32) -> bool {
        let at = TopicPartition::new(topic, partition);
        self.sources.iter().all(|(of, cursor)| *of != at || cursor.whole())
    }

    fn journal_read(&self, partition: u32) -> u64 {
        self.posting.get(partition as usize).map_or(0, |p| p.batch)
    }

    fn report_ingest(&self, ended: bool, found: &mut Findings) {
        for (number, slot) in (0..).zip(&self.ingest) {
            let gone = |partition: u32| {
                let chain = self.chains.get(Topic::Commands, partition, number);
                chain.is_none_or(|chain| chain.first == 0) && !self.whole(Topic::Commands, partition)
            };
            slot.report(ended, gone, found);
        }
        let rejected = self.sources.iter().filter(|(at, _)| at.topic == Topic::Rejected);
        let covered = rejected.map(|(_, cursor)| cursor).all(crate::source::Cursor::whole);
        self.edges.report_rejected(covered, ended, found);
    }

    fn report_posting(&self, ended: bool, found: &mut Findings) {
        for crate::auditor::Waiting { place, opened, .. } in self.waiting.values() {
            for range in &opened.header.input {
                let topic = Topic::by_name(&range.topic);
                let at = topic.map(|topic| TopicPartition::new(topic, range.partition));
                if at.is_none_or(|at| !self.sources.passed(at, range.to)) {
                    let what = format!(
                        "read {}/{} to {}, which is not there",
                        range.topic, range.partition, range.to
                    );
                    found.overdue(ended, Check::Input, place, what);
                }
            }
        }
        for (partition, posting) in (0..).zip(&self.posting) {
            posting.home.report(ended, found);
            self.report_holds(posting, ended, found);
            let ahead = posting.commands.iter().map(|b| b.commands.len()).sum::<usize>();
            if ahead > 0 {
                let at = TopicPartition::new(Topic::Commands, partition);
                found.overdue(
                    ended,
                    Check::OutcomeMissing,
                    at,
                    format_args!("{ahead} commands were never read"),
                );
            }
            for batch in &posting.credits {
                let at = TopicPartition::new(Topic::Credits, partition);
                let what = format!("{} items were never read", batch.items.len());
                found.overdue(ended, Check::ChannelInFlight, format_args!("{at}@{}", batch.offset), what);
            }
            if self.limit.settlement {
                posting.published.report(partition, &posting.accounts, ended, found);
                self.report_closings(partition, ended, found);
            }
        }
        if self.limit.settlement {
            self.report_closed_days(ended, found);
        }
    }

    /// What is on hold in a partition has an event that waits at its home, unless the decision is on its way.
    fn report_holds(&self, posting: &Posting, ended: bool, found: &mut Findings) {
        for (event, home, place) in posting.on_hold() {
            let waits = self.posting.get(home as usize).is_some_and(|home| home.home.waits(Some(&event)));
            if waits {
                found.holds(Check::HoldOwner, 1);
                continue;
            }
            let name = format!("{place} {}", event_name(Some(&event)));
            found.overdue(
                ended,
                Check::HoldOwner,
                name,
                format_args!("partition {home} does not wait for it"),
            );
        }
    }

    fn report_closings(&self, slot: u32, ended: bool, found: &mut Findings) {
        let Some(posting) = self.posting.get(slot as usize) else { return };
        let none = edges::DayClosings::new();
        let days = self.edges.closings.get(&slot);
        for (date, closings) in days.into_iter().flatten() {
            edges::judge_closings(&posting.accounts, *date, closings, ended, found);
        }
        let judged = self.edges.judged.get(&slot).copied().unwrap_or(i32::MIN);
        for (book, date) in self.edges.closed.keys().filter(|(_, date)| *date > judged) {
            let closings = days.and_then(|days| days.get(date)).unwrap_or(&none);
            let day = format!("book {book:?} {}", date_text(*date));
            edges::judge_closed_without(&posting.accounts, *date, (closings, &day), ended, found);
        }
    }

    fn report_closed_days(&self, ended: bool, found: &mut Findings) {
        let booked: BTreeSet<(&str, i32)> = self
            .posting
            .iter()
            .flat_map(|posting| posting.totals.keys().map(|(book, date, _)| (book.as_str(), *date)))
            .collect();
        self.edges.announced.report(self.counts.events, booked.into_iter(), ended, found);
        let nobody = BTreeSet::new();
        for ((book, date), place) in &self.edges.closed {
            let aligned = self.edges.aligned.get(&(book.clone(), *date)).unwrap_or(&nobody);
            let missing = (0..self.counts.internal).filter(|slot| !aligned.contains(slot)).count();
            let name = format!("{place} book {book:?} {}", date_text(*date));
            if missing == 0 {
                found.holds(Check::DayClosed, 1);
            } else {
                found.overdue(
                    ended,
                    Check::DayClosed,
                    name,
                    format_args!("closed, {missing} slots have not aligned"),
                );
            }
        }
        for ((book, date), slots) in &self.edges.aligned {
            for slot in slots {
                let posting = self.posting.get(*slot as usize);
                if posting.is_some_and(|p| p.is_aligned(book, *date)) {
                    found.holds(Check::DayClosed, 1);
                } else {
                    let name = format!("days.aligned slot {slot} book {book:?} {}", date_text(*date));
                    found.overdue(ended, Check::DayClosed, name, "its journal does not align that day");
                }
            }
        }
    }

    /// Where every event went, and whether that is all of them.
    pub(crate) fn cut(&self, ended: bool) -> Cut {
        let mut table = Conservation { dead_lettered: self.edges.dead_letters, ..Conservation::default() };
        let (mut dead_stated, mut open) = (0_u64, 0_u64);
        for slot in &self.ingest {
            let [received, forwarded, dead_lettered] = slot.stated();
            table.received = table.received.wrapping_add(received);
            table.commands = table.commands.wrapping_add(forwarded);
            table.events_found = table.events_found.wrapping_add(slot.events);
            table.commands_found += slot.commands;
            dead_stated = dead_stated.wrapping_add(dead_lettered);
            open += slot.open() + slot.uncovered();
        }
        self.posting.iter().for_each(|posting| table.outcomes.add(&posting.home.outcomes));
        let decided = table.outcomes.decided();
        table.not_yet_read = table.commands.saturating_sub(decided);
        let mut rejected = self.sources.iter().filter(|(at, _)| at.topic == Topic::Rejected);
        let whole = rejected.all(|(_, cursor)| cursor.whole());
        let dead = if whole { table.dead_lettered } else { dead_stated };
        // Strict where every window of ingest was judged; else commands and counters are of different cuts.
        let strict = open == 0 || ended;
        let holds = table.accounted(dead) == table.received
            && (!ended || table.not_yet_read == 0)
            && decided <= table.commands;
        Cut { table, dead, dead_stated, holds: (strict || holds).then_some(holds) }
    }

    fn conservation(&self, ended: bool, found: &mut Findings) -> Conservation {
        let Cut { table, dead, holds, .. } = self.cut(ended);
        let Some(holds) = holds else {
            found.open(Check::Conservation, 1);
            return table;
        };
        found.that(Check::Conservation, holds, || {
            let Conservation { received, not_yet_read, .. } = table;
            let (sum, decided) = (table.accounted(dead), table.outcomes.decided());
            let what = format!("{dead} dead-lettered, {decided} decided, {not_yet_read} not yet read");
            ("all partitions", format!("received {received}, accounted for {sum}: {what}"))
        });
        table
    }

    fn day_totals(&self, found: &mut Findings) -> Vec<DayTotal> {
        let (mut days, mut overall) = (BTreeMap::<_, Total>::new(), BTreeMap::<&str, Total>::new());
        for (partition, posting) in (0_u32..).zip(&self.posting) {
            for (key, total) in &posting.totals {
                found.that(Check::BalanceOverall, total.debits == total.credits, || {
                    let (book, date, asset) = key;
                    let name = format!("journal/{partition} book {book:?} {} {asset}", date_text(*date));
                    (name, format!("debits {}, credits {}", total.debits, total.credits))
                });
                days.entry(key).or_default().merge(total);
                overall.entry(&key.2).or_default().merge(total);
            }
        }
        for (asset, total) in overall {
            found.that(Check::BalanceOverall, total.debits == total.credits, || {
                (format!("all days {asset}"), format!("debits {}, credits {}", total.debits, total.credits))
            });
        }
        let day = |(key, total): (&(String, i32, String), Total)| DayTotal {
            book: key.0.clone(),
            date: date_text(key.1),
            asset: key.2.clone(),
            debits: total.debits.to_string(),
            credits: total.credits.to_string(),
            entries: total.entries,
        };
        days.into_iter().map(day).collect()
    }

    /// Every ordered pair and asset that credits have gone between: clearing:out, clearing:in, credits in flight.
    pub(crate) fn clearing(&self) -> impl Iterator<Item = ((u32, u32), &str, [i128; 3])> {
        let balance = |partition: u32, account: &str, asset: &str| {
            let accounts = &self.posting.get(partition as usize)?.accounts;
            Some(accounts.get(accounts.find(account, asset)?)?.balance)
        };
        self.channels.flown().map(move |((from, to), asset)| {
            let sent = balance(from, &clearing_account(true, from, to), asset).unwrap_or(0);
            let received = balance(to, &clearing_account(false, from, to), asset).unwrap_or(0);
            ((from, to), asset, [sent, received, self.channels.in_flight((from, to), asset)])
        })
    }

    fn clearing_pairs(&self, found: &mut Findings) -> Vec<ClearingPair> {
        let mut out = Vec::new();
        for ((from, to), asset, [sent, received, in_flight]) in self.clearing() {
            let clearing = sent.wrapping_add(received);
            found.that(Check::ClearingInFlight, clearing == in_flight, || {
                let name = format!("{from}->{to} {asset}");
                (name, format!("out {sent} + in {received} = {clearing}, credits in flight {in_flight}"))
            });
            let (clearing, in_flight) = (clearing.to_string(), in_flight.to_string());
            out.push(ClearingPair { from, to, asset: asset.to_owned(), clearing, in_flight });
        }
        out
    }

    fn coverage(&self) -> Vec<Coverage> {
        let one = |(at, cursor): (&TopicPartition, &crate::source::Cursor)| Coverage {
            topic: at.topic.name(),
            partition: at.partition,
            from: cursor.start,
            to: cursor.next,
            records: cursor.records,
            bytes: cursor.bytes,
            skipped: cursor.skipped.clone(),
        };
        self.sources.iter().map(one).collect()
    }

    fn digest(&self, coverage: &[Coverage]) -> String {
        let mut hasher = Sha256::new();
        for ((topic, partition, slot), chain) in self.chains.iter() {
            hasher.update(format!("{} {partition} {slot} {}\n", topic.name(), chain.sequence));
            hasher.update(chain.hash);
        }
        for c in coverage {
            hasher.update(format!("{} {} {} {}\n", c.topic, c.partition, c.from, c.records));
        }
        let hash: crate::merkle::Hash = hasher.finalize().into();
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The conservation table at a cut, and whether it holds.
pub(crate) struct Cut {
    pub(crate) table: Conservation,
    /// Dead letters found, or stated where retention has taken some.
    pub(crate) dead: u64,
    /// Dead letters counted by ingest's windows.
    pub(crate) dead_stated: u64,
    /// `None`: a window of ingest waits for what it names.
    pub(crate) holds: Option<bool>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22} {:>12} {:>8} {:>8} {:>9} {:>8}  holds when",
            "check", "checked", "wrong", "open", "uncovered", "noted"
        )?;
        for c in &self.checks {
            writeln!(
                f,
                "{:<22} {:>12} {:>8} {:>8} {:>9} {:>8}  {}",
                c.check, c.checked, c.wrong, c.open, c.uncovered, c.noted, c.says
            )?;
        }
        for c in self.wrong().chain(self.noted()) {
            writeln!(f, "\n{} ({} wrong, {} noted)", c.check, c.wrong, c.noted)?;
            for finding in &c.findings {
                writeln!(f, "  {}: {}", finding.place, finding.what)?;
            }
        }
        if let Some(first) = &self.first {
            writeln!(f, "\nfirst: {first}")?;
        }
        self.conservation_table(f)?;
        writeln!(
            f,
            "\n{:<12} {:<10} {:<8} {:>24} {:>24} {:>10}",
            "book", "day", "asset", "debits", "credits", "entries"
        )?;
        for d in &self.days {
            let DayTotal { book, date, asset, debits, credits, entries } = d;
            writeln!(f, "{book:<12} {date:<10} {asset:<8} {debits:>24} {credits:>24} {entries:>10}")?;
        }
        for c in self.clearing.iter().filter(|c| c.in_flight != "0" || c.clearing != "0") {
            let ClearingPair { from, to, asset, clearing, in_flight } = c;
            writeln!(f, "clearing {from}->{to} {asset}: {clearing}, in flight {in_flight}")?;
        }
        writeln!(f, "\n{:<16} {:>12} {:>12} {:>12}", "covered", "from", "to", "records")?;
        for c in self.coverage.iter().filter(|c| c.records > 0 || c.from > 0) {
            let name = format!("{}/{}", c.topic, c.partition);
            write!(f, "{name:<16} {:>12} {:>12} {:>12}", c.from, c.to, c.records)?;
            for (from, to) in &c.skipped {
                write!(f, "  without {from} to {to}")?;
            }
            writeln!(f)?;
        }
        writeln!(f, "\n{} accounts, {} event keys, digest {}", self.accounts, self.event_keys, self.digest)?;
        writeln!(f, "{}", if self.passed { "passed" } else { "FAILED" })
    }
}

impl Report {
    fn conservation_table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.conservation;
        writeln!(f)?;
        let rows = [
            ("received", c.received),
            ("  found on the lanes", c.events_found),
            ("dead-lettered", c.dead_lettered),
            ("commands", c.commands),
            ("  found", c.commands_found),
            ("booked", c.outcomes.booked),
            ("duplicate", c.outcomes.duplicate),
            ("refused", c.outcomes.refused),
            ("parked", c.outcomes.parked),
            ("pending", c.outcomes.pending),
            ("not yet read", c.not_yet_read),
        ];
        rows.iter().try_for_each(|(name, count)| writeln!(f, "{name:<22} {count:>12}"))
    }
}
