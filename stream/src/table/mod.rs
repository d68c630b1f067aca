//! Tables of a slot's state: rows by number, numbers by hash, and which rows have changed.
//!
//! Nearly every look-up of a window meets a row that no cache holds, so what counts is how many places one touches: a
//! slot of the [`Index`] (eight bytes: the hash, and the number), then the row. The index keeps enough of the hash to
//! grow without looking at rows, and rows never move.

mod by_key;
mod changed;
mod index;
mod name;
mod rows;

pub use by_key::ByKey;
pub use changed::Changed;
pub use index::{Index, spread};
pub use name::Name;
pub use rows::Rows;
