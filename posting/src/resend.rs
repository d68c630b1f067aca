//! Sending a channel again (ARCHITECTURE rule 6): credits are a projection of the sender's journal.
//!
//! Phases, at the sender: a `Resend` is read -> the channel goes back to the sequence asked for -> every window sends
//! on what it was handed of the own journal, each item as it was, byte for byte -> the head is reached, and what the
//! window has decided goes out again. Until then what is decided is journalled with its sequence and not sent.
//!
//! A `Resend` is acted on when it is read, also above a gap: two channels that lost items in opposite directions would
//! wait for each other. A later one supersedes those before it, because the receiver's mark never falls. Bounded by
//! what a window looks back at. Order relied on: none but that of the journal.

use crate::decide::Broken;
use crate::outbox::Outbox;
use crate::overdraft::Overdraft;
use crate::overlay::{Overlay, Refusal};
use crate::recheck::sequence_of;
use crate::state::Slot;
use bytes::Bytes;
use prost::Message;
use schemas::batch::Opened;
use schemas::reason::Reason;
use schemas::wire::{
    Answer, Command, Credit, CreditItem, DayMarkerSent, Decision, Forward, HoldLeg, JournalBody, Leg,
    Outcome, RemoteLeg, RepairChannel, Resend, ResendTaken, Resending, Reserve, ReserveSent, Verdict, Void,
    command, credit_item, decision, journal_item::Item,
};
use std::collections::{BTreeMap, BTreeSet};
use stream::processor::{ChannelEnd, LookBack};

/// Sending again on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Again {
    /// Next sequence to be sent again; 0 = new items go out as they are decided.
    pub next: u64,
    /// Sequence, on the opposite channel, of the last `Resend` acted on.
    pub answered: u64,
}

impl Again {
    /// As in the journal.
    #[must_use]
    pub const fn from_wire(resending: &Resending) -> Self {
        Self { next: resending.next, answered: resending.answered }
    }

    /// As in the journal.
    #[must_use]
    pub const fn to_wire(self, to: u32) -> Resending {
        Resending { to, next: self.next, answered: self.answered }
    }
}

fn again(o: &Overlay<'_>, to: u32) -> Again {
    let base = o.base.outgoing.get(&to).map(|out| out.again);
    o.again.get(&to).copied().or(base).unwrap_or_default()
}

/// Takes a `Resend` in its place on the channel.
///
/// # Errors
/// [`Broken`] when it asks for what was never sent.
pub fn taken(
    o: &mut Overlay<'_>,
    from: u32,
    sequence: u64,
    item_check: u64,
    resend: Resend,
) -> Result<(), Broken> {
    let from_sequence = resend.from_sequence;
    o.journal(Item::ResendTaken(ResendTaken { from, sequence, from_sequence, item_check }));
    asked(o, from, sequence, from_sequence)
}

/// Partition `from` asks, by item `sequence` of its channel, for the items from `from_sequence` on: in its place, or
/// while it waits behind a gap.
///
/// # Errors
/// [`Broken`] when it asks for what was never sent.
pub fn asked(o: &mut Overlay<'_>, from: u32, sequence: u64, from_sequence: u64) -> Result<(), Broken> {
    let Again { next, answered } = again(o, from);
    if sequence <= answered {
        return Ok(());
    }
    let sent = o.base.outgoing.get(&from).map_or(0, |out| out.sequence);
    if from_sequence == 0 || from_sequence > sent {
        return Err(format!(
            "partition {from} asks for item {from_sequence} of the channel to it, sent are {sent}"
        ));
    }
    let next = if next == 0 { from_sequence } else { next.min(from_sequence) };
    o.again.insert(from, Again { next, answered: sequence });
    Ok(())
}

/// An operator asks for a channel of this partition from an item on: it goes the way of a `Resend`, which it does not answer.
///
/// # Errors
/// [`Reason::UnknownItem`].
pub fn ordered(o: &mut Overlay<'_>, repair: &RepairChannel) -> Result<(), Refusal> {
    let RepairChannel { from, to, first } = *repair;
    let refused = |what: String| Err(Refusal::new(Reason::UnknownItem, what));
    if from != o.base.slot {
        return refused(format!("p{from:02} sends that channel, this is p{:02}", o.base.slot));
    }
    let sent = o.base.outgoing.get(&to).map_or(0, |out| out.sequence);
    if first == 0 || first > sent {
        return refused(format!("item {first} of the channel to p{to:02}, sent are {sent}"));
    }
    let Again { next, answered } = again(o, to);
    let next = if next == 0 { first } else { next.min(first) };
    o.again.insert(to, Again { next, answered });
    Ok(())
}

/// What the slot must find again in its journal to go on sending.
pub fn looks_back(base: &Slot) -> impl Iterator<Item = LookBack> {
    let again = base.outgoing.iter().filter(|(_, out)| out.again.next > 0);
    again.map(|(to, out)| LookBack { end: ChannelEnd::Sent(*to), first: out.again.next, last: out.sequence })
}

