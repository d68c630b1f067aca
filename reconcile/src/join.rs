//! The second half: our entries and the providers' lines meet under their match key.
//!
//! Slot q reads `recon.sides`/q and writes `matches`/q and `breaks`/q; its state rebuilds from its input.
//!
//! A line counts once its file is accepted; until then it is staged. Under one key, ours and theirs are each sorted
//! by content and paired by place, so that the order of arrival never matters. A pair is a match, or a break named
//! by its first difference (currency, amount, fee, status). What is over on one side is a `duplicate` when the other
//! side has anything under this key; else theirs is `theirs_only`, and ours is `ours_only` once the bill of its day
//! is accepted, nothing before.
//!
//! Two files of one source and day overlap: equal lines (content and occurrence) are the same line.
//!
//! Revisions are counted record by record, never by window, so that a replay ends in the same state; what is
//! published is the difference over a whole window.
//!
//! Order relied on: each writer's chain (checked), a file's lines before its release.

pub mod decide;
mod judge;
pub mod processor;
mod publish;
mod query;
pub mod state;

pub use processor::Join;
pub use query::{CaseFilter, FileGate, Gate, Summary, sort};
pub use state::JoinSlot;
