//! Commands and how their answers are printed.

pub mod args;
