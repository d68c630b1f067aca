//! What came of an event later: captures, release and end of a hold, what gives an event back, how a proposal ended, who let a
//! parked event in.
//!
//! What is booked names the event, a refusal does not: of what is open after the first reading the home is read once more.

use super::outcomes::{why, word};
use super::shown::Shown;
use super::trace::{Batch, Wanted, find};
use crate::cli::output::{Cell, Table};
use crate::measure::recount::range;
use schemas::amount_wire::value;
use schemas::dates::Day;
use schemas::topics::Topic;
use schemas::wire::{
    Decision, EventKey, HoldState, JournalBody, Outcome, ReversedState, Side, decision::Operation,
    journal_item::Item,
};
use std::collections::{BTreeMap, BTreeSet};
use stream::log::{Isolation, Log, TopicPartition};

/// Source and id.
type Key = (String, String);

/// Minor units by asset.
type Sums = BTreeMap<String, i128>;

/// Something that came of the event.
struct Act {
    what: &'static str,
    /// The event that it came of.
    of: Key,
    /// The event that did it; `None` = time.
    by: Option<Key>,
    /// Where that is decided.
    home: u32,
    batch: Batch,
    outcome: Outcome,
    reason: String,
    date: Option<i32>,
    /// Moved or let go.
    amounts: Sums,
    /// Left on hold, or to be given back, afterwards.
    left: Sums,
}

/// Everything that came of the event, in the order in which it was read.
#[derive(Default)]
pub(super) struct Later {
    acts: Vec<Act>,
    /// What holds had when they were placed.
    placed: BTreeMap<Key, (String, i128)>,
}

const COLUMNS: [&str; 10] =
    ["what", "event", "source", "outcome", "reason", "asset", "amount", "left", "date", "journal"];

fn key_of(event: Option<&EventKey>) -> Key {
    event.map(|event| (event.source.clone(), event.id.clone())).unwrap_or_default()
}

/// What a decision is about, and which event that is.
fn about(d: &Decision) -> Option<(&'static str, Option<&EventKey>)> {
    match &d.operation {
        Some(Operation::CaptureHold(capture)) => return Some(("capture", capture.hold.as_ref())),
        Some(Operation::ReleaseHold(release)) => return Some(("release", release.hold.as_ref())),
        Some(Operation::ReverseEvent(reverse)) => return Some(("reversal", reverse.event.as_ref())),
        Some(Operation::ApproveAdjustment(approve)) => return Some(("approval", approve.proposal.as_ref())),
        Some(Operation::RejectAdjustment(reject)) => return Some(("rejection", reject.proposal.as_ref())),
        _ => {}
    }
    if let Some(admitted) = &d.admitted {
        return Some((if admitted.refused { "rejection" } else { "admission" }, admitted.event.as_ref()));
    }
    if let Some(reversed) = &d.reversed {
        return Some(("reversal", reversed.event.as_ref()));
    }
    if let Some(hold) = &d.hold {
        let moves = !d.entry.is_empty() || !d.remote.is_empty();
        return Some((if moves { "capture" } else { "release" }, hold.event.as_ref()));
    }
    let proposal = d.proposal.as_ref()?;
    let rejected = proposal.state() == schemas::wire::proposal_state::State::Rejected;
    Some((if rejected { "rejection" } else { "approval" }, proposal.event.as_ref()))
}

/// Sums of the debits of a decision, by asset.
fn debits(d: &Decision) -> Sums {
    let here = d.entry.iter().map(|e| (e.leg, (e.side(), e.asset.as_str(), e.amount())));
    let legs = d.remote.iter().chain(&d.asked);
    let there = legs.map(|leg| (leg.leg, (leg.side(), leg.asset.as_str(), value(leg.amount))));
    let legs: BTreeMap<u32, (Side, &str, i128)> = there.chain(here).collect();
    let mut sums = Sums::new();
    for (_, asset, amount) in legs.into_values().filter(|(side, ..)| *side == Side::Debit) {
        let sum = sums.entry(asset.to_owned()).or_default();
        *sum = sum.saturating_add(amount);
    }
    sums
}

fn left_of_hold(hold: &HoldState) -> Sums {
    Sums::from([(hold.asset.clone(), value(hold.amount))])
}

fn left_of_event(reversed: &ReversedState) -> Sums {
    let given = |asset: &str| reversed.sum.iter().find(|sum| sum.asset == asset).map_or(0, |s| value(s.sum));
    let left = |moved: &schemas::wire::AssetSum| value(moved.sum).saturating_sub(given(&moved.asset));
    reversed.moved.iter().map(|moved| (moved.asset.clone(), left(moved))).collect()
}

impl Later {
    /// Takes in what an item of the journal says of the event.
    pub(super) fn take(&mut self, batch: Batch, item: &Item, wanted: &Wanted<'_>) {
        match item {
            Item::Decision(d) => {
                let own = key_of(d.event.as_ref());
                match about(d) {
                    Some((_, of)) if of.is_some() && key_of(of) == own => {
                        if let Some(hold) = d.hold.as_ref().filter(|_| wanted.is(d.event.as_ref())) {
                            self.placed.insert(own, (hold.asset.clone(), value(hold.amount)));
                        }
                    }
                    Some((what, of)) if wanted.is(of) => self.decided(batch, d, (what, key_of(of))),
                    _ => {}
                }
            }
            Item::HoldExpired(expired) if wanted.is(expired.event.as_ref()) => {
                let amounts = Sums::from([(expired.asset.clone(), value(expired.amount))]);
                self.over(batch, key_of(expired.event.as_ref()), amounts);
            }
            Item::ProposalExpired(expired) if wanted.is(expired.event.as_ref()) => {
                self.over(batch, key_of(expired.event.as_ref()), Sums::new());
            }
            _ => {}
        }
    }

