//! Metrics for Prometheus: a dictionary of names, values that are gathered when they are asked for, and their text.
//!
//! A process tells of what it does itself: its slots, its workers, its mirror. Counts of events come from the states that
//! the processors keep, so that they are absolute, survive restarts and are those of a committed cut; nothing is counted a
//! second time. Bounds: how long a processor may take to answer ([`WAIT`]); a reader of the log for each processor that has
//! something before it.

pub mod dictionary;
mod gather;
mod lag;
mod reference;
mod samples;

pub use gather::{Spans, WAIT, gather};
pub use reference::reference;
pub use samples::{MEDIA_TYPE, Samples, Value};
