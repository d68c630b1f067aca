//! One outcome per command: the decisions of a home partition against the commands its windows read.
//!
//! Bounded by what is pending; what is known of event keys is in [`crate::ids`]. The check of keys may be left out; pending
//! commands are then still held against their resolutions.

use crate::amount;
use crate::channel::LegClaim;
use crate::finding::{Check, Findings, Place};
use crate::ids::{Came, Decided, Ids, KeyDigest, Known, body_mark, key_digest};
use prost::Message;
use rustc_hash::FxHashMap;
use schemas::wire::{
    Answered, AssetSum, Command, Decision, Entry, EventKey, IdHorizon, Leg, Match, MetadataChange, Outcome,
    RemoteLeg, RepairChannel, Resolution, Side, command, decision, proposal_state::State,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Reason code of a refusal for a key used before with another body.
pub const CONFLICT: &str = "conflict";

#[derive(Debug, Clone)]
struct Pending {
    to: u32,
    sequence: u64,
    place: Place,
    /// Set where several partitions were asked to put their part on hold.
    group: Option<Box<Group>>,
}

/// What is asked of the partitions of an event that is decided with their answers.
#[derive(Debug, Clone)]
struct Group {
    legs: Vec<LegClaim>,
    /// Nobody is asked: it waits for another event, or is parked.
    waits: bool,
    /// The event that it waits for.
    waits_for: Option<EventKey>,
    /// It gives another event back, whole: its legs are known when that is.
    whole: bool,
    /// It books at most what its legs ask for.
    at_most: bool,
    /// It gives another event back, which was counted when it asked.
    counted: bool,
    /// It is parked, and nobody has let it in.
    parked: bool,
    /// By partition: its answer, empty = on hold.
    answers: BTreeMap<u32, Option<String>>,
}

/// Decisions of one home partition by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outcomes {
    /// Booked, here or by the partition asked.
    pub booked: u64,
    /// Same key and body as an earlier command.
    pub duplicate: u64,
    /// Refused, conflicts among them.
    pub refused: u64,
    /// It may have been booked so long ago that nothing is known of it, and nobody has let it in or turned it away.
    pub parked: u64,
    /// It waits for another partition's answer, or for another event.
    pub pending: u64,
}

impl Outcomes {
    /// Adds another partition's.
    pub const fn add(&mut self, other: &Self) {
        self.booked += other.booked;
        self.duplicate += other.duplicate;
        self.refused += other.refused;
        self.parked += other.parked;
        self.pending += other.pending;
    }

    /// Commands that have been decided on, those that wait among them.
    #[must_use]
    pub const fn decided(&self) -> u64 {
        self.booked + self.duplicate + self.refused + self.parked + self.pending
    }

    /// One that waited has its outcome.
    const fn ends(&mut self, was_parked: bool, booked: bool) {
        let waited = if was_parked { &mut self.parked } else { &mut self.pending };
        *waited = waited.saturating_sub(1);
        if booked {
            self.booked += 1;
        } else {
            self.refused += 1;
        }
    }
}

/// Pending commands of one home partition, and what it says of itself.
#[derive(Debug, Default)]
pub struct Home {
    pending: FxHashMap<KeyDigest, Pending>,
    /// Events given back, by asset: sums of debits.
    reversed: FxHashMap<KeyDigest, BTreeMap<String, i128>>,
    /// What is remembered of ids.
    horizon: IdHorizon,
    /// Decisions so far.
    pub outcomes: Outcomes,
}

/// The operation of a command, encoded; empty where its legs are booked.
#[must_use]
pub fn operation_asked(command: &Command) -> Vec<u8> {
    Command { operation: command.operation.clone(), ..Command::default() }.encode_to_vec()
}

/// The channel that a command asks to be sent again.
fn repair_asked(command: &Command) -> Option<RepairChannel> {
    match &command.operation {
        Some(command::Operation::RepairChannel(repair)) => Some(*repair),
        _ => None,
    }
}

