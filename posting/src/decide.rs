//! Judging commands: what becomes of each, at its home or for another partition's home. Reads the overlay, writes
//! the overlay.
//!
//! An event is decided where its accounts may refuse it: in their partition where they share one, at home where none
//! may, and by home with answers of all of them where they lie apart ([`crate::groups`]).
//!
//! Precedence of refusals: conflict, insufficient funds, balance too high, velocity exceeded,
//! overflow, timed out (see `schemas::reason`);
//! a repeated event is answered before anything else is looked at.

use crate::accounts::Terms;
use crate::adjustment::{self, Adjust};
use crate::at_most;
use crate::capture;
use crate::clearing::{Cleared, Side as ClearingSide};
use crate::config::{CROSSING_MAX, LEGS_MAX};
use crate::days::Kind;
use crate::groups::{self, Group, Opening};
use crate::holds::{Hold, HoldKey};
use crate::ids::{IdKey, IdRecord, body_hash, id_key, remembered};
use crate::limits::{self, LimitsOf};
use crate::lines::{self, CreditLine, DecisionLine, Forwarded, Original, RemoteLine};
use crate::overdraft::Overdraft;
use crate::overlay::{Line, LocalLeg, Overlay, Refusal, signed};
use crate::status::{self, Status};
use crate::suspense;
use crate::views::{AccountChange, CommandView, EventView, LegView, LimitsChange, Operation};
use crate::{parked, resend, reversal};
use schemas::reason::Reason;
use schemas::wire::{EventKey, HoldLeg, Outcome, Side, Verdict, credit_item};
use std::collections::BTreeMap;

/// Why a slot cannot go on: a partner broke the protocol. Text for the operator.
pub type Broken = String;

/// A leg, where it lives and what the chart says of its account.
#[derive(Debug, Clone, Copy)]
pub struct Placed<'c> {
    leg: &'c LegView<'c>,
    /// Minor units; those of the leg, or what is booked of them.
    pub(crate) amount: i128,
    pub(crate) partition: u32,
    pub(crate) side: Side,
    pub(crate) terms: Terms,
    /// Its row here, where that was looked up and there is one.
    row: Option<u32>,
}

/// Commands with what judging them will look up.
pub struct Ahead<'c> {
    commands: Vec<Looked<'c>>,
    /// Legs of all of them, one behind the other.
    legs: Vec<Placed<'c>>,
}

/// A command, its key, and what was looked up for it.
struct Looked<'c> {
    command: &'c CommandView<'c>,
    key: IdKey,
    /// What became of it before this window.
    known: Option<IdRecord>,
    /// Up to where its legs go; or what is wrong with them.
    placed: Result<usize, Refusal>,
}

impl<'c> Ahead<'c> {
    /// Works out the ids' keys and the legs' places, and looks up what the state has of them. One look-up after the other
    /// waits for memory each time; in a loop that does nothing else, the processor waits for several at once.
    #[must_use]
    pub fn of(o: &Overlay<'_>, commands: impl Iterator<Item = &'c CommandView<'c>>) -> Self {
        let mut legs = Vec::with_capacity(LEGS_MAX);
        let look = |command: &'c CommandView<'c>| {
            let event = &command.facts.event;
            let (key, begin) = (id_key(event.source, event.id), legs.len());
            let placed = place_to(o, command, &mut legs).map(|()| legs.len());
            if placed.is_err() {
                legs.truncate(begin);
            }
            Looked { command, key, known: None, placed }
        };
        let mut commands: Vec<_> = commands.map(look).collect();
        for looked in &mut commands {
            looked.known = o.original_before(&looked.key, looked.command.facts.occurred_at_us);
        }
        let here = |placed: &Placed<'_>| placed.partition == o.base.slot;
        let names = legs.iter().filter(|placed| here(placed));
        let names: Vec<_> = names.map(|placed| (placed.leg.account, placed.leg.asset)).collect();
        let rows = o.base.accounts.find_all(&names);
        for (placed, row) in legs.iter_mut().filter(|placed| here(placed)).zip(rows) {
            placed.row = row;
        }
        Self { commands, legs }
    }

    /// Each of them, in order.
    pub fn each(&self) -> impl Iterator<Item = One<'_, 'c>> {
        let mut begin = 0;
        self.commands.iter().map(move |looked| {
            let legs = looked.placed.as_ref().map(|end| {
                let legs = self.legs.get(begin..*end).unwrap_or_default();
                begin = *end;
                legs
            });
            One { looked, legs }
        })
    }
}

