//! A reason with the detail that people need, and the collector that keeps the first in precedence order.

use crate::reason::Reason;
use std::fmt;

/// Longest piece of foreign text quoted in a detail, in characters.
pub const QUOTE_CHARS_MAX: usize = 64;

/// Why an input was not taken, with the field and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Stable reason.
    pub reason: Reason,
    /// For people: which field, what was found, what was expected.
    pub detail: String,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.detail)
    }
}

/// Faults found in one input. Only the first in precedence order ([`Reason`]) is kept; of equals, the earliest
/// noted. Judging goes on after a fault as far as it can, so that the order in which checks run does not matter.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Faults {
    first: Option<Rejection>,
}

impl Faults {
    /// Notes a fault; `detail` is made only if it is kept.
    pub fn note(&mut self, reason: Reason, detail: impl FnOnce() -> String) {
        if self.first.as_ref().is_none_or(|kept| reason < kept.reason) {
            self.first = Some(Rejection { reason, detail: detail() });
        }
    }

    /// Whether nothing was noted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The fault to report.
    #[must_use]
    pub fn into_first(self) -> Option<Rejection> {
        self.first
    }
}

/// `text` as it may stand in a detail: quoted, escaped, cut after [`QUOTE_CHARS_MAX`] characters.
#[must_use]
pub fn quote(text: &str) -> String {
    match text.char_indices().nth(QUOTE_CHARS_MAX) {
        Some((end, _)) => format!("{:?}...", text.get(..end).unwrap_or_default()),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_in_precedence_order_is_kept() {
        let mut faults = Faults::default();
        faults.note(Reason::UnknownAsset, || "a".into());
        faults.note(Reason::BadField, || "b".into());
        faults.note(Reason::BadField, || "c".into());
        faults.note(Reason::BadAccount, || unreachable!("not kept, so not made"));
        let kept = faults.into_first().unwrap();
        assert_eq!((kept.reason, kept.detail.as_str()), (Reason::BadField, "b"));
    }

    #[test]
    fn quotes_are_bounded_and_escaped() {
        assert_eq!(quote("a\n\"b"), r#""a\n\"b""#);
        assert_eq!(quote(&"é".repeat(65)), format!("\"{}\"...", "é".repeat(64)));
    }
}