/// The operation that a pending decision states, encoded as in its command.
#[must_use]
pub fn operation_stated(decision: &Decision) -> Vec<u8> {
    let operation = decision.operation.clone().map(|operation| match operation {
        decision::Operation::PlaceHold(place) => command::Operation::PlaceHold(place),
        decision::Operation::CaptureHold(capture) => command::Operation::CaptureHold(capture),
        decision::Operation::ReleaseHold(release) => command::Operation::ReleaseHold(release),
        decision::Operation::ChangeAccount(change) => command::Operation::ChangeAccount(change),
        decision::Operation::ChangeLimits(change) => command::Operation::ChangeLimits(change),
        decision::Operation::BookAtMost(book) => command::Operation::BookAtMost(book),
        decision::Operation::ProposeAdjustment(propose) => command::Operation::ProposeAdjustment(propose),
        decision::Operation::ApproveAdjustment(approve) => command::Operation::ApproveAdjustment(approve),
        decision::Operation::RejectAdjustment(reject) => command::Operation::RejectAdjustment(reject),
        decision::Operation::ResolveSuspense(resolve) => command::Operation::ResolveSuspense(resolve),
        decision::Operation::ReverseEvent(reverse) => command::Operation::ReverseEvent(reverse),
    });
    Command { operation, ..Command::default() }.encode_to_vec()
}

/// What a command says of an account.
#[must_use]
pub fn metadata_asked(command: &Command) -> Vec<MetadataChange> {
    match &command.operation {
        Some(command::Operation::ChangeAccount(change)) => change.metadata.clone(),
        _ => Vec::new(),
    }
}

/// What a decision says of an account.
#[must_use]
pub fn metadata_stated(decision: &Decision) -> Vec<MetadataChange> {
    decision.account_metadata.as_ref().map_or_else(Vec::new, |said| said.changed.clone())
}

/// Whether a pending event is decided at its home: with answers, after another event, or when it is let in.
#[must_use]
pub const fn waits_at_home(decision: &Decision) -> bool {
    !decision.reserve.is_empty() || decision.waits_for.is_some() || decision.parked
}

/// Name of an event for a finding.
#[must_use]
pub fn event_name(event: Option<&EventKey>) -> String {
    event.map_or_else(|| "event without key".into(), |e| format!("event {:?} {:?}", e.source, e.id))
}

impl Home {
    /// Takes a decision made at home.
    pub fn decided(&mut self, place: Place, decision: &Decision, ids: &mut Ids, found: &mut Findings) {
        let key = key_digest(decision.event.as_ref());
        let named = || format!("{place} {}", event_name(decision.event.as_ref()));
        let outcome = decision.outcome();
        match outcome {
            Outcome::Booked => self.outcomes.booked += 1,
            Outcome::Refused => self.outcomes.refused += 1,
            Outcome::Duplicate => self.outcomes.duplicate += 1,
            Outcome::Pending if decision.parked => self.outcomes.parked += 1,
            Outcome::Pending => self.outcomes.pending += 1,
            Outcome::Unspecified => {}
        }
        found.that(Check::ReversalAmount, decision.reversed.is_none(), || {
            (named(), "gives an event back without having waited for it")
        });
        if outcome == Outcome::Pending {
            let (to, sequence) = (decision.forwarded_to, decision.forward_sequence);
            let group = waits_at_home(decision).then(|| Box::new(Group::of(decision)));
            self.pending.insert(key, Pending { to, sequence, place, group });
        }
        self.may_be_booked(place, decision, found);
        self.admit(place, decision, found);
        if ids.is_kept() {
            self.originals(place, decision, (key, ids), found);
        }
    }

