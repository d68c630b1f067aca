//! Events that accounts of several partitions may refuse: home decides when all of them have answered (ARCHITECTURE
//! rule 8).
//!
//! Phases: home puts its own part on hold and asks the other partitions, by a Reserve each -> each puts its part on
//! hold or refuses, and answers in the window it reads -> with all answers in, home books its legs and sends the others
//! as credits, which end what is on hold; or it refuses, and a Void ends it. An event whose answers are not in at its
//! deadline, counted in ticks, is refused. Nobody waits for anybody while holding a lock: of two events that each have
//! what the other needs, both may be refused.
//!
//! An event that names one that has not come yet waits here too: a capture that overtook its hold. It is decided when the
//! other has come, whatever became of that, or refused when its time is over (ARCHITECTURE rule 9).
//!
//! Bounded by what a window may write: decisions that do not fit wait for the next one ([`room`]). Order relied on:
//! that of a channel, so that a Void never comes before its Reserve.

use crate::adjustment;
use crate::decide::{self, Broken};
use crate::ids::{IdKey, id_key};
use crate::lines::{DecisionLine, ProposalLine, ReserveLine};
use crate::overlay::{Overlay, Refusal};
use crate::parked;
use crate::reversal::{self, Reversed};
use crate::room;
use crate::views::{CommandView, EventView};
use bytes::Bytes;
use prost::Message;
use schemas::reason::Reason;
use schemas::wire::{
    self, Answer, EventKey, HoldLeg, Outcome, Reserve, Void, credit_item, group_parking::Parking,
};
use std::collections::{BTreeMap, BTreeSet};

/// An event that waits for answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    /// The encoded `Command`.
    pub command: Bytes,
    /// Ingest slot that sent it.
    pub ingest_slot: u32,
    /// Business time at which it is refused, microseconds; 0 = never.
    pub deadline_us: i64,
    /// Partitions that were asked.
    pub members: BTreeMap<u32, Member>,
    /// The event that it waits for, in place of answers.
    pub waits_for: Option<EventKey>,
    /// That event has come.
    pub came: bool,
    /// It waits until that event is decided, not only known: this gives it back ([`crate::reversal`]).
    pub decided: bool,
    /// Whether it is parked, or was.
    pub parking: Parking,
}

/// A partition that was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Member {
    /// Indices of the legs of which it has something on hold.
    pub legs: Vec<u32>,
    /// Its answer; `None` = not there yet.
    pub answer: Option<Result<(), (Reason, String)>>,
}

impl Group {
    /// Whether it can be decided: one has refused, or all have answered.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        match self.parking {
            Parking::Parked => return false,
            Parking::TurnedAway => return true,
            Parking::None | Parking::Admitted => {}
        }
        if self.waits_for.is_some() {
            return self.came;
        }
        self.refusal().is_some() || self.members.values().all(|member| member.answer.is_some())
    }

    /// Whether partition `partition` has something on hold for that leg.
    #[must_use]
    pub fn reserved(&self, partition: u32, leg: u32) -> bool {
        self.members.get(&partition).is_some_and(|member| member.legs.contains(&leg))
    }

    /// The refusal of the first partition that refused.
    fn refusal(&self) -> Option<Refusal> {
        let mut refused = self.members.values().filter_map(|member| member.answer.as_ref()?.as_ref().err());
        refused.next().map(|(reason, detail)| Refusal::new(*reason, detail.clone()))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let member = |(partition, member): (&u32, &Member)| {
            let (reason, detail) = match &member.answer {
                Some(Err((reason, detail))) => (reason.code().to_owned(), detail.clone()),
                _ => (String::new(), String::new()),
            };
            let answered = member.answer.is_some();
            wire::GroupMember { partition: *partition, answered, reason, detail, leg: member.legs.clone() }
        };
        let (command, ingest_slot, deadline_us) = (self.command.clone(), self.ingest_slot, self.deadline_us);
        let member = self.members.iter().map(member).collect();
        let (waits_for, came, decided) = (self.waits_for.clone(), self.came, self.decided);
        let parking = self.parking as i32;
        wire::OpenGroup { command, ingest_slot, deadline_us, member, waits_for, came, decided, parking }
            .encode_to_vec()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let open = wire::OpenGroup::decode(bytes).ok()?;
        let member = |m: wire::GroupMember| {
            let answer = match (m.answered, Reason::by_code(&m.reason)) {
                (false, _) => None,
                (true, None) => Some(Ok(())),
                (true, Some(reason)) => Some(Err((reason, m.detail))),
            };
            (m.partition, Member { legs: m.leg, answer })
        };
        let members = open.member.into_iter().map(member).collect();
        let (command, ingest_slot, deadline_us) = (open.command, open.ingest_slot, open.deadline_us);
        let parking = Parking::try_from(open.parking).ok()?;
        let (waits_for, came, decided) = (open.waits_for, open.came, open.decided);
        Some(Self { command, ingest_slot, deadline_us, members, waits_for, came, decided, parking })
    }
}