/// Decides what goes out on the channels that are sent again, and journals how far each has come. The last act of a
/// window before it is sealed.
///
/// # Errors
/// [`Broken`] when the journal does not hold what it counts.
pub fn sending(o: &mut Overlay<'_>) -> Result<(), Broken> {
    let committed = o.base.outgoing.iter().filter(|(_, out)| out.again.next > 0).map(|(to, _)| *to);
    let channels: BTreeSet<u32> = committed.chain(o.again.keys().copied()).collect();
    for to in channels {
        let new = o.sent.remove(&to);
        let before = o.base.outgoing.get(&to).copied().unwrap_or_default();
        let decided = new.as_ref().map_or(before.sequence, Outbox::last);
        let (mut outbox, mut now) = (Outbox::after(decided, o.config.credits_body_bytes_max()), again(o, to));
        if now.next > 0 {
            let found = found(o, to, now.next)?;
            found.iter().for_each(|item| outbox.push_again(item));
            now.next += found.len() as u64;
        }
        if now.next == 0 || now.next > before.sequence {
            now.next = 0;
            outbox = match new {
                Some(new) => outbox.followed_by(new),
                None => outbox,
            };
        }
        if now != before.again {
            o.journal(Item::Resending(now.to_wire(to)));
        }
        o.sent.insert(to, outbox);
    }
    Ok(())
}

/// The items from `next` on that were found in the journal: consecutive, none if none was found yet.
fn found(o: &Overlay<'_>, to: u32, next: u64) -> Result<Vec<Bytes>, Broken> {
    let is_it = |sought: &LookBack| sought.end == ChannelEnd::Sent(to) && sought.first == next;
    let Some(looked_back) = o.looked_back.iter().find(|found| is_it(&found.sought)) else {
        // It went back further in this very window: the next one looks for that.
        return Ok(Vec::new());
    };
    let missing =
        |sequence: u64| format!("the journal does not hold item {sequence} of the channel to p{to:02}");
    let items = looked_back.found.clone();
    if let Some((due, _)) = (next..).zip(&items).find(|(due, item)| sequence_of(item) != *due) {
        return Err(missing(due));
    }
    let due = next + items.len() as u64;
    if looked_back.complete && due <= looked_back.sought.last {
        return Err(missing(due));
    }
    Ok(items)
}

/// The items sought that a journal batch says were sent to partition `to`, encoded as they were.
///
/// # Errors
/// The batch does not decode, or lacks what an item is made of.
pub fn items_sent(to: u32, sought: &LookBack, batch: &Opened) -> Result<Vec<Bytes>, String> {
    let body: JournalBody = batch.body().map_err(|e| e.to_string())?;
    let mut items = BTreeMap::new();
    for item in body.item.into_iter().filter_map(|item| item.item) {
        for (sequence, item) in sent_by(item, to, batch.header.batch)? {
            items.insert(sequence, CreditItem { sequence, item: Some(item) });
        }
    }
    let wanted = items.range(sought.first..=sought.last);
    Ok(wanted.map(|(_, item)| item.encode_to_vec().into()).collect())
}

type Sent = (u64, credit_item::Item);

/// Channel items to `to` that one journal item stands for.
fn sent_by(item: Item, to: u32, batch: u64) -> Result<Vec<Sent>, String> {
    Ok(match item {
        Item::Decision(decision) => decision_sent(decision, to, batch),
        Item::DayMarkerSent(sent) => marker_sent(sent, to)?.into_iter().collect(),
        Item::Reserved(reserved) if reserved.from == to => {
            let answer = Answer { event: reserved.event, reason: reserved.reason, detail: reserved.detail };
            vec![(reserved.answer_sequence, credit_item::Item::Answer(answer))]
        }
        Item::ResendAsked(asked) if asked.from == to && asked.sequence > 0 => {
            let resend = Resend { from_sequence: asked.from_sequence };
            vec![(asked.sequence, credit_item::Item::Resend(resend))]
        }
        _ => Vec::new(),
    })
}

fn decision_sent(decision: Decision, to: u32, batch: u64) -> Vec<Sent> {
    let legs = decision.remote.iter().filter(|leg| leg.partition == to);
    let mut sent: Vec<Sent> = legs.map(|leg| (leg.sequence, credit_of(&decision, leg))).collect();
    if decision.forwarded_from == to + 1 {
        sent.push((decision.verdict_sequence, verdict_of(&decision, batch)));
    }
    let reserve = decision.reserve.iter().filter(|reserve| reserve.partition == to);
    sent.extend(reserve.map(|reserve| (reserve.sequence, reserve_of(&decision, reserve))));
    let void = || credit_item::Item::Void(Void { event: decision.event.clone() });
    let voided = decision.voided.iter().filter(|voided| voided.partition == to);
    sent.extend(voided.map(|voided| (voided.sequence, void())));
    let waits = !decision.reserve.is_empty() || decision.waits_for.is_some();
    let forwarded = decision.outcome() == Outcome::Pending && !waits;
    if forwarded && decision.forwarded_to == to {
        let (sequence, ingest_slot) = (decision.forward_sequence, decision.ingest_slot);
        let forward = Forward { command: Some(command_of(decision)), ingest_slot };
        sent.push((sequence, credit_item::Item::Forward(forward)));
    }
    sent
}