    /// Holds a decision against what is known of its key at this home.
    fn originals(
        &self,
        place: Place,
        decision: &Decision,
        (key, ids): (KeyDigest, &mut Ids),
        found: &mut Findings,
    ) {
        let named = || format!("{place} {}", event_name(decision.event.as_ref()));
        let (outcome, body) = (decision.outcome(), body_mark(&decision.body_hash));
        let home = place.at.partition;
        let known = ids.get(&key, home);
        match outcome {
            Outcome::Duplicate => {
                let named_at = (decision.original_partition, decision.original_batch);
                let repeats = known.is_some_and(|k| {
                    let same = k.body == body && k.decided.outcome() == decision.original;
                    same && k.decided.lies() == named_at
                });
                found.that(Check::OutcomeDuplicate, repeats, || {
                    let original = known.map_or_else(|| "none".into(), |k| describe(k, body));
                    let stated = described(decision.original, named_at);
                    (named(), format!("duplicate of {stated}, found {original}"))
                });
            }
            Outcome::Refused if decision.reason == CONFLICT => {
                found.that(Check::OutcomeConflict, known.is_some_and(|k| k.body != body), || {
                    (named(), known.map_or("no original", |_| "its original has the same body"))
                });
            }
            Outcome::Unspecified => {}
            _ => {
                let recognised = known.filter(|known| self.is_recognised(known, decision));
                found.that(Check::OutcomeTwice, recognised.is_none(), || {
                    let before = known.map_or_else(String::new, |k| describe(k, body));
                    (named(), format!("{} after {before}", text(decision.outcome)))
                });
                let decided = match outcome {
                    Outcome::Pending => Decided::pending(),
                    _ => Decided::new(decision.outcome, place.at.partition, place.batch),
                };
                if recognised.is_none() {
                    let came = Came::new(home, place.batch, self.is_old(decision));
                    ids.insert(decision.event.as_ref(), key, Known { body, decided, came }, found);
                }
            }
        }
    }

    /// Whether the answer to an event that came before must be the same again.
    fn is_recognised(&self, known: &Known, decision: &Decision) -> bool {
        let IdHorizon { kept_from, recognised_from, .. } = self.horizon;
        let from = if self.is_old(decision) { kept_from } else { recognised_from };
        known.decided.is_pending() || known.came.batch() >= from
    }

    /// Whether an event says that it is older than what is recognised at sight.
    const fn is_old(&self, decision: &Decision) -> bool {
        decision.occurred_at_us <= self.horizon.recognised_after_us
    }

    /// What may have been booked before anything that is known is parked.
    fn may_be_booked(&self, place: Place, decision: &Decision, found: &mut Findings) {
        let old = self.horizon.kept_from > 0 && decision.occurred_at_us <= self.horizon.kept_after_us;
        let moves = !decision.entry.is_empty() || !decision.remote.is_empty() || !decision.asked.is_empty();
        let proposal = decision.proposal.is_some();
        let fits = if decision.parked { old } else { !(old && moves && !proposal) };
        found.that(Check::OutcomeParked, fits, || {
            let name = format!("{place} {}", event_name(decision.event.as_ref()));
            let (is, kept) = (decision.occurred_at_us, self.horizon.kept_after_us);
            (name, format!("occurred at {is} us, ids are kept after {kept} us, parked: {}", decision.parked))
        });
    }

    /// Takes what a principal says of a parked event.
    fn admit(&mut self, place: Place, decision: &Decision, found: &mut Findings) {
        let Some(admitted) = &decision.admitted else { return };
        let pending = self.pending.get_mut(&key_digest(admitted.event.as_ref()));
        let group = pending.and_then(|pending| pending.group.as_mut()).filter(|group| group.parked);
        let known = !decision.principal.is_empty();
        found.that(Check::OutcomeParked, group.is_some() && known, || {
            let name = format!("{place} {}", event_name(admitted.event.as_ref()));
            (name, if known { "let in or turned away, and not parked" } else { "let in by nobody" })
        });
        if let Some(group) = group {
            group.parked = false;
            self.outcomes.parked = self.outcomes.parked.saturating_sub(1);
            self.outcomes.pending += 1;
        }
    }

    /// Takes what is remembered of ids from now on.
    pub fn remembers(&mut self, place: Place, to: &IdHorizon, ids: &mut Ids, found: &mut Findings) {
        let of = |h: &IdHorizon| [h.recognised_from, h.kept_from];
        let from = |h: &IdHorizon| [h.recognised_after_us, h.kept_after_us];
        let first = self.horizon == IdHorizon::default();
        let falls = of(to).iter().zip(of(&self.horizon)).any(|(to, before)| *to < before)
            || (!first && from(to).iter().zip(from(&self.horizon)).any(|(to, before)| *to < before));
        let above = of(to).iter().any(|from| *from > place.batch) || to.kept_from > to.recognised_from;
        found.that(Check::IdHorizon, !falls && !above, || {
            (format!("{place}"), format!("{to:?} after {:?}", self.horizon))
        });
        ids.remembers(place.at.partition, place.batch, to);
        self.horizon = to.clone();
    }

