//! Ingest: the flood pool and the gate of the ledger.
//!
//! **Phases of a window** (one slot): announcements of business days first, then events in shares of the three
//! lanes ([`lanes`]), then a tick when one is due. Every event ends in exactly one of two ways: a command on the
//! partition of its home, or a dead letter on `rejected` with its original bytes. Both, the markers, the ticks and
//! one batch of `ingest.state` leave in one transaction with the input positions.
//!
//! **What an event goes through**: CloudEvents envelope (`schemas::cloudevents`), posting rule ([`rules`]), legs
//! (`mapping`), accounting date, home. Judging an event goes on after a fault as far as it can; the reason given is
//! the first in the order of `schemas::reason::Reason`.
//!
//! **Limits**: event size, 32 levels of JSON, [`rules::LEGS_MAX`] legs, [`config::COMMAND_BYTES_MAX`] per command,
//! bodies sealed at [`config::SEAL_BYTES`].
//!
//! **Order relied on**: none between lanes, none within `events.*`; in `days` each announcement is the day after
//! the one before. Order given: within a window markers come first, then commands lane by lane, then the tick;
//! the batches of one slot on one commands partition are a chain.
//!
//! **Dates**: until its first announced day a slot reads no events. From then on its committed date is what events
//! count in; those of the day before may be booked back into it ([`config::LateEvents`]), older and newer ones keep
//! their own day as value date only.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

mod command;
pub mod config;
mod dating;
mod dead_letter;
mod decide;
pub mod lanes;
mod mapping;
mod outgoing;
mod plan;
pub mod principals;
pub mod processor;
pub mod rules;
pub mod state;
mod totals;

#[cfg(test)]
mod tests;
