//! Judging: what becomes of each command, credit, verdict and marker. Reads the overlay, writes the overlay.
//!
//! Precedence of refusals: conflict, several payers, insufficient funds, overflow (see `schemas::reason`);
//! a repeated event is answered before anything else is looked at.

use crate::accounts::Terms;
use crate::channels::{Arrival, item_check};
use crate::config::{CROSSING_MAX, LEGS_MAX};
use crate::days::{Kind, TallyKey};
use crate::ids::{IdRecord, body_hash, key_of};
use crate::overlay::{ClearingKey, LocalLeg, Overlay, Refusal, signed};
use crate::state::remembered;
use bytes::Bytes;
use prost::Message;
use schemas::amount_wire::value;
use schemas::batch::{Hash, sha256};
use schemas::reason::Reason;
use schemas::wire::{
    Aligned, Command, Credit, CreditItem, DayMarker, DayMarkerSeen, DayMarkerSent, Decision, Forward, Held,
    Leg, Outcome, Received, RemoteLeg, Resolution, Side, Verdict, credit_item, journal_item::Item,
};

/// Why a slot cannot go on: a partner broke the protocol. Text for the operator.
pub type Broken = String;

struct Placed<'a> {
    leg: &'a Leg,
    partition: u32,
    side: Side,
    amount: i128,
    terms: Option<Terms>,
}

/// Judges one command of ingest slot `ingest_slot` at its home.
///
/// # Errors
/// [`Broken`] when it breaks the day protocol.
pub fn command(o: &mut Overlay<'_>, command: Command, ingest_slot: u32) -> Result<(), Broken> {
    tally_command(o, &command, ingest_slot)?;
    let key = key_of(command.event.as_ref());
    if let Some(original) = o.id(&key) {
        let decision = answer_again(command, &original, ingest_slot);
        o.journal(Item::Decision(decision));
        return Ok(());
    }
    let home = o.base.slot;
    let decision = match place(o, &command).and_then(|legs| decider(&legs, home).map(|at| (legs, at))) {
        Err(refusal) => refused(command, refusal, ingest_slot),
        Ok((legs, at)) if at == home => match book(o, &command, &legs) {
            Ok(booked) => booked.into_decision(command, ingest_slot),
            Err(refusal) => refused(command, refusal, ingest_slot),
        },
        Ok((legs, at)) => {
            let asked = legs.iter().enumerate().map(|(n, leg)| leg.remote(n, 0)).collect();
            forward(o, command, asked, at, ingest_slot)
        }
    };
    if let Some(record) = remembered(&decision, home, o.batch) {
        o.set_id(key, record);
    }
    o.journal(Item::Decision(decision));
    Ok(())
}

fn tally_command(o: &mut Overlay<'_>, command: &Command, ingest_slot: u32) -> Result<(), Broken> {
    if command.back_dated {
        return Ok(());
    }
    let (book, date) = (command.book.clone(), command.accounting_date);
    if o.read_days(&book).is_some_and(|days| days.marked(false, date, ingest_slot)) {
        return Err(format!("ingest slot {ingest_slot} sent a command dated {date} after its marker"));
    }
    let debits = command
        .leg
        .iter()
        .filter(|leg| leg.side() == Side::Debit)
        .map(|leg| (leg.asset.as_str(), value(leg.amount)));
    let key = TallyKey { kind: Kind::CommandsIn, peer: ingest_slot, date, book };
    o.tally(key, debits);
    Ok(())
}

fn answer_again(command: Command, original: &IdRecord, ingest_slot: u32) -> Decision {
    if body_hash(&command.body_hash) != original.body {
        let detail = "this source and id were used before with another body";
        return refused(command, Refusal::new(Reason::Conflict, detail), ingest_slot);
    }
    let mut decision = blank(command, ingest_slot);
    decision.outcome = Outcome::Duplicate as i32;
    decision.original = original.outcome as i32;
    if let Some(reason) = original.reason {
        decision.reason = reason.code().to_owned();
        decision.retryable = reason.retryable();
    }
    decision
}