/// One command of those that were looked up.
pub struct One<'a, 'c> {
    looked: &'a Looked<'c>,
    legs: Result<&'a [Placed<'c>], &'a Refusal>,
}

/// Judges one command of ingest slot `ingest_slot` at its home.
///
/// # Errors
/// [`Broken`] when it breaks the day protocol.
pub fn command(o: &mut Overlay<'_>, one: One<'_, '_>, ingest_slot: u32) -> Result<(), Broken> {
    let Looked { command, key, known, .. } = *one.looked;
    tally_command(o, command, ingest_slot)?;
    if let Some(original) = o.original(&key, known, command.facts.occurred_at_us) {
        answer_again(o, command, &original, ingest_slot);
        return Ok(());
    }
    let judged = one.legs.map_err(Refusal::clone).and_then(|legs| {
        if parked::must_wait(o, command) {
            parked::park(o, command, legs, ingest_slot);
            return Ok((Outcome::Pending, o.base.slot));
        }
        judge(o, command, legs, ingest_slot)
    });
    let (outcome, reason, decider) = match judged {
        Ok((outcome, decider)) => (outcome, None, decider),
        Err(r) => {
            o.decided(&DecisionLine::refused(command, ingest_slot, r.reason, &r.detail));
            (Outcome::Refused, Some(r.reason), o.base.slot)
        }
    };
    if let Some(record) = remembered(outcome, reason, command.body_hash, decider, o.batch) {
        o.set_id(key, record);
    }
    Ok(())
}

