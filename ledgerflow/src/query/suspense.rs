//! What lies in suspense, case by case.

use super::Answer;
use super::adjustments::key_of;
use super::books::Books;
use super::shown::Shown;
use crate::cli::output::Table;
use posting::suspense::Case;
use schemas::dates::format_instant;
use schemas::suspense_case;
use schemas::wire::{EventKey, Side, SuspenseCase};
use std::collections::BTreeSet;

const COLUMNS: [&str; 12] = [
    "case",
    "amount",
    "asset",
    "side",
    "meant_for",
    "reason",
    "since",
    "state",
    "proposal",
    "event",
    "source",
    "partitionkey",
];

/// A case, what it is, and the event that would move it.
type Found = (SuspenseCase, Case, Option<EventKey>);

/// `suspense list`: the oldest first.
pub(super) fn list(books: &Books, limit: usize) -> anyhow::Result<Answer> {
    let found = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let of = |slot: &posting::state::Slot| {
            let case = |(key, case): (&(u32, u64), &Case)| {
                let proposal = slot.proposals.of_case(*key).and_then(|of| slot.proposals.get(&of));
                let named = SuspenseCase { partition: slot.slot, from: key.0, sequence: key.1 };
                (named, case.clone(), proposal.map(|proposal| proposal.event.clone()))
            };
            slot.cases.all().map(case).collect::<Vec<Found>>()
        };
        slots.flat_map(of).collect::<Vec<Found>>()
    })?;
    let mut found = found.concat();
    found.sort_by_key(|(named, case, _)| (case.since_us, named.partition, named.from, named.sequence));
    let all = found.len();
    found.truncate(limit);
    let accounts: BTreeSet<String> = found.iter().map(|(_, case, _)| case.meant.clone()).collect();
    let shown = Shown::of(books, accounts)?;
    let mut table = Table::new("suspense", &COLUMNS);
    for (named, case, proposal) in &found {
        let name = suspense_case::name(named);
        let key = key_of(books, named.partition, &name)?;
        let state = if proposal.is_some() { "proposed" } else { "open" };
        table.row([
            name.into(),
            shown.amount(case.amount, &case.asset),
            case.asset.clone().into(),
            if case.side == Side::Credit { "credit" } else { "debit" }.into(),
            case.meant.clone().into(),
            case.reason.clone().into(),
            (case.since_us > 0).then(|| format_instant(case.since_us)).into(),
            state.into(),
            proposal.as_ref().map(|event| event.id.clone()).into(),
            case.event.id.clone().into(),
            case.event.source.clone().into(),
            key.into(),
        ]);
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = match all {
        0 => Some("nothing lies in suspense".to_owned()),
        n if n > limit => Some(format!("{limit} of {n} cases; --limit shows more")),
        _ => None,
    };
    Ok(answer)
}
