//! The first half: both sides are moved to the partition of their match key.
//!
//! Slot p reads `bills.lines`/p and `journal`/p, and writes to every partition of `recon.sides`; its changelog is
//! `recon.state`/p.
//!
//! Order relied on: the journal's chain (checked), the chunks of a file in one partition in order (a chunk below the
//! next is a repetition and dropped, one above it stops the slot).
//!
//! Whatever happened is read once and written at once. Business time goes on at most once in [`TICK_EVERY_US`], because it
//! goes to every partition; journal batches that tell nothing but time wait for that, or for a window full of them.

/// Business time between two ticks that are passed on, microseconds.
pub const TICK_EVERY_US: i64 = 60_000_000;

pub mod decide;
pub mod processor;
pub mod state;

pub use processor::Rekey;
pub use state::RekeySlot;