    /// Takes the verdict on a pending command.
    pub fn resolved(&mut self, place: Place, resolution: &Resolution, ids: &mut Ids, found: &mut Findings) {
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
        self.outcomes.ends(false, outcome == Outcome::Booked);
        let decided = Decided::new(resolution.outcome, resolution.from, resolution.batch);
        ids.decide(&key, place.at.partition, decided);
    }

    /// Takes the answer of a partition that was asked to put its part on hold.
    pub fn answered(&mut self, place: Place, answered: &Answered, found: &mut Findings) {
        let pending = self.pending.get_mut(&key_digest(answered.event.as_ref()));
        // One that comes after the decision changes nothing.
        let Some(group) = pending.and_then(|pending| pending.group.as_mut()) else { return };
        let before = group.answers.insert(answered.from, Some(answered.reason.clone()));
        found.that(Check::OutcomeGroup, before == Some(None), || {
            let name = format!("{place} {}", event_name(answered.event.as_ref()));
            (name, format!("partition {} answers what it was not asked", answered.from))
        });
    }

    /// Takes the decision on an event that was pending at this home.
    pub fn concluded(&mut self, place: Place, decision: &Decision, ids: &mut Ids, found: &mut Findings) {
        let key = key_digest(decision.event.as_ref());
        let named = || format!("{place} {}", event_name(decision.event.as_ref()));
        let outcome = decision.outcome();
        let group = self.pending.remove(&key).and_then(|pending| pending.group);
        let Some(group) = group else {
            found.wrong(Check::OutcomeResolution, named(), "no partition was asked under this key");
            return;
        };
        let parked = group.parked && decision.outcome() != Outcome::Refused;
        found.that(Check::OutcomeParked, !parked, || (named(), "decided while it was parked"));
        let wrong = group.differs(decision);
        found.that(Check::OutcomeGroup, wrong.is_none(), || (named(), wrong.unwrap_or_default()));
        self.given_back(place, decision, &group, found);
        if outcome == Outcome::Pending {
            // It waited for another event; now another partition is asked, or several.
            let (to, sequence) = (decision.forwarded_to, decision.forward_sequence);
            let was_parked = group.parked;
            let group = (!decision.reserve.is_empty()).then(|| Box::new(Group::of(decision)));
            if was_parked {
                self.outcomes.parked = self.outcomes.parked.saturating_sub(1);
                self.outcomes.pending += 1;
            }
            self.pending.insert(key, Pending { to, sequence, place, group });
            return;
        }
        found.holds(Check::OutcomePending, 1);
        self.outcomes.ends(group.parked, outcome == Outcome::Booked);
        let home = place.at.partition;
        ids.decide(&key, home, Decided::new(decision.outcome, home, place.batch));
    }

    /// What is given back of an event grows with each that gives it back, and is taken off again where one is refused
    /// that was counted when it asked.
    fn given_back(&mut self, place: Place, decision: &Decision, group: &Group, found: &mut Findings) {
        let Some(stated) = &decision.reversed else {
            found.that(Check::ReversalAmount, !group.counted, || {
                let name = format!("{place} {}", event_name(decision.event.as_ref()));
                (name, "does not say what is given back once it is decided")
            });
            return;
        };
        let sums = self.reversed.entry(key_digest(stated.event.as_ref())).or_default();
        let counted = |legs: &[LegClaim], sums: &mut BTreeMap<String, i128>, refused: bool| {
            for leg in legs.iter().filter(|leg| leg.side == Side::Debit as i32) {
                let sum = sums.entry(leg.asset.clone()).or_default();
                *sum = if refused { sum.wrapping_sub(leg.amount) } else { sum.wrapping_add(leg.amount) };
            }
            sums.retain(|_, sum| *sum != 0);
        };
        match decision.outcome() {
            Outcome::Booked if !group.counted => counted(&legs_booked(decision), sums, false),
            Outcome::Pending if !group.counted => counted(&legs_remote(decision), sums, false),
            Outcome::Refused if group.counted => counted(&group.legs, sums, true),
            _ => {}
        }
        let of = |sums: &[AssetSum]| -> BTreeMap<String, i128> {
            sums.iter().map(|sum| (sum.asset.clone(), amount::of(sum.sum.as_ref()))).collect()
        };
        let (is, moved) = (of(&stated.sum), of(&stated.moved));
        let within = is.iter().all(|(asset, sum)| (0..=moved.get(asset).copied().unwrap_or(0)).contains(sum));
        found.that(Check::ReversalAmount, is == *sums && within, || {
            let name = format!("{place} {}", event_name(decision.event.as_ref()));
            let of = event_name(stated.event.as_ref());
            (name, format!("{is:?} of {moved:?} of {of} is given back, found {sums:?}"))
        });
    }