fn blank(command: Command, ingest_slot: u32) -> Decision {
    Decision {
        event: command.event,
        r#type: command.r#type,
        subject: command.subject,
        body_hash: command.body_hash,
        occurred_at_us: command.occurred_at_us,
        accounting_date: command.accounting_date,
        value_date: command.value_date,
        back_dated: command.back_dated,
        book: command.book,
        rule: command.rule,
        rule_version: command.rule_version,
        lane: command.lane,
        event_partition: command.event_partition,
        event_offset: command.event_offset,
        traceparent: command.traceparent,
        ingest_slot,
        ..Decision::default()
    }
}

fn refused(command: Command, refusal: Refusal, ingest_slot: u32) -> Decision {
    let mut decision = blank(command, ingest_slot);
    decision.outcome = Outcome::Refused as i32;
    decision.reason = refusal.reason.code().to_owned();
    decision.retryable = refusal.reason.retryable();
    decision.detail = refusal.detail;
    decision
}

impl Placed<'_> {
    fn remote(&self, index: usize, sequence: u64) -> RemoteLeg {
        RemoteLeg {
            leg: u32::try_from(index).unwrap_or(u32::MAX),
            account: self.leg.account.clone(),
            asset: self.leg.asset.clone(),
            side: self.side as i32,
            amount: Some(self.amount.into()),
            partition: self.partition,
            sequence,
            r#match: self.leg.r#match.clone(),
        }
    }
}

/// Finds each leg's partition and terms, and holds the legs against what ingest promised.
fn place<'c>(o: &Overlay<'_>, command: &'c Command) -> Result<Vec<Placed<'c>>, Refusal> {
    if command.leg.is_empty() {
        return Err(Refusal::new(Reason::NoLegs, "the command has no leg"));
    }
    if command.leg.len() > LEGS_MAX {
        return Err(Refusal::new(Reason::TooManyLegs, format!("{} legs", command.leg.len())));
    }
    let mut sums: Vec<(&str, i128)> = Vec::new();
    let mut legs = Vec::with_capacity(command.leg.len());
    for leg in &command.leg {
        let (side, amount) = (leg.side(), value(leg.amount));
        if amount <= 0 || side == Side::Unspecified {
            return Err(Refusal::new(Reason::BadAmount, format!("{} {amount}", leg.account)));
        }
        if !o.config.chart.assets.contains_key(&leg.asset) {
            return Err(Refusal::new(Reason::UnknownAsset, leg.asset.clone()));
        }
        let terms = o.terms(&leg.account, &leg.asset);
        if terms.is_none() {
            return Err(Refusal::new(Reason::UnknownAccount, format!("{} {}", leg.account, leg.asset)));
        }
        let by = signed(side, amount);
        let overflow = || Refusal::new(Reason::Overflow, format!("sum of {}", leg.asset));
        match sums.iter_mut().find(|(asset, _)| *asset == leg.asset) {
            Some((_, sum)) => *sum = sum.checked_add(by).ok_or_else(overflow)?,
            None => sums.push((&leg.asset, by)),
        }
        let partition = o.config.partition_of_account(&leg.account);
        legs.push(Placed { leg, partition, side, amount, terms });
    }
    match sums.iter().find(|(_, sum)| *sum != 0) {
        Some((asset, sum)) => Err(Refusal::new(Reason::Unbalanced, format!("{asset} by {sum}"))),
        None => Ok(legs),
    }
}

