//! Giving back what an event moved: whole, or in parts by legs of the reversal's own, never more than was moved
//! (ARCHITECTURE rule 8).
//!
//! Phases, all at the home of the event that was booked: a reversal waits until that event is decided -> its legs are
//! found again in the own journal -> what is given back is counted -> the reversal is booked, or partitions of accounts
//! that may refuse are asked as for any event of several -> where one refuses, what was counted is taken off again.
//!
//! Bounded: [`LOOKED_UP_MAX`] are looked up in a window, the others wait for the next. Order relied on: none.

use crate::decide::{self, Broken, Decider};
use crate::effects::Effect;
use crate::groups::{self, Group, Opening};
use crate::ids::{IdKey, id_key, key_of};
use crate::lines::{DecisionLine, RemoteLine};
use crate::overlay::{Overlay, Refusal};
use crate::room;
use crate::state::Slot;
use crate::views::{CommandView, EventView, LegView};
use bytes::Bytes;
use prost::Message;
use schemas::amount_wire::value;
use schemas::batch::{self, Opened};
use schemas::money;
use schemas::reason::Reason;
use schemas::wire::{AssetSum, Command, Decision, EventKey, JournalItem, Leg, Outcome, ReversedState, Side};
use schemas::wire::{decision::Operation, journal_item::Item};
use schemas::wire_read::{WireError, fields};
use std::collections::{BTreeMap, BTreeSet};
use stream::processor::{ChannelEnd, LookBack};

/// Most events whose legs are looked up in one window: each is a search of the journal.
pub const LOOKED_UP_MAX: usize = 16;

/// Sums of debits by asset, minor units.
type Sums = BTreeMap<String, i128>;

/// What of an event is given back, or about to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reversed {
    /// The event that was booked.
    pub event: EventKey,
    /// Sums of debits by asset, minor units; those of zero are not kept.
    pub sums: Sums,
    /// Sums of the debits that the event moved, by asset.
    pub moved: Sums,
}

impl Reversed {
    /// Nothing is given back.
    #[must_use]
    pub fn nothing(event: EventKey) -> Self {
        Self { event, sums: Sums::new(), moved: Sums::new() }
    }

    /// With so much more; `None` beyond any amount.
    fn with(mut self, more: &Sums) -> Option<Self> {
        for (asset, by) in more {
            let sum = self.sums.entry(asset.clone()).or_default();
            *sum = sum.checked_add(*by)?;
        }
        Some(self)
    }

    /// With so much less, of what was counted before.
    fn without(mut self, less: &Sums) -> Self {
        for (asset, by) in less {
            let sum = self.sums.entry(asset.clone()).or_default();
            *sum = sum.saturating_sub(*by);
        }
        self.sums.retain(|_, sum| *sum != 0);
        self
    }

    /// As in the journal.
    #[must_use]
    pub fn from_wire(state: &ReversedState) -> Self {
        let sums = |of: &[AssetSum]| of.iter().map(|sum| (sum.asset.clone(), value(sum.sum))).collect();
        let event = state.event.clone().unwrap_or_default();
        Self { event, sums: sums(&state.sum), moved: sums(&state.moved) }
    }

    /// As in the journal.
    #[must_use]
    pub fn to_wire(&self) -> ReversedState {
        let sum =
            |(asset, sum): (&String, &i128)| AssetSum { asset: asset.clone(), sum: Some((*sum).into()) };
        let sums = |of: &Sums| of.iter().map(sum).collect();
        ReversedState { event: Some(self.event.clone()), sum: sums(&self.sums), moved: sums(&self.moved) }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        self.to_wire().encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        ReversedState::decode(bytes).ok().map(|state| Self::from_wire(&state))
    }
}

/// Events of which something is given back.
#[derive(Debug, Default)]
pub struct ReversalTable {
    by_event: BTreeMap<IdKey, Reversed>,
    dirty: BTreeSet<IdKey>,
}

impl ReversalTable {
    /// What of an event is given back.
    #[must_use]
    pub fn of(&self, event: &IdKey) -> Option<&Reversed> {
        self.by_event.get(event)
    }

    /// All of them, by key.
    pub fn all(&self) -> impl Iterator<Item = (&IdKey, &Reversed)> {
        self.by_event.iter()
    }

