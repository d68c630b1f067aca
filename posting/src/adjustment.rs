//! Manual adjustments and the resolution of suspense: legs that one principal proposes and another one approves, which books
//! them.
//!
//! Phases, all at the home of both events: the legs are written down -> another principal approves them, and from then on
//! the proposal is that approval's -> the legs are judged as those of any event, at home, by another partition or by
//! several -> they are booked and the proposal is over, or refused and it is open again. It may be rejected meanwhile,
//! and is over when its time is. Who a principal is says the door by which the event came ([`schemas::principal`]).
//!
//! An approval is decided where events that have waited are, at the end of a window, as it is short and what it books may
//! be long. Bounded by the time of proposals. Order relied on: none; an approval that overtook its proposal waits for it.

use crate::decide::{self, Booked, Placed};
use crate::effects::Effect;
use crate::groups;
use crate::ids::{IdKey, id_key, key_of};
use crate::lines::{DecisionLine, ProposalLine, RemoteLine};
use crate::overlay::{Overlay, Refusal};
use crate::proposals::{Change, Proposal};
use crate::room;
use crate::suspense::CaseKey;
use crate::views::{CommandView, EventView, Once, Operation, ViewError};
use prost::Message;
use schemas::reason::Reason;
use schemas::wire::{
    ApproveAdjustment, Command, EventKey, Outcome, ProposalExpired, SuspenseCase, command,
    journal_item::Item, proposal_state::State,
};
use schemas::wire_read::fields;
use schemas::wire_write::Fields;

/// What a command asks for about a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adjust<'a> {
    /// Its legs are written down.
    Propose,
    /// The legs of a proposal are booked.
    Approve {
        /// The event that proposed them.
        proposal: EventView<'a>,
        /// Who did; empty until home has put the legs in.
        proposed_by: &'a str,
        /// The case in suspense that they resolve; home puts it in.
        case: Option<SuspenseCase>,
    },
    /// A proposal is over.
    Reject {
        /// The event that made it.
        proposal: EventView<'a>,
    },
    /// The legs that resolve a case in suspense are written down.
    Resolve(Move<'a>),
}

/// `ResolveSuspense`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Move<'a> {
    /// What is moved.
    pub case: Option<SuspenseCase>,
    /// Where it goes; empty = where it was meant to go.
    pub account: &'a str,
}

impl<'a> Adjust<'a> {
    /// Number of the first in `Command`; the others follow.
    pub const IN_COMMAND: u32 = 26;
    /// The same in `Decision`.
    pub const IN_DECISION: u32 = 56;

    /// Reads the operation of number `tag` in `Command`.
    ///
    /// # Errors
    /// [`ViewError::Wire`], [`ViewError::Twice`].
    pub fn read(tag: u32, encoded: &'a [u8]) -> Result<Self, ViewError> {
        let (mut first, mut second, mut case, mut once) = (None, "", None, Once::default());
        let named = match tag - Self::IN_COMMAND {
            0 | 1 => "approve_adjustment.proposal",
            2 => "reject_adjustment.proposal",
            _ => "resolve_suspense.case",
        };
        for field in fields(encoded) {
            let field = field?;
            match field.tag {
                1 => first = Some(once.bytes(&field, named)?),
                2 => second = field.text()?,
                3 => case = Some(read_case(once.bytes(&field, "approve_adjustment.case")?)?),
                _ => {}
            }
        }
        let proposal = || first.map_or_else(|| Ok(EventView::default()), EventView::read);
        Ok(match tag - Self::IN_COMMAND {
            0 => Self::Propose,
            1 => Self::Approve { proposal: proposal()?, proposed_by: second, case },
            2 => Self::Reject { proposal: proposal()? },
            _ => Self::Resolve(Move { case: first.map(read_case).transpose()?, account: second }),
        })
    }

    /// Writes it under its number counted from `first`.
    pub fn write(&self, f: &mut Fields<'_>, first: u32) {
        let event = |f: &mut Fields<'_>, proposal: &EventView<'_>| {
            if let Some(encoded) = proposal.encoded {
                f.encoded(1, encoded);
            }
        };
        match self {
            Self::Propose => {
                f.message(first, |_| {});
            }
            Self::Approve { proposal, proposed_by, case } => {
                f.message(first + 1, |f| {
                    event(f, proposal);
                    f.text(2, proposed_by);
                    if let Some(case) = case {
                        write_case(f, 3, case);
                    }
                });
            }
            Self::Reject { proposal } => {
                f.message(first + 2, |f| event(f, proposal));
            }
            Self::Resolve(resolve) => {
                f.message(first + 3, |f| {
                    if let Some(case) = &resolve.case {
                        write_case(f, 1, case);
                    }
                    f.text(2, resolve.account);
                });
            }
        }
    }

