//! The command line: what it takes ([`args`]), whom it asks ([`ask`]) and how it answers ([`output`]), and both as a
//! page ([`reference`]). `status` has a [`screen`], and [`watch`] keeps it there; an audit is kept on by
//! [`follow`], snapshots by [`each_day`].

pub mod args;
pub mod ask;
pub mod commands;
pub mod each_day;
pub mod follow;
pub mod output;
pub mod reference;
pub mod screen;
pub mod watch;
