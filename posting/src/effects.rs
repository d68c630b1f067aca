//! What a journal batch changes in a slot, one absolute value each: what `apply` takes, live and in replay.
//!
//! Live, a window writes its journal items and the effects side by side. In replay the effects are read from the
//! items. `verify`, the restore tests and the simulation hold the two against each other.

use crate::accounts::Figures;
use crate::adjustment;
use crate::changed::Changed;
use crate::channels::Asked;
use crate::days::{Tally, TallyKey};
use crate::groups::{Group, Member, outcome_of};
use crate::holds::{Hold, HoldKey};
use crate::ids::{IdKey, IdRecord, key_of, remembered};
use crate::limits::{Limited, OwnLimits};
use crate::metadata;
use crate::parked;
use crate::proposals::Change;
use crate::resend::{Again, command_of};
use crate::reversal::{self, Reversed};
use crate::status::{Stated, Status};
use crate::suspense::{Case, CaseKey};
use crate::velocity::{self, Move};
use bytes::Bytes;
use prost::Message;
use schemas::batch::Hash;
use schemas::reason::Reason;
use schemas::wire::{
    self, Answer, Answered, DayMarker, DayMarkerSeen, Decision, Entry, HeldLeg, HoldLeg, Outcome, Received,
    Reserved, decision, group_parking::Parking, journal_item::Item,
};

/// One change of a slot's state.
#[derive(Debug)]
pub enum Effect {
    /// Figures of an account by name: in replay, and where it is new. A window has those of accounts with a row apart
    /// ([`crate::state::Change::rows`]).
    Account {
        /// Account.
        account: Box<str>,
        /// Asset.
        asset: Box<str>,
        /// Figures from now on.
        figures: Figures,
    },
    /// What became of an event.
    Id {
        /// Key.
        key: IdKey,
        /// Record from now on.
        record: IdRecord,
    },
    /// What became of an event that was pending; nothing when it is not known.
    Resolved {
        /// Key.
        key: IdKey,
        /// Outcome.
        outcome: Outcome,
        /// Why it was refused.
        reason: Option<Reason>,
        /// Partition that decided.
        decider: u32,
        /// Batch of its journal.
        batch: u64,
    },
    /// An event waits for answers of other partitions.
    GroupOpened {
        /// Key.
        key: IdKey,
        /// The event and who was asked.
        group: Box<Group>,
    },
    /// A partition has answered.
    GroupAnswered {
        /// Key.
        key: IdKey,
        /// Partition.
        from: u32,
        /// On hold, or why not.
        answer: Result<(), (Reason, String)>,
    },
    /// An event that waited is decided.
    GroupClosed(IdKey),
    /// A parked event is let in or turned away.
    Admitted {
        /// The event that is parked.
        key: IdKey,
        /// It is turned away.
        refuse: bool,
        /// Business time at which it is refused where it waits for another event, microseconds; 0 = never.
        deadline_us: i64,
    },
    /// What is recognised and kept of ids.
    Horizon(Box<wire::IdHorizon>),
    /// Something is on hold.
    HoldPlaced {
        /// Event and leg.
        key: HoldKey,
        /// What.
        hold: Box<Hold>,
    },
    /// A hold has ended.
    HoldEnded(HoldKey),
    /// Everything that was on hold for an event has ended.
    HoldsEnded {
        /// Event.
        event: IdKey,
        /// Its home.
        home: u32,
    },
    /// What of an event is given back.
    Reversed {
        /// The event that was booked.
        key: IdKey,
        /// From now on.
        reversed: Box<Reversed>,
    },
    /// What an account may be used for.
    Status {
        /// Account.
        account: Box<str>,
        /// From now on.
        status: Box<Stated>,
    },
    /// What is said of an account.
    Described {
        /// Account.
        account: Box<str>,
        /// Keys that changed.
        changes: metadata::Changes,
    },
    /// What becomes of a proposed adjustment.
    Proposal {
        /// The event that made it.
        key: IdKey,
        /// From now on.
        change: Change,
    },
    /// What becomes of a case in suspense.
    Case {
        /// Sender and sequence.
        key: CaseKey,
        /// As it came; `None` = it is resolved.
        case: Option<Box<Case>>,
    },
    /// Limits of an account in an asset.
    Limits {
        /// Account.
        account: Box<str>,
        /// Asset.
        asset: Box<str>,
        /// From now on.
        limits: Box<Limited>,
    },
    /// What was moved of an account in a part of a window.
    Moved(Box<Move>),
    /// An event came again whose outcome stands; with another body it is refused as a conflict.
    Repeated {
        /// With another body.
        conflict: bool,
    },
    /// An item of a channel was applied.
    Arrived {
        /// Sender.
        from: u32,
        /// Its place.
        sequence: u64,
        /// Its check.
        check: u64,
    },
    /// An item of a channel waits.
    Held {
        /// Sender.
        from: u32,
        /// Its place.
        sequence: u64,
        /// The encoded item.
        item: Bytes,
    },
    /// An item of a channel was dropped, too many waiting.
    Dropped {
        /// Sender.
        from: u32,
        /// Its place.
        sequence: u64,
    },
    /// Items of a channel are missing, and their sender is asked.
    Asked {
        /// Sender.
        from: u32,
        /// What was asked for.
        asked: Asked,
    },
    /// How far a channel is sent again.
    Again {
        /// Receiver.
        to: u32,
        /// From now on.
        again: Again,
    },
    /// Business time.
    Tick(i64),
    /// A tick that was not believed.
    HeldTick(i64),
    /// A day marker was read.
    MarkerSeen {
        /// Book.
        book: String,
        /// Days since 1970-01-01.
        date: i32,
        /// By a channel, or from an ingest slot.
        credits: bool,
        /// Ingest slot or partition.
        from: u32,
    },
    /// The own day marker went out.
    MarkerSent {
        /// Book.
        book: String,
        /// Days since 1970-01-01.
        date: i32,
    },
    /// A day is complete.
    Aligned {
        /// Book.
        book: String,
        /// Days since 1970-01-01.
        date: i32,
    },
    /// The chart in force.
    Chart(Hash),
    /// What was counted for a peer and day.
    Tally(Box<(TallyKey, Tally)>),
}

