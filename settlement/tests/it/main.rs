//! Settlement on journals made by a small builder: balances, days, contradictions, replay.
#![allow(clippy::unwrap_used, clippy::panic)] // the helpers of a test fail by panicking, as its functions do

mod balances;
mod contradictions;
mod days;
mod journal;
mod model;
mod queries;
mod world;
