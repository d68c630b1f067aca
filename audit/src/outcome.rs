//! One outcome per command: the decisions of a home partition against the commands its windows read.
//!
//! Bounded by event keys: 16 bytes of SHA-256 of the key and 16 of state each, 33 to 66 bytes with the table's slack.
//! The check of keys may be left out; pending commands are then still held against their resolutions.

use crate::amount;
use crate::channel::LegClaim;
use crate::finding::{Check, Findings, Place};
use rustc_hash::FxHashMap;
use schemas::wire::{Command, Decision, Entry, EventKey, Leg, Outcome, RemoteLeg, Resolution};
use serde::Serialize;
use sha2::{Digest, Sha256};

/// Reason code of a refusal for a key used before with another body.
pub const CONFLICT: &str = "conflict";

type KeyDigest = [u8; 16];

#[derive(Debug, Clone, Copy)]
struct Known {
    body: u64,
    outcome: u8,
}

#[derive(Debug, Clone)]
struct Pending {
    to: u32,
    sequence: u64,
    place: Place,
}

/// Decisions of one home partition by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Outcomes {
    /// Booked, here or by the partition asked.
    pub booked: u64,
    /// Same key and body as an earlier command.
    pub duplicate: u64,
    /// Refused, conflicts among them.
    pub refused: u64,
    /// Sent to another partition and not answered.
    pub pending: u64,
}

/// Event keys and pending commands of one home partition.
#[derive(Debug, Default)]
pub struct Home {
    ids: FxHashMap<KeyDigest, Known>,
    pending: FxHashMap<KeyDigest, Pending>,
    /// Decisions so far.
    pub outcomes: Outcomes,
}

/// First 16 bytes of SHA-256 over the two texts, each preceded by its length.
fn key_digest(event: Option<&EventKey>) -> KeyDigest {
    let mut hasher = Sha256::new();
    for text in event.iter().flat_map(|e| [&e.source, &e.id]) {
        hasher.update((text.len() as u64).to_be_bytes());
        hasher.update(text);
    }
    let hash: crate::merkle::Hash = hasher.finalize().into();
    hash.first_chunk::<16>().copied().unwrap_or_default()
}

fn body_mark(body_hash: &[u8]) -> u64 {
    let mut mark = 0_u64;
    for byte in body_hash.iter().take(8) {
        mark = mark << 8 | u64::from(*byte);
    }
    mark
}

/// Name of an event for a finding.
#[must_use]
pub fn event_name(event: Option<&EventKey>) -> String {
    event.map_or_else(|| "event without key".into(), |e| format!("event {:?} {:?}", e.source, e.id))
}

impl Home {
    /// Number of event keys kept.
    #[must_use]
    pub fn ids(&self) -> usize {
        self.ids.len()
    }

    /// Takes a decision made at home.
    pub fn decided(&mut self, place: Place, decision: &Decision, with_ids: bool, found: &mut Findings) {
        let key = key_digest(decision.event.as_ref());
        let named = || format!("{place} {}", event_name(decision.event.as_ref()));
        let outcome = decision.outcome();
        match outcome {
            Outcome::Booked => self.outcomes.booked += 1,
            Outcome::Refused => self.outcomes.refused += 1,
            Outcome::Duplicate => self.outcomes.duplicate += 1,
            Outcome::Pending => self.outcomes.pending += 1,
            Outcome::Unspecified => {}
        }
        if outcome == Outcome::Pending {
            let (to, sequence) = (decision.forwarded_to, decision.forward_sequence);
            self.pending.insert(key, Pending { to, sequence, place });
        }
        if !with_ids {
            return;
        }
        let body = body_mark(&decision.body_hash);
        let known = self.ids.get(&key).copied();
        match outcome {
            Outcome::Duplicate => {
                let repeats =
                    known.is_some_and(|k| k.body == body && i32::from(k.outcome) == decision.original);
                found.that(Check::OutcomeDuplicate, repeats, || {
                    let original = known.map_or_else(|| "none".into(), |k| describe(k, body));
                    (named(), format!("duplicate of {}, found {original}", text(decision.original)))
                });
            }
            Outcome::Refused if decision.reason == CONFLICT => {
                found.that(Check::OutcomeConflict, known.is_some_and(|k| k.body != body), || {
                    (named(), known.map_or("no original", |_| "its original has the same body"))
                });
            }
            Outcome::Unspecified => {}
            _ => {
                found.that(Check::OutcomeTwice, known.is_none(), || {
                    let before = known.map_or_else(String::new, |k| describe(k, body));
                    (named(), format!("{} after {before}", text(decision.outcome)))
                });
                let outcome = u8::try_from(decision.outcome).unwrap_or(0);
                self.ids.entry(key).or_insert(Known { body, outcome });
            }
        }
    }

