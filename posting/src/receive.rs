//! Taking the items of other partitions' channels: each once, in order (ARCHITECTURE rule 6). Credits cannot be refused:
//! what cannot be booked goes to suspense. What is above the next item waits ([`crate::gaps`]), what is too old for the
//! checks in memory is held against the journal ([`crate::recheck`]).

use crate::accounts::Terms;
use crate::channels::{Arrival, item_check};
use crate::clearing::{Cleared, Side as ClearingSide};
use crate::config::CROSSING_MAX;
use crate::days::Kind;
use crate::decide::{self, Broken};
use crate::holds::{Hold, HoldKey};
use crate::ids::{id_key, key_of};
use crate::lines::ReceivedLine;
use crate::overlay::{LocalLeg, Overlay, Refusal, signed};
use crate::velocity::Volume;
use crate::views::{CreditItemView, CreditKind, CreditView};
use crate::{adjustment, gaps, groups, markers, recheck, resend, suspense};
use schemas::batch::{Hash, sha256};
use schemas::reason::Reason;
use schemas::wire::{
    Answer, Answered, Reserve, Reserved, Resolution, Side, Verdict, Void, Voided, credit_item,
    journal_item::Item,
};

/// Takes one item of the channel from `from`, and the held ones that follow it.
///
/// # Errors
/// [`Broken`] when the item contradicts one taken before, or breaks the day protocol.
pub fn channel_item(
    o: &mut Overlay<'_>,
    from: u32,
    encoded: &[u8],
    item: CreditItemView<'_>,
) -> Result<(), Broken> {
    let (hash, sequence) = (sha256(encoded), item.sequence);
    match o.channel(from).judge(sequence, &hash) {
        Arrival::Next => take(o, from, item, &hash)?,
        Arrival::Repeated => return Ok(()),
        Arrival::Ahead => return gaps::hold(o, from, &item, Some(encoded)),
        Arrival::AheadDropped => return gaps::hold(o, from, &item, None),
        Arrival::Different => {
            return Err(format!("channel p{from:02}: sequence {sequence} came before with another content"));
        }
        Arrival::TooOld => return recheck::compare_old(o, from, sequence, &hash),
    }
    loop {
        let channel = o.channel(from);
        let next = channel.mark + 1;
        let Some(encoded) = channel.held.get(&next).cloned() else { return Ok(()) };
        let (encoded, item) = view(from, &encoded)?;
        take(o, from, item, &sha256(encoded))?;
    }
}

/// An item of the channel from `from`, and its view.
///
/// # Errors
/// [`Broken`] when it does not decode.
pub fn view(from: u32, encoded: &[u8]) -> Result<(&[u8], CreditItemView<'_>), Broken> {
    let item = CreditItemView::read(encoded).map_err(|e| format!("channel p{from:02}: {e}"))?;
    Ok((encoded, item))
}

/// Looks up the accounts of these, as [`Ahead::fetch`](crate::decide::Ahead::fetch) does.
pub fn fetch(o: &Overlay<'_>, items: &mut [(&[u8], CreditItemView<'_>)]) {
    for (_, item) in items {
        if let CreditKind::Credit(credit) = &mut item.kind {
            credit.row = o.base.accounts.find(credit.to.account, credit.to.asset);
        }
    }
}

fn take(o: &mut Overlay<'_>, from: u32, item: CreditItemView<'_>, hash: &Hash) -> Result<(), Broken> {
    let (sequence, check) = (item.sequence, item_check(hash));
    let channel = o.channel(from);
    channel.advance(sequence, check);
    channel.hash = *hash;
    match item.kind {
        CreditKind::Credit(credit) => receive(o, from, sequence, check, &credit)?,
        CreditKind::Forward { command, ingest_slot } => {
            decide::for_home(o, &command, ingest_slot, from, sequence, check);
        }
        CreditKind::Verdict(verdict) => resolve(o, from, sequence, check, verdict),
        CreditKind::DayMarker(marker) => markers::of_partition(o, from, sequence, check, marker)?,
        CreditKind::Resend(asked) => resend::taken(o, from, sequence, check, asked)?,
        CreditKind::Reserve(reserve) => put_on_hold(o, from, sequence, check, reserve),
        CreditKind::Answer(answer) => {
            groups::answered(o, from, &answer);
            let Answer { event, reason, detail } = answer;
            o.journal(Item::Answered(Answered { from, sequence, event, reason, detail, item_check: check }));
        }
        CreditKind::Void(Void { event }) => {
            o.end_holds(key_of(event.as_ref()), from);
            o.journal(Item::Voided(Voided { from, sequence, event, item_check: check }));
        }
    }
    Ok(())
}

