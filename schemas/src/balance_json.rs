//! JSON of the topics `balances`, `balances.daily` and `flow`.
//!
//! Amounts are decimal strings, and beside them integers of minor units as strings (they pass 53 bits). `balance`
//! stands on the account's normal side; `debit_minus_credit_minor` has the sign of the wire. The JSON Schemas are
//! `schemas/json/balances.json`, `balances.daily.json` and `flow.json`; a test holds them against these structs.

use crate::versioned::{self, RecordError};
use crate::wire::Side;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Version of the records here.
pub const FORMAT: u32 = 1;

/// The side on which an account normally has its balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormalSide {
    /// Assets and expenses.
    Debit,
    /// Liabilities and income.
    Credit,
}

impl NormalSide {
    /// Its name, as the JSON has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }
}

impl From<Side> for NormalSide {
    fn from(side: Side) -> Self {
        if side == Side::Credit { Self::Credit } else { Self::Debit }
    }
}

impl From<NormalSide> for Side {
    fn from(side: NormalSide) -> Self {
        match side {
            NormalSide::Debit => Self::Debit,
            NormalSide::Credit => Self::Credit,
        }
    }
}

/// Topic `balances` on a log with key compaction: newest balance of an account, keyed `account|asset`. On the
/// embedded log the same figures are a `BalancesBody`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance<'a> {
    /// Version of this format. Now 1.
    pub format: u32,
    /// Account name.
    pub account: Cow<'a, str>,
    /// Asset code.
    pub asset: Cow<'a, str>,
    /// Balance on the normal side, in major units.
    pub balance: String,
    /// The same in minor units.
    pub balance_minor: String,
    /// Debits minus credits, in minor units.
    pub debit_minus_credit_minor: String,
    /// Side on which `balance` stands.
    pub normal_side: NormalSide,
    /// Decimals of the minor unit.
    pub exponent: u8,
    /// Sequence of the last entry in it.
    pub seq: u64,
    /// Last business day booked, `YYYY-MM-DD`.
    pub last_date: String,
    /// Balance at the end of the day before `last_date`, on the normal side, in major units.
    pub previous_balance: String,
    /// The same in minor units.
    pub previous_balance_minor: String,
    /// Book of the account.
    pub book: Cow<'a, str>,
    /// Generation of the books.
    pub generation: u32,
    /// Settlement slot, which is the journal partition.
    pub slot: u32,
    /// Journal batch up to which it is complete.
    pub journal_batch: u64,
}

/// Topic `balances` on a log with key compaction: how far a slot's balances are complete, keyed
/// `complete_until|slot`. Whoever has read it has read every balance that the journal changed up to there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompleteUntil {
    /// Version of this format. Now 1.
    pub format: u32,
    /// Always `complete_until`; a balance has no such field.
    pub kind: String,
    /// Generation of the books.
    pub generation: u32,
    /// Settlement slot, which is the journal partition.
    pub slot: u32,
    /// Journal batch up to which every balance of the slot is published.
    pub journal_batch: u64,
    /// Business time of that batch, RFC 3339; null before the first tick.
    pub business_time: Option<String>,
}

/// Topic `balances.daily`: closing balance of an account, keyed `account|asset|day|revision`.
///
/// An account has a record only for days on which it was booked. Its closing of any closed day T is the record with
/// the newest `day` at or before T and, of that day, the highest `revision`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DailyBalance<'a> {
    /// Version of this format. Now 1.
    pub format: u32,
    /// Account name.
    pub account: Cow<'a, str>,
    /// Asset code.
    pub asset: Cow<'a, str>,
    /// Business day, `YYYY-MM-DD`.
    pub day: String,
    /// 1 at the close of the day, one more for every journal batch that books back into it.
    pub revision: u32,
    /// Closing balance on the normal side, in major units.
    pub balance: String,
    /// The same in minor units.
    pub balance_minor: String,
    /// Debits minus credits, in minor units.
    pub debit_minus_credit_minor: String,
    /// Side on which `balance` stands.
    pub normal_side: NormalSide,
    /// Decimals of the minor unit.
    pub exponent: u8,
    /// Book of the account.
    pub book: Cow<'a, str>,
    /// Generation of the books.
    pub generation: u32,
    /// Settlement slot, which is the journal partition.
    pub slot: u32,
    /// Journal batch after which this is the closing balance.
    pub journal_batch: u64,
}

impl<'a> DailyBalance<'a> {
    /// Reads a record's value.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(value: &'a [u8]) -> Result<Self, RecordError> {
        versioned::parse(value, FORMAT)
    }
}

/// How far a business day has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DayState {
    /// Announced to ingest.
    Open,
    /// The next day is announced; what is under way is still booked into this one.
    Cutting,
    /// Every slot has published its closings.
    Closed,
}

/// Topic `flow`: a business day changed its state, keyed `book|day`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Version of this format. Now 1.
    pub format: u32,
    /// What the status is of; `day` so far.
    pub kind: String,
    /// Book of the day.
    pub book: String,
    /// The day, `YYYY-MM-DD`.
    pub day: String,
    /// Its state.
    pub state: DayState,
    /// Business time at which it took that state, RFC 3339; null before the first tick.
    pub since: Option<String>,
    /// Number of settlement slots.
    pub slots: u32,
    /// How many of them have published the day's closings.
    pub aligned: u32,
}

