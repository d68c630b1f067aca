//! Judging commands: what becomes of each, at its home or for another partition's home. Reads the overlay, writes
//! the overlay.
//!
//! Precedence of refusals: conflict, several payers, insufficient funds, overflow (see `schemas::reason`);
//! a repeated event is answered before anything else is looked at.

use crate::accounts::Terms;
use crate::clearing::{Cleared, Side as ClearingSide};
use crate::config::{CROSSING_MAX, LEGS_MAX};
use crate::days::Kind;
use crate::ids::{IdKey, IdRecord, body_hash, id_key, remembered};
use crate::lines::{self, CreditLine, DecisionLine, Forwarded, Original, RemoteLine};
use crate::overlay::{Line, LocalLeg, Overlay, Refusal, signed};
use crate::views::{CommandView, LegView};
use schemas::reason::Reason;
use schemas::wire::{EventKey, Outcome, Side, Verdict, credit_item};
use std::hint::black_box;

/// Why a slot cannot go on: a partner broke the protocol. Text for the operator.
pub type Broken = String;

/// A leg, where it lives and what the chart says of its account.
struct Placed<'c> {
    leg: &'c LegView<'c>,
    partition: u32,
    side: Side,
    terms: Terms,
}

/// A command with what judging it will look up.
pub struct Ahead<'c> {
    command: &'c CommandView<'c>,
    key: IdKey,
    placed: Result<Vec<Placed<'c>>, Refusal>,
}

impl<'c> Ahead<'c> {
    /// Works out the id's key and the legs' places.
    #[must_use]
    pub fn of(o: &Overlay<'_>, command: &'c CommandView<'c>) -> Self {
        let event = &command.facts.event;
        Self { command, key: id_key(event.source, event.id), placed: place(o, command) }
    }

    /// Brings what these will look up into the cache. One look-up after the other waits for memory each time; in a loop
    /// that does nothing else, the processor waits for several at once.
    pub fn fetch(o: &Overlay<'_>, all: &[Self]) {
        for ahead in all {
            black_box(o.base.ids.get(&ahead.key));
        }
        let here = |placed: &&Placed<'_>| placed.partition == o.base.slot;
        for placed in all.iter().filter_map(|ahead| ahead.placed.as_ref().ok()).flatten().filter(here) {
            black_box(o.base.accounts.find(placed.leg.account, placed.leg.asset));
        }
    }
}

/// Judges one command of ingest slot `ingest_slot` at its home.
///
/// # Errors
/// [`Broken`] when it breaks the day protocol.
pub fn command(o: &mut Overlay<'_>, ahead: Ahead<'_>, ingest_slot: u32) -> Result<(), Broken> {
    let Ahead { command, key, placed } = ahead;
    tally_command(o, command, ingest_slot)?;
    if let Some(original) = o.id(&key) {
        answer_again(o, command, &original, ingest_slot);
        return Ok(());
    }
    let home = o.base.slot;
    let judged = placed.and_then(|legs| decider(&legs, home).map(|at| (legs, at)));
    let judged = judged.and_then(|(legs, at)| match at == home {
        true => book(o, command, &legs).map(|booked| (home, Outcome::Booked, Some(booked), legs)),
        false => Ok((at, Outcome::Pending, None, legs)),
    });
    let (outcome, reason, decider) = match &judged {
        Ok((at, outcome, _, _)) => (*outcome, None, *at),
        Err(refusal) => (Outcome::Refused, Some(refusal.reason), home),
    };
    match judged {
        Ok((_, _, Some(booked), _)) => o.decided(&booked.line(command, ingest_slot)),
        Ok((at, _, None, legs)) => forward(o, command, &legs, at, ingest_slot),
        Err(r) => o.decided(&DecisionLine::refused(command, ingest_slot, r.reason, &r.detail)),
    }
    if let Some(record) = remembered(outcome, reason, command.body_hash, decider, o.batch) {
        o.set_id(key, record);
    }
    Ok(())
}

fn tally_command(o: &mut Overlay<'_>, command: &CommandView<'_>, ingest_slot: u32) -> Result<(), Broken> {
    let facts = &command.facts;
    if facts.back_dated {
        return Ok(());
    }
    let date = facts.accounting_date;
    if o.read_days(facts.book).is_some_and(|days| days.marked(false, date, ingest_slot)) {
        return Err(format!("ingest slot {ingest_slot} sent a command dated {date} after its marker"));
    }
    let debits =
        command.legs.iter().filter(|leg| leg.side() == Side::Debit).map(|leg| (leg.asset, leg.amount));
    o.tally((Kind::CommandsIn, ingest_slot, date, facts.book), debits);
    Ok(())
}