/// Books a credit.
fn receive(
    o: &mut Overlay<'_>,
    from: u32,
    sequence: u64,
    check: u64,
    credit: &CreditView<'_>,
) -> Result<(), Broken> {
    let (facts, to) = (&credit.facts, &credit.to);
    let (side, amount, date) = (to.side(), to.amount, facts.accounting_date);
    let cannot = || format!("channel p{from:02}: credit {sequence} of {amount} cannot be cleared");
    if amount <= 0 || amount > CROSSING_MAX {
        return Err(cannot());
    }
    let (by, clearing) = (signed(side, amount), ClearingSide { outgoing: false, peer: from });
    if !o.clearing_fits(clearing, to.asset, by.saturating_neg()) {
        return Err(cannot());
    }
    if !facts.back_dated {
        if o.read_days(facts.book).is_some_and(|days| days.marked(true, date, from)) {
            return Err(format!("channel p{from:02}: credit {sequence} is dated before the marker"));
        }
        o.tally((Kind::CreditsIn, from, date, facts.book), [(to.asset, by)]);
    }
    let reserved = end_reserved(o, from, sequence, credit)?;
    let suspense = suspense::account_of(o.base.slot);
    let (lines, why) = match book(o, credit, reserved.as_ref()) {
        Ok(lines) => (lines, None),
        Err(refusal) => {
            let leg = LocalLeg { account: &suspense, matched: None, row: None, ..leg_of(credit, None) };
            (o.try_book(&[leg]).map_err(|_| "suspense overflows".to_owned())?, Some(refusal.reason))
        }
    };
    o.settle(&lines);
    let Some(entry) = lines.first() else { return Err(cannot()) };
    let by = by.saturating_neg();
    o.clear(clearing, Cleared { asset: to.asset, book: facts.book, date, sequence, by });
    o.received(&ReceivedLine {
        from,
        sequence,
        check,
        facts,
        carried_from: credit.carried_from,
        entry,
        suspense: why.map(|reason| (reason, to.account)),
        reserved: reserved.map(|(key, _)| key),
    });
    Ok(())
}

/// What was on hold for a leg makes way for it.
fn end_reserved(
    o: &mut Overlay<'_>,
    from: u32,
    sequence: u64,
    credit: &CreditView<'_>,
) -> Result<Option<(HoldKey, Hold)>, Broken> {
    if !credit.reserved {
        return Ok(None);
    }
    let event = &credit.facts.event;
    let key = (id_key(event.source, event.id), from, credit.leg);
    match o.end_hold(key) {
        Some(hold) => Ok(Some((key, hold))),
        None => Err(format!("channel p{from:02}: credit {sequence} ends what is not on hold")),
    }
}

/// Puts an event's legs on hold for its home, or none of them, and says so.
fn put_on_hold(o: &mut Overlay<'_>, from: u32, sequence: u64, check: u64, reserve: Reserve) {
    let Reserve { event, leg } = reserve;
    let refusal = o.put_on_hold(key_of(event.as_ref()), &leg, from).err();
    let (reason, detail) = refusal.map_or_else(Default::default, |r| (r.reason.code().to_owned(), r.detail));
    let answer = Answer { event: event.clone(), reason: reason.clone(), detail: detail.clone() };
    let answer_sequence = o.send(from, credit_item::Item::Answer(answer));
    let leg = if reason.is_empty() { leg } else { Vec::new() };
    o.journal(Item::Reserved(Reserved {
        from,
        sequence,
        event,
        leg,
        reason,
        detail,
        answer_sequence,
        item_check: check,
    }));
}

const fn leg_of<'c>(credit: &CreditView<'c>, terms: Option<Terms>) -> LocalLeg<'c> {
    let to = &credit.to;
    let side = match to.side {
        2 => Side::Credit,
        _ => Side::Debit,
    };
    LocalLeg {
        leg: credit.leg,
        account: to.account,
        asset: to.asset,
        side,
        amount: to.amount,
        matched: to.matched,
        terms,
        row: credit.row,
        overdraft: None,
    }
}

/// Entries on the payee's account, whose limits do not hold for what has been debited elsewhere. As much is counted as moved
/// as was on hold.
fn book<'c>(
    o: &mut Overlay<'_>,
    credit: &CreditView<'c>,
    reserved: Option<&(HoldKey, Hold)>,
) -> Result<Vec<crate::overlay::Line<'c>>, Refusal> {
    let placed = o.config.place(credit.to.account, credit.to.asset);
    let (_, terms) = placed.ok_or_else(|| Refusal::new(Reason::UnknownAccount, ""))?;
    let mut leg = leg_of(credit, Some(terms.unjudged()));
    if credit.reserved {
        // It was judged when it was put on hold: what has changed since does not undo it.
        leg.terms = None;
    }
    let lines = o.try_book(&[leg])?;
    if terms.counted.has(leg.side) {
        let amount = reserved.map_or(leg.amount, |(_, hold)| hold.amount);
        o.count_moved(leg.account, leg.asset, leg.side, Volume { amount, count: 1 });
    }
    Ok(lines)
}

/// Ends the pending state of a command forwarded earlier.
fn resolve(o: &mut Overlay<'_>, from: u32, sequence: u64, check: u64, verdict: Verdict) {
    let key = key_of(verdict.event.as_ref());
    let (outcome, reason) = (verdict.outcome(), Reason::by_code(&verdict.reason));
    if o.resolve_id(key, outcome, reason, from, verdict.batch) {
        adjustment::ended(o, &key, outcome);
    }
    o.journal(Item::Resolution(Resolution {
        from,
        sequence,
        outcome: verdict.outcome,
        event: verdict.event,
        reason: verdict.reason,
        retryable: verdict.retryable,
        batch: verdict.batch,
        accounting_date: verdict.accounting_date,
        item_check: check,
        detail: verdict.detail,
    }));
}
