//! The shapes of a mapping file as YAML has them, before they are judged.

use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) version: Spanned<u32>,
    #[serde(default)]
    pub(super) encoding: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) delimiter: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) quote: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) trim: Option<String>,
    #[serde(default)]
    pub(super) preamble: Option<Spanned<PreambleEntry>>,
    pub(super) fields: Spanned<FieldsEntry>,
    #[serde(default)]
    pub(super) sign: SignEntry,
    #[serde(default)]
    pub(super) amounts: Option<Spanned<AmountsEntry>>,
    #[serde(default)]
    pub(super) skip: Vec<Spanned<SkipEntry>>,
    #[serde(default)]
    pub(super) ignore: Option<Spanned<IgnoreEntry>>,
    #[serde(default)]
    pub(super) tail: Option<Spanned<TailEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PreambleEntry {
    #[serde(default)]
    pub(super) lines: Option<u32>,
    #[serde(default)]
    pub(super) prefix: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldsEntry {
    pub(super) order: Spanned<FieldEntry>,
    #[serde(default)]
    pub(super) provider_order: Option<Spanned<FieldEntry>>,
    #[serde(default)]
    pub(super) kind: Option<Spanned<FieldEntry>>,
    #[serde(default)]
    pub(super) refund: Option<Spanned<FieldEntry>>,
    pub(super) asset: Spanned<FieldEntry>,
    pub(super) gross: Spanned<GrossEntry>,
    #[serde(default)]
    pub(super) fee: Option<Spanned<FeeEntry>>,
    #[serde(default)]
    pub(super) status: Option<Spanned<FieldEntry>>,
    pub(super) time: Spanned<TimeEntry>,
    #[serde(default)]
    pub(super) account: Option<Spanned<FieldEntry>>,
}

/// A text: a column, its values translated or in capitals, or the same text in every row.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FieldEntry {
    #[serde(default)]
    pub(super) column: Option<String>,
    #[serde(default)]
    pub(super) value: Option<String>,
    #[serde(default)]
    pub(super) map: Option<BTreeMap<String, String>>,
    #[serde(default)]
    pub(super) upper: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GrossEntry {
    #[serde(default)]
    pub(super) column: Option<String>,
    #[serde(default)]
    pub(super) credit: Option<String>,
    #[serde(default)]
    pub(super) debit: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeeEntry {
    pub(super) column: String,
    #[serde(default)]
    pub(super) absolute: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeEntry {
    pub(super) column: String,
    pub(super) format: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub(super) enum SignEntry {
    #[default]
    Unsigned,
    NegativeRefunds,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct AmountsEntry {
    #[serde(default)]
    pub(super) decimal: Option<String>,
    #[serde(default)]
    pub(super) thousands: Option<String>,
    #[serde(default)]
    pub(super) minor: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SkipEntry {
    pub(super) column: String,
    pub(super) values: Vec<String>,
}

/// One text, or a list of header names.
pub(super) enum IgnoreEntry {
    All(String),
    Columns(Vec<String>),
}

impl<'de> Deserialize<'de> for IgnoreEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IgnoreVisitor)
    }
}

/// Reads names as texts, also those that YAML takes for a number or a boolean elsewhere.
struct IgnoreVisitor;

impl<'de> Visitor<'de> for IgnoreVisitor {
    type Value = IgnoreEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"*\" or a list of header names")
    }

    fn visit_str<E>(self, text: &str) -> Result<IgnoreEntry, E> {
        Ok(IgnoreEntry::All(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<IgnoreEntry, A::Error> {
        let mut columns = Vec::new();
        while let Some(column) = items.next_element()? {
            columns.push(column);
        }
        Ok(IgnoreEntry::Columns(columns))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TailEntry {
    pub(super) begins: String,
    #[serde(default)]
    pub(super) lines: Vec<String>,
    #[serde(default)]
    pub(super) header: bool,
    #[serde(default)]
    pub(super) ignore: Vec<String>,
    pub(super) totals: BTreeMap<String, Spanned<TotalEntry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TotalEntry {
    #[serde(default)]
    pub(super) count: Option<RowsEntry>,
    #[serde(default)]
    pub(super) sum: Option<String>,
    #[serde(default)]
    pub(super) of: Option<RowsEntry>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
pub(super) enum RowsEntry {
    All,
    Read,
    Payments,
    Refunds,
}