/// The partition that decides: that of the only account that may refuse, else home.
fn decider(legs: &[Placed<'_>], home: u32) -> Result<u32, Refusal> {
    let mut payer: Option<&Placed<'_>> = None;
    for leg in legs.iter().filter(|leg| leg.terms.is_some_and(|t| t.may_refuse(leg.side))) {
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

struct Booked {
    date: i32,
    carried_from: i32,
    entries: Vec<schemas::wire::Entry>,
    remote: Vec<RemoteLeg>,
}

impl Booked {
    fn into_decision(self, command: Command, ingest_slot: u32) -> Decision {
        let mut decision = blank(command, ingest_slot);
        decision.outcome = Outcome::Booked as i32;
        decision.accounting_date = self.date;
        decision.carried_from = self.carried_from;
        decision.entry = self.entries;
        decision.remote = self.remote;
        decision
    }
}

/// Books local legs and sends the others, or refuses and leaves the overlay as it was.
fn book(o: &mut Overlay<'_>, command: &Command, legs: &[Placed<'_>]) -> Result<Booked, Refusal> {
    let own = o.base.slot;
    let local: Vec<LocalLeg<'_>> = legs
        .iter()
        .enumerate()
        .filter(|(_, placed)| placed.partition == own)
        .map(|(n, placed)| LocalLeg {
            leg: u32::try_from(n).unwrap_or(u32::MAX),
            account: &placed.leg.account,
            asset: &placed.leg.asset,
            side: placed.side,
            amount: placed.amount,
            terms: placed.terms,
        })
        .collect();
    let tentative = o.try_book(&local)?;
    check_clearing(o, legs, own)?;
    let mut entries = o.settle(tentative);
    for entry in &mut entries {
        let leg = command.leg.get(entry.leg as usize);
        entry.r#match = leg.and_then(|leg| leg.r#match.clone());
    }
    let days = o.read_days(&command.book).cloned().unwrap_or_default();
    let (date, carried_from) = days.date_of(command.accounting_date, command.back_dated);
    let mut remote = Vec::new();
    for (n, placed) in legs.iter().enumerate().filter(|(_, placed)| placed.partition != own) {
        let sequence = send_credit(o, command, placed, n, date, carried_from);
        remote.push(placed.remote(n, sequence));
    }
    Ok(Booked { date, carried_from, entries, remote })
}

fn check_clearing(o: &Overlay<'_>, legs: &[Placed<'_>], own: u32) -> Result<(), Refusal> {
    let mut sums: Vec<(u32, &str, i128)> = Vec::new();
    for placed in legs.iter().filter(|placed| placed.partition != own) {
        let (peer, asset) = (placed.partition, placed.leg.asset.as_str());
        let by = signed(placed.side, placed.amount);
        let at = sums.iter().position(|(p, a, _)| *p == peer && *a == asset);
        let so_far = at.and_then(|at| sums.get(at)).map_or(0, |(_, _, sum)| *sum);
        let sum = so_far.checked_add(by).filter(|_| placed.amount <= CROSSING_MAX);
        let fits = sum.filter(|sum| o.clearing_fits(true, peer, asset, *sum));
        let overflow = || Refusal::new(Reason::Overflow, format!("clearing to p{peer:02} {asset}"));
        let sum = fits.ok_or_else(overflow)?;
        match at.and_then(|at| sums.get_mut(at)) {
            Some(slot) => slot.2 = sum,
            None => sums.push((peer, asset, sum)),
        }
    }
    Ok(())
}

fn send_credit(
    o: &mut Overlay<'_>,
    command: &Command,
    placed: &Placed<'_>,
    index: usize,
    date: i32,
    carried_from: i32,
) -> u64 {
    let credit = Credit {
        event: command.event.clone(),
        r#type: command.r#type.clone(),
        leg: u32::try_from(index).unwrap_or(u32::MAX),
        account: placed.leg.account.clone(),
        asset: placed.leg.asset.clone(),
        side: placed.side as i32,
        amount: Some(placed.amount.into()),
        occurred_at_us: command.occurred_at_us,
        accounting_date: date,
        value_date: command.value_date,
        back_dated: command.back_dated,
        carried_from,
        book: command.book.clone(),
        rule: command.rule.clone(),
        rule_version: command.rule_version,
        r#match: placed.leg.r#match.clone(),
        traceparent: command.traceparent.clone(),
    };
    let by = signed(placed.side, placed.amount);
    if !credit.back_dated {
        let key =
            TallyKey { kind: Kind::CreditsOut, peer: placed.partition, date, book: credit.book.clone() };
        o.tally(key, [(placed.leg.asset.as_str(), by)]);
    }
    let key = ClearingKey {
        outgoing: true,
        peer: placed.partition,
        asset: credit.asset.clone(),
        book: credit.book.clone(),
        date,
    };
    let sequence = o.send(placed.partition, credit_item::Item::Credit(credit));
    o.clear(key, sequence, by);
    sequence
}

fn forward(
    o: &mut Overlay<'_>,
    command: Command,
    asked: Vec<RemoteLeg>,
    to: u32,
    ingest_slot: u32,
) -> Decision {
    let mut decision = blank(command.clone(), ingest_slot);
    decision.outcome = Outcome::Pending as i32;
    decision.forwarded_to = to;
    decision.asked = asked;
    let item = Forward { command: Some(command), ingest_slot };
    decision.forward_sequence = o.send(to, credit_item::Item::Forward(item));
    decision
}

/// Takes one item of the channel from `from`, and the held ones that follow it.
///
/// # Errors
/// [`Broken`] when the item contradicts one taken before, or breaks the day protocol.
pub fn channel_item(o: &mut Overlay<'_>, from: u32, encoded: &Bytes) -> Result<(), Broken> {
    let item =
        CreditItem::decode(encoded.clone()).map_err(|e| format!("credit item does not decode: {e}"))?;
    let hash = sha256(encoded);
    let sequence = item.sequence;
    match o.channel(from).judge(sequence, &hash) {
        Arrival::Next => take(o, from, item, &hash)?,
        Arrival::Repeated => return Ok(()),
        Arrival::Ahead => {
            o.channel(from).held.insert(sequence, encoded.clone());
            o.journal(Item::Held(Held { from, sequence, item: encoded.clone(), dropped: false }));
            return Ok(());
        }
        Arrival::AheadDropped => {
            o.channel(from).dropped += 1;
            o.journal(Item::Held(Held { from, sequence, item: Bytes::new(), dropped: true }));
            return Ok(());
        }
        Arrival::Different => {
            return Err(format!("channel p{from:02}: sequence {sequence} came before with another content"));
        }
        Arrival::TooOld => {
            return Err(format!("channel p{from:02}: sequence {sequence} is too old to be compared"));
        }
    }
    loop {
        let channel = o.channel(from);
        let next = channel.mark + 1;
        let Some(encoded) = channel.held.get(&next).cloned() else { return Ok(()) };
        let item =
            CreditItem::decode(encoded.clone()).map_err(|e| format!("held item does not decode: {e}"))?;
        take(o, from, item, &sha256(&encoded))?;
    }
}

fn take(o: &mut Overlay<'_>, from: u32, item: CreditItem, hash: &Hash) -> Result<(), Broken> {
    let (sequence, check) = (item.sequence, item_check(hash));
    let channel = o.channel(from);
    channel.advance(sequence, check);
    channel.hash = *hash;
    match item.item {
        Some(credit_item::Item::Credit(credit)) => receive(o, from, sequence, check, credit),
        Some(credit_item::Item::Forward(forwarded)) => {
            decide_for(o, from, sequence, check, forwarded);
            Ok(())
        }
        Some(credit_item::Item::Verdict(verdict)) => {
            resolve(o, from, sequence, check, verdict);
            Ok(())
        }
        Some(credit_item::Item::DayMarker(marker)) => credits_marker(o, from, sequence, check, marker),
        None => Err(format!("channel p{from:02}: item {sequence} is empty")),
    }
}

/// Books a credit; it cannot be refused, so what cannot be booked goes to suspense.
fn receive(o: &mut Overlay<'_>, from: u32, sequence: u64, check: u64, credit: Credit) -> Result<(), Broken> {
    let own = o.base.slot;
    let (side, amount) = (credit.side(), value(credit.amount));
    let cannot = || format!("channel p{from:02}: credit {sequence} of {amount} cannot be cleared");
    if amount <= 0 || amount > CROSSING_MAX {
        return Err(cannot());
    }
    let by = signed(side, amount);
    if !o.clearing_fits(false, from, &credit.asset, by.saturating_neg()) {
        return Err(cannot());
    }
    if !credit.back_dated {
        if o.read_days(&credit.book).is_some_and(|days| days.marked(true, credit.accounting_date, from)) {
            return Err(format!("channel p{from:02}: credit {sequence} is dated before the marker"));
        }
        let (date, book) = (credit.accounting_date, credit.book.clone());
        let key = TallyKey { kind: Kind::CreditsIn, peer: from, date, book };
        o.tally(key, [(credit.asset.as_str(), by)]);
    }
    let suspense = format!("suspense:p{own:02}");
    let terms = o.terms(&credit.account, &credit.asset);
    let leg =
        |account, terms| LocalLeg { leg: credit.leg, account, asset: &credit.asset, side, amount, terms };
    let unlimited = terms.map(|t| Terms { overdraft: None, ..t });
    let booked = match unlimited {
        Some(terms) => o.try_book(&[leg(&credit.account, Some(terms))]),
        None => Err(Refusal::new(Reason::UnknownAccount, "")),
    };
    let (tentative, why) = match booked {
        Ok(tentative) => (tentative, None),
        Err(refusal) => {
            let tentative =
                o.try_book(&[leg(&suspense, None)]).map_err(|_| "suspense overflows".to_owned())?;
            (tentative, Some(refusal.reason))
        }
    };
    let mut entry = o.settle(tentative).pop();
    if let (Some(entry), None) = (entry.as_mut(), why) {
        entry.r#match = credit.r#match.clone();
    }
    let key = ClearingKey {
        outgoing: false,
        peer: from,
        asset: credit.asset.clone(),
        book: credit.book.clone(),
        date: credit.accounting_date,
    };
    o.clear(key, sequence, by.saturating_neg());
    o.journal(Item::Received(received(from, sequence, check, credit, entry, why)));
    Ok(())
}

fn received(
    from: u32,
    sequence: u64,
    check: u64,
    credit: Credit,
    entry: Option<schemas::wire::Entry>,
    suspense: Option<Reason>,
) -> Received {
    Received {
        from,
        sequence,
        event: credit.event,
        r#type: credit.r#type,
        occurred_at_us: credit.occurred_at_us,
        accounting_date: credit.accounting_date,
        value_date: credit.value_date,
        back_dated: credit.back_dated,
        carried_from: credit.carried_from,
        book: credit.book,
        rule: credit.rule,
        rule_version: credit.rule_version,
        entry,
        suspense_reason: suspense.map(|reason| reason.code().to_owned()).unwrap_or_default(),
        intended_account: if suspense.is_some() { credit.account } else { String::new() },
        traceparent: credit.traceparent,
        item_check: check,
    }
}

/// Decides a command for its home and answers.
fn decide_for(o: &mut Overlay<'_>, from: u32, sequence: u64, check: u64, forwarded: Forward) {
    let command = forwarded.command.unwrap_or_default();
    let judged = place(o, &command).and_then(|legs| {
        decider(&legs, o.base.slot)?;
        book(o, &command, &legs)
    });
    let mut decision = match judged {
        Ok(booked) => booked.into_decision(command, forwarded.ingest_slot),
        Err(refusal) => refused(command, refusal, forwarded.ingest_slot),
    };
    let verdict = Verdict {
        event: decision.event.clone(),
        outcome: decision.outcome,
        reason: decision.reason.clone(),
        retryable: decision.retryable,
        accounting_date: decision.accounting_date,
        batch: o.batch,
        detail: decision.detail.clone(),
    };
    decision.verdict_sequence = o.send(from, credit_item::Item::Verdict(verdict));
    decision.forwarded_from = from + 1;
    decision.from_sequence = sequence;
    decision.item_check = check;
    o.journal(Item::Decision(decision));
}

/// Ends the pending state of a command forwarded earlier.
fn resolve(o: &mut Overlay<'_>, from: u32, sequence: u64, check: u64, verdict: Verdict) {
    let key = key_of(verdict.event.as_ref());
    if let Some(mut record) = o.id(&key) {
        record.outcome = verdict.outcome();
        record.reason = Reason::by_code(&verdict.reason);
        record.decider = from;
        record.batch = verdict.batch;
        o.set_id(key, record);
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
    }));
}

