//! Integration tests of the seam: one binary.
mod exactly_once;