    /// Whether an event waits for its decision at this home.
    #[must_use]
    pub fn waits(&self, event: Option<&EventKey>) -> bool {
        self.pending.contains_key(&key_digest(event))
    }

    /// Commands still pending.
    pub fn report(&self, ended: bool, found: &mut Findings) {
        let mut pending: Vec<&Pending> = self.pending.values().collect();
        pending.sort_by_key(|p| (p.place.offset, p.to, p.sequence));
        for p in pending {
            let what = match &p.group {
                None => format!("asked partition {} by sequence {}, no verdict", p.to, p.sequence),
                Some(group) => group.lacks(),
            };
            found.overdue(ended, Check::OutcomePending, p.place, what);
        }
    }
}

impl Group {
    fn of(decision: &Decision) -> Self {
        let answers = decision.reserve.iter().map(|reserve| (reserve.partition, None)).collect();
        let waits = decision.waits_for.is_some() || decision.parked;
        let (legs, parked) = (legs_remote(decision), decision.parked);
        let reverses = matches!(decision.operation, Some(decision::Operation::ReverseEvent(_)));
        let (whole, counted) = (reverses && waits && legs.is_empty(), decision.reversed.is_some());
        let waits_for = decision.waits_for.clone();
        let at_most = matches!(decision.operation, Some(decision::Operation::BookAtMost(_)));
        Self { legs, waits, waits_for, whole, at_most, counted, parked, answers }
    }

    /// What its decision waits for.
    fn lacks(&self) -> String {
        match &self.waits_for {
            Some(event) => format!("waits for {}, no decision", event_name(Some(event))),
            None if self.parked => "is parked, and nobody has let it in or turned it away".to_owned(),
            None if self.waits => "was parked and is let in, no decision".to_owned(),
            None => {
                let answered = self.answers.values().flatten().count();
                format!("asked {} partitions, {answered} have answered, no decision", self.answers.len())
            }
        }
    }

    /// Whether a decision booked what was asked for.
    fn allows(&self, decision: &Decision) -> bool {
        let booked = legs_booked(decision);
        booked == self.legs || (self.at_most && are_lower(&booked, &self.legs))
    }

    /// Why a decision is not what the answers call for.
    fn differs(&self, decision: &Decision) -> Option<String> {
        let unheard = self.answers.values().any(Option::is_none);
        let refusals: Vec<&String> = self.answers.values().flatten().filter(|r| !r.is_empty()).collect();
        let mut told: Vec<u32> = decision.voided.iter().map(|voided| voided.partition).collect();
        told.sort_unstable();
        match decision.outcome() {
            Outcome::Booked if unheard || !refusals.is_empty() => {
                Some("booked without everybody's part".into())
            }
            // Those of an approval are held against its proposal.
            Outcome::Booked if decision.proposal.is_none() && !self.whole && !self.allows(decision) => {
                Some("booked other legs than asked".into())
            }
            Outcome::Booked if !told.is_empty() => Some("booked and voided".into()),
            Outcome::Booked => None,
            Outcome::Pending if self.waits => None,
            Outcome::Refused => {
                let holding = |answer: &Option<String>| answer.as_ref().is_none_or(String::is_empty);
                let due = self.answers.iter().filter(|(_, answer)| holding(answer)).map(|(p, _)| *p);
                if told != due.collect::<Vec<_>>() {
                    return Some(format!("refused, and told partitions {told:?}"));
                }
                let known = match decision.reason.as_str() {
                    // A partition did not answer, or the event that it waits for was not decided.
                    "timed_out" => (unheard || self.waits) && refusals.is_empty(),
                    // Home's own range, and a chart that has changed.
                    _ if refusals.is_empty() => !unheard,
                    reason => refusals.iter().any(|refusal| *refusal == reason),
                };
                (!known).then(|| format!("refused as {}, which nobody answered", decision.reason))
            }
            other => Some(format!("decided as {}", other.as_str_name())),
        }
    }
}

