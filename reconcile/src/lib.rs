//! Reconcile: providers' bills against our entries, as both arrive.
//!
//! Phases, each a file of its own:
//! - [`import`] (edge): a bill file becomes raw chunks and line chunks; a reader of its format ([`bill`]: [`wechat`],
//!   [`alipay`], [`mapped`] by a [`mapping`]) reads it, the control totals gate it, [`quarantine`] says why one is quarantined;
//! - [`rekey`] (processor): journal entries with a `match` and bill lines go to the partition of their
//!   [`match_key`];
//! - [`mod@join`] (processor): both sides meet; matches and breaks come out.
//!
//! Limits: a bill line of 64 KiB ([`lines`]), 1,000 lines a chunk, bodies of 512 KiB; a file may have any number of
//! lines. The join holds every key of the books' life so far.
//!
//! Order relied on: the journal's chain and the chains of `recon.sides`; the chunks of one file in one partition.
//! Nothing relies on whether an entry or its line comes first.
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod alipay;
pub mod bill;
mod chain_bytes;
pub mod charset;
mod columns;
pub mod config;
pub mod decimal;
mod gate;
pub mod import;
pub mod join;
pub mod lines;
pub mod mapped;
pub mod mapping;
pub mod match_key;
pub mod quarantine;
pub mod rekey;
pub mod wechat;
mod zipped;
