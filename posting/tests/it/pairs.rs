//! Which operation can be refused for which reason: whatever random histories show has a row among the ledger cases.

use crate::cluster::Cluster;
use crate::events::{Event, Op};
use crate::histories::{History, seeds};
use crate::{
    at_most, cases, days, details, horizon, limits, metadata, overdraft, refusals, script, two_principals,
    velocity,
};
use schemas::wire::{Decision, EventKey, Outcome, change_account::Action, journal_item::Item};
use std::collections::{BTreeMap, BTreeSet};

/// Operation and outcome: `booked`, or the reason of a refusal.
pub type Pairs = BTreeSet<(&'static str, String)>;

/// What an event asks for, in a word.
pub fn word(event: &Event) -> &'static str {
    match &event.op {
        Op::Book => "book",
        Op::AtMost(_) => "book at most",
        Op::Limits(..) => "limit",
        Op::Hold(_) => "hold",
        Op::Capture(..) => "capture",
        Op::Release(_) => "release",
        Op::Reverse(_) if event.legs.is_empty() => "reverse",
        Op::Reverse(_) => "refund",
        Op::Account(_, Action::Open, _) | Op::Describe(_, true, _) => "open",
        Op::Describe(..) => "describe",
        Op::Account(_, Action::Close, _) => "close",
        Op::Account(_, Action::Freeze, _) => "freeze",
        Op::Account(..) => "unfreeze",
        Op::Propose(_) => "propose",
        Op::Approve(..) => "approve",
        Op::Reject(..) => "reject",
        Op::Resolve(..) => "resolve",
        Op::Admit(_, _, false) => "admit",
        Op::Admit(..) => "turn away",
    }
}

/// What became of events, by operation. Of two events with one id the first counts: the other is refused as `conflict`.
pub fn of<'e>(cluster: &Cluster, events: impl IntoIterator<Item = &'e Event>) -> Pairs {
    let mut words: BTreeMap<&str, &'static str> = BTreeMap::new();
    for event in events {
        words.entry(&event.id).or_insert_with(|| word(event));
    }
    let mut pairs = Pairs::new();
    let mut note = |event: &Option<EventKey>, outcome: Outcome, reason: &str| {
        let Some(word) = event.as_ref().and_then(|event| words.get(&*event.id)) else { return };
        match outcome {
            Outcome::Booked => drop(pairs.insert((word, "booked".into()))),
            Outcome::Refused => drop(pairs.insert((word, reason.to_owned()))),
            _ => {}
        }
    };
    for (_, item) in (0..cluster.partitions()).flat_map(|slot| cluster.items(slot)) {
        match &item {
            Item::Decision(d @ Decision { forwarded_from: 0, .. }) => note(&d.event, d.outcome(), &d.reason),
            Item::Resolution(r) => note(&r.event, r.outcome(), &r.reason),
            _ => {}
        }
    }
    pairs
}

/// A pair that a history reaches is a promise to users: the cases say in ledger words when it happens.
#[test]
fn every_pair_of_operation_and_reason_has_a_row() {
    let rows: Pairs = [
        cases::ALL,
        days::ALL,
        details::ALL,
        refusals::ALL,
        at_most::ALL,
        limits::ALL,
        overdraft::ALL,
        metadata::ALL,
        velocity::ALL,
        two_principals::ALL,
        horizon::ALL,
    ]
    .concat()
    .iter()
    .flat_map(|(name, text)| {
        let (cluster, events) = script::run(name, text);
        of(&cluster, &events)
    })
    .collect();
    let mut reached = Pairs::new();
    for seed in seeds(1_500) {
        let (cluster, events) = History::new(seed).played();
        reached.extend(of(&cluster, &events));
    }
    let without: Vec<_> = reached.difference(&rows).collect();
    assert!(without.is_empty(), "no case has {without:?}");
    // The histories reach what the cases know, but for what takes a chart or a bound of its own.
    assert!(reached.len() > 30, "{reached:#?}");
}