impl FlowStatus {
    /// Reads a record's value.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(value: &[u8]) -> Result<Self, RecordError> {
        versioned::parse(value, FORMAT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn balance() -> Balance<'static> {
        Balance {
            format: FORMAT,
            account: "users:42:wallet".into(),
            asset: "CNY".into(),
            balance: "12.50".into(),
            balance_minor: "1250".into(),
            debit_minus_credit_minor: "-1250".into(),
            normal_side: NormalSide::Credit,
            exponent: 2,
            seq: 7,
            last_date: "2026-11-21".into(),
            previous_balance: "0.00".into(),
            previous_balance_minor: "0".into(),
            book: "main".into(),
            generation: 0,
            slot: 3,
            journal_batch: 12,
        }
    }

    fn complete_until() -> CompleteUntil {
        CompleteUntil {
            format: FORMAT,
            kind: "complete_until".into(),
            generation: 0,
            slot: 3,
            journal_batch: 12,
            business_time: None,
        }
    }

    fn daily() -> DailyBalance<'static> {
        DailyBalance {
            format: FORMAT,
            account: "bank:icbc".into(),
            asset: "JPY".into(),
            day: "2026-11-21".into(),
            revision: 2,
            balance: "-5".into(),
            balance_minor: "-5".into(),
            debit_minus_credit_minor: "-5".into(),
            normal_side: NormalSide::Debit,
            exponent: 0,
            book: "main".into(),
            generation: 0,
            slot: 0,
            journal_batch: 1,
        }
    }

    fn flow() -> FlowStatus {
        FlowStatus {
            format: FORMAT,
            kind: "day".into(),
            book: "main".into(),
            day: "2026-11-21".into(),
            state: DayState::Cutting,
            since: Some("2026-11-21T16:00:00Z".into()),
            slots: 16,
            aligned: 3,
        }
    }

    fn keys(value: &Value) -> BTreeSet<String> {
        value.as_object().unwrap().keys().cloned().collect()
    }

    /// The record's fields are the schema's properties, all of them required, each of a type that it allows.
    fn check(schema: &Value, record: &Value) {
        assert_eq!(keys(record), keys(&schema["properties"]));
        let required: BTreeSet<String> =
            schema["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect();
        assert_eq!(required, keys(record));
        assert_eq!(schema["additionalProperties"], Value::Bool(false));
        for (name, value) in record.as_object().unwrap() {
            let property = &schema["properties"][name];
            assert!(property["description"].is_string(), "{name} has no description");
            let json_type = match value {
                Value::String(_) => "string",
                Value::Number(_) => "integer",
                Value::Null => "null",
                other => panic!("{name}: {other} is no type of these records"),
            };
            let types = &property["type"];
            let allowed = property["const"] == *value
                || property["enum"].as_array().is_some_and(|all| all.contains(value))
                || types == json_type
                || types.as_array().is_some_and(|all| all.iter().any(|t| t == json_type));
            assert!(allowed, "{name}: {value} against {property}");
        }
    }

    fn schema(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn records_and_json_schemas_agree() {
        let balances = schema(include_str!("../json/balances.json"));
        check(&balances["oneOf"][0], &serde_json::to_value(balance()).unwrap());
        check(&balances["oneOf"][1], &serde_json::to_value(complete_until()).unwrap());
        let dailies = schema(include_str!("../json/balances.daily.json"));
        check(&dailies, &serde_json::to_value(daily()).unwrap());
        let flows = schema(include_str!("../json/flow.json"));
        check(&flows, &serde_json::to_value(flow()).unwrap());
        for state in [DayState::Open, DayState::Cutting, DayState::Closed] {
            let named = serde_json::to_value(state).unwrap();
            assert!(flows["properties"]["state"]["enum"].as_array().unwrap().contains(&named));
        }
    }

    #[test]
    fn old_records_still_read() {
        let text = r#"{"format":1,"account":"users:42:wallet","asset":"CNY","balance":"12.50","balance_minor":"1250",
            "debit_minus_credit_minor":"-1250","normal_side":"credit","exponent":2,"seq":7,"last_date":"2026-11-21",
            "previous_balance":"0.00","previous_balance_minor":"0","book":"main","generation":0,"slot":3,
            "journal_batch":12}"#;
        assert_eq!(serde_json::from_str::<Balance<'_>>(text).unwrap(), balance());
        let text = r#"{"format":1,"account":"bank:icbc","asset":"JPY","day":"2026-11-21","revision":2,"balance":"-5",
            "balance_minor":"-5","debit_minus_credit_minor":"-5","normal_side":"debit","exponent":0,"book":"main",
            "generation":0,"slot":0,"journal_batch":1}"#;
        assert_eq!(serde_json::from_str::<DailyBalance<'_>>(text).unwrap(), daily());
        let text = r#"{"format":1,"kind":"day","book":"main","day":"2026-11-21","state":"CUTTING",
            "since":"2026-11-21T16:00:00Z","slots":16,"aligned":3}"#;
        assert_eq!(serde_json::from_str::<FlowStatus>(text).unwrap(), flow());
    }
}