fn text(outcome: i32) -> &'static str {
    Outcome::try_from(outcome).map_or("an unknown outcome", |o| o.as_str_name())
}

fn describe(known: Known, body: u64) -> String {
    let same = if known.body == body { "the same body" } else { "another body" };
    format!("{} with {same}", described(known.decided.outcome(), known.decided.lies()))
}

/// An outcome and where its decision lies.
fn described(outcome: i32, (partition, batch): (u32, u64)) -> String {
    format!("{} (journal/{partition} batch {batch})", text(outcome))
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
    let carries = matches!(decision.outcome(), Outcome::Booked | Outcome::Pending);
    let fields = [
        (command.event == decision.event, "event key"),
        (command.body_hash == decision.body_hash, "body hash"),
        (
            !carries || (command.r#type == decision.r#type && command.subject == decision.subject),
            "type or subject",
        ),
        (
            !carries || (command.rule == decision.rule && command.rule_version == decision.rule_version),
            "rule",
        ),
        (!carries || command.occurred_at_us == decision.occurred_at_us, "occurred at"),
        (!carries || (command.job == decision.job && command.rate == decision.rate), "job or rate"),
        (!carries || command.note == decision.note, "note"),
        (
            !carries || (command.book == decision.book && command.value_date == decision.value_date),
            "book or value date",
        ),
        (!booked || (command.back_dated == decision.back_dated && dated), "accounting date"),
        (
            decision.outcome() != Outcome::Pending || operation_asked(command) == operation_stated(decision),
            "operation",
        ),
        (!booked || metadata_asked(command) == metadata_stated(decision), "metadata"),
        (command.principal == decision.principal, "principal"),
        (!booked || repair_asked(command) == decision.repaired, "channel that is sent again"),
    ];
    let differs: Vec<&str> = fields.iter().filter(|(same, _)| !same).map(|(_, name)| *name).collect();
    found.that(Check::OutcomeContent, differs.is_empty(), || {
        (named(), format!("differs from its command in {}", differs.join(", ")))
    });
    let legs = match decision.outcome() {
        Outcome::Booked if proposes(decision) => legs_away(decision),
        Outcome::Booked => leg_held(decision).map_or_else(|| legs_moved(decision), |leg| vec![leg]),
        Outcome::Pending => legs_away(decision),
        _ => return,
    };
    let asked: Vec<LegView<'_>> = (0..).zip(&command.leg).map(LegView::asked).collect();
    let lower = || is_lower(&operation_asked(command), &legs_booked(decision), &legs_asked(&command.leg));
    let as_asked = legs == asked || (booked && lower());
    found.that(Check::OutcomeLegs, as_asked, || {
        let differ = legs.iter().zip(&asked).find(|(is, due)| is != due).map(|(is, _)| is.leg);
        let first = differ.map_or_else(String::new, |leg| format!(", first at leg {leg}"));
        (named(), format!("{} legs where the command has {}{first}", legs.len(), asked.len()))
    });
}

/// Whether an operation, encoded, is to book at most the amounts of its legs, and that was done.
#[must_use]
pub fn is_lower(operation: &[u8], booked: &[LegClaim], asked: &[LegClaim]) -> bool {
    let operation = Command::decode(operation).ok().and_then(|command| command.operation);
    matches!(operation, Some(command::Operation::BookAtMost(_))) && are_lower(booked, asked)
}

/// Whether legs are those that were asked for, each with the same amount, which is not above its own.
fn are_lower(booked: &[LegClaim], asked: &[LegClaim]) -> bool {
    let amount = booked.first().map_or(0, |leg| leg.amount);
    let lower = |(is, due): (&LegClaim, &LegClaim)| {
        let same = LegClaim { amount: due.amount, ..is.clone() } == *due;
        same && is.amount == amount && amount > 0 && amount <= due.amount
    };
    booked.len() == asked.len() && booked.iter().zip(asked).all(lower)
}

/// One leg, wherever it is stated.
#[derive(Debug, PartialEq, Eq)]
struct LegView<'l> {
    leg: u32,
    account: &'l str,
    asset: &'l str,
    side: i32,
    amount: i128,
    matched: Option<&'l Match>,
    overdraft: Option<i128>,
}

