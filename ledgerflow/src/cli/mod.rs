//! The command line: what it takes ([`args`]), whom it asks ([`ask`]) and how it answers ([`output`]), and both as a
//! page ([`reference`]).

pub mod args;
pub mod ask;
pub mod commands;
pub mod output;
pub mod reference;