impl Effect {
    /// Effects of one journal item of `batch` of slot `slot`, in order.
    pub fn of(item: Item, slot: u32, batch: u64, out: &mut Vec<Self>) {
        match item {
            Item::Decision(decision) => of_decision(decision, slot, batch, out),
            Item::Received(received) => of_received(received, batch, out),
            Item::Reserved(reserved) => of_reserved(reserved, out),
            Item::Answered(answered) => of_answered(answered, out),
            Item::HoldExpired(over) => out.push(Self::HoldEnded((key_of(over.event.as_ref()), over.home, 0))),
            Item::ProposalExpired(over) => {
                out.push(Self::Proposal { key: key_of(over.event.as_ref()), change: Change::Closed });
            }
            Item::Voided(v) => {
                out.push(Self::Arrived { from: v.from, sequence: v.sequence, check: v.item_check });
                out.push(Self::HoldsEnded { event: key_of(v.event.as_ref()), home: v.from });
            }
            Item::Clearing(clearing) => out.extend(clearing.entry.map(|entry| Self::of_entry(entry, batch))),
            Item::Resolution(r) => {
                out.push(Self::Arrived { from: r.from, sequence: r.sequence, check: r.item_check });
                out.push(Self::Resolved {
                    key: key_of(r.event.as_ref()),
                    outcome: r.outcome(),
                    reason: Reason::by_code(&r.reason),
                    decider: r.from,
                    batch: r.batch,
                });
            }
            Item::Moved(moved) => {
                out.extend(velocity::of_wire(&moved).map(|of| Self::Moved(Box::new(of))));
            }
            Item::Tick(tick) => out.push(Self::Tick(tick.business_time_us)),
            Item::IdHorizon(to) => out.push(Self::Horizon(Box::new(to))),
            Item::HeldTick(tick) => out.push(Self::HeldTick(tick.business_time_us)),
            Item::DayMarkerSeen(seen) => of_marker(seen, out),
            Item::DayMarkerSent(sent) => out.push(Self::MarkerSent { book: sent.book, date: sent.date }),
            Item::Aligned(aligned) => out.push(Self::Aligned { book: aligned.book, date: aligned.date }),
            Item::Held(held) if held.dropped => {
                out.push(Self::Dropped { from: held.from, sequence: held.sequence });
            }
            Item::Held(held) => {
                out.push(Self::Held { from: held.from, sequence: held.sequence, item: held.item });
            }
            Item::Chart(chart) => out.push(Self::Chart(Hash::try_from(&chart.hash[..]).unwrap_or_default())),
            Item::DayTally(tally) => out.push(Self::Tally(Box::new(TallyKey::from_wire(tally)))),
            Item::ResendAsked(asked) => {
                out.push(Self::Asked { from: asked.from, asked: Asked::from_wire(&asked) });
            }
            Item::ResendTaken(taken) => {
                let (from, sequence, check) = (taken.from, taken.sequence, taken.item_check);
                out.push(Self::Arrived { from, sequence, check });
            }
            Item::Resending(again) => {
                out.push(Self::Again { to: again.to, again: Again::from_wire(&again) });
            }
        }
    }