fn answer_again(o: &mut Overlay<'_>, command: &CommandView<'_>, original: &IdRecord, ingest_slot: u32) {
    if body_hash(command.body_hash) != original.body {
        let detail = "this source and id were used before with another body";
        return o.decided(&DecisionLine::refused(command, ingest_slot, Reason::Conflict, detail));
    }
    let batch = if original.outcome == Outcome::Pending { 0 } else { original.batch };
    o.decided(&DecisionLine {
        reason: original.reason,
        original: Some(Original { outcome: original.outcome, partition: original.decider, batch }),
        ..DecisionLine::new(command, ingest_slot, Outcome::Duplicate)
    });
}

impl<'c> Placed<'c> {
    fn remote(&self, index: usize, sequence: u64) -> RemoteLine<'c> {
        RemoteLine {
            leg: u32::try_from(index).unwrap_or(u32::MAX),
            account: self.leg.account,
            asset: self.leg.asset,
            side: self.side,
            amount: self.leg.amount,
            matched: self.leg.matched,
            partition: self.partition,
            sequence,
        }
    }

    fn local(&self, index: usize) -> LocalLeg<'c> {
        LocalLeg {
            leg: u32::try_from(index).unwrap_or(u32::MAX),
            account: self.leg.account,
            asset: self.leg.asset,
            side: self.side,
            amount: self.leg.amount,
            matched: self.leg.matched,
            terms: Some(self.terms),
        }
    }
}

/// Finds each leg's partition and terms, and holds the legs against what ingest promised.
fn place<'c>(o: &Overlay<'_>, command: &'c CommandView<'c>) -> Result<Vec<Placed<'c>>, Refusal> {
    if command.legs.is_empty() {
        return Err(Refusal::new(Reason::NoLegs, "the command has no leg"));
    }
    if command.legs.len() > LEGS_MAX {
        return Err(Refusal::new(Reason::TooManyLegs, format!("{} legs", command.legs.len())));
    }
    let mut sums: Vec<(&str, i128)> = Vec::with_capacity(1);
    let mut legs = Vec::with_capacity(command.legs.len());
    for leg in &command.legs {
        let (side, amount) = (leg.side(), leg.amount);
        if amount <= 0 || side == Side::Unspecified {
            return Err(Refusal::new(Reason::BadAmount, format!("{} {amount}", leg.account)));
        }
        if !o.config.chart.assets.contains_key(leg.asset) {
            return Err(Refusal::new(Reason::UnknownAsset, leg.asset));
        }
        let Some((partition, terms)) = o.config.place(leg.account, leg.asset) else {
            return Err(Refusal::new(Reason::UnknownAccount, format!("{} {}", leg.account, leg.asset)));
        };
        let by = signed(side, amount);
        let overflow = || {
            Refusal::new(
                Reason::Overflow,
                format!("the sum of its legs in {} is beyond any amount", leg.asset),
            )
        };
        match sums.iter_mut().find(|(asset, _)| *asset == leg.asset) {
            Some((_, sum)) => *sum = sum.checked_add(by).ok_or_else(overflow)?,
            None => sums.push((leg.asset, by)),
        }
        legs.push(Placed { leg, partition, side, terms });
    }
    match sums.iter().find(|(_, sum)| *sum != 0) {
        Some((asset, sum)) => Err(Refusal::new(Reason::Unbalanced, format!("{asset} by {sum}"))),
        None => Ok(legs),
    }
}

/// The partition that decides: that of the only account that may refuse, else home.
fn decider(legs: &[Placed<'_>], home: u32) -> Result<u32, Refusal> {
    let mut payer: Option<&Placed<'_>> = None;
    for leg in legs.iter().filter(|leg| leg.terms.may_refuse(leg.side)) {
        match payer {
            Some(first) if first.leg.account != leg.leg.account => {
                let detail = format!("{} and {}", first.leg.account, leg.leg.account);
                return Err(Refusal::new(Reason::SeveralPayers, detail));
            }
            _ => payer = Some(leg),
        }
    }
    Ok(payer.map_or(home, |leg| leg.partition))
}

struct Booked<'c> {
    date: i32,
    carried_from: i32,
    entries: Vec<Line<'c>>,
    remote: Vec<RemoteLine<'c>>,
}

