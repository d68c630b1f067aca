//! Why a bill file is quarantined: one reason, a stable code, and a text that names line and column.

use std::io;
use thiserror::Error;

macro_rules! reasons {
    ($($variant:ident = $code:literal, $meaning:literal;)*) => {
        /// Reason of a quarantined file, in the order in which a file is read.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum QuarantineReason { $(#[doc = $meaning] $variant,)* }

        impl QuarantineReason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            /// Stable code, as in `BillEnd.reason`.
            #[must_use]
            pub const fn code(self) -> &'static str { match self { $(Self::$variant => $code,)* } }
            /// What it means.
            #[must_use]
            pub const fn meaning(self) -> &'static str { match self { $(Self::$variant => $meaning,)* } }
        }
    };
}

reasons! {
    Gzip = "gzip", "The file is compressed and cannot be unpacked to its end.";
    Zip = "zip", "The file is a ZIP and cannot be unpacked to its end.";
    ZipMembers = "zip_members", "The ZIP does not hold the members that the provider's has.";
    TooLarge = "too_large", "A member of the ZIP would be larger than the limit.";
    LineTooLong = "line_too_long", "A line is longer than the limit.";
    NotUtf8 = "not_utf8", "A line is not UTF-8.";
    Encoding = "encoding", "A line cannot be read in the file's encoding.";
    Preamble = "preamble", "The lines before the header are not the format's.";
    Empty = "empty", "The file has no header line.";
    UnknownHeader = "unknown_header", "A header name is not one of the provider's, or does not belong to this layout.";
    RepeatedHeader = "repeated_header", "A header name stands twice.";
    MissingHeader = "missing_header", "A column of the layout is missing.";
    MalformedRow = "malformed_row", "A row has another number of fields than the header, or a field that cannot be read.";
    WrongAccount = "wrong_account", "A row belongs to another merchant account than the file's.";
    NoTotals = "no_totals", "The file ends before its control totals: it is cut off.";
    MalformedTotals = "malformed_totals", "The control totals cannot be read.";
    AfterTotals = "after_totals", "Something follows the control totals.";
    ControlTotals = "control_totals", "A control total differs from the sum of the rows.";
    NoDay = "no_day", "No row tells which day the bill is for, and no day was given.";
}

/// A quarantined file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}: {detail}", reason.code())]
pub struct Quarantine {
    /// Reason.
    pub reason: QuarantineReason,
    /// Line, column and value, for people.
    pub detail: String,
}

impl Quarantine {
    /// A quarantine for `reason`.
    pub(crate) fn new(reason: QuarantineReason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// A malformed row: line counted from 1, name of the column.
    pub(crate) fn field(line: u32, column: &str, why: impl std::fmt::Display) -> Self {
        Self::new(QuarantineReason::MalformedRow, format!("line {line}, column {column}: {why}"))
    }
}

/// Why reading a bill stopped.
#[derive(Debug, Error)]
pub enum BillError {
    /// The file itself is at fault; it is quarantined.
    #[error(transparent)]
    Quarantine(#[from] Quarantine),
    /// The file could not be read; try again.
    #[error("bill cannot be read")]
    Io(#[from] io::Error),
}

/// `text` cut to a length that fits an error message.
pub(crate) fn excerpt(text: &str) -> String {
    cut(text, 40)
}

/// The name of a ZIP's member, for a message.
pub(crate) fn member_name(name: &str) -> String {
    cut(name, 120)
}

fn cut(text: &str, chars_max: usize) -> String {
    let mut out: String = text.chars().take(chars_max).collect();
    if text.chars().nth(chars_max).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique() {
        let mut codes: Vec<&str> = QuarantineReason::ALL.iter().map(|r| r.code()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), QuarantineReason::ALL.len());
        assert!(QuarantineReason::ALL.iter().all(|r| r.meaning().ends_with('.')));
    }
}