    fn of_entry(entry: Entry, batch: u64) -> Self {
        let figures = Figures { balance: entry.after(), seq: entry.seq, last_batch: batch };
        Self::Account { account: entry.account.into(), asset: entry.asset.into(), figures }
    }
}

fn of_marker(seen: DayMarkerSeen, out: &mut Vec<Effect>) {
    let DayMarkerSeen { credits, from, sequence, item_check: check, .. } = seen;
    let marker = |m: DayMarker| Effect::MarkerSeen { book: m.book, date: m.date, credits, from };
    out.extend(seen.marker.map(marker));
    if credits {
        out.push(Effect::Arrived { from, sequence, check });
    }
}

fn of_received(r: Received, batch: u64, out: &mut Vec<Effect>) {
    if let Some(case) = Case::of_received(&r) {
        out.push(Effect::Case { key: (r.from, r.sequence), case: Some(Box::new(case)) });
    }
    if r.reserved {
        let leg = r.entry.as_ref().map_or(0, |entry| entry.leg);
        out.push(Effect::HoldEnded((key_of(r.event.as_ref()), r.from, leg)));
    }
    out.extend(r.entry.map(|entry| Effect::of_entry(entry, batch)));
    out.push(Effect::Arrived { from: r.from, sequence: r.sequence, check: r.item_check });
}

fn of_answered(a: Answered, out: &mut Vec<Effect>) {
    out.push(Effect::Arrived { from: a.from, sequence: a.sequence, check: a.item_check });
    let key = key_of(a.event.as_ref());
    let answer = outcome_of(&Answer { event: None, reason: a.reason, detail: a.detail });
    out.push(Effect::GroupAnswered { key, from: a.from, answer });
}

fn of_reserved(r: Reserved, out: &mut Vec<Effect>) {
    let key = key_of(r.event.as_ref());
    let placed = |leg: &HoldLeg| Effect::HoldPlaced {
        key: (key, r.from, leg.leg),
        hold: Box::new(Hold::of(leg, r.from)),
    };
    out.extend(r.leg.iter().map(placed));
    out.push(Effect::Arrived { from: r.from, sequence: r.sequence, check: r.item_check });
}