    pub(crate) fn load(&mut self, key: IdKey, reversed: Reversed) {
        self.by_event.insert(key, reversed);
    }

    pub(crate) fn set(&mut self, key: IdKey, reversed: Reversed) {
        self.dirty.insert(key);
        if reversed.sums.is_empty() {
            self.by_event.remove(&key);
        } else {
            self.by_event.insert(key, reversed);
        }
    }

    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(IdKey, Option<&Reversed>)) {
        for key in std::mem::take(&mut self.dirty) {
            each(key, self.by_event.get(&key));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 160
    }
}

/// What a decision says of the event that it gives back.
#[must_use]
pub fn effect(reversed: Reversed) -> Effect {
    Effect::Reversed { key: key_of(Some(&reversed.event)), reversed: Box::new(reversed) }
}

impl Overlay<'_> {
    /// What of an event is given back.
    fn reversed(&self, event: &EventKey) -> Reversed {
        let key = key_of(Some(event));
        let known = self.reversals.get(&key).or_else(|| self.base.reversals.of(&key));
        known.cloned().unwrap_or_else(|| Reversed::nothing(event.clone()))
    }

    fn set_reversed(&mut self, reversed: Reversed) {
        self.reversals.insert(key_of(Some(&reversed.event)), reversed);
    }
}

