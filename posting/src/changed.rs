//! Which event has changed an account last, and when: beside its status and its limits, for whoever asks.

use crate::lines::DecisionLine;
use schemas::wire::{Decision, EventKey};

/// The event that changed an account last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changed {
    /// The event.
    pub event: EventKey,
    /// Accounting date, days since 1970-01-01.
    pub date: i32,
}

impl Changed {
    /// As it is decided.
    #[must_use]
    pub fn by(line: &DecisionLine<'_>) -> Self {
        let event = &line.command.facts.event;
        let event = EventKey { source: event.source.to_owned(), id: event.id.to_owned() };
        Self { event, date: line.date }
    }

    /// As in the journal.
    #[must_use]
    pub fn of(decision: &Decision) -> Self {
        Self { event: decision.event.clone().unwrap_or_default(), date: decision.accounting_date }
    }
}
