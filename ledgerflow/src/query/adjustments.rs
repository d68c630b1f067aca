//! Adjustments: those that wait for another principal, and the events by which somebody proposes, approves or rejects one,
//! would move what lies in suspense, or judges a parked event.

use super::books::Books;
use super::events::{self, Text};
use super::outcomes::{self, Only};
use super::shown::Shown;
use super::{Answer, Ending, parked};
use crate::cli::output::Table;
use anyhow::{Context, bail};
use posting::proposals::Proposal;
use schemas::amount_wire::value;
use schemas::dates::format_instant;
use schemas::hex;
use schemas::shards::PartitionMap;
use schemas::suspense_case;
use schemas::wire::{EventKey, Leg, Outcome, Side};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeSet;
use stream::clock;

/// Lane of these events: the high one, as somebody waits for them. On Kafka others send them.
const LANE: u8 = 0;
/// Source of these events.
const SOURCE: &str = "/ledgerflow/adjustments";
/// Names of keys that are tried until one lives where the proposal does; there are at most 256 partitions.
const KEYS_MAX: u32 = 1 << 16;

const COLUMNS: [&str; 13] = [
    "adjustment",
    "source",
    "proposed_by",
    "state",
    "over_at",
    "subject",
    "side",
    "account",
    "amount",
    "asset",
    "case",
    "note",
    "partitionkey",
];

/// What is done about an adjustment, or about what lies in suspense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
#[allow(missing_docs)] // the fields are the options of the command of that name
pub enum Adjustment {
    /// One account is debited, one credited.
    Propose {
        id: Option<String>,
        debit: String,
        credit: String,
        asset: String,
        amount: String,
        reason: String,
    },
    /// Its legs are booked.
    Approve { id: String, source: Option<String> },
    /// It ends.
    Reject { id: String, source: Option<String> },
    /// What lies in suspense goes to the account that it was meant for.
    Retry { case: String },
    /// What lies in suspense goes to another account.
    Redirect { case: String, account: String },
    /// A parked event is decided as if it came now.
    Admit { id: String, source: Option<String> },
    /// A parked event is refused for good.
    TurnAway { id: String, source: Option<String> },
}

impl Adjustment {
    /// What somebody has to do when the proposal that was sent has this outcome; `None` where there is no proposal, or
    /// none is known. One that was refused says why, and that nothing waits.
    #[must_use]
    pub fn next_step(&self, outcomes: &Answer) -> Option<String> {
        if !matches!(self, Self::Propose { .. } | Self::Retry { .. } | Self::Redirect { .. }) {
            return None;
        }
        let Only { event: id, outcome, original, reason } = outcomes::only(outcomes)?;
        let approves = format!("another principal approves it with `adjustments approve {id}`");
        let booked = outcomes::word(Outcome::Booked);
        Some(match (outcome, original) {
            (outcome, _) if outcome == booked => format!("nothing is booked yet: {approves}"),
            (_, original) if original == booked => {
                format!("it was proposed before; where it still waits, {approves}")
            }
            (_, "") => format!("the proposal is {outcome}: {reason}; nothing waits to be approved"),
            (_, original) => {
                format!("it was proposed before and is {original}; nothing waits to be approved")
            }
        })
    }
}

/// A proposal and the slot that is its home.
type Found = (u32, Proposal);

fn proposals(books: &Books) -> anyhow::Result<Vec<Found>> {
    let found = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        let of = |slot: &posting::state::Slot| {
            let number = slot.slot;
            slot.proposals.all().map(move |(_, proposal)| (number, proposal.clone())).collect::<Vec<_>>()
        };
        slots.flat_map(of).collect::<Vec<Found>>()
    })?;
    Ok(found.concat())
}

