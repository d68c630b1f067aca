//! Integration tests of the seam: one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod copies;
mod exactly_once;
mod failing_disk;
mod ground;
mod hand_over;
mod look_back;
mod members;
mod nothing;
mod resting;
mod resume;
mod tally;
mod window_bytes;
mod yielding;
