//! Tables of a slot's state: rows by number, and numbers by hash.
//!
//! Nearly every look-up of a window meets a row that no cache holds, so what counts is how many places one touches: a
//! slot of the [`Index`] (eight bytes: the hash, and the number), then the row. The index keeps enough of the hash to
//! grow without looking at rows, and rows never move.

mod index;
mod rows;

pub use index::{Index, spread};
pub use rows::Rows;
