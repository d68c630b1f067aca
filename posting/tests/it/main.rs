//! What holds the posting core: ledger cases, an independent model, channels, chains, restores.
//!
//! [`cluster`] runs every posting slot without a log; [`events`] is the vocabulary of the events sent to it;
//! [`model`] walks the journals and says what each line had to be. The other modules are tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

extern crate posting as posting;

mod at_most;
mod cases;
mod chains;
mod channels;
mod clearing;
mod cluster;
mod days;
mod details;
mod events;
mod fuzz;
mod histories;
mod homes;
mod horizon;
mod limits;
mod metadata;
mod model;
mod overdraft;
mod pairs;
mod refusals;
mod resend;
mod restore;
mod reversals;
mod script;
mod sizes;
mod two_principals;
mod velocity;
mod watch;
