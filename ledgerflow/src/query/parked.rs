//! Parked events: those that may have been booked so long ago that nothing is known of them any more.

use super::Answer;
use super::adjustments::key_of;
use super::books::Books;
use crate::cli::output::Table;
use anyhow::Context;
use prost::Message;
use schemas::dates::format_instant;
use schemas::wire::{Command, EventKey};

const COLUMNS: [&str; 8] =
    ["event", "source", "type", "occurred_at", "subject", "legs", "rule", "partitionkey"];

/// A parked event, and the slot that is its home.
pub(super) type Found = (u32, Command);

/// Events that are parked.
pub(super) fn all(books: &Books) -> anyhow::Result<Vec<Found>> {
    let found = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let of = |slot: &posting::state::Slot| {
            let parked = slot.groups.parked().map(|(_, group)| (slot.slot, group.command.clone()));
            parked.collect::<Vec<_>>()
        };
        slots.flat_map(of).collect::<Vec<_>>()
    })?;
    let read =
        |(slot, command)| Ok((slot, Command::decode(command).context("a parked event does not decode")?));
    found.concat().into_iter().map(read).collect()
}

/// `parked list`: the oldest first.
pub(super) fn list(books: &Books, limit: usize) -> anyhow::Result<Answer> {
    let mut found = all(books)?;
    found.sort_by_key(|(slot, command)| (command.occurred_at_us, *slot, command.event_offset));
    let count = found.len();
    found.truncate(limit);
    let mut table = Table::new("parked", &COLUMNS);
    for (slot, command) in found {
        let EventKey { source, id } = command.event.unwrap_or_default();
        let key = key_of(books, slot, &id)?;
        table.row([
            id.into(),
            source.into(),
            command.r#type.into(),
            format_instant(command.occurred_at_us).into(),
            (!command.subject.is_empty()).then_some(command.subject).into(),
            (command.leg.len() as u64).into(),
            command.rule.into(),
            key.into(),
        ]);
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = match count {
        0 => Some("nothing is parked".to_owned()),
        n if n > limit => Some(format!("{limit} of {n} events; --limit shows more")),
        _ => None,
    };
    Ok(answer)
}