/// Takes a reversal that has just come: it waits for the event to be decided, and for its legs.
///
/// # Errors
/// [`Reason::UnknownEvent`], [`Reason::NotReversible`].
pub fn arrived(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    event: &EventView<'_>,
    asked: &[RemoteLine<'_>],
    ingest_slot: u32,
) -> Result<(), Refusal> {
    let named = || format!("{} {}", event.source, event.id);
    let own = &command.facts.event;
    match o.known(&id_key(event.source, event.id)) {
        _ if (own.source, own.id) == (event.source, event.id) => {
            return Err(Refusal::new(Reason::NotReversible, format!("{} is this event itself", named())));
        }
        // Before the first tick nothing says how long to wait.
        None if o.tick_us == 0 => return Err(Refusal::new(Reason::UnknownEvent, named())),
        Some(record) if record.outcome == Outcome::Refused => {
            return Err(Refusal::new(Reason::NotReversible, format!("{} was refused", named())));
        }
        _ => {}
    }
    groups::wait_for(o, command, event, asked, ingest_slot, None);
    Ok(())
}

/// What the slot must find again in its journal: the legs of events that are to be given back.
pub fn looks_back(base: &Slot) -> impl Iterator<Item = LookBack> {
    let sought = |event: &EventKey| {
        let key = key_of(Some(event));
        let record = base.ids.known(&key).filter(|record| record.outcome == Outcome::Booked)?;
        let batch = record.home_batch;
        Some(LookBack { end: ChannelEnd::Batch(key), first: batch, last: batch })
    };
    let sought: BTreeMap<IdKey, LookBack> = base
        .groups
        .to_be_looked_up()
        .filter_map(sought)
        .filter_map(|found| match found.end {
            ChannelEnd::Batch(key) => Some((key, found)),
            _ => None,
        })
        .take(LOOKED_UP_MAX)
        .collect();
    sought.into_values()
}

/// The decision of an event in a journal batch, encoded.
///
/// # Errors
/// The batch does not decode.
pub fn decision_of(event: IdKey, batch: &Opened) -> Result<Vec<Bytes>, String> {
    let mut found = Vec::new();
    for item in batch::items(&batch.body) {
        let item = item.map_err(|e| e.to_string())?;
        if is_decision_of(event, item).map_err(|e| e.to_string())? {
            found.push(batch.body.slice_ref(item));
        }
    }
    Ok(found)
}

/// Whether an encoded journal item is the first decision of an event at its home.
fn is_decision_of(event: IdKey, item: &[u8]) -> Result<bool, WireError> {
    for field in fields(item) {
        let field = field?;
        if field.tag != 1 {
            continue;
        }
        let (mut key, mut outcome, mut forwarded) = (None, 0, 0);
        for field in fields(field.bytes()?) {
            let field = field?;
            match field.tag {
                1 => key = Some(EventView::read(field.bytes()?)?),
                4 => outcome = field.int32()?,
                17 => forwarded = field.uint()?,
                _ => {}
            }
        }
        let stands = [Outcome::Booked, Outcome::Pending].iter().any(|of| *of as i32 == outcome);
        return Ok(stands && forwarded == 0 && key.is_some_and(|key| id_key(key.source, key.id) == event));
    }
    Ok(false)
}

/// The legs of the event as its home journalled them; `None` = not found yet.
fn legs_moved(o: &Overlay<'_>, event: &EventKey) -> Result<Option<Result<Vec<Leg>, Refusal>>, Broken> {
    let key = key_of(Some(event));
    let answer = o.looked_back.iter().find(|found| found.sought.end == ChannelEnd::Batch(key));
    let Some(answer) = answer.filter(|answer| answer.complete) else { return Ok(None) };
    let missing = || {
        format!("batch {} of the journal does not hold {} {}", answer.sought.first, event.source, event.id)
    };
    let item = answer.found.first().ok_or_else(missing)?;
    let item = JournalItem::decode(item.clone()).map_err(|e| format!("{}: {e}", missing()))?;
    let Some(Item::Decision(decision)) = item.item else { return Err(missing()) };
    Ok(Some(legs_of(decision)))
}

fn legs_of(decision: Decision) -> Result<Vec<Leg>, Refusal> {
    let event = decision.event.clone().unwrap_or_default();
    let refused =
        |why: &str| Refusal::new(Reason::NotReversible, format!("{} {} {why}", event.source, event.id));
    let moves = match decision.operation {
        // Its first decision always says so: it has waited.
        Some(Operation::ReverseEvent(_)) => return Err(refused("gives something back itself")),
        // It would undo with one principal what takes two.
        _ if decision.proposal.is_some() => return Err(refused("is of an adjustment: propose the opposite")),
        Some(
            Operation::ProposeAdjustment(_)
            | Operation::ApproveAdjustment(_)
            | Operation::RejectAdjustment(_)
            | Operation::ResolveSuspense(_),
        ) => return Err(refused("is of an adjustment: propose the opposite")),
        None | Some(Operation::CaptureHold(_)) => true,
        // Where another partition has fixed the amount, home does not know it.
        Some(Operation::BookAtMost(_)) => return Err(refused("booked at most what was available")),
        Some(
            Operation::PlaceHold(_)
            | Operation::ReleaseHold(_)
            | Operation::ChangeAccount(_)
            | Operation::ChangeLimits(_),
        ) => false,
    };
    let here = decision.entry.into_iter().map(|entry| {
        let amount = Some(entry.amount().into());
        (
            entry.leg,
            Leg { account: entry.account, asset: entry.asset, side: entry.side, amount, ..Leg::default() },
        )
    });
    let there = decision.remote.into_iter().chain(decision.asked).map(|leg| {
        (
            leg.leg,
            Leg {
                account: leg.account,
                asset: leg.asset,
                side: leg.side,
                amount: leg.amount,
                ..Leg::default()
            },
        )
    });
    let legs: BTreeMap<u32, Leg> = here.chain(there).collect();
    if legs.is_empty() || !moves {
        return Err(refused("moved nothing"));
    }
    Ok(legs.into_values().collect())
}

/// Sums of the debits among legs; `None` beyond any amount.
fn debits<'l>(legs: impl IntoIterator<Item = (&'l str, Side, i128)>) -> Option<Sums> {
    let mut sums = Sums::new();
    for (asset, _, amount) in legs.into_iter().filter(|(_, side, _)| *side == Side::Debit) {
        let sum = sums.entry(asset.to_owned()).or_default();
        *sum = sum.checked_add(amount)?;
    }
    Some(sums)
}

fn debits_of_legs(legs: &[Leg]) -> Option<Sums> {
    debits(legs.iter().map(|leg| (&*leg.asset, leg.side(), value(leg.amount))))
}