fn reserve_of(decision: &Decision, sent: &ReserveSent) -> credit_item::Item {
    let leg = |held: &schemas::wire::HeldLeg| {
        let asked = decision.asked.iter().find(|asked| asked.leg == held.leg).cloned().unwrap_or_default();
        let (account, asset, side) = (asked.account, asked.asset, asked.side);
        let (overdraft, overdraft_unlimited) = Overdraft::in_decision(&decision.overdraft, held.leg);
        HoldLeg { leg: held.leg, account, asset, side, amount: held.amount, overdraft, overdraft_unlimited }
    };
    let leg = sent.leg.iter().map(leg).collect();
    credit_item::Item::Reserve(Reserve { event: decision.event.clone(), leg })
}

fn credit_of(decision: &Decision, leg: &RemoteLeg) -> credit_item::Item {
    credit_item::Item::Credit(Credit {
        event: decision.event.clone(),
        r#type: decision.r#type.clone(),
        leg: leg.leg,
        account: leg.account.clone(),
        asset: leg.asset.clone(),
        side: leg.side,
        amount: leg.amount,
        occurred_at_us: decision.occurred_at_us,
        accounting_date: decision.accounting_date,
        value_date: decision.value_date,
        back_dated: decision.back_dated,
        carried_from: decision.carried_from,
        book: decision.book.clone(),
        rule: decision.rule.clone(),
        rule_version: decision.rule_version,
        r#match: leg.r#match.clone(),
        traceparent: decision.traceparent.clone(),
        reserved: leg.reserved,
    })
}

fn verdict_of(decision: &Decision, batch: u64) -> credit_item::Item {
    credit_item::Item::Verdict(Verdict {
        event: decision.event.clone(),
        outcome: decision.outcome,
        reason: decision.reason.clone(),
        retryable: decision.retryable,
        accounting_date: decision.accounting_date,
        batch,
        detail: decision.detail.clone(),
    })
}

/// The command that a pending decision is about, as it came.
#[must_use]
pub fn command_of(decision: Decision) -> Command {
    let leg = |asked: RemoteLeg| {
        let (overdraft, overdraft_unlimited) = Overdraft::in_decision(&decision.overdraft, asked.leg);
        let RemoteLeg { account, asset, side, amount, r#match, .. } = asked;
        Leg { account, asset, side, amount, r#match, overdraft, overdraft_unlimited }
    };
    Command {
        event: decision.event,
        r#type: decision.r#type,
        subject: decision.subject,
        body_hash: decision.body_hash,
        occurred_at_us: decision.occurred_at_us,
        accounting_date: decision.accounting_date,
        value_date: decision.value_date,
        back_dated: decision.back_dated,
        book: decision.book,
        rule: decision.rule,
        rule_version: decision.rule_version,
        leg: decision.asked.into_iter().map(leg).collect(),
        lane: decision.lane,
        event_partition: decision.event_partition,
        event_offset: decision.event_offset,
        traceparent: decision.traceparent,
        tenant: decision.tenant,
        job: decision.job,
        rate: decision.rate,
        note: decision.note,
        operation: decision.operation.map(operation_of),
        principal: decision.principal,
    }
}

fn operation_of(of: decision::Operation) -> command::Operation {
    match of {
        decision::Operation::PlaceHold(place) => command::Operation::PlaceHold(place),
        decision::Operation::CaptureHold(capture) => command::Operation::CaptureHold(capture),
        decision::Operation::ReleaseHold(release) => command::Operation::ReleaseHold(release),
        decision::Operation::ChangeAccount(change) => command::Operation::ChangeAccount(change),
        decision::Operation::ProposeAdjustment(propose) => command::Operation::ProposeAdjustment(propose),
        decision::Operation::ApproveAdjustment(approve) => command::Operation::ApproveAdjustment(approve),
        decision::Operation::RejectAdjustment(reject) => command::Operation::RejectAdjustment(reject),
        decision::Operation::ResolveSuspense(resolve) => command::Operation::ResolveSuspense(resolve),
        decision::Operation::ChangeLimits(change) => command::Operation::ChangeLimits(change),
        decision::Operation::BookAtMost(book) => command::Operation::BookAtMost(book),
        decision::Operation::ReverseEvent(reverse) => command::Operation::ReverseEvent(reverse),
    }
}

fn marker_sent(sent: DayMarkerSent, to: u32) -> Result<Option<Sent>, String> {
    let Some(at) = sent.sequence.iter().position(|sequence| sequence.partition == to) else {
        return Ok(None);
    };
    match (sent.sequence.get(at), sent.marker.into_iter().nth(at)) {
        (Some(place), Some(marker)) => Ok(Some((place.sequence, credit_item::Item::DayMarker(marker)))),
        _ => Err(format!("the marker of day {} to partition {to} is not in the journal", sent.date)),
    }
}