    /// Takes the verdict on a pending command.
    pub fn resolved(&mut self, place: Place, resolution: &Resolution, found: &mut Findings) {
        let key = key_digest(resolution.event.as_ref());
        let named = || format!("{place} {}", event_name(resolution.event.as_ref()));
        let outcome = resolution.outcome();
        found.that(Check::OutcomeContent, matches!(outcome, Outcome::Booked | Outcome::Refused), || {
            (named(), format!("resolved as {}", text(resolution.outcome)))
        });
        let Some(pending) = self.pending.remove(&key) else {
            found.wrong(Check::OutcomeResolution, named(), "nothing is pending under this key");
            return;
        };
        found.that(Check::OutcomeResolution, pending.to == resolution.from, || {
            (named(), format!("asked partition {}, answered by {}", pending.to, resolution.from))
        });
        found.holds(Check::OutcomePending, 1);
        self.outcomes.pending = self.outcomes.pending.saturating_sub(1);
        if outcome == Outcome::Booked {
            self.outcomes.booked += 1;
        } else {
            self.outcomes.refused += 1;
        }
        if let Some(known) = self.ids.get_mut(&key) {
            known.outcome = u8::try_from(resolution.outcome).unwrap_or(0);
        }
    }

    /// Commands still pending.
    pub fn report(&self, ended: bool, found: &mut Findings) {
        let mut pending: Vec<&Pending> = self.pending.values().collect();
        pending.sort_by_key(|p| (p.place.offset, p.to, p.sequence));
        for p in pending {
            let what = format!("asked partition {} by sequence {}, no verdict", p.to, p.sequence);
            found.overdue(ended, Check::OutcomePending, p.place, what);
        }
    }
}

fn text(outcome: i32) -> &'static str {
    Outcome::try_from(outcome).map_or("an unknown outcome", |o| o.as_str_name())
}

fn describe(known: Known, body: u64) -> String {
    let same = if known.body == body { "the same body" } else { "another body" };
    format!("{} with {same}", text(i32::from(known.outcome)))
}

/// Where a command comes from: ingest slot, lane, partition, offset.
pub type Origin = (u32, u32, u32, i64);

/// Origin that a decision names.
#[must_use]
pub const fn decision_origin(d: &Decision) -> Origin {
    (d.ingest_slot, d.lane, d.event_partition, d.event_offset)
}

/// Holds the commands that a window read against the decisions it made at home. With `partial`, retention has taken
/// some of the commands.
pub fn join(
    place: Place,
    mut commands: Vec<(u32, &Command)>,
    mut decisions: Vec<&Decision>,
    partial: bool,
    found: &mut Findings,
) {
    let origin = |(slot, c): &(u32, &Command)| (*slot, c.lane, c.event_partition, c.event_offset);
    commands.sort_by_key(origin);
    decisions.sort_by_key(|d| decision_origin(d));
    let (mut left, mut right) = (commands.iter().peekable(), decisions.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (None, None) => return,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(command), Some(decision)) => origin(command).cmp(&decision_origin(decision)),
        };
        match order {
            std::cmp::Ordering::Equal => {
                if let (Some((_, command)), Some(decision)) = (left.next(), right.next()) {
                    found.holds(Check::OutcomeMissing, 1);
                    found.holds(Check::OutcomeInvented, 1);
                    same(place, command, decision, found);
                }
            }
            std::cmp::Ordering::Less => {
                if let Some((slot, command)) = left.next() {
                    let name = format!("{place} {}", event_name(command.event.as_ref()));
                    let (lane, from, offset) = (command.lane, command.event_partition, command.event_offset);
                    let what = format!("no decision (ingest slot {slot}, events.p{lane}/{from}@{offset})");
                    found.wrong(Check::OutcomeMissing, name, what);
                }
            }
            std::cmp::Ordering::Greater => {
                let Some(decision) = right.next() else { return };
                if partial {
                    found.uncovered(Check::OutcomeInvented, 1);
                    continue;
                }
                let name = format!("{place} {}", event_name(decision.event.as_ref()));
                found.wrong(Check::OutcomeInvented, name, "decided without a command in this window");
            }
        }
    }
}

