//! The command line: what it takes ([`args`]) and how it answers ([`output`]), and both as a
//! page ([`reference`]).

pub mod args;
pub mod commands;
pub mod output;
pub mod reference;
