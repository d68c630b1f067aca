//! The ledger: applies double entry to commands, one writer per partition.
//!
//! Phases of a window: credits of other partitions first (they cannot be refused), then commands in order. Each
//! command is judged on an overlay of the slot's state; what it changes is written down as journal items with
//! absolute after-values. At the end of the window one clearing entry per peer, asset, book and date balances
//! what crossed partitions, so that every journal batch sums to zero by itself.
//!
//! Limits: [`config::LEGS_MAX`] legs an event, [`config::CROSSING_MAX`] minor units for a leg that leaves its
//! partition, [`config::CLEARING_MAX`] for a clearing balance, [`config::HELD_MAX`] held items a channel,
//! [`config::RECENT_CHECKS`] remembered items a channel (older ones are compared with the own journal). Ordering
//! relied on: commands of one ingest slot come in the order of their chain, items of one channel in the order of
//! their sequence; nothing else.
//!
//! - [`decide`] is pure and reads only; [`state::Slot::apply`] is the only mutator, live and in replay.
//! - [`processor::Posting`] binds the two to the topics.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod accounts;
pub mod adjustment;
pub mod at_most;
pub mod capture;
pub mod changed;
pub mod channels;
pub mod clearing;
pub mod config;
pub mod days;
pub mod decide;
pub mod effects;
pub mod gaps;
pub mod groups;
pub mod holds;
pub mod horizon;
pub mod id_table;
pub mod ids;
pub mod judge;
pub mod limits;
pub mod lines;
pub mod markers;
pub mod metadata;
pub mod outbox;
pub mod overdraft;
pub mod overlay;
pub mod parked;
pub mod processor;
pub mod proposals;
pub mod receive;
pub mod recheck;
pub mod refusal;
pub mod resend;
pub mod reversal;
pub mod room;
pub mod state;
pub mod status;
pub mod suspense;
pub mod velocity;
pub mod views;

pub use config::PostingConfig;
pub use processor::Posting;