impl<'l> LegView<'l> {
    fn asked((leg, l): (u32, &'l Leg)) -> Self {
        let (account, asset, matched) = (&l.account, &l.asset, l.r#match.as_ref());
        let overdraft = amount::overdraft(l.overdraft.as_ref(), l.overdraft_unlimited);
        Self { leg, account, asset, side: l.side, amount: amount::of(l.amount.as_ref()), matched, overdraft }
    }

    fn here(decision: &Decision, e: &'l Entry) -> Self {
        let (account, asset, matched) = (&e.account, &e.asset, e.r#match.as_ref());
        let amount = amount::joined(e.amount_lo, e.amount_hi);
        let overdraft = amount::overdraft_of(decision, e.leg);
        Self { leg: e.leg, account, asset, side: e.side, amount, matched, overdraft }
    }

    fn away(decision: &Decision, l: &'l RemoteLeg) -> Self {
        let (account, asset, matched) = (&l.account, &l.asset, l.r#match.as_ref());
        let (amount, overdraft) = (amount::of(l.amount.as_ref()), amount::overdraft_of(decision, l.leg));
        Self { leg: l.leg, account, asset, side: l.side, amount, matched, overdraft }
    }

    fn claim(&self) -> LegClaim {
        LegClaim {
            leg: self.leg,
            account: self.account.to_owned(),
            asset: self.asset.to_owned(),
            side: self.side,
            amount: self.amount,
            matched: self.matched.cloned(),
            overdraft: self.overdraft,
        }
    }
}

/// The leg that a decision put on hold, where its event asked for that.
fn leg_held(decision: &Decision) -> Option<LegView<'_>> {
    let hold = decision.hold.as_ref().filter(|hold| hold.event == decision.event)?;
    Some(LegView {
        leg: 0,
        account: &hold.account,
        asset: &hold.asset,
        side: hold.side,
        amount: amount::of(hold.amount.as_ref()),
        matched: None,
        overdraft: amount::overdraft_of(decision, 0),
    })
}

/// Whether a decision writes its command's legs down for others to approve. Those that resolve a case are home's own.
fn proposes(decision: &Decision) -> bool {
    decision.proposal.as_ref().is_some_and(|made| made.state() == State::Open && made.case.is_none())
}

/// Legs that a decision booked here or sent away, by index.
fn legs_moved(decision: &Decision) -> Vec<LegView<'_>> {
    let mut legs: Vec<LegView<'_>> = decision.entry.iter().map(|e| LegView::here(decision, e)).collect();
    legs.extend(decision.remote.iter().map(|leg| LegView::away(decision, leg)));
    legs.sort_by_key(|l| l.leg);
    legs
}

/// Legs that a decision asks for.
fn legs_away(decision: &Decision) -> Vec<LegView<'_>> {
    decision.asked.iter().map(|leg| LegView::away(decision, leg)).collect()
}

/// Legs of a command as claims.
#[must_use]
pub fn legs_asked(legs: &[Leg]) -> Vec<LegClaim> {
    (0..).zip(legs).map(|leg| LegView::asked(leg).claim()).collect()
}

/// Legs that a decision booked here or sent away as claims, by index.
#[must_use]
pub fn legs_booked(decision: &Decision) -> Vec<LegClaim> {
    let legs = leg_held(decision).map_or_else(|| legs_moved(decision), |leg| vec![leg]);
    legs.iter().map(LegView::claim).collect()
}

/// Legs that a decision asks for as claims.
#[must_use]
pub fn legs_remote(decision: &Decision) -> Vec<LegClaim> {
    decision.asked.iter().map(|leg| LegView::away(decision, leg).claim()).collect()
}
