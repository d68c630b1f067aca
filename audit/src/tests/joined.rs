//! Cases as a join would publish them: JSON of both sides, and what the history's sides come to.

use super::book_keeper::World;
use crate::amount::{date_text, of};
use crate::case_json::KINDS;
use crate::merkle::sha256;
use prost::Message;
use schemas::topics::Topic;
use schemas::wire::{BillLine, OurSide, SideItem, TheirSide, side_item::Item};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Minor units as a figure of two decimals.
fn major(minor: i128) -> String {
    format!("{}{}.{:02}", if minor < 0 { "-" } else { "" }, minor.abs() / 100, minor.abs() % 100)
}

fn ours_json(side: &OurSide) -> Value {
    let (m, event) = (side.r#match.clone().unwrap(), side.event.clone().unwrap_or_default());
    let (gross, fee) = (of(m.gross.as_ref()), m.fee.map(|fee| of(Some(&fee))));
    json!({
        "event_source": event.source, "event_id": event.id, "leg": side.leg,
        "entry_account": side.entry_account, "entry_seq": side.entry_seq,
        "journal_partition": side.journal_partition, "journal_batch": side.journal_batch,
        "occurred_at": "1970-01-01T00:00:00Z", "accounting_date": date_text(side.accounting_date),
        "asset": m.asset, "amount": major(gross), "amount_minor": gross.to_string(),
        "fee": fee.map(major), "fee_minor": fee.map(|fee| fee.to_string()),
        "status": Some(m.status).filter(|status| !status.is_empty()),
    })
}

fn theirs_json(side: &TheirSide) -> Value {
    let line = side.line.clone().unwrap();
    let figure = |decimal: Option<schemas::wire::Decimal>| {
        let decimal = decimal?;
        let (units, scale) = (of(decimal.units.as_ref()), decimal.scale as usize);
        let digits = format!("{:0>width$}", units.abs(), width = scale + 1);
        let (whole, rest) = digits.split_at(digits.len() - scale);
        Some(format!("{}{whole}{}{rest}", if units < 0 { "-" } else { "" }, if scale > 0 { "." } else { "" }))
    };
    json!({
        "file": side.file, "file_name": "bill.csv", "line": line.line, "provider_order": line.provider_order,
        "time": line.time, "asset": line.asset, "amount": figure(line.gross).unwrap_or_else(|| "0".into()),
        "amount_minor": null, "fee": figure(line.fee), "fee_minor": null, "status": line.status,
    })
}

/// Provider, account, order, kind, refund.
pub type Key = [String; 5];

pub fn key_of_ours(side: &OurSide) -> Key {
    let m = side.r#match.clone().unwrap();
    [m.provider, m.account, m.order, m.kind, m.refund]
}

pub fn key_of_theirs(side: &TheirSide) -> Key {
    let line: BillLine = side.line.clone().unwrap();
    [side.provider.clone(), side.account.clone(), line.order, line.kind, line.refund]
}

/// A case in force of its first revision, of a day where it has no line.
pub fn case(
    kind: usize,
    occurrence: u32,
    ours: Option<&OurSide>,
    theirs: Option<&TheirSide>,
    day: i32,
) -> Value {
    let key = ours.map(key_of_ours).or(theirs.map(key_of_theirs)).unwrap();
    let text: String = key.iter().map(|part| format!("{}:{part}", part.len())).collect();
    let id = sha256(format!("{text}#{occurrence}").as_bytes());
    let [provider, account, order, order_kind, refund] = key;
    json!({
        "format": 1, "case_id": id.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "revision": 1, "kind": KINDS[kind], "state": "open",
        "provider": provider, "account": account, "order": order, "order_kind": order_kind, "refund": refund,
        "occurrence": occurrence, "day": date_text(theirs.map_or(day, |theirs| theirs.day)),
        "ours": ours.map(ours_json), "theirs": theirs.map(theirs_json), "differences": [], "residue": null,
    })
}

/// One entry and one line of an order, as far as they are there.
type Pair = (Option<OurSide>, Option<TheirSide>);

impl World {
    /// Publishes a match or an amount for each order that is on both sides, and the lines that are alone. The entries'
    /// own bills never come.
    pub fn join(&mut self) {
        for q in 0..self.counts.internal {
            let mut pairs: BTreeMap<Key, Pair> = BTreeMap::new();
            let drafts = self.drafts(Topic::ReconSides, q).clone();
            for item in drafts.iter().flat_map(|draft| &draft.items) {
                match SideItem::decode(item.clone()).unwrap().item.unwrap() {
                    Item::Ours(side) => {
                        let pair = pairs.entry(key_of_ours(&side)).or_default();
                        pair.0 = Some(side);
                    }
                    Item::Theirs(side) => {
                        let pair = pairs.entry(key_of_theirs(&side)).or_default();
                        pair.1 = Some(side);
                    }
                    _ => {}
                }
            }
            for (ours, theirs) in pairs.into_values().filter(|(_, theirs)| theirs.is_some()) {
                let kind = match &ours {
                    None => 6,
                    Some(ours) => {
                        let gross = theirs.as_ref().and_then(|side| side.line.clone()?.gross?.units);
                        if ours.r#match.as_ref().unwrap().gross == gross { 0 } else { 2 }
                    }
                };
                let topic = if kind == 0 { Topic::Matches } else { Topic::Breaks };
                let value = case(kind, 0, ours.as_ref(), theirs.as_ref(), 0);
                self.plain(topic, q, value.to_string(), Vec::new());
            }
        }
    }
}