/// `adjustments list`: those that wait, each with its legs.
pub(super) fn list(books: &Books, limit: usize) -> anyhow::Result<Answer> {
    let mut found = proposals(books)?;
    found.sort_by_key(|(_, p)| (p.expires_us, p.event.source.clone(), p.event.id.clone()));
    let all = found.len();
    found.truncate(limit);
    let accounts: BTreeSet<String> =
        found.iter().flat_map(|(_, p)| p.legs.iter().map(|leg| leg.account.clone())).collect();
    let shown = Shown::of(books, accounts)?;
    let mut table = Table::new("adjustments", &COLUMNS);
    for (slot, proposal) in &found {
        let key = key_of(books, *slot, &proposal.event.id)?;
        proposal.legs.iter().for_each(|leg| row(&mut table, &shown, proposal, leg, &key));
    }
    let mut answer = Answer::tables(vec![table]);
    answer.message = match all {
        0 => Some("no adjustment waits".to_owned()),
        n if n > limit => Some(format!("{limit} of {n} adjustments; --limit shows more")),
        _ => None,
    };
    Ok(answer)
}

fn row(table: &mut Table, shown: &Shown, proposal: &Proposal, leg: &Leg, key: &str) {
    let state = if proposal.approval.is_some() { "approving" } else { "open" };
    let over = (proposal.expires_us > 0).then(|| format_instant(proposal.expires_us));
    table.row([
        proposal.event.id.clone().into(),
        proposal.event.source.clone().into(),
        proposal.proposed_by.clone().into(),
        state.into(),
        over.into(),
        (!proposal.subject.is_empty()).then(|| proposal.subject.clone()).into(),
        if leg.side() == Side::Credit { "credit" } else { "debit" }.into(),
        leg.account.clone().into(),
        shown.amount(value(leg.amount), &leg.asset),
        leg.asset.clone().into(),
        proposal.case.as_ref().map(suspense_case::name).into(),
        (!proposal.note.is_empty()).then(|| proposal.note.clone()).into(),
        key.to_owned().into(),
    ]);
}

/// `adjustments propose`, `approve`, `reject`: sends the event that asks for it, in the name of `principal`.
pub(super) fn adjust(books: &Books, what: &Adjustment, principal: &str) -> anyhow::Result<Answer> {
    if principal.is_empty() {
        bail!(
            "nobody vouches for who you are: on a data directory only a pipeline that runs knows who asks it, on Kafka \
             send adjustments over HTTP with a token, see docs/security.md"
        );
    }
    let id = match what {
        Adjustment::Propose { id: Some(id), .. } => id.clone(),
        _ => random_id()?,
    };
    let (kind, key, data) = match asked(books, what, &id)? {
        Ok(asked) => asked,
        Err(answer) => return Ok(answer),
    };
    let event = json!({
        "specversion": "1.0", "id": id, "source": SOURCE, "type": kind, "partitionkey": key,
        "time": format_instant(business_us(books)?), "data": data,
    });
    let sent = events::send(books, LANE, &[Text::Utf8(event.to_string())], &[], principal)?;
    let message = match what {
        Adjustment::Propose { .. } => format!("adjustment {id} is sent"),
        Adjustment::Approve { .. } => format!("approval {id} is sent"),
        Adjustment::Reject { .. } => format!("rejection {id} is sent"),
        Adjustment::Admit { id: of, .. } => format!("{id} is sent, which lets {of} in"),
        Adjustment::TurnAway { id: of, .. } => format!("{id} is sent, which turns {of} away"),
        Adjustment::Retry { .. } | Adjustment::Redirect { .. } => format!("proposal {id} is sent"),
    };
    Ok(Answer { message: Some(message), ..sent })
}