/// Decides at home, or asks: what became of it, and which partition decides.
fn judge(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    legs: &[Placed<'_>],
    ingest_slot: u32,
) -> Result<(Outcome, u32), Refusal> {
    let home = o.base.slot;
    match command.operation {
        Operation::ReverseEvent { event } => {
            reversal::arrived(o, command, &event, &asked(legs), ingest_slot)?;
            return Ok((Outcome::Pending, home));
        }
        Operation::Adjust(_) => return adjustment::judge(o, command, legs, ingest_slot),
        Operation::RepairChannel(repair) => {
            resend::ordered(o, &repair)?;
            o.decided(&DecisionLine::new(command, ingest_slot, Outcome::Booked));
            return Ok((Outcome::Booked, home));
        }
        Operation::Admit { event, refuse } => {
            parked::judge(o, command, (&event, refuse), ingest_slot)?;
            return Ok((Outcome::Booked, home));
        }
        _ => {}
    }
    match (decider_of(o, command, legs), command.operation.hold()) {
        // It may have overtaken its hold. Before the first tick nothing says how long to wait.
        (Err(r), Some(hold))
            if r.reason == Reason::UnknownHold && o.tick_us > 0 && !is_itself(command, hold) =>
        {
            groups::wait_for(o, command, hold, &asked(legs), ingest_slot, None);
            Ok((Outcome::Pending, home))
        }
        (decider, _) => decide_or_ask(o, command, legs, decider?, (ingest_slot, None)),
    }
}

/// Who decides a command that nothing else is waited for.
fn decider_of(o: &Overlay<'_>, command: &CommandView<'_>, legs: &[Placed<'_>]) -> Result<Decider, Refusal> {
    let home = o.base.slot;
    Ok(match command.operation {
        Operation::PlaceHold(_) => Decider::At(legs.first().map_or(home, |leg| leg.partition)),
        Operation::ChangeAccount(AccountChange { account, .. })
        | Operation::ChangeLimits(LimitsChange { account, .. }) => Decider::At(partition_of(o, account)?),
        Operation::CaptureHold { hold, .. } | Operation::ReleaseHold { hold } => {
            Decider::At(capture::decider(o, &hold)?)
        }
        _ => decider(legs, home),
    })
}

fn partition_of(o: &Overlay<'_>, account: &str) -> Result<u32, Refusal> {
    o.config.partition_of(account).ok_or_else(|| Refusal::new(Reason::UnknownAccount, account))
}

/// A command that names itself waits for nothing.
fn is_itself(command: &CommandView<'_>, hold: &EventView<'_>) -> bool {
    let event = &command.facts.event;
    (event.source, event.id) == (hold.source, hold.id)
}

/// Decides a command that has waited, for the event it names or for a principal, or asks the partitions that can.
///
/// # Errors
/// The refusal; nothing is changed.
pub fn judge_waited(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    ingest_slot: u32,
    key: IdKey,
) -> Result<(Outcome, u32), Refusal> {
    if let Operation::Adjust(_) = command.operation {
        return adjustment::judge_waited(o, command, ingest_slot, key);
    }
    let legs = place(o, command)?;
    let decider = decider_of(o, command, &legs)?;
    decide_or_ask(o, command, &legs, decider, (ingest_slot, Some(key)))
}

/// Books the legs of a proposal that is approved, or asks the partitions that can.
///
/// # Errors
/// The refusal; nothing is changed.
pub fn book_approved(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    ingest_slot: u32,
    key: IdKey,
) -> Result<(Outcome, u32), Refusal> {
    let legs = place(o, command)?;
    let home = o.base.slot;
    // What lies in suspense here has one owner: the account that it goes to is not asked, only told.
    let decider = if command.operation.case().is_some() { Decider::At(home) } else { decider(&legs, home) };
    decide_or_ask(o, command, &legs, decider, (ingest_slot, Some(key)))
}

/// Decides at home, or asks who can; `concludes` = the event has waited here.
fn decide_or_ask(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    legs: &[Placed<'_>],
    decider: Decider,
    (ingest_slot, concludes): (u32, Option<IdKey>),
) -> Result<(Outcome, u32), Refusal> {
    let home = o.base.slot;
    match decider {
        Decider::At(at) if at == home => {
            let booked = decide_here(o, command, legs, home)?;
            o.decided(&DecisionLine { concludes, ..booked.line(command, ingest_slot) });
            Ok((Outcome::Booked, home))
        }
        Decider::At(at) => {
            forward(o, command, legs, at, ingest_slot, concludes);
            Ok((Outcome::Pending, at))
        }
        Decider::Several(parts) => {
            let opening = Opening { concludes, reversed: None };
            groups::open(o, command, parts, &asked(legs), ingest_slot, &opening)?;
            Ok((Outcome::Pending, home))
        }
    }
}

/// Does what a command of that home asks for, or refuses and leaves the overlay as it was.
fn decide_here<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    legs: &[Placed<'c>],
    home: u32,
) -> Result<Booked<'c>, Refusal> {
    match &command.operation {
        // A reversal is decided at its home, where it has waited.
        Operation::Book | Operation::ReverseEvent { .. } => book(o, command, legs, Funds::Judged),
        Operation::PlaceHold(place) => capture::place(o, command, legs, *place, home),
        Operation::CaptureHold { hold, last } => capture::capture(o, command, legs, (hold, *last), home),
        Operation::ReleaseHold { hold } => capture::release(o, command, hold, home),
        Operation::ChangeAccount(change) => status::change(o, command, change),
        Operation::ChangeLimits(change) => limits::change(o, command, change),
        Operation::BookAtMost(side) => at_most::book(o, command, legs, *side),
        // Home has put the legs in, and asks for them to be booked; everything else about proposals it decides itself.
        Operation::Adjust(Adjust::Approve { proposed_by, .. }) if !proposed_by.is_empty() => {
            book(o, command, legs, Funds::Judged)
        }
        Operation::Adjust(_) => {
            Err(Refusal::new(Reason::UnknownProposal, "only its home knows what is proposed"))
        }
        Operation::RepairChannel(_) => {
            Err(Refusal::new(Reason::UnknownItem, "only the home of a channel sends it again"))
        }
        Operation::Admit { .. } => Err(Refusal::new(Reason::NotParked, "only its home knows what is parked")),
    }
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
        original: Some(Original { outcome: original.outcome, partition: original.decider.into(), batch }),
        ..DecisionLine::new(command, ingest_slot, Outcome::Duplicate)
    });
}

impl<'c> Placed<'c> {
    /// Whether its account may refuse it.
    #[must_use]
    pub fn may_refuse(&self) -> bool {
        self.terms.may_refuse(self.side)
    }