/// Events of a slot that wait for answers.
#[derive(Debug, Default)]
pub struct GroupTable {
    groups: BTreeMap<IdKey, Group>,
    ready: BTreeSet<IdKey>,
    /// The event waited for, and the one that waits.
    waiting: BTreeSet<(IdKey, IdKey)>,
    deadlines: BTreeSet<(i64, IdKey)>,
    dirty: BTreeSet<IdKey>,
}

impl GroupTable {
    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Every event that waits, by key.
    pub fn all(&self) -> impl Iterator<Item = (&IdKey, &Group)> {
        self.groups.iter()
    }

    pub(crate) fn load(&mut self, key: IdKey, group: Group) {
        if group.is_ready() {
            self.ready.insert(key);
        } else if let Some(event) = &group.waits_for {
            self.waiting.insert((crate::ids::key_of(Some(event)), key));
        }
        if group.deadline_us > 0 {
            self.deadlines.insert((group.deadline_us, key));
        }
        self.groups.insert(key, group);
    }

    pub(crate) fn open(&mut self, key: IdKey, group: Group) {
        self.dirty.insert(key);
        self.load(key, group);
    }

    pub(crate) fn answer(&mut self, key: IdKey, from: u32, answer: Result<(), (Reason, String)>) {
        let Some(group) = self.groups.get_mut(&key) else { return };
        if let Some(member) = group.members.get_mut(&from) {
            member.answer = Some(answer);
        }
        if group.is_ready() {
            self.ready.insert(key);
        }
        self.dirty.insert(key);
    }

    /// Events that those wait for whose legs must be looked up; by the key of who waits.
    pub(crate) fn to_be_looked_up(&self) -> impl Iterator<Item = &EventKey> {
        let ready = self.ready.iter().filter_map(|key| self.groups.get(key));
        ready.filter(|group| group.decided).filter_map(|group| group.waits_for.as_ref())
    }

    /// An event has come, and perhaps is decided: what waited for that can be decided.
    pub(crate) fn came(&mut self, event: IdKey, decided: bool) {
        if self.waiting.is_empty() {
            return;
        }
        let waiting: Vec<(IdKey, IdKey)> =
            self.waiting.range((event, [0; 16])..=(event, [u8::MAX; 16])).copied().collect();
        for (event, key) in waiting {
            if let Some(group) = self.groups.get_mut(&key).filter(|group| decided || !group.decided) {
                group.came = true;
                self.waiting.remove(&(event, key));
                if group.is_ready() {
                    self.ready.insert(key);
                }
                self.dirty.insert(key);
            }
        }
    }

    /// Parked events, by key.
    pub fn parked(&self) -> impl Iterator<Item = (&IdKey, &Group)> {
        self.groups.iter().filter(|(_, group)| group.parking == Parking::Parked)
    }

    /// A principal has judged a parked event.
    pub(crate) fn admit(&mut self, key: IdKey, refuse: bool, deadline_us: i64) {
        if let Some(group) = self.groups.remove(&key) {
            self.dirty.insert(key);
            self.load(key, parked::judged(group, refuse, deadline_us));
        }
    }

    pub(crate) fn close(&mut self, key: IdKey) {
        if let Some(group) = self.groups.remove(&key) {
            self.ready.remove(&key);
            if let Some(event) = &group.waits_for {
                self.waiting.remove(&(crate::ids::key_of(Some(event)), key));
            }
            self.deadlines.remove(&(group.deadline_us, key));
            self.dirty.insert(key);
        }
    }

