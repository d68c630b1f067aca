//! The command line: what it takes ([`args`]) and how it answers ([`output`]).

pub mod args;
pub mod output;