fn same(place: Place, command: &Command, decision: &Decision, found: &mut Findings) {
    let named = || format!("{place} {}", event_name(command.event.as_ref()));
    let booked = matches!(decision.outcome(), Outcome::Booked);
    let date = command.accounting_date;
    let carried = decision.carried_from == date && decision.accounting_date > date && !command.back_dated;
    let dated = (decision.accounting_date == date && decision.carried_from == 0) || carried;
    let fields = [
        (command.event == decision.event, "event key"),
        (command.body_hash == decision.body_hash, "body hash"),
        (command.r#type == decision.r#type && command.subject == decision.subject, "type or subject"),
        (command.rule == decision.rule && command.rule_version == decision.rule_version, "rule"),
        (command.occurred_at_us == decision.occurred_at_us, "occurred at"),
        (command.book == decision.book && command.value_date == decision.value_date, "book or value date"),
        (command.back_dated == decision.back_dated && (dated || !booked), "accounting date"),
    ];
    let differs: Vec<&str> = fields.iter().filter(|(same, _)| !same).map(|(_, name)| *name).collect();
    found.that(Check::OutcomeContent, differs.is_empty(), || {
        (named(), format!("differs from its command in {}", differs.join(", ")))
    });
    let asked = legs_asked(&command.leg);
    let legs = match decision.outcome() {
        Outcome::Booked => legs_booked(decision),
        Outcome::Pending => legs_remote(&decision.asked),
        _ => return,
    };
    found.that(Check::OutcomeLegs, legs == asked, || {
        let differ = legs.iter().zip(&asked).find(|(is, due)| is != due).map(|(is, _)| is.leg);
        let first = differ.map_or_else(String::new, |leg| format!(", first at leg {leg}"));
        (named(), format!("{} legs where the command has {}{first}", legs.len(), asked.len()))
    });
}

/// Legs of a command as claims.
#[must_use]
pub fn legs_asked(legs: &[Leg]) -> Vec<LegClaim> {
    let claim = |(leg, l): (u32, &Leg)| LegClaim {
        leg,
        account: l.account.clone(),
        asset: l.asset.clone(),
        side: l.side,
        amount: amount::of(l.amount.as_ref()),
        matched: l.r#match.clone(),
    };
    (0..).zip(legs).map(claim).collect()
}

/// Legs that a decision booked here or sent away, by index.
#[must_use]
pub fn legs_booked(decision: &Decision) -> Vec<LegClaim> {
    let here = |e: &Entry| LegClaim {
        leg: e.leg,
        account: e.account.clone(),
        asset: e.asset.clone(),
        side: e.side,
        amount: amount::joined(e.amount_lo, e.amount_hi),
        matched: e.r#match.clone(),
    };
    let mut legs: Vec<LegClaim> = decision.entry.iter().map(here).collect();
    legs.extend(legs_remote(&decision.remote));
    legs.sort_by_key(|l| l.leg);
    legs
}

/// Legs sent away or asked for, by index.
#[must_use]
pub fn legs_remote(remote: &[RemoteLeg]) -> Vec<LegClaim> {
    let there = |l: &RemoteLeg| LegClaim {
        leg: l.leg,
        account: l.account.clone(),
        asset: l.asset.clone(),
        side: l.side,
        amount: amount::of(l.amount.as_ref()),
        matched: l.r#match.clone(),
    };
    let mut legs: Vec<LegClaim> = remote.iter().map(there).collect();
    legs.sort_by_key(|l| l.leg);
    legs
}
