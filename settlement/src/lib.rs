//! Settlement: balances and business days, derived from the journal.
//!
//! Phases of a window of slot p:
//! 1. read `days.aligned` (slot 0) and journal/p, batch by batch: envelope, chain and count are checked; every entry
//!    is checked against the slot's own figures and posted by the dual-balance rule ([`dual`]); an entry dated into a
//!    closed day revises that day's closing; after each batch an alignment under way closes its next accounts
//!    ([`closing`]);
//! 2. one balance per account changed in the window, the closings, what became of the days ([`days`]) and, on slot 0,
//!    announcements go out in the same transaction as the positions ([`publish`]): the committed position never
//!    passes a change whose balance is not published;
//! 3. only then `apply` puts the new figures into the state. Replay runs phase 1 on one record and the same `apply`.
//!
//! State is a function of the journal prefix and of the `days.aligned` prefix, each in its own order: neither how they
//! interleave nor where windows end leaves a trace. That is why closings advance per journal batch (a bound on accounts
//! looked at), revisions count journal batches, and the days announced are computed from both prefixes and not kept.
//!
//! Limits. A window ends early once it holds [`config::SettlementConfig::closings_per_batch`] daily records, and goes
//! on with the next record (a tick comes all the time). An account answers for the current balance, for the last date
//! booked and the day before it, and for the newest closing published; older closings are in `balances.daily`. An
//! entry dated before the newest closed day changes that day's closing and is counted as deep: closings before it stay
//! as they were published. One book.
//!
//! Order relied on: journal batches of one partition in chain order; `aligned(T)` in a journal after every entry of T
//! that is not flagged back-dated; T+2 dated by nobody before every slot has reported T.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod closing;
pub mod config;
pub mod contradiction;
pub mod days;
pub mod decide;
pub mod dual;
pub mod journal_view;
mod lines;
pub mod names;
pub mod processor;
pub mod publish;
pub mod query;
pub mod state;

pub use config::SettlementConfig;
pub use processor::Settlement;
pub use state::Slot;