/// Type, partition key and data of an event.
type Asked = (&'static str, String, serde_json::Value);

/// What is asked for, as an event of that id; or why it cannot be.
fn asked(books: &Books, what: &Adjustment, id: &str) -> anyhow::Result<Result<Asked, Answer>> {
    let (case, account) = match what {
        Adjustment::Propose { debit, credit, asset, amount, reason, .. } => {
            let leg =
                |account, side| json!({"account": account, "side": side, "asset": asset, "amount": amount});
            let data = json!({"legs": [leg(debit, "debit"), leg(credit, "credit")], "reason": reason});
            return Ok(Ok(("adjustment.proposed", id.to_owned(), data)));
        }
        Adjustment::Approve { id, source } | Adjustment::Reject { id, source } => {
            let (slot, proposal) = match one(books, id, source.as_deref())? {
                Ok(found) => found,
                Err(answer) => return Ok(Err(answer)),
            };
            let approves = matches!(what, Adjustment::Approve { .. });
            let kind = if approves { "adjustment.approved" } else { "adjustment.rejected" };
            let data = json!({"proposal": id, "proposal_source": proposal.event.source});
            return Ok(Ok((kind, key_of(books, slot, id)?, data)));
        }
        Adjustment::Admit { id, source } | Adjustment::TurnAway { id, source } => {
            let mut found = parked::all(books)?;
            found.retain(|(_, command)| is_it(command.event.as_ref(), id, source.as_deref()));
            let (slot, command) = match only_one(found, id, "parked event", |(_, c)| c.event.as_ref()) {
                Ok(found) => found,
                Err(answer) => return Ok(Err(*answer)),
            };
            let admits = matches!(what, Adjustment::Admit { .. });
            let kind = if admits { "event.admitted" } else { "event.turned_away" };
            let data = json!({"event": id, "event_source": command.event.unwrap_or_default().source});
            return Ok(Ok((kind, key_of(books, slot, id)?, data)));
        }
        Adjustment::Retry { case } => (case, None),
        Adjustment::Redirect { case, account } => (case, Some(account)),
    };
    let Some(named) = suspense_case::parse(case).filter(|c| c.partition < books.setup.counts.internal) else {
        let why = format!("no case {case:?} lies in suspense");
        return Ok(Err(Answer::says(Ending::NotFound, why)));
    };
    let key = key_of(books, named.partition, case)?;
    Ok(Ok(match account {
        Some(account) => ("suspense.redirected", key, json!({"case": case, "account": account})),
        None => ("suspense.retried", key, json!({"case": case})),
    }))
}

/// The proposal of that id, or why there is not one.
fn one(books: &Books, id: &str, source: Option<&str>) -> anyhow::Result<Result<Found, Answer>> {
    let mut found = proposals(books)?;
    found.retain(|(_, p)| is_it(Some(&p.event), id, source));
    Ok(only_one(found, id, "adjustment", |(_, p)| Some(&p.event)).map_err(|why| *why))
}

fn is_it(event: Option<&EventKey>, id: &str, source: Option<&str>) -> bool {
    event.is_some_and(|event| event.id == id && source.is_none_or(|source| event.source == source))
}

/// The one that was found, or why there is not one.
fn only_one<T>(
    mut found: Vec<T>,
    id: &str,
    what: &str,
    event: impl Fn(&T) -> Option<&EventKey>,
) -> Result<T, Box<Answer>> {
    let one = if found.len() == 1 { found.pop() } else { None };
    one.ok_or_else(|| {
        let sources: Vec<&str> = found.iter().filter_map(|of| Some(event(of)?.source.as_str())).collect();
        if sources.is_empty() {
            return Box::new(Answer::says(Ending::NotFound, format!("no {what} {id:?} waits")));
        }
        let which = format!("{id:?} is a {what} of several sources: {}; --source", sources.join(", "));
        Box::new(Answer::says(Ending::Failed, which))
    })
}

/// A key whose home is that slot: the id itself, as it was when the adjustment was proposed here, or another.
pub(super) fn key_of(books: &Books, slot: u32, id: &str) -> anyhow::Result<String> {
    let map = PartitionMap::even(books.setup.counts.internal).context("partitions.internal")?;
    let others = (0..KEYS_MAX).map(|number| format!("adjustment:{number}"));
    let mut keys = std::iter::once(id.to_owned()).chain(others);
    keys.find(|key| map.partition_of(key) == slot).context("no key lives where the adjustment does")
}

/// Business time as posting knows it; the machine's before that.
pub(super) fn business_us(books: &Books) -> anyhow::Result<i64> {
    let ticks = books.posting(|worker| {
        let slots = worker.slots().into_iter().filter_map(|slot| worker.slot(slot));
        slots.map(|slot| slot.tick_us).max().unwrap_or(0)
    })?;
    Ok(ticks.into_iter().max().filter(|tick| *tick > 0).unwrap_or_else(clock::wall_us))
}

pub(super) fn random_id() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 12];
    let taken =
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).context("random bytes")?;
    if taken != bytes.len() {
        bail!("random bytes: {taken} of {}", bytes.len());
    }
    Ok(hex::text(&bytes))
}