    /// Its account.
    #[must_use]
    pub const fn account(&self) -> &'c str {
        self.leg.account
    }

    /// The same with at most so much of its amount.
    #[must_use]
    pub fn up_to(self, most: i128) -> Self {
        Self { amount: self.amount.min(most), ..self }
    }

    /// Its asset.
    #[must_use]
    pub const fn asset(&self) -> &'c str {
        self.leg.asset
    }

    /// Whether it is of that account and asset.
    #[must_use]
    pub fn is_of(&self, account: &str, asset: &str) -> bool {
        (self.leg.account, self.leg.asset) == (account, asset)
    }

    /// Its amount, below zero where it is on the other side.
    #[must_use]
    pub fn towards(&self, side: Side) -> i128 {
        if self.side == side { self.amount } else { -self.amount }
    }

    /// How far below zero it may take its account.
    #[must_use]
    pub const fn overdraft(&self) -> Option<Overdraft> {
        self.leg.overdraft
    }

    /// So much of it, to be put on hold.
    #[must_use]
    pub fn hold_leg(&self, leg: u32, amount: i128) -> HoldLeg {
        let (overdraft, overdraft_unlimited) = Overdraft::to_wire(self.leg.overdraft);
        HoldLeg {
            leg,
            account: self.leg.account.to_owned(),
            asset: self.leg.asset.to_owned(),
            side: self.side as i32,
            amount: Some(amount.into()),
            overdraft,
            overdraft_unlimited,
        }
    }

    fn remote(&self, index: usize, sequence: u64) -> RemoteLine<'c> {
        RemoteLine {
            leg: u32::try_from(index).unwrap_or(u32::MAX),
            account: self.leg.account,
            asset: self.leg.asset,
            side: self.side,
            amount: self.amount,
            matched: self.leg.matched,
            partition: self.partition,
            sequence,
            reserved: false,
        }
    }

    fn local(&self, index: usize, funds: Funds<'_>) -> LocalLeg<'c> {
        let judged = match funds {
            Funds::Judged => true,
            Funds::Reserved(_) => false,
            Funds::Held(hold) => !self.is_of(&hold.account, &hold.asset),
        };
        let terms = if judged { self.terms } else { self.terms.unjudged() };
        LocalLeg {
            leg: u32::try_from(index).unwrap_or(u32::MAX),
            account: self.leg.account,
            asset: self.leg.asset,
            side: self.side,
            amount: self.amount,
            matched: self.leg.matched,
            terms: Some(terms),
            row: self.row,
            overdraft: self.leg.overdraft,
        }
    }
}

/// Finds each leg's partition and terms, and holds the legs against what ingest promised.
///
/// # Errors
/// What is wrong with them whatever the balances are.
pub(crate) fn place<'c>(o: &Overlay<'_>, command: &'c CommandView<'c>) -> Result<Vec<Placed<'c>>, Refusal> {
    let mut legs = Vec::with_capacity(command.legs.len());
    place_to(o, command, &mut legs).map(|()| legs)
}

/// The same, to the end of `to`; there may be more there where it is refused.
fn place_to<'c>(
    o: &Overlay<'_>,
    command: &'c CommandView<'c>,
    to: &mut Vec<Placed<'c>>,
) -> Result<(), Refusal> {
    let (least, most) = match command.operation {
        Operation::Book | Operation::BookAtMost(_) | Operation::CaptureHold { .. } => (1, LEGS_MAX),
        // Without a leg it gives everything back.
        Operation::ReverseEvent { .. } => (0, LEGS_MAX),
        Operation::PlaceHold(_) => (1, 1),
        Operation::ReleaseHold { .. }
        | Operation::RepairChannel(_)
        | Operation::ChangeAccount(_)
        | Operation::ChangeLimits(_)
        | Operation::Admit { .. } => (0, 0),
        Operation::Adjust(adjust) => adjust.legs(LEGS_MAX),
    };
    if command.legs.len() < least {
        return Err(Refusal::new(Reason::NoLegs, "the command has no leg"));
    }
    if command.legs.len() > most {
        return Err(Refusal::new(Reason::TooManyLegs, format!("{} legs", command.legs.len())));
    }
    let (mut sums, begin) = (Sums::default(), to.len());
    for leg in &command.legs {
        let (side, amount) = (leg.side(), leg.amount);
        if amount <= 0 || side == Side::Unspecified {
            return Err(Refusal::new(Reason::BadAmount, format!("{} {amount}", leg.account)));
        }
        let own = || own_suspense(o, command, leg);
        let Some((partition, mut terms)) = o.config.place(leg.account, leg.asset).or_else(own) else {
            return Err(unknown(o, leg));
        };
        if terms.reversals_forced && command.operation.reverses().is_some() {
            terms = terms.forced();
        }
        let by = signed(side, amount);
        let overflow = || {
            Refusal::new(
                Reason::Overflow,
                format!("the sum of its legs in {} is beyond any amount", leg.asset),
            )
        };
        sums.add(leg.asset, by).ok_or_else(overflow)?;
        to.push(Placed { leg, amount, partition, side, terms, row: None });
    }
    let holds = matches!(command.operation, Operation::PlaceHold(_));
    match sums.not_zero().filter(|_| !holds) {
        Some((asset, sum)) => Err(Refusal::new(Reason::Unbalanced, format!("{asset} by {sum}"))),
        None => match command.operation {
            Operation::BookAtMost(side) => at_most::check(to.get(begin..).unwrap_or_default(), side),
            _ => Ok(()),
        },
    }
}