fn debits_of_views(legs: &[LegView<'_>]) -> Option<Sums> {
    debits(legs.iter().map(|leg| (leg.asset, leg.side(), leg.amount)))
}

/// The other way round.
fn mirrored(legs: &[Leg]) -> Vec<Leg> {
    let side = |leg: &Leg| if leg.side() == Side::Debit { Side::Credit } else { Side::Debit };
    legs.iter().map(|leg| Leg { side: side(leg) as i32, ..leg.clone() }).collect()
}

/// What becomes of a reversal that waits.
enum Fate {
    /// It waits on.
    Waits,
    /// It is refused.
    Refused(Refusal),
    /// The event has moved these.
    Found(Vec<Leg>),
}

fn fate(o: &Overlay<'_>, event: &EventKey, group: &Group) -> Result<Fate, Broken> {
    let named = || format!("{} {}", event.source, event.id);
    let late = (1..=o.tick_us).contains(&group.deadline_us);
    let refused = |reason, what| Ok(Fate::Refused(Refusal::new(reason, what)));
    match o.known(&key_of(Some(event))).map(|record| record.outcome) {
        // It is looked at before the event has come where its time is over.
        None => refused(Reason::UnknownEvent, named()),
        Some(Outcome::Pending) if late => refused(Reason::TimedOut, format!("{} is not decided", named())),
        Some(Outcome::Refused) => refused(Reason::NotReversible, format!("{} was refused", named())),
        Some(Outcome::Booked) => Ok(match legs_moved(o, event)? {
            None => Fate::Waits,
            Some(Err(refusal)) => Fate::Refused(refusal),
            Some(Ok(legs)) => Fate::Found(legs),
        }),
        _ => Ok(Fate::Waits),
    }
}

/// Decides a reversal whose event is decided, or whose time is over, or asks the partitions that may refuse it.
/// Otherwise it waits on.
///
/// # Errors
/// [`Broken`] when the journal does not hold what it must.
pub fn conclude(o: &mut Overlay<'_>, key: IdKey, group: &Group) -> Result<(), Broken> {
    let Some(event) = &group.waits_for else { return Ok(()) };
    let moved = match fate(o, event, group)? {
        Fate::Waits => return Ok(()),
        Fate::Refused(refusal) => Err(refusal),
        Fate::Found(legs) => Ok(legs),
    };
    let unread = |e: &dyn std::fmt::Display| format!("a reversal that waits: {e}");
    let mut full = Command::decode(group.command.clone()).map_err(|e| unread(&e))?;
    if let Ok(legs) = &moved
        && full.leg.is_empty()
    {
        full.leg = mirrored(legs);
    }
    let encoded = Bytes::from(full.encode_to_vec());
    let command = CommandView::read(&encoded).map_err(|e| unread(&e))?;
    if !room::has_room_for(o, &command, command.legs.len()) {
        return Ok(());
    }
    o.groups.insert(key, None);
    let judged = moved.and_then(|moved| judge(o, &command, (event, &moved), key, group));
    let outcome = match judged {
        Ok(outcome) => (outcome, None),
        Err(r) => {
            let line = DecisionLine::refused(&command, group.ingest_slot, r.reason, &r.detail);
            o.decided(&DecisionLine { concludes: Some(key), ..line });
            (Outcome::Refused, Some(r.reason))
        }
    };
    o.resolve_id(key, outcome.0, outcome.1, o.base.slot, o.batch);
    Ok(())
}

/// Counts what is given back, and books it or asks.
fn judge(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    (event, moved): (&EventKey, &[Leg]),
    key: IdKey,
    group: &Group,
) -> Result<Outcome, Refusal> {
    let legs = decide::place(o, command)?;
    let reversed = counted(o, event, moved, &command.legs)?;
    let home = o.base.slot;
    let parts = match decide::decider(&legs, home) {
        Decider::At(at) if at == home => {
            let booked = decide::book(o, command, &legs, decide::Funds::Judged)?;
            o.set_reversed(reversed.clone());
            let line = booked.line(command, group.ingest_slot);
            o.decided(&DecisionLine { concludes: Some(key), reversed: Some(&reversed), ..line });
            return Ok(Outcome::Booked);
        }
        Decider::At(_) => decide::parts(&legs),
        Decider::Several(parts) => parts,
    };
    let opening = Opening { concludes: Some(key), reversed: Some(&reversed) };
    groups::open(o, command, parts, &decide::asked(&legs), group.ingest_slot, &opening)?;
    o.set_reversed(reversed);
    Ok(Outcome::Pending)
}

/// What of the event is given back with these legs too, if that is no more than was moved.
fn counted(
    o: &Overlay<'_>,
    event: &EventKey,
    moved: &[Leg],
    legs: &[LegView<'_>],
) -> Result<Reversed, Refusal> {
    let overflow = || Refusal::new(Reason::Overflow, "the sum of its debits is beyond any amount");
    let moved = debits_of_legs(moved).ok_or_else(overflow)?;
    let more = debits_of_views(legs).ok_or_else(overflow)?;
    let before = o.reversed(event);
    let left = |asset: &String| {
        let of = |sums: &Sums| sums.get(asset).copied().unwrap_or(0);
        of(&moved).saturating_sub(of(&before.sums))
    };
    let exceeds = |asset: &String| {
        let exponent = o.config.chart.assets.get(asset).map_or(0, |asset| asset.exponent);
        let left = money::format(left(asset), exponent);
        let what = format!("{left} {asset} of {} {} is left to be given back", event.source, event.id);
        Refusal::new(Reason::ExceedsOriginal, what)
    };
    match more.iter().find(|(asset, by)| **by > left(asset)) {
        Some((asset, _)) => Err(exceeds(asset)),
        None => Reversed { moved: moved.clone(), ..before.clone() }.with(&more).ok_or_else(overflow),
    }
}

/// What of the event is given back once a reversal that partitions were asked about is decided: nothing of this one
/// where it is refused.
pub fn settled(o: &mut Overlay<'_>, command: &CommandView<'_>, booked: bool) -> Option<Reversed> {
    let event = command.operation.reverses()?;
    let event = EventKey { source: event.source.to_owned(), id: event.id.to_owned() };
    let before = o.reversed(&event);
    if booked {
        return Some(before);
    }
    let reversed = before.without(&debits_of_views(&command.legs).unwrap_or_default());
    o.set_reversed(reversed.clone());
    Some(reversed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_survives_its_encoding_and_ends_with_nothing() {
        let event = EventKey { source: "/shop".into(), id: "o-1".into() };
        let by = Sums::from([("CNY".to_owned(), 7), ("JPY".to_owned(), i128::MAX)]);
        let reversed = Reversed::nothing(event).with(&by).unwrap();
        assert_eq!(reversed.clone().with(&by), None, "beyond any amount");
        assert_eq!(Reversed::decode(&reversed.encode()), Some(reversed.clone()));
        let mut table = ReversalTable::default();
        table.set([7; 16], reversed.clone());
        assert_eq!(table.of(&[7; 16]), Some(&reversed));
        let yen = Sums::from([("JPY".to_owned(), i128::MAX)]);
        let left = reversed.without(&yen);
        assert_eq!(left.sums, Sums::from([("CNY".to_owned(), 7)]));
        table.set([7; 16], left.with(&yen).unwrap().without(&by));
        assert!(table.of(&[7; 16]).is_none());
        table.set([8; 16], Reversed::nothing(EventKey::default()));
        table.set([9; 16], Reversed::nothing(EventKey::default()));
        assert!(table.dirty_bytes() > 3 * 64);
        let mut gone = Vec::new();
        table.take_dirty(|key, reversed| gone.push((key, reversed.is_some())));
        assert_eq!(gone, [7, 8, 9].map(|key| ([key; 16], false)));
    }

    /// Home finds what it has decided itself, and the first time.
    #[test]
    fn the_first_decision_of_an_event_at_its_home_is_found() {
        let event = EventKey { source: "/shop".into(), id: "o-1".into() };
        let booked = Decision {
            event: Some(event.clone()),
            outcome: Outcome::Booked as i32,
            body_hash: vec![7; 16].into(),
            ..Decision::default()
        };
        let finds = |item: Item| {
            let item = JournalItem { item: Some(item) }.encode_to_vec();
            is_decision_of(key_of(Some(&event)), &item).unwrap()
        };
        let outcome = |outcome: Outcome| Decision { outcome: outcome as i32, ..booked.clone() };
        assert!(finds(Item::Decision(booked.clone())) && finds(Item::Decision(outcome(Outcome::Pending))));
        assert!(!finds(Item::Decision(outcome(Outcome::Refused))));
        assert!(!finds(Item::Decision(outcome(Outcome::Duplicate))));
        assert!(!finds(Item::Decision(Decision { forwarded_from: 1, ..booked.clone() })), "of another home");
        let other = Some(EventKey { id: "o-2".into(), ..event.clone() });
        assert!(!finds(Item::Decision(Decision { event: other, ..booked })));
        assert!(!finds(Item::Tick(Default::default())));
    }
}
