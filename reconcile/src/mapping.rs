//! A mapping: how a delimited file of somebody else becomes the lines of a bill. Read from YAML, judged as a whole.
//!
//! The format is described in `docs/bills.md`; two examples lie in `docs/mappings/`. Nothing in a mapping is looked up or
//! run: it names columns, texts and signs, so the same file always gives the same lines.
//! Bounds: [`COLUMNS_MAX`] columns, [`TAIL_LINES_MAX`] lines of the tail.

mod amounts;
mod file;
mod pattern;
mod read;

pub use amounts::AmountStyle;
pub use pattern::Pattern;

use crate::charset::Charset;
use schemas::batch::Hash;
use std::collections::BTreeMap;
use thiserror::Error;

/// Most columns of a mapped file.
pub const COLUMNS_MAX: usize = 1_024;
/// Most lines of a tail, and of a preamble.
pub const TAIL_LINES_MAX: usize = 64;

/// Why a mapping is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct MappingError {
    /// Line in the text, counted from 1; 0 = unknown.
    pub line: u64,
    /// What is wrong and what was expected, with line and field.
    pub message: String,
}

/// A mapping, read and checked. Columns are places in [`Mapping::columns`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// SHA-256 of the file's text.
    pub(crate) digest: Hash,
    pub(crate) charset: Charset,
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    pub(crate) trim: String,
    pub(crate) preamble: Preamble,
    /// Every header name that the mapping uses.
    pub(crate) columns: Vec<String>,
    pub(crate) ignore: Ignore,
    pub(crate) order: Text,
    pub(crate) provider_order: Option<Text>,
    pub(crate) kind: Option<Text>,
    pub(crate) refund: Option<Text>,
    pub(crate) asset: Text,
    pub(crate) gross: Gross,
    pub(crate) fee: Option<Fee>,
    pub(crate) status: Option<Text>,
    pub(crate) time: Time,
    pub(crate) account: Option<Text>,
    pub(crate) sign: Sign,
    pub(crate) amounts: AmountStyle,
    pub(crate) skip: Vec<Skip>,
    pub(crate) tail: Option<Tail>,
}

/// Lines before the header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Preamble {
    /// So many.
    Lines(u32),
    /// Those that begin with this.
    Prefix(String),
}

/// Columns that are left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ignore {
    /// Every column that is not used.
    All,
    /// These.
    Columns(Vec<String>),
}

/// A text of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// The same in every row.
    Same(String),
    /// A column's.
    Column {
        column: usize,
        /// What its values mean; a value that is not there is refused.
        map: Option<BTreeMap<String, String>>,
        /// Whether letters become capitals.
        upper: bool,
    },
}

/// Where the amount of a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gross {
    /// In one column.
    Column(usize),
    /// In one of two: payments in `credit`, refunds in `debit`.
    Sides { credit: usize, debit: usize },
}

/// Where the fee stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fee {
    pub(crate) column: usize,
    pub(crate) absolute: bool,
}

/// When a row is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) column: usize,
    pub(crate) format: String,
}

/// What a minus before an amount says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sign {
    /// None may stand there.
    Unsigned,
    /// The row is a refund.
    NegativeRefunds,
}

/// Rows that are left out: those with one of these values in the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Skip {
    pub(crate) column: usize,
    pub(crate) values: Vec<String>,
}

/// The lines after the last row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) begins: String,
    pub(crate) form: TailForm,
    /// Totals by name.
    pub(crate) totals: Vec<(String, Total)>,
}

/// How the totals are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TailForm {
    /// Each line after its pattern.
    Lines(Vec<Pattern>),
    /// A header with the totals' names, then a row. These names are left alone.
    Header { ignore: Vec<String> },
}

/// What a control total is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Total {
    /// Column that is summed; `None` = rows are counted.
    pub(crate) sum: Option<usize>,
    pub(crate) of: Rows,
}

/// Which rows a total is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// All, those left out too.
    All,
    /// Those not left out.
    Read,
    Payments,
    Refunds,
}

impl Mapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// [`MappingError`] names line, field and what was expected there.
    pub fn parse(yaml: &str) -> Result<Self, MappingError> {
        read::mapping(yaml)
    }
}