    /// The event that made the proposal which it is about.
    #[must_use]
    pub const fn proposal(&self) -> Option<&EventView<'a>> {
        match self {
            Self::Propose | Self::Resolve(_) => None,
            Self::Approve { proposal, .. } | Self::Reject { proposal } => Some(proposal),
        }
    }

    /// Least and most legs that its command has.
    #[must_use]
    pub const fn legs(&self, most: usize) -> (usize, usize) {
        match self {
            Self::Propose => (1, most),
            Self::Approve { proposed_by, .. } if !proposed_by.is_empty() => (1, most),
            Self::Approve { .. } | Self::Reject { .. } | Self::Resolve(_) => (0, 0),
        }
    }
}

fn read_case(encoded: &[u8]) -> Result<SuspenseCase, ViewError> {
    let mut case = SuspenseCase::default();
    for field in fields(encoded) {
        let field = field?;
        match field.tag {
            1 => case.partition = field.uint32()?,
            2 => case.from = field.uint32()?,
            3 => case.sequence = field.uint()?,
            _ => {}
        }
    }
    Ok(case)
}

/// Writes a case under its number.
pub fn write_case(f: &mut Fields<'_>, tag: u32, case: &SuspenseCase) {
    f.message(tag, |f| {
        f.uint(1, case.partition.into());
        f.uint(2, case.from.into());
        f.uint(3, case.sequence);
    });
}

