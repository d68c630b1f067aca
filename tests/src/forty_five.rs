//! A provider's bill of 45 lines and the events behind it: the main job's input.
//!
//! The bill is the real one where it lies (`LEDGERFLOW_SAMPLES`, else `../shared/samples` beside the workspace), else one
//! of our own with the same shape: 31 payments and 14 refunds whose payments are not in the file, fees with five
//! decimals, two order numbers of the provider that repeat, the same control totals. Merchants are invented, everything
//! else of an event stands in the bill.

use crate::events::Event;
use serde_json::json;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Morning of the bill's day where the provider is.
pub const MORNING: &str = "2019-02-19T09:00:00+08:00";

/// What we booked and what the provider says.
#[derive(Debug, Clone)]
pub struct Day {
    /// One for each line of the bill, in its order.
    pub events: Vec<Event>,
    /// The bill's content.
    pub bill: String,
}

impl Day {
    /// Order number and refund number of a line of the file (counted from 1), as cases are named.
    ///
    /// # Panics
    /// There is no such line.
    #[must_use]
    pub fn key(&self, line: usize) -> String {
        let data = &self.events[line - 2].data;
        format!("{}/{}", data["order_id"].as_str().unwrap(), data["refund_id"].as_str().unwrap_or_default())
    }
}

/// Says on the real standard output, which the test harness keeps for itself, that a sample was read.
fn tell(path: &Path) {
    // A closed pipe is the reader's own business.
    let _ = writeln!(std::io::stdout(), "sample read: {}", path.display());
}

fn bill() -> String {
    let set = std::env::var_os("LEDGERFLOW_SAMPLES");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let folder = set.as_ref().map_or_else(|| root.join("../shared/samples"), PathBuf::from);
    let path = folder.join("wechat_merchant/bill.ALL.csv");
    match std::fs::read_to_string(&path) {
        Ok(content) => {
            tell(&path.canonicalize().unwrap_or(path));
            content
        }
        Err(error) if set.is_some() => panic!("{}: {error}", path.display()),
        Err(_) => ours(),
    }
}

/// The made bill.
///
/// # Panics
/// It is not where it is committed.
#[must_use]
pub fn ours() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("reconcile/fixtures/wechat_45.csv")).unwrap()
}

/// The event behind a row of the bill.
fn event(row: &str) -> Event {
    let cells: Vec<&str> = row.trim_start_matches('`').split(",`").collect();
    let refund = cells[9] == "REFUND";
    let mut data = json!({
        "order_id": cells[6], "merchant_id": "7", "provider": "wechat", "provider_account": cells[2],
        "currency": cells[11], "amount": cells[if refund { 16 } else { 24 }], "fee": cells[22],
    });
    let mut id = format!("paid-{}", cells[6]);
    if refund {
        data["refund_id"] = json!(cells[15]);
        id = format!("refunded-{}", cells[15]);
    }
    let kind = if refund { "refund.succeeded" } else { "order.paid" };
    let time = format!("{}+08:00", cells[0].replace(' ', "T"));
    Event { id, kind, subject: format!("orders:{}", cells[6]), time, data }
}

/// The day of a bill.
///
/// # Panics
/// It has not 31 payments and 14 refunds.
#[must_use]
pub fn day_of(bill: String) -> Day {
    let rows: Vec<&str> = bill.lines().skip(1).take_while(|line| line.starts_with('`')).collect();
    let events: Vec<Event> = rows.into_iter().map(event).collect();
    assert_eq!(events.iter().filter(|event| event.kind == "order.paid").count(), 31);
    assert_eq!(events.len(), 45);
    Day { events, bill }
}

/// The day of the real bill, or of ours where that is not there.
#[must_use]
pub fn day() -> Day {
    day_of(bill())
}