impl<'c> Booked<'c> {
    fn line(&'c self, command: &'c CommandView<'c>, ingest_slot: u32) -> DecisionLine<'c> {
        DecisionLine {
            date: self.date,
            carried_from: self.carried_from,
            entries: &self.entries,
            remote: &self.remote,
            ..DecisionLine::new(command, ingest_slot, Outcome::Booked)
        }
    }
}

/// Books local legs and sends the others, or refuses and leaves the overlay's figures as they were.
fn book<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    legs: &[Placed<'c>],
) -> Result<Booked<'c>, Refusal> {
    let (own, facts) = (o.base.slot, &command.facts);
    let here = |(_, placed): &(usize, &Placed<'c>)| placed.partition == own;
    let mut local = Vec::with_capacity(legs.len());
    local.extend(legs.iter().enumerate().filter(here).map(|(n, placed)| placed.local(n)));
    let entries = o.try_book(&local)?;
    check_clearing(o, legs, own)?;
    o.settle(&entries);
    let days = o.read_days(facts.book);
    let (date, carried_from) =
        days.map_or((facts.accounting_date, 0), |d| d.date_of(facts.accounting_date, facts.back_dated));
    let mut remote = Vec::with_capacity(legs.len() - local.len());
    for (n, placed) in legs.iter().enumerate().filter(|leg| !here(leg)) {
        remote.push(send_credit(o, command, placed.remote(n, 0), date, carried_from));
    }
    Ok(Booked { date, carried_from, entries, remote })
}

const fn clearing_to(peer: u32) -> ClearingSide {
    ClearingSide { outgoing: true, peer }
}

fn check_clearing(o: &mut Overlay<'_>, legs: &[Placed<'_>], own: u32) -> Result<(), Refusal> {
    let mut sums: Vec<(u32, &str, i128)> = Vec::new();
    for placed in legs.iter().filter(|placed| placed.partition != own) {
        let (peer, asset, amount) = (placed.partition, placed.leg.asset, placed.leg.amount);
        let by = signed(placed.side, amount);
        let at = sums.iter().position(|(p, a, _)| *p == peer && *a == asset);
        let so_far = at.and_then(|at| sums.get(at)).map_or(0, |(_, _, sum)| *sum);
        let sum = so_far.checked_add(by).filter(|_| amount <= CROSSING_MAX);
        let fits = sum.filter(|sum| o.clearing_fits(clearing_to(peer), asset, *sum));
        let overflow = || {
            let what = format!("with it, what is sent to partition {peer} in {asset} is beyond any amount");
            Refusal::new(Reason::Overflow, what)
        };
        let sum = fits.ok_or_else(overflow)?;
        match at.and_then(|at| sums.get_mut(at)) {
            Some(slot) => slot.2 = sum,
            None => sums.push((peer, asset, sum)),
        }
    }
    Ok(())
}

fn send_credit<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    mut leg: RemoteLine<'c>,
    date: i32,
    carried_from: i32,
) -> RemoteLine<'c> {
    let (facts, peer, asset) = (&command.facts, leg.partition, leg.asset);
    let by = signed(leg.side, leg.amount);
    if !facts.back_dated {
        o.tally((Kind::CreditsOut, peer, date, facts.book), [(asset, by)]);
    }
    leg.sequence = o.send_with(peer, |f, sequence| {
        CreditLine { facts, leg: RemoteLine { sequence, ..leg }, date, carried_from }.write(f);
    });
    o.clear(clearing_to(peer), Cleared { asset, book: facts.book, date, sequence: leg.sequence, by });
    leg
}

/// Asks the partition of the payer.
fn forward(o: &mut Overlay<'_>, command: &CommandView<'_>, legs: &[Placed<'_>], to: u32, ingest_slot: u32) {
    let asked: Vec<RemoteLine<'_>> = legs.iter().enumerate().map(|(n, leg)| leg.remote(n, 0)).collect();
    let sequence = o.send_with(to, |f, sequence| lines::forward(f, sequence, command, ingest_slot));
    o.decided(&DecisionLine {
        asked: &asked,
        asks: Some((to, sequence)),
        ..DecisionLine::new(command, ingest_slot, Outcome::Pending)
    });
}

/// Decides a command for its home, partition `from`, and answers.
pub fn for_home(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    ingest_slot: u32,
    from: u32,
    sequence: u64,
    check: u64,
) {
    let judged = place(o, command).and_then(|legs| {
        decider(&legs, o.base.slot)?;
        book(o, command, &legs)
    });
    let line = match &judged {
        Ok(booked) => booked.line(command, ingest_slot),
        Err(r) => DecisionLine::refused(command, ingest_slot, r.reason, &r.detail),
    };
    let event = &command.facts.event;
    let key = EventKey { source: event.source.to_owned(), id: event.id.to_owned() };
    let verdict = Verdict {
        event: event.encoded.map(|_| key),
        outcome: line.outcome as i32,
        reason: line.reason.map_or("", Reason::code).to_owned(),
        retryable: line.reason.is_some_and(Reason::retryable),
        accounting_date: line.date,
        batch: o.batch,
        detail: line.detail.to_owned(),
    };
    let verdict_sequence = o.send(from, credit_item::Item::Verdict(verdict));
    let forwarded = Forwarded { from, sequence, check, verdict_sequence };
    o.decided(&DecisionLine { forwarded: Some(forwarded), ..line });
}