/// Judges a command about a proposal at its home.
///
/// # Errors
/// [`Reason::NoPrincipal`], [`Reason::UnknownProposal`], [`Reason::ProposalNotOpen`], [`Reason::SelfApproval`],
/// [`Reason::CaseNotOpen`].
pub fn judge(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    legs: &[Placed<'_>],
    ingest_slot: u32,
) -> Result<(Outcome, u32), Refusal> {
    let Operation::Adjust(adjust) = command.operation else { return Err(unexpected()) };
    if command.principal.is_empty() {
        let why = "nothing says who sent it: the way by which it came is bound to no principal";
        return Err(Refusal::new(Reason::NoPrincipal, why));
    }
    let home = o.base.slot;
    let Some(proposal) = adjust.proposal() else {
        match adjust {
            Adjust::Resolve(resolve) => propose_resolution(o, command, &resolve, ingest_slot)?,
            _ => propose(o, command, &decide::asked(legs), None, ingest_slot),
        }
        return Ok((Outcome::Booked, home));
    };
    let event = &command.facts.event;
    let is_itself = (event.source, event.id) == (proposal.source, proposal.id);
    if o.known(&id_key(proposal.source, proposal.id)).is_none() && o.tick_us > 0 && !is_itself {
        // It may have overtaken its proposal. Before the first tick nothing says how long to wait.
        groups::wait_for(o, command, proposal, &[], ingest_slot, None);
        return Ok((Outcome::Pending, home));
    }
    if let Adjust::Reject { .. } = adjust {
        reject(o, command, proposal, (ingest_slot, None))?;
        return Ok((Outcome::Booked, home));
    }
    let approved = approve(o, command, proposal)?;
    let line = approved.line(State::Approving, proposal, command.principal);
    groups::wait_for(o, command, proposal, &[], ingest_slot, Some(line));
    Ok((Outcome::Pending, home))
}

/// Judges one that has waited: for its proposal, or for the end of its window.
///
/// # Errors
/// As [`judge`], and what booking the legs may be refused for.
pub fn judge_waited(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    ingest_slot: u32,
    key: IdKey,
) -> Result<(Outcome, u32), Refusal> {
    let Operation::Adjust(adjust) = command.operation else { return Err(unexpected()) };
    match adjust {
        Adjust::Propose | Adjust::Resolve(_) => Err(unexpected()),
        Adjust::Reject { proposal } => {
            reject(o, command, &proposal, (ingest_slot, Some(key)))?;
            Ok((Outcome::Booked, o.base.slot))
        }
        Adjust::Approve { proposal, .. } => {
            let known = o.proposal(&id_key(proposal.source, proposal.id));
            let own = known.filter(|known| known.approval_key() == Some(key)).cloned();
            let approved = own.map_or_else(|| approve(o, command, &proposal), Ok)?;
            let booking = with_legs(command, &approved)?;
            let booking = CommandView::read(&booking).map_err(|_| unexpected())?;
            decide::book_approved(o, &booking, ingest_slot, key)
        }
    }
}

/// The command that books what an approval approves, as far as that is known; `None` where it has its legs already, or
/// is something else.
#[must_use]
pub fn booking(o: &Overlay<'_>, command: &CommandView<'_>) -> Option<Vec<u8>> {
    let Operation::Adjust(Adjust::Approve { proposal, proposed_by: "", .. }) = command.operation else {
        return None;
    };
    with_legs(command, o.proposal(&id_key(proposal.source, proposal.id))?).ok()
}

/// The approval with the legs of its proposal.
fn with_legs(command: &CommandView<'_>, proposal: &Proposal) -> Result<Vec<u8>, Refusal> {
    let approval = Command::decode(command.encoded).map_err(|_| unexpected())?;
    let approve = ApproveAdjustment {
        proposal: Some(proposal.event.clone()),
        proposed_by: proposal.proposed_by.clone(),
        case: proposal.case,
    };
    let operation = Some(command::Operation::ApproveAdjustment(approve));
    Ok(Command { leg: proposal.legs.clone(), operation, ..approval }.encode_to_vec())
}

fn unexpected() -> Refusal {
    Refusal::new(Reason::Internal, "not a command about a proposal that can be decided here")
}

/// Writes a proposal down.
fn propose(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    asked: &[RemoteLine<'_>],
    case: Option<SuspenseCase>,
    ingest_slot: u32,
) {
    let expires_us = if o.tick_us > 0 { o.tick_us.saturating_add(o.config.proposal_us) } else { 0 };
    let made = ProposalLine {
        event: command.facts.event,
        state: State::Open,
        proposed_by: command.principal,
        approved_by: "",
        expires_us,
        case,
    };
    let booked = Booked::nothing(o, command);
    let line = DecisionLine { asked, proposal: Some(made), ..booked.line(command, ingest_slot) };
    o.proposals.insert(key_of_command(command), Some(Proposal::of_line(&line, &made)));
    o.decided(&line);
}

/// Writes down how a case in suspense would be resolved.
fn propose_resolution(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    resolve: &Move<'_>,
    ingest_slot: u32,
) -> Result<(), Refusal> {
    let legs = o.resolution(resolve)?;
    let event = &command.facts.event;
    // What its approval would book is judged now as far as it can be.
    let (event, proposed_by) =
        (EventKey { source: event.source.to_owned(), id: event.id.to_owned() }, command.principal);
    let operation = command::Operation::ApproveAdjustment(ApproveAdjustment {
        proposal: Some(event),
        proposed_by: proposed_by.to_owned(),
        case: resolve.case,
    });
    let booking = Command { leg: legs, operation: Some(operation), ..Command::default() }.encode_to_vec();
    let booking = CommandView::read(&booking).map_err(|_| unexpected())?;
    let legs = decide::place(o, &booking)?;
    propose(o, command, &decide::asked(&legs), resolve.case, ingest_slot);
    Ok(())
}

/// Makes an open proposal this approval's.
fn approve(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    proposal: &EventView<'_>,
) -> Result<Proposal, Refusal> {
    let open = open(o, proposal)?;
    if open.proposed_by == command.principal {
        let who = format!("{} has proposed it", command.principal);
        return Err(Refusal::new(Reason::SelfApproval, who));
    }
    let event = &command.facts.event;
    let approval = Some(EventKey { source: event.source.to_owned(), id: event.id.to_owned() });
    let approved = Proposal { approval, ..open };
    o.proposals.insert(id_key(proposal.source, proposal.id), Some(approved.clone()));
    Ok(approved)
}

/// Ends an open proposal.
fn reject(
    o: &mut Overlay<'_>,
    command: &CommandView<'_>,
    proposal: &EventView<'_>,
    (ingest_slot, concludes): (u32, Option<IdKey>),
) -> Result<(), Refusal> {
    let open = open(o, proposal)?;
    o.proposals.insert(id_key(proposal.source, proposal.id), None);
    let booked = Booked::nothing(o, command);
    let line = Some(open.line(State::Rejected, proposal, ""));
    o.decided(&DecisionLine { proposal: line, concludes, ..booked.line(command, ingest_slot) });
    Ok(())
}

/// A proposal that waits for somebody.
fn open(o: &Overlay<'_>, proposal: &EventView<'_>) -> Result<Proposal, Refusal> {
    let key = id_key(proposal.source, proposal.id);
    let named = || format!("{} {}", proposal.source, proposal.id);
    if o.known(&key).is_none() {
        return Err(Refusal::new(Reason::UnknownProposal, named()));
    }
    let open = o.proposal(&key).filter(|proposal| proposal.is_open(o.tick_us));
    open.cloned().ok_or_else(|| Refusal::new(Reason::ProposalNotOpen, named()))
}

fn key_of_command(command: &CommandView<'_>) -> IdKey {
    id_key(command.facts.event.source, command.facts.event.id)
}

/// An approval is decided: its proposal is over, or open again.
pub fn ended(o: &mut Overlay<'_>, approval: &IdKey, outcome: Outcome) {
    let Some(key) = o.approved_by(approval) else { return };
    let Some(proposal) = o.proposal(&key).cloned() else { return };
    match outcome {
        Outcome::Booked => {
            o.proposals.insert(key, None);
            o.cases.extend(proposal.case_key().map(|case| (case, None)));
        }
        Outcome::Refused => {
            o.proposals.insert(key, Some(Proposal { approval: None, ..proposal }));
        }
        _ => {}
    }
}

/// Ends the proposals whose time is over, as far as the journal batch has room for that.
pub fn expire(o: &mut Overlay<'_>) {
    for key in o.base.proposals.over(o.tick_us) {
        let open = o.proposal(&key).filter(|proposal| proposal.approval.is_none());
        let Some(event) = open.map(|proposal| proposal.event.clone()) else { continue };
        if !room::has_room_for_expiry(o) {
            return;
        }
        o.proposals.insert(key, None);
        o.journal(Item::ProposalExpired(ProposalExpired { event: Some(event) }));
    }
}

impl Overlay<'_> {
    /// Whether an open proposal would resolve that case.
    #[must_use]
    pub fn is_proposed(&self, case: CaseKey) -> bool {
        let is_its = |proposal: &Proposal| proposal.case_key() == Some(case);
        let before = self.base.proposals.of_case(case).filter(|key| !self.proposals.contains_key(key));
        before.is_some() || self.proposals.values().flatten().any(is_its)
    }

    /// A proposal that is not over.
    #[must_use]
    pub fn proposal(&self, key: &IdKey) -> Option<&Proposal> {
        self.proposals.get(key).map_or_else(|| self.base.proposals.get(key), Option::as_ref)
    }

    /// The proposal that is this approval's.
    fn approved_by(&self, approval: &IdKey) -> Option<IdKey> {
        let is_its = |proposal: &Option<Proposal>| {
            proposal.as_ref().and_then(Proposal::approval_key).as_ref() == Some(approval)
        };
        let changed = self.proposals.iter().find(|(_, proposal)| is_its(proposal)).map(|(key, _)| *key);
        let before = || self.base.proposals.approved_by(approval);
        changed.or_else(|| before().filter(|key| !self.proposals.contains_key(key)))
    }
}

/// What a decision made at home changes of proposals, and of the case that one resolves.
pub fn effects(line: &DecisionLine<'_>, out: &mut Vec<Effect>) {
    let Some(proposal) = line.proposal().filter(|_| line.forwarded.is_none()) else { return };
    let key = id_key(proposal.event.source, proposal.event.id);
    let event = &line.command.facts.event;
    let change = match proposal.state {
        State::Open => Change::Placed(Box::new(Proposal::of_line(line, &proposal))),
        State::Approving => {
            Change::Approving(EventKey { source: event.source.to_owned(), id: event.id.to_owned() })
        }
        State::Approved | State::Rejected | State::Unspecified => Change::Closed,
    };
    out.push(Effect::Proposal { key, change });
    out.extend(resolved(proposal.state, proposal.case));
}

/// The same of a decision in the journal.
pub fn effects_of(decision: &schemas::wire::Decision, out: &mut Vec<Effect>) {
    let Some(state) = decision.proposal.as_ref().filter(|_| decision.forwarded_from == 0) else { return };
    let change = match state.state() {
        State::Open => Change::Placed(Box::new(Proposal::of_decision(decision, state))),
        State::Approving => Change::Approving(decision.event.clone().unwrap_or_default()),
        State::Approved | State::Rejected | State::Unspecified => Change::Closed,
    };
    out.push(Effect::Proposal { key: key_of(state.event.as_ref()), change });
    out.extend(resolved(state.state(), state.case));
}

/// What an approval makes of a case.
fn resolved(state: State, case: Option<SuspenseCase>) -> Option<Effect> {
    let case = case.filter(|_| state == State::Approved)?;
    Some(Effect::Case { key: (case.from, case.sequence), case: None })
}