/// What the chart does not know of a leg.
fn unknown(o: &Overlay<'_>, leg: &LegView<'_>) -> Refusal {
    if o.config.chart.assets.contains_key(leg.asset) {
        return Refusal::new(Reason::UnknownAccount, format!("{} {}", leg.account, leg.asset));
    }
    Refusal::new(Reason::UnknownAsset, leg.asset)
}

/// Debits minus credits of an event by asset. Nearly all have one asset, which takes no memory of its own.
#[derive(Default)]
struct Sums<'c> {
    first: Option<(&'c str, i128)>,
    others: Vec<(&'c str, i128)>,
}

impl<'c> Sums<'c> {
    fn all(&mut self) -> impl Iterator<Item = &mut (&'c str, i128)> {
        self.first.iter_mut().chain(&mut self.others)
    }

    /// `None`: the sum would be beyond any amount.
    fn add(&mut self, asset: &'c str, by: i128) -> Option<()> {
        if let Some((_, sum)) = self.all().find(|(of, _)| *of == asset) {
            *sum = sum.checked_add(by)?;
        } else if self.first.is_none() {
            self.first = Some((asset, by));
        } else {
            self.others.push((asset, by));
        }
        Some(())
    }

    fn not_zero(&mut self) -> Option<(&'c str, i128)> {
        self.all().find(|(_, sum)| *sum != 0).copied()
    }
}

/// The own suspense account, which only the resolution of a case moves.
fn own_suspense(o: &Overlay<'_>, command: &CommandView<'_>, leg: &LegView<'_>) -> Option<(u32, Terms)> {
    let (slot, account) = (o.base.slot, leg.account);
    if !o.config.chart.assets.contains_key(leg.asset) {
        return None;
    }
    let case = command.operation.case().filter(|case| case.partition == slot);
    case.filter(|_| account == suspense::account_of(slot)).map(|_| (slot, suspense::terms()))
}

/// Who decides.
pub(crate) enum Decider {
    /// One partition.
    At(u32),
    /// Home, when each of these has put its legs on hold.
    Several(BTreeMap<u32, Vec<HoldLeg>>),
}

/// The partition of the accounts that may refuse, home where there is none.
pub(crate) fn decider(legs: &[Placed<'_>], home: u32) -> Decider {
    let mut payers = legs.iter().filter(|leg| leg.terms.may_refuse(leg.side)).map(|leg| leg.partition);
    let Some(first) = payers.next() else { return Decider::At(home) };
    if payers.all(|partition| partition == first) {
        return Decider::At(first);
    }
    Decider::Several(parts(legs))
}

/// What each partition is asked: every leg of its accounts that may refuse one, and how much of it is put on hold; for
/// an account as much as the event moves it towards a limit over all its legs. A guarded account may have one of its own.
pub(crate) fn parts(legs: &[Placed<'_>]) -> BTreeMap<u32, Vec<HoldLeg>> {
    let mut parts: BTreeMap<u32, Vec<HoldLeg>> = BTreeMap::new();
    // By account, asset and side.
    let mut left: Vec<((&str, &str, Side), i128)> = Vec::new();
    let asked = |placed: &Placed<'_>| {
        legs.iter().any(|leg| leg.may_refuse() && leg.is_of(placed.leg.account, placed.leg.asset))
    };
    for (index, placed) in (0..).zip(legs).filter(|(_, leg)| asked(leg)) {
        let (account, asset) = (placed.leg.account, placed.leg.asset);
        let (key, towards) = ((account, asset, placed.side), placed.may_refuse() && !placed.terms.forced);
        if !left.iter().any(|(of, _)| *of == key) {
            left.push((key, moved_towards(legs, placed)));
        }
        let left = left.iter_mut().find(|(of, _)| towards && *of == key);
        let amount = left.map_or(0, |(_, left)| {
            let amount = placed.amount.min(*left).max(0);
            *left -= amount;
            amount
        });
        parts.entry(placed.partition).or_default().push(placed.hold_leg(index, amount));
    }
    parts
}

/// How far all legs of an account together move it to the side of that leg; below zero where they move it back.
fn moved_towards(legs: &[Placed<'_>], of: &Placed<'_>) -> i128 {
    let same = |leg: &&Placed<'_>| (leg.leg.account, leg.leg.asset) == (of.leg.account, of.leg.asset);
    let towards = |leg: &Placed<'_>| if leg.side == of.side { leg.amount } else { -leg.amount };
    legs.iter().filter(same).fold(0_i128, |sum, leg| sum.saturating_add(towards(leg)))
}

/// What of a command's event is booked here, and what is sent.
#[derive(Debug)]
pub struct Booked<'c> {
    date: i32,
    carried_from: i32,
    entries: Vec<Line<'c>>,
    remote: Vec<RemoteLine<'c>>,
    /// The hold that it is about, as it is from now on.
    hold: Option<Box<(HoldKey, Hold)>>,
    /// The account that it changes, as it may be used from now on.
    status: Option<(Box<str>, Status)>,
    /// The account and asset whose limits it changes, and these from now on.
    limits: Option<Box<LimitsOf>>,
}

/// What vouches for the accounts that may refuse.
#[derive(Debug, Clone, Copy)]
pub enum Funds<'g> {
    /// Their limits are judged.
    Judged,
    /// Every partition has put its part on hold.
    Reserved(&'g Group),
    /// One account's part is on hold; the others are judged.
    Held(&'g Hold),
}

impl<'c> Booked<'c> {
    /// Nothing: what it asks for is no entry.
    #[must_use]
    pub fn nothing(o: &Overlay<'_>, command: &CommandView<'_>) -> Self {
        let (date, carried_from) = dates(o, command);
        Self {
            date,
            carried_from,
            entries: Vec::new(),
            remote: Vec::new(),
            hold: None,
            status: None,
            limits: None,
        }
    }

    /// The same, about that hold.
    #[must_use]
    pub fn about(self, hold: Option<(HoldKey, Hold)>) -> Self {
        Self { hold: hold.map(Box::new), ..self }
    }

    /// The same, changing that account.
    #[must_use]
    pub fn with_status(self, account: Box<str>, status: Status) -> Self {
        Self { status: Some((account, status)), ..self }
    }

    /// The same, changing those limits.
    #[must_use]
    pub fn with_limits(self, limits: LimitsOf) -> Self {
        Self { limits: Some(Box::new(limits)), ..self }
    }

    /// The decision that says so.
    #[must_use]
    pub fn line(&'c self, command: &'c CommandView<'c>, ingest_slot: u32) -> DecisionLine<'c> {
        DecisionLine {
            date: self.date,
            carried_from: self.carried_from,
            entries: &self.entries,
            remote: &self.remote,
            hold: self.hold.as_deref(),
            status: self.status.as_ref(),
            limits: self.limits.as_deref(),
            ..DecisionLine::new(command, ingest_slot, Outcome::Booked)
        }
    }
}

/// Books an event of which every part is on hold. What was on hold here must have ended.
///
/// # Errors
/// [`Reason::Overflow`], and what a changed chart no longer knows; nothing is changed.
pub fn book_reserved<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    group: &Group,
) -> Result<Booked<'c>, Refusal> {
    let legs = place(o, command)?;
    book(o, command, &legs, Funds::Reserved(group))
}

/// The day that a command's event counts in, and its own day where it is carried to the next.
fn dates(o: &Overlay<'_>, command: &CommandView<'_>) -> (i32, i32) {
    let facts = &command.facts;
    let days = o.read_days(facts.book);
    days.map_or((facts.accounting_date, 0), |d| d.date_of(facts.accounting_date, facts.back_dated))
}

/// Books local legs and sends the others, or refuses and leaves the overlay's figures as they were.
///
/// # Errors
/// As [`Overlay::try_book`].
pub fn book<'c>(
    o: &mut Overlay<'_>,
    command: &'c CommandView<'c>,
    legs: &[Placed<'c>],
    funds: Funds<'_>,
) -> Result<Booked<'c>, Refusal> {
    let own = o.base.slot;
    let here = |(_, placed): &(usize, &Placed<'c>)| placed.partition == own;
    let mut local = Vec::with_capacity(legs.len());
    local.extend(legs.iter().enumerate().filter(here).map(|(n, placed)| placed.local(n, funds)));
    let entries = o.try_book(&local)?;
    check_clearing(o, legs, own)?;
    o.settle(&entries);
    o.count_entries(&local, &entries);
    let (date, carried_from) = dates(o, command);
    let mut remote: Vec<RemoteLine<'c>> = Vec::with_capacity(legs.len() - local.len());
    remote.extend(legs.iter().enumerate().filter(|leg| !here(leg)).map(|(n, placed)| placed.remote(n, 0)));
    if let Funds::Reserved(group) = funds {
        // What is on hold goes first: an account never has more to spend than before.
        remote.iter_mut().for_each(|leg| leg.reserved = group.reserved(leg.partition, leg.leg));
        remote.sort_by_key(|leg| !leg.reserved);
    }
    for leg in &mut remote {
        leg.sequence = send_credit(o, command, *leg, date, carried_from);
    }
    Ok(Booked { date, carried_from, entries, remote, hold: None, status: None, limits: None })
}

const fn clearing_to(peer: u32) -> ClearingSide {
    ClearingSide { outgoing: true, peer }
}

fn check_clearing(o: &mut Overlay<'_>, legs: &[Placed<'_>], own: u32) -> Result<(), Refusal> {
    for (n, placed) in legs.iter().enumerate().filter(|(_, placed)| placed.partition != own) {
        let (peer, asset, amount) = (placed.partition, placed.leg.asset, placed.amount);
        let same = |leg: &&Placed<'_>| (leg.partition, leg.leg.asset) == (peer, asset);
        // The sum of those before fits, or they were refused.
        let before = legs.iter().take(n).filter(same).map(|leg| signed(leg.side, leg.amount)).sum::<i128>();
        let sum = before.checked_add(signed(placed.side, amount)).filter(|_| amount <= CROSSING_MAX);
        if !sum.is_some_and(|sum| o.clearing_fits(clearing_to(peer), asset, sum)) {
            let what = format!("with it, what is sent to partition {peer} in {asset} is beyond any amount");
            return Err(Refusal::new(Reason::Overflow, what));
        }
    }
    Ok(())
}

/// Puts a leg on its channel; its sequence there.
fn send_credit(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    leg: RemoteLine<'_>,
    date: i32,
    carried_from: i32,
) -> u64 {
    let (facts, peer, asset) = (&command.facts, leg.partition, leg.asset);
    let by = signed(leg.side, leg.amount);
    if !facts.back_dated {
        o.tally((Kind::CreditsOut, peer, date, facts.book), [(asset, by)]);
    }
    let sequence = o.send_with(peer, |f, sequence| {
        CreditLine { facts, leg: RemoteLine { sequence, ..leg }, date, carried_from }.write(f);
    });
    o.clear(clearing_to(peer), Cleared { asset, book: facts.book, date, sequence, by });
    sequence
}

/// The legs as they are asked about.
pub(crate) fn asked<'c>(legs: &[Placed<'c>]) -> Vec<RemoteLine<'c>> {
    legs.iter().enumerate().map(|(n, leg)| leg.remote(n, 0)).collect()
}

/// Asks the partition of the payer.
fn forward(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    legs: &[Placed<'_>],
    to: u32,
    ingest_slot: u32,
    concludes: Option<IdKey>,
) {
    let asked = asked(legs);
    let sequence = o.send_with(to, |f, sequence| lines::forward(f, sequence, command, ingest_slot));
    o.decided(&DecisionLine {
        asked: &asked,
        asks: Some((to, sequence)),
        concludes,
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
    let judged = place(o, command).and_then(|legs| decide_here(o, command, &legs, from));
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
