//! The first half: both sides are moved to the partition of their match key.
//!
//! Slot p reads `bills.lines`/p and `journal`/p, and writes to every partition of `recon.sides`; its changelog is
//! `recon.state`/p.
//!
//! Order relied on: the journal's chain (checked), the chunks of a file in one partition in order (a chunk below the
//! next is a repetition and dropped, one above it stops the slot). Nothing waits here: what a window reads, it
//! writes.

pub mod decide;
pub mod processor;
pub mod state;

pub use processor::Rekey;
pub use state::RekeySlot;