/// A day marker of an ingest slot.
///
/// # Errors
/// [`Broken`] when its count or sums are not what arrived.
pub fn ingest_marker(o: &mut Overlay<'_>, from: u32, marker: DayMarker) -> Result<(), Broken> {
    let (date, book) = (marker.date, marker.book.clone());
    let key = TallyKey { kind: Kind::CommandsIn, peer: from, date, book: book.clone() };
    agree(o, &key, &marker, &format!("ingest slot {from}"))?;
    let ingest_slots = o.config.ingest_slots;
    let days = o.book_days(&book);
    days.ingest_seen.insert((date, from));
    let complete = days.all_ingest_in(date, ingest_slots);
    o.journal(Item::DayMarkerSeen(DayMarkerSeen {
        credits: false,
        from,
        sequence: 0,
        marker: Some(marker),
        item_check: 0,
    }));
    if complete {
        send_markers(o, &book, date);
        align(o, &book, date);
    }
    Ok(())
}

fn credits_marker(
    o: &mut Overlay<'_>,
    from: u32,
    sequence: u64,
    check: u64,
    marker: DayMarker,
) -> Result<(), Broken> {
    let (date, book) = (marker.date, marker.book.clone());
    let key = TallyKey { kind: Kind::CreditsIn, peer: from, date, book: book.clone() };
    agree(o, &key, &marker, &format!("partition {from}"))?;
    if marker.last_sequence != sequence.saturating_sub(1) {
        return Err(format!("partition {from}: marker of day {date} is out of place"));
    }
    o.book_days(&book).partitions_seen.insert((date, from));
    o.journal(Item::DayMarkerSeen(DayMarkerSeen {
        credits: true,
        from,
        sequence,
        marker: Some(marker),
        item_check: check,
    }));
    align(o, &book, date);
    Ok(())
}