    /// Keys changed since the last call, with what is there now.
    pub(crate) fn take_dirty(&mut self, mut each: impl FnMut(IdKey, Option<&Group>)) {
        for key in std::mem::take(&mut self.dirty) {
            each(key, self.groups.get(&key));
        }
    }

    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty.len() * 512
    }
}

impl Overlay<'_> {
    /// An event that waits for answers.
    #[must_use]
    pub fn group(&self, key: &IdKey) -> Option<&Group> {
        self.groups.get(key).map_or_else(|| self.base.groups.groups.get(key), Option::as_ref)
    }

    /// Events to be decided now: those that are ready, then those whose time is over, be they decided or not; by key.
    fn groups_due(&self) -> Vec<IdKey> {
        let untouched = |key: &&IdKey| !self.groups.contains_key(*key);
        let mut ready: BTreeSet<IdKey> = self.base.groups.ready.iter().filter(untouched).copied().collect();
        let changed = self.groups.iter().filter_map(|(key, group)| Some((key, group.as_ref()?)));
        ready.extend(changed.filter(|(_, group)| self.can_be_decided(group)).map(|(key, _)| *key));
        let waiting = self.base.groups.waiting.iter().filter(|(event, _)| self.came_now(event));
        ready.extend(waiting.map(|(_, key)| *key).filter(|key| !self.groups.contains_key(key)));
        let late = self.base.groups.deadlines.range(..=(self.tick_us, [u8::MAX; 16])).map(|(_, key)| *key);
        let late: BTreeSet<IdKey> = late.filter(|key| !ready.contains(key)).collect();
        ready.into_iter().chain(late).collect()
    }
}

impl Overlay<'_> {
    fn can_be_decided(&self, group: &Group) -> bool {
        let came = |event: &EventKey| self.came_now(&crate::ids::key_of(Some(event)));
        group.parking != Parking::Parked && (group.is_ready() || group.waits_for.as_ref().is_some_and(came))
    }
}

/// Lets a command wait for the event that it names; if that has come already, for the end of the window. `proposal` is
/// what it makes of a proposal.
pub fn wait_for(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    event: &EventView<'_>,
    asked: &[crate::lines::RemoteLine<'_>],
    ingest_slot: u32,
    proposal: Option<ProposalLine<'_>>,
) {
    let deadline_us = deadline(o);
    o.decided(&DecisionLine {
        asked,
        waits_for: Some(*event),
        deadline_us,
        proposal,
        ..DecisionLine::new(command, ingest_slot, Outcome::Pending)
    });
    let group = Group {
        command: Bytes::copy_from_slice(command.encoded),
        ingest_slot,
        deadline_us,
        members: BTreeMap::new(),
        waits_for: Some(EventKey { source: event.source.to_owned(), id: event.id.to_owned() }),
        // A reversal waits for the legs besides, which come with a later window.
        came: command.operation.reverses().is_none() && o.known(&id_key(event.source, event.id)).is_some(),
        decided: command.operation.reverses().is_some(),
        parking: Parking::None,
    };
    o.open_group(key_of(command), group, &[]);
}

/// When an event that begins to wait now is refused; 0 = never.
pub(crate) fn deadline(o: &Overlay<'_>) -> i64 {
    if o.tick_us > 0 { o.tick_us.saturating_add(o.config.group_timeout_us) } else { 0 }
}

/// What else the decision says that opens an event of several partitions.
#[derive(Debug, Default)]
pub struct Opening<'a> {
    /// The event waited here before.
    pub concludes: Option<IdKey>,
    /// What it gives back, and what of that is given back with it.
    pub reversed: Option<&'a Reversed>,
}