    fn over(&mut self, batch: Batch, of: Key, amounts: Sums) {
        let left = amounts.keys().map(|asset| (asset.clone(), 0)).collect();
        let (what, by, outcome) = ("end of its time", None, Outcome::Unspecified);
        let (home, reason, date) = (batch.slot, String::new(), None);
        self.acts.push(Act { what, of, by, home, batch, outcome, reason, date, amounts, left });
    }

    /// A decision about the event; that of another partition's home, and the one that concludes, come after the first.
    fn decided(&mut self, batch: Batch, d: &Decision, (what, of): (&'static str, Key)) {
        if d.outcome() == Outcome::Duplicate {
            return;
        }
        let home = d.forwarded_from.checked_sub(1).unwrap_or(batch.slot);
        let by = key_of(d.event.as_ref());
        let act = Act {
            what,
            of,
            by: Some(by.clone()),
            home,
            batch,
            outcome: d.outcome(),
            reason: why(&d.reason, &d.detail),
            date: Some(d.accounting_date),
            amounts: debits(d),
            left: d
                .hold
                .as_ref()
                .map(left_of_hold)
                .or_else(|| d.reversed.as_ref().map(left_of_event))
                .unwrap_or_default(),
        };
        match self.acts.iter_mut().find(|known| known.home == home && known.by.as_ref() == Some(&by)) {
            // A partition may be read before the home that has asked it.
            Some(known) if act.outcome == Outcome::Pending && known.outcome != Outcome::Pending => {}
            Some(known) => *known = act,
            None => self.acts.push(act),
        }
    }

    /// Reads on for what became of those that have no outcome yet, each at its home.
    ///
    /// # Errors
    /// The log fails, or a record is damaged.
    pub(super) fn conclude(&mut self, log: &dyn Log) -> anyhow::Result<()> {
        let open = self.acts.iter().filter(|act| act.outcome == Outcome::Pending);
        let homes: BTreeSet<u32> = open.map(|act| act.home).collect();
        for home in homes {
            let at = TopicPartition::new(Topic::Journal, home);
            let bounds = log.watermarks(at, Isolation::Committed)?;
            range(log, at, 0, bounds.high, &mut |fetch| {
                for record in &fetch.records {
                    let names = |act: &&mut Act| {
                        let id = act.by.as_ref().map(|(_, id)| id.as_bytes()).unwrap_or_default();
                        act.home == home
                            && act.outcome == Outcome::Pending
                            && find(&record.value, id).is_some()
                    };
                    let mut open: Vec<&mut Act> = self.acts.iter_mut().filter(names).collect();
                    if open.is_empty() {
                        continue;
                    }
                    let opened = schemas::batch::open(&record.value)?;
                    let body: JournalBody = opened.body()?;
                    for item in body.item.into_iter().filter_map(|item| item.item) {
                        open.iter_mut().for_each(|act| act.concluded(Batch::of(home, &opened), &item));
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// One row for each of them and asset.
    pub(super) fn table(mut self, shown: &Shown) -> Table {
        let mut table = Table::new("later", &COLUMNS);
        self.acts.sort_by_key(|act| act.batch.order());
        for act in self.acts {
            let placed = self.placed.get_mut(&act.of);
            let mut amounts = act.amounts.clone();
            if let Some((asset, left)) = placed.filter(|_| act.outcome == Outcome::Booked) {
                if act.what == "release" {
                    amounts.insert(asset.clone(), *left);
                }
                *left = act.left.get(asset.as_str()).copied().unwrap_or(*left);
            }
            let assets: BTreeSet<String> = amounts.keys().chain(act.left.keys()).cloned().collect();
            for asset in &assets {
                act.row(&mut table, shown, Some((asset, amounts.get(asset).copied())));
            }
            if assets.is_empty() {
                act.row(&mut table, shown, None);
            }
        }
        table
    }
}

impl Act {
    fn concluded(&mut self, batch: Batch, item: &Item) {
        match item {
            Item::Decision(d)
                if d.forwarded_from == 0 && d.concludes && self.by == Some(key_of(d.event.as_ref())) =>
            {
                (self.outcome, self.reason, self.batch) = (d.outcome(), why(&d.reason, &d.detail), batch);
            }
            Item::Resolution(said) if self.by == Some(key_of(said.event.as_ref())) => {
                (self.outcome, self.reason, self.batch) = (said.outcome(), said.reason.clone(), batch);
            }
            _ => {}
        }
    }

    fn row(&self, table: &mut Table, shown: &Shown, of: Option<(&String, Option<i128>)>) {
        let asset = of.map(|(asset, _)| asset.as_str());
        let figure = |minor: Option<i128>| match (asset, minor) {
            (Some(asset), Some(minor)) => shown.amount(minor, asset),
            _ => Cell::None,
        };
        let refused = self.outcome == Outcome::Refused;
        let left = asset.and_then(|asset| self.left.get(asset).copied()).filter(|_| !refused);
        table.row([
            self.what.into(),
            self.by.as_ref().map(|(_, id)| id.clone()).into(),
            self.by.as_ref().map(|(source, _)| source.clone()).into(),
            (self.outcome != Outcome::Unspecified).then(|| word(self.outcome)).into(),
            (!self.reason.is_empty()).then(|| self.reason.clone()).into(),
            asset.map(str::to_owned).into(),
            figure(of.and_then(|(_, amount)| amount)),
            figure(left),
            self.date.map(|date| Day(date).to_string()).into(),
            self.batch.place(),
        ]);
    }
}
