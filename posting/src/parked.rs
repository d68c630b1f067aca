//! Parked events: those that may have been booked so long ago that nothing is known of them any more (ARCHITECTURE rule 9).
//!
//! Phases: PARKED (the event comes, is not known, and says that it occurred before anything that is kept) -> ADMITTED (a
//! principal has said that it was not booked: it is decided as if it came now) or TURNED AWAY (refused for good). While it
//! is parked it counts as pending, and the same event again is answered so. What moves nothing by itself, such as a
//! proposal that another principal must approve, is never parked.

use crate::decide::{self, Placed, asked};
use crate::effects::Effect;
use crate::groups::{self, Group};
use crate::ids::{IdKey, id_key};
use crate::lines::DecisionLine;
use crate::overlay::{Overlay, Refusal};
use crate::views::{CommandView, EventView, Operation};
use bytes::Bytes;
use schemas::reason::Reason;
use schemas::wire::{AdmittedState, Decision, EventKey, Outcome, group_parking::Parking};

/// Whether a command is one that must be parked where its event is not known.
#[must_use]
pub fn must_wait(o: &Overlay<'_>, command: &CommandView<'_>) -> bool {
    let by_itself = !matches!(command.operation, Operation::Adjust(_) | Operation::Admit { .. });
    by_itself && o.base.ids.horizon().is_too_old(command.facts.occurred_at_us)
}

/// Parks a command.
pub fn park(o: &mut Overlay<'_>, command: &CommandView<'_>, legs: &[Placed<'_>], ingest_slot: u32) {
    let waits_for = command.operation.reverses().copied();
    o.decided(&DecisionLine {
        asked: &asked(legs),
        parked: true,
        waits_for,
        ..DecisionLine::new(command, ingest_slot, Outcome::Pending)
    });
    let event = |event: EventView<'_>| EventKey { source: event.source.to_owned(), id: event.id.to_owned() };
    let group = Group {
        command: Bytes::copy_from_slice(command.encoded),
        ingest_slot,
        waits_for: waits_for.map(event),
        decided: waits_for.is_some(),
        parking: Parking::Parked,
        ..Group::default()
    };
    let own = &command.facts.event;
    o.open_group(id_key(own.source, own.id), group, &[]);
}

/// What a principal says of a parked event: the group is decided in this window or one of the next.
///
/// # Errors
/// [`Reason::NoPrincipal`], [`Reason::NotParked`].
pub fn judge<'c>(
    o: &mut Overlay<'_>,
    command: &CommandView<'c>,
    (event, refuse): (&EventView<'c>, bool),
    ingest_slot: u32,
) -> Result<(), Refusal> {
    if command.principal.is_empty() {
        return Err(Refusal::new(Reason::NoPrincipal, "the event came by a door that knows nobody"));
    }
    let key = id_key(event.source, event.id);
    let not_parked = || Refusal::new(Reason::NotParked, format!("{} {}", event.source, event.id));
    let group = o.group(&key).filter(|group| group.parking == Parking::Parked).ok_or_else(not_parked)?;
    let deadline_us = groups::deadline(o);
    let group = judged(group.clone(), refuse, deadline_us);
    o.groups.insert(key, Some(group));
    o.effects.push(Effect::Admitted { key, refuse, deadline_us });
    o.decided(&DecisionLine {
        admitted: Some((*event, refuse)),
        deadline_us,
        ..DecisionLine::new(command, ingest_slot, Outcome::Booked)
    });
    Ok(())
}

/// A parked event once it is judged. One that gives another back waits for that from now on.
#[must_use]
pub fn judged(group: Group, refuse: bool, deadline_us: i64) -> Group {
    let parking = if refuse { Parking::TurnedAway } else { Parking::Admitted };
    let deadline_us = if group.waits_for.is_some() && !refuse { deadline_us } else { 0 };
    Group { parking, deadline_us, ..group }
}

/// The same from the journal.
pub fn effect_of(decision: &Decision, admitted: &AdmittedState) -> Effect {
    let key = crate::ids::key_of(admitted.event.as_ref());
    Effect::Admitted { key, refuse: admitted.refused, deadline_us: decision.deadline_us }
}

/// Decides an event that is let in or turned away, and gives nothing back.
pub fn conclude(o: &mut Overlay<'_>, key: IdKey, group: &Group, command: &CommandView<'_>) {
    let judged = if group.parking == Parking::TurnedAway {
        Err(Refusal::new(Reason::TurnedAway, "a principal says that it must not be booked"))
    } else {
        decide::judge_waited(o, command, group.ingest_slot, key)
    };
    groups::concluded(o, key, command, group.ingest_slot, judged);
}
