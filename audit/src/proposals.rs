//! Proposed adjustments of one home partition: made by one principal, approved by another, booked once.
//!
//! Bounded by the proposals that are open. Order relied on: that of the journal.

use crate::channel::LegClaim;
use crate::finding::{Check, Findings, Place};
use crate::outcome::{event_name, legs_booked, legs_remote};
use schemas::wire::{
    Decision, EventKey, Outcome, ProposalExpired, ProposalState, SuspenseCase, proposal_state::State,
};
use std::collections::BTreeMap;

/// Source and id.
type Name = (String, String);

fn name(event: Option<&EventKey>) -> Name {
    event.map_or_else(Default::default, |event| (event.source.clone(), event.id.clone()))
}

#[derive(Debug)]
struct Proposal {
    legs: Vec<LegClaim>,
    by: String,
    expires_us: i64,
    /// The approval that is being judged.
    approval: Option<Name>,
    /// The case in suspense that it would resolve.
    case: Option<SuspenseCase>,
}

/// Proposals of one home partition that are not over.
#[derive(Debug, Default)]
pub struct Proposals {
    open: BTreeMap<Name, Proposal>,
    /// By approval.
    approving: BTreeMap<Name, Name>,
}

impl Proposals {
    /// Takes what a decision says of a proposal: of its home, or of a partition that decides for it.
    pub fn decided(&mut self, place: Place, decision: &Decision, tick_us: i64, found: &mut Findings) {
        let event = decision.event.as_ref();
        let Some(state) = &decision.proposal else {
            if decision.forwarded_from == 0 && decision.outcome() == Outcome::Refused {
                self.resolved(event, false);
            }
            return;
        };
        let wrong = if decision.forwarded_from > 0 {
            approved_elsewhere(decision, state)
        } else {
            self.at_home(decision, state, tick_us)
        };
        found.that(Check::Adjustment, wrong.is_none(), || {
            let (named, of) = (event_name(event), event_name(state.event.as_ref()));
            (format!("{place} {named}, adjustment {of}"), wrong.unwrap_or_default())
        });
    }

    /// What is wrong with it.
    fn at_home(&mut self, decision: &Decision, state: &ProposalState, tick_us: i64) -> Option<&'static str> {
        let (of, this) = (name(state.event.as_ref()), name(decision.event.as_ref()));
        if decision.principal.is_empty() {
            return Some("is of nobody who is known");
        }
        if state.state() == State::Open {
            return self.made(decision, state, of, tick_us);
        }
        let Some(proposal) = self.open.get_mut(&of) else { return Some("is not open") };
        let own = proposal.approval.as_ref() == Some(&this);
        let over = (1..=tick_us).contains(&proposal.expires_us);
        if !own && (over || proposal.approval.is_some()) {
            return Some("is another approval's, or its time is over");
        }
        if proposal.by != state.proposed_by {
            return Some("was proposed by another principal");
        }
        let rejects = state.state() == State::Rejected;
        let approver = if rejects { "" } else { &decision.principal };
        if state.approved_by != approver || (!rejects && proposal.by == decision.principal) {
            return Some("is not approved by another principal than the one who proposed it");
        }
        match (state.state(), decision.outcome()) {
            (State::Approving, Outcome::Pending) => {
                let asked = legs_remote(decision);
                if decision.waits_for.is_none() && asked != proposal.legs {
                    return Some("others are asked for other legs than were proposed");
                }
                proposal.approval = Some(this.clone());
                self.approving.insert(this, of);
                return None;
            }
            (State::Approved, Outcome::Booked) if legs_booked(decision) != proposal.legs => {
                return Some("other legs are booked than were proposed");
            }
            (State::Approved, Outcome::Booked) if state.case != proposal.case => {
                return Some("resolves another case than was proposed");
            }
            (State::Approved | State::Rejected, Outcome::Booked) => {}
            _ => return Some("is said to be what this outcome does not make it"),
        }
        if rejects && (!decision.entry.is_empty() || !decision.remote.is_empty()) {
            return Some("is rejected and booked");
        }
        self.open.remove(&of);
        self.approving.remove(&this);
        None
    }

    fn made(
        &mut self,
        decision: &Decision,
        state: &ProposalState,
        of: Name,
        tick_us: i64,
    ) -> Option<&'static str> {
        let moves = !decision.entry.is_empty() || !decision.remote.is_empty();
        let (legs, expires_us) = (legs_remote(decision), state.expires_us);
        if state.event != decision.event || decision.outcome() != Outcome::Booked || moves || legs.is_empty()
        {
            return Some("is proposed by another event, books something, or has no legs");
        }
        if state.proposed_by != decision.principal || !state.approved_by.is_empty() {
            return Some("is not of the principal who sent it");
        }
        if (1..=tick_us).contains(&expires_us) {
            return Some("is over before it is made");
        }
        let case = state.case;
        if case.is_some() && self.open.values().any(|open| open.case == case) {
            return Some("would resolve a case that another proposal would");
        }
        let proposal = Proposal { legs, by: state.proposed_by.clone(), expires_us, approval: None, case };
        self.open.insert(of, proposal).map(|_| "is proposed twice")
    }

    /// An event is decided, here or elsewhere: if it was an approval, its proposal is over, or open again.
    pub fn resolved(&mut self, event: Option<&EventKey>, booked: bool) {
        let Some(of) = self.approving.remove(&name(event)) else { return };
        if booked {
            self.open.remove(&of);
        } else if let Some(proposal) = self.open.get_mut(&of) {
            proposal.approval = None;
        }
    }

    /// A proposal is over.
    pub fn expired(&mut self, place: Place, over: &ProposalExpired, tick_us: i64, found: &mut Findings) {
        let proposal = self.open.remove(&name(over.event.as_ref()));
        let due = |p: &Proposal| (1..=tick_us).contains(&p.expires_us) && p.approval.is_none();
        found.that(Check::Adjustment, proposal.as_ref().is_some_and(due), || {
            let named = format!("{place} adjustment {}", event_name(over.event.as_ref()));
            (named, "is over, and was not open or still had time")
        });
    }
}

/// What is wrong with the legs of a proposal that its home has sent.
fn approved_elsewhere(decision: &Decision, state: &ProposalState) -> Option<&'static str> {
    let booked = (state.state(), decision.outcome()) == (State::Approved, Outcome::Booked);
    let (by, approver) = (&state.proposed_by, &state.approved_by);
    let two = !by.is_empty() && !approver.is_empty() && by != approver && *approver == decision.principal;
    (!booked || !two).then_some("is not approved by another principal than the one who proposed it")
}