fn agree(o: &Overlay<'_>, key: &TallyKey, marker: &DayMarker, who: &str) -> Result<(), Broken> {
    let credits = key.kind == Kind::CreditsIn;
    if o.read_days(&key.book).is_some_and(|days| days.marked(credits, key.date, key.peer)) {
        return Err(format!("{who}: second marker of day {}", key.date));
    }
    let tally = o.read_tally(key);
    if tally.agrees(marker) {
        return Ok(());
    }
    Err(format!(
        "{who}: marker of day {} states {} items {:?}, {} {:?} arrived",
        marker.date,
        marker.count,
        marker.sum,
        tally.count,
        tally.wire_sums()
    ))
}

fn send_markers(o: &mut Overlay<'_>, book: &str, date: i32) {
    let own = o.base.slot;
    let mut sequences = Vec::new();
    for to in (0..o.config.map.partitions()).filter(|to| *to != own) {
        let key = TallyKey { kind: Kind::CreditsOut, peer: to, date, book: book.to_owned() };
        let tally = o.read_tally(&key);
        let marker = DayMarker {
            book: book.to_owned(),
            date,
            count: tally.count,
            sum: tally.wire_sums(),
            last_sequence: o.next_sequence(to) - 1,
        };
        let sequence = o.send(to, credit_item::Item::DayMarker(marker));
        sequences.push(schemas::wire::ChannelSequence { partition: to, sequence, ..Default::default() });
    }
    o.book_days(book).sent = Some(date);
    o.journal(Item::DayMarkerSent(DayMarkerSent { book: book.to_owned(), date, sequence: sequences }));
}

fn align(o: &mut Overlay<'_>, book: &str, date: i32) {
    let partitions = o.config.map.partitions();
    let days = o.book_days(book);
    if days.sent.is_some_and(|sent| sent >= date) && days.all_partitions_in(date, partitions) {
        days.align(date);
        o.journal(Item::Aligned(Aligned { book: book.to_owned(), date }));
    }
}
