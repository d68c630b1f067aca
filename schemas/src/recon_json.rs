//! JSON of topics `matches` and `breaks`: one case per record, key = `case_id`.
//!
//! A case is one occurrence of a match key (provider, account, order, kind, refund). It is a match, a break, or
//! nothing yet. Each time it changes, its `revision` grows by one or more, and it is published: what it was is ended
//! on its topic (`resolved` for a break, `retracted` for a match), what it is now is published as `open`. The record
//! with the highest revision of a case is the one that holds on each topic. Schemas: `schemas/json/matches.json` and
//! `schemas/json/breaks.json`.

use serde::{Deserialize, Serialize};

/// Version of this format.
pub const FORMAT: u32 = 1;

/// What a case is. Where several differences hold, the first in this order names the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// Both sides agree. Topic `matches`; all other kinds are breaks.
    Matched,
    /// The currencies differ.
    Currency,
    /// The amounts differ.
    Amount,
    /// The fees differ after rounding.
    Fee,
    /// The states differ.
    Status,
    /// The entry's bill day is closed and no line has its key.
    OursOnly,
    /// No entry has the line's key.
    TheirsOnly,
    /// One more of the same key than the other side has.
    Duplicate,
}

impl CaseKind {
    /// Every kind, in order.
    pub const ALL: [Self; 8] = [
        Self::Matched,
        Self::Currency,
        Self::Amount,
        Self::Fee,
        Self::Status,
        Self::OursOnly,
        Self::TheirsOnly,
        Self::Duplicate,
    ];

    /// Name in JSON and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Matched => "matched",
            Self::Currency => "currency",
            Self::Amount => "amount",
            Self::Fee => "fee",
            Self::Status => "status",
            Self::OursOnly => "ours_only",
            Self::TheirsOnly => "theirs_only",
            Self::Duplicate => "duplicate",
        }
    }

    /// Inverse of [`Self::name`].
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// Whether a case still is what its record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// In force.
    Open,
    /// The break has ended.
    Resolved,
    /// The match has ended.
    Retracted,
}

/// One record of `matches` or `breaks`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// [`FORMAT`].
    pub format: u32,
    /// Hex SHA-256 of the match key and the occurrence: the same in either order of arrival.
    pub case_id: String,
    /// Grows with every change of this case.
    pub revision: u64,
    /// What it is (or was, when ended).
    pub kind: CaseKind,
    /// Whether it still is.
    pub state: CaseState,
    /// Provider, such as `wechat`.
    pub provider: String,
    /// Our account at the provider.
    pub account: String,
    /// Our order number.
    pub order: String,
    /// `payment` or `refund`.
    pub order_kind: String,
    /// Our refund number; empty for a payment.
    pub refund: String,
    /// Which of several with this key, counted from 0 in the order of their content.
    pub occurrence: u32,
    /// Bill day, `YYYY-MM-DD`: the line's bill's, or without a line the entry's local day at the provider.
    pub day: String,
    /// Our entry.
    pub ours: Option<CaseOurs>,
    /// The provider's line.
    pub theirs: Option<CaseTheirs>,
    /// Every difference, the one that names the case first.
    pub differences: Vec<Difference>,
    /// The provider's fee less its rounded value, major units; absent where no fee was compared.
    pub residue: Option<String>,
}

/// Our side of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseOurs {
    /// CloudEvents source.
    pub event_source: String,
    /// CloudEvents id.
    pub event_id: String,
    /// Leg of the event, counted from 0.
    pub leg: u32,
    /// Account of the entry.
    pub entry_account: String,
    /// Number of the entry on its account and asset.
    pub entry_seq: u64,
    /// Journal partition that holds it.
    pub journal_partition: u32,
    /// Batch of that partition.
    pub journal_batch: u64,
    /// When it happened, RFC 3339.
    pub occurred_at: String,
    /// `YYYY-MM-DD`.
    pub accounting_date: String,
    /// Asset code.
    pub asset: String,
    /// Gross amount, major units.
    pub amount: String,
    /// Gross amount, minor units.
    pub amount_minor: String,
    /// Fee, major units; absent where we do not know it.
    pub fee: Option<String>,
    /// Fee, minor units.
    pub fee_minor: Option<String>,
    /// State; absent where we do not know it.
    pub status: Option<String>,
}

/// The provider's side of a case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseTheirs {
    /// Id of the bill file.
    pub file: String,
    /// Name of the bill file.
    pub file_name: String,
    /// Line of the file, counted from 1.
    pub line: u32,
    /// The provider's own number.
    pub provider_order: String,
    /// Provider's local time as written.
    pub time: String,
    /// Currency as written.
    pub asset: String,
    /// Amount as the provider scales it, major units.
    pub amount: String,
    /// Amount in minor units; absent where it is finer than the asset, or the asset is not ours.
    pub amount_minor: Option<String>,
    /// Fee as the provider scales it, major units; absent where the bill has none.
    pub fee: Option<String>,
    /// Fee rounded to minor units; absent where there is none or the asset is not ours.
    pub fee_minor: Option<String>,
    /// State in our words.
    pub status: String,
}

/// One figure or word that the two sides do not share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `currency`, `amount`, `fee` or `status`.
    pub field: CaseKind,
    /// Ours.
    pub ours: String,
    /// Theirs.
    pub theirs: String,
}
