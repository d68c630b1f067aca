//! Business events as CloudEvents JSON, as an upstream system would send them.

use serde_json::{Value, json};

/// An event that can be written.
#[derive(Debug, Clone)]
pub struct Event {
    /// CloudEvents `id`.
    pub id: String,
    /// CloudEvents `type`.
    pub kind: &'static str,
    /// CloudEvents `subject`: where it is at home.
    pub subject: String,
    /// CloudEvents `time`, RFC 3339.
    pub time: String,
    /// CloudEvents `data`.
    pub data: Value,
}

/// Source of every event here.
pub const SOURCE: &str = "/shop";

impl Event {
    /// Moves money between two accounts.
    #[must_use]
    pub fn transfer(id: &str, subject: &str, time: &str, (from, to): (&str, &str), amount: &str) -> Self {
        let data = json!({ "from": from, "to": to, "asset": "CNY", "amount": amount });
        Self { id: id.into(), kind: "transfer", subject: subject.into(), time: time.into(), data }
    }

    /// The bytes of the record.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let event = json!({
            "specversion": "1.0", "id": self.id, "source": SOURCE, "type": self.kind,
            "subject": self.subject, "time": self.time, "data": self.data,
        });
        event.to_string().into_bytes()
    }
}

/// Minor units of two decimals as text.
#[must_use]
pub fn yuan(cents: u64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}