fn of_decision(decision: Decision, slot: u32, batch: u64, out: &mut Vec<Effect>) {
    let key = || key_of(decision.event.as_ref());
    let reason = Reason::by_code(&decision.reason);
    let outcome = decision.outcome();
    if decision.forwarded_from != 0 {
        let from = decision.forwarded_from - 1;
        out.push(Effect::Arrived { from, sequence: decision.from_sequence, check: decision.item_check });
    } else if decision.concludes {
        let forwarded = outcome == Outcome::Pending && decision.reserve.is_empty();
        let decider = if forwarded { decision.forwarded_to } else { slot };
        out.extend(concluded(key(), outcome, reason, (slot, decider), batch));
    } else {
        let waits = waits(&decision);
        let asked = outcome == Outcome::Pending && !waits;
        let decider = if asked { decision.forwarded_to } else { slot };
        out.push(match remembered(outcome, reason, &decision.body_hash, decider, batch) {
            Some(record) => Effect::Id { key: key(), record },
            None => Effect::Repeated { conflict: outcome == Outcome::Refused },
        });
    }
    adjustment::effects_of(&decision, out);
    if let Some(state) = &decision.hold {
        // The partition that decides is told by the event's own home.
        let home = decision.forwarded_from.checked_sub(1).unwrap_or(slot);
        let key = (key_of(state.event.as_ref()), home, 0);
        out.push(held(key, Hold::of_state(state, home)));
    }
    if let Some(status) = &decision.account_status {
        let account = status.account.as_str().into();
        let status = Stated { status: Status::from_wire(status), since: Changed::of(&decision) };
        out.push(Effect::Status { account, status: Box::new(status) });
    }
    if let Some(said) = &decision.account_metadata {
        let account = said.account.as_str().into();
        out.push(Effect::Described { account, changes: metadata::of_wire(&said.changed) });
    }
    if let Some(limits) = &decision.account_limits {
        let (account, asset) = (limits.account.as_str().into(), limits.asset.as_str().into());
        let limits = Limited { own: OwnLimits::from_wire(limits), since: Changed::of(&decision) };
        out.push(Effect::Limits { account, asset, limits: Box::new(limits) });
    }
    if let Some(state) = &decision.reversed {
        out.push(reversal::effect(Reversed::from_wire(state)));
    }
    if let Some(admitted) = &decision.admitted {
        out.push(parked::effect_of(&decision, admitted));
    }
    if waits(&decision) {
        of_group(&decision, key(), slot, out);
    }
    out.extend(decision.entry.into_iter().map(|entry| Effect::of_entry(entry, batch)));
}

/// Whether its home keeps it until it is decided.
fn waits(decision: &Decision) -> bool {
    !decision.reserve.is_empty() || decision.waits_for.is_some() || decision.parked
}

fn reverses(decision: &Decision) -> bool {
    matches!(decision.operation, Some(decision::Operation::ReverseEvent(_)))
}

/// A hold is from now on what it is here; nothing left: it is over.
pub fn held(key: HoldKey, hold: Hold) -> Effect {
    if hold.amount == 0 { Effect::HoldEnded(key) } else { Effect::HoldPlaced { key, hold: Box::new(hold) } }
}

/// An event that was pending at its home is decided.
pub fn concluded(
    key: IdKey,
    outcome: Outcome,
    reason: Option<Reason>,
    (home, decider): (u32, u32),
    batch: u64,
) -> [Effect; 3] {
    let resolved = Effect::Resolved { key, outcome, reason, decider, batch };
    [resolved, Effect::HoldsEnded { event: key, home }, Effect::GroupClosed(key)]
}

fn of_group(decision: &Decision, key: IdKey, slot: u32, out: &mut Vec<Effect>) {
    let held = |held: &HeldLeg| {
        let asked = decision.asked.iter().find(|asked| asked.leg == held.leg)?;
        let (account, asset) = (asked.account.clone(), asked.asset.clone());
        let leg = HoldLeg { account, asset, side: asked.side, amount: held.amount, ..HoldLeg::default() };
        Some(Effect::HoldPlaced { key: (key, slot, held.leg), hold: Box::new(Hold::of(&leg, slot)) })
    };
    out.extend(decision.held.iter().filter_map(held));
    let member = |sent: &schemas::wire::ReserveSent| {
        let legs = sent.leg.iter().map(|leg| leg.leg).collect();
        (sent.partition, Member { legs, answer: None })
    };
    let group = Group {
        command: command_of(decision.clone()).encode_to_vec().into(),
        ingest_slot: decision.ingest_slot,
        deadline_us: decision.deadline_us,
        members: decision.reserve.iter().map(member).collect(),
        waits_for: decision.waits_for.clone(),
        came: false,
        decided: decision.waits_for.is_some() && reverses(decision),
        parking: if decision.parked { Parking::Parked } else { Parking::None },
    };
    out.push(Effect::GroupOpened { key, group: Box::new(group) });
}