/// Asks the partitions of `parts` for what must be on hold there; the own part is put on hold at once.
///
/// # Errors
/// The refusal of the own part: nobody is asked.
pub fn open(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    mut parts: BTreeMap<u32, Vec<HoldLeg>>,
    asked: &[crate::lines::RemoteLine<'_>],
    ingest_slot: u32,
    opening: &Opening<'_>,
) -> Result<(), Refusal> {
    let (key, own) = (key_of(command), o.base.slot);
    let held = parts.remove(&own).unwrap_or_default();
    o.put_on_hold(key, &held, own)?;
    let event = event_of(command);
    let reserve: Vec<ReserveLine> = (parts.into_iter())
        .map(|(partition, legs)| {
            let reserve = Reserve { event: event.clone(), leg: legs.clone() };
            let sequence = o.send(partition, credit_item::Item::Reserve(reserve));
            ReserveLine { partition, sequence, legs }
        })
        .collect();
    let deadline_us = deadline(o);
    let member = |line: &ReserveLine| {
        let legs = line.legs.iter().map(|leg| leg.leg).collect();
        (line.partition, Member { legs, answer: None })
    };
    let group = Group {
        command: Bytes::copy_from_slice(command.encoded),
        ingest_slot,
        deadline_us,
        members: reserve.iter().map(member).collect(),
        ..Group::default()
    };
    o.decided(&DecisionLine {
        asked,
        reserve: &reserve,
        held: &held,
        deadline_us,
        concludes: opening.concludes,
        reversed: opening.reversed,
        ..DecisionLine::new(command, ingest_slot, Outcome::Pending)
    });
    o.open_group(key, group, &held);
    Ok(())
}

/// Notes an answer; one that comes when the event is decided already changes nothing.
pub fn answered(o: &mut Overlay<'_>, from: u32, answer: &Answer) {
    let key = crate::ids::key_of(answer.event.as_ref());
    let Some(mut group) = o.group(&key).cloned() else { return };
    if let Some(member) = group.members.get_mut(&from) {
        member.answer = Some(outcome_of(answer));
    }
    o.groups.insert(key, Some(group));
}

/// What an answer says: on hold, or why not.
///
/// # Errors
/// The reason and detail of the refusal.
pub fn outcome_of(answer: &Answer) -> Result<(), (Reason, String)> {
    if answer.reason.is_empty() {
        return Ok(());
    }
    let reason = Reason::by_code(&answer.reason).unwrap_or(Reason::Internal);
    Err((reason, answer.detail.clone()))
}

/// Decides the events that are due, as far as the journal batch has room for them.
///
/// # Errors
/// [`Broken`] when what is kept of an event does not decode.
pub fn conclude(o: &mut Overlay<'_>) -> Result<(), Broken> {
    for key in o.groups_due() {
        let Some(group) = o.group(&key).cloned() else { continue };
        if group.parking == Parking::Parked {
            continue;
        }
        if group.decided && group.parking != Parking::TurnedAway {
            reversal::conclude(o, key, &group)?;
            continue;
        }
        let command = CommandView::read(&group.command).map_err(|e| format!("an event that waits: {e}"))?;
        let booking = adjustment::booking(o, &command);
        let booking = booking.as_deref().map(CommandView::read).transpose();
        let booking = booking.map_err(|e| format!("an approval: {e}"))?;
        if !room::has_room_for(o, booking.as_ref().unwrap_or(&command), group.members.len()) {
            return Ok(());
        }
        // One that has waited for another event may wait again, for answers.
        o.groups.insert(key, None);
        if group.parking != Parking::None {
            parked::conclude(o, key, &group, &command);
        } else if group.waits_for.is_some() {
            let judged = decide::judge_waited(o, &command, group.ingest_slot, key);
            concluded(o, key, &command, group.ingest_slot, judged);
        } else {
            conclude_one(o, key, &group, &command);
        }
    }
    Ok(())
}

/// Writes down what a command that has waited was refused for, and remembers what became of it.
pub fn concluded(
    o: &mut Overlay<'_>,
    key: IdKey,
    command: &CommandView<'_>,
    ingest_slot: u32,
    judged: Result<(Outcome, u32), Refusal>,
) {
    let (outcome, reason, decider) = match judged {
        Ok((outcome, decider)) => (outcome, None, decider),
        Err(r) => {
            let line = DecisionLine::refused(command, ingest_slot, r.reason, &r.detail);
            o.decided(&DecisionLine { concludes: Some(key), ..line });
            (Outcome::Refused, Some(r.reason), o.base.slot)
        }
    };
    o.resolve_id(key, outcome, reason, decider, o.batch);
    adjustment::ended(o, &key, outcome);
}

fn conclude_one(o: &mut Overlay<'_>, key: IdKey, group: &Group, command: &CommandView<'_>) {
    o.end_holds(key, o.base.slot);
    let judged = match group.refusal() {
        Some(refusal) => Err(refusal),
        None if !group.is_ready() => Err(timed_out(group)),
        None => decide::book_reserved(o, command, group),
    };
    let voided = match &judged {
        Ok(_) => Vec::new(),
        Err(_) => void(o, command, group),
    };
    let (outcome, reason) = match &judged {
        Ok(_) => (Outcome::Booked, None),
        Err(refusal) => (Outcome::Refused, Some(refusal.reason)),
    };
    let line = match &judged {
        Ok(booked) => booked.line(command, group.ingest_slot),
        Err(r) => DecisionLine::refused(command, group.ingest_slot, r.reason, &r.detail),
    };
    let reversed = reversal::settled(o, command, judged.is_ok());
    o.decided(&DecisionLine { concludes: Some(key), voided: &voided, reversed: reversed.as_ref(), ..line });
    o.resolve_id(key, outcome, reason, o.base.slot, o.batch);
    adjustment::ended(o, &key, outcome);
}

fn timed_out(group: &Group) -> Refusal {
    let missing = group.members.iter().filter(|(_, member)| member.answer.is_none());
    let missing: Vec<String> = missing.map(|(partition, _)| partition.to_string()).collect();
    Refusal::new(Reason::TimedOut, format!("no answer of partition {}", missing.join(", ")))
}

/// Tells every partition that may have something on hold; where each was told.
fn void(o: &mut Overlay<'_>, command: &CommandView<'_>, group: &Group) -> Vec<(u32, u64)> {
    let event = event_of(command);
    let holds = group.members.iter().filter(|(_, member)| !matches!(member.answer, Some(Err(_))));
    holds
        .map(|(partition, _)| {
            let void = Void { event: event.clone() };
            (*partition, o.send(*partition, credit_item::Item::Void(void)))
        })
        .collect()
}

/// Key of a command's event.
fn key_of(command: &CommandView<'_>) -> IdKey {
    id_key(command.facts.event.source, command.facts.event.id)
}

fn event_of(command: &CommandView<'_>) -> Option<EventKey> {
    let event = &command.facts.event;
    let key = EventKey { source: event.source.to_owned(), id: event.id.to_owned() };
    event.encoded.map(|_| key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_survives_its_encoding() {
        let members = [
            (1, Member { legs: vec![0, 2], answer: None }),
            (4, Member { legs: vec![1], answer: Some(Ok(())) }),
            (7, Member { legs: vec![3], answer: Some(Err((Reason::InsufficientFunds, "short".into()))) }),
        ];
        let group = Group {
            command: Bytes::from_static(b"command"),
            ingest_slot: 3,
            deadline_us: 9,
            members: members.into(),
            ..Group::default()
        };
        assert_eq!(Group::decode(&group.encode()), Some(group.clone()));
        let waits_for = Some(EventKey { source: "/shop".into(), id: "h-1".into() });
        let group = Group {
            members: BTreeMap::new(),
            waits_for,
            came: true,
            decided: true,
            parking: Parking::Admitted,
            ..group
        };
        assert_eq!(Group::decode(&group.encode()), Some(group));
    }

    /// A capture waits until its hold is known, a reversal until its event is decided.
    #[test]
    fn what_waits_for_an_event_is_ready_when_it_has_come() {
        let (capture, reversal) = ([2; 16], [3; 16]);
        let key = EventKey { source: "/shop".into(), id: "h-1".into() };
        let event = crate::ids::key_of(Some(&key));
        let waits = |decided| Group { waits_for: Some(key.clone()), decided, ..Group::default() };
        let mut table = GroupTable::default();
        table.open(capture, waits(false));
        table.open(reversal, waits(true));
        let ready = |table: &GroupTable| table.ready.iter().copied().collect::<Vec<_>>();
        table.came([9; 16], true);
        assert_eq!(ready(&table), [[0_u8; 16]; 0]);
        table.came(event, false);
        assert_eq!(ready(&table), [capture]);
        table.came(event, true);
        assert_eq!(ready(&table), [capture, reversal]);
        assert_eq!(table.to_be_looked_up().collect::<Vec<_>>(), [&key]);
    }
}
