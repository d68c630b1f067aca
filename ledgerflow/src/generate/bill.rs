//! A line of a provider's bill before it is written in the provider's format.

use schemas::dates::format_instant;
use schemas::recon_json::CaseKind;

/// Local time of the providers is ahead of UTC by this.
const ZONE_US: i64 = 8 * 3_600 * 1_000_000;

/// What a line reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// When, microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// When its order was paid; the same for a payment.
    pub paid_us: i64,
    /// Order number.
    pub order: String,
    /// Refund number; empty for a payment.
    pub refund: String,
    /// Amount.
    pub cents: u64,
    /// Fee in hundred-thousandths; a format with two decimals is given whole cents.
    pub fee_fine: u64,
    /// Currency; not every format has one.
    pub currency: &'static str,
    /// What became of a refund; not every format says it.
    pub refund_status: &'static str,
    /// Customer.
    pub user: u64,
}

impl Line {
    /// Whether it is a refund.
    #[must_use]
    pub const fn is_refund(&self) -> bool {
        !self.refund.is_empty()
    }

    /// Makes it differ from what we booked, as a break of this kind differs. A kind that is about how many lines there
    /// are changes none.
    pub const fn differ(&mut self, kind: CaseKind) {
        match kind {
            CaseKind::Currency => self.currency = "USD",
            CaseKind::Amount => self.cents += 100,
            CaseKind::Fee => self.fee_fine += 10_000,
            CaseKind::Status => self.refund_status = "PROCESSING",
            CaseKind::Matched | CaseKind::OursOnly | CaseKind::TheirsOnly | CaseKind::Duplicate => {}
        }
    }
}

/// Cents as a decimal text.
#[must_use]
pub fn yuan(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

/// `YYYY-MM-DD HH:MM:SS` at the providers.
#[must_use]
pub fn local_time(us: i64) -> String {
    let text = format_instant(us.saturating_add(ZONE_US));
    text.get(..19).unwrap_or(&text).replace('T', " ")
}
